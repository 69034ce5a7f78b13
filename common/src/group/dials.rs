//! Dials under way: a bounded number, each with a deadline of ours besides the driver's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::limits::{MAX_DIALS, MAX_SEARCHES, MAX_WAYS, MAX_WISHES, RELAY_AGAIN};
use crate::id::PeerId;

/// The number of a dial; none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialId(pub u64);

/// By which way a peer is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// At its addresses only.
    Direct,
    /// Through this peer too.
    Relayed(PeerId),
}

#[derive(Debug, Clone, Copy)]
struct Dialling {
    /// Whom, and how; `None` where only an address is known.
    peer: Option<(PeerId, Way)>,
    until: Instant,
}

impl Dialling {
    fn is_to(&self, peer: &PeerId) -> bool {
        self.peer.is_some_and(|(dialled, _)| dialled == *peer)
    }
}

/// The invariant: at most [`MAX_DIALS`] to known peers, one a peer and way, and [`MAX_WAYS`] a peer.
#[derive(Debug, Default)]
pub(super) struct Dials {
    next: u64,
    under_way: BTreeMap<DialId, Dialling>,
    /// When a peer was last dialled through another, if that is not long ago: others are to have their turn.
    relayed: BTreeMap<(PeerId, PeerId), Instant>,
}

impl Dials {
    /// Begins a dial, if there is room and none to this peer is under way.
    pub(super) fn begin(&mut self, now: Instant, peer: Option<(PeerId, Way)>, time: Duration) -> Option<DialId> {
        let room = if peer.is_some() { MAX_DIALS } else { MAX_DIALS + MAX_WISHES };
        if let Some((target, way)) = peer {
            let ways = self.under_way.values().filter(|dialling| dialling.is_to(&target));
            if ways.clone().count() >= MAX_WAYS || ways.clone().any(|dialling| dialling.peer == peer) {
                return None;
            }
            if let Way::Relayed(relay) = way {
                self.relayed.insert((target, relay), now);
            }
        }
        if self.under_way.len() >= room {
            return None;
        }
        let id = DialId(self.next);
        self.next = self.next.wrapping_add(1);
        self.under_way.insert(id, Dialling { peer, until: now + time });
        Some(id)
    }

    /// Whether one more of those who were lost may be dialled.
    pub(super) fn may_search(&self) -> bool {
        self.under_way.len() < MAX_SEARCHES
    }

    pub(super) fn is_dialling(&self, peer: &PeerId) -> bool {
        self.under_way.values().any(|dialling| dialling.is_to(peer))
    }

    /// Whether it is the turn of `relay` to be dialled through.
    pub(super) fn may_relay(&self, now: Instant, peer: PeerId, relay: PeerId) -> bool {
        self.relayed.get(&(peer, relay)).is_none_or(|at| *at + RELAY_AGAIN <= now)
    }

    pub(super) fn is_under_way(&self, id: DialId) -> bool {
        self.under_way.contains_key(&id)
    }

    /// Ends a dial.
    pub(super) fn end(&mut self, id: DialId) {
        self.under_way.remove(&id);
    }

    /// Ends those to a peer that was reached, whoever dialled.
    pub(super) fn reached(&mut self, peer: &PeerId) {
        self.under_way.retain(|_, dialling| !dialling.is_to(peer));
        self.relayed.retain(|(target, _), _| target != peer);
    }

    /// Ends those that took too long.
    pub(super) fn expire(&mut self, now: Instant) {
        self.under_way.retain(|_, dialling| dialling.until > now);
        self.relayed.retain(|_, at| *at + RELAY_AGAIN > now);
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        self.under_way.values().map(|dialling| dialling.until).min()
    }
}
