//! Rate limits: when the next bytes may go. Exact in the long run, without a burst after idling.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Bytes that one booking should ask for, so that those who share a limit take turns (DESIGN section 4).
pub(crate) const QUANTUM: usize = 64 << 10;
/// A booking that comes late, because its task was not run in time, is back-dated by at most this much.
const SLACK: Duration = Duration::from_millis(10);
/// A quantum lasts at most this part of a second, so that slow limits do not look like a stall.
const SHORTEST_TURNS_PER_SEC: u64 = 20;
const SMALLEST_QUANTUM: u64 = 1 << 10;

/// A rate that several tasks share, first come first served.
#[derive(Debug)]
pub(crate) struct Limiter {
    bytes_per_sec: Option<NonZeroU64>,
    next: Mutex<Option<Instant>>,
}

impl Limiter {
    /// `None` does not limit.
    pub(crate) const fn new(bytes_per_sec: Option<NonZeroU64>) -> Self {
        Self { bytes_per_sec, next: Mutex::new(None) }
    }

    /// How many bytes to book at once where one would like to move `wish`.
    pub(crate) fn turn(&self, wish: usize) -> usize {
        let Some(rate) = self.bytes_per_sec else { return wish };
        let quantum = (rate.get() / SHORTEST_TURNS_PER_SEC).clamp(SMALLEST_QUANTUM, QUANTUM as u64);
        wish.min(usize::try_from(quantum).unwrap_or(QUANTUM))
    }

    /// Books `bytes`; `Some` says until when to wait before they may go.
    pub(crate) fn book(&self, bytes: usize, now: Instant) -> Option<Instant> {
        let rate = self.bytes_per_sec?;
        let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        let start = next.map_or(now, |next| next.max(earliest));
        *next = Some(start + Duration::from_secs_f64(bytes as f64 / rate.get() as f64));
        (start > now).then_some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(rate: u64) -> Limiter {
        Limiter::new(NonZeroU64::new(rate))
    }

    #[test]
    fn it_keeps_the_rate_also_when_tasks_wake_late() {
        let start = Instant::now();
        let (limiter, mut now) = (limiter(25 << 20), start);
        let bytes: usize = 50 << 20;
        for _ in 0..bytes / QUANTUM {
            if let Some(until) = limiter.book(QUANTUM, now) {
                now = until + Duration::from_millis(1);
            }
        }
        let took = (now - start).as_secs_f64();
        assert!((1.99..2.01).contains(&took), "{took}");
    }

    #[test]
    fn idling_earns_no_burst() {
        let limiter = limiter(1 << 20);
        let start = Instant::now();
        limiter.book(QUANTUM, start);
        let later = start + Duration::from_secs(60);
        let mut now = later;
        for _ in 0..16 {
            now = limiter.book(QUANTUM, now).unwrap_or(now);
        }
        // Sixteen quanta are one second; the first of them goes at once.
        assert!(now - later >= Duration::from_secs_f64(15.0 / 16.0) - SLACK, "{:?}", now - later);
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let limiter = Limiter::new(None);
        assert_eq!(limiter.book(usize::MAX, Instant::now()), None);
        assert_eq!(limiter.turn(1 << 20), 1 << 20);
    }

    #[test]
    fn slow_limits_take_small_turns() {
        assert_eq!(limiter(100 << 10).turn(1 << 20), 5120);
        assert_eq!(limiter(1).turn(1 << 20), 1024);
        assert_eq!(limiter(1 << 30).turn(1 << 20), QUANTUM);
    }
}
