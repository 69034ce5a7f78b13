//! The machine, and who waits for what in it: what the loop and the handles of the program share.
//!
//! One mutex. Who changed something that may have to be sent rouses the loop; the loop tells those who wait when events
//! say so. Wakers are called after the mutex is free again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Instant;

use common::mrt::{
    CloseCode, CloseReason, Connection as Machine, ConnectionEvent, ConnectionHandle, Endpoint, Event, Remote, Route,
    StreamId, Target,
};
use tokio::sync::Notify;

use super::aside::Aside;
use super::entry::{Direction, Entry, Holder, PathEvent, Phase, Signals};
use super::error::ConnectionError;
use super::forwarding::Forwarding;
use super::relayed::{Via, is_pseudo};
use super::stun::Stun;
use super::waiting::wake;
use super::ways::{SocketId, Ways};

/// Connections that stand and wait to be accepted; those beyond are closed with [`BUSY`].
pub(super) const MOST_INCOMING: usize = if cfg!(test) { 32 } else { 1024 };
/// Why a connection is closed that nobody accepts.
const BUSY: &str = "not accepted";

/// What the loop and the handles share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Told when there is something to accept, and when there never will be.
    pub(super) incoming: Notify,
    /// Told when the loop has ended.
    pub(super) ended: Notify,
}

/// What is behind the mutex.
#[derive(Debug)]
pub(super) struct State {
    pub(super) endpoint: Endpoint,
    connections: HashMap<ConnectionHandle, Entry>,
    incoming: VecDeque<ConnectionHandle>,
    pub(super) stage: Stage,
    pub(super) ways: Ways,
    /// What the node itself has to send.
    pub(super) aside: Aside,
    pub(super) stun: Stun,
    /// What it forwards, if it is a relay.
    pub(super) forwarding: Option<Forwarding>,
    /// Something was changed since the loop last looked.
    attention: bool,
    /// The loop, while it sleeps.
    sleeper: Option<Waker>,
}

/// How far a node is. It only goes forward.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    Open,
    /// No new connections; the loop ends when the last has gone.
    Closing,
    /// The loop is to end now.
    Stopping,
    /// The loop has ended.
    Ended(ConnectionError),
}

/// Whether what was done may give something to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attention {
    Needed,
    NotNeeded,
}

impl Attention {
    /// Of an operation on streams.
    pub(super) fn of(machine: &Machine) -> Self {
        if machine.wants_to_send() { Self::Needed } else { Self::NotNeeded }
    }
}

impl Shared {
    pub(super) fn new(now: Instant, endpoint: Endpoint, ways: Ways) -> Self {
        let state = State {
            endpoint,
            connections: HashMap::new(),
            incoming: VecDeque::new(),
            stage: Stage::Open,
            ways,
            aside: Aside::default(),
            stun: Stun::new(now),
            forwarding: None,
            attention: false,
            sleeper: None,
        };
        Self { state: Mutex::new(state), incoming: Notify::new(), ended: Notify::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Does something with an open connection.
    pub(super) fn act<T>(
        &self,
        handle: ConnectionHandle,
        operation: impl FnOnce(&mut Machine, &mut Entry) -> (Attention, T),
    ) -> Result<T, ConnectionError> {
        let mut state = self.lock();
        let (machine, entry) = state.open_connection(handle)?;
        let (attention, result) = operation(machine, entry);
        state.release(attention);
        Ok(result)
    }

    /// Looks at an open connection.
    pub(super) fn look<T>(
        &self,
        handle: ConnectionHandle,
        look: impl FnOnce(&Machine) -> T,
    ) -> Result<T, ConnectionError> {
        let state = self.lock();
        state.entry_of_open(handle)?;
        state.endpoint.peek(handle).map(look).ok_or(ConnectionError::Node)
    }

    /// Closes a connection, unless it is closed.
    pub(super) fn close_connection(&self, handle: ConnectionHandle, now: Instant, code: CloseCode, reason: &str) {
        let mut wakers = Vec::new();
        let mut state = self.lock();
        let Ok((machine, _)) = state.open_connection(handle) else { return };
        machine.close(now, code, reason);
        // At once, so that whoever uses it from now on learns that it is closed and nothing else.
        state.tell_events(&self.incoming, &mut wakers);
        state.release(Attention::Needed);
        wake(&mut wakers);
    }

    /// Asks for a connection.
    pub(super) fn connect(
        &self,
        now: Instant,
        route: Route,
        target: Target,
    ) -> Result<(ConnectionHandle, Arc<Signals>), ConnectionError> {
        let mut state = self.lock();
        state.stage.must_be_open()?;
        let route = state.ways.checked(route)?;
        let handle = state.endpoint.connect(now, route, target)?;
        let entry = Entry::new(Holder::Program);
        let signals = Arc::clone(&entry.signals);
        state.connections.insert(handle, entry);
        state.release(Attention::Needed);
        Ok((handle, signals))
    }

    /// The next connection that waits to be accepted; `None` when there will be no more, and nothing in it when there is
    /// none yet.
    pub(super) fn accept(&self) -> Option<Option<(ConnectionHandle, Remote, Arc<Signals>)>> {
        let mut state = self.lock();
        if !matches!(state.stage, Stage::Open) {
            return None;
        }
        while let Some(handle) = state.incoming.pop_front() {
            if let Some(entry) = state.connections.get_mut(&handle)
                && let Phase::Open(remote) = entry.phase
            {
                entry.holder = Holder::Program;
                return Some(Some((handle, remote, Arc::clone(&entry.signals))));
            }
        }
        Some(None)
    }

    /// Tries a path of a connection.
    pub(super) fn probe(&self, now: Instant, handle: ConnectionHandle, route: Route) -> Result<(), ConnectionError> {
        let mut state = self.lock();
        let route = state.ways.checked(route)?;
        let (machine, _) = state.open_connection(handle)?;
        machine.probe(now, route);
        state.release(Attention::Needed);
        Ok(())
    }

    /// A socket is to go; says whether it was there.
    pub(super) fn remove_socket(&self, now: Instant, socket: SocketId) -> bool {
        let mut state = self.lock();
        let was_there = state.remove_socket(now, socket);
        state.release(Attention::Needed);
        was_there
    }

    /// A relayed way is to go; says whether it was there.
    pub(super) fn remove_relayed(&self, now: Instant, route: Route) -> bool {
        let mut state = self.lock();
        let was_there = state.ways.relayed.remove(route);
        if was_there {
            state.endpoint.forget_routes(now, |gone| gone == route);
        }
        state.release(Attention::Needed);
        was_there
    }

    /// How far a connection is that the program has.
    pub(super) fn phase(&self, handle: ConnectionHandle) -> Phase {
        let state = self.lock();
        state.connections.get(&handle).map_or(Phase::Closed(ConnectionError::Node), |entry| entry.phase.clone())
    }

    /// The oldest event of the paths of a connection.
    pub(super) fn path_event(&self, handle: ConnectionHandle) -> Result<Option<PathEvent>, ConnectionError> {
        let mut state = self.lock();
        let Some(entry) = state.connections.get_mut(&handle) else { return Err(ConnectionError::Node) };
        match (entry.path_events.pop_front(), &entry.phase) {
            (Some(event), _) => Ok(Some(event)),
            (None, Phase::Closed(error)) => Err(error.clone()),
            (None, _) => Ok(None),
        }
    }

    /// The program has dropped the last handle of a connection.
    pub(super) fn drop_connection(&self, handle: ConnectionHandle) {
        let mut state = self.lock();
        let Some(entry) = state.connections.get_mut(&handle) else { return };
        entry.holder = Holder::Dropped;
        if matches!(entry.phase, Phase::Closed(_)) {
            state.connections.remove(&handle);
        } else if let Some(machine) = state.endpoint.connection(handle) {
            machine.close(Instant::now(), CloseCode::DONE, "");
            state.release(Attention::Needed);
        }
    }

    /// The program has dropped one half of a stream. `last_words` are said if the connection is open.
    pub(super) fn drop_half(
        &self,
        handle: ConnectionHandle,
        id: StreamId,
        direction: Direction,
        last_words: impl FnOnce(&mut Machine),
    ) {
        let mut state = self.lock();
        if let Some(entry) = state.connections.get_mut(&handle) {
            entry.remove_half(id, direction);
        }
        let Some(machine) = state.endpoint.connection(handle) else { return };
        last_words(machine);
        let attention = Attention::of(machine);
        state.release(attention);
    }

    /// No connection is taken or asked for any more; those that are open are closed. The loop ends when they have gone.
    pub(super) fn close(&self, now: Instant, code: CloseCode, reason: &str) {
        let mut state = self.lock();
        if !matches!(state.stage, Stage::Open) {
            return;
        }
        state.stage = Stage::Closing;
        state.incoming.clear();
        let handles: Vec<ConnectionHandle> = state.endpoint.handles().collect();
        for handle in handles {
            if let Some(machine) = state.endpoint.connection(handle) {
                machine.close(now, code, reason);
            }
        }
        state.release(Attention::Needed);
        self.incoming.notify_waiters();
    }

    /// No program has the node any more: it goes on for the connections that the program has, and takes no new ones.
    pub(super) fn abandon(&self, now: Instant) {
        let mut state = self.lock();
        if !matches!(state.stage, Stage::Open) {
            return;
        }
        state.stage = Stage::Closing;
        while let Some(handle) = state.incoming.pop_front() {
            if let Some(machine) = state.endpoint.connection(handle) {
                machine.close(now, CloseCode::DONE, BUSY);
            }
        }
        state.release(Attention::Needed);
    }

    /// The loop is to end, whatever is left.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        if !matches!(state.stage, Stage::Ended(_)) {
            state.stage = Stage::Stopping;
            state.release(Attention::Needed);
        }
    }

    /// The loop has ended: nothing is sent or received any more, and all who wait are told so.
    pub(super) fn end(&self, error: ConnectionError) {
        let mut wakers = Vec::new();
        let mut state = self.lock();
        for entry in state.connections.values_mut() {
            entry.close(error.clone(), &mut wakers);
        }
        state.connections.retain(|_, entry| entry.holder == Holder::Program);
        state.incoming.clear();
        state.stage = Stage::Ended(error);
        drop(state);
        wake(&mut wakers);
        self.incoming.notify_waiters();
        self.ended.notify_waiters();
    }
}

impl Stage {
    /// Whether new things may be begun; the error says why not.
    pub(super) fn must_be_open(&self) -> Result<(), ConnectionError> {
        match self {
            Self::Open => Ok(()),
            Self::Closing | Self::Stopping => Err(ConnectionError::Node),
            Self::Ended(error) => Err(error.clone()),
        }
    }
}

impl State {
    /// The error says that a connection is not open any more.
    pub(super) fn must_be_connected(&self, handle: ConnectionHandle) -> Result<(), ConnectionError> {
        self.entry_of_open(handle).map(|_| ())
    }

    fn entry_of_open(&self, handle: ConnectionHandle) -> Result<&Entry, ConnectionError> {
        let entry = self.connections.get(&handle).ok_or(ConnectionError::Node)?;
        match &entry.phase {
            Phase::Closed(error) => Err(error.clone()),
            Phase::Connecting | Phase::Open(_) => Ok(entry),
        }
    }

    fn open_connection(&mut self, handle: ConnectionHandle) -> Result<(&mut Machine, &mut Entry), ConnectionError> {
        self.entry_of_open(handle)?;
        let machine = self.endpoint.connection(handle).ok_or(ConnectionError::Node)?;
        let entry = self.connections.get_mut(&handle).ok_or(ConnectionError::Node)?;
        Ok((machine, entry))
    }

    /// The loop has begun to look at everything.
    pub(super) const fn attend(&mut self) {
        self.attention = false;
    }

    /// The loop wants to sleep until somebody calls `waker`. Says whether something was changed already since it looked.
    pub(super) fn sleep(&mut self, waker: &Waker) -> bool {
        self.sleeper = Some(waker.clone());
        self.attention
    }

    /// Tells all events. Who is to be woken once the mutex is free is put into `wakers`.
    pub(super) fn tell_events(&mut self, incoming: &Notify, wakers: &mut Vec<Waker>) {
        while let Some(event) = self.endpoint.poll_event() {
            match event {
                Event::Incoming(handle) => {
                    self.connections.insert(handle, Entry::new(Holder::Nobody));
                }
                Event::Connection(handle, event) => self.tell(handle, event, incoming, wakers),
            }
        }
    }

    fn tell(&mut self, handle: ConnectionHandle, event: ConnectionEvent, incoming: &Notify, wakers: &mut Vec<Waker>) {
        let Some(entry) = self.connections.get_mut(&handle) else { return };
        match event {
            ConnectionEvent::Connected => self.on_connected(handle, incoming),
            ConnectionEvent::Stream(event) => {
                if let Some(machine) = self.endpoint.connection(handle) {
                    entry.on_stream_event(machine, event, wakers);
                }
            }
            ConnectionEvent::PathValidated { route, round_trip, observed } => {
                let observed = Some(observed).filter(|observed| !is_pseudo(*observed));
                entry.on_path_event(PathEvent::Validated { route, round_trip, observed });
                self.follow_member(handle);
            }
            ConnectionEvent::PathFailed(route) => entry.on_path_event(PathEvent::Failed(route)),
            ConnectionEvent::PathInUse(route) => {
                entry.on_path_event(PathEvent::InUse(route));
                self.follow_member(handle);
            }
            ConnectionEvent::Closed(reason) => self.on_closed(handle, reason, wakers),
        }
    }

    fn on_connected(&mut self, handle: ConnectionHandle, incoming: &Notify) {
        let (Some(machine), Some(entry)) = (self.endpoint.connection(handle), self.connections.get_mut(&handle)) else {
            return;
        };
        let Some(remote) = machine.remote() else { return };
        entry.phase = Phase::Open(remote);
        if entry.holder != Holder::Nobody {
            entry.signals.connected.notify_waiters();
        } else if matches!(self.stage, Stage::Open) && self.incoming.len() < MOST_INCOMING {
            self.incoming.push_back(handle);
            incoming.notify_waiters();
        } else {
            machine.close(Instant::now(), CloseCode::DONE, BUSY);
            self.attention = true;
        }
        self.follow_member(handle);
    }

    fn on_closed(&mut self, handle: ConnectionHandle, reason: CloseReason, wakers: &mut Vec<Waker>) {
        let Some(entry) = self.connections.get_mut(&handle) else { return };
        tracing::debug!(connection = handle.0, %reason, "closed");
        entry.close(reason.into(), wakers);
        let holder = entry.holder;
        if holder != Holder::Program {
            self.connections.remove(&handle);
        }
        if holder == Holder::Nobody {
            self.incoming.retain(|waiting| *waiting != handle);
        }
        self.lose_member(handle);
        self.forget_relayed(Instant::now(), |via| via == Via::Connection(handle));
    }

    /// A socket is gone, or to go: its paths have failed. Says whether it was there.
    pub(super) fn remove_socket(&mut self, now: Instant, socket: SocketId) -> bool {
        let was_there = self.ways.remove(socket);
        if was_there {
            self.endpoint.forget_routes(now, |route| route.socket == socket.0);
            self.forget_relayed(now, |via| matches!(via, Via::Fixed(route) if route.socket == socket.0));
        }
        was_there
    }

    /// Relays that `is_gone` names are gone, and the paths through them have failed.
    fn forget_relayed(&mut self, now: Instant, is_gone: impl Fn(Via) -> bool) {
        let gone = self.ways.relayed.remove_via(is_gone);
        if !gone.is_empty() {
            self.endpoint.forget_routes(now, |route| gone.contains(&route));
            self.attention = true;
        }
    }

    /// Ends a change: gives the mutex back and rouses the loop, if that is needed.
    fn rouse(&mut self, attention: Attention) -> Option<Waker> {
        if attention == Attention::NotNeeded {
            return None;
        }
        self.attention = true;
        self.sleeper.take()
    }
}

/// Gives the mutex back.
pub(super) trait Release {
    /// Frees the mutex, and rouses the loop if `attention` is needed.
    fn release(self, attention: Attention);
}

impl Release for MutexGuard<'_, State> {
    fn release(mut self, attention: Attention) {
        let sleeper = self.rouse(attention);
        drop(self);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
    }
}
