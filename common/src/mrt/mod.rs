//! MRT: a reliable, encrypted transport over UDP, as machines without IO.
//!
//! A program keeps one [`Endpoint`] for its sockets. The endpoint is told of datagrams and of time, and says which datagrams
//! to send, when it wants to be called again, and what happened; see its documentation for the order of calls. It holds
//! the [`Connection`]s, each with ordered streams of bytes in both directions. There is no clock, socket, thread or
//! randomness in here: the time is an argument, and all randomness follows from a seed. `WIRE.md` beside this file has
//! every byte.
//!
//! Each module uses only those that stand after it in this list:
//!
//! - `endpoint`: which datagram belongs to which connection; handshakes of strangers, within bounds
//! - `unproven`: handshakes of strangers
//! - `connection`: one connection: packets in, packets out, timers
//! - `path`: the addresses a connection may use, and what is known of each: validation, packet size
//! - `mtu`: the search for larger packets
//! - `streams`: ordered bytes, many streams, flow control
//! - `congestion`: how much may be under way, and how fast it is sent
//! - `loss`: packets sent and not yet acknowledged
//! - `acks`: packets received and not yet acknowledged
//! - `rtt`: the round-trip time
//! - `handshake`: Noise, and whose key it was
//! - `cookie`: proof of an address without state
//! - `crypto`: sealing and opening packets
//! - `frame`: what is inside a sealed packet
//! - `packet`: what is outside
//! - `timers`: one deadline of each kind
//! - `ranges`: sets of numbers as ranges
//! - `random`: numbers from a seed
//! - `config`: what can be set

mod acks;
mod config;
mod congestion;
mod connection;
mod cookie;
mod crypto;
mod endpoint;
mod frame;
mod handshake;
mod loss;
mod mtu;
mod packet;
mod path;
mod random;
mod ranges;
mod rtt;
mod streams;
mod timers;
mod unproven;

pub use config::{Config, ControllerKind};
pub use connection::{CloseReason, Connection, ConnectionEvent, Stats};
pub use crypto::Suite;
pub use endpoint::{ConnectError, ConnectionHandle, Endpoint, Event, Target};
pub use frame::{Acks, CloseCode, Frame, FrameError, Frames, MAX_ACK_RANGES, MAX_REASON};
pub(crate) use frame::{address as take_address, put_address};
pub use handshake::{LocalKeys, Remote, StaticKey};
pub use packet::{
    ConnectionId, MAX_COOKIE, MAX_NOISE, MIN_INITIAL, MIN_MTU, Packet, PacketError, Pattern, RELY, TAG_LENGTH,
};
pub use path::{Ecn, Received, Route, Transmit};
pub use streams::{Budget, Read, ReadError, StreamEvent, StreamId, WriteError};

/// Who asked for the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Sent the RCON.
    Initiator,
    /// Answered with the ACON.
    Responder,
}

impl Side {
    /// The one at the other end.
    const fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
