//! What a node forwards for others, if it is a relay.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::PeerId;
use common::mrt::{ConnectionHandle, Route};
use common::relay::{ChannelId, OpenError, PairInfo, Relay, RelayConfig, Totals};

use super::connection::Connection;
use super::error::ConnectionError;
use super::relayed::{Outside, RELAY_SOCKET};
use super::shared::{Shared, State};

/// A pair of which one end has sent nothing gives its place to another after this, and one that only keeps a connection alive
/// may have to: who waits for a way tries it within seconds. Without that, few who ask for ways could take them all.
const UNUSED: Duration = Duration::from_secs(10);

/// The relay of a node: who may talk to whom through it.
///
/// The loop forwards what comes from one member of a pair to the other, from and to the addresses at which their MRT
/// connections to this node are proven to be at that moment; a member that moves is followed, and nothing is forwarded to
/// one whose last connection is closed. What is over the quota is
/// dropped, and so is what the socket does not take at once: forwarding has no queue, and comes after what the node itself
/// has to send. Clones are the same relay; it goes with the node.
#[derive(Debug, Clone)]
pub struct RelayHandle {
    shared: Arc<Shared>,
}

/// Why there is no pair of two members.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PairError {
    /// The relay does not take it.
    #[error(transparent)]
    Refused(#[from] OpenError),
    /// One of the two is not connected any more.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

/// What the loop knows of a relay.
#[derive(Debug)]
pub(super) struct Forwarding {
    table: Relay,
    /// From which of our addresses a member is answered, where that is known.
    local_ips: HashMap<Route, IpAddr>,
    /// Where the members are, each at the other end of a connection.
    places: HashMap<ConnectionHandle, (PeerId, Route)>,
}

impl RelayHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The pair of the nodes at the other ends of these connections, made if there is none; gives what each of them is to use as
    /// channel with [`Node::add_relayed`](super::Node::add_relayed), in the same order. To tell them is up to the caller. A
    /// pair of which one says nothing for [`CHANNEL_IDLE`](common::relay::CHANNEL_IDLE) ends, see [`Self::expire`]; it
    /// begins anew here. The first member is who asks. Where there is no room, the oldest pair ends that was of no use, or one that
    /// others asked for and that only keeps a connection alive.
    pub fn pair_between(&self, members: [&Connection; 2]) -> Result<[ChannelId; 2], PairError> {
        let mut bytes = [[0; 8]; 2];
        for bytes in &mut bytes {
            aws_lc_rs::rand::fill(bytes).map_err(|_unspecified| PairError::Randomness)?;
        }
        let channels = bytes.map(|bytes| ChannelId(u64::from_be_bytes(bytes)));
        let mut state = self.shared.lock();
        let state = &mut *state;
        for member in members {
            if !member.belongs_to(&self.shared) {
                return Err(ConnectionError::Node.into());
            }
            state.must_be_connected(member.handle())?;
        }
        let forwarding = state.forwarding.as_mut().ok_or(ConnectionError::Node)?;
        let peers = members.map(|member| member.remote().identity.peer_id());
        let now = Instant::now();
        let channels = match forwarding.table.renew_pair(now, peers) {
            Some(channels) => channels,
            None => forwarding.open_pair(now, peers, channels).map(|()| channels)?,
        };
        for member in members {
            state.follow_member(member.handle());
        }
        Ok(channels)
    }

    /// Ends the pair that has this channel, if there is one.
    pub fn close_pair(&self, channel: ChannelId) -> Option<PairInfo> {
        self.with(|relay| relay.close(channel)).flatten()
    }

    /// Ends all pairs of a member.
    pub fn remove_member(&self, member: PeerId) -> Vec<PairInfo> {
        self.with(|relay| relay.remove_member(member)).unwrap_or_default()
    }

    /// Ends pairs that have not been used for long; gives them, so that their members can be told. To be called now and then:
    /// every ten seconds is often enough.
    pub fn expire(&self) -> Vec<PairInfo> {
        self.with(|relay| relay.handle_timeout(Instant::now())).unwrap_or_default()
    }

    /// All pairs.
    pub fn pairs(&self) -> Vec<PairInfo> {
        self.with(|relay| relay.pairs().collect()).unwrap_or_default()
    }

    /// Counters since the relay was made.
    pub fn totals(&self) -> Totals {
        self.with(|relay| relay.totals()).unwrap_or_default()
    }

    fn with<T>(&self, act: impl FnOnce(&mut Relay) -> T) -> Option<T> {
        self.shared.lock().forwarding.as_mut().map(|forwarding| act(&mut forwarding.table))
    }
}

impl Forwarding {
    pub(super) fn new(now: Instant, config: RelayConfig) -> Self {
        Self { table: Relay::new(now, config), local_ips: HashMap::new(), places: HashMap::new() }
    }

    /// A RELY datagram came from `from`. If it is to be sent on, it is made ready for that, and where to is given.
    pub(super) fn forward(&mut self, now: Instant, from: Route, datagram: &mut [u8]) -> Option<Outside> {
        match self.table.forward(now, from, datagram) {
            Ok(route) => Some(Outside { route, local_ip: self.local_ips.get(&route).copied() }),
            Err(dropped) => {
                tracing::trace!(%dropped, ?from, "a relayed datagram was dropped");
                None
            }
        }
    }

    /// Makes a pair, and room for it where there is none and others were of no use.
    fn open_pair(&mut self, now: Instant, peers: [PeerId; 2], channels: [ChannelId; 2]) -> Result<(), OpenError> {
        loop {
            let full = match self.table.open_pair(now, peers, channels) {
                Err(full @ (OpenError::Full | OpenError::MemberFull(_))) => full,
                done => return done,
            };
            let is_in_the_way = |pair: &PairInfo| match full {
                OpenError::MemberFull(member) => pair.members.contains(&member),
                _ => true,
            };
            let unused = self.table.close_unused(now, UNUSED, is_in_the_way);
            let gone = unused.or_else(|| self.table.close_idle(now, UNUSED, full)).ok_or(full)?;
            tracing::debug!(channels = ?gone.channels, "a relayed way that was of little use gave its place");
        }
    }

    /// It is not known any more where a connection goes. Gives whose it was.
    fn forget(&mut self, handle: ConnectionHandle) -> Option<PeerId> {
        let (member, route) = self.places.remove(&handle)?;
        self.local_ips.remove(&route);
        Some(member)
    }
}

impl State {
    /// Whoever is at the other end of a connection may be somewhere else now.
    pub(super) fn follow_member(&mut self, handle: ConnectionHandle) {
        let (Some(forwarding), Some(connection)) = (&mut self.forwarding, self.endpoint.peek(handle)) else { return };
        let (Some(remote), Some(route)) = (connection.remote(), connection.proven_route()) else { return };
        // What comes through another relay has no address to send on to.
        if route.socket == RELAY_SOCKET {
            return;
        }
        let member = remote.identity.peer_id();
        forwarding.forget(handle);
        forwarding.places.insert(handle, (member, route));
        if let Some(local_ip) = connection.local_ip() {
            forwarding.local_ips.insert(route, local_ip);
        }
        forwarding.table.move_member(member, route);
    }

    /// A connection is over: who was at its other end is where another one goes, or nowhere.
    pub(super) fn lose_member(&mut self, handle: ConnectionHandle) {
        let Some(forwarding) = &mut self.forwarding else { return };
        let Some(member) = forwarding.forget(handle) else { return };
        forwarding.table.lose_member(member);
        let others: Vec<_> = self.endpoint.handles().filter(|other| self.is_with(*other, member)).collect();
        others.into_iter().for_each(|other| self.follow_member(other));
    }

    /// Whether a connection is open, and with this peer.
    fn is_with(&self, handle: ConnectionHandle, peer: PeerId) -> bool {
        let remote = self.endpoint.peek(handle).and_then(|connection| connection.remote());
        self.must_be_connected(handle).is_ok() && remote.is_some_and(|remote| remote.identity.peer_id() == peer)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use common::relay::RelayHead;

    use super::*;

    fn peer(number: u8) -> PeerId {
        PeerId([number; 32])
    }

    fn channels(number: u64) -> [ChannelId; 2] {
        [ChannelId(2 * number), ChannelId(2 * number + 1)]
    }

    #[test]
    fn who_uses_a_way_keeps_it_and_who_does_not_gives_its_place() {
        let begin = Instant::now();
        let config = RelayConfig { max_pairs: 3, max_pairs_of_member: 2, ..RelayConfig::default() };
        let mut forwarding = Forwarding::new(begin, config);
        let open = |forwarding: &mut Forwarding, now, number, ends: [u8; 2]| {
            forwarding.open_pair(now, ends.map(peer), channels(number))
        };
        open(&mut forwarding, begin, 1, [1, 2]).unwrap();
        let ends = [1, 2].map(|number| Route { socket: 0, remote: SocketAddr::from(([10, 0, 0, number], 4000)) });
        for (route, channel) in ends.into_iter().zip(channels(1)) {
            forwarding.table.set_address(channel, route);
        }
        for (route, channel) in ends.into_iter().zip(channels(1)) {
            let mut datagram = [RelayHead { channel }.encode().as_slice(), b"inner"].concat();
            forwarding.forward(begin, route, &mut datagram).unwrap();
        }
        open(&mut forwarding, begin, 2, [1, 3]).unwrap();
        assert_eq!(open(&mut forwarding, begin, 3, [1, 4]), Err(OpenError::MemberFull(peer(1))), "not yet");
        let later = begin + UNUSED;
        open(&mut forwarding, later, 3, [1, 4]).unwrap();
        assert_eq!(forwarding.table.channels_between(peer(1), peer(3)), None);
        open(&mut forwarding, later, 4, [5, 6]).unwrap();
        assert_eq!(open(&mut forwarding, later, 5, [7, 8]), Err(OpenError::Full), "the others have just begun");
        assert_eq!(forwarding.table.pairs().count(), 3);
    }

    #[test]
    fn who_is_asked_for_by_a_crowd_is_not_lost_to_the_others() {
        let begin = Instant::now();
        let mut forwarding = Forwarding::new(begin, RelayConfig { max_pairs_of_member: 8, ..RelayConfig::default() });
        let victim = peer(0);
        for number in 1..=8 {
            forwarding.open_pair(begin, [peer(number), victim], channels(number.into())).unwrap();
            let ends = [number, 0].map(|end| Route { socket: 0, remote: ([10, 0, 0, end], 4000).into() });
            for (route, channel) in ends.into_iter().zip(channels(number.into())) {
                forwarding.table.set_address(channel, route);
            }
            // The victim answers each.
            for (route, channel) in ends.into_iter().zip(channels(number.into())) {
                let mut datagram = [RelayHead { channel }.encode().as_slice(), b"inner"].concat();
                forwarding.forward(begin, route, &mut datagram).unwrap();
            }
        }
        let honest = [peer(9), victim];
        let full = Err(OpenError::MemberFull(victim));
        assert_eq!(forwarding.open_pair(begin, honest, channels(9)), full, "they have just begun");
        assert_eq!(forwarding.open_pair(begin + UNUSED, honest, channels(9)), Ok(()));
    }
}
