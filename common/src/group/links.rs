//! Links: the connections that stand, what was said on them that matters, and whether the other end is alive.
//!
//! A link that is watched must be heard of within [`SILENCE`]; who follows or stands by asks with PING, each second, and the
//! one who is asked answers. A supernode asks nobody: its members do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use super::Facts;
use super::limits::{BURST, CHAT_BURST, FRESH, HELLO_TIME, INVITE_EVERY, PING_EVERY, REFILL_PER_SEC, SILENCE};
use super::meeting::Meet;
use super::rate::Bucket;
use crate::id::PeerId;
use crate::identity::PublicKey;
use crate::mrt::StaticKey;

/// How a link is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    /// It may be silent.
    Not,
    /// The other end must be heard of: it asks.
    Expect,
    /// The other end must be heard of: we ask.
    Ask,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) identity: PublicKey,
    pub(super) static_key: StaticKey,
    /// Where we see it, unless it is relayed.
    pub(super) observed: Option<SocketAddr>,
    /// Until when it must have said HELO; `None` since it did.
    greeting: Option<Instant>,
    heard: Instant,
    watch: Watch,
    /// Since when it is watched so.
    since: Instant,
    asked: Option<Instant>,
    /// What we said of ourselves as a supernode, since we are one.
    pub(super) meet_sent: Option<Meet>,
    pub(super) meet_seen: Option<Meet>,
    /// Whether our user was told that it leads another group.
    pub(super) is_apart: bool,
    /// When we last asked to be taken in, or for the supernode.
    pub(super) joined_at: Option<Instant>,
    /// When it last led us on.
    pub(super) led_at: Option<Instant>,
    /// When we last dialled for that.
    pub(super) led_dial_at: Option<Instant>,
    /// What it sends that costs others something, and lines of chat.
    pub(super) costly: Bucket,
    pub(super) lines: Bucket,
    pub(super) faults: u32,
    /// Whom it had open its NAT, and when.
    invited: BTreeMap<PeerId, Instant>,
}

/// All links, by the peer at the other end: there is one a peer.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<PeerId, Link>,
}

impl Link {
    fn new(now: Instant, facts: &Facts) -> Self {
        Self {
            identity: facts.identity,
            static_key: facts.static_key,
            observed: facts.observed,
            greeting: Some(now + HELLO_TIME),
            heard: now,
            watch: Watch::Not,
            since: now,
            asked: None,
            meet_sent: None,
            meet_seen: None,
            is_apart: false,
            joined_at: None,
            led_at: None,
            led_dial_at: None,
            costly: Bucket::new(now, BURST, REFILL_PER_SEC),
            lines: Bucket::new(now, CHAT_BURST, REFILL_PER_SEC),
            faults: 0,
            invited: BTreeMap::new(),
        }
    }

    /// Whether the other end said HELO.
    pub(super) const fn is_ready(&self) -> bool {
        self.greeting.is_none()
    }

    pub(super) const fn greeted(&mut self) {
        self.greeting = None;
    }

    pub(super) const fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Whether something came of late.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.heard + FRESH
    }

    /// Whether it may have `peer` open its NAT, which is noted.
    pub(super) fn may_invite(&mut self, now: Instant, peer: PeerId) -> bool {
        self.invited.retain(|_, at| now < *at + INVITE_EVERY);
        let may = !self.invited.contains_key(&peer);
        self.invited.entry(peer).or_insert(now);
        may
    }

    pub(super) fn watch(&mut self, now: Instant, watch: Watch) {
        if self.watch != watch {
            self.since = now;
            self.asked = None;
        }
        self.watch = watch;
    }

    /// Whether it is time for a PING, which is then taken for sent.
    pub(super) fn is_ping_due(&mut self, now: Instant) -> bool {
        let due = self.watch == Watch::Ask && self.ping_at() <= now;
        if due {
            self.asked = Some(now);
        }
        due
    }

    fn ping_at(&self) -> Instant {
        self.asked.map_or(self.since, |asked| asked + PING_EVERY)
    }

    /// When it is held for dead.
    fn dead_at(&self) -> Option<Instant> {
        if let Some(by) = self.greeting {
            return Some(by);
        }
        (self.watch != Watch::Not).then(|| self.heard.max(self.since) + SILENCE)
    }

    pub(super) fn is_dead(&self, now: Instant) -> bool {
        self.dead_at().is_some_and(|at| at <= now)
    }

    fn due_at(&self) -> Option<Instant> {
        let ping = (self.watch == Watch::Ask).then(|| self.ping_at());
        [ping, self.dead_at()].into_iter().flatten().min()
    }
}

impl Links {
    pub(super) fn add(&mut self, now: Instant, facts: &Facts) {
        self.links.insert(facts.identity.peer_id(), Link::new(now, facts));
    }

    pub(super) fn remove(&mut self, peer: &PeerId) -> Option<Link> {
        self.links.remove(peer)
    }

    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.links.contains_key(peer)
    }

    pub(super) fn get(&self, peer: &PeerId) -> Option<&Link> {
        self.links.get(peer)
    }

    pub(super) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Link> {
        self.links.get_mut(peer)
    }

    /// A link on which both said HELO.
    pub(super) fn ready(&self, peer: &PeerId) -> Option<&Link> {
        self.links.get(peer).filter(|link| link.is_ready())
    }

    pub(super) fn is_ready(&self, peer: &PeerId) -> bool {
        self.ready(peer).is_some()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&PeerId, &mut Link)> {
        self.links.iter_mut()
    }

    pub(super) fn peers(&self) -> Vec<PeerId> {
        self.links.keys().copied().collect()
    }

    /// Those who may be spoken to.
    pub(super) fn ready_peers(&self) -> Vec<PeerId> {
        self.links.iter().filter(|(_, link)| link.is_ready()).map(|(peer, _)| *peer).collect()
    }

    /// When something is due on any of them.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.links.values().filter_map(Link::due_at).min()
    }
}
