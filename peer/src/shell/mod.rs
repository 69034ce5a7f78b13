//! The shell: lines into commands, and what comes of them onto a terminal or through a pipe.

pub(crate) mod account;
mod dialect;
mod execute;
pub(crate) mod interactive;
mod parse;
pub(crate) mod pipe;
pub(crate) mod questions;
pub(crate) mod render;
mod secret;
mod streams;

pub(crate) use self::dialect::Dialect;
pub(crate) use self::execute::{Ended, News, Printing, Sink, execute};
pub(crate) use self::parse::{Job, Stay, Surroundings, Todo, todo};
pub(crate) use self::streams::Streams;
