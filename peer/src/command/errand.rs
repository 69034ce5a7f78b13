//! Errands: what is to be brought here, of whom and why, carried out whoever watches; and what follows when it is here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::audience::Audience;
use common::id::{Content, NetworkId};
use common::name::EntryRef;
use common::wire::tracker::Request;

use super::downloads::{Begun, Carrier, Interest, Running};
use super::follow::{self, Brought};
use super::newer;
use super::parts::{Parts, off_reactor};
use super::{Downloaded, failure};
use crate::engine::{Done, DownloadError, DownloadSpec, Placing, PlanSource, Shared};
use crate::library::{EntryShare, Item, Resumption};
use crate::notice::Notice;
use crate::storage::Looks;
use crate::sync::Origin;

/// Something that is to be brought here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Errand {
    /// `owner/name`; of an offer `sender/name`.
    pub(super) entry: EntryRef,
    /// 0 for an offer.
    pub(super) version: u32,
    pub(super) content: Content,
    pub(super) audience: Audience,
    pub(super) source: PlanSource,
    pub(super) purpose: Purpose,
}

/// Why something is brought here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody asked for just this.
    Once,
    /// Somebody asked for it, and it is to be followed from then on.
    Follow,
    /// It is followed, and this is its newest version.
    Update,
}

impl Errand {
    /// A download of it to `target`, under another name where that is taken.
    pub(super) fn spec(&self, target: PathBuf) -> DownloadSpec {
        DownloadSpec {
            entry: self.entry.to_string(),
            source: self.source,
            name: self.entry.name.to_string(),
            version: self.version,
            content: self.content,
            audience: self.audience.clone(),
            target,
            placing: Placing::Beside,
            bases: Vec::new(),
            only: Vec::new(),
            wait: None,
            plan: None,
        }
    }

    /// What the library is to know of it.
    fn item(&self, network: NetworkId, path: PathBuf, looks: Looks) -> Item {
        let (mut entries, mut offers) = (BTreeMap::new(), BTreeSet::new());
        match self.source {
            PlanSource::Entry => {
                let share = EntryShare { version: self.version, audience: self.audience.clone() };
                entries.insert(self.entry.clone(), share);
            }
            PlanSource::Offer(offer) => {
                offers.insert(offer);
            }
        }
        Item { network, content: self.content, path, entries, offers, looks }
    }

    /// It is here, without having been fetched in this run.
    pub(super) fn lies_here(&self, path: PathBuf, looks: &Looks) -> Downloaded {
        Downloaded {
            entry: self.entry.to_string(),
            version: self.version,
            file: self.content,
            bytes: bytes(looks),
            path,
            already: true,
            fetched_bytes: 0,
            elapsed_ms: 0,
            shares: Vec::new(),
        }
    }
}

/// Bytes of what looks so: of a folder, of all files in it.
pub(super) fn bytes(looks: &Looks) -> u64 {
    match looks {
        Looks::File(stamp) => stamp.size,
        Looks::Folder(files) => files.values().map(|stamp| stamp.size).sum(),
    }
}

/// What became of the wish to begin a download.
pub(super) enum Started {
    New(Arc<Running>),
    UnderWay(Arc<Running>),
}

impl Started {
    /// Whoever began it.
    pub(super) fn into_running(self) -> Arc<Running> {
        match self {
            Self::New(running) | Self::UnderWay(running) => running,
        }
    }
}

/// Begins a download that goes on whoever watches, unless there is one of this content.
pub(super) async fn start(
    parts: &Arc<Parts>,
    network: NetworkId,
    errand: Errand,
    spec: DownloadSpec,
    interest: Interest,
) -> Started {
    let content = errand.content;
    let (running, carrier) = match parts.downloads.begin(errand, interest) {
        Begun::UnderWay(running) => return Started::UnderWay(running),
        Begun::New(running, carrier) => (running, carrier),
    };
    let (all, carried) = (Arc::clone(parts), Arc::clone(&running));
    parts.tasks.spawn("download", async move { carry_out(&all, network, &carried, spec, carrier).await });
    if parts.library.resumption(&content) == Resumption::WhenAsked {
        parts.with_library(move |library| library.set_resumption(content, Resumption::ByItself)).await;
        parts.save_library().await;
    }
    Started::New(running)
}

async fn carry_out(parts: &Arc<Parts>, network: NetworkId, running: &Running, spec: DownloadSpec, carrier: Carrier) {
    let errand = &running.errand;
    let progress = carrier.progress.clone();
    let mut downloading = Box::pin(parts.engine.download(spec, progress, running.cancel.clone()));
    let ended = tokio::select! {
        ended = &mut downloading => ended,
        newest = newer::await_newer(parts, running) => {
            newer::give_way(parts, running, newest);
            downloading.await
        }
    };
    let end = match ended {
        Ok(done) => Ok(complete(parts, network, errand, done).await),
        Err(DownloadError::Cancelled) if running.newer.get().is_some() => {
            parts.syncing.overtaken().insert(errand.entry.clone(), errand.content);
            Err(failure::of_download(&errand.entry.name, DownloadError::Cancelled))
        }
        Err(error) => {
            give_up(parts, running).await;
            on_failure(parts, network, errand, &error).await;
            Err(failure::of_download(&errand.entry.name, error))
        }
    };
    parts.downloads.end(&errand.content, &carrier, end);
    if let Some(newest) = running.newer.get() {
        follow::want(parts, errand.entry.clone(), newest.clone());
    }
    // After a large file the disk takes its time, for which nobody needs to wait.
    parts.save_library().await;
}

/// Of what nobody here has asked for nothing stays where it fails, but for what came earlier; what ends with this peer goes on
/// with the next. As long as the download is in the list nobody else begins it.
async fn give_up(parts: &Parts, running: &Running) {
    if !parts.ending.is_cancelled() {
        running.give_up();
    }
    if running.leaves_nothing() {
        let (engine, content) = (parts.engine.clone(), running.errand.content);
        off_reactor(move || engine.discard(&content)).await;
    }
}

/// It is complete and served: the library takes it, and whoever waits is told.
async fn complete(parts: &Arc<Parts>, network: NetworkId, errand: &Errand, done: Done) -> Downloaded {
    let Done { shared, fetched_bytes, elapsed, shares, edited } = done;
    let (path, looks) = (shared.path.clone(), shared.looks.clone());
    let downloaded = Downloaded {
        already: false,
        fetched_bytes,
        elapsed_ms: milliseconds(elapsed),
        shares,
        ..errand.lies_here(path.clone(), &looks)
    };
    if !shared.audiences.is_empty() {
        parts.share(errand.item(network, path.clone(), looks.clone()), shared).await;
    }
    match errand.purpose {
        Purpose::Once => parts.tell(Notice::Downloaded { name: errand.entry.name.to_string(), path }),
        Purpose::Follow | Purpose::Update => {
            follow::brought(parts, network, errand, Brought { path, looks, origin: Origin::Brought, edited }).await;
        }
    }
    if errand.purpose == Purpose::Follow {
        follow::tell_tracker(parts, network, &errand.entry).await;
    }
    report(parts, network, errand);
    downloaded
}

/// Tells the tracker, for whom it is to tell, that something is here.
fn report(parts: &Arc<Parts>, network: NetworkId, errand: &Errand) {
    let request = Request::Completed {
        entry: errand.entry.to_string(),
        content: errand.content,
        audience: errand.audience.clone(),
    };
    let (all, source) = (Arc::clone(parts), errand.source);
    parts.tasks.spawn("tell of a completed download", async move {
        match (all.tracker.request(request).await, source) {
            (Ok(_), PlanSource::Offer(offer)) => {
                all.records.settle(network, offer);
                all.save_records().await;
            }
            (Ok(_), PlanSource::Entry) => {}
            (Err(error), _) => tracing::debug!(%error, "the tracker does not know of a completed download"),
        }
    });
}

async fn on_failure(parts: &Parts, network: NetworkId, errand: &Errand, error: &DownloadError) {
    let is_tried_again = errand.purpose == Purpose::Update
        && matches!(
            error,
            DownloadError::Incomplete { .. } | DownloadError::Unreached { .. } | DownloadError::Refused(_)
        );
    if !is_tried_again && !matches!(error, DownloadError::Cancelled) {
        parts.tell(Notice::DownloadFailed { name: errand.entry.name.to_string(), why: error.to_string() });
    }
    // What ends with this peer goes on with the next.
    if errand.purpose == Purpose::Follow && !parts.ending.is_cancelled() {
        let is_wanted_only = parts.records.find(network, &errand.entry).is_some_and(|one| one.copy.is_none());
        if is_wanted_only {
            parts.records.unfollow(network, &errand.entry);
            parts.save_records().await;
        }
    }
}

/// It is here already: it is shared from where it lies, for this errand too.
pub(super) async fn take(parts: &Arc<Parts>, network: NetworkId, errand: &Errand, shared: Shared) -> Downloaded {
    let (path, looks) = (shared.path.clone(), shared.looks.clone());
    parts.share(errand.item(network, path.clone(), looks.clone()), shared).await;
    parts.save_library().await;
    if matches!(errand.source, PlanSource::Offer(_)) {
        report(parts, network, errand);
    }
    errand.lies_here(path, &looks)
}

/// Goes on with what an earlier run left unfinished in this network, but for what the user cancelled.
pub(crate) async fn resume(parts: &Arc<Parts>, network: NetworkId, unfinished: Vec<DownloadSpec>) {
    for spec in unfinished {
        if parts.library.resumption(&spec.content) == Resumption::WhenAsked {
            continue;
        }
        let Ok(entry) = spec.entry.parse::<EntryRef>() else {
            tracing::warn!(entry = spec.entry, "an unfinished download without a name");
            continue;
        };
        // An older version that somebody wanted once is no update.
        let is_update = parts
            .records
            .find(network, &entry)
            .is_some_and(|followed| followed.copy.is_none_or(|copy| copy.version < spec.version));
        if is_update && spec.only.is_empty() {
            follow::resume(parts, &entry, spec.content).await;
            continue;
        }
        let errand = Errand {
            entry,
            version: spec.version,
            content: spec.content,
            audience: spec.audience.clone(),
            source: spec.source,
            purpose: Purpose::Once,
        };
        tracing::info!(entry = spec.entry, "going on with a download");
        start(parts, network, errand, spec, Interest::User).await;
    }
}

pub(super) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
