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
}
