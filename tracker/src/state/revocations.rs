//! Revocations: tickets that were given and are worth nothing any more. Seeders ask nobody, so they are told of these.

use std::collections::BTreeMap;
use std::ops::Bound;

use common::audience::Audience;
use common::id::PeerId;
use common::wire::tracker::Revocation;

/// All revocations that some ticket may still be subject to.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    /// Tickets of this holder for this audience (`None`: for any) whose time began before this.
    before_ms: BTreeMap<(PeerId, Option<Audience>), u64>,
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

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Revocation> {
        self.before_ms.iter().map(revocation)
    }

    /// Puts one in, or out with `None`, and gives what was there before.
    pub(super) fn set(&mut self, holder: PeerId, audience: Option<Audience>, before_ms: Option<u64>) -> Option<u64> {
        match before_ms {
            Some(before_ms) => self.before_ms.insert((holder, audience), before_ms),
            None => self.before_ms.remove(&(holder, audience)),
        }
    }
}

fn revocation(((holder, audience), before_ms): (&(PeerId, Option<Audience>), &u64)) -> Revocation {
    Revocation { holder: *holder, audience: audience.clone(), before_ms: *before_ms }
}
