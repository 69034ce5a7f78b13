//! The machine, and who waits for what in it: what the loop and the handles of the program share.
//!
//! One mutex. Who changed something that may have to be sent rouses the loop; the loop tells those who wait when events
//! say so. Wakers are called after the mutex is free again.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use common::mrt::{
    CloseCode, Connection as Machine, ConnectionEvent, ConnectionHandle, Endpoint, Event, Remote, Route, StreamEvent,
    StreamId, Target, WriteError,
};
use tokio::sync::Notify;

use super::error::ConnectionError;

/// Connections that stand and wait to be accepted; those beyond are closed with [`BUSY`].
const MOST_INCOMING: usize = 1024;
/// Why a connection is closed that nobody accepts.
const BUSY: &str = "not accepted";
/// Events of the paths of a connection that are kept for the program; beyond, the oldest go.
const MOST_PATH_EVENTS: usize = 16;

/// What happened to a way to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathEvent {
    /// It works in both directions.
    Validated {
        /// Which.
        route: Route,
        /// Its round trip.
        round_trip: Duration,
        /// Where we seemed to be, as the other side saw it.
        observed: SocketAddr,
    },
    /// It did not answer, and is given up.
    Failed(Route),
    /// Packets are sent on it from now on.
    InUse(Route),
}

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

/// One connection.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) signals: Arc<Signals>,
    phase: Phase,
    holder: Holder,
    streams: HashMap<StreamId, StreamEntry>,
    path_events: VecDeque<PathEvent>,
}

/// How far a connection is. It only goes forward.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    Connecting,
    Open(Remote),
    Closed(ConnectionError),
}

/// Who has a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    /// The other side asked for it, and it does not stand yet or waits to be accepted.
    Nobody,
    /// The program.
    Program,
    /// Not the program any more.
    Dropped,
}

/// What tasks of a connection wait for, besides reading and writing.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// It stands.
    pub(super) connected: Notify,
    /// The other side opened a stream.
    pub(super) opened: Notify,
    /// One more stream may be opened.
    pub(super) may_open: Notify,
    /// There are events of paths.
    pub(super) paths: Notify,
    /// It is closed.
    pub(super) closed: Notify,
}

/// A stream that the program has; each half until it is dropped.
#[derive(Debug, Default)]
struct StreamEntry {
    reading: Option<Half>,
    writing: Option<Half>,
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Who waits for it: one task, since it takes `&mut` to wait.
    waker: Option<Waker>,
    /// How it ended, if it is one for writing. Kept here, since the machine forgets a stream that is over.
    pub(super) outcome: Option<Outcome>,
}

/// How a stream ended that was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All that was written is acknowledged, the end too.
    Finished,
    /// The other side does not want the rest, with this number.
    Stopped(u64),
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

/// Which half of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Reading,
    Writing,
}

impl Shared {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let state = State {
            endpoint,
            connections: HashMap::new(),
            incoming: VecDeque::new(),
            stage: Stage::Open,
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
        match &state.stage {
            Stage::Open => {}
            Stage::Closing | Stage::Stopping => return Err(ConnectionError::Node),
            Stage::Ended(error) => return Err(error.clone()),
        }
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
        while let Some(handle) = state.incoming.pop_front() {
            if let Some(entry) = state.connections.get_mut(&handle)
                && let Phase::Open(remote) = entry.phase
            {
                entry.holder = Holder::Program;
                return Some(Some((handle, remote, Arc::clone(&entry.signals))));
            }
        }
        matches!(state.stage, Stage::Open).then_some(None)
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

impl State {
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
                entry.on_path_event(PathEvent::Validated { route, round_trip, observed });
            }
            ConnectionEvent::PathFailed(route) => entry.on_path_event(PathEvent::Failed(route)),
            ConnectionEvent::PathInUse(route) => entry.on_path_event(PathEvent::InUse(route)),
            ConnectionEvent::Closed(reason) => {
                tracing::debug!(connection = handle.0, %reason, "closed");
                entry.close(reason.into(), wakers);
                if entry.holder != Holder::Program {
                    self.connections.remove(&handle);
                }
            }
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
trait Release {
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

impl Entry {
    fn new(holder: Holder) -> Self {
        Self {
            signals: Arc::default(),
            phase: Phase::Connecting,
            holder,
            streams: HashMap::new(),
            path_events: VecDeque::new(),
        }
    }

    /// The program has a stream from now on.
    pub(super) fn add_stream(&mut self, id: StreamId) {
        let both = StreamEntry { reading: Some(Half::default()), writing: Some(Half::default()) };
        self.streams.insert(id, both);
    }

    /// A half of a stream that the program has.
    pub(super) fn half(&mut self, id: StreamId, direction: Direction) -> Option<&mut Half> {
        let stream = self.streams.get_mut(&id)?;
        match direction {
            Direction::Reading => stream.reading.as_mut(),
            Direction::Writing => stream.writing.as_mut(),
        }
    }

    /// The task of `context` is woken when something happens to this half.
    pub(super) fn wait(&mut self, id: StreamId, direction: Direction, context: &Context<'_>) {
        if let Some(half) = self.half(id, direction)
            && !half.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker()))
        {
            half.waker = Some(context.waker().clone());
        }
    }

    fn remove_half(&mut self, id: StreamId, direction: Direction) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match direction {
            Direction::Reading => stream.reading = None,
            Direction::Writing => stream.writing = None,
        }
        if stream.reading.is_none() && stream.writing.is_none() {
            self.streams.remove(&id);
        }
    }

    fn on_stream_event(&mut self, machine: &mut Machine, event: StreamEvent, wakers: &mut Vec<Waker>) {
        let (id, direction) = match event {
            StreamEvent::Opened => return self.signals.opened.notify_waiters(),
            StreamEvent::MayOpen => return self.signals.may_open.notify_waiters(),
            StreamEvent::Readable(id) => (id, Direction::Reading),
            StreamEvent::Writable(id) | StreamEvent::Finished(id) => (id, Direction::Writing),
        };
        let Some(half) = self.half(id, direction) else { return };
        match event {
            StreamEvent::Finished(_) => half.outcome = Some(Outcome::Finished),
            StreamEvent::Writable(_) => {
                if let Err(WriteError::Stopped(code)) = machine.write(id, &[]) {
                    half.outcome = Some(Outcome::Stopped(code));
                }
            }
            StreamEvent::Opened | StreamEvent::MayOpen | StreamEvent::Readable(_) => {}
        }
        wakers.extend(half.waker.take());
    }

    fn on_path_event(&mut self, event: PathEvent) {
        if self.path_events.len() >= MOST_PATH_EVENTS {
            self.path_events.pop_front();
        }
        self.path_events.push_back(event);
        self.signals.paths.notify_waiters();
    }

    fn close(&mut self, error: ConnectionError, wakers: &mut Vec<Waker>) {
        if matches!(self.phase, Phase::Closed(_)) {
            return;
        }
        self.phase = Phase::Closed(error);
        for stream in self.streams.values_mut() {
            wakers.extend(
                [&mut stream.reading, &mut stream.writing].into_iter().flatten().filter_map(|half| half.waker.take()),
            );
        }
        let Signals { connected, opened, may_open, paths, closed } = &*self.signals;
        for signal in [connected, opened, may_open, paths, closed] {
            signal.notify_waiters();
        }
    }
}

/// Calls all wakers.
pub(super) fn wake(wakers: &mut Vec<Waker>) {
    wakers.drain(..).for_each(Waker::wake);
}

/// Waits until `check` gives something; it is asked again each time `signal` is given.
pub(super) async fn until<T>(signal: &Notify, mut check: impl FnMut() -> Option<T>) -> T {
    loop {
        let mut told = std::pin::pin!(signal.notified());
        // From here on no signal is missed, and only then is it worth looking.
        told.as_mut().enable();
        if let Some(value) = check() {
            return value;
        }
        told.await;
    }
}
