//! Shoal's peer: shares files, downloads them in verified chunks from all who have them, and serves them on.
//!
//! Each module uses only those that stand after it in this list; `command` stands twice: what runs commands, and, at the
//! bottom, the types of which they are made.
//!
//! - [`program`]: what was asked for, run in the right face
//! - `demo`: tracker, seeders and downloader on one machine
//! - `oneshot`: commands given as arguments, and `serve`
//! - `host`: a peer in this process and its local API
//! - `shell`: lines into commands, and what comes of them onto a terminal or through a pipe
//! - `config`: arguments and environment, checked
//! - `cli`: arguments and environment, raw
//! - `api`: the local API, both sides
//! - `backend`: what a face acts through
//! - `logging`, `signals`: of the process
//! - [`app`]: one running peer
//! - [`command`], its running
//! - `sync`: what is followed and watched
//! - [`library`]: what is shared, remembered over restarts
//! - [`engine`]: everything that moves chunks
//! - `hashing`: from a file on disk to its chunk hashes
//! - `settings`: what the user need not say again
//! - [`tracker_client`]: the connection to the tracker
//! - [`storage`]: files on disk, complete and in the making
//! - [`outline`]: what is known of a file or folder beside its bytes
//! - [`dir`]: the folder of one peer, and who may run on it
//! - [`mrt`]: connections over UDP
//! - [`notice`]: what the peer tells by itself
//! - [`command`], its types
//! - `holding`: streams that hold something for as long as they are open
//! - [`tasks`]: every task has a name and an owner

mod api;
pub mod app;
mod backend;
mod cli;
pub mod command;
mod config;
mod context;
mod demo;
pub mod dir;
mod download;
pub mod engine;
mod gate;
mod hashing;
mod holding;
mod host;
pub mod library;
mod limit;
mod link;
mod links;
mod logging;
pub mod mrt;
mod node;
pub mod notice;
mod oneshot;
pub mod outline;
mod overlay;
pub mod program;
mod reaching;
mod revocations;
mod selection;
mod settings;
mod shell;
mod signals;
mod spread;
pub mod storage;
mod swarm;
mod sync;
pub mod tasks;
pub mod tracker_client;
mod whole;
