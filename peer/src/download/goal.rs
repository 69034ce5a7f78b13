//! Goals: what one job brings: a file, the manifest of a folder, or a folder or a part of it.

use std::sync::Arc;

use common::bitmap::Bitmap;
use common::id::{Content, FileId, FolderId};
use common::manifest::Manifest;

use crate::outline::Outline;
use crate::selection::is_selected;
use crate::swarm::Announced;

/// What one job brings.
#[derive(Debug, Clone)]
pub(crate) struct Goal {
    /// Of which swarm.
    pub(crate) content: Content,
    /// How it is cut.
    pub(crate) outline: Outline,
    /// Whether the tracker is told what is here of it.
    pub(crate) announced: Announced,
    /// Chunks that are not wanted.
    pub(crate) skipped: Bitmap,
    /// All of it, or a part.
    pub(crate) extent: Extent,
}

/// How much of something is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Whole,
    Part,
}

impl Goal {
    /// A file.
    pub(crate) fn file(id: &FileId) -> Self {
        Self::whole((*id).into(), Outline::of_file(id), Announced::Yes)
    }

    /// What is in a folder. Who asks for it knows from the folder's entry who has it.
    pub(crate) fn manifest(folder: &FolderId) -> Self {
        Self { announced: Announced::No, ..Self::file(&folder.manifest()) }
    }

    /// A folder, or what these globs take of it; `None` where they take nothing.
    pub(crate) fn folder(content: Content, manifest: Arc<Manifest>, only: &[String]) -> Option<Self> {
        let mut skipped = Bitmap::empty(content.chunks());
        let mut selected = only.is_empty();
        for (number, entry) in (0..).zip(manifest.entries()) {
            if is_selected(only, &entry.path) {
                selected = true;
            } else {
                for chunk in manifest.layout().chunks_of(number) {
                    skipped.insert(chunk);
                }
            }
        }
        let extent = if only.is_empty() { Extent::Whole } else { Extent::Part };
        let whole = Self::whole(content, Outline::of_folder(manifest), Announced::Yes);
        selected.then_some(Self { skipped, extent, ..whole })
    }

    fn whole(content: Content, outline: Outline, announced: Announced) -> Self {
        Self { content, outline, announced, skipped: Bitmap::empty(content.chunks()), extent: Extent::Whole }
    }
}
