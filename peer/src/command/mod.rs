//! Commands: what a user can ask of the peer, the same for shell, one-shots and local API.
//!
//! A [`Command`] goes in; [`Update`]s come out while it runs; an [`Outcome`] or a [`Failure`] ends it. All of them travel
//! as JSON between the programs of one DIR.

mod accept;
mod account;
mod catalogue;
mod copies;
mod download;
mod downloads;
mod errand;
mod failure;
mod follow;
mod hash;
mod hold;
mod local;
mod names;
mod newer;
mod nodes;
mod offers;
mod outcome;
mod parts;
mod ping;
mod register;
mod run;
mod sharing;
mod syncer;
mod talk;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;

use common::id::NetworkId;
use common::secret::Secret;
use common::wire::tracker::{Answer, AudienceChange, Entry, SortBy};
use serde::{Deserialize, Serialize};

pub use self::accept::AcceptRule;
pub(crate) use self::downloads::Downloads;
pub(crate) use self::errand::resume;
pub use self::hash::hash_file;
pub(crate) use self::hold::{Held, Holding, hold};
pub(crate) use self::names::SeenNames;
pub use self::nodes::{Neighbour, Neighbourhood, OwnNode, Way};
pub use self::outcome::{Activity, Downloaded, Outcome, OverMrt, Progress, Share, SharedItem, Status, Synced};
pub(crate) use self::parts::{Parts, off_reactor};
pub(crate) use self::run::{refresh_names, run};
pub(crate) use self::syncer::keep_in_step;
pub(crate) use self::watch::keep_watching;
use crate::notice::Notice;

/// What a user asks. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Hash a file or a folder, register it under its own name, or as a new version of what is registered under it, and
    /// seed it. Ends in [`Outcome::Registered`].
    Register {
        /// The file or folder.
        path: PathBuf,
        /// The users it is for; `None` leaves that as it is, and a new entry is for everyone.
        users: Option<Vec<String>>,
    },
    /// Change for whom an own entry is. Ends in [`Outcome::Shared`].
    Share {
        /// `name` or `owner/name`.
        entry: String,
        /// How.
        change: AudienceChange,
    },
    /// Take an entry out of the catalogue and stop sharing it. Ends in [`Outcome::Deregistered`].
    Deregister {
        /// `name` or `owner/name`.
        entry: String,
    },
    /// List what there is. Ends in [`Outcome::Entries`].
    List(Listing),
    /// List what there is with a text in its name or owner. Ends in [`Outcome::Entries`].
    Search {
        /// A part of a name, or a glob.
        text: String,
        /// Which of them, and in which order.
        listing: Listing,
    },
    /// All versions of an entry. Ends in [`Outcome::Versions`].
    Versions {
        /// `name` or `owner/name`.
        entry: String,
    },
    /// Who has which chunks. Ends in [`Outcome::Locations`].
    Loc {
        /// `name` or `owner/name`.
        entry: String,
    },
    /// Download an entry. Ends, when all of it is complete, in [`Outcome::Downloaded`].
    Download {
        /// `name` or `owner/name`, perhaps with `@` and a version.
        entry: String,
        /// Of a folder, only the files whose paths match one of these globs; empty: all. A part is not followed.
        only: Vec<String>,
        /// Whether new versions come by themselves from then on.
        follow: Follow,
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
    /// Which tracker it is, and whether the user ever said that it is the right one. Ends in [`Outcome::Tracker`].
    Tracker,
    /// Make an account on the tracker. Ends in [`Outcome::LoggedIn`].
    SignUp {
        /// Name and password, and that the tracker is the right one.
        login: Login,
        /// An invite's code.
        code: Option<Secret>,
    },
    /// Log in to an account. Ends in [`Outcome::LoggedIn`].
    LogIn {
        /// Name and password, and that the tracker is the right one.
        login: Login,
    },
    /// Log out. Ends in [`Outcome::LoggedOut`].
    LogOut,
    /// Change the password of the account. Ends in [`Outcome::PasswordChanged`].
    ChangePassword {
        /// As it is.
        old: Secret,
        /// As it is to be.
        new: Secret,
    },
    /// Who this peer is on the tracker. Ends in [`Outcome::WhoAmI`].
    WhoAmI,
    /// The devices of the account. Ends in [`Outcome::Devices`].
    Devices,
    /// Throw a device out of the account. Ends in [`Outcome::Revoked`].
    Revoke {
        /// The beginning of its id, which no other device of the account has.
        device: String,
    },
    /// Follow an entry: its newest version comes now, newer ones by themselves. Ends in [`Outcome::Following`].
    Subscribe {
        /// `name` or `owner/name`.
        entry: String,
    },
    /// Follow an entry no more; what is here stays. Ends in [`Outcome::Unfollowed`].
    Unsubscribe {
        /// `name` or `owner/name`.
        entry: String,
    },
    /// What is followed. Ends in [`Outcome::Synced`].
    Synced,
    /// Register a shared file or folder anew whenever it changes on disk; with `None`, list what is watched. Ends in
    /// [`Outcome::Watched`].
    Watch {
        /// What is registered, or is registered now.
        path: Option<PathBuf>,
    },
    /// Watch it no more. Ends in [`Outcome::Watched`].
    Unwatch {
        /// What is watched.
        path: PathBuf,
    },
    /// Say something to all. Ends in [`Outcome::Said`].
    Chat {
        /// What.
        text: String,
    },
    /// Say something to one user. Ends in [`Outcome::Said`].
    Message {
        /// To whom.
        to: String,
        /// What.
        text: String,
    },
    /// What was said to all of late. Ends in [`Outcome::History`].
    History,
    /// Push a file or a folder to users. Ends in [`Outcome::Sent`].
    Send {
        /// The file or folder.
        path: PathBuf,
        /// To whom; `None`: to all who are online.
        to: Option<Vec<String>>,
    },
    /// Answer an offer. An accepted one downloads in the background. Ends in [`Outcome::Answered`].
    Answer {
        /// Its number, or the sender's name where there is one offer of his without an answer, or `None` where there is
        /// one such offer in all.
        offer: Option<String>,
        /// How.
        answer: Answer,
    },
    /// Offers to this user, and by it. Ends in [`Outcome::Offers`].
    Offers,
    /// File id and SHA-256 of a file, or the id of a folder. Ends in [`Outcome::Hashed`] or [`Outcome::HashedFolder`].
    Hash {
        /// The file.
        path: PathBuf,
    },
    /// In a network without a tracker: become one network with whoever is there. Ends in [`Outcome::Connected`].
    Connect {
        /// Where.
        address: SocketAddr,
    },
    /// In a network without a tracker: open our router for whoever is there, until it answers or a minute has passed. Ends
    /// in [`Outcome::Invited`].
    Invite {
        /// Where.
        address: SocketAddr,
    },
    /// In a network without a tracker: who is there, and how each is reached. Ends in [`Outcome::Neighbours`].
    Neighbours,
    /// End the running peer of this DIR. Ends in [`Outcome::Stopping`].
    Stop,
}

/// Which entries are listed, and in which order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Only own ones.
    #[serde(default)]
    pub mine: bool,
    /// In which order.
    #[serde(default)]
    pub by: SortBy,
    /// At most so many; `None`: all.
    #[serde(default)]
    pub limit: Option<u32>,
}

/// Whether a download is followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follow {
    /// New versions come by themselves, unless it is an older version or a part of a folder.
    #[default]
    Yes,
    /// Only this version.
    No,
}

/// Name and password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// The account's name.
    pub name: String,
    /// Its password.
    pub password: Secret,
    /// The fingerprint that the user was shown and said yes to, where the tracker's key was neither pinned nor ever
    /// confirmed before: without it no password is sent to such a tracker.
    pub confirmed: Option<NetworkId>,
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
    /// The tracker wants a login first; exit code 5.
    LoginRequired,
    /// To sign up takes the code of an invite; exit code 5.
    InviteRequired,
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
            Self::LoginRequired | Self::InviteRequired => 5,
            Self::Cancelled => 130,
        }
    }
}
