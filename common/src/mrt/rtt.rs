//! The round-trip time (RFC 9002, section 5).

use std::time::Duration;

/// What is known of the round-trip time of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rtt {
    latest: Duration,
    smoothed: Duration,
    variation: Duration,
    min: Duration,
    measured: bool,
}

/// Taken for the round trip before one was measured.
const INITIAL: Duration = Duration::from_millis(200);

/// Timers are no finer than this (RFC 9002, `kGranularity`).
const GRANULARITY: Duration = Duration::from_millis(1);

impl Rtt {
    /// Nothing is known yet.
    pub(super) const fn new() -> Self {
        let variation = INITIAL.checked_div(2).expect("2 is not 0");
        Self { latest: INITIAL, smoothed: INITIAL, variation, min: Duration::MAX, measured: false }
    }

    /// A packet was answered after `sample`, of which the other side held it back for `ack_delay`.
    pub(super) fn on_sample(&mut self, sample: Duration, ack_delay: Duration) {
        self.latest = sample;
        self.min = self.min.min(sample);
        if !self.measured {
            self.measured = true;
            self.smoothed = sample;
            self.variation = sample / 2;
            return;
        }
        // The delay is believed as far as it leaves no less than the shortest round trip.
        let adjusted = if sample >= self.min + ack_delay { sample - ack_delay } else { sample };
        let difference = self.smoothed.abs_diff(adjusted);
        self.variation = (self.variation * 3 + difference) / 4;
        self.smoothed = (self.smoothed * 7 + adjusted) / 8;
    }

    /// The mean, weighted towards the newest samples.
    pub(super) const fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// The shortest sample; the first guess before there was one.
    pub(super) const fn min(&self) -> Duration {
        if self.measured { self.min } else { INITIAL }
    }

    /// Whether there was a sample.
    pub(super) const fn is_measured(&self) -> bool {
        self.measured
    }

    /// After how long without an acknowledgement a probe is sent, where the other side may hold one back for `ack_delay`.
    pub(super) fn probe_timeout(&self, ack_delay: Duration) -> Duration {
        self.smoothed + (self.variation * 4).max(GRANULARITY) + ack_delay
    }

    /// Before how long a packet must have been sent to be held for lost when a later one was acknowledged, where the
    /// window for reordering is `eighths` of a round trip.
    pub(super) fn loss_delay(&self, eighths: u32) -> Duration {
        let base = self.smoothed.max(self.latest);
        (base + base * eighths / 8).max(GRANULARITY)
    }
}
