//! Those who mean harm, or break: the others are served meanwhile, and what is not right ends.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use common::audience::Audience;
use common::id::{FileId, Hash};
use common::wire::tracker::{Announced, Code, FromPeer, Have, Query, Reply, Request};
use common::wire::{MAX_ANNOUNCED, MAX_TRACKER_FRAME};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::super::admission::MAX_PENDING;
use super::{Client, PATIENCE, Running, dial, file};

/// Where the hostile ones come from.
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Whether the other side ends the connection.
async fn ends(socket: &mut TcpStream) -> bool {
    let mut buffer = [0; 1024];
    let reading = async { while socket.read(&mut buffer).await.is_ok_and(|read| read > 0) {} };
    timeout(PATIENCE, reading).await.is_ok()
}

async fn is_served(tracker: &Running, client: &mut Client) {
    assert!(client.ask(Request::Users).await.is_ok());
    tracker.join("newcomer").await;
}

#[tokio::test]
async fn garbage_instead_of_a_handshake_ends_the_connection() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut good = tracker.join("good").await;
    for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &[0xff; 5000], &[0x16, 3, 1, 0xff, 0xff]] {
        let mut socket = dial(tracker.address, Some(ELSEWHERE)).await;
        socket.write_all(garbage).await.unwrap();
        socket.shutdown().await.unwrap();
        assert!(ends(&mut socket).await);
    }
    is_served(&tracker, &mut good).await;
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn a_thousand_idle_connections_keep_nobody_out() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut good = tracker.join("good").await;
    let mut idle = Vec::new();
    // Fewer where the system does not let this process open so many files.
    let count = super::super::allow_files(2 * 1000 + 200).min(2200) / 2 - 100;
    for _ in 0..count {
        idle.push(dial(tracker.address, Some(ELSEWHERE)).await);
    }
    let begun = Instant::now();
    is_served(&tracker, &mut good).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    // The oldest go first, so in the end the newest are left.
    let (gone, left) = idle.split_at_mut(count - MAX_PENDING);
    for socket in gone {
        assert!(ends(socket).await);
    }
    for socket in left {
        assert!(socket.try_read(&mut [0; 1]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    }
    // Another one from there still gets in: it is not alone in waiting, but it is the newest.
    let mut late = Client::connect(&tracker, "late", Some(ELSEWHERE)).await;
    assert!(late.hello("late").await.is_ok());
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn who_does_not_join_in_time_is_cut_off() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start_impatient(&directory, Duration::from_millis(500)).await;
    // Nothing at all; half a handshake; a handshake and nothing else; half a message.
    let mut silent = dial(tracker.address, None).await;
    let mut half = dial(tracker.address, None).await;
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    let mut idle = tracker.connect("idle").await;
    let mut partial = tracker.connect("partial").await;
    partial.send_bytes(&[0, 0, 0, 100, b'{']).await;
    assert!(ends(&mut silent).await && ends(&mut half).await && idle.ends().await && partial.ends().await);
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn a_message_a_byte_at_a_time_ends_in_time_or_ends_the_connection() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start_impatient(&directory, Duration::from_secs(2)).await;
    let mut good = tracker.join("good").await;
    let mut slow = tracker.join("slow").await;
    let message = FromPeer::Request { id: 77, op: Request::Users }.to_frame().unwrap();
    for byte in &message {
        slow.send_bytes(&[*byte]).await;
    }
    assert!(matches!(slow.answer(77).await, Ok(Reply::Users { .. })));
    // This one never ends; the other is served meanwhile.
    let header = u32::try_from(MAX_TRACKER_FRAME).unwrap().to_be_bytes();
    slow.send_bytes(&header).await;
    let begun = Instant::now();
    while slow.stream.write_all(b" ").await.is_ok() && slow.stream.flush().await.is_ok() {
        assert!(good.ask(Request::Users).await.is_ok());
        assert!(begun.elapsed() < PATIENCE);
        sleep(Duration::from_millis(10)).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(1));
    is_served(&tracker, &mut good).await;
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn huge_lengths_end_the_connection_at_once() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut good = tracker.join("good").await;
    // Before hello only small messages are taken.
    let mut stranger = tracker.connect("stranger").await;
    stranger.send_bytes(&100_000u32.to_be_bytes()).await;
    assert!(stranger.ends().await);
    for length in [u32::MAX, u32::try_from(MAX_TRACKER_FRAME).unwrap() + 1] {
        let mut peer = tracker.join("peer").await;
        peer.send_bytes(&length.to_be_bytes()).await;
        assert!(peer.ends().await);
    }
    is_served(&tracker, &mut good).await;
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_no_message_is_refused_where_it_can_be_and_ends_the_connection_otherwise() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut peer = tracker.connect("peer").await;
    let framed = |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
    assert_eq!(peer.refused(Request::Users).await, Code::NotJoined);
    peer.send_bytes(&framed(r#"{"request":{"id":5,"op":{"teleport":{"to":[1,2,{}]}}}}"#)).await;
    assert_eq!(peer.answer(5).await.unwrap_err().code, Code::Unknown);
    peer.hello("peer").await.unwrap();
    for (text, code) in [
        (r#"{"request":{"id":6,"op":{"teleport":1}}}"#, Code::Unknown),
        (r#"{"request":{"id":6,"op":{"plan":{"entry":7}}}}"#, Code::Malformed),
        (r#"{"request":{"id":6,"op":{"register":{"name":"x","content":"1-00"}}}}"#, Code::Malformed),
        (r#"{"request":{"id":6,"op":{"hello":{"name":"again","port":1}}}}"#, Code::Malformed),
    ] {
        peer.send_bytes(&framed(text)).await;
        assert_eq!(peer.answer(6).await.unwrap_err().code, code, "{text}");
    }
    // Pongs that nobody asked for, and fields that nobody knows, do no harm.
    peer.send(&FromPeer::Pong(99)).await;
    peer.send_bytes(&framed(r#"{"request":{"id":8,"op":"users","colour":"blue"}}"#)).await;
    assert!(peer.answer(8).await.is_ok());
    let deep = "[".repeat(100_000);
    for (number, text) in ["", "{}", "nonsense", "\0", "{\"request\":{}}", &deep].into_iter().enumerate() {
        let mut peer = tracker.join(&format!("peer{number}")).await;
        peer.send_bytes(&framed(text)).await;
        assert!(peer.ends().await, "{text:.10}");
    }
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn names_that_would_harm_are_refused_by_the_tracker_too() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut peer = tracker.join("peer").await;
    for name in ["../x", "/etc/passwd", "a/b", "NUL", &"n".repeat(256), "a\nb", "\u{202e}gpj.exe"] {
        let refusal = peer.register(name, file(1)).await.unwrap_err();
        assert_eq!((refusal.code, refusal.text.is_empty()), (Code::BadName, false), "{name:?}");
    }
    // Nor is what is not UTF-8 a name.
    let mut bytes = br#"{"request":{"id":9,"op":{"register":{"name":"x"#.to_vec();
    bytes.extend([0xff, 0xfe]);
    bytes.extend(br#"","content":"1-"}}}}"#);
    let frame = [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
    peer.send_bytes(&frame).await;
    assert_eq!(peer.answer(9).await.unwrap_err().code, Code::Malformed);
    let mut other = tracker.join("other").await;
    assert_eq!(other.ask(Request::List(Query::default())).await, Ok(Reply::Entries { entries: vec![], total: 0 }));
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn a_stranger_may_not_try_names_for_ever() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut good = tracker.join("good").await;
    let mut stranger = tracker.connect("stranger").await;
    for id in 1..=20 {
        assert_eq!(stranger.hello("good").await.unwrap_err().code, Code::NameTaken, "{id}");
    }
    assert!(stranger.ends().await);
    is_served(&tracker, &mut good).await;
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn a_flood_of_requests_is_answered_and_others_are_not_kept_waiting() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut good = tracker.join("good").await;
    let mut flood = tracker.join("flood").await;
    let ids = 1000..2500u64;
    let mut bytes = Vec::new();
    for id in ids.clone() {
        bytes.extend(FromPeer::Request { id, op: Request::Users }.to_frame().unwrap());
    }
    flood.send_bytes(&bytes).await;
    let begun = Instant::now();
    good.ask(Request::Users).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    for id in ids {
        assert!(flood.answer(id).await.is_ok());
    }
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn the_largest_announcements_are_taken() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut peer = tracker.join("peer").await;
    let mut swarms = Vec::new();
    for number in 0..MAX_ANNOUNCED {
        let mut root = [1; 32];
        root[..8].copy_from_slice(&number.to_be_bytes());
        let content = FileId::new(1 << 30, Hash(root)).unwrap().into();
        swarms.push(Announced { content, audience: Audience::Public, have: Have::Map("80".repeat(128)) });
    }
    assert_eq!(peer.ask(Request::Announce { swarms }).await, Ok(Reply::Done));
    let Ok(Reply::Users { users }) = peer.ask(Request::Users).await else { panic!("users") };
    assert_eq!(users[0].files, 1000);
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |config| config.max_connections = 2).await;
    let first = tracker.join("first").await;
    let mut second = tracker.join("second").await;
    let mut third = dial(tracker.address, None).await;
    assert!(ends(&mut third).await);
    drop(first);
    second.event(|event| matches!(event, common::wire::tracker::Event::Left { .. }).then_some(())).await;
    // Its place is free as soon as its session is over, which is a little later.
    let begun = Instant::now();
    while dial_and_look(&tracker).await {
        assert!(begun.elapsed() < PATIENCE);
    }
    tracker.stop().await.unwrap();
}

/// Whether a connection is closed at once.
async fn dial_and_look(tracker: &Running) -> bool {
    let mut socket = dial(tracker.address, None).await;
    timeout(Duration::from_millis(300), socket.read(&mut [0; 1])).await.is_ok()
}
