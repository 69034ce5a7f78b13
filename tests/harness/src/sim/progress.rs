//! Progress: what of a talk has arrived, and how long nothing did although something was on its way.

use std::time::{Duration, Instant};

use common::mrt::Side;

use super::talk::index;

/// What of a talk has arrived, and when. An end of a stream counts as a byte.
#[derive(Debug, Clone)]
pub struct Progress {
    begin: Instant,
    /// Written and not read, nor given up.
    unread: u64,
    /// Since when nothing arrived while something was unread.
    waiting_since: Instant,
    longest_wait: Duration,
    most_unread: u64,
    /// Bytes read in each interval, of what the initiator and of what the responder wrote.
    read: [Vec<u64>; 2],
    ended: bool,
}

/// The intervals of [`Progress::bytes`].
pub const INTERVAL: Duration = Duration::from_millis(10);

impl Progress {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            begin: now,
            unread: 0,
            waiting_since: now,
            longest_wait: Duration::ZERO,
            most_unread: 0,
            read: [Vec::new(), Vec::new()],
            ended: false,
        }
    }

    /// Bytes of what this side wrote that were read between these times, counted from the beginning of the talk.
    pub fn bytes(&self, writer: Side, from: Duration, to: Duration) -> u64 {
        let interval = |at: Duration| usize::try_from(at.as_nanos() / INTERVAL.as_nanos()).unwrap_or(usize::MAX);
        let (from, to) = (interval(from), interval(to));
        self.read[index(writer)].iter().take(to).skip(from).sum()
    }

    /// The same in bits a second.
    pub fn bits_per_sec(&self, writer: Side, from: Duration, to: Duration) -> f64 {
        const BITS: f64 = 8.0;
        self.bytes(writer, from, to) as f64 * BITS / (to - from).as_secs_f64()
    }

    /// Longest time in which nothing arrived while something was on its way.
    pub const fn longest_wait(&self) -> Duration {
        self.longest_wait
    }

    /// How long nothing has arrived up to `now` while something is on its way.
    pub fn wait(&self, now: Instant) -> Duration {
        if self.unread == 0 || self.ended { Duration::ZERO } else { now.saturating_duration_since(self.waiting_since) }
    }

    /// Most bytes that were written and not yet read: what both sides held together.
    pub const fn most_unread(&self) -> u64 {
        self.most_unread
    }

    /// Waits are counted from here on.
    pub(super) const fn forget_waits(&mut self, now: Instant) {
        self.waiting_since = now;
        self.longest_wait = Duration::ZERO;
    }

    pub(super) fn on_written(&mut self, now: Instant, bytes: u64) {
        if self.unread == 0 {
            self.waiting_since = now;
        }
        self.unread += bytes;
        self.most_unread = self.most_unread.max(self.unread);
    }

    pub(super) fn on_read(&mut self, now: Instant, writer: Side, bytes: u64) {
        self.on_given_up(now, bytes);
        let interval = (now - self.begin).as_nanos() / INTERVAL.as_nanos();
        let interval = usize::try_from(interval).expect("runs are short");
        let read = &mut self.read[index(writer)];
        if read.len() <= interval {
            read.resize(interval + 1, 0);
        }
        read[interval] += bytes;
    }

    /// So many bytes are not waited for any more.
    pub(super) fn on_given_up(&mut self, now: Instant, bytes: u64) {
        self.longest_wait = self.longest_wait.max(self.wait(now));
        self.unread = self.unread.saturating_sub(bytes);
        self.waiting_since = now;
    }

    /// The connection is closed: nothing is waited for.
    pub(super) const fn end(&mut self, _now: Instant) {
        self.ended = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn only_what_is_under_way_is_waited_for() {
        let now = Instant::now();
        let mut progress = Progress::new(now);
        progress.on_written(now + 100 * MS, 10);
        progress.on_read(now + 130 * MS, Side::Initiator, 4);
        assert_eq!(progress.wait(now + 140 * MS), 10 * MS);
        progress.on_read(now + 140 * MS, Side::Initiator, 6);
        assert_eq!((progress.wait(now + 500 * MS), progress.longest_wait()), (Duration::ZERO, 30 * MS));
    }

    #[test]
    fn rates_are_those_of_the_time_asked_for() {
        let now = Instant::now();
        let mut progress = Progress::new(now);
        progress.on_written(now, 3000);
        for ms in [50, 150, 250] {
            progress.on_read(now + ms * MS, Side::Responder, 1000);
        }
        assert_eq!(progress.bits_per_sec(Side::Responder, 100 * MS, 300 * MS), 80_000.0);
        assert_eq!(progress.bytes(Side::Initiator, Duration::ZERO, 300 * MS), 0);
    }
}
