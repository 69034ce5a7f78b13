//! Beginnings and ends: of peers, and of the tracker.

use std::time::{Duration, Instant};

use common::wire::tracker::{Code, Event, FromTracker, Have, Query, Reply, Request};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;

use super::{Running, file};
use crate::{BindError, Config, Server, StoreError};

fn left(name: &str) -> impl FnMut(&Event) -> Option<()> {
    move |event| matches!(event, Event::Left { name: who, .. } if who == name).then_some(())
}

#[tokio::test]
async fn a_peer_that_does_not_answer_is_gone_after_interval_and_timeout() {
    let directory = TempDir::new().unwrap();
    let interval = Duration::from_millis(300);
    let tracker = Running::start(&directory, |config| {
        (config.ping_interval, config.ping_timeout) = (interval, interval);
    })
    .await;
    let mut watcher = tracker.join("watcher").await;
    let mut silent = tracker.join("silent").await;
    let begun = Instant::now();
    silent.answers_pings = false;
    silent.register("x", file(1)).await.unwrap();
    silent.announce(file(1), Have::All).await.unwrap();
    let loc = Request::Loc { entry: "x".to_owned(), offset: 0 };
    let Ok(Reply::Locations { holders, .. }) = watcher.ask(loc.clone()).await else { panic!("locations") };
    assert_eq!(holders.len(), 1);
    watcher.event(left("silent")).await;
    assert!(begun.elapsed() >= 2 * interval, "{:?}", begun.elapsed());
    let Ok(Reply::Locations { holders, .. }) = watcher.ask(loc).await else { panic!("locations") };
    assert_eq!(holders, []);
    assert!(silent.ends().await && silent.pings.is_empty());
    // It comes back.
    let mut back = tracker.join("silent").await;
    assert!(back.ask(Request::Users).await.is_ok());
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn a_peer_whose_connection_ends_is_gone_at_once_however_it_ends() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut watcher = tracker.join("watcher").await;
    let mut polite = tracker.join("polite").await;
    assert_eq!(polite.ask(Request::Leave).await, Ok(Reply::Done));
    assert!(polite.ends().await);
    watcher.event(left("polite")).await;
    let mut closing = tracker.join("closing").await;
    closing.stream.shutdown().await.unwrap();
    watcher.event(left("closing")).await;
    // As with kill -9: the system ends the connection, nothing is said within it.
    let killed = tracker.join("killed").await;
    drop(killed.stream.into_inner().0);
    watcher.event(left("killed")).await;
    let Ok(Reply::Users { users }) = watcher.ask(Request::Users).await else { panic!("users") };
    assert_eq!(users.len(), 1);
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn the_newer_connection_of_a_peer_replaces_the_older() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut older = tracker.join("peer").await;
    older.register("x", file(1)).await.unwrap();
    older.announce(file(1), Have::All).await.unwrap();
    let mut newer = tracker.join("peer").await;
    assert!(older.ends().await);
    let loc = Request::Loc { entry: "x".to_owned(), offset: 0 };
    let Ok(Reply::Locations { holders, .. }) = newer.ask(loc.clone()).await else { panic!("locations") };
    assert_eq!(holders, []);
    newer.announce(file(1), Have::All).await.unwrap();
    let Ok(Reply::Locations { holders, .. }) = newer.ask(loc).await else { panic!("locations") };
    assert_eq!(holders.len(), 1);
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn a_tracker_that_is_started_again_is_the_same() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let fingerprint = tracker.fingerprint;
    let mut alice = tracker.join("alice").await;
    alice.register("x", file(1)).await.unwrap();
    tracker.stop().await.unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    assert_eq!(tracker.fingerprint, fingerprint);
    let mut mallory = tracker.connect("mallory").await;
    assert_eq!(mallory.hello("alice").await.unwrap_err().code, Code::NameTaken);
    // The same connection may try another name.
    mallory.hello("mallory").await.unwrap();
    let Ok(Reply::Entries { entries, .. }) = mallory.ask(Request::List(Query::default())).await else { panic!("list") };
    assert_eq!((entries.len(), entries[0].owners[0].as_str(), entries[0].seeders), (1, "alice", 0));
    tracker.join("alice").await;
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn at_the_end_peers_are_told_and_hung_up_on() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut joined = tracker.join("joined").await;
    let mut stranger = tracker.connect("stranger").await;
    let address = tracker.address;
    let begun = Instant::now();
    tracker.stop().await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(joined.read().await, Some(FromTracker::Event(Event::Shutdown)));
    assert_eq!(joined.read().await, None);
    assert!(stranger.ends().await);
    let refused = tokio::net::TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    // Nothing of it is left: the data can be opened again.
    Running::start(&directory, |_| ()).await.stop().await.unwrap();
}

#[tokio::test]
async fn ipv6_and_ipv4_arrive_at_one_tracker() {
    let directory = TempDir::new().unwrap();
    let mut tracker = Running::start(&directory, |_| ()).await;
    let mut v4 = tracker.join("v4").await;
    v4.register("x", file(1)).await.unwrap();
    v4.announce(file(1), Have::All).await.unwrap();
    tracker.address.set_ip("::1".parse().unwrap());
    let mut v6 = tracker.connect("v6").await;
    assert_eq!(v6.hello("v6").await.unwrap().seen_as.ip(), "::1".parse::<std::net::IpAddr>().unwrap());
    let Ok(Reply::Plan(plan)) = v6.ask(Request::Plan { entry: "x".to_owned(), content: None }).await else {
        panic!("plan")
    };
    let addresses: Vec<String> = plan.holders[0].addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["[::1]:4000", "127.0.0.1:4000"]);
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn what_keeps_a_tracker_from_starting_is_said() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut config = Config::new(directory.path().join("data"));
    config.listen = "[::]:0".parse().unwrap();
    let refused = Server::bind(config.clone()).await.unwrap_err();
    assert!(matches!(refused, BindError::Store(StoreError::InUse { .. })), "{refused}");
    config.data = directory.path().join("other");
    config.listen.set_port(tracker.address.port());
    let refused = Server::bind(config.clone()).await.unwrap_err();
    assert!(matches!(refused, BindError::InUse(_)), "{refused}");
    config.listen = "192.0.2.1:1".parse().unwrap();
    let refused = Server::bind(config).await.unwrap_err();
    assert!(matches!(refused, BindError::Listen { .. }), "{refused}");
    tracker.stop().await.unwrap();
}
