//! Downloads: the pure [`picker`] decides which chunk to ask of whom; the tasks around it do.
//!
//! - `job`: one download from plan to final name
//! - `contacts`: the peers of one download: known, dialled, linked, banned
//! - `layer`: how the chunk hashes come
//! - `picker`: which chunk of whom
//! - `verify`: from the bytes of a piece to a verified chunk on disk
//! - `tally`: speed and shares, for people

mod contacts;
mod job;
mod layer;
mod picker;
mod tally;
mod verify;

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::id::{Hash, PeerId};
use common::wire::peer::Reason;
use common::wire::tracker::{Holder, Plan};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub(crate) use self::job::{Job, JobTools};
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
    /// The tracker names a holder.
    Holder(Holder),
    /// The tracker's answer to the question for a plan.
    Planned(Result<Box<Plan>, TrackerError>),
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
    },
    /// A chunk came and is wrong.
    Bad {
        /// Which.
        chunk: u32,
    },
}

/// A conversation that was opened here, as its link sees it.
#[derive(Debug)]
pub(crate) struct Fetching {
    pub(crate) swarm: Arc<Swarm>,
    pub(crate) partial: Arc<Partial>,
    pub(crate) meter: Arc<Meter>,
    events: mpsc::Sender<JobEvent>,
    /// Chunks of which pieces may come.
    asked: Mutex<HashSet<u32>>,
}

impl Fetching {
    pub(crate) fn new(
        swarm: Arc<Swarm>,
        partial: Arc<Partial>,
        meter: Arc<Meter>,
        events: mpsc::Sender<JobEvent>,
    ) -> Self {
        Self { swarm, partial, meter, events, asked: Mutex::default() }
    }

    fn asked(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A request for this chunk goes out now.
    pub(crate) fn on_asked(&self, chunk: u32) {
        self.asked().insert(chunk);
    }

    /// Whether pieces of this chunk may come.
    pub(crate) fn asked_for(&self, chunk: u32) -> bool {
        self.asked().contains(&chunk)
    }

    /// All of this chunk came, or none will come.
    pub(crate) fn on_received(&self, chunk: u32) {
        self.asked().remove(&chunk);
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
