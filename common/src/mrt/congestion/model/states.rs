//! What the controller is about, and when it moves on.

use std::time::{Duration, Instant};

use super::super::Batch;
use super::super::rate::{Rate, scale};
use super::Model;
use super::loss::PushRecord;

/// What the controller is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Doubling, until the path is full.
    Startup(Startup),
    /// Taking back what the start sent too much.
    Drain { began_round: u64 },
    /// Sending at the rate of the path, for so many rounds.
    Cruise { rounds: u64 },
    /// Sending faster, to see whether there is more.
    Push { began_round: u64 },
    /// Sending more slowly, until what was pushed is gone.
    Relax { began_round: u64 },
    /// Sending little, to see the round trip without our queue.
    Recheck(Recheck),
}

/// How the start goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Startup {
    /// The window, which grows by what is acknowledged.
    pub(super) window: u64,
    /// The least window, whatever the rate says.
    pub(super) floor: u64,
    /// The last rate that was a clear step up.
    best: Rate,
    /// Rounds since.
    flat_rounds: u32,
    /// Since when all round trips have been long.
    inflated_since: Option<Instant>,
}

/// How the look for the shortest round trip goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recheck {
    /// Since when no more than its window is under way, and in which round that was.
    drained: Option<(Instant, u64)>,
    shortest: Option<Duration>,
}

/// A round trip longer by this part, and by so much, during [`INFLATED_FOR`], ends the start: the queue grows. The time is
/// that of HyStart++ (RFC 9406, `MIN_RTT_THRESH`).
const START_INFLATED_PART: u32 = 8;
const START_INFLATED_LEAST: Duration = Duration::from_millis(4);
/// Part of a round trip.
const INFLATED_FOR: u32 = 4;
/// In so many rounds the rate must have grown by a quarter, or the path is full (BBR).
const FLAT_ROUNDS: u32 = 3;
const CLEAR_STEP: u64 = 125;
/// Percent of a round whose loss ends the start where a queue is seen: above what paths lose by themselves, and far below
/// what a start loses that sends twice what the path delivers.
const START_LOSS: u64 = 25;
/// Fewer lost packets say nothing.
const START_LOSS_PACKETS: u64 = 16;
/// Rounds after which draining is over, whatever is under way: the rate may have been taken for too low.
const DRAIN_ROUNDS: u64 = 4;
/// Rounds between pushes: long enough that probing costs little, short enough that a share is found within seconds.
const CRUISE_ROUNDS: u64 = 4;
/// And up to so many more, by chance, so that connections do not push together for long.
const MORE_CRUISE_ROUNDS: u64 = 4;
/// Rounds after which a push or its end is over in any case: the first round sends, the second sees what came of it.
const PUSH_ROUNDS: u64 = 2;
/// How far a push goes, in hundredths of what fills the pipe.
const PUSH_REACH: u64 = 125;
/// Pushes in a row that found more, after which it starts again.
const PUSHES_OF_START: u32 = 2;
/// How long little is sent: so many round trips, but not longer than BBR's 200 ms unless one alone is.
const RECHECK_ROUNDS: u32 = 4;
const RECHECK_TIME: Duration = Duration::from_millis(200);

impl Startup {
    pub(super) const fn new(window: u64, best: Rate) -> Self {
        Self { window, floor: window, best, flat_rounds: 0, inflated_since: None }
    }
}

impl Model {
    /// Moves on to the next state where it is time.
    pub(super) fn step(&mut self, batch: &Batch<'_>, round_ended: bool) {
        match self.state {
            State::Startup(start) => self.step_startup(batch, round_ended, start),
            State::Drain { began_round } => {
                if batch.in_flight <= self.target() || self.round.count >= began_round + DRAIN_ROUNDS {
                    // The start may have ended too early: the first push comes soon.
                    self.push_record = PushRecord::new(self.bandwidth.get());
                    self.state = State::Cruise { rounds: 1 };
                }
            }
            State::Cruise { rounds } if round_ended => {
                if self.has_found_more() {
                    self.follow_growth();
                } else if rounds > 1 {
                    self.state = State::Cruise { rounds: rounds - 1 };
                } else {
                    self.successes = 0;
                    self.push();
                }
            }
            State::Cruise { .. } => {}
            State::Push { began_round } => {
                let reach = scale(self.target(), PUSH_REACH).min(self.ceiling.get().unwrap_or(u64::MAX));
                let rounds = self.round.count - began_round;
                let reached = rounds > 0 && batch.in_flight >= reach;
                let harmful = self.push_record.too_much().is_some() || self.round.marked;
                if harmful || reached || rounds >= PUSH_ROUNDS {
                    self.state = State::Relax { began_round: self.round.count };
                }
            }
            State::Relax { began_round } => {
                let relaxed = batch.in_flight <= self.relax_target(batch.now) && !self.ambient.is_doubtful();
                if round_ended && self.has_found_more() {
                    self.follow_growth();
                } else if relaxed || self.round.count >= began_round + PUSH_ROUNDS {
                    self.cruise();
                }
            }
            State::Recheck(recheck) => self.step_recheck(batch, recheck),
        }
    }

    /// Looks for the shortest round trip.
    pub(super) const fn recheck(&mut self) {
        self.state = State::Recheck(Recheck { drained: None, shortest: None });
    }

    fn step_startup(&mut self, batch: &Batch<'_>, round_ended: bool, mut start: Startup) {
        let min = self.min_rtt.get().unwrap_or_default();
        start.window += batch.acked;
        if let Some(rtt) = batch.sample {
            let limit = min + (min / START_INFLATED_PART).max(START_INFLATED_LEAST);
            start.inflated_since = if rtt > limit { start.inflated_since.or(Some(batch.now)) } else { None };
        }
        if round_ended && !batch.rate.is_some_and(|sample| sample.app_limited) {
            if self.bandwidth.get() >= start.best.percent(CLEAR_STEP) {
                start.best = self.bandwidth.get();
                start.flat_rounds = 0;
            } else {
                start.flat_rounds += 1;
            }
        }
        let inflated = start.inflated_since.is_some_and(|since| batch.now.duration_since(since) >= min / INFLATED_FOR);
        let lossy = self.round.lost > scale(self.round.acked + self.round.lost, START_LOSS)
            && self.round.lost > START_LOSS_PACKETS * self.packet
            && self.sees_queue();
        self.state = if inflated || lossy || self.round.marked || start.flat_rounds >= FLAT_ROUNDS {
            State::Drain { began_round: self.round.count }
        } else {
            State::Startup(start)
        };
    }

    fn step_recheck(&mut self, batch: &Batch<'_>, mut recheck: Recheck) {
        let round = self.round.count;
        if recheck.drained.is_none() && batch.in_flight <= self.recheck_window() {
            recheck.drained = Some((batch.now, round));
        }
        if let Some((drained, drained_round)) = recheck.drained
            && round > drained_round
        {
            // Packets of a round before have met the queue that was there before.
            if let Some(rtt) = batch.sample {
                recheck.shortest = Some(recheck.shortest.map_or(rtt, |shortest| shortest.min(rtt)));
            }
            let min = self.min_rtt.get().unwrap_or_default();
            let time = RECHECK_TIME.min(min * RECHECK_ROUNDS).max(min);
            if let Some(shortest) = recheck.shortest
                && batch.now.duration_since(drained) >= time
            {
                self.min_rtt.replace(batch.now, shortest);
                self.cruise();
                return;
            }
        }
        self.state = State::Recheck(recheck);
    }

    fn push(&mut self) {
        let irrelevant = self.plain_window() * 2;
        self.ceiling.learn(&self.push_record, self.packet, irrelevant);
        self.ambient.on_push();
        self.bandwidth.advance();
        self.congested_rate = None;
        self.push_record = PushRecord::new(self.bandwidth.get());
        self.state = State::Push { began_round: self.round.count };
    }

    fn cruise(&mut self) {
        self.state = State::Cruise { rounds: CRUISE_ROUNDS + self.dice.below(MORE_CRUISE_ROUNDS) };
    }

    fn has_found_more(&self) -> bool {
        self.push_record.has_found_more(self.bandwidth.get())
    }

    /// The push found more: the next follows at once, or a new start.
    fn follow_growth(&mut self) {
        self.successes += 1;
        if self.successes < PUSHES_OF_START {
            self.push();
        } else {
            self.successes = 0;
            self.ceiling.lift();
            self.congested_rate = None;
            self.state = State::Startup(Startup::new(self.target(), self.bandwidth.get()));
        }
    }
}
