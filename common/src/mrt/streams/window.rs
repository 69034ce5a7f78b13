//! How much the other side may send: the receive window of a connection, and how it tunes itself.
//!
//! What is promised and not yet consumed never exceeds the window (but for what was promised before it shrank), and the
//! window is what this connection has of the budget. It grows to three times of what comes in a round trip, so that
//! it limits no sender that doubles its rate each round trip, nor one that has to send things again and again.

use std::time::{Duration, Instant};

use super::budget::{Budget, Share};
use crate::mrt::frame::{Frame, MAX_VARINT};

/// What every connection may promise beyond the budget: enough to begin with, and to live with when there is no more.
pub(super) const MIN_WINDOW: u64 = 256 << 10;

/// What it takes as soon as it stands, if there is so much.
const START_WINDOW: u64 = 1 << 20;

/// The window grows when more than this part of it comes within a round trip.
const GROW_AT: u64 = 3;

/// It does not grow while more than this part of it waits to be read: less than what makes it grow, so that what fills it
/// for want of a reader is not taken for a fast sender.
const UNREAD_AT: u64 = GROW_AT + 1;

/// Nothing faster than this is measured: how long a program may take to come to read.
const MIN_ROUND_TRIP: Duration = Duration::from_millis(1);

/// A new promise is due when so much of the window is free.
const RENEW_AT: u64 = 4;

/// This part of the window is kept from any single stream, so that one that nobody reads does not block the others.
const KEPT_FROM_ONE: u64 = 8;

/// The receive window over all streams. Sums are over all streams since the beginning.
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    share: Share,
    /// What may be promised and not consumed.
    size: u64,
    /// Sum up to which the other side may send.
    promised: u64,
    /// Offset up to which it may send on each stream.
    promised_each: u64,
    /// Sum of the highest offsets.
    received: u64,
    /// Sum of what could be read at some time.
    ready: u64,
    /// Sum of what was read.
    consumed: u64,
    /// A WIND is due.
    due: bool,
    meter: Meter,
}

/// Measures what came within about the last round trip.
#[derive(Debug, Default)]
struct Meter {
    /// When the current half of a round trip began, and what had come then.
    began: Option<(Instant, u64)>,
    /// What came in the half before it.
    previous: u64,
    /// What had come, and what had become readable, at the last look.
    last: (u64, u64),
}

/// What tuning did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tuned {
    /// Each stream may be promised more.
    pub(super) grown: bool,
    /// Another half of a round trip began.
    pub(super) turned: bool,
}

impl ReceiveWindow {
    /// The window of a connection that was promised [`MIN_WINDOW`] in its handshake.
    pub(super) fn new(budget: Budget) -> Self {
        let mut share = Share::new(budget);
        let size = MIN_WINDOW + share.take(START_WINDOW - MIN_WINDOW);
        Self {
            share,
            size,
            promised: MIN_WINDOW,
            promised_each: MIN_WINDOW,
            received: 0,
            ready: 0,
            consumed: 0,
            due: size > MIN_WINDOW,
            meter: Meter::default(),
        }
    }

    /// How much more may come.
    pub(super) const fn credit(&self) -> u64 {
        self.promised - self.received
    }

    /// Offset up to which each stream was allowed to go.
    pub(super) const fn promised_each(&self) -> u64 {
        self.promised_each
    }

    /// Window of a single stream.
    pub(super) const fn each(&self) -> u64 {
        self.size - self.size / KEPT_FROM_ONE
    }

    /// The highest offsets grew by so much, of which [`Self::credit`] was not exceeded.
    pub(super) fn on_received(&mut self, bytes: u64) {
        self.received += bytes;
    }

    /// So much more can be read.
    pub(super) fn on_ready(&mut self, bytes: u64) {
        self.ready += bytes;
    }

    /// So much was read, or is thrown away.
    pub(super) fn on_consumed(&mut self, bytes: u64) {
        self.consumed += bytes;
        self.settle();
        self.renew();
    }

    /// Whether a WIND is due.
    pub(super) const fn is_due(&self) -> bool {
        self.due
    }

    /// The WIND to send.
    pub(super) fn frame(&self) -> Frame<'static> {
        Frame::Window { total: self.next_promise(), each: self.promised_each.max(self.each()) }
    }

    /// It was sent: the promise holds.
    pub(super) fn on_sent(&mut self) {
        self.promised = self.next_promise();
        self.promised_each = self.promised_each.max(self.each());
        self.due = false;
    }

    /// A WIND is held for lost.
    pub(super) fn on_lost(&mut self) {
        self.due = true;
    }

    /// Lets the window grow or shrink.
    pub(super) fn tune(&mut self, now: Instant, round_trip: Duration) -> Tuned {
        // A program that does not come to read what is there gains nothing from a larger window.
        let left_over = self.meter.last.1.saturating_sub(self.consumed);
        let (measured, turned) = self.meter.measure(now, round_trip, self.received, self.ready);
        let old = self.size;
        if let Some(ceiling) = self.share.ceiling() {
            self.size = self.size.min(MIN_WINDOW + ceiling);
            self.settle();
        } else if left_over > self.size / UNREAD_AT {
            self.share.content();
        } else {
            // What waits behind gaps keeps the window shut until the last of them is filled.
            self.grow(measured.max(self.received.saturating_sub(self.ready)));
        }
        let grown = self.size > old;
        if grown {
            self.due |= self.each() > self.promised_each;
            self.renew();
        }
        Tuned { grown, turned }
    }

    fn grow(&mut self, measured: u64) {
        let mut wanted = self.size;
        while measured > wanted / GROW_AT {
            wanted *= 2;
        }
        if wanted == self.size {
            self.share.content();
            return;
        }
        // What was promised before the window shrank is still held.
        let held = MIN_WINDOW + self.share.taken();
        self.size = held + self.share.take(wanted.saturating_sub(held));
    }

    /// Gives back what the window has shrunk by, as far as it is not promised.
    fn settle(&mut self) {
        let held = self.size.max(self.promised - self.consumed);
        self.share.keep(held.saturating_sub(MIN_WINDOW));
    }

    fn renew(&mut self) {
        self.due |= self.next_promise() - self.promised >= self.size / RENEW_AT;
    }

    fn next_promise(&self) -> u64 {
        self.promised.max((self.consumed + self.size).min(MAX_VARINT))
    }
}

impl Meter {
    /// Bytes that came within about the last round trip, if `received` came in all, and whether another half of one began.
    fn measure(&mut self, now: Instant, round_trip: Duration, received: u64, ready: u64) -> (u64, bool) {
        let half = round_trip.max(MIN_ROUND_TRIP) / 2;
        let (before, _) = std::mem::replace(&mut self.last, (received, ready));
        let (began, base) = *self.began.get_or_insert((now, before));
        let elapsed = now.saturating_duration_since(began);
        if elapsed < half {
            return (self.previous + (received - base), false);
        }
        // What came just now belongs to the half that begins.
        self.previous = if elapsed < 2 * half { before - base } else { 0 };
        self.began = Some((now, before));
        (self.previous + (received - before), true)
    }
}

#[cfg(test)]
impl ReceiveWindow {
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// What is promised and not consumed.
    pub(super) const fn open(&self) -> u64 {
        self.promised - self.consumed
    }
}
