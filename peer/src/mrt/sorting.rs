//! What arrives, by kinds: MRT's own datagrams, STUN, and those that are relayed, to us or through us.

use std::ops::Range;
use std::time::Instant;

use common::mrt::{Received, Transmit};
use common::nat::is_stun;
use common::relay::{HEAD_LENGTH, RelayHead};

use super::driver::socket_of;
use super::relayed::{MOST_BYTES, Outside};
use super::shared::State;
use super::socket::{Sent, Socket};

/// A row of datagrams that is to be sent on, still where it was received.
#[derive(Debug)]
pub(super) struct Onward<'a> {
    transmit: Transmit,
    contents: &'a [u8],
}

/// Datagrams of a row, one behind the other, that go to the same place.
#[derive(Debug)]
struct Run {
    to: Outside,
    bytes: Range<usize>,
}

impl State {
    /// A row of datagrams of `size` bytes came, the last of which may be shorter. What is to be sent on is put into `onward`.
    pub(super) fn handle_row<'a>(
        &mut self,
        now: Instant,
        received: &Received,
        size: usize,
        row: &'a mut [u8],
        onward: &mut Vec<Onward<'a>>,
    ) {
        let mut runs: Vec<Run> = Vec::new();
        for (index, datagram) in row.chunks_mut(size).enumerate() {
            if RelayHead::is_in_front_of(datagram) {
                let Some(to) = self.handle_relayed(now, received, datagram) else { continue };
                let bytes = index * size..index * size + datagram.len();
                match runs.last_mut() {
                    Some(last) if last.to == to && last.bytes.end == bytes.start => last.bytes.end = bytes.end,
                    _ => runs.push(Run { to, bytes }),
                }
            } else if is_stun(datagram) {
                self.handle_stun(now, received, datagram);
            } else {
                self.endpoint.handle_datagram(now, *received, datagram);
            }
        }
        let row: &'a [u8] = row;
        onward.extend(runs.into_iter().filter_map(|Run { to, bytes }| {
            let contents = row.get(bytes)?;
            let segment_size = (contents.len() > size).then_some(size);
            // A mark of congestion is passed on: the way goes through here.
            let transmit = Transmit {
                route: to.route,
                local_ip: to.local_ip,
                ecn: received.ecn,
                size: contents.len(),
                segment_size,
            };
            Some(Onward { transmit, contents })
        }));
    }

    /// A RELY datagram came: for us, or to be sent on to where is said.
    fn handle_relayed(&mut self, now: Instant, received: &Received, datagram: &mut [u8]) -> Option<Outside> {
        if let Ok((head, _)) = RelayHead::decode(datagram)
            && let Some(inner) = self.ways.relayed.inner(&self.endpoint, head.channel, received)
        {
            let (_, datagram) = datagram.split_at_mut_checked(HEAD_LENGTH)?;
            self.endpoint.handle_datagram(now, inner, datagram);
            return None;
        }
        self.forwarding.as_mut()?.forward(now, received.route, datagram)
    }
}

impl Onward<'_> {
    /// Sends the row on. What the socket does not take is lost.
    pub(super) fn send(self, sockets: &mut [Socket]) {
        let Self { transmit, contents } = self;
        let Some(socket) = socket_of(sockets, transmit.route) else { return };
        let size = transmit.segment_size.unwrap_or(transmit.size);
        let segments = socket.segments().min(MOST_BYTES / size).max(1);
        for row in contents.chunks(size * segments) {
            let segment_size = (row.len() > size).then_some(size);
            match socket.send(&Transmit { size: row.len(), segment_size, ..transmit }, row) {
                Ok(Sent::Done) => {}
                Ok(Sent::Blocked) => return tracing::trace!(size = row.len(), "no room for what is relayed"),
                Err(error) => return tracing::debug!(%error, "what is relayed was not sent"),
            }
        }
    }
}
