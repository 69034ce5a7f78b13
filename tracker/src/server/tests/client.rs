//! A tracker in this process, and raw clients of it: they say what a test wants them to, right or wrong.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::audience::Audience;
use common::id::{Content, FileId, Hash, PeerId};
use common::identity::Identity;
use common::secret::Secret;
use common::tls::{Expect, client_config, server_name};
use common::wire::tracker::{
    Announced, Code, Event, FromPeer, FromTracker, Have, Hello, Refusal, Reply, Request, Welcome,
};
use common::wire::{FRAME_HEADER, TRACKER_ALPN};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::tasks::Tasks;
use crate::{Config, RunError, Server};

/// Nothing in these tests takes so long on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A tracker that runs until it is dropped or stopped.
pub(super) struct Running {
    pub(super) address: SocketAddr,
    pub(super) fingerprint: PeerId,
    stop: Option<oneshot::Sender<()>>,
    ended: oneshot::Receiver<Result<(), RunError>>,
    tasks: Tasks,
}

impl Running {
    pub(super) async fn start(directory: &TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(directory.path().join("data"));
        config.listen = "[::]:0".parse().unwrap();
        change(&mut config);
        let server = Server::bind(config).await.unwrap();
        Self::run(server)
    }

    /// With so little time for a handshake and for each message.
    pub(super) async fn start_impatient(directory: &TempDir, deadline: Duration) -> Self {
        let mut config = Config::new(directory.path().join("data"));
        config.listen = "[::]:0".parse().unwrap();
        let mut server = Server::bind(config).await.unwrap();
        server.shared.hello_deadline = deadline;
        server.shared.message_deadline = deadline;
        Self::run(server)
    }

    pub(super) fn run(server: Server) -> Self {
        let port = server.local_addr().port();
        let fingerprint = PeerId(server.fingerprint().0);
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let tasks = Tasks::new();
        tasks.spawn("server", async move {
            let shutdown = async {
                let _dropped = stopped.await;
            };
            let _nobody_waits = end.send(server.run(shutdown).await);
        });
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        Self { address, fingerprint, stop: Some(stop), ended, tasks }
    }

    /// Ends it tidily.
    pub(super) async fn stop(mut self) -> Result<(), RunError> {
        drop(self.stop.take());
        let ended = timeout(PATIENCE, &mut self.ended).await.expect("it ends").expect("it says so");
        self.tasks.shutdown().await;
        ended
    }

    /// A peer that has joined.
    pub(super) async fn join(&self, name: &str) -> Client {
        let mut client = self.connect(name).await;
        client.hello(name).await.unwrap();
        client
    }

    /// A peer that has not joined. Its key follows from its name.
    pub(super) async fn connect(&self, name: &str) -> Client {
        Client::connect(self, name, None).await
    }
}

/// A connection with a key.
pub(super) struct Client {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) identity: Identity,
    pub(super) events: Vec<Event>,
    /// Pings that were not answered, while `answers_pings` is off.
    pub(super) pings: Vec<u64>,
    pub(super) answers_pings: bool,
    next_id: u64,
}

pub(super) fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned()).unwrap()
}

pub(super) fn identity(name: &str) -> Identity {
    let mut seed = [7; 32];
    for (place, byte) in seed.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    Identity::from_seed(&seed)
}

pub(super) fn file(number: u8) -> Content {
    FileId::new(16_384 * 16, Hash([number; 32])).unwrap().into()
}

impl Client {
    pub(super) async fn connect(tracker: &Running, name: &str, from: Option<IpAddr>) -> Self {
        let identity = identity(name);
        let socket = dial(tracker.address, from).await;
        let config = client_config(&identity, Expect::Peer(tracker.fingerprint), TRACKER_ALPN);
        let stream = TlsConnector::from(config).connect(server_name(), socket).await.unwrap();
        Self { stream, identity, events: Vec::new(), pings: Vec::new(), answers_pings: true, next_id: 1 }
    }

    pub(super) fn peer(&self) -> PeerId {
        self.identity.peer_id()
    }

    pub(super) async fn hello(&mut self, name: &str) -> Result<Welcome, Refusal> {
        let hello = Hello {
            name: name.to_owned(),
            name_is_default: false,
            port: 4000,
            interfaces: Vec::new(),
            advertised: Vec::new(),
            agent: "test".to_owned(),
            device: format!("{name}'s machine"),
        };
        match self.ask(Request::Hello(hello)).await? {
            Reply::Welcome(welcome) => Ok(welcome),
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn sign_up(&mut self, name: &str, password: &str) -> Result<Reply, Refusal> {
        self.sign_up_with(name, password, None).await
    }

    pub(super) async fn sign_up_with(
        &mut self,
        name: &str,
        password: &str,
        code: Option<&str>,
    ) -> Result<Reply, Refusal> {
        let (password, code) = (secret(password), code.map(secret));
        self.ask(Request::SignUp { name: name.to_owned(), password, code }).await
    }

    pub(super) async fn log_in(&mut self, name: &str, password: &str) -> Result<Reply, Refusal> {
        self.ask(Request::LogIn { name: name.to_owned(), password: secret(password) }).await
    }

    pub(super) async fn ask(&mut self, op: Request) -> Result<Reply, Refusal> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&FromPeer::Request { id, op }).await;
        self.answer(id).await
    }

    pub(super) async fn answer(&mut self, id: u64) -> Result<Reply, Refusal> {
        loop {
            match self.read().await.expect("an answer before the end of the connection") {
                FromTracker::Reply { id: got, result } if got == id => return Ok(result),
                FromTracker::Refusal { id: got, error } if got == id => return Err(error),
                FromTracker::Event(event) => self.events.push(event),
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn refused(&mut self, op: Request) -> Code {
        self.ask(op).await.expect_err("a refusal").code
    }

    pub(super) async fn register(&mut self, name: &str, content: Content) -> Result<Reply, Refusal> {
        self.ask(Request::Register { name: name.to_owned(), content, folder: None, users: None }).await
    }

    pub(super) async fn announce(&mut self, content: Content, have: Have) -> Result<Reply, Refusal> {
        let swarms = vec![Announced { content, audience: Audience::Public, have }];
        self.ask(Request::Announce { swarms }).await
    }

    /// The next event that `wanted` accepts.
    pub(super) async fn event<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = self.events.iter().find_map(&mut wanted) {
                return found;
            }
            self.events.clear();
            match self.read().await.expect("an event before the end of the connection") {
                FromTracker::Event(event) => self.events.push(event),
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn send(&mut self, message: &FromPeer) {
        self.send_bytes(&message.to_frame().unwrap()).await;
    }

    pub(super) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next message that is no ping; `None` at the end of the connection.
    pub(super) async fn read(&mut self) -> Option<FromTracker> {
        loop {
            let body = timeout(PATIENCE, self.read_body()).await.expect("something comes in time")?;
            match FromTracker::from_body(&body).unwrap() {
                FromTracker::Ping(number) if self.answers_pings => self.send(&FromPeer::Pong(number)).await,
                FromTracker::Ping(number) => self.pings.push(number),
                other => return Some(other),
            }
        }
    }

    async fn read_body(&mut self) -> Option<Vec<u8>> {
        let mut header = [0; FRAME_HEADER];
        self.stream.read_exact(&mut header).await.ok()?;
        let mut body = vec![0; u32::from_be_bytes(header).try_into().unwrap()];
        self.stream.read_exact(&mut body).await.ok()?;
        Some(body)
    }

    /// Whether the connection ends, whatever comes before.
    pub(super) async fn ends(&mut self) -> bool {
        timeout(PATIENCE, async { while self.read_body().await.is_some() {} }).await.is_ok()
    }
}

pub(super) async fn dial(address: SocketAddr, from: Option<IpAddr>) -> TcpStream {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0)).unwrap();
    }
    socket.connect(address).await.unwrap()
}
