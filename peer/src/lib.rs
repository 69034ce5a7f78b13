//! Shoal's peer: shares files, downloads them in verified chunks from all who have them, and serves them on.
//!
//! Each module uses only those that stand after it in this list; `command` stands twice: what runs commands, and, at the
//! bottom, the types of which they are made.
//!
//! - [`app`]: one running peer
//! - [`command`], its running
//! - [`library`]: what is shared, remembered over restarts
//! - [`engine`]: everything that moves chunks
//! - `settings`: what the user need not say again
//! - [`tracker_client`]: the connection to the tracker
//! - [`storage`]: files on disk, complete and in the making
//! - [`dir`]: the folder of one peer, and who may run on it
//! - [`notice`]: what the peer tells by itself
//! - [`command`], its types
//! - [`tasks`]: every task has a name and an owner

pub mod app;
pub mod command;
mod context;
pub mod dir;
mod download;
pub mod engine;
mod gate;
pub mod library;
mod limit;
mod link;
mod links;
pub mod notice;
mod settings;
mod spread;
pub mod storage;
mod swarm;
pub mod tasks;
pub mod tracker_client;
