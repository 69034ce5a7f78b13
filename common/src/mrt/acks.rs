//! Packets received and not yet acknowledged: which came, and when the other side must be told.

use std::time::{Duration, Instant};

use super::frame::{FrameWriter, MAX_ACK_RANGES};
use super::ranges::Ranges;

/// What one side knows of the other's packets.
#[derive(Debug)]
pub(super) struct Acks {
    /// Packets that came and that the other side may not know of yet.
    received: Ranges,
    largest: Option<Largest>,
    /// Packets that want an acknowledgement and have none yet.
    waiting: u64,
    /// When an acknowledgement is due, while one is held back.
    deadline: Option<Instant>,
    /// One is due now, whatever the deadline says.
    at_once: bool,
    frequency: Frequency,
    /// Packets so far with the mark 'congestion experienced'.
    congested: u64,
    /// When a packet was last sent that makes the other side acknowledge acknowledgements.
    pruned: Option<Instant>,
}

/// How the other side wants to be acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frequency {
    /// After so many packets,
    pub(super) packets: u64,
    /// but no later than this.
    pub(super) delay: Duration,
}

impl Frequency {
    /// Before anybody said anything (RFC 9000, section 13.2 has 2 packets and 25 ms).
    pub(super) const INITIAL: Self = Self { packets: 2, delay: Duration::from_millis(10) };

    /// Longest delay that can be asked for.
    pub(super) const MAX_DELAY: Duration = Duration::from_millis(25);

    /// Most packets that can be asked for.
    pub(super) const MAX_PACKETS: u64 = 256;
}

/// The packet with the largest number so far.
#[derive(Debug, Clone, Copy)]
struct Largest {
    number: u64,
    at: Instant,
}

/// From so many ranges on the other side is made to acknowledge acknowledgements, so that old ranges can be forgotten.
const PRUNE_FROM: usize = 16;

impl Acks {
    /// Nothing came yet.
    pub(super) const fn new() -> Self {
        Self {
            received: Ranges::new(),
            largest: None,
            waiting: 0,
            deadline: None,
            at_once: false,
            frequency: Frequency::INITIAL,
            congested: 0,
            pruned: None,
        }
    }

    /// The number after the largest that came.
    pub(super) fn expected(&self) -> u64 {
        self.largest.map_or(0, |largest| largest.number + 1)
    }

    /// Packet `number` came for the first time.
    pub(super) fn on_packet(&mut self, now: Instant, number: u64, eliciting: Eliciting) {
        let expected = self.expected();
        self.received.insert(number..number + 1);
        while self.received.count() > MAX_ACK_RANGES {
            self.received.pop_first();
        }
        if number >= expected {
            self.largest = Some(Largest { number, at: now });
        }
        if eliciting == Eliciting::No {
            return;
        }
        self.waiting += 1;
        // A new gap is told at once: the other side can send again what is missing.
        if number > expected || self.waiting >= self.frequency.packets {
            self.at_once = true;
        } else if self.deadline.is_none() {
            self.deadline = Some(now + self.frequency.delay);
        }
    }

    /// A packet came that a router had marked.
    pub(super) const fn on_congested(&mut self) {
        self.congested += 1;
        self.at_once = true;
    }

    /// The other side wants to be acknowledged like this.
    pub(super) fn set_frequency(&mut self, frequency: Frequency) {
        self.frequency = Frequency {
            packets: frequency.packets.clamp(1, Frequency::MAX_PACKETS),
            delay: frequency.delay.min(Frequency::MAX_DELAY),
        };
    }

    /// Whether an acknowledgement must be sent now, if need be in a packet of its own.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.at_once || self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether a packet that is sent anyway should carry one.
    pub(super) const fn is_waiting(&self) -> bool {
        self.waiting > 0
    }

    /// When one is due that is held back now.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Writes an acknowledgement; gives its largest number, if there was room and anything to acknowledge.
    pub(super) fn write(&mut self, now: Instant, out: &mut FrameWriter<'_>) -> Option<u64> {
        let largest = self.largest?;
        let delay = now.saturating_duration_since(largest.at);
        let delay_us = u64::try_from(delay.as_micros()).unwrap_or(0);
        if !out.put_acks(&self.received, delay_us, self.congested) {
            return None;
        }
        (self.waiting, self.deadline, self.at_once) = (0, None, false);
        // What was received is never empty here: the largest is forgotten only when a larger one was told.
        self.received.last().map(|range| range.end - 1)
    }

    /// Whether a packet with an acknowledgement should be one that is acknowledged itself: there are many ranges, and
    /// nothing was done about them for `pause`.
    pub(super) fn wants_pruning(&mut self, now: Instant, pause: Duration) -> bool {
        let due = self.received.count() >= PRUNE_FROM
            && self.pruned.is_none_or(|last| now.saturating_duration_since(last) >= pause);
        if due {
            self.pruned = Some(now);
        }
        due
    }

    /// The other side knows of everything up to `largest`: an acknowledgement with that as its largest number arrived.
    pub(super) fn on_told(&mut self, largest: u64) {
        // The newest range stays, so that there is always something to say.
        if let Some(last) = self.received.last() {
            self.received.remove(0..(largest + 1).min(last.start));
        }
    }
}

/// Whether a packet wants an acknowledgement: any that has more than acknowledgements and padding in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Eliciting {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mrt::frame::{Frame, Frames};
    use crate::mrt::tests::clock::start;

    /// The ranges told, each as its first and its last number.
    fn told(acks: &mut Acks, now: Instant) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        acks.write(now, &mut FrameWriter::new(&mut out, 1200)).unwrap();
        match Frames::new(&out).next() {
            Some(Ok(Frame::Acks(acks))) => acks.ranges().map(|range| (range.start, range.end - 1)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn packets_in_order_wait_for_their_number_or_the_delay() {
        let (now, mut acks) = (start(), Acks::new());
        acks.on_packet(now, 0, Eliciting::Yes);
        assert!(!acks.is_due(now));
        assert!(acks.is_due(now + Frequency::INITIAL.delay));
        acks.on_packet(now, 1, Eliciting::Yes);
        assert!(acks.is_due(now));
        assert_eq!(told(&mut acks, now), [(0, 1)]);
        assert!(!acks.is_due(now + Frequency::MAX_DELAY), "nothing is waiting any more");
    }

    #[test]
    fn a_new_gap_is_told_at_once_and_an_old_one_is_not() {
        let (now, mut acks) = (start(), Acks::new());
        acks.set_frequency(Frequency { packets: 100, delay: Duration::from_millis(5) });
        acks.on_packet(now, 0, Eliciting::Yes);
        acks.on_packet(now, 2, Eliciting::Yes);
        assert!(acks.is_due(now));
        assert_eq!(told(&mut acks, now), [(2, 2), (0, 0)]);
        acks.on_packet(now, 3, Eliciting::Yes);
        assert!(!acks.is_due(now));
    }

    #[test]
    fn packets_with_acknowledgements_alone_are_not_acknowledged() {
        let (now, mut acks) = (start(), Acks::new());
        for number in 0..100 {
            acks.on_packet(now, number * 2, Eliciting::No);
        }
        assert!(!acks.is_due(now + Duration::from_secs(9)));
        assert_eq!(acks.deadline(), None);
    }

    #[test]
    fn ranges_are_bounded_and_go_when_the_other_side_knows_of_them() {
        let (now, mut acks) = (start(), Acks::new());
        for number in 0..1000 {
            acks.on_packet(now, number * 2, Eliciting::Yes);
        }
        let mut out = Vec::new();
        let largest = acks.write(now, &mut FrameWriter::new(&mut out, 65_000));
        assert_eq!(largest, Some(1998));
        assert!(acks.received.count() <= MAX_ACK_RANGES);
        assert!(acks.wants_pruning(now, Duration::from_millis(1)));
        assert!(!acks.wants_pruning(now, Duration::from_millis(1)), "once is enough for a while");
        acks.on_told(1998);
        assert_eq!(told(&mut acks, now), [(1998, 1998)]);
    }
}
