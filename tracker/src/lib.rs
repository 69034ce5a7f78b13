//! Shoal's tracker: who is there, who has which chunks, who may have them.
//!
//! Each module uses only those that stand after it in this list:
//!
//! - [`cli`]: the command line
//! - [`signals`]: how it is asked to end
//! - [`admin`]: what the operator asks of a running tracker, or of its data
//! - [`server`]: listens, starts a session for each connection, ends tidily
//! - `session`: one connection
//! - `attempts`: how many wrong passwords are looked at
//! - `passwords`: hashing and checking them
//! - `owner`: the one task that has the state, and the way of writes to the store
//! - `outbox`: what is to be sent on one connection
//! - `clock`: what time it is
//! - `liveness`: when a peer is asked whether it is there, and when it is gone
//! - `service`: the rules
//! - `store`: what outlives the process
//! - `state`: all that the tracker knows
//! - `relay`: what passes between peers who find no way to each other
//! - `vouchers`: what is given out over UDP and believed over TLS
//! - `source`: where connections come from
//! - `rate`: how much a peer may ask in a second
//! - [`config`]: what it is run with
//! - `tasks`: how tasks are spawned and awaited

pub mod admin;
pub mod cli;
pub mod config;
pub mod server;
pub mod signals;

mod attempts;
mod clock;
mod liveness;
mod outbox;
mod owner;
mod passwords;
mod rate;
mod relay;
mod service;
mod session;
mod source;
mod state;
mod store;
mod tasks;
mod vouchers;

pub use config::{Access, Config, Relaying, Stun};
pub use server::{BindError, RunError, Server};
pub use signals::Signals;
pub use store::StoreError;
