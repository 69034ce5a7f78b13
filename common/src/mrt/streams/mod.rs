//! Ordered bytes, many streams, flow control.
//!
//! What is written waits in blocks until it is acknowledged; what arrives waits in blocks until it is read. Blocks are
//! recycled. Neither side holds more than its limit: the send buffer's, and the receive window that was promised.
//!
//! - `schedule`: who sends next, and the frames of a packet
//! - `table`: the streams by their ids; `send` and `receive`: the two directions of one
//! - `window`: how much the other side may send, and how that tunes itself; `budget`: what all windows share
//! - `events`: what the program is to be told
//! - `written`: where bytes wait for their acknowledgement; `blocks`: where they wait to be read

mod blocks;
mod budget;
mod events;
mod receive;
mod schedule;
mod send;
mod table;
#[cfg(test)]
mod tests;
mod window;
mod written;

use std::time::{Duration, Instant};

use bytes::Bytes;

use self::blocks::Blocks;
pub use self::budget::Budget;
use self::events::Events;
use self::receive::{Arrival, ReceiveHalf};
use self::schedule::{Schedule, SendCredit};
use self::send::{Kept, SendHalf};
use self::table::{RemoteLimit, Table};
use self::window::{MIN_WINDOW, ReceiveWindow};
use super::Side;
use super::config::Config;
use super::frame::{CloseCode, MAX_VARINT};
use super::handshake::Params;

/// Sum of all receive windows at the beginning, as the handshake promises it: what every connection has beyond the budget.
/// More is promised with the first packet, if the budget has it.
pub(super) const INITIAL_TOTAL: u64 = MIN_WINDOW;

/// Receive window of each stream at the beginning.
pub(super) const INITIAL_EACH: u64 = MIN_WINDOW;

/// A stream: twice a number that counts from 0, plus who opened it: 0 the initiator, 1 the responder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// What reading gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing is there yet.
    Blocked,
    /// The stream has ended, and all of it was read.
    End,
}

/// Why nothing can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The other side gave the stream up, with this number.
    #[error("the other side gave the stream up (code {0})")]
    Reset(u64),
    /// There is no such stream (any more).
    #[error("the stream is closed")]
    Closed,
}

/// Why nothing can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The other side does not want the rest, with this number.
    #[error("the other side does not want the rest (code {0})")]
    Stopped(u64),
    /// There is no such stream, or its end was declared already.
    #[error("the stream is closed")]
    Closed,
}

/// What happened to streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEvent {
    /// The other side opened a stream: see `accept`.
    Opened,
    /// Reading of this one was blocked and would now give something.
    Readable(StreamId),
    /// Writing to this one took less than was given, and would now take something, or fail. Also if the other side stops
    /// a stream whose end was declared: [`Self::Finished`] does not come then.
    Writable(StreamId),
    /// All that was written is acknowledged, its end too.
    Finished(StreamId),
    /// One more stream may be opened, where `open` gave none.
    MayOpen,
}

/// A frame of streams that was sent: what to send again if its packet is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SentStreamFrame {
    /// DATA.
    Data { stream: StreamId, offset: u64, length: u32, fin: bool },
    /// RSET.
    Reset { stream: StreamId },
    /// STOP.
    Stop { stream: StreamId },
    /// WIND. The newest values are sent again, not the lost ones.
    Window,
    /// WINS.
    StreamWindow { stream: StreamId },
    /// MAXS.
    MaxStreams,
}

/// What the other side did that it must not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct Violation {
    pub(super) code: CloseCode,
    pub(super) reason: &'static str,
}

/// Every stream may have so much written and not acknowledged, even if the send buffer is full: one that is stuck does not
/// stop the others.
const ALWAYS_WRITABLE: u64 = 64 << 10;

/// A blocked writer is told when there is room for so much, or for a quarter of the buffer.
const WORTH_WAKING: u64 = 64 << 10;

/// Most pieces that wait behind gaps, over all streams. A window of 64 MiB in packets of 1,200 bytes has 8,000 gaps at a
/// loss of 15 %; the other side could make one for every second byte, each of which costs 16 bytes here.
const MAX_PIECES: usize = 16 << 10;

/// All streams of a connection.
#[derive(Debug)]
pub(super) struct Streams {
    side: Side,
    table: Table,
    blocks: Blocks,
    schedule: Schedule,
    window: ReceiveWindow,
    credit: SendCredit,
    buffer: SendBuffer,
    /// How many streams we may have opened.
    local_limit: u64,
    /// The program wanted to open one more.
    open_blocked: bool,
    remote_limit: RemoteLimit,
    /// Streams of the other side that the program took.
    accepted: u64,
    /// Pieces behind gaps.
    pieces: usize,
    events: Events,
}

/// Bytes that are written and not done with, over all streams.
#[derive(Debug)]
struct SendBuffer {
    kept: Kept,
    /// Most that may wait for acknowledgement: it follows what may be under way.
    limit: u64,
    /// Most that may be held. Where packets are lost, what came is held behind what did not.
    most: u64,
}

impl SendBuffer {
    /// How much a stream may write that holds `own` bytes.
    fn room(&self, own: u64) -> u64 {
        self.free().max(ALWAYS_WRITABLE.saturating_sub(own))
    }

    /// Whether a stream that was blocked and holds `own` bytes should be told.
    fn is_worth_waking(&self, own: u64) -> bool {
        self.free() >= WORTH_WAKING.min(self.limit / 4) && self.free() > 0 || own <= ALWAYS_WRITABLE / 2
    }

    const fn free(&self) -> u64 {
        let waiting = self.limit.saturating_sub(self.kept.waiting);
        let held = self.most.saturating_sub(self.kept.held);
        if waiting < held { waiting } else { held }
    }

    const fn add(&mut self, bytes: u64) {
        self.kept.held += bytes;
        self.kept.waiting += bytes;
    }

    const fn free_up(&mut self, freed: Kept) {
        self.kept.held -= freed.held;
        self.kept.waiting -= freed.waiting;
    }
}

/// What the program does.
impl Streams {
    /// No stream is open yet.
    pub(super) fn new(side: Side, config: &Config, budget: Budget, peer: &Params) -> Self {
        Self {
            side,
            table: Table::default(),
            blocks: Blocks::default(),
            schedule: Schedule::default(),
            window: ReceiveWindow::new(budget),
            credit: SendCredit { total: peer.window_total, used: 0, each: peer.window_each },
            buffer: SendBuffer { kept: Kept::default(), limit: config.max_send_buffer, most: config.max_send_buffer },
            local_limit: peer.max_streams,
            open_blocked: false,
            remote_limit: RemoteLimit::new(config.max_streams.min(MAX_VARINT / 2)),
            accepted: 0,
            pieces: 0,
            events: Events::default(),
        }
    }

    /// Opens a stream; `None` when the other side allows no more now.
    pub(super) fn open(&mut self) -> Option<StreamId> {
        self.open_blocked = self.table.opened(self.side) >= self.local_limit.min(MAX_VARINT / 2);
        (!self.open_blocked).then(|| self.table.open(self.side))
    }

    /// The next stream that the other side opened.
    pub(super) fn accept(&mut self) -> Option<StreamId> {
        let opener = self.side.other();
        let next = StreamId::new(opener, self.accepted);
        (self.accepted < self.table.opened(opener)).then(|| {
            self.accepted += 1;
            next
        })
    }

    /// Takes as much of `data` as there is room for; says how much.
    pub(super) fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        self.write_with(id, data.len(), |half, blocks, room| half.write(blocks, data.get(..room).unwrap_or(data)))
    }

    /// Takes as much from the front of `chunk` as there is room for, without copying it; says how much.
    pub(super) fn write_chunk(&mut self, id: StreamId, chunk: &mut Bytes) -> Result<usize, WriteError> {
        self.write_with(id, chunk.len(), |half, blocks, room| half.give(blocks, chunk.split_to(room)))
    }

    /// Lets `put` take what there is room for of `length` bytes.
    fn write_with(
        &mut self,
        id: StreamId,
        length: usize,
        put: impl FnOnce(&mut SendHalf, &mut Blocks, usize),
    ) -> Result<usize, WriteError> {
        let stream = self.table.get_mut(id).ok_or(WriteError::Closed)?;
        if let Err(error) = stream.send.check_writable() {
            self.close_if_over(id);
            return Err(error);
        }
        let room = usize::try_from(self.buffer.room(stream.send.held())).unwrap_or(usize::MAX);
        let taken = length.min(room);
        put(&mut stream.send, &mut self.blocks, taken);
        self.buffer.add(taken as u64);
        stream.writing.wanted = taken < length;
        self.schedule.update(stream, &self.credit);
        Ok(taken)
    }

    /// The stream ends behind what was written.
    pub(super) fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        let stream = self.table.get_mut(id).ok_or(WriteError::Closed)?;
        if let Err(error) = stream.send.check_writable() {
            self.close_if_over(id);
            return Err(error);
        }
        stream.send.finish();
        self.schedule.update(stream, &self.credit);
        Ok(())
    }

    /// Gives up sending on a stream.
    pub(super) fn reset(&mut self, id: StreamId, code: u64) {
        if let Some(stream) = self.table.get_mut(id) {
            let freed = stream.send.give_up(&mut self.blocks, code.min(MAX_VARINT));
            self.buffer.free_up(freed);
            self.schedule.update(stream, &self.credit);
            self.close_if_over(id);
        }
    }

    /// Reads into `out`.
    pub(super) fn read(&mut self, id: StreamId, out: &mut [u8]) -> Result<Read, ReadError> {
        self.read_with(id, |half, blocks| half.read(blocks, out))
    }

    /// Puts what can be read next into `into`, where possible without copying it.
    pub(super) fn read_chunk(&mut self, id: StreamId, into: &mut Vec<u8>) -> Result<Read, ReadError> {
        self.read_with(id, |half, blocks| half.take(blocks, into))
    }

    fn read_with(
        &mut self,
        id: StreamId,
        read: impl FnOnce(&mut ReceiveHalf, &mut Blocks) -> Result<Read, ReadError>,
    ) -> Result<Read, ReadError> {
        let stream = self.table.get_mut(id).ok_or(ReadError::Closed)?;
        let read = read(&mut stream.receive, &mut self.blocks);
        match read {
            Ok(Read::Bytes(count)) => {
                self.window.on_consumed(count as u64);
                stream.receive.renew(self.window.each(), self.window.promised_each());
                self.schedule.update(stream, &self.credit);
            }
            Ok(Read::Blocked) => stream.reading.wanted = !stream.receive.is_readable(),
            Ok(Read::End) | Err(_) => self.close_if_over(id),
        }
        read
    }

    /// Does not want the rest of a stream.
    pub(super) fn stop(&mut self, id: StreamId, code: u64) {
        let Some(stream) = self.table.get_mut(id) else { return };
        self.pieces -= stream.receive.pieces();
        let arrival = stream.receive.stop(&mut self.blocks, code.min(MAX_VARINT));
        self.pieces += stream.receive.pieces();
        self.schedule.update(stream, &self.credit);
        self.count_arrival(arrival);
        self.close_if_over(id);
    }

    /// What happened.
    pub(super) fn poll_event(&mut self) -> Option<StreamEvent> {
        self.events.pop(&mut self.table)
    }

    /// How many bytes may be written and not acknowledged.
    pub(super) fn set_send_limit(&mut self, bytes: u64) {
        let grown = bytes > std::mem::replace(&mut self.buffer.limit, bytes);
        if grown {
            for stream in self.table.iter_mut().filter(|stream| self.buffer.is_worth_waking(stream.send.held())) {
                self.events.writable(stream);
            }
        }
    }
}

/// Frames that came.
impl Streams {
    /// DATA.
    pub(super) fn on_data(&mut self, id: StreamId, offset: u64, data: &[u8], fin: bool) -> Result<(), Violation> {
        self.open_remote(id)?;
        let Some(stream) = self.table.get_mut(id) else { return Ok(()) };
        let (each, credit) = (self.window.promised_each(), self.window.credit());
        let growth = stream.receive.check(offset + data.len() as u64, fin, each, credit)?;
        self.pieces -= stream.receive.pieces();
        let arrival = stream.receive.on_data(&mut self.blocks, offset, data, fin, growth);
        self.pieces += stream.receive.pieces();
        if stream.receive.is_readable() {
            self.events.readable(stream);
        }
        if fin {
            // Now that its size is known, neither a WINS nor a STOP is of use.
            self.schedule.update(stream, &self.credit);
        }
        let is_over = stream.is_over();
        self.count_arrival(arrival);
        if is_over {
            self.close_if_over(id);
        }
        if self.pieces > MAX_PIECES {
            return Err(Violation { code: CloseCode::FLOW, reason: "more gaps than any honest sender makes" });
        }
        Ok(())
    }

    /// RSET.
    pub(super) fn on_reset(&mut self, id: StreamId, code: u64, size: u64) -> Result<(), Violation> {
        self.open_remote(id)?;
        let Some(stream) = self.table.get_mut(id) else { return Ok(()) };
        let growth = stream.receive.check(size, true, self.window.promised_each(), self.window.credit())?;
        self.pieces -= stream.receive.pieces();
        let arrival = stream.receive.on_reset(&mut self.blocks, code, size, growth);
        self.pieces += stream.receive.pieces();
        if stream.receive.is_readable() {
            self.events.readable(stream);
        }
        self.schedule.update(stream, &self.credit);
        self.count_arrival(arrival);
        self.close_if_over(id);
        Ok(())
    }

    /// STOP.
    pub(super) fn on_stop(&mut self, id: StreamId, code: u64) -> Result<(), Violation> {
        self.open_remote(id)?;
        let Some(stream) = self.table.get_mut(id) else { return Ok(()) };
        let waits_for_end = stream.send.is_ending();
        if stream.send.on_stop(code) {
            let freed = stream.send.reset(&mut self.blocks, code);
            self.buffer.free_up(freed);
            stream.writing.wanted |= waits_for_end;
            self.events.writable(stream);
            self.schedule.update(stream, &self.credit);
        }
        Ok(())
    }

    /// WIND.
    pub(super) fn on_window(&mut self, total: u64, each: u64) {
        self.credit.total = self.credit.total.max(total);
        if each > self.credit.each {
            self.credit.each = each;
            for stream in self.table.iter_mut() {
                self.schedule.update(stream, &self.credit);
            }
        }
    }

    /// WINS.
    pub(super) fn on_stream_window(&mut self, id: StreamId, limit: u64) -> Result<(), Violation> {
        self.open_remote(id)?;
        if let Some(stream) = self.table.get_mut(id) {
            stream.send.on_limit(limit);
            self.schedule.update(stream, &self.credit);
        }
        Ok(())
    }

    /// MAXS.
    pub(super) fn on_max_streams(&mut self, count: u64) {
        if count > self.local_limit {
            self.local_limit = count;
            if std::mem::take(&mut self.open_blocked) {
                self.events.may_open();
            }
        }
    }
}

/// What became of frames that were sent, and of time.
impl Streams {
    /// The packet with this frame came.
    pub(super) fn on_acked(&mut self, frame: &SentStreamFrame) {
        match *frame {
            SentStreamFrame::Data { stream: id, offset, length, fin } => {
                let Some(stream) = self.table.get_mut(id) else { return };
                let acked = stream.send.on_acked(&mut self.blocks, offset..offset + u64::from(length), fin);
                self.buffer.free_up(acked.freed);
                self.schedule.update(stream, &self.credit);
                if stream.writing.wanted && self.buffer.is_worth_waking(stream.send.held()) {
                    self.events.writable(stream);
                }
                if acked.finished {
                    self.events.finished(stream);
                    self.close_if_over(id);
                }
            }
            SentStreamFrame::Reset { stream: id } => {
                if let Some(stream) = self.table.get_mut(id) {
                    stream.send.on_reset_acked();
                    self.schedule.update(stream, &self.credit);
                    self.close_if_over(id);
                }
            }
            SentStreamFrame::Stop { .. }
            | SentStreamFrame::Window
            | SentStreamFrame::StreamWindow { .. }
            | SentStreamFrame::MaxStreams => {}
        }
    }

    /// The packet with this frame is held for lost.
    pub(super) fn on_lost(&mut self, frame: &SentStreamFrame) {
        let (SentStreamFrame::Data { stream: id, .. }
        | SentStreamFrame::Reset { stream: id }
        | SentStreamFrame::Stop { stream: id }
        | SentStreamFrame::StreamWindow { stream: id }) = *frame
        else {
            return match frame {
                SentStreamFrame::MaxStreams => self.remote_limit.on_lost(),
                _ => self.window.on_lost(),
            };
        };
        let Some(stream) = self.table.get_mut(id) else { return };
        match *frame {
            SentStreamFrame::Data { offset, length, fin, .. } => {
                stream.send.on_lost(offset..offset + u64::from(length), fin);
            }
            SentStreamFrame::Reset { .. } => stream.send.on_reset_lost(),
            SentStreamFrame::Stop { .. } => stream.receive.on_stop_lost(),
            SentStreamFrame::StreamWindow { .. } => stream.receive.on_window_lost(),
            SentStreamFrame::Window | SentStreamFrame::MaxStreams => {}
        }
        self.schedule.update(stream, &self.credit);
    }

    /// Makes the oldest unacknowledged data (or the end of a stream) due again, for a probe; says whether there is any.
    pub(super) fn probe(&mut self) -> bool {
        if self.schedule.has_resend() {
            return true;
        }
        let Some(stream) = self.table.iter_mut().find_map(|stream| stream.send.probe().then_some(stream)) else {
            return false;
        };
        self.schedule.update(stream, &self.credit);
        true
    }

    /// Lets the receive windows grow or shrink with what came within round trips; called after each batch of packets.
    pub(super) fn tune_windows(&mut self, now: Instant, round_trip: Duration) {
        let tuned = self.window.tune(now, round_trip);
        if tuned.turned {
            self.blocks.trim();
        }
        if tuned.grown {
            for stream in self.table.iter_mut() {
                stream.receive.renew(self.window.each(), self.window.promised_each());
                self.schedule.update(stream, &self.credit);
            }
        }
    }

    /// Opens what the other side opens by naming `id`, if it may.
    fn open_remote(&mut self, id: StreamId) -> Result<(), Violation> {
        let (opener, sequence) = (id.opener(), id.sequence());
        if sequence < self.table.opened(opener) {
            return Ok(());
        }
        if opener == self.side {
            return Err(Violation { code: CloseCode::STREAM, reason: "a frame for a stream that was never opened" });
        }
        if sequence >= self.remote_limit.promised() {
            return Err(Violation { code: CloseCode::STREAM, reason: "more streams than were allowed" });
        }
        while self.table.opened(opener) <= sequence {
            self.table.open(opener);
        }
        self.remote_limit.on_opened(self.table.opened(opener));
        self.events.opened();
        Ok(())
    }

    /// Counts what came.
    fn count_arrival(&mut self, arrival: Arrival) {
        self.window.on_received(arrival.highest);
        self.window.on_ready(arrival.ready);
        if arrival.consumed > 0 {
            self.window.on_consumed(arrival.consumed);
        }
    }

    /// Forgets a stream of which nothing matters any more.
    fn close_if_over(&mut self, id: StreamId) {
        if !self.table.get_mut(id).is_some_and(|stream| stream.is_over()) {
            return;
        }
        let Some(mut stream) = self.table.remove(id) else { return };
        self.schedule.remove(&stream);
        stream.send.clear(&mut self.blocks);
        stream.receive.clear(&mut self.blocks);
        if id.opener() != self.side {
            self.remote_limit.on_closed();
        }
    }
}
