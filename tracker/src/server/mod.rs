//! The server: listens, and starts a session for each connection.

mod admission;
mod files;
mod listen;
mod udp;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use common::id::NetworkId;
use common::identity::Identity;
use common::tls::server_config;
use common::wire::TRACKER_ALPN;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::admission::Admission;
pub use self::files::allow_files;
use self::listen::{listen, listen_with_udp};
use self::udp::{Services, UdpPort};
use crate::admin::{AdminSocket, Desk};
use crate::attempts::Attempts;
use crate::clock::Clock;
use crate::config::{Config, Relaying, Stun};
use crate::owner::{Input, Owner, StoreLost};
use crate::passwords::Passwords;
use crate::relay::Relay;
use crate::session::{self, Accepted, HELLO_DEADLINE, MESSAGE_DEADLINE, Shared};
use crate::state::{ConnId, Rendezvous, State};
use crate::store::{RedbStore, Store, StoreError};
use crate::tasks::Tasks;

/// When the tracker ends, connections have so long to send what is waiting; a little more than each gives itself.
const DRAIN_DEADLINE: Duration = Duration::from_secs(3);
/// The system cannot give another connection now: it is asked again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Requests of all connections that wait for the owner; a connection that finds no room is not read meanwhile.
const OWNER_QUEUE: usize = 1_024;

/// A tracker that listens.
pub struct Server {
    listener: TcpListener,
    udp: Option<(UdpPort, Services)>,
    local_addr: SocketAddr,
    fingerprint: NetworkId,
    shared: Shared,
    owner: Owner,
    inputs: mpsc::Receiver<Input>,
    admin: Option<AdminSocket>,
    max_connections: usize,
}

/// Why a tracker could not start. Each says in one sentence what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another program listens there.
    #[error("{0} is in use by another program: stop that one, or give another port with --listen")]
    InUse(SocketAddr),
    /// The system does not let it listen there.
    #[error("cannot listen on {address} ({source}): give another address with --listen")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The data cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers, so no key can be made")]
    NoRandom,
}

/// Why a tracker ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its data can be used no more.
    #[error("the tracker ended because its database failed: {0}")]
    Store(String),
}

impl Server {
    /// Opens the data and begins to listen; connections are accepted by [`Self::run`]. To be called within a tokio
    /// runtime.
    pub async fn bind(config: Config) -> Result<Self, BindError> {
        let (listener, udp) = match config.stun {
            Stun::On => listen_with_udp(config.listen)?,
            Stun::Off => (listen(config.listen)?, None),
        };
        let on_listen = |source| BindError::Listen { address: config.listen, source };
        let local_addr = listener.local_addr().map_err(on_listen)?;
        let data = config.data.clone();
        let opened = tokio::task::spawn_blocking(move || open(&data)).await;
        let (store, mut state) = opened.unwrap_or_else(|error| {
            let what = error.to_string();
            Err(BindError::Store(StoreError::Damaged { path: config.data.clone(), what }))
        })?;
        state.access = config.access.into();
        // Peers are served in any case; what the operator asks for is said to fail.
        let admin = AdminSocket::bind(&config.data);
        let admin = admin.inspect_err(|error| {
            tracing::warn!("`tracker user` and the like will not reach this tracker: no socket in its data: {error}");
        });
        let clock = Clock::start();
        state.rendezvous = match (&udp, config.relay) {
            (None, _) => Rendezvous::Off,
            (Some(_), Relaying::Off) => Rendezvous::Direct,
            (Some(_), Relaying::At(bytes_per_sec)) => Rendezvous::Relayed(Relay::new(bytes_per_sec)),
        };
        let udp = udp.map(|port| {
            let (vouchers, relay) = (state.vouchers.clone(), state.rendezvous.relay().cloned());
            (port, Services { clock, vouchers, relay })
        });
        let (inputs, queue) = mpsc::channel(config.max_connections.saturating_add(OWNER_QUEUE));
        let shared = Shared {
            tls: TlsAcceptor::from(server_config(&state.identity, TRACKER_ALPN)),
            inputs,
            index: Arc::clone(&state.index),
            clock,
            passwords: Passwords::new(),
            attempts: Attempts::default(),
            ping_interval: config.ping_interval,
            ping_timeout: config.ping_timeout,
            hello_deadline: HELLO_DEADLINE,
            message_deadline: MESSAGE_DEADLINE,
            draining: CancellationToken::new(),
        };
        let fingerprint = NetworkId(state.identity.peer_id().0);
        let owner = Owner::new(state, Box::new(store), clock, config.ping_interval + config.ping_timeout);
        Ok(Self {
            listener,
            udp,
            local_addr,
            fingerprint,
            shared,
            owner,
            inputs: queue,
            admin: admin.ok(),
            max_connections: config.max_connections,
        })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The peer id of its key, which names the network too.
    pub const fn fingerprint(&self) -> NetworkId {
        self.fingerprint
    }

    /// Serves peers until `shutdown` is ready; then
    ///
    /// 1. nobody is accepted any more,
    /// 2. every peer is told, and has [`DRAIN_DEADLINE`] to read what it has not yet,
    /// 3. what is left of the connections is cut, and the data is closed.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { listener, udp, local_addr, fingerprint, shared, owner, inputs, admin, max_connections } = self;
        let (sessions, keeper, office) = (Tasks::new(), Tasks::new(), Tasks::new());
        let _office_ends = office.token().clone().drop_guard();
        // Where this is dropped instead of awaited, the sessions end, and with the last of them the owner.
        let _sessions_end = sessions.token().clone().drop_guard();
        let (ended, mut owner_ended) = oneshot::channel();
        keeper.spawn("owner", async move {
            let _nobody_waits = ended.send(owner.run(inputs).await);
        });
        if let Some(admin) = admin {
            let (inputs, passwords) = (shared.inputs.clone(), shared.passwords.clone());
            let desk = Desk { inputs, passwords, clock: shared.clock, listen: local_addr, fingerprint };
            office.spawn("admin", admin.serve(desk, office.clone()));
        }
        if let Some((port, services)) = udp {
            office.spawn("udp", port.serve(services));
        }
        tokio::select! {
            () = accept(&listener, &shared, &sessions, max_connections) => {}
            () = shutdown => {}
            result = &mut owner_ended => return owner_result(result),
        }
        drop(listener);
        // Its socket goes while the data is still locked: what the next tracker makes is not taken away.
        office.shutdown().await;
        let _owner_is_there = shared.inputs.send(Input::Shutdown).await;
        shared.draining.cancel();
        let _in_time = timeout(DRAIN_DEADLINE, sessions.finish()).await;
        sessions.shutdown().await;
        // With the last that can send to it the owner ends.
        drop(shared);
        keeper.finish().await;
        owner_result(owner_ended.await)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

fn owner_result(ended: Result<Result<(), StoreLost>, oneshot::error::RecvError>) -> Result<(), RunError> {
    match ended {
        Ok(Ok(())) => Ok(()),
        Ok(Err(lost)) => Err(RunError::Store(lost.to_string())),
        Err(_dropped) => Err(RunError::Store("the task that has it panicked".to_owned())),
    }
}

/// Accepts connections for ever.
async fn accept(listener: &TcpListener, shared: &Shared, sessions: &Tasks, max_connections: usize) {
    let admission = Admission::default();
    let slots = Arc::new(Semaphore::new(max_connections));
    let mut numbers = 0..;
    let mut complaint = Complaint::default();
    loop {
        let (socket, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                complaint.make(|| format!("a connection cannot be accepted: {error}"));
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            complaint.make(|| format!("there are {max_connections} connections, so another one was closed"));
            continue;
        };
        let number = numbers.next().unwrap_or(u64::MAX);
        let pending = admission.enter(from.ip(), number);
        let crowded = pending.crowded.clone();
        let session = session::serve(shared.clone(), Accepted { conn: ConnId(number), socket, from }, crowded, pending);
        sessions.spawn("session", async move {
            session.await;
            drop(slot);
        });
    }
}

/// Says what an operator should know, but not with every connection.
#[derive(Debug, Default)]
struct Complaint {
    last: Option<Instant>,
}

impl Complaint {
    /// At most once in so long.
    const EVERY: Duration = Duration::from_secs(10);

    fn make(&mut self, text: impl FnOnce() -> String) {
        if self.last.is_none_or(|last| last.elapsed() >= Self::EVERY) {
            self.last = Some(Instant::now());
            tracing::warn!("{}", text());
        }
    }
}

/// Opens the data and puts what is there into a state.
fn open(data: &Path) -> Result<(RedbStore, State), BindError> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_unspecified| BindError::NoRandom)?;
    let mut random = [0; 8];
    aws_lc_rs::rand::fill(&mut random).map_err(|_unspecified| BindError::NoRandom)?;
    let mut store = RedbStore::open(data, || seed)?;
    let stored = store.load()?;
    let mut state = State::new(Identity::from_seed(&stored.seed), u64::from_be_bytes(random));
    for write in stored.contents {
        state.apply(write);
    }
    Ok((store, state))
}

#[cfg(test)]
mod tests;
