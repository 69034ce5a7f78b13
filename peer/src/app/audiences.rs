//! Keeps the audiences true for which this peer shares: the tracker tells of changes, and is asked for those that were
//! missed.

use std::sync::Arc;

use common::audience::Audience;
use common::name::{EntryName, EntryRef, UserName};
use common::wire::MAX_PAGE;
use common::wire::tracker::{Entry, Event, Query, Reply, Request};
use tokio::sync::broadcast::error::RecvError;

use crate::command::Parts;
use crate::tracker_client::TrackerState;

/// Runs as long as the peer does.
pub(super) async fn keep(parts: Arc<Parts>) {
    let (mut events, mut state) = (parts.tracker.events(), parts.tracker.state());
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(Event::Shared { entry, audience }) => match entry.parse() {
                    Ok(entry) => parts.set_audience(entry, audience).await,
                    Err(error) => tracing::warn!(entry, %error, "the tracker tells of an entry without a name"),
                },
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => ask(&parts).await,
                Err(RecvError::Closed) => return,
            },
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
                let connected = matches!(*state.borrow_and_update(), TrackerState::Connected(_));
                if connected {
                    ask(&parts).await;
                }
            }
        }
    }
}

/// Asks for whom the user's own entries are: they may have been changed on another device.
async fn ask(parts: &Parts) {
    let mut offset = 0;
    loop {
        let page = Query { offset, limit: MAX_PAGE, mine: true, ..Query::default() };
        let Ok(Reply::Entries { entries, total }) = parts.tracker.request(Request::List(page)).await else { return };
        let taken = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        for (entry, audience) in entries.iter().filter_map(|entry| own_audience(entry, &parts.user_name())) {
            parts.set_audience(entry, audience).await;
        }
        offset = offset.saturating_add(taken);
        if taken == 0 || offset >= total {
            return;
        }
    }
}

/// For whom the entry of this user is; `None` where it has none of that name.
fn own_audience(entry: &Entry, user: &str) -> Option<(EntryRef, Audience)> {
    let owner = entry.owners.iter().find(|owner| *owner == user)?;
    let own =
        EntryRef { owner: Some(UserName::new(owner.as_str()).ok()?), name: EntryName::new(entry.name.as_str()).ok()? };
    let audience = if entry.restricted { Audience::Entry(own.clone()) } else { Audience::Public };
    Some((own, audience))
}
