//! The MRT driver: moves datagrams between a UDP socket and [`common::mrt::Endpoint`], and gives the program connections
//! and streams to await.
//!
//! A [`Node`] has one socket, one endpoint in a mutex, and one task, the loop. The program's calls lock, do and unlock;
//! nothing awaits under the lock, and it is held for short batches only. Nothing is queued here: what is written goes
//! into the machine as far as that has room, and what has arrived stays there until it is read, so that a reader that
//! does not read stops the writer at the other end.
//!
//! - `node`: binding, connecting, accepting, closing
//! - `driver`: the loop
//! - `stream`: reading and writing
//! - `connection`: what can be done with a connection
//! - `shared`: the machine, and who waits for what in it
//! - `socket`: datagrams in batches, in and out
//! - `error`: why something ended

mod connection;
mod driver;
mod error;
mod node;
mod shared;
mod socket;
mod stream;
#[cfg(test)]
mod tests;

pub use connection::Connection;
pub use error::{ConnectionError, StreamError};
pub use node::{BindOptions, Node};
pub use shared::PathEvent;
pub use stream::{ReadHalf, Stream, WriteHalf};
