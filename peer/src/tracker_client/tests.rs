//! The client against a tracker made of a socket, TLS and the frames of this module.

use super::*;
use crate::tracker_client::frames::{FrameReader, write};
use common::id::{FileId, Hash, PeerId};
use common::tls;
use common::wire::TRACKER_ALPN;
use common::wire::tracker::{Access, Announced, Code, FromPeer, FromTracker, Hello, Revocation};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Longer than anything here takes, reconnecting included.
const DEADLINE: Duration = Duration::from_secs(20);

/// A public entry of an empty file.
pub(crate) fn entry(owner: &str, name: &str) -> common::wire::tracker::Entry {
    common::wire::tracker::Entry {
        owners: vec![owner.to_owned()],
        name: name.to_owned(),
        version: 1,
        content: FileId::new(0, Hash([0; 32])).unwrap().into(),
        folder: None,
        restricted: false,
        users: Vec::new(),
        seeders: 0,
        downloaders: 0,
        registered_ms: 0,
    }
}

pub(crate) struct FakeTracker {
    listener: TcpListener,
    pub(crate) identity: Identity,
}

pub(crate) struct Caller {
    reader: FrameReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
}

impl FakeTracker {
    pub(crate) async fn start(seed: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener, identity: Identity::from_seed(&[seed; 32]) }
    }

    pub(crate) fn address(&self) -> TrackerAddress {
        self.listener.local_addr().unwrap().to_string().parse().unwrap()
    }

    pub(crate) fn network(&self) -> NetworkId {
        NetworkId(self.identity.peer_id().0)
    }

    async fn accept(&self) -> Caller {
        let config = tls::server_config(&self.identity, TRACKER_ALPN);
        let accepting = async {
            let (stream, _) = self.listener.accept().await.unwrap();
            TlsAcceptor::from(config).accept(stream).await.unwrap()
        };
        let (reader, writer) = tokio::io::split(timeout(DEADLINE, accepting).await.unwrap());
        Caller { reader: FrameReader::new(reader), writer }
    }

    /// Accepts a peer and lets it in.
    pub(crate) async fn welcome(&self) -> (Caller, Hello) {
        let mut caller = self.accept().await;
        let (id, op) = caller.request().await;
        let Request::Hello(hello) = op else { panic!("{op:?}") };
        caller.reply(id, Reply::Welcome(welcome(&hello.name))).await;
        (caller, hello)
    }
}

fn welcome(name: &str) -> Welcome {
    Welcome {
        name: name.to_owned(),
        seen_as: "127.0.0.1:1".parse().unwrap(),
        time_ms: 5_000_000,
        silence_ms: 30_000,
        peers: 1,
        account: false,
        access: Access::Open,
        udp: None,
    }
}

impl Caller {
    async fn next(&mut self) -> Option<FromPeer> {
        let body = timeout(DEADLINE, self.reader.next()).await.unwrap().ok()??;
        Some(serde_json::from_slice(&body).unwrap())
    }

    pub(crate) async fn request(&mut self) -> (u64, Request) {
        match self.next().await {
            Some(FromPeer::Request { id, op }) => (id, op),
            other => panic!("{other:?}"),
        }
    }

    /// Takes an announcement and grants it.
    pub(crate) async fn announced(&mut self) -> Vec<Announced> {
        let (id, op) = self.request().await;
        let Request::Announce { swarms } = op else { panic!("{op:?}") };
        self.reply(id, Reply::Done).await;
        swarms
    }

    pub(crate) async fn reply(&mut self, id: u64, result: Reply) {
        self.send(&FromTracker::Reply { id, result }).await;
    }

    async fn refuse(&mut self, id: u64, code: Code) {
        let error = Refusal { code, text: format!("{code:?}"), candidates: Vec::new() };
        self.send(&FromTracker::Refusal { id, error }).await;
    }

    pub(crate) async fn send(&mut self, message: &FromTracker) {
        write(&mut self.writer, &message.to_frame().unwrap()).await.unwrap();
    }
}

struct Setup {
    client: TrackerClient,
    notices: broadcast::Receiver<Notice>,
    tasks: Tasks,
    dir: tempfile::TempDir,
}

fn start(address: TrackerAddress) -> Setup {
    start_in(address, tempfile::tempdir().unwrap())
}

fn start_in(address: TrackerAddress, dir: tempfile::TempDir) -> Setup {
    let (sender, notices) = broadcast::channel(100);
    let tasks = Tasks::new();
    let config = TrackerConfig {
        place: Place::Address(address),
        identity: Arc::new(Identity::from_seed(&[9; 32])),
        name: NameChoice::Default(UserName::new("ann").unwrap()),
        listen: "127.0.0.1:4567".parse().unwrap(),
        advertise: vec!["192.0.2.1:99".parse().unwrap()],
        known_trackers: dir.path().join("known_trackers"),
        notices: sender,
    };
    Setup { client: TrackerClient::start(config, &tasks), notices, tasks, dir }
}

impl Setup {
    async fn state_that(&self, wanted: impl FnMut(&TrackerState) -> bool) -> TrackerState {
        let mut state = self.client.state();
        timeout(DEADLINE, state.wait_for(wanted)).await.unwrap().unwrap().clone()
    }

    async fn connected(&self) -> Welcome {
        match self.state_that(|state| matches!(state, TrackerState::Connected(_))).await {
            TrackerState::Connected(welcome) => welcome,
            other => panic!("{other:?}"),
        }
    }

    async fn failed(&self) -> TrackerError {
        match self.state_that(|state| matches!(state, TrackerState::Failed(_))).await {
            TrackerState::Failed(error) => error,
            other => panic!("{other:?}"),
        }
    }

    async fn notice(&mut self) -> Notice {
        timeout(DEADLINE, self.notices.recv()).await.unwrap().unwrap()
    }
}

fn file(number: u8) -> Sharing {
    Sharing::public(FileId::new(64 << 14, Hash([number; 32])).unwrap().into())
}

fn announced(number: u8, have: Have) -> Announced {
    let Sharing { content, audience } = file(number);
    Announced { content, audience, have }
}

#[tokio::test]
async fn revocations_are_told_however_far_behind_a_listener_is() {
    let tracker = FakeTracker::start(1).await;
    let setup = start(tracker.address());
    let (mut caller, _) = tracker.welcome().await;
    setup.connected().await;
    let (told, mut heard) = mpsc::channel(2);
    setup.client.on_revoked(move |revocations| drop(told.try_send(revocations)));
    let mut slow = setup.client.events();
    let peer = PeerId([7; 32]);
    let revocations = vec![Revocation { holder: peer, audience: None, before_ms: 5 }];
    let revoked = FromTracker::Event(Event::Revoked { revocations: revocations.clone() });
    caller.send(&revoked).await;
    for _ in 0..EVENTS {
        caller.send(&FromTracker::Event(Event::Left { name: "bob".to_owned(), peer })).await;
    }
    caller.send(&revoked).await;
    for _ in 0..2 {
        assert_eq!(timeout(DEADLINE, heard.recv()).await.unwrap().unwrap(), revocations);
    }
    assert!(matches!(slow.recv().await, Err(broadcast::error::RecvError::Lagged(_))));
    setup.tasks.shutdown().await;
}

#[tokio::test]
async fn it_joins_asks_and_answers_pings() {
    let tracker = FakeTracker::start(1).await;
    let mut setup = start(tracker.address());
    let (mut caller, hello) = tracker.welcome().await;
    assert_eq!((hello.name.as_str(), hello.name_is_default, hello.port), ("ann", true, 4567));
    assert_eq!(hello.advertised, ["192.0.2.1:99".parse().unwrap()]);
    setup.connected().await;
    assert_eq!(setup.client.network(), Some(tracker.network()));
    assert_eq!(setup.client.tracker_key(), Some(tracker.identity.public_key()));
    let time = setup.client.now_ms();
    assert!((5_000_000..5_060_000).contains(&time), "{time}");

    caller.send(&FromTracker::Ping(77)).await;
    assert_eq!(caller.next().await, Some(FromPeer::Pong(77)));
    // What a newer tracker says besides is passed over.
    write(&mut caller.writer, b"\0\0\0\x0a{\"news\":1}").await.unwrap();

    let mut events = setup.client.events();
    let asking = async { tokio::join!(setup.client.request(Request::Users), setup.client.request(Request::Users)) };
    let answering = async {
        let ((one, _), (two, _)) = (caller.request().await, caller.request().await);
        let answer_of_tomorrow = format!(r#"{{"reply":{{"id":{two},"result":{{"tea":1}}}}}}"#);
        let length = u32::try_from(answer_of_tomorrow.len()).unwrap().to_be_bytes();
        let frame = [length.as_slice(), answer_of_tomorrow.as_bytes()].concat();
        write(&mut caller.writer, &frame).await.unwrap();
        caller.reply(one, Reply::Users { users: Vec::new() }).await;
        let left = Event::Left { name: "bob".to_owned(), peer: tracker.identity.peer_id() };
        caller.send(&FromTracker::Event(left)).await;
    };
    let ((one, two), ()) = tokio::join!(asking, answering);
    assert_eq!(one, Ok(Reply::Users { users: Vec::new() }));
    assert!(matches!(two, Err(TrackerError::Refused(Refusal { code: Code::Newer, .. }))));
    assert!(matches!(timeout(DEADLINE, events.recv()).await.unwrap(), Ok(Event::Left { .. })));
    assert!(matches!(setup.notice().await, Notice::TrackerRemembered { .. }));
    assert_eq!(setup.notice().await, Notice::Left { name: "bob".to_owned() });
    setup.tasks.shutdown().await;
}

#[tokio::test]
async fn after_a_loss_it_joins_again_and_announces_everything() {
    let tracker = FakeTracker::start(1).await;
    let mut setup = start(tracker.address());
    setup.client.announce(file(1), Have::All);
    let (mut caller, _) = tracker.welcome().await;
    assert_eq!(caller.announced().await, [announced(1, Have::All)]);
    setup.client.announce(file(2), Have::Add(vec![0]));
    assert_eq!(caller.announced().await.len(), 1);

    // Asked on a connection that dies: one question may be asked again, the other may have been done.
    let lost = Instant::now();
    let read_only = setup.client.request(Request::Users);
    let change = setup.client.request(Request::Deregister { entry: "x".to_owned() });
    let ((), read_only, change) = tokio::join!(
        async {
            caller.request().await;
            caller.request().await;
            drop(caller);
            let (mut again, _) = tracker.welcome().await;
            assert!(lost.elapsed() < PATIENCE, "{:?}", lost.elapsed());
            let mut swarms = again.announced().await;
            swarms.sort_by_key(|swarm| swarm.content);
            assert_eq!(swarms, [announced(1, Have::All), announced(2, Have::Map("8000000000000000".to_owned())),]);
            let (id, op) = again.request().await;
            assert_eq!(op, Request::Users);
            again.reply(id, Reply::Users { users: Vec::new() }).await;
        },
        read_only,
        change
    );
    assert_eq!(read_only, Ok(Reply::Users { users: Vec::new() }));
    assert!(matches!(change, Err(TrackerError::NoAnswer { .. })), "{change:?}");
    assert!(matches!(setup.notice().await, Notice::TrackerRemembered { .. }));
    assert!(matches!(setup.notice().await, Notice::TrackerLost { .. }));
    assert_eq!(setup.notice().await, Notice::TrackerBack);
    setup.tasks.shutdown().await;
}

#[tokio::test]
async fn a_refused_name_is_final_the_first_time() {
    let tracker = FakeTracker::start(1).await;
    let setup = start(tracker.address());
    let mut caller = tracker.accept().await;
    let (id, _) = caller.request().await;
    caller.refuse(id, Code::NameTaken).await;
    let error = setup.failed().await;
    assert!(matches!(&error, TrackerError::Refused(Refusal { code: Code::NameTaken, .. })), "{error:?}");
    assert_eq!(setup.client.request(Request::Users).await, Err(error));
    let known = setup.dir.path().join("known_trackers");
    assert!(!known.exists(), "a tracker that this peer never joined is not remembered");
    setup.tasks.shutdown().await;
}

#[tokio::test]
async fn a_busy_tracker_is_tried_again() {
    let tracker = FakeTracker::start(1).await;
    let setup = start(tracker.address());
    let mut caller = tracker.accept().await;
    let (id, _) = caller.request().await;
    caller.refuse(id, Code::Busy).await;
    let _caller = tracker.welcome().await;
    setup.connected().await;
    setup.tasks.shutdown().await;
}

#[tokio::test]
async fn a_changed_key_is_a_loud_error_that_says_what_to_do() {
    let tracker = FakeTracker::start(1).await;
    let setup = start(tracker.address());
    let (caller, _) = tracker.welcome().await;
    setup.connected().await;
    setup.tasks.shutdown().await;
    drop(caller);

    let impostor = FakeTracker { identity: Identity::from_seed(&[2; 32]), ..tracker };
    let setup = start_in(impostor.address(), setup.dir);
    let real = NetworkId(Identity::from_seed(&[1; 32]).peer_id().0);
    assert_eq!(setup.client.network(), Some(real), "known before it is reached");
    let config = tls::server_config(&impostor.identity, TRACKER_ALPN);
    let (stream, _) = impostor.listener.accept().await.unwrap();
    assert!(TlsAcceptor::from(config).accept(stream).await.is_err());
    let error = setup.failed().await;
    let TrackerError::Untrusted { text, hint } = &error else { panic!("{error:?}") };
    let known = setup.dir.path().join("known_trackers").display().to_string();
    for part in [known.as_str(), "line 1", &real.to_string(), &impostor.network().to_string()] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(hint.contains("take line 1 out of"), "{hint}");
    setup.tasks.shutdown().await;
}

#[tokio::test]
async fn a_pinned_key_is_the_only_one_that_will_do() {
    let tracker = FakeTracker::start(1).await;
    let pinned = TrackerAddress { fingerprint: Some(tracker.network()), ..tracker.address() };
    let setup = start(pinned);
    assert_eq!(setup.client.network(), Some(tracker.network()));
    let _caller = tracker.welcome().await;
    setup.connected().await;
    setup.tasks.shutdown().await;

    let wrong = TrackerAddress { fingerprint: Some(NetworkId([3; 32])), ..tracker.address() };
    let setup = start(wrong);
    let config = tls::server_config(&tracker.identity, TRACKER_ALPN);
    let (stream, _) = tracker.listener.accept().await.unwrap();
    assert!(TlsAcceptor::from(config).accept(stream).await.is_err(), "nothing is shown to who is not trusted");
    assert!(matches!(setup.failed().await, TrackerError::Untrusted { .. }));
    setup.tasks.shutdown().await;
}

#[tokio::test]
async fn a_damaged_line_is_named() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("known_trackers"), "lab:1 what").unwrap();
    let setup = start_in("lab:1".parse().unwrap(), dir);
    let error = setup.failed().await;
    assert!(error.to_string().contains("line 1"), "{error}");
    setup.tasks.shutdown().await;
}

#[tokio::test]
async fn a_tracker_that_is_not_there_is_a_sentence() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let setup = start(closed.to_string().parse().unwrap());
    let begin = Instant::now();
    let error = setup.client.request(Request::Users).await.unwrap_err();
    assert_eq!(error.to_string(), format!("no tracker answers at {closed} (connection refused)"));
    assert!(begin.elapsed() < PATIENCE);
    setup.tasks.shutdown().await;
}

#[tokio::test]
async fn what_is_no_tracker_is_told_and_tried_again() {
    use tokio::io::AsyncWriteExt as _;
    let tracker = FakeTracker::start(1).await;
    let setup = start(tracker.address());
    let (mut stream, _) = tracker.listener.accept().await.unwrap();
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let state = setup.state_that(|state| matches!(state, TrackerState::Connecting { why } if !why.is_empty())).await;
    let TrackerState::Connecting { why } = state else { panic!("{state:?}") };
    assert!(why.starts_with("what is there is no tracker"), "{why}");
    drop(stream);
    let _caller = tracker.welcome().await;
    setup.connected().await;
    setup.tasks.shutdown().await;
}

#[tokio::test]
async fn garbage_huge_frames_and_silence_end_the_connection_and_it_joins_again() {
    use tokio::io::AsyncWriteExt as _;
    let tracker = FakeTracker::start(1).await;
    let mut setup = start(tracker.address());
    for garbage in [&[0xff; 8][..], b"\0\0\0\x03{\"a", b"\0\0\0\x02\xff\xff"] {
        let (mut caller, _) = tracker.welcome().await;
        caller.writer.write_all(garbage).await.unwrap();
        caller.writer.flush().await.unwrap();
        assert_eq!(caller.next().await, None);
    }
    let mut caller = tracker.accept().await;
    let (id, _) = caller.request().await;
    caller.reply(id, Reply::Welcome(Welcome { silence_ms: 0, ..welcome("ann") })).await;
    assert_eq!(caller.next().await, None, "one second of silence is the shortest that counts");
    tracker.welcome().await;
    let mut lost = Vec::new();
    while lost.len() < 4 {
        if let Notice::TrackerLost { why } = setup.notice().await {
            lost.push(why);
        }
    }
    assert_eq!(lost[3], "it has said nothing for 1 s");
    setup.tasks.shutdown().await;
}

#[tokio::test]
async fn leaving_is_said_and_ends_everything() {
    let tracker = FakeTracker::start(1).await;
    let setup = start(tracker.address());
    let (mut caller, _) = tracker.welcome().await;
    setup.connected().await;
    let ((), ()) = tokio::join!(setup.client.leave(), async {
        let (id, op) = caller.request().await;
        assert_eq!(op, Request::Leave);
        caller.reply(id, Reply::Done).await;
    });
    setup.client.leave().await;
    assert!(matches!(setup.client.request(Request::Users).await, Err(TrackerError::NotConnected { .. })));
    assert_eq!(caller.next().await, None);
    setup.tasks.shutdown().await;
}

fn log_in() -> Request {
    let password = common::secret::Secret::new("hunter2".to_owned()).unwrap();
    Request::LogIn { name: "ann".to_owned(), password }
}

fn logged_in() -> Reply {
    Reply::LoggedIn { name: "ann".to_owned() }
}

#[tokio::test]
async fn where_a_login_is_required_it_waits_for_one_and_joins_then() {
    let tracker = FakeTracker::start(1).await;
    let mut setup = start(tracker.address());
    let mut caller = tracker.accept().await;
    let (id, _) = caller.request().await;
    caller.refuse(id, Code::LoginRequired).await;
    setup.state_that(|state| matches!(state, TrackerState::LoginRequired(_))).await;
    let refused = setup.client.request(Request::Users).await;
    assert!(matches!(refused, Err(TrackerError::Refused(Refusal { code: Code::LoginRequired, .. }))), "{refused:?}");
    assert_eq!(setup.client.met().await, Ok(tracker.network()));
    assert!(!setup.client.is_confirmed() && setup.client.welcome().is_none());

    let ((), answer) = tokio::join!(
        async {
            let mut wrong = tracker.accept().await;
            let (id, op) = wrong.request().await;
            assert_eq!(op, log_in());
            wrong.refuse(id, Code::WrongPassword).await;
        },
        setup.client.authenticate(log_in())
    );
    assert!(matches!(answer, Err(TrackerError::Refused(Refusal { code: Code::WrongPassword, .. }))), "{answer:?}");
    let (_caller, answer) = tokio::join!(
        async {
            let mut right = tracker.accept().await;
            let (id, _) = right.request().await;
            right.reply(id, logged_in()).await;
            assert_eq!(right.next().await, None, "it has had its use");
            tracker.welcome().await
        },
        setup.client.authenticate(log_in())
    );
    assert_eq!(answer, Ok(logged_in()));
    setup.connected().await;
    assert!(matches!(setup.notice().await, Notice::TrackerRemembered { .. }));
    assert!(setup.notices.is_empty(), "no loss is told: {:?}", setup.notice().await);
    setup.tasks.shutdown().await;
}

#[tokio::test]
async fn who_logs_in_or_out_joins_anew_without_a_word_of_loss() {
    let tracker = FakeTracker::start(1).await;
    let mut setup = start(tracker.address());
    let (mut first, _) = tracker.welcome().await;
    setup.connected().await;
    let (mut second, answer) = tokio::join!(
        async {
            let mut login = tracker.accept().await;
            let (id, _) = login.request().await;
            login.reply(id, logged_in()).await;
            // This tracker leaves it to the peer to end the connection that it had.
            assert_eq!(first.next().await, None);
            tracker.welcome().await.0
        },
        setup.client.authenticate(log_in())
    );
    assert_eq!(answer, Ok(logged_in()));

    let (third, answer) = tokio::join!(
        async {
            let (id, op) = second.request().await;
            assert_eq!(op, Request::LogOut);
            second.reply(id, Reply::Done).await;
            drop(second);
            let mut third = tracker.accept().await;
            let (id, _) = third.request().await;
            third.refuse(id, Code::LoginRequired).await;
            third
        },
        setup.client.log_out()
    );
    assert_eq!((answer, setup.client.welcome()), (Ok(Reply::Done), None));
    assert!(matches!(setup.notice().await, Notice::TrackerRemembered { .. }));
    assert!(setup.notices.is_empty(), "no loss is told");
    drop(third);
    setup.tasks.shutdown().await;
}

#[tokio::test]
async fn a_name_that_is_an_account_may_be_logged_in_to() {
    let tracker = FakeTracker::start(1).await;
    let setup = start(tracker.address());
    let mut caller = tracker.accept().await;
    let (id, _) = caller.request().await;
    caller.refuse(id, Code::NameTaken).await;
    setup.failed().await;
    setup.client.confirm(tracker.network()).unwrap();
    let (_caller, answer) = tokio::join!(
        async {
            let mut login = tracker.accept().await;
            let (id, _) = login.request().await;
            login.reply(id, logged_in()).await;
            tracker.welcome().await
        },
        setup.client.authenticate(log_in())
    );
    assert_eq!(answer, Ok(logged_in()));
    setup.connected().await;
    let known = std::fs::read_to_string(setup.dir.path().join("known_trackers")).unwrap();
    assert_eq!(known, format!("{} {} confirmed\n", tracker.address().place(), tracker.network()));
    setup.tasks.shutdown().await;
}
