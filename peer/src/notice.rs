//! Notices: what the peer tells its user by itself, whatever face is looking.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use common::id::{FileId, NetworkId, PeerId};
use serde::{Deserialize, Serialize};

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
        file: FileId,
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
            Self::Warning { text } => f.write_str(text),
        }
    }
}
