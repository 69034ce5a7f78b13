//! Messages between a peer and the tracker: JSON, one a frame.
//!
//! The peer sends [`FromPeer`]s, each request with an id of its choice; the tracker sends [`FromTracker`]s: one reply
//! for each request, in any order, and events and pings at any time. The first request on a connection is
//! [`Request::Hello`]; until it is granted every other is refused. Unknown JSON fields are ignored; an unknown operation
//! is answered with [`Code::Unknown`].

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::bitmap::{Bitmap, BitmapError};
use crate::chunk::Layout;
use crate::id::{FileId, PeerId};
use crate::index::{Change, Changed, Chunks, Index, IndexError};

mod body;
#[cfg(test)]
mod tests;

pub use body::{Strange, TooLarge, Undecoded};

/// What a peer sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromPeer {
    /// A request, answered by [`FromTracker::Reply`] or [`FromTracker::Refusal`] with the same id.
    Request {
        /// The peer's number for it.
        id: u64,
        /// What is asked.
        op: Request,
    },
    /// Answers the ping of this number; not answered.
    Pong(u64),
}

/// What a tracker sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromTracker {
    /// A request was done.
    Reply {
        /// The request's number.
        id: u64,
        /// What came of it.
        result: Reply,
    },
    /// A request was refused, and nothing was changed.
    Refusal {
        /// The request's number.
        id: u64,
        /// Why.
        error: Refusal,
    },
    /// To be answered with [`FromPeer::Pong`] of the same number before the ping timeout.
    Ping(u64),
    /// Something happened.
    Event(Event),
}

/// What a peer may ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Joins the network. Replied to with [`Reply::Welcome`].
    Hello(Hello),
    /// Leaves it in good order. Replied to with [`Reply::Done`]; then the tracker closes.
    Leave,
    /// Puts an entry `caller/name` into the catalogue, replied to with [`Reply::Registered`]. The same name with the
    /// same file again changes nothing and is granted; the same name with another file is a conflict.
    Register {
        /// The entry's name, without owner.
        name: String,
        /// What it names.
        file: FileId,
    },
    /// Takes an entry of the caller out of the catalogue. Replied to with [`Reply::Done`].
    Deregister {
        /// `name` or `owner/name`.
        entry: String,
    },
    /// Lists entries in the order of name and owner. Replied to with [`Reply::Entries`].
    List(Page),
    /// Lists entries of which name or owner contains `text`, case-folded, or matches it as a glob where it has `*` or
    /// `?`. Replied to with [`Reply::Entries`].
    Search {
        /// At most [`super::MAX_SEARCH_TEXT`] bytes.
        text: String,
        /// Which part of the result.
        #[serde(default)]
        page: Page,
    },
    /// Which peers have which chunks of an entry. Replied to with [`Reply::Locations`].
    Loc {
        /// `name` or `owner/name`.
        entry: String,
        /// Skip so many holders: the `next` of the reply before.
        #[serde(default)]
        offset: u32,
    },
    /// What a download of an entry needs, and a wish to hear of new holders until [`Request::Announce`] says
    /// [`Have::None`]. Replied to with [`Reply::Plan`].
    Plan {
        /// `name` or `owner/name`.
        entry: String,
        /// When set: only if the entry still names this file (resuming a download), else [`Code::Changed`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<FileId>,
    },
    /// A fresh ticket for a swarm that an entry of the catalogue names. Replied to with [`Reply::Ticket`].
    Ticket {
        /// `name` or `owner/name`.
        entry: String,
        /// The swarm.
        file: FileId,
    },
    /// Which chunks the caller has now. Replied to with [`Reply::Done`].
    Announce {
        /// At most [`super::MAX_ANNOUNCED`] swarms.
        swarms: Vec<Announced>,
    },
    /// A download is complete and verified (for the log). Replied to with [`Reply::Done`].
    Completed {
        /// Which entry, `owner/name`.
        entry: String,
        /// What it named.
        file: FileId,
    },
    /// No address of a seeder answered: asks the tracker to have it dial the caller. Replied to with [`Reply::Done`]
    /// when the seeder was asked, or a refusal ([`Code::Busy`], [`Code::Gone`]).
    DialMe {
        /// The seeder.
        peer: PeerId,
    },
    /// Tells how a dial that the tracker asked for ended; the tracker learns from it who is reachable. Replied to with
    /// [`Reply::Done`].
    Dialled {
        /// Whom the caller dialled.
        peer: PeerId,
        /// Whether a connection came about.
        reached: bool,
    },
    /// Who is online. Replied to with [`Reply::Users`].
    Users,
    /// Where a user or a peer is. Replied to with [`Reply::Whereabouts`].
    Where {
        /// A user's name.
        user: String,
    },
}

/// How a peer introduces itself. Its peer id is that of its TLS key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The user name it would like.
    pub name: String,
    /// Whether a free `name-2` and so on will do where the name is taken (a default name), or only this (`--name`).
    #[serde(default)]
    pub name_is_default: bool,
    /// The port it accepts peers on.
    pub port: u16,
    /// Addresses of its interfaces, at most [`super::MAX_ADDRESSES`].
    #[serde(default)]
    pub interfaces: Vec<IpAddr>,
    /// Addresses it is to be reached at from anywhere (`--advertise`), at most [`super::MAX_ADDRESSES`].
    #[serde(default)]
    pub advertised: Vec<SocketAddr>,
    /// The program and its version, for the log.
    #[serde(default)]
    pub agent: String,
}

/// Which part of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Skip so many.
    #[serde(default)]
    pub offset: u32,
    /// At most so many; 0, or more than [`super::MAX_PAGE`], means that.
    #[serde(default)]
    pub limit: u32,
}

/// Which chunks of one swarm a peer has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// The swarm.
    pub file: FileId,
    /// What it has, or what came since the last time.
    pub have: Have,
}

/// Chunks that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Have {
    /// Every chunk.
    All,
    /// These and no others: [`Bitmap::to_hex`]. An empty bitmap says: I am downloading and have nothing yet.
    Map(String),
    /// These in addition to those announced before, by number, from 0. Only in announcements.
    Add(Vec<u32>),
    /// Withdrawn: nothing is served and nothing wanted any more.
    None,
}

impl Have {
    /// Says what a bitmap says, [`Self::All`] where it is full.
    pub fn of(bitmap: &Bitmap) -> Self {
        if bitmap.is_full() { Self::All } else { Self::Map(bitmap.to_hex()) }
    }

    /// The bitmap over the chunks of `file`; [`Self::Add`] and [`Self::None`] start from no chunk.
    pub fn to_bitmap(&self, file: &FileId) -> Result<Bitmap, BitmapError> {
        let count = Layout::of(file).count();
        match self {
            Self::All => Ok(Bitmap::full(count)),
            Self::Map(hex) => Bitmap::from_hex(count, hex),
            Self::Add(chunks) => {
                let mut bitmap = Bitmap::empty(count);
                for chunk in chunks {
                    bitmap.insert(*chunk);
                }
                Ok(bitmap)
            }
            Self::None => Ok(Bitmap::empty(count)),
        }
    }
}

impl From<Chunks> for Have {
    fn from(chunks: Chunks) -> Self {
        match chunks {
            Chunks::All => Self::All,
            Chunks::Some(bitmap) => Self::of(&bitmap),
        }
    }
}

impl Announced {
    /// Tells an index that this is what `peer` has.
    pub fn enter(&self, index: &Index, peer: PeerId) -> Result<Changed, AnnouncedError> {
        let changed = match &self.have {
            Have::All => index.announce(peer, self.file, Change::All)?,
            Have::Map(_) => index.announce(peer, self.file, Change::Map(&self.have.to_bitmap(&self.file)?))?,
            Have::Add(chunks) => index.announce(peer, self.file, Change::Add(chunks))?,
            Have::None => index.announce(peer, self.file, Change::None)?,
        };
        Ok(changed)
    }
}

/// Why an announcement was not entered; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnnouncedError {
    /// Not a map of that file.
    #[error(transparent)]
    Bitmap(#[from] BitmapError),
    /// Not to be entered.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done, nothing to tell.
    Done,
    /// The caller is in.
    Welcome(Welcome),
    /// The entry is in the catalogue, durably.
    Registered {
        /// `owner/name`.
        entry: String,
        /// Whether it was there before with this very file.
        already: bool,
    },
    /// A part of the catalogue.
    Entries {
        /// In order.
        entries: Vec<Entry>,
        /// How many there are in all parts together.
        total: u32,
    },
    /// Who has which chunks.
    Locations {
        /// The entry asked for.
        entry: Entry,
        /// Its holders: the complete ones first.
        holders: Vec<Holder>,
        /// Where the next part begins, if there is one.
        next: Option<u32>,
    },
    /// What a download needs.
    Plan(Plan),
    /// A ticket: the bytes of [`crate::ticket::Ticket`] in lower-case hex.
    Ticket {
        /// Hex.
        ticket: String,
    },
    /// Who is online, by name.
    Users {
        /// Everyone, the caller too.
        users: Vec<User>,
    },
    /// Where somebody is.
    Whereabouts {
        /// Its devices, each with its addresses as the caller may know them.
        holders: Vec<Holder>,
    },
}

/// What a peer is told when it joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Its name here.
    pub name: String,
    /// Where the tracker sees it.
    pub seen_as: SocketAddr,
    /// The tracker's time, milliseconds since 1970 (UTC).
    pub time_ms: u64,
    /// How long until a peer that does not answer a ping is gone: interval and timeout together, in milliseconds. A peer
    /// that has heard nothing for so long does well to reconnect.
    pub silence_ms: u64,
    /// How many peers are online, this one included.
    pub peers: u32,
}

/// A line of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose: several where they have the same file under the same name.
    pub owners: Vec<String>,
    /// Its name, without owner.
    pub name: String,
    /// What it names.
    pub file: FileId,
    /// How many online peers have all of it.
    pub seeders: u32,
    /// How many online peers have a part of it or want it.
    pub downloaders: u32,
    /// When it was registered first, milliseconds since 1970 (UTC).
    pub registered_ms: u64,
}

/// A peer that has chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Who it is.
    pub peer: PeerId,
    /// Its user's name.
    pub user: String,
    /// Where to dial it, the likeliest first.
    pub addresses: Vec<SocketAddr>,
    /// What it has; `None` where the reply had no room for it: it says so itself.
    pub have: Option<Have>,
}

/// What a download needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The entry, with all owners of this name and file.
    pub entry: Entry,
    /// Shown to seeders: the bytes of [`crate::ticket::Ticket`] in lower-case hex.
    pub ticket: String,
    /// At most [`super::MAX_PLAN_SEEDERS`] who have or want the file, the caller left out.
    pub holders: Vec<Holder>,
}

/// Somebody who is online.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// The peer's id.
    pub peer: PeerId,
    /// Since when, milliseconds since 1970 (UTC).
    pub since_ms: u64,
    /// How many swarms it has announced.
    pub files: u32,
    /// Whether others reach it by dialling; `None` while nobody knows.
    pub reachable: Option<bool>,
}

/// What the tracker tells by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A peer now has chunks of (or wants) a swarm that this peer is downloading.
    Holder {
        /// The swarm.
        file: FileId,
        /// Who, where, and what.
        holder: Holder,
    },
    /// Somebody wants this peer's chunks and cannot reach it: dial one of these addresses, then send
    /// [`Request::Dialled`].
    Dial {
        /// Who it will be.
        peer: PeerId,
        /// Where.
        addresses: Vec<SocketAddr>,
    },
    /// Somebody came online.
    Joined {
        /// The user's name.
        name: String,
        /// Its peer id.
        peer: PeerId,
    },
    /// Somebody went offline; its chunks are no longer to be had from it.
    Left {
        /// The user's name.
        name: String,
        /// Its peer id.
        peer: PeerId,
    },
    /// The tracker ends; it will say nothing more.
    Shutdown,
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: one sentence that says what to do.
    pub text: String,
    /// With [`Code::Ambiguous`]: the entries that it could be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Entry>,
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The message made no sense.
    Malformed,
    /// No such operation here.
    Unknown,
    /// Not before `hello`.
    NotJoined,
    /// The name is not one.
    BadName,
    /// The user name belongs to another key.
    NameTaken,
    /// No such entry, user or peer.
    NotFound,
    /// Owners have different files under this name.
    Ambiguous,
    /// The caller's entry of this name names another file.
    Conflict,
    /// The entry does not name that file any more.
    Changed,
    /// Not the caller's to do.
    Forbidden,
    /// Too much at once; later.
    Busy,
    /// The peer asked about is offline.
    Gone,
    /// A limit is reached.
    Limit,
    /// The tracker cannot do it now (its disk is full, say).
    Unavailable,
    /// A code of a newer tracker.
    #[serde(other)]
    Newer,
}
