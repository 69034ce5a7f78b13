//! Plans: what the two sides of a connection are to say to each other.

use std::time::Duration;

use common::mrt::Side;

/// Everything that is to be said over one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Streams that the initiator opens, and those that the responder does, each in the order of time.
    pub streams: [Vec<StreamPlan>; 2],
    /// How it ends.
    pub close: Close,
    /// What the initiator knows of the responder beforehand.
    pub known: Known,
}

/// One stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamPlan {
    /// When it is opened, counted from the connection's beginning.
    pub after: Duration,
    /// From who opened it.
    pub there: Half,
    /// To who opened it; begins as soon as the other side knows of the stream.
    pub back: Half,
}

/// One direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Half {
    /// Bytes.
    pub size: u64,
    /// How it ends.
    pub end: End,
    /// How it is written.
    pub write: Pace,
    /// How it is read.
    pub read: Pace,
}

/// How one direction of a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// All of it arrives.
    Finish,
    /// The writer gives up after so many bytes.
    Reset(u64),
    /// The reader does not want more than so many.
    Stop(u64),
}

/// How fast a program reads or writes: a piece, and then a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Bytes, at least one.
    pub piece: u64,
    /// How long nothing happens then.
    pub pause: Duration,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// This side closes it when all has been said.
    WhenDone(Side),
    /// This side closes it at this time after its beginning, whatever is still under way.
    After(Duration, Side),
    /// Not at all.
    Never,
}

/// What the initiator knows of the responder beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Its address.
    Address,
    /// Who it is.
    Peer,
    /// Its X25519 key as well.
    Key,
}

impl Pace {
    /// As fast as it goes.
    pub const FULL: Self = Self { piece: u64::MAX, pause: Duration::ZERO };
}

impl Half {
    /// So many bytes at once, and the end.
    pub const fn new(size: u64) -> Self {
        Self { size, end: End::Finish, write: Pace::FULL, read: Pace::FULL }
    }

    /// More than any test waits for.
    pub const fn endless() -> Self {
        Self::new(1 << 50)
    }

    /// How many bytes are written at most.
    pub(super) fn most_written(&self) -> u64 {
        match self.end {
            End::Reset(after) => self.size.min(after),
            End::Finish | End::Stop(_) => self.size,
        }
    }
}

impl Plan {
    /// The initiator sends `half` and waits for its end; then it closes.
    pub fn upload(half: Half) -> Self {
        Self::of(StreamPlan { after: Duration::ZERO, there: half, back: Half::new(0) })
    }

    /// The responder sends `half` when it is asked to; then the initiator closes.
    pub fn download(half: Half) -> Self {
        Self::of(StreamPlan { after: Duration::ZERO, there: Half::new(1), back: half })
    }

    fn of(stream: StreamPlan) -> Self {
        Self { streams: [vec![stream], Vec::new()], close: Close::WhenDone(Side::Initiator), known: Known::Peer }
    }

    /// Bytes of all streams, as far as they are written.
    pub fn bytes(&self) -> u64 {
        let halves = self.streams.iter().flatten().flat_map(|stream| [stream.there, stream.back]);
        halves.map(|half| half.most_written()).fold(0, u64::saturating_add)
    }
}
