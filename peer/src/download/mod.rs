//! Downloads: the pure [`picker`] decides which chunk to ask of whom; the tasks around it do.
//!
//! - `job`: one download from plan to final name
//! - `goal`: what a download brings
//! - `contacts`: the peers of one download: known, dialled, linked, banned
//! - `layer`: how the chunk hashes come
//! - `picker`: which chunk of whom
//! - `reuse`: chunks that lie here already
//! - `verify`: from the bytes of a piece to a verified chunk on disk
//! - `tally`: speed and shares, for people

mod contacts;
mod goal;
mod job;
mod layer;
mod picker;
mod reuse;
mod tally;
mod verify;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::audience::Audience;
use common::id::{Hash, PeerId};
use common::wire::peer::Reason;
use common::wire::tracker::{Holder, Plan};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) use self::goal::Goal;
pub(crate) use self::job::{Job, JobTools, meta_of};
pub(crate) use self::verify::Assembly;
use crate::link::{Link, LinkId};
use crate::storage::Partial;
use crate::swarm::Swarm;
use crate::tracker_client::TrackerError;

/// What happens to a job.
#[derive(Debug)]
pub(crate) enum JobEvent {
    /// Something came on one of its links.
    Link(LinkId, LinkEvent),
    /// A link that was dialled for it, or waited for.
    Connected(PeerId, io::Result<Arc<Link>>),
    /// A link ended.
    Closed(LinkId),
    /// Somebody came for chunks, and may have some.
    Newcomer(Arc<Link>),
    /// The tracker names a holder of its content, shared under this audience.
    Holder(Audience, Holder),
    /// An entry is for others now than it was.
    Reshared {
        /// `owner/name`.
        entry: String,
        /// For whom.
        audience: Audience,
    },
    /// The tracker's answer to the question for a plan.
    Planned(Result<Box<Plan>, TrackerError>),
    /// A chunk lay here already, is right, and is written.
    Found {
        /// Which.
        chunk: u32,
    },
    /// All places were looked at where chunks might lie.
    Looked,
    /// The file could not be written.
    Disk(io::Error),
}

/// What comes on a link for a job.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// The conversation is open.
    Opened {
        /// Whether the other has every chunk.
        complete: bool,
    },
    /// The conversation is refused, or has ended.
    Refused {
        /// Why.
        reason: Reason,
        /// A sentence.
        text: String,
    },
    /// It has these chunks.
    Have(Vec<u32>),
    /// It has these chunks, as a part of a bitmap from this chunk on.
    Map {
        /// The first chunk.
        first: u32,
        /// One bit a chunk.
        bits: Vec<u8>,
    },
    /// Chunk hashes.
    Hashes {
        /// From this chunk.
        first: u32,
        /// One a chunk.
        hashes: Vec<Hash>,
    },
    /// It does not have this chunk after all.
    Unavailable {
        /// Which.
        chunk: u32,
    },
    /// It suggests these.
    Suggest(Vec<u32>),
    /// A chunk came, is right, and is written.
    Verified {
        /// Which.
        chunk: u32,
        /// Whose link may have ended by now.
        from: Source,
    },
    /// A chunk came and is wrong.
    Bad {
        /// Which.
        chunk: u32,
        /// Whose link may have ended by now.
        from: Source,
    },
}

/// Who sent a chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    pub(crate) peer: PeerId,
    pub(crate) address: SocketAddr,
}

impl Source {
    /// The other end of a link.
    pub(crate) fn of(link: &Link) -> Self {
        Self { peer: link.peer(), address: link.address() }
    }
}

/// A conversation that was opened here, as its link sees it.
#[derive(Debug)]
pub(crate) struct Fetching {
    pub(crate) swarm: Arc<Swarm>,
    pub(crate) partial: Arc<Partial>,
    pub(crate) meter: Arc<Meter>,
    events: mpsc::Sender<JobEvent>,
    incoming: Mutex<Incoming>,
}

/// What may come in a conversation.
#[derive(Debug, Default)]
struct Incoming {
    /// Chunks of which pieces may come, and whether they are still wanted.
    asked: HashMap<u32, Wanted>,
    /// The chunk that is half here.
    half: Option<Assembly>,
}

/// Whether a chunk that was asked for is still wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Yes,
    /// Cancelled; pieces under way may still come.
    No,
}

impl Fetching {
    pub(crate) fn new(
        swarm: Arc<Swarm>,
        partial: Arc<Partial>,
        meter: Arc<Meter>,
        events: mpsc::Sender<JobEvent>,
    ) -> Self {
        Self { swarm, partial, meter, events, incoming: Mutex::default() }
    }

    fn incoming(&self) -> MutexGuard<'_, Incoming> {
        self.incoming.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A request for this chunk goes out now.
    pub(crate) fn on_asked(&self, chunk: u32) {
        self.incoming().asked.insert(chunk, Wanted::Yes);
    }

    /// A request is cancelled now; what is half here of the chunk is thrown away.
    pub(crate) fn on_cancelled(&self, chunk: u32) {
        let mut incoming = self.incoming();
        if let Some(wanted) = incoming.asked.get_mut(&chunk) {
            *wanted = Wanted::No;
        }
        incoming.half.take_if(|half| half.chunk() == chunk);
    }

    /// Whether pieces of this chunk may come, and are wanted.
    pub(crate) fn wants(&self, chunk: u32) -> Option<Wanted> {
        self.incoming().asked.get(&chunk).copied()
    }

    /// All of this chunk came, or none will come.
    pub(crate) fn on_received(&self, chunk: u32) {
        let mut incoming = self.incoming();
        incoming.asked.remove(&chunk);
        incoming.half.take_if(|half| half.chunk() == chunk);
    }

    /// The chunk that is half here, to be gone on with.
    pub(crate) fn take_half(&self) -> Option<Assembly> {
        self.incoming().half.take()
    }

    /// Keeps a chunk that is half here, if it is still wanted.
    pub(crate) fn keep_half(&self, half: Assembly) {
        let mut incoming = self.incoming();
        if incoming.asked.get(&half.chunk()) == Some(&Wanted::Yes) {
            incoming.half = Some(half);
        }
    }

    /// Tells the job; one that has ended hears nothing.
    pub(crate) async fn tell(&self, link: LinkId, event: LinkEvent) {
        let _ = self.events.send(JobEvent::Link(link, event)).await;
    }

    /// Tells the job that the disk does not take it.
    pub(crate) async fn tell_disk(&self, error: io::Error) {
        let _ = self.events.send(JobEvent::Disk(error)).await;
    }
}

/// What came in one conversation, for the job's ticks.
#[derive(Debug)]
pub(crate) struct Meter {
    began: Instant,
    bytes: AtomicU64,
    heard_ms: AtomicU64,
}

impl Meter {
    pub(crate) fn new(now: Instant) -> Self {
        Self { began: now, bytes: AtomicU64::new(0), heard_ms: AtomicU64::new(0) }
    }

    pub(crate) fn on_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.on_heard();
    }

    pub(crate) fn on_heard(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn heard(&self) -> Instant {
        self.began + Duration::from_millis(self.heard_ms.load(Ordering::Relaxed))
    }
}
