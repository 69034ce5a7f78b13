//! Nodes: an endpoint, and what a driver does around it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::identity::{Identity, PublicKey};
use common::mrt::{Config, ConnectionHandle, Endpoint, LocalKeys, Received, Route, Side, StaticKey, Transmit};

use super::wires::{Arrival, NodeId, Socket, Wires};

/// The pre-shared key of all simulated networks.
const NETWORK_KEY: [u8; 32] = [0x6e; 32];

/// Most calls of `handle_timeout` at one instant: an honest machine needs one for each of its connections.
const MAX_TIMEOUTS_AT_ONCE: u64 = 1000;

/// How a host is driven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Of its endpoint.
    pub config: Config,
    /// How many datagrams are sent with one call (GSO).
    pub segments: usize,
    /// Its timers go off at multiples of this, like those of tokio at milliseconds; zero: exactly.
    pub tick: Duration,
}

impl Default for Host {
    fn default() -> Self {
        const GSO: usize = 10;
        Self { config: Config::default(), segments: GSO, tick: Duration::ZERO }
    }
}

/// Calls and datagrams of a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeFigures {
    /// Calls of `handle_timeout`.
    pub timeouts: u64,
    /// Datagrams that came.
    pub received: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Bytes of those.
    pub sent_bytes: u64,
}

/// A host of the network.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) endpoint: Endpoint,
    pub(super) public_key: PublicKey,
    pub(super) static_key: StaticKey,
    /// Which talk a connection carries, and on which side of it this node is.
    pub(super) talks: BTreeMap<ConnectionHandle, (usize, Side)>,
    pub(super) figures: NodeFigures,
    /// When the endpoint wants to be called.
    pub(super) timeout: Option<Instant>,
    host: Host,
    start: Instant,
    out: Vec<u8>,
    /// The last timeout, and how many there were at that time.
    timeouts_at: (Instant, u64),
}

impl Node {
    pub(super) fn new(now: Instant, host: Host, seed: [u8; 32]) -> Self {
        let identity = Arc::new(Identity::from_seed(&seed));
        let public_key = identity.public_key();
        let keys = LocalKeys::new(identity, NETWORK_KEY);
        let static_key = keys.static_key();
        Self {
            endpoint: Endpoint::new(now, host.config.clone(), keys, seed),
            public_key,
            static_key,
            talks: BTreeMap::new(),
            figures: NodeFigures::default(),
            timeout: None,
            host,
            start: now,
            out: Vec::new(),
            timeouts_at: (now, 0),
        }
    }

    pub(super) fn handle_arrival(&mut self, now: Instant, arrival: &mut Arrival) {
        self.figures.received += 1;
        let route = Route { socket: arrival.socket.number, remote: arrival.from };
        self.endpoint.handle_datagram(now, Received { route, local_ip: None, ecn: arrival.ecn }, &mut arrival.bytes);
    }

    /// Tells the endpoint that its time has come, if it has; complains of a storm.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), String> {
        if self.timeout.is_none_or(|timeout| timeout > now) {
            return Ok(());
        }
        let (last, count) = self.timeouts_at;
        self.timeouts_at = (now, if last == now { count + 1 } else { 1 });
        self.figures.timeouts += 1;
        self.endpoint.handle_timeout(now);
        if self.timeouts_at.1 > MAX_TIMEOUTS_AT_ONCE {
            return Err(format!("a timer goes off without end: {} times at one instant", self.timeouts_at.1));
        }
        Ok(())
    }

    /// Puts what the endpoint has to send on the wires.
    pub(super) fn transmit(&mut self, now: Instant, id: NodeId, wires: &mut Wires) {
        loop {
            self.out.clear();
            let Some(transmit) = self.endpoint.poll_transmit(now, self.host.segments, &mut self.out) else { return };
            let Transmit { route, ecn, size, segment_size, .. } = transmit;
            assert_eq!(size, self.out.len(), "the size of a transmit is that of its bytes");
            assert!(size > 0, "an empty transmit");
            for datagram in self.out.chunks(segment_size.unwrap_or(size)) {
                self.figures.sent += 1;
                self.figures.sent_bytes += datagram.len() as u64;
                wires.send(now, Socket { node: id, number: route.socket }, route.remote, ecn, datagram);
            }
        }
    }

    /// Asks when the endpoint wants to be called.
    pub(super) fn poll_timeout(&mut self) {
        self.timeout = self.endpoint.poll_timeout().map(|at| self.tick(at));
    }

    /// The first time at or after `at` at which a timer goes off.
    fn tick(&self, at: Instant) -> Instant {
        let since = at.saturating_duration_since(self.start);
        let over = since.as_nanos().checked_rem(self.host.tick.as_nanos()).unwrap_or(0);
        match u64::try_from(over) {
            Ok(over @ 1..) => at + self.host.tick - Duration::from_nanos(over),
            _ => at,
        }
    }
}
