//! Changes of path. The other side moves when its newest packet comes from elsewhere; we move when the program says so. A
//! new address is challenged, and is sent little until it answers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::ConnectionEvent;
use super::session::{MAX_PATHS, Session, Switched};
use crate::mrt::Side;
use crate::mrt::loss::{Kind, SentFrame};
use crate::mrt::path::{Path, Received, Route, Validation};
use crate::mrt::timers::Timer;

/// From so many probe timeouts in a row on, the path in use may be dead.
pub(super) const SILENT: u32 = 3;

impl Session {
    /// Tries a path.
    pub(super) fn probe_path(&mut self, now: Instant, route: Route) {
        if route == self.path.route {
            return;
        }
        let challenge = self.challenge(now);
        if let Some(path) = self.others.iter_mut().find(|path| path.route == route) {
            path.challenge_anew(challenge);
        } else {
            let path = self.new_path(now, route, challenge);
            self.keep_beside(path);
        }
    }

    /// Sends on a validated path from now on.
    pub(super) fn switch(&mut self, now: Instant, route: Route) -> bool {
        if route == self.path.route {
            return true;
        }
        let is_good = |path: &Path| path.route == route && path.is_proven() && !path.is_stale(now);
        let Some(at) = self.others.iter().position(is_good) else { return false };
        let path = self.others.remove(at);
        // Of several switches in a row the other side may know none yet.
        let mut from = if self.is_switch_known() {
            Vec::new()
        } else {
            self.switched.take().map(|last| last.from).unwrap_or_default()
        };
        from.retain(|left| *left != route);
        from.push(self.path.route);
        let beyond = from.len().saturating_sub(MAX_PATHS + 1);
        from.drain(..beyond);
        self.switched = Some(Switched { from, number: self.sent.next_number() });
        self.use_path(path);
        // Tells the other side to follow.
        self.due.ping = true;
        self.set_loss_timer();
        self.rearm_keep_alive(now);
        true
    }

    /// A packet came on a path, known or not.
    pub(super) fn on_received_on(&mut self, now: Instant, received: &Received, bytes: u64) {
        if received.route != self.path.route {
            self.on_heard_beside(now, received.route);
        }
        if let Some(path) = self.path_on(received.route) {
            path.on_received(now, bytes);
            path.local_ip = received.local_ip;
        }
    }

    /// A packet came on a path that is not in use: one that is new, or old, is challenged.
    fn on_heard_beside(&mut self, now: Instant, route: Route) {
        let known = self.others.iter().position(|path| path.route == route);
        if known.and_then(|at| self.others.get(at)).is_some_and(|path| !(path.is_proven() && path.is_stale(now))) {
            return;
        }
        let challenge = self.challenge(now);
        match known.and_then(|at| self.others.get_mut(at)) {
            Some(path) => path.challenge_anew(challenge),
            None => {
                let path = self.new_path(now, route, challenge);
                self.keep_beside(path);
            }
        }
    }

    /// The newest packet came from elsewhere: the other side has moved, and so do we.
    pub(super) fn follow(&mut self, now: Instant, route: Route) {
        // Before the handshake is confirmed each packet carries a part of it, for which a new address has no credit.
        if self.third.is_some() || self.is_behind(route) {
            return;
        }
        let Some(at) = self.others.iter().position(|path| path.route == route) else { return };
        let mut path = self.others.remove(at);
        let same_host = route.socket == self.path.route.socket && route.remote.ip() == self.path.route.remote.ip();
        // Back to the old port before the new one was proven: what was inherited comes back, too.
        if same_host && !(path.is_proven() && self.path.is_proven()) {
            let config = self.path_config();
            path.inherit(now, &mut self.path, &config);
            // What is under way was counted by what they have exchanged: it belongs to neither any more.
            for path in [&mut path, &mut self.path] {
                (path.number, path.in_flight) = (self.next_path, 0);
                self.next_path = self.next_path.wrapping_add(1);
            }
        } else {
            path.resume(&self.path);
        }
        if path.validation == Validation::Failed {
            path.validation = self.challenge(now);
        }
        self.use_path(path);
        self.set_loss_timer();
    }

    /// Whether a packet on `route` says nothing about where the other side wants to be, since we moved ourselves and it may
    /// not have known. When both move at once, the initiator's path is the one.
    fn is_behind(&mut self, route: Route) -> bool {
        if self.is_switch_known() {
            self.switched = None;
        }
        let Some(switched) = &self.switched else { return false };
        self.side == Side::Initiator || switched.from.contains(&route)
    }

    /// Whether the other side has got something that was sent after our last switch.
    fn is_switch_known(&self) -> bool {
        let acked = self.sent.largest_acked();
        self.switched.as_ref().is_none_or(|switched| acked.is_some_and(|acked| acked >= switched.number))
    }

    /// The other side wants to know whether we are there.
    pub(super) fn on_challenge(&mut self, route: Route, token: [u8; 8]) {
        if let Some(path) = self.path_on(route) {
            path.response = Some(token);
        }
    }

    /// An answer to a challenge came. It counts for the path that was challenged, whichever way it came.
    pub(super) fn on_response(&mut self, now: Instant, token: [u8; 8], observed: SocketAddr) {
        let in_use = self.path.number;
        let answered = std::iter::once(&mut self.path)
            .chain(&mut self.others)
            .find_map(|path| path.on_response(now, token).map(|round_trip| (path, round_trip)));
        let Some((path, round_trip)) = answered else { return };
        let (route, number) = (path.route, path.number);
        self.events.push_back(ConnectionEvent::PathValidated { route, round_trip, observed });
        if number == in_use {
            self.abandon_others(now);
            self.set_loss_timer();
        } else if self.is_silent() {
            self.switch(now, route);
        }
    }

    /// Whether the path in use may be dead.
    pub(super) fn is_silent(&self) -> bool {
        self.probe_timeouts >= SILENT || self.path.validation == Validation::Failed
    }

    /// Nothing is acknowledged on the path in use any more: perhaps somebody still answers on another. The first that does is
    /// used.
    pub(super) fn ask_elsewhere(&mut self, now: Instant) {
        for at in 0..self.others.len() {
            let challenge = self.challenge(now);
            if let Some(path) = self.others.get_mut(at).filter(|path| path.is_proven()) {
                path.challenge_anew(challenge);
            }
        }
    }

    /// Gives up paths that did not answer.
    pub(super) fn give_up_paths(&mut self, now: Instant) {
        let pause = self.challenge_pause();
        let events = &mut self.events;
        self.others.retain(|path| {
            let failed = path.has_failed(now, pause);
            if failed {
                events.push_back(ConnectionEvent::PathFailed(path.route));
            }
            !failed
        });
        if !self.path.has_failed(now, pause) {
            return;
        }
        // Back to where somebody answered before, if there is such a path; else it is tried until the connection ends.
        if !self.leave_path(now) {
            self.path.validation = self.challenge(now);
        }
    }

    /// These routes lead nowhere any more.
    pub(super) fn forget_routes(&mut self, now: Instant, is_gone: &impl Fn(Route) -> bool) {
        let events = &mut self.events;
        self.others.retain(|path| {
            let gone = is_gone(path.route);
            if gone {
                events.push_back(ConnectionEvent::PathFailed(path.route));
            }
            !gone
        });
        if is_gone(self.path.route) && self.leave_path(now) {
            // Tells the other side to follow.
            self.due.ping = true;
            self.rearm_keep_alive(now);
        }
    }

    /// The path in use has failed: back to the last one that is proven. Says whether there is one.
    fn leave_path(&mut self, now: Instant) -> bool {
        self.events.push_back(ConnectionEvent::PathFailed(self.path.route));
        self.path.validation = Validation::Failed;
        if let Some(at) = self.others.iter().rposition(Path::is_proven) {
            let mut path = self.others.remove(at);
            if path.is_stale(now) {
                path.challenge_anew(self.challenge(now));
            }
            self.use_path(path);
            self.others.retain(|path| path.validation != Validation::Failed);
            self.set_loss_timer();
            return true;
        }
        false
    }

    /// How long an answer to a challenge may take before the next one is sent.
    pub(super) fn challenge_pause(&self) -> Duration {
        self.path.rtt.smoothed() * 3 / 2
    }

    /// The path on this route.
    pub(super) fn path_on(&mut self, route: Route) -> Option<&mut Path> {
        if self.path.route == route {
            return Some(&mut self.path);
        }
        self.others.iter_mut().find(|path| path.route == route)
    }

    fn use_path(&mut self, path: Path) {
        self.events.push_back(ConnectionEvent::PathInUse(path.route));
        let old = std::mem::replace(&mut self.path, path);
        self.keep_beside(old);
        self.timers.stop(Timer::Pacing);
        self.probe_timeouts = 0;
        self.follow_window();
    }

    /// What was sent elsewhere and not acknowledged went where nobody was.
    fn abandon_others(&mut self, now: Instant) {
        let Self { sent, streams, path, others, due, .. } = self;
        sent.abandon_other_paths(path.number, |packet, frames| {
            // What was learned on it may have been inherited by the path in use.
            if packet.kind == Kind::MtuProbe {
                path.mtu.on_probe_lost(now, packet.size);
            }
            if let Some(other) = others.iter_mut().find(|other| other.number == packet.path) {
                other.on_settled_beside(now, packet);
            }
            for frame in frames {
                match frame {
                    SentFrame::Stream(frame) => streams.on_lost(&frame),
                    SentFrame::AckFrequency => due.frequency = true,
                    SentFrame::Acks(_) => {}
                }
            }
        });
    }

    fn keep_beside(&mut self, path: Path) {
        self.others.push(path);
        if self.others.len() > MAX_PATHS {
            // Never the one that has just come, or no new path could be followed any more.
            let before = self.others.iter().take(MAX_PATHS);
            let oldest_unproven = before.clone().position(|path| !path.is_proven());
            let gone = self.others.remove(oldest_unproven.unwrap_or(0));
            if oldest_unproven.is_some() {
                self.events.push_back(ConnectionEvent::PathFailed(gone.route));
            }
        }
    }

    fn new_path(&mut self, now: Instant, route: Route, validation: Validation) -> Path {
        let (number, config) = (self.next_path, self.path_config());
        self.next_path = self.next_path.wrapping_add(1);
        Path::new(now, route, number, validation, &config)
    }

    fn challenge(&mut self, now: Instant) -> Validation {
        Validation::Challenged { token: self.random.u64().to_be_bytes(), since: now, last: None, tries: 0 }
    }
}
