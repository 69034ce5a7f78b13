//! How much may be under way, and how fast it is sent.
//!
//! [`Congestion`] belongs to one path. It is told of each packet when it leaves and when its fate is known, and after each
//! ADAT or timeout of the batch as a whole. It answers with a window and, by its pacer, with what may leave now.
//!
//! - `rate`: measures how fast the path delivers
//! - `model`: the default: keeps to what the path delivers, whatever it loses
//! - `cubic`: takes every loss for congestion, as most TCP does
//! - `pacer`: when bytes may leave

mod cubic;
mod model;
mod pacer;
mod rate;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use self::cubic::Cubic;
use self::model::Model;
use self::pacer::Pacer;
pub(super) use self::rate::SentState;
use self::rate::{Pressure, RateSample, Sampler};
use super::config::ControllerKind;
use super::rtt::Rtt;

/// What an ADAT brought, after each of its packets was told.
#[derive(Debug, Clone, Copy)]
pub(super) struct AckSummary<'a> {
    /// The round-trip times, the new sample included.
    pub(super) rtt: &'a Rtt,
    /// The new sample, if the largest acknowledged packet is a new one.
    pub(super) sample: Option<Duration>,
    /// Bytes still under way.
    pub(super) in_flight: u64,
    /// Packets newly told to have met congestion (ECN).
    pub(super) congested: u64,
}

/// Congestion control of one path: delivery rate, controller and pacer.
///
/// Calls, for each packet: [`Self::on_sent`], then one of [`Self::on_acked`] and [`Self::on_lost`], and perhaps later
/// [`Self::on_spurious_loss`]. After all that one ADAT or timeout caused: [`Self::on_batch`]. Before sending:
/// [`Self::window`] and [`Self::allowance`]; if the latter is too little, [`Self::next_burst`] says when to come again.
#[derive(Debug)]
pub(super) struct Congestion {
    sampler: Sampler,
    controller: Controller,
    pacer: Pacer,
    /// Bytes acknowledged and lost since the last batch.
    acked: u64,
    lost: u64,
    /// Full size of packets.
    packet: u64,
    /// Bytes that may be under way.
    window: u64,
}

#[derive(Debug)]
enum Controller {
    Model(Model),
    Fair(Cubic),
}

/// What a controller learns at the end of a batch.
#[derive(Debug)]
struct Batch<'a> {
    now: Instant,
    rate: Option<RateSample>,
    /// Bytes newly acknowledged.
    acked: u64,
    /// Bytes newly held for lost.
    lost: u64,
    /// Bytes delivered ever.
    delivered: u64,
    rtt: &'a Rtt,
    sample: Option<Duration>,
    in_flight: u64,
    congested: u64,
}

impl Congestion {
    /// A path of which nothing is known, with packets of up to `packet` bytes. Each connection has a `seed` of its own, so
    /// that those that share a path do not push at the same time.
    pub(super) fn new(now: Instant, kind: ControllerKind, packet: u64, seed: u64) -> Self {
        let controller = match kind {
            ControllerKind::Model => Controller::Model(Model::new(now, packet, seed)),
            ControllerKind::Fair => Controller::Fair(Cubic::new(packet)),
        };
        let (sampler, pacer) = (Sampler::new(now), Pacer::new(now, packet));
        let mut congestion = Self { sampler, controller, pacer, acked: 0, lost: 0, packet, window: 0 };
        congestion.apply(now);
        congestion
    }

    /// The full size of packets has changed.
    pub(super) fn set_packet(&mut self, packet: u64) {
        self.packet = packet;
        self.pacer.set_packet(packet);
        match &mut self.controller {
            Controller::Model(model) => model.set_packet(packet),
            Controller::Fair(cubic) => cubic.set_packet(packet),
        }
        self.update_window();
    }

    /// The first round trip, from the handshake or from a path's validation.
    pub(super) fn on_first_round_trip(&mut self, now: Instant, rtt: Duration) {
        match &mut self.controller {
            Controller::Model(model) => model.on_first_round_trip(now, rtt),
            Controller::Fair(cubic) => cubic.on_first_round_trip(rtt),
        }
        self.apply(now);
    }

    /// Bytes that fill the path, once that is known.
    pub(super) fn product(&self) -> Option<u64> {
        match &self.controller {
            Controller::Model(model) => model.known_product(),
            Controller::Fair(cubic) => cubic.known_product(),
        }
    }

    /// It is likely that the path carries so many bytes in a round trip, of which the first is known.
    pub(super) fn begin_with(&mut self, now: Instant, bytes: u64) {
        match &mut self.controller {
            Controller::Model(model) => model.begin_with(bytes),
            Controller::Fair(cubic) => cubic.begin_with(bytes),
        }
        self.apply(now);
    }

    /// A packet of `bytes` leaves, with `in_flight_before` bytes under way already.
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64, in_flight_before: u64) -> SentState {
        self.pacer.on_sent(bytes);
        let pressure = match &self.controller {
            Controller::Model(model) => model.pressure(),
            Controller::Fair(_) => Pressure::Full,
        };
        self.sampler.on_sent(now, bytes, in_flight_before, pressure)
    }

    /// A packet arrived.
    pub(super) fn on_acked(&mut self, now: Instant, state: &SentState, bytes: u64) {
        self.acked += bytes;
        self.sampler.on_acked(now, state, bytes);
        if let Controller::Model(model) = &mut self.controller {
            model.on_acked(state);
        }
    }

    /// A packet is held for lost.
    pub(super) fn on_lost(&mut self, now: Instant, state: &SentState, bytes: u64) {
        self.lost += bytes;
        self.sampler.on_lost(bytes);
        match &mut self.controller {
            Controller::Model(model) => model.on_lost(state),
            Controller::Fair(cubic) => cubic.on_lost(now, state, self.sampler.delivered()),
        }
    }

    /// A packet that was held for lost had only been late.
    pub(super) fn on_spurious_loss(&mut self, now: Instant, state: &SentState, bytes: u64) {
        self.on_acked(now, state, bytes);
        match &mut self.controller {
            Controller::Model(model) => model.on_spurious_loss(state, bytes),
            Controller::Fair(cubic) => cubic.on_spurious_loss(),
        }
    }

    /// After all `on_acked` and `on_lost` that one ADAT or one timeout caused.
    pub(super) fn on_batch(&mut self, now: Instant, summary: AckSummary<'_>) {
        let AckSummary { rtt, sample, in_flight, congested } = summary;
        let rate = self.sampler.take_sample(now);
        let (acked, lost) = (std::mem::take(&mut self.acked), std::mem::take(&mut self.lost));
        let delivered = self.sampler.delivered();
        // Whoever waits for acknowledgements and not for the pacer must not send all that he missed at once.
        if in_flight + acked + lost + self.packet > self.window {
            self.pacer.forget_lateness(now);
        }
        let batch = Batch { now, rate, acked, lost, delivered, rtt, sample, in_flight, congested };
        match &mut self.controller {
            Controller::Model(model) => model.on_batch(&batch),
            Controller::Fair(cubic) => cubic.on_batch(&batch),
        }
        self.apply(now);
    }

    /// Nothing was acknowledged for so long that a probe is sent.
    pub(super) fn on_probe_timeout(&mut self, now: Instant) {
        match &mut self.controller {
            Controller::Model(model) => model.on_probe_timeout(),
            Controller::Fair(cubic) => cubic.on_probe_timeout(),
        }
        self.apply(now);
    }

    /// There was nothing to send although more was allowed.
    pub(super) fn on_app_limited(&mut self, in_flight: u64) {
        self.sampler.on_app_limited(in_flight);
        if let Controller::Fair(cubic) = &mut self.controller {
            cubic.on_app_limited();
        }
    }

    /// How many bytes may be under way.
    pub(super) const fn window(&self) -> u64 {
        self.window
    }

    /// How many bytes the pacer lets go now: nothing, or half a burst at least. It may be overdrawn by less than one packet.
    pub(super) fn allowance(&mut self, now: Instant) -> u64 {
        self.pacer.allowance(now)
    }

    /// When the pacer lets the next burst go, if it does not now.
    pub(super) fn next_burst(&self, now: Instant) -> Option<Instant> {
        self.pacer.next_burst(now)
    }

    /// The rate it sends at, in bytes a second, if it is known.
    pub(super) fn rate(&self) -> Option<u64> {
        self.pacer.rate().map(rate::Rate::bytes_per_sec)
    }

    /// Takes over what the controller wants.
    fn apply(&mut self, now: Instant) {
        let rate = match &self.controller {
            Controller::Model(model) => model.pacing_rate(),
            Controller::Fair(cubic) => cubic.pacing_rate(),
        };
        self.pacer.set_rate(now, rate);
        self.update_window();
    }

    fn update_window(&mut self) {
        self.window = match &self.controller {
            Controller::Model(model) => model.window(self.pacer.burst()),
            Controller::Fair(cubic) => cubic.window(),
        };
    }
}
