//! Two endpoints, and an attacker between them who can drop, double, reorder, cut, change and replay datagrams, and send any
//! bytes from any address. The input is his script.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use common::identity::Identity;
use common::mrt::{
    CloseReason, Config, Connection, ConnectionEvent, ConnectionHandle, Ecn, Endpoint, Event, LocalKeys, Read,
    Received, Route, StaticKey, StreamEvent, StreamId, Target as Whom,
};
use common::reader::Reader;

use super::Target;

/// A script.
pub(super) const PAIR: Target = Target {
    name: "mrt_pair",
    run: pair,
    seeds: || {
        let honest = [DELIVER, 0].repeat(60);
        let script = |parts: &[&[u8]]| [&[0], parts.concat().as_slice(), honest.as_slice()].concat();
        vec![
            [&[0], honest.as_slice()].concat(),
            [&[1], honest.as_slice()].concat(),
            script(&[&[DROP, 0], &[TIMEOUT, 0].repeat(3)]),
            script(&[&[DELIVER, 0].repeat(8), &[REPLAY, 3, REPLAY, 1, DOUBLE, 0, SWAP, 2]]),
            script(&[&[DELIVER, 0].repeat(6), &[SPOOF, 0x51, SPOOF, 0x42, FLIP, 20, CUT, 30]]),
            script(&[&[DELIVER, 0].repeat(5), &[REFLECT, 0, RAW, 5, 0x48, 1, 2, 3, 4, WAIT, 200, WRITE, 7]]),
        ]
    },
    words: &["\u{1}\u{0}", "\u{2}\u{0}", "\u{5}\u{3}", "\u{6}\u{3}", "\u{8}\u{0}", "\u{9}\u{5}"],
    // Two endpoints with a connection or two each, and all datagrams of the run.
    memory_base: 16 << 20,
    memory_per_byte: 64 << 10,
};

const DELIVER: u8 = 0;
const DROP: u8 = 1;
const DOUBLE: u8 = 2;
const SWAP: u8 = 3;
const CUT: u8 = 4;
const FLIP: u8 = 5;
const REPLAY: u8 = 6;
const SPOOF: u8 = 7;
const REFLECT: u8 = 8;
const RAW: u8 = 9;
const TIMEOUT: u8 = 10;
const WAIT: u8 = 11;
const WRITE: u8 = 12;
const KINDS: u8 = 13;

/// Most steps of a script.
const MAX_STEPS: usize = 400;

/// An address that nobody was shown to be at is sent at most so many times the bytes that came from there.
const AMPLIFICATION: u64 = 3;

/// Most handshakes of which nobody has proven to be there.
const MAX_UNPROVEN: usize = 256;

/// While less time than this has passed, nothing can have timed out: a responder forgets in 5 s who did not confirm.
const PATIENCE: Duration = Duration::from_secs(4);

/// Steps in which an honest transfer ends.
const HONEST_STEPS: usize = 20_000;

/// Bytes of each stream.
const SIZE: u64 = 5000;

/// From which addresses the attacker sends, beside those of others.
const FAKES: u8 = 4;

#[derive(Debug, Clone)]
struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// One of the two: an endpoint and its program, which opens a stream on each connection, and checks those of the other side.
struct End {
    endpoint: Endpoint,
    address: SocketAddr,
    connections: BTreeMap<ConnectionHandle, Talk>,
}

/// What was said over a connection.
#[derive(Default)]
struct Talk {
    written: BTreeMap<StreamId, u64>,
    read: BTreeMap<StreamId, u64>,
    ended: usize,
    closed: Option<CloseReason>,
}

struct Pair {
    now: Instant,
    begin: Instant,
    ends: [End; 2],
    flight: VecDeque<Datagram>,
    history: Vec<Datagram>,
    /// Bytes to and from addresses where nobody is.
    to_fakes: BTreeMap<SocketAddr, u64>,
    from_fakes: BTreeMap<SocketAddr, u64>,
}

fn pair(input: &[u8]) -> String {
    let mut script = Reader::new(input);
    let Ok(first) = script.u8() else { return "empty".to_owned() };
    let mut pair = Pair::new();
    pair.connect(first % 2 == 1);
    for _ in 0..MAX_STEPS {
        let (Ok(kind), Ok(what)) = (script.u8(), script.u8()) else { break };
        pair.step(kind % KINDS, what, &mut script);
    }
    let state = pair.state();
    pair.finish_honestly();
    state
}

/// The keys of the two, made once: that takes longer than most scripts.
static IDENTITIES: LazyLock<[Arc<Identity>; 2]> =
    LazyLock::new(|| [1, 2].map(|seed| Arc::new(Identity::from_seed(&[seed; 32]))));

fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 4000))
}

fn keys(number: usize) -> LocalKeys {
    LocalKeys::new(Arc::clone(&IDENTITIES[number]), [9; 32])
}

/// The byte of a stream at an offset.
fn content(id: StreamId, offset: u64) -> u8 {
    let [low, ..] = (id.0.wrapping_mul(37) + offset.wrapping_mul(11) + offset / 251).to_le_bytes();
    low
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let ends = [0, 1].map(|number: u8| End {
            endpoint: Endpoint::new(now, Config::default(), keys(number.into()), [number; 32]),
            address: address(number),
            connections: BTreeMap::new(),
        });
        Self {
            now,
            begin: now,
            ends,
            flight: VecDeque::new(),
            history: Vec::new(),
            to_fakes: BTreeMap::new(),
            from_fakes: BTreeMap::new(),
        }
    }

    fn connect(&mut self, key_is_known: bool) -> ConnectionHandle {
        let static_key: Option<StaticKey> = key_is_known.then(|| keys(1).static_key());
        let whom = Whom { peer: Some(IDENTITIES[1].peer_id()), static_key };
        let route = Route { socket: 0, remote: self.ends[1].address };
        let handle = self.ends[0].endpoint.connect(self.now, route, whom).expect("there are few");
        self.ends[0].connections.insert(handle, Talk::default());
        self.settle();
        handle
    }

    fn step(&mut self, kind: u8, what: u8, script: &mut Reader<'_>) {
        let number = usize::from(what);
        match kind {
            DROP => drop(self.flight.pop_front()),
            DOUBLE => {
                if let Some(first) = self.flight.front().cloned() {
                    self.deliver(first);
                }
            }
            SWAP if !self.flight.is_empty() => {
                let other = number % self.flight.len();
                self.flight.swap(0, other);
            }
            TIMEOUT => self.wait(None),
            WAIT => self.wait(Some(Duration::from_millis(u64::from(what) * 4))),
            WRITE => self.open(number % 2),
            RAW => {
                let bytes = script.take(number.min(script.left())).unwrap_or_default().to_vec();
                let from = address(100 + what % FAKES);
                self.deliver(Datagram { from, to: address(what % 2), bytes });
            }
            REPLAY | SPOOF | REFLECT if !self.history.is_empty() => {
                // The newest are the most interesting.
                let back = number / usize::from(FAKES) % self.history.len();
                let old = self.history[self.history.len() - 1 - back].clone();
                self.deliver(match kind {
                    SPOOF => Datagram { from: address(100 + what % FAKES), ..old },
                    REFLECT => Datagram { from: old.to, to: old.from, bytes: old.bytes },
                    _ => old,
                });
            }
            DELIVER | CUT | FLIP => {
                let Some(mut first) = self.flight.pop_front() else {
                    self.wait(None);
                    return;
                };
                match kind {
                    CUT => first.bytes.truncate(number * 8),
                    FLIP => {
                        let at = number * 7 % first.bytes.len().max(1);
                        first.bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << (number % 8));
                    }
                    _ => {}
                }
                self.deliver(first);
            }
            _ => {}
        }
    }

    /// A datagram comes to where it is addressed.
    fn deliver(&mut self, mut datagram: Datagram) {
        let Some(end) = self.ends.iter_mut().find(|end| end.address == datagram.to) else { return };
        *self.from_fakes.entry(datagram.from).or_default() += datagram.bytes.len() as u64;
        let route = Route { socket: 0, remote: datagram.from };
        let received = Received { route, local_ip: None, ecn: Ecn::NotCapable };
        end.endpoint.handle_datagram(self.now, received, &mut datagram.bytes);
        self.settle();
    }

    /// Time passes up to the next timeout, or for so long with all timeouts in it.
    fn wait(&mut self, time: Option<Duration>) {
        let next = |ends: &mut [End; 2]| ends.iter_mut().filter_map(|end| end.endpoint.poll_timeout()).min();
        let end = match time {
            Some(time) => self.now + time,
            None => match next(&mut self.ends) {
                Some(at) => at.max(self.now),
                None => return,
            },
        };
        let mut timeouts = 0;
        while let Some(at) = next(&mut self.ends).filter(|at| *at <= end) {
            timeouts += 1;
            assert!(timeouts < 10_000, "a timer storm");
            self.now = self.now.max(at);
            for end in &mut self.ends {
                if end.endpoint.poll_timeout().is_some_and(|at| at <= self.now) {
                    end.endpoint.handle_timeout(self.now);
                }
            }
            self.settle();
        }
        self.now = end;
    }

    /// Opens a stream on each connection of an end.
    fn open(&mut self, end: usize) {
        let End { endpoint, connections, .. } = &mut self.ends[end];
        for (handle, talk) in connections {
            if let Some(connection) = endpoint.connection(*handle) {
                talk.open(connection);
            }
        }
        self.settle();
    }

    /// Takes all that the endpoints have to say.
    fn settle(&mut self) {
        for number in 0..2 {
            loop {
                self.transmit(number);
                let Some(event) = self.ends[number].endpoint.poll_event() else { break };
                self.ends[number].on_event(event);
            }
            let endpoint = &self.ends[number].endpoint;
            assert!(endpoint.unproven() <= MAX_UNPROVEN, "too many handshakes are kept");
            assert!(endpoint.handles().count() <= self.ends[0].connections.len(), "a connection that nobody asked for");
        }
        for (to, sent) in &self.to_fakes {
            let came = self.from_fakes.get(to).copied().unwrap_or(0);
            assert!(*sent <= came * AMPLIFICATION, "{sent} bytes were sent to {to}, which sent {came}");
        }
    }

    fn transmit(&mut self, number: usize) {
        const SEGMENTS: usize = 4;
        let end = &mut self.ends[number];
        let mut out = Vec::new();
        while let Some(transmit) = end.endpoint.poll_transmit(self.now, SEGMENTS, &mut out) {
            let to = transmit.route.remote;
            for bytes in out.chunks(transmit.segment_size.unwrap_or(out.len())) {
                if to == address(0) || to == address(1) {
                    let datagram = Datagram { from: end.address, to, bytes: bytes.to_vec() };
                    self.history.push(datagram.clone());
                    self.flight.push_back(datagram);
                } else {
                    *self.to_fakes.entry(to).or_default() += bytes.len() as u64;
                }
            }
            out.clear();
        }
    }

    /// How far it has come, in few words.
    fn state(&self) -> String {
        let of = |end: &End| {
            let talks = end.connections.values().map(|talk| {
                let read = talk.read.values().map(|bytes| bytes.checked_ilog2().unwrap_or(0)).max();
                format!("{:?} {read:?} {}", talk.closed.is_some(), talk.ended.min(2))
            });
            talks.collect::<Vec<_>>().join(",")
        };
        let fakes = self.to_fakes.values().filter(|sent| **sent > 0).count();
        let words = ["none", "one", "two", "three", "four"];
        format!(
            "{} | {} | {} {}",
            of(&self.ends[0]),
            of(&self.ends[1]),
            words[fakes.min(4)],
            self.ends[1].endpoint.unproven().min(3)
        )
    }

    /// The attacker is gone: what is there comes to an end, and a new connection works.
    fn finish_honestly(&mut self) {
        let nothing_timed_out = self.now - self.begin < PATIENCE;
        for number in 0..2 {
            self.open(number);
        }
        self.run_honestly();
        if nothing_timed_out {
            for end in &self.ends {
                assert_eq!(end.connections.len(), 1, "the connection stands");
                assert!(end.connections.values().all(Talk::is_done), "all of it arrived");
            }
        }
        let handle = self.connect(false);
        self.run_honestly();
        let talk = self.ends[0].connections.get(&handle).expect("it was asked for");
        assert!(talk.is_done() && talk.closed.is_none(), "a new connection works");
    }

    /// Delivers everything until all that was written is read.
    fn run_honestly(&mut self) {
        for _ in 0..HONEST_STEPS {
            let is_done = |talk: &Talk| talk.closed.is_some() || talk.is_done();
            if self.flight.is_empty() && self.ends.iter().all(|end| end.connections.values().all(is_done)) {
                return;
            }
            match self.flight.pop_front() {
                Some(datagram) => self.deliver(datagram),
                None => self.wait(None),
            }
        }
    }
}

impl End {
    fn on_event(&mut self, event: Event) {
        match event {
            Event::Incoming(handle) => {
                self.connections.insert(handle, Talk::default());
            }
            Event::Connection(handle, ConnectionEvent::Closed(reason)) => {
                assert!(!matches!(reason, CloseReason::Violation(_)), "{reason}: the attacker can forge");
                self.connections.entry(handle).or_default().closed = Some(reason);
            }
            Event::Connection(handle, event) => {
                let talk = self.connections.entry(handle).or_default();
                let Some(connection) = self.endpoint.connection(handle) else { return };
                match event {
                    ConnectionEvent::Connected => talk.open(connection),
                    ConnectionEvent::Stream(StreamEvent::Opened) => {
                        while let Some(id) = connection.accept() {
                            assert!(talk.read.insert(id, 0).is_none(), "a stream is opened twice");
                            talk.read(connection, id);
                        }
                    }
                    ConnectionEvent::Stream(StreamEvent::Readable(id)) => talk.read(connection, id),
                    ConnectionEvent::Stream(StreamEvent::Writable(id)) => talk.write(connection, id),
                    _ => {}
                }
            }
        }
    }
}

impl Talk {
    fn open(&mut self, connection: &mut Connection) {
        if let Some(id) = connection.open() {
            self.written.insert(id, 0);
            self.write(connection, id);
        }
    }

    fn write(&mut self, connection: &mut Connection, id: StreamId) {
        let Some(written) = self.written.get_mut(&id) else { return };
        while *written < SIZE {
            let bytes: Vec<u8> = (*written..SIZE).map(|offset| content(id, offset)).collect();
            match connection.write(id, &bytes) {
                Ok(0) | Err(_) => return,
                Ok(taken) => *written += taken as u64,
            }
        }
        let _closed = connection.finish(id);
    }

    fn read(&mut self, connection: &mut Connection, id: StreamId) {
        let Some(read) = self.read.get_mut(&id) else { return };
        let mut bytes = [0; 600];
        loop {
            match connection.read(id, &mut bytes) {
                Ok(Read::Bytes(count)) => {
                    for byte in &bytes[..count] {
                        assert_eq!(*byte, content(id, *read), "{id:?} at {read}");
                        *read += 1;
                    }
                }
                Ok(Read::End) => {
                    assert_eq!(*read, SIZE, "{id:?} ends where it does");
                    self.ended += 1;
                    return;
                }
                Ok(Read::Blocked) | Err(_) => return,
            }
        }
    }

    /// Whether the other side has said something, and all that it said is here.
    fn is_done(&self) -> bool {
        !self.read.is_empty() && self.ended == self.read.len() && self.read.values().all(|read| *read == SIZE)
    }
}
