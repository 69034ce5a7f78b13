//! Those of whom the tracker spoke, and what it said of each.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use common::id::PeerId;
use common::mrt::Route;
use common::nat::Candidates;
use common::relay::ChannelId;
use tokio::time::Instant;

use crate::gate::network_of;

/// Most of them that have no line; the oldest of these is forgotten. Of those who have one there are no more than lines.
const MOST_WITHOUT_LINE: usize = 512;

/// What the tracker said of a peer.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) user: String,
    /// Where it may be reached.
    pub(super) addresses: Vec<SocketAddr>,
    /// The way through the tracker's relay.
    pub(super) way: Option<(ChannelId, Route)>,
    /// When it said so last.
    pub(super) at: Instant,
}

impl Known {
    /// Of where this peer says that it may be reached, what is on machines (IPv6: in networks) where the tracker knows it to
    /// be. Ports may be others, as those of new sockets are.
    pub(super) fn places_in(&self, theirs: &Candidates) -> Candidates {
        let is_known = |ip: IpAddr| self.addresses.iter().any(|known| network_of(known.ip()) == network_of(ip));
        let mut candidates = Candidates::default();
        for their in theirs.iter().filter(|their| is_known(their.address.ip())) {
            candidates.add(their.origin, their.address);
        }
        candidates
    }
}

/// Who has to be forgotten before one more is known, if anybody: whoever has a line goes on being reached by what is known.
pub(super) fn one_too_many(known: &BTreeMap<PeerId, Known>, has_line: impl Fn(&PeerId) -> bool) -> Option<PeerId> {
    let without_line = known.iter().filter(|(peer, _)| !has_line(peer));
    let count = without_line.clone().count();
    let oldest = without_line.min_by_key(|(_, known)| known.at);
    oldest.filter(|_| count >= MOST_WITHOUT_LINE).map(|(peer, _)| *peer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::nat::Origin;

    use super::*;

    fn peer(number: usize) -> PeerId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        PeerId(id)
    }

    #[test]
    fn the_oldest_is_forgotten_unless_it_has_a_line() {
        let (mut known, now) = (BTreeMap::new(), Instant::now());
        let mut meet = |number: usize| {
            let at = now + Duration::from_secs(number.try_into().unwrap());
            known.insert(peer(number), Known { user: String::new(), addresses: Vec::new(), way: None, at });
            one_too_many(&known, |other| *other == peer(0) || *other == peer(2))
        };
        let forgotten: Vec<_> = (0..MOST_WITHOUT_LINE + 2).map(&mut meet).collect();
        let (last, before) = forgotten.split_last().unwrap();
        assert!(before.iter().all(Option::is_none), "there is room, and those with a line take none of it");
        assert_eq!(*last, Some(peer(1)));
    }

    #[test]
    fn nobody_has_us_try_other_machines_than_those_that_the_tracker_knows() {
        let of = |addresses: &[&str]| {
            let mut candidates = Candidates::default();
            for address in addresses {
                candidates.add(Origin::Stun, address.parse().unwrap());
            }
            candidates
        };
        let addresses = ["203.0.113.7:4000", "[2001:db8:0:7::1]:4000"].map(|known| known.parse().unwrap()).to_vec();
        let known = Known { user: String::new(), addresses, way: None, at: Instant::now() };
        let theirs = of(&["203.0.113.7:5000", "203.0.113.8:4000", "[2001:db8:0:7::2]:5000"]);
        assert_eq!(known.places_in(&theirs), of(&["203.0.113.7:5000", "[2001:db8:0:7::2]:5000"]));
    }
}
