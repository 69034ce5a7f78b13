//! Newer: a first download of what is to be followed gives way to a newer version, which takes what has come of it.

use std::sync::Arc;
use std::time::Duration;

use common::name::EntryRef;
use tokio::time::timeout;

use super::Activity;
use super::Progress;
use super::downloads::Running;
use super::errand::Purpose;
use super::follow;
use super::parts::{Parts, off_reactor};
use crate::notice::Notice;
use crate::sync::Newest;

/// The tracker is asked for a newer version each time nobody has had what is missing for so long.
const STARVED: Duration = Duration::from_secs(2);

/// Ends when nobody has what is missing of a first download, and there is a newer version.
pub(super) async fn await_newer(parts: &Parts, running: &Running) -> Newest {
    let Running { errand, .. } = running;
    let mut progress = running.progress.clone();
    let waits =
        |progress: &Option<Progress>| progress.as_ref().is_some_and(|progress| progress.activity == Activity::Waiting);
    while errand.purpose == Purpose::Follow && progress.wait_for(waits).await.is_ok() {
        if timeout(STARVED, progress.wait_for(|progress| !waits(progress))).await.is_ok() {
            continue;
        }
        match follow::subscribe_at_tracker(parts, &errand.entry).await {
            Ok((_, Some(newest))) if newest.content != errand.content => return newest,
            Ok(_) => {}
            Err(failure) => tracing::debug!(%failure, "whether there is a newer version is asked again"),
        }
    }
    std::future::pending().await
}

/// Has a download end for the sake of a newer version.
pub(super) fn give_way(parts: &Parts, running: &Running, newest: Newest) {
    let (name, version) = (running.name(), newest.version);
    let text = format!("{name}: there is a newer version, {version}; the download goes on with that one");
    if running.newer.set(newest).is_ok() {
        parts.tell(Notice::Warning { text });
    }
    running.cancel.cancel();
}

/// Has first downloads of older versions of an entry end, and waits for that.
pub(super) async fn overtake(parts: &Parts, entry: &EntryRef, newest: &Newest) {
    let is_older = |running: &Arc<Running>| {
        let errand = &running.errand;
        errand.purpose == Purpose::Follow && errand.content != newest.content && errand.version < newest.version
    };
    for running in parts.downloads.named(entry).into_iter().filter(is_older) {
        give_way(parts, &running, newest.clone());
        drop(running.end.clone().wait_for(Option::is_some).await);
    }
}

/// What has come of an older version is of no use any more.
pub(super) async fn discard_overtaken(parts: &Parts, entry: &EntryRef) {
    let overtaken = parts.syncing.overtaken().remove(entry);
    if let Some(content) = overtaken {
        let engine = parts.engine.clone();
        off_reactor(move || engine.discard(&content)).await;
    }
}
