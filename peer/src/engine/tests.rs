//! Who is served under which ticket, straight at a seeder.

use std::time::Duration;

use super::*;
use crate::link::introduce;
use crate::storage::Stamp;
use crate::swarm::Swarm;
use crate::tracker_client::tests::{Caller, FakeTracker};
use crate::tracker_client::{NameChoice, Place, TrackerConfig, TrackerState};
use common::audience::OfferId;
use common::id::{FileId, FolderId, Hash};
use common::merkle::FileHasher;
use common::name::UserName;
use common::ticket::Ticket;
use common::tls::{self, Expect};
use common::wire::peer::{ConversationId, Message};
use common::wire::tracker::{Entry, FromTracker, Holder, Plan, Reply, Revocation};
use common::wire::{FRAME_HEADER, PEER_ALPN};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);
/// A time of the tracker at which tickets are good: it says 5,000 s.
const BEGAN_MS: u64 = 4_990_000;
const EXPIRES_MS: u64 = 9_000_000;

/// A seeder with its tracker.
struct Scene {
    engine: Engine,
    tracker: FakeTracker,
    caller: Caller,
    shared: Shared,
    tasks: Tasks,
    _dir: tempfile::TempDir,
    _notices: broadcast::Receiver<Notice>,
    _events: mpsc::Receiver<EngineEvent>,
}

/// A downloader with a connection to it.
struct Downloader {
    identity: Identity,
    stream: TlsStream<TcpStream>,
}

async fn scene() -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let (tracker, tasks, identity) =
        (FakeTracker::start(1).await, Tasks::new(), Arc::new(Identity::from_seed(&[2; 32])));
    let (notices, seen) = broadcast::channel(16);
    let (sender, events) = mpsc::channel(16);
    let config = EngineConfig {
        identity: Arc::clone(&identity),
        listen: "127.0.0.1:0".parse().unwrap(),
        downloading: dir.path().join("downloading"),
        limit_up: None,
        limit_down: None,
        notices: notices.clone(),
        events: sender,
    };
    let engine = Engine::bind(config, &tasks).await.unwrap();
    let config = TrackerConfig {
        place: Place::Address(tracker.address()),
        identity,
        name: NameChoice::Default(UserName::new("ann").unwrap()),
        listen: engine.local_addr(),
        advertise: Vec::new(),
        known_trackers: dir.path().join("known_trackers"),
        notices,
    };
    let client = TrackerClient::start(config, &tasks);
    let (caller, _) = tracker.welcome().await;
    let mut state = client.state();
    let connected = state.wait_for(|state| matches!(state, TrackerState::Connected(_)));
    drop(timeout(DEADLINE, connected).await.unwrap().unwrap());
    engine.join(client);
    let (path, bytes) = (dir.path().join("x"), vec![7; 100_000]);
    std::fs::write(&path, &bytes).unwrap();
    let mut hasher = FileHasher::new(100_000).unwrap();
    hasher.update(&bytes);
    let hashes = hasher.finish().unwrap();
    let looks = Looks::File(Stamp::of(&std::fs::metadata(&path).unwrap()));
    let content = hashes.file_id().into();
    let shared = Shared { content, path, looks, insides: hashes.into(), audiences: BTreeSet::new() };
    Scene { engine, tracker, caller, shared, tasks, _dir: dir, _notices: seen, _events: events }
}

impl Scene {
    fn share_for(&self, audiences: &[&Audience]) {
        let audiences = audiences.iter().copied().cloned().collect();
        self.engine.share(Shared { audiences, ..self.shared.clone() });
    }

    async fn downloader(&self, seed: u8) -> Downloader {
        let identity = Identity::from_seed(&[seed; 32]);
        let socket = TcpStream::connect(self.engine.local_addr()).await.unwrap();
        let config = tls::client_config(&identity, Expect::Anyone, PEER_ALPN);
        let mut stream = TlsConnector::from(config).connect(tls::server_name(), socket).await.unwrap();
        introduce(&mut stream, self.tracker.network(), 1).await.unwrap();
        Downloader { identity, stream }
    }

    fn ticket(&self, holder: &Downloader, audience: &Audience, swarm: Content, not_before_ms: u64) -> Vec<u8> {
        let (network, audience, holder) = (self.tracker.network(), audience.clone(), holder.identity.public_key());
        let ticket = Ticket { network, audience, swarm, holder, not_before_ms, expires_ms: EXPIRES_MS };
        ticket.sign(&self.tracker.identity)
    }

    /// Opens a conversation about what is shared, under an audience.
    async fn open(&self, downloader: &mut Downloader, conversation: ConversationId, audience: &Audience) -> Answer {
        let ticket = self.ticket(downloader, audience, self.shared.content, BEGAN_MS);
        downloader.open(conversation, self.shared.content, ticket).await
    }

    async fn end(self) {
        self.tasks.shutdown().await;
    }
}

/// What came of the wish to open a conversation.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Opened,
    Refused(Reason),
}

impl Downloader {
    async fn send(&mut self, message: Message) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.stream.write_all(&bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next message but for pings and suggestions.
    async fn next(&mut self) -> Message {
        loop {
            let body = async {
                let mut header = [0; FRAME_HEADER];
                self.stream.read_exact(&mut header).await.unwrap();
                let mut body = vec![0; u32::from_be_bytes(header) as usize];
                self.stream.read_exact(&mut body).await.unwrap();
                body
            };
            let body = timeout(DEADLINE, body).await.unwrap();
            match Message::decode(&body).unwrap() {
                Message::Ping { token } => self.send(Message::Pong { token }).await,
                Message::Suggest { .. } => {}
                message => return message,
            }
        }
    }

    async fn open(&mut self, conversation: ConversationId, content: Content, ticket: Vec<u8>) -> Answer {
        self.send(Message::Open { conversation, content, ticket }).await;
        match self.next().await {
            Message::Opened { conversation: which, complete: true } if which == conversation => Answer::Opened,
            Message::Refused { conversation: which, reason, .. } if which == conversation => Answer::Refused(reason),
            other => panic!("{other:?}"),
        }
    }

    async fn refused(&mut self) -> (ConversationId, Reason) {
        match self.next().await {
            Message::Refused { conversation, reason, .. } => (conversation, reason),
            other => panic!("{other:?}"),
        }
    }

    /// Asks for a chunk and gets it.
    async fn gets(&mut self, conversation: ConversationId) {
        self.send(Message::Request { conversation, chunk: 0 }).await;
        loop {
            match self.next().await {
                Message::Piece { conversation: which, length, .. } => {
                    assert_eq!(which, conversation);
                    let mut bytes = vec![0; length as usize];
                    self.stream.read_exact(&mut bytes).await.unwrap();
                    return;
                }
                Message::Queued { .. } | Message::Pong { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Asks for a chunk in a conversation that is over; who serves passes that over.
    async fn asks_in_vain(&mut self, conversation: ConversationId) {
        self.send(Message::Request { conversation, chunk: 0 }).await;
        for token in 77..80 {
            self.send(Message::Ping { token }).await;
            assert_eq!(self.next().await, Message::Pong { token });
        }
    }
}

fn entry(name: &str) -> Audience {
    Audience::Entry(name.parse().unwrap())
}

#[tokio::test]
async fn a_ticket_counts_for_those_only_for_whom_it_is_shared() {
    let scene = scene().await;
    let (some, others, offer) = (entry("ann/x"), entry("bob/x"), Audience::Offer(OfferId(7)));
    let mut bob = scene.downloader(3).await;
    assert_eq!(scene.open(&mut bob, 0, &some).await, Answer::Refused(Reason::NotShared));
    scene.share_for(&[&some]);
    assert_eq!(scene.open(&mut bob, 1, &some).await, Answer::Opened);
    for (conversation, audience) in [(2, &Audience::Public), (3, &others), (4, &offer)] {
        assert_eq!(scene.open(&mut bob, conversation, audience).await, Answer::Refused(Reason::Ticket), "{audience:?}");
    }
    scene.share_for(&[&offer]);
    assert_eq!(scene.open(&mut bob, 5, &offer).await, Answer::Opened);
    bob.gets(1).await;

    scene.engine.unshare(&scene.shared.content, &some);
    assert_eq!(bob.refused().await, (1, Reason::Ticket));
    bob.asks_in_vain(1).await;
    bob.gets(5).await;
    assert_eq!(scene.open(&mut bob, 6, &some).await, Answer::Refused(Reason::Ticket));

    scene.engine.set_audiences(&scene.shared.content, BTreeSet::from([others.clone()]));
    assert_eq!(bob.refused().await, (5, Reason::Ticket));
    assert_eq!(scene.open(&mut bob, 7, &others).await, Answer::Opened);
    scene.engine.unshare(&scene.shared.content, &others);
    assert_eq!(bob.refused().await, (7, Reason::NotShared));
    assert_eq!(scene.open(&mut bob, 8, &others).await, Answer::Refused(Reason::NotShared));
    scene.end().await;
}

#[tokio::test]
async fn another_holders_swarms_or_networks_ticket_is_worth_nothing() {
    let scene = scene().await;
    scene.share_for(&[&Audience::Public]);
    let (mut bob, eve) = (scene.downloader(3).await, scene.downloader(4).await);
    let (content, all) = (scene.shared.content, Audience::Public);
    let other: Content = FileId::new(5, Hash([1; 32])).unwrap().into();
    let expired = Ticket {
        network: scene.tracker.network(),
        audience: all.clone(),
        swarm: content,
        holder: bob.identity.public_key(),
        not_before_ms: 0,
        expires_ms: 1,
    };
    let elsewhere =
        Ticket { network: NetworkId([9; 32]), not_before_ms: BEGAN_MS, expires_ms: EXPIRES_MS, ..expired.clone() };
    let good = Ticket { network: scene.tracker.network(), ..elsewhere.clone() };
    let wrong = [
        scene.ticket(&eve, &all, content, BEGAN_MS),
        scene.ticket(&bob, &all, other, BEGAN_MS),
        expired.sign(&scene.tracker.identity),
        elsewhere.sign(&scene.tracker.identity),
        good.sign(&Identity::from_seed(&[8; 32])),
        Vec::new(),
    ];
    for (conversation, ticket) in (0..).zip(wrong) {
        assert_eq!(bob.open(conversation, content, ticket).await, Answer::Refused(Reason::Ticket), "{conversation}");
    }
    assert_eq!(bob.open(9, content, good.sign(&scene.tracker.identity)).await, Answer::Opened);
    scene.end().await;
}

#[tokio::test]
async fn who_showed_a_ticket_that_is_called_back_is_hung_up_on() {
    let mut scene = scene().await;
    let (some, others) = (entry("ann/x"), entry("ann/y"));
    scene.share_for(&[&some, &others]);
    let (mut bob, mut eve) = (scene.downloader(3).await, scene.downloader(4).await);
    for (conversation, audience) in [(1, &some), (2, &others)] {
        assert_eq!(scene.open(&mut bob, conversation, audience).await, Answer::Opened);
        assert_eq!(scene.open(&mut eve, conversation, audience).await, Answer::Opened);
    }
    let (holder, before_ms) = (bob.identity.peer_id(), BEGAN_MS + 1);
    let revoked = |audience| {
        let revocations = vec![Revocation { holder, audience, before_ms }];
        FromTracker::Event(Event::Revoked { revocations })
    };
    scene.caller.send(&revoked(Some(some.clone()))).await;
    assert_eq!(bob.refused().await, (1, Reason::Ticket));
    bob.asks_in_vain(1).await;
    bob.gets(2).await;
    assert_eq!(scene.open(&mut bob, 3, &some).await, Answer::Refused(Reason::Ticket));

    scene.caller.send(&revoked(None)).await;
    assert_eq!(bob.refused().await, (2, Reason::Ticket));
    assert_eq!(scene.open(&mut bob, 4, &others).await, Answer::Refused(Reason::Ticket));
    let new = scene.ticket(&bob, &some, scene.shared.content, before_ms);
    assert_eq!(bob.open(5, scene.shared.content, new).await, Answer::Opened, "a ticket of after that");
    for conversation in [1, 2] {
        eve.gets(conversation).await;
    }
    scene.end().await;
}

#[tokio::test]
async fn a_manifest_is_served_to_those_for_whom_the_folder_is_and_not_announced() {
    let mut scene = scene().await;
    let (some, Shared { content, path, looks, insides, .. }) = (entry("ann/x"), scene.shared.clone());
    let swarm = Swarm::complete(content, &insides, path, looks);
    assert_eq!(swarm.add_audiences(BTreeSet::from([some.clone()]), Announced::No), Resharing::default());
    scene.engine.context.swarms.add(swarm);
    let folder = |chunks| FolderId::new(content.file_or_manifest(), chunks).unwrap().into();
    let mut bob = scene.downloader(3).await;
    let ticket = scene.ticket(&bob, &some, folder(3), BEGAN_MS);
    assert_eq!(bob.open(1, content, ticket.clone()).await, Answer::Opened);
    assert_eq!(bob.open(2, folder(3), ticket).await, Answer::Refused(Reason::NotShared));
    let ticket = scene.ticket(&bob, &entry("ann/y"), folder(3), BEGAN_MS);
    assert_eq!(bob.open(3, content, ticket).await, Answer::Refused(Reason::Ticket));
    // Shared as a file of its own as well, it is announced, to those alone.
    scene.share_for(&[&entry("ann/z")]);
    let announced = scene.caller.announced().await;
    assert_eq!(announced.iter().map(|one| &one.audience).collect::<Vec<_>>(), [&entry("ann/z")]);
    scene.end().await;
}

/// What a download of `content` from the tracker's entry `bob/x` is.
fn spec_of(scene: &Scene, content: Content) -> DownloadSpec {
    DownloadSpec {
        entry: "bob/x".to_owned(),
        source: PlanSource::Entry,
        name: "x".to_owned(),
        version: 1,
        content,
        audience: Audience::Public,
        target: scene.shared.path.with_file_name("y"),
        placing: Placing::Beside,
        bases: Vec::new(),
        only: Vec::new(),
        wait: None,
        plan: None,
    }
}

/// The tracker's answer, without any holder.
fn plan_of(content: Content) -> Plan {
    let entry = Entry {
        owners: vec!["bob".to_owned()],
        name: "x".to_owned(),
        version: 1,
        content,
        folder: None,
        restricted: false,
        users: Vec::new(),
        seeders: 1,
        downloaders: 1,
        registered_ms: 0,
    };
    Plan { entry, audience: Audience::Public, ticket: "00".to_owned(), holders: Vec::new() }
}

/// Begins a download.
#[expect(clippy::disallowed_methods, reason = "a test watches it itself")]
fn begin(scene: &Scene, spec: DownloadSpec) -> (CancellationToken, tokio::task::JoinHandle<Result<(), DownloadError>>) {
    let (engine, cancel) = (scene.engine.clone(), CancellationToken::new());
    let cancelled = cancel.clone();
    let downloading = async move { engine.download(spec, watch::Sender::new(None), cancelled).await.map(drop) };
    (cancel, tokio::spawn(downloading))
}

/// The next question for a plan; announcements are answered.
async fn asked_for_plan(scene: &mut Scene) -> u64 {
    loop {
        match scene.caller.request().await {
            (id, Request::Announce { .. }) => scene.caller.reply(id, Reply::Done).await,
            (id, Request::Plan { .. }) => return id,
            (_, other) => panic!("{other:?}"),
        }
    }
}

/// Who registers between the plan that a download begins with and its beginning is told of before anybody listens.
#[tokio::test]
async fn a_plan_without_anybody_who_has_all_is_asked_for_again_at_once() {
    const AT_ONCE: Duration = Duration::from_secs(2);
    let mut scene = scene().await;
    let content = FileId::new(100_000, Hash([5; 32])).unwrap().into();
    let spec = DownloadSpec { plan: Some(plan_of(content)), ..spec_of(&scene, content) };
    let (cancel, downloading) = begin(&scene, spec);
    timeout(AT_ONCE, asked_for_plan(&mut scene)).await.unwrap();
    cancel.cancel();
    assert!(downloading.await.unwrap().is_err());
    scene.end().await;
}

/// A holder that is heard of before the plan, and with it the ticket, is there: it was taken for one that is being dialled,
/// and never asked.
#[tokio::test]
async fn a_holder_that_is_heard_of_before_the_ticket_is_asked_with_it() {
    let mut scene = scene().await;
    let mut seeder = scene.downloader(3).await;
    let content = FileId::new(100_000, Hash([5; 32])).unwrap().into();
    let (cancel, downloading) = begin(&scene, spec_of(&scene, content));
    let id = asked_for_plan(&mut scene).await;
    let holder = Holder {
        peer: seeder.identity.peer_id(),
        user: "bob".to_owned(),
        addresses: vec!["127.0.0.1:1".parse().unwrap()],
        have: Some(Have::All),
    };
    let event = Event::Holder { content, audience: Audience::Public, holder };
    scene.caller.send(&FromTracker::Event(event)).await;
    // Time for the event to be looked at.
    for token in 0..20 {
        seeder.send(Message::Ping { token }).await;
        assert_eq!(seeder.next().await, Message::Pong { token });
    }
    scene.caller.reply(id, Reply::Plan(plan_of(content))).await;
    assert!(matches!(seeder.next().await, Message::Open { .. }));
    cancel.cancel();
    assert!(downloading.await.unwrap().is_err());
    scene.end().await;
}
