//! Handshakes of strangers: those who asked for a connection and have not shown yet that they are where they seem to be, and
//! that they have the keys.
//!
//! A datagram is answered by one that is no larger, and by nothing else. What is kept is bounded: [`MAX_UNPROVEN`]
//! handshakes for [`LIFETIME`]. From [`COOKIES_FROM`] on, a cookie must come back before anything is computed or kept.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use super::cookie::Cookies;
use super::crypto::{Crypto, Suite};
use super::handshake::{Established, LocalKeys, Params, Responding};
use super::packet::{ConnectionId, Packet, Pattern};
use super::path::{Ecn, Received, Route, Transmit};
use super::random::Random;

/// All handshakes of strangers.
#[derive(Debug)]
pub(super) struct Unproven {
    /// The oldest first.
    handshakes: VecDeque<Handshake>,
    cookies: Cookies,
    replies: VecDeque<Reply>,
    /// When and from where requests came that were no good: they cost as much to look at as good ones.
    refused: VecDeque<(Instant, IpAddr)>,
    /// From where those came who had not the pre-shared key.
    strangers: VecDeque<Route>,
}

/// An RCON.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) suite: Suite,
    pub(super) pattern: Pattern,
    pub(super) source: ConnectionId,
    pub(super) cookie: &'a [u8],
    pub(super) noise: &'a [u8],
}

/// Somebody is there, and has the keys.
#[derive(Debug)]
pub(super) struct Admission {
    /// Where the ACON was sent: somebody received it there.
    pub(super) route: Route,
    pub(super) established: Established,
    /// From the ACON to the first packet, if only one ACON was sent.
    pub(super) round_trip: Option<Duration>,
}

struct Handshake {
    route: Route,
    source: ConnectionId,
    ours: ConnectionId,
    /// The RCON's Noise message, to know a repetition.
    asked: Vec<u8>,
    /// The ACON's.
    answer: Vec<u8>,
    responding: Responding,
    at: Instant,
    answered: u32,
    /// Messages that showed that it has not the pre-shared key.
    bad_confirms: u32,
}

#[derive(Debug)]
struct Reply {
    route: Route,
    local_ip: Option<IpAddr>,
    datagram: Vec<u8>,
}

/// Most handshakes kept.
const MAX_UNPROVEN: usize = 256;

/// From so many on strangers must bring a cookie.
const COOKIES_FROM: usize = 32;

/// Most of one network (see [`network_of`]): cookies prove an address, but one address can ask often.
const MAX_PER_NETWORK: usize = 32;

/// A handshake goes after so many third messages that do not open.
const MAX_BAD_CONFIRMS: u32 = 8;

/// Most strangers that are remembered until somebody asks for them; those that come then are not.
const MAX_STRANGERS: usize = 16;

/// A handshake is kept for so long.
const LIFETIME: Duration = Duration::from_secs(5);

/// Most datagrams that wait to be sent; what comes beyond is as if it had not come.
const MAX_REPLIES: usize = 512;

impl Unproven {
    pub(super) fn new(now: Instant, random: &mut Random) -> Self {
        Self {
            handshakes: VecDeque::new(),
            cookies: Cookies::new(now, random),
            replies: VecDeque::new(),
            refused: VecDeque::new(),
            strangers: VecDeque::new(),
        }
    }

    /// Somebody asks for a connection, which is to have our id `ours`.
    pub(super) fn on_request(
        &mut self,
        now: Instant,
        received: &Received,
        asked: &Asked<'_>,
        ours: ConnectionId,
        params: &Params,
        (keys, random): (&LocalKeys, &mut Random),
    ) {
        self.handle_timeout(now);
        if self.replies.len() >= MAX_REPLIES || self.answer_again(received, asked) {
            return;
        }
        let route = received.route;
        if self.handshakes.len() + self.refused.len() >= COOKIES_FROM {
            let from = route.remote;
            if !self.cookies.check(now, from, asked.source, asked.cookie) {
                let cookie = self.cookies.make(now, from, asked.source);
                self.reply(received, |datagram| Packet::encode_cookie(datagram, asked.source, &cookie));
                return;
            }
            let network = network_of(from.ip());
            let kept = self.handshakes.iter().map(|other| network_of(other.route.remote.ip()));
            let same =
                kept.chain(self.refused.iter().map(|(_, other)| *other)).filter(|other| *other == network).count();
            if self.handshakes.len() >= MAX_UNPROVEN || same >= MAX_PER_NETWORK {
                return;
            }
        }
        let started = Responding::start(
            keys,
            (asked.suite, asked.pattern),
            asked.source,
            asked.noise,
            ours,
            route.remote,
            params,
            &mut random.fork(),
        );
        let Ok((responding, answer)) = started else {
            if self.refused.len() == MAX_UNPROVEN {
                self.refused.pop_front();
            }
            self.refused.push_back((now, network_of(route.remote.ip())));
            return;
        };
        self.reply(received, |datagram| Packet::encode_accept(datagram, asked.source, &answer));
        self.handshakes.push_back(Handshake {
            route,
            source: asked.source,
            ours,
            asked: asked.noise.to_vec(),
            answer,
            responding,
            at: now,
            answered: 1,
            bad_confirms: 0,
        });
    }

    /// A datagram for `ours` came that no connection has: if it completes one of the handshakes, and the sealed packet in it
    /// opens, gives what the connection begins with.
    pub(super) fn prove(&mut self, now: Instant, ours: ConnectionId, datagram: &[u8]) -> Option<Admission> {
        self.handle_timeout(now);
        let at = self.handshakes.iter().position(|handshake| handshake.ours == ours)?;
        let handshake = self.handshakes.get_mut(at)?;
        let (confirm, sealed) = match Packet::decode(datagram).ok()? {
            Packet::Confirm { noise, length, .. } => (Some(noise), datagram.get(length..)?),
            _ => (None, datagram),
        };
        if let (Responding::Waiting(waiting), Some(noise)) = (&mut handshake.responding, confirm) {
            let Ok(established) = waiting.confirm(noise) else {
                // Each costs several X25519 operations, and none to send.
                handshake.bad_confirms += 1;
                if handshake.bad_confirms == 1 && self.strangers.len() < MAX_STRANGERS {
                    self.strangers.push_back(handshake.route);
                }
                if handshake.bad_confirms >= MAX_BAD_CONFIRMS {
                    self.handshakes.remove(at);
                }
                return None;
            };
            handshake.responding = Responding::Ready(Box::new(established));
        }
        let Responding::Ready(established) = &handshake.responding else { return None };
        if !opens(established, sealed) {
            return None;
        }
        let handshake = self.handshakes.remove(at)?;
        let Responding::Ready(established) = handshake.responding else { return None };
        let round_trip = (handshake.answered == 1).then(|| now.saturating_duration_since(handshake.at));
        Some(Admission { route: handshake.route, established: *established, round_trip })
    }

    /// From where somebody came who received our answer there, but has not the pre-shared key.
    pub(super) fn poll_stranger(&mut self) -> Option<Route> {
        self.strangers.pop_front()
    }

    /// What came on these routes cannot be answered any more.
    pub(super) fn forget_routes(&mut self, is_gone: &impl Fn(Route) -> bool) {
        self.handshakes.retain(|handshake| !is_gone(handshake.route));
        self.replies.retain(|reply| !is_gone(reply.route));
    }

    /// Drops what is too old.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while self.handshakes.front().is_some_and(|oldest| oldest.at + LIFETIME <= now) {
            self.handshakes.pop_front();
        }
        while self.refused.front().is_some_and(|(at, _)| *at + LIFETIME <= now) {
            self.refused.pop_front();
        }
    }

    /// When the oldest is too old.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.handshakes.front().map(|oldest| oldest.at + LIFETIME)
    }

    /// Appends the next datagram to `out`.
    pub(super) fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<Transmit> {
        let reply = self.replies.pop_front()?;
        out.extend_from_slice(&reply.datagram);
        Some(Transmit {
            route: reply.route,
            local_ip: reply.local_ip,
            ecn: Ecn::NotCapable,
            size: reply.datagram.len(),
            segment_size: None,
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.handshakes.len()
    }

    /// Whether one of them has this id of ours.
    pub(super) fn has(&self, ours: ConnectionId) -> bool {
        self.handshakes.iter().any(|handshake| handshake.ours == ours)
    }

    /// The ACON was lost, or is slow: the same one again.
    fn answer_again(&mut self, received: &Received, asked: &Asked<'_>) -> bool {
        let known = |other: &&mut Handshake| other.source == asked.source && other.route == received.route;
        let Some(handshake) = self.handshakes.iter_mut().find(known) else { return false };
        if handshake.asked == asked.noise {
            handshake.answered += 1;
            let answer = handshake.answer.clone();
            self.reply(received, |datagram| Packet::encode_accept(datagram, asked.source, &answer));
        }
        true
    }

    fn reply(&mut self, received: &Received, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut datagram = Vec::new();
        encode(&mut datagram);
        self.replies.push_back(Reply { route: received.route, local_ip: received.local_ip, datagram });
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("route", &self.route).field("at", &self.at).finish_non_exhaustive()
    }
}

/// What one party may have of addresses: an IPv4 address, or an IPv6 network of 64 bits.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

/// Whether `sealed` is a packet of the other side.
fn opens(established: &Established, sealed: &[u8]) -> bool {
    let Ok(Packet::Data { phase, number, .. }) = Packet::decode(sealed) else { return false };
    // A copy: the connection opens the datagram once more, in place. This happens once in a connection.
    let mut copy = sealed.to_vec();
    Crypto::new(established.suite, &established.secrets).open(phase, u64::from(number), &mut copy).is_ok()
}
