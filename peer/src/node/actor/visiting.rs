//! Visiting: connections that others made, and who of them is expected. Strangers do not keep those out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use common::id::PeerId;

use super::super::door::{Door, Pass, Visitor};
use super::Actor;
use crate::mrt::Connection;

/// Of each kind so many are expected at once; further ones come as strangers. Picked by hand: members need no place here.
const MOST_EXPECTED: usize = 64;

/// The door, and for whom it is held open.
#[derive(Debug, Default)]
pub(super) struct Visits {
    door: Door,
    /// Who was said to come.
    coming: Until<PeerId>,
    /// From where somebody is to come: the user said so, or this node dials there.
    places: Until<IpAddr>,
}

/// What counts until some moment.
#[derive(Debug)]
struct Until<K>(BTreeMap<K, Instant>);

impl<K> Default for Until<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Until<K> {
    fn add(&mut self, now: Instant, what: K, patience: Duration) {
        self.0.retain(|_, until| now < *until);
        if self.0.len() < MOST_EXPECTED || self.0.contains_key(&what) {
            self.0.insert(what, now + patience);
        }
    }

    fn has(&self, now: Instant, what: &K) -> bool {
        self.0.get(what).is_some_and(|until| now < *until)
    }
}

impl Visits {
    /// A place at the door for who comes from there; `None`: there are too many, and he may come again.
    fn enter(&self, now: Instant, peer: PeerId, address: IpAddr, is_member: bool) -> Option<Pass> {
        let address = address.to_canonical();
        let expected = if is_member || self.coming.has(now, &peer) {
            Some(Visitor::Expected(peer))
        } else {
            self.places.has(now, &address).then_some(Visitor::Invited(address))
        };
        let pass = expected.and_then(|visitor| self.door.enter(visitor));
        pass.or_else(|| self.door.enter(Visitor::Stranger(address)))
    }
}

impl Actor {
    /// This peer is about to come.
    pub(super) fn expect(&mut self, peer: PeerId, patience: Duration) {
        self.state.visits.coming.add(Instant::now(), peer, patience);
    }

    /// Somebody is about to come from there.
    pub(super) fn expect_from(&mut self, address: SocketAddr, patience: Duration) {
        self.state.visits.places.add(Instant::now(), address.ip().to_canonical(), patience);
    }

    /// Somebody's connection stands.
    pub(super) fn on_visit(&self, connection: Connection) {
        let Ok(route) = connection.route() else { return };
        let peer = connection.remote().identity.peer_id();
        let Some(pass) = self.enter(Instant::now(), peer, route.remote) else {
            return tracing::debug!(%peer, "too many are at the door");
        };
        pass.admit(connection, &self.inputs, &self.tasks);
    }

    fn enter(&self, now: Instant, peer: PeerId, from: SocketAddr) -> Option<Pass> {
        let is_member = self.group.roster().is_some_and(|roster| roster.member(&peer).is_some());
        self.state.visits.enter(now, peer, from.ip(), is_member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn strangers_keep_out_nobody_who_is_expected() {
        let (mut visits, now) = (Visits::default(), Instant::now());
        let [member, coming, invited, stranger] = [1, 2, 3, 4].map(|number| PeerId([number; 32]));
        let (there, elsewhere) = (IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let crowd: Vec<Pass> = (0..99).filter_map(|_| visits.enter(now, stranger, there, false)).collect();
        let is_in = |visits: &Visits, now, peer, is_member| visits.enter(now, peer, there, is_member).is_some();
        assert!(!is_in(&visits, now, coming, false), "its place is full");
        assert!(visits.enter(now, stranger, elsewhere, false).is_some(), "another place is not");
        assert!(is_in(&visits, now, member, true));
        visits.coming.add(now, coming, SOON);
        assert!(is_in(&visits, now, coming, false) && !is_in(&visits, now + SOON, coming, false));
        visits.places.add(now, there, SOON);
        assert!(is_in(&visits, now, invited, false) && !is_in(&visits, now + SOON, invited, false));
        drop(crowd);
        assert!(is_in(&visits, now + SOON, invited, false));
    }

    #[test]
    fn who_is_said_to_come_again_and_again_takes_one_place_and_all_are_bounded() {
        let (mut coming, now) = (Until::default(), Instant::now());
        (0..1000_u16).for_each(|number| coming.add(now, number, SOON));
        coming.add(now + SOON / 2, 0, SOON);
        assert_eq!(coming.0.len(), MOST_EXPECTED);
        assert!(coming.has(now + SOON, &0) && !coming.has(now + SOON, &1));
        coming.add(now + SOON, 1000, SOON);
        assert_eq!(coming.0.len(), 2, "what is over is forgotten");
    }
}
