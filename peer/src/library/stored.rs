//! The list of shared files as it is on the disk: JSON with a schema number.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use common::audience::Audience;
use common::id::{Content, NetworkId};
use common::name::EntryRef;
use serde::{Deserialize, Serialize};

use super::{EntryShare, Item, path_text};
use crate::dir::{StateError, load_state, save_state};
use crate::storage::{Looks, Stamp};

/// The file's format; one that is newer is not touched.
const SCHEMA: u32 = 2;
/// The format before there were versions and audiences; it is read, but not written.
const SCHEMA_WITHOUT_AUDIENCES: u32 = 1;
/// No list has more bytes: some half a million items.
const MAX_BYTES: u64 = 256 << 20;

/// What is on the disk.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) items: Vec<Item>,
    #[serde(default)]
    pub(super) cancelled: BTreeSet<Content>,
}

/// [`Stored`] in [`SCHEMA_WITHOUT_AUDIENCES`].
#[derive(Debug, Deserialize)]
struct StoredWithoutAudiences {
    items: Vec<ItemWithoutAudiences>,
    #[serde(default)]
    cancelled: BTreeSet<Content>,
}

#[derive(Debug, Deserialize)]
struct ItemWithoutAudiences {
    network: NetworkId,
    file: Content,
    #[serde(with = "path_text")]
    path: PathBuf,
    entries: BTreeSet<EntryRef>,
    stamp: Stamp,
}

impl Stored {
    pub(super) fn load(path: &Path) -> Result<Self, StateError> {
        let stored = match load_state(path, SCHEMA, MAX_BYTES) {
            Err(StateError::Newer(SCHEMA_WITHOUT_AUDIENCES)) => {
                let old: Option<StoredWithoutAudiences> = load_state(path, SCHEMA_WITHOUT_AUDIENCES, MAX_BYTES)?;
                old.map(Self::from)
            }
            loaded => loaded?,
        };
        Ok(stored.unwrap_or_default())
    }

    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        save_state(path, SCHEMA, self)
    }
}

impl From<StoredWithoutAudiences> for Stored {
    fn from(old: StoredWithoutAudiences) -> Self {
        Self { items: old.items.into_iter().map(Item::from).collect(), cancelled: old.cancelled }
    }
}

impl From<ItemWithoutAudiences> for Item {
    fn from(old: ItemWithoutAudiences) -> Self {
        // Nothing had more than one version, and all was for everybody.
        let share = EntryShare { version: 1, audience: Audience::Public };
        Self {
            network: old.network,
            content: old.file,
            path: old.path,
            entries: old.entries.into_iter().map(|entry| (entry, share.clone())).collect(),
            offers: BTreeSet::new(),
            looks: Looks::File(old.stamp),
        }
    }
}
