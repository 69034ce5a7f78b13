//! Links: what one direction of a cable does to datagrams.

use std::time::{Duration, Instant};

use common::mrt::Ecn;

use crate::content::Dice;

/// Bytes that a datagram has around it on the wire: an IPv4 and a UDP header.
pub const HEADERS: u64 = 20 + 8;

/// Most bytes of a datagram that any link carries: UDP's limit over IPv4.
const UNLIMITED_DATAGRAM: usize = 65_507;

/// Times before and after which datagrams are lost together, as on a radio link (Gilbert and Elliott's model, in time
/// instead of packets, so that it does not wait for who waits for it).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bursts {
    /// Mean time without.
    pub good: Duration,
    /// Mean time of a burst.
    pub bad: Duration,
    /// What part is lost in a burst.
    pub loss: f64,
}

/// One direction of a cable. Built from [`Link::new`] by adding what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// How long a datagram is under way at least, when its last byte has left the queue.
    pub delay: Duration,
    /// It may be up to so much longer under way, without being overtaken.
    pub jitter: Duration,
    /// What part is lost, each for itself, behind the queue.
    pub loss: f64,
    /// Losses in bursts beside that.
    pub bursts: Option<Bursts>,
    /// What part comes twice.
    pub duplicates: f64,
    /// What part is held up and may be overtaken, and by how much at most.
    pub reordering: Option<(f64, Duration)>,
    /// Bytes a second with headers; `None` for no limit.
    pub rate: Option<u64>,
    /// Bytes that the queue before the link takes; what comes when it is full is dropped. Without a rate there is none.
    pub queue: u64,
    /// Datagrams that meet a queue of more bytes are marked, if their senders take part in ECN.
    pub mark_above: Option<u64>,
    /// Larger datagrams, in bytes without headers, vanish.
    pub max_datagram: usize,
}

impl Link {
    /// A link with nothing wrong but its length.
    pub const fn new(delay: Duration) -> Self {
        Self {
            delay,
            jitter: Duration::ZERO,
            loss: 0.0,
            bursts: None,
            duplicates: 0.0,
            reordering: None,
            rate: None,
            queue: u64::MAX,
            mark_above: None,
            max_datagram: UNLIMITED_DATAGRAM,
        }
    }

    /// Half of a cable with this round trip and rate, in Mbit/s. The queue has one bandwidth-delay product, datagrams
    /// may have 1,472 bytes as on Ethernet.
    pub const fn ethernet(round_trip_ms: u64, mbit_per_sec: u64) -> Self {
        const ETHERNET_DATAGRAM: usize = 1472;
        let rate = mbit_per_sec * 1_000_000 / 8;
        Self {
            rate: Some(rate),
            queue: rate * round_trip_ms / 1000,
            max_datagram: ETHERNET_DATAGRAM,
            ..Self::new(Duration::from_micros(round_trip_ms * 1000 / 2))
        }
    }

    /// The same with another queue, in bytes.
    #[must_use]
    pub const fn queue(self, queue: u64) -> Self {
        Self { queue, ..self }
    }

    /// The same that loses this part of all datagrams.
    #[must_use]
    pub const fn loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// The same that carries no larger datagrams.
    #[must_use]
    pub const fn max_datagram(self, max_datagram: usize) -> Self {
        Self { max_datagram, ..self }
    }

    /// What part is lost behind the queue, bursts included.
    pub fn mean_loss(&self) -> f64 {
        let in_bursts = self
            .bursts
            .map_or(0.0, |bursts| bursts.loss * bursts.bad.as_secs_f64() / (bursts.good + bursts.bad).as_secs_f64());
        1.0 - (1.0 - self.loss) * (1.0 - in_bursts)
    }

    /// How long a datagram may be under way at most, if it is not lost.
    pub fn longest_delay(&self) -> Duration {
        let full = self.rate.map_or(Duration::ZERO, |rate| time_of(self.queue, rate));
        self.delay + self.jitter + full + self.reordering.map_or(Duration::ZERO, |(_, by)| by)
    }
}

/// How long `bytes` take at `rate`, in bytes a second.
pub(super) fn time_of(bytes: u64, rate: u64) -> Duration {
    const NANOS: u128 = 1_000_000_000;
    let nanos = u128::from(bytes) * NANOS / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Figures of one direction of a cable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkFigures {
    /// Datagrams that came to it.
    pub datagrams: u64,
    /// Their bytes with headers.
    pub bytes: u64,
    /// How many were dropped at the full queue.
    pub overflowed: u64,
    /// How many were lost on the way.
    pub lost: u64,
    /// How many were too large.
    pub too_large: u64,
    /// How many were marked.
    pub marked: u64,
    /// Most bytes in the queue.
    pub max_queue: u64,
    /// Sum of the bytes in the queue over time, in bytes times nanoseconds: see [`LinkFigures::mean_queue`].
    byte_nanos: u128,
}

impl LinkFigures {
    /// Bytes in the queue on the mean since `earlier` figures, which were taken `time` ago.
    pub fn mean_queue(&self, earlier: &Self, time: Duration) -> u64 {
        let sum = self.byte_nanos - earlier.byte_nanos;
        u64::try_from(sum / time.as_nanos().max(1)).unwrap_or(u64::MAX)
    }
}

/// What became of a datagram on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Passed {
    /// When it comes out; twice if it is doubled, never if it is lost.
    pub(super) arrivals: [Option<Instant>; 2],
    /// Its mark now.
    pub(super) ecn: Ecn,
}

/// One direction of a cable, with what is in it.
#[derive(Debug)]
pub(super) struct Pipe {
    link: Link,
    dice: Dice,
    is_cut: bool,
    /// When the queue is empty, if nothing comes.
    free_at: Instant,
    /// When the last datagram comes out that was not held up.
    last_arrival: Instant,
    /// Whether there is a burst of losses now, and when that changes.
    burst: (bool, Instant),
    /// Up to when the queue was summed up.
    summed: Instant,
    figures: LinkFigures,
}

impl Pipe {
    pub(super) fn new(now: Instant, link: Link, seed: u64) -> Self {
        Self {
            link,
            dice: Dice::new(seed),
            is_cut: false,
            free_at: now,
            last_arrival: now,
            burst: (true, now),
            summed: now,
            figures: LinkFigures::default(),
        }
    }

    /// From now on it is another link; what is in it comes out as it would have.
    pub(super) const fn replace(&mut self, link: Link) {
        self.link = link;
    }

    /// Another rate. What is in the queue leaves it as it would have.
    pub(super) const fn set_rate(&mut self, rate: u64) {
        self.link.rate = Some(rate);
    }

    pub(super) const fn set_max_datagram(&mut self, most: usize) {
        self.link.max_datagram = most;
    }

    /// While it is cut, everything that comes is lost.
    pub(super) const fn set_cut(&mut self, is_cut: bool) {
        self.is_cut = is_cut;
    }

    pub(super) fn figures(&mut self, now: Instant) -> LinkFigures {
        self.sum_up(now);
        self.figures
    }

    /// A datagram of so many bytes comes.
    pub(super) fn pass(&mut self, now: Instant, datagram: usize, mut ecn: Ecn) -> Passed {
        let bytes = datagram as u64 + HEADERS;
        self.sum_up(now);
        self.figures.datagrams += 1;
        self.figures.bytes += bytes;
        let gone = Passed { arrivals: [None; 2], ecn };
        if self.is_cut {
            self.figures.lost += 1;
            return gone;
        }
        if datagram > self.link.max_datagram {
            self.figures.too_large += 1;
            return gone;
        }
        let waiting = self.waiting(now);
        if self.link.mark_above.is_some_and(|most| waiting > most) && ecn == Ecn::Capable {
            ecn = Ecn::CongestionExperienced;
            self.figures.marked += 1;
        }
        let Some(sent) = self.queue_up(now, bytes, waiting) else { return gone };
        if self.is_lost(now) {
            self.figures.lost += 1;
            return gone;
        }
        let first = self.arrival(sent);
        let second = self.dice.chance(self.link.duplicates).then(|| self.arrival(sent));
        Passed { arrivals: [Some(first), second], ecn }
    }

    /// Bytes in the queue.
    fn waiting(&self, now: Instant) -> u64 {
        const NANOS: u128 = 1_000_000_000;
        let left = self.free_at.saturating_duration_since(now);
        let bytes = left.as_nanos() * u128::from(self.link.rate.unwrap_or(0)) / NANOS;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// When the last byte leaves the queue; `None` when there is no room in it. One datagram always has room.
    fn queue_up(&mut self, now: Instant, bytes: u64, waiting: u64) -> Option<Instant> {
        let Some(rate) = self.link.rate else { return Some(now) };
        if waiting > 0 && waiting.saturating_add(bytes) > self.link.queue {
            self.figures.overflowed += 1;
            return None;
        }
        self.free_at = self.free_at.max(now) + time_of(bytes, rate);
        self.figures.max_queue = self.figures.max_queue.max(waiting + bytes);
        Some(self.free_at)
    }

    fn is_lost(&mut self, now: Instant) -> bool {
        let burst = match self.link.bursts {
            None => 0.0,
            Some(bursts) => {
                while self.burst.1 <= now {
                    let is_bad = !self.burst.0;
                    let mean = if is_bad { bursts.bad } else { bursts.good };
                    // Exponentially distributed, but never zero, so that this ends.
                    let time = mean.mul_f64(-(1.0 - self.dice.fraction()).ln()).max(Duration::from_micros(1));
                    self.burst = (is_bad, self.burst.1 + time);
                }
                if self.burst.0 { bursts.loss } else { 0.0 }
            }
        };
        self.dice.chance(self.link.loss) || self.dice.chance(burst)
    }

    fn arrival(&mut self, sent: Instant) -> Instant {
        let jitter = self.link.jitter.mul_f64(self.dice.fraction());
        let in_order = (sent + self.link.delay + jitter).max(self.last_arrival);
        match self.link.reordering {
            Some((fraction, by)) if self.dice.chance(fraction) => in_order + by.mul_f64(self.dice.fraction()),
            _ => {
                self.last_arrival = in_order;
                in_order
            }
        }
    }

    /// Adds what was in the queue since the last time.
    fn sum_up(&mut self, now: Instant) {
        let before = self.waiting(self.summed);
        let after = self.waiting(now);
        let drained = self.free_at.min(now).saturating_duration_since(self.summed);
        // It falls in a straight line, and stays at the bottom.
        self.figures.byte_nanos += u128::from(before + after) / 2 * drained.as_nanos();
        self.summed = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const DATAGRAM: usize = 972;
    /// With headers 1000 bytes, so that 1,000,000 bytes a second are one a millisecond.
    const RATE: u64 = 1_000_000;

    fn slow() -> Link {
        Link { rate: Some(RATE), queue: 3000, ..Link::new(10 * MS) }
    }

    #[test]
    fn a_queue_delays_up_to_its_size_and_drops_the_rest() {
        let now = Instant::now();
        let mut pipe = Pipe::new(now, slow(), 1);
        let arrivals: Vec<_> = (0..5).map(|_| pipe.pass(now, DATAGRAM, Ecn::NotCapable).arrivals[0]).collect();
        let due = |ms| Some(now + ms * MS);
        assert_eq!(arrivals, [due(11), due(12), due(13), None, None]);
        assert_eq!(pipe.figures(now).overflowed, 2);
        assert_eq!(pipe.pass(now + MS, DATAGRAM, Ecn::NotCapable).arrivals[0], due(14), "one has left");
    }

    #[test]
    fn the_mean_queue_is_the_one_over_time() {
        let now = Instant::now();
        let mut pipe = Pipe::new(now, slow(), 1);
        pipe.pass(now, DATAGRAM, Ecn::NotCapable);
        pipe.pass(now, DATAGRAM, Ecn::NotCapable);
        // 2000 bytes fall to none in 2 ms, then nothing for 2 ms.
        let figures = pipe.figures(now + 4 * MS);
        assert_eq!(figures.mean_queue(&LinkFigures::default(), 4 * MS), 500);
        assert_eq!(figures.max_queue, 2000);
    }

    #[test]
    fn as_much_is_lost_as_was_said() {
        let now = Instant::now();
        let bursts = Bursts { good: 90 * MS, bad: 10 * MS, loss: 1.0 };
        for link in [Link::new(MS).loss(0.1), Link { bursts: Some(bursts), ..Link::new(MS) }] {
            let mut pipe = Pipe::new(now, link, 7);
            let came = (0..100_000).filter(|at| pipe.pass(now + *at * MS, 100, Ecn::NotCapable).arrivals[0].is_some());
            let lost = 100_000 - came.count();
            assert!((9000..11_000).contains(&lost), "{lost} of 100,000 with {link:?}");
        }
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let now = Instant::now();
        let out_of_order = |link: Link| {
            let mut pipe = Pipe::new(now, link, 3);
            let times: Vec<_> =
                (0..1000).filter_map(|at| pipe.pass(now + at * MS, 100, Ecn::NotCapable).arrivals[0]).collect();
            times.windows(2).filter(|pair| pair[0] > pair[1]).count()
        };
        assert_eq!(out_of_order(Link { jitter: 20 * MS, ..Link::new(MS) }), 0);
        let reordering = Some((0.1, 20 * MS));
        assert!((50..=100).contains(&out_of_order(Link { reordering, ..Link::new(MS) })));
    }

    #[test]
    fn large_datagrams_vanish_and_some_are_marked_or_doubled() {
        let now = Instant::now();
        let mut pipe = Pipe::new(now, Link { duplicates: 1.0, mark_above: Some(500), ..slow().max_datagram(1000) }, 1);
        assert_eq!(pipe.pass(now, 1001, Ecn::Capable).arrivals, [None; 2]);
        let first = pipe.pass(now, DATAGRAM, Ecn::Capable);
        assert_eq!((first.arrivals, first.ecn), ([Some(now + 11 * MS); 2], Ecn::Capable));
        assert_eq!(pipe.pass(now, DATAGRAM, Ecn::Capable).ecn, Ecn::CongestionExperienced);
        assert_eq!(pipe.pass(now, 10, Ecn::NotCapable).ecn, Ecn::NotCapable);
        pipe.set_cut(true);
        assert_eq!(pipe.pass(now, 10, Ecn::NotCapable).arrivals, [None; 2]);
    }
}
