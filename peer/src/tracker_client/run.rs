//! The task of a tracker client: joins, serves the connection, and joins again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use common::id::{NetworkId, PeerId};
use common::identity::PublicKey;
use common::wire::tracker::{Code, Event, HistoryLine, Refusal};
use tokio::time::{Instant, sleep};

use super::connection::{JoinError, Joined, join, serve};
use super::trust::FirstUse;
use super::{LastWelcome, Place, Shared, TrackerError, TrackerState};
use crate::notice::Notice;

/// Pause before the next try, at least and at most; where in between is chance, so that the peers of a tracker that
/// restarts do not all come at once. Those of whom a user wants something come first.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// How often a tracker that wants a login is asked whether it still does.
const LOGIN_PAUSE: Duration = Duration::from_secs(10);
/// Of more users than this, and more devices of one, who comes and goes is told as it comes; picked by hand.
const MOST_PRESENT: usize = 10_000;
const MOST_DEVICES: usize = 100;

/// Why there is no connection.
enum Failure {
    /// A phrase; it may be different the next time.
    ForNow(String),
    /// It will be the same the next time, unless somebody does something.
    ForGood(TrackerError),
    /// It will be the same the next time, unless the user logs in.
    LoginRequired(Refusal),
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
    let mut told = Told { joined: false, missed: false, error: None };
    loop {
        let failure = match try_to_join(shared).await {
            Ok(joined) => match on_network(shared, joined, &mut told).await {
                End::Renewal => continue,
                End::Lost(why) => Failure::ForNow(why),
            },
            Err(failure) => failure,
        };
        let why = match failure {
            Failure::LoginRequired(refusal) => {
                await_login(shared, refusal, &told).await;
                continue;
            }
            Failure::ForGood(error) if !told.joined => {
                tracing::info!(%error, "not on the network");
                shared.state.send_replace(TrackerState::Failed(error));
                shared.renewal.asked().await;
                continue;
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

/// Waits until the user has logged in, or until it is time to ask again.
async fn await_login(shared: &Shared, refusal: Refusal, told: &Told) {
    tracing::info!(%refusal, "a login is required");
    let is_news = matches!(&*shared.state.borrow(), TrackerState::Connecting { .. });
    if told.joined && is_news && !shared.renewal.is_under_way() {
        tell(shared, Notice::Warning { text: format!("This peer is not on the network any more: {refusal}") });
    }
    shared.state.send_replace(TrackerState::LoginRequired(refusal));
    tokio::select! {
        () = sleep(LOGIN_PAUSE) => {}
        () = shared.renewal.asked() => {}
    }
}

/// How the time on the network ended.
enum End {
    /// The user logs in or out: it begins again at once, and nobody need hear of it.
    Renewal,
    /// Something else, a phrase.
    Lost(String),
}

/// What the user has heard of the connection.
struct Told {
    /// Whether this peer was on the network in this run.
    joined: bool,
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
    join(&shared.introduction, &shared.wished_name(), expect).await.map_err(|error| match error {
        JoinError::NoTracker(why) => Failure::ForNow(why),
        JoinError::Unexpected(unexpected) => Failure::ForGood(shared.trust.wrong_key(&unexpected)),
        JoinError::Refused { refusal, key } => {
            // It has proven its key, which a login needs to know.
            if matches!(shared.introduction.place, Place::Address(_)) {
                shared.trust.on_met(NetworkId(key.peer_id().0));
            }
            match refusal.code {
                Code::LoginRequired => {
                    on_key(shared, key);
                    Failure::LoginRequired(refusal)
                }
                _ if is_final(&refusal) => Failure::ForGood(refusal.into()),
                _ => Failure::ForNow(refusal.text),
            }
        }
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
async fn on_network(shared: &Shared, joined: Joined, told: &mut Told) -> End {
    on_key(shared, joined.key);
    let last_welcome = LastWelcome { welcome: joined.welcome.clone(), at: joined.at, remote: joined.remote };
    *shared.last_welcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(last_welcome);
    shared.announcements.on_connected();
    let line = shared.requests.open();
    tracing::info!(name = joined.welcome.name, peers = joined.welcome.peers, "on the network");
    shared.state.send_replace(TrackerState::Connected(joined.welcome.clone()));
    if told.missed {
        tell(shared, Notice::TrackerBack);
    }
    (told.joined, told.missed, told.error) = (true, false, None);
    let mut present = Present::default();
    let on_refused = |refusal: Refusal| {
        tracing::warn!(%refusal, code = ?refusal.code, "an announcement was refused");
        let text = format!("Others do not hear of all that is shared here: {refusal}");
        tell(shared, Notice::Warning { text });
    };
    let why = tokio::select! {
        why = serve(joined, line, &shared.announcements, |event| on_event(shared, &mut present, event), on_refused) => Some(why),
        () = shared.renewal.asked() => None,
    };
    *shared.lost_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    // The command that logs in or out may have ended before this peer has heard of it.
    let Some(why) = why.filter(|_why| !shared.renewal.is_under_way()) else {
        shared.state.send_replace(TrackerState::Connecting { why: String::new() });
        return End::Renewal;
    };
    tell(shared, Notice::TrackerLost { why: why.clone() });
    End::Lost(why)
}

/// The tracker has this key.
fn on_key(shared: &Shared, key: PublicKey) {
    let Place::Address(address) = &shared.introduction.place else { return };
    // Set once: a reconnect expects this very key.
    let _already = shared.key.set(key);
    let network = NetworkId(key.peer_id().0);
    // Blocks for one small file, once in the life of a DIR.
    match shared.trust.on_proven(network) {
        FirstUse::No => {}
        FirstUse::Remembered(path) => {
            let tracker = address.place();
            tell(shared, Notice::TrackerRemembered { tracker, fingerprint: network, path });
        }
        FirstUse::NotRemembered(text) => tell(shared, Notice::Warning { text }),
    }
}

fn on_event(shared: &Shared, present: &mut Present, event: Event) {
    if let Some(notice) = notice_of(present, &event) {
        tell(shared, notice);
    }
    if let (Event::Revoked { revocations }, Some(revoked)) = (&event, shared.revoked.get()) {
        revoked.tell(revocations.clone());
    }
    // Nobody may be listening yet.
    drop(shared.events.send(event));
}

/// What the user is to hear of an event at once; what needs something done first is told by whoever does it.
fn notice_of(present: &mut Present, event: &Event) -> Option<Notice> {
    match event {
        Event::Joined { name, peer } => present.on_joined(name, *peer).then(|| Notice::Joined { name: name.clone() }),
        Event::Left { name, peer } => present.on_left(name, *peer).then(|| Notice::Left { name: name.clone() }),
        Event::Chat(HistoryLine { from, text, at_ms }) => {
            Some(Notice::Chat { from: from.clone(), text: text.clone(), at_ms: *at_ms })
        }
        Event::Message(HistoryLine { from, text, at_ms }) => {
            Some(Notice::Message { from: from.clone(), text: text.clone(), at_ms: *at_ms })
        }
        _ => None,
    }
}

/// Who came online since this peer did, so that a user with several devices comes and goes once.
#[derive(Debug, Default)]
struct Present {
    devices: BTreeMap<String, BTreeSet<PeerId>>,
}

impl Present {
    /// A device of a user came; whether it is the first.
    fn on_joined(&mut self, name: &str, peer: PeerId) -> bool {
        if self.devices.len() >= MOST_PRESENT && !self.devices.contains_key(name) {
            return true;
        }
        let devices = self.devices.entry(name.to_owned()).or_default();
        let is_first = devices.is_empty();
        if devices.len() < MOST_DEVICES {
            devices.insert(peer);
        }
        is_first
    }

    /// A device of a user went; whether none is known to be left.
    fn on_left(&mut self, name: &str, peer: PeerId) -> bool {
        let Some(devices) = self.devices.get_mut(name) else { return true };
        devices.remove(&peer);
        let is_last = devices.is_empty();
        if is_last {
            self.devices.remove(name);
        }
        is_last
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_with_several_devices_comes_and_goes_once() {
        let mut present = Present::default();
        let [one, two] = [1, 2].map(|number| PeerId([number; 32]));
        assert!(present.on_joined("ann", one) && !present.on_joined("ann", two));
        assert!(present.on_joined("bob", one));
        assert!(!present.on_left("ann", one) && present.on_left("ann", two));
        assert!(present.on_left("eve", one), "who was there before is not known");
        assert!(present.on_joined("ann", two));
    }
}
