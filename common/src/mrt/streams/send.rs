//! One direction of a stream, as its sender has it.
//!
//! ```text
//! Open --finish--> Ending --all acknowledged--> Ended
//!   \                /
//!    reset, or the other side stops it --> Resetting --acknowledged--> Gone
//! ```

use std::ops::Range;

use bytes::Bytes;

use super::blocks::Blocks;
use super::written::Written;
use super::{StreamId, WriteError};
use crate::mrt::frame::{Frame, MAX_VARINT};
use crate::mrt::ranges::Ranges;

/// Most bytes that a probe sends again: what every path carries.
const PROBE: u64 = 1000;

/// What was written and is not yet acknowledged. Offsets: `base` <= `next` <= `end`.
#[derive(Debug)]
pub(super) struct SendHalf {
    data: Written,
    /// Everything before it is acknowledged.
    base: u64,
    /// Everything from here on was never sent.
    next: u64,
    /// Everything before it was written.
    end: u64,
    /// What is acknowledged beyond `base`.
    acked: Ranges,
    /// How many those are.
    acked_bytes: u64,
    /// What has to be sent again.
    lost: Ranges,
    /// Highest offset that the other side allowed this stream by WINS.
    limit: u64,
    phase: Phase,
    stopped: Option<Stopped>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Ending(Delivery),
    Ended,
    Resetting { code: u64, delivery: Delivery },
    Gone,
}

/// The other side does not want it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stopped {
    code: u64,
    /// The program knows, or would not ask any more.
    told: bool,
}

/// How far something that must arrive has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Due,
    Sent,
    Acked,
}

/// Bytes that are written and not done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Kept {
    /// From the first that is not acknowledged to the last.
    pub(super) held: u64,
    /// Of those, not acknowledged.
    pub(super) waiting: u64,
}

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acked {
    /// What need not be kept or waited for any more.
    pub(super) freed: Kept,
    /// With this one, all is acknowledged.
    pub(super) finished: bool,
}

impl SendHalf {
    pub(super) fn new() -> Self {
        Self {
            data: Written::default(),
            base: 0,
            next: 0,
            end: 0,
            acked: Ranges::new(),
            acked_bytes: 0,
            lost: Ranges::new(),
            limit: 0,
            phase: Phase::Open,
            stopped: None,
        }
    }

    /// Whether something may be written, to tell the program.
    pub(super) fn check_writable(&mut self) -> Result<(), WriteError> {
        match (&mut self.stopped, self.phase) {
            (Some(stopped), _) => {
                stopped.told = true;
                Err(WriteError::Stopped(stopped.code))
            }
            (None, Phase::Open) => Ok(()),
            (None, _) => Err(WriteError::Closed),
        }
    }

    /// Bytes that are kept.
    pub(super) const fn held(&self) -> u64 {
        self.end - self.base
    }

    /// Whether the end was declared and is not yet delivered.
    pub(super) const fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending(_))
    }

    /// Whether the end was declared, one way or the other, and delivered, and the program knows if it was not its own.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended | Phase::Gone) && !matches!(self.stopped, Some(Stopped { told: false, .. }))
    }

    /// Takes `data` behind what was written.
    pub(super) fn write(&mut self, blocks: &mut Blocks, data: &[u8]) {
        self.end += data.len() as u64;
        self.data.put(blocks, data);
    }

    /// Takes `chunk` behind what was written.
    pub(super) fn give(&mut self, blocks: &mut Blocks, chunk: Bytes) {
        self.end += chunk.len() as u64;
        self.data.give(blocks, chunk);
    }

    /// Nothing more will be written.
    pub(super) fn finish(&mut self) {
        self.phase = Phase::Ending(Delivery::Due);
    }

    /// The program gives up, and wants to know nothing more; says what need not be kept any more.
    pub(super) fn give_up(&mut self, blocks: &mut Blocks, code: u64) -> Kept {
        if let Some(stopped) = &mut self.stopped {
            stopped.told = true;
        }
        self.reset(blocks, code)
    }

    /// Ends early; says what need not be kept any more.
    pub(super) fn reset(&mut self, blocks: &mut Blocks, code: u64) -> Kept {
        if !self.is_delivering() {
            return Kept::default();
        }
        let freed = Kept { held: self.held(), waiting: self.held() - self.acked_bytes };
        self.data.clear(blocks);
        (self.acked, self.acked_bytes, self.lost) = (Ranges::new(), 0, Ranges::new());
        (self.base, self.end) = (self.next, self.next);
        self.phase = Phase::Resetting { code, delivery: Delivery::Due };
        freed
    }

    /// The other side does not want it; says whether that makes a difference, and the stream has to be reset.
    pub(super) fn on_stop(&mut self, code: u64) -> bool {
        let news = self.is_delivering();
        if news {
            // Who has declared the end asks nothing more.
            self.stopped = Some(Stopped { code, told: self.is_ending() });
        }
        news
    }

    /// The other side allows more.
    pub(super) fn on_limit(&mut self, limit: u64) {
        self.limit = self.limit.max(limit);
    }

    /// Whether there is something that needs no new credit: lost data, or the end alone.
    pub(super) fn has_resend(&self) -> bool {
        self.is_delivering()
            && (!self.lost.is_empty() || self.phase == Phase::Ending(Delivery::Due) && self.next == self.end)
    }

    /// Whether there is data that was never sent and that the limit of the stream allows.
    pub(super) fn has_new(&self, each: u64) -> bool {
        self.next < self.end.min(self.ceiling(each))
    }

    /// What to send again next: bytes, or just the end.
    pub(super) fn resend(&self) -> Range<u64> {
        self.lost.first().unwrap_or(self.end..self.end)
    }

    /// What to send for the first time.
    pub(super) fn fresh(&self, each: u64, credit: u64) -> Range<u64> {
        let end = self.end.min(self.ceiling(each)).min(self.next.saturating_add(credit));
        self.next..end.max(self.next)
    }

    /// Whether a frame that ends at `offset` should say that the stream ends there.
    pub(super) fn ends_at(&self, offset: u64) -> bool {
        self.phase == Phase::Ending(Delivery::Due) && offset == self.end
    }

    /// The bytes to send.
    pub(super) fn parts(&self, range: Range<u64>) -> impl Iterator<Item = &[u8]> {
        self.data.parts(range)
    }

    /// This was sent, with the end of the stream if it [`Self::ends_at`] that.
    pub(super) fn on_sent(&mut self, range: Range<u64>) {
        if self.ends_at(range.end) {
            self.phase = Phase::Ending(Delivery::Sent);
        }
        self.next = self.next.max(range.end);
        self.lost.remove(range);
    }

    /// A frame with these bytes was acknowledged.
    pub(super) fn on_acked(&mut self, blocks: &mut Blocks, range: Range<u64>, fin: bool) -> Acked {
        if !self.is_delivering() {
            return Acked { freed: Kept::default(), finished: false };
        }
        let before = self.base;
        let mut waiting = 0;
        if range.end > self.base {
            self.lost.remove(range.clone());
            waiting = self.advance(range);
        }
        if self.base == self.end {
            self.data.restart(blocks);
        } else {
            self.data.free_before(blocks, self.base);
        }
        if let (Phase::Ending(delivery), true) = (&mut self.phase, fin) {
            *delivery = Delivery::Acked;
        }
        let finished = self.base == self.end && self.phase == Phase::Ending(Delivery::Acked);
        if finished {
            self.phase = Phase::Ended;
        }
        Acked { freed: Kept { held: self.base - before, waiting }, finished }
    }

    /// A frame with these bytes is held for lost.
    pub(super) fn on_lost(&mut self, range: Range<u64>, fin: bool) {
        if !self.is_delivering() {
            return;
        }
        let range = range.start.max(self.base)..range.end;
        self.lost.insert(range.clone());
        // Sent twice because the first was held for lost too early: what came then need not be sent a third time.
        for acked in self.acked.overlapping(&range) {
            self.lost.remove(acked);
        }
        if let (Phase::Ending(delivery @ Delivery::Sent), true) = (&mut self.phase, fin) {
            *delivery = Delivery::Due;
        }
    }

    /// Makes what is not acknowledged for longest due again; says whether there is any.
    pub(super) fn probe(&mut self) -> bool {
        if self.has_resend() {
            return true;
        }
        match &mut self.phase {
            Phase::Open | Phase::Ending(_) if self.base < self.next => {
                let hole = self.acked.first().map_or(self.next, |acked| acked.start);
                self.lost.insert(self.base..hole.min(self.base + PROBE));
            }
            Phase::Resetting { delivery, .. } | Phase::Ending(delivery @ Delivery::Sent) => *delivery = Delivery::Due,
            Phase::Open | Phase::Ending(_) | Phase::Ended | Phase::Gone => return false,
        }
        true
    }

    /// The RSET to send, if it is due.
    pub(super) fn reset_frame(&self, stream: StreamId) -> Option<Frame<'static>> {
        match self.phase {
            Phase::Resetting { code, delivery: Delivery::Due } => Some(Frame::Reset { stream, code, size: self.next }),
            _ => None,
        }
    }

    pub(super) fn on_reset_sent(&mut self) {
        self.set_reset(Delivery::Sent);
    }

    pub(super) fn on_reset_lost(&mut self) {
        self.set_reset(Delivery::Due);
    }

    pub(super) fn on_reset_acked(&mut self) {
        if let Phase::Resetting { .. } = self.phase {
            self.phase = Phase::Gone;
        }
    }

    /// Frees all for good.
    pub(super) fn clear(&mut self, blocks: &mut Blocks) {
        self.data.clear(blocks);
    }

    fn set_reset(&mut self, to: Delivery) {
        if let Phase::Resetting { delivery, .. } = &mut self.phase {
            *delivery = to;
        }
    }

    /// Whether the data still matters.
    const fn is_delivering(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Ending(_))
    }

    fn ceiling(&self, each: u64) -> u64 {
        self.limit.max(each).min(MAX_VARINT)
    }

    /// `range` is acknowledged, and ends beyond `base`.
    /// Notes that `range`, which ends behind the base, came; says how many bytes of it are news.
    fn advance(&mut self, range: Range<u64>) -> u64 {
        let news = self.acked.insert(range.start.max(self.base)..range.end);
        self.acked_bytes += news;
        while let Some(first) = self.acked.first().filter(|first| first.start <= self.base) {
            self.acked_bytes -= first.end - self.base;
            self.base = first.end;
            self.acked.pop_first();
        }
        news
    }
}

#[cfg(test)]
impl SendHalf {
    pub(super) fn memory(&self) -> usize {
        self.data.memory()
    }
}
