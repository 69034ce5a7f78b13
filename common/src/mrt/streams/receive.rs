//! One direction of a stream, as its receiver has it.
//!
//! ```text
//! Receiving --read to its end--> Ended
//!    |  \--reset by the sender--> Reset (over when the program was told)
//!    \--stopped--> Stopped (over as soon as the final size is known)
//! ```

use std::ops::Range;

use super::blocks::{BlockQueue, Blocks};
use super::{Read, ReadError, StreamId, Violation};
use crate::mrt::frame::{CloseCode, Frame, MAX_VARINT};
use crate::mrt::ranges::Ranges;

/// What came and is not yet read. Offsets: `read` <= `contiguous` <= `highest`.
#[derive(Debug)]
pub(super) struct ReceiveHalf {
    data: BlockQueue,
    /// Everything before it was read.
    read: u64,
    /// Everything before it came.
    contiguous: u64,
    /// Nothing beyond it came.
    highest: u64,
    /// What came beyond `contiguous`.
    beyond: Ranges,
    /// Where the stream ends, if that is known.
    size: Option<u64>,
    /// Highest offset that was promised to this stream alone.
    promised: u64,
    /// A WINS is due.
    window_due: bool,
    phase: Phase,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Receiving,
    Reset { code: u64, told: bool },
    Stopped { code: u64, due: bool },
    Ended,
}

/// What data did: by how much it raised the sums over all streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Arrival {
    /// The highest offset.
    pub(super) highest: u64,
    /// What can be read, or need not be.
    pub(super) ready: u64,
    /// What is done with, since nobody will read it.
    pub(super) consumed: u64,
}

const fn violation(reason: &'static str) -> Violation {
    Violation { code: CloseCode::FLOW, reason }
}

impl ReceiveHalf {
    pub(super) fn new() -> Self {
        Self {
            data: BlockQueue::default(),
            read: 0,
            contiguous: 0,
            highest: 0,
            beyond: Ranges::new(),
            size: None,
            promised: 0,
            window_due: false,
            phase: Phase::Receiving,
        }
    }

    /// Pieces that came behind gaps.
    pub(super) fn pieces(&self) -> usize {
        self.beyond.count()
    }

    /// Whether nothing of it matters any more.
    pub(super) const fn is_over(&self) -> bool {
        match self.phase {
            Phase::Ended => true,
            Phase::Stopped { .. } => self.size.is_some(),
            Phase::Reset { told, .. } => told,
            Phase::Receiving => false,
        }
    }

    /// Whether [`Self::read`] would give something else than [`Read::Blocked`].
    pub(super) fn is_readable(&self) -> bool {
        match self.phase {
            Phase::Receiving => self.read < self.contiguous || self.size == Some(self.read),
            Phase::Reset { .. } | Phase::Stopped { .. } | Phase::Ended => true,
        }
    }

    /// Checks a frame that ends at `end`, where this stream may go to `each` and all together by `credit` beyond what came;
    /// says by how much the highest offset grows.
    pub(super) fn check(&self, end: u64, fin: bool, each: u64, credit: u64) -> Result<u64, Violation> {
        if self.size.is_some_and(|size| end > size || fin && end != size) || fin && end < self.highest {
            return Err(violation("data beyond the end of its stream, or another end"));
        }
        let growth = end.saturating_sub(self.highest);
        if growth > 0 && end > self.promised.max(each) {
            return Err(violation("more data than its stream was allowed"));
        }
        if growth > credit {
            return Err(violation("more data than all streams were allowed"));
        }
        Ok(growth)
    }

    /// Bytes came that were checked; `growth` is what [`Self::check`] gave.
    pub(super) fn on_data(&mut self, blocks: &mut Blocks, offset: u64, data: &[u8], fin: bool, growth: u64) -> Arrival {
        let end = offset + data.len() as u64;
        self.highest += growth;
        if fin {
            self.size = Some(end);
        }
        if self.phase != Phase::Receiving {
            return self.discard(blocks, growth);
        }
        let before = self.contiguous;
        if end > self.contiguous {
            let known = self.contiguous.saturating_sub(offset);
            let new = usize::try_from(known).ok().and_then(|known| data.get(known..)).unwrap_or_default();
            let start = offset + known;
            self.data.put(blocks, start, new);
            self.advance(start, end);
        }
        Arrival { highest: growth, ready: self.contiguous - before, consumed: 0 }
    }

    /// The sender gave up at `size`, which was checked as an end; `growth` is what [`Self::check`] gave.
    pub(super) fn on_reset(&mut self, blocks: &mut Blocks, code: u64, size: u64, growth: u64) -> Arrival {
        self.highest += growth;
        let complete = self.size == Some(self.contiguous);
        self.size = Some(size);
        match self.phase {
            // All of it is here already: as good as an ordinary end.
            Phase::Receiving if complete => Arrival::default(),
            Phase::Receiving => {
                self.phase = Phase::Reset { code, told: false };
                self.discard(blocks, growth)
            }
            Phase::Reset { .. } | Phase::Stopped { .. } | Phase::Ended => self.discard(blocks, growth),
        }
    }

    /// Copies what can be read to `out`.
    pub(super) fn read(&mut self, blocks: &mut Blocks, mut out: &mut [u8]) -> Result<Read, ReadError> {
        let end = self.read.saturating_add(out.len() as u64);
        let range = match self.begin_to_read()? {
            Ok(range) => range.start..range.end.min(end),
            Err(nothing) => return Ok(nothing),
        };
        if range.is_empty() {
            return Ok(Read::Blocked);
        }
        let mut count = 0;
        for part in self.data.parts(range) {
            let (place, rest) = out.split_at_mut(part.len());
            place.copy_from_slice(part);
            (out, count) = (rest, count + part.len());
        }
        self.on_read(blocks, count);
        Ok(Read::Bytes(count))
    }

    /// Gives what can be read next in `into`, where possible without copying it: see [`BlockQueue::take`].
    pub(super) fn take(&mut self, blocks: &mut Blocks, into: &mut Vec<u8>) -> Result<Read, ReadError> {
        let range = match self.begin_to_read()? {
            Ok(range) => range,
            Err(nothing) => return Ok(nothing),
        };
        let count = self.data.take(blocks, range, into);
        self.on_read(blocks, count);
        Ok(Read::Bytes(count))
    }

    /// What can be read, at least a byte; or why there is nothing.
    fn begin_to_read(&mut self) -> Result<Result<Range<u64>, Read>, ReadError> {
        match &mut self.phase {
            Phase::Receiving | Phase::Ended => {}
            Phase::Reset { code, told } => {
                *told = true;
                return Err(ReadError::Reset(*code));
            }
            Phase::Stopped { .. } => return Err(ReadError::Closed),
        }
        if self.size == Some(self.read) {
            self.phase = Phase::Ended;
            return Ok(Err(Read::End));
        }
        Ok(if self.read == self.contiguous { Err(Read::Blocked) } else { Ok(self.read..self.contiguous) })
    }

    /// So many bytes more were read.
    fn on_read(&mut self, blocks: &mut Blocks, count: usize) {
        self.read += count as u64;
        if self.read == self.contiguous && self.beyond.is_empty() {
            self.data.restart(blocks, self.read);
        } else {
            self.data.free_before(blocks, self.read);
        }
    }

    /// Nobody will read the rest.
    pub(super) fn stop(&mut self, blocks: &mut Blocks, code: u64) -> Arrival {
        match &mut self.phase {
            Phase::Receiving => {
                self.phase = Phase::Stopped { code, due: self.size.is_none() };
                return self.discard(blocks, 0);
            }
            Phase::Reset { told, .. } => *told = true,
            Phase::Stopped { .. } | Phase::Ended => {}
        }
        Arrival::default()
    }

    /// Promises more once a quarter of `window` was read since the last promise, where `each` was promised to every
    /// stream.
    pub(super) fn renew(&mut self, window: u64, each: u64) {
        /// A promise is renewed when so much of the window is free.
        const PART: u64 = 4;
        if self.wants_more() && (self.read + window).saturating_sub(self.promised.max(each)) >= window / PART {
            self.window_due = true;
        }
    }

    /// Whether a frame about it is due.
    pub(super) fn has_frames(&self) -> bool {
        self.window_due && self.wants_more() || self.stop_is_due()
    }

    /// The STOP to send, if it is due.
    pub(super) fn stop_frame(&self, stream: StreamId) -> Option<Frame<'static>> {
        match self.phase {
            Phase::Stopped { code, due: true } if self.size.is_none() => Some(Frame::Stop { stream, code }),
            _ => None,
        }
    }

    pub(super) fn on_stop_sent(&mut self) {
        self.set_stop_due(false);
    }

    pub(super) fn on_stop_lost(&mut self) {
        self.set_stop_due(true);
    }

    /// The WINS to send, if it is due: the window beyond what was read.
    pub(super) fn window_frame(&self, stream: StreamId, window: u64) -> Option<Frame<'static>> {
        let limit = self.promised.max((self.read + window).min(MAX_VARINT));
        (self.window_due && self.wants_more()).then_some(Frame::StreamWindow { stream, limit })
    }

    /// It was sent: the promise holds.
    pub(super) fn on_window_sent(&mut self, limit: u64) {
        self.promised = limit;
        self.window_due = false;
    }

    pub(super) fn on_window_lost(&mut self) {
        self.window_due = true;
    }

    /// Frees all for good.
    pub(super) fn clear(&mut self, blocks: &mut Blocks) {
        self.data.clear(blocks);
    }

    /// Whether data may still come that the sender has not been allowed yet.
    fn wants_more(&self) -> bool {
        self.phase == Phase::Receiving && self.size.is_none()
    }

    fn stop_is_due(&self) -> bool {
        matches!(self.phase, Phase::Stopped { due: true, .. }) && self.size.is_none()
    }

    fn set_stop_due(&mut self, to: bool) {
        if let Phase::Stopped { due, .. } = &mut self.phase {
            *due = to;
        }
    }

    /// Nobody will read what came.
    fn discard(&mut self, blocks: &mut Blocks, highest: u64) -> Arrival {
        self.data.clear(blocks);
        self.beyond = Ranges::new();
        let (ready, consumed) = (self.highest - self.contiguous, self.highest - self.read);
        (self.contiguous, self.read) = (self.highest, self.highest);
        Arrival { highest, ready, consumed }
    }

    /// From `start` to `end` came, which is not before `contiguous`.
    fn advance(&mut self, start: u64, end: u64) {
        if start > self.contiguous {
            self.beyond.insert(start..end);
            return;
        }
        self.contiguous = end;
        while let Some(first) = self.beyond.first().filter(|first| first.start <= self.contiguous) {
            self.contiguous = self.contiguous.max(first.end);
            self.beyond.pop_first();
        }
    }
}

#[cfg(test)]
impl ReceiveHalf {
    pub(super) fn memory(&self) -> usize {
        self.data.memory()
    }
}
