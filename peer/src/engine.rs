//! The engine: one handle to everything that moves chunks. It accepts and dials peers, serves what is shared, runs
//! downloads, and announces to the tracker what is here.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::id::{FileId, NetworkId, PeerId};
use common::identity::Identity;
use common::merkle::ChunkHashes;
use common::wire::tracker::Plan;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::command::{Progress, Share};
use crate::notice::Notice;
use crate::storage::Stamp;
use crate::tasks::Tasks;
use crate::tracker_client::TrackerClient;

/// Runs all transfers of this process; clones are handles to the same.
#[derive(Debug, Clone)]
pub struct Engine {}

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
        file: FileId,
    },
}

/// A complete file to be served.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What it is.
    pub file: FileId,
    /// Where it lies.
    pub path: PathBuf,
    /// What the file system said of it when it was hashed.
    pub stamp: Stamp,
    /// Its chunk hashes.
    pub hashes: Arc<ChunkHashes>,
}

/// What to download.
#[derive(Debug, Clone)]
pub struct DownloadSpec {
    /// `owner/name`, asked of the tracker for plans and tickets.
    pub entry: String,
    /// The bare name, for people and for the file.
    pub name: String,
    /// What it is.
    pub file: FileId,
    /// Where the complete file goes: its full path as wished; where that exists, ` (1)` and so on is put in.
    pub target: PathBuf,
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
    /// What is served now; for the library.
    pub shared: Shared,
    /// Chunk bytes that came over the wire in this run, those that were thrown away too.
    pub fetched_bytes: u64,
    /// From the start to the final name.
    pub elapsed: Duration,
    /// Who sent how much, the most first.
    pub shares: Vec<Share>,
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
    /// Begins to accept peers.
    pub async fn bind(_config: EngineConfig, _tasks: &Tasks) -> io::Result<Self> {
        todo!()
    }

    /// Where peers are accepted.
    pub fn local_addr(&self) -> SocketAddr {
        todo!()
    }

    /// Serves and downloads in the network of this tracker from now on, in no other. Called once.
    pub fn join(&self, _tracker: TrackerClient) {
        todo!()
    }

    /// Serves a complete file and announces it. Again with the same file: nothing changes.
    pub fn share(&self, _shared: Shared) {
        todo!()
    }

    /// Stops serving a file and withdraws it.
    pub fn unshare(&self, _file: &FileId) {
        todo!()
    }

    /// Downloads, goes on where an earlier run stopped, and serves what is there meanwhile and afterwards. Progress goes
    /// to the watch; cancelling the token ends it with [`DownloadError::Cancelled`].
    pub async fn download(
        &self,
        _spec: DownloadSpec,
        _progress: watch::Sender<Option<Progress>>,
        _cancel: CancellationToken,
    ) -> Result<Done, DownloadError> {
        todo!()
    }

    /// What earlier runs did not finish.
    pub fn unfinished(&self) -> io::Result<Vec<Unfinished>> {
        todo!()
    }

    /// Asks a peer whether it is there, at the first of these addresses that answers.
    pub async fn ping(&self, _peer: Option<PeerId>, _addresses: &[SocketAddr]) -> io::Result<Pong> {
        todo!()
    }

    /// What was moved.
    pub fn counters(&self) -> Counters {
        todo!()
    }
}
