//! Hostile company: whoever breaks the rules is got rid of, in little memory, while the others are served.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::identity::Identity;
use common::wire::peer::{Message, Reason};
use common::wire::tracker::{Code, FromPeer, Hello, Plan, Query, Reply, Request};
use common::wire::{PEER_ALPN, TRACKER_ALPN};
use harness::cluster::Cluster;
use harness::content::{Content, Dice};
use harness::hostile::{LOOPBACK_2, RawPeer, RawTracker, Secure, crowd_from, identity};
use harness::peer::Peer;
use harness::scenario::MIB;
use harness::wait::wait_until;

const ENTRY: &str = "film.bin";
/// Handshakes and first words have ten seconds; a busy machine may add some.
const DEADLINE: Duration = Duration::from_secs(15);
/// Connections from one address before authentication.
const PER_ADDRESS: usize = 64;
/// Neither program needs more, whatever others do.
const MEMORY: u64 = 100 * MIB;

/// A tracker with a seeder, and what is to be served meanwhile.
struct Scene {
    seeder: Peer,
    content: Content,
    cluster: Cluster,
}

impl Scene {
    fn new() -> Self {
        let cluster = Cluster::start();
        let content = Content::random(1, 4 * MIB);
        let seeder = cluster.peer("ann").serve();
        seeder.register(&cluster.file(ENTRY, content));
        Self { seeder, content, cluster }
    }

    fn seeder_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.seeder.status().listen.port()))
    }

    /// A new peer joins and downloads; neither tracker nor seeder has grown.
    fn others_are_served(&mut self, name: &str) {
        let output = self.cluster.out(name);
        let ran = self.cluster.peer(name).run(["d", ENTRY, "-o", &output.to_string_lossy()]);
        ran.succeeded();
        assert_eq!(self.content.compare(&output).unwrap(), Ok(()));
        let tracker = self.cluster.with_tracker(|tracker| tracker.usage().peak_memory);
        let seeder = self.seeder.process().usage().peak_memory;
        assert!(tracker < MEMORY && seeder < MEMORY, "{} and {} MiB", tracker / MIB, seeder / MIB);
    }

    /// A member of the network and what the tracker told it about [`ENTRY`].
    fn member(&self, who: &Identity, name: &str) -> (RawTracker, Plan) {
        let mut tracker = RawTracker::join(self.cluster.address(), who, name, 1).unwrap();
        let plan = tracker.request(Request::Plan { entry: ENTRY.to_owned(), content: None }).unwrap();
        let Ok(Reply::Plan(plan)) = plan else { panic!("no plan: {plan:?}") };
        (tracker, plan)
    }

    /// A connection to the seeder after hello.
    fn greeted(&self, who: &Identity) -> RawPeer {
        let mut peer = RawPeer::dial(self.seeder_address(), who).unwrap();
        peer.greet(self.cluster.fingerprint(), 1).unwrap();
        peer
    }

    fn open(&self, peer: &mut RawPeer, conversation: u32, plan: &Plan) -> Message {
        peer.send(&Message::Open { conversation, content: plan.entry.content, ticket: from_hex(&plan.ticket) })
            .unwrap();
        peer.receive().unwrap()
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Waits until the other side has hung up.
fn wait_hung_up(tcp: &mut TcpStream) -> Duration {
    let start = Instant::now();
    tcp.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut rest = [0; 1024];
    loop {
        match tcp.read(&mut rest) {
            Ok(0) => return start.elapsed(),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return start.elapsed(),
            Err(error) => panic!("it did not hang up: {error}"),
        }
    }
}

#[test]
fn garbage_before_tls_is_hung_up_on() {
    let mut scene = Scene::new();
    let mut dice = Dice::new(1);
    for address in [scene.cluster.address(), scene.seeder_address()] {
        for length in [1, 100, 10_000, 100_000] {
            let mut tcp = TcpStream::connect(address).unwrap();
            // The other side may hang up in the middle.
            drop(tcp.write_all(&dice.bytes(length)));
            drop(tcp.shutdown(std::net::Shutdown::Write));
            wait_hung_up(&mut tcp);
        }
        let mut tcp = TcpStream::connect(address).unwrap();
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        wait_hung_up(&mut tcp);
    }
    scene.others_are_served("ben");
}

#[test]
fn half_open_connections_have_a_deadline() {
    let mut scene = Scene::new();
    let (tracker, seeder) = (scene.cluster.address(), scene.seeder_address());
    // No byte; the first bytes of a handshake; a handshake and then no word.
    let mut silent: Vec<TcpStream> = [tracker, seeder].map(|address| TcpStream::connect(address).unwrap()).into();
    for address in [tracker, seeder] {
        let mut tcp = TcpStream::connect(address).unwrap();
        tcp.write_all(&[0x16, 0x03, 0x01, 0x02]).unwrap();
        silent.push(tcp);
    }
    let mut wordless = [
        Secure::dial(tracker, &identity("mute"), TRACKER_ALPN).unwrap(),
        Secure::dial(seeder, &identity("mute"), PEER_ALPN).unwrap(),
    ];
    scene.others_are_served("ben");
    for tcp in &mut silent {
        wait_hung_up(tcp);
    }
    for secure in &mut wordless {
        secure.wait_closed().unwrap();
    }
}

#[test]
fn huge_length_prefixes_are_refused() {
    let mut scene = Scene::new();
    for length in [u32::MAX, 1 << 30, (1 << 20) + 1] {
        let mut tracker = RawTracker::dial(scene.cluster.address(), &identity("long")).unwrap();
        tracker.secure().send_raw(&length.to_be_bytes()).unwrap();
        tracker.secure().wait_closed().unwrap();
    }
    for length in [u32::MAX, 1 << 30, (64 << 10) + 1] {
        let mut peer = scene.greeted(&identity("long"));
        peer.secure().send_raw(&length.to_be_bytes()).unwrap();
        peer.secure().wait_closed().unwrap();
    }
    scene.others_are_served("ben");
}

#[test]
fn garbage_in_frames_is_answered_or_hung_up_on() {
    let mut scene = Scene::new();
    let mut dice = Dice::new(2);
    let deep = vec![b'['; 1 << 20];
    let bodies = [b"".as_slice(), b"{", b"null", b"{\"request\":{\"id\":1,\"op\":\"fly\"}}", &deep, &dice.bytes(5000)]
        .map(<[u8]>::to_vec);
    for body in bodies {
        let mut tracker = RawTracker::join(scene.cluster.address(), &identity("babble"), "babble", 1).unwrap();
        tracker.send_body(&body).unwrap();
        // Whatever comes, the process lives.
        drop(tracker.receive());
    }
    for length in [0, 1, 5, 1000, 65536] {
        let mut peer = scene.greeted(&identity("babble"));
        let body = dice.bytes(length);
        let length = u32::try_from(length).unwrap();
        drop(peer.secure().send_raw(&[&length.to_be_bytes(), body.as_slice()].concat()));
        peer.secure().wait_closed().unwrap();
    }
    scene.others_are_served("ben");
}

#[test]
fn an_unknown_operation_is_refused_and_the_next_is_served() {
    let scene = Scene::new();
    let mut tracker = RawTracker::join(scene.cluster.address(), &identity("new"), "new", 1).unwrap();
    tracker.send_body(br#"{"request":{"id":77,"op":{"teleport":{"to":"mars"}}}}"#).unwrap();
    let answer = tracker.receive().unwrap();
    let common::wire::tracker::FromTracker::Refusal { id: 77, error } = answer else { panic!("{answer:?}") };
    assert_eq!(error.code, Code::Unknown);
    assert!(matches!(tracker.request(Request::List(Query::default())).unwrap(), Ok(Reply::Entries { .. })));
}

#[test]
fn nothing_is_granted_before_hello() {
    let scene = Scene::new();
    let mut tracker = RawTracker::dial(scene.cluster.address(), &identity("early")).unwrap();
    for request in
        [Request::List(Query::default()), Request::Users, Request::Plan { entry: ENTRY.to_owned(), content: None }]
    {
        let refusal = tracker.request(request).unwrap().unwrap_err();
        assert_eq!(refusal.code, Code::NotJoined, "{refusal:?}");
    }
}

#[test]
fn messages_a_byte_at_a_time_are_understood() {
    let mut scene = Scene::new();
    let mut tracker = RawTracker::dial(scene.cluster.address(), &identity("slow")).unwrap();
    let hello = Hello {
        name: "slow".to_owned(),
        name_is_default: false,
        port: 1,
        interfaces: Vec::new(),
        advertised: Vec::new(),
        agent: String::new(),
        device: String::new(),
    };
    let frame = FromPeer::Request { id: 1, op: Request::Hello(hello) }.to_frame().unwrap();
    tracker.secure().send_trickling(&frame).unwrap();
    let answer = tracker.receive().unwrap();
    assert!(matches!(answer, common::wire::tracker::FromTracker::Reply { id: 1, .. }), "{answer:?}");

    let mut peer = RawPeer::dial(scene.seeder_address(), &identity("slow")).unwrap();
    let mut frame = Vec::new();
    let network = scene.cluster.fingerprint();
    Message::Hello { version: common::wire::peer::VERSION, network, port: 1 }.encode(&mut frame);
    Message::Ping { token: 5 }.encode(&mut frame);
    peer.secure().send_trickling(&frame).unwrap();
    assert!(matches!(peer.receive().unwrap(), Message::Hello { .. }));
    assert_eq!(peer.receive().unwrap(), Message::Pong { token: 5 });
    scene.others_are_served("ben");
}

#[test]
fn a_thousand_idle_connections_keep_nobody_out() {
    const IDLE: usize = 1000;
    let mut scene = Scene::new();
    let (tracker, seeder) = (scene.cluster.address(), scene.seeder_address());
    let idle = [crowd_from(LOOPBACK_2, tracker, IDLE).unwrap(), crowd_from(LOOPBACK_2, seeder, IDLE).unwrap()];
    scene.others_are_served("ben");
    // Those of others, logs and the like come on top.
    const OTHERS: usize = 40;
    wait_until(DEADLINE, "the oldest to be thrown out", || {
        let at_tracker = scene.cluster.with_tracker(|process| process.open_files());
        at_tracker <= PER_ADDRESS + OTHERS && scene.seeder.process().open_files() <= PER_ADDRESS + OTHERS
    });
    drop(idle);
    scene.others_are_served("cat");
}

#[test]
fn tickets_open_what_they_are_for_to_whom_they_are_for() {
    let scene = Scene::new();
    let (ben, eve) = (identity("ben"), identity("eve"));
    let (_ben_tracker, bens_plan) = scene.member(&ben, "ben");

    let mut peer = scene.greeted(&ben);
    assert_eq!(scene.open(&mut peer, 1, &bens_plan), Message::Opened { conversation: 1, complete: true });

    let refused = |answer: Message, wanted: Reason| match answer {
        Message::Refused { reason, .. } => assert_eq!(reason, wanted),
        other => panic!("{other:?} instead of {wanted:?}"),
    };
    // Another's ticket, a damaged one, none at all, and one for what is not shared here.
    let mut peer = scene.greeted(&eve);
    refused(scene.open(&mut peer, 1, &bens_plan), Reason::Ticket);
    let mut peer = scene.greeted(&ben);
    let mut damaged = bens_plan.clone();
    damaged.ticket.replace_range(..2, "00");
    refused(scene.open(&mut peer, 2, &damaged), Reason::Ticket);
    damaged.ticket.clear();
    refused(scene.open(&mut peer, 3, &damaged), Reason::Ticket);
    let mut other = bens_plan;
    other.entry.content = Content::random(9, 9).hashes().file_id().into();
    peer.send(&Message::Open { conversation: 4, content: other.entry.content, ticket: from_hex(&other.ticket) })
        .unwrap();
    assert!(matches!(peer.receive().unwrap(), Message::Refused { .. }));
}

#[test]
fn requests_without_right_or_sense_bring_no_bytes() {
    let mut scene = Scene::new();
    let who = identity("ben");
    let (_tracker, plan) = scene.member(&who, "benno");
    let before = scene.seeder.status().uploaded_bytes;
    // No conversation.
    let mut peer = scene.greeted(&who);
    drop(peer.send(&Message::Request { conversation: 9, chunk: 0 }));
    drop(peer.send(&Message::GetHashes { conversation: 9, first: 0, count: 1 }));
    drop(peer.send(&Message::Ping { token: 1 }));
    while let Ok(message) = peer.receive() {
        assert!(!matches!(message, Message::Piece { .. } | Message::Hashes { .. }), "{message:?}");
        if matches!(message, Message::Pong { .. } | Message::Bye { .. }) {
            break;
        }
    }
    // A chunk that is not in the file.
    let mut peer = scene.greeted(&who);
    assert!(matches!(scene.open(&mut peer, 1, &plan), Message::Opened { .. }));
    drop(peer.send(&Message::Request { conversation: 1, chunk: u32::MAX }));
    match peer.receive() {
        Err(_) | Ok(Message::Unavailable { .. } | Message::Bye { .. } | Message::Refused { .. }) => {}
        Ok(other) => panic!("{other:?}"),
    }
    assert_eq!(scene.seeder.status().uploaded_bytes, before);
    scene.others_are_served("cat");
}

#[test]
fn a_downloader_that_asks_for_all_and_reads_nothing_holds_nobody_up() {
    let mut scene = Scene::new();
    let who = identity("greedy");
    let (_tracker, plan) = scene.member(&who, "greedy");
    let count = plan.entry.content.chunks();
    let mut greedy: Vec<RawPeer> = Vec::new();
    let mut peer = scene.greeted(&who);
    assert!(matches!(scene.open(&mut peer, 1, &plan), Message::Opened { .. }));
    for _ in 0..20 {
        for chunk in 0..count {
            // It may hang up on such a one.
            if peer.send(&Message::Request { conversation: 1, chunk }).is_err() {
                break;
            }
        }
    }
    greedy.push(peer);
    scene.others_are_served("ben");
    drop(greedy);
}

#[test]
fn a_member_that_asks_and_reads_nothing_holds_nobody_up() {
    let mut scene = Scene::new();
    let mut tracker = RawTracker::join(scene.cluster.address(), &identity("greedy"), "greedy", 1).unwrap();
    tracker.secure().tcp().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    for id in 0..200_000 {
        let request = FromPeer::Request { id: 1000 + id, op: Request::List(Query::default()) };
        // Sooner or later it takes no more, or hangs up.
        if tracker.send(&request).is_err() {
            break;
        }
    }
    scene.others_are_served("ben");
}
