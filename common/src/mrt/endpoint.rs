//! Which datagram belongs to which connection; handshakes of strangers, within bounds.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::Side;
use super::config::Config;
use super::connection::{Connection, ConnectionEvent, RequestStart, SessionStart};
use super::handshake::{LocalKeys, Params, StaticKey};
use super::packet::{ConnectionId, MIN_MTU, Packet};
use super::path::{Received, Route, Transmit};
use super::random::Random;
use super::streams::{Budget, INITIAL_EACH, INITIAL_TOTAL};
use super::unproven::{Admission, Unproven};
use crate::id::PeerId;

/// A connection of an endpoint. Handles are not used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionHandle(pub u64);

/// Whom to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Target {
    /// Only this peer will do; `None`: whoever answers and has the network key.
    pub peer: Option<PeerId>,
    /// Its X25519 key, if it is known: nobody else can even read the request.
    pub static_key: Option<StaticKey>,
}

/// Why no connection can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// Too many connections.
    #[error("too many connections at once ({MAX_CONNECTIONS})")]
    Full,
    /// The target's static key is one that nobody can hold: a point of low order.
    #[error("the static key of the target is no key")]
    Key,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody asked for a connection, and proved who it is. [`ConnectionEvent::Connected`] of it follows.
    Incoming(ConnectionHandle),
    /// Something with a connection.
    Connection(ConnectionHandle, ConnectionEvent),
}

/// All connections of a process.
///
/// Contract: after any call of a method that takes `now`, and after calls of a connection's methods (through
/// [`Self::connection`]), ask [`Self::poll_transmit`] until it gives nothing, then [`Self::poll_event`] until it gives
/// nothing, then [`Self::poll_timeout`], and call [`Self::handle_timeout`] at that time. Whatever an event made the program
/// do is a call of a connection's method again. Time never goes back.
///
/// Strangers cost little: until somebody has shown to be at an address, and to have the keys, an endpoint sends there no more
/// bytes than came from it, and keeps at most 256 handshakes of at most 4 KiB each, for 5 s; when there are many, it asks for
/// a cookie first and keeps nothing.
#[derive(Debug)]
pub struct Endpoint {
    config: Arc<Config>,
    keys: LocalKeys,
    budget: Budget,
    random: Random,
    connections: BTreeMap<ConnectionHandle, Slot>,
    /// Which connection has which of our ids.
    by_id: HashMap<ConnectionId, ConnectionHandle>,
    next_handle: u64,
    unproven: Unproven,
    /// Connections that may have datagrams to send, each at most once.
    ready: VecDeque<ConnectionHandle>,
    /// Connections that may have events, each at most once.
    eventful: VecDeque<ConnectionHandle>,
    incoming: VecDeque<ConnectionHandle>,
    deadlines: BTreeSet<(Instant, ConnectionHandle)>,
}

#[derive(Debug)]
struct Slot {
    connection: Connection,
    id: ConnectionId,
    /// Its entry among the deadlines.
    deadline: Option<Instant>,
    is_ready: bool,
    is_eventful: bool,
}

/// Most connections of an endpoint.
pub(super) const MAX_CONNECTIONS: usize = 4096;

impl Endpoint {
    /// `seed` is 32 bytes from a cryptographic source; all randomness follows from it.
    pub fn new(now: Instant, config: Config, keys: LocalKeys, seed: [u8; 32]) -> Self {
        let least = u16::try_from(MIN_MTU).expect("1,200 is a u16");
        let config = Config { max_datagram: config.max_datagram.clamp(least, MAX_DATAGRAM), ..config };
        let mut random = Random::new(seed);
        Self {
            budget: Budget::new(config.receive_budget),
            config: Arc::new(config),
            keys,
            unproven: Unproven::new(now, &mut random),
            random,
            connections: BTreeMap::new(),
            by_id: HashMap::new(),
            next_handle: 0,
            ready: VecDeque::new(),
            eventful: VecDeque::new(),
            incoming: VecDeque::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// Asks for a connection.
    pub fn connect(&mut self, now: Instant, route: Route, target: Target) -> Result<ConnectionHandle, ConnectError> {
        if self.connections.len() >= MAX_CONNECTIONS {
            return Err(ConnectError::Full);
        }
        let ours = self.fresh_id();
        let start = RequestStart {
            config: Arc::clone(&self.config),
            keys: &self.keys,
            params: self.params(),
            budget: self.budget.clone(),
            route,
            target,
            ours,
            random: self.random.fork(),
        };
        let connection = Connection::request(now, start).or(Err(ConnectError::Key))?;
        Ok(self.add(ours, connection))
    }

    /// A datagram came. It is opened in place.
    pub fn handle_datagram(&mut self, now: Instant, received: Received, datagram: &mut [u8]) {
        let destination = match Packet::decode(datagram) {
            Ok(Packet::Request { suite, pattern, source, cookie, noise }) => {
                let params = self.params();
                let ours = self.fresh_id();
                let request = super::unproven::Asked { suite, pattern, source, cookie, noise };
                self.unproven.on_request(now, &received, &request, ours, &params, (&self.keys, &mut self.random));
                return;
            }
            Ok(
                Packet::Accept { destination, .. }
                | Packet::Cookie { destination, .. }
                | Packet::Confirm { destination, .. }
                | Packet::Data { destination, .. },
            ) => destination,
            Err(_) => return,
        };
        if let Some(handle) = self.by_id.get(&destination).copied() {
            if let Some(slot) = self.connections.get_mut(&handle) {
                slot.connection.handle_datagram(now, &received, datagram);
            }
            self.touch(handle);
            return;
        }
        if self.connections.len() < MAX_CONNECTIONS
            && let Some(admission) = self.unproven.prove(now, destination, datagram)
        {
            self.admit(now, received, destination, admission, datagram);
        }
    }

    /// The time that [`Self::poll_timeout`] gave has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.unproven.handle_timeout(now);
        while let Some((at, handle)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            self.deadlines.pop_first();
            if let Some(slot) = self.connections.get_mut(&handle) {
                slot.deadline = None;
                slot.connection.handle_timeout(now);
            }
            self.touch(handle);
        }
    }

    /// Routes that `is_gone` names lead nowhere any more, as when a socket was closed. Their paths have failed, and a
    /// connection that used one goes on with another of its proven paths; one that has none keeps its path and waits until
    /// it hears from elsewhere, is switched, or times out. Handshakes on them end without an answer.
    pub fn forget_routes(&mut self, now: Instant, is_gone: impl Fn(Route) -> bool) {
        self.unproven.forget_routes(&is_gone);
        let handles: Vec<ConnectionHandle> = self.handles().collect();
        for handle in handles {
            if let Some(connection) = self.connection(handle) {
                connection.forget_routes(now, &is_gone);
            }
        }
    }

    /// Appends the next datagrams to `out`: at most `segments` of one size (the last may be shorter), 64 KiB in all.
    pub fn poll_transmit(&mut self, now: Instant, segments: usize, out: &mut Vec<u8>) -> Option<Transmit> {
        if let Some(transmit) = self.unproven.poll_transmit(out) {
            return Some(transmit);
        }
        // In turn, so that a busy connection does not hold up the others.
        while let Some(handle) = self.ready.pop_front() {
            let Some(slot) = self.connections.get_mut(&handle) else { continue };
            if let Some(transmit) = slot.connection.poll_transmit(now, segments, out) {
                self.ready.push_back(handle);
                return Some(transmit);
            }
            slot.is_ready = false;
            // It may have ended for want of a key.
            if slot.connection.has_ended() && !std::mem::replace(&mut slot.is_eventful, true) {
                self.eventful.push_back(handle);
            }
            self.rearm(handle);
        }
        None
    }

    /// When [`Self::handle_timeout`] is to be called, if at all.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let connection = self.deadlines.first().map(|(at, _)| *at);
        [connection, self.unproven.deadline()].into_iter().flatten().min()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        if let Some(handle) = self.incoming.pop_front() {
            return Some(Event::Incoming(handle));
        }
        while let Some(handle) = self.eventful.front().copied() {
            if let Some(slot) = self.connections.get_mut(&handle) {
                if let Some(event) = slot.connection.poll_event() {
                    return Some(Event::Connection(handle, event));
                }
                slot.is_eventful = false;
            }
            self.eventful.pop_front();
            self.remove_if_over(handle);
        }
        None
    }

    /// A connection, for reading and writing. `None`: it is closed, and its last event was given.
    pub fn connection(&mut self, handle: ConnectionHandle) -> Option<&mut Connection> {
        // Whatever the caller does with it may be a reason to send.
        self.touch(handle);
        self.connections.get_mut(&handle).map(|slot| &mut slot.connection)
    }

    /// A connection, to look at.
    pub fn peek(&self, handle: ConnectionHandle) -> Option<&Connection> {
        self.connections.get(&handle).map(|slot| &slot.connection)
    }

    /// All connections that are not closed, and those that wait for late packets.
    pub fn handles(&self) -> impl Iterator<Item = ConnectionHandle> + '_ {
        self.connections.keys().copied()
    }

    /// How many handshakes are kept of which nobody has proven to be there.
    pub fn unproven(&self) -> usize {
        self.unproven.count()
    }

    /// The next of those who asked for a connection, were where they said, and had not the pre-shared key. Of those that nobody
    /// asks for the first 16 are kept.
    pub fn poll_stranger(&mut self) -> Option<Route> {
        self.unproven.poll_stranger()
    }

    fn params(&self) -> Params {
        Params {
            max_datagram: self.config.max_datagram,
            idle_timeout: self.config.idle_timeout,
            window_total: INITIAL_TOTAL,
            window_each: INITIAL_EACH,
            max_streams: self.config.max_streams,
        }
    }

    /// Takes over a connection whose initiator has proven to be there, with the datagram that proves it.
    fn admit(&mut self, now: Instant, received: Received, id: ConnectionId, admission: Admission, datagram: &mut [u8]) {
        let start = SessionStart {
            config: Arc::clone(&self.config),
            params: self.params(),
            budget: self.budget.clone(),
            established: admission.established,
            third: None,
            // If the datagram comes from elsewhere, the connection finds out who is there.
            route: admission.route,
            local_ip: received.local_ip,
            round_trip: admission.round_trip,
            random: self.random.fork(),
        };
        let mut connection = Connection::accepted(now, start);
        debug_assert_eq!(connection.side(), Side::Responder);
        connection.handle_datagram(now, &received, datagram);
        let handle = self.add(id, connection);
        self.incoming.push_back(handle);
    }

    fn add(&mut self, id: ConnectionId, connection: Connection) -> ConnectionHandle {
        let handle = ConnectionHandle(self.next_handle);
        self.next_handle += 1;
        let slot = Slot { connection, id, deadline: None, is_ready: false, is_eventful: false };
        self.connections.insert(handle, slot);
        self.by_id.insert(id, handle);
        self.touch(handle);
        handle
    }

    /// A connection may have datagrams or events.
    fn touch(&mut self, handle: ConnectionHandle) {
        let Some(slot) = self.connections.get_mut(&handle) else { return };
        if !std::mem::replace(&mut slot.is_ready, true) {
            self.ready.push_back(handle);
        }
        if !std::mem::replace(&mut slot.is_eventful, true) {
            self.eventful.push_back(handle);
        }
    }

    /// Notes when a connection that has nothing to send wants to be called.
    fn rearm(&mut self, handle: ConnectionHandle) {
        let Some(slot) = self.connections.get_mut(&handle) else { return };
        let deadline = slot.connection.poll_timeout();
        if deadline == slot.deadline {
            return;
        }
        if let Some(old) = slot.deadline {
            self.deadlines.remove(&(old, handle));
        }
        if let Some(new) = deadline {
            self.deadlines.insert((new, handle));
        }
        slot.deadline = deadline;
    }

    fn remove_if_over(&mut self, handle: ConnectionHandle) {
        let Some(slot) = self.connections.get(&handle).filter(|slot| slot.connection.is_over()) else { return };
        self.by_id.remove(&slot.id);
        if let Some(at) = slot.deadline {
            self.deadlines.remove(&(at, handle));
        }
        self.connections.remove(&handle);
    }

    fn fresh_id(&mut self) -> ConnectionId {
        loop {
            let id = ConnectionId(self.random.u64());
            if !self.by_id.contains_key(&id) && !self.unproven.has(id) {
                return id;
            }
        }
    }
}

/// Largest UDP payload (IPv4: 65,535 less 28).
const MAX_DATAGRAM: u16 = 65_507;
