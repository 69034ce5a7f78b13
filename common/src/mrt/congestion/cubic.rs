//! CUBIC (RFC 9438) with HyStart++ (RFC 9406): takes every loss for congestion, as most TCP does.

mod hystart;

use std::time::{Duration, Instant};

use self::hystart::{HyStart, Pace};
use super::Batch;
use super::rate::{Rate, SentState, scale};

/// The controller of [`ControllerKind::Fair`](crate::mrt::ControllerKind::Fair).
#[derive(Debug)]
pub(super) struct Cubic {
    packet: u64,
    window: u64,
    /// Below it the window doubles each round trip.
    threshold: u64,
    start: HyStart,
    /// The cubic curve since the last cut; `None` before it is first needed.
    curve: Option<Curve>,
    /// The window before the last cut, in packets, a bit less if it fell twice in a row (fast convergence).
    peak: f64,
    /// The window before the last cut, in bytes.
    before_cut: u64,
    /// Packets sent before so much was delivered belong to a loss that was answered already.
    answered: Option<u64>,
    undo: Option<Undo>,
    smoothed: Option<Duration>,
    lost: Option<Instant>,
    app_limited: bool,
    probes: u32,
}

/// A concave then convex way back to the window before the cut.
#[derive(Debug, Clone, Copy)]
struct Curve {
    began: Instant,
    /// Seconds until the old window is reached.
    inflection: f64,
    /// The window where the curve is flat, in packets.
    origin: f64,
    /// What Reno would have by now, in packets.
    reno: f64,
}

/// What a cut changed, in case its losses turn out to be none.
#[derive(Debug, Clone, Copy)]
struct Undo {
    window: u64,
    threshold: u64,
    peak: f64,
    before_cut: u64,
    curve: Option<Curve>,
    start: HyStart,
    /// Packets held for lost since the cut that have not turned up.
    missing: u64,
}

/// RFC 9438, section 4.5: how steep the curve is.
const STEEPNESS: f64 = 0.4;
/// RFC 9438, section 4.6: what a cut leaves, in hundredths.
const CUT: u64 = 70;
const CUT_SHARE: f64 = 0.7;
/// RFC 9438, section 4.3: packets a round trip by which Reno with this cut is as aggressive as with a half.
const RENO_STEP: f64 = 3.0 * (1.0 - CUT_SHARE) / (1.0 + CUT_SHARE);
/// Three times RFC 6928's 10: these are paced.
const INITIAL_PACKETS: u64 = 32;
const LEAST_PACKETS: u64 = 2;
/// The pace beside window per round trip, in hundredths: enough that the window and not the pacer limits.
const PACE: u64 = 125;
const PACE_IN_START: u64 = 200;
/// Probes in a row without an answer after which the window starts from the least (RFC 9002, persistent congestion).
const PROBES_OF_COLLAPSE: u32 = 3;

impl Cubic {
    pub(super) const fn new(packet: u64) -> Self {
        Self {
            packet,
            window: INITIAL_PACKETS * packet,
            threshold: u64::MAX,
            start: HyStart::new(),
            curve: None,
            peak: 0.0,
            before_cut: 0,
            answered: None,
            undo: None,
            smoothed: None,
            lost: None,
            app_limited: false,
            probes: 0,
        }
    }

    pub(super) fn set_packet(&mut self, packet: u64) {
        self.packet = packet;
        self.window = self.window.max(LEAST_PACKETS * packet);
    }

    pub(super) const fn on_first_round_trip(&mut self, rtt: Duration) {
        self.smoothed = Some(rtt);
    }

    /// The window, unless it is still doubling.
    pub(super) fn known_product(&self) -> Option<u64> {
        (self.window >= self.threshold).then_some(self.window)
    }

    /// Begins with a window of so many bytes at least.
    pub(super) fn begin_with(&mut self, bytes: u64) {
        self.window = self.window.max(bytes);
    }

    pub(super) fn on_lost(&mut self, now: Instant, state: &SentState, delivered: u64) {
        if self.answered.is_some_and(|answered| state.delivered() <= answered) {
            if let Some(undo) = &mut self.undo {
                undo.missing += 1;
            }
            return;
        }
        self.cut(delivered);
        self.lost = Some(now);
        if let Some(undo) = &mut self.undo {
            undo.missing = 1;
        }
    }

    pub(super) fn on_spurious_loss(&mut self) {
        let Some(undo) = &mut self.undo else { return };
        undo.missing = undo.missing.saturating_sub(1);
        if undo.missing == 0 {
            self.window = self.window.max(undo.window);
            self.threshold = undo.threshold;
            self.peak = undo.peak;
            self.before_cut = undo.before_cut;
            self.curve = undo.curve;
            self.start = undo.start;
            self.undo = None;
        }
    }

    pub(super) fn on_batch(&mut self, batch: &Batch<'_>) {
        self.smoothed = batch.rtt.is_measured().then_some(batch.rtt.smoothed()).or(self.smoothed);
        if batch.congested > 0 && self.answered.is_none_or(|answered| self.start.round_began() > answered) {
            self.cut(batch.delivered);
            // A mark is no loss that could turn out to be none.
            self.undo = None;
        }
        if batch.acked == 0 {
            return;
        }
        self.probes = 0;
        let pace = self.start.on_batch(batch);
        // A window that is not used says nothing about the path.
        if std::mem::take(&mut self.app_limited) && batch.in_flight + batch.acked < self.window / 2 {
            self.curve = None;
            return;
        }
        let in_recovery =
            batch.rate.is_some_and(|sample| self.answered.is_some_and(|answered| sample.prior_delivered <= answered));
        if in_recovery {
            return;
        }
        if self.window >= self.threshold {
            self.follow_curve(batch);
            return;
        }
        match pace {
            Pace::Double => self.window += batch.acked,
            Pace::Slower { divisor } => self.window += batch.acked / divisor,
            Pace::Done => self.threshold = self.window,
        }
    }

    pub(super) fn on_probe_timeout(&mut self) {
        self.probes += 1;
        if self.probes == PROBES_OF_COLLAPSE {
            self.threshold = scale(self.window, CUT).max(LEAST_PACKETS * self.packet);
            self.window = LEAST_PACKETS * self.packet;
            self.curve = None;
            self.undo = None;
        }
    }

    pub(super) const fn on_app_limited(&mut self) {
        self.app_limited = true;
    }

    pub(super) const fn window(&self) -> u64 {
        self.window
    }

    pub(super) fn pacing_rate(&self) -> Option<Rate> {
        let gain = if self.window < self.threshold { PACE_IN_START } else { PACE };
        Some(Rate::of(scale(self.window, gain), self.smoothed?))
    }

    fn cut(&mut self, delivered: u64) {
        self.undo = Some(Undo {
            window: self.window,
            threshold: self.threshold,
            peak: self.peak,
            before_cut: self.before_cut,
            curve: self.curve,
            start: self.start,
            missing: 0,
        });
        self.answered = Some(delivered);
        let window = self.packets(self.window);
        // Fast convergence (RFC 9438, section 4.7): a window that fell twice in a row leaves room for others.
        self.peak = if window < self.peak { window * (1.0 + CUT_SHARE) / 2.0 } else { window };
        self.before_cut = self.window;
        self.window = scale(self.window, CUT).max(LEAST_PACKETS * self.packet);
        self.threshold = self.window;
        self.curve = None;
    }

    /// Congestion avoidance (RFC 9438, sections 4.2 to 4.5).
    fn follow_curve(&mut self, batch: &Batch<'_>) {
        let window = self.packets(self.window);
        let acked = self.packets(batch.acked);
        let peak = self.peak.max(window);
        let mut curve = self.curve.unwrap_or_else(|| Curve {
            began: batch.now,
            inflection: ((peak - window) / STEEPNESS).cbrt(),
            origin: peak,
            reno: window,
        });
        let step = if curve.reno < self.packets(self.before_cut) { RENO_STEP } else { 1.0 };
        curve.reno += step * acked / window;
        let ahead = batch.now.saturating_duration_since(curve.began) + self.smoothed.unwrap_or_default();
        let from_inflection = ahead.as_secs_f64() - curve.inflection;
        let cubic = STEEPNESS.mul_add(from_inflection.powi(3), curve.origin);
        self.curve = Some(curve);
        let target = cubic.clamp(window, window * 1.5);
        let next = (window + (target - window) * acked / window).max(curve.reno.min(window * 1.5));
        self.window = self.window.max(self.bytes(next));
    }

    #[expect(clippy::cast_precision_loss, reason = "a window is far below 2^52 bytes")]
    fn packets(&self, bytes: u64) -> f64 {
        bytes as f64 / self.packet as f64
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a window is positive, and far below 2^52 bytes"
    )]
    fn bytes(&self, packets: f64) -> u64 {
        (packets * self.packet as f64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::Congestion;
    use crate::mrt::config::ControllerKind;
    use crate::mrt::congestion::AckSummary;
    use crate::mrt::rtt::Rtt;
    use std::time::{Duration, Instant};

    const PACKET: u64 = 1000;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do")]
    fn losses_of_one_round_cut_once_and_are_undone_if_they_were_none() {
        let start = Instant::now();
        let mut congestion = Congestion::new(start, ControllerKind::Fair, PACKET, 0);
        let mut rtt = Rtt::new();
        rtt.on_sample(Duration::from_millis(50), Duration::ZERO);
        let before = congestion.window();
        let states: Vec<_> = (0..30).map(|i| congestion.on_sent(start, PACKET, i * PACKET)).collect();
        let later = start + Duration::from_millis(50);
        for state in &states[..5] {
            congestion.on_lost(later, state, PACKET);
        }
        let summary = AckSummary { rtt: &rtt, sample: None, in_flight: 25 * PACKET, congested: 0 };
        congestion.on_batch(later, summary);
        assert_eq!(congestion.window(), before * 7 / 10);
        for state in &states[..5] {
            congestion.on_spurious_loss(later, state, PACKET);
        }
        congestion.on_batch(later, summary);
        assert!(congestion.window() >= before);
    }
}
