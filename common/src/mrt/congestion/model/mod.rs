//! The controller that models the path: how fast it delivers, and how long a round trip takes when no queue stands.
//!
//! It sends as fast as the path delivers and keeps about one bandwidth-delay product under way. Now and then it pushes,
//! to see whether there is more, and then takes back what it pushed:
//!
//! ```text
//!   Startup --(pipe full)--> Drain --> Cruise --(some rounds)--> Push --> Relax --> Cruise ..
//!      ^                                  |                                 |
//!      |                                  +--(shortest round trip is old)--> Recheck --> Cruise
//!      +--------------------(two pushes in a row found more)----------------+
//! ```
//!
//! Loss alone is no sign of congestion: what is lost while it sends more slowly than the path delivers is held for the
//! path's own loss, and made up for. More loss than that while it pushes ends the push; with a grown round trip it cuts.
//! The ideas are those of BBR (draft-ietf-ccwg-bbr), the rules for loss and for the shortest round trip are not.

mod filters;

use std::time::{Duration, Instant};

use self::filters::{Aggregation, AmbientLoss, Bandwidth, MinRtt};
use super::Batch;
use super::rate::{Pressure, Rate, SentState, scale};

/// The controller of [`ControllerKind::Model`](crate::mrt::ControllerKind::Model).
#[derive(Debug)]
pub(super) struct Model {
    packet: u64,
    dice: Dice,
    state: State,
    round: Round,
    bandwidth: Bandwidth,
    min_rtt: MinRtt,
    ambient: AmbientLoss,
    aggregation: Aggregation,
    /// No more than this is believed until the next push: what was delivered when the path was congested.
    congested_rate: Option<Rate>,
    /// More than this under way was too much.
    ceiling: Option<u64>,
    /// By which part of it the ceiling is raised at the next push.
    ceiling_step: u64,
    /// Rounds in a row that lost more than any path should.
    lossy_rounds: u32,
    /// The window on a path with a very short round trip, where a rate means little.
    local_window: u64,
    /// Pushes in a row that found more.
    successes: u32,
    /// Nothing was acknowledged for two probes.
    silent: bool,
    probes: u32,
}

/// What the controller is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Doubling, until the path is full.
    Startup {
        /// The highest rate that was a clear step up.
        best: Rate,
        /// Rounds since.
        flat_rounds: u32,
        /// Since when all round trips have been long.
        inflated_since: Option<Instant>,
    },
    /// Taking back what the start sent too much.
    Drain,
    /// Sending at the rate of the path.
    Cruise { rounds: u64 },
    /// Sending faster, to see whether there is more.
    Push { before: Rate, began_round: u64 },
    /// Sending more slowly, until what was pushed is gone.
    Relax { before: Rate, began_round: u64 },
    /// Sending little, to see the round trip without our queue.
    Recheck { since: Instant, drained: Option<Instant>, shortest: Option<Duration> },
}

/// What happened in the current round trip.
#[derive(Debug, Default)]
struct Round {
    count: u64,
    /// The round ends when a packet is acknowledged that left after so much was delivered.
    end: u64,
    acked: u64,
    lost: u64,
    shortest: Option<Duration>,
    /// What was under way when the first packet was sent that was lost.
    in_flight_at_loss: Option<u64>,
    marked: bool,
    /// The best rate.
    rate: Rate,
    cut: bool,
}

const STARTUP_GAIN: u64 = 277;
const STARTUP_WINDOW_GAIN: u64 = 200;
const DRAIN_GAIN: u64 = 50;
const PUSH_GAIN: u64 = 125;
const RELAX_GAIN: u64 = 75;
const YIELD_GAIN: u64 = 95;
const WINDOW_GAIN: u64 = 165;
const RECHECK_WINDOW_GAIN: u64 = 60;
const RECHECK_TIME: Duration = Duration::from_millis(200);
const CRUISE_ROUNDS: u64 = 4;
const CRUISE_DICE: u64 = 4;
const LIMIT_LOSS: u64 = 15;
const EXCESS_LOSS: u64 = 2;
/// The window before anything is known.
pub(super) const INITIAL_PACKETS: u64 = 32;
const LEAST_PACKETS: u64 = 4;
const LOCAL_RTT: Duration = Duration::from_millis(1);
const LOCAL_INFLATED: Duration = Duration::from_millis(8);
const LOCAL_WINDOW: u64 = 1 << 20;

impl Model {
    pub(super) fn new(now: Instant, packet: u64, seed: u64) -> Self {
        Self {
            packet,
            dice: Dice(seed),
            state: State::Startup { best: Rate::ZERO, flat_rounds: 0, inflated_since: None },
            round: Round::default(),
            bandwidth: Bandwidth::default(),
            min_rtt: MinRtt::new(now),
            ambient: AmbientLoss::default(),
            aggregation: Aggregation::new(now),
            congested_rate: None,
            ceiling: None,
            ceiling_step: CEILING_STEP,
            lossy_rounds: 0,
            local_window: LOCAL_WINDOW,
            successes: 0,
            silent: false,
            probes: 0,
        }
    }

    pub(super) const fn set_packet(&mut self, packet: u64) {
        self.packet = packet;
    }

    pub(super) fn on_first_round_trip(&mut self, now: Instant, rtt: Duration) {
        self.min_rtt.add(now, rtt);
    }

    /// How hard it pushes now.
    pub(super) const fn pressure(&self) -> Pressure {
        match self.state {
            State::Relax { .. } | State::Recheck { .. } | State::Drain => Pressure::Calm,
            _ => Pressure::Full,
        }
    }

    pub(super) fn on_acked(&mut self, state: &SentState) {
        self.ambient.on_acked(state.pressure());
    }

    pub(super) fn on_lost(&mut self, state: &SentState) {
        self.ambient.on_lost(state.pressure());
        self.round.in_flight_at_loss.get_or_insert(state.in_flight());
    }

    pub(super) fn on_probe_timeout(&mut self) {
        self.probes = self.probes.saturating_add(1);
        self.silent = self.probes >= 2;
    }

    pub(super) fn on_batch(&mut self, batch: &Batch<'_>) {
        self.round.acked += batch.acked;
        self.round.lost += batch.lost;
        self.round.marked |= batch.congested > 0;
        if batch.acked > 0 {
            self.probes = 0;
            self.silent = false;
        }
        let stale = self.min_rtt.is_stale(batch.now);
        if let Some(rtt) = batch.sample {
            self.min_rtt.add(batch.now, rtt);
            self.round.shortest = Some(self.round.shortest.map_or(rtt, |shortest| shortest.min(rtt)));
        }
        let round_ended = self.take_rate(batch);
        self.aggregation.add(batch.now, batch.acked, self.rate_of_path(), self.target());
        self.step(batch, round_ended);
        if round_ended {
            self.judge_round(batch);
            self.aggregation.on_round();
            let (count, end) = (self.round.count + 1, batch.delivered);
            self.round = Round { count, end, ..Round::default() };
        }
        if stale && !matches!(self.state, State::Recheck { .. } | State::Startup { .. }) {
            self.state = State::Recheck { since: batch.now, drained: None, shortest: None };
        }
    }

    /// Learns from the rate sample; true if a round ended with it.
    fn take_rate(&mut self, batch: &Batch<'_>) -> bool {
        let Some(sample) = batch.rate else { return false };
        // Shorter than a round trip, a sample says more about acknowledgements than about the path.
        if self.min_rtt.get().is_none_or(|min| sample.interval >= min) {
            let excusable = self.ambient.beside(sample.delivered, LIMIT_LOSS);
            let rate = Rate::of(sample.delivered + sample.lost.min(excusable), sample.interval);
            self.round.rate = self.round.rate.max(rate);
            if !sample.app_limited || rate > self.bandwidth.get() {
                self.bandwidth.add(rate);
            }
        }
        sample.prior_delivered >= self.round.end
    }

    /// Moves on to the next state where it is time.
    fn step(&mut self, batch: &Batch<'_>, round_ended: bool) {
        match self.state {
            State::Startup { best, flat_rounds, inflated_since } => {
                self.step_startup(batch, round_ended, best, flat_rounds, inflated_since);
            }
            State::Drain => {
                if batch.in_flight <= self.target() {
                    self.cruise();
                }
            }
            State::Cruise { rounds } => {
                if round_ended {
                    self.state = State::Cruise { rounds: rounds.saturating_sub(1) };
                    if rounds <= 1 {
                        self.push();
                    }
                }
            }
            State::Push { before, began_round } => {
                let excess = self.has_excess_loss();
                if excess {
                    self.lower_ceiling(batch);
                }
                let full = batch.in_flight >= scale(self.target(), PUSH_GAIN).min(self.ceiling.unwrap_or(u64::MAX));
                let waited = self.round.count > began_round;
                if excess || self.round.marked || (waited && full) || self.round.count > began_round + 1 {
                    if !excess {
                        self.raise_ceiling();
                    }
                    self.state = State::Relax { before, began_round: self.round.count };
                }
            }
            State::Relax { before, began_round } => {
                let waited = self.round.count > began_round;
                if self.bandwidth.get() > before.percent(115) {
                    self.successes += 1;
                    if self.successes >= 2 {
                        self.restart();
                    } else {
                        self.push();
                    }
                } else if batch.in_flight <= self.target() || (waited && self.round.count > began_round + 2) {
                    self.successes = 0;
                    self.cruise();
                }
            }
            State::Recheck { since, drained, shortest } => self.step_recheck(batch, since, drained, shortest),
        }
    }

    fn step_startup(
        &mut self,
        batch: &Batch<'_>,
        round_ended: bool,
        mut best: Rate,
        mut flat_rounds: u32,
        mut inflated_since: Option<Instant>,
    ) {
        let min = self.min_rtt.get().unwrap_or_default();
        if let Some(rtt) = batch.sample {
            let limit = min + (min / 8).max(Duration::from_millis(4));
            inflated_since = if rtt > limit { inflated_since.or(Some(batch.now)) } else { None };
        }
        let inflated = inflated_since.is_some_and(|since| batch.now - since >= min / 4);
        let app_limited = batch.rate.is_some_and(|sample| sample.app_limited);
        if round_ended && !app_limited {
            if self.bandwidth.get() >= best.percent(125) {
                best = self.bandwidth.get();
                flat_rounds = 0;
            } else {
                flat_rounds += 1;
            }
        }
        let lossy = self.round.lost > scale(self.round.acked + self.round.lost, 8)
            && self.round.lost > 8 * self.packet
            && self.is_inflated(self.round.shortest);
        self.state = State::Startup { best, flat_rounds, inflated_since };
        if inflated || flat_rounds >= 3 || lossy || self.round.marked {
            self.successes = 0;
            self.state = State::Drain;
        }
    }

    fn step_recheck(
        &mut self,
        batch: &Batch<'_>,
        since: Instant,
        mut drained: Option<Instant>,
        mut shortest: Option<Duration>,
    ) {
        let min = self.min_rtt.get().unwrap_or_default();
        if drained.is_none() && (batch.in_flight <= self.recheck_window() || batch.now - since > min * 4) {
            drained = Some(batch.now);
        }
        if let (Some(_), Some(rtt)) = (drained, batch.sample) {
            shortest = Some(shortest.map_or(rtt, |shortest| shortest.min(rtt)));
        }
        self.state = State::Recheck { since, drained, shortest };
        if let (Some(drained), Some(rtt)) = (drained, shortest)
            && batch.now - drained >= RECHECK_TIME.max(min)
        {
            self.min_rtt.replace(batch.now, rtt);
            self.cruise();
        }
    }

    /// What the loss of the round that ends says.
    fn judge_round(&mut self, batch: &Batch<'_>) {
        let all = self.round.acked + self.round.lost;
        let beyond = self.round.lost > scale(all, LIMIT_LOSS) && self.round.lost > 8 * self.packet;
        self.lossy_rounds = if beyond { self.lossy_rounds + 1 } else { 0 };
        let inflated = self.is_inflated(self.round.shortest);
        let congested = self.round.marked || (inflated && self.has_excess_loss()) || self.lossy_rounds >= 2;
        let local = self.local_window;
        if self.round.lost > scale(all, 1) || batch.rtt.smoothed() > LOCAL_INFLATED {
            self.local_window = (local / 2).max(LEAST_PACKETS * self.packet);
        } else {
            self.local_window = (local + local / 16).min(LOCAL_WINDOW);
        }
        if congested && !matches!(self.state, State::Startup { .. }) {
            let rate = self.rate_of_path();
            self.congested_rate = Some(self.round.rate.max(rate.percent(80)).min(rate));
            self.lower_ceiling(batch);
        }
    }

    /// Whether the round lost clearly more than the path does by itself.
    fn has_excess_loss(&self) -> bool {
        let expected = self.ambient.beside(self.round.acked, LIMIT_LOSS);
        let all = self.round.acked + self.round.lost;
        self.round.lost > expected * 2 + scale(all, EXCESS_LOSS) + 3 * self.packet
    }

    fn is_inflated(&self, rtt: Option<Duration>) -> bool {
        let (Some(rtt), Some(min)) = (rtt, self.min_rtt.get()) else { return false };
        rtt > min + (min / 8).max(Duration::from_millis(2))
    }

    fn lower_ceiling(&mut self, batch: &Batch<'_>) {
        if self.round.cut {
            return;
        }
        self.round.cut = true;
        let seen = self.round.in_flight_at_loss.unwrap_or(batch.in_flight);
        self.ceiling = Some(scale(seen, 90).max(self.target()));
        self.ceiling_step = CEILING_STEP;
    }

    fn raise_ceiling(&mut self) {
        if let Some(ceiling) = self.ceiling {
            let raised = ceiling + ceiling / self.ceiling_step + self.packet;
            self.ceiling_step = (self.ceiling_step / 2).max(2);
            self.ceiling = (raised < scale(self.target(), 2 * WINDOW_GAIN)).then_some(raised);
        }
    }

    fn push(&mut self) {
        self.bandwidth.advance();
        self.congested_rate = None;
        self.state = State::Push { before: self.bandwidth.get(), began_round: self.round.count };
    }

    fn cruise(&mut self) {
        self.state = State::Cruise { rounds: CRUISE_ROUNDS + self.dice.below(CRUISE_DICE) };
    }

    fn restart(&mut self) {
        self.successes = 0;
        self.ceiling = None;
        self.state = State::Startup { best: self.bandwidth.get(), flat_rounds: 0, inflated_since: None };
    }

    /// The rate the path is held to carry.
    fn rate_of_path(&self) -> Rate {
        let rate = self.bandwidth.get();
        self.congested_rate.map_or(rate, |limit| rate.min(limit))
    }

    /// The bandwidth-delay product.
    fn product(&self) -> u64 {
        self.rate_of_path().bytes_in(self.min_rtt.get().unwrap_or_default())
    }

    /// What is under way when the pipe is just full.
    fn target(&self) -> u64 {
        self.product().max(LEAST_PACKETS * self.packet)
    }

    fn recheck_window(&self) -> u64 {
        scale(self.product(), RECHECK_WINDOW_GAIN).max(LEAST_PACKETS * self.packet)
    }

    /// How many bytes may be under way, where bursts of `burst` bytes are sent.
    pub(super) fn window(&self, burst: u64) -> u64 {
        let least = LEAST_PACKETS * self.packet;
        if self.silent {
            return least;
        }
        let slack = self.aggregation.get() + 2 * burst;
        let window = match self.state {
            State::Startup { .. } => {
                let window = scale(self.product(), STARTUP_WINDOW_GAIN) + slack;
                window.max(INITIAL_PACKETS * self.packet)
            }
            State::Recheck { .. } => return self.recheck_window(),
            _ => {
                let window = scale(self.product(), WINDOW_GAIN) + slack;
                self.ceiling.map_or(window, |ceiling| window.min(ceiling.max(self.target()) + slack))
            }
        };
        let floor = if self.is_local() { self.local_window } else { least };
        window.max(floor)
    }

    /// How fast to send; `None` as long as nothing is known, or where a rate means little.
    pub(super) fn pacing_rate(&self) -> Option<Rate> {
        let min = self.min_rtt.get()?;
        if self.is_local() && self.local_window > LOCAL_WINDOW / 4 {
            return None;
        }
        let rate = self.rate_of_path();
        let least = Rate::of(LEAST_PACKETS * self.packet, min);
        let gain = match self.state {
            State::Startup { .. } => {
                let first = Rate::of(INITIAL_PACKETS * self.packet, min);
                return Some(rate.percent(STARTUP_GAIN).max(first));
            }
            State::Drain => DRAIN_GAIN,
            State::Push { .. } => PUSH_GAIN,
            State::Relax { .. } => RELAX_GAIN,
            State::Cruise { .. } if self.is_inflated(self.round.shortest) => YIELD_GAIN,
            State::Cruise { .. } | State::Recheck { .. } => 100,
        };
        Some(rate.percent(gain).max(least))
    }

    fn is_local(&self) -> bool {
        self.min_rtt.get().is_some_and(|min| min < LOCAL_RTT)
    }

    #[cfg(test)]
    pub(super) fn describe(&self) -> String {
        format!(
            "{:?} bw {:.2}M min {:?} ceiling {:?} congested {:?} p {} agg {}",
            self.state,
            self.bandwidth.get().bytes_per_sec() as f64 * 8e-6,
            self.min_rtt.get(),
            self.ceiling,
            self.congested_rate,
            self.ambient.beside(1000, LIMIT_LOSS),
            self.aggregation.get()
        )
    }
}

/// Part of the ceiling by which it is raised first.
const CEILING_STEP: u64 = 64;

/// Numbers that need not be secret, only different for each connection (SplitMix64).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    /// A number below `bound`, which is far below 2^32.
    const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 32) % bound
    }
}
