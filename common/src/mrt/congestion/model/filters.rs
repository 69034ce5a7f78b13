//! What the model believes of the path, from noisy samples: rate, shortest round trip, heaps of acknowledgements.

use std::time::{Duration, Instant};

use super::super::rate::Rate;

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

    /// The path has become another one, of which only `rate` is known.
    pub(super) const fn reset(&mut self, rate: Rate) {
        self.current = rate;
        self.previous = rate;
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
    /// When it was last measured with little of ours under way.
    proven: Instant,
}

/// How long the shortest round trip holds without being seen again (BBR, `MinRTTFilterLen`).
const WINDOW: Duration = Duration::from_secs(10);
/// The part of the window after which it costs little to look for it, and saves [`WINDOW`] from running out.
const AGING_PART: u32 = 4;
/// A sample longer by less than this part confirms the shortest. Timers of real hosts never repeat to the microsecond;
/// with less, most paths would be drained each ten seconds for nothing.
const CONFIRMING_PART: u32 = 32;

impl MinRtt {
    pub(super) const fn new(now: Instant) -> Self {
        Self { value: None, seen: now, proven: now }
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
        self.proven = now;
    }

    pub(super) const fn get(&self) -> Option<Duration> {
        self.value
    }

    /// Whether it should be seen again soon.
    pub(super) fn is_aging(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) > WINDOW / AGING_PART
    }

    /// Whether it was not seen for so long that the path may have changed.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) > WINDOW
    }

    /// Whether it was only confirmed for so long, by what we have under way as a rule. That can be the queue we keep:
    /// taken while others kept one, the shortest round trip is too long, the product with it, and then each sample fits.
    pub(super) fn is_unproven(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.proven) > WINDOW
    }
}

/// Whether a queue mostly stands while we do not push: then others keep it, or we do for their sake.
#[derive(Debug, Default)]
pub(super) struct Company {
    /// Rounds with a queue less those without, up to [`COMPANY_ROUNDS`] on either side.
    rounds: i32,
}

/// Rounds that are remembered, about four cruises: by then company that went is forgotten.
const COMPANY_ROUNDS: i32 = 16;

impl Company {
    /// A round is over at whose end we send as fast as the path delivers.
    pub(super) fn on_calm_round(&mut self, queue_stood: bool) {
        let rounds = self.rounds + if queue_stood { 1 } else { -1 };
        self.rounds = rounds.clamp(-COMPANY_ROUNDS, COMPANY_ROUNDS);
    }

    pub(super) const fn keeps_queue(&self) -> bool {
        self.rounds > 0
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
