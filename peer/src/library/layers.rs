//! Layers: the chunk hashes of what is shared, in one file each, named by the content: 32 bytes a chunk, in order. That of a
//! folder begins with its manifest. They are believed only when they lead to the content's id.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::id::{Content, Hash};
use common::manifest::Manifest;
use common::merkle::SwarmHashes;

use crate::dir::{read_limited, replace_file};
use crate::outline::{Insides, Outline};

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

    /// The insides of something, checked.
    pub(super) fn load(&self, content: &Content) -> io::Result<Insides> {
        let damaged = |error: &dyn std::error::Error| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
        let manifest_length = content.folder().map_or(0, |folder| folder.manifest().length());
        let length = manifest_length + u64::from(content.chunks()) * HASH as u64;
        let bytes = read_limited(&self.path(content), length)?.ok_or(io::ErrorKind::NotFound)?;
        let split = usize::try_from(manifest_length).ok().and_then(|length| bytes.split_at_checked(length));
        let (manifest, hashes) = split.ok_or(io::ErrorKind::UnexpectedEof)?;
        let outline = match content {
            Content::File(file) => Outline::of_file(file),
            Content::Folder(folder) => {
                let manifest = Manifest::decode_as(manifest, folder).map_err(|error| damaged(&error))?;
                Outline::of_folder(Arc::new(manifest))
            }
        };
        let (hashes, rest) = hashes.as_chunks::<HASH>();
        if !rest.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let hashes = hashes.iter().copied().map(Hash).collect();
        let hashes = SwarmHashes::checked(outline.layout(), hashes).map_err(|error| damaged(&error))?;
        Ok(Insides::new(&outline, Arc::new(hashes)))
    }

    /// Keeps the insides of something, unless they are there.
    pub(super) fn save(&self, content: &Content, insides: &Insides) -> io::Result<()> {
        if self.load(content).is_ok() {
            return Ok(());
        }
        let mut bytes = insides.manifest().map(|manifest| manifest.encode()).unwrap_or_default();
        bytes.extend(insides.hashes().as_slice().iter().flat_map(|hash| hash.0));
        replace_file(&self.path(content), &bytes)
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
