//! What an app does by itself: shares what it shared before, keeps the library true, goes on with downloads, remembers the
//! tracker.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::id::NetworkId;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::holding::keep_holding;
use super::relisting::relist;
use super::{Unfinished, audiences};
use crate::command::{Parts, keep_in_step, keep_watching, off_reactor, refresh_names, resume};
use crate::engine::{self, DownloadSpec, EngineEvent};
use crate::notice::Notice;
use crate::settings::Settings;
use crate::tracker_client::{NameChoice, TrackerState};

/// What the tasks are made from.
pub(super) struct Background<'a> {
    pub(super) parts: &'a Arc<Parts>,
    pub(super) settings: Settings,
    pub(super) name: NameChoice,
    /// How much a supernode fetches; `None`: nothing.
    pub(super) hold_limit: Option<u64>,
}

impl Background<'_> {
    /// Begins all of it.
    pub(super) fn start(
        self,
        withdrawn: mpsc::Receiver<EngineEvent>,
        unfinished: io::Result<Vec<engine::Unfinished>>,
        wish: Unfinished,
    ) {
        let Background { parts, settings, name, hold_limit } = self;
        parts.tasks.spawn("library", keep_library(Arc::clone(parts), withdrawn));
        parts.tasks.spawn("relist", relist(Arc::clone(parts)));
        if let Some(limit) = hold_limit {
            parts.tasks.spawn("hold", keep_holding(Arc::clone(parts), limit));
        }
        parts.tasks.spawn("settings", remember(Arc::clone(parts), settings, name));
        parts.tasks.spawn("audiences", audiences::keep(Arc::clone(parts)));
        parts.tasks.spawn("names", refresh_names(Arc::clone(parts)));
        if wish == Unfinished::Resume {
            drop(parts.stays.set(()));
        }
        parts.tasks.spawn("sync", sync(Arc::clone(parts)));
        parts.tasks.spawn("watch", watch(Arc::clone(parts)));
        match (wish, unfinished) {
            (Unfinished::Resume, Ok(unfinished)) if !unfinished.is_empty() => {
                parts.tasks.spawn("resume", go_on(Arc::clone(parts), unfinished));
            }
            (Unfinished::Resume, Err(error)) => {
                let path = parts.dir.downloading();
                let text = format!("Unfinished downloads in {} could not be read: {error}", path.display());
                parts.tell(Notice::Warning { text });
            }
            (Unfinished::Resume | Unfinished::Leave, _) => {}
        }
    }
}

/// Shares what was shared before in this network, then drops what the engine withdraws.
async fn keep_library(parts: Arc<Parts>, mut withdrawn: mpsc::Receiver<EngineEvent>) {
    let network = network(&parts).await;
    let (shared, dropped) = parts.with_library(move |library| library.restore(network)).await;
    tracing::debug!(shared = shared.len(), dropped = dropped.len(), "library restored");
    for one in shared {
        parts.serve(one).await;
    }
    let any_dropped = !dropped.is_empty();
    for item in dropped {
        parts.tell(Notice::Withdrawn { path: item.path, file: item.content, why: item.why });
    }
    if any_dropped {
        parts.save_library().await;
    }
    while let Some(EngineEvent::Withdrawn { content }) = withdrawn.recv().await {
        // The engine has told of it already.
        let (instead, dropped) = parts.with_library(move |library| library.on_withdrawn(network, content)).await;
        tracing::debug!(%content, dropped = dropped.len(), instead = instead.is_some(), "withdrawn");
        if let Some(shared) = instead {
            parts.serve(shared).await;
        }
        parts.save_library().await;
    }
}

/// The network of the tracker in use: known at once where its key is pinned or remembered.
pub(super) async fn network(parts: &Parts) -> NetworkId {
    let mut state = parts.tracker.state();
    loop {
        state.mark_unchanged();
        if let Some(network) = parts.tracker.network() {
            return network;
        }
        if state.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Waits until this peer is on the network for the first time.
async fn on_network(parts: &Parts) {
    let mut state = parts.tracker.state();
    if state.wait_for(|state| matches!(state, TrackerState::Connected(_))).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// In a network without a tracker waits until somebody else is there: who is alone knows of nobody who has anything.
async fn in_company(parts: &Parts) {
    /// How often it is looked.
    const LOOK_EVERY: Duration = Duration::from_secs(1);
    let Some(node) = &parts.node else { return };
    while node.members().await.is_ok_and(|all| all.members.len() <= 1) {
        sleep(LOOK_EVERY).await;
    }
}

/// Goes on with what an earlier run left in this network, once the tracker is there to say who has the rest.
async fn go_on(parts: Arc<Parts>, unfinished: Vec<engine::Unfinished>) {
    on_network(&parts).await;
    in_company(&parts).await;
    let network = network(&parts).await;
    let here = unfinished.into_iter().filter(|unfinished| unfinished.network == network);
    let specs: Vec<DownloadSpec> = here.map(|unfinished| unfinished.spec).collect();
    resume(&parts, network, specs).await;
}

/// Keeps what is here in step with the network once this peer is to run on.
async fn sync(parts: Arc<Parts>) {
    parts.stays.wait().await;
    keep_in_step(parts).await;
}

/// Watches what is watched in this network once this peer is to run on.
async fn watch(parts: Arc<Parts>) {
    parts.stays.wait().await;
    let network = network(&parts).await;
    keep_watching(parts, network).await;
}

/// Writes down which tracker was reached, and the name that was given.
async fn remember(parts: Arc<Parts>, before: Settings, name: NameChoice) {
    on_network(&parts).await;
    let mut now = before.clone();
    if let Some(address) = parts.place.address() {
        now.tracker = Some(address.clone());
    }
    if let NameChoice::Given(name) = name {
        now.name = Some(name);
    }
    if now == before {
        return;
    }
    let path = parts.dir.settings();
    if let Err(error) = off_reactor(move || now.save(&path)).await {
        let text =
            format!("The tracker's address could not be remembered in {}: {error}", parts.dir.settings().display());
        parts.tell(Notice::Warning { text });
    }
}
