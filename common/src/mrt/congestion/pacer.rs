//! When bytes may leave: a bucket that fills at the pacing rate.

use std::time::{Duration, Instant};

use super::rate::Rate;

/// Lets bytes go at a rate, in bursts that are large enough for one system call and small enough for short queues.
///
/// The bucket holds a burst, and beyond it what a timer that fires late has missed.
#[derive(Debug)]
pub(super) struct Pacer {
    /// `None`: not paced.
    rate: Option<Rate>,
    packet: u64,
    /// Bytes that may leave; below 0 when overdrawn.
    tokens: i64,
    filled_at: Instant,
    burst: i64,
    capacity: i64,
}

/// How much of the rate one burst carries: the finest timer that is to be had.
const BURST_TIME: Duration = Duration::from_millis(1);
/// Largest burst: what one system call with segmentation offload carries.
const MAX_BURST: u64 = 64 * 1024;
/// Smallest burst.
const MIN_BURST_PACKETS: u64 = 2;
/// How late a timer may fire without costing rate: a tick of the driver's timer, and a slice of the scheduler.
const LATENESS: Duration = Duration::from_millis(3);

impl Pacer {
    pub(super) fn new(now: Instant, packet: u64) -> Self {
        let mut pacer = Self { rate: None, packet, tokens: 0, filled_at: now, burst: 0, capacity: 0 };
        pacer.shape();
        pacer.tokens = pacer.burst;
        pacer
    }

    pub(super) fn set_packet(&mut self, packet: u64) {
        self.packet = packet;
        self.shape();
    }

    /// From now on so fast; `None`: as fast as can be.
    pub(super) fn set_rate(&mut self, now: Instant, rate: Option<Rate>) {
        if self.rate == rate {
            return;
        }
        self.fill(now);
        let begins = self.rate.is_none();
        self.rate = rate;
        self.shape();
        if begins {
            // What may leave at once does not wait for a bucket that nothing has filled yet.
            (self.tokens, self.filled_at) = (self.burst, now);
        }
    }

    pub(super) const fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// Bytes of a burst.
    pub(super) fn burst(&self) -> u64 {
        self.burst.unsigned_abs()
    }

    /// It was not the pacer that held packets back: no credit for being late.
    pub(super) fn forget_lateness(&mut self, now: Instant) {
        self.fill(now);
        self.tokens = self.tokens.min(self.burst);
    }

    pub(super) fn on_sent(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.tokens = self.tokens.saturating_sub_unsigned(bytes);
        }
    }

    /// How many bytes may leave now: nothing, or enough for it to be worth a system call.
    pub(super) fn allowance(&mut self, now: Instant) -> u64 {
        if self.rate.is_none() {
            return u64::MAX;
        }
        self.fill(now);
        if self.tokens < self.worthwhile() { 0 } else { self.tokens.unsigned_abs() }
    }

    /// When something may leave again, if nothing may now.
    pub(super) fn next_burst(&self, now: Instant) -> Option<Instant> {
        let rate = self.rate?;
        let missing = u64::try_from(self.worthwhile().saturating_sub(self.tokens)).unwrap_or(0);
        // A byte more and a nanosecond more, since both are rounded down: above 1 GB/s a nanosecond is several bytes.
        let at = self.filled_at.checked_add(rate.time_for(missing + 1) + Duration::from_nanos(1))?;
        (missing > 0 && at > now).then_some(at)
    }

    const fn worthwhile(&self) -> i64 {
        self.burst / 2
    }

    fn fill(&mut self, now: Instant) {
        let Some(rate) = self.rate else {
            self.filled_at = now;
            return;
        };
        let elapsed = now.saturating_duration_since(self.filled_at);
        let bytes = rate.bytes_in(elapsed);
        if bytes == 0 {
            // Too little time for a whole byte: it is not forgotten.
            return;
        }
        self.filled_at = now;
        self.tokens = self.tokens.saturating_add_unsigned(bytes).min(self.capacity);
    }

    fn shape(&mut self) {
        let rate = self.rate.unwrap_or_default();
        let least = MIN_BURST_PACKETS * self.packet;
        let burst = rate.bytes_in(BURST_TIME).clamp(least, MAX_BURST.max(least));
        let credit = rate.bytes_in(LATENESS).max(burst);
        self.burst = i64::try_from(burst).unwrap_or(i64::MAX);
        self.capacity = self.burst.saturating_add_unsigned(credit);
        self.tokens = self.tokens.min(self.capacity);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;

    const RATE: Rate = Rate::per_sec(1_000_000);

    #[test]
    fn at_any_rate_something_may_leave_when_it_said_so() {
        let now = Instant::now();
        for rate in [1000, 999_999_937, 3_271_147_457, 12_345_678_901] {
            for packet in [1200, 1472, 9001] {
                let mut pacer = Pacer::new(now, packet);
                pacer.set_rate(now, Some(Rate::per_sec(rate)));
                while pacer.allowance(now) > 0 {
                    pacer.on_sent(packet);
                }
                let later = pacer.next_burst(now).unwrap();
                assert!(pacer.allowance(later) > 0, "{rate} bytes a second in packets of {packet}");
            }
        }
    }

    fn pacer(now: Instant) -> Pacer {
        let mut pacer = Pacer::new(now, 1000);
        pacer.set_rate(now, Some(RATE));
        pacer
    }

    #[test]
    fn what_it_lets_go_is_the_rate() {
        let start = Instant::now();
        let mut pacer = pacer(start);
        let (mut now, mut sent) = (start, 0);
        while now < start + Duration::from_secs(1) {
            let allowed = pacer.allowance(now);
            if allowed == 0 {
                now = pacer.next_burst(now).unwrap();
                assert!(pacer.allowance(now) > 0, "it was called for nothing");
            } else {
                // A packet may be larger than what is left.
                pacer.on_sent(1000);
                sent += 1000;
            }
        }
        assert!((990_000..=1_005_000).contains(&sent), "{sent}");
    }

    #[test]
    fn a_late_timer_costs_nothing_and_a_long_pause_gives_little() {
        let start = Instant::now();
        let mut pacer = pacer(start);
        pacer.on_sent(pacer.burst());
        assert_eq!(pacer.allowance(start), 0);
        assert_eq!(pacer.allowance(start + LATENESS), RATE.bytes_in(LATENESS));
        let after_pause = pacer.allowance(start + Duration::from_secs(10));
        assert_eq!(after_pause, pacer.burst() + RATE.bytes_in(LATENESS));
        pacer.forget_lateness(start + Duration::from_secs(10));
        assert_eq!(pacer.allowance(start + Duration::from_secs(10)), pacer.burst());
    }
}
