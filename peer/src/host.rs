//! Hosts: a peer in this process together with the local API that lets others on its DIR act through it.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::{ApiClient, ApiServer};
use crate::app::{App, NameChoice, StartError, Unfinished};
use crate::command::{Failure, FailureKind};
use crate::config::Config;
use crate::tasks::Tasks;

/// How long to wait for a peer that has the DIR but does not answer: it is starting or ending.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look meanwhile.
const RETRY: Duration = Duration::from_millis(100);

/// A peer of this process.
#[derive(Debug)]
pub(crate) struct Host {
    /// The peer.
    pub(crate) app: App,
    api: ApiServer,
    dir: DirWas,
}

/// What DIR was before the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DirWas {
    New,
    Used,
}

/// The peer of a DIR.
#[derive(Debug)]
pub(crate) enum Peer {
    /// It runs in this process from now on.
    Here(Host),
    /// It runs in another.
    There(ApiClient),
}

impl Host {
    /// Starts a peer on the DIR and its local API. Where a peer is about to end there, waits for that a little.
    pub(crate) async fn start(config: &Config, unfinished: Unfinished, tasks: &Tasks) -> Result<Self, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::try_start(config, unfinished).await {
                Ok(host) => return Ok(host),
                Err(StartFailure::InUse(failure)) => {
                    if Instant::now() > deadline || ApiClient::find(&config.places, tasks).await.is_some() {
                        return Err(failure);
                    }
                }
                Err(StartFailure::Failed(failure)) => return Err(failure),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn try_start(config: &Config, unfinished: Unfinished) -> Result<Self, StartFailure> {
        let dir = if config.app.dir.state().exists() { DirWas::Used } else { DirWas::New };
        let mut app_config = config.app.clone();
        app_config.unfinished = unfinished;
        let app = match Box::pin(App::start(app_config)).await {
            Ok(app) => app,
            Err(error @ StartError::InUse { .. }) => return Err(StartFailure::InUse(told(&error))),
            Err(error) => return Err(StartFailure::Failed(told(&error))),
        };
        let bound = match config.places.to_listen() {
            Ok(socket) => ApiServer::bind(socket, app.clone())
                .map_err(|error| format!("could not listen at {} for other commands: {error}", socket.display())),
            Err(error) => Err(error.to_string()),
        };
        match bound {
            Ok(api) => Ok(Self { app, api, dir }),
            Err(text) => {
                app.shutdown().await;
                Err(StartFailure::Failed(Failure::new(FailureKind::Failed, text)))
            }
        }
    }

    /// What to say, the first time, of a default name that was taken; the tracker has given another.
    pub(crate) fn name_news(&self, wished: &NameChoice, given: &str) -> Option<String> {
        match wished {
            NameChoice::Default(name) if self.dir == DirWas::New && name.as_str() != given => {
                Some(format!("The name {name} is another peer's here; this one is called {given} (see --name)."))
            }
            _ => None,
        }
    }

    /// Ends when nobody else on the DIR has a command under way through this peer.
    pub(crate) async fn idle(&self) {
        self.api.idle().await;
    }

    /// Leaves the network and gives the DIR back.
    pub(crate) async fn shutdown(&self) {
        // The socket goes before the lock: whoever takes the DIR next makes one of the same name.
        self.api.stop_accepting();
        self.app.shutdown().await;
        self.api.shutdown().await;
    }
}

/// Why a peer did not start.
#[derive(Debug)]
enum StartFailure {
    /// Another process has the DIR.
    InUse(Failure),
    /// Something else.
    Failed(Failure),
}

impl Peer {
    /// The peer that runs on the DIR, or else a new one in this process.
    pub(crate) async fn find_or_start(config: &Config, unfinished: Unfinished, tasks: &Tasks) -> Result<Self, Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(client) = ApiClient::find(&config.places, tasks).await {
                return Ok(Self::There(client));
            }
            match Host::try_start(config, unfinished).await {
                Ok(host) => return Ok(Self::Here(host)),
                // It is starting or ending.
                Err(StartFailure::InUse(_)) if Instant::now() < deadline => {}
                Err(StartFailure::InUse(failure)) => {
                    let text = format!("{failure}, but does not answer");
                    return Err(Failure { text, ..failure });
                }
                Err(StartFailure::Failed(failure)) => return Err(failure),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

fn told(error: &StartError) -> Failure {
    Failure { hint: error.hint(), ..Failure::new(FailureKind::Failed, error.to_string()) }
}
