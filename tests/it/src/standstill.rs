//! Standstill: how long something did not go on.

use std::time::{Duration, Instant};

/// How long something that grows did not.
pub(crate) struct Standstill {
    last: u64,
    since: Instant,
    pub(crate) longest: Duration,
}

impl Standstill {
    pub(crate) fn new(last: u64) -> Self {
        Self { last, since: Instant::now(), longest: Duration::ZERO }
    }

    pub(crate) fn see(&mut self, value: u64) {
        self.longest = self.longest.max(self.since.elapsed());
        if value > self.last {
            (self.last, self.since) = (value, Instant::now());
        }
    }
}
