//! How fast the path delivers: a rate from each acknowledgement.
//!
//! Each packet remembers what had been delivered when it left. When it is acknowledged, what was delivered since is one
//! sample: over the time in which it was acknowledged, or in which it was sent if that took longer, so that neither
//! acknowledgements that come in heaps nor a slow sender make the path look faster than it is
//! (draft-ietf-ccwg-bbr, "Delivery Rate Samples").

use std::time::{Duration, Instant};

/// Bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Rate(u64);

impl Rate {
    pub(super) const ZERO: Self = Self(0);

    /// So many bytes in so much time; time is taken for at least one nanosecond.
    pub(super) fn of(bytes: u64, time: Duration) -> Self {
        let rate = u128::from(bytes) * NANOS_PER_SEC / time.as_nanos().max(1);
        Self(u64::try_from(rate).unwrap_or(u64::MAX))
    }

    #[cfg(test)]
    pub(super) const fn per_sec(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes a second.
    pub(super) const fn bytes_per_sec(self) -> u64 {
        self.0
    }

    /// How many bytes pass in `time`.
    pub(super) fn bytes_in(self, time: Duration) -> u64 {
        // 64 bits are enough up to some seconds at 1 GB/s, and much faster.
        let nanos = time.as_nanos();
        u64::try_from(nanos).ok().and_then(|nanos| nanos.checked_mul(self.0)).map_or_else(
            || u64::try_from(nanos.saturating_mul(u128::from(self.0)) / NANOS_PER_SEC).unwrap_or(u64::MAX),
            |product| product / NANOS_PER_SEC_64,
        )
    }

    /// How long `bytes` take; for ever at rate 0.
    pub(super) fn time_for(self, bytes: u64) -> Duration {
        let nanos = (u128::from(bytes) * NANOS_PER_SEC).checked_div(u128::from(self.0)).unwrap_or(u128::MAX);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// So many hundredths of it.
    pub(super) const fn percent(self, percent: u64) -> Self {
        Self(scale(self.0, percent))
    }
}

/// `percent` hundredths of `value`.
pub(super) const fn scale(value: u64, percent: u64) -> u64 {
    value.saturating_mul(percent) / 100
}

const NANOS_PER_SEC_64: u64 = 1_000_000_000;
const NANOS_PER_SEC: u128 = NANOS_PER_SEC_64 as u128;

/// How hard the controller pushed when a packet left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pressure {
    /// Slower than the path delivers: what is lost then is not lost to our queue.
    Calm,
    /// As fast as the path delivers.
    Full,
    /// Faster, to see whether there is more.
    Pushing,
}

/// What is remembered of a sent packet for measuring the delivery rate; given back when its fate is known.
#[derive(Debug, Clone, Copy)]
pub(in crate::mrt) struct SentState {
    /// When it left, in nanoseconds since the sampler was made.
    sent: u64,
    /// Bytes that had been delivered by then.
    delivered: u64,
    /// When the last of them was acknowledged, in nanoseconds.
    delivered_at: u64,
    /// Bytes that had been lost by then, modulo 2^32.
    lost: u32,
    /// Microseconds between this packet and the one that was acknowledged last when it left.
    send_elapsed: u32,
    /// Bytes under way with it.
    in_flight: u32,
    app_limited: bool,
    pressure: Pressure,
}

impl SentState {
    /// Bytes under way when it left, itself included.
    pub(super) fn in_flight(&self) -> u64 {
        u64::from(self.in_flight)
    }

    pub(super) const fn pressure(&self) -> Pressure {
        self.pressure
    }

    /// Bytes that had been delivered when it left.
    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }
}

/// A measurement of the path over about a round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RateSample {
    /// Bytes that arrived.
    pub(super) delivered: u64,
    /// Bytes that were found to be lost meanwhile.
    pub(super) lost: u64,
    /// In how much time.
    pub(super) interval: Duration,
    /// The sender had not enough to send: the path may be faster.
    pub(super) app_limited: bool,
    /// What had been delivered when the newest packet left.
    pub(super) prior_delivered: u64,
    /// What was under way when the newest packet left.
    pub(super) in_flight: u64,
}

/// Measures the delivery rate.
#[derive(Debug)]
pub(super) struct Sampler {
    epoch: Instant,
    delivered: u64,
    delivered_at: u64,
    lost: u64,
    /// When the packet was sent that was acknowledged last.
    first_sent: u64,
    /// Samples are limited by the application until so much is delivered; 0 if they are not.
    app_limited_until: u64,
    /// The newest packet acknowledged since the last sample.
    newest: Option<SentState>,
}

impl Sampler {
    pub(super) const fn new(now: Instant) -> Self {
        let (delivered, delivered_at, lost, first_sent) = (0, 0, 0, 0);
        Self { epoch: now, delivered, delivered_at, lost, first_sent, app_limited_until: 0, newest: None }
    }

    pub(super) fn on_sent(&mut self, now: Instant, bytes: u64, in_flight_before: u64, pressure: Pressure) -> SentState {
        let sent = self.nanos(now);
        if in_flight_before == 0 {
            // After a pause time begins anew: the pause says nothing of the path.
            self.first_sent = sent;
            self.delivered_at = sent;
        }
        SentState {
            sent,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            lost: low_bits(self.lost),
            send_elapsed: saturated(sent.saturating_sub(self.first_sent) / NANOS_PER_MICRO),
            in_flight: saturated(in_flight_before.saturating_add(bytes)),
            app_limited: self.app_limited_until != 0,
            pressure,
        }
    }

    pub(super) fn on_acked(&mut self, now: Instant, state: &SentState, bytes: u64) {
        self.delivered += bytes;
        self.delivered_at = self.nanos(now);
        if self.newest.is_none_or(|newest| state.sent >= newest.sent) {
            self.newest = Some(*state);
            self.first_sent = self.first_sent.max(state.sent);
        }
    }

    pub(super) const fn on_lost(&mut self, bytes: u64) {
        self.lost += bytes;
    }

    pub(super) fn on_app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = (self.delivered + in_flight).max(1);
    }

    /// All bytes that were delivered.
    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// What the packets acknowledged since the last call say, if there are any.
    pub(super) fn take_sample(&mut self, now: Instant) -> Option<RateSample> {
        if self.delivered > self.app_limited_until {
            self.app_limited_until = 0;
        }
        let newest = self.newest.take()?;
        let ack_elapsed = Duration::from_nanos(self.nanos(now).saturating_sub(newest.delivered_at));
        let send_elapsed = Duration::from_micros(u64::from(newest.send_elapsed));
        Some(RateSample {
            delivered: self.delivered.saturating_sub(newest.delivered),
            lost: u64::from(low_bits(self.lost).wrapping_sub(newest.lost)),
            interval: ack_elapsed.max(send_elapsed),
            app_limited: newest.app_limited,
            prior_delivered: newest.delivered,
            in_flight: newest.in_flight(),
        })
    }

    fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        since.as_secs().wrapping_mul(NANOS_PER_SEC_64).wrapping_add(u64::from(since.subsec_nanos()))
    }
}

const NANOS_PER_MICRO: u64 = 1000;

fn saturated(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[expect(clippy::cast_possible_truncation, reason = "differences are taken modulo 2^32")]
const fn low_bits(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_state_is_small() {
        assert!(size_of::<SentState>() <= 40);
    }

    #[test]
    fn a_heap_of_acknowledgements_does_not_raise_the_rate() {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        // One packet of 1000 bytes each millisecond, all acknowledged at once after ten.
        let states: Vec<_> =
            (0..10).map(|i| sampler.on_sent(start + MILLI * i, 1000, u64::from(i) * 1000, Pressure::Full)).collect();
        for state in &states {
            sampler.on_acked(start + MILLI * 10, state, 1000);
        }
        let sample = sampler.take_sample(start + MILLI * 10).unwrap();
        assert_eq!(Rate::of(sample.delivered, sample.interval).bytes_per_sec(), 1_000_000);
    }

    #[test]
    fn samples_know_that_the_application_was_slow() {
        let start = Instant::now();
        let mut sampler = Sampler::new(start);
        sampler.on_app_limited(0);
        let first = sampler.on_sent(start, 1000, 0, Pressure::Full);
        sampler.on_acked(start + MILLI, &first, 1000);
        assert!(sampler.take_sample(start + MILLI).unwrap().app_limited);
        let second = sampler.on_sent(start + MILLI, 1000, 0, Pressure::Full);
        sampler.on_acked(start + MILLI * 2, &second, 1000);
        assert!(!sampler.take_sample(start + MILLI * 2).unwrap().app_limited);
    }
}
