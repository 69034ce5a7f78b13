//! Those of whom the tracker spoke, and what it said of each.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use common::id::PeerId;
use common::mrt::Route;
use common::relay::ChannelId;
use tokio::time::Instant;

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
}
