//! Messages between a peer and the tracker: JSON, one a frame.
//!
//! The peer sends [`FromPeer`]s, each request with an id of its choice; the tracker sends [`FromTracker`]s: one reply
//! for each request, in any order, and events and pings at any time. Until [`Request::Hello`] is granted on a connection
//! every other request is refused but [`Request::SignUp`] and [`Request::LogIn`], which are refused afterwards. Unknown
//! JSON fields are ignored; an unknown operation is answered with [`Code::Unknown`].

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::audience::{Audience, OfferId};
use crate::id::{Content, PeerId};
use crate::secret::Secret;

mod body;
mod catalogue;
mod meeting;
mod people;
mod refusal;
mod swarms;
#[cfg(test)]
mod tests;

pub use body::{Strange, TooLarge, Undecoded};
pub use catalogue::{Entry, FolderSize, Query, SortBy, Version};
pub use meeting::{Meeting, MrtContact, MrtRole, UdpOffer};
pub use people::{
    Access, Answer, AudienceChange, Device, HistoryLine, Offer, OfferState, Receiver, Revocation, Sent, Subscription,
};
pub use refusal::{Code, Refusal};
pub use swarms::{Announced, AnnouncedError, Have, Holder, Plan};

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
    /// Before `hello` only: makes an account and binds the caller's key to it. Replied to with [`Reply::LoggedIn`]; what
    /// else the key has open on this tracker is closed, so that it joins anew.
    SignUp {
        /// The account's name.
        name: String,
        /// Its password.
        password: Secret,
        /// An invite's code, where the tracker asks for one ([`Code::InviteRequired`]).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<Secret>,
    },
    /// Before `hello` only: binds the caller's key to an account. Replied to as [`Self::SignUp`] is.
    LogIn {
        /// The account's name.
        name: String,
        /// Its password.
        password: Secret,
    },
    /// Takes the caller's key from its account. Replied to with [`Reply::Done`]; then the tracker closes.
    LogOut,
    /// Changes the password of the caller's account. Replied to with [`Reply::Done`].
    ChangePassword {
        /// As it is.
        old: Secret,
        /// As it is to be.
        new: Secret,
    },
    /// The keys that are bound to the caller's account. Replied to with [`Reply::Devices`].
    Devices,
    /// Throws a key out of the caller's account, at once: its connection ends and its tickets are worth nothing. Replied
    /// to with [`Reply::Done`].
    Revoke {
        /// Whose key.
        device: PeerId,
    },
    /// Puts an entry `caller/name` into the catalogue, or a new version of it. Replied to with [`Reply::Registered`].
    /// The content that its newest version names already changes nothing and is granted.
    Register {
        /// The entry's name, without owner.
        name: String,
        /// What it names.
        content: Content,
        /// With a folder: how much is in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<FolderSize>,
        /// The users it is for beside its owner; with none of them, for its owner alone; `None` leaves that as it is, and
        /// a new entry is for everyone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        users: Option<Vec<String>>,
    },
    /// Takes an entry of the caller out of the catalogue, with all versions. Replied to with [`Reply::Done`].
    Deregister {
        /// `name` or `owner/name`.
        entry: String,
    },
    /// Changes for whom an entry of the caller is. Replied to with [`Reply::Shared`].
    Share {
        /// `name` or `owner/name`.
        entry: String,
        /// How.
        change: AudienceChange,
    },
    /// Lists the newest versions of the entries that the caller may have. Replied to with [`Reply::Entries`].
    List(Query),
    /// The same of those of which name or an owner contains `text`, case-folded, or matches it as a glob where it has
    /// `*` or `?`. Replied to with [`Reply::Entries`].
    Search {
        /// At most [`super::MAX_SEARCH_TEXT`] bytes.
        text: String,
        /// Which part of the result, and in which order.
        #[serde(default)]
        query: Query,
    },
    /// All versions of an entry. Replied to with [`Reply::Versions`].
    Versions {
        /// `name` or `owner/name`.
        entry: String,
    },
    /// Which peers have which chunks of an entry. Replied to with [`Reply::Locations`].
    Loc {
        /// `name` or `owner/name`, and, where there is no entry with that very name, `@` and a version.
        entry: String,
        /// Skip so many holders: the `next` of the reply before.
        #[serde(default)]
        offset: u32,
    },
    /// What a download of an entry needs, and a wish to hear of new holders until [`Request::Announce`] says
    /// [`Have::None`]. Replied to with [`Reply::Plan`].
    Plan {
        /// As of [`Self::Loc`].
        entry: String,
        /// When set: the version that names this (resuming a download), else [`Code::Changed`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content: Option<Content>,
    },
    /// The same for an offer that the caller accepted. Replied to with [`Reply::Plan`].
    PlanOffer {
        /// Which.
        offer: OfferId,
    },
    /// Which chunks the caller has now. Replied to with [`Reply::Done`].
    Announce {
        /// At most [`super::MAX_ANNOUNCED`] swarms.
        swarms: Vec<Announced>,
    },
    /// A download is complete and verified: for the log, and for who sent it. Replied to with [`Reply::Done`].
    Completed {
        /// Which entry, `owner/name`; of an offer, who sent it and the name.
        entry: String,
        /// What it named.
        content: Content,
        /// Under which audience it was downloaded.
        #[serde(default)]
        audience: Audience,
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
    /// The caller can be met over MRT, from now on here and not where it said before. Replied to with [`Reply::Done`].
    Mrt(MrtContact),
    /// No address of a seeder answered, and it could not dial the caller: asks for a meeting over MRT. Replied to with
    /// [`Reply::Meeting`] when the seeder was told as well, or a refusal ([`Code::Busy`], [`Code::Gone`],
    /// [`Code::NotFound`] where the seeder does not serve over MRT, [`Code::Conflict`] where the caller has not said yet
    /// where it can be met, [`Code::Unavailable`]).
    Meet {
        /// The seeder.
        peer: PeerId,
    },
    /// Tells how a meeting that the caller asked for ended. Replied to with [`Reply::Done`].
    Met {
        /// Whom it was to meet.
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
    /// Has the caller's key follow an entry: it is told of new versions. Replied to with [`Reply::Subscriptions`] of this
    /// one.
    Subscribe {
        /// `name` or `owner/name`.
        entry: String,
    },
    /// Ends that. Replied to with [`Reply::Done`].
    Unsubscribe {
        /// `owner/name`.
        entry: String,
    },
    /// What the caller's key follows. Replied to with [`Reply::Subscriptions`].
    Subscriptions,
    /// Says something to all who are online. Replied to with [`Reply::Done`].
    Chat {
        /// At most [`super::MAX_CHAT_TEXT`] bytes, no control characters.
        text: String,
    },
    /// Says something to one user, on all devices that are online. Replied to with [`Reply::Done`], or [`Code::Gone`].
    Message {
        /// The user's name.
        to: String,
        /// As of [`Self::Chat`].
        text: String,
    },
    /// What was said to all of late. Replied to with [`Reply::History`].
    History,
    /// Pushes something to users. Replied to with [`Reply::Offered`].
    Offer {
        /// Under which name: that of an entry.
        name: String,
        /// What.
        content: Content,
        /// With a folder: how much is in it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        folder: Option<FolderSize>,
        /// To these users; `None`: to all who are online, but not to the caller.
        to: Option<Vec<String>>,
    },
    /// Takes an offer or turns it down. Replied to with [`Reply::Done`].
    Answer {
        /// Which.
        offer: OfferId,
        /// How.
        answer: Answer,
    },
    /// Offers to the caller that it has not turned down, and those that it made. Replied to with [`Reply::Offers`].
    Offers,
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
    /// What its user calls the machine: its host name, at most [`super::MAX_DEVICE_NAME`] bytes.
    #[serde(default)]
    pub device: String,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Done, nothing to tell.
    Done,
    /// The caller is in.
    Welcome(Welcome),
    /// The caller's key is bound to this account, durably.
    LoggedIn {
        /// The account's name.
        name: String,
    },
    /// The keys of an account, the one that was seen last first.
    Devices {
        /// With the caller's.
        devices: Vec<Device>,
    },
    /// The entry is in the catalogue, durably.
    Registered {
        /// `owner/name`.
        entry: String,
        /// The number of its newest version, from 1.
        version: u32,
        /// Whether that named this very content before.
        already: bool,
        /// For whom it is to be shared.
        audience: Audience,
    },
    /// For whom an entry is now, durably.
    Shared {
        /// `owner/name`.
        entry: String,
        /// For whom it is to be shared.
        audience: Audience,
        /// The users that it is for beside its owner; `None`: everyone.
        users: Option<Vec<String>>,
    },
    /// A part of the catalogue.
    Entries {
        /// In order.
        entries: Vec<Entry>,
        /// How many there are in all parts together.
        total: u32,
    },
    /// All versions of an entry that are known.
    Versions {
        /// Its newest.
        entry: Entry,
        /// The newest first, at most [`super::MAX_VERSIONS`].
        versions: Vec<Version>,
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
    /// Whom the caller meets.
    Meeting(Meeting),
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
    /// What the caller's key follows, by name.
    Subscriptions {
        /// At most [`super::MAX_SUBSCRIPTIONS`].
        subscriptions: Vec<Subscription>,
    },
    /// What was said to all.
    History {
        /// In the order in which they were said; at most [`super::MAX_HISTORY`].
        lines: Vec<HistoryLine>,
    },
    /// The offer is made, durably.
    Offered {
        /// Its number.
        offer: OfferId,
        /// To whom.
        to: Vec<String>,
    },
    /// Offers, the newest first.
    Offers {
        /// To the caller's user; those that it turned down are left out.
        received: Vec<Offer>,
        /// By the caller's user.
        sent: Vec<Sent>,
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
    /// Whether its name is an account's, with a password.
    #[serde(default)]
    pub account: bool,
    /// Who may join.
    #[serde(default)]
    pub access: Access,
    /// What it offers over UDP, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<UdpOffer>,
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
        /// What the swarm is about.
        content: Content,
        /// Under which audience.
        #[serde(default, skip_serializing_if = "Audience::is_public")]
        audience: Audience,
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
    /// A seeder that was to dial this peer could not reach it.
    NotReached {
        /// Which.
        peer: PeerId,
    },
    /// Somebody wants this peer's chunks, cannot reach it by TCP, and connects over MRT any moment.
    Meet(Meeting),
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
    /// There is a new version of an entry that this peer follows, or the entry is there again.
    Updated {
        /// Its newest version, and its owner alone.
        entry: Entry,
    },
    /// An entry that this peer follows was deregistered, or is not for its user any more.
    Gone {
        /// `owner/name`.
        entry: String,
    },
    /// An entry of this peer's user, or one that it follows, is for others now than it was: what is shared of it is to be
    /// shared under this audience, and no other on account of this entry.
    Shared {
        /// `owner/name`.
        entry: String,
        /// For whom it is to be shared.
        audience: Audience,
    },
    /// Tickets that are worth nothing any more: whoever shows one of them is to be refused, and hung up on.
    Revoked {
        /// Which.
        revocations: Vec<Revocation>,
    },
    /// Something was said to all.
    Chat(HistoryLine),
    /// Something was said to this peer's user.
    Message(HistoryLine),
    /// Somebody pushes something to this peer's user.
    Offered(Offer),
    /// A receiver of an offer that this peer's user made has answered, or has it.
    Answered {
        /// Which.
        offer: OfferId,
        /// Its name.
        name: String,
        /// Who, and what it says.
        receiver: Receiver,
    },
    /// The tracker ends; it will say nothing more.
    Shutdown,
}
