//! Notices: what the peer tells its user by itself, whatever face is looking.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use common::audience::OfferId;
use common::id::{Content, NetworkId, PeerId};
use common::nat::NatKind;
use common::wire::tracker::{OfferState, Receiver};
use serde::{Deserialize, Serialize};

pub use crate::node::Found;

/// Something a user may want to know. `Display` is the sentence for people, JSON the same for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// A chunk arrived and was verified and written.
    ChunkReceived {
        /// Of which entry.
        name: String,
        /// From 0.
        chunk: u32,
        /// Who sent it.
        from: SocketAddr,
    },
    /// A download is complete under its final name.
    Downloaded {
        /// Of which entry.
        name: String,
        /// Where it is.
        path: PathBuf,
    },
    /// A download ended without the file.
    DownloadFailed {
        /// Of which entry.
        name: String,
        /// A sentence.
        why: String,
    },
    /// A download has nobody to get the rest from, for now.
    Waiting {
        /// Of which entry.
        name: String,
        /// How many chunks nobody has.
        chunks: u32,
    },
    /// Somebody has what a download wants, and cannot be reached in any way.
    NotReached {
        /// Of which entry.
        name: String,
        /// The user's name.
        user: String,
        /// Why: a phrase that follows "cannot be reached by TCP, and".
        why: String,
    },
    /// Somebody sent bytes that are not the file's, and was dropped.
    BadSeeder {
        /// Of which entry.
        name: String,
        /// Its user name, where known.
        user: String,
        /// Who.
        peer: PeerId,
        /// Where.
        address: SocketAddr,
        /// From 0.
        chunk: u32,
    },
    /// A shared file is no longer what was registered, and is served no more.
    Withdrawn {
        /// Where it lies.
        path: PathBuf,
        /// What it was.
        file: Content,
        /// A sentence.
        why: String,
    },
    /// The tracker is not to be reached; the peer keeps trying.
    TrackerLost {
        /// A sentence.
        why: String,
    },
    /// The tracker is back.
    TrackerBack,
    /// A tracker was used for the first time; its key is remembered, and a change of it will be an error.
    TrackerRemembered {
        /// Its address as given.
        tracker: String,
        /// Its fingerprint.
        fingerprint: NetworkId,
        /// In which file.
        path: PathBuf,
    },
    /// Somebody came online.
    Joined {
        /// The user's name.
        name: String,
    },
    /// Somebody went offline.
    Left {
        /// The user's name.
        name: String,
    },
    /// A new version of an entry that is followed is here.
    Updated {
        /// `owner/name`.
        entry: String,
        /// Which version.
        version: u32,
        /// Where it is.
        path: PathBuf,
        /// Where the copy stayed that was edited here, when the new version did not take its place.
        edited: Option<PathBuf>,
    },
    /// An entry that is followed is not there any more, or not for this user; what is here stays.
    EntryGone {
        /// `owner/name`.
        entry: String,
    },
    /// A watched file that changed was registered as a new version.
    Reregistered {
        /// `owner/name`.
        entry: String,
        /// Which version.
        version: u32,
        /// Where it lies.
        path: PathBuf,
    },
    /// Somebody said something to all.
    Chat {
        /// Who.
        from: String,
        /// What.
        text: String,
        /// When, milliseconds since 1970 (UTC).
        at_ms: u64,
    },
    /// Somebody said something to this user.
    Message {
        /// Who.
        from: String,
        /// What.
        text: String,
        /// When, milliseconds since 1970 (UTC).
        at_ms: u64,
    },
    /// Somebody pushes something to this user, and waits for an answer.
    Offered {
        /// The offer's number.
        offer: OfferId,
        /// Who.
        from: String,
        /// What it is called.
        name: String,
        /// Bytes in all.
        bytes: u64,
        /// With a folder: how many files.
        files: Option<u32>,
        /// Whether it was accepted by itself, as was wished at the start.
        accepted: bool,
    },
    /// A receiver answered an offer of this user, or has all of it.
    OfferAnswered {
        /// The offer's number.
        offer: OfferId,
        /// What it is called.
        name: String,
        /// Who, and what it says.
        receiver: Receiver,
    },
    /// Somebody who cannot be reached by TCP is reached over MRT now.
    OverMrt {
        /// The user's name.
        user: String,
        /// Where its datagrams come from; `None`: they come through the tracker's relay.
        address: Option<SocketAddr>,
    },
    /// In a network without a tracker somebody shares something new.
    Shares {
        /// Who.
        owner: String,
        /// What it is called.
        name: String,
        /// How large it is; of a folder, all that is in it.
        bytes: u64,
    },
    /// This node joined a network by itself.
    FoundNetwork {
        /// How it knew of it.
        found: Found,
        /// Who was dialled.
        name: String,
        /// Where.
        address: SocketAddr,
    },
    /// Seen from outside this node is there.
    SeenAt {
        /// Where.
        address: SocketAddr,
        /// What stands in between.
        nat: NatKind,
    },
    /// The supernode of this network is another one now.
    Supernode {
        /// Its user's name; `None`: it is this node.
        name: Option<String>,
    },
    /// The supernode does not answer, or has left.
    SupernodeLost,
    /// Something else went wrong that the user can mend (a disk that is full, say).
    Warning {
        /// A sentence.
        text: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Chunks count from 1 in talk.
            Self::ChunkReceived { chunk, from, .. } => write!(f, "Received chunk {} from {from}.", chunk + 1),
            Self::Downloaded { name, path } => {
                write!(f, "{name} has completed downloading. It is at {}", path.display())
            }
            Self::DownloadFailed { name, why } => write!(f, "The download of {name} failed: {why}"),
            Self::Waiting { name, chunks } => {
                write!(f, "{name}: waiting for somebody who has the {chunks} missing chunks.")
            }
            Self::NotReached { name, user, why } => write!(f, "{name}: {user} cannot be reached by TCP, and {why}."),
            Self::BadSeeder { name, user, address, chunk, .. } => {
                write!(f, "{user} at {address} sent wrong bytes for chunk {} of {name} and was dropped.", chunk + 1)
            }
            Self::Withdrawn { path, why, .. } => write!(f, "{} is no longer shared: {why}", path.display()),
            Self::TrackerLost { why } => write!(f, "The tracker is not to be reached ({why}); trying again."),
            Self::TrackerBack => f.write_str("The tracker is back."),
            Self::TrackerRemembered { tracker, fingerprint, path } => {
                write!(
                    f,
                    "First use of the tracker at {tracker}: its fingerprint {fingerprint} is remembered in {}",
                    path.display()
                )
            }
            Self::Joined { name } => write!(f, "{name} is online."),
            Self::Left { name } => write!(f, "{name} has left."),
            Self::Updated { entry, version, path, edited: None } => {
                write!(f, "{entry} is now version {version}: {}", path.display())
            }
            Self::Updated { entry, version, path, edited: Some(edited) } => {
                write!(
                    f,
                    "{entry} is now version {version}. You edited {}, so it stays, and the new version is at {}",
                    edited.display(),
                    path.display()
                )
            }
            Self::EntryGone { entry } => {
                write!(f, "{entry} is no longer there, or no longer for you. What you have of it stays.")
            }
            Self::Reregistered { entry, version, path } => {
                write!(f, "{} has changed and is now version {version} of {entry}.", path.display())
            }
            Self::Chat { from, text, .. } => write!(f, "{from}: {text}"),
            Self::Message { from, text, .. } => write!(f, "{from} (to you): {text}"),
            Self::Offered { offer, from, name, bytes, files, accepted } => {
                let OfferId(number) = offer;
                let files = files.map_or_else(String::new, |files| format!("{files} files, "));
                let then = if *accepted {
                    "It is being downloaded.".to_owned()
                } else {
                    format!("`accept {number}` or `refuse {number}`.")
                };
                write!(f, "{from} wants to send you {name} ({files}{bytes} bytes). {then}")
            }
            Self::OfferAnswered { name, receiver, .. } => f.write_str(&answered(name, receiver)),
            Self::OverMrt { user, address: Some(address) } => {
                write!(f, "{user} is reached over MRT, directly at {address}.")
            }
            Self::OverMrt { user, address: None } => {
                write!(f, "{user} is reached over MRT, through the tracker's relay.")
            }
            Self::Shares { owner, name, bytes } => write!(f, "{owner} shares {name} ({bytes} bytes)."),
            Self::FoundNetwork { found, name, address } => f.write_str(&joined_through(*found, name, *address)),
            Self::SeenAt { address, nat } => {
                write!(f, "Others see this node at {address}{}", if_hard(*nat))
            }
            Self::Supernode { name: Some(name) } => write!(f, "{name} is the supernode now."),
            Self::Supernode { name: None } => f.write_str("This node is the supernode now."),
            Self::SupernodeLost => f.write_str("The supernode is gone; the next one takes over."),
            Self::Warning { text } => f.write_str(text),
        }
    }
}

/// How a receiver of `name` answered.
fn answered(name: &str, Receiver { user, state }: &Receiver) -> String {
    match state {
        OfferState::Refused => format!("{user} refused {name}."),
        OfferState::Done => format!("{user} has all of {name}."),
        OfferState::Offered | OfferState::Accepted { .. } => format!("{user} accepted {name}."),
    }
}

/// How this node came to be in a network.
fn joined_through(found: Found, name: &str, address: SocketAddr) -> String {
    match found {
        Found::Again => format!("Rejoined the network of last time through {name} at {address}."),
        Found::OnLan => {
            format!("Found {name} of this network at {address} and joined (--no-discovery keeps to oneself).")
        }
        Found::Here => format!(
            "{name}, a node of this network, listens at {address} already: this one took a free port and joined it."
        ),
    }
}

/// How a sentence ends that says where others see this node.
const fn if_hard(nat: NatKind) -> &'static str {
    match nat {
        NatKind::EndpointDependent => {
            ", and each at another port: the router here is a hard one, and some will be reached through the supernode \
             only."
        }
        _ => ".",
    }
}
