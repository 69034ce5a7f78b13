//! HyStart++ (RFC 9406): leaves slow start when the round trip grows, before packets are lost.

use std::time::Duration;

use super::super::Batch;

/// How fast the window may grow before its threshold is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// By what is acknowledged.
    Double,
    /// By one part in `divisor` of it: perhaps the path is full.
    Slower { divisor: u64 },
    /// The path is full.
    Done,
}

/// Compares the shortest round trip of each round with that of the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct HyStart {
    /// Bytes that had been delivered when the round began.
    began: u64,
    /// The round ends when a packet is acknowledged that left after so much was delivered.
    end: u64,
    last: Option<Duration>,
    current: Option<Duration>,
    samples: u32,
    /// Conservative slow start: the shortest round trip when it began, and the rounds it has lasted.
    doubt: Option<(Duration, u32)>,
}

// RFC 9406, section 4.3.
const MIN_GROWTH: Duration = Duration::from_millis(4);
const MAX_GROWTH: Duration = Duration::from_millis(16);
const GROWTH_DIVISOR: u32 = 8;
const SAMPLES: u32 = 8;
const SLOWER_DIVISOR: u64 = 4;
const DOUBTFUL_ROUNDS: u32 = 5;

impl HyStart {
    pub(super) const fn new() -> Self {
        Self { began: 0, end: 0, last: None, current: None, samples: 0, doubt: None }
    }

    /// Bytes that had been delivered when this round began.
    pub(super) const fn round_began(&self) -> u64 {
        self.began
    }

    pub(super) fn on_batch(&mut self, batch: &Batch<'_>) -> Pace {
        let round_ended = batch.rate.is_some_and(|sample| sample.prior_delivered >= self.end);
        if round_ended {
            self.began = self.end;
            self.end = batch.delivered;
            self.last = self.current;
            self.current = None;
            self.samples = 0;
        }
        if let Some(rtt) = batch.sample {
            self.current = Some(self.current.map_or(rtt, |current| current.min(rtt)));
            self.samples += 1;
        }
        if let (Some(last), Some(current)) = (self.last, self.current)
            && self.samples >= SAMPLES
        {
            let growth = (last / GROWTH_DIVISOR).clamp(MIN_GROWTH, MAX_GROWTH);
            match self.doubt {
                None if current >= last + growth => self.doubt = Some((current, 0)),
                Some((baseline, _)) if current < baseline => self.doubt = None,
                _ => {}
            }
        }
        let Some((_, rounds)) = &mut self.doubt else { return Pace::Double };
        if round_ended {
            *rounds += 1;
        }
        if *rounds >= DOUBTFUL_ROUNDS { Pace::Done } else { Pace::Slower { divisor: SLOWER_DIVISOR } }
    }
}
