//! Datagrams that the node itself sends, beside those of the machine: STUN.

use std::collections::VecDeque;
use std::net::IpAddr;

use common::mrt::{Ecn, Route, Transmit};

/// Most bytes that wait. What comes beyond is lost, and asked for again by whoever misses it.
const MOST_BYTES: usize = 32 << 10;

/// Datagrams that wait for the next turn of the loop.
#[derive(Debug, Default)]
pub(super) struct Aside {
    bytes: Vec<u8>,
    /// What `bytes` are, in order.
    transmits: VecDeque<Transmit>,
}

impl Aside {
    /// One more.
    pub(super) fn push(&mut self, route: Route, local_ip: Option<IpAddr>, datagram: &[u8]) {
        if self.bytes.len() + datagram.len() > MOST_BYTES {
            return;
        }
        self.bytes.extend_from_slice(datagram);
        let (ecn, size) = (Ecn::NotCapable, datagram.len());
        self.transmits.push_back(Transmit { route, local_ip, ecn, size, segment_size: None });
    }

    /// Moves all to the end of what is to be sent.
    pub(super) fn move_to(&mut self, bytes: &mut Vec<u8>, transmits: &mut VecDeque<Transmit>) {
        bytes.append(&mut self.bytes);
        transmits.append(&mut self.transmits);
    }
}
