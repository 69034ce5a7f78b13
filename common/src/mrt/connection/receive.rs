//! Packets in.

use std::time::{Duration, Instant};

use super::CloseReason;
use super::session::{Ending, Session};
use crate::mrt::acks::{Eliciting, Frequency};
use crate::mrt::congestion::AckSummary;
use crate::mrt::crypto::OpenError;
use crate::mrt::frame::{Acks, CloseCode, Frame, Frames};
use crate::mrt::loss::{Kind, SentFrame};
use crate::mrt::packet::{Packet, expand_number};
use crate::mrt::path::{Ecn, Received};
use crate::mrt::streams::Violation;
use crate::mrt::timers::Timer;

/// Most frames of a packet. An honest one has at most 32 of streams and some six others; thousands would cost far more to
/// work through than to send.
const MAX_FRAMES: usize = 64;

/// What the frames of a packet make of it.
#[derive(Debug, Clone, Copy)]
struct Content {
    eliciting: Eliciting,
    /// Something else than what paths are tried with: the other side uses this path.
    in_use: bool,
    /// Bytes of a stream.
    data: bool,
    /// The connection was closed by it.
    closed: bool,
}

impl Session {
    /// A datagram came. What cannot be opened is as if it had not come.
    pub(super) fn handle_datagram(&mut self, now: Instant, received: &Received, datagram: &mut [u8]) {
        let bytes = datagram.len() as u64;
        let Some((number, payload)) = self.open(now, datagram) else {
            self.counts.datagrams_refused += u64::from(received.route == self.path.route);
            return;
        };
        self.counts.datagrams_received += 1;
        self.counts.bytes_received += bytes;
        match &mut self.ending {
            Ending::Not => {}
            Ending::Closing { due, came, .. } => {
                // Said again to the first, second, fourth, eighth packet that still comes.
                *came += 1;
                *due |= came.is_power_of_two();
                self.on_received_on(now, received, bytes);
                return;
            }
            Ending::Draining | Ending::Over => return,
        }
        let route = received.route;
        self.on_received_on(now, received, bytes);
        let content = match self.handle_frames(now, received, payload) {
            Ok(content) => content,
            Err(violation) => {
                self.close(now, violation.code, violation.reason, CloseReason::Violation(violation.reason));
                return;
            }
        };
        if content.closed {
            return;
        }
        let newest = number >= self.acks.expected();
        self.acks.on_packet(now, number, content.eliciting);
        if received.ecn == Ecn::CongestionExperienced {
            self.acks.on_congested();
        }
        if newest && content.in_use && route != self.path.route {
            self.follow(now, route);
        }
        self.timers.set(Timer::Idle, now + self.idle_timeout);
        self.rearm_keep_alive(now);
        if content.data {
            self.on_data_came(now);
        }
        self.untuned = true;
    }

    /// Opens the packet in `datagram`; gives its number and what was inside, if it is one that did not come before.
    fn open<'a>(&mut self, now: Instant, datagram: &'a mut [u8]) -> Option<(u64, &'a [u8])> {
        let skip = match Packet::decode(datagram) {
            Ok(Packet::Confirm { length, .. }) => length,
            _ => 0,
        };
        let sealed = datagram.get_mut(skip..)?;
        let Ok(Packet::Data { phase, number, .. }) = Packet::decode(sealed) else { return None };
        let number = expand_number(number, self.acks.expected());
        if !self.replay.is_new(number) {
            return None;
        }
        match self.crypto.open(phase, number, sealed) {
            Ok(payload) => {
                self.replay.mark(number);
                Some((number, payload))
            }
            Err(OpenError::Forged) => None,
            Err(OpenError::Exhausted) => {
                let reason = "too many forged packets";
                self.close(now, CloseCode::KEY, reason, CloseReason::Violation(reason));
                None
            }
        }
    }

    fn handle_frames(&mut self, now: Instant, received: &Received, payload: &[u8]) -> Result<Content, Violation> {
        let mut content = Content { eliciting: Eliciting::No, in_use: false, data: false, closed: false };
        for (count, frame) in Frames::new(payload).enumerate() {
            let Ok(frame) = frame else {
                return Err(Violation { code: CloseCode::FRAME, reason: "a packet with frames that cannot be read" });
            };
            if count == MAX_FRAMES {
                return Err(Violation { code: CloseCode::FRAME, reason: "a packet with too many frames" });
            }
            match frame {
                Frame::Acks(_) => content.in_use = true,
                Frame::Challenge(_) | Frame::Response { .. } => content.eliciting = Eliciting::Yes,
                Frame::Close { code, reason } => {
                    self.on_close(now, code, reason);
                    content.closed = true;
                    return Ok(content);
                }
                _ => {
                    content.data |= matches!(frame, Frame::Data { .. });
                    (content.eliciting, content.in_use) = (Eliciting::Yes, true);
                }
            }
            self.handle_frame(now, received, &frame)?;
        }
        Ok(content)
    }

    fn handle_frame(&mut self, now: Instant, received: &Received, frame: &Frame<'_>) -> Result<(), Violation> {
        match *frame {
            Frame::Ping | Frame::Close { .. } => Ok(()),
            Frame::Acks(acks) => self.on_acks(now, &acks),
            Frame::Reset { stream, code, size } => self.streams.on_reset(stream, code, size),
            Frame::Stop { stream, code } => self.streams.on_stop(stream, code),
            Frame::Window { total, each } => {
                self.streams.on_window(total, each);
                Ok(())
            }
            Frame::StreamWindow { stream, limit } => self.streams.on_stream_window(stream, limit),
            Frame::MaxStreams(count) => {
                self.streams.on_max_streams(count);
                Ok(())
            }
            Frame::AckFrequency { packets, delay_us } => {
                self.acks.set_frequency(Frequency { packets, delay: Duration::from_micros(delay_us) });
                Ok(())
            }
            Frame::Challenge(token) => {
                self.on_challenge(received.route, token);
                Ok(())
            }
            Frame::Response { token, observed } => {
                self.on_response(now, token, observed);
                Ok(())
            }
            Frame::Data { stream, offset, data, fin } => self.streams.on_data(stream, offset, data, fin),
        }
    }

    /// The other side tells which packets came.
    fn on_acks(&mut self, now: Instant, acks: &Acks<'_>) -> Result<(), Violation> {
        if acks.largest >= self.sent.next_number() {
            return Err(Violation { code: CloseCode::ACK, reason: "an acknowledgement of what was never sent" });
        }
        if acks.ranges().any(|range| self.sent.was_skipped(&range)) {
            return Err(Violation { code: CloseCode::ACK, reason: "an acknowledgement of what cannot have come" });
        }
        let newest = self.settle_acked(now, acks);
        if newest.any {
            self.probe_timeouts = 0;
            self.third = None;
        }
        let delay = Duration::from_micros(acks.delay_us).min(self.frequency.delay);
        let sample = newest.sent.map(|at| now.saturating_duration_since(at));
        if let Some(sample) = sample {
            if self.path.rtt.is_measured() {
                self.path.rtt.on_sample(sample, delay);
            } else {
                self.path.on_first_round_trip(now, sample);
            }
        }
        self.detect_losses(now);
        let congested = acks.congested.saturating_sub(self.congested);
        self.congested = self.congested.max(acks.congested);
        self.path
            .congestion
            .on_batch(now, AckSummary { rtt: &self.path.rtt, sample, in_flight: self.path.in_flight, congested });
        self.follow_window();
        self.choose_frequency();
        Ok(())
    }

    /// Settles what `acks` names.
    fn settle_acked(&mut self, now: Instant, acks: &Acks<'_>) -> Newest {
        let Self { sent, streams, acks: ours, path, others, counts, .. } = self;
        let mut newest = Newest { any: false, sent: None };
        for range in acks.ranges() {
            sent.on_late(now, &range, |packet| {
                counts.spurious_losses += 1;
                if let Some(state) = packet.state.filter(|_| packet.path == path.number) {
                    path.congestion.on_spurious_loss(now, &state, u64::from(packet.size));
                }
            });
            sent.on_acked(range, |number, packet, frames| {
                newest.any = true;
                if packet.path == path.number {
                    if number == acks.largest {
                        newest.sent = Some(packet.at);
                    }
                    if let Some(state) = packet.state {
                        path.in_flight = path.in_flight.saturating_sub(u64::from(packet.size));
                        path.congestion.on_acked(now, &state, u64::from(packet.size));
                    }
                    if packet.kind != Kind::MtuProbe {
                        path.mtu.on_acked(packet.size);
                    } else if path.mtu.on_probe_acked(now, packet.size) {
                        path.congestion.set_packet(u64::from(path.mtu.current()));
                    }
                } else if let Some(other) = others.iter_mut().find(|other| other.number == packet.path) {
                    other.on_settled_beside(now, packet);
                }
                for frame in frames {
                    match frame {
                        SentFrame::Stream(frame) => streams.on_acked(&frame),
                        SentFrame::Acks(largest) => ours.on_told(largest),
                        SentFrame::AckFrequency => {}
                    }
                }
            });
        }
        sent.on_acked_up_to(acks.largest);
        newest
    }

    /// Holds for lost what must be by now, and sets when to look again.
    pub(super) fn detect_losses(&mut self, now: Instant) -> Found {
        let Self { sent, streams, path, others, counts, due, overtaken, .. } = &mut *self;
        let mut found = Found::Nothing;
        let rtt = path.rtt;
        *overtaken = sent.detect(now, &rtt, |_, packet, frames| {
            found = Found::Losses;
            let is_probe = packet.kind == Kind::MtuProbe;
            counts.packets_lost += u64::from(!is_probe);
            if packet.path == path.number {
                if is_probe {
                    path.mtu.on_probe_lost(now, packet.size);
                } else {
                    path.mtu.on_lost(packet.size);
                }
                if let Some(state) = packet.state {
                    path.in_flight = path.in_flight.saturating_sub(u64::from(packet.size));
                    path.congestion.on_lost(now, &state, u64::from(packet.size));
                }
            } else if let Some(other) = others.iter_mut().find(|other| other.number == packet.path) {
                other.on_settled_beside(now, packet);
            } else if is_probe {
                // Of a path that is gone: the search for the size may have been inherited.
                path.mtu.on_probe_lost(now, packet.size);
            }
            for frame in frames {
                match frame {
                    SentFrame::Stream(frame) => streams.on_lost(&frame),
                    SentFrame::AckFrequency => due.frequency = true,
                    SentFrame::Acks(_) => {}
                }
            }
        });
        if self.path.mtu.is_black_hole() {
            self.on_black_hole(now);
        }
        self.set_loss_timer();
        found
    }

    /// Data has come: should it stop in the middle, the other side may not reach us any more (our router may have given us
    /// another port), and only a packet from here can mend that.
    fn on_data_came(&mut self, now: Instant) {
        /// So many packets in a row are a transfer.
        const TRANSFER: u32 = 8;
        /// Shortest pause that is taken for silence.
        const SHORTEST: Duration = Duration::from_millis(10);
        self.data_in_row = self.data_in_row.saturating_add(1);
        if self.data_in_row >= TRANSFER {
            self.timers.set(Timer::Silence, now + (self.path.rtt.smoothed() / 2).max(SHORTEST));
        }
    }

    /// Asks to be acknowledged about eight times in a window and in a round trip, if it was asked very differently before.
    fn choose_frequency(&mut self) {
        const PARTS: u32 = 8;
        let packets = self.path.congestion.window() / u64::from(self.path.mtu.current()) / u64::from(PARTS);
        let wanted = Frequency {
            packets: packets.clamp(Frequency::INITIAL.packets, Frequency::MAX_PACKETS),
            delay: (self.path.rtt.smoothed() / PARTS).clamp(Duration::from_millis(1), Frequency::MAX_DELAY),
        };
        let far = |a: u64, b: u64| a > b.saturating_mul(2) || b > a.saturating_mul(2);
        let micros = |delay: Duration| u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        if far(wanted.packets, self.frequency.packets) || far(micros(wanted.delay), micros(self.frequency.delay)) {
            self.frequency = wanted;
            self.due.frequency = true;
        }
    }
}

/// Whether packets were found lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Losses,
    Nothing,
}

/// What an ADAT was the first to acknowledge.
#[derive(Debug, Clone, Copy)]
struct Newest {
    any: bool,
    /// When the packet with its largest number was sent, if that is among them.
    sent: Option<Instant>,
}
