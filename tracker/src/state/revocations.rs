//! Revocations: tickets that were given and are worth nothing any more. Seeders ask nobody, so they are told of these.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use common::audience::Audience;
use common::id::PeerId;
use common::wire::tracker::Revocation;

/// All revocations that some ticket may still be subject to. The invariant: both have the same holders of an audience.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    /// Tickets of this holder for this audience (`None`: for any) whose time began before this.
    before_ms: BTreeMap<(PeerId, Option<Audience>), u64>,
    holders: HashMap<Audience, BTreeSet<PeerId>>,
}

impl Revocations {
    /// Before when tickets of this holder for this audience are revoked by a word about just that audience.
    #[cfg(test)]
    pub(crate) fn before_ms(&self, holder: PeerId, audience: Option<&Audience>) -> Option<u64> {
        self.before_ms.get(&(holder, audience.cloned())).copied()
    }

    /// Those of one holder.
    pub(crate) fn of(&self, holder: PeerId) -> impl Iterator<Item = Revocation> {
        // `None` is the lowest audience.
        let of_holder = self.before_ms.range((Bound::Included((holder, None)), Bound::Unbounded));
        of_holder.take_while(move |((other, _), _)| *other == holder).map(revocation)
    }

    /// Those of tickets for just this audience.
    pub(crate) fn for_audience(&self, audience: &Audience) -> impl Iterator<Item = Revocation> {
        let holders = self.holders.get(audience).into_iter().flatten();
        let keys = holders.map(|holder| (*holder, Some(audience.clone())));
        keys.filter_map(|key| self.before_ms.get_key_value(&key).map(revocation))
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Revocation> {
        self.before_ms.iter().map(revocation)
    }

    /// Puts one in, or out with `None`, and gives what was there before.
    pub(super) fn set(&mut self, holder: PeerId, audience: Option<Audience>, before_ms: Option<u64>) -> Option<u64> {
        if let Some(audience) = &audience {
            self.note(holder, audience, before_ms.is_some());
        }
        match before_ms {
            Some(before_ms) => self.before_ms.insert((holder, audience), before_ms),
            None => self.before_ms.remove(&(holder, audience)),
        }
    }

    fn note(&mut self, holder: PeerId, audience: &Audience, is_there: bool) {
        if is_there {
            self.holders.entry(audience.clone()).or_default().insert(holder);
        } else if let Some(holders) = self.holders.get_mut(audience) {
            holders.remove(&holder);
            if holders.is_empty() {
                self.holders.remove(audience);
            }
        }
    }
}

fn revocation(((holder, audience), before_ms): (&(PeerId, Option<Audience>), &u64)) -> Revocation {
    Revocation { holder: *holder, audience: audience.clone(), before_ms: *before_ms }
}

#[cfg(test)]
mod tests {
    use common::audience::OfferId;

    use super::*;

    #[test]
    fn both_sides_agree_and_nothing_is_left_behind() {
        let (a, b, audience) = (PeerId([1; 32]), PeerId([2; 32]), Audience::Offer(OfferId(1)));
        let mut revocations = Revocations::default();
        assert_eq!(revocations.set(a, Some(audience.clone()), Some(5)), None);
        assert_eq!(revocations.set(a, Some(audience.clone()), Some(6)), Some(5));
        revocations.set(b, Some(audience.clone()), Some(7));
        revocations.set(b, None, Some(8));
        let holders: Vec<_> = revocations.for_audience(&audience).map(|one| (one.holder, one.before_ms)).collect();
        assert_eq!(holders, [(a, 6), (b, 7)]);
        assert_eq!(revocations.of(b).count(), 2);
        for holder in [a, b] {
            assert!(revocations.set(holder, Some(audience.clone()), None).is_some());
        }
        assert_eq!((revocations.for_audience(&audience).count(), revocations.iter().count()), (0, 1));
        assert!(revocations.holders.is_empty());
    }
}
