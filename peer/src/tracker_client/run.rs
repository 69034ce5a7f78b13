//! The task of a tracker client: joins, serves the connection, and joins again.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use common::id::NetworkId;
use common::wire::tracker::{Code, Event, Refusal};
use tokio::time::{Instant, sleep};

use super::connection::{JoinError, Joined, join, serve};
use super::trust::FirstUse;
use super::{LastWelcome, Shared, TrackerError, TrackerState};
use crate::notice::Notice;

/// Pause before the next try, at least and at most; where in between is chance, so that the peers of a tracker that
/// restarts do not all come at once. Those of whom a user wants something come first.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Why there is no connection.
enum Failure {
    /// A phrase; it may be different the next time.
    ForNow(String),
    /// It will be the same the next time, unless somebody does something.
    ForGood(TrackerError),
}

/// Keeps the connection until the client leaves.
pub(super) async fn run(shared: Arc<Shared>) {
    tokio::select! {
        () = shared.leaving.cancelled() => {}
        () = keep_connected(&shared) => return,
    }
    shared.state.send_replace(TrackerState::Connecting { why: "this peer has left".to_owned() });
}

async fn keep_connected(shared: &Shared) {
    let mut told = Told { missed: false, error: None };
    loop {
        let failure = match try_to_join(shared).await {
            Ok(joined) => Failure::ForNow(on_network(shared, joined, &mut told).await),
            Err(failure) => failure,
        };
        let why = match failure {
            Failure::ForGood(error) if shared.key.get().is_none() => {
                tracing::info!(%error, "not on the network");
                shared.state.send_replace(TrackerState::Failed(error));
                return;
            }
            Failure::ForGood(error) => told.once(shared, error),
            Failure::ForNow(why) => why,
        };
        told.missed = true;
        tracing::debug!(why, "no connection to the tracker");
        shared.state.send_replace(TrackerState::Connecting { why });
        sleep(SHORTEST_PAUSE).await;
        tokio::select! {
            () = sleep(pause()) => {}
            // Somebody has a question.
            () = shared.wanted.notified() => {}
        }
    }
}

/// What the user has heard of the connection.
struct Told {
    /// Whether there was a time without it.
    missed: bool,
    /// The last refusal since it was lost.
    error: Option<TrackerError>,
}

impl Told {
    /// Tells of a refusal that the user can do something about, but not at every try.
    fn once(&mut self, shared: &Shared, error: TrackerError) -> String {
        let why = error.to_string();
        if self.error.as_ref() != Some(&error) {
            tell(shared, Notice::TrackerLost { why: why.clone() });
            self.error = Some(error);
        }
        why
    }
}

async fn try_to_join(shared: &Shared) -> Result<Joined, Failure> {
    let expect = shared.trust.expect().map_err(Failure::ForGood)?;
    join(&shared.introduction, expect).await.map_err(|error| match error {
        JoinError::NoTracker(why) => Failure::ForNow(why),
        JoinError::Unexpected(unexpected) => Failure::ForGood(shared.trust.wrong_key(&unexpected)),
        JoinError::Refused(refusal) if is_final(&refusal) => Failure::ForGood(refusal.into()),
        JoinError::Refused(refusal) => Failure::ForNow(refusal.text),
    })
}

/// Whether the same hello would be refused again.
const fn is_final(refusal: &Refusal) -> bool {
    match refusal.code {
        Code::NameTaken | Code::BadName | Code::Forbidden | Code::Malformed | Code::Unknown => true,
        Code::LoginRequired | Code::WrongPassword | Code::InviteRequired => true,
        Code::NotJoined | Code::NotFound | Code::Ambiguous | Code::Conflict | Code::Changed => true,
        Code::Busy | Code::Gone | Code::Limit | Code::Unavailable | Code::Newer => false,
    }
}

/// From the welcome to the end of the connection; says why it ended.
async fn on_network(shared: &Shared, joined: Joined, told: &mut Told) -> String {
    // Set once: a reconnect expects this very key.
    let _already = shared.key.set(joined.key);
    remember(shared, NetworkId(joined.key.peer_id().0));
    let last_welcome = LastWelcome { welcome: joined.welcome.clone(), at: joined.at };
    *shared.last_welcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(last_welcome);
    shared.announcements.on_connected();
    let line = shared.requests.open();
    tracing::info!(name = joined.welcome.name, peers = joined.welcome.peers, "on the network");
    shared.state.send_replace(TrackerState::Connected(joined.welcome.clone()));
    if told.missed {
        tell(shared, Notice::TrackerBack);
    }
    told.error = None;
    let on_refused = |refusal: Refusal| {
        tracing::warn!(%refusal, code = ?refusal.code, "an announcement was refused");
        let text = format!("Others do not hear of all that is shared here: {refusal}");
        tell(shared, Notice::Warning { text });
    };
    let why = serve(joined, line, &shared.announcements, |event| on_event(shared, event), on_refused).await;
    *shared.lost_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    tell(shared, Notice::TrackerLost { why: why.clone() });
    why
}

fn remember(shared: &Shared, network: NetworkId) {
    // Blocks for one small file, once in the life of a DIR.
    match shared.trust.on_proven(network) {
        FirstUse::No => {}
        FirstUse::Remembered(path) => {
            let tracker = shared.introduction.address.place();
            tell(shared, Notice::TrackerRemembered { tracker, fingerprint: network, path });
        }
        FirstUse::NotRemembered(text) => tell(shared, Notice::Warning { text }),
    }
}

fn on_event(shared: &Shared, event: Event) {
    match &event {
        Event::Joined { name, .. } => tell(shared, Notice::Joined { name: name.clone() }),
        Event::Left { name, .. } => tell(shared, Notice::Left { name: name.clone() }),
        _ => {}
    }
    // Nobody may be listening yet.
    drop(shared.events.send(event));
}

fn tell(shared: &Shared, notice: Notice) {
    // Nobody may be listening yet.
    drop(shared.notices.send(notice));
}

/// What comes on top of [`SHORTEST_PAUSE`].
fn pause() -> Duration {
    let mut random = [0; 4];
    // Without randomness everybody waits for the longest pause, which does no harm.
    if aws_lc_rs::rand::fill(&mut random).is_err() {
        return LONGEST_PAUSE - SHORTEST_PAUSE;
    }
    let share = f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX);
    (LONGEST_PAUSE - SHORTEST_PAUSE).mul_f64(share)
}
