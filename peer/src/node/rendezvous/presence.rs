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
use common::wire::tracker::{MrtContact, MrtRole, Request};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::introduce::Unmet;
use super::psk;
use crate::mrt::{BindOptions, Node, RelayAt, RelayedError, SocketId};
use crate::tasks::Tasks;
use crate::tracker_client::{TrackerClient, reachable_addresses};

/// How often the tracker is asked. Routers remember a flow for 30 s at least, most of them (RFC 4787, section 4.3).
const EVERY: Duration = Duration::from_secs(15);
/// The same while somebody is relayed: what the relay sends goes astray when our router begins anew.
const EVERY_RELAYED: Duration = Duration::from_secs(5);
/// After an answer that did not come, or did not help.
const AGAIN: Duration = Duration::from_secs(3);
/// The tracker is told again where we are after this, or a little later: it forgets what was proven three minutes ago.
const TELL_AGAIN: Duration = Duration::from_secs(50);
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Nothing yet.
    Asking,
    /// This is where we are.
    At(SocketAddr),
    /// Nothing, since no datagrams come through.
    Silence,
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
        let mut seen = self.seen.clone();
        let known = timeout(KNOWN_DEADLINE, seen.wait_for(|seen| *seen != Seen::Asking)).await;
        match known {
            Ok(Ok(seen)) if matches!(*seen, Seen::At(_)) => Ok(()),
            Ok(Ok(_)) => Err(Unmet::NoDatagrams),
            Ok(Err(_ended)) => Err(Unmet::Ending),
            Err(_) => Err(Unmet::NoTracker),
        }
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
            Seen::At(seen) => Some(seen),
            Seen::Asking | Seen::Silence => None,
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
            Ok((_, None)) => return AGAIN,
            Err(error) => {
                tracing::debug!(%error, "the tracker does not say where this peer's datagrams come from");
                if told.is_none() {
                    self.seen.send_replace(Seen::Silence);
                }
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
                self.seen.send_replace(Seen::At(address));
                EVERY
            }
            Err(error) => {
                tracing::debug!(%error, "the tracker does not take where this peer is over MRT");
                AGAIN
            }
        }
    }
}
