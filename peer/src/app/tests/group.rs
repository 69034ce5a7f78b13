use std::net::SocketAddr;

use super::*;

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Group {
    root: tempfile::TempDir,
}

impl Group {
    async fn node(&self, name: &str) -> App {
        let config = AppConfig {
            tracker: None,
            name: NameChoice::Given(UserName::new(name).unwrap()),
            dir: Dir::new(&self.root.path().join("peers").join(name)).unwrap(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: Vec::new(),
            limit_up: None,
            limit_down: None,
            unfinished: Unfinished::Resume,
            accept: AcceptRule::Ask,
            mrt: MrtRole::Asks,
            group: Some(GroupConfig { psk: [5; 32], stun: Vec::new(), discovery: DiscoveryRule::Off, hold: None }),
        };
        joined(config).await
    }
}

async fn connect(from: &App, to: &App) {
    let node = from.inner.parts.node.as_ref().unwrap();
    timeout(PATIENCE, node.connect(to.local_addr())).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_share_a_file_without_a_tracker() {
    let group = Group { root: tempfile::tempdir().unwrap() };
    let (ann, bob, eve) = (group.node("ann").await, group.node("bob").await, group.node("eve").await);
    connect(&bob, &ann).await;
    connect(&eve, &bob).await;
    let bytes = content(3_000_000, 7);
    let path = group.root.path().join("doug.png");
    std::fs::write(&path, &bytes).unwrap();
    let (entry, ..) = register(&ann, &path).await;
    assert_eq!(entry, "ann/doug.png");
    for node in [&bob, &eve] {
        let done = download(node, wish("doug.png")).await;
        assert_eq!(std::fs::read(&done.path).unwrap(), bytes);
    }
    for node in [ann, bob, eve] {
        timeout(PATIENCE, node.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_more_connections_than_can_be_tried_is_told_so() {
    let group = Group { root: tempfile::tempdir().unwrap() };
    let ann = group.node("ann").await;
    let silent: Vec<_> = (0..5).map(|_| std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap()).collect();
    let mut connecting = tokio::task::JoinSet::new();
    for socket in &silent {
        let (ann, address) = (ann.clone(), socket.local_addr().unwrap());
        connecting.spawn(async move { run_it(&ann, Command::Connect { address }).await.unwrap_err() });
    }
    let first = connecting.join_next().await.unwrap().unwrap();
    assert!(first.text.ends_with("at most 4 connections can be asked for at once"), "{first:?}");
    assert!(first.hint.is_some_and(|hint| hint.contains("ask again")));
    connecting.abort_all();
    timeout(PATIENCE, ann.shutdown()).await.unwrap();
}
