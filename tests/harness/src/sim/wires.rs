//! Wires: cables between sockets, and the datagrams in them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use common::mrt::Ecn;

use super::link::{Link, LinkFigures, Passed, Pipe};

/// A host of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) usize);

/// One of the sockets of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Socket {
    /// Whose.
    pub node: NodeId,
    /// Its number in routes of the endpoint.
    pub number: u16,
}

impl From<NodeId> for Socket {
    fn from(node: NodeId) -> Self {
        Self { node, number: 0 }
    }
}

/// Two links, one for each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cable(usize);

/// A direction of a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From those who joined it first.
    There,
    /// To those.
    Back,
}

/// What changes when the address of a socket does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebinding {
    /// A router in between gives it another port.
    Port,
    /// It is in another network: another IP address, and another port.
    Address,
}

/// A datagram as seen on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When it was sent.
    pub at: Instant,
    /// From where.
    pub from: SocketAddr,
    /// Where to.
    pub to: SocketAddr,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// A datagram that came to a socket.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) socket: Socket,
    pub(super) from: SocketAddr,
    pub(super) ecn: Ecn,
    pub(super) bytes: Vec<u8>,
}

/// All cables, the addresses at their ends, and what is under way.
#[derive(Debug)]
pub(super) struct Wires {
    /// Two to a cable.
    pipes: Vec<Pipe>,
    routes: Vec<Vec<usize>>,
    /// Which route leads from one socket to another.
    route_of: BTreeMap<(Socket, Socket), usize>,
    addresses: BTreeMap<Socket, SocketAddr>,
    /// Whose an address is, or was.
    owners: HashMap<SocketAddr, Socket>,
    next_port: u16,
    next_network: u16,
    under_way: BinaryHeap<UnderWay>,
    sequence: u64,
    spare: Vec<Vec<u8>>,
    /// Bytes sent to addresses that nobody ever had.
    to_nobody: BTreeMap<SocketAddr, u64>,
    recording: Option<Vec<Seen>>,
}

#[derive(Debug)]
struct UnderWay {
    at: Instant,
    /// Equal times come in the order in which they were decided.
    sequence: u64,
    /// Which route, and which of its pipes is next; `None`: the end is reached.
    route: Option<(usize, usize)>,
    from: SocketAddr,
    to: SocketAddr,
    ecn: Ecn,
    bytes: Vec<u8>,
}

impl Wires {
    pub(super) fn new() -> Self {
        const FIRST_PORT: u16 = 4000;
        Self {
            pipes: Vec::new(),
            routes: Vec::new(),
            route_of: BTreeMap::new(),
            addresses: BTreeMap::new(),
            owners: HashMap::new(),
            next_port: FIRST_PORT,
            next_network: 1,
            under_way: BinaryHeap::new(),
            sequence: 0,
            spare: Vec::new(),
            to_nobody: BTreeMap::new(),
            recording: None,
        }
    }

    /// Lays a cable.
    pub(super) fn cable(&mut self, now: Instant, there: Link, back: Link, seed: u64) -> Cable {
        /// Makes the seeds of the two directions differ.
        const OTHER: u64 = 0x5851_f42d_4c95_7f2d;
        self.pipes.extend([Pipe::new(now, there, seed), Pipe::new(now, back, seed ^ OTHER)]);
        Cable(self.pipes.len() / 2 - 1)
    }

    /// Leads the datagrams between two sockets over these cables.
    pub(super) fn join(&mut self, first: Socket, second: Socket, cables: &[Cable]) {
        let there = cables.iter().map(|cable| cable.0 * 2).collect();
        let back = cables.iter().rev().map(|cable| cable.0 * 2 + 1).collect();
        for (route, ends) in [(there, (first, second)), (back, (second, first))] {
            self.route_of.insert(ends, self.routes.len());
            self.routes.push(route);
        }
    }

    /// Gives a socket an address, the first or another one. What is sent to the old one is lost then.
    pub(super) fn readdress(&mut self, socket: Socket, rebinding: Rebinding) -> SocketAddr {
        self.next_port += 1;
        let old = self.addresses.get(&socket).map(SocketAddr::ip);
        let ip = match (old, rebinding) {
            (Some(ip), Rebinding::Port) => ip,
            _ => {
                self.next_network += 1;
                let [high, low] = self.next_network.to_be_bytes();
                IpAddr::V4(Ipv4Addr::new(10, high, low, 1))
            }
        };
        let address = SocketAddr::new(ip, self.next_port);
        self.addresses.insert(socket, address);
        self.owners.insert(address, socket);
        address
    }

    pub(super) fn address(&self, socket: Socket) -> SocketAddr {
        self.addresses[&socket]
    }

    /// One direction of a cable.
    pub(super) fn pipe(&mut self, cable: Cable, direction: Direction) -> &mut Pipe {
        let offset = match direction {
            Direction::There => 0,
            Direction::Back => 1,
        };
        &mut self.pipes[cable.0 * 2 + offset]
    }

    pub(super) fn figures(&mut self, now: Instant, cable: Cable, direction: Direction) -> LinkFigures {
        self.pipe(cable, direction).figures(now)
    }

    /// From now on all datagrams that are sent are kept, too.
    pub(super) fn record(&mut self) {
        self.recording.get_or_insert_default();
    }

    /// What was kept, which is forgotten by that.
    pub(super) fn recorded(&mut self) -> Vec<Seen> {
        self.recording.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Bytes that were sent to an address that nobody ever had.
    pub(super) fn sent_to_nobody(&self, address: SocketAddr) -> u64 {
        self.to_nobody.get(&address).copied().unwrap_or(0)
    }

    /// A socket sends a datagram.
    pub(super) fn send(&mut self, now: Instant, socket: Socket, to: SocketAddr, ecn: Ecn, datagram: &[u8]) {
        let from = self.address(socket);
        if let Some(recording) = &mut self.recording {
            recording.push(Seen { at: now, from, to, bytes: datagram.to_vec() });
        }
        let Some(owner) = self.owners.get(&to) else {
            *self.to_nobody.entry(to).or_default() += datagram.len() as u64;
            return;
        };
        let Some(route) = self.route_of.get(&(socket, *owner)) else { return };
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.extend_from_slice(datagram);
        self.enter(UnderWay { at: now, sequence: 0, route: Some((*route, 0)), from, to, ecn, bytes });
    }

    /// A datagram comes out of nowhere.
    pub(super) fn inject(&mut self, at: Instant, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.push(UnderWay { at, sequence: 0, route: None, from, to, ecn: Ecn::NotCapable, bytes });
    }

    /// When the next thing happens in here.
    pub(super) fn next(&self) -> Option<Instant> {
        self.under_way.peek().map(|next| next.at)
    }

    /// Moves the datagrams that are due at `now`, until one has come to a socket.
    pub(super) fn arrival(&mut self, now: Instant) -> Option<Arrival> {
        while self.next().is_some_and(|at| at <= now) {
            let datagram = self.under_way.pop()?;
            if datagram.route.is_some() {
                self.enter(datagram);
                continue;
            }
            let owner = self.owners.get(&datagram.to).filter(|owner| self.addresses.get(owner) == Some(&datagram.to));
            if let Some(socket) = owner.copied() {
                let UnderWay { from, ecn, bytes, .. } = datagram;
                return Some(Arrival { socket, from, ecn, bytes });
            }
            self.recycle(datagram.bytes);
        }
        None
    }

    /// Takes back the bytes of an arrival.
    pub(super) fn recycle(&mut self, mut bytes: Vec<u8>) {
        const ENOUGH: usize = 1024;
        if self.spare.len() < ENOUGH {
            bytes.clear();
            self.spare.push(bytes);
        }
    }

    /// A datagram comes to the next pipe of its route.
    fn enter(&mut self, datagram: UnderWay) {
        let Some((route, hop)) = datagram.route else { return };
        let Some(pipe) = self.routes[route].get(hop) else {
            self.push(UnderWay { route: None, ..datagram });
            return;
        };
        let Passed { arrivals, ecn } = self.pipes[*pipe].pass(datagram.at, datagram.bytes.len(), datagram.ecn);
        let is_last = hop + 1 == self.routes[route].len();
        let route = (!is_last).then_some((route, hop + 1));
        match arrivals {
            [Some(at), None] => self.push(UnderWay { at, route, ecn, ..datagram }),
            [first, second] => {
                for at in [first, second].into_iter().flatten() {
                    self.push(UnderWay { at, route, ecn, bytes: datagram.bytes.clone(), ..datagram });
                }
                self.recycle(datagram.bytes);
            }
        }
    }

    fn push(&mut self, datagram: UnderWay) {
        self.sequence += 1;
        self.under_way.push(UnderWay { sequence: self.sequence, ..datagram });
    }
}

impl Ord for UnderWay {
    /// The earliest is the greatest, since it leaves the heap first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl PartialOrd for UnderWay {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for UnderWay {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for UnderWay {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn socket(node: usize) -> Socket {
        NodeId(node).into()
    }

    /// Two sockets at the ends of two cables of 10 and 20 ms.
    fn two(now: Instant) -> (Wires, Socket, Socket) {
        let mut wires = Wires::new();
        let cables = [10, 20].map(|ms| {
            let link = Link::new(ms * MS);
            wires.cable(now, link, link, 1)
        });
        let sockets = (socket(0), socket(1));
        wires.join(sockets.0, sockets.1, &cables);
        for socket in [sockets.0, sockets.1] {
            wires.readdress(socket, Rebinding::Address);
        }
        (wires, sockets.0, sockets.1)
    }

    #[test]
    fn datagrams_go_over_all_cables_in_both_directions() {
        let now = Instant::now();
        let (mut wires, first, second) = two(now);
        for (from, to) in [(first, second), (second, first)] {
            let address = wires.address(to);
            wires.send(now, from, address, Ecn::Capable, b"hello");
        }
        assert!(wires.arrival(now + 29 * MS).is_none());
        for (from, to) in [(first, second), (second, first)] {
            let came = wires.arrival(now + 30 * MS).unwrap();
            assert_eq!((came.socket, came.from, came.bytes.as_slice()), (to, wires.address(from), b"hello".as_slice()));
        }
    }

    #[test]
    fn what_is_sent_to_a_former_address_is_lost() {
        let now = Instant::now();
        let (mut wires, first, second) = two(now);
        let old = wires.address(second);
        wires.send(now, first, old, Ecn::Capable, b"hello");
        let new = wires.readdress(second, Rebinding::Port);
        assert_eq!(new.ip(), old.ip());
        assert!(wires.arrival(now + 60 * MS).is_none());
        wires.send(now, first, new, Ecn::Capable, b"again");
        assert_eq!(wires.arrival(now + 60 * MS).unwrap().bytes, b"again");
        assert_ne!(wires.readdress(second, Rebinding::Address).ip(), old.ip());
    }

    #[test]
    fn what_is_sent_to_nobody_is_counted() {
        let now = Instant::now();
        let (mut wires, first, second) = two(now);
        let nobody = "192.0.2.1:9".parse().unwrap();
        wires.inject(now, nobody, wires.address(first), b"who".to_vec());
        assert_eq!(wires.arrival(now).unwrap().from, nobody);
        wires.send(now, first, nobody, Ecn::NotCapable, b"hello");
        assert_eq!((wires.sent_to_nobody(nobody), wires.sent_to_nobody(wires.address(second))), (5, 0));
    }
}
