//! Two endpoints in virtual time, joined by a link that does what a test says.

pub(crate) mod clock;
mod handshakes;
mod hostile;
mod paths;
mod transfers;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::identity::Identity;

/// What a link does with a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Arrives,
    Vanishes,
}

/// A datagram on its way.
#[derive(Debug, Clone)]
pub(super) struct InFlight {
    pub(super) at: Instant,
    /// 0 or 1.
    pub(super) to: usize,
    /// The sender's address: the port tells its socket.
    pub(super) from: SocketAddr,
    /// Which socket of the receiver.
    pub(super) socket: u16,
    pub(super) bytes: Vec<u8>,
}

/// Two endpoints, 0 and 1, and what is between them.
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) ends: [End; 2],
    pub(super) delay: Duration,
    pub(super) fate: Box<dyn FnMut(&InFlight) -> Fate>,
    pub(super) flying: VecDeque<InFlight>,
    pub(super) sent: u64,
}

/// One of them, with all that it told.
pub(super) struct End {
    pub(super) endpoint: Endpoint,
    pub(super) address: SocketAddr,
    pub(super) keys: StaticKey,
    pub(super) events: Vec<Event>,
    /// What was read of each stream.
    pub(super) read: BTreeMap<(ConnectionHandle, StreamId), Vec<u8>>,
    pub(super) ended: Vec<(ConnectionHandle, StreamId)>,
    /// Reads as soon as something can be read.
    pub(super) reads: bool,
    buffer: Vec<u8>,
}

pub(super) const PSK: [u8; 32] = [9; 32];

impl Pair {
    pub(super) fn new() -> Self {
        Self::with([Config::default(), Config::default()], [PSK; 2])
    }

    pub(super) fn with(configs: [Config; 2], psks: [[u8; 32]; 2]) -> Self {
        let now = clock::start();
        let mut seeds = 1..;
        let ends = [0_u8, 1].map(|side| {
            let config = configs[usize::from(side)].clone();
            let seed = seeds.next().unwrap();
            let keys = LocalKeys::new(Arc::new(Identity::from_seed(&[seed; 32])), psks[usize::from(side)]);
            End {
                keys: keys.static_key(),
                endpoint: Endpoint::new(now, config, keys, [seed + 100; 32]),
                address: SocketAddr::from(([10, 0, 0, side + 1], 4000)),
                events: Vec::new(),
                read: BTreeMap::new(),
                ended: Vec::new(),
                reads: true,
                buffer: vec![0; 70_000],
            }
        });
        let delay = Duration::from_millis(10);
        Self { now, ends, delay, fate: Box::new(|_| Fate::Arrives), flying: VecDeque::new(), sent: 0 }
    }

    /// 0 asks 1 for a connection.
    pub(super) fn connect(&mut self, target: Target) -> ConnectionHandle {
        let route = self.route(0);
        self.ends[0].endpoint.connect(self.now, route, target).unwrap()
    }

    /// A connection from 0 to 1 that stands on both sides.
    pub(super) fn connected(&mut self, target: Target) -> [ConnectionHandle; 2] {
        let here = self.connect(target);
        self.run(Duration::from_secs(20), |pair| {
            pair.incoming().is_some() && pair.saw(0, here, &ConnectionEvent::Connected)
        });
        [here, self.incoming().expect("nobody came")]
    }

    /// How 0 or 1 reaches the other.
    pub(super) fn route(&self, from: usize) -> Route {
        Route { socket: 0, remote: self.ends[1 - from].address }
    }

    pub(super) fn incoming(&self) -> Option<ConnectionHandle> {
        self.ends[1].events.iter().find_map(|event| match event {
            Event::Incoming(handle) => Some(*handle),
            Event::Connection(..) => None,
        })
    }

    pub(super) fn saw(&self, end: usize, handle: ConnectionHandle, wanted: &ConnectionEvent) -> bool {
        self.ends[end]
            .events
            .iter()
            .any(|event| matches!(event, Event::Connection(of, event) if *of == handle && event == wanted))
    }

    pub(super) fn closed(&self, end: usize, handle: ConnectionHandle) -> Option<CloseReason> {
        self.ends[end].events.iter().find_map(|event| match event {
            Event::Connection(of, ConnectionEvent::Closed(reason)) if *of == handle => Some(reason.clone()),
            _ => None,
        })
    }

    pub(super) fn connection(&mut self, end: usize, handle: ConnectionHandle) -> &mut Connection {
        self.ends[end].endpoint.connection(handle).expect("the connection is gone")
    }

    /// Lets time pass until `done`, or for `limit`; says whether it was done.
    pub(super) fn run(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        let (mut last, mut rounds) = (self.now, 0);
        loop {
            rounds = if self.now > last { 0 } else { rounds + 1 };
            last = self.now;
            assert!(rounds < 1000, "time stands still");
            for side in 0..2 {
                self.drain(side);
            }
            if done(self) {
                return true;
            }
            let next = self
                .ends
                .iter_mut()
                .filter_map(|end| end.endpoint.poll_timeout())
                .chain(self.flying.front().map(|first| first.at))
                .min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return false;
            };
            self.now = self.now.max(next);
            while self.flying.front().is_some_and(|first| first.at <= self.now) {
                let mut datagram = self.flying.pop_front().unwrap();
                let received = Received {
                    route: Route { socket: datagram.socket, remote: datagram.from },
                    local_ip: None,
                    ecn: Ecn::NotCapable,
                };
                self.ends[datagram.to].endpoint.handle_datagram(self.now, received, &mut datagram.bytes);
            }
            for side in &mut self.ends {
                if side.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                    side.endpoint.handle_timeout(self.now);
                }
            }
        }
    }

    /// Takes datagrams and events out of one end.
    pub(super) fn drain(&mut self, side: usize) {
        loop {
            let mut out = Vec::new();
            while let Some(transmit) = self.ends[side].endpoint.poll_transmit(self.now, 8, &mut out) {
                assert_eq!(transmit.size, out.len());
                for datagram in out.chunks(transmit.segment_size.unwrap_or(transmit.size)) {
                    self.carry(side, transmit.route, datagram);
                }
                out.clear();
            }
            let end = &mut self.ends[side];
            let Some(event) = end.endpoint.poll_event() else { return };
            if let (true, Event::Connection(handle, ConnectionEvent::Stream(event))) = (end.reads, &event) {
                match *event {
                    StreamEvent::Opened => {
                        while let Some(id) = end.endpoint.connection(*handle).unwrap().accept() {
                            end.drain_stream(*handle, id);
                        }
                    }
                    StreamEvent::Readable(id) => end.drain_stream(*handle, id),
                    _ => {}
                }
            }
            end.events.push(event);
        }
    }

    fn carry(&mut self, side: usize, route: Route, bytes: &[u8]) {
        self.sent += 1;
        let to = 1 - side;
        let (mut from, receiver) = (self.ends[side].address, self.ends[to].address);
        from.set_port(from.port() + route.socket);
        let socket = route.remote.port().wrapping_sub(receiver.port());
        if route.remote.ip() != receiver.ip() || socket > 1 {
            return;
        }
        let datagram = InFlight { at: self.now + self.delay, to, from, socket, bytes: bytes.to_vec() };
        if (self.fate)(&datagram) == Fate::Arrives {
            self.flying.push_back(datagram);
        }
    }
}

impl End {
    pub(super) fn drain_stream(&mut self, handle: ConnectionHandle, id: StreamId) {
        let Some(connection) = self.endpoint.connection(handle) else { return };
        loop {
            match connection.read(id, &mut self.buffer) {
                Ok(Read::Bytes(count)) => {
                    self.read.entry((handle, id)).or_default().extend_from_slice(&self.buffer[..count]);
                }
                Ok(Read::End) => {
                    self.read.entry((handle, id)).or_default();
                    return self.ended.push((handle, id));
                }
                Ok(Read::Blocked) | Err(_) => return,
            }
        }
    }
}

/// Bytes that follow from their place.
pub(super) fn content(length: usize, salt: u64) -> Vec<u8> {
    let byte = |place: u64| {
        let [.., byte, _] = place.wrapping_mul(2_654_435_761).wrapping_add(salt).to_be_bytes();
        byte
    };
    (0..length as u64).map(byte).collect()
}

/// A generator for what a link does at random.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Whether something happens that happens `per_mille` times in a thousand.
    pub(super) const fn falls(&mut self, per_mille: u64) -> bool {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % 1000 < per_mille
    }
}
