//! One connection as the program has it: how far it is, who waits for what in it, and what happened to its paths.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use common::mrt::{Connection as Machine, Remote, Route, StreamEvent, StreamId, WriteError};
use tokio::sync::Notify;

use super::error::ConnectionError;

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
        /// Where we seemed to be, as the other side saw it; `None` where that was through a relay.
        observed: Option<SocketAddr>,
    },
    /// It did not answer, and is given up.
    Failed(Route),
    /// Packets are sent on it from now on.
    InUse(Route),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) signals: Arc<Signals>,
    pub(super) phase: Phase,
    pub(super) holder: Holder,
    streams: HashMap<StreamId, StreamEntry>,
    pub(super) path_events: VecDeque<PathEvent>,
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
pub(super) enum Holder {
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

/// Which half of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Reading,
    Writing,
}

impl Entry {
    pub(super) fn new(holder: Holder) -> Self {
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

    pub(super) fn remove_half(&mut self, id: StreamId, direction: Direction) {
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match direction {
            Direction::Reading => stream.reading = None,
            Direction::Writing => stream.writing = None,
        }
        if stream.reading.is_none() && stream.writing.is_none() {
            self.streams.remove(&id);
        }
    }

    pub(super) fn on_stream_event(&mut self, machine: &mut Machine, event: StreamEvent, wakers: &mut Vec<Waker>) {
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

    pub(super) fn on_path_event(&mut self, event: PathEvent) {
        if self.path_events.len() >= MOST_PATH_EVENTS {
            self.path_events.pop_front();
        }
        self.path_events.push_back(event);
        self.signals.paths.notify_waiters();
    }

    pub(super) fn close(&mut self, error: ConnectionError, wakers: &mut Vec<Waker>) {
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
