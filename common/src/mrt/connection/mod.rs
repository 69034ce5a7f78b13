//! One connection: packets in, packets out, timers.
//!
//! ```text
//!   initiator                                   responder
//!   Requesting --ACON--> Open                   (its endpoint keeps what is unproven) --first sealed packet--> Open
//!       |                  |  close(), a violation            RCLS is sent, and again for what still comes
//!       |                  +------------------> Closing ----+
//!       |                  |  RCLS came                     |  three probe timeouts later
//!       |                  +------------------> Draining ---+--> Closed
//!       |                  |  nothing came for too long     |
//!       +------------------+--------------------------------+
//!          nobody answered
//! ```
//!
//! - `request`: before the ACON
//! - `session`: what an open connection consists of
//! - `receive`: packets in
//! - `transmit`: packets out
//! - `timeout`: when time has passed
//! - `moving`: changes of path

mod moving;
mod receive;
mod request;
mod session;
mod timeout;
mod transmit;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::request::{Answer, Request};
use self::session::Session;
use super::Side;
use super::frame::CloseCode;
use super::handshake::{HandshakeError, Remote};
use super::path::{Received, Route, Transmit};
use super::streams::{Read, ReadError, StreamEvent, StreamId, WriteError};

pub(super) use self::request::RequestStart;
pub(super) use self::session::SessionStart;

/// What happened to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// It stands: streams can be opened. The first event of every connection that comes to stand. Where the responder's
    /// static key was not known, it has proven its identity, but not yet that it has the network key: what is sent it
    /// can read only with that, and if it has not, [`CloseReason::NoAnswer`] follows.
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
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Bytes of all datagrams sent.
    pub bytes_sent: u64,
    /// Datagrams that came and were opened.
    pub datagrams_received: u64,
    /// Bytes of all those.
    pub bytes_received: u64,
    /// Datagrams that came on the path in use and were damaged, or had come before.
    pub datagrams_refused: u64,
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

/// One connection. Its endpoint tells it of datagrams and time; the program opens streams, writes and reads.
///
/// After any of the program's calls the endpoint is asked for datagrams again (see [`super::Endpoint`] for the order).
/// Streams can be opened from [`ConnectionEvent::Connected`] on, until [`ConnectionEvent::Closed`].
#[derive(Debug)]
pub struct Connection {
    side: Side,
    state: State,
}

#[derive(Debug)]
enum State {
    Requesting(Box<Request>),
    Open(Box<Session>),
    /// Over, with the event that says so while it was not taken.
    Closed {
        route: Route,
        event: Option<ConnectionEvent>,
    },
}

impl Connection {
    /// Who asked for it.
    pub const fn side(&self) -> Side {
        self.side
    }

    /// Who is at the other end; `None` until it stands.
    pub const fn remote(&self) -> Option<Remote> {
        match &self.state {
            State::Open(session) => Some(session.remote()),
            State::Requesting(_) | State::Closed { .. } => None,
        }
    }

    /// The path in use.
    pub const fn route(&self) -> Route {
        match &self.state {
            State::Requesting(request) => request.route(),
            State::Open(session) => session.route(),
            State::Closed { route, .. } => *route,
        }
    }

    /// The path in use, if it is proven that the other side is there.
    pub const fn proven_route(&self) -> Option<Route> {
        match &self.state {
            State::Open(session) => session.proven_route(),
            State::Requesting(_) | State::Closed { .. } => None,
        }
    }

    /// Whether the other side is known to be at the end of this path, in use or not.
    pub fn is_proven(&self, route: Route) -> bool {
        match &self.state {
            State::Open(session) => session.is_path_proven(route),
            State::Requesting(_) | State::Closed { .. } => false,
        }
    }

    /// Whether nothing of what was sent is acknowledged any more, three probe timeouts in a row, or the path in use is known to
    /// be dead. Another path that answers then is taken by itself.
    pub fn is_silent(&self) -> bool {
        match &self.state {
            State::Open(session) => session.is_silent(),
            State::Requesting(_) | State::Closed { .. } => false,
        }
    }

    /// Which of our addresses packets on the path in use come to, where the system says so.
    pub const fn local_ip(&self) -> Option<IpAddr> {
        match &self.state {
            State::Open(session) => session.local_ip(),
            State::Requesting(_) | State::Closed { .. } => None,
        }
    }

    /// Where we seemed to be when we asked, as the other side saw it.
    pub const fn observed(&self) -> Option<SocketAddr> {
        match &self.state {
            State::Open(session) => session.observed(),
            State::Requesting(_) | State::Closed { .. } => None,
        }
    }

    /// Figures.
    pub fn stats(&self) -> Stats {
        match &self.state {
            State::Open(session) => session.stats(),
            State::Requesting(_) | State::Closed { .. } => Stats::default(),
        }
    }

    /// Opens a stream; `None` when the other side allows no more now ([`StreamEvent::MayOpen`] follows), or the
    /// connection does not stand.
    pub fn open(&mut self) -> Option<StreamId> {
        self.session()?.streams.open()
    }

    /// The next stream that the other side opened.
    pub fn accept(&mut self) -> Option<StreamId> {
        self.session()?.streams.accept()
    }

    /// Takes as much of `data` as there is room for; gives how much. 0: blocked, [`StreamEvent::Writable`] follows.
    pub fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        self.session().ok_or(WriteError::Closed)?.streams.write(id, data)
    }

    /// Takes as much from the front of `chunk` as there is room for, without copying it; gives how much. 0: blocked,
    /// [`StreamEvent::Writable`] follows.
    pub fn write_chunk(&mut self, id: StreamId, chunk: &mut Bytes) -> Result<usize, WriteError> {
        self.session().ok_or(WriteError::Closed)?.streams.write_chunk(id, chunk)
    }

    /// The stream ends behind what was written.
    pub fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        self.session().ok_or(WriteError::Closed)?.streams.finish(id)
    }

    /// Gives up sending on a stream.
    pub fn reset(&mut self, id: StreamId, code: u64) {
        if let Some(session) = self.session() {
            session.streams.reset(id, code);
        }
    }

    /// Reads into `out`. After [`Read::Blocked`] a [`StreamEvent::Readable`] follows.
    pub fn read(&mut self, id: StreamId, out: &mut [u8]) -> Result<Read, ReadError> {
        self.session().ok_or(ReadError::Closed)?.streams.read(id, out)
    }

    /// Puts what can be read next into `into`, and nothing else; its memory is kept for what comes. Where the program reads
    /// nothing but so, and is not behind, nothing is copied. After [`Read::Blocked`] a [`StreamEvent::Readable`] follows.
    pub fn read_chunk(&mut self, id: StreamId, into: &mut Vec<u8>) -> Result<Read, ReadError> {
        self.session().ok_or(ReadError::Closed)?.streams.read_chunk(id, into)
    }

    /// Does not want the rest of a stream.
    pub fn stop(&mut self, id: StreamId, code: u64) {
        if let Some(session) = self.session() {
            session.streams.stop(id, code);
        }
    }

    /// Whether streams have anything to send, now or as soon as window and pacer allow it.
    pub fn wants_to_send(&self) -> bool {
        match &self.state {
            State::Open(session) => session.streams.has_frames(),
            State::Requesting(_) | State::Closed { .. } => false,
        }
    }

    /// Closes it: everything not yet delivered is given up. Of the reason 256 bytes are sent.
    pub fn close(&mut self, now: Instant, code: CloseCode, reason: &str) {
        match &mut self.state {
            State::Open(session) => session.close(now, code, reason, CloseReason::Here),
            State::Requesting(request) => {
                let route = request.route();
                self.state = State::Closed { route, event: Some(ConnectionEvent::Closed(CloseReason::Here)) };
            }
            State::Closed { .. } => {}
        }
    }

    /// Tries a path: challenges it now, and answers come as [`ConnectionEvent::PathValidated`] or
    /// [`ConnectionEvent::PathFailed`]. Nothing else is sent there unless [`Self::switch`] says so.
    pub fn probe(&mut self, now: Instant, route: Route) {
        if let Some(session) = self.session() {
            session.probe_path(now, route);
        }
    }

    /// Sends on this path from now on, and the other side follows; says whether it is one that is validated and was heard
    /// within 30 s.
    pub fn switch(&mut self, now: Instant, route: Route) -> bool {
        self.session().is_some_and(|session| session.switch(now, route))
    }

    /// Asks for a connection; an error if the target's key is none.
    pub(super) fn request(now: Instant, start: RequestStart<'_>) -> Result<Self, HandshakeError> {
        let request = Request::new(now, start)?;
        Ok(Self { side: Side::Initiator, state: State::Requesting(Box::new(request)) })
    }

    /// Takes over a connection that somebody asked for, and has proven to be there.
    pub(super) fn accepted(now: Instant, start: SessionStart) -> Self {
        Self { side: Side::Responder, state: State::Open(Box::new(Session::new(now, Side::Responder, start))) }
    }

    /// A datagram for this connection came. It is opened in place.
    pub(super) fn handle_datagram(&mut self, now: Instant, received: &Received, datagram: &mut [u8]) {
        match &mut self.state {
            State::Requesting(request) => match request.handle_datagram(now, received, datagram) {
                Answer::None => {}
                Answer::Accepted(start) => {
                    self.state = State::Open(Box::new(Session::new(now, Side::Initiator, *start)));
                }
            },
            State::Open(session) => session.handle_datagram(now, received, datagram),
            State::Closed { .. } => {}
        }
        self.settle();
    }

    /// These routes lead nowhere any more.
    pub(super) fn forget_routes(&mut self, now: Instant, is_gone: &impl Fn(Route) -> bool) {
        match &mut self.state {
            State::Requesting(request) if is_gone(request.route()) => {
                let route = request.route();
                self.state = State::Closed { route, event: Some(ConnectionEvent::Closed(CloseReason::NoAnswer)) };
            }
            State::Open(session) => session.forget_routes(now, is_gone),
            State::Requesting(_) | State::Closed { .. } => {}
        }
    }

    /// The time that [`Self::poll_timeout`] gave has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match &mut self.state {
            State::Requesting(request) => {
                if request.handle_timeout(now) {
                    let route = request.route();
                    self.state = State::Closed { route, event: Some(ConnectionEvent::Closed(CloseReason::NoAnswer)) };
                }
            }
            State::Open(session) => session.handle_timeout(now),
            State::Closed { .. } => {}
        }
        self.settle();
    }

    /// Appends the next datagrams to `out`: at most `segments` of one size.
    pub(super) fn poll_transmit(&mut self, now: Instant, segments: usize, out: &mut Vec<u8>) -> Option<Transmit> {
        let transmit = match &mut self.state {
            State::Requesting(request) => request.poll_transmit(now, out),
            State::Open(session) => session.poll_transmit(now, segments, out),
            State::Closed { .. } => None,
        };
        self.settle();
        transmit
    }

    /// When it wants to be called, if at all; asked after [`Self::poll_transmit`] gave nothing.
    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        match &mut self.state {
            State::Requesting(request) => Some(request.deadline()),
            State::Open(session) => session.poll_timeout(),
            State::Closed { .. } => None,
        }
    }

    /// What happened.
    pub(super) fn poll_event(&mut self) -> Option<ConnectionEvent> {
        match &mut self.state {
            State::Requesting(_) => None,
            State::Open(session) => session.poll_event(),
            State::Closed { event, .. } => event.take(),
        }
    }

    /// Whether nothing is left to do; there may be something to tell.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Whether nothing is left to do or to tell.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Closed { event: None, .. })
    }

    /// A session that is over goes; of its events the last one stays.
    fn settle(&mut self) {
        let State::Open(session) = &mut self.state else { return };
        if session.is_over() {
            let (route, event) = (session.route(), session.take_close_event());
            self.state = State::Closed { route, event };
        }
    }

    /// The session, while it can still be used.
    fn session(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Open(session) if session.is_usable() => Some(session),
            State::Open(_) | State::Requesting(_) | State::Closed { .. } => None,
        }
    }
}

#[cfg(test)]
impl Connection {
    /// The next packet, with these frames in it: of somebody who has the keys, and a program that does what he likes.
    pub(super) fn forge(&mut self, now: Instant, frames: &[u8]) -> Vec<u8> {
        self.session().expect("the connection stands").forge(now, frames)
    }
}
