//! Memory that the receive windows of a process share.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that all receive windows of a process may promise together. Clones share it.
///
/// Whoever asks gets up to a fair share (the whole by the number of connections) while there is any, and beyond that up to
/// fifteen times what would still be free then: a connection alone gets nearly all, and there is always something left
/// for the next one. Where one below its fair share still goes away empty, those above theirs have to shrink.
#[derive(Debug, Clone)]
pub struct Budget {
    common: Arc<Common>,
}

#[derive(Debug)]
struct Common {
    limit: u64,
    taken: AtomicU64,
    connections: AtomicU64,
    /// Connections that are below their fair share and did not get what they asked for.
    hungry: AtomicU64,
}

/// What one connection has of the budget. Given back when dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    taken: u64,
    hungry: bool,
}

/// What a connection takes beyond its fair share is at most so many times what it leaves.
const LEAVES: u64 = 15;

impl Budget {
    /// So many bytes in all.
    pub fn new(bytes: u64) -> Self {
        let zero = || AtomicU64::new(0);
        Self { common: Arc::new(Common { limit: bytes, taken: zero(), connections: zero(), hungry: zero() }) }
    }

    fn fair(&self) -> u64 {
        self.common.limit / self.common.connections.load(Ordering::Relaxed).max(1)
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> u64 {
        self.common.taken.load(Ordering::Relaxed)
    }
}

impl Share {
    /// One more connection, which has nothing yet.
    pub(super) fn new(budget: Budget) -> Self {
        budget.common.connections.fetch_add(1, Ordering::Relaxed);
        Self { budget, taken: 0, hungry: false }
    }

    /// Bytes it has.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes up to `wanted` bytes more; says how many.
    pub(super) fn take(&mut self, wanted: u64) -> u64 {
        let (common, fair) = (&self.budget.common, self.budget.fair());
        let grant = |taken: u64| {
            let free = common.limit.saturating_sub(taken);
            let beyond = (free.saturating_mul(LEAVES)).saturating_sub(self.taken) / (LEAVES + 1);
            wanted.min(beyond.max(fair.saturating_sub(self.taken).min(free)))
        };
        let add = |taken| Some(taken + grant(taken));
        let before = common.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        let granted = grant(before.unwrap_or_else(|taken| taken));
        self.taken += granted;
        self.set_hungry(granted < wanted && self.taken < fair);
        granted
    }

    /// Gives back what it has beyond `keep` bytes.
    pub(super) fn keep(&mut self, keep: u64) {
        let back = self.taken.saturating_sub(keep);
        if back > 0 {
            self.taken -= back;
            self.budget.common.taken.fetch_sub(back, Ordering::Relaxed);
        }
    }

    /// It does not want more at present.
    pub(super) fn content(&mut self) {
        self.set_hungry(false);
    }

    /// Down to what it should shrink, if others need it.
    pub(super) fn ceiling(&self) -> Option<u64> {
        let others = self.budget.common.hungry.load(Ordering::Relaxed) > u64::from(self.hungry);
        Some(self.budget.fair()).filter(|fair| others && self.taken > *fair)
    }

    fn set_hungry(&mut self, hungry: bool) {
        if hungry == self.hungry {
            return;
        }
        self.hungry = hungry;
        let count = &self.budget.common.hungry;
        if hungry {
            count.fetch_add(1, Ordering::Relaxed)
        } else {
            count.fetch_sub(1, Ordering::Relaxed)
        };
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set_hungry(false);
        self.keep(0);
        self.budget.common.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn one_alone_gets_nearly_all_and_leaves_something() {
        let budget = Budget::new(64 * MIB);
        let mut rich = Share::new(budget.clone());
        let first = rich.take(64 * MIB);
        assert_eq!(first, 64 * MIB, "alone, its fair share is all");
        drop(rich);
        assert_eq!(budget.taken(), 0);

        let (mut one, mut two) = (Share::new(budget.clone()), Share::new(budget.clone()));
        assert_eq!(one.take(64 * MIB), 60 * MIB);
        assert_eq!(two.take(64 * MIB), 4 * MIB);
        assert_eq!(one.ceiling(), Some(32 * MIB), "the other is hungry");
        one.keep(32 * MIB);
        assert_eq!(two.take(60 * MIB), 28 * MIB);
        assert_eq!((two.taken(), one.ceiling()), (32 * MIB, None));
        drop((one, two));
        assert_eq!(budget.taken(), 0);
    }
}
