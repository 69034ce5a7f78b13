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
