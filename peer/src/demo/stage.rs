//! The stage: tracker, seeders and downloader of one demo, and their end.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::id::NetworkId;
use common::name::UserName;
use common::wire::tracker::MrtRole;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::scratch::Scratch;
use crate::app::{AcceptRule, App, AppConfig, NameChoice, StartError, TrackerAddress, Unfinished};
use crate::command::{Command, Failure, FailureKind};
use crate::dir::Dir;
use crate::tasks::Tasks;

/// Names of seeders, as many as there may be.
const NAMES: [&str; 16] =
    ["ann", "bob", "cleo", "dan", "eve", "fay", "gus", "hana", "ivo", "joy", "kim", "leo", "mia", "ned", "oda", "pia"];
/// The downloader's name.
const DOWNLOADER: &str = "you";
/// How long each of them may take to get to the tracker.
const JOIN_DEADLINE: Duration = Duration::from_secs(10);
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// All who play, in a directory of their own.
#[derive(Debug)]
pub(super) struct Stage {
    tracker: Option<TrackerAddress>,
    seeders: Vec<App>,
    downloader: Option<App>,
    tasks: Tasks,
    stop_tracker: CancellationToken,
    tracker_ended: CancellationToken,
    // Last: it is removed when all who use it are gone.
    scratch: Scratch,
}

/// What there is to tell of the tracker.
#[derive(Debug)]
pub(super) struct TrackerFace {
    pub(super) address: SocketAddr,
    pub(super) fingerprint: NetworkId,
}

/// What there is to tell of a seeder.
#[derive(Debug)]
pub(super) struct SeederFace {
    pub(super) name: String,
    pub(super) address: SocketAddr,
}

impl Stage {
    /// Nobody is there yet.
    pub(super) fn new(scratch: Scratch) -> Self {
        Self {
            tracker: None,
            seeders: Vec::new(),
            downloader: None,
            tasks: Tasks::new(),
            stop_tracker: CancellationToken::new(),
            tracker_ended: CancellationToken::new(),
            scratch,
        }
    }

    /// A path in its directory.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The seeders' names.
    pub(super) fn names(&self) -> Vec<String> {
        self.seeders.iter().map(App::name).collect()
    }

    /// Starts a tracker on a free port.
    pub(super) async fn start_tracker(&mut self) -> Result<TrackerFace, Failure> {
        let mut config = tracker::Config::new(self.path("tracker"));
        config.listen = LOOPBACK;
        let server = tracker::Server::bind(config)
            .await
            .map_err(|error| Failure::new(FailureKind::Failed, format!("the tracker did not start: {error}")))?;
        let face = TrackerFace { address: server.local_addr(), fingerprint: server.fingerprint() };
        let (stop, ended) = (self.stop_tracker.clone(), self.tracker_ended.clone().drop_guard());
        self.tasks.spawn("demo tracker", async move {
            let _ended = ended;
            if let Err(error) = server.run(stop.cancelled_owned()).await {
                tracing::error!(%error, "the demo's tracker ended");
            }
        });
        self.tracker = Some(TrackerAddress {
            host: face.address.ip().to_string(),
            port: face.address.port(),
            fingerprint: Some(face.fingerprint),
        });
        Ok(face)
    }

    /// Starts seeders, each with a name of the file of its own, all at once; they register it.
    pub(super) async fn start_seeders(
        &mut self,
        count: usize,
        source: &Path,
        name: &str,
    ) -> Result<Vec<SeederFace>, Failure> {
        let mut registering = JoinSet::new();
        let mut faces = Vec::new();
        // All links are there before the first is looked at: a further link changes the file's ctime.
        let mut files = Vec::new();
        for seeder in NAMES.iter().take(count) {
            let (folder, file) = (self.path(seeder), self.path(seeder).join(name));
            fs::create_dir(&folder)
                .and_then(|()| fs::hard_link(source, &file).or_else(|_no_links| fs::copy(source, &file).map(drop)))
                .map_err(|error| {
                    Failure::new(FailureKind::Failed, format!("could not make {}: {error}", file.display()))
                })?;
            files.push((seeder, file));
        }
        for (seeder, path) in files {
            let app = self.start(seeder).await?;
            faces.push(SeederFace { name: (*seeder).to_owned(), address: app.local_addr() });
            self.seeders.push(app.clone());
            registering.spawn(async move {
                app.wait_connected(JOIN_DEADLINE).await?;
                let (updates, _nobody) = mpsc::channel(1);
                app.run(Command::Register { path, users: None }, updates).await
            });
        }
        while let Some(registered) = registering.join_next().await {
            match registered {
                Ok(registered) => drop(registered?),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        Ok(faces)
    }

    /// Starts the downloader.
    pub(super) async fn start_downloader(&mut self) -> Result<App, Failure> {
        let app = self.start(DOWNLOADER).await?;
        self.downloader = Some(app.clone());
        app.wait_connected(JOIN_DEADLINE).await?;
        Ok(app)
    }

    async fn start(&self, name: &str) -> Result<App, Failure> {
        let dir = Dir::new(&self.path(name).join("peer")).map_err(|error| {
            Failure::new(FailureKind::Failed, format!("could not find out where {name} is: {error}"))
        })?;
        let config = AppConfig {
            tracker: self.tracker.clone(),
            name: NameChoice::Given(UserName::suggestion(name)),
            dir,
            listen: LOOPBACK,
            advertise: Vec::new(),
            limit_up: None,
            limit_down: None,
            unfinished: Unfinished::Leave,
            accept: AcceptRule::Ask,
            mrt: MrtRole::Asks,
            group: None,
        };
        Box::pin(App::start(config)).await.map_err(|error: StartError| Failure {
            hint: error.hint(),
            ..Failure::new(FailureKind::Failed, format!("{name} did not start: {error}"))
        })
    }

    /// Ends all of them and removes the directory.
    pub(super) async fn strike(self) {
        let mut ending = JoinSet::new();
        for app in self.seeders.into_iter().chain(self.downloader) {
            ending.spawn(async move { app.shutdown().await });
        }
        let _all = ending.join_all().await;
        self.stop_tracker.cancel();
        if self.tracker.is_some() {
            self.tracker_ended.cancelled().await;
        }
        self.tasks.shutdown().await;
        let scratch = self.scratch;
        // Many files may take their time.
        let _gone = tokio::task::spawn_blocking(move || drop(scratch)).await;
    }
}
