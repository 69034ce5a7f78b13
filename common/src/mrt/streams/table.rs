//! The streams of a connection, by their ids. Those that are over are gone: an id below the next one that is not found is
//! closed.

use std::collections::VecDeque;

use super::StreamId;
use super::events::Wake;
use super::receive::ReceiveHalf;
use super::schedule::Queued;
use super::send::SendHalf;
use crate::mrt::Side;

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) send: SendHalf,
    pub(super) receive: ReceiveHalf,
    pub(super) reading: Wake,
    pub(super) writing: Wake,
    pub(super) queued: Queued,
}

/// All streams.
#[derive(Debug, Default)]
pub(super) struct Table {
    initiator: Half,
    responder: Half,
}

/// The streams that one side opened, in the order of their sequence numbers.
#[derive(Debug, Default)]
struct Half {
    entries: VecDeque<(u64, Box<Stream>)>,
    /// Sequence number of the next one.
    next: u64,
}

/// How many streams the other side may have open.
#[derive(Debug)]
pub(super) struct RemoteLimit {
    /// At once.
    max: u64,
    /// Since the beginning, as it was told.
    promised: u64,
    opened: u64,
    closed: u64,
    due: bool,
}

impl StreamId {
    /// The stream that `side` opens after `sequence` others.
    pub(super) const fn new(side: Side, sequence: u64) -> Self {
        Self(sequence * 2 + side as u64)
    }

    /// Who opened it.
    pub const fn opener(self) -> Side {
        match self.0 % 2 {
            0 => Side::Initiator,
            _ => Side::Responder,
        }
    }

    /// How many that side opened before it.
    pub(super) const fn sequence(self) -> u64 {
        self.0 / 2
    }
}

impl Stream {
    fn new(id: StreamId) -> Self {
        Self {
            id,
            send: SendHalf::new(),
            receive: ReceiveHalf::new(),
            reading: Wake::default(),
            writing: Wake::default(),
            queued: Queued::default(),
        }
    }

    /// Whether nothing of it matters any more.
    pub(super) const fn is_over(&self) -> bool {
        self.send.is_over() && self.receive.is_over()
    }
}

impl Table {
    /// Opens the next stream of `side`.
    pub(super) fn open(&mut self, side: Side) -> StreamId {
        let half = self.half_mut(side);
        let id = StreamId::new(side, half.next);
        half.entries.push_back((half.next, Box::new(Stream::new(id))));
        half.next += 1;
        id
    }

    /// How many streams `side` has opened.
    pub(super) const fn opened(&self, side: Side) -> u64 {
        match side {
            Side::Initiator => self.initiator.next,
            Side::Responder => self.responder.next,
        }
    }

    /// The stream, if it is not closed.
    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        let half = self.half_mut(id.opener());
        let index = half.index(id.sequence())?;
        half.entries.get_mut(index).map(|(_, stream)| &mut **stream)
    }

    /// Takes a stream out.
    pub(super) fn remove(&mut self, id: StreamId) -> Option<Box<Stream>> {
        let half = self.half_mut(id.opener());
        let index = half.index(id.sequence())?;
        half.entries.remove(index).map(|(_, stream)| stream)
    }

    /// All streams.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.initiator.entries.iter_mut().chain(&mut self.responder.entries).map(|(_, stream)| &mut **stream)
    }

    fn half_mut(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Initiator => &mut self.initiator,
            Side::Responder => &mut self.responder,
        }
    }
}

impl Half {
    /// Where the stream is. Mostly the open streams have numbers without gaps, at least from one end.
    fn index(&self, sequence: u64) -> Option<usize> {
        let ((first, _), (last, _)) = (self.entries.front()?, self.entries.back()?);
        let is_at = |index: &usize| self.entries.get(*index).is_some_and(|(found, _)| *found == sequence);
        let from_front = usize::try_from(sequence.checked_sub(*first)?).ok();
        let from_back = usize::try_from(last.checked_sub(sequence)?).ok();
        let from_back = from_back.and_then(|distance| (self.entries.len() - 1).checked_sub(distance));
        from_front
            .filter(is_at)
            .or_else(|| from_back.filter(is_at))
            .or_else(|| self.entries.binary_search_by_key(&sequence, |(number, _)| *number).ok())
    }
}

impl RemoteLimit {
    /// At most `max` at once.
    pub(super) const fn new(max: u64) -> Self {
        Self { max, promised: max, opened: 0, closed: 0, due: false }
    }

    /// How many it may have opened since the beginning.
    pub(super) const fn promised(&self) -> u64 {
        self.promised
    }

    /// It has opened so many.
    pub(super) fn on_opened(&mut self, count: u64) {
        self.opened = count;
        self.renew();
    }

    /// One of its streams is over.
    pub(super) fn on_closed(&mut self) {
        self.closed += 1;
        self.renew();
    }

    /// Whether a MAXS is due.
    pub(super) const fn is_due(&self) -> bool {
        self.due
    }

    /// What the MAXS is to say.
    pub(super) const fn next_promise(&self) -> u64 {
        self.closed + self.max
    }

    /// It was sent: the promise holds.
    pub(super) fn on_sent(&mut self) {
        self.promised = self.next_promise();
        self.due = false;
    }

    /// A MAXS is held for lost.
    pub(super) fn on_lost(&mut self) {
        self.due = true;
    }

    /// A promise is due when half of the limit is free that the other side does not know of, or as much as it has left.
    fn renew(&mut self) {
        let (new, left) = (self.next_promise() - self.promised, self.promised - self.opened);
        self.due |= new > 0 && new >= left.min(self.max / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_found_whatever_is_closed_between_them() {
        let mut table = Table::default();
        let ids: Vec<_> = (0..50).map(|_| table.open(Side::Responder)).collect();
        let is_gone = |n: usize| n % 7 == 3 || (10..20).contains(&n) || n == 49;
        for (_, id) in ids.iter().enumerate().filter(|(n, _)| is_gone(*n)) {
            assert!(table.remove(*id).is_some());
        }
        for (n, id) in ids.iter().enumerate() {
            assert_eq!(table.get_mut(*id).map(|stream| stream.id), Some(*id).filter(|_| !is_gone(n)));
        }
        assert!(table.get_mut(StreamId(0)).is_none() && table.get_mut(StreamId(101)).is_none());
        assert_eq!((table.opened(Side::Initiator), table.opened(Side::Responder)), (0, 50));
    }

    #[test]
    fn room_for_streams_is_promised_before_the_other_side_is_stuck() {
        let mut limit = RemoteLimit::new(10);
        limit.on_opened(8);
        limit.on_closed();
        assert!(!limit.is_due());
        limit.on_closed();
        assert!(limit.is_due(), "two are left, and two are free");
        limit.on_sent();
        assert_eq!((limit.promised(), limit.is_due()), (12, false));
        limit.on_opened(12);
        limit.on_closed();
        assert!(limit.is_due(), "none is left");
    }
}
