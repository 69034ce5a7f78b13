//! The relay: passes sealed datagrams between two peers who find no way to each other. The rules make pairs; the UDP port
//! passes what comes.
//!
//! Everybody is where he has proven to be, so nobody can have datagrams sent to somebody else.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::id::PeerId;
use common::mrt::Route;
use common::relay::{ChannelId, OpenError, PairInfo, Relay as Table, RelayConfig};

use crate::source::Source;
use crate::vouchers::PROVEN_FOR;

/// A pair that was asked for so lately may be about to be used: peers try the direct ways first, for some seconds. And whose
/// session has ended is most likely back by then.
const BEGINNING: Duration = Duration::from_secs(15);

/// So many bytes go to a peer that has sent nothing itself: anybody may ask to meet it. It is some dozens of handshakes.
const MAX_UNANSWERED: u64 = 64 << 10;

/// Most pairs that have to go for a new one: of the asker's source, of each of the two, and of all.
const MOST_ENDED: usize = 4;

/// Most pairs at once that peers of one source asked for: a quarter of all, so that no single place takes them. It is where
/// they were when they asked.
const MAX_PAIRS_OF_SOURCE: usize = RelayConfig::DEFAULT_MAX_PAIRS as usize / 4;

/// Why two get no channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPair {
    /// Too many of one of them, or in all.
    #[error(transparent)]
    Table(#[from] OpenError),
    /// Too many of where the asker is.
    #[error("as many relayed pairs as there may be were asked for from one address")]
    SourceFull(Source),
}

/// A relay; clones are the same. Times are uptimes of the tracker.
#[derive(Debug, Clone)]
pub(crate) struct Relay {
    inner: Arc<Mutex<Inner>>,
}

/// Where a peer is, as far as UDP goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where its datagrams come from, proven; an IPv4 address is one.
    pub(crate) address: SocketAddr,
    /// The address of the tracker that it knows: what is sent to it has to come from there.
    pub(crate) answered_from: IpAddr,
    /// When it was shown that it is there.
    pub(crate) proven: Duration,
}

#[derive(Debug)]
struct Inner {
    table: Table,
    /// The moment of uptime zero. Only differences count.
    began: Instant,
    places: HashMap<PeerId, Place>,
    /// Who was the last to prove that it is at an address.
    holders: HashMap<SocketAddr, PeerId>,
    /// From where each pair was asked for, by the channel of who asked.
    sources: HashMap<ChannelId, Source>,
}

impl Relay {
    /// One without pairs that passes so many bytes a second in all.
    pub(crate) fn new(bytes_per_sec: NonZeroU64) -> Self {
        let began = Instant::now();
        let config = RelayConfig { max_unanswered: MAX_UNANSWERED, ..RelayConfig::new(bytes_per_sec) };
        let table = Table::new(began, config);
        let inner = Inner { table, began, places: HashMap::new(), holders: HashMap::new(), sources: HashMap::new() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// A peer is there, in all pairs in which it is and will be.
    pub(crate) fn place(&self, peer: PeerId, place: Place) {
        let mut inner = self.lock();
        inner.displace(&peer);
        inner.places.insert(peer, place);
        inner.holders.insert(place.address, peer);
        inner.table.move_member(peer, route(place.address));
    }

    /// Makes a pair of two who were placed, of whom the first asked, known to each by one of `fresh`; gives the channels, in the
    /// order of the members.
    /// Where there is a pair of the two it stays, as if it were new: both may ask at the same time. Where there is no room, one
    /// that nobody has used has to go.
    pub(crate) fn open(
        &self,
        uptime: Duration,
        members: [PeerId; 2],
        fresh: [ChannelId; 2],
    ) -> Result<[ChannelId; 2], NoPair> {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let now = inner.began + uptime;
        if let Some(channels) = inner.table.renew_pair(now, members) {
            return Ok(channels);
        }
        let mut opened = inner.try_open(now, members, fresh);
        for _ in 0..MOST_ENDED {
            match opened {
                Err(error) if inner.make_room(now, error) => opened = inner.try_open(now, members, fresh),
                Ok(()) | Err(_) => break,
            }
        }
        opened?;
        for member in members {
            if let Some(place) = inner.places.get(&member) {
                inner.table.move_member(member, route(place.address));
            }
        }
        let ([asker, _], [channel, _]) = (members, fresh);
        if let Some(source) = inner.source_of(&asker) {
            inner.sources.insert(channel, source);
        }
        Ok(fresh)
    }

    /// Ends the pair of these two, if there is one.
    pub(crate) fn close(&self, [one, other]: [PeerId; 2]) {
        let mut inner = self.lock();
        if let Some([channel, _]) = inner.table.channels_between(one, other) {
            inner.close(channel);
        }
    }

    /// It is not known any more where a peer is: nothing passes in its pairs, which last for a while, should it come back.
    pub(crate) fn lose(&self, peer: PeerId) {
        let mut inner = self.lock();
        inner.displace(&peer);
        inner.places.remove(&peer);
        inner.table.lose_member(peer);
    }

    /// Ends pairs that are not used any more.
    pub(crate) fn expire(&self, uptime: Duration) {
        let mut inner = self.lock();
        let now = inner.began + uptime;
        for ended in inner.table.handle_timeout(now) {
            inner.on_ended(&ended);
            let [one, other] = ended.members;
            tracing::debug!(%one, %other, bytes = ?ended.bytes, over_quota = ended.over_quota, "a relayed pair ended");
        }
    }

    /// A relayed datagram came from there: makes it ready to be sent on, and says where to, and from which address of the
    /// tracker; `None`: it is not to be.
    pub(crate) fn forward(
        &self,
        uptime: Duration,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Option<(SocketAddr, IpAddr)> {
        let mut inner = self.lock();
        let now = inner.began + uptime;
        match inner.table.forward(now, route(from), datagram) {
            Ok(Route { remote, .. }) => {
                let place = inner.holders.get(&remote).and_then(|holder| inner.places.get(holder))?;
                let is_recent = uptime.saturating_sub(place.proven) < PROVEN_FOR;
                is_recent.then_some((remote, place.answered_from))
            }
            Err(dropped) => {
                tracing::trace!(%dropped, %from, "a relayed datagram was dropped");
                None
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No step between lock and unlock leaves it half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Makes a pair, if there is room for it.
    fn try_open(&mut self, now: Instant, members: [PeerId; 2], fresh: [ChannelId; 2]) -> Result<(), NoPair> {
        let [asker, _] = members;
        if let Some(source) = self.source_of(&asker)
            && self.table.pairs().filter(|pair| is_from(&self.sources, source, pair)).count() >= MAX_PAIRS_OF_SOURCE
        {
            return Err(NoPair::SourceFull(source));
        }
        Ok(self.table.open_pair(now, members, fresh)?)
    }

    fn source_of(&self, peer: &PeerId) -> Option<Source> {
        self.places.get(peer).map(|place| Source::of(place.address.ip()))
    }

    /// Ends a pair; says whether it was there.
    fn close(&mut self, channel: ChannelId) -> bool {
        let ended = self.table.close(channel);
        ended.map(|ended| self.on_ended(&ended)).is_some()
    }

    fn on_ended(&mut self, pair: &PairInfo) {
        let [of_asker, _] = &pair.channels;
        self.sources.remove(of_asker);
    }

    /// Ends a pair that is in the way and that is not used: its members found a direct way, or none at all, or one of them is not
    /// there any more. Says whether there was one.
    fn make_room(&mut self, now: Instant, error: NoPair) -> bool {
        let Self { table, sources, .. } = self;
        let is_in_the_way = |pair: &PairInfo| match error {
            NoPair::SourceFull(source) => is_from(sources, source, pair),
            NoPair::Table(OpenError::Full) => true,
            NoPair::Table(OpenError::MemberFull(member)) => pair.members.contains(&member),
            NoPair::Table(OpenError::Exists | OpenError::OneMember | OpenError::IdInUse) => false,
        };
        let ended = table.close_unused(now, BEGINNING, is_in_the_way);
        ended.map(|ended| self.on_ended(&ended)).is_some()
    }

    /// Forgets where a peer is, but for others who are there now.
    fn displace(&mut self, peer: &PeerId) {
        let Some(Place { address, .. }) = self.places.get(peer) else { return };
        if self.holders.get(address) == Some(peer) {
            self.holders.remove(address);
        }
    }
}

/// Whether it was asked for from there.
fn is_from(sources: &HashMap<ChannelId, Source>, source: Source, pair: &PairInfo) -> bool {
    let [of_asker, _] = &pair.channels;
    sources.get(of_asker) == Some(&source)
}

/// The tracker has one UDP port.
const fn route(remote: SocketAddr) -> Route {
    Route { socket: 0, remote }
}

#[cfg(test)]
mod tests {
    use common::relay::RelayHead;

    use super::*;

    const ONE: PeerId = PeerId([1; 32]);
    const OTHER: PeerId = PeerId([2; 32]);
    const CHANNELS: [ChannelId; 2] = [ChannelId(11), ChannelId(22)];
    const NOW: Duration = Duration::from_secs(5);

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn place(text: &str) -> Place {
        Place { address: address(text), answered_from: [192, 0, 2, 1].into(), proven: NOW }
    }

    fn relayed(channel: ChannelId) -> Vec<u8> {
        [RelayHead { channel }.encode().as_slice(), b"\x48sealed"].concat()
    }

    /// Where a datagram from there goes, which must have the other's channel then.
    fn goes(relay: &Relay, from: &str, channel: ChannelId) -> Option<SocketAddr> {
        let mut datagram = relayed(channel);
        let (to, answered_from) = relay.forward(NOW, address(from), &mut datagram)?;
        let other = CHANNELS.into_iter().find(|other| *other != channel).unwrap();
        assert_eq!((datagram, answered_from), (relayed(other), IpAddr::from([192, 0, 2, 1])));
        Some(to)
    }

    #[test]
    fn a_pair_talks_from_where_each_has_proven_to_be_and_from_nowhere_else() {
        let relay = Relay::new(RelayConfig::DEFAULT_BYTES_PER_SEC);
        relay.place(ONE, place("203.0.113.1:1000"));
        assert_eq!(goes(&relay, "203.0.113.1:1000", CHANNELS[0]), None, "there is no pair yet");
        assert_eq!(relay.open(NOW, [ONE, OTHER], CHANNELS), Ok(CHANNELS));
        let [mine, theirs] = CHANNELS;
        assert_eq!(
            relay.open(NOW, [OTHER, ONE], [ChannelId(1), ChannelId(2)]),
            Ok([theirs, mine]),
            "it is there already"
        );
        assert_eq!(goes(&relay, "203.0.113.1:1000", CHANNELS[0]), None, "nobody knows where the other is");
        relay.place(OTHER, place("203.0.113.2:2000"));
        assert_eq!(goes(&relay, "203.0.113.1:1000", CHANNELS[0]), Some(address("203.0.113.2:2000")));
        assert_eq!(goes(&relay, "203.0.113.2:2000", CHANNELS[1]), Some(address("203.0.113.1:1000")));
        for (from, channel) in [
            ("203.0.113.1:1001", CHANNELS[0]),
            ("203.0.113.2:2000", CHANNELS[0]),
            ("203.0.113.1:1000", CHANNELS[1]),
            ("203.0.113.1:1000", ChannelId(33)),
        ] {
            assert_eq!(relay.forward(NOW, address(from), &mut relayed(channel)), None, "{from} with {channel:?}");
        }
        // Its router begins anew.
        relay.place(ONE, place("203.0.113.1:1001"));
        assert_eq!(goes(&relay, "203.0.113.1:1000", CHANNELS[0]), None);
        assert_eq!(goes(&relay, "203.0.113.1:1001", CHANNELS[0]), Some(address("203.0.113.2:2000")));
        relay.lose(OTHER);
        assert_eq!(goes(&relay, "203.0.113.1:1001", CHANNELS[0]), None);
        assert!(relay.lock().holders.len() == 1 && relay.lock().places.len() == 1);
        // Its session was renewed.
        relay.place(OTHER, place("203.0.113.2:2002"));
        assert_eq!(goes(&relay, "203.0.113.1:1001", CHANNELS[0]), Some(address("203.0.113.2:2002")));
    }

    #[test]
    fn nothing_is_sent_to_where_somebody_was_long_ago() {
        let relay = Relay::new(RelayConfig::DEFAULT_BYTES_PER_SEC);
        let places = ["203.0.113.1:1000", "203.0.113.2:2000"];
        relay.place(ONE, place(places[0]));
        relay.place(OTHER, place(places[1]));
        relay.open(NOW, [ONE, OTHER], CHANNELS).unwrap();
        let goes = |uptime| relay.forward(uptime, address(places[0]), &mut relayed(CHANNELS[0])).is_some();
        let old = NOW + PROVEN_FOR;
        assert!(goes(NOW) && goes(old - Duration::from_secs(1)) && !goes(old));
        relay.place(OTHER, Place { proven: old, ..place(places[1]) });
        assert!(goes(old), "it has shown again that it is there");
    }

    #[test]
    fn pairs_that_nobody_uses_make_room() {
        let relay = Relay::new(RelayConfig::DEFAULT_BYTES_PER_SEC);
        let most = u64::from(RelayConfig::DEFAULT_MAX_PAIRS_OF_MEMBER);
        let number = |number: u64| PeerId([&number.to_be_bytes(), [9; 24].as_slice()].concat().try_into().unwrap());
        let at = |secs| NOW + Duration::from_secs(secs);
        relay.place(ONE, place("203.0.113.1:1000"));
        relay.place(OTHER, place("203.0.113.2:2000"));
        let mut channels = (1_000..).map(ChannelId);
        let mut open = |secs, peer| {
            let fresh = [channels.next().unwrap(), channels.next().unwrap()];
            relay.open(at(secs), [peer, ONE], fresh)
        };
        // The oldest is used, the one after it is asked for again, and in the third one talks alone.
        let [used, answers] = open(0, OTHER).unwrap();
        assert!(relay.forward(at(0), address("203.0.113.2:2000"), &mut relayed(used)).is_some());
        assert!(relay.forward(at(0), address("203.0.113.1:1000"), &mut relayed(answers)).is_some());
        let again = open(0, number(1));
        relay.place(number(2), place("203.0.113.3:3000"));
        let [alone, _] = open(0, number(2)).unwrap();
        assert!(relay.forward(at(14), address("203.0.113.3:3000"), &mut relayed(alone)).is_some());
        (3..most).for_each(|peer| assert!(open(0, number(peer)).is_ok(), "{peer}"));
        assert_eq!(open(14, number(1)), again);
        assert_eq!(open(14, number(100)), Err(OpenError::MemberFull(ONE).into()), "they may be about to be used");
        (2..most).for_each(|peer| assert!(open(20, number(100 + peer)).is_ok(), "{peer}"));
        assert_eq!(
            open(20, number(100)),
            Err(OpenError::MemberFull(ONE).into()),
            "the one was used, the other renewed"
        );
        assert_eq!(open(20, number(1)), again);
        assert!(relay.forward(at(20), address("203.0.113.2:2000"), &mut relayed(used)).is_some());
    }

    #[test]
    fn no_single_place_takes_all_pairs() {
        let relay = Relay::new(RelayConfig::DEFAULT_BYTES_PER_SEC);
        let peer = |number: u8| PeerId([number; 32]);
        for number in 1..=64 {
            relay.place(peer(number), place(&format!("[2001:db8::{number}]:1000")));
        }
        relay.place(peer(99), place("203.0.113.9:1000"));
        let mut channels = (1_000..).map(ChannelId);
        let mut open = |uptime, asker, other| {
            let fresh = [channels.next().unwrap(), channels.next().unwrap()];
            relay.open(uptime, [peer(asker), peer(other)], fresh)
        };
        let pairs = (1..=64).flat_map(|one| (one + 1..=64).map(move |other| (one, other)));
        let opened = pairs.filter(|(one, other)| open(NOW, *one, *other).is_ok()).count();
        assert_eq!(opened, MAX_PAIRS_OF_SOURCE);
        assert!(open(NOW, 99, 64).is_ok(), "somebody else asks");
        assert!(open(NOW + BEGINNING, 64, 99).is_ok(), "it is there");
        assert!(open(NOW + BEGINNING, 64, 63).is_ok(), "one that nobody used has gone");
    }

    #[test]
    fn who_leaves_takes_its_pairs_along_when_others_need_room() {
        let relay = Relay::new(RelayConfig::DEFAULT_BYTES_PER_SEC);
        let peer = |number: u8| PeerId([number; 32]);
        let mut channels = (1_000..).map(ChannelId);
        let mut open = |uptime, asker, other| {
            let fresh = [channels.next().unwrap(), channels.next().unwrap()];
            relay.open(uptime, [peer(asker), peer(other)], fresh)
        };
        let come = |number: u8| {
            relay.place(peer(number), place(&format!("[2001:db8::{number}]:1000")));
            format!("[2001:db8::{number}]:1000")
        };
        let mut used = 0;
        for (one, other) in (1..=64).flat_map(|one| (one + 1..=64).map(move |other| (one, other))) {
            let addresses = [one, other].map(come);
            let Ok(channels) = open(NOW, one, other) else { break };
            for (from, channel) in addresses.iter().zip(channels) {
                assert!(relay.forward(NOW, address(from), &mut relayed(channel)).is_some());
            }
            used += 1;
        }
        assert_eq!(used, MAX_PAIRS_OF_SOURCE);
        (1..=64).for_each(|number| relay.lose(peer(number)));
        for number in [65, 66] {
            come(number);
        }
        assert!(open(NOW, 65, 66).is_err(), "it asked from there, whether it is there still or not");
        assert!(open(NOW + BEGINNING, 65, 66).is_ok());
        assert_eq!(relay.lock().sources.len(), MAX_PAIRS_OF_SOURCE);
        relay.expire(NOW + Duration::from_secs(1_000));
        assert!(relay.lock().sources.is_empty());
    }
}
