//! What is remembered of relayed ways: which there are, who waits for one, and who may be asked again when.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use common::id::PeerId;
use common::mrt::Route;
use common::relay::ChannelId;
use tokio::sync::oneshot;

use super::super::super::line::LineId;
use super::super::blame::Blame;
use super::super::granting::Granting;

/// A relay may give another channel for a way that is not proven so often: it, or the other end, began anew.
const MOST_RENEWED: u32 = 3;
/// A member that was asked for a way is asked again after this, if nothing came of it.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(4);
/// Most ways through one member, as a relay has for one of its own.
const MOST_THROUGH: usize = 64;
/// Most ways in all, as many as MRT takes: 64 members that give as many as they may leave some to others.
const MOST_WAYS: usize = 4096;

/// To whom, and through whom.
pub(super) type Pair = (PeerId, PeerId);

/// Somebody has given as many ways as it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Relayed ways of this node.
#[derive(Debug, Default)]
pub(in crate::node::actor) struct Relaying {
    pub(super) ways: BTreeMap<Pair, Way>,
    /// Who waits for a way.
    pub(super) waiting: HashMap<Pair, Vec<oneshot::Sender<Route>>>,
    /// Through whom somebody was dialled last.
    pub(super) dialled: HashMap<PeerId, PeerId>,
    /// When somebody may be asked for a way again.
    pub(super) not_before: BTreeMap<Pair, Instant>,
    /// What came of connections, as it was looked at last.
    pub(super) came: BTreeMap<PeerId, Came>,
    /// Ways that others asked for.
    pub(in crate::node::actor) granting: Granting,
    pub(super) blame: Blame,
}

/// One way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) channel: ChannelId,
    /// The line to who relays.
    pub(super) relay: LineId,
    pub(super) route: Route,
    /// When it was given, or was last of use to a line.
    pub(super) wanted: Instant,
    /// When it was tried last.
    pub(super) tried: Instant,
    pub(super) health: Health,
    /// How often its relay gave another channel for it before it was proven.
    pub(super) renewed: u32,
}

impl Way {
    /// What becomes of a way that is given once more, on this channel and line: one that is the same does not begin anew, or a
    /// relay that drops what it is given could put off for ever that this shows.
    pub(super) fn given_again(self, now: Instant, channel: ChannelId, relay: LineId) -> Again {
        let is_same = (self.channel, self.relay) == (channel, relay);
        match self.health {
            _ if is_same => Again::Same(Self { wanted: now, ..self }),
            Health::Trying if self.renewed >= MOST_RENEWED => Again::TooOften,
            Health::Trying => Again::Other { renewed: self.renewed + 1 },
            Health::Given => Again::Other { renewed: self.renewed },
            Health::Proven | Health::InUse => Again::Other { renewed: 0 },
        }
    }
}

/// A way that is given once more.
#[derive(Debug)]
pub(super) enum Again {
    /// It is what it was.
    Same(Way),
    /// Another one comes in its place.
    Other { renewed: u32 },
    /// It is not taken.
    TooOften,
}

/// How far a way is, for who keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Health {
    /// The connection does not know it yet.
    Given,
    /// It is challenged.
    Trying,
    /// The other end answered there.
    Proven,
    /// The connection uses it.
    InUse,
}

/// Datagrams of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) route: Route,
    pub(super) received: u64,
    pub(super) refused: u64,
}

impl Came {
    /// How much came since then, and how much of that was refused; `None`: it is not the same route, or not the same connection,
    /// since each counts from 0.
    pub(super) fn since(self, before: Self) -> Option<(u64, u64)> {
        let same = self.route == before.route;
        let received = self.received.checked_sub(before.received).filter(|_| same)?;
        Some((received, self.refused.checked_sub(before.refused)?))
    }
}

impl Relaying {
    /// A way was denied. Who was not asked for one has nothing to deny.
    pub(super) fn on_denied(&mut self, now: Instant, pair: Pair) {
        let was_asked = self.waiting.remove(&pair).is_some() || self.not_before.contains_key(&pair);
        if was_asked {
            self.not_before.insert(pair, now + ASK_AGAIN);
        }
    }

    /// Forgets those who wait for a way no more: their dial is over, and who was to relay said nothing.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.retain(|_, waiting| {
            waiting.retain(|given| !given.is_closed());
            !waiting.is_empty()
        });
    }

    /// Which way has to go before there is room for one more through this member: the one that was wanted last of all through
    /// who gave the most. `None`: there is room; an error where this member gave the most itself.
    pub(super) fn one_too_many(&self, through: &PeerId) -> Result<Option<Pair>, TooMany> {
        if self.ways.len() < MOST_WAYS {
            return Ok(None);
        }
        let mut given = BTreeMap::<PeerId, usize>::new();
        self.ways.keys().for_each(|(_, relay)| *given.entry(*relay).or_default() += 1);
        let (most, count) = given.iter().max_by_key(|(_, count)| **count).ok_or(TooMany)?;
        if given.get(through).is_some_and(|own| own >= count) {
            return Err(TooMany);
        }
        let of_most = self.ways.iter().filter(|((_, relay), _)| relay == most);
        Ok(of_most.min_by_key(|(_, way)| way.wanted).map(|(pair, _)| *pair))
    }

    pub(super) fn is_full(&self, through: &PeerId) -> bool {
        self.ways.keys().filter(|(_, relay)| relay == through).count() >= MOST_THROUGH
    }

    pub(super) fn to(&self, peer: PeerId) -> impl Iterator<Item = (PeerId, Way)> {
        let all = self.ways.range((peer, PeerId([0; 32]))..=(peer, PeerId([u8::MAX; 32])));
        all.map(|((_, through), way)| (*through, *way))
    }
}

#[cfg(test)]
mod tests {
    use super::super::RELAY_SOCKET;
    use super::*;

    #[test]
    fn who_was_not_asked_denies_nothing() {
        let (mut relaying, now) = (Relaying::default(), Instant::now());
        let [asked, waited_for, neither] = [1, 2, 3].map(|number| (PeerId([number; 32]), PeerId([9; 32])));
        relaying.not_before.insert(asked, now);
        relaying.waiting.insert(waited_for, Vec::new());
        [asked, waited_for, neither].into_iter().for_each(|pair| relaying.on_denied(now, pair));
        let again = now + ASK_AGAIN;
        assert_eq!(relaying.not_before, BTreeMap::from([(asked, again), (waited_for, again)]));
        assert!(relaying.waiting.is_empty());
    }

    #[test]
    fn nobody_is_remembered_who_waits_no_more() {
        let mut relaying = Relaying::default();
        let [over, under_way] = [1, 2].map(|number| (PeerId([number; 32]), PeerId([9; 32])));
        let mut receivers = Vec::new();
        for (pair, count) in [(over, 1), (under_way, 2)] {
            for _ in 0..count {
                let (given, waiting) = oneshot::channel();
                relaying.waiting.entry(pair).or_default().push(given);
                receivers.push(waiting);
            }
        }
        drop(receivers.drain(..2));
        relaying.forget_waiting();
        assert_eq!(relaying.waiting.iter().map(|(pair, all)| (*pair, all.len())).collect::<Vec<_>>(), [(under_way, 1)]);
    }

    #[test]
    fn those_who_give_the_most_ways_leave_room_for_others() {
        let (mut relaying, now) = (Relaying::default(), Instant::now());
        let relay = |number: usize| PeerId([u8::try_from(number).unwrap(); 32]);
        for number in 0..MOST_WAYS {
            let mut to = [0; 32];
            to[..8].copy_from_slice(&number.to_be_bytes());
            let way = Way {
                channel: ChannelId(0),
                relay: LineId(0),
                route: route(1),
                wanted: now + Duration::from_secs(1) * u32::try_from(number).unwrap(),
                tried: now,
                health: Health::Given,
                renewed: 0,
            };
            assert_eq!(relaying.one_too_many(&relay(200)), Ok(None));
            relaying.ways.insert((PeerId(to), relay(number / MOST_THROUGH)), way);
        }
        assert_eq!(relaying.one_too_many(&relay(3)), Err(TooMany), "it has the most itself");
        let (_, goes_through) = relaying.one_too_many(&relay(200)).unwrap().unwrap();
        assert!(relaying.ways.keys().filter(|(_, through)| *through == goes_through).count() == MOST_THROUGH);
        let fewest: Vec<Pair> = relaying.ways.keys().filter(|(_, through)| *through == relay(3)).copied().collect();
        relaying.ways.remove(&fewest[0]);
        relaying.ways.insert((PeerId([200; 32]), relay(200)), relaying.ways[&fewest[1]]);
        assert!(relaying.one_too_many(&relay(3)).unwrap().is_some(), "others have more");
    }

    #[test]
    fn who_gives_the_same_way_again_and_again_does_not_put_off_its_proof() {
        let (began, line) = (Instant::now(), LineId(1));
        let [channel, another] = [7, 8].map(ChannelId);
        let trying = Way {
            channel,
            relay: line,
            route: route(1),
            wanted: began,
            tried: began,
            health: Health::Trying,
            renewed: 0,
        };
        let now = began + Duration::from_secs(4);
        let Again::Same(same) = trying.given_again(now, channel, line) else { panic!() };
        assert_eq!((same.tried, same.wanted, same.health), (began, now, Health::Trying));
        // Another channel is another way, but not for ever.
        let renewed = |way: Way| match way.given_again(now, another, line) {
            Again::Other { renewed } => Some(renewed),
            Again::TooOften => None,
            Again::Same(_) => panic!("it is another channel"),
        };
        let times = |renewed| Way { renewed, ..trying };
        assert_eq!([0, 1, 2, 3].map(|count| renewed(times(count))), [Some(1), Some(2), Some(3), None]);
        assert_eq!(renewed(Way { health: Health::Proven, ..times(3) }), Some(0));
        assert!(matches!(trying.given_again(now, channel, LineId(2)), Again::Other { .. }), "the line is another");
    }

    fn route(last: u8) -> Route {
        Route { socket: RELAY_SOCKET, remote: ([10, 0, 0, last], 4000).into() }
    }

    #[test]
    fn a_new_connection_is_not_judged_by_what_came_on_the_one_before() {
        let came = |route, received, refused| Came { route, received, refused };
        let before = came(route(1), 1000, 70);
        assert_eq!(came(route(1), 1100, 75).since(before), Some((100, 5)));
        assert_eq!(came(route(2), 1100, 75).since(before), None, "another way");
        for anew in [came(route(1), 0, 0), came(route(1), 2000, 3), came(route(1), 9, 90)] {
            assert_eq!(anew.since(before), None, "{anew:?}");
        }
    }
}
