//! Binding, connecting, accepting, closing.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::mrt::{CloseCode, Config, Endpoint, LocalKeys, Target};
use tokio::time::timeout;

use super::connection::{Connection, Inner};
use super::driver::Driver;
use super::error::ConnectionError;
use super::shared::{Shared, Stage, until};
use super::socket::{Face, Socket};
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

/// One UDP socket and all connections over it. Clones are the same node.
///
/// When the last of them is dropped, the node takes no new connections, and goes when those are closed that the program
/// still has.
#[derive(Debug, Clone)]
pub struct Node {
    hold: Arc<Hold>,
}

/// The program's hold on a node.
#[derive(Debug)]
struct Hold {
    shared: Arc<Shared>,
    face: Face,
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
        let endpoint = Endpoint::new(Instant::now(), config, keys, seed);
        let (shared, face) = (Arc::new(Shared::new(endpoint)), socket.face());
        let driver = Driver::new(Arc::clone(&shared), socket);
        tasks.spawn("mrt", driver.run());
        Ok(Self { hold: Arc::new(Hold { shared, face }) })
    }

    /// Where it is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.hold.face.local()
    }

    /// Connects to whoever answers at `remote` and is `target`. To drop the future gives it up.
    pub async fn connect(&self, remote: SocketAddr, target: Target) -> Result<Connection, ConnectionError> {
        let shared = &self.hold.shared;
        let (handle, signals) = shared.connect(Instant::now(), self.hold.face.route(remote)?, target)?;
        let inner = Arc::new(Inner::new(Arc::clone(shared), handle, signals));
        let remote = inner.connected().await?;
        Ok(Connection::new(inner, remote))
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
