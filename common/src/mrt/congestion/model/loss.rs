//! Which losses are the path's own, and which are ours.

use super::super::rate::{Pressure, Rate, SentState, scale};

/// The share of packets that the path loses for no reason of ours: of the packets that left more slowly than the path
/// delivers. The counts fade, so that about the last [`MEMORY`] packets count.
#[derive(Debug, Default)]
pub(super) struct AmbientLoss {
    calm_acked: u64,
    calm_lost: u64,
    /// Calm packets counted of late: halved with each push.
    fresh: u64,
    /// All packets since the last push.
    acked: u64,
    lost: u64,
}

/// Packets after which the counts are halved.
const MEMORY: u64 = 1024;
/// Packets before which nothing is said.
const LEAST: u64 = 64;
/// Recent packets below which the share may be out of date.
const LEAST_FRESH: u64 = 32;
/// Percent of lost packets up to which the path may be excused. Somewhat above the 15 that no random loss should cost
/// rate, since shares of few packets scatter.
const MOST_EXCUSED: u64 = 18;
/// A share is clearly another one if it differs by a factor of 2, and these percent, and so many packets.
const CLEAR_PERCENT: u64 = 2;
const CLEAR_PACKETS: u64 = 3;

impl AmbientLoss {
    pub(super) fn on_acked(&mut self, pressure: Pressure) {
        self.acked += 1;
        if pressure == Pressure::Calm {
            self.calm_acked += 1;
            self.on_calm();
        }
    }

    pub(super) fn on_lost(&mut self, pressure: Pressure) {
        self.lost += 1;
        if pressure == Pressure::Calm {
            self.calm_lost += 1;
            self.on_calm();
        }
    }

    /// A packet that was counted as lost had only been late.
    pub(super) fn on_spurious_loss(&mut self, pressure: Pressure) {
        self.lost = self.lost.saturating_sub(1);
        if pressure == Pressure::Calm {
            self.calm_lost = self.calm_lost.saturating_sub(1);
        }
    }

    /// How many the path is expected to lose while it delivers `delivered` (packets or bytes).
    pub(super) fn beside(&self, delivered: u64) -> u64 {
        if self.calm_acked + self.calm_lost < LEAST {
            return 0;
        }
        let lost = self.calm_lost.min(self.calm_acked * MOST_EXCUSED / (100 - MOST_EXCUSED));
        delivered.saturating_mul(lost) / self.calm_acked.max(1)
    }

    /// Whether `lost` beside `delivered` is clearly more than the path loses by itself; `unit` is what a packet counts.
    pub(super) fn is_exceeded(&self, delivered: u64, lost: u64, unit: u64) -> bool {
        let noise = scale(delivered + lost, CLEAR_PERCENT) + CLEAR_PACKETS * unit;
        lost > self.beside(delivered) * 2 + noise
    }

    /// A push begins.
    pub(super) const fn on_push(&mut self) {
        self.fresh /= 2;
        self.acked = 0;
        self.lost = 0;
    }

    /// Whether the share is out of date: what was lost of late does not fit it.
    pub(super) fn is_doubtful(&self) -> bool {
        let noise = scale(self.acked, CLEAR_PERCENT) + CLEAR_PACKETS;
        let too_high = self.beside(self.acked) > self.lost * 2 + noise;
        self.fresh < LEAST_FRESH && (too_high || self.is_exceeded(self.acked, self.lost, 1))
    }

    const fn on_calm(&mut self) {
        self.fresh += 1;
        if self.calm_acked + self.calm_lost >= MEMORY {
            self.calm_acked /= 2;
            self.calm_lost /= 2;
        }
    }
}

/// What became of the packets of one push.
#[derive(Debug, Default)]
pub(super) struct PushRecord {
    /// The rate before it.
    before: Rate,
    acked: u64,
    lost: u64,
    /// What was under way when clearly more was lost than the path loses by itself.
    too_much: Option<u64>,
}

/// By so many hundredths the rate must have grown for a push to have found more.
const CLEAR_GROWTH: u64 = 115;

/// Whether a queue was seen when a packet was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    Seen,
    Unseen,
}

impl PushRecord {
    pub(super) fn new(before: Rate) -> Self {
        Self { before, ..Self::default() }
    }

    pub(super) fn on_acked(&mut self, pressure: Pressure) {
        if pressure == Pressure::Pushing {
            self.acked += 1;
        }
    }

    pub(super) fn on_lost(&mut self, state: &SentState, ambient: &AmbientLoss, queue: Queue) {
        if state.pressure() == Pressure::Pushing {
            self.lost += 1;
            if queue == Queue::Seen && ambient.is_exceeded(self.acked, self.lost, 1) {
                self.too_much.get_or_insert_with(|| state.in_flight());
            }
        }
    }

    /// How much under way was too much, if it was.
    pub(super) const fn too_much(&self) -> Option<u64> {
        self.too_much
    }

    /// Whether the path turned out to carry clearly more than before.
    pub(super) fn has_found_more(&self, now: Rate) -> bool {
        now > self.before.percent(CLEAR_GROWTH)
    }
}

/// More than this under way was too much. It is raised by each push that does no harm, faster each time.
#[derive(Debug)]
pub(super) struct Ceiling {
    bytes: Option<u64>,
    /// By which part of it it is raised next.
    part: u64,
}

/// Part of the ceiling by which it is raised first: it costs a shallow queue little if that is too much again.
const FIRST_PART: u64 = 64;
/// A push of a shallow queue goes so many hundredths as far the next time.
const BELOW_TOO_MUCH: u64 = 97;

impl Ceiling {
    pub(super) const fn new() -> Self {
        Self { bytes: None, part: FIRST_PART }
    }

    pub(super) const fn get(&self) -> Option<u64> {
        self.bytes
    }

    pub(super) const fn set(&mut self, bytes: u64) {
        self.bytes = Some(bytes);
        self.part = FIRST_PART;
    }

    pub(super) const fn lift(&mut self) {
        self.bytes = None;
    }

    /// Learns from a push that is over; above `irrelevant` bytes there is no ceiling any more.
    pub(super) fn learn(&mut self, push: &PushRecord, packet: u64, irrelevant: u64) {
        if let Some(too_much) = push.too_much {
            self.set(scale(too_much, BELOW_TOO_MUCH));
        } else if let Some(bytes) = self.bytes {
            let raised = bytes + bytes / self.part + packet;
            self.part = (self.part / 2).max(2);
            self.bytes = (raised < irrelevant).then_some(raised);
        }
    }
}
