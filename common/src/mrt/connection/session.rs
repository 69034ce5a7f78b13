//! What an open connection consists of.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::transmit::SKIP_LEAST;
use super::{CloseReason, ConnectionEvent, Stats};
use crate::mrt::Side;
use crate::mrt::acks::{Acks, Frequency};
use crate::mrt::config::Config;
use crate::mrt::crypto::{Crypto, ReplayWindow};
use crate::mrt::frame::CloseCode;
use crate::mrt::handshake::{Established, Params, Remote};
use crate::mrt::loss::Sent;
use crate::mrt::packet::ConnectionId;
use crate::mrt::path::{Path, PathConfig, Route, Validation};
use crate::mrt::random::Random;
use crate::mrt::streams::{Budget, Streams};
use crate::mrt::timers::{Timer, Timers};

/// What an open connection begins with.
#[derive(Debug)]
pub(in crate::mrt) struct SessionStart {
    pub(in crate::mrt) config: Arc<Config>,
    /// What we said of ourselves.
    pub(in crate::mrt) params: Params,
    pub(in crate::mrt) budget: Budget,
    pub(in crate::mrt) established: Established,
    /// The third message of XX, if we have to bring it.
    pub(in crate::mrt) third: Option<Vec<u8>>,
    pub(in crate::mrt) route: Route,
    pub(in crate::mrt) local_ip: Option<IpAddr>,
    /// How long the handshake took to come back, if that can be told.
    pub(in crate::mrt) round_trip: Option<Duration>,
    pub(in crate::mrt) random: Random,
}

/// An open connection, or one that is being closed.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) config: Arc<Config>,
    pub(super) side: Side,
    remote: Remote,
    observed: Option<SocketAddr>,
    /// What the other side knows the connection by.
    pub(super) destination: ConnectionId,
    pub(super) crypto: Crypto,
    pub(super) replay: ReplayWindow,
    pub(super) acks: Acks,
    pub(super) sent: Sent,
    pub(super) streams: Streams,
    /// The path in use.
    pub(super) path: Path,
    /// Others, at most [`MAX_PATHS`].
    pub(super) others: Vec<Path>,
    pub(super) next_path: u32,
    /// We moved, and the other side may not know yet.
    pub(super) switched: Option<Switched>,
    /// The next packet number that is left out.
    pub(super) next_skip: u64,
    pub(super) max_datagram: u16,
    pub(super) timers: Timers,
    pub(super) random: Random,
    pub(super) counts: Stats,
    /// Goes with each packet until the other side has answered one.
    pub(super) third: Option<Vec<u8>>,
    pub(super) idle_timeout: Duration,
    pub(super) due: Due,
    /// When the oldest packet that was overtaken must be held for lost.
    pub(super) overtaken: Option<Instant>,
    /// Probe timeouts since something was acknowledged.
    pub(super) probe_timeouts: u32,
    /// When the last one was.
    pub(super) last_probe_timeout: Option<Instant>,
    /// How we asked to be acknowledged, as far as it was sent.
    pub(super) frequency: Frequency,
    /// Marks of congestion that the other side has told of.
    pub(super) congested: u64,
    /// Packets with data that came in a row without a pause.
    pub(super) data_in_row: u32,
    /// Something came since the windows were tuned.
    pub(super) untuned: bool,
    pub(super) ending: Ending,
    pub(super) events: VecDeque<ConnectionEvent>,
}

/// We moved to another path.
#[derive(Debug)]
pub(super) struct Switched {
    /// The paths that we left, one after the other.
    pub(super) from: Vec<Route>,
    /// Packets from this number on were sent after that.
    pub(super) number: u64,
}

/// What goes out with the next packets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Due {
    /// A PING, if nothing else wants an acknowledgement.
    pub(super) ping: bool,
    /// The next packet is padded to the full size.
    pub(super) padding: bool,
    /// AFRQ.
    pub(super) frequency: bool,
    /// So many packets that neither window nor pacer hold back.
    pub(super) probes: u8,
}

/// How far the end of a connection has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is in use.
    Not,
    /// RCLS is sent, now and for each of the next packets that still come.
    Closing {
        code: CloseCode,
        reason: String,
        due: bool,
        /// Packets that came since, to be answered ever more seldom.
        came: u32,
    },
    /// The other side has closed it; nothing is sent any more.
    Draining,
    /// The time for late packets is over.
    Over,
}

/// Most paths of a connection beside the one in use. Beyond that the oldest unproven one is forgotten.
pub(super) const MAX_PATHS: usize = 8;

impl Session {
    pub(super) fn new(now: Instant, side: Side, start: SessionStart) -> Self {
        let SessionStart { config, params, budget, established, third, route, local_ip, round_trip, mut random } =
            start;
        let max_datagram = established.params.max_datagram.min(params.max_datagram);
        let next_skip = 1 + random.u64() % SKIP_LEAST;
        let path_config = PathConfig { controller: config.controller, max_datagram, seed: random.u64() };
        let mut path = Path::new(now, route, 0, Validation::Proven, &path_config);
        path.local_ip = local_ip;
        if let Some(round_trip) = round_trip {
            path.rtt.on_sample(round_trip, Duration::ZERO);
            path.congestion.on_first_round_trip(now, round_trip);
        }
        let idle_timeout = config.idle_timeout.min(established.params.idle_timeout);
        let mut session = Self {
            streams: Streams::new(side, &config, budget, &established.params),
            config,
            side,
            remote: established.remote,
            observed: established.observed,
            destination: established.destination,
            crypto: Crypto::new(established.suite, &established.secrets),
            replay: ReplayWindow::default(),
            acks: Acks::new(),
            sent: Sent::new(),
            path,
            others: Vec::new(),
            next_path: 1,
            switched: None,
            next_skip,
            max_datagram,
            timers: Timers::default(),
            random,
            counts: Stats::default(),
            third,
            idle_timeout,
            // The responder knows that it is answered when the first packet comes: that must not wait for data.
            due: Due { ping: side == Side::Initiator, ..Due::default() },
            overtaken: None,
            probe_timeouts: 0,
            last_probe_timeout: None,
            frequency: Frequency::INITIAL,
            congested: 0,
            data_in_row: 0,
            untuned: false,
            ending: Ending::Not,
            events: VecDeque::from([ConnectionEvent::Connected]),
        };
        // The responder forgets a handshake that is not confirmed soon, and with XX has not shown yet that it has the network
        // key: until something comes from it, the deadline is the handshake's.
        let patience = match side {
            Side::Initiator => session.config.handshake_timeout,
            Side::Responder => idle_timeout,
        };
        session.timers.set(Timer::Idle, now + patience);
        session.rearm_keep_alive(now);
        session.follow_window();
        session
    }

    pub(super) const fn remote(&self) -> Remote {
        self.remote
    }

    pub(super) const fn observed(&self) -> Option<SocketAddr> {
        self.observed
    }

    pub(super) const fn route(&self) -> Route {
        self.path.route
    }

    pub(super) const fn proven_route(&self) -> Option<Route> {
        if self.path.is_proven() { Some(self.path.route) } else { None }
    }

    pub(super) fn is_path_proven(&self, route: Route) -> bool {
        std::iter::once(&self.path).chain(&self.others).any(|path| path.route == route && path.is_proven())
    }

    pub(super) const fn local_ip(&self) -> Option<IpAddr> {
        self.path.local_ip
    }

    /// Whether streams may be used.
    pub(super) const fn is_usable(&self) -> bool {
        matches!(self.ending, Ending::Not)
    }

    /// Whether nothing more is to be done.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.ending, Ending::Over)
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            round_trip: self.path.rtt.smoothed(),
            min_round_trip: self.path.rtt.min(),
            window: self.path.congestion.window(),
            in_flight: self.path.in_flight,
            rate: self.path.congestion.rate(),
            datagram: self.path.mtu.current(),
            ..self.counts
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<ConnectionEvent> {
        if let Some(event) = self.events.pop_front() {
            return Some(event);
        }
        if !self.is_usable() {
            return None;
        }
        self.streams.poll_event().map(ConnectionEvent::Stream)
    }

    /// The event that says why it is over, if it was not taken yet.
    pub(super) fn take_close_event(&mut self) -> Option<ConnectionEvent> {
        self.events.drain(..).find(|event| matches!(event, ConnectionEvent::Closed(_)))
    }

    /// Ends it from here: RCLS goes out, `event` is told.
    pub(super) fn close(&mut self, now: Instant, code: CloseCode, reason: &str, event: CloseReason) {
        if !self.is_usable() {
            return;
        }
        self.ending = Ending::Closing { code, reason: reason.to_owned(), due: true, came: 0 };
        self.end(now, event);
    }

    /// The other side has closed it.
    pub(super) fn on_close(&mut self, now: Instant, code: CloseCode, reason: &[u8]) {
        if !self.is_usable() {
            self.ending = Ending::Draining;
            return;
        }
        self.ending = Ending::Draining;
        self.end(now, CloseReason::There { code, reason: String::from_utf8_lossy(reason).into_owned() });
    }

    /// Ends it without a word: nobody is there any more.
    pub(super) fn vanish(&mut self) {
        if self.is_usable() {
            // Whoever has another network key shows it first in what it does not answer.
            let answered = self.counts.datagrams_received > 0;
            let reason = if answered { CloseReason::TimedOut } else { CloseReason::NoAnswer };
            self.events.push_back(ConnectionEvent::Closed(reason));
        }
        self.ending = Ending::Over;
    }

    /// Ends it without a word: the key has sealed as many packets as it may.
    pub(super) fn exhausted(&mut self) {
        let reason = "the other side never acknowledged anything, and the key is used up";
        self.events.push_back(ConnectionEvent::Closed(CloseReason::Violation(reason)));
        self.ending = Ending::Over;
    }

    fn end(&mut self, now: Instant, event: CloseReason) {
        self.events.push_back(ConnectionEvent::Closed(event));
        self.timers = Timers::default();
        /// Late packets are known for so many probe timeouts (RFC 9000, section 10.2).
        const PROBE_TIMEOUTS: u32 = 3;
        let probe_timeout = self.path.rtt.probe_timeout(self.frequency.delay).min(MAX_DRAIN / PROBE_TIMEOUTS);
        self.timers.set(Timer::Drain, now + probe_timeout * PROBE_TIMEOUTS);
    }

    /// A packet came or went: the other side knows that we are there.
    pub(super) fn rearm_keep_alive(&mut self, now: Instant) {
        // The other side may be less patient than we are: three tries before it gives up.
        let pause = self.config.keep_alive.map(|pause| pause.min(self.idle_timeout / 3));
        self.timers.set_to(Timer::KeepAlive, pause.map(|pause| now + pause));
    }

    /// Lets the send buffer follow the window: what is under way must stay in memory until it is acknowledged.
    pub(super) fn follow_window(&mut self) {
        /// Beyond what is under way: the program writes while packets are sent.
        const BESIDE: u64 = 512 << 10;
        let limit = (self.path.congestion.window().saturating_mul(2) + BESIDE).min(self.config.max_send_buffer);
        self.streams.set_send_limit(limit);
    }

    /// How a new path begins.
    pub(super) fn path_config(&mut self) -> PathConfig {
        PathConfig { controller: self.config.controller, max_datagram: self.max_datagram, seed: self.random.u64() }
    }
}

/// Longest time that the state of a closed connection is kept.
const MAX_DRAIN: Duration = Duration::from_secs(5);
