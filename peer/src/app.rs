//! The app: one running peer. It owns a DIR, its key, its library, its engine and its tracker client, and runs commands
//! for whichever face asks.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use common::wire::tracker::Welcome;
use tokio::sync::{broadcast, mpsc};

use crate::command::{Command, Failure, Outcome, Update};
use crate::dir::Dir;
use crate::notice::Notice;
pub use crate::tracker_client::{NameChoice, TrackerAddress};

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
}

/// What happens at the start to downloads that an earlier run did not finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// They go on by themselves, as soon as the tracker is there.
    Resume,
    /// They stay as they are until somebody asks for them.
    Leave,
}

/// A running peer; clones are handles to the same.
#[derive(Debug, Clone)]
pub struct App {}

/// Why an app could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process runs on this DIR: talk to it through [`Dir::socket`].
    #[error("another peer (process {pid}) runs on {}", dir.display())]
    InUse {
        /// Which DIR.
        dir: PathBuf,
        /// Its process id, 0 where unknown.
        pid: u32,
    },
    /// A file or folder of DIR cannot be made, read or written.
    #[error("could not use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file is not a key.
    #[error("{} is damaged: it should hold 64 hex digits", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
    },
    /// The address to accept peers at cannot be had.
    #[error("could not listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

impl StartError {
    /// What to do about it, where that is not in the sentence.
    pub fn hint(&self) -> Option<String> {
        todo!()
    }
}

impl App {
    /// Takes the DIR and begins to serve, to connect to the tracker and, where wished, to go on with what was left
    /// unfinished. A tracker that is not there is no error here: see [`Self::wait_connected`].
    pub async fn start(_config: AppConfig) -> Result<Self, StartError> {
        todo!()
    }

    /// Runs a command to its end; many may run at once.
    ///
    /// Updates are dropped while the queue is full, but for the last progress. Dropping the future is safe at any await: a
    /// download goes on, a hashing ends, what the tracker was asked for may be done or not.
    pub async fn run(&self, _command: Command, _updates: mpsc::Sender<Update>) -> Result<Outcome, Failure> {
        todo!()
    }

    /// What the peer tells by itself. A receiver that lags loses the oldest.
    pub fn notices(&self) -> broadcast::Receiver<Notice> {
        todo!()
    }

    /// Waits until this peer is on the network; fails when the tracker refused for good or when time is up.
    pub async fn wait_connected(&self, _timeout: Duration) -> Result<Welcome, Failure> {
        todo!()
    }

    /// Ends when [`Command::Stop`] was run, or the app was shut down.
    pub async fn stop_requested(&self) {
        todo!()
    }

    /// Leaves the network, ends all transfers (what has come is kept) and gives the DIR back. Idempotent; every caller
    /// waits until it is done.
    pub async fn shutdown(&self) {
        todo!()
    }

    /// Where everything lies.
    pub fn dir(&self) -> &Dir {
        todo!()
    }

    /// Where peers are accepted.
    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }

    /// The tracker in use.
    pub fn tracker(&self) -> &TrackerAddress {
        todo!()
    }

    /// The user name: the tracker's word for it, or the one wished for before it was reached.
    pub fn name(&self) -> String {
        todo!()
    }

    /// Names of entries heard of so far, in order, for completion: `name`, and `owner/name` too where that is needed.
    pub fn known_entries(&self) -> Vec<String> {
        todo!()
    }

    /// Names of users heard of so far, in order, for completion.
    pub fn known_users(&self) -> Vec<String> {
        todo!()
    }

    /// Names of the downloads under way, in order.
    pub fn download_names(&self) -> Vec<String> {
        todo!()
    }
}
