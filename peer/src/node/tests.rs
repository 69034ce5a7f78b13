//! The bounds of a node, with real sockets.

use std::time::Duration;

use common::mrt::{CloseCode, Target};
use tokio::time::timeout;

use super::*;
use crate::mrt::Connection;

const PSK: [u8; 32] = [7; 32];
/// Nothing here takes so long, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(30);

fn here() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// A node, and who knocks at its door.
struct Scene {
    started: Started,
    caller: Node,
    _root: tempfile::TempDir,
    _tasks: Tasks,
}

impl Scene {
    async fn new() -> Self {
        let (root, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let config = NodeConfig {
            identity: Arc::new(Identity::from_seed(&[1; 32])),
            psk: PSK,
            name: UserName::new("ann").unwrap(),
            listen: here(),
            stun: Vec::new(),
            discovery: DiscoveryRule::Off,
            memory: root.path().join("network.json"),
        };
        let started = start(config, broadcast::Sender::new(1), &tasks).await.unwrap();
        let keys = LocalKeys::new(Arc::new(Identity::from_seed(&[2; 32])), PSK);
        let caller = Node::bind(&tasks, BindOptions { listen: here(), config: mrt::Config::default(), keys }).unwrap();
        Self { started, caller, _root: root, _tasks: tasks }
    }

    async fn connect(&self) -> Connection {
        timeout(DEADLINE, self.caller.connect(self.started.local, Target::default())).await.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_say_nothing_find_the_door_closed_when_they_are_many() {
    let scene = Scene::new().await;
    let mut silent = Vec::new();
    for _ in 0..actor::MOST_VISITORS {
        silent.push(scene.connect().await);
    }
    let beyond = scene.connect().await;
    timeout(DEADLINE, beyond.closed()).await.expect("one more is turned away");
    // Those before wait until their time is over, and then others may come.
    let last = silent.pop().unwrap();
    timeout(DEADLINE, last.closed()).await.expect("nobody may be silent for ever");
    let connection = scene.connect().await;
    let opened = timeout(DEADLINE, line::Opened::here(connection)).await.unwrap();
    assert!(opened.is_ok(), "{opened:?}");
    silent.into_iter().for_each(|connection| connection.close(CloseCode::DONE, ""));
}
