//! Links: what a packet meets on one way through the emulator, worked out when it enters. No clock and no packet in here.

use std::time::{Duration, Instant};

use crate::content::Dice;

/// Bytes of the largest packet that the emulator carries, IP header included.
pub const MTU: u16 = 1500;

/// One direction between the two sides: a bottleneck with a queue before it, then a way that takes time and loses packets.
///
/// A packet that finds the queue full is dropped (drop-tail). Whatever the way loses has used up the bottleneck first, as
/// on radio: `rate` less the share that is lost is what arrives. The order of packets never changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    pub(super) bits_per_sec: u64,
    pub(super) delay: Duration,
    pub(super) jitter: Duration,
    pub(super) queue_bytes: u64,
    pub(super) loss: Loss,
    pub(super) seed: u64,
}

/// How the way loses packets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Each packet for itself, with this probability.
    Independent(f64),
    /// Several in a row (Gilbert's model: the way is either good or bad, and bad loses all).
    Bursts {
        /// Which share of all packets is lost in the long run.
        share: f64,
        /// How many are lost in a row on average, at least 1.
        mean_packets: f64,
    },
}

impl Link {
    /// A way of `delay` behind a bottleneck of `bits_per_sec` (IP packets with their headers count, nothing below them),
    /// without loss and jitter, and with a queue of one bandwidth-delay product as in [`Self::queue_bdp`].
    pub fn new(bits_per_sec: u64, delay: Duration) -> Self {
        let link = Self {
            bits_per_sec: bits_per_sec.max(1),
            delay,
            jitter: Duration::ZERO,
            queue_bytes: 0,
            loss: Loss::Independent(0.0),
            seed: 1,
        };
        link.queue_bdp(1.0)
    }

    /// With a queue of so many times [`Self::bdp_bytes`], but at least 30 packets.
    #[must_use]
    pub fn queue_bdp(self, times: f64) -> Self {
        /// A queue below it drops what a sender emits at once, however slowly it sends on average.
        const LEAST_PACKETS: u64 = 30;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such a cast stops at the limits")]
        let bytes = (self.bdp_bytes() as f64 * times) as u64;
        self.queue_bytes(bytes.max(LEAST_PACKETS * u64::from(MTU)))
    }

    /// With a queue of so many bytes, those in transmission included.
    #[must_use]
    pub const fn queue_bytes(mut self, bytes: u64) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// With this loss.
    #[must_use]
    pub const fn loss(mut self, loss: Loss) -> Self {
        self.loss = loss;
        self
    }

    /// With up to so much more delay, drawn evenly for each packet; one that follows is never faster.
    #[must_use]
    pub const fn jitter(mut self, most: Duration) -> Self {
        self.jitter = most;
        self
    }

    /// With this seed, from which all draws follow.
    #[must_use]
    pub const fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The same with other draws.
    #[must_use]
    pub(crate) const fn reseeded(self) -> Self {
        // Any other seed would do.
        self.seed(!self.seed)
    }

    /// Bytes that the bottleneck sends in one round trip, if the way back takes as long: the bandwidth-delay product.
    pub fn bdp_bytes(&self) -> u64 {
        bytes_in(self.bits_per_sec, self.delay * 2)
    }
}

/// What happened on one direction since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets that were sent into it.
    pub entered: u64,
    /// Packets that came out.
    pub delivered: u64,
    /// Bytes of those, IP headers included.
    pub delivered_bytes: u64,
    /// Packets that found the queue full.
    pub lost_at_queue: u64,
    /// Packets that the way lost at random.
    pub lost_at_random: u64,
    /// Most bytes in the queue at once.
    pub queue_most_bytes: u64,
    /// How much later than planned a packet came out at most: the emulator's own error.
    pub latest: Duration,
    /// Bytes times nanoseconds that they waited for the bottleneck.
    pub(super) waited_byte_nanos: u128,
}

impl Counters {
    /// Mean number of bytes that waited for the bottleneck between `earlier` and this, which are `elapsed` apart: by
    /// Little's law the sum of all waits over the time.
    pub fn mean_queue_bytes(&self, earlier: &Self, elapsed: Duration) -> f64 {
        (self.waited_byte_nanos - earlier.waited_byte_nanos) as f64 / elapsed.as_nanos().max(1) as f64
    }

    /// Which share of the packets that were sent since `earlier` found the queue full.
    pub fn share_lost_at_queue(&self, earlier: &Self) -> f64 {
        (self.lost_at_queue - earlier.lost_at_queue) as f64 / (self.entered - earlier.entered).max(1) as f64
    }
}

/// Where a packet ends up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It comes out at this moment.
    Arrives(Instant),
    /// Nobody sees it again.
    Lost,
}

/// The state of a link: when the bottleneck is free again, and what the dice give next.
#[derive(Debug)]
pub(super) struct Course {
    link: Link,
    counters: Counters,
    busy_until: Instant,
    last_arrival: Instant,
    /// Whether the way is in a burst of losses.
    bad: bool,
    dice: Dice,
}

impl Course {
    pub(super) fn new(link: Link, now: Instant) -> Self {
        let dice = Dice::new(link.seed);
        Self { link, counters: Counters::default(), busy_until: now, last_arrival: now, bad: false, dice }
    }

    /// A packet of `bytes` enters at `now`, which never goes back.
    pub(super) fn enter(&mut self, now: Instant, bytes: u64) -> Fate {
        self.counters.entered += 1;
        let wait = self.busy_until.saturating_duration_since(now);
        let queued = bytes_in(self.link.bits_per_sec, wait) + bytes;
        if queued > self.link.queue_bytes {
            self.counters.lost_at_queue += 1;
            return Fate::Lost;
        }
        self.counters.queue_most_bytes = self.counters.queue_most_bytes.max(queued);
        self.counters.waited_byte_nanos += u128::from(bytes) * wait.as_nanos();
        self.busy_until = self.busy_until.max(now) + time_for(self.link.bits_per_sec, bytes);
        if self.is_lost() {
            self.counters.lost_at_random += 1;
            return Fate::Lost;
        }
        let jitter = if self.link.jitter.is_zero() { Duration::ZERO } else { self.link.jitter.mul_f64(self.draw()) };
        self.last_arrival = self.last_arrival.max(self.busy_until + self.link.delay + jitter);
        Fate::Arrives(self.last_arrival)
    }

    /// A packet of `bytes` that should come out at `due` does so at `now`.
    pub(super) fn on_delivered(&mut self, bytes: u64, due: Instant, now: Instant) {
        self.counters.delivered += 1;
        self.counters.delivered_bytes += bytes;
        self.counters.latest = self.counters.latest.max(now.saturating_duration_since(due));
    }

    pub(super) const fn counters(&self) -> Counters {
        self.counters
    }

    fn is_lost(&mut self) -> bool {
        match self.link.loss {
            Loss::Independent(share) => self.draw() < share,
            Loss::Bursts { share, mean_packets } => {
                // What keeps both means: a burst ends with probability 1 / mean, and begins so that the shares of bad
                // and good are as share to 1 - share.
                let ends = 1.0 / mean_packets.max(1.0);
                let begins = if share < 1.0 { ends * share / (1.0 - share) } else { 1.0 };
                let change = if self.bad { ends } else { begins };
                self.bad ^= self.draw() < change;
                self.bad
            }
        }
    }

    /// A number from 0 to below 1.
    fn draw(&mut self) -> f64 {
        /// As many steps as a double tells apart.
        const STEPS: u64 = 1 << 53;
        self.dice.below(STEPS) as f64 / STEPS as f64
    }
}

const NANOS_PER_SEC: u128 = 1_000_000_000;
const BITS_PER_BYTE: u128 = 8;

/// Bytes that go through in `time`.
fn bytes_in(bits_per_sec: u64, time: Duration) -> u64 {
    let bytes = u128::from(bits_per_sec) * time.as_nanos() / (BITS_PER_BYTE * NANOS_PER_SEC);
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// How long `bytes` take.
fn time_for(bits_per_sec: u64, bytes: u64) -> Duration {
    let nanos = u128::from(bytes) * BITS_PER_BYTE * NANOS_PER_SEC / u128::from(bits_per_sec);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: u64 = 1_000_000;

    #[test]
    fn packets_leave_one_after_the_other_and_arrive_after_the_delay() {
        let start = Instant::now();
        let mut course = Course::new(Link::new(12 * MBIT, Duration::from_millis(10)), start);
        // 1500 bytes take 1 ms at 12 Mbit/s.
        let at = |millis| Fate::Arrives(start + Duration::from_millis(millis));
        assert_eq!(course.enter(start, 1500), at(11));
        assert_eq!(course.enter(start, 1500), at(12));
        assert_eq!(course.enter(start + Duration::from_millis(5), 1500), at(16), "the bottleneck was idle");
        // Only the second waited, for 1 ms of these 10.
        let mean = course.counters().mean_queue_bytes(&Counters::default(), Duration::from_millis(10));
        assert!((mean - 150.0).abs() < 1e-6, "{mean}");
    }

    #[test]
    fn a_full_queue_drops_what_comes_and_drains_with_time() {
        let start = Instant::now();
        let mut course = Course::new(Link::new(12 * MBIT, Duration::ZERO).queue_bytes(4500), start);
        let fates: Vec<bool> = (0..5).map(|_| course.enter(start, 1500) == Fate::Lost).collect();
        assert_eq!(fates, [false, false, false, true, true]);
        assert_ne!(course.enter(start + Duration::from_millis(1), 1500), Fate::Lost);
        let counters = course.counters();
        assert_eq!((counters.entered, counters.lost_at_queue, counters.queue_most_bytes), (6, 2, 4500));
    }

    /// Which of `count` packets are lost.
    fn losses(loss: Loss, count: usize) -> Vec<bool> {
        let start = Instant::now();
        let mut course = Course::new(Link::new(u64::MAX, Duration::ZERO).queue_bytes(u64::MAX).loss(loss), start);
        (0..count).map(|_| course.enter(start, 1500) == Fate::Lost).collect()
    }

    #[test]
    fn losses_have_the_share_and_the_length_that_were_asked_for() {
        const COUNT: usize = 200_000;
        for (loss, length) in
            [(Loss::Independent(0.05), 1.0 / 0.95), (Loss::Bursts { share: 0.05, mean_packets: 8.0 }, 8.0)]
        {
            let lost = losses(loss, COUNT);
            let total = lost.iter().filter(|lost| **lost).count() as f64;
            let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
            assert!((total / COUNT as f64 - 0.05).abs() < 0.005, "{loss:?}: {total}");
            assert!((total / bursts / length - 1.0).abs() < 0.1, "{loss:?}: {} in a row", total / bursts);
            assert_eq!(lost, losses(loss, COUNT), "the same seed gives the same losses");
        }
        assert!(losses(Loss::Independent(0.0), 1000).iter().all(|lost| !lost));
    }

    #[test]
    fn jitter_delays_but_never_reorders() {
        let (start, delay, jitter) = (Instant::now(), Duration::from_millis(10), Duration::from_millis(5));
        let mut course = Course::new(Link::new(u64::MAX, delay).queue_bytes(u64::MAX).jitter(jitter), start);
        let arrivals: Vec<Instant> = (0..1000)
            .map(|count| match course.enter(start + Duration::from_millis(count), 100) {
                Fate::Arrives(at) => at,
                Fate::Lost => panic!("nothing is lost here"),
            })
            .collect();
        assert!(arrivals.is_sorted());
        let delays = arrivals.iter().zip(0..).map(|(at, count)| *at - start - Duration::from_millis(count));
        assert!(delays.clone().all(|way| way >= delay && way <= delay + jitter));
        assert!(delays.max() > Some(delay + jitter / 2));
    }
}
