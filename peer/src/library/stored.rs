//! The list of shared files as it is on the disk: JSON with a schema number.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use common::id::Content;
use serde::{Deserialize, Serialize};

use super::Item;
use crate::dir::{StateError, load_state, save_state};

/// The file's format; one that is newer is not touched.
const SCHEMA: u32 = 1;
/// No list has more bytes: some half a million items.
const MAX_BYTES: u64 = 256 << 20;

/// What is on the disk.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) items: Vec<Item>,
    #[serde(default)]
    pub(super) cancelled: BTreeSet<Content>,
}

impl Stored {
    pub(super) fn load(path: &Path) -> Result<Self, StateError> {
        Ok(load_state(path, SCHEMA, MAX_BYTES)?.unwrap_or_default())
    }

    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        save_state(path, SCHEMA, self)
    }
}
