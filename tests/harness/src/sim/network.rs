//! Networks: nodes, cables and talks, in a time that passes only as fast as things happen.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::id::PeerId;
use common::mrt::{CloseReason, Connection, ConnectionHandle, Endpoint, Event, Route, Side, Stats, Target};

use super::link::{Link, LinkFigures, Pipe};
use super::node::{Host, Node, NodeFigures};
use super::plan::{Close, Known, Plan};
use super::progress::Progress;
use super::talk::{Talk, index, other};
use super::wires::{Arrival, Cable, Direction, NodeId, Rebinding, Seen, Socket, Wires};
use crate::content::Dice;

/// A talk of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TalkId(usize);

/// What changes in a network at a given time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change {
    /// The cable is another one now, alike in both directions.
    Link(Cable, Link),
    /// Both directions have this rate, in bytes a second.
    Rate(Cable, u64),
    /// Both directions carry no larger datagrams.
    MaxDatagram(Cable, usize),
    /// The cable is cut: nothing gets through.
    Cut(Cable),
    /// The cable is whole again.
    Mend(Cable),
    /// A socket has another address, without knowing it.
    Rebind(Socket, Rebinding),
}

/// Nodes, cables and talks. The same seed and the same calls give the same run, datagram for datagram.
#[derive(Debug)]
pub struct Network {
    start: Instant,
    now: Instant,
    dice: Dice,
    wires: Wires,
    nodes: Vec<Node>,
    talks: Vec<Talk>,
    changes: BinaryHeap<Reverse<(Instant, usize)>>,
    /// All changes ever planned.
    planned: Vec<Change>,
    max_wait: Option<Duration>,
    fault: Option<String>,
}

impl Network {
    /// An empty network.
    pub fn new(seed: u64) -> Self {
        // The only look at a clock: from here on time is counted.
        let start = Instant::now();
        Self {
            start,
            now: start,
            dice: Dice::new(seed),
            wires: Wires::new(),
            nodes: Vec::new(),
            talks: Vec::new(),
            changes: BinaryHeap::new(),
            planned: Vec::new(),
            max_wait: None,
            fault: None,
        }
    }

    /// A node with one socket.
    pub fn node(&mut self, host: Host) -> NodeId {
        const SEED: usize = 32;
        let id = NodeId(self.nodes.len());
        let seed = self.dice.bytes(SEED).try_into().expect("as long as asked for");
        self.nodes.push(Node::new(self.now, host, seed));
        self.wires.readdress(id.into(), Rebinding::Address);
        id
    }

    /// Another socket of a node, in another network.
    pub fn socket(&mut self, node: NodeId, number: u16) -> Socket {
        let socket = Socket { node, number };
        self.wires.readdress(socket, Rebinding::Address);
        socket
    }

    /// A cable that is alike in both directions.
    pub fn cable(&mut self, link: Link) -> Cable {
        self.cable_of(link, link)
    }

    /// A cable with a link for each direction.
    pub fn cable_of(&mut self, there: Link, back: Link) -> Cable {
        let seed = self.dice.below(u64::MAX);
        self.wires.cable(self.now, there, back, seed)
    }

    /// Leads what two sockets send each other over these cables, one after the other. A cable may be joined often: all
    /// share its rate and its queue.
    pub fn join(&mut self, first: impl Into<Socket>, second: impl Into<Socket>, cables: &[Cable]) {
        self.wires.join(first.into(), second.into(), cables);
    }

    /// Two nodes with one cable between them.
    pub fn pair(seed: u64, link: Link, host: Host) -> (Self, NodeId, NodeId, Cable) {
        let mut network = Self::new(seed);
        let (first, second) = (network.node(host.clone()), network.node(host));
        let cable = network.cable(link);
        network.join(first, second, &[cable]);
        (network, first, second, cable)
    }

    /// `first` asks `second` for a connection now, and both do as planned. Two nodes have one talk at a time.
    pub fn connect(&mut self, first: impl Into<Socket>, second: impl Into<Socket>, plan: Plan) -> TalkId {
        let (first, second) = (first.into(), second.into());
        let route = Route { socket: first.number, remote: self.wires.address(second) };
        let responder = &self.nodes[second.node.0];
        let peer = (plan.known != Known::Address).then(|| responder.public_key.peer_id());
        let static_key = (plan.known == Known::Key).then_some(responder.static_key);
        let number = self.talks.len();
        let seed = self.dice.below(u64::MAX);
        self.talks.push(Talk::new(self.now, plan, [first, second], seed));
        let node = &mut self.nodes[first.node.0];
        match node.endpoint.connect(self.now, route, Target { peer, static_key }) {
            Ok(handle) => {
                node.talks.insert(handle, (number, Side::Initiator));
            }
            Err(error) => self.fail(format!("no connection can be asked for: {error}")),
        }
        self.drive(first.node);
        TalkId(number)
    }

    /// Plans a change for a time that is counted from the beginning.
    pub fn at(&mut self, time: Duration, change: Change) {
        self.changes.push(Reverse((self.start + time, self.planned.len())));
        self.planned.push(change);
    }

    /// From now on it is a fault when nothing arrives for so long although something was written.
    pub fn fail_after_waiting(&mut self, most: Duration) {
        self.max_wait = Some(most);
        for talk in &mut self.talks {
            talk.progress.forget_waits(self.now);
        }
    }

    /// From now on all datagrams are kept for [`Self::recorded`].
    pub fn record(&mut self) {
        self.wires.record();
    }

    /// The datagrams sent since the last call.
    pub fn recorded(&mut self) -> Vec<Seen> {
        self.wires.recorded()
    }

    /// A datagram from any address comes to any address now.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.wires.inject(self.now, from, to, bytes);
    }

    /// Bytes that were sent to an address that no node ever had.
    pub fn sent_to_nobody(&self, address: SocketAddr) -> u64 {
        self.wires.sent_to_nobody(address)
    }

    /// The address of a socket.
    pub fn address(&self, socket: impl Into<Socket>) -> SocketAddr {
        self.wires.address(socket.into())
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// How far a talk has got.
    pub fn progress(&self, talk: TalkId) -> &Progress {
        &self.talks[talk.0].progress
    }

    /// Whether all that was planned has been said and heard.
    pub fn is_done(&self, talk: TalkId) -> bool {
        self.talks[talk.0].is_done()
    }

    /// How the connection of a side ended, if it has.
    pub fn closed(&self, talk: TalkId, side: Side) -> Option<&CloseReason> {
        self.talks[talk.0].closed[index(side)].as_ref()
    }

    /// Whether a side has a connection, or had one.
    pub fn has_begun(&self, talk: TalkId, side: Side) -> bool {
        let node = &self.nodes[self.talks[talk.0].sockets[index(side)].node.0];
        node.talks.values().any(|of| *of == (talk.0, side))
    }

    /// How long after the beginning of the network a side stood.
    pub fn connected_after(&self, talk: TalkId, side: Side) -> Option<Duration> {
        self.talks[talk.0].connected[index(side)].map(|at| at - self.start)
    }

    /// Figures of the connection of a side; `None` when it has none.
    pub fn stats(&self, talk: TalkId, side: Side) -> Option<Stats> {
        let node = &self.nodes[self.talks[talk.0].sockets[index(side)].node.0];
        let (handle, _) = node.talks.iter().find(|(_, of)| **of == (talk.0, side))?;
        node.endpoint.peek(*handle).map(Connection::stats)
    }

    /// Does something with the connection of a side, as its program.
    pub fn with<T>(&mut self, talk: TalkId, side: Side, act: impl FnOnce(&mut Connection, Instant) -> T) -> Option<T> {
        let now = self.now;
        let (connection, node) = self.connection(talk, side)?;
        let result = act(connection, now);
        self.drive(node);
        Some(result)
    }

    /// The endpoint of a node.
    pub fn endpoint(&self, node: NodeId) -> &Endpoint {
        &self.nodes[node.0].endpoint
    }

    /// Who a node is.
    pub fn peer_id(&self, node: NodeId) -> PeerId {
        self.nodes[node.0].public_key.peer_id()
    }

    /// Calls and datagrams of a node.
    pub fn node_figures(&self, node: NodeId) -> NodeFigures {
        self.nodes[node.0].figures
    }

    /// Figures of a cable up to now.
    pub fn link_figures(&mut self, cable: Cable, direction: Direction) -> LinkFigures {
        self.wires.figures(self.now, cable, direction)
    }

    /// What must not happen and did, if anything; nothing happens after it.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Lets so much time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.fault.is_none() && self.next().is_some_and(|next| next <= end) {
            self.step();
        }
        self.now = end;
    }

    /// Lets time pass until something holds, or so much has passed; says whether it holds.
    pub fn run_until(&mut self, most: Duration, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + most;
        loop {
            if self.fault.is_some() || holds(self) {
                return self.fault.is_none();
            }
            if self.next().is_none_or(|next| next > end) {
                self.now = end;
                return false;
            }
            self.step();
        }
    }

    /// Lets time pass until all connections of all talks are closed, or so much has passed; says whether they are.
    pub fn run_to_end(&mut self, most: Duration) -> bool {
        self.run_until(most, |network| network.talks.iter().all(|talk| talk.closed.iter().all(Option::is_some)))
    }

    fn fail(&mut self, fault: String) {
        let at = self.elapsed();
        self.fault.get_or_insert_with(|| format!("after {at:?}: {fault}"));
    }

    fn connection(&mut self, talk: TalkId, side: Side) -> Option<(&mut Connection, NodeId)> {
        let id = self.talks[talk.0].sockets[index(side)].node;
        let node = &mut self.nodes[id.0];
        let (handle, _) = node.talks.iter().find(|(_, of)| **of == (talk.0, side))?;
        node.endpoint.connection(*handle).map(|connection| (connection, id))
    }

    /// When the next thing happens.
    fn next(&self) -> Option<Instant> {
        let nodes = self.nodes.iter().filter_map(|node| node.timeout);
        let programs =
            self.talks.iter().flat_map(|talk| [Side::Initiator, Side::Responder].map(|side| talk.next(side)));
        let change = self.changes.peek().map(|Reverse((at, _))| *at);
        nodes.chain(programs.flatten()).chain(change).chain(self.wires.next()).min()
    }

    /// Does what comes next.
    fn step(&mut self) {
        let Some(next) = self.next() else { return };
        self.now = self.now.max(next);
        while let Some(Reverse((at, number))) = self.changes.peek().copied() {
            if at > self.now {
                break;
            }
            self.changes.pop();
            self.change(self.planned[number]);
        }
        if let Some(arrival) = self.wires.arrival(self.now) {
            self.deliver(arrival);
        }
        for id in (0..self.nodes.len()).map(NodeId) {
            let node = &mut self.nodes[id.0];
            let is_due = node.timeout.is_some_and(|at| at <= self.now);
            if let Err(storm) = node.handle_timeout(self.now) {
                self.fail(storm);
            }
            if is_due || self.program_is_due(id) {
                self.drive(id);
            }
        }
        self.check_waits();
    }

    fn program_is_due(&self, node: NodeId) -> bool {
        self.talks.iter().any(|talk| {
            [Side::Initiator, Side::Responder]
                .into_iter()
                .any(|side| talk.sockets[index(side)].node == node && talk.next(side).is_some_and(|at| at <= self.now))
        })
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Link(cable, link) => self.each_way(cable, |pipe| pipe.replace(link)),
            Change::Rate(cable, rate) => self.each_way(cable, |pipe| pipe.set_rate(rate)),
            Change::MaxDatagram(cable, most) => self.each_way(cable, |pipe| pipe.set_max_datagram(most)),
            Change::Cut(cable) | Change::Mend(cable) => {
                let is_cut = matches!(change, Change::Cut(_));
                self.each_way(cable, |pipe| pipe.set_cut(is_cut));
            }
            Change::Rebind(socket, rebinding) => {
                self.wires.readdress(socket, rebinding);
            }
        }
    }

    fn each_way(&mut self, cable: Cable, mut act: impl FnMut(&mut Pipe)) {
        act(self.wires.pipe(cable, Direction::There));
        act(self.wires.pipe(cable, Direction::Back));
    }

    /// Gives a node a datagram, and all others that come at the same time, as one call of the system would.
    fn deliver(&mut self, arrival: Arrival) {
        let mut next = Some(arrival);
        while let Some(mut arrival) = next.take() {
            let id = arrival.socket.node;
            self.nodes[id.0].handle_arrival(self.now, &mut arrival);
            self.wires.recycle(arrival.bytes);
            next = self.wires.arrival(self.now);
            if next.as_ref().is_none_or(|next| next.socket.node != id) {
                self.drive(id);
            }
        }
    }

    /// Takes all that an endpoint has to say, and lets its programs act.
    fn drive(&mut self, id: NodeId) {
        loop {
            self.nodes[id.0].transmit(self.now, id, &mut self.wires);
            if !self.poll_events(id) {
                break;
            }
        }
        self.nodes[id.0].poll_timeout();
    }

    /// Handles all events of a node and what is due there; says whether anything was.
    fn poll_events(&mut self, id: NodeId) -> bool {
        let mut any = false;
        while let Some(event) = self.nodes[id.0].endpoint.poll_event() {
            any = true;
            match event {
                Event::Incoming(handle) => self.on_incoming(id, handle),
                Event::Connection(handle, event) => {
                    let Some((talk, side)) = self.nodes[id.0].talks.get(&handle).copied() else { continue };
                    let connection = self.nodes[id.0].endpoint.connection(handle);
                    self.talks[talk].on_event(self.now, side, event, connection);
                    self.after(talk, side);
                }
            }
        }
        for number in 0..self.talks.len() {
            for side in [Side::Initiator, Side::Responder] {
                let talk = &self.talks[number];
                let is_due = talk.next(side).is_some_and(|at| at <= self.now);
                if talk.sockets[index(side)].node == id && is_due {
                    any = true;
                    self.act(number, side);
                    self.after(number, side);
                }
            }
        }
        any
    }

    /// Looks after a talk in which `side` has done something.
    fn after(&mut self, number: usize, side: Side) {
        let talk = &mut self.talks[number];
        if let Some(fault) = talk.fault.take() {
            self.fail(fault);
            return;
        }
        let Close::WhenDone(closer) = talk.plan.close else { return };
        if talk.is_done() && talk.closed[index(closer)].is_none() {
            self.act(number, closer);
            if closer != side {
                let node = self.talks[number].sockets[index(closer)].node;
                self.drive(node);
            }
        }
    }

    fn act(&mut self, number: usize, side: Side) {
        let id = self.talks[number].sockets[index(side)].node;
        let node = &mut self.nodes[id.0];
        let Some((handle, _)) = node.talks.iter().find(|(_, of)| **of == (number, side)) else { return };
        if let Some(connection) = node.endpoint.connection(*handle) {
            self.talks[number].act(self.now, side, connection);
        }
    }

    /// Finds out which talk an incoming connection belongs to, by who asks.
    fn on_incoming(&mut self, id: NodeId, handle: ConnectionHandle) {
        let node = &mut self.nodes[id.0];
        let remote = node.endpoint.connection(handle).and_then(|connection| connection.remote());
        let Some(remote) = remote else {
            self.fail(format!("{id:?}: nobody is at the other end of an incoming connection"));
            return;
        };
        let taken: Vec<_> = node.talks.values().map(|(talk, _)| *talk).collect();
        let expected = self.talks.iter().enumerate().position(|(number, talk)| {
            let initiator = self.nodes[talk.sockets[0].node.0].public_key;
            talk.sockets[1].node == id && initiator == remote.identity && !taken.contains(&number)
        });
        match expected {
            Some(number) => {
                self.nodes[id.0].talks.insert(handle, (number, other(Side::Initiator)));
            }
            None => self.fail(format!("{id:?}: a connection that nobody asked for")),
        }
    }

    fn check_waits(&mut self) {
        let Some(most) = self.max_wait else { return };
        let waits = self.talks.iter().map(|talk| talk.progress.wait(self.now).max(talk.progress.longest_wait()));
        if let Some(wait) = waits.max().filter(|wait| *wait > most) {
            self.fail(format!("nothing arrived for {wait:?}, the longest that may be is {most:?}"));
        }
    }
}
