//! Who sends next: what the streams have to say, packed into packets.

use std::collections::VecDeque;
use std::ops::Range;

use super::table::Stream;
use super::{SentStreamFrame, StreamId, Streams};
use crate::mrt::frame::{Frame, FrameWriter, varint_length};

/// Most frames in one packet: what a packet with short streams has to remember until it is acknowledged.
const MAX_FRAMES: usize = 32;

/// Packets that one stream fills before it is the next one's turn.
const TURN: u32 = 16;

/// Data is not cut to pieces smaller than this to fill the end of a packet.
const MIN_PIECE: usize = 64;

/// Streams that have something to send. A stream is in a queue if and only if it has something of its kind.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// RSET, STOP, WINS.
    control: VecDeque<StreamId>,
    /// Data that was lost, or an end alone: needs no credit.
    resend: VecDeque<StreamId>,
    /// Data that was never sent, and that the limit of its stream allows.
    fresh: VecDeque<StreamId>,
    /// Whose turn it is in `fresh`, and for how many packets.
    turn: Option<(StreamId, u32)>,
}

/// In which queues a stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Queued {
    control: bool,
    resend: bool,
    fresh: bool,
}

/// How much the other side allows us to send.
#[derive(Debug)]
pub(super) struct SendCredit {
    /// Sum of the highest offsets of all streams.
    pub(super) total: u64,
    /// What of it is used.
    pub(super) used: u64,
    /// Highest offset of each stream.
    pub(super) each: u64,
}

/// A packet in the making.
struct Packet<'a, 'b> {
    out: &'a mut FrameWriter<'b>,
    sent: &'a mut dyn FnMut(SentStreamFrame),
    frames: usize,
}

impl SendCredit {
    const fn left(&self) -> u64 {
        self.total.saturating_sub(self.used)
    }
}

impl Schedule {
    /// Puts the stream into the queues it belongs to. To be called after every change of what it has to send.
    pub(super) fn update(&mut self, stream: &mut Stream, credit: &SendCredit) {
        let now = Queued {
            control: stream.receive.has_frames() || stream.send.reset_frame(stream.id).is_some(),
            resend: stream.send.has_resend(),
            fresh: stream.send.has_new(credit.each),
        };
        let before = std::mem::replace(&mut stream.queued, now);
        if now != before {
            requeue(&mut self.control, stream.id, before.control, now.control);
            requeue(&mut self.resend, stream.id, before.resend, now.resend);
            requeue(&mut self.fresh, stream.id, before.fresh, now.fresh);
        }
    }

    /// Takes a stream that is forgotten out of all queues.
    pub(super) fn remove(&mut self, stream: &Stream) {
        let before = stream.queued;
        requeue(&mut self.control, stream.id, before.control, false);
        requeue(&mut self.resend, stream.id, before.resend, false);
        requeue(&mut self.fresh, stream.id, before.fresh, false);
    }

    /// Whether there is something to send again.
    pub(super) fn has_resend(&self) -> bool {
        !self.resend.is_empty()
    }

    /// The stream in front has filled a packet.
    fn count_turn(&mut self) {
        let Some(front) = self.fresh.front().copied() else { return };
        let left = match self.turn {
            Some((whose, left)) if whose == front => left,
            _ => TURN,
        };
        self.turn = Some((front, left - 1));
        if left == 1 {
            self.turn = None;
            self.fresh.rotate_left(1);
        }
    }
}

fn requeue(queue: &mut VecDeque<StreamId>, id: StreamId, before: bool, now: bool) {
    match (before, now) {
        (false, true) => queue.push_back(id),
        // The one that is taken out is mostly the one in front.
        (true, false) => {
            if let Some(at) = queue.iter().position(|queued| *queued == id) {
                queue.remove(at);
            }
        }
        (false, false) | (true, true) => {}
    }
}

impl Streams {
    /// Whether [`Self::write_frames`] would write anything.
    pub(in crate::mrt) fn has_frames(&self) -> bool {
        let queues = &self.schedule;
        self.window.is_due()
            || self.remote_limit.is_due()
            || !queues.control.is_empty()
            || !queues.resend.is_empty()
            || !queues.fresh.is_empty() && self.credit.left() > 0
    }

    /// Writes frames until the packet is full or there is nothing to say, and tells `sent` of each.
    pub(in crate::mrt) fn write_frames(&mut self, out: &mut FrameWriter<'_>, sent: &mut dyn FnMut(SentStreamFrame)) {
        let mut packet = Packet { out, sent, frames: 0 };
        let _ = self.write_control(&mut packet) && self.write_resend(&mut packet) && self.write_fresh(&mut packet);
    }

    /// Writes what is not data; says whether all of it.
    fn write_control(&mut self, packet: &mut Packet<'_, '_>) -> bool {
        if self.remote_limit.is_due() {
            let frame = Frame::MaxStreams(self.remote_limit.next_promise());
            if !packet.put(&frame, SentStreamFrame::MaxStreams) {
                return false;
            }
            self.remote_limit.on_sent();
        }
        if self.window.is_due() {
            if !packet.put(&self.window.frame(), SentStreamFrame::Window) {
                return false;
            }
            self.window.on_sent();
        }
        while let Some(id) = self.schedule.control.front() {
            let stream = self.table.get_mut(*id).expect("a queued stream is in the table");
            let complete = packet.put_control(stream, self.window.each());
            self.schedule.update(stream, &self.credit);
            if !complete {
                return false;
            }
        }
        true
    }

    /// Writes lost data and ends of streams; says whether all of it.
    fn write_resend(&mut self, packet: &mut Packet<'_, '_>) -> bool {
        while let Some(id) = self.schedule.resend.front() {
            let stream = self.table.get_mut(*id).expect("a queued stream is in the table");
            let piece = stream.send.resend();
            let written = packet.put_data(stream, piece);
            self.schedule.update(stream, &self.credit);
            if written.is_none() {
                return false;
            }
        }
        true
    }

    /// Writes data that was never sent; says whether all of it.
    fn write_fresh(&mut self, packet: &mut Packet<'_, '_>) -> bool {
        let mut counted = false;
        while let Some(id) = self.schedule.fresh.front().filter(|_| self.credit.left() > 0) {
            let stream = self.table.get_mut(*id).expect("a queued stream is in the table");
            let piece = stream.send.fresh(self.credit.each, self.credit.left());
            let Some(length) = packet.put_data(stream, piece) else { return false };
            self.credit.used += length;
            self.schedule.update(stream, &self.credit);
            if stream.queued.fresh && !std::mem::replace(&mut counted, true) {
                self.schedule.count_turn();
            }
        }
        true
    }
}

impl Packet<'_, '_> {
    /// Writes a frame that is not data, if there is room.
    fn put(&mut self, frame: &Frame<'_>, sent: SentStreamFrame) -> bool {
        let fits = self.frames < MAX_FRAMES && self.out.put(frame);
        if fits {
            self.frames += 1;
            (self.sent)(sent);
        }
        fits
    }

    /// Writes what a stream has to say but for data; says whether there was room for all.
    fn put_control(&mut self, stream: &mut Stream, window: u64) -> bool {
        let id = stream.id;
        if let Some(frame) = stream.send.reset_frame(id) {
            if !self.put(&frame, SentStreamFrame::Reset { stream: id }) {
                return false;
            }
            stream.send.on_reset_sent();
        }
        if let Some(frame) = stream.receive.stop_frame(id) {
            if !self.put(&frame, SentStreamFrame::Stop { stream: id }) {
                return false;
            }
            stream.receive.on_stop_sent();
        }
        if let Some(frame @ Frame::StreamWindow { limit, .. }) = stream.receive.window_frame(id, window) {
            if !self.put(&frame, SentStreamFrame::StreamWindow { stream: id }) {
                return false;
            }
            stream.receive.on_window_sent(limit);
        }
        true
    }

    /// Writes as much of `range` as there is room for; says how much, or `None` without room.
    fn put_data(&mut self, stream: &mut Stream, range: Range<u64>) -> Option<u64> {
        let (length, stated) = self.fit(stream.id, &range)?;
        let (offset, end) = (range.start, range.start + u64::from(length));
        let fin = stream.send.ends_at(end);
        self.out.put_data_head(stream.id, offset, fin, stated);
        stream.send.parts(offset..end).for_each(|part| self.out.data(part));
        stream.send.on_sent(offset..end);
        self.frames += 1;
        (self.sent)(SentStreamFrame::Data { stream: stream.id, offset, length, fin });
        Some(u64::from(length))
    }

    /// How many bytes of `range` go into a frame, and the length it states: none if it ends the packet exactly, since
    /// something may follow otherwise.
    fn fit(&self, stream: StreamId, range: &Range<u64>) -> Option<(u32, Option<usize>)> {
        let left = usize::try_from(range.end - range.start).expect("what is in memory fits in it");
        let space = self.out.room().checked_sub(1 + varint_length(stream.0) + varint_length(range.start))?;
        let (length, stated) = if left >= space {
            (space, None)
        } else {
            let length = left.min(space.checked_sub(varint_length(left as u64))?);
            (length, Some(length))
        };
        let is_sliver = length < left && (length == 0 || self.frames > 0 && length < MIN_PIECE);
        let length = u32::try_from(length).ok().filter(|_| !is_sliver && self.frames < MAX_FRAMES)?;
        Some((length, stated))
    }
}
