//! Folders: first what is in one, as a file of its own, and then its chunks.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use common::id::FolderId;
use common::manifest::{self, MAX_MANIFEST_BYTES, Manifest, ManifestError};
use tokio::sync::watch;

use super::{Done, DownloadError, DownloadSpec, Engine, Placing};
use crate::download::{self, Goal, JobTools};
use crate::storage::Partial;
use crate::swarm::{Announced, Swarm};

impl Engine {
    /// First what is in the folder, then its chunks.
    pub(super) async fn download_folder(
        &self,
        spec: DownloadSpec,
        folder: FolderId,
        tools: JobTools,
    ) -> Result<Done, DownloadError> {
        if self.context.swarms.find(&spec.content).is_some() {
            return Err(DownloadError::UnderWay);
        }
        let began = Instant::now();
        let (manifest, fetched_before) = Box::pin(self.manifest(&spec, folder, &tools)).await?;
        let goal = Goal::folder(spec.content, manifest, &spec.only);
        let goal = goal.ok_or_else(|| DownloadError::NoMatch { globs: spec.only.join(", ") });
        let done = match goal {
            Ok(goal) => {
                let content = spec.content;
                let done = self.run(spec, goal, tools).await;
                if !matches!(&done, Ok(done) if !done.shared.audiences.is_empty()) {
                    self.context.swarms.remove_manifest_of(&content);
                }
                done
            }
            Err(error) => {
                self.context.swarms.remove_manifest_of(&spec.content);
                Err(error)
            }
        }?;
        Ok(Done { fetched_bytes: done.fetched_bytes + fetched_before, elapsed: began.elapsed(), ..done })
    }

    /// What is in a folder: from an earlier run, or from its holders. It is served from now on. Gives the bytes that came
    /// for it as well.
    async fn manifest(
        &self,
        spec: &DownloadSpec,
        folder: FolderId,
        tools: &JobTools,
    ) -> Result<(Arc<Manifest>, u64), DownloadError> {
        let disk = |source| DownloadError::Disk { path: spec.target.clone(), source };
        if folder.manifest().length() > MAX_MANIFEST_BYTES as u64 {
            return Err(ManifestError::TooLong.into());
        }
        let network = self.context.tracker().network().ok_or(DownloadError::Cancelled)?;
        let path = Partial::begin_folder(&tools.downloading, download::meta_of(spec, network)).map_err(disk)?;
        let mut fetched = 0;
        if !is_there(&path, &folder).await {
            let downloading = path.with_file_name("fetching");
            let spec = DownloadSpec {
                target: path.clone(),
                placing: Placing::Beside,
                bases: Vec::new(),
                only: Vec::new(),
                ..spec.clone()
            };
            let (progress, _) = watch::channel(None);
            let tools = JobTools { downloading, progress, ..tools.clone() };
            let done = self.run(spec, Goal::manifest(&folder), tools).await?;
            fetched = done.fetched_bytes;
        }
        let reading = tokio::task::spawn_blocking(move || {
            let bytes: Arc<[u8]> = std::fs::read(path)?.into();
            io::Result::Ok((Manifest::decode_as(&bytes, &folder), bytes))
        });
        let (manifest, bytes) =
            reading.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked))).map_err(disk)?;
        let manifest = Arc::new(manifest?);
        if let Some(swarm) = self.keep_manifest(&bytes) {
            swarm.keep(bytes);
            swarm.add_audiences(BTreeSet::from([spec.audience.clone()]), Announced::No);
        }
        Ok((manifest, fetched))
    }

    /// Serves what is in a folder, for nobody yet.
    pub(super) fn keep_manifest(&self, bytes: &[u8]) -> Option<Arc<Swarm>> {
        let hashes = manifest::hashes_of(bytes).ok()?;
        let (swarm, _) = self.context.swarms.add(Swarm::kept(hashes, bytes.into()));
        Some(swarm)
    }
}

/// Whether the manifest of a folder is there; what is there and is none is removed.
async fn is_there(path: &Path, folder: &FolderId) -> bool {
    let (path, folder) = (path.to_owned(), *folder);
    let looking = tokio::task::spawn_blocking(move || {
        let manifest = std::fs::read(&path).ok().and_then(|bytes| Manifest::decode_as(&bytes, &folder).ok());
        if manifest.is_none() {
            let _ = std::fs::remove_file(&path);
        }
        manifest.is_some()
    });
    looking.await.unwrap_or(false)
}
