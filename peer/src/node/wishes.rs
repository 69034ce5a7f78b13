//! Wishes: who waits for a stream for chunks, and to whom. For all who wait for one peer one way is found.

use std::collections::HashMap;

use common::id::PeerId;

use crate::overlay::Reach;

/// Who waits for a stream to whom.
#[derive(Debug, Default)]
pub(super) struct Wishes(HashMap<PeerId, Vec<Reach>>);

impl Wishes {
    /// One more waits. Says whether it is the first for that peer: then a way is to be found.
    pub(super) fn add(&mut self, reach: Reach) -> bool {
        let waiting = self.0.entry(reach.peer).or_default();
        waiting.push(reach);
        waiting.len() == 1
    }

    /// Those who wait for this peer, and do not any more.
    pub(super) fn take(&mut self, peer: PeerId) -> Vec<Reach> {
        self.0.remove(&peer).unwrap_or_default()
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn one_way_is_found_for_all_who_wait_for_a_peer() {
        let [ann, bob] = [1, 2].map(|number| PeerId([number; 32]));
        let mut wishes = Wishes::default();
        let firsts = [ann, ann, bob, ann].map(|peer| wishes.add(Reach { peer, answer: oneshot::channel().0 }));
        assert_eq!(firsts, [true, false, true, false]);
        assert_eq!([ann, ann, bob].map(|peer| wishes.take(peer).len()), [3, 0, 1]);
        assert!(wishes.is_empty());
    }
}
