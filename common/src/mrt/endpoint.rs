//! Which datagram belongs to which connection; handshakes of strangers, within bounds.

use std::time::Instant;

use super::config::Config;
use super::connection::{Connection, ConnectionEvent};
use super::handshake::{LocalKeys, StaticKey};
use super::path::{Received, Route, Transmit};
use crate::id::PeerId;

/// A connection of an endpoint. Handles are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionHandle(pub u64);

/// Whom to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Target {
    /// Only this peer will do; `None`: whoever answers and has the network key.
    pub peer: Option<PeerId>,
    /// Its X25519 key, if it is known: saves half a round trip, and nobody else can even read the request.
    pub static_key: Option<StaticKey>,
}

/// Why no connection can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Too many connections.
    #[error("too many connections at once")]
    Full,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody asked for a connection, and proved who it is. [`ConnectionEvent::Connected`] of it follows.
    Incoming(ConnectionHandle),
    /// Something with a connection.
    Connection(ConnectionHandle, ConnectionEvent),
}

/// All connections of a process.
///
/// Contract: after any call of a method that takes `now`, and after calls of a connection's methods (through
/// [`Self::connection`]), ask [`Self::poll_transmit`] until it gives nothing, then [`Self::poll_event`] until it gives
/// nothing, then [`Self::poll_timeout`], and call [`Self::handle_timeout`] at that time. Time never goes back.
#[derive(Debug)]
pub struct Endpoint {}

impl Endpoint {
    /// `seed` is 32 bytes from a cryptographic source; all randomness follows from it.
    pub fn new(now: Instant, config: Config, keys: LocalKeys, seed: [u8; 32]) -> Self {
        unimplemented!("{now:?} {config:?} {keys:?} {seed:?}")
    }
    /// Asks for a connection.
    pub fn connect(&mut self, now: Instant, route: Route, target: Target) -> Result<ConnectionHandle, ConnectError> {
        unimplemented!("{now:?} {route:?} {target:?}")
    }
    /// A datagram came. It is opened in place.
    pub fn handle_datagram(&mut self, now: Instant, received: Received, datagram: &mut [u8]) {
        unimplemented!("{now:?} {received:?} {datagram:?}")
    }
    /// The time that [`Self::poll_timeout`] gave has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        unimplemented!("{now:?}")
    }
    /// Appends the next datagrams to `out`: at most `segments` of one size (the last may be shorter), 64 KiB in all.
    pub fn poll_transmit(&mut self, now: Instant, segments: usize, out: &mut Vec<u8>) -> Option<Transmit> {
        unimplemented!("{now:?} {segments} {out:?}")
    }
    /// When [`Self::handle_timeout`] is to be called, if at all.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        unimplemented!()
    }
    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        unimplemented!()
    }
    /// A connection, for reading and writing. `None`: it is closed, and its last event was given.
    pub fn connection(&mut self, handle: ConnectionHandle) -> Option<&mut Connection> {
        unimplemented!("{handle:?}")
    }
    /// All connections that are not closed.
    pub fn handles(&self) -> impl Iterator<Item = ConnectionHandle> + '_ {
        std::iter::empty()
    }
}
