//! What is said of people: accounts, devices, who may have what, what they follow, say and push to each other.

use serde::{Deserialize, Serialize};

use super::{Entry, FolderSize};
use crate::audience::{Audience, OfferId};
use crate::id::{Content, PeerId};

/// Who may join a tracker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everybody; a name belongs to the first key that uses it, or to the account of that name.
    #[default]
    Open,
    /// Who has an account; everybody may sign up.
    Accounts,
    /// The same, but to sign up takes the code of an invite.
    Invite,
}

/// A key that is bound to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The key's peer id.
    pub peer: PeerId,
    /// What its user calls the machine.
    pub name: String,
    /// Since when it is bound, milliseconds since 1970 (UTC).
    pub since_ms: u64,
    /// When it was last seen online, to within an hour.
    pub seen_ms: u64,
    /// Whether it is online.
    pub online: bool,
}

/// How it is changed for whom an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudienceChange {
    /// For these users too. An entry for everyone is a conflict.
    Add(Vec<String>),
    /// Not for these users any more. An entry for everyone is a conflict.
    Remove(Vec<String>),
    /// For everyone.
    Everyone,
    /// For its owner alone.
    Nobody,
}

/// An entry that a key follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscription {
    /// `owner/name`.
    pub entry: String,
    /// Its newest version, with its owner alone; `None` where it is not there (any more), or not for the caller.
    pub newest: Option<Entry>,
}

/// Tickets that are worth nothing any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose.
    pub holder: PeerId,
    /// Only those for this audience; `None`: all.
    pub audience: Option<Audience>,
    /// Only those whose time began before this, milliseconds since 1970 (UTC) of the tracker's time.
    pub before_ms: u64,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryLine {
    /// By which user.
    pub from: String,
    /// What. Whoever shows it makes control characters visible.
    pub text: String,
    /// When, milliseconds since 1970 (UTC).
    pub at_ms: u64,
}

/// Something that is pushed to somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its number.
    pub id: OfferId,
    /// By which user.
    pub from: String,
    /// Under which name: that of an entry.
    pub name: String,
    /// What it is.
    pub content: Content,
    /// With a folder: how much is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderSize>,
    /// When, milliseconds since 1970 (UTC).
    pub at_ms: u64,
    /// What the one who is told has made of it.
    pub state: OfferState,
}

/// What has become of an offer to one receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OfferState {
    /// No answer yet.
    Offered,
    /// Accepted.
    Accepted {
        /// How much of it is there, 0 to 100; `None` where the receiver is offline.
        percent: Option<u8>,
    },
    /// All of it is there.
    Done,
    /// Turned down.
    Refused,
}

/// An answer to an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Yes: the caller's device downloads it.
    Accept,
    /// No.
    Refuse,
}

/// An offer as its sender sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The offer; its state is that of the receiver who is furthest from having it.
    pub offer: Offer,
    /// By name.
    pub to: Vec<Receiver>,
}

/// A receiver of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receiver {
    /// Which user.
    pub user: String,
    /// What became of it.
    pub state: OfferState,
}
