//! One deadline of each kind: the only place where a connection keeps times at which it wants to be called.

use std::time::Instant;

/// What may be due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// Packets may be held for lost, or a probe is due.
    Loss,
    /// An acknowledgement was held back long enough.
    Ack,
    /// The pacer lets the next packets go.
    Pacing,
    /// Nothing came for too long.
    Idle,
    /// Something should be said, so that routers remember the flow.
    KeepAlive,
    /// The stream of data that came has stopped: is the other side still there?
    Silence,
    /// A path did not answer its challenge.
    Path,
    /// The next search for larger packets.
    Mtu,
    /// The state of a closed connection may go.
    Drain,
}

impl Timer {
    const ALL: [Self; 9] = [
        Self::Loss,
        Self::Ack,
        Self::Pacing,
        Self::Idle,
        Self::KeepAlive,
        Self::Silence,
        Self::Path,
        Self::Mtu,
        Self::Drain,
    ];
}

/// The deadlines of a connection.
#[derive(Debug, Default)]
pub(super) struct Timers {
    deadlines: [Option<Instant>; Timer::ALL.len()],
}

impl Timers {
    /// Sets when `timer` is due, whatever it was before.
    pub(super) fn set(&mut self, timer: Timer, at: Instant) {
        *self.slot(timer) = Some(at);
    }

    /// Sets when `timer` is due, or that it is not.
    pub(super) fn set_to(&mut self, timer: Timer, at: Option<Instant>) {
        *self.slot(timer) = at;
    }

    /// `timer` is not due any more.
    pub(super) fn stop(&mut self, timer: Timer) {
        *self.slot(timer) = None;
    }

    /// When `timer` is due.
    pub(super) fn get(&self, timer: Timer) -> Option<Instant> {
        self.deadlines.get(timer as usize).copied().flatten()
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.deadlines.iter().flatten().min().copied()
    }

    /// A timer whose time has come, which is stopped by that.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Timer> {
        let due = Timer::ALL.into_iter().find(|timer| self.get(*timer).is_some_and(|at| at <= now))?;
        self.stop(due);
        Some(due)
    }

    fn slot(&mut self, timer: Timer) -> &mut Option<Instant> {
        self.deadlines.get_mut(timer as usize).expect("there is a place for each timer")
    }
}
