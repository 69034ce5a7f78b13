//! The controller that models the path: how fast it delivers, and how long a round trip takes when no queue stands.
//!
//! It sends as fast as the path delivers and keeps about one bandwidth-delay product under way. Now and then it pushes,
//! to see whether there is more, and then takes back what it pushed:
//!
//! ```text
//!   Startup --(pipe full)--> Drain --> Cruise --(some rounds)--> Push --> Relax --> Cruise ..
//!      ^                                  |                                 |
//!      |                                  +--(shortest round trip is old, or doubtful)--> Recheck --> Cruise
//!      +--------------------(two pushes in a row found more)----------------+
//! ```
//!
//! Loss alone is no sign of congestion: what is lost while it sends more slowly than the path delivers is held for the
//! path's own loss, and made up for. More loss than that while it pushes ends the push; with a grown round trip it cuts.
//! The ideas are those of BBR (draft-ietf-ccwg-bbr), the rules for loss and for the shortest round trip are not.

mod filters;
mod loss;
mod states;

use std::time::{Duration, Instant};

use self::filters::{Aggregation, Bandwidth, Company, MinRtt};
use self::loss::{AmbientLoss, Ceiling, PushRecord, Queue};
use self::states::{Startup, State};
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
    last_rtt: Option<Duration>,
    company: Company,
    aggregation: Aggregation,
    ambient: AmbientLoss,
    push_record: PushRecord,
    ceiling: Ceiling,
    /// Pushes in a row that found more.
    successes: u32,
    /// No more than this is believed until the next push: what was delivered when the path was congested.
    congested_rate: Option<Rate>,
    /// Rounds in a row that lost more than any path should.
    ruinous_rounds: u32,
    /// The least window on a path with a very short round trip, where a rate means little.
    local_window: u64,
    /// Probes in a row that were not answered.
    probes: u32,
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
    /// What was under way when the first packet left that was lost.
    in_flight_at_loss: Option<u64>,
    /// A router marked a packet.
    marked: bool,
    /// The best rate.
    rate: Rate,
}

/// The window before anything is known. TCP starts with 10, which costs most paths of today four more round trips. Beyond
/// what others send at once these are paced, over the first round trip: 240 KB in 50 ms are 38 Mbit/s. quinn's BBR starts with
/// as many.
const INITIAL_PACKETS: u64 = 200;
/// Fewer packets under way would not bring acknowledgements that detect a loss.
const LEAST_PACKETS: u64 = 4;
/// Probes in a row without an answer after which no more than the least is under way.
const PROBES_OF_SILENCE: u32 = 2;

// Rates, in hundredths of what the path delivers, and windows, in hundredths of the bandwidth-delay product.

/// 4 ln 2: the least that doubles the delivery rate each round (BBR). The window of the start is as many times the product
/// of a rate that lags behind by a round.
const STARTUP_GAIN: u64 = 277;
/// The pace of the start beside its window for each round trip, as Linux does in slow start: the rate lags behind.
const STARTUP_PACE: u64 = 200;
const DRAIN_GAIN: u64 = 50;
const PUSH_GAIN: u64 = 125;
const RELAX_GAIN: u64 = 75;
/// While others keep a queue.
const YIELD_GAIN: u64 = 95;
/// Enough for pushes. What a CUBIC is left with does not depend on it (1.55 to 2.5 were tried), how much stands in a queue
/// when the path becomes a slower one does.
const WINDOW_GAIN: u64 = 155;
/// Low enough to let go of a queue that two flows keep, high enough to cost little.
const RECHECK_WINDOW_GAIN: u64 = 60;

/// Percent of a round that no path should lose: twice in a row, and it is congestion whatever the round trips say; with a
/// queue, and the path has become a slower one. Above the 15 that must not cut, since shares of few packets scatter.
const RUINOUS_LOSS: u64 = 25;
const RUINOUS_PACKETS: u64 = 8;
/// A round is inflated if its shortest round trip is longer by this part, and by so much.
const INFLATED_PART: u32 = 8;
const INFLATED_LEAST: Duration = Duration::from_millis(2);
/// A round trip longer by this part, and so much beyond, has met some queue, or a slow timer.
const QUEUE_PART: u32 = 64;
const QUEUE_LEAST: Duration = Duration::from_micros(500);
/// What congestion leaves of the rate, in hundredths, if no more was delivered.
const CUT_RATE: u64 = 80;
/// What congestion leaves of the bytes under way, in hundredths.
const CUT_IN_FLIGHT: u64 = 90;
/// Heaps of acknowledgements are believed up to this part of the bandwidth-delay product, or this time of the rate: one
/// acknowledgement for an eighth of a window is usual, and radio links hold back for some milliseconds.
const HEAP_PART: u64 = 4;
const HEAP_TIME: Duration = Duration::from_millis(10);
/// The part of a usual heap, which must be under way beyond the product for the path to be busy.
const USUAL_HEAP_PART: u64 = 8;

/// Below it, timers and bursts take longer than the path: it is not paced.
const LOCAL_RTT: Duration = Duration::from_millis(1);
/// Above it a short path has a queue of another size than loopback.
const LOCAL_INFLATED: Duration = Duration::from_millis(8);
/// Least window where it is not paced: 2 GB/s, if the receiver is not scheduled for a millisecond. Half of what a socket's
/// buffer holds.
const LOCAL_WINDOW: u64 = 2 << 20;
/// Below this part of it, the path is paced after all.
const LOCAL_PACED_PART: u64 = 4;
/// Percent of a round whose loss halves it.
const LOCAL_LOSS: u64 = 1;
/// The part by which it grows back each round.
const LOCAL_GROWTH_PART: u64 = 16;

impl Model {
    pub(super) fn new(now: Instant, packet: u64, seed: u64) -> Self {
        Self {
            packet,
            dice: Dice(seed),
            state: State::Startup(Startup::new(INITIAL_PACKETS * packet, Rate::ZERO)),
            round: Round::default(),
            bandwidth: Bandwidth::default(),
            min_rtt: MinRtt::new(now),
            last_rtt: None,
            company: Company::default(),
            aggregation: Aggregation::new(now),
            ambient: AmbientLoss::default(),
            push_record: PushRecord::default(),
            ceiling: Ceiling::new(),
            successes: 0,
            congested_rate: None,
            ruinous_rounds: 0,
            local_window: LOCAL_WINDOW,
            probes: 0,
        }
    }

    pub(super) const fn set_packet(&mut self, packet: u64) {
        self.packet = packet;
    }

    pub(super) fn on_first_round_trip(&mut self, now: Instant, rtt: Duration) {
        self.min_rtt.add(now, rtt);
    }

    /// The bandwidth-delay product, unless it is still growing.
    pub(super) fn known_product(&self) -> Option<u64> {
        (!matches!(self.state, State::Startup(_))).then(|| self.product()).filter(|product| *product > 0)
    }

    /// Begins with the belief that the path carries so many bytes in a round trip, and soon looks whether it is more.
    pub(super) fn begin_with(&mut self, bytes: u64) {
        let Some(min) = self.min_rtt.get() else { return };
        if bytes > INITIAL_PACKETS / 2 * self.packet && matches!(self.state, State::Startup(_)) {
            self.bandwidth.reset(Rate::of(bytes, min));
            self.push_record = PushRecord::new(self.bandwidth.get());
            self.state = State::Cruise { rounds: 1 };
        }
    }

    /// How hard it pushes now.
    pub(super) const fn pressure(&self) -> Pressure {
        match self.state {
            State::Relax { .. } | State::Recheck(_) | State::Drain { .. } => Pressure::Calm,
            State::Push { .. } => Pressure::Pushing,
            State::Startup(_) | State::Cruise { .. } => Pressure::Full,
        }
    }

    pub(super) fn on_acked(&mut self, state: &SentState) {
        self.ambient.on_acked(state.pressure());
        self.push_record.on_acked(state.pressure());
    }

    pub(super) fn on_lost(&mut self, state: &SentState) {
        self.ambient.on_lost(state.pressure());
        self.round.in_flight_at_loss.get_or_insert_with(|| state.in_flight());
        let queue = if self.sees_queue() { Queue::Seen } else { Queue::Unseen };
        self.push_record.on_lost(state, &self.ambient, queue);
    }

    pub(super) fn on_spurious_loss(&mut self, state: &SentState, bytes: u64) {
        self.ambient.on_spurious_loss(state.pressure());
        self.round.lost = self.round.lost.saturating_sub(bytes);
    }

    pub(super) const fn on_probe_timeout(&mut self) {
        self.probes = self.probes.saturating_add(1);
    }

    pub(super) fn on_batch(&mut self, batch: &Batch<'_>) {
        self.round.acked += batch.acked;
        self.round.lost += batch.lost;
        self.round.marked |= batch.congested > 0;
        if batch.acked > 0 {
            self.probes = 0;
        }
        if let Some(rtt) = batch.sample {
            self.min_rtt.add(batch.now, rtt);
            self.last_rtt = Some(rtt);
            self.round.shortest = Some(self.round.shortest.map_or(rtt, |shortest| shortest.min(rtt)));
        }
        let round_ended = self.take_rate(batch);
        self.step(batch, round_ended);
        if round_ended {
            if matches!(self.state, State::Cruise { .. }) {
                self.company.on_calm_round(self.is_inflated());
            }
            self.judge_round(batch);
            self.aggregation.on_round();
            self.round = Round { count: self.round.count + 1, end: batch.delivered, ..Round::default() };
        }
        let doubtful = self.company.keeps_queue() && self.min_rtt.is_unproven(batch.now);
        let old = self.min_rtt.is_stale(batch.now) || doubtful;
        if old && !matches!(self.state, State::Recheck(_) | State::Startup(_)) {
            self.recheck();
        }
    }

    /// How many bytes may be under way, where bursts of `burst` bytes are sent.
    pub(super) fn window(&self, burst: u64) -> u64 {
        let least = LEAST_PACKETS * self.packet;
        if self.probes >= PROBES_OF_SILENCE {
            return least;
        }
        let window = match self.state {
            State::Startup(start) => {
                let most = scale(self.product(), STARTUP_GAIN) + 2 * burst;
                start.window.min(most).max(start.floor)
            }
            State::Recheck(_) => return self.recheck_window(),
            _ => {
                let window = self.plain_window() + self.aggregation.get() + 2 * burst;
                self.ceiling.get().map_or(window, |ceiling| window.min(ceiling.max(self.target())))
            }
        };
        window.max(if self.is_local() { self.local_window } else { least })
    }

    /// How fast to send; `None` as long as nothing is known, or where a rate means little.
    pub(super) fn pacing_rate(&self) -> Option<Rate> {
        let min = self.min_rtt.get()?;
        if self.is_local() && self.local_window > LOCAL_WINDOW / LOCAL_PACED_PART {
            return None;
        }
        let least = Rate::of(LEAST_PACKETS * self.packet, min);
        let gain = match self.state {
            State::Startup(_) => {
                let pace = Rate::of(self.window(0), min).percent(STARTUP_PACE);
                return Some(self.rate_of_path().percent(STARTUP_GAIN).max(pace));
            }
            State::Drain { .. } => DRAIN_GAIN,
            State::Push { .. } => PUSH_GAIN,
            State::Relax { .. } => RELAX_GAIN,
            State::Cruise { .. } if self.is_inflated() => YIELD_GAIN,
            State::Cruise { .. } | State::Recheck(_) => 100,
        };
        Some(self.rate_of_path().percent(gain).max(least))
    }

    /// Learns from the rate sample; true if a round ended with it.
    fn take_rate(&mut self, batch: &Batch<'_>) -> bool {
        let Some(sample) = batch.rate else { return false };
        // Shorter than a round trip, a sample says more about acknowledgements than about the path.
        if self.min_rtt.get().is_none_or(|min| sample.interval >= min) {
            // What the path loses by itself has been carried by the bottleneck, or would have been.
            let carried = sample.delivered + sample.lost.min(self.ambient.beside(sample.delivered));
            let rate = Rate::of(carried, sample.interval);
            self.round.rate = self.round.rate.max(rate);
            if !sample.app_limited || rate > self.bandwidth.get() {
                self.bandwidth.add(rate);
            }
        }
        if matches!(self.state, State::Startup(_)) {
            // The rate lags behind here: everything would look like a heap.
            self.aggregation = Aggregation::new(batch.now);
        } else {
            let rate = self.rate_of_path();
            let limit = (self.product() / HEAP_PART).max(rate.bytes_in(HEAP_TIME));
            self.aggregation.add(batch.now, batch.acked, rate, limit);
        }
        sample.prior_delivered >= self.round.end
    }

    /// What the losses and marks of the round that ends say.
    fn judge_round(&mut self, batch: &Batch<'_>) {
        let Round { acked, lost, marked, rate, in_flight_at_loss, .. } = self.round;
        let ruinous = lost > scale(acked + lost, RUINOUS_LOSS) && lost > RUINOUS_PACKETS * self.packet;
        self.ruinous_rounds = if ruinous { self.ruinous_rounds + 1 } else { 0 };
        let queue_overflows = self.is_inflated() && self.ambient.is_exceeded(acked, lost, self.packet);
        let congested = marked || queue_overflows || self.ruinous_rounds >= 2;
        if congested && !matches!(self.state, State::Startup(_)) {
            if ruinous && self.is_inflated() && rate > Rate::ZERO {
                self.bandwidth.reset(rate);
            }
            let believed = self.rate_of_path();
            self.congested_rate = Some(rate.max(believed.percent(CUT_RATE)).min(believed));
            let in_flight = in_flight_at_loss.unwrap_or(batch.in_flight);
            self.ceiling.set(scale(in_flight, CUT_IN_FLIGHT).max(self.target()));
        }
        // A receiver whose buffer overflows shows no queue before: here any loss counts.
        if lost > scale(acked + lost, LOCAL_LOSS) || batch.rtt.smoothed() > LOCAL_INFLATED {
            self.local_window = (self.local_window / 2).max(LEAST_PACKETS * self.packet);
        } else {
            self.local_window = (self.local_window + self.local_window / LOCAL_GROWTH_PART).min(LOCAL_WINDOW);
        }
    }

    /// Whether the last round trip showed any queue.
    fn sees_queue(&self) -> bool {
        let (Some(rtt), Some(min)) = (self.last_rtt, self.min_rtt.get()) else { return false };
        rtt > min + min / QUEUE_PART + QUEUE_LEAST
    }

    /// Whether a queue stood during all of this round.
    fn is_inflated(&self) -> bool {
        let (Some(rtt), Some(min)) = (self.round.shortest, self.min_rtt.get()) else { return false };
        rtt > min + (min / INFLATED_PART).max(INFLATED_LEAST)
    }

    fn is_local(&self) -> bool {
        self.min_rtt.get().is_some_and(|min| min < LOCAL_RTT)
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

    /// The window without heaps, bursts and ceiling.
    fn plain_window(&self) -> u64 {
        scale(self.product(), WINDOW_GAIN)
    }

    /// What is under way when the pipe is just full.
    fn target(&self) -> u64 {
        let product = self.product();
        let heap = self.aggregation.get().min(product / USUAL_HEAP_PART).max(self.packet);
        (product + heap).max(LEAST_PACKETS * self.packet)
    }

    /// What should be under way when a push is over. Now and then that is a bit less, so that the shortest round trip is
    /// seen again.
    fn relax_target(&self, now: Instant) -> u64 {
        if self.min_rtt.is_aging(now) { self.product() } else { self.target() }
    }

    fn recheck_window(&self) -> u64 {
        scale(self.product(), RECHECK_WINDOW_GAIN).max(LEAST_PACKETS * self.packet)
    }
}

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
