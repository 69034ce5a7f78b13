//! The syncer: does by itself what the tracker's events ask for. It brings new versions of what is followed, and
//! tells of offers. Whatever was missed is asked for at every connect.

use std::collections::BTreeSet;
use std::sync::Arc;

use common::audience::OfferId;
use common::id::NetworkId;
use common::name::{EntryRef, UserName};
use common::wire::tracker::Event;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};

use super::FailureKind;
use super::follow::{self, Fetch, newest_of};
use super::offers;
use super::parts::Parts;
use crate::sync::{End, Newest};
use crate::tracker_client::TrackerState;

/// Keeps what is here in step with the network, for as long as the peer runs.
pub(crate) async fn keep_in_step(parts: Arc<Parts>) {
    let (mut events, mut state) = (parts.tracker.events(), parts.tracker.state());
    let mut told = BTreeSet::new();
    // It may be on the network already.
    state.mark_changed();
    loop {
        begin_what_is_due(&parts);
        let due = parts.syncing.queue().poll_timeout();
        tokio::select! {
            changed = state.changed() => {
                if changed.is_err() {
                    return;
                }
                if matches!(*state.borrow_and_update(), TrackerState::Connected(_)) {
                    catch_up(&parts, &mut told).await;
                }
            }
            event = events.recv() => match event {
                Ok(event) => on_event(&parts, event, &mut told).await,
                Err(RecvError::Lagged(missed)) => {
                    tracing::debug!(missed, "events were missed");
                    catch_up(&parts, &mut told).await;
                }
                Err(RecvError::Closed) => return,
            },
            () = parts.syncing.changed.notified() => {}
            () = at(due) => {}
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Asks for all that may have happened while nobody listened.
async fn catch_up(parts: &Arc<Parts>, told: &mut BTreeSet<OfferId>) {
    let Some(network) = parts.tracker.network() else { return };
    parts.syncing.queue().hurry(None, Instant::now());
    if let Err(failure) = follow::catch_up(parts, network).await {
        tracing::debug!(%failure, "what is followed could not be looked up; at the next connect it is tried again");
    }
    if let Err(failure) = offers::catch_up(parts, network, told).await {
        tracing::debug!(%failure, "offers could not be looked up; at the next connect it is tried again");
    }
}

async fn on_event(parts: &Arc<Parts>, event: Event, told: &mut BTreeSet<OfferId>) {
    let Some(network) = parts.tracker.network() else { return };
    match event {
        Event::Updated { entry: newest } => {
            if let [owner] = newest.owners.as_slice()
                && let Ok(entry) = format!("{owner}/{}", newest.name).parse::<EntryRef>()
            {
                let newest = newest_of(&entry, &newest);
                follow::on_newest(parts, network, &entry, newest).await;
            }
        }
        Event::Gone { entry } => {
            if let Ok(entry) = entry.parse() {
                follow::on_gone(parts, network, &entry).await;
            }
        }
        Event::Joined { name, .. } => {
            if let Ok(owner) = UserName::new(name) {
                parts.syncing.queue().hurry(Some(&owner), Instant::now());
            }
        }
        Event::Offered(offer) => offers::on_offered(parts, network, offer, told),
        Event::Answered { offer, name, receiver } => offers::on_answered(parts, network, offer, name, receiver),
        Event::Holder { .. } | Event::Dial { .. } | Event::Left { .. } | Event::Revoked { .. } => {}
        // For whom something is shared is kept whoever follows: see `app/audiences`.
        Event::Shared { .. } => {}
        Event::NotReached { .. } | Event::Meet(_) | Event::Chat(_) | Event::Message(_) | Event::Shutdown => {}
    }
}

/// Begins with what is to be brought up to date now.
fn begin_what_is_due(parts: &Arc<Parts>) {
    let Some(network) = parts.tracker.network() else { return };
    loop {
        // A statement of its own: nothing else is done under the lock.
        let next = parts.syncing.queue().poll(Instant::now());
        let Some((entry, newest)) = next else { return };
        let all = Arc::clone(parts);
        parts.tasks.spawn("bring up to date", async move {
            let end = bring_up_to_date(&all, network, &entry, &newest).await;
            tracing::debug!(%entry, version = newest.version, ?end, "brought up to date");
            all.syncing.with_queue(|queue| queue.on_end(&entry, &newest.content, end, Instant::now()));
        });
    }
}

async fn bring_up_to_date(parts: &Arc<Parts>, network: NetworkId, entry: &EntryRef, newest: &Newest) -> End {
    loop {
        let running = match follow::fetch(parts, network, entry, newest).await {
            Ok(Fetch::Here(_)) => return End::Done,
            Ok(Fetch::NotFollowed) => return End::GivenUp,
            Ok(Fetch::UnderWay(running)) => running,
            Err(failure) => {
                tracing::warn!(%entry, %failure, "a new version could not be put in its place");
                return End::Failed;
            }
        };
        let mut end = running.end.clone();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|end| (*end).clone());
        match ended {
            // Somebody may have wanted it for another purpose: it is looked at again what is here.
            Some(Ok(_)) => {}
            Some(Err(failure)) if failure.kind == FailureKind::Cancelled => return End::GivenUp,
            Some(Err(_)) | None => return End::Failed,
        }
    }
}
