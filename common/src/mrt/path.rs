//! The addresses a connection may use, and what is known of each.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::config::ControllerKind;
use super::congestion::Congestion;
use super::loss::{Kind, SentPacket};
use super::mtu::Mtu;
use super::rtt::Rtt;

/// A way to the other side: one of our sockets, and an address. The address is opaque to the machines: it may as well stand
/// for a relay, if who moves the datagrams knows what to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Which of the sockets; the driver numbers them.
    pub socket: u16,
    /// Where the other end is.
    pub remote: SocketAddr,
}

/// How a datagram came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// On which socket, and from where.
    pub route: Route,
    /// Which of our addresses it was sent to, where the system says so: the answer leaves from there.
    pub local_ip: Option<IpAddr>,
    /// What routers said on its way.
    pub ecn: Ecn,
}

/// The mark of a datagram for congestion (RFC 3168).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ecn {
    /// The sender does not take part.
    #[default]
    NotCapable,
    /// The sender takes part, and no router complained: ECT(0) or ECT(1).
    Capable,
    /// A router has a growing queue.
    CongestionExperienced,
}

/// Datagrams to be sent; their bytes are in the buffer given to `poll_transmit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// On which socket, and where to.
    pub route: Route,
    /// From which of our addresses, if it matters.
    pub local_ip: Option<IpAddr>,
    /// The mark to send it with.
    pub ecn: Ecn,
    /// All bytes.
    pub size: usize,
    /// Several datagrams of so many bytes, of which the last may be shorter; `None` for a single one.
    pub segment_size: Option<usize>,
}

/// One path: a route, and all that is known of it. What is under way elsewhere does not count here.
#[derive(Debug)]
pub(super) struct Path {
    pub(super) route: Route,
    /// Which of our addresses packets on it came to.
    pub(super) local_ip: Option<IpAddr>,
    /// Its number in this connection; numbers are not used twice.
    pub(super) number: u32,
    pub(super) rtt: Rtt,
    pub(super) congestion: Congestion,
    pub(super) mtu: Mtu,
    /// Bytes under way on it, under congestion control.
    pub(super) in_flight: u64,
    pub(super) validation: Validation,
    /// What the other side challenged us with, and is still to be answered.
    pub(super) response: Option<[u8; 8]>,
    /// What another path to the same peer carried, as long as this one is not measured.
    resume: Option<Resume>,
    /// When something last came on it.
    heard: Instant,
    /// Bytes that came on it, and bytes sent, as long as it is unproven.
    received: u64,
    sent: u64,
}

/// Whether somebody is known to be there who takes part in this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validation {
    /// They answered.
    Proven,
    /// They are asked.
    Challenged {
        /// With this.
        token: [u8; 8],
        /// Since then.
        since: Instant,
        /// Last at this time; `None`: not yet.
        last: Option<Instant>,
        /// So many times.
        tries: u32,
    },
    /// They did not answer.
    Failed,
}

/// What a path carried, for the one that takes its place.
#[derive(Debug, Clone, Copy)]
struct Resume {
    /// Bytes that filled it.
    product: u64,
    round_trip: Duration,
}

/// How a path begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct PathConfig {
    pub(super) controller: ControllerKind,
    /// Largest datagram that both sides take.
    pub(super) max_datagram: u16,
    /// For what the controller does at random.
    pub(super) seed: u64,
}

/// An unproven address is sent at most so many times the bytes that came from it (RFC 9000, section 8).
const AMPLIFICATION: u64 = 3;

/// An unproven address that nothing came from gets challenges of this size together, and no more: some eight of them.
const UNASKED: u64 = 400;

/// With less credit on an unproven path nothing is sent: an acknowledgement or a challenge would not fit.
const LEAST_CREDIT: u64 = 64;

/// A path that is not in use stays proven for so long after something came on it: longer than a pause between keep-alives,
/// shorter than an address takes to get another owner.
const GOOD_FOR: Duration = Duration::from_secs(30);

/// How often a path is challenged, and for how long at least, before it is given up.
const MAX_CHALLENGES: u32 = 8;
const CHALLENGE_TIME: Duration = Duration::from_secs(3);

/// Between two challenges pass no more than this, where a round trip is no longer: both sides of a NAT must try at the same
/// time, and seldom do so at once.
const MAX_CHALLENGE_PAUSE: Duration = Duration::from_millis(400);

/// Between two challenges pass at least this.
const MIN_CHALLENGE_PAUSE: Duration = Duration::from_millis(20);

impl Path {
    pub(super) fn new(now: Instant, route: Route, number: u32, validation: Validation, config: &PathConfig) -> Self {
        let mtu = Mtu::new(config.max_datagram);
        let congestion = Congestion::new(now, config.controller, u64::from(mtu.current()), config.seed);
        Self {
            route,
            local_ip: None,
            number,
            rtt: Rtt::new(),
            congestion,
            mtu,
            in_flight: 0,
            validation,
            response: None,
            resume: None,
            heard: now,
            received: 0,
            sent: 0,
        }
    }

    /// The other side is at a new address, and this path takes the place of `old`. As soon as it is measured it may begin with
    /// most of what was under way there, if it is about as long (after draft-ietf-tsvwg-careful-resume, whose half is for what
    /// was learned long ago): who gets another address often keeps the link that decides.
    pub(super) fn resume(&mut self, old: &Self) {
        if self.rtt.is_measured() || !old.is_proven() || !old.rtt.is_measured() {
            return;
        }
        self.resume = old.congestion.product().map(|product| Resume { product, round_trip: old.rtt.min() });
    }

    /// The first round trip on it is known.
    pub(super) fn on_first_round_trip(&mut self, now: Instant, round_trip: Duration) {
        self.rtt.on_sample(round_trip, Duration::ZERO);
        self.congestion.on_first_round_trip(now, round_trip);
        if let Some(Resume { product, round_trip: expected }) = self.resume.take()
            && (expected / 2..expected * 10).contains(&round_trip)
        {
            self.congestion.begin_with(now, product / 4 * 3);
        }
    }

    /// Takes over what was learned on `old`, since only the port of the other side has changed: that is a router that lost
    /// its memory, not another way (RFC 9000, section 9.4).
    pub(super) fn inherit(&mut self, now: Instant, old: &mut Self, config: &PathConfig) {
        let fresh = Congestion::new(now, config.controller, u64::from(old.mtu.current()), config.seed);
        self.congestion = std::mem::replace(&mut old.congestion, fresh);
        self.mtu = std::mem::replace(&mut old.mtu, Mtu::new(config.max_datagram));
        self.rtt = old.rtt;
    }

    /// Whether somebody is there is open again.
    pub(super) const fn challenge_anew(&mut self, challenge: Validation) {
        self.validation = challenge;
        (self.received, self.sent) = (0, 0);
    }

    /// Somebody answered there.
    pub(super) const fn is_proven(&self) -> bool {
        matches!(self.validation, Validation::Proven)
    }

    /// Whether nothing came on it for so long that somebody else may have the address now.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard) > GOOD_FOR
    }

    /// A datagram of `bytes` came on it.
    pub(super) const fn on_received(&mut self, now: Instant, bytes: u64) {
        self.heard = now;
        self.received = self.received.saturating_add(bytes);
    }

    /// A datagram of `bytes` was sent on it.
    pub(super) const fn on_sent(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
    }

    /// How many bytes may still be sent on it before its address is proven.
    pub(super) const fn credit(&self) -> u64 {
        match self.validation {
            Validation::Proven => u64::MAX,
            _ => (self.received * AMPLIFICATION + UNASKED * (self.received == 0) as u64).saturating_sub(self.sent),
        }
    }

    /// The fate of a packet became known that was sent on this path, which is not in use now.
    pub(super) fn on_settled_beside(&mut self, now: Instant, packet: &SentPacket) {
        if packet.state.is_some() {
            self.in_flight = self.in_flight.saturating_sub(u64::from(packet.size));
        }
        if packet.kind == Kind::MtuProbe {
            self.mtu.on_probe_lost(now, packet.size);
        }
    }

    /// Whether there is credit for anything worth sending.
    pub(super) const fn may_send(&self) -> bool {
        self.credit() >= LEAST_CREDIT
    }

    /// The challenge to send now, if one is due; `pause` is how long an answer may take.
    pub(super) fn due_challenge(&self, now: Instant, pause: Duration) -> Option<[u8; 8]> {
        match self.validation {
            Validation::Challenged { token, last, tries, .. } if tries < MAX_CHALLENGES => {
                let due = last.is_none_or(|last| last + Self::pause(pause, tries) <= now);
                due.then_some(token)
            }
            _ => None,
        }
    }

    /// A challenge was sent.
    pub(super) const fn on_challenge_sent(&mut self, now: Instant) {
        if let Validation::Challenged { last, tries, .. } = &mut self.validation {
            *last = Some(now);
            *tries += 1;
        }
    }

    /// When the next challenge is due, or the path is given up.
    pub(super) fn challenge_deadline(&self, pause: Duration) -> Option<Instant> {
        let Validation::Challenged { since, last, tries, .. } = self.validation else { return None };
        let next = last? + Self::pause(pause, tries);
        let is_last = tries >= MAX_CHALLENGES || !self.may_send();
        Some(if is_last { next.max(since + CHALLENGE_TIME) } else { next })
    }

    /// Whether all challenges went unanswered.
    pub(super) fn has_failed(&self, now: Instant, pause: Duration) -> bool {
        match self.validation {
            Validation::Challenged { tries, .. } => {
                let is_last = tries >= MAX_CHALLENGES || !self.may_send();
                is_last && self.challenge_deadline(pause).is_some_and(|deadline| deadline <= now)
            }
            _ => false,
        }
    }

    /// An answer came; gives the round trip if it is the one to our challenge.
    pub(super) fn on_response(&mut self, now: Instant, response: [u8; 8]) -> Option<Duration> {
        match self.validation {
            // From the first challenge: which of them is answered cannot be told, and too long a guess does less harm.
            Validation::Challenged { token, since, .. } if token == response => {
                self.validation = Validation::Proven;
                let round_trip = now.saturating_duration_since(since);
                if !self.rtt.is_measured() {
                    self.on_first_round_trip(now, round_trip);
                }
                Some(round_trip)
            }
            _ => None,
        }
    }

    /// Two at the first distance, then each twice as long as the one before, up to [`MAX_CHALLENGE_PAUSE`] or the first.
    fn pause(pause: Duration, tries: u32) -> Duration {
        let first = pause.max(MIN_CHALLENGE_PAUSE);
        (first * (1 << tries.saturating_sub(2).min(5))).min(MAX_CHALLENGE_PAUSE.max(first))
    }
}
