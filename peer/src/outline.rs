//! Outlines: what is known of the inside of a file or folder before its bytes are.

use std::sync::Arc;

use common::chunk::SwarmLayout;
use common::id::{FileId, FolderId};
use common::manifest::Manifest;
use common::merkle::{ChunkHashes, SwarmHashes};

/// How something is cut, and of a folder what is in it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Outline {
    layout: SwarmLayout,
    manifest: Option<Arc<Manifest>>,
}

impl Outline {
    /// That of a file.
    pub(crate) fn of_file(id: &FileId) -> Self {
        Self { layout: SwarmLayout::of_file(id), manifest: None }
    }

    /// That of a folder.
    pub(crate) fn of_folder(manifest: Arc<Manifest>) -> Self {
        Self { layout: manifest.layout().clone(), manifest: Some(manifest) }
    }

    /// How it is cut.
    pub(crate) const fn layout(&self) -> &SwarmLayout {
        &self.layout
    }

    /// Of a folder: what is in it.
    pub(crate) const fn manifest(&self) -> Option<&Arc<Manifest>> {
        self.manifest.as_ref()
    }
}

/// All that is known of something complete but for its bytes: an outline, and what the chunks hash to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Insides {
    manifest: Option<Arc<Manifest>>,
    hashes: Arc<SwarmHashes>,
}

impl Insides {
    /// Those of a folder; the hashes are those of the manifest's files.
    pub fn of_folder(manifest: Arc<Manifest>, hashes: Arc<SwarmHashes>) -> Self {
        Self { manifest: Some(manifest), hashes }
    }

    pub(crate) fn new(outline: &Outline, hashes: Arc<SwarmHashes>) -> Self {
        Self { manifest: outline.manifest.clone(), hashes }
    }

    pub(crate) fn outline(&self) -> Outline {
        Outline { layout: self.hashes.layout().clone(), manifest: self.manifest.clone() }
    }

    /// Of a folder: what is in it.
    pub const fn manifest(&self) -> Option<&Arc<Manifest>> {
        self.manifest.as_ref()
    }

    /// Of a folder: what it is. Takes a hashing of the manifest.
    pub fn folder_id(&self) -> Option<FolderId> {
        self.manifest.as_ref().map(|manifest| manifest.folder_id())
    }

    /// The chunk hashes.
    pub const fn hashes(&self) -> &Arc<SwarmHashes> {
        &self.hashes
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.hashes, &other.hashes)
    }
}

impl From<ChunkHashes> for Insides {
    fn from(hashes: ChunkHashes) -> Self {
        Self { manifest: None, hashes: Arc::new(hashes.into()) }
    }
}
