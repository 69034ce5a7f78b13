//! Looks: how something that lies on the disk looked when it was known for certain.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use common::manifest::{Entry, EntryKind};
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
    /// A file of a folder.
    #[error("in {file:?}: {different}")]
    Within {
        /// Which, by its path from the folder on.
        file: String,
        /// What about it.
        different: Box<Self>,
    },
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
            Self::Folder(files) => check_folder(path, files),
        }
    }

    /// How the files among these entries of a folder look now, which lies at `path`. Blocks.
    pub(crate) fn of_folder<'a>(path: &Path, entries: impl Iterator<Item = &'a Entry>) -> io::Result<Self> {
        let files = entries.filter(|entry| matches!(entry.kind, EntryKind::File(_)));
        let stamps = files.map(|entry| {
            let metadata = std::fs::metadata(path.join(&entry.path))?;
            Ok((entry.path.clone(), Stamp::of(&metadata)))
        });
        stamps.collect::<io::Result<_>>().map(Self::Folder)
    }

    /// Of a folder: how one of its files looked.
    pub(crate) fn in_folder(&self, path: &str) -> Option<&Stamp> {
        match self {
            Self::File(_) => None,
            Self::Folder(files) => files.get(path),
        }
    }
}

/// Files that nobody knew of when it was hashed do not count: the folder is what its manifest says.
fn check_folder(path: &Path, files: &BTreeMap<String, Stamp>) -> Result<(), Different> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => {}
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Different::Unreadable(error.to_string())),
        _ => return Err(Different::Gone),
    }
    for (name, stamp) in files {
        check_file(&path.join(name), stamp)
            .map_err(|different| Different::Within { file: name.clone(), different: Box::new(different) })?;
    }
    Ok(())
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
