//! Commands: what a user can ask of the peer, the same for shell, one-shots and local API.
//!
//! A [`Command`] goes in; [`Update`]s come out while it runs; an [`Outcome`] or a [`Failure`] ends it. All of them travel
//! as JSON between the programs of one DIR.

mod catalogue;
mod download;
mod downloads;
mod failure;
mod hash;
mod local;
mod names;
mod parts;
mod ping;
mod register;
mod run;

use std::net::SocketAddr;
use std::path::PathBuf;

use common::id::{FileId, Hash, NetworkId, PeerId};
use common::wire::tracker::{Entry, Holder, User};
use serde::{Deserialize, Serialize};

pub(crate) use self::download::resume;
pub(crate) use self::downloads::Downloads;
pub use self::hash::hash_file;
pub(crate) use self::names::SeenNames;
pub(crate) use self::parts::{Parts, off_reactor};
pub(crate) use self::run::{refresh_names, run};
use crate::notice::Notice;

/// What a user asks. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Hash a file, register it under its own name, and seed it. Ends in [`Outcome::Registered`].
    Register {
        /// The file.
        path: PathBuf,
    },
    /// Take an entry out of the catalogue and stop sharing it. Ends in [`Outcome::Deregistered`].
    Deregister {
        /// `name` or `owner/name`.
        entry: String,
    },
    /// List what there is. Ends in [`Outcome::Entries`].
    List,
    /// List what there is with a text in its name or owner. Ends in [`Outcome::Entries`].
    Search {
        /// A part of a name, or a glob.
        text: String,
    },
    /// Who has which chunks. Ends in [`Outcome::Locations`].
    Loc {
        /// `name` or `owner/name`.
        entry: String,
    },
    /// Download an entry. Ends, when the file is complete, in [`Outcome::Downloaded`].
    Download {
        /// `name` or `owner/name`.
        entry: String,
        /// Where to put it, a file or an existing directory, instead of `seeding/`.
        output: Option<PathBuf>,
        /// Give up (and keep what has come) after so many seconds without anybody who has what is missing; `None`:
        /// never.
        wait_secs: Option<u64>,
    },
    /// Stop a download; what has come is kept. Ends in [`Outcome::Cancelled`].
    Cancel {
        /// `name`, `owner/name`, or `--all` as `None`.
        entry: Option<String>,
    },
    /// Who is online. Ends in [`Outcome::Users`].
    Users,
    /// Is that user's peer, or the peer at that address, there, and how far. Ends in [`Outcome::Pong`].
    Ping {
        /// A user name or `ADDR:PORT`.
        target: String,
    },
    /// What this peer is doing. Ends in [`Outcome::Status`].
    Status,
    /// File id and SHA-256 of a file. Ends in [`Outcome::Hashed`].
    Hash {
        /// The file.
        path: PathBuf,
    },
    /// End the running peer of this DIR. Ends in [`Outcome::Stopping`].
    Stop,
}

/// What is told while a command runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    /// A download or a hashing went on; replaces the one before of the same name.
    Progress(Progress),
    /// Something worth a line.
    Notice(Notice),
}

/// How far a download or a hashing is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The entry's or file's name.
    pub name: String,
    /// What is being done.
    pub activity: Activity,
    /// Chunks verified and written.
    pub chunks: u32,
    /// Chunks in all.
    pub chunks_total: u32,
    /// Bytes verified and written (or hashed).
    pub bytes: u64,
    /// Bytes in all.
    pub bytes_total: u64,
    /// Bytes a second, over the last seconds.
    pub bytes_per_sec: u64,
    /// Seeders connected.
    pub seeders: u32,
}

/// What a [`Progress`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    /// A file is read for its id.
    Hashing,
    /// A file is fetched.
    Downloading,
    /// Nobody has what is missing.
    Waiting,
    /// What an earlier run left is looked through.
    Checking,
}

/// How a command ended well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Of [`Command::Register`].
    Registered {
        /// `owner/name`.
        entry: String,
        /// The bare name.
        name: String,
        /// What it is.
        file: FileId,
        /// Where it lies.
        path: PathBuf,
        /// Whether it was registered before.
        already: bool,
    },
    /// Of [`Command::Deregister`].
    Deregistered {
        /// As it was asked for.
        entry: String,
    },
    /// Of [`Command::List`] and [`Command::Search`].
    Entries(Vec<Entry>),
    /// Of [`Command::Loc`].
    Locations {
        /// The entry.
        entry: Entry,
        /// Its holders.
        holders: Vec<Holder>,
    },
    /// Of [`Command::Download`].
    Downloaded(Downloaded),
    /// Of [`Command::Cancel`].
    Cancelled {
        /// Which.
        names: Vec<String>,
    },
    /// Of [`Command::Users`].
    Users(Vec<User>),
    /// Of [`Command::Ping`].
    Pong {
        /// Who answered.
        peer: PeerId,
        /// Where.
        address: SocketAddr,
        /// Round trip in microseconds.
        round_trip_us: u64,
    },
    /// Of [`Command::Status`].
    Status(Box<Status>),
    /// Of [`Command::Hash`].
    Hashed {
        /// The file.
        path: PathBuf,
        /// Its id.
        file: FileId,
        /// What `sha256sum` prints.
        sha256: Hash,
    },
    /// Of [`Command::Stop`].
    Stopping,
}

/// A download that is complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Downloaded {
    /// `owner/name`.
    pub entry: String,
    /// What it is.
    pub file: FileId,
    /// Where it lies.
    pub path: PathBuf,
    /// Whether it lay there already and nothing was moved.
    pub already: bool,
    /// Bytes of chunks that came over the wire in this run, those that were thrown away too.
    pub fetched_bytes: u64,
    /// Milliseconds from the start to the final name.
    pub elapsed_ms: u64,
    /// Who sent how much, the most first.
    pub shares: Vec<Share>,
}

/// What came from one seeder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its user name, where known.
    pub user: String,
    /// Who.
    pub peer: PeerId,
    /// Where.
    pub address: SocketAddr,
    /// Verified chunks.
    pub chunks: u32,
    /// Bytes of them.
    pub bytes: u64,
}

/// What this peer is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its user name.
    pub name: String,
    /// Its id.
    pub peer: PeerId,
    /// Its DIR.
    pub dir: PathBuf,
    /// Where it accepts peers.
    pub listen: SocketAddr,
    /// The tracker's address as given.
    pub tracker: String,
    /// The tracker's fingerprint, where known.
    pub network: Option<NetworkId>,
    /// Whether the tracker is there now.
    pub connected: bool,
    /// What is shared in this network.
    pub sharing: Vec<SharedItem>,
    /// What is under way.
    pub downloads: Vec<Progress>,
    /// Chunk bytes sent since the start.
    pub uploaded_bytes: u64,
    /// Chunk bytes received since the start, those that were thrown away too.
    pub downloaded_bytes: u64,
}

/// A complete file that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedItem {
    /// The entry's name.
    pub name: String,
    /// What it is.
    pub file: FileId,
    /// Where it lies.
    pub path: PathBuf,
}

/// How a command ended badly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    /// For programs.
    pub kind: FailureKind,
    /// One sentence without a full stop.
    pub text: String,
    /// What to do, where that is not in the sentence.
    pub hint: Option<String>,
    /// The entries that it could be, where a name is ambiguous.
    pub candidates: Vec<Entry>,
}

impl Failure {
    /// A failure without hint and candidates.
    pub fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into(), hint: None, candidates: Vec::new() }
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Kinds of failures; each has an exit code of the one-shots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// Could not be done; exit code 1.
    Failed,
    /// Not a command, or not its arguments; exit code 2.
    Usage,
    /// Nobody has what is missing; what has come is kept; exit code 3.
    Incomplete,
    /// The tracker is not to be reached; exit code 4.
    NoTracker,
    /// Cancelled, by `cancel` or Ctrl-C; exit code 130.
    Cancelled,
}

impl FailureKind {
    /// The exit code of a one-shot that ends so.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Incomplete => 3,
            Self::NoTracker => 4,
            Self::Cancelled => 130,
        }
    }
}
