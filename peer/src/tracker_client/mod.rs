//! The tracker client: one connection to one tracker, kept open for as long as the peer runs.
//!
//! It joins again by itself when the connection ends, and then announces again whatever is to be announced; requests
//! are answered or fail within a named time.

mod address;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::id::{FileId, NetworkId};
use common::identity::{Identity, PublicKey};
use common::name::UserName;
use common::wire::tracker::{Event, Have, Refusal, Reply, Request, Welcome};
use tokio::sync::{broadcast, watch};

pub use self::address::{AddressError, TrackerAddress};
use crate::notice::Notice;
use crate::tasks::Tasks;

/// A request that has no answer after so long has failed.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// A handle to the connection; clones are handles to the same.
#[derive(Debug, Clone)]
pub struct TrackerClient {}

/// What a client is made from.
#[derive(Debug)]
pub struct TrackerConfig {
    /// Which tracker.
    pub address: TrackerAddress,
    /// This peer's key.
    pub identity: Arc<Identity>,
    /// The user name wished for.
    pub name: NameChoice,
    /// The port this peer accepts others on.
    pub port: u16,
    /// Where it is to be reached from anywhere.
    pub advertise: Vec<SocketAddr>,
    /// Where first uses of trackers are remembered.
    pub known_trackers: PathBuf,
    /// Where notices go.
    pub notices: broadcast::Sender<Notice>,
}

/// The user name of this peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameChoice {
    /// Only this will do.
    Given(UserName),
    /// Where it is taken, the tracker may put a number after it.
    Default(UserName),
}

/// How the connection is.
#[derive(Debug, Clone)]
pub enum TrackerState {
    /// This peer is on the network.
    Connected(Welcome),
    /// It tries to be.
    Connecting {
        /// Why it is not: a sentence; empty before the first try has ended.
        why: String,
    },
    /// The very first joining was refused for good, and nothing is tried any more.
    Failed(TrackerError),
}

/// Why there is no answer to a request.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TrackerError {
    /// The tracker refused; nothing was changed there.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no connection.
    #[error("no tracker answers at {address} ({why})")]
    NotConnected {
        /// Where it should be.
        address: TrackerAddress,
        /// What went wrong.
        why: String,
    },
    /// The connection ended, or time was up, before the answer came: it may have been done or not.
    #[error("the tracker at {address} did not answer ({why})")]
    NoAnswer {
        /// Where it is.
        address: TrackerAddress,
        /// What went wrong.
        why: String,
    },
    /// The tracker has not the key that it should have.
    #[error("{text}")]
    WrongKey {
        /// A sentence that names both fingerprints.
        text: String,
        /// What to do.
        hint: String,
    },
    /// The request is longer than a frame may be.
    #[error("the request is too long")]
    TooLong,
}

impl TrackerClient {
    /// Begins to connect; never fails, see [`Self::state`].
    pub fn start(_config: TrackerConfig, _tasks: &Tasks) -> Self {
        todo!()
    }

    /// Asks the tracker and waits for its answer, at most [`REQUEST_DEADLINE`].
    pub async fn request(&self, _request: Request) -> Result<Reply, TrackerError> {
        todo!()
    }

    /// How the connection is, now and whenever that changes.
    pub fn state(&self) -> watch::Receiver<TrackerState> {
        todo!()
    }

    /// What the tracker tells by itself. A receiver that lags loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        todo!()
    }

    /// Which network this is; `None` until the tracker was reached for the first time, unless it is pinned.
    pub fn network(&self) -> Option<NetworkId> {
        todo!()
    }

    /// The key that the tracker signs tickets with; `None` until it was reached for the first time.
    pub fn tracker_key(&self) -> Option<PublicKey> {
        todo!()
    }

    /// The tracker's time, milliseconds since 1970 (UTC): this machine's until it was reached for the first time.
    pub fn now_ms(&self) -> u64 {
        todo!()
    }

    /// Says which chunks of a file are here, now and after every reconnect. [`Have::All`] and [`Have::Map`] replace what
    /// was said, at once; [`Have::Add`] adds to it and goes out at most once a second; [`Have::None`] withdraws it.
    pub fn announce(&self, _file: FileId, _have: Have) {
        todo!()
    }

    /// Leaves the network in good order and ends the connection. Idempotent.
    pub async fn leave(&self) {
        todo!()
    }
}
