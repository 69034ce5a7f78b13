//! Revocations: which tickets the tracker called back before their time.
//!
//! The table is bounded and fails closed: where there is no room for one more, the oldest goes, and all tickets that began
//! before it are refused, whoever shows them. Whoever may have what they are for gets a new one from the tracker.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::audience::Audience;
use common::id::PeerId;
use common::ticket::CLOCK_TOLERANCE_MS;
use common::wire::tracker::Revocation;

/// So many are remembered; the tracker sends those of about an hour.
const MOST: usize = 10_000;
/// No ticket lasts longer: an hour, and what the tracker lets it begin earlier, with room to spare.
const LONGEST_TICKET_MS: u64 = 2 * 60 * 60 * 1000;

/// What is revoked in the network of the tracker in use.
#[derive(Debug, Default)]
pub(crate) struct Revocations {
    state: Mutex<State>,
}

/// On what ground a conversation is served: what its ticket says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// For whom the swarm must be shared.
    pub(crate) audience: Audience,
    /// From when it counts, milliseconds since 1970 of the tracker's time.
    pub(crate) not_before_ms: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Whose, and for which audience (`None`: all): tickets that began before this are worth nothing.
    before_ms: HashMap<(PeerId, Option<Audience>), u64>,
    /// The same for everybody: what there was no room for.
    all_before_ms: u64,
}

impl Revocations {
    /// Takes in what the tracker says, and forgets what no ticket can be about any more at `now_ms` of its time.
    pub(crate) fn add(&self, revocations: Vec<Revocation>, now_ms: u64) {
        let mut state = self.state();
        state.before_ms.retain(|_, before_ms| {
            before_ms.saturating_add(LONGEST_TICKET_MS).saturating_add(CLOCK_TOLERANCE_MS) > now_ms
        });
        for Revocation { holder, audience, before_ms } in revocations {
            let key = (holder, audience);
            if state.before_ms.len() >= MOST && !state.before_ms.contains_key(&key) {
                state.forget_oldest();
            }
            let known = state.before_ms.entry(key).or_default();
            *known = before_ms.max(*known);
        }
    }

    /// Whether a ticket of this holder is worth nothing.
    pub(crate) fn contains(&self, holder: PeerId, grant: &Grant) -> bool {
        let state = self.state();
        let began = grant.not_before_ms;
        let is_before = |audience| state.before_ms.get(&(holder, audience)).is_some_and(|before_ms| began < *before_ms);
        began < state.all_before_ms || is_before(None) || is_before(Some(grant.audience.clone()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_oldest(&mut self) {
        let oldest = self.before_ms.iter().min_by_key(|(_, before_ms)| **before_ms);
        if let Some((key, before_ms)) = oldest.map(|(key, before_ms)| (key.clone(), *before_ms)) {
            self.before_ms.remove(&key);
            self.all_before_ms = self.all_before_ms.max(before_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: usize) -> PeerId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&number.to_be_bytes());
        PeerId(id)
    }

    fn grant(entry: &str, not_before_ms: u64) -> Grant {
        Grant { audience: Audience::Entry(entry.parse().unwrap()), not_before_ms }
    }

    fn of(holder: usize, entry: Option<&str>, before_ms: u64) -> Revocation {
        let audience = entry.map(|entry| grant(entry, 0).audience);
        Revocation { holder: peer(holder), audience, before_ms }
    }

    #[test]
    fn what_is_revoked_is_earlier_tickets_of_that_holder_for_that_audience() {
        let revocations = Revocations::default();
        revocations.add(vec![of(1, Some("ann/x"), 100), of(1, Some("ann/x"), 50), of(2, None, 100)], 100);
        let refused = |holder, entry, began| revocations.contains(peer(holder), &grant(entry, began));
        assert!(refused(1, "ann/x", 99), "an earlier word does not take back a later one");
        assert!(!refused(1, "ann/x", 100), "a new one");
        assert!(!refused(1, "ann/y", 99), "another audience");
        assert!(!refused(3, "ann/x", 99), "another holder");
        assert!(refused(2, "ann/x", 99) && refused(2, "bob/y", 99) && !refused(2, "bob/y", 100));
    }

    #[test]
    fn they_are_forgotten_when_no_ticket_can_be_meant() {
        let revocations = Revocations::default();
        let start = 1_000_000_000;
        revocations.add(vec![of(1, None, start)], start);
        let last = start + LONGEST_TICKET_MS + CLOCK_TOLERANCE_MS;
        revocations.add(Vec::new(), last - 1);
        assert!(revocations.contains(peer(1), &grant("ann/x", start - 1)));
        revocations.add(Vec::new(), last);
        assert!(revocations.state().before_ms.is_empty());
    }

    #[test]
    fn a_full_table_refuses_more_rather_than_less() {
        let revocations = Revocations::default();
        let start = 1_000_000;
        let many = (0..MOST + 5).map(|number| of(number, None, start + number as u64)).collect();
        revocations.add(many, start);
        assert_eq!(revocations.state().before_ms.len(), MOST);
        for number in 0..MOST + 5 {
            assert!(revocations.contains(peer(number), &grant("ann/x", start + number as u64 - 1)), "{number}");
        }
        assert!(!revocations.contains(peer(MOST + 9), &grant("ann/x", start + 4)));
        assert!(
            revocations.contains(peer(MOST + 9), &grant("ann/x", start + 3)),
            "older than what there was no room for"
        );
    }
}
