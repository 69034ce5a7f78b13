//! One connection: packets in, packets out, timers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::handshake::Remote;
use super::path::Route;
use super::streams::{Read, ReadError, StreamEvent, StreamId, WriteError};
use super::{CloseCode, Side};

/// What happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// It stands: streams can be opened. The first event of every connection that comes to stand.
    Connected,
    /// Something with a stream.
    Stream(StreamEvent),
    /// A path answered its challenge: it works in both directions.
    PathValidated {
        /// Which.
        route: Route,
        /// Its round trip.
        round_trip: Duration,
        /// Where we seemed to be, as the other side saw it.
        observed: SocketAddr,
    },
    /// A path did not answer, and is given up.
    PathFailed(Route),
    /// Packets are sent on this path from now on.
    PathInUse(Route),
    /// The last event: it is closed.
    Closed(CloseReason),
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// We closed it.
    #[error("closed here")]
    Here,
    /// The other side closed it.
    #[error("closed by the other side: {reason} (code {})", code.0)]
    There {
        /// Why.
        code: CloseCode,
        /// In words.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("the other side has not been heard for too long")]
    TimedOut,
    /// Nobody answered who could complete the handshake.
    #[error("no answer: nobody there, another network key, or another key than expected")]
    NoAnswer,
    /// The other side broke the protocol.
    #[error("the other side broke the protocol: {0}")]
    Violation(&'static str),
}

/// Figures of a connection since its beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Datagrams sent, and their bytes.
    pub datagrams_sent: u64,
    /// Bytes of all datagrams sent.
    pub bytes_sent: u64,
    /// Datagrams that came and were opened.
    pub datagrams_received: u64,
    /// Bytes of all those.
    pub bytes_received: u64,
    /// Packets held for lost.
    pub packets_lost: u64,
    /// Of those, how many came after all.
    pub spurious_losses: u64,
    /// Times that nothing was acknowledged for so long that a probe was sent.
    pub probe_timeouts: u64,
    /// The smoothed round trip.
    pub round_trip: Duration,
    /// The shortest round trip.
    pub min_round_trip: Duration,
    /// Bytes that may be under way.
    pub window: u64,
    /// Bytes that are under way.
    pub in_flight: u64,
    /// The rate it is paced at, in bytes a second.
    pub rate: Option<u64>,
    /// Size of full datagrams.
    pub datagram: u16,
}

/// One connection (not yet built).
#[derive(Debug)]
pub struct Connection {}

impl Connection {
    /// Who asked for it.
    pub fn side(&self) -> Side {
        unimplemented!()
    }
    /// Who is at the other end; `None` until it stands.
    pub fn remote(&self) -> Option<Remote> {
        unimplemented!()
    }
    /// The path in use.
    pub fn route(&self) -> Route {
        unimplemented!()
    }
    /// Where we seemed to be when we asked, as the other side saw it.
    pub fn observed(&self) -> Option<SocketAddr> {
        unimplemented!()
    }
    /// Figures.
    pub fn stats(&self) -> Stats {
        unimplemented!()
    }
    /// Opens a stream; `None` when the other side allows no more now ([`StreamEvent::MayOpen`] follows).
    pub fn open(&mut self) -> Option<StreamId> {
        unimplemented!()
    }
    /// The next stream that the other side opened.
    pub fn accept(&mut self) -> Option<StreamId> {
        unimplemented!()
    }
    /// Takes as much of `data` as there is room for; gives how much. 0: blocked, [`StreamEvent::Writable`] follows.
    pub fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        unimplemented!("{id:?} {data:?}")
    }
    /// The stream ends behind what was written.
    pub fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        unimplemented!("{id:?}")
    }
    /// Gives up sending on a stream.
    pub fn reset(&mut self, id: StreamId, code: u64) {
        unimplemented!("{id:?} {code}")
    }
    /// Reads into `out`. After [`Read::Blocked`] a [`StreamEvent::Readable`] follows.
    pub fn read(&mut self, id: StreamId, out: &mut [u8]) -> Result<Read, ReadError> {
        unimplemented!("{id:?} {out:?}")
    }
    /// Does not want the rest of a stream.
    pub fn stop(&mut self, id: StreamId, code: u64) {
        unimplemented!("{id:?} {code}")
    }
    /// Closes it: everything not yet delivered is given up.
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: &str) {
        unimplemented!("{now:?} {code:?} {reason}")
    }
    /// Tries a path: challenges it now, and answers come as [`ConnectionEvent::PathValidated`] or `PathFailed`.
    pub fn probe(&mut self, now: Instant, route: Route) {
        unimplemented!("{now:?} {route:?}")
    }
    /// Sends on this validated path from now on; says whether it is one.
    pub fn switch(&mut self, now: Instant, route: Route) -> bool {
        unimplemented!("{now:?} {route:?}")
    }
}
