//! Token buckets: how often something may happen.

use std::time::{Duration, Instant};

/// So much at once, so much a second in the long run.
#[derive(Debug)]
pub(super) struct Bucket {
    burst: u32,
    per_sec: u32,
    left: u32,
    /// Up to when tokens were put in.
    filled: Instant,
}

impl Bucket {
    /// A full one. `per_sec` is not 0.
    pub(super) const fn new(now: Instant, burst: u32, per_sec: u32) -> Self {
        Self { burst, per_sec, left: burst, filled: now }
    }

    /// Takes so many, if they are there.
    pub(super) fn take(&mut self, now: Instant, count: u32) -> bool {
        self.fill(now);
        let left = self.left.checked_sub(count);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Takes as many as are there, at most so many, and says how many.
    pub(super) fn take_some(&mut self, now: Instant, count: u32) -> u32 {
        self.fill(now);
        let taken = self.left.min(count);
        self.left -= taken;
        taken
    }

    /// From when on there is one, if none is taken.
    pub(super) fn ready_at(&self) -> Instant {
        if self.left > 0 { self.filled } else { self.filled + self.each() }
    }

    fn each(&self) -> Duration {
        Duration::from_secs(1) / self.per_sec
    }

    fn fill(&mut self, now: Instant) {
        let each = self.each();
        let passed = now.saturating_duration_since(self.filled);
        let gained = u32::try_from(passed.as_nanos() / each.as_nanos().max(1)).unwrap_or(u32::MAX);
        if gained >= self.burst - self.left {
            (self.left, self.filled) = (self.burst, now);
        } else {
            self.left += gained;
            self.filled += each * gained;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut now = crate::group::tests::start();
        let mut bucket = Bucket::new(now, 3, 10);
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now, 1)).count();
        assert_eq!(taken(&mut bucket, now), 3);
        now += Duration::from_millis(250);
        assert_eq!(taken(&mut bucket, now), 2);
        now += Duration::from_millis(50);
        assert_eq!(taken(&mut bucket, now), 1, "the rest of the time counts");
        now += Duration::from_secs(1 << 40);
        assert!(!bucket.take(now, 4), "more than a burst");
        assert_eq!(bucket.take_some(now, 2), 2);
        assert_eq!(bucket.take_some(now, 4), 1);
        assert_eq!(taken(&mut bucket, now), 0);
        now = bucket.ready_at();
        assert_eq!(taken(&mut bucket, now), 1);
    }
}
