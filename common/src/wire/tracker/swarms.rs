//! What is said of swarms: who has which chunks, and what a download needs.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::Entry;
use crate::audience::{Audience, Sharing};
use crate::bitmap::{Bitmap, BitmapError};
use crate::id::{Content, PeerId};
use crate::index::{Change, Changed, Chunks, Index, IndexError, SwarmKey};

/// Which chunks of one swarm a peer has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// What it is about.
    pub content: Content,
    /// For whom it is shared, or under which audience it is downloaded.
    #[serde(default, skip_serializing_if = "Audience::is_public")]
    pub audience: Audience,
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

    /// The bitmap over the chunks of `content`; [`Self::Add`] and [`Self::None`] start from no chunk.
    pub fn to_bitmap(&self, content: &Content) -> Result<Bitmap, BitmapError> {
        let count = content.chunks();
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
    /// The swarm.
    pub fn key(&self) -> SwarmKey {
        SwarmKey::new(&self.content, &self.audience)
    }

    /// The swarm, as what it is.
    pub fn sharing(&self) -> Sharing {
        Sharing { content: self.content, audience: self.audience.clone() }
    }

    /// Tells an index that this is what `peer` has.
    pub fn enter(&self, index: &Index, peer: PeerId) -> Result<Changed, AnnouncedError> {
        let key = self.key();
        let changed = match &self.have {
            Have::All => index.announce(peer, key, Change::All)?,
            Have::Map(_) => index.announce(peer, key, Change::Map(&self.have.to_bitmap(&self.content)?))?,
            Have::Add(chunks) => index.announce(peer, key, Change::Add(chunks))?,
            Have::None => index.announce(peer, key, Change::None)?,
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
    /// The entry, with all owners of this name and content. Of an offer: who sent it, as the owner.
    pub entry: Entry,
    /// For whom it is shared: what is downloaded is to be served under this audience.
    pub audience: Audience,
    /// Shown to seeders: the bytes of [`crate::ticket::Ticket`] in lower-case hex.
    pub ticket: String,
    /// At most [`crate::wire::MAX_PLAN_SEEDERS`] who have or want the file, the caller left out.
    pub holders: Vec<Holder>,
}
