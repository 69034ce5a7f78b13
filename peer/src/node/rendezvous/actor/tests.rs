use common::id::NetworkId;
use common::mrt::{Config, LocalKeys};
use common::name::UserName;
use tokio::time::timeout;

use super::super::psk;
use super::*;
use crate::mrt::{BindOptions, Node};
use crate::tracker_client::{Entrance, NameChoice, Place, TrackerConfig};

const NETWORK: NetworkId = NetworkId([9; 32]);
/// Nothing here takes so long, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(30);

fn here() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// An actor whose tracker never answers, and who knocks at its door.
struct Scene {
    actor: Actor,
    caller: Node,
    _inputs: mpsc::Receiver<Input>,
    _root: tempfile::TempDir,
    _tasks: Tasks,
}

impl Scene {
    fn new(role: MrtRole) -> Self {
        let (root, tasks, notices) = (tempfile::tempdir().unwrap(), Tasks::new(), broadcast::Sender::new(1));
        let [identity, other] = [1, 2].map(|seed| Arc::new(Identity::from_seed(&[seed; 32])));
        let (entrance, _wishes) = Entrance::new(NETWORK);
        let tracker = TrackerConfig {
            place: Place::Group(entrance),
            identity: Arc::clone(&identity),
            name: NameChoice::Given(UserName::new("ann").unwrap()),
            listen: here(),
            advertise: Vec::new(),
            known_trackers: root.path().join("trackers"),
            notices: notices.clone(),
        };
        let tracker = TrackerClient::start(tracker, &tasks);
        let config = RendezvousConfig { identity, tracker, listen: here(), role, notices };
        let (sender, inputs) = mpsc::channel(8);
        let actor = Actor::new(config, sender, mpsc::channel(8).0, tasks.clone());
        let keys = LocalKeys::new(other, psk(NETWORK));
        let caller = Node::bind(&tasks, BindOptions { listen: here(), config: Config::default(), keys }).unwrap();
        Self { actor, caller, _inputs: inputs, _root: root, _tasks: tasks }
    }

    /// The tracker has spoken of the caller.
    fn introduce(&mut self, peer: PeerId) {
        let known = Known { user: "ben".to_owned(), addresses: Vec::new(), way: None, at: Instant::now() };
        self.actor.introduced.insert(peer, known);
    }

    /// Whether the caller is let in.
    async fn lets_in(&mut self) -> bool {
        let presence = self.actor.be_present().unwrap();
        let dialling = self.caller.connect(presence.node.local_addr(), Target::default());
        let (dialled, came) =
            timeout(DEADLINE, async { tokio::join!(dialling, presence.node.accept()) }).await.unwrap();
        self.actor.on_visit(came.unwrap());
        timeout(DEADLINE, Opened::here(dialled.unwrap())).await.unwrap().is_ok()
    }
}

fn caller() -> PeerId {
    Identity::from_seed(&[2; 32]).peer_id()
}

#[tokio::test]
async fn who_only_downloads_lets_in_nobody_of_whom_the_tracker_did_not_speak() {
    let mut scene = Scene::new(MrtRole::Asks);
    assert!(!scene.lets_in().await);
    scene.introduce(caller());
    assert!(scene.lets_in().await);
    assert!(Scene::new(MrtRole::Serves).lets_in().await, "who serves lets in whoever comes");
}

#[tokio::test]
async fn a_socket_for_downloads_is_given_back_when_nobody_is_left() {
    for (role, keeps) in [(MrtRole::Asks, false), (MrtRole::Serves, true)] {
        let mut scene = Scene::new(role);
        scene.actor.be_present().unwrap();
        scene.introduce(caller());
        scene.actor.tidy();
        assert!(scene.actor.presence.is_some(), "somebody may come");
        scene.actor.forget(&caller());
        scene.actor.tidy();
        assert_eq!(scene.actor.presence.is_some(), keeps, "{role:?}");
    }
}
