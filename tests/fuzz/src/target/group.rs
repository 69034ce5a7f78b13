//! What members of a network without a tracker say to each other: one message, and whatever a plain member sends to others.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use common::group::{
    Action, Addresses, Config, Facts, Framer, Group, MAX_MESSAGE, NodeMessage, Point, frame, network_id, rewritten,
};
use common::id::{Content, FileId, Hash, PeerId};
use common::identity::Identity;
use common::mrt::StaticKey;
use common::nat::{Candidates, NatKind, Origin};
use common::relay::ChannelId;
use common::wire::tracker::Have;

use super::{Target, answer, kind_of};

/// One message.
pub(super) const MESSAGE: Target = Target {
    name: "group_message",
    run: message,
    seeds: || words_of_an_evening().clone(),
    words: &["\u{1}", "\u{8}", "\u{9}", "\u{a}", "\u{b}", "\u{d}", "\u{e}", "\u{10}", "\u{11}", "\u{14}", "\u{16}"],
    memory_base: 16 << 10,
    // An entry of a list of names is some 30 bytes, and more than 100 in memory, in a list that doubles.
    memory_per_byte: 64,
};

/// One message beside the group's, on the same stream.
pub(super) const NODE_MESSAGE: Target = Target {
    name: "node_message",
    run: node_message,
    seeds: || {
        let peer = PeerId([7; 32]);
        let mut candidates = Candidates::default();
        candidates.add(Origin::Peer, "203.0.113.7:4000".parse().expect("an address"));
        candidates.add(Origin::Interface, "[fd00::1]:4000".parse().expect("an address"));
        let messages = [
            NodeMessage::RelayWanted(peer),
            NodeMessage::RelayGiven(peer, ChannelId(5)),
            NodeMessage::RelayDenied(peer),
            NodeMessage::Candidates(2, candidates),
            NodeMessage::Sync(2),
            NodeMessage::Nat(NatKind::EndpointDependent),
        ];
        messages.iter().map(NodeMessage::encode).collect()
    },
    words: &["\u{1}\u{4}", "\u{2}\u{4}", "\u{3}\u{6}", "\u{4}\u{4}\u{a}\0\0"],
    memory_base: 4 << 10,
    memory_per_byte: 8,
};

/// Whom it is sent to, then messages of a plain member, each behind its length.
pub(super) const GROUP: Target = Target {
    name: "group",
    run: group,
    seeds: || {
        // The supernode's own farewell is one whoever passes it on.
        const FAREWELL: u8 = 11;
        let said = words_of_an_evening().iter().filter(|said| said.first() != Some(&FAREWELL));
        let each = said.map(|said| frame(said));
        let to = |to: u8, said: &[u8]| [&[to], said].concat();
        let mut seeds: Vec<_> = each.clone().flat_map(|said| [to(0, &said), to(1, &said)]).collect();
        let whole = each.collect::<Vec<_>>().concat();
        seeds.extend([to(0, &whole), to(1, &whole)]);
        seeds
    },
    words: &["\0\0\0\u{1}\u{2}", "\0\0\0\u{1}\u{6}", "\0\0\0\u{1}\u{c}", "\0\0\0\u{1}\u{1a}"],
    // Three machines, what they said when they met, and what one tells the others of each message.
    memory_base: 4 << 20,
    memory_per_byte: 16 << 10,
};

const NODES: usize = 3;
const LEADER: usize = 0;
const FOLLOWER: usize = 1;
const ATTACKER: usize = 2;

/// Made once: to make them takes longer than all else.
static IDENTITIES: LazyLock<[Arc<Identity>; NODES]> =
    LazyLock::new(|| [1, 2, 3].map(|number| Arc::new(Identity::from_seed(&[number; 32]))));

/// What three honest members said, each message once.
fn words_of_an_evening() -> &'static Vec<Vec<u8>> {
    static WORDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let mut network = Network::joined();
        let file = FileId::new(100_000, Hash([5; 32])).expect("not over 8 TiB");
        let (now, content) = (network.now, Content::File(file));
        network.with(FOLLOWER, |group| {
            group.share(now, "film.mkv".parse().expect("a name"), content).expect("there is room");
            group.announce(now, content, &Have::All).expect("there is room");
            group.chat(now, "good evening").expect("it is the first line");
        });
        network.pass(Duration::from_secs(2));
        let now = network.now;
        network.with(ATTACKER, |group| {
            group.list(now, None, 0).expect("there is room");
            group.request(now, content).expect("there is room");
            group.invite(now, IDENTITIES[FOLLOWER].peer_id());
        });
        network.pass(Duration::from_secs(2));
        let now = network.now;
        // The supernode leaves: farewell, and the next.
        network.with(LEADER, |group| group.leave(now));
        network.pass(Duration::from_secs(3));
        let mut seen = BTreeSet::new();
        network.said.retain(|said| seen.insert(said.clone()));
        network.said
    });
    &WORDS
}

/// Three machines, and what is under way between them.
struct Network {
    now: Instant,
    groups: [Group; NODES],
    under_way: VecDeque<(usize, usize, Arc<[u8]>)>,
    said: Vec<Vec<u8>>,
    linked: BTreeSet<(usize, usize)>,
}

impl Network {
    fn joined() -> Self {
        let now = Instant::now();
        let groups = [0, 1, 2].map(|node| {
            let config = Config {
                network: network_id(&[1; 32]),
                identity: Arc::clone(&IDENTITIES[node]),
                static_key: static_key(node),
                name: format!("node{node}").parse().expect("a name"),
                addresses: Addresses::new([address(node)]),
                seed: 1,
            };
            Group::new(now, config)
        });
        let mut network = Self { now, groups, under_way: VecDeque::new(), said: Vec::new(), linked: BTreeSet::new() };
        for node in [FOLLOWER, ATTACKER] {
            network.with(node, |group| group.connect(now, address(LEADER)).expect("it is the first wish"));
            network.pass(Duration::from_secs(1));
        }
        network
    }

    /// Does something with a machine, and what it wants then.
    fn with(&mut self, node: usize, call: impl FnOnce(&mut Group)) {
        call(&mut self.groups[node]);
        self.drain(node);
    }

    fn drain(&mut self, node: usize) {
        while self.groups[node].poll_event().is_some() {}
        while let Some(action) = self.groups[node].poll_action() {
            match action {
                Action::Dial(dial) => {
                    let target = (0..NODES).find(|at| dial.addresses.contains(&address(*at)) && *at != node);
                    if let Some(to) = target.filter(|to| !self.linked.contains(&(node, *to))) {
                        self.linked.extend([(node, to), (to, node)]);
                        for (here, there) in [(to, node), (node, to)] {
                            let facts = facts(there);
                            self.groups[here].connected(self.now, &facts);
                        }
                        self.drain(to);
                    }
                    let reached = target.map(|to| IDENTITIES[to].peer_id());
                    self.groups[node].dialled(self.now, dial.id, reached);
                }
                Action::Send { peer, bytes } => {
                    if let Some(to) = node_of(&peer) {
                        self.said.push(bytes.to_vec());
                        self.under_way.push_back((node, to, bytes));
                    }
                }
                Action::Close { peer, .. } => {
                    if let Some(to) = node_of(&peer) {
                        self.linked.remove(&(node, to));
                        if self.linked.remove(&(to, node)) {
                            self.groups[to].lost(self.now, IDENTITIES[node].peer_id());
                        }
                    }
                }
                Action::Open { .. } => {}
            }
        }
    }

    /// Lets all arrive, and time pass.
    fn pass(&mut self, time: Duration) {
        const STEP: Duration = Duration::from_millis(100);
        let end = self.now + time;
        while self.now < end {
            while let Some((from, to, bytes)) = self.under_way.pop_front() {
                if self.linked.contains(&(to, from)) {
                    let now = self.now;
                    self.with(to, |group| group.message(now, IDENTITIES[from].peer_id(), &bytes));
                }
            }
            self.now += STEP;
            let now = self.now;
            for node in 0..NODES {
                self.with(node, |group| group.handle_timeout(now));
            }
        }
    }
}

fn node_of(peer: &PeerId) -> Option<usize> {
    IDENTITIES.iter().position(|identity| identity.peer_id() == *peer)
}

fn address(node: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], u16::try_from(node + 1).expect("they are three")))
}

fn static_key(node: usize) -> StaticKey {
    StaticKey([u8::try_from(node).expect("they are three"); 32])
}

fn facts(node: usize) -> Facts {
    let identity = IDENTITIES[node].public_key();
    Facts { identity, static_key: static_key(node), observed: Some(address(node)) }
}

fn message(input: &[u8]) -> String {
    let again = rewritten(input);
    if let Ok(again) = &again {
        assert_eq!(again, input, "a second form");
        assert!(input.len() <= MAX_MESSAGE);
        return format!("kind {}", input.first().copied().unwrap_or_default());
    }
    answer(&again)
}

fn node_message(input: &[u8]) -> String {
    let read = NodeMessage::decode(input);
    let Ok(message) = &read else { return answer(&read) };
    assert_eq!(message.encode(), input, "a second form");
    assert!(NodeMessage::is_meant(input) && rewritten(input).is_err(), "a message of the group's, too");
    kind_of(message)
}

fn group(input: &[u8]) -> String {
    /// So much is taken of an input: the machines are slower than decoders.
    const MOST_MESSAGES: usize = 200;
    let Some((to, stream)) = input.split_first() else { return "empty".to_owned() };
    let to = if to % 2 == 0 { LEADER } else { FOLLOWER };
    let mut network = Network::joined();
    let supernode = IDENTITIES[LEADER].peer_id();
    let before: BTreeMap<PeerId, Point> = points(&network);
    let attacker = IDENTITIES[ATTACKER].peer_id();
    let mut framer = Framer::default();
    framer.push(stream);
    let (mut taken, now) = (0, network.now);
    while taken < MOST_MESSAGES
        && let Ok(Some(said)) = framer.next_message()
    {
        taken += 1;
        let said = said.to_vec();
        network.with(to, |group| group.message(now, attacker, &said));
    }
    for node in [LEADER, FOLLOWER] {
        assert_eq!(network.groups[node].supernode(), Some(supernode), "a plain member makes no supernode");
    }
    network.pass(Duration::from_secs(1));
    for node in [LEADER, FOLLOWER] {
        let group = &network.groups[node];
        assert_eq!(group.supernode(), Some(supernode), "nor later");
        let roster = group.roster().expect("it has a supernode");
        assert!(roster.member(&supernode).is_some() && roster.members().len() <= NODES);
        assert!(before.get(&group.id()).is_some_and(|before| roster.point() >= *before), "terms only grow");
    }
    format!("{taken} {}", network.linked.contains(&(to, ATTACKER)))
}

fn points(network: &Network) -> BTreeMap<PeerId, Point> {
    let point = |group: &Group| Some((group.id(), group.roster()?.point()));
    network.groups.iter().filter_map(point).collect()
}
