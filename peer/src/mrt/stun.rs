//! STUN (RFC 8489) on the sockets of a node: it asks others from where its datagrams come, and tells those who ask.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::mrt::{Received, Route};
use common::nat::{StunClient, StunFailure, StunProof, StunToken, TransactionId, is_stun_request, respond_to_stun};
use tokio::sync::Notify;
use tokio::time::timeout_at;

use super::error::ConnectionError;
use super::relayed::RELAY_SOCKET;
use super::shared::{Attention, Release as _, Shared, Stage, State};

/// Answers a second at most, so that nobody can make a node work for him; picked by hand.
const ANSWERS_PER_SEC: u32 = 1_000;
/// Of those, to all addresses that fall into one of [`GROUPS`], so that one of them leaves something to the others.
const ANSWERS_PER_GROUP: u32 = 50;
/// Groups of addresses, by a hash that nobody can foresee.
const GROUPS: usize = 256;

/// Most questions of a node at once.
const MOST_QUESTIONS: usize = 256;
/// Of those, that only open ways: others have them asked, and silent addresses take long.
pub(super) const MOST_OPENINGS: usize = 128;

/// Why it is not known from where our datagrams come.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StunError {
    /// The server did not say.
    #[error("the STUN server did not say: {0}")]
    Failed(#[from] StunFailure),
    /// The server cannot be reached from this socket, or the node is closed.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// Too many questions at once.
    #[error("too many questions at once ({MOST_QUESTIONS}, of which {MOST_OPENINGS} may be to open ways)")]
    Busy,
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

/// What a node asks, and how much it answers.
#[derive(Debug)]
pub(super) struct Stun {
    questions: BTreeMap<TransactionId, Question>,
    /// Told when a question is answered.
    answered: Arc<Notify>,
    /// The second that is counted.
    second: Instant,
    /// Answers given in it.
    given: u32,
    /// The same to each group of addresses.
    given_to: Box<[u32; GROUPS]>,
    /// Of addresses, to their groups.
    hasher: RandomState,
}

#[derive(Debug)]
struct Question {
    route: Route,
    purpose: Purpose,
    client: StunClient,
}

/// What a question is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To know from where our datagrams come.
    Address,
    /// To know that, with a proof for who gave this token.
    Proof(StunToken),
    /// To open our NATs towards there.
    Opening,
}

/// A question for as long as somebody waits for the answer.
#[derive(Debug)]
struct Asking<'a> {
    shared: &'a Shared,
    id: TransactionId,
}

impl Stun {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            questions: BTreeMap::new(),
            answered: Arc::default(),
            second: now,
            given: 0,
            given_to: Box::new([0; GROUPS]),
            hasher: RandomState::new(),
        }
    }

    fn has_room_for(&self, purpose: Purpose) -> bool {
        let openings = || self.questions.values().filter(|question| question.purpose == Purpose::Opening).count();
        self.questions.len() < MOST_QUESTIONS && (purpose != Purpose::Opening || openings() < MOST_OPENINGS)
    }

    /// Whether one more answer may be given, to this address. IPv6 addresses of one network count as one: whoever has one of
    /// them has them all.
    fn may_answer(&mut self, now: Instant, to: IpAddr) -> bool {
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.given) = (now, 0);
            self.given_to.fill(0);
        }
        let hash = match to.to_canonical() {
            IpAddr::V4(address) => self.hasher.hash_one(address),
            IpAddr::V6(address) => self.hasher.hash_one(address.to_bits() >> 64),
        };
        let of_group = self.given_to.get_mut(usize::from(hash.to_be_bytes()[0])).expect("a group for each byte");
        let may = self.given < ANSWERS_PER_SEC && *of_group < ANSWERS_PER_GROUP;
        self.given += u32::from(may);
        *of_group += u32::from(may);
        may
    }
}

impl State {
    /// A datagram of STUN came: an answer to a question of ours, or a question.
    pub(super) fn handle_stun(&mut self, now: Instant, received: &Received, datagram: &[u8]) {
        let Received { route, local_ip, .. } = *received;
        let mut asked = self.stun.questions.values_mut().filter(|question| question.route == route);
        if asked.any(|question| question.client.handle_datagram(route.remote, datagram)) {
            self.stun.answered.notify_waiters();
        } else if is_stun_request(datagram)
            // Only what may get an answer counts.
            && self.stun.may_answer(now, route.remote.ip())
            && let Some(answer) = respond_to_stun(datagram, route.remote)
        {
            self.aside.push(route, local_ip, &answer);
        }
    }
}

impl Shared {
    /// Asks whoever is at the end of `route` from where this datagram came; the answer may have a proof, if that is wanted.
    pub(super) async fn ask(
        &self,
        route: Route,
        purpose: Purpose,
    ) -> Result<(SocketAddr, Option<StunProof>), StunError> {
        let mut id = TransactionId([0; 12]);
        aws_lc_rs::rand::fill(&mut id.0).map_err(|_unspecified| StunError::Randomness)?;
        let answered = {
            let mut state = self.lock();
            let route = state.ways.checked(route)?;
            // What goes through a relay says nothing of where we are, and opens no NAT.
            if route.socket == RELAY_SOCKET {
                return Err(ConnectionError::Address(route.remote).into());
            }
            if !state.stun.has_room_for(purpose) {
                return Err(StunError::Busy);
            }
            let client = match purpose {
                Purpose::Proof(token) => StunClient::for_proof(Instant::now(), route.remote, id, token),
                Purpose::Address | Purpose::Opening => StunClient::new(Instant::now(), route.remote, id),
            };
            state.stun.questions.insert(id, Question { route, purpose, client });
            Arc::clone(&state.stun.answered)
        };
        let asking = Asking { shared: self, id };
        loop {
            let mut told = std::pin::pin!(answered.notified());
            told.as_mut().enable();
            let at = match asking.go_on(Instant::now()) {
                ControlFlow::Continue(at) => at,
                ControlFlow::Break(outcome) => return outcome,
            };
            // Time over, or told: both are looked at in the same way.
            let _either = timeout_at(at.into(), told).await;
        }
    }
}

impl Asking<'_> {
    /// Sends what is due, and gives the time at which to look again; or it is over.
    fn go_on(&self, now: Instant) -> ControlFlow<Result<(SocketAddr, Option<StunProof>), StunError>, Instant> {
        let mut state = self.shared.lock();
        if let Stage::Ended(error) = &state.stage {
            return ControlFlow::Break(Err(error.clone().into()));
        }
        let State { stun, aside, .. } = &mut *state;
        let Some(Question { route, client, .. }) = stun.questions.get_mut(&self.id) else {
            return ControlFlow::Break(Err(ConnectionError::Node.into()));
        };
        let request = client.poll_transmit(now);
        if let Some(outcome) = client.outcome() {
            let proof = client.proof();
            return ControlFlow::Break(outcome.map(|address| (address, proof)).map_err(StunError::from));
        }
        let next = client.poll_timeout().unwrap_or(now);
        if let Some(request) = request {
            aside.push(*route, None, &request);
            state.release(Attention::Needed);
        }
        ControlFlow::Continue(next)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.shared.lock().stun.questions.remove(&self.id);
    }
}
