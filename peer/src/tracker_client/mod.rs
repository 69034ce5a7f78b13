//! The tracker client: one connection to one tracker, kept open for as long as the peer runs.
//!
//! It joins again by itself when the connection ends, and then announces again whatever is to be announced; requests
//! are answered or fail within a named time.
//!
//! ```text
//! Connecting --joined--> Connected --connection ended--> Connecting --...
//!     |
//!     +--a login is required--> LoginRequired --logged in, or a while has passed--> Connecting
//!     |
//!     +--refused for good, and never joined before--> Failed --logged in--> Connecting
//! ```

mod account;
mod address;
mod announcements;
mod announcer;
mod connection;
mod dial;
mod frames;
mod interfaces;
mod known_trackers;
mod place;
mod requests;
mod revoked;
mod run;
mod sound;
mod trust;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::audience::{Audience, Sharing};
use common::id::{Content, NetworkId};
use common::identity::{Identity, PublicKey};
use common::name::UserName;
use common::ticket::Ticket;
use common::wire::tracker::{Event, Have, Refusal, Reply, Request, TooLarge, UdpOffer, Welcome};
use tokio::sync::{Notify, broadcast, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use self::account::Renewal;
pub use self::address::{AddressError, TrackerAddress};
use self::announcements::Announcements;
use self::connection::Introduction;
pub(crate) use self::frames::{FrameReader, write as write_frame};
pub(crate) use self::interfaces::{is_on_a_link, reachable_addresses};
pub(crate) use self::place::{Entered, Stream, Wish};
pub use self::place::{Entrance, Place};
use self::requests::{Line, Requests};
use self::revoked::OnRevoked;
pub(crate) use self::sound::is_sound;
use self::trust::Trust;
use crate::notice::Notice;
use crate::revocations::Grant;
use crate::tasks::Tasks;

/// A request that has no answer after so long has failed.
pub const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// A request waits so long for a connection that was lost: a tracker that restarts is back within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// A request waits at least so long for a connection: for one try after the pause between two.
const ONE_TRY: Duration = Duration::from_secs(1);
/// How long leaving may take: it is polite, but nobody needs it.
const LEAVE_DEADLINE: Duration = Duration::from_secs(1);
/// Events that a slow listener may be behind before it loses the oldest.
const EVENTS: usize = 1024;

/// A handle to the connection; clones are handles to the same.
#[derive(Debug, Clone)]
pub struct TrackerClient {
    shared: Arc<Shared>,
}

/// What a client is made from.
#[derive(Debug)]
pub struct TrackerConfig {
    /// Which tracker.
    pub place: Place,
    /// This peer's key.
    pub identity: Arc<Identity>,
    /// The user name wished for.
    pub name: NameChoice,
    /// Where this peer accepts others.
    pub listen: SocketAddr,
    /// Where it is to be reached from anywhere.
    pub advertise: Vec<SocketAddr>,
    /// Where first uses of trackers are remembered.
    pub known_trackers: PathBuf,
    /// Where notices go.
    pub notices: broadcast::Sender<Notice>,
}

/// The user name of this peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NameChoice {
    /// Only this will do.
    Given(UserName),
    /// Where it is taken, the tracker may put a number after it.
    Default(UserName),
}

/// How the connection is.
#[derive(Debug, Clone)]
pub enum TrackerState {
    /// This peer is on the network.
    Connected(Welcome),
    /// It tries to be.
    Connecting {
        /// Why it is not: a phrase; empty before the first try has ended.
        why: String,
    },
    /// The tracker wants a login first: what it says. It is asked again now and then.
    LoginRequired(Refusal),
    /// The very first joining was refused for good, and nothing is tried any more, unless the user logs in.
    Failed(TrackerError),
}

/// Why there is no answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrackerError {
    /// The tracker refused; nothing was changed there.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no connection.
    #[error("no tracker answers at {place} ({why})")]
    NotConnected {
        /// Where it should be, `host:port`.
        place: String,
        /// What went wrong.
        why: String,
    },
    /// The connection ended, or time was up, before the answer came: it may have been done or not.
    #[error("the tracker at {place} did not answer ({why})")]
    NoAnswer {
        /// Where it is, `host:port`.
        place: String,
        /// What went wrong.
        why: String,
    },
    /// The tracker has not the key that it should have, or what is remembered of it cannot be read.
    #[error("{text}")]
    Untrusted {
        /// A sentence.
        text: String,
        /// What to do.
        hint: String,
    },
    /// The request is longer than a frame may be; it was not sent.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// What handles and the task have in common.
#[derive(Debug)]
struct Shared {
    introduction: Introduction,
    trust: Trust,
    requests: Requests,
    announcements: Announcements,
    state: watch::Sender<TrackerState>,
    events: broadcast::Sender<Event>,
    notices: broadcast::Sender<Notice>,
    key: OnceLock<PublicKey>,
    last_welcome: Mutex<Option<LastWelcome>>,
    /// Since when there has been no connection; of no meaning while there is one.
    lost_at: Mutex<Instant>,
    leaving: CancellationToken,
    renewal: Renewal,
    revoked: OnceLock<OnRevoked>,
    /// Somebody has a question: now would be a good time to connect.
    wanted: Notify,
}

/// What the tracker said when this peer joined last, and when that was.
#[derive(Debug, Clone)]
struct LastWelcome {
    welcome: Welcome,
    at: Instant,
    remote: Option<SocketAddr>,
}

impl TrackerClient {
    /// Begins to connect; never fails, see [`Self::state`]. Blocks for a small file.
    pub fn start(config: TrackerConfig, tasks: &Tasks) -> Self {
        let trust = match &config.place {
            Place::Address(address) => Trust::new(address, config.known_trackers),
            Place::Group(entrance) => Trust::given(entrance.network(), config.known_trackers),
        };
        let shared = Arc::new(Shared {
            introduction: Introduction {
                place: config.place,
                identity: config.identity,
                name: config.name,
                listen: config.listen,
                advertise: config.advertise,
            },
            trust,
            requests: Requests::default(),
            announcements: Announcements::default(),
            state: watch::Sender::new(TrackerState::Connecting { why: String::new() }),
            events: broadcast::Sender::new(EVENTS),
            notices: config.notices,
            key: OnceLock::new(),
            last_welcome: Mutex::new(None),
            lost_at: Mutex::new(Instant::now()),
            leaving: CancellationToken::new(),
            renewal: Renewal::default(),
            revoked: OnceLock::new(),
            wanted: Notify::new(),
        });
        tasks.spawn("tracker client", run::run(Arc::clone(&shared)));
        Self { shared }
    }

    /// Asks the tracker and waits for its answer, at most [`REQUEST_DEADLINE`].
    ///
    /// A connection that was lost a moment ago is waited for. A question that changes nothing when asked twice is asked
    /// again when its connection ends before the answer.
    pub async fn request(&self, request: Request) -> Result<Reply, TrackerError> {
        let deadline = Instant::now() + REQUEST_DEADLINE;
        loop {
            let line = self.line(deadline).await?;
            let why = match timeout_at(deadline, line.ask(request.clone())).await {
                Ok(Ok(Some(answer))) => return Ok(answer?),
                Ok(Ok(None)) if may_be_repeated(&request) => continue,
                Ok(Ok(None)) => "the connection ended".to_owned(),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => format!("for {} s", REQUEST_DEADLINE.as_secs()),
            };
            return Err(TrackerError::NoAnswer { place: self.place(), why });
        }
    }

    /// The way to the open connection, waited for where it makes sense to, and tried for at least once.
    async fn line(&self, deadline: Instant) -> Result<Line, TrackerError> {
        let mut state = self.state();
        let mut tried = false;
        loop {
            if self.shared.leaving.is_cancelled() {
                return Err(self.not_connected("this peer has left"));
            }
            let (patience, why) = match &*state.borrow_and_update() {
                TrackerState::Failed(error) => return Err(error.clone()),
                TrackerState::LoginRequired(refusal) => return Err(refusal.clone().into()),
                TrackerState::Connected(_) => match self.shared.requests.line() {
                    Some(line) => return Ok(line),
                    // It ended just now, and the state is about to say so.
                    None => (deadline, String::new()),
                },
                // Never reached, and a try has failed: most likely nobody has started one.
                TrackerState::Connecting { why } if self.shared.last_welcome().is_none() && !why.is_empty() => {
                    (Instant::now(), why.clone())
                }
                TrackerState::Connecting { why } => (self.shared.lost_at() + PATIENCE, why.clone()),
            };
            let until = if tried { patience } else { patience.max(Instant::now() + ONE_TRY) };
            tried = true;
            self.shared.wanted.notify_one();
            if timeout_at(until.min(deadline), state.changed()).await.is_err() {
                return Err(self.not_connected(if why.is_empty() { "it has not answered yet" } else { &why }));
            }
        }
    }

    fn not_connected(&self, why: &str) -> TrackerError {
        TrackerError::NotConnected { place: self.place(), why: why.to_owned() }
    }

    /// How the connection is, now and whenever that changes.
    pub fn state(&self) -> watch::Receiver<TrackerState> {
        self.shared.state.subscribe()
    }

    /// What the tracker tells by itself. A receiver that lags loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Waits for the connection as [`Self::request`] does.
    pub async fn connected(&self) -> Result<(), TrackerError> {
        self.line(Instant::now() + REQUEST_DEADLINE).await.map(drop)
    }

    /// This peer's name on the network; `None` until the tracker was reached for the first time.
    pub fn name(&self) -> Option<String> {
        self.shared.last_welcome().map(|LastWelcome { welcome, .. }| welcome.name)
    }

    /// Which network this is; `None` until the tracker was reached for the first time, unless its key is pinned or
    /// remembered. That of a group is known from the start.
    pub fn network(&self) -> Option<NetworkId> {
        let reached = self.tracker_key().map(|key| NetworkId(key.peer_id().0));
        reached.or_else(|| self.shared.trust.expected())
    }

    /// The key that the tracker signs tickets with; `None` until it was reached for the first time.
    pub fn tracker_key(&self) -> Option<PublicKey> {
        self.shared.key.get().copied()
    }

    /// What somebody with this key may have of `content` who shows this ticket; a sentence where that is nothing. In a group
    /// there are no tickets: who is a member may have what is for everybody.
    pub(crate) fn check_ticket(&self, key: &PublicKey, content: &Content, ticket: &[u8]) -> Result<Grant, String> {
        if matches!(self.shared.introduction.place, Place::Group(_)) {
            return Ok(Grant { audience: Audience::Public, not_before_ms: 0 });
        }
        let (Some(network), Some(tracker_key)) = (self.network(), self.tracker_key()) else {
            return Err("this peer is in no network yet".to_owned());
        };
        let ticket = Ticket::verify(ticket, &tracker_key).map_err(|error| error.to_string())?;
        ticket.check(network, content, key, self.now_ms()).map_err(|error| error.to_string())?;
        Ok(Grant { audience: ticket.audience, not_before_ms: ticket.not_before_ms })
    }

    /// The tracker's time, milliseconds since 1970 (UTC): this machine's until it was reached for the first time.
    pub fn now_ms(&self) -> u64 {
        match self.shared.last_welcome() {
            Some(LastWelcome { welcome, at, .. }) => welcome.time_ms.saturating_add(milliseconds(at.elapsed())),
            None => milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()),
        }
    }

    /// Where the tracker's UDP port is, and what it offers there; `None` while it is not there, and where it offers nothing.
    pub(crate) fn udp(&self) -> Option<(SocketAddr, UdpOffer)> {
        if !matches!(&*self.shared.state.borrow(), TrackerState::Connected(_)) {
            return None;
        }
        let LastWelcome { welcome, remote, .. } = self.shared.last_welcome()?;
        let remote = remote?;
        Some((SocketAddr::new(remote.ip().to_canonical(), remote.port()), welcome.udp?))
    }

    /// Says which chunks of a swarm are here, now and after every reconnect. [`Have::All`] and [`Have::Map`] replace what
    /// was said, at once; [`Have::Add`] adds to it and goes out at most once a second; [`Have::None`] withdraws it.
    pub fn announce(&self, sharing: Sharing, have: Have) {
        self.shared.announcements.set(sharing, &have);
    }

    /// Leaves the network in good order and ends the connection, within a second. Idempotent.
    pub async fn leave(&self) {
        let line = self.shared.requests.line().filter(|_| !self.shared.leaving.is_cancelled());
        if let Some(line) = line {
            let deadline = Instant::now() + LEAVE_DEADLINE;
            // Whether it heard or not, this peer goes.
            drop(timeout_at(deadline, line.ask(Request::Leave)).await);
        }
        self.shared.leaving.cancel();
    }

    fn place(&self) -> String {
        self.shared.introduction.place.text()
    }
}

impl Shared {
    fn last_welcome(&self) -> Option<LastWelcome> {
        self.last_welcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lost_at(&self) -> Instant {
        *self.lost_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether doing it twice comes to the same as doing it once, for the tracker and for who asked.
const fn may_be_repeated(request: &Request) -> bool {
    match request {
        Request::Hello(_) | Request::Leave | Request::Deregister { .. } | Request::Completed { .. } => false,
        Request::SignUp { .. } | Request::LogIn { .. } | Request::LogOut | Request::ChangePassword { .. } => false,
        Request::Offer { .. } | Request::Chat { .. } | Request::Message { .. } | Request::Revoke { .. } => false,
        Request::DialMe { .. } | Request::Dialled { .. } | Request::Announce { .. } => false,
        Request::Mrt(_) | Request::Meet { .. } | Request::Met { .. } => false,
        Request::Register { .. } | Request::Plan { .. } | Request::PlanOffer { .. } | Request::Share { .. } => true,
        Request::Subscribe { .. } | Request::Unsubscribe { .. } | Request::Answer { .. } => true,
        Request::Devices | Request::Versions { .. } | Request::Subscriptions | Request::History | Request::Offers => {
            true
        }
        Request::List(_) | Request::Search { .. } | Request::Loc { .. } | Request::Users | Request::Where { .. } => {
            true
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests;
