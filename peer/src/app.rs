//! The app: one running peer. It owns a DIR, its key, its library, its engine and its tracker client, and runs commands
//! for whichever face asks.

mod audiences;
mod background;
mod files;
mod holding;
mod network;
mod open;
mod relisting;
mod visitors;

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::wire::tracker::{MrtRole, Welcome};
use tokio::sync::{OnceCell, SetOnce, broadcast, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use self::background::Background;
use self::files::allow_files;
use self::network::Entered;
pub use self::open::StartError;
use self::open::{Opened, open};
pub use crate::command::AcceptRule;
use crate::command::{Command, Downloads, Failure, Outcome, Parts, SeenNames, Update, off_reactor, run};
use crate::dir::{Dir, Lock};
use crate::engine::EngineConfig;
use crate::hashing::Hashers;
use crate::node::{DiscoveryRule, StunServer};
use crate::notice::Notice;
use crate::sync::Syncing;
use crate::tasks::Tasks;
pub use crate::tracker_client::{NameChoice, Place, TrackerAddress};
use crate::tracker_client::{TrackerClient, TrackerConfig, TrackerError, TrackerState};

/// Notices that a slow reader may be behind before it loses the oldest.
const NOTICES: usize = 1024;
/// Files that the engine withdrew and the library does not know of yet; the engine drops what finds no room, and the next
/// start notices.
const WITHDRAWN: usize = 256;
/// How long the end of the app waits for downloads to put away what has come.
const DOWNLOADS_DEADLINE: Duration = Duration::from_secs(10);

/// What an app is made from.
#[derive(Debug, Clone)]
pub struct AppConfig {
    /// Which tracker; `None`: the one last used with this DIR, or else the one on this machine.
    pub tracker: Option<TrackerAddress>,
    /// The user name.
    pub name: NameChoice,
    /// Where everything lies.
    pub dir: Dir,
    /// Where to accept peers; `[::]:0`: any address, a free port.
    pub listen: SocketAddr,
    /// Where this peer is to be reached from anywhere, when that is not where the tracker sees it.
    pub advertise: Vec<SocketAddr>,
    /// Chunk bytes sent a second, in all; `None`: no limit.
    pub limit_up: Option<NonZeroU64>,
    /// Chunk bytes received a second, in all; `None`: no limit.
    pub limit_down: Option<NonZeroU64>,
    /// What happens to downloads that an earlier run did not finish.
    pub unfinished: Unfinished,
    /// Whose offers are accepted without asking.
    pub accept: AcceptRule,
    /// Whether it serves over MRT too, to those who cannot reach it by TCP; where it does not, it still downloads that way.
    pub mrt: MrtRole,
    /// A network without a tracker, instead of one with a tracker; `listen` is then where its datagrams come.
    pub group: Option<GroupConfig>,
}

/// A network without a tracker.
#[derive(Clone)]
pub struct GroupConfig {
    /// The key that all its members have.
    pub(crate) psk: [u8; 32],
    /// Who is asked where this node is seen from outside.
    pub(crate) stun: Vec<StunServer>,
    /// Whether nodes on the same LAN are found.
    pub(crate) discovery: DiscoveryRule,
    /// So many bytes of what is shared are fetched while this node is the supernode; `None`: nothing.
    pub(crate) hold: Option<u64>,
}

impl std::fmt::Debug for GroupConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupConfig").finish_non_exhaustive()
    }
}

/// What happens at the start to downloads that an earlier run did not finish; what is followed and watched goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// They go on by themselves, as soon as the tracker is there.
    Resume,
    /// They stay as they are until somebody asks for them.
    Leave,
}

/// A running peer; clones are handles to the same. [`Self::shutdown`] ends it in good order; when the last handle goes
/// without that, everything is just dropped.
#[derive(Debug, Clone)]
pub struct App {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    parts: Arc<Parts>,
    /// What was told before anybody listened is kept for the first who does.
    first_notices: Mutex<Option<broadcast::Receiver<Notice>>>,
    ended: OnceCell<()>,
    lock: Mutex<Option<Lock>>,
}

impl App {
    /// Takes the DIR and begins to serve, to connect to the tracker and, where wished, to go on with what was left
    /// unfinished. A tracker that is not there is no error here: see [`Self::wait_connected`].
    pub async fn start(config: AppConfig) -> Result<Self, StartError> {
        let (dir, tracker, name) = (config.dir.clone(), config.tracker.clone(), config.name.clone());
        let Opened { lock, identity, settings, tracker, name, library, records, warnings } =
            off_reactor(move || open(&dir, tracker, name)).await?;
        allow_files();
        let tasks = Tasks::new();
        let (notices, first_notices) = broadcast::channel(NOTICES);
        let (events, withdrawn) = mpsc::channel(WITHDRAWN);
        let engine_config = EngineConfig {
            identity: Arc::clone(&identity),
            listen: config.listen,
            downloading: config.dir.downloading(),
            limit_up: config.limit_up,
            limit_down: config.limit_down,
            notices: notices.clone(),
            events,
        };
        let (NameChoice::Given(wished_name) | NameChoice::Default(wished_name)) = name.clone();
        let hold_limit = config.group.as_ref().and_then(|group| group.hold);
        let Entered { engine, place, node, reaches } = match config.group {
            None => network::with_tracker(tracker, engine_config, &tasks).await?,
            Some(group) => {
                let memory = config.dir.network();
                network::of_nodes(group, wished_name.clone(), memory, engine_config, &tasks).await?
            }
        };
        let looking = engine.clone();
        // Before anything is shared: what is complete is not unfinished.
        let unfinished = off_reactor(move || looking.unfinished()).await;
        let listen = engine.local_addr();
        let tracker_config = TrackerConfig {
            place: place.clone(),
            identity: Arc::clone(&identity),
            name: name.clone(),
            listen,
            advertise: config.advertise,
            known_trackers: config.dir.known_trackers(),
            notices: notices.clone(),
        };
        let client = TrackerClient::start(tracker_config, &tasks);
        engine.join(client.clone());
        let rendezvous = reaches.map(|reaches| network::meet_over_mrt(&engine, &client, config.mrt, reaches, &tasks));
        let parts = Arc::new(Parts {
            peer: identity.peer_id(),
            dir: config.dir,
            place,
            listen,
            wished_name,
            tracker: client,
            node,
            rendezvous,
            engine,
            library: Arc::new(library),
            hashers: Hashers::default(),
            downloads: Downloads::default(),
            names: SeenNames::default(),
            records: Arc::new(records),
            syncing: Syncing::default(),
            accept: config.accept,
            notices,
            tasks,
            stays: SetOnce::new(),
            stop: CancellationToken::new(),
            ending: CancellationToken::new(),
        });
        for text in warnings {
            parts.tell(Notice::Warning { text });
        }
        Background { parts: &parts, settings, name, hold_limit }.start(withdrawn, unfinished, config.unfinished);
        tracing::info!(peer = %parts.peer, dir = %parts.dir.root().display(), "started");
        Ok(Self {
            inner: Arc::new(Inner {
                parts,
                first_notices: Mutex::new(Some(first_notices)),
                ended: OnceCell::new(),
                lock: Mutex::new(Some(lock)),
            }),
        })
    }

    /// Runs a command to its end; many may run at once.
    ///
    /// Updates that find the queue full are dropped. Dropping the future is safe at any await: a download goes on, a hashing
    /// ends, what the tracker was asked for may be done or not.
    pub async fn run(&self, command: Command, updates: mpsc::Sender<Update>) -> Result<Outcome, Failure> {
        run(&self.inner.parts, command, &updates).await
    }

    /// What the peer tells by itself, from now on; for the first caller from the start. A receiver that lags loses the
    /// oldest. What a command tells its caller as an [`Update`] is not repeated here, nor the other way round.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        let first = self.inner.first_notices.lock().unwrap_or_else(PoisonError::into_inner).take();
        first.unwrap_or_else(|| self.inner.parts.notices.subscribe())
    }

    /// Waits until this peer is on the network; fails when the tracker refused for good or when time is up.
    pub async fn wait_connected(&self, timeout: Duration) -> Result<Welcome, Failure> {
        let deadline = Instant::now() + timeout;
        let mut state = self.inner.parts.tracker.state();
        loop {
            let why = match &*state.borrow_and_update() {
                TrackerState::Connected(welcome) => return Ok(welcome.clone()),
                TrackerState::Failed(error) => return Err(error.clone().into()),
                TrackerState::LoginRequired(refusal) => return Err(refusal.clone().into()),
                TrackerState::Connecting { why } if why.is_empty() => "it has not answered yet".to_owned(),
                TrackerState::Connecting { why } => why.clone(),
            };
            if timeout_at(deadline, state.changed()).await.is_err() {
                return Err(TrackerError::NotConnected { place: self.tracker().text(), why }.into());
            }
        }
    }

    /// This peer runs on: from now on it brings new versions of what is followed, registers changes of what is watched and
    /// hears of offers. With [`Unfinished::Resume`] it does so from the start. Idempotent.
    pub fn stay(&self) {
        // It may be set already.
        drop(self.inner.parts.stays.set(()));
    }

    /// Ends when no download is under way.
    pub async fn downloads_ended(&self) {
        self.inner.parts.downloads.idle().await;
    }

    /// Ends when [`Command::Stop`] was run, or the app was shut down.
    pub async fn stop_requested(&self) {
        self.inner.parts.stop.cancelled().await;
    }

    /// Ends all transfers (what has come is kept), leaves the network and gives the DIR back. Commands that are running
    /// fail. Idempotent; every caller waits until it is done.
    pub async fn shutdown(&self) {
        let parts = &self.inner.parts;
        let end = async {
            parts.ending.cancel();
            parts.stop.cancel();
            if timeout(DOWNLOADS_DEADLINE, parts.downloads.shutdown()).await.is_err() {
                tracing::warn!("downloads that do not end are left behind");
            }
            if let Some(rendezvous) = &parts.rendezvous {
                rendezvous.close().await;
            }
            parts.tracker.leave().await;
            parts.save_library().await;
            parts.tasks.shutdown().await;
            drop(self.inner.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
            tracing::info!("ended");
        };
        self.inner.ended.get_or_init(|| end).await;
    }

    /// Where everything lies.
    pub fn dir(&self) -> &Dir {
        &self.inner.parts.dir
    }

    /// Where peers are accepted.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.parts.listen
    }

    /// The tracker in use.
    pub fn tracker(&self) -> &Place {
        &self.inner.parts.place
    }

    /// The user name: the tracker's word for it, or the one wished for before it was reached.
    pub fn name(&self) -> String {
        self.inner.parts.user_name()
    }

    /// Names of entries heard of so far, in order, for completion: `name`, and `owner/name` too where that is needed. Asking
    /// has them looked up again behind the scenes.
    pub fn known_entries(&self) -> Vec<String> {
        self.inner.parts.names.entries()
    }

    /// Names of users heard of so far, in order, for completion. Asking has them looked up again behind the scenes.
    pub fn known_users(&self) -> Vec<String> {
        self.inner.parts.names.users()
    }

    /// Names of the downloads under way, in order.
    pub fn download_names(&self) -> Vec<String> {
        self.inner.parts.downloads.all().iter().map(|running| running.name().to_owned()).collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.parts.tasks.token().cancel();
    }
}

#[cfg(test)]
mod tests;
