//! What a download finds of an earlier run: believes what was synced, hashes again what was written, fetches the rest.

use std::io;
use std::sync::Arc;

use common::bitmap::Bitmap;
use common::id::NetworkId;
use common::merkle::SwarmHashes;
use tokio::sync::watch;

use super::super::Goal;
use super::JobTools;
use crate::command::{Activity, Progress};
use crate::engine::{DownloadError, DownloadSpec};
use crate::storage::{Opened, Partial, PartialMeta};

/// What is there at the start.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) partial: Arc<Partial>,
    pub(super) done: Bitmap,
    pub(super) hashes: Option<SwarmHashes>,
    /// For ties.
    pub(super) seed: u64,
}

/// Opens what an earlier run left, off the reactor.
pub(super) async fn prepare(spec: &DownloadSpec, goal: &Goal, tools: &JobTools) -> Result<Prepared, DownloadError> {
    let network = tools.context.tracker().network().ok_or(DownloadError::Cancelled)?;
    let meta = PartialMeta { content: goal.content, ..meta_of(spec, network) };
    let outline = goal.outline.clone();
    let (downloading, progress, cancel) = (tools.downloading.clone(), tools.progress.clone(), tools.cancel.clone());
    let opening = tokio::task::spawn_blocking(move || {
        let opened = Partial::open(&downloading, meta, outline)?;
        check(opened, &progress, &|| cancel.is_cancelled())
    });
    let prepared = opening.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked)));
    // Not all was looked at, perhaps: nothing may be built on it.
    if tools.cancel.is_cancelled() {
        return Err(DownloadError::Cancelled);
    }
    prepared.map_err(|source| DownloadError::Disk { path: spec.target.clone(), source })
}

/// What is noted of a download, for the next run.
pub(crate) fn meta_of(spec: &DownloadSpec, network: NetworkId) -> PartialMeta {
    PartialMeta {
        network,
        entry: spec.entry.clone(),
        source: spec.source,
        name: spec.name.clone(),
        version: spec.version,
        content: spec.content,
        audience: spec.audience.clone(),
        target: spec.target.clone(),
        placing: spec.placing.clone(),
        bases: spec.bases.clone(),
        only: spec.only.clone(),
    }
}

fn check(
    opened: Opened,
    progress: &watch::Sender<Option<Progress>>,
    cancelled: &dyn Fn() -> bool,
) -> io::Result<Prepared> {
    let Opened { partial, synced: mut done, written, hashes } = opened;
    let hashes = hashes.or_else(|| SwarmHashes::known(partial.outline().layout()));
    let mut right = Bitmap::empty(written.length());
    let meta = partial.meta();
    if let Some(hashes) = &hashes {
        let layout = hashes.layout();
        let size = |chunk| layout.chunk(chunk).map_or(0, |index| u64::from(layout.size(index)));
        let mut shown = Progress {
            name: meta.name,
            activity: Activity::Checking,
            chunks: 0,
            chunks_total: written.count(),
            bytes: 0,
            bytes_total: written.iter().map(size).sum(),
            bytes_per_sec: 0,
            seeders: 0,
        };
        for chunk in written.iter().take_while(|_| !cancelled()) {
            if partial.is_right(hashes, chunk)? {
                right.insert(chunk);
            }
            shown.chunks += 1;
            shown.bytes += size(chunk);
            progress.send_replace(Some(shown.clone()));
        }
    } else {
        // Without hashes nothing is to be believed: the file may be another one's.
        done = Bitmap::empty(done.length());
    }
    if !cancelled() {
        partial.mark_found(&done, &right)?;
    }
    for chunk in right.iter() {
        done.insert(chunk);
    }
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed).map_err(io::Error::other)?;
    Ok(Prepared { partial: Arc::new(partial), done, hashes, seed: u64::from_ne_bytes(seed) })
}
