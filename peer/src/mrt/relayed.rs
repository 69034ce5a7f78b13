//! Ways through others: a relayed way is a channel at a relay, and looks to the machine like any other route.
//!
//! What is sent on it leaves as RELY datagrams to where the relay is at that moment; what comes as RELY from there for that
//! channel is handed to the machine as received on it. Relays neither open nor keep what they forward.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use common::mrt::{ConnectionHandle, Endpoint, Received, Route, Transmit};
use common::relay::{ChannelId, HEAD_LENGTH, RelayHead};

/// [`Route::socket`] of all relayed ways.
pub const RELAY_SOCKET: u16 = u16::MAX;

/// Most relayed ways of a node.
const MOST_RELAYED: usize = 4096;

/// Most bytes of one row of datagrams: what fits a UDP datagram of IPv4.
pub(super) const MOST_BYTES: usize = 65_507;

/// The first 32 bits of the pseudo addresses of relayed ways: of a private prefix (RFC 4193) that nobody routes. The number
/// of the way follows, so that each is a network of its own: to the machine they are different hosts.
const PREFIX: u32 = 0xfd73_6864;

/// The port of pseudo addresses: any but 0.
const PORT: u16 = 1;

/// Why there is no relayed way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RelayedError {
    /// This node has a way on a channel with this number already.
    #[error("the channel is in use")]
    InUse,
    /// The relay is nowhere: its connection is closed or of another node, or its address cannot be reached.
    #[error("the relay cannot be reached from here")]
    Nowhere,
    /// Too many.
    #[error("too many relayed ways at once ({MOST_RELAYED})")]
    Full,
}

/// Where the relay of a way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Via {
    /// Where this connection goes at the moment, as far as that is proven.
    Connection(ConnectionHandle),
    /// Always there.
    Fixed(Route),
}

/// All relayed ways of a node.
#[derive(Debug, Default)]
pub(super) struct Relayed {
    ways: BTreeMap<u32, Way>,
    numbers: HashMap<ChannelId, u32>,
    next: u32,
}

#[derive(Debug)]
struct Way {
    channel: ChannelId,
    via: Via,
}

/// Where RELY datagrams go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outside {
    pub(super) route: Route,
    /// From which of our addresses: the other side knows us by it.
    pub(super) local_ip: Option<IpAddr>,
}

impl Relayed {
    /// One more way.
    pub(super) fn add(&mut self, via: Via, channel: ChannelId) -> Result<Route, RelayedError> {
        if self.ways.len() >= MOST_RELAYED {
            return Err(RelayedError::Full);
        }
        if self.numbers.contains_key(&channel) {
            return Err(RelayedError::InUse);
        }
        while self.ways.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.ways.insert(number, Way { channel, via });
        self.numbers.insert(channel, number);
        Ok(route_of(number))
    }

    /// Lets a way go; says whether it was there.
    pub(super) fn remove(&mut self, route: Route) -> bool {
        let Some(way) = number_of(route).and_then(|number| self.ways.remove(&number)) else { return false };
        self.numbers.remove(&way.channel);
        true
    }

    /// Lets all ways go whose relay `is_gone` names; gives them.
    pub(super) fn remove_via(&mut self, is_gone: impl Fn(Via) -> bool) -> Vec<Route> {
        let Self { ways, numbers, .. } = self;
        let mut gone = Vec::new();
        ways.retain(|number, way| {
            let goes = is_gone(way.via);
            if goes {
                numbers.remove(&way.channel);
                gone.push(route_of(*number));
            }
            !goes
        });
        gone
    }

    /// Whether there is this way.
    pub(super) fn has(&self, route: Route) -> bool {
        number_of(route).is_some_and(|number| self.ways.contains_key(&number))
    }

    /// How a RELY datagram came that was received as `outer`, as the machine is to know it; `None` if it is none of ours.
    pub(super) fn inner(&self, endpoint: &Endpoint, channel: ChannelId, outer: &Received) -> Option<Received> {
        let number = *self.numbers.get(&channel)?;
        let relay = self.ways.get(&number)?.via.seen_at(endpoint)?;
        // On whichever socket: the relay may know us by the one that was in use before.
        (relay.remote == outer.route.remote).then(|| Received {
            route: route_of(number),
            local_ip: None,
            ecn: outer.ecn,
        })
    }

    /// Makes RELY datagrams of the row that is the end of `bytes` and that `transmit` describes; says how to send them, in
    /// rows. Where the relay is nowhere, nothing is left of it.
    pub(super) fn wrap(
        &self,
        endpoint: &Endpoint,
        transmit: &Transmit,
        bytes: &mut Vec<u8>,
    ) -> impl Iterator<Item = Transmit> + use<> {
        let start = bytes.len() - transmit.size;
        let way = number_of(transmit.route).and_then(|number| self.ways.get(&number));
        let outside = way.and_then(|way| Some((way.channel, way.via.outside(endpoint)?)));
        let size = transmit.segment_size.unwrap_or(transmit.size);
        if let Some((channel, _)) = outside {
            put_heads(bytes, start, size, &RelayHead { channel }.encode());
        } else {
            tracing::debug!(route = ?transmit.route, "a datagram for a relay that is nowhere");
            bytes.truncate(start);
        }
        let (size, mut left, ecn) = (size + HEAD_LENGTH, bytes.len() - start, transmit.ecn);
        let most = (MOST_BYTES / size).max(1) * size;
        std::iter::from_fn(move || {
            let (_, Outside { route, local_ip }) = outside?;
            let row = left.min(most);
            left -= row;
            let segment_size = (row > size).then_some(size);
            (row > 0).then_some(Transmit { route, local_ip, ecn, size: row, segment_size })
        })
    }
}

impl Via {
    /// Where the relay was last heard from, proven or not.
    fn seen_at(self, endpoint: &Endpoint) -> Option<Route> {
        match self {
            Self::Fixed(route) => Some(route),
            Self::Connection(handle) => Some(endpoint.peek(handle)?.route()),
        }
    }

    /// Where to send. Only to what is proven: what is relayed is no packet of the connection to the relay, and so not bound
    /// by what an address may get before it is proven (RFC 9000, section 8.1).
    fn outside(self, endpoint: &Endpoint) -> Option<Outside> {
        let outside = match self {
            Self::Fixed(route) => Outside { route, local_ip: None },
            Self::Connection(handle) => {
                let connection = endpoint.peek(handle)?;
                Outside { route: connection.proven_route()?, local_ip: connection.local_ip() }
            }
        };
        // A relay behind another relay could turn out to be behind itself.
        (outside.route.socket != RELAY_SOCKET).then_some(outside)
    }
}

/// Whether an address says nothing about where somebody is: one of a relayed way, as the other side reports it.
pub(super) fn is_pseudo(address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V6(ip) if ip.to_bits() >> 96 == u128::from(PREFIX))
}

fn route_of(number: u32) -> Route {
    let ip = Ipv6Addr::from_bits(u128::from(PREFIX) << 96 | u128::from(number) << 64 | 1);
    Route { socket: RELAY_SOCKET, remote: SocketAddr::new(ip.into(), PORT) }
}

fn number_of(route: Route) -> Option<u32> {
    let IpAddr::V6(ip) = route.remote.ip() else { return None };
    let number = u32::try_from(ip.to_bits() >> 64 & u128::from(u32::MAX)).ok()?;
    (route == route_of(number)).then_some(number)
}

/// Puts `head` before each datagram of the row from `start` to the end of `bytes`: each has `size` bytes, the last may have
/// fewer.
fn put_heads(bytes: &mut Vec<u8>, start: usize, size: usize, head: &[u8]) {
    let end = bytes.len();
    let count = (end - start).div_ceil(size);
    bytes.resize(end + count * head.len(), 0);
    // From the last to the first, so that none is written over before it was moved.
    for index in (0..count).rev() {
        let from = start + index * size;
        let to = from + (index + 1) * head.len();
        bytes.copy_within(from..(from + size).min(end), to);
        bytes[to - head.len()..to].copy_from_slice(head);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use common::mrt::{Config, Ecn};
    use proptest::prelude::*;

    use super::*;
    use crate::mrt::tests::{PSK, keys};

    proptest! {
        #[test]
        fn each_datagram_of_a_row_gets_a_head(size in 1_usize..50, row in prop::collection::vec(any::<u8>(), 1..500)) {
            let mut bytes = b"before".to_vec();
            bytes.extend(&row);
            put_heads(&mut bytes, 6, size, b"head");
            let expected: Vec<u8> =
                row.chunks(size).flat_map(|datagram| [b"head".as_slice(), datagram].concat()).collect();
            prop_assert_eq!(&bytes[6..], expected);
            prop_assert_eq!(&bytes[..6], b"before");
        }
    }

    #[test]
    fn what_is_relayed_is_taken_from_the_relay_alone() {
        const CHANNEL: ChannelId = ChannelId(1);
        let endpoint = Endpoint::new(Instant::now(), Config::default(), keys(1, PSK), [0; 32]);
        let relay = Route { socket: 0, remote: "192.0.2.1:4000".parse().unwrap() };
        let mut relayed = Relayed::default();
        let route = relayed.add(Via::Fixed(relay), CHANNEL).unwrap();
        let inner = |from: Route, channel| {
            let received =
                relayed.inner(&endpoint, channel, &Received { route: from, local_ip: None, ecn: Ecn::Capable });
            received.map(|received| received.route)
        };
        assert_eq!(inner(relay, CHANNEL), Some(route));
        assert_eq!(inner(Route { socket: 1, ..relay }, CHANNEL), Some(route), "whichever socket it comes to");
        assert_eq!(inner(relay, ChannelId(2)), None);
        for stranger in ["192.0.2.1:4001", "192.0.2.2:4000"] {
            assert_eq!(inner(Route { remote: stranger.parse().unwrap(), ..relay }, CHANNEL), None, "{stranger}");
        }
    }

    #[test]
    fn pseudo_addresses_are_told_from_others() {
        for number in [0, 1, u32::MAX] {
            assert_eq!(number_of(route_of(number)), Some(number));
            assert!(is_pseudo(route_of(number).remote));
        }
        let other = Route { socket: RELAY_SOCKET, remote: "[fd73:6864::2]:1".parse().unwrap() };
        assert_eq!(number_of(other), None);
        assert!(!is_pseudo("[fd00::1]:1".parse().unwrap()));
    }
}
