//! What all links and downloads of one engine share.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use common::audience::Sharing;
use common::identity::Identity;
use common::wire::peer::Reason;
use common::wire::tracker::{Have, Revocation};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio::time::timeout;

use crate::engine::EngineEvent;
use crate::limit::Limiter;
use crate::links::Links;
use crate::notice::Notice;
use crate::overlay::Overlay;
use crate::revocations::Revocations;
use crate::storage::SEGMENT;
use crate::swarm::{Resharing, Swarm, Swarms};
use crate::tasks::Tasks;
use crate::tracker_client::TrackerClient;

/// Segments that may be in memory between the network and the disk, 1 MiB each.
const BUFFERS: usize = 64;
/// A link that waits longer for a buffer ends, and gives back those that it holds.
const BUFFER_PATIENCE: Duration = Duration::from_secs(10);
/// Buffers kept for the next segments.
const SPARE_BUFFERS: usize = 8;

/// What a downloader hears whose ticket was called back.
pub(crate) const REVOKED: &str = "the ticket was revoked; ask the tracker for a new one";

/// What all links and downloads of one engine share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) identity: Arc<Identity>,
    /// Where peers are accepted.
    pub(crate) port: u16,
    pub(crate) ways: Ways,
    pub(crate) swarms: Swarms,
    pub(crate) links: Links,
    pub(crate) up: Limiter,
    pub(crate) down: Limiter,
    pub(crate) buffers: Arc<Buffers>,
    /// Hashing and writing at once.
    pub(crate) workers: Arc<Semaphore>,
    /// Chunks that downloaders call bad are hashed again one at a time; more reports meanwhile are dropped.
    pub(crate) rechecks: Arc<Semaphore>,
    pub(crate) notices: broadcast::Sender<Notice>,
    pub(crate) tasks: Tasks,
    pub(crate) events: mpsc::Sender<EngineEvent>,
    pub(crate) joined: OnceLock<TrackerClient>,
    pub(crate) revocations: Revocations,
    pub(crate) uploaded: AtomicU64,
    pub(crate) downloaded: AtomicU64,
    pub(crate) links_made: AtomicU64,
}

/// How peers are reached.
#[derive(Debug)]
pub(crate) enum Ways {
    /// By TCP.
    Tcp,
    /// By TCP, and over this those who cannot be reached that way.
    TcpFirst(Overlay),
    /// Over this only.
    Overlay(Overlay),
}

impl Context {
    /// The tracker. Links and downloads begin only after the engine has joined.
    pub(crate) fn tracker(&self) -> &TrackerClient {
        self.joined.get().expect("links and downloads begin only after join")
    }

    pub(crate) fn next_link(&self) -> u64 {
        self.links_made.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn on_uploaded(&self, bytes: u64) {
        self.uploaded.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn on_downloaded(&self, bytes: u64) {
        self.downloaded.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Tells the user; nobody may be looking.
    pub(crate) fn notice(&self, notice: Notice) {
        let _ = self.notices.send(notice);
    }

    /// Tells the tracker what is here of a swarm, for each audience.
    pub(crate) fn announce(&self, swarm: &Swarm, have: &Have) {
        self.announce_each(swarm.sharings(), have);
    }

    fn announce_each(&self, sharings: Vec<Sharing>, have: &Have) {
        for sharing in sharings {
            self.tracker().announce(sharing, have.clone());
        }
    }

    /// The audiences of a swarm of which `have` is here have changed: tells the tracker, and hangs up on those for whom it
    /// is not any more.
    pub(crate) fn reshare(&self, swarm: &Swarm, change: Resharing, have: &Have) {
        self.announce_each(change.added, have);
        self.announce_each(change.removed, &Have::None);
        swarm.refuse_strangers();
    }

    /// The tracker called tickets back: whoever showed one of them is hung up on.
    pub(crate) fn revoke(&self, revocations: Vec<Revocation>) {
        self.revocations.add(revocations, self.tracker().now_ms());
        self.swarms.all().iter().for_each(|swarm| self.refuse_revoked(swarm));
    }

    /// Ends the conversations of a swarm whose tickets were called back.
    pub(crate) fn refuse_revoked(&self, swarm: &Swarm) {
        swarm.refuse(Reason::Ticket, REVOKED, |peer, grant| self.revocations.contains(peer, grant));
    }

    /// A shared file is not what it was: stops serving it and says so. Once for each swarm.
    pub(crate) fn withdraw(&self, swarm: &Arc<Swarm>, why: &str) {
        if !self.swarms.remove(swarm) {
            return;
        }
        let content = swarm.content();
        self.announce(swarm, &Have::None);
        swarm.refuse_all(why);
        self.swarms.remove_manifest_of(&content);
        if let Some(path) = swarm.path() {
            tracing::warn!(path = %path.display(), why, "a shared file was withdrawn");
            self.notice(Notice::Withdrawn { path, file: content, why: why.to_owned() });
        }
        if self.events.try_send(EngineEvent::Withdrawn { content }).is_err() {
            tracing::warn!("the library was not told that {content} was withdrawn; it will see at the next start");
        }
    }

    /// Something else lies at this path now: what was served from there is served no more, and nobody needs to be told.
    pub(crate) fn retire(&self, path: &Path) {
        for swarm in self.swarms.all() {
            if swarm.path().is_some_and(|served| served == path) && self.swarms.remove(&swarm) {
                self.announce(&swarm, &Have::None);
                swarm.refuse_all("a newer version has taken its place");
                self.swarms.remove_manifest_of(&swarm.content());
            }
        }
    }

    /// A downloader calls a chunk bad: hashes it again, off the reactor, one at a time.
    pub(crate) fn recheck(self: &Arc<Self>, swarm: Arc<Swarm>, chunk: u32) {
        let Ok(permit) = Arc::clone(&self.rechecks).try_acquire_owned() else { return };
        let context = Arc::clone(self);
        self.tasks.spawn("recheck", async move {
            let _permit = permit;
            let checked = Arc::clone(&swarm);
            let result = tokio::task::spawn_blocking(move || checked.check_chunk(chunk)).await;
            if let Ok(Err(crate::whole::ReadFailure::Changed(why))) = result {
                context.withdraw(&swarm, &why);
            }
        });
    }
}

/// Buffers for segments on their way from the network to the disk: so many, and no more.
#[derive(Debug)]
pub(crate) struct Buffers {
    free: Arc<Semaphore>,
    spare: Mutex<Vec<Vec<u8>>>,
}

/// A buffer of [`SEGMENT`] bytes or less; goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    pub(crate) bytes: Vec<u8>,
    owner: Arc<Buffers>,
    _permit: OwnedSemaphorePermit,
}

impl Buffers {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(BUFFERS)), spare: Mutex::default() })
    }

    /// An empty buffer with room for `bytes`, at most [`SEGMENT`]; waits until one is free, and fails after
    /// [`BUFFER_PATIENCE`]: who waits so long may itself hold what others wait for.
    pub(crate) async fn take(self: &Arc<Self>, bytes: usize) -> io::Result<Buffer> {
        let taking = Arc::clone(&self.free).acquire_owned();
        let permit = timeout(BUFFER_PATIENCE, taking).await?.map_err(io::Error::other)?;
        let mut spare = self.spare.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop().unwrap_or_default();
        spare.clear();
        spare.reserve_exact(bytes.min(SEGMENT));
        Ok(Buffer { bytes: spare, owner: Arc::clone(self), _permit: permit })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut spare = self.owner.spare.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if spare.len() < SPARE_BUFFERS {
            spare.push(std::mem::take(&mut self.bytes));
        }
    }
}
