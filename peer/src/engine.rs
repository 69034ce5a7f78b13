//! The engine: one handle to everything that moves chunks. It accepts and dials peers, serves what is shared, runs
//! downloads, and announces to the tracker what is here.

mod accepting;
mod folders;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use common::audience::Audience;
use common::id::{Content, NetworkId, PeerId};
use common::identity::Identity;
use common::manifest::ManifestError;
use common::wire::peer::Reason;
use common::wire::tracker::{Event, Have, Plan, Request};
use tokio::sync::{Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::accepting::{accept, listen};
use crate::command::{Progress, Share};
use crate::context::{Buffers, Context, Ways};
use crate::download::{Goal, Job, JobEvent, JobTools};
use crate::limit::Limiter;
use crate::links::{self, Links};
use crate::notice::Notice;
pub use crate::outline::Insides;
use crate::overlay::{Overlay, Reached};
use crate::revocations::Revocations;
pub use crate::storage::{Looks, Placing, PlanSource};
use crate::storage::{Partial, PartialMeta, PartialRecord, bytes_on_disk};
use crate::swarm::{Announced, Resharing, Swarm, Swarms};
use crate::tasks::Tasks;
use crate::tracker_client::TrackerClient;
use crate::whole::ReadFailure;

/// How long the answer to a ping may take.
const PING_DEADLINE: Duration = Duration::from_secs(5);
/// How often the stamps of shared files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Peers that are dialled at the tracker's word at a time; what goes beyond is asked for again.
const MOST_DIAL_BACKS: usize = 64;
/// Runs all transfers of this process; clones are handles to the same.
#[derive(Debug, Clone)]
pub struct Engine {
    context: Arc<Context>,
    local: SocketAddr,
    downloading: PathBuf,
    jobs: Arc<Jobs>,
}

/// The downloads under way, for what the tracker tells of their swarms.
#[derive(Debug, Default)]
struct Jobs {
    by_content: Mutex<HashMap<Content, mpsc::Sender<JobEvent>>>,
}

/// What an engine is made from.
#[derive(Debug)]
pub struct EngineConfig {
    /// This peer's key.
    pub identity: Arc<Identity>,
    /// Where to accept peers; `[::]:0` is any address, a free port.
    pub listen: SocketAddr,
    /// Where files in the making and their journals lie.
    pub downloading: PathBuf,
    /// Chunk bytes sent a second, in all.
    pub limit_up: Option<NonZeroU64>,
    /// Chunk bytes received a second, in all.
    pub limit_down: Option<NonZeroU64>,
    /// Where notices go.
    pub notices: broadcast::Sender<Notice>,
    /// Where events for the library go.
    pub events: mpsc::Sender<EngineEvent>,
}

/// What the owner of the library must hear of.
#[derive(Debug, Clone)]
pub enum EngineEvent {
    /// A shared file is not what it was any more and was withdrawn (the notice and the announcement went out already).
    Withdrawn {
        /// What it was.
        content: Content,
    },
}

/// Something complete to be served.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What it is.
    pub content: Content,
    /// Where it lies.
    pub path: PathBuf,
    /// How it looked when it was hashed.
    pub looks: Looks,
    /// What its chunks hash to, and of a folder what is in it.
    pub insides: Insides,
    /// For whom; with none, for nobody.
    pub audiences: BTreeSet<Audience>,
}

/// What to download.
#[derive(Debug, Clone)]
pub struct DownloadSpec {
    /// `owner/name`; of an offer `sender/name`.
    pub entry: String,
    /// Whether the tracker is asked for plans and tickets of the entry, or of an offer.
    pub source: PlanSource,
    /// The bare name, for people and for the file.
    pub name: String,
    /// Which version of the entry it is, from 1; 0 for an offer.
    pub version: u32,
    /// What it is.
    pub content: Content,
    /// Under which audience it is downloaded, and served meanwhile and afterwards.
    pub audience: Audience,
    /// Where what is complete goes, as a full path.
    pub target: PathBuf,
    /// How it gets that name.
    pub placing: Placing,
    /// Files (of a folder: folders) that may have the same bytes at the same places: those are taken from there, checked
    /// as all others are. They are only read.
    pub bases: Vec<PathBuf>,
    /// Of a folder: only what matches one of these globs; with none of them, all.
    pub only: Vec<String>,
    /// Give up after so long without anybody who has what is missing; `None`: never.
    pub wait: Option<Duration>,
    /// The plan, where there is one already; otherwise the engine asks for it.
    pub plan: Option<Plan>,
}

/// A download that an earlier run did not finish.
#[derive(Debug, Clone)]
pub struct Unfinished {
    /// In which network.
    pub network: NetworkId,
    /// What was asked for, without plan and wait.
    pub spec: DownloadSpec,
}

/// A download that ended well. The engine serves the file already.
#[derive(Debug, Clone)]
pub struct Done {
    /// What is served now; for the library. Without audiences it is not served, and not for the library: a part of a folder, or
    /// one in which somebody edited what the new version replaces.
    pub shared: Shared,
    /// Chunk bytes that came over the wire in this run, those that were thrown away too.
    pub fetched_bytes: u64,
    /// From the start to the final name.
    pub elapsed: Duration,
    /// Who sent how much, the most first.
    pub shares: Vec<Share>,
    /// With [`Placing::Over`]: what was edited here, and therefore stayed as it is.
    pub edited: Vec<PathBuf>,
}

/// Why a download ended without the file. What has come is kept in every case.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// Cancelled by the user.
    #[error("cancelled; what has come is kept")]
    Cancelled,
    /// Nobody had what is missing for as long as was to be waited.
    #[error("nobody has {missing} of its {total} chunks; what has come is kept")]
    Incomplete {
        /// Chunks that nobody has.
        missing: u32,
        /// Chunks in all.
        total: u32,
    },
    /// Somebody has it who cannot be reached in any way.
    #[error("{user} cannot be reached by TCP, and {why}; what has come is kept")]
    Unreached {
        /// The name of one of them.
        user: String,
        /// A phrase.
        why: String,
    },
    /// Every seeder sent wrong bytes.
    #[error("every seeder that was there sent wrong bytes: {names}")]
    BadSeeders {
        /// Who, with commas.
        names: String,
    },
    /// This file is being downloaded already.
    #[error("it is being downloaded already")]
    UnderWay,
    /// The disk is full, or something else is wrong with it.
    #[error("could not write {path}: {source}")]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is in the folder may not be here.
    #[error("the folder cannot be downloaded: {0}")]
    Manifest(#[from] ManifestError),
    /// Nothing of the folder was asked for.
    #[error("nothing in the folder matches {globs}; look at the names in it, or download all of it")]
    NoMatch {
        /// The globs, with commas.
        globs: String,
    },
    /// The tracker refused.
    #[error("{0}")]
    Refused(#[from] common::wire::tracker::Refusal),
}

/// A ping that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Pong {
    /// Who answered.
    pub peer: PeerId,
    /// Where.
    pub address: SocketAddr,
    /// How long it took on an open connection.
    pub round_trip: Duration,
}

/// Chunk bytes since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counters {
    /// Sent.
    pub uploaded: u64,
    /// Received, those that were thrown away too.
    pub downloaded: u64,
}

impl Engine {
    /// Begins to accept peers; until [`Self::join`] all are turned away.
    pub async fn bind(config: EngineConfig, tasks: &Tasks) -> io::Result<Self> {
        Self::bind_with(Ways::Tcp, config, tasks).await
    }

    /// The same; who cannot be reached by TCP is reached over this overlay.
    pub(crate) async fn bind_beside(overlay: Overlay, config: EngineConfig, tasks: &Tasks) -> io::Result<Self> {
        Self::bind_with(Ways::TcpFirst(overlay), config, tasks).await
    }

    async fn bind_with(ways: Ways, config: EngineConfig, tasks: &Tasks) -> io::Result<Self> {
        let listener = listen(config.listen).await?;
        let local = listener.local_addr()?;
        let engine = Self::new(EngineConfig { listen: local, ..config }, ways, tasks);
        tasks.spawn("accept peers", accept(Arc::clone(&engine.context), listener));
        Ok(engine)
    }

    /// One that reaches others, and is reached, over this overlay only. [`EngineConfig::listen`] is where that is.
    pub(crate) fn over(overlay: Overlay, config: EngineConfig, tasks: &Tasks) -> Self {
        Self::new(config, Ways::Overlay(overlay), tasks)
    }

    fn new(config: EngineConfig, ways: Ways, tasks: &Tasks) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let context = Arc::new(Context {
            identity: config.identity,
            port: config.listen.port(),
            ways,
            swarms: Swarms::default(),
            links: Links::new(),
            up: Limiter::new(config.limit_up),
            down: Limiter::new(config.limit_down),
            buffers: Buffers::new(),
            workers: Arc::new(Semaphore::new(cores)),
            rechecks: Arc::new(Semaphore::new(1)),
            notices: config.notices,
            tasks: tasks.clone(),
            events: config.events,
            joined: OnceLock::new(),
            revocations: Revocations::default(),
            uploaded: AtomicU64::new(0),
            downloaded: AtomicU64::new(0),
            links_made: AtomicU64::new(0),
        });
        Self { context, local: config.listen, downloading: config.downloading, jobs: Arc::default() }
    }

    /// This peer's key, and where notices go.
    pub(crate) fn who_and_whom_to_tell(&self) -> (Arc<Identity>, broadcast::Sender<Notice>) {
        (Arc::clone(&self.context.identity), self.context.notices.clone())
    }

    /// Somebody came over the overlay.
    pub(crate) async fn take(&self, reached: Reached) -> io::Result<()> {
        links::take(&self.context, reached).await
    }

    /// Where peers are accepted.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Serves and downloads in the network of this tracker from now on, in no other. Called once.
    pub fn join(&self, tracker: TrackerClient) {
        let (events, client) = (tracker.events(), tracker.clone());
        if self.context.joined.set(tracker).is_err() {
            tracing::error!("an engine joins only once");
            return;
        }
        let keeper = Arc::downgrade(&self.context);
        client.on_revoked(move |revocations| {
            if let Some(context) = keeper.upgrade() {
                context.revoke(revocations);
            }
        });
        let (context, jobs) = (Arc::clone(&self.context), Arc::clone(&self.jobs));
        self.context.tasks.spawn("tracker events", follow(context, jobs, events));
        self.context.tasks.spawn("look after shared files", look_after(Arc::clone(&self.context)));
    }

    /// Serves what is complete, and announces it to each audience. Where it is served already, these audiences are added;
    /// what is being downloaded is left alone.
    pub fn share(&self, shared: Shared) {
        let Shared { content, path, looks, insides, audiences } = shared;
        if audiences.is_empty() {
            return;
        }
        // What was served so far may look otherwise now, or be gone, and would be withdrawn for that.
        if let Some(before) = self.complete(&content).filter(|before| before.check().is_err())
            && self.context.swarms.remove(&before)
        {
            before.refuse_all("this is served from another file now");
        }
        // First that which is asked for first.
        if let Some(manifest) = insides.manifest() {
            let manifest = self.keep_manifest(&manifest.encode());
            if let Some(manifest) = manifest {
                manifest.add_audiences(audiences.clone(), Announced::No);
            }
        }
        let (swarm, _) = self.context.swarms.add(Swarm::complete(content, &insides, path, looks));
        if swarm.is_complete() {
            self.reshare(&swarm, swarm.add_audiences(audiences, Announced::Yes));
        }
    }

    /// Serves something no more under this audience, and not at all where that was the last. What is being downloaded is
    /// left alone.
    pub fn unshare(&self, content: &Content, audience: &Audience) {
        if let Some(swarm) = self.complete(content) {
            if let Some(manifest) = self.context.swarms.manifest_of(content) {
                self.reshare(&manifest, manifest.remove_audience(audience));
            }
            self.reshare(&swarm, swarm.remove_audience(audience));
        }
    }

    /// Serves something under just these audiences from now on; with none of them, not at all. What is not served, or is
    /// being downloaded, is left alone.
    pub fn set_audiences(&self, content: &Content, audiences: BTreeSet<Audience>) {
        if let Some(swarm) = self.complete(content) {
            if let Some(manifest) = self.context.swarms.manifest_of(content) {
                self.reshare(&manifest, manifest.set_audiences(audiences.clone(), Announced::No));
            }
            self.reshare(&swarm, swarm.set_audiences(audiences, Announced::Yes));
        }
    }

    fn complete(&self, content: &Content) -> Option<Arc<Swarm>> {
        self.context.swarms.find(content).filter(|swarm| swarm.is_complete())
    }

    /// The audiences of a complete swarm have changed: tells the tracker, and ends what has no audience any more.
    fn reshare(&self, swarm: &Arc<Swarm>, change: Resharing) {
        if !swarm.has_audiences() && self.context.swarms.remove(swarm) {
            swarm.refuse_all("this file is shared no more");
            self.context.swarms.remove_manifest_of(&swarm.content());
        }
        self.context.reshare(swarm, change, &Have::All);
    }

    /// Downloads, goes on where an earlier run stopped, and serves what is there meanwhile and afterwards. Progress goes
    /// to the watch; cancelling the token ends it with [`DownloadError::Cancelled`].
    pub async fn download(
        &self,
        spec: DownloadSpec,
        progress: watch::Sender<Option<Progress>>,
        cancel: CancellationToken,
    ) -> Result<Done, DownloadError> {
        let context = Arc::clone(&self.context);
        let tools = JobTools { context, downloading: self.downloading.clone(), progress, cancel };
        match spec.content {
            Content::File(file) => self.run(spec, Goal::file(&file), tools).await,
            Content::Folder(folder) => Box::pin(self.download_folder(spec, folder, tools)).await,
        }
    }

    async fn run(&self, spec: DownloadSpec, goal: Goal, tools: JobTools) -> Result<Done, DownloadError> {
        let _guard = JobGuard { jobs: Arc::clone(&self.jobs), content: spec.content };
        let jobs = Arc::clone(&self.jobs);
        Box::pin(Job::run(spec, goal, tools, move |content, events| {
            jobs.lock().insert(content, events);
        }))
        .await
    }

    /// Removes what has come of something that nobody wants any more; what is being downloaded is left alone. Blocks.
    pub fn discard(&self, content: &Content) {
        if self.context.swarms.find(content).is_some_and(|swarm| !swarm.is_complete()) {
            return;
        }
        if let Err(error) = Partial::discard(&self.downloading, content) {
            tracing::warn!(%content, %error, "what had come of a download could not be removed");
        }
    }

    /// Where the bytes are that have come of something in the making, for [`DownloadSpec::bases`]. Blocks.
    pub fn in_the_making(&self, content: &Content) -> Option<PathBuf> {
        Partial::data_of(&self.downloading, content)
    }

    /// Bytes on the disk of all that is in the making, by the names of its folders, which are those of its content. Blocks.
    pub(crate) fn bytes_in_the_making(&self) -> io::Result<BTreeMap<String, u64>> {
        bytes_on_disk(&self.downloading)
    }

    /// What earlier runs did not finish. Blocks while it looks; call it before what is complete is shared again.
    pub fn unfinished(&self) -> io::Result<Vec<Unfinished>> {
        let records = match Partial::list(&self.downloading) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        Ok(records.into_iter().map(|PartialRecord { meta }| Unfinished::from(meta)).collect())
    }

    /// Asks a peer whether it is there, at the first of these addresses that answers.
    pub async fn ping(&self, peer: Option<PeerId>, addresses: &[SocketAddr]) -> io::Result<Pong> {
        let (link, lasting) = match peer {
            Some(peer) => (links::connect(&self.context, peer, addresses).await?, true),
            None => (links::connect_to_anyone(&self.context, addresses).await?, false),
        };
        let (answer, answered) = oneshot::channel();
        link.ping(Some(answer));
        let answered = timeout(PING_DEADLINE, answered).await;
        if !lasting {
            link.close(Reason::Done, "that was all");
        }
        match answered {
            Ok(Ok(round_trip)) => Ok(Pong { peer: link.peer(), address: link.address(), round_trip }),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::ConnectionReset, "it hung up")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in 5 s")),
        }
    }

    /// What was moved.
    pub fn counters(&self) -> Counters {
        Counters {
            uploaded: self.context.uploaded.load(Ordering::Relaxed),
            downloaded: self.context.downloaded.load(Ordering::Relaxed),
        }
    }
}

impl From<PartialMeta> for Unfinished {
    fn from(meta: PartialMeta) -> Self {
        let PartialMeta { network, entry, source, name, version, content, audience, target, placing, bases, only } =
            meta;
        let (wait, plan) = (None, None);
        let spec =
            DownloadSpec { entry, source, name, version, content, audience, target, placing, bases, only, wait, plan };
        Self { network, spec }
    }
}

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, HashMap<Content, mpsc::Sender<JobEvent>>> {
        self.by_content.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Forgets the job of a download that has ended.
struct JobGuard {
    jobs: Arc<Jobs>,
    content: Content,
}

impl Drop for JobGuard {
    fn drop(&mut self) {
        let mut jobs = self.jobs.lock();
        // Another download of the same file was refused, and must not forget the first.
        if jobs.get(&self.content).is_some_and(mpsc::Sender::is_closed) {
            jobs.remove(&self.content);
        }
    }
}

/// Does what the tracker says.
async fn follow(context: Arc<Context>, jobs: Arc<Jobs>, mut events: broadcast::Receiver<Event>) {
    let dial_backs = Arc::new(Semaphore::new(MOST_DIAL_BACKS));
    loop {
        match events.recv().await {
            Ok(Event::Holder { content, audience, holder }) => {
                let job = jobs.lock().get(&content).cloned();
                if let Some(job) = job {
                    // A job that is too busy asks for a plan later.
                    let _ = job.try_send(JobEvent::Holder(audience, holder));
                }
            }
            Ok(Event::Shared { entry, audience }) => {
                let all: Vec<_> = jobs.lock().values().cloned().collect();
                for job in all {
                    // A job that is too busy hears of it with the next plan.
                    let _ = job.try_send(JobEvent::Reshared { entry: entry.clone(), audience: audience.clone() });
                }
            }
            Ok(Event::Dial { peer, addresses }) => {
                // One who asks again and again gets one dial at a time.
                if context.links.is_dialling(&peer) {
                    continue;
                }
                let Ok(permit) = Arc::clone(&dial_backs).try_acquire_owned() else { continue };
                let context = Arc::clone(&context);
                context.clone().tasks.spawn("dial back", async move {
                    let _permit = permit;
                    let reached = links::connect(&context, peer, &addresses).await.is_ok();
                    // The tracker may be gone; then nobody needs to know.
                    let _ = context.tracker().request(Request::Dialled { peer, reached }).await;
                });
            }
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(missed)) => tracing::debug!(missed, "events were missed"),
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// Looks at the stamps of all shared files again and again, and withdraws what has changed.
async fn look_after(context: Arc<Context>) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let swarms = context.swarms.all();
        let checking = tokio::task::spawn_blocking(move || {
            let changed = swarms.into_iter().filter_map(|swarm| match swarm.check() {
                Err(ReadFailure::Changed(why)) => Some((swarm, why)),
                _ => None,
            });
            changed.collect::<Vec<_>>()
        });
        for (swarm, why) in checking.await.unwrap_or_default() {
            context.withdraw(&swarm, &why);
        }
    }
}

#[cfg(test)]
mod tests;
