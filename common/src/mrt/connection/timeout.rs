//! When time has passed.

use std::time::{Duration, Instant};

use super::moving::SILENT;
use super::receive::Found;
use super::session::{Ending, Session};
use crate::mrt::congestion::AckSummary;
use crate::mrt::timers::Timer;

/// Packets sent when nothing was acknowledged for a probe timeout (RFC 9002, section 6.2.4).
const PROBES: u8 = 2;

/// Longest time between two probes.
const MAX_PROBE_PAUSE: Duration = Duration::from_secs(3);

/// From so many probe timeouts in a row on, large packets may be what does not pass.
const BLACK_HOLE: u32 = 3;

/// After a black hole larger packets are tried again this much later.
const BLACK_HOLE_PAUSE: Duration = Duration::from_secs(1);

impl Session {
    /// The time that [`Self::poll_timeout`] gave has come.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(timer) = self.timers.expired(now) {
            match timer {
                Timer::Loss => self.on_loss_timeout(now),
                Timer::Idle => self.vanish(),
                Timer::Drain => self.ending = Ending::Over,
                Timer::KeepAlive => {
                    self.due.ping = true;
                    self.rearm_keep_alive(now);
                }
                Timer::Silence => {
                    // Padded, so that an address that is new to the other side gets credit for an answer.
                    (self.due.ping, self.due.padding) = (true, true);
                    self.data_in_row = 0;
                }
                Timer::Path => self.give_up_paths(now),
                // Whether these are due is told by their owners when packets are made.
                Timer::Ack | Timer::Pacing | Timer::Mtu => {}
            }
        }
    }

    /// When it wants to be called.
    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        if self.is_usable() {
            let may_send = self.path.may_send();
            self.timers.set_to(Timer::Ack, self.acks.deadline().filter(|_| may_send));
            self.timers.set_to(Timer::Mtu, self.path.mtu.next_search().filter(|_| self.may_probe_mtu()));
            let pause = self.challenge_pause();
            let paths = std::iter::once(&self.path).chain(&self.others);
            self.timers.set_to(Timer::Path, paths.filter_map(|path| path.challenge_deadline(pause)).min());
        }
        self.timers.next()
    }

    fn on_loss_timeout(&mut self, now: Instant) {
        if self.overtaken.is_some() {
            if self.detect_losses(now) == Found::Nothing {
                return;
            }
            let summary =
                AckSummary { rtt: &self.path.rtt, sample: None, in_flight: self.path.in_flight, congested: 0 };
            self.path.congestion.on_batch(now, summary);
            self.follow_window();
            return;
        }
        if !self.sent.has_outstanding() {
            return;
        }
        self.counts.probe_timeouts += 1;
        self.probe_timeouts = self.probe_timeouts.saturating_add(1);
        self.last_probe_timeout = Some(now);
        self.path.congestion.on_probe_timeout(now);
        if self.probe_timeouts == BLACK_HOLE {
            self.on_black_hole(now);
        }
        if self.probe_timeouts == SILENT {
            self.ask_elsewhere(now);
        }
        self.streams.probe();
        self.due.probes = PROBES;
        self.due.ping = true;
        self.set_loss_timer();
    }

    /// Large packets seem not to pass any more.
    pub(super) fn on_black_hole(&mut self, now: Instant) {
        if self.path.mtu.on_black_hole(now, BLACK_HOLE_PAUSE) {
            self.path.congestion.set_packet(u64::from(self.path.mtu.current()));
        }
    }

    /// Sets when to look for losses again: when a packet that was overtaken must be held for lost; else when it is time
    /// for a probe.
    pub(super) fn set_loss_timer(&mut self) {
        let probe = || {
            let last = self.sent.last_eliciting().filter(|_| self.sent.has_outstanding())?;
            let timeout = self.path.rtt.probe_timeout(self.frequency.delay);
            let pause = timeout.saturating_mul(1 << self.probe_timeouts.min(10)).min(MAX_PROBE_PAUSE.max(timeout));
            // Where nothing may be sent, as to an address without credit, the last packet is older than the last timeout.
            Some(self.last_probe_timeout.map_or(last, |timeout| timeout.max(last)) + pause)
        };
        let at = self.overtaken.or_else(probe);
        self.timers.set_to(Timer::Loss, at);
    }
}
