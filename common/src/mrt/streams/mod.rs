//! Ordered bytes, many streams, flow control.
//!
//! What is written waits in blocks until it is acknowledged; what arrives waits in blocks until it is read. Blocks are
//! recycled. Neither side holds more than its limit: the send buffer's, and the receive window that was promised.

use std::time::{Duration, Instant};

use super::Side;
use super::config::Config;
use super::frame::{CloseCode, FrameWriter};
use super::handshake::Params;

/// A stream: twice a number that counts from 0, plus who opened it: 0 the initiator, 1 the responder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Bytes that all receive windows of a process may promise together. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {}

/// Receive window of a connection at its beginning, in bytes.
pub(super) const INITIAL_TOTAL: u64 = 1 << 20;

/// Of that, what one stream may have.
pub(super) const INITIAL_EACH: u64 = 1 << 20;

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
    /// Writing to this one took less than was given, and would now take something, or fail.
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

/// All streams of a connection.
#[derive(Debug)]
pub(super) struct Streams {}

impl Streams {
    pub(super) fn new(side: Side, config: &Config, budget: Budget, peer: &Params) -> Self {
        unimplemented!("{side:?} {config:?} {budget:?} {peer:?}")
    }
    // For the program.
    pub(super) fn open(&mut self) -> Option<StreamId> {
        unimplemented!()
    }
    pub(super) fn accept(&mut self) -> Option<StreamId> {
        unimplemented!()
    }
    pub(super) fn write(&mut self, id: StreamId, data: &[u8]) -> Result<usize, WriteError> {
        unimplemented!("{id:?} {data:?}")
    }
    pub(super) fn finish(&mut self, id: StreamId) -> Result<(), WriteError> {
        unimplemented!("{id:?}")
    }
    pub(super) fn reset(&mut self, id: StreamId, code: u64) {
        unimplemented!("{id:?} {code}")
    }
    pub(super) fn read(&mut self, id: StreamId, out: &mut [u8]) -> Result<Read, ReadError> {
        unimplemented!("{id:?} {out:?}")
    }
    pub(super) fn stop(&mut self, id: StreamId, code: u64) {
        unimplemented!("{id:?} {code}")
    }
    pub(super) fn poll_event(&mut self) -> Option<StreamEvent> {
        unimplemented!()
    }
    // For the connection: frames that came.
    pub(super) fn on_data(&mut self, id: StreamId, offset: u64, data: &[u8], fin: bool) -> Result<(), Violation> {
        unimplemented!("{id:?} {offset} {data:?} {fin}")
    }
    pub(super) fn on_reset(&mut self, id: StreamId, code: u64, size: u64) -> Result<(), Violation> {
        unimplemented!("{id:?} {code} {size}")
    }
    pub(super) fn on_stop(&mut self, id: StreamId, code: u64) -> Result<(), Violation> {
        unimplemented!("{id:?} {code}")
    }
    pub(super) fn on_window(&mut self, total: u64, each: u64) {
        unimplemented!("{total} {each}")
    }
    pub(super) fn on_stream_window(&mut self, id: StreamId, limit: u64) -> Result<(), Violation> {
        unimplemented!("{id:?} {limit}")
    }
    pub(super) fn on_max_streams(&mut self, count: u64) {
        unimplemented!("{count}")
    }
    // For the connection: frames to send.
    /// Whether [`Self::write_frames`] would write anything.
    pub(super) fn has_frames(&self) -> bool {
        unimplemented!()
    }
    /// Writes frames until the packet is full or there is nothing to say, and tells `sent` of each.
    pub(super) fn write_frames(&mut self, out: &mut FrameWriter<'_>, sent: &mut dyn FnMut(SentStreamFrame)) {
        let _ = (out, sent);
        unimplemented!()
    }
    pub(super) fn on_acked(&mut self, frame: &SentStreamFrame) {
        unimplemented!("{frame:?}")
    }
    pub(super) fn on_lost(&mut self, frame: &SentStreamFrame) {
        unimplemented!("{frame:?}")
    }
    /// Makes the oldest unacknowledged data (or the end of a stream) due again, for a probe; says whether there is any.
    pub(super) fn probe(&mut self) -> bool {
        unimplemented!()
    }
    /// How many bytes may be written and not acknowledged.
    pub(super) fn set_send_limit(&mut self, bytes: u64) {
        unimplemented!("{bytes}")
    }
    /// Lets the receive windows grow or shrink with what came within round trips; called after each batch of packets.
    pub(super) fn tune_windows(&mut self, now: Instant, round_trip: Duration) {
        unimplemented!("{now:?} {round_trip:?}")
    }
}

impl Budget {
    /// So many bytes in all.
    pub fn new(bytes: u64) -> Self {
        unimplemented!("{bytes}")
    }
}
