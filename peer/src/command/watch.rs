//! Watching: what this user shares becomes a new version by itself when it changes on disk and then is quiet for a while.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::id::NetworkId;
use common::name::EntryName;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::parts::{Parts, absolute, off_reactor};
use super::{Failure, FailureKind, Outcome, Update, register};
use crate::notice::Notice;
use crate::storage::{Different, Looks};
use crate::sync::{DiskEvent, DiskWatch, Quiet, WatchError};
use crate::tracker_client::TrackerState;

/// More than this are not watched; picked by hand.
const MOST_WATCHED: usize = 1000;
/// Events of the system that may wait; what finds no room has everything looked at.
const EVENTS: usize = 4096;
/// Watching does not begin anew more often than this, however often folders come and go.
const ANEW_PAUSE: Duration = Duration::from_secs(1);
/// How often a directory that is not there is looked for.
const MISSING_PAUSE: Duration = Duration::from_secs(30);

/// Watches a file or folder, which is registered if it is not yet; without one, says what is watched.
pub(super) async fn watch(
    parts: &Arc<Parts>,
    path: Option<PathBuf>,
    updates: &mpsc::Sender<Update>,
) -> Result<Outcome, Failure> {
    let Some(path) = path else {
        return Ok(Outcome::Watched { paths: parts.records.watched(parts.network()?) });
    };
    register::enter(parts, path.clone(), None, updates).await?;
    let network = parts.network()?;
    let mut paths = parts.records.watched(network);
    if !paths.contains(&path) {
        paths.push(path.clone());
        if paths.len() > MOST_WATCHED {
            let text = format!("more than {MOST_WATCHED} files and folders cannot be watched");
            return Err(Failure::new(FailureKind::Failed, text).with_hint("watch the folder that they are in instead"));
        }
        // What the system says to that is for whoever asked.
        let tried = off_reactor(move || DiskWatch::start(&paths, mpsc::channel(1).0).map(drop)).await;
        tried.map_err(|error| cannot(&path, &error))?;
        parts.records.watch(network, path);
        parts.save_records().await;
        parts.syncing.watched.notify_one();
    }
    Ok(Outcome::Watched { paths: parts.records.watched(network) })
}

fn cannot(path: &Path, error: &WatchError) -> Failure {
    Failure::new(FailureKind::Failed, format!("could not watch {}: {error}", path.display()))
}

/// Watches it no more.
pub(super) async fn unwatch(parts: &Arc<Parts>, path: &Path) -> Result<Outcome, Failure> {
    absolute(path)?;
    let network = parts.network()?;
    if !parts.records.unwatch(network, path) {
        return Err(Failure::new(FailureKind::Failed, format!("{} is not watched", path.display()))
            .with_hint("`watch` shows what is"));
    }
    parts.save_records().await;
    parts.syncing.watched.notify_one();
    Ok(Outcome::Watched { paths: parts.records.watched(network) })
}

/// An entry is out of the catalogue: what is registered under its name is watched no more, since a change would put it there
/// again.
pub(super) async fn forget(parts: &Parts, network: NetworkId, name: &EntryName) {
    let is_meant = |path: &PathBuf| path.file_name().is_some_and(|file_name| file_name == name.as_str());
    let paths: Vec<PathBuf> = parts.records.watched(network).into_iter().filter(is_meant).collect();
    if paths.is_empty() {
        return;
    }
    for path in paths {
        parts.records.unwatch(network, &path);
    }
    parts.save_records().await;
    parts.syncing.watched.notify_one();
}

/// Registers what is watched whenever it has changed, for as long as the peer runs.
pub(crate) async fn keep_watching(parts: Arc<Parts>, network: NetworkId) {
    let (events, mut heard) = mpsc::channel(EVENTS);
    let mut watching = Watching { parts, network, events, watch: None, quiet: Quiet::default(), anew: None };
    let mut state = watching.parts.tracker.state();
    watching.begin().await;
    loop {
        while let Some(path) = watching.quiet.poll(Instant::now()) {
            watching.look(&path).await;
        }
        let due = watching.quiet.poll_timeout().into_iter().chain(watching.anew).min();
        tokio::select! {
            Some(event) = heard.recv() => watching.on_event(event),
            () = watching.parts.syncing.watched.notified() => watching.begin().await,
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
                // What changed while there was no tracker is registered now.
                if matches!(*state.borrow_and_update(), TrackerState::Connected(_)) {
                    watching.look_everywhere();
                }
            }
            () = at(due) => {}
        }
        if watching.watch.as_ref().is_some_and(DiskWatch::take_lost) {
            watching.look_everywhere();
        }
        if watching.anew.is_some_and(|at| at <= Instant::now()) {
            watching.begin().await;
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// What is watched, and what of it may have changed.
struct Watching {
    parts: Arc<Parts>,
    network: NetworkId,
    events: mpsc::Sender<DiskEvent>,
    watch: Option<DiskWatch>,
    quiet: Quiet,
    /// When to begin anew, because directories came or went.
    anew: Option<Instant>,
}

impl Watching {
    /// Begins to watch what is to be watched now, and looks at all of it: nobody watched before.
    async fn begin(&mut self) {
        self.anew = None;
        let (paths, events) = (self.parts.records.watched(self.network), self.events.clone());
        if paths.is_empty() {
            self.watch = None;
            return;
        }
        match off_reactor(move || DiskWatch::start(&paths, events)).await {
            Ok(watch) => {
                if !watch.missing.is_empty() {
                    self.anew = Some(Instant::now() + MISSING_PAUSE);
                }
                // The one before ends only now, so that nothing is missed between the two.
                self.watch = Some(watch);
            }
            Err(error) => {
                self.watch = None;
                self.anew = Some(Instant::now() + MISSING_PAUSE);
                let text = format!("Changes are not noticed for now: {error}");
                self.parts.tell(Notice::Warning { text });
            }
        }
        self.look_everywhere();
    }

    fn look_everywhere(&mut self) {
        for path in self.parts.records.watched(self.network) {
            self.quiet.look_now(&path, Instant::now());
        }
    }

    fn on_event(&mut self, event: DiskEvent) {
        let now = Instant::now();
        match event {
            DiskEvent::Changed(path) => self.quiet.on_change(&path, now),
            DiskEvent::Moved(path) => {
                self.quiet.on_change(&path, now);
                self.anew = Some(self.anew.map_or(now + ANEW_PAUSE, |at| at.min(now + ANEW_PAUSE)));
            }
        }
    }

    /// Registers what has been quiet for long enough, if it is not what was registered.
    async fn look(&mut self, path: &Path) {
        if !self.parts.records.watched(self.network).iter().any(|watched| watched == path) {
            return;
        }
        let (network, at) = (self.network, path.to_owned());
        let item = self.parts.library.items(network).into_iter().find(|item| item.path == path);
        let looks = item.filter(|item| !item.entries.is_empty()).map(|item| item.looks);
        let change = off_reactor(move || match looks {
            Some(looks @ Looks::File(_)) => looks.check(&at).err(),
            // Something may have come into a folder, and what is not shared any more may still be what was registered:
            // that comes out below, and what looks as it did is not read for it.
            Some(Looks::Folder(_)) | None => Some(if at.exists() { Different::Changed } else { Different::Gone }),
        })
        .await;
        match change {
            None => return,
            // It may come again; its directory is watched.
            Some(Different::Gone) => return,
            Some(_) => {}
        }
        let (updates, _nobody) = mpsc::channel(1);
        match register::enter(&self.parts, path.to_owned(), None, &updates).await {
            Ok(registered) if registered.already => {}
            Ok(registered) => self.parts.tell(Notice::Reregistered {
                entry: registered.entry.to_string(),
                version: registered.version,
                path: registered.path,
            }),
            // When the tracker is back everything is looked at.
            Err(failure) if failure.kind == FailureKind::NoTracker => {}
            Err(failure) if !path.exists() => tracing::debug!(path = %path.display(), %failure, "gone again"),
            // Somebody is still writing, say: that is heard of.
            Err(failure) => {
                tracing::warn!(path = %path.display(), %failure, "a change was not registered");
                self.parts.tell(Notice::Warning {
                    text: format!("{} has changed, but was not registered: {failure}", path.display()),
                });
            }
        }
    }
}
