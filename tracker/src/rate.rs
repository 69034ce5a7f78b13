//! Rates: a bucket that fills with time, from which each request takes.

use std::time::Duration;

/// Lets so much through in a second, and so much at once after a rest. Times are uptimes of the tracker.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_sec: u32,
    depth: u32,
    /// When the bucket will be full.
    full_at: Duration,
}

impl Bucket {
    /// A full one.
    pub(crate) const fn new(per_sec: u32, depth: u32) -> Self {
        Self { per_sec, depth, full_at: Duration::ZERO }
    }

    /// Takes `amount`, at most the depth, and says how long to wait before doing what it was taken for.
    pub(crate) fn take(&mut self, amount: u32, now: Duration) -> Duration {
        let room = self.time_of(self.depth);
        self.full_at = self.full_at.max(now) + self.time_of(amount.min(self.depth));
        self.full_at.saturating_sub(now + room)
    }

    /// Takes `amount`, at most the depth, if that is there now, and says whether it was.
    pub(crate) fn try_take(&mut self, amount: u32, now: Duration) -> bool {
        let full_at = self.full_at.max(now) + self.time_of(amount.min(self.depth));
        let is_there = full_at <= now + self.time_of(self.depth);
        if is_there {
            self.full_at = full_at;
        }
        is_there
    }

    /// Whether nothing is missing from it.
    pub(crate) fn is_full(&self, now: Duration) -> bool {
        self.full_at <= now
    }

    fn time_of(&self, amount: u32) -> Duration {
        Duration::from_secs(1) * amount / self.per_sec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_allows_a_burst_and_then_the_rate_holds() {
        let mut bucket = Bucket::new(100, 50);
        let (mut now, begun) = (Duration::from_secs(9), Duration::from_secs(9));
        for _ in 0..50 {
            assert_eq!(bucket.take(1, now), Duration::ZERO);
        }
        for _ in 0..1000 {
            now += bucket.take(1, now);
        }
        assert_eq!(now - begun, Duration::from_secs(10));
        assert_eq!(bucket.take(50, now + Duration::from_millis(500)), Duration::ZERO);
        assert_eq!(bucket.take(u32::MAX, now + Duration::from_millis(500)), Duration::from_millis(500));
    }

    #[test]
    fn what_is_not_there_is_not_taken() {
        let mut bucket = Bucket::new(1, 3);
        let now = Duration::from_secs(9);
        assert!(bucket.is_full(now));
        assert_eq!([0; 5].map(|_| bucket.try_take(1, now)), [true, true, true, false, false]);
        assert!(!bucket.is_full(now));
        let later = now + Duration::from_secs(1);
        assert_eq!([0; 2].map(|_| bucket.try_take(1, later)), [true, false]);
        assert!(bucket.is_full(later + Duration::from_secs(3)));
    }
}
