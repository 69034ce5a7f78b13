use common::id::NetworkId;
use common::mrt::{Config, LocalKeys};
use common::name::UserName;
use tokio::io::AsyncWriteExt as _;
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
    inputs: mpsc::Receiver<Input>,
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
        Self { actor, caller, inputs, _root: root, _tasks: tasks }
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

/// Has the actor dial the caller there, and take the line; gives the other end.
async fn line_to(actor: &mut Actor, caller: &Node, address: SocketAddr) -> Opened {
    let presence = actor.be_present().unwrap();
    let dialling = async {
        let connection = presence.node.connect(address, Target::default()).await.unwrap();
        actor.take(Opened::here(connection).await.unwrap());
    };
    let coming = async { Opened::there(caller.accept().await.unwrap()).await.unwrap() };
    let ((), there) = timeout(DEADLINE, async { tokio::join!(dialling, coming) }).await.unwrap();
    there
}

/// The answer to who wants a stream to the caller now.
async fn reach(actor: &mut Actor, inputs: &mut mpsc::Receiver<Input>) -> io::Result<Reached> {
    let (answer, mut answered) = oneshot::channel();
    actor.on_reach(Reach { peer: caller(), answer });
    let answering = async {
        loop {
            tokio::select! {
                answer = &mut answered => return answer.unwrap(),
                Some(input) = inputs.recv() => actor.on_input(input),
            }
        }
    };
    timeout(DEADLINE, answering).await.unwrap()
}

#[tokio::test]
async fn a_line_on_which_nothing_is_heard_is_no_way_and_gives_way() {
    let Scene { mut actor, caller: other, mut inputs, .. } = Scene::new(MrtRole::Serves);
    let _there = line_to(&mut actor, &other, other.local_addr()).await;
    let stream = reach(&mut actor, &mut inputs).await.unwrap();
    let first = actor.lines[&caller()].line.id;
    // The other side has gone, and nobody says so.
    let [(socket, _)] = other.sockets()[..] else { panic!() };
    assert!(other.remove_socket(socket));
    let mut look = interval(Duration::from_millis(10));
    let silence = async {
        let Reached { mut stream, .. } = stream;
        stream.write_all(b"are you there?").await.unwrap();
        while actor.line_to(&caller()).is_some() {
            look.tick().await;
        }
    };
    timeout(DEADLINE, silence).await.unwrap();
    let unreached = reach(&mut actor, &mut inputs).await;
    assert!(unreached.is_err(), "the tracker is asked, which does not answer");
    // Somewhere else it is there.
    let socket = other.add_socket(here()).unwrap();
    let (_, address) = other.sockets().into_iter().find(|(id, _)| *id == socket).unwrap();
    let _there = line_to(&mut actor, &other, address).await;
    assert_ne!(actor.lines[&caller()].line.id, first);
    assert!(reach(&mut actor, &mut inputs).await.is_ok());
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
