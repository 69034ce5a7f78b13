//! Packets out.

use std::time::Instant;

use super::CloseReason;
use super::session::{Ending, Session};
use crate::mrt::acks::Eliciting;
use crate::mrt::crypto::KeyUse;
use crate::mrt::frame::{CloseCode, Frame, FrameWriter};
use crate::mrt::loss::{Kind, SentFrame};
use crate::mrt::packet::{MIN_MTU, Packet, TAG_LENGTH};
use crate::mrt::path::{Ecn, Path, Transmit, Validation};
use crate::mrt::timers::Timer;

/// So much credit an RCLS needs on an unproven path: with its longest reason it takes some 300 bytes.
const CLOSE_CREDIT: u64 = 320;

/// Most packets that are remembered because the oldest is neither acknowledged nor lost: twice what a window of 64 MiB has
/// in the smallest packets. Only who acknowledges nothing and keeps sending gets there.
const MAX_REMEMBERED: usize = 1 << 17;

/// After so many packets to twice as many a number is left out: each costs an acknowledgement.
pub(super) const SKIP_LEAST: u64 = 500;

/// Most bytes of one system call with several datagrams: what fits a UDP datagram of IPv4.
const MAX_BATCH: usize = 65_507;

impl Session {
    /// Appends the next datagrams to `out`.
    pub(super) fn poll_transmit(&mut self, now: Instant, segments: usize, out: &mut Vec<u8>) -> Option<Transmit> {
        match self.ending {
            Ending::Not => {}
            Ending::Closing { .. } => return self.transmit_close(now, out),
            Ending::Draining | Ending::Over => return None,
        }
        if std::mem::take(&mut self.untuned) {
            self.streams.tune_windows(now, self.path.rtt.smoothed());
        }
        self.transmit_beside(now, out)
            .or_else(|| self.transmit_mtu_probe(now, out))
            .or_else(|| self.transmit_in_use(now, segments, out))
    }

    /// Full packets on the path in use, and a last one that is not full.
    fn transmit_in_use(&mut self, now: Instant, segments: usize, out: &mut Vec<u8>) -> Option<Transmit> {
        let start = out.len();
        // A second probe is small: large packets may be what does not pass.
        let careful = self.due.probes > 0 && self.probe_timeouts > 1;
        let size = if careful { MIN_MTU } else { usize::from(self.path.mtu.current()) };
        let mut count = 0;
        self.timers.stop(Timer::Pacing);
        while count < segments.max(1) && out.len() - start + size <= MAX_BATCH {
            let Some(written) = self.write_packet(now, size, out) else { break };
            count += 1;
            if written < size {
                break;
            }
        }
        if count == 0 {
            return None;
        }
        // A probe timeout counts from the last packet.
        self.set_loss_timer();
        let segment_size = (count > 1).then_some(size);
        Some(Self::transmit(&self.path, out.len() - start, segment_size))
    }

    /// Writes one packet of at most `size` bytes; gives how many it has. `None`: there is nothing to send, or it must not be
    /// sent now.
    fn write_packet(&mut self, now: Instant, size: usize, out: &mut Vec<u8>) -> Option<usize> {
        if !self.path.may_send() {
            return None;
        }
        let credit = self.path.credit();
        let size = size.min(usize::try_from(credit).unwrap_or(usize::MAX));
        let held = self.hold(now, size as u64);
        let pause = self.challenge_pause();
        let urgent =
            self.acks.is_due(now) || self.path.response.is_some() || self.path.due_challenge(now, pause).is_some();
        let wants = self.due.ping || self.due.frequency || self.due.probes > 0 || self.streams.has_frames();
        if !urgent && (held || !wants) {
            return None;
        }
        if self.sent.count() > MAX_REMEMBERED {
            let reason = "nothing is acknowledged";
            self.close(now, CloseCode::ACK, reason, CloseReason::Violation(reason));
            return None;
        }
        self.skip_number(now);
        let (start, number) = (out.len(), self.sent.next_number());
        self.turn_key(number)?;
        if let Some(third) = &self.third {
            Packet::encode_confirm(out, self.destination, third);
        }
        let sealed_from = out.len();
        Packet::encode_data(out, self.destination, self.crypto.phase(), number);
        let head = out.len();
        let eliciting = self.write_frames(now, held, &mut FrameWriter::new(out, start + size - TAG_LENGTH));
        if out.len() == head {
            out.truncate(start);
            return None;
        }
        if self.due.padding && eliciting == Eliciting::Yes {
            out.resize(start + size - TAG_LENGTH, 0);
            self.due.padding = false;
        }
        self.crypto.seal(number, out, sealed_from);
        let written = out.len() - start;
        self.on_packet_sent(now, written, if eliciting == Eliciting::Yes { Kind::Eliciting } else { Kind::Silent });
        Some(written)
    }

    /// Leaves out a number now and then, so that acknowledgements cannot be made up.
    fn skip_number(&mut self, now: Instant) {
        let next = self.sent.next_number();
        if next >= self.next_skip {
            self.sent.skip(now);
            self.next_skip = next + SKIP_LEAST + self.random.u64() % SKIP_LEAST;
        }
    }

    /// Whether window or pacer hold back a packet of `size` bytes that is not a probe.
    fn hold(&mut self, now: Instant, size: u64) -> bool {
        if self.due.probes > 0 {
            return false;
        }
        let path = &mut self.path;
        // One packet is always allowed, however large it is.
        if path.in_flight > 0 && path.in_flight + size > path.congestion.window() {
            return true;
        }
        let has_frames = self.streams.has_frames();
        if path.congestion.allowance(now) == 0 {
            if has_frames || self.due.ping || self.due.frequency {
                self.timers.set_to(Timer::Pacing, path.congestion.next_burst(now));
            }
            return true;
        }
        if !has_frames {
            path.congestion.on_app_limited(path.in_flight);
        }
        false
    }

    /// Fills a packet on the path in use.
    fn write_frames(&mut self, now: Instant, held: bool, out: &mut FrameWriter<'_>) -> Eliciting {
        let mut eliciting = Eliciting::No;
        let remote = self.path.route.remote;
        if let Some(token) = self.path.response
            && out.put(&Frame::Response { token, observed: remote })
        {
            (self.path.response, eliciting) = (None, Eliciting::Yes);
        }
        // As long as the address is unproven, every packet asks: one of them will get through.
        if let Validation::Challenged { token, .. } = self.path.validation
            && out.put(&Frame::Challenge(token))
        {
            self.path.on_challenge_sent(now);
            eliciting = Eliciting::Yes;
        }
        if (self.acks.is_waiting() || self.acks.is_due(now))
            && let Some(largest) = self.acks.write(now, out)
        {
            self.sent.add_frame(SentFrame::Acks(largest));
            if self.acks.wants_pruning(now, self.path.rtt.smoothed() / 4) {
                self.due.ping = true;
            }
        }
        if held {
            return eliciting;
        }
        let frequency = Frame::AckFrequency {
            packets: self.frequency.packets,
            delay_us: u64::try_from(self.frequency.delay.as_micros()).unwrap_or(u64::MAX),
        };
        if self.due.frequency && out.put(&frequency) {
            self.sent.add_frame(SentFrame::AckFrequency);
            (self.due.frequency, eliciting) = (false, Eliciting::Yes);
        }
        let Self { sent, streams, .. } = self;
        streams.write_frames(out, &mut |frame| {
            sent.add_frame(SentFrame::Stream(frame));
            eliciting = Eliciting::Yes;
        });
        let ping = self.due.ping || self.due.probes > 0;
        if ping && (eliciting == Eliciting::Yes || out.put(&Frame::Ping)) {
            (self.due.ping, eliciting) = (false, Eliciting::Yes);
        }
        eliciting
    }

    /// Keeps account of a packet that was written for the path in use.
    fn on_packet_sent(&mut self, now: Instant, written: usize, kind: Kind) {
        let bytes = written as u64;
        let state = (kind == Kind::Eliciting).then(|| {
            let state = self.path.congestion.on_sent(now, bytes, self.path.in_flight);
            self.path.in_flight += bytes;
            state
        });
        let size = u16::try_from(written).expect("a packet is no larger than a datagram");
        self.sent.on_sent(now, size, self.path.number, kind, state);
        self.path.on_sent(bytes);
        self.counts.datagrams_sent += 1;
        self.counts.bytes_sent += bytes;
        if kind == Kind::Eliciting {
            self.due.probes = self.due.probes.saturating_sub(1);
            self.rearm_keep_alive(now);
        }
    }

    /// A packet that is larger than what is known to pass.
    fn transmit_mtu_probe(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        if !self.may_probe_mtu() {
            return None;
        }
        let (start, number) = (out.len(), self.sent.next_number());
        self.turn_key(number)?;
        let size = self.path.mtu.probe(now)?;
        Packet::encode_data(out, self.destination, self.crypto.phase(), number);
        FrameWriter::new(out, start + usize::from(size)).put(&Frame::Ping);
        out.resize(start + usize::from(size) - TAG_LENGTH, 0);
        self.crypto.seal(number, out, start);
        self.on_packet_sent(now, usize::from(size), Kind::MtuProbe);
        self.set_loss_timer();
        Some(Self::transmit(&self.path, usize::from(size), None))
    }

    /// Larger packets are tried after the handshake is confirmed, and not while nothing is acknowledged.
    pub(super) fn may_probe_mtu(&self) -> bool {
        self.path.is_proven() && self.sent.largest_acked().is_some() && self.probe_timeouts == 0
    }

    /// A challenge or an answer on a path that is not in use.
    fn transmit_beside(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        // Who acknowledges nothing makes us remember these, too.
        if self.others.is_empty() || self.sent.count() > MAX_REMEMBERED {
            return None;
        }
        let (number, pause) = (self.sent.next_number(), self.challenge_pause());
        self.turn_key(number)?;
        let path = self
            .others
            .iter_mut()
            .find(|path| path.may_send() && (path.response.is_some() || path.due_challenge(now, pause).is_some()))?;
        let (response, challenge) = (path.response.take(), path.due_challenge(now, pause));
        if challenge.is_some() {
            path.on_challenge_sent(now);
        }
        let (credit, start) = (path.credit(), out.len());
        Packet::encode_data(out, self.destination, self.crypto.phase(), number);
        let room = usize::try_from(credit).unwrap_or(usize::MAX).min(MIN_MTU);
        let mut frames = FrameWriter::new(out, start + room - TAG_LENGTH);
        if let Some(token) = response {
            frames.put(&Frame::Response { token, observed: path.route.remote });
        }
        if let Some(token) = challenge {
            frames.put(&Frame::Challenge(token));
        }
        self.crypto.seal(number, out, start);
        let written = out.len() - start;
        path.on_sent(written as u64);
        let (number, transmit) = (path.number, Self::transmit(path, written, None));
        let size = u16::try_from(written).expect("a challenge is no larger than a datagram");
        // Challenges are repeated by a timer of their own: nobody waits for these packets.
        self.sent.on_sent(now, size, number, Kind::Silent, None);
        self.counts.datagrams_sent += 1;
        self.counts.bytes_sent += written as u64;
        Some(transmit)
    }

    /// Changes the key for packet `number`, if it is time. `None`: nothing can be sealed any more.
    fn turn_key(&mut self, number: u64) -> Option<()> {
        match self.crypto.update_if_due(number, self.sent.largest_acked()) {
            KeyUse::Fresh => Some(()),
            KeyUse::WantsAck => {
                self.due.ping = true;
                Some(())
            }
            KeyUse::Spent => {
                self.exhausted();
                None
            }
        }
    }

    /// The word that it is over.
    fn transmit_close(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Transmit> {
        let Ending::Closing { code, reason, due, .. } = &mut self.ending else { return None };
        if self.path.credit() < CLOSE_CREDIT || !std::mem::take(due) {
            return None;
        }
        let (start, number) = (out.len(), self.sent.next_number());
        if let Some(third) = &self.third {
            Packet::encode_confirm(out, self.destination, third);
        }
        let sealed_from = out.len();
        Packet::encode_data(out, self.destination, self.crypto.phase(), number);
        let close = Frame::Close { code: *code, reason: reason.as_bytes() };
        FrameWriter::new(out, start + MIN_MTU - TAG_LENGTH).put(&close);
        self.crypto.seal(number, out, sealed_from);
        let written = out.len() - start;
        self.on_packet_sent(now, written, Kind::Silent);
        Some(Self::transmit(&self.path, written, None))
    }

    fn transmit(path: &Path, size: usize, segment_size: Option<usize>) -> Transmit {
        Transmit { route: path.route, local_ip: path.local_ip, ecn: Ecn::Capable, size, segment_size }
    }
}

#[cfg(test)]
impl Session {
    /// See [`super::Connection::forge`].
    pub(super) fn forge(&mut self, now: Instant, frames: &[u8]) -> Vec<u8> {
        let (mut out, number) = (Vec::new(), self.sent.next_number());
        Packet::encode_data(&mut out, self.destination, self.crypto.phase(), number);
        out.extend_from_slice(frames);
        self.crypto.seal(number, &mut out, 0);
        self.on_packet_sent(now, out.len(), Kind::Silent);
        out
    }
}
