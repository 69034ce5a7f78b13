//! An initiator before the ACON: it asks, and asks again.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::session::SessionStart;
use crate::mrt::config::Config;
use crate::mrt::crypto::Suite;
use crate::mrt::endpoint::Target;
use crate::mrt::handshake::{HandshakeError, Initiating, LocalKeys, Params};
use crate::mrt::packet::{ConnectionId, MAX_COOKIE, Packet, Pattern};
use crate::mrt::path::{Ecn, Received, Route, Transmit};
use crate::mrt::random::Random;
use crate::mrt::streams::Budget;

/// What a request is made of.
#[derive(Debug)]
pub(in crate::mrt) struct RequestStart<'a> {
    pub(in crate::mrt) config: Arc<Config>,
    pub(in crate::mrt) keys: &'a LocalKeys,
    pub(in crate::mrt) params: Params,
    pub(in crate::mrt) budget: Budget,
    pub(in crate::mrt) route: Route,
    pub(in crate::mrt) target: Target,
    pub(in crate::mrt) ours: ConnectionId,
    pub(in crate::mrt) random: Random,
}

/// A connection that was asked for.
pub(super) struct Request {
    config: Arc<Config>,
    params: Params,
    budget: Budget,
    initiating: Initiating,
    target: Target,
    route: Route,
    local_ip: Option<IpAddr>,
    suite: Suite,
    pattern: Pattern,
    ours: ConnectionId,
    noise: Vec<u8>,
    cookie: Vec<u8>,
    cookies: u32,
    random: Option<Random>,
    first_sent: Option<Instant>,
    /// How often the RCON was sent.
    sent: u32,
    next: Instant,
    give_up: Instant,
}

/// What a datagram brought.
#[derive(Debug)]
pub(super) enum Answer {
    None,
    Accepted(Box<SessionStart>),
}

/// The first RCON is repeated after this, each later one after twice as long as the one before. Long enough for most paths
/// of the world, short enough that one loss is hardly felt.
const FIRST_REPEAT: Duration = Duration::from_millis(300);

/// Longest time between two RCONs: of the dozen that fit into the default time one gets through where two of five
/// datagrams are lost.
const LONGEST_REPEAT: Duration = Duration::from_secs(1);

/// So many cookies are taken in one request: a responder in need sends one, or two when its secret has just changed.
const MAX_COOKIES: u32 = 4;

impl Request {
    /// An error if the target's key is none.
    pub(super) fn new(now: Instant, mut start: RequestStart<'_>) -> Result<Self, HandshakeError> {
        let suite = start.config.suite;
        let (initiating, pattern, noise) = Initiating::start(
            start.keys,
            suite,
            start.target.static_key,
            start.ours,
            &start.params,
            &mut start.random,
        )?;
        Ok(Self {
            give_up: now + start.config.handshake_timeout,
            config: start.config,
            params: start.params,
            budget: start.budget,
            initiating,
            target: start.target,
            route: start.route,
            local_ip: None,
            suite,
            pattern,
            ours: start.ours,
            noise,
            cookie: Vec::new(),
            cookies: 0,
            random: Some(start.random),
            first_sent: None,
            sent: 0,
            next: now,
        })
    }

    pub(super) const fn route(&self) -> Route {
        self.route
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, received: &Received, datagram: &[u8]) -> Answer {
        match Packet::decode(datagram) {
            Ok(Packet::Accept { noise, .. }) => self.on_accept(now, received, noise),
            Ok(Packet::Cookie { cookie, .. }) => {
                let news = cookie.len() <= MAX_COOKIE && cookie != self.cookie && self.cookies < MAX_COOKIES;
                if news {
                    self.cookie = cookie.to_vec();
                    self.cookies += 1;
                    self.next = now;
                }
                Answer::None
            }
            _ => Answer::None,
        }
    }

    fn on_accept(&mut self, now: Instant, received: &Received, noise: &[u8]) -> Answer {
        // An answer from elsewhere may be a true one that somebody forwards, to have us send a flood there.
        if received.route != self.route {
            return Answer::None;
        }
        // Whoever answers falsely is not believed, and the true answer may still come.
        let Ok((established, third)) = self.initiating.accept(noise) else { return Answer::None };
        let wanted = self.target.peer.is_none_or(|peer| peer == established.remote.identity.peer_id());
        let Some(random) = self.random.take_if(|_| wanted) else { return Answer::None };
        Answer::Accepted(Box::new(SessionStart {
            config: Arc::clone(&self.config),
            params: self.params,
            budget: self.budget.clone(),
            established,
            third,
            route: received.route,
            local_ip: received.local_ip,
            // After a repetition nobody knows which RCON was answered.
            round_trip: self.first_sent.filter(|_| self.sent == 1).map(|at| now.saturating_duration_since(at)),
            random,
        }))
    }

    /// Says whether it is to be given up.
    pub(super) fn handle_timeout(&self, now: Instant) -> bool {
        self.give_up <= now
    }

    pub(super) fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        if now < self.next {
            return None;
        }
        let start = out.len();
        Packet::encode_request(out, (self.suite, self.pattern), self.ours, &self.cookie, &self.noise);
        self.next = now + (FIRST_REPEAT * (1 << self.sent.min(4))).min(LONGEST_REPEAT);
        self.sent += 1;
        self.first_sent.get_or_insert(now);
        Some(Transmit {
            route: self.route,
            local_ip: self.local_ip,
            ecn: Ecn::NotCapable,
            size: out.len() - start,
            segment_size: None,
        })
    }

    pub(super) fn deadline(&self) -> Instant {
        self.next.min(self.give_up)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("route", &self.route).field("sent", &self.sent).finish_non_exhaustive()
    }
}
