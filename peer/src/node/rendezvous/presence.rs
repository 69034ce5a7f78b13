//! Presence: the socket of this peer, and what the tracker knows of where it is.
//!
//! The tracker's UDP port is asked again and again from where our datagrams come, which keeps our router's mapping; the
//! answer has a proof, which is shown to the tracker over TLS in each session, and whenever the address has changed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::id::NetworkId;
use common::identity::Identity;
use common::mrt::{self, LocalKeys, StaticKey};
use common::nat::{Candidates, Origin, StunToken, is_private};
use common::wire::tracker::{MrtContact, MrtRole, Refusal, Request};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::introduce::Unmet;
use super::psk;
use crate::mrt::{BindOptions, Node, RelayAt, RelayedError, SocketId};
use crate::tasks::Tasks;
use crate::tracker_client::{TrackerClient, TrackerError, reachable_addresses};

/// How often the tracker is asked. Routers remember a flow for 30 s at least, most of them (RFC 4787, section 4.3).
const EVERY: Duration = Duration::from_secs(15);
/// The same while somebody is relayed: what the relay sends goes astray when our router begins anew.
const EVERY_RELAYED: Duration = Duration::from_secs(5);
/// After an answer that did not come, or did not help.
const AGAIN: Duration = Duration::from_secs(3);
/// The tracker is told again where we are after this, or a little later: it forgets what was proven three minutes ago.
const TELL_AGAIN: Duration = Duration::from_secs(50);
/// Who could not tell the tracker for so long has no way to it: sooner than it forgets.
const UNTOLD: Duration = Duration::from_secs(100);
/// How long who wants to meet somebody waits until the tracker knows where we are: four requests, and the answer over TLS.
const KNOWN_DEADLINE: Duration = Duration::from_secs(6);

/// The socket of this peer; clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Presence {
    pub(super) node: Node,
    tracker: TrackerClient,
    seen: watch::Receiver<Seen>,
    is_relayed: Arc<watch::Sender<bool>>,
}

/// What the tracker knows in this session.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// Nothing yet.
    Asking,
    /// This is where we are; the token stands for the session.
    At(SocketAddr, StunToken),
    /// Nothing, since no datagrams come through.
    Silence,
    /// Nothing, since what answers over UDP gives no proof.
    NoProof,
    /// Nothing, since the tracker does not take the proof.
    Refused(Refusal),
}

impl Presence {
    /// Binds a socket, and has the tracker know of it from now on.
    pub(super) fn begin(
        identity: &Arc<Identity>,
        network: NetworkId,
        tracker: &TrackerClient,
        listen: SocketAddr,
        role: MrtRole,
        tasks: &Tasks,
    ) -> io::Result<Self> {
        let bind = |listen| {
            let keys = LocalKeys::new(Arc::clone(identity), psk(network));
            let static_key = keys.static_key();
            let node = Node::bind(tasks, BindOptions { listen, config: mrt::Config::default(), keys })?;
            io::Result::Ok((node, static_key))
        };
        let (node, static_key) = bind(listen).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse => bind(SocketAddr::new(listen.ip(), 0)),
            _ => Err(error),
        })?;
        tracing::info!(address = %node.local_addr(), "here for MRT");
        let ((sender, seen), (is_relayed, relayed)) = (watch::channel(Seen::Asking), watch::channel(false));
        let keeper = Keeper { node: node.clone(), tracker: tracker.clone(), static_key, role, seen: sender, relayed };
        tasks.spawn("presence", keeper.run());
        Ok(Self { node, tracker: tracker.clone(), seen, is_relayed: Arc::new(is_relayed) })
    }

    /// Says whether anybody is reached through the tracker's relay now.
    pub(super) fn on_relayed(&self, anybody: bool) {
        self.is_relayed.send_if_modified(|is_relayed| std::mem::replace(is_relayed, anybody) != anybody);
    }

    /// Waits until the tracker knows where we are.
    pub(super) async fn known(&self) -> Result<(), Unmet> {
        let session = || self.tracker.udp().map(|(_, offer)| offer.token);
        let mut seen = self.seen.clone();
        let known = timeout(KNOWN_DEADLINE, until_known(&mut seen, session)).await;
        known.unwrap_or_else(|_elapsed| Err(why_unknown(&seen.borrow())))
    }

    /// Who says from where datagrams come.
    pub(super) fn observer(&self) -> Option<SocketAddr> {
        self.tracker.udp().map(|(tracker, _offer)| tracker)
    }

    /// A way through the tracker's relay.
    pub(super) fn add_relayed(&self, channel: common::relay::ChannelId) -> Result<mrt::Route, RelayedError> {
        let ((relay, _), socket) = (self.tracker.udp().ok_or(RelayedError::Nowhere)?, first_socket(&self.node));
        self.node.add_relayed(RelayAt::Address(socket.ok_or(RelayedError::Nowhere)?, relay), channel)
    }

    /// Where we may be reached by somebody whom the tracker has told us to be at `theirs`: private addresses are for those
    /// who are seen where we are.
    pub(super) fn candidates_for(&self, theirs: &[SocketAddr]) -> Candidates {
        let (mut candidates, local) = (Candidates::default(), self.node.local_addr());
        let seen = match *self.seen.borrow() {
            Seen::At(seen, _) => Some(seen),
            Seen::Asking | Seen::Silence | Seen::NoProof | Seen::Refused(_) => None,
        };
        if let Some(seen) = seen {
            candidates.add(Origin::Stun, seen);
        }
        let are_neighbours = seen.is_some_and(|seen| theirs.iter().any(|their| their.ip() == seen.ip()));
        for address in reachable_addresses(local) {
            if are_neighbours || !is_private(address) {
                candidates.add(Origin::Interface, SocketAddr::new(address, local.port()));
            }
        }
        candidates
    }
}

/// Waits until the tracker knows where we are in its session of now, or no datagrams come through.
async fn until_known(seen: &mut watch::Receiver<Seen>, session: impl Fn() -> Option<StunToken>) -> Result<(), Unmet> {
    loop {
        let now = seen.borrow_and_update().clone();
        match now {
            Seen::At(_, token) if session() == Some(token) => return Ok(()),
            Seen::Silence => return Err(Unmet::NoDatagrams),
            // It is asked again.
            Seen::At(..) | Seen::Asking | Seen::NoProof | Seen::Refused(_) => {}
        }
        if seen.changed().await.is_err() {
            return Err(Unmet::Ending);
        }
    }
}

/// Why the tracker does not know where we are, although it had time to.
fn why_unknown(seen: &Seen) -> Unmet {
    match seen {
        Seen::Silence => Unmet::NoDatagrams,
        Seen::NoProof => Unmet::NoProof,
        Seen::Refused(refusal) => Unmet::Refused(refusal.clone()),
        Seen::Asking | Seen::At(..) => Unmet::NoTracker,
    }
}

fn first_socket(node: &Node) -> Option<SocketId> {
    node.sockets().first().map(|(socket, _)| *socket)
}

/// What the tracker was told last.
#[derive(Debug, Clone, Copy)]
struct Told {
    /// Stands for the session.
    token: StunToken,
    address: SocketAddr,
    at: Instant,
}

impl Told {
    /// Whether the tracker knows it still, or will do soon, although it was not told again.
    fn lasts(&self) -> bool {
        self.at.elapsed() < UNTOLD
    }
}

/// Keeps the tracker informed.
struct Keeper {
    node: Node,
    tracker: TrackerClient,
    static_key: StaticKey,
    role: MrtRole,
    seen: watch::Sender<Seen>,
    relayed: watch::Receiver<bool>,
}

impl Keeper {
    async fn run(self) {
        let (mut state, mut relayed) = (self.tracker.state(), self.relayed.clone());
        let mut told = None;
        loop {
            state.mark_unchanged();
            let pause = self.look(&mut told).await;
            let most = if *relayed.borrow_and_update() { EVERY_RELAYED } else { EVERY };
            tokio::select! {
                () = sleep(pause.min(most)) => {}
                changed = relayed.changed() => if changed.is_err() { return },
                changed = state.changed() => if changed.is_err() { return },
                () = self.seen.closed() => return,
            }
        }
    }

    /// Asks the tracker where we are, and tells it if that is news to it; says when to look again. `told` is what it knows:
    /// in which session, and where.
    async fn look(&self, told: &mut Option<Told>) -> Duration {
        let Some((tracker, offer)) = self.tracker.udp() else {
            // It is not there; in the next session it knows nothing.
            *told = None;
            self.seen.send_replace(Seen::Asking);
            return EVERY;
        };
        if told.is_some_and(|told| told.token != offer.token) {
            *told = None;
            self.seen.send_replace(Seen::Asking);
        }
        let Some(socket) = first_socket(&self.node) else { return AGAIN };
        let (address, proof) = match self.node.prove(tracker, socket, offer.token).await {
            Ok((address, Some(proof))) => (address, proof),
            Ok((_, None)) => {
                tracing::debug!("the answer from the tracker's UDP port has no proof");
                self.fail(*told, Seen::NoProof);
                return AGAIN;
            }
            Err(error) => {
                tracing::debug!(%error, "the tracker does not say where this peer's datagrams come from");
                self.fail(*told, Seen::Silence);
                return AGAIN;
            }
        };
        if told.is_some_and(|told| told.address == address && told.at.elapsed() < TELL_AGAIN) {
            return EVERY;
        }
        let Self { static_key, role, .. } = *self;
        let contact = MrtContact { static_key, port: self.node.local_addr().port(), seen: address, proof, role };
        match self.tracker.request(Request::Mrt(contact)).await {
            Ok(_) => {
                tracing::debug!(%address, "the tracker knows where this peer is over MRT");
                *told = Some(Told { token: offer.token, address, at: Instant::now() });
                self.seen.send_replace(Seen::At(address, offer.token));
                EVERY
            }
            Err(error) => {
                tracing::debug!(%error, "the tracker does not take where this peer is over MRT");
                if let TrackerError::Refused(refusal) = error {
                    self.fail(*told, Seen::Refused(refusal));
                }
                AGAIN
            }
        }
    }

    /// The tracker could not be told where we are. That makes no difference as long as it knows.
    fn fail(&self, told: Option<Told>, why: Seen) {
        if !told.is_some_and(|told| told.lasts()) {
            self.seen.send_replace(why);
        }
    }
}

#[cfg(test)]
mod tests {
    use common::wire::tracker::Code;

    use super::*;

    const TOKENS: [StunToken; 2] = [StunToken([1; 16]), StunToken([2; 16])];

    fn here() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 4000))
    }

    #[tokio::test(start_paused = true)]
    async fn where_we_were_in_the_session_before_is_not_known_in_this_one() {
        let (sender, mut seen) = watch::channel(Seen::At(here(), TOKENS[0]));
        let known = timeout(KNOWN_DEADLINE, until_known(&mut seen, || Some(TOKENS[1]))).await;
        assert!(known.is_err(), "{known:?}");
        sender.send_replace(Seen::At(here(), TOKENS[1]));
        assert!(until_known(&mut seen, || Some(TOKENS[1])).await.is_ok());
        sender.send_replace(Seen::Silence);
        assert!(matches!(until_known(&mut seen, || Some(TOKENS[1])).await, Err(Unmet::NoDatagrams)));
    }

    #[test]
    fn it_is_said_why_the_tracker_does_not_know_where_we_are() {
        let refusal = Refusal { code: Code::Forbidden, text: "not proven".to_owned(), candidates: Vec::new() };
        assert!(matches!(why_unknown(&Seen::NoProof), Unmet::NoProof));
        assert!(matches!(why_unknown(&Seen::Refused(refusal.clone())), Unmet::Refused(said) if said == refusal));
        assert!(matches!(why_unknown(&Seen::Asking), Unmet::NoTracker));
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_tell_the_tracker_any_more_says_so_before_it_forgets() {
        let told = Told { token: TOKENS[0], address: here(), at: Instant::now() };
        assert!(told.lasts());
        tokio::time::advance(UNTOLD).await;
        assert!(!told.lasts());
    }
}
