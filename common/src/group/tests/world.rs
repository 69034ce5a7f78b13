//! A world of nodes in virtual time: connections with delay that may be cut, crashes, restarts, and addresses that cannot be
//! reached. The driver of [`Group`] as its contract has it, without bytes on any wire.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::start;
use crate::group::message::Message;
use crate::group::{Action, Addresses, Config, Dial, DialId, Event, Facts, Group, Member, Point, Refusal, network_id};
use crate::id::{NetworkId, PeerId};
use crate::identity::Identity;
use crate::mrt::StaticKey;
use crate::name::UserName;

/// After so long without a byte a connection is lost: MRT's idle timeout.
const IDLE: Duration = Duration::from_secs(15);
/// A dial that nobody answers ends after this.
const DIAL_FAILS: Duration = Duration::from_secs(3);
/// More calls than this at one instant: the machine does not come to rest.
const RESTLESS: u32 = 5000;

pub(super) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(super) fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// One node, while it lives.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) group: Group,
    pub(super) events: Vec<Event>,
    /// What was shown of the chat.
    pub(super) lines: Vec<(Point, PeerId, String)>,
    highest_term: u64,
    /// Connections that stand, and which.
    views: BTreeMap<usize, u64>,
    refused: Vec<(PeerId, Refusal)>,
}

#[derive(Debug)]
enum Happening {
    Timeout { node: usize, run: u64 },
    Deliver { from: usize, to: usize, link: u64, bytes: Arc<[u8]> },
    Down { node: usize, peer: usize, link: u64, when: When },
    Dialled { node: usize, run: u64, dial: Dial },
    DialFailed { node: usize, run: u64, id: DialId },
}

/// Everything.
#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) network: NetworkId,
    queue: BTreeMap<(Instant, u64), Happening>,
    order: u64,
    pub(super) nodes: Vec<Option<Node>>,
    runs: Vec<u64>,
    /// Pairs that cannot reach each other directly.
    blocked: BTreeSet<(usize, usize)>,
    /// The part of the world that each is in: others cannot be reached at all.
    parts: Vec<u32>,
    /// Who relays a connection.
    relays: BTreeMap<u64, usize>,
    /// What could not be delivered, in order.
    held: BTreeMap<(usize, usize), Held>,
    next_link: u64,
    delay: Duration,
    /// Decides the delays of connections.
    salt: u64,
    random: u64,
    at_once: (Instant, u32),
    pub(super) opened: Vec<(usize, PeerId)>,
}

/// Keys, made once: to make them takes longer than all else.
static IDENTITIES: LazyLock<Vec<(Arc<Identity>, PeerId)>> = LazyLock::new(|| {
    let made = (0..MAX_NODES).map(|node| {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&node.to_be_bytes());
        let identity = Arc::new(Identity::from_seed(&seed));
        let peer = identity.peer_id();
        (identity, peer)
    });
    made.collect()
});
/// How many there may be in a test, those that are not played by a machine included.
pub(super) const MAX_NODES: usize = 64;

pub(super) fn identity(node: usize) -> Arc<Identity> {
    Arc::clone(&IDENTITIES[node].0)
}

pub(super) fn peer_id(node: usize) -> PeerId {
    IDENTITIES[node].1
}

pub(super) fn static_key(node: usize) -> StaticKey {
    let mut key = [9; 32];
    key[..8].copy_from_slice(&node.to_be_bytes());
    StaticKey(key)
}

pub(super) fn address(node: usize) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::new(10, 0, 0, 1).into(), u16::try_from(node + 1).unwrap())
}

pub(super) fn member(node: usize) -> Member {
    let name = UserName::new(format!("node{node}")).unwrap();
    Member::new(identity(node).public_key(), static_key(node), name, Addresses::new([address(node)]))
}

fn pair(one: usize, two: usize) -> (usize, usize) {
    (one.min(two), one.max(two))
}

impl World {
    /// So many nodes, each alone.
    pub(super) fn new(nodes: usize, random: u64) -> Self {
        let now = start();
        let mut world = Self {
            now,
            network: network_id(&[1; 32]),
            queue: BTreeMap::new(),
            order: 0,
            nodes: Vec::new(),
            runs: vec![0; nodes],
            blocked: BTreeSet::new(),
            parts: vec![0; nodes],
            relays: BTreeMap::new(),
            held: BTreeMap::new(),
            next_link: 0,
            delay: millis(10),
            salt: random,
            random,
            at_once: (now, 0),
            opened: Vec::new(),
        };
        for node in 0..nodes {
            world.nodes.push(None);
            world.begin(node);
        }
        world
    }

    /// So many nodes in one network, the first leading, in order of joining.
    pub(super) fn joined(nodes: usize) -> Self {
        let mut world = Self::new(nodes, 1);
        for node in 1..nodes {
            world.connect(node, 0);
            world.run(millis(200));
        }
        world.run(secs(1));
        world.assert_together(&(0..nodes).collect::<Vec<_>>());
        world
    }

    /// Starts a node afresh, with the same keys.
    pub(super) fn begin(&mut self, node: usize) {
        self.runs[node] += 1;
        let config = Config {
            network: self.network,
            identity: identity(node),
            static_key: static_key(node),
            name: member(node).name().clone(),
            addresses: Addresses::new([address(node)]),
            seed: self.runs[node],
        };
        let group = Group::new(self.now, config);
        self.nodes[node] = Some(Node {
            group,
            events: Vec::new(),
            lines: Vec::new(),
            highest_term: 0,
            views: BTreeMap::new(),
            refused: Vec::new(),
        });
        self.drain(node);
    }

    /// The process is killed: nobody is told, but where `told` says that the machine lives on and closes its connections.
    pub(super) fn crash(&mut self, node: usize, told: Told) {
        let Some(gone) = self.nodes[node].take() else { return };
        for (peer, link) in gone.views {
            let after = if told == Told::AtOnce { self.delay } else { IDLE };
            self.schedule(after, Happening::Down { node: peer, peer: node, link, when: When::Always });
        }
        self.held.retain(|(from, to), _| *from != node && *to != node);
        for (one, two, link) in self.standing() {
            if self.relays.get(&link) == Some(&node) {
                self.schedule(IDLE, Happening::Down { node: one, peer: two, link, when: When::StillCut });
            }
        }
    }

    /// Two cannot reach each other directly any more, or again.
    pub(super) fn block(&mut self, one: usize, two: usize) {
        self.blocked.insert(pair(one, two));
    }

    pub(super) fn is_blocked(&self, one: usize, two: usize) -> bool {
        self.blocked.contains(&pair(one, two))
    }

    /// Cuts the network: each node is in the part of its number.
    pub(super) fn part(&mut self, parts: Vec<u32>) {
        self.parts = parts;
        for (one, two, link) in self.standing() {
            if !self.carries(one, two, link) {
                self.schedule(IDLE, Happening::Down { node: one, peer: two, link, when: When::StillCut });
            }
        }
    }

    /// Heals it.
    pub(super) fn heal(&mut self) {
        self.parts = vec![0; self.parts.len()];
        for ((from, to), held) in std::mem::take(&mut self.held) {
            for (link, bytes) in held {
                self.deliver(from, to, link, bytes);
            }
        }
    }

    /// Breaks the connection of two, so that both notice at once.
    pub(super) fn cut(&mut self, one: usize, two: usize) {
        for (from, to) in [(one, two), (two, one)] {
            if let Some(link) = self.nodes[from].as_ref().and_then(|node| node.views.get(&to).copied()) {
                self.schedule(Duration::ZERO, Happening::Down { node: from, peer: to, link, when: When::Always });
            }
        }
    }

    pub(super) fn connect(&mut self, node: usize, to: usize) {
        let now = self.now;
        self.with(node, |group| group.connect(now, address(to)).unwrap());
    }

    pub(super) fn say(&mut self, node: usize, text: &str) {
        let now = self.now;
        self.with(node, |group| {
            let _too_fast = group.chat(now, text);
        });
    }

    pub(super) fn leave(&mut self, node: usize) {
        let now = self.now;
        self.with(node, |group| group.leave(now));
    }

    /// Does something with the machine of a node that lives.
    pub(super) fn with<T>(&mut self, node: usize, call: impl FnOnce(&mut Group) -> T) -> Option<T> {
        let result = call(&mut self.nodes[node].as_mut()?.group);
        self.drain(node);
        Some(result)
    }

    pub(super) fn node(&self, node: usize) -> &Node {
        self.nodes[node].as_ref().unwrap()
    }

    pub(super) fn group(&self, node: usize) -> &Group {
        &self.node(node).group
    }

    /// Whom a node named, and for what.
    pub(super) fn named(&self, node: usize) -> Vec<(usize, Refusal)> {
        let index = |peer: &PeerId| (0..MAX_NODES).find(|at| peer_id(*at) == *peer).unwrap();
        self.node(node).refused.iter().map(|(whom, why)| (index(whom), *why)).collect()
    }

    pub(super) fn alive(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|node| self.nodes[*node].is_some()).collect()
    }

    pub(super) fn is_linked(&self, one: usize, two: usize) -> bool {
        self.nodes[one].as_ref().is_some_and(|node| node.views.contains_key(&two))
    }

    /// Somebody sends what its machine did not say.
    pub(super) fn inject(&mut self, from: usize, to: usize, message: &Message) {
        self.inject_bytes(from, to, message.encode());
    }

    pub(super) fn inject_bytes(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        if let Some(link) = self.nodes[from].as_ref().and_then(|node| node.views.get(&to).copied()) {
            self.send(from, to, link, bytes.into());
        }
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            if let Some(((at, _), happening)) = self.queue.pop_first() {
                self.now = at;
                self.happen(happening);
            }
        }
        self.now = end;
    }

    fn schedule(&mut self, after: Duration, happening: Happening) {
        self.order += 1;
        self.queue.insert((self.now + after, self.order), happening);
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Timeout { node, run } => {
                let due = |node: &Node| node.group.poll_timeout().is_some_and(|at| at <= now);
                if self.runs[node] == run && self.nodes[node].as_ref().is_some_and(due) {
                    self.rest();
                    self.with(node, |group| group.handle_timeout(now));
                }
            }
            Happening::Deliver { from, to, link, bytes } => self.deliver(from, to, link, bytes),
            Happening::Down { node, peer, link, when } => {
                let stands = self.nodes[node].as_ref().is_some_and(|node| node.views.get(&peer) == Some(&link));
                if stands && (when == When::Always || !self.carries(node, peer, link)) {
                    self.nodes[node].as_mut().unwrap().views.remove(&peer);
                    self.with(node, |group| group.lost(now, peer_id(peer)));
                }
            }
            Happening::Dialled { node, run, dial } => {
                if self.runs[node] == run {
                    self.dialled(node, &dial);
                }
            }
            Happening::DialFailed { node, run, id } => {
                if self.runs[node] == run {
                    self.with(node, |group| group.dialled(now, id, None));
                }
            }
        }
    }

    /// The machine must come to rest at each instant.
    fn rest(&mut self) {
        let (at, calls) = self.at_once;
        self.at_once = if at == self.now { (at, calls + 1) } else { (self.now, 0) };
        assert!(self.at_once.1 < RESTLESS, "too many calls at one instant");
    }

    fn deliver(&mut self, from: usize, to: usize, link: u64, bytes: Arc<[u8]>) {
        let now = self.now;
        if self.nodes[to].as_ref().is_none_or(|node| node.views.get(&from) != Some(&link)) {
            return;
        }
        if !self.carries(from, to, link) || self.held.contains_key(&(from, to)) {
            self.held.entry((from, to)).or_default().push_back((link, bytes));
            return;
        }
        self.with(to, |group| group.message(now, peer_id(from), &bytes));
    }

    fn send(&mut self, from: usize, to: usize, link: u64, bytes: Arc<[u8]>) {
        let delay = self.delay_of(from, to);
        self.schedule(delay, Happening::Deliver { from, to, link, bytes });
    }

    /// Each pair has a delay of its own, so that what is sent in order comes in order.
    fn delay_of(&self, one: usize, two: usize) -> Duration {
        let (one, two) = pair(one, two);
        let mixed = mix(self.salt ^ ((one as u64) << 32) ^ two as u64);
        self.delay + millis(mixed % 60)
    }

    /// Whether datagrams go from one to the other, if both live.
    fn reaches(&self, one: usize, two: usize) -> bool {
        self.parts[one] == self.parts[two] && !self.blocked.contains(&pair(one, two))
    }

    /// Whether what is sent on a connection arrives.
    fn carries(&self, one: usize, two: usize, link: u64) -> bool {
        match self.relays.get(&link) {
            None => self.reaches(one, two),
            Some(relay) => self.nodes[*relay].is_some() && self.reaches(one, *relay) && self.reaches(*relay, two),
        }
    }

    fn standing(&self) -> Vec<(usize, usize, u64)> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .flat_map(|(at, node)| {
                let views = node.iter().flat_map(|node| node.views.iter());
                views.map(move |(peer, link)| (at, *peer, *link)).collect::<Vec<_>>()
            })
            .collect()
    }

    fn dialled(&mut self, node: usize, dial: &Dial) {
        let now = self.now;
        let target = (0..self.nodes.len()).find(|at| dial.addresses.contains(&address(*at)));
        let target = target.filter(|target| dial.peer.is_none_or(|peer| peer == peer_id(*target)));
        let Some(target) = target.filter(|target| self.nodes[*target].is_some()) else {
            return self.schedule(DIAL_FAILS, Happening::DialFailed { node, run: self.runs[node], id: dial.id });
        };
        if target == node {
            self.with(node, |group| group.dialled(now, dial.id, Some(peer_id(node))));
            return;
        }
        let relay = dial.relay_through.and_then(|relay| (0..self.nodes.len()).find(|at| peer_id(*at) == relay));
        let relay = relay.filter(|relay| {
            self.is_linked(node, *relay)
                && self.nodes[*relay].is_some()
                && self.reaches(node, *relay)
                && self.reaches(*relay, target)
        });
        let known = self.nodes[node].as_ref().and_then(|dialler| dialler.views.get(&target).copied());
        let other = self.nodes[target].as_ref().and_then(|dialled| dialled.views.get(&node).copied());
        if let Some(link) = known.filter(|link| other == Some(*link) && self.carries(node, target, *link)) {
            debug_assert!(link < self.next_link);
        } else if self.reaches(node, target) || relay.is_some() {
            let link = self.next_link;
            self.next_link += 1;
            if !self.reaches(node, target) {
                self.relays.insert(link, relay.unwrap());
            }
            self.held.remove(&(node, target));
            self.held.remove(&(target, node));
            // What the other end says comes after it stands here, and the other way round.
            self.up(target, node, link);
            self.up(node, target, link);
        } else {
            return self.schedule(DIAL_FAILS, Happening::DialFailed { node, run: self.runs[node], id: dial.id });
        }
        self.with(node, |group| group.dialled(now, dial.id, Some(peer_id(target))));
    }

    fn up(&mut self, node: usize, peer: usize, link: u64) {
        let now = self.now;
        let facts = Facts {
            identity: identity(peer).public_key(),
            static_key: static_key(peer),
            observed: (!self.relays.contains_key(&link)).then(|| address(peer)),
        };
        let Some(known) = self.nodes[node].as_mut() else { return };
        if known.views.insert(peer, link).is_some() {
            self.with(node, |group| group.lost(now, peer_id(peer)));
        }
        self.with(node, |group| group.connected(now, &facts));
    }

    /// Does what a machine wants, and notes what it tells.
    fn drain(&mut self, at: usize) {
        loop {
            let Some(node) = self.nodes[at].as_mut() else { return };
            while let Some(event) = node.group.poll_event() {
                match &event {
                    Event::Chat { position, author, text, .. } => {
                        node.lines.push((*position, *author, text.clone()));
                    }
                    Event::Refused { whom, why } => node.refused.push((*whom, *why)),
                    _ => {}
                }
                node.events.push(event);
            }
            let term = node.group.roster().map_or(node.highest_term, |roster| roster.point().term);
            assert!(term >= node.highest_term, "the term of node {at} shrank");
            node.highest_term = term;
            let Some(action) = node.group.poll_action() else { break };
            self.act(at, action);
        }
        let Some(node) = &self.nodes[at] else { return };
        let left = node.events.last() == Some(&Event::Left);
        if let Some(timeout) = node.group.poll_timeout() {
            let after = timeout.saturating_duration_since(self.now);
            self.schedule(after, Happening::Timeout { node: at, run: self.runs[at] });
        }
        if left {
            self.nodes[at] = None;
        }
    }

    fn act(&mut self, at: usize, action: Action) {
        let index = |peer: PeerId| (0..self.nodes.len()).find(|node| peer_id(*node) == peer);
        match action {
            Action::Dial(dial) => {
                self.random = mix(self.random);
                let trip = self.delay * 2 + millis(self.random % 40);
                self.schedule(trip, Happening::Dialled { node: at, run: self.runs[at], dial });
            }
            Action::Send { peer, bytes } => {
                let Some(to) = index(peer) else { return };
                if let Some(link) = self.nodes[at].as_ref().and_then(|node| node.views.get(&to).copied()) {
                    self.send(at, to, link, bytes);
                }
            }
            Action::Close { peer, .. } => {
                let Some(to) = index(peer) else { return };
                let Some(link) = self.nodes[at].as_mut().and_then(|node| node.views.remove(&to)) else { return };
                let after = if self.carries(at, to, link) { self.delay_of(at, to) } else { IDLE };
                self.schedule(after, Happening::Down { node: to, peer: at, link, when: When::Always });
            }
            Action::Open { peer, .. } => self.opened.push((at, peer)),
        }
    }

    /// These nodes are one network, and nobody else is in it.
    pub(super) fn assert_together(&self, nodes: &[usize]) {
        let rosters: Vec<_> = nodes.iter().map(|node| (node, self.group(*node).roster().unwrap())).collect();
        let supernode = self.group(nodes[0]).supernode();
        for (node, roster) in &rosters {
            let members: BTreeSet<PeerId> = roster.members().iter().map(Member::id).collect();
            let expected: BTreeSet<PeerId> = nodes.iter().map(|node| peer_id(*node)).collect();
            let names: Vec<&str> = roster.members().iter().map(|member| member.name().as_str()).collect();
            assert_eq!(members, expected, "members of node {node}: {names:?}, {:?}", roster.point());
            assert_eq!(self.group(**node).supernode(), supernode, "supernode of node {node}");
            assert_eq!(roster, &rosters[0].1, "roster of node {node}");
        }
        let leading = nodes.iter().filter(|node| supernode == Some(peer_id(**node))).count();
        assert_eq!(leading, 1);
    }

    /// No line twice, places that grow, at every node that lives.
    pub(super) fn assert_chat(&self) {
        for node in self.alive() {
            let lines = &self.node(node).lines;
            let mut seen = BTreeSet::new();
            for line in lines {
                assert!(seen.insert((line.1, &line.2)), "node {node} saw {} twice", line.2);
            }
            assert!(lines.is_sorted_by(|before, after| before.0 < after.0), "places at node {node}");
        }
    }

    /// What two nodes both saw, they saw in one order.
    pub(super) fn assert_one_order(&self) {
        let alive = self.alive();
        for one in &alive {
            for two in &alive {
                let common = |node: usize, other: usize| -> Vec<&String> {
                    let others: BTreeSet<&String> = self.node(other).lines.iter().map(|line| &line.2).collect();
                    let lines = self.node(node).lines.iter().map(|line| &line.2);
                    lines.filter(|text| others.contains(text)).collect()
                };
                assert_eq!(common(*one, *two), common(*two, *one), "nodes {one} and {two}");
            }
        }
    }
}

/// When a connection goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// If nothing is carried then.
    StillCut,
}

/// What waits on a connection, and on which.
type Held = VecDeque<(u64, Arc<[u8]>)>;

/// Whether others learn of a crash at once (the system closes what it had) or by silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    AtOnce,
    Never,
}

/// Steele, Lea and Flood's SplitMix64.
pub(super) fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
