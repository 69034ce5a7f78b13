//! What the model believes, from noisy samples.

use std::time::{Duration, Instant};

use super::super::rate::{Pressure, Rate};

/// The highest delivery rate of this probing cycle and of the one before.
#[derive(Debug, Default)]
pub(super) struct Bandwidth {
    current: Rate,
    previous: Rate,
}

impl Bandwidth {
    pub(super) fn add(&mut self, sample: Rate) {
        self.current = self.current.max(sample);
    }

    /// A new cycle begins; what was two cycles ago is forgotten. A cycle without a sample is none.
    pub(super) fn advance(&mut self) {
        if self.current > Rate::ZERO {
            self.previous = self.current;
            self.current = Rate::ZERO;
        }
    }

    pub(super) fn get(&self) -> Rate {
        self.current.max(self.previous)
    }
}

/// The shortest round trip of the last [`WINDOW`]. It is replaced, never forgotten: there is always a value once there
/// was a sample.
#[derive(Debug)]
pub(super) struct MinRtt {
    value: Option<Duration>,
    /// When a sample was last about as short.
    seen: Instant,
}

/// How long the shortest round trip holds without being seen again (BBR, `MinRTTFilterLen`).
const WINDOW: Duration = Duration::from_secs(10);
/// A sample longer by less than this part confirms the shortest. Timers of real hosts never repeat to the microsecond;
/// with less, most paths would be drained each ten seconds for nothing.
const CONFIRMING_PART: u32 = 32;

impl MinRtt {
    pub(super) const fn new(now: Instant) -> Self {
        Self { value: None, seen: now }
    }

    pub(super) fn add(&mut self, now: Instant, sample: Duration) {
        match self.value {
            Some(value) if sample > value => {
                if sample <= value + value / CONFIRMING_PART {
                    self.seen = now;
                }
            }
            _ => {
                self.value = Some(sample);
                self.seen = now;
            }
        }
    }

    /// Takes `sample` although it is longer: the path was drained, so this is what it takes.
    pub(super) fn replace(&mut self, now: Instant, sample: Duration) {
        self.value = Some(sample);
        self.seen = now;
    }

    pub(super) const fn get(&self) -> Option<Duration> {
        self.value
    }

    /// Whether it was not seen for so long that the path may have changed.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) > WINDOW
    }
}

/// The share of packets that the path loses for no reason of ours: of the packets that left more slowly than the path
/// delivers. The counts fade, so that the last [`MEMORY`] packets count.
#[derive(Debug, Default)]
pub(super) struct AmbientLoss {
    acked: u64,
    lost: u64,
}

/// Packets after which the counts are halved.
const MEMORY: u64 = 1024;
/// Packets before which nothing is said.
const LEAST: u64 = 64;

impl AmbientLoss {
    pub(super) fn on_acked(&mut self, pressure: Pressure) {
        if pressure == Pressure::Calm {
            self.acked += 1;
            self.fade();
        }
    }

    pub(super) fn on_lost(&mut self, pressure: Pressure) {
        if pressure == Pressure::Calm {
            self.lost += 1;
            self.fade();
        }
    }

    /// Of so many acknowledged packets, how many were lost beside them: `value * lost / acked`, at most `limit_percent`
    /// hundredths of all.
    pub(super) fn beside(&self, value: u64, limit_percent: u64) -> u64 {
        if self.acked + self.lost < LEAST {
            return 0;
        }
        let lost = self.lost.min(self.acked * limit_percent / (100 - limit_percent));
        value.saturating_mul(lost) / self.acked.max(1)
    }

    fn fade(&mut self) {
        if self.acked + self.lost >= MEMORY {
            self.acked /= 2;
            self.lost /= 2;
        }
    }
}

/// How many bytes more than the rate explains are acknowledged at once (BBR, `extra_acked`): what must be under way on
/// top of the bandwidth-delay product, so that a path that acknowledges in heaps does not run dry.
#[derive(Debug)]
pub(super) struct Aggregation {
    epoch: Instant,
    acked: u64,
    current: u64,
    previous: u64,
    rounds: u64,
}

/// Rounds for which a maximum holds, at least; at most twice as many.
const AGGREGATION_ROUNDS: u64 = 5;

impl Aggregation {
    pub(super) const fn new(now: Instant) -> Self {
        Self { epoch: now, acked: 0, current: 0, previous: 0, rounds: 0 }
    }

    /// `bytes` more were acknowledged on a path that delivers at `rate`; no more than `limit` is believed.
    pub(super) fn add(&mut self, now: Instant, bytes: u64, rate: Rate, limit: u64) {
        let expected = rate.bytes_in(now.saturating_duration_since(self.epoch));
        if self.acked <= expected {
            self.epoch = now;
            self.acked = bytes;
        } else {
            self.acked += bytes;
        }
        let expected = rate.bytes_in(now.saturating_duration_since(self.epoch));
        self.current = self.current.max(self.acked.saturating_sub(expected).min(limit));
    }

    pub(super) const fn on_round(&mut self) {
        self.rounds += 1;
        if self.rounds >= AGGREGATION_ROUNDS {
            self.rounds = 0;
            self.previous = self.current;
            self.current = 0;
        }
    }

    pub(super) fn get(&self) -> u64 {
        self.current.max(self.previous)
    }
}
