//! Meters: how many bytes had come at which moment.

use super::{Moment, moment};

/// A sample is taken so often, in nanoseconds: often enough to cut off a start, seldom enough to cost nothing.
const SAMPLE_EVERY: u64 = 50_000_000;

/// Counts what a sink receives.
#[derive(Debug)]
pub(super) struct Meter {
    expected: Option<u64>,
    received: u64,
    samples: Vec<(Moment, u64)>,
    next_sample: Moment,
}

impl Meter {
    /// One for `expected` bytes, or for as many as come.
    pub(super) const fn new(expected: Option<u64>) -> Self {
        Self { expected, received: 0, samples: Vec::new(), next_sample: 0 }
    }

    /// So many bytes have come; says whether these were the last.
    pub(super) fn on_bytes(&mut self, bytes: usize) -> bool {
        self.received += bytes as u64;
        let is_last = self.expected.is_some_and(|expected| self.received >= expected);
        let now = moment();
        if is_last || now >= self.next_sample {
            self.samples.push((now, self.received));
            self.next_sample = now + SAMPLE_EVERY;
        }
        is_last
    }

    pub(super) fn into_samples(self) -> Vec<(Moment, u64)> {
        self.samples
    }
}
