//! The MRT driver: moves datagrams between UDP sockets and [`common::mrt::Endpoint`], and gives the program connections
//! and streams to await.
//!
//! A [`Node`] has one endpoint in a mutex, and one task, the loop, for all its sockets. The program's calls lock, do and
//! unlock; nothing awaits under the lock, and it is held for short batches only. Nothing is queued here: what is written
//! goes into the machine as far as that has room, and what has arrived stays there until it is read, so that a reader that
//! does not read stops the writer at the other end.
//!
//! To the machine, a way is a [`Route`](common::mrt::Route), whatever it leads through. Here is known what stands behind
//! it: one of the sockets, or a channel of a relay.
//!
//! - `node`: binding, connecting, accepting, closing; sockets and relays
//! - `driver`: the loop
//! - `sorting`: what arrives, by kinds
//! - `stream`: reading and writing
//! - `forwarding`: what a relay sends on
//! - `connection`: what can be done with a connection
//! - `shared`: the machine, and who waits for what in it
//! - `entry`: one connection as the program has it
//! - `ways`: which sockets there are
//! - `relayed`: ways through relays
//! - `stun`: finding out and telling where somebody is seen
//! - `aside`: what the node itself sends
//! - `socket`: datagrams in batches, in and out
//! - `waiting`: waiting, and ending the wait of others
//! - `error`: why something ended

mod aside;
mod connection;
mod driver;
mod entry;
mod error;
mod forwarding;
mod node;
mod relayed;
mod shared;
mod socket;
mod sorting;
mod stream;
mod stun;
#[cfg(test)]
mod tests;
mod waiting;
mod ways;

pub use connection::Connection;
pub use entry::PathEvent;
pub use error::{ConnectionError, StreamError};
pub use forwarding::{PairError, RelayHandle};
pub use node::{BindOptions, Node, RelayAt};
pub use relayed::{RELAY_SOCKET, RelayedError};
pub use stream::{ReadHalf, Stream, WriteHalf};
pub use stun::StunError;
pub use ways::SocketId;
