//! The bounds of a node, with real sockets.

use std::time::Duration;

use common::group::{Framer, NodeMessage, frame};
use common::id::PeerId;
use common::mrt::{CloseCode, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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
    tasks: Tasks,
}

/// Who knocks from this address.
fn caller(tasks: &Tasks, address: [u8; 4], seed: u8) -> Node {
    let keys = LocalKeys::new(Arc::new(Identity::from_seed(&[seed; 32])), PSK);
    let listen = SocketAddr::from((address, 0));
    Node::bind(tasks, BindOptions { listen, config: mrt::Config::default(), keys }).unwrap()
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
        let caller = caller(&tasks, [127, 0, 0, 1], 2);
        Self { started, caller, _root: root, tasks }
    }

    async fn connect(&self) -> Connection {
        timeout(DEADLINE, self.caller.connect(self.started.local, Target::default())).await.unwrap().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_say_nothing_find_the_door_closed_when_they_are_many() {
    let scene = Scene::new().await;
    let mut silent = Vec::new();
    for _ in 0..door::MOST_STRANGERS {
        silent.push(scene.connect().await);
    }
    let turned_away = async {
        // It may have been turned away before it knows that it was connected.
        let Ok(beyond) = scene.caller.connect(scene.started.local, Target::default()).await else { return };
        tokio::select! {
            biased;
            _ = beyond.closed() => {}
            // Nobody who is let in has to go before the first of them.
            _ = silent[0].closed() => panic!("one more was let in"),
        }
    };
    timeout(DEADLINE, turned_away).await.expect("one more is turned away");
    // Who is expected comes in all the same.
    let invited = caller(&scene.tasks, [127, 0, 0, 2], 3);
    scene.started.asker.invite(invited.local_addr()).await.unwrap();
    let connection = invited.connect(scene.started.local, Target::default()).await.unwrap();
    let opened = timeout(DEADLINE, line::Opened::here(connection)).await.unwrap();
    assert!(opened.is_ok(), "{opened:?}");
    // Those before wait until their time is over, and then others may come.
    let last = silent.pop().unwrap();
    timeout(DEADLINE, last.closed()).await.expect("nobody may be silent for ever");
    let opened = async {
        // Whoever was closed on leaves its place a moment later.
        loop {
            let Ok(connection) = scene.caller.connect(scene.started.local, Target::default()).await else { continue };
            if line::Opened::here(connection).await.is_ok() {
                return;
            }
        }
    };
    timeout(DEADLINE, opened).await.expect("others may come");
    silent.into_iter().for_each(|connection| connection.close(CloseCode::DONE, ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_reached_directly_calls_for_no_meeting() {
    let scene = Scene::new().await;
    let mut line = scene.connect().await.open().await.unwrap();
    // Who it is for, and which run of the program it is; and, when that was answered, that it is taken.
    line.write_all(&[1, 0, 0, 0, 0, 0, 0, 0, 9]).await.unwrap();
    timeout(DEADLINE, line.read_exact(&mut [0; 9])).await.unwrap().unwrap();
    line.write_all(&[3]).await.unwrap();
    let mut elsewhere = Candidates::default();
    elsewhere.add(Origin::Peer, SocketAddr::from(([192, 0, 2, 1], 4000)));
    let (mut framer, mut buffer) = (Framer::default(), [0; 4096]);
    let mut rounds = 0;
    let mut answers = 0;
    // Each of them would make the node send to somebody who has not asked for it.
    for round in 0..20 {
        line.write_all(&frame(&NodeMessage::Candidates(round, elsewhere.clone()).encode())).await.unwrap();
        // Who is not told of a way has been heard.
        line.write_all(&frame(&NodeMessage::RelayWanted(PeerId([9; 32])).encode())).await.unwrap();
        while rounds <= round {
            let count = timeout(DEADLINE, line.read(&mut buffer)).await.unwrap().unwrap();
            framer.push(&buffer[..count]);
            while let Some(message) = framer.next_message().unwrap() {
                match NodeMessage::decode(message) {
                    Ok(NodeMessage::Candidates(..)) => answers += 1,
                    Ok(NodeMessage::RelayDenied(_)) => rounds += 1,
                    _ => {}
                }
            }
        }
    }
    assert_eq!(answers, 0, "there is a direct way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_when_all_lines_are_taken_is_turned_away_and_the_others_stay() {
    let scene = Scene::new().await;
    let mut lines = Vec::new();
    for seed in (10..).take(actor::MOST_LINES) {
        let node = caller(&scene.tasks, [127, 0, 0, 1], seed);
        lines.push((node.clone(), Talk::open(&node, scene.started.local).await));
    }
    let late = caller(&scene.tasks, [127, 0, 0, 1], 99);
    let turned_away = Talk::open(&late, scene.started.local).await;
    timeout(DEADLINE, turned_away.connection.closed()).await.expect("it is turned away");
    for (_, talk) in &mut lines {
        talk.is_answered().await;
    }
    // Who has a line may come again: its other end began anew, perhaps.
    let (node, earlier) = &lines[0];
    let mut again = Talk::open(node, scene.started.local).await;
    again.is_answered().await;
    timeout(DEADLINE, earlier.connection.closed()).await.expect("there is one line to each");
}

/// A line, from the other end.
struct Talk {
    connection: Connection,
    control: crate::mrt::Stream,
    framer: Framer,
}

impl Talk {
    async fn open(from: &Node, to: SocketAddr) -> Self {
        let connection = timeout(DEADLINE, from.connect(to, Target::default())).await.unwrap().unwrap();
        let mut control = connection.open().await.unwrap();
        // Who it is for, and which run of the program it is; and, when that was answered, that it is taken.
        control.write_all(&[1, 0, 0, 0, 0, 0, 0, 0, 9]).await.unwrap();
        timeout(DEADLINE, control.read_exact(&mut [0; 9])).await.unwrap().unwrap();
        control.write_all(&[3]).await.unwrap();
        Self { connection, control, framer: Framer::default() }
    }

    /// Asks for something that is always answered: a way to nobody.
    async fn is_answered(&mut self) {
        let asked = frame(&NodeMessage::RelayWanted(PeerId([9; 32])).encode());
        self.control.write_all(&asked).await.unwrap();
        let mut buffer = [0; 4096];
        loop {
            while let Some(message) = self.framer.next_message().unwrap() {
                if let Ok(NodeMessage::RelayDenied(_)) = NodeMessage::decode(message) {
                    return;
                }
            }
            let count = timeout(DEADLINE, self.control.read(&mut buffer)).await.unwrap().unwrap();
            assert_ne!(count, 0, "the line ended");
            self.framer.push(&buffer[..count]);
        }
    }
}
