//! A member of a network without a tracker that lies: an honest machine keeps it in the network, and besides it says what a
//! test wants it to say, in bytes written by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::group::{self, Action, Addresses, Dial, DialId, Facts, Framer, Group, Member, Point, frame};
use common::id::{NetworkId, PeerId};
use common::identity::Identity;
use common::merkle::sha256;
use common::mrt::{self, LocalKeys, StaticKey, Target};
use common::name::UserName;
use peer::mrt::{BindOptions, Connection, Node, ReadHalf, Stream};
use peer::tasks::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::identity;
use crate::wait::wait_until;

/// The first byte of the stream of messages.
const CONTROL: u8 = 1;
/// The run of the program that a liar seems to be.
const RUN: u64 = 7;
/// The dialler's last word before messages: it goes on with this line.
const TAKEN: u8 = 3;
/// How long a dial may take.
const DIAL: Duration = Duration::from_secs(4);
/// Whatever waits for its turn: a test says little.
const WAITING: usize = 1024;
/// How long it may take to join.
const JOINING: Duration = Duration::from_secs(20);

/// A node that lies; gone when dropped.
#[derive(Debug)]
pub struct Liar {
    orders: mpsc::Sender<Input>,
    seen: Arc<Mutex<Seen>>,
    identity: Arc<Identity>,
    network: NetworkId,
    address: SocketAddr,
    _runtime: Runtime,
}

/// PEER as somebody would like it to be.
#[derive(Debug, Clone)]
pub struct FalseRoster {
    /// Its term.
    pub term: u64,
    /// Its number within the term.
    pub number: u64,
    /// Who leads by it.
    pub supernode: PeerId,
    /// In order of joining.
    pub members: Vec<Member>,
}

/// What the machine knows, for the test.
#[derive(Debug, Default)]
struct Seen {
    point: Option<Point>,
    supernode: Option<PeerId>,
    members: Vec<Member>,
    linked: BTreeSet<PeerId>,
}

#[derive(Debug)]
enum Input {
    Connect(SocketAddr),
    Say(PeerId, Vec<u8>),
    Dialled(DialId, Option<(Connection, Stream)>),
    Came(Connection, Stream),
    Message(PeerId, u64, Vec<u8>),
    Ended(PeerId, u64),
}

/// Who asked for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialler {
    Here,
    There,
}

/// What drives the machine.
struct Driver {
    group: Group,
    node: Node,
    tasks: Tasks,
    inputs: mpsc::Sender<Input>,
    lines: BTreeMap<PeerId, Line>,
    made: u64,
    seen: Arc<Mutex<Seen>>,
}

struct Line {
    number: u64,
    dialler: Dialler,
    connection: Connection,
    words: mpsc::Sender<Vec<u8>>,
}

impl Liar {
    /// A node of the network that is open to everybody, alone at first, on loopback.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str) -> Self {
        let psk = sha256(b"shoal-mrt-open-network-v1").0;
        let identity = Arc::new(identity(name));
        let keys = LocalKeys::new(Arc::clone(&identity), psk);
        let (network, static_key) = (group::network_id(&psk), keys.static_key());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a thread can be started");
        let tasks = Tasks::new();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let options = BindOptions { listen, config: mrt::Config::default(), keys };
        let node = {
            let _inside = runtime.enter();
            Node::bind(&tasks, options).expect("a port is free")
        };
        let address = node.local_addr();
        let name = UserName::new(name).expect("a test gives a name");
        let group = new_group(&identity, network, static_key, name, address);
        let (orders, waiting) = mpsc::channel(WAITING);
        let seen = Arc::new(Mutex::default());
        let driver = Driver {
            group,
            node,
            tasks: tasks.clone(),
            inputs: orders.clone(),
            lines: BTreeMap::new(),
            made: 0,
            seen: Arc::clone(&seen),
        };
        {
            let _inside = runtime.enter();
            tasks.spawn("liar", driver.run(waiting));
        }
        Self { orders, seen, identity, network, address, _runtime: runtime }
    }

    /// Joins the network there, and waits until it is in.
    ///
    /// # Panics
    /// When it is not taken in.
    #[track_caller]
    pub fn join(&self, port: u16) {
        self.order(Input::Connect(SocketAddr::from(([127, 0, 0, 1], port))));
        wait_until(JOINING, "the liar to be taken in", || self.lock().members.len() > 1);
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who it is.
    pub fn id(&self) -> PeerId {
        self.identity.peer_id()
    }

    /// The members, as they are.
    pub fn members(&self) -> Vec<Member> {
        self.lock().members.clone()
    }

    /// Whether it is connected with this member.
    pub fn is_linked(&self, peer: &PeerId) -> bool {
        self.lock().linked.contains(peer)
    }

    /// PEER as it is now, to be changed.
    ///
    /// # Panics
    /// Where there is none.
    pub fn roster(&self) -> FalseRoster {
        let seen = self.lock();
        let Point { term, number } = seen.point.expect("it is in a network");
        FalseRoster { term, number, supernode: seen.supernode.expect("there is one"), members: seen.members.clone() }
    }

    /// Sends this message to all others that it is connected with.
    pub fn says_to_all(&self, message: &[u8]) {
        let linked = self.lock().linked.clone();
        linked.into_iter().for_each(|peer| self.order(Input::Say(peer, message.to_vec())));
    }

    /// PEER, signed by the liar, whoever leads by it.
    pub fn peer(&self, roster: &FalseRoster) -> Vec<u8> {
        const PEER: u8 = 8;
        let FalseRoster { term, number, supernode, members } = roster;
        let mut body = [term.to_be_bytes(), number.to_be_bytes()].concat();
        body.extend(supernode.0);
        put_count(&mut body, members.len());
        members.iter().for_each(|member| put_member(&mut body, member));
        // Nobody is absent.
        put_count(&mut body, 0);
        let signed = [b"shoal-mrt-peer-v1".as_slice(), &self.network.0, &body].concat();
        let length = u32::try_from(body.len()).expect("it is short").to_be_bytes();
        // Of the chat it knows nothing.
        [&[PEER], self.identity.sign(&signed).as_slice(), &length, &body, &[0]].concat()
    }

    /// JOIN by one who was in a term.
    pub fn join_after(&self, term: u64) -> Vec<u8> {
        const JOIN: u8 = 5;
        let mut out = vec![JOIN];
        put_text(&mut out, "mallory");
        put_count(&mut out, 0);
        out.push(1);
        out.extend([term, 1].into_iter().flat_map(u64::to_be_bytes));
        out.extend(self.id().0);
        out
    }

    /// HELO of another network.
    pub fn hello_of_another_network() -> Vec<u8> {
        const HELO: u8 = 1;
        [&[HELO, 0, 1], [8; 32].as_slice()].concat()
    }

    fn order(&self, order: Input) {
        self.orders.blocking_send(order).expect("the liar lives");
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn new_group(
    identity: &Arc<Identity>,
    network: NetworkId,
    static_key: StaticKey,
    name: UserName,
    address: SocketAddr,
) -> Group {
    let (identity, addresses) = (Arc::clone(identity), Addresses::new([address]));
    Group::new(Instant::now(), group::Config { network, identity, static_key, name, addresses, seed: 1 })
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend(u16::try_from(count).expect("a test makes no long lists").to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_count(out, text.len());
    out.extend(text.as_bytes());
}

fn put_member(out: &mut Vec<u8>, member: &Member) {
    out.extend(member.identity().0);
    out.extend(member.static_key().0);
    put_text(out, member.name().as_str());
    let addresses = member.addresses().as_slice();
    put_count(out, addresses.len());
    for address in addresses {
        match address.ip() {
            std::net::IpAddr::V4(ip) => out.extend([&[4], ip.octets().as_slice()].concat()),
            std::net::IpAddr::V6(ip) => out.extend([&[6], ip.octets().as_slice()].concat()),
        }
        out.extend(address.port().to_be_bytes());
    }
}

impl Driver {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        loop {
            while self.group.poll_event().is_some() {}
            while let Some(action) = self.group.poll_action() {
                self.act(action);
            }
            self.note();
            let due = self.group.poll_timeout().unwrap_or_else(|| Instant::now() + JOINING);
            tokio::select! {
                Some(input) = inputs.recv() => self.on_input(input),
                Some(connection) = self.node.accept() => {
                    let inputs = self.inputs.clone();
                    self.tasks.spawn("visit", async move {
                        if let Ok(stream) = accept(&connection).await {
                            drop(inputs.send(Input::Came(connection, stream)).await);
                        }
                    });
                }
                () = tokio::time::sleep_until(due.into()) => self.group.handle_timeout(Instant::now()),
            }
        }
    }

    fn note(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let roster = self.group.roster();
        *seen = Seen {
            point: roster.map(group::Roster::point),
            supernode: self.group.supernode(),
            members: roster.map(|roster| roster.members().to_vec()).unwrap_or_default(),
            linked: self.lines.keys().copied().collect(),
        };
    }

    fn on_input(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Connect(address) => drop(self.group.connect(now, address)),
            Input::Say(peer, bytes) => self.say(peer, &bytes),
            Input::Dialled(id, opened) => {
                let peer = opened.map(|(connection, stream)| self.take(now, connection, stream, Dialler::Here));
                self.group.dialled(now, id, peer);
            }
            Input::Came(connection, stream) => drop(self.take(now, connection, stream, Dialler::There)),
            Input::Message(peer, number, bytes) => {
                // What nodes say beside the group is not for the machine.
                const BESIDE: u8 = 0x80;
                if self.is(peer, number) && bytes.first().is_none_or(|first| *first < BESIDE) {
                    self.group.message(now, peer, &bytes);
                }
            }
            Input::Ended(peer, number) => {
                if self.is(peer, number) {
                    self.lines.remove(&peer);
                    self.group.lost(now, peer);
                }
            }
        }
    }

    fn is(&self, peer: PeerId, number: u64) -> bool {
        self.lines.get(&peer).is_some_and(|line| line.number == number)
    }

    fn say(&self, peer: PeerId, bytes: &[u8]) {
        if let Some(line) = self.lines.get(&peer) {
            drop(line.words.try_send(frame(bytes)));
        }
    }

    /// Takes a line, unless there is one that stays, by the rule that all nodes have: who dialled keeps what there is; of two
    /// that both dialled at once, that of the lower peer id stays.
    fn take(&mut self, now: Instant, connection: Connection, stream: Stream, dialler: Dialler) -> PeerId {
        let remote = connection.remote();
        let peer = remote.identity.peer_id();
        if let Some(earlier) = self.lines.get(&peer) {
            let stays = match (earlier.dialler, dialler) {
                (_, Dialler::Here) => true,
                (Dialler::There, Dialler::There) => false,
                (Dialler::Here, Dialler::There) => self.group.id() < peer,
            };
            if stays {
                return peer;
            }
            self.lines.remove(&peer);
            self.group.lost(now, peer);
        }
        self.made += 1;
        let (number, (read, mut write)) = (self.made, stream.into_split());
        let (words, mut waiting) = mpsc::channel::<Vec<u8>>(WAITING);
        self.tasks.spawn("words", async move {
            if dialler == Dialler::Here && write.write_all(&[TAKEN]).await.is_err() {
                return;
            }
            while let Some(bytes) = waiting.recv().await {
                if write.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        self.tasks.spawn("ears", hear(read, peer, number, self.inputs.clone()));
        let observed = connection.route().ok().map(|route| route.remote);
        self.lines.insert(peer, Line { number, dialler, connection, words });
        let facts = Facts { identity: remote.identity, static_key: remote.static_key, observed };
        self.group.connected(now, &facts);
        peer
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial(dial) => {
                let (node, inputs) = (self.node.clone(), self.inputs.clone());
                self.tasks.spawn("dial", async move {
                    let id = dial.id;
                    let opened = tokio::time::timeout(DIAL, dial_all(&node, dial)).await.ok().flatten();
                    drop(inputs.send(Input::Dialled(id, opened)).await);
                });
            }
            Action::Send { peer, bytes } => self.say(peer, &bytes),
            Action::Close { peer, reason } => {
                if let Some(line) = self.lines.remove(&peer) {
                    line.connection.close(mrt::CloseCode(reason.code()), "");
                }
            }
            Action::Open { .. } => {}
        }
    }
}

async fn dial_all(node: &Node, dial: Dial) -> Option<(Connection, Stream)> {
    let target = Target { peer: dial.peer, static_key: dial.static_key };
    for address in dial.addresses {
        if let Ok(connection) = node.connect(address, target).await
            && let Ok(stream) = open(&connection).await
        {
            return Some((connection, stream));
        }
    }
    None
}

/// Opens the stream of messages: says which run of the program this is.
async fn open(connection: &Connection) -> io::Result<Stream> {
    let mut stream = connection.open().await.map_err(io::Error::other)?;
    stream.write_all(&[&[CONTROL], RUN.to_be_bytes().as_slice()].concat()).await?;
    stream.read_exact(&mut [0; 1 + 8]).await?;
    Ok(stream)
}

/// The other end of that.
async fn accept(connection: &Connection) -> io::Result<Stream> {
    let mut stream = connection.accept().await.map_err(io::Error::other)?;
    stream.read_exact(&mut [0; 1 + 8]).await?;
    stream.write_all(&[&[CONTROL], RUN.to_be_bytes().as_slice()].concat()).await?;
    // Without its last word nobody hears of it.
    stream.read_exact(&mut [0; 1]).await?;
    Ok(stream)
}

async fn hear(mut read: ReadHalf, peer: PeerId, number: u64, inputs: mpsc::Sender<Input>) {
    let (mut framer, mut buffer) = (Framer::default(), vec![0; 1 << 16]);
    while let Ok(count @ 1..) = read.read(&mut buffer).await {
        framer.push(&buffer[..count]);
        while let Ok(Some(message)) = framer.next_message() {
            drop(inputs.send(Input::Message(peer, number, message.to_vec())).await);
        }
    }
    drop(inputs.send(Input::Ended(peer, number)).await);
}
