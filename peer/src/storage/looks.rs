//! Looks: how something that lies on the disk looked when it was known for certain.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Stamp;

/// How a file or a folder looked: as long as it looks the same, the bytes are taken for the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Looks {
    /// A regular file.
    File(Stamp),
    /// A folder: each file in it, by its path from there on.
    Folder(BTreeMap<String, Stamp>),
}

/// What is different from how it looked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Different {
    /// Nothing is there.
    #[error("it is gone")]
    Gone,
    /// It cannot be looked at.
    #[error("it cannot be looked at ({0})")]
    Unreadable(String),
    /// Something else is there.
    #[error("it is no regular file any more")]
    NoFile,
    /// Another number of bytes.
    #[error("it has {now} bytes now, and had {before}")]
    Size {
        /// Bytes it has.
        now: u64,
        /// Bytes it had.
        before: u64,
    },
    /// It was written to, or replaced.
    #[error("it has changed since it was read")]
    Changed,
}

impl Looks {
    /// The stamp, where it is a file.
    pub const fn file(&self) -> Option<&Stamp> {
        match self {
            Self::File(stamp) => Some(stamp),
            Self::Folder(_) => None,
        }
    }

    /// Whether what lies at `path` looks the same. Blocks.
    pub(crate) fn check(&self, path: &Path) -> Result<(), Different> {
        match self {
            Self::File(stamp) => check_file(path, stamp),
            Self::Folder(_) => Err(Different::Changed),
        }
    }
}

fn check_file(path: &Path, stamp: &Stamp) -> Result<(), Different> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Different::Gone,
        _ => Different::Unreadable(error.to_string()),
    })?;
    let now = Stamp::of(&metadata);
    if !metadata.is_file() {
        Err(Different::NoFile)
    } else if now.size != stamp.size {
        Err(Different::Size { now: now.size, before: stamp.size })
    } else if now != *stamp {
        Err(Different::Changed)
    } else {
        Ok(())
    }
}
