//! Packets sent and not yet acknowledged: which are acknowledged, lost, or still under way (RFC 9002, section 6).
//!
//! Packets lie in a ring by their number, and what was in them lies in a second ring; both give way at the front as the
//! fates of packets become known, so that nothing is allocated or searched per packet.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use super::congestion::SentState;
use super::rtt::Rtt;
use super::streams::SentStreamFrame;

/// A packet that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct SentPacket {
    /// When.
    pub(super) at: Instant,
    /// Bytes of its datagram.
    pub(super) size: u16,
    /// On which path: the number that the path had when it was sent.
    pub(super) path: u32,
    /// What kind of packet.
    pub(super) kind: Kind,
    /// For measuring the delivery rate; only of packets that are under congestion control.
    pub(super) state: Option<SentState>,
    fate: Fate,
    /// Where its frames begin in the ring of frames, by their number since the beginning.
    frames: u64,
    frame_count: u16,
}

/// What kind of packet was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Wants an acknowledgement.
    Eliciting,
    /// Only acknowledgements or the end: nobody waits for its fate.
    Silent,
    /// Larger than what is known to pass: its loss says nothing about congestion.
    MtuProbe,
}

/// A frame of a sent packet that has to be dealt with when the packet's fate is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SentFrame {
    /// One of the streams'.
    Stream(SentStreamFrame),
    /// An acknowledgement with this largest number.
    Acks(u64),
    /// AFRQ.
    AckFrequency,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Outstanding,
    Settled,
}

/// A packet held for lost, remembered in case it was only late.
#[derive(Debug, Clone, Copy)]
struct Late {
    number: u64,
    packet: SentPacket,
}

/// All packets sent and not settled.
#[derive(Debug)]
pub(super) struct Sent {
    /// The oldest first; the first has the number `base`.
    packets: VecDeque<SentPacket>,
    base: u64,
    frames: VecDeque<SentFrame>,
    frames_base: u64,
    largest_acked: Option<u64>,
    /// Lost packets by number, the oldest first.
    late: VecDeque<Late>,
    /// Packets that want an acknowledgement and have none.
    outstanding: u64,
    last_eliciting: Option<Instant>,
    reordering: Reordering,
    /// Numbers that no packet has, the oldest first; those before `base` are forgotten now and then.
    skipped: VecDeque<u64>,
}

/// How far packets may overtake each other before one is held for lost. Widened when one was held for lost wrongly
/// (RFC 8985, section 6.2 does likewise).
#[derive(Debug, Clone, Copy)]
struct Reordering {
    /// By number.
    packets: u64,
    /// By time: eighths of a round trip beyond one.
    eighths: u32,
    /// When it was last found too narrow.
    widened: Option<Instant>,
}

impl Reordering {
    /// RFC 9002, section 6.1: 3 packets, 9/8 of a round trip.
    const NARROWEST: Self = Self { packets: 3, eighths: 1, widened: None };

    /// Most packets that may overtake one; picked by hand.
    const MOST_PACKETS: u64 = 1000;

    /// A round trip beyond one.
    const MOST_EIGHTHS: u32 = 8;

    /// It is narrowed again when nothing was late for so long.
    const MEMORY: Duration = Duration::from_secs(20);
}

/// Most lost packets that are remembered.
const MAX_LATE: usize = 1024;

/// Most skipped numbers that are remembered: as many as are left out among all packets that may be under way.
const MAX_SKIPPED: usize = 512;

impl Sent {
    /// Nothing sent yet.
    pub(super) const fn new() -> Self {
        Self {
            packets: VecDeque::new(),
            base: 0,
            frames: VecDeque::new(),
            frames_base: 0,
            largest_acked: None,
            late: VecDeque::new(),
            outstanding: 0,
            last_eliciting: None,
            reordering: Reordering::NARROWEST,
            skipped: VecDeque::new(),
        }
    }

    /// The number [`Self::next_number`] is left out. Who acknowledges it acknowledges what it did not get, to be sent more
    /// than the path carries (RFC 9000, section 21.4).
    pub(super) fn skip(&mut self, at: Instant) {
        while self.skipped.len() >= MAX_SKIPPED || self.skipped.front().is_some_and(|oldest| *oldest < self.base) {
            self.skipped.pop_front();
        }
        self.skipped.push_back(self.next_number());
        self.on_sent(at, 0, 0, Kind::Silent, None);
    }

    /// Whether one of the numbers in `range` was left out, as far as that is remembered.
    pub(super) fn was_skipped(&self, range: &Range<u64>) -> bool {
        let first = self.skipped.partition_point(|number| *number < range.start);
        self.skipped.get(first).is_some_and(|number| *number < range.end)
    }

    /// The number of the next packet.
    pub(super) fn next_number(&self) -> u64 {
        self.base + self.packets.len() as u64
    }

    /// The largest number that was acknowledged.
    pub(super) const fn largest_acked(&self) -> Option<u64> {
        self.largest_acked
    }

    /// Whether any packet wants an acknowledgement and has none.
    pub(super) const fn has_outstanding(&self) -> bool {
        self.outstanding > 0
    }

    /// How many packets are remembered.
    pub(super) fn count(&self) -> usize {
        self.packets.len()
    }

    /// When the last packet that wants an acknowledgement was sent.
    pub(super) const fn last_eliciting(&self) -> Option<Instant> {
        self.last_eliciting
    }

    /// A frame went into the packet that [`Self::on_sent`] will be called for next.
    pub(super) fn add_frame(&mut self, frame: SentFrame) {
        self.frames.push_back(frame);
    }

    /// The packet with the number [`Self::next_number`] was sent, with all frames added since the one before.
    pub(super) fn on_sent(&mut self, at: Instant, size: u16, path: u32, kind: Kind, state: Option<SentState>) {
        let begin = self.packets.back().map_or(self.frames_base, |last| last.frames + u64::from(last.frame_count));
        let end = self.frames_base + self.frames.len() as u64;
        let frame_count = u16::try_from(end - begin).expect("a packet has at most 65,535 bytes and fewer frames");
        let fate = if kind == Kind::Silent { Fate::Settled } else { Fate::Outstanding };
        if fate == Fate::Outstanding {
            self.outstanding += 1;
            self.last_eliciting = Some(at);
        }
        self.packets.push_back(SentPacket { at, size, path, kind, state, fate, frames: begin, frame_count });
        self.give_way();
    }

    /// Those in `range` were acknowledged: tells `acked` of each that was not settled yet, with its number and frames.
    /// Calls for several ranges of one ADAT are followed by [`Self::on_acked_up_to`].
    pub(super) fn on_acked(
        &mut self,
        range: Range<u64>,
        mut acked: impl FnMut(u64, &SentPacket, &mut dyn Iterator<Item = SentFrame>),
    ) {
        let first = range.start.max(self.base);
        if first >= range.end {
            return;
        }
        let (from, to) = (self.index(first), self.index(range.end).min(self.packets.len()));
        for (packet, number) in self.packets.range_mut(from.min(to)..to).zip(first..) {
            if packet.fate == Fate::Settled {
                continue;
            }
            packet.fate = Fate::Settled;
            self.outstanding -= 1;
            acked(number, packet, &mut frames_of(&self.frames, self.frames_base, packet));
        }
    }

    /// Packets in `range` that were held for lost and were not: tells `late` of each, once, and widens the limits.
    pub(super) fn on_late(&mut self, now: Instant, range: &Range<u64>, mut late: impl FnMut(&SentPacket)) {
        let first = self.late.partition_point(|late| late.number < range.start);
        let last = self.late.partition_point(|late| late.number < range.end);
        if first == last {
            return;
        }
        let overtaken = self
            .late
            .get(first)
            .zip(self.largest_acked)
            .map_or(0, |(late, largest)| largest.saturating_sub(late.number));
        for one in self.late.drain(first..last) {
            late(&one.packet);
        }
        self.reordering.packets = self.reordering.packets.max((overtaken + 1).min(Reordering::MOST_PACKETS));
        let long_ago =
            self.reordering.widened.is_none_or(|last| now.saturating_duration_since(last) > Duration::from_millis(10));
        if long_ago {
            self.reordering.eighths = (self.reordering.eighths + 1).min(Reordering::MOST_EIGHTHS);
        }
        self.reordering.widened = Some(now);
    }

    /// An ADAT with this largest number was worked through.
    pub(super) fn on_acked_up_to(&mut self, largest: u64) {
        self.largest_acked = self.largest_acked.max(Some(largest));
        self.give_way();
    }

    /// Tells `lost` of each packet that must be held for lost by now, with its frames; gives when the next one must be.
    pub(super) fn detect(
        &mut self,
        now: Instant,
        rtt: &Rtt,
        mut lost: impl FnMut(u64, &SentPacket, &mut dyn Iterator<Item = SentFrame>),
    ) -> Option<Instant> {
        let largest = self.largest_acked?;
        if self.reordering.widened.is_some_and(|last| now.saturating_duration_since(last) > Reordering::MEMORY) {
            self.reordering = Reordering::NARROWEST;
        }
        let delay = rtt.loss_delay(self.reordering.eighths);
        let end = self.index(largest).min(self.packets.len());
        let mut next = None;
        for (packet, number) in self.packets.range_mut(..end).zip(self.base..) {
            if packet.fate == Fate::Settled {
                continue;
            }
            if largest - number < self.reordering.packets && packet.at + delay > now {
                // Those behind it were sent later and are nearer.
                next = Some(packet.at + delay);
                break;
            }
            packet.fate = Fate::Settled;
            self.outstanding -= 1;
            lost(number, packet, &mut frames_of(&self.frames, self.frames_base, packet));
            self.late.push_back(Late { number, packet: *packet });
        }
        while self.late.len() > MAX_LATE {
            self.late.pop_front();
        }
        self.give_way();
        next
    }

    /// All packets sent on other paths than `path` are given up: tells `lost` of each, with its frames.
    pub(super) fn abandon_other_paths(
        &mut self,
        path: u32,
        mut lost: impl FnMut(&SentPacket, &mut dyn Iterator<Item = SentFrame>),
    ) {
        for packet in &mut self.packets {
            if packet.fate == Fate::Outstanding && packet.path != path {
                packet.fate = Fate::Settled;
                self.outstanding -= 1;
                lost(packet, &mut frames_of(&self.frames, self.frames_base, packet));
            }
        }
        self.give_way();
    }

    /// Drops settled packets from the front, and their frames.
    fn give_way(&mut self) {
        while self.packets.front().is_some_and(|packet| packet.fate == Fate::Settled) {
            let Some(packet) = self.packets.pop_front() else { break };
            self.base += 1;
            self.frames.drain(..usize::from(packet.frame_count).min(self.frames.len()));
            self.frames_base += u64::from(packet.frame_count);
        }
    }

    /// Where packet `number`, which is not before the first, lies or will lie.
    fn index(&self, number: u64) -> usize {
        usize::try_from(number.saturating_sub(self.base)).unwrap_or(usize::MAX)
    }
}

fn frames_of<'a>(
    frames: &'a VecDeque<SentFrame>,
    base: u64,
    packet: &SentPacket,
) -> impl Iterator<Item = SentFrame> + use<'a> {
    let begin = usize::try_from(packet.frames - base).unwrap_or(usize::MAX).min(frames.len());
    let end = begin.saturating_add(usize::from(packet.frame_count)).min(frames.len());
    frames.range(begin..end).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mrt::tests::clock::start;

    /// So many packets, a millisecond apart, each with its number as its only frame.
    fn sent(count: u64, begin: Instant) -> Sent {
        let mut sent = Sent::new();
        for number in 0..count {
            sent.add_frame(SentFrame::Acks(number));
            sent.on_sent(begin + Duration::from_millis(number), 1200, 0, Kind::Eliciting, None);
        }
        sent
    }

    fn acked(sent: &mut Sent, range: Range<u64>) -> Vec<u64> {
        let mut numbers = Vec::new();
        sent.on_acked(range.clone(), |number, _, frames| {
            assert_eq!(frames.collect::<Vec<_>>(), [SentFrame::Acks(number)]);
            numbers.push(number);
        });
        sent.on_acked_up_to(range.end - 1);
        numbers
    }

    fn lost(sent: &mut Sent, now: Instant, rtt: &Rtt) -> (Vec<u64>, Option<Instant>) {
        let mut numbers = Vec::new();
        let next = sent.detect(now, rtt, |number, _, frames| {
            assert_eq!(frames.collect::<Vec<_>>(), [SentFrame::Acks(number)]);
            numbers.push(number);
        });
        (numbers, next)
    }

    fn rtt(millis: u64) -> Rtt {
        let mut rtt = Rtt::new();
        rtt.on_sample(Duration::from_millis(millis), Duration::ZERO);
        rtt
    }

    #[test]
    fn each_packet_is_acknowledged_once_whatever_the_order() {
        let begin = start();
        let mut sent = sent(100, begin);
        assert_eq!(acked(&mut sent, 10..12), [10, 11]);
        assert_eq!(acked(&mut sent, 5..20), [5, 6, 7, 8, 9].into_iter().chain(12..20).collect::<Vec<_>>());
        assert_eq!(acked(&mut sent, 0..200), (0..5).chain(20..100).collect::<Vec<_>>());
        assert!(!sent.has_outstanding());
        assert_eq!((sent.packets.len(), sent.frames.len(), sent.next_number()), (0, 0, 100));
    }

    #[test]
    fn three_later_packets_or_an_eighth_of_a_round_trip_make_a_loss() {
        let begin = start();
        let mut sent = sent(10, begin);
        acked(&mut sent, 5..6);
        let rtt = rtt(80);
        let (numbers, next) = lost(&mut sent, begin + Duration::from_millis(80), &rtt);
        assert_eq!(numbers, [0, 1, 2]);
        let due = begin + Duration::from_millis(3 + 90);
        assert_eq!(next, Some(due));
        assert_eq!(lost(&mut sent, due, &rtt).0, [3]);
        assert_eq!(
            lost(&mut sent, due + Duration::from_secs(1), &rtt),
            (vec![4], None),
            "what nothing overtook is not lost"
        );
        assert!(sent.has_outstanding());
    }

    #[test]
    fn who_was_only_late_widens_the_limits() {
        let begin = start();
        let mut sent = sent(100, begin);
        let rtt = rtt(80);
        acked(&mut sent, 10..11);
        assert_eq!(lost(&mut sent, begin + Duration::from_millis(80), &rtt).0, (0..=7).collect::<Vec<_>>());
        let mut late = 0;
        sent.on_late(begin, &(0..8), |_| late += 1);
        sent.on_late(begin, &(0..8), |_| late += 1);
        assert_eq!(late, 8, "each is late once");
        acked(&mut sent, 20..21);
        let (numbers, _) = lost(&mut sent, begin + Duration::from_millis(81), &rtt);
        assert_eq!(numbers, [8, 9], "ten and more behind");
    }

    #[test]
    fn what_was_sent_elsewhere_can_be_given_up() {
        let begin = start();
        let mut sent = sent(3, begin);
        sent.on_sent(begin, 1200, 7, Kind::Eliciting, None);
        let mut gone = 0;
        sent.abandon_other_paths(7, |_, frames| gone += frames.count());
        assert_eq!((gone, sent.outstanding), (3, 1));
    }

    #[test]
    fn silent_packets_leave_nothing_behind() {
        let begin = start();
        let mut sent = Sent::new();
        for _ in 0..1000 {
            sent.add_frame(SentFrame::Acks(1));
            sent.on_sent(begin, 60, 0, Kind::Silent, None);
        }
        assert_eq!((sent.packets.len(), sent.frames.len(), sent.next_number()), (0, 0, 1000));
        assert!(!sent.has_outstanding());
    }
}
