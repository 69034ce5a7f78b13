//! Layers: the chunk hashes of shared files, one file each, named by the file id: 32 bytes a chunk, in order. They are
//! believed only when they lead to the id's root.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use common::id::{Content, Hash};
use common::merkle::ChunkHashes;

use crate::dir::{read_limited, replace_file};

/// Bytes of a hash.
const HASH: usize = 32;

/// The folder of all layers.
#[derive(Debug)]
pub(super) struct Layers {
    folder: PathBuf,
}

impl Layers {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// The chunk hashes of a file, checked.
    pub(super) fn load(&self, file: &Content) -> io::Result<ChunkHashes> {
        let length = u64::from(file.chunks()) * HASH as u64;
        let bytes = read_limited(&self.path(file), length)?.ok_or(io::ErrorKind::NotFound)?;
        let (hashes, rest) = bytes.as_chunks::<HASH>();
        if !rest.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        ChunkHashes::checked(&file.file_or_manifest(), hashes.iter().copied().map(Hash).collect())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Keeps the chunk hashes of a file, unless they are there.
    pub(super) fn save(&self, file: &Content, hashes: &ChunkHashes) -> io::Result<()> {
        if self.load(file).is_ok() {
            return Ok(());
        }
        let bytes: Vec<u8> = hashes.as_slice().iter().flat_map(|hash| hash.0).collect();
        replace_file(&self.path(file), &bytes)
    }

    /// No item is this file any more. What cannot be removed now goes at the next start.
    pub(super) fn remove(&self, file: &Content) {
        if let Err(error) = std::fs::remove_file(self.path(file)) {
            tracing::debug!(%file, %error, "chunk hashes not removed");
        }
    }

    /// Removes what no item uses, and what a crash left behind.
    pub(super) fn remove_unused(&self, used: &BTreeSet<Content>) -> io::Result<()> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let file = entry.file_name().to_str().and_then(|name| name.parse::<Content>().ok());
            if !file.is_some_and(|file| used.contains(&file)) {
                tracing::debug!(path = %entry.path().display(), "chunk hashes that nothing uses");
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn path(&self, file: &Content) -> PathBuf {
        self.folder.join(file.to_string())
    }
}
