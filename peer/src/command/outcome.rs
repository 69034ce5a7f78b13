//! How commands end well, and how far they are on the way.

use std::net::SocketAddr;
use std::path::PathBuf;

use common::audience::{Audience, OfferId};
use common::id::{Content, FileId, Hash, NetworkId, PeerId};
use common::wire::tracker::{
    self as wire, Access, Answer, Device, Entry, FolderSize, HistoryLine, Holder, Offer, User, Version,
};
use serde::{Deserialize, Serialize};

use super::{Neighbourhood, Way};

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
    /// Of [`super::Command::Register`].
    Registered {
        /// `owner/name`.
        entry: String,
        /// The bare name.
        name: String,
        /// What it is.
        file: Content,
        /// With a folder: how much is in it.
        folder: Option<FolderSize>,
        /// Which version it is.
        version: u32,
        /// Where it lies.
        path: PathBuf,
        /// Whether it was registered before.
        already: bool,
        /// For whom it is.
        audience: Audience,
    },
    /// Of [`super::Command::Share`].
    Shared {
        /// `owner/name`.
        entry: String,
        /// The users it is for beside its owner; `None`: everyone.
        users: Option<Vec<String>>,
    },
    /// Of [`super::Command::Versions`].
    Versions {
        /// The newest.
        entry: Entry,
        /// The newest first.
        versions: Vec<Version>,
    },
    /// Of [`super::Command::Tracker`].
    Tracker {
        /// Its address as given.
        address: String,
        /// Its fingerprint.
        fingerprint: NetworkId,
        /// Whether a password may be sent to it without asking the user first.
        confirmed: bool,
        /// Who may join.
        access: Access,
    },
    /// Of [`super::Command::SignUp`] and [`super::Command::LogIn`].
    LoggedIn {
        /// The account's name.
        name: String,
    },
    /// Of [`super::Command::LogOut`].
    LoggedOut {
        /// The name of this peer from now on, where it may still be on the network.
        name: Option<String>,
    },
    /// Of [`super::Command::ChangePassword`].
    PasswordChanged,
    /// Of [`super::Command::WhoAmI`].
    WhoAmI {
        /// The user name; `None` where this tracker wants a login first.
        name: Option<String>,
        /// Whether that is an account with a password.
        account: bool,
        /// This device's id.
        peer: PeerId,
        /// The tracker's address as given.
        tracker: String,
    },
    /// Of [`super::Command::Devices`].
    Devices {
        /// The one that was seen last first.
        devices: Vec<Device>,
        /// Which of them this is.
        this: PeerId,
    },
    /// Of [`super::Command::Revoke`].
    Revoked {
        /// Which.
        device: PeerId,
    },
    /// Of [`super::Command::Subscribe`].
    Following {
        /// `owner/name`.
        entry: String,
        /// Its newest version.
        version: u32,
        /// Where it lies, once it is here.
        path: Option<PathBuf>,
    },
    /// Of [`super::Command::Unsubscribe`].
    Unfollowed {
        /// `owner/name`.
        entry: String,
    },
    /// Of [`super::Command::Synced`].
    Synced(Vec<Synced>),
    /// Of [`super::Command::Watch`] and [`super::Command::Unwatch`].
    Watched {
        /// What is watched now.
        paths: Vec<PathBuf>,
    },
    /// Of [`super::Command::Chat`] and [`super::Command::Message`].
    Said,
    /// Of [`super::Command::History`].
    History(Vec<HistoryLine>),
    /// Of [`super::Command::Send`].
    Sent {
        /// The offer's number.
        offer: OfferId,
        /// Under which name.
        name: String,
        /// Bytes in all.
        bytes: u64,
        /// To whom.
        to: Vec<String>,
    },
    /// Of [`super::Command::Answer`].
    Answered {
        /// Which offer.
        offer: OfferId,
        /// By whom.
        from: String,
        /// Its name.
        name: String,
        /// What was said.
        answer: Answer,
    },
    /// Of [`super::Command::Offers`].
    Offers {
        /// To this user.
        received: Vec<Offer>,
        /// By this user.
        sent: Vec<wire::Sent>,
    },
    /// Of [`super::Command::Deregister`].
    Deregistered {
        /// As it was asked for.
        entry: String,
    },
    /// Of [`super::Command::List`] and [`super::Command::Search`].
    Entries(Vec<Entry>),
    /// Of [`super::Command::Loc`].
    Locations {
        /// The entry.
        entry: Entry,
        /// Its holders.
        holders: Vec<Holder>,
    },
    /// Of [`super::Command::Download`].
    Downloaded(Downloaded),
    /// Of [`super::Command::Cancel`].
    Cancelled {
        /// Which.
        names: Vec<String>,
    },
    /// Of [`super::Command::Connect`].
    Connected {
        /// As it was asked for.
        address: SocketAddr,
        /// Who is there.
        peer: PeerId,
        /// Its user's name, once it is known.
        name: Option<String>,
    },
    /// Of [`super::Command::Invite`].
    Invited {
        /// As it was asked for.
        address: SocketAddr,
    },
    /// Of [`super::Command::Neighbours`].
    Neighbours(Neighbourhood),
    /// Of [`super::Command::Users`].
    Users(Vec<User>),
    /// Of [`super::Command::Ping`].
    Pong {
        /// Who answered.
        peer: PeerId,
        /// Where.
        address: SocketAddr,
        /// Round trip in microseconds.
        round_trip_us: u64,
    },
    /// Of [`super::Command::Status`].
    Status(Box<Status>),
    /// Of [`super::Command::Hash`].
    Hashed {
        /// The file.
        path: PathBuf,
        /// Its id.
        file: FileId,
        /// What `sha256sum` prints.
        sha256: Hash,
    },
    /// Of [`super::Command::Hash`] of a folder.
    HashedFolder {
        /// The folder.
        path: PathBuf,
        /// What it is: the id of its manifest, and how many chunks its files have.
        folder: Content,
        /// How much is in it.
        size: FolderSize,
    },
    /// Of [`super::Command::Stop`].
    Stopping,
}

/// An entry that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    /// `owner/name`.
    pub entry: String,
    /// Which version is here; `None` where none is yet.
    pub here: Option<u32>,
    /// Which is the newest; `None` where the entry is not there any more.
    pub there: Option<u32>,
    /// Where it lies.
    pub path: Option<PathBuf>,
}

/// A download that is complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Downloaded {
    /// `owner/name`.
    pub entry: String,
    /// Which version.
    pub version: u32,
    /// What it is.
    pub file: Content,
    /// Bytes of it: of a folder, of all files in it.
    pub bytes: u64,
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
    /// Those with whom it is connected over MRT, because TCP does not bring them together.
    #[serde(default)]
    pub over_mrt: Vec<OverMrt>,
}

/// Somebody who is reached over MRT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverMrt {
    /// The user's name; empty where the tracker has not said it.
    pub user: String,
    /// Its id.
    pub peer: PeerId,
    /// Directly, or through the tracker's relay.
    pub way: Way,
}

/// A complete file that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedItem {
    /// The entry's name.
    pub name: String,
    /// What it is.
    pub file: Content,
    /// Where it lies.
    pub path: PathBuf,
}
