//! How much may be under way, and how fast it is sent.

use std::time::{Duration, Instant};

use super::config::ControllerKind;
use super::rtt::Rtt;

/// What is remembered of a sent packet for measuring the delivery rate; given back when its fate is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct SentState {}

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
#[derive(Debug)]
pub(super) struct Congestion {}

impl Congestion {
    pub(super) fn new(now: Instant, kind: ControllerKind, packet: u64, seed: u64) -> Self {
        unimplemented!("{now:?} {kind:?} {packet} {seed}")
    }
    /// The full size of packets has changed.
    pub(super) fn set_packet(&mut self, packet: u64) {
        unimplemented!("{packet}")
    }
    /// The first round trip, from the handshake or from a path's validation.
    pub(super) fn on_first_round_trip(&mut self, now: Instant, rtt: Duration) {
        unimplemented!("{now:?} {rtt:?}")
    }
    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64, in_flight_before: u64) -> SentState {
        unimplemented!("{now:?} {bytes} {in_flight_before}")
    }
    pub(super) fn on_acked(&mut self, now: Instant, state: &SentState, bytes: u64) {
        unimplemented!("{now:?} {state:?} {bytes}")
    }
    pub(super) fn on_lost(&mut self, now: Instant, state: &SentState, bytes: u64) {
        unimplemented!("{now:?} {state:?} {bytes}")
    }
    /// A packet that was held for lost had only been late.
    pub(super) fn on_spurious_loss(&mut self, now: Instant, state: &SentState, bytes: u64) {
        unimplemented!("{now:?} {state:?} {bytes}")
    }
    /// After all `on_acked` and `on_lost` that one ADAT or one timeout caused.
    pub(super) fn on_batch(&mut self, now: Instant, summary: AckSummary<'_>) {
        unimplemented!("{now:?} {summary:?}")
    }
    /// Nothing was acknowledged for so long that a probe is sent.
    pub(super) fn on_probe_timeout(&mut self, now: Instant) {
        unimplemented!("{now:?}")
    }
    /// There was nothing to send although more was allowed.
    pub(super) fn on_app_limited(&mut self, in_flight: u64) {
        unimplemented!("{in_flight}")
    }
    /// How many bytes may be under way.
    pub(super) fn window(&self) -> u64 {
        unimplemented!()
    }
    /// How many bytes the pacer lets go now. It may be overdrawn by less than one packet.
    pub(super) fn allowance(&mut self, now: Instant) -> u64 {
        unimplemented!("{now:?}")
    }
    /// When the pacer lets the next burst go, if it does not now.
    pub(super) fn next_burst(&self, now: Instant) -> Option<Instant> {
        unimplemented!("{now:?}")
    }
    /// The rate it sends at, in bytes a second, if it is known.
    pub(super) fn rate(&self) -> Option<u64> {
        unimplemented!()
    }
}
