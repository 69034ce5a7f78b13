//! Subscriptions: which keys follow which entries. One outlives the entry: that may come back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use common::id::PeerId;
use common::name::EntryRef;

/// All subscriptions. The invariant: both maps have the same pairs.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    /// What each follows, and since when in milliseconds since 1970 (UTC).
    by_peer: HashMap<PeerId, BTreeMap<EntryRef, u64>>,
    by_entry: HashMap<EntryRef, BTreeSet<PeerId>>,
}

impl Subscriptions {
    /// What a key follows, in order.
    pub(crate) fn of(&self, peer: &PeerId) -> impl Iterator<Item = &EntryRef> {
        self.by_peer.get(peer).into_iter().flat_map(BTreeMap::keys)
    }

    /// Whether a key follows an entry.
    pub(crate) fn follows(&self, peer: &PeerId, entry: &EntryRef) -> bool {
        self.by_peer.get(peer).is_some_and(|entries| entries.contains_key(entry))
    }

    /// Who follows an entry, in order.
    pub(crate) fn followers(&self, entry: &EntryRef) -> impl Iterator<Item = &PeerId> {
        self.by_entry.get(entry).into_iter().flatten()
    }

    /// All keys that follow anything, in no order.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &PeerId> {
        self.by_peer.keys()
    }

    /// Puts a subscription in, with when it began, or out with `None`, and gives what was there before.
    pub(super) fn set(&mut self, peer: PeerId, entry: &EntryRef, since_ms: Option<u64>) -> Option<u64> {
        let before = self.take(peer, entry);
        if let Some(since_ms) = since_ms {
            self.by_peer.entry(peer).or_default().insert(entry.clone(), since_ms);
            self.by_entry.entry(entry.clone()).or_default().insert(peer);
        }
        before
    }

    fn take(&mut self, peer: PeerId, entry: &EntryRef) -> Option<u64> {
        let entries = self.by_peer.get_mut(&peer)?;
        let since_ms = entries.remove(entry)?;
        if entries.is_empty() {
            self.by_peer.remove(&peer);
        }
        if let Some(peers) = self.by_entry.get_mut(entry) {
            peers.remove(&peer);
            if peers.is_empty() {
                self.by_entry.remove(entry);
            }
        }
        Some(since_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_and_nothing_is_left_behind() {
        let (a, b) = (PeerId([1; 32]), PeerId([2; 32]));
        let entry: EntryRef = "jane/x".parse().unwrap();
        let mut subscriptions = Subscriptions::default();
        assert_eq!(subscriptions.set(a, &entry, Some(5)), None);
        assert_eq!(subscriptions.set(a, &entry, Some(6)), Some(5));
        assert_eq!(subscriptions.set(b, &entry, Some(7)), None);
        assert_eq!(subscriptions.followers(&entry).collect::<Vec<_>>(), [&a, &b]);
        assert!(subscriptions.follows(&a, &entry));
        assert_eq!(subscriptions.set(a, &entry, None), Some(6));
        assert_eq!(subscriptions.set(a, &entry, None), None);
        assert_eq!((subscriptions.of(&a).count(), subscriptions.of(&b).collect::<Vec<_>>()), (0, vec![&entry]));
        assert_eq!(subscriptions.set(b, &entry, None), Some(7));
        assert!(subscriptions.by_entry.is_empty() && subscriptions.by_peer.is_empty());
    }
}
