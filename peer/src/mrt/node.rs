//! Binding, connecting, accepting, closing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::mrt::{CloseCode, Config, Endpoint, LocalKeys, Route, Target};
use common::nat::{StunFailure, StunProof, StunToken};
use common::relay::{ChannelId, RelayConfig};
use tokio::time::timeout;

use super::connection::{Connection, Inner};
use super::driver::Driver;
use super::error::ConnectionError;
use super::forwarding::{Forwarding, RelayHandle};
use super::relayed::{RelayedError, Via};
use super::shared::{Attention, Release as _, Shared, Stage};
use super::socket::Socket;
use super::stun::{Purpose, StunError};
use super::waiting::until;
use super::ways::{SocketId, Ways};
use crate::tasks::Tasks;

/// How long the other sides have to hear that a node closes. One that does not answer by then finds out for itself.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// What a node is made from.
#[derive(Debug)]
pub struct BindOptions {
    /// Where to receive. `[::]` is all addresses of IPv4 too; port 0 is one that the system chooses.
    pub listen: SocketAddr,
    /// How its connections behave.
    pub config: Config,
    /// Who this is, and the key of the network.
    pub keys: LocalKeys,
}

/// UDP sockets and all connections over them. Clones are the same node.
///
/// It has one socket at first, number 0; more can be added, and each can be removed. All belong to the same node: a
/// connection can have paths over several of them. It answers STUN (RFC 8489) on each.
///
/// When the last of the clones is dropped, the node takes no new connections, and goes when those are closed that the
/// program still has.
#[derive(Debug, Clone)]
pub struct Node {
    hold: Arc<Hold>,
}

/// The program's hold on a node.
#[derive(Debug)]
struct Hold {
    shared: Arc<Shared>,
    local: SocketAddr,
}

/// Where the relay of a relayed way is.
#[derive(Debug, Clone, Copy)]
pub enum RelayAt<'a> {
    /// At the other end of this connection of the same node, wherever that goes at the moment. The way is gone when the
    /// connection is closed; it does not hold it.
    Connection(&'a Connection),
    /// Always at this address, from this socket. The way is gone when the socket is.
    Address(SocketId, SocketAddr),
}

impl Node {
    /// Binds a socket and starts its task among `tasks`; when those are shut down, the node ends without good-bye.
    ///
    /// Must be called in a tokio runtime.
    pub fn bind(tasks: &Tasks, options: BindOptions) -> io::Result<Self> {
        Self::start(tasks, Socket::bind(options.listen)?, options.config, options.keys)
    }

    /// The same with a socket that is bound already.
    pub fn from_socket(
        tasks: &Tasks,
        socket: std::net::UdpSocket,
        config: Config,
        keys: LocalKeys,
    ) -> io::Result<Self> {
        Self::start(tasks, Socket::from_std(socket)?, config, keys)
    }

    fn start(tasks: &Tasks, socket: Socket, config: Config, keys: LocalKeys) -> io::Result<Self> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_unspecified| io::Error::other("the system gives no randomness"))?;
        let (now, local, mut ways) = (Instant::now(), socket.face().local(), Ways::new());
        ways.add(socket)?;
        let shared = Arc::new(Shared::new(now, Endpoint::new(now, config, keys, seed), ways));
        let driver = Driver::new(Arc::clone(&shared));
        tasks.spawn("mrt", driver.run());
        Ok(Self { hold: Arc::new(Hold { shared, local }) })
    }

    /// Where its first socket was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.hold.local
    }

    /// Adds a socket, bound as the first one was: `[::]` is all addresses of IPv4 too, and port 0 is one that the system
    /// chooses. Its number is [`Route::socket`] of the ways from it. A node has at most 64. An error where the system does
    /// not give it, or the node is closed.
    ///
    /// Must be called in a tokio runtime.
    pub fn add_socket(&self, listen: SocketAddr) -> io::Result<SocketId> {
        let socket = Socket::bind(listen)?;
        let mut state = self.hold.shared.lock();
        state.stage.must_be_open().map_err(io::Error::other)?;
        let id = state.ways.add(socket)?;
        state.release(Attention::Needed);
        Ok(id)
    }

    /// Closes a socket; says whether it was there. Paths from it have failed: connections that used one go on with another
    /// that is proven; those that have none stay, and send nothing until they are switched or hear from elsewhere. A node
    /// without sockets is deaf, but may be given new ones. The port is free again shortly after.
    pub fn remove_socket(&self, socket: SocketId) -> bool {
        self.hold.shared.remove_socket(Instant::now(), socket)
    }

    /// Its sockets, and where each is bound, in the order in which they were added. One that fails is removed, with a
    /// warning; when the last one fails, the node ends.
    pub fn sockets(&self) -> Vec<(SocketId, SocketAddr)> {
        self.hold.shared.lock().ways.sockets().collect()
    }

    /// The way to `remote` from a socket, for [`Connection::probe`] and [`Self::connect_on`]; an error if the socket is gone
    /// or cannot reach such an address.
    pub fn route(&self, socket: SocketId, remote: SocketAddr) -> Result<Route, ConnectionError> {
        self.hold.shared.lock().ways.route_from(socket, remote)
    }

    /// The way to `remote` from the first socket that reaches such an address; an error if none does.
    pub fn route_to(&self, remote: SocketAddr) -> Result<Route, ConnectionError> {
        self.hold.shared.lock().ways.route_to(remote)
    }

    /// Asks a STUN server from which address the datagrams of a socket come: what a router makes of where it is bound. An
    /// answer is no proof: who sees the request can give a false one. Gives up after four requests and 5.5 s. To drop
    /// the future gives it up.
    pub async fn stun(&self, server: SocketAddr, socket: SocketId) -> Result<SocketAddr, StunError> {
        let route = self.route(socket, server)?;
        self.hold.shared.ask(route, Purpose::Address).await.map(|(address, _proof)| address)
    }

    /// The same, of a server that gives proofs to those it knows by a token; `None`: it gave none.
    pub async fn prove(
        &self,
        server: SocketAddr,
        socket: SocketId,
        token: StunToken,
    ) -> Result<(SocketAddr, Option<StunProof>), StunError> {
        let route = self.route(socket, server)?;
        self.hold.shared.ask(route, Purpose::Proof(token)).await
    }

    /// Opens the NATs and firewalls on our side for what comes from the end of a route, where no connection is that could
    /// do it (for one that is, [`Connection::probe`] does). Sends STUN requests there, of 28 bytes and at most two a second,
    /// until one is answered or `patience` is over. Nodes answer them: then the way is open in both directions, and we know
    /// from where we are seen; anybody else drops them. A relayed route is an error, and so is one more where 128 are opened
    /// at that time. To drop the future ends it.
    pub async fn open_towards(&self, route: Route, patience: Duration) -> Result<SocketAddr, StunError> {
        let asking = async {
            loop {
                match self.hold.shared.ask(route, Purpose::Opening).await {
                    Err(StunError::Failed(StunFailure::Silence)) => {}
                    outcome => return outcome.map(|(address, _proof)| address),
                }
            }
        };
        timeout(patience, asking).await.unwrap_or_else(|_elapsed| Err(StunFailure::Silence.into()))
    }

    /// A way through a relay, which knows it by `channel`. Such a route can be used like any other: a connection can begin
    /// on it, probe it, switch to it and leave it. Its address is a pseudo address; its socket is
    /// [`RELAY_SOCKET`](super::RELAY_SOCKET). From now on what comes through that channel is taken, also requests for
    /// connections. The other end must have added its own channel of the same pair.
    pub fn add_relayed(&self, relay: RelayAt<'_>, channel: ChannelId) -> Result<Route, RelayedError> {
        let mut state = self.hold.shared.lock();
        let via = match relay {
            RelayAt::Connection(connection) if connection.belongs_to(&self.hold.shared) => {
                state.must_be_connected(connection.handle()).or(Err(RelayedError::Nowhere))?;
                Via::Connection(connection.handle())
            }
            RelayAt::Connection(_) => return Err(RelayedError::Nowhere),
            RelayAt::Address(socket, address) => {
                Via::Fixed(state.ways.route_from(socket, address).or(Err(RelayedError::Nowhere))?)
            }
        };
        state.ways.relayed.add(via, channel)
    }

    /// Gives up a relayed way; says whether it was there. Paths over it have failed, as with [`Self::remove_socket`].
    pub fn remove_relayed(&self, route: Route) -> bool {
        self.hold.shared.remove_relayed(Instant::now(), route)
    }

    /// Makes this node a relay for nodes that it is connected with, or gives the relay that it is; `config` counts the first
    /// time.
    pub fn relay(&self, config: RelayConfig) -> RelayHandle {
        let shared = &self.hold.shared;
        shared.lock().forwarding.get_or_insert_with(|| Forwarding::new(Instant::now(), config));
        RelayHandle::new(Arc::clone(shared))
    }

    /// Connects to whoever answers at `remote` and is `target`, from the first socket that reaches such an address. To drop
    /// the future gives it up.
    pub async fn connect(&self, remote: SocketAddr, target: Target) -> Result<Connection, ConnectionError> {
        let route = self.hold.shared.lock().ways.route_to(remote)?;
        self.connect_on(route, target).await
    }

    /// The same on a certain route, which may be a relayed one.
    pub async fn connect_on(&self, route: Route, target: Target) -> Result<Connection, ConnectionError> {
        let shared = &self.hold.shared;
        let (handle, signals) = shared.connect(Instant::now(), route, target)?;
        let inner = Arc::new(Inner::new(Arc::clone(shared), handle, signals));
        let remote = inner.connected().await?;
        Ok(Connection::new(inner, remote))
    }

    /// From where somebody wanted a connection, and had not the pre-shared key; each is given once, and the first 16 are kept.
    pub fn stranger(&self) -> Option<SocketAddr> {
        self.hold.shared.lock().endpoint.poll_stranger().map(|route| route.remote)
    }

    /// The next connection that another node asked for and that stands; `None` when the node is closed. Where too many
    /// wait to be accepted (1,024), new ones are closed.
    pub async fn accept(&self) -> Option<Connection> {
        let shared = &self.hold.shared;
        let accept = || match shared.accept() {
            None => Some(None),
            Some(waiting) => waiting.map(Some),
        };
        let (handle, remote, signals) = until(&shared.incoming, accept).await?;
        Some(Connection::new(Arc::new(Inner::new(Arc::clone(shared), handle, signals)), remote))
    }

    /// Closes all connections and waits until the other sides know, for 3 s at most. Then the node has ended. May be called
    /// more than once.
    pub async fn close(&self, code: CloseCode, reason: &str) {
        let shared = &self.hold.shared;
        let ended = || matches!(shared.lock().stage, Stage::Ended(_)).then_some(());
        shared.close(Instant::now(), code, reason);
        if timeout(CLOSE_DEADLINE, until(&shared.ended, ended)).await.is_err() {
            tracing::debug!("connections were left when the node closed");
            shared.stop();
            until(&shared.ended, ended).await;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.abandon(Instant::now());
    }
}
