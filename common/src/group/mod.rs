//! Groups: a network of nodes without a tracker, as one of them sees it, without IO.
//!
//! A *node* has an identity, a static key and a name. The *supernode* is the one that the others are connected to; it lists
//! the *members*, in order of joining, in the signed *roster* PEER, gives the chat its one order, and keeps the directory
//! of files. A node that is alone is the supernode of a network of one. [`Group`] is the machine; its documentation is the
//! contract of the calls. `WIRE.md` beside this file has every byte, and the rules with their reasons.
//!
//! ```text
//!                    PEER of whom it asked                      its supernode is silent or lost,
//!  +---------+       (C; lost a meeting)      +-----------+     or said SCLS                      +---------+
//!  | Leading | -----------------------------> | Following | ------------------------------------> | Seeking |
//!  +---------+                                +-----------+ <------------------------------------ +---------+
//!    ^     ^    SCLS names it the successor         |            PEER of the first that answers        |
//!    |     +----------------------------------------+                                                  |
//!    +-------------------------------------------------------------------------------------------------+
//!                          nobody before it in the last roster answers: it takes over, term + 1
//! ```
//!
//! Invariants: the term of the roster that a node holds only grows; a node follows at most one supernode; whoever has a
//! live link to its supernode follows nobody else, but where its own user asks; what is shown of the chat has growing
//! positions, and no line twice.
//!
//! What is trusted: the supernode for members, the order of chat and locations, never for content or identity. Keys come
//! with the connection, rosters and farewells are signed by supernodes, lines by their authors.
//!
//! Each module uses only those that stand after it in this list:
//!
//! - `machine`: the machine, its calls and what they lead to; `costs`: how much of it a peer may cause
//! - `user`: what the user says, shares and asks; `wishes`: connecting because a user asked
//! - `leading`: being the supernode; `meetings`, `serving` and `taking_over` are parts of it
//! - `following`: having a supernode
//! - `seeking`: looking for one: the election
//! - `shelf`: what this node shares and asks
//! - `directory`: what all share
//! - `talk`: chat
//! - `dials`, `links`, `rate`: connections to come, connections that stand, what may come over them
//! - `message`: what members say; `framing`: one after the other on a stream
//! - `meeting`: which of two supernodes stays
//! - `line`, `roster`: what is signed
//! - `codec`: values as bytes
//! - `limits`: all numbers
//! - `beside`: what nodes say to each other on the same stream that is not the group's matter

mod beside;
mod codec;
mod costs;
mod dials;
mod directory;
mod following;
mod framing;
mod leading;
mod limits;
mod line;
mod links;
mod machine;
mod meeting;
mod meetings;
mod message;
mod rate;
mod roster;
mod seeking;
mod serving;
mod shelf;
mod taking_over;
mod talk;
mod user;
mod wishes;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::id::{Content, NetworkId, PeerId};
use crate::identity::{Identity, PublicKey};
use crate::merkle::sha256;
use crate::mrt::StaticKey;
use crate::name::{EntryName, UserName};
use crate::wire::tracker::Holder;

pub use beside::{NodeMessage, NodeMessageError};
pub use codec::DecodeError;
pub use dials::DialId;
pub use framing::{FrameTooLong, Framer, frame};
pub use limits::{
    MAX_FILES, MAX_HAVES, MAX_MEMBERS, MAX_MESSAGE, MAX_PENDING_LINES, MAX_REQUESTS, MAX_SHARES, MAX_TEXT, PROTOCOL,
};
pub use line::TextError;
pub use machine::{Group, TooManyWishes};
pub use message::{Denial, Listing, Shared};
pub use roster::{Addresses, Member, Point, Roster};
pub use shelf::{RequestId, ShelfFull};
pub use user::ChatError;

/// The id of the network with this pre-shared key.
pub fn network_id(psk: &[u8; 32]) -> NetworkId {
    NetworkId(sha256(&[b"shoal-mrt-network-v1".as_slice(), psk].concat()).0)
}

/// A message, read and written again: the same bytes, since each has one form. For whoever tries what can be read.
pub fn rewritten(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    message::Message::decode(bytes).map(|message| message.encode())
}

/// Who a node is.
#[derive(Debug, Clone)]
pub struct Config {
    /// Which network: see [`network_id`].
    pub network: NetworkId,
    /// Signs rosters, farewells and lines.
    pub identity: Arc<Identity>,
    /// What others dial this node by: that of its `mrt::LocalKeys`.
    pub static_key: StaticKey,
    /// What its user is called.
    pub name: UserName,
    /// Where it may be reached, as far as it knows.
    pub addresses: Addresses,
    /// A fresh random number for each run of the program.
    pub seed: u64,
}

/// What the driver knows of a connection that stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is, proven.
    pub identity: PublicKey,
    /// Its static key, proven.
    pub static_key: StaticKey,
    /// Where it is seen; `None` where it is relayed.
    pub observed: Option<SocketAddr>,
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect. Ends with one call of [`Group::dialled`].
    Dial(Dial),
    /// Send a message on the control stream: its length, then these bytes ([`frame`]). In order.
    Send {
        /// To whom.
        peer: PeerId,
        /// The message.
        bytes: Arc<[u8]>,
    },
    /// Close the connection when what was sent before is written, or after a second. The machine holds it for closed
    /// already: [`Group::lost`] is not called for it.
    Close {
        /// To whom.
        peer: PeerId,
        /// Why.
        reason: Closing,
    },
    /// Open the NAT towards this member, who dials meanwhile.
    Open {
        /// Whom.
        peer: PeerId,
        /// By which key it is known.
        static_key: StaticKey,
        /// Where it may come from.
        addresses: Vec<SocketAddr>,
    },
}

/// Whom to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// The number of this dial.
    pub id: DialId,
    /// Who must be there; `None`: whoever is.
    pub peer: Option<PeerId>,
    /// Its static key, if it is known.
    pub static_key: Option<StaticKey>,
    /// Where, the likeliest first.
    pub addresses: Vec<SocketAddr>,
    /// Who may relay, if no address answers; there is a connection to it.
    pub relay_through: Option<PeerId>,
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closing {
    /// This node leaves.
    Leaving,
    /// Nothing came for too long.
    Silent,
    /// It speaks another protocol or belongs to another network.
    Stranger,
    /// What it sent is no message, or far too much.
    Misbehaved,
    /// It follows us, but we do not have it in our list: it should ask again.
    Unlisted,
}

impl Closing {
    /// As the code of MRT's RCLS: from 256 they are the program's.
    pub const fn code(self) -> u64 {
        256 + match self {
            Self::Leaving => 0,
            Self::Silent => 1,
            Self::Stranger => 2,
            Self::Misbehaved => 3,
            Self::Unlisted => 4,
        }
    }
}

/// What the user or the node may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A wish ([`Group::connect`]) came true: we and this peer are in one network.
    Connected {
        /// The address that was asked for.
        address: SocketAddr,
        /// Who is there.
        peer: PeerId,
    },
    /// A wish did not.
    ConnectFailed {
        /// The address that was asked for.
        address: SocketAddr,
        /// Why.
        why: ConnectError,
    },
    /// This is the supernode now; it may be this node.
    SupernodeIs {
        /// Who.
        peer: PeerId,
        /// In which term.
        term: u64,
    },
    /// The supernode does not answer, or left: another is looked for.
    SupernodeLost {
        /// Who it was.
        peer: PeerId,
    },
    /// One more in the roster.
    Came(Member),
    /// One less in it.
    Went(PeerId),
    /// Somebody said something.
    Chat {
        /// Who, proven.
        author: PeerId,
        /// What the author calls itself.
        name: UserName,
        /// What.
        text: String,
        /// The place in the order of all.
        position: Point,
    },
    /// A member shares a file.
    Shared(Listing),
    /// A member shares it no more.
    Unshared {
        /// Whose.
        owner: PeerId,
        /// Its name.
        entry: EntryName,
    },
    /// The answer to [`Group::list`].
    Files {
        /// Which question.
        request: RequestId,
        /// How many there are, from the first.
        total: u32,
        /// Those from the offset on that fit an answer.
        files: Vec<Listing>,
    },
    /// The answer to [`Group::request`].
    Holders {
        /// Which question.
        request: RequestId,
        /// What of.
        content: Content,
        /// Who has or wants it; nobody where it is empty.
        holders: Vec<Holder>,
    },
    /// One more has something of what was requested.
    Holder {
        /// What of.
        content: Content,
        /// Who.
        holder: Holder,
    },
    /// Nobody answered a question.
    Unanswered(RequestId),
    /// Somebody was refused something.
    Refused {
        /// Who.
        whom: PeerId,
        /// Why.
        why: Refusal,
    },
    /// We left; nothing comes after this.
    Left,
}

/// Why a wish did not come true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Nobody answers there.
    #[error("nobody answers there")]
    NoAnswer,
    /// It did not come about in time.
    #[error("it took too long")]
    Timeout,
    /// The supernode there does not take us in.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// It is this very node.
    #[error("that is this very node")]
    Ourselves,
    /// It was not tried: too many others are.
    #[error(transparent)]
    TooMany(#[from] TooManyWishes),
}

/// Why something that a peer said was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a message, or not one that may come here.
    #[error("it sent what is no message: {0}")]
    Garbage(#[from] DecodeError),
    /// A signature that does not hold.
    #[error("it showed a signature that does not hold")]
    Signature,
    /// It speaks another protocol or belongs to another network.
    #[error("it belongs to another network")]
    Stranger,
    /// It claims to be the supernode, and is not: ours lives, or others come before it.
    #[error("it claims the place of the supernode")]
    NotSupernode,
    /// Its term is not the next.
    #[error("its term is not the next one")]
    Term,
    /// Its list leaves us out, is older than what it said before, puts members before whom they stood behind, or changes their
    /// keys; or it denies what it knows.
    #[error("it lies about the members")]
    Lie,
    /// Somebody else's line, or one that nobody signed.
    #[error("it puts words into another's mouth")]
    Forgery,
    /// More than a member may send or share.
    #[error("it sends or shares too much")]
    Flood,
    /// A supernode with members, as we are, and nothing in common: a user may ask for it.
    #[error("it is the supernode of another group")]
    Apart,
}

#[cfg(test)]
mod tests;
