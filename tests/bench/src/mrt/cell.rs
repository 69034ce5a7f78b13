//! Cells: the links that flows are measured on.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use harness::emulator::{Emulator, Link, Loss};

/// A link, the same in both directions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cell {
    rtt_ms: f64,
    loss_percent: f64,
    rate_mbit: f64,
}

/// Not a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoCell;

const BITS_PER_MBIT: f64 = 1e6;

impl Cell {
    pub(super) const fn new(rtt_ms: f64, loss_percent: f64, rate_mbit: f64) -> Self {
        Self { rtt_ms, loss_percent, rate_mbit }
    }

    /// Starts an emulator with this link, whose queues hold `queue` bandwidth-delay products. Its losses follow from
    /// `round`: the same for all who compete in one.
    pub(super) fn start(self, queue: f64, round: u32) -> Emulator {
        let loss = Loss::Independent(self.loss_percent / 100.0);
        Emulator::start(self.link().queue_bdp(queue).loss(loss).seed(u64::from(round) + 1))
    }

    /// What the link carries in a round trip.
    pub(super) fn bdp_bytes(self) -> f64 {
        self.link().bdp_bytes() as f64
    }

    fn link(self) -> Link {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, and far below the limit"
        )]
        let bits_per_sec = (self.rate_mbit * BITS_PER_MBIT) as u64;
        Link::new(bits_per_sec, Duration::from_secs_f64(self.rtt_ms / 2e3))
    }

    /// Whether nothing is lost at random.
    pub(super) const fn is_clean(self) -> bool {
        self.loss_percent == 0.0
    }

    pub(super) const fn rate_mbit(self) -> f64 {
        self.rate_mbit
    }
}

impl FromStr for Cell {
    type Err = NoCell;

    fn from_str(text: &str) -> Result<Self, NoCell> {
        let numbers: Vec<f64> = text.split(':').map_while(|part| part.parse().ok()).collect();
        let &[rtt_ms, loss_percent, rate_mbit] = numbers.as_slice() else { return Err(NoCell) };
        let fits = text.split(':').count() == numbers.len() && (0.0..100.0).contains(&loss_percent);
        if fits && rtt_ms >= 0.0 && rate_mbit > 0.0 {
            Ok(Self::new(rtt_ms, loss_percent, rate_mbit))
        } else {
            Err(NoCell)
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms, {} %, {} Mbit/s", self.rtt_ms, self.loss_percent, self.rate_mbit)
    }
}

impl fmt::Display for NoCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a link is RTT:LOSS:RATE in milliseconds, percent and Mbit/s, as in 50:1:200")
    }
}

impl std::error::Error for NoCell {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read_as_they_are_written() {
        assert_eq!("50:1.5:200".parse(), Ok(Cell::new(50.0, 1.5, 200.0)));
        for wrong in ["", "50", "50:1", "50:1:200:3", "50:1:0", "50:100:1", "50:x:1", "-1:0:1", "50:1:200:x"] {
            assert_eq!(wrong.parse::<Cell>(), Err(NoCell), "{wrong}");
        }
    }
}
