//! Relayed ways: through which other node two members talk who do not reach each other directly, and what becomes of their
//! connection when that node is gone.
//!
//! A connection outlives who relays it: each way is a path of the same connection, with its keys, its streams and all that is
//! under way. Who dialled keeps ways through [`WAYS`] members, the supernode first. When one of these is gone, or does not pass
//! on what it is given, MRT goes on over the other by itself, and a third member is asked. The other end takes part with
//! every way that it is given. A connection that is direct has none; when it does not answer any more, either end asks for some.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use common::group::{Member, NodeMessage};
use common::id::PeerId;
use common::mrt::Route;
use common::relay::ChannelId;
use tokio::sync::oneshot;

use super::super::line::LineId;
use super::blame::{Blame, Fault};
use super::granting::Granting;
use super::{Actor, Standing, State, reply};
use crate::link::Dialler;
use crate::mrt::{Connection, RELAY_SOCKET, RelayAt};

/// So many ways to a member are kept: the one in use, and one for when its relay is gone.
const WAYS: usize = 2;
/// So many members are asked for ways to one, at most: the first that there are lines to.
const MOST_ASKED: usize = 8;
/// How often ways are looked after.
pub(super) const TEND_EVERY: Duration = Duration::from_millis(500);
/// A way must be proven within this: MRT challenges it for 3 s.
const PROOF_TIME: Duration = Duration::from_secs(4);
/// A relay may give another channel for a way that is not proven so often: it, or the other end, began anew.
const MOST_RENEWED: u32 = 3;
/// A way that is not in use is tried again so often: sooner than MRT holds it for stale (30 s), and than its relay forgets it.
const PROVE_EVERY: Duration = Duration::from_secs(20);
/// A member that was asked for a way is asked again after this, if nothing came of it.
const ASK_AGAIN: Duration = Duration::from_secs(4);
/// The same of one through whom a dial came to nothing.
const PASS_OVER: Duration = Duration::from_secs(8);
/// The same of one that gave a way that does not work.
const AVOID: Duration = Duration::from_secs(60);
/// Ways that no line wants are forgotten after this: a dial over them has ended, and so has what was under way when the line
/// became direct.
const UNUSED: Duration = Duration::from_secs(30);
/// Most ways through one member, as a relay has for one of its own.
const MOST_THROUGH: usize = 64;
/// Most ways in all, as many as MRT takes: 64 members that give as many as they may leave some to others.
const MOST_WAYS: usize = 4096;
/// Of so many refused datagrams on, ...
const MANY_REFUSED: u64 = 64;
/// ... where they are at least this part of all that came: networks damage or repeat far fewer.
const REFUSED_PART: u64 = 8;

/// To whom, and through whom.
type Pair = (PeerId, PeerId);

/// Somebody has given as many ways as it may.
#[derive(Debug, PartialEq, Eq)]
struct TooMany;

/// Relayed ways of this node.
#[derive(Debug, Default)]
pub(super) struct Relaying {
    ways: BTreeMap<Pair, Way>,
    /// Who waits for a way.
    waiting: HashMap<Pair, Vec<oneshot::Sender<Route>>>,
    /// Through whom somebody was dialled last.
    dialled: HashMap<PeerId, PeerId>,
    /// When somebody may be asked for a way again.
    not_before: BTreeMap<Pair, Instant>,
    /// What came of connections, as it was looked at last.
    came: BTreeMap<PeerId, Came>,
    /// Ways that others asked for.
    pub(super) granting: Granting,
    blame: Blame,
}

/// One way.
#[derive(Debug, Clone, Copy)]
struct Way {
    channel: ChannelId,
    /// The line to who relays.
    relay: LineId,
    route: Route,
    /// When it was given, or was last of use to a line.
    wanted: Instant,
    /// When it was tried last.
    tried: Instant,
    health: Health,
    /// How often its relay gave another channel for it before it was proven.
    renewed: u32,
}

impl Way {
    /// What becomes of a way that is given once more, on this channel and line: one that is the same does not begin anew, or a
    /// relay that drops what it is given could put off for ever that this shows.
    fn given_again(self, now: Instant, channel: ChannelId, relay: LineId) -> Again {
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
enum Again {
    /// It is what it was.
    Same(Way),
    /// Another one comes in its place.
    Other { renewed: u32 },
    /// It is not taken.
    TooOften,
}

/// How far a way is, for who keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Health {
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
struct Came {
    route: Route,
    received: u64,
    refused: u64,
}

impl Came {
    /// How much came since then, and how much of that was refused; `None`: it is not the same route, or not the same connection,
    /// since each counts from 0.
    fn since(self, before: Self) -> Option<(u64, u64)> {
        let same = self.route == before.route;
        let received = self.received.checked_sub(before.received).filter(|_| same)?;
        Some((received, self.refused.checked_sub(before.refused)?))
    }
}

impl Relaying {
    /// A way was denied. Who was not asked for one has nothing to deny.
    fn on_denied(&mut self, now: Instant, pair: Pair) {
        let was_asked = self.waiting.remove(&pair).is_some() || self.not_before.contains_key(&pair);
        if was_asked {
            self.not_before.insert(pair, now + ASK_AGAIN);
        }
    }

    /// Forgets those who wait for a way no more: their dial is over, and who was to relay said nothing.
    fn forget_waiting(&mut self) {
        self.waiting.retain(|_, waiting| {
            waiting.retain(|given| !given.is_closed());
            !waiting.is_empty()
        });
    }

    /// Which way has to go before there is room for one more through this member: the one that was wanted last of all through
    /// who gave the most. `None`: there is room; an error where this member gave the most itself.
    fn one_too_many(&self, through: &PeerId) -> Result<Option<Pair>, TooMany> {
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

    fn is_full(&self, through: &PeerId) -> bool {
        self.ways.keys().filter(|(_, relay)| relay == through).count() >= MOST_THROUGH
    }

    fn to(&self, peer: PeerId) -> impl Iterator<Item = (PeerId, Way)> {
        let all = self.ways.range((peer, PeerId([0; 32]))..=(peer, PeerId([u8::MAX; 32])));
        all.map(|((_, through), way)| (*through, *way))
    }
}

impl Actor {
    /// A route to a member through another, when it is there: through this one, unless it was of no use of late.
    pub(super) fn relayed_way(
        &mut self,
        through: Option<PeerId>,
        to: PeerId,
    ) -> impl Future<Output = Option<Route>> + Send + use<> {
        let through = self.relays(to, through).next();
        let waiting = through.map(|through| {
            self.state.relaying.dialled.insert(to, through);
            let (given, waiting) = oneshot::channel();
            let all = self.state.relaying.waiting.entry((to, through)).or_default();
            all.retain(|waiting| !waiting.is_closed());
            all.push(given);
            self.say(through, &NodeMessage::RelayWanted(to));
            waiting
        });
        async move { waiting?.await.ok() }
    }

    /// Somebody made a way, for us or for who is at its other end.
    pub(super) fn on_way(&mut self, now: Instant, through: PeerId, to: PeerId, channel: ChannelId) {
        let known = self.state.relaying.ways.contains_key(&(to, through));
        if !known && !self.make_room(&through) {
            return tracing::debug!(%through, "it gives more ways than there can be");
        }
        let Some(relay) = self.state.lines.get(&through) else { return };
        let (line, connection) = (relay.line.id, &relay.line.connection);
        let before = self.state.relaying.ways.get(&(to, through)).copied();
        let way = match before.map(|before| before.given_again(now, channel, line)) {
            Some(Again::Same(way)) => way,
            Some(Again::TooOften) => return tracing::debug!(%through, "it gives a way again and again"),
            other => {
                if let Some(before) = self.state.relaying.ways.remove(&(to, through)) {
                    self.node.remove_relayed(before.route);
                }
                let renewed = if let Some(Again::Other { renewed }) = other { renewed } else { 0 };
                match self.node.add_relayed(RelayAt::Connection(connection), channel) {
                    Ok(route) => {
                        Way { channel, relay: line, route, wanted: now, tried: now, health: Health::Given, renewed }
                    }
                    // The relay may give a channel twice, or another's, as often as it likes.
                    Err(error) => return tracing::debug!(%through, %error, "a relayed way was not taken"),
                }
            }
        };
        let route = way.route;
        self.state.relaying.ways.insert((to, through), way);
        let waiting = self.state.relaying.waiting.remove(&(to, through)).unwrap_or_default();
        waiting.into_iter().for_each(|waiting| reply(waiting, route));
        if let Some(connection) = self.kept(&to) {
            self.keep_ways(now, to, &connection);
        } else if let Some(connection) = self.silent(&to) {
            self.find_way_beside(now, to, &connection);
        }
    }

    /// Makes room for one more way through a member; false where it has given too many.
    fn make_room(&mut self, through: &PeerId) -> bool {
        let relaying = &mut self.state.relaying;
        if relaying.is_full(through) {
            return false;
        }
        match relaying.one_too_many(through) {
            Ok(None) => true,
            Ok(Some(pair)) => {
                if let Some(way) = relaying.ways.remove(&pair) {
                    self.node.remove_relayed(way.route);
                }
                true
            }
            Err(TooMany) => false,
        }
    }

    /// Somebody has no way for us.
    pub(super) fn on_no_way(&mut self, now: Instant, through: PeerId, to: PeerId) {
        self.state.relaying.on_denied(now, (to, through));
    }

    /// A dial to a member came to nothing: next time another relays.
    pub(super) fn on_not_reached(&mut self, now: Instant, to: PeerId) {
        if let Some(through) = self.state.relaying.dialled.remove(&to) {
            self.state.relaying.not_before.insert((to, through), now + PASS_OVER);
        }
    }

    /// There is no line any more to somebody, who may have relayed.
    pub(super) fn on_line_gone(&mut self, through: PeerId) {
        let relaying = &mut self.state.relaying;
        relaying.came.remove(&through);
        relaying.granting.on_line_gone(&through);
        for (_, way) in relaying.ways.iter_mut().filter(|((to, _), _)| *to == through) {
            // The next connection knows nothing of it.
            way.health = Health::Given;
        }
        relaying.waiting.retain(|(_, relay), _| *relay != through);
        relaying.not_before.retain(|(_, relay), _| *relay != through);
        let gone: Vec<Way> =
            relaying.ways.extract_if(.., |(_, relay), _| *relay == through).map(|(_, way)| way).collect();
        for way in &gone {
            // At once: the connection to the relay is closed a moment later only.
            self.node.remove_relayed(way.route);
        }
        if !gone.is_empty() {
            self.tend_ways(Instant::now());
        }
    }

    /// The connection to a member that is relayed, if it is for us to keep it alive.
    fn kept(&self, peer: &PeerId) -> Option<Connection> {
        let Standing { line, .. } = self.state.lines.get(peer)?;
        (line.making.dialler == Dialler::Here && line.direct().is_none()).then(|| line.connection.clone())
    }

    /// Looks after all ways: to be called every [`TEND_EVERY`].
    pub(super) fn tend_ways(&mut self, now: Instant) {
        let State { lines, relaying, .. } = &mut self.state;
        relaying.not_before.retain(|_, at| *at > now);
        relaying.granting.tidy(now);
        relaying.forget_waiting();
        relaying.came.retain(|peer, _| lines.contains_key(peer));
        relaying.dialled.retain(|peer, _| !lines.contains_key(peer));
        for ((to, _), way) in &mut relaying.ways {
            let wants = |standing: &Standing| standing.line.direct().is_none() || is_silent(&standing.line.connection);
            if lines.get(to).is_some_and(wants) {
                way.wanted = now;
            }
        }
        let unused: Vec<Way> =
            relaying.ways.extract_if(.., |_, way| now > way.wanted + UNUSED).map(|(_, way)| way).collect();
        for way in unused {
            self.node.remove_relayed(way.route);
        }
        let connections = self.state.lines.iter().map(|(peer, standing)| (*peer, standing.line.connection.clone()));
        for (peer, connection) in connections.collect::<Vec<_>>() {
            if self.silent(&peer).is_some() {
                self.find_way_beside(now, peer, &connection);
            } else if self.state.lines.get(&peer).is_some_and(|standing| standing.line.direct().is_none()) {
                self.refuse_garbage(now, peer, &connection);
                if self.kept(&peer).is_some() {
                    self.keep_ways(now, peer, &connection);
                }
            }
        }
    }

    /// The connection to a member that is reached directly, if it does not answer there any more.
    fn silent(&self, peer: &PeerId) -> Option<Connection> {
        let Standing { line, .. } = self.state.lines.get(peer)?;
        (line.direct().is_some() && is_silent(&line.connection)).then(|| line.connection.clone())
    }

    /// A direct way has gone silent: MRT goes on over a relayed one as soon as one is proven. Either end sees to that, since
    /// the other one may have nothing to say, and notice nothing.
    fn find_way_beside(&mut self, now: Instant, peer: PeerId, connection: &Connection) {
        for (through, way) in self.state.relaying.to(peer).collect::<Vec<_>>() {
            let place = (peer, through);
            match way.health {
                // Its relay has forgotten it, or is out of reach too.
                Health::Trying if now > way.tried + PROOF_TIME => {
                    self.state.relaying.ways.remove(&place);
                    self.node.remove_relayed(way.route);
                }
                Health::Trying => {}
                Health::Given | Health::Proven | Health::InUse => {
                    try_way(connection, way.route);
                    self.state.relaying.ways.insert(place, Way { tried: now, health: Health::Trying, ..way });
                }
            }
        }
        if self.state.relaying.to(peer).count() < WAYS {
            self.ask_for_way(now, peer);
        }
    }

    /// Gives up the way in use, if too much of what comes there was refused, and there is another.
    fn refuse_garbage(&mut self, now: Instant, peer: PeerId, connection: &Connection) {
        let (Ok(stats), Ok(route)) = (connection.stats(), connection.route()) else { return };
        let came = Came { route, received: stats.datagrams_received, refused: stats.datagrams_refused };
        let since = came.since(*self.state.relaying.came.entry(peer).or_insert(came));
        if since.is_some_and(|(_, refused)| refused < MANY_REFUSED) {
            return;
        }
        self.state.relaying.came.insert(peer, came);
        let is_garbage = since.is_some_and(|(received, refused)| refused > received / REFUSED_PART);
        let in_use = self.state.relaying.to(peer).find(|(_, way)| way.route == route);
        if let (true, Some((through, _))) = (is_garbage, in_use)
            && self.has_other_way(peer, through, connection)
        {
            self.give_up_way(now, (peer, through), connection, Fault::Garbage);
        }
    }

    /// Looks after the ways of a connection that is ours to keep.
    fn keep_ways(&mut self, now: Instant, peer: PeerId, connection: &Connection) {
        let ways: Vec<(PeerId, Way)> = self.state.relaying.to(peer).collect();
        for (through, way) in ways {
            let in_use = connection.route().is_ok_and(|route| route == way.route);
            let proven = connection.is_proven(way.route).unwrap_or(false);
            let (tried, health) = match way.health {
                Health::Given if !in_use => (now, Health::Trying),
                _ if in_use && proven => (now, Health::InUse),
                // It was left without our doing.
                Health::InUse => (now, Health::Trying),
                Health::Trying if proven => (way.tried, Health::Proven),
                Health::Trying if now > way.tried + PROOF_TIME => {
                    self.give_up_way(now, (peer, through), connection, Fault::Silence);
                    continue;
                }
                Health::Proven if now > way.tried + PROVE_EVERY => (now, Health::Trying),
                health => (way.tried, health),
            };
            if health == Health::Trying && tried == now {
                try_way(connection, way.route);
            }
            let renewed = if matches!(health, Health::Proven | Health::InUse) { 0 } else { way.renewed };
            self.state.relaying.ways.insert((peer, through), Way { tried, health, renewed, ..way });
        }
        if self.state.relaying.to(peer).count() < WAYS {
            self.ask_for_way(now, peer);
        }
    }

    /// Whether the other end is known to be there by another way.
    fn has_other_way(&self, to: PeerId, through: PeerId, connection: &Connection) -> bool {
        let mut others = self.state.relaying.to(to).filter(|(relay, _)| *relay != through);
        others.any(|(_, way)| connection.is_proven(way.route).unwrap_or(false))
    }

    /// A way is of no use. Where others are, it is said who may be to blame.
    fn give_up_way(&mut self, now: Instant, (to, through): Pair, connection: &Connection, fault: Fault) {
        let Some(way) = self.state.relaying.ways.remove(&(to, through)) else { return };
        self.node.remove_relayed(way.route);
        self.state.relaying.not_before.insert((to, through), now + AVOID);
        tracing::debug!(%to, %through, ?fault, "a relayed way is given up");
        if !self.has_other_way(to, through, connection) {
            return;
        }
        let verdict = self.state.relaying.blame.verdict(now, fault, through, to);
        self.warn(verdict.words(&self.name_of(&through), &self.name_of(&to)));
    }

    /// Asks the next member for a way, the supernode first.
    fn ask_for_way(&mut self, now: Instant, to: PeerId) {
        let has_none = |through: &PeerId| !self.state.relaying.ways.contains_key(&(to, *through));
        let Some(through) = self.relays(to, None).find(has_none) else { return };
        self.state.relaying.not_before.insert((to, through), now + ASK_AGAIN);
        self.say(through, &NodeMessage::RelayWanted(to));
    }

    /// Who may be asked to relay to a member: whom somebody names, then the supernode, then the others to whom there is a direct
    /// line.
    fn relays(&self, to: PeerId, named: Option<PeerId>) -> impl Iterator<Item = PeerId> {
        let members = self.group.roster().map(|roster| roster.members()).unwrap_or_default();
        let all = each_once(named.into_iter().chain(self.group.supernode()), members.iter().map(Member::id));
        let State { lines, relaying, .. } = &self.state;
        let can_relay = move |through: &PeerId| {
            *through != to && lines.get(through).is_some_and(|standing| standing.line.direct().is_some())
        };
        let is_open = move |through: &PeerId| !relaying.not_before.contains_key(&(to, *through));
        all.filter(can_relay).take(MOST_ASKED).filter(is_open)
    }
}

/// These, then the others, nobody twice.
fn each_once(
    first: impl Iterator<Item = PeerId>,
    others: impl Iterator<Item = PeerId>,
) -> impl Iterator<Item = PeerId> {
    let mut chosen: Vec<PeerId> = first.collect();
    chosen.dedup();
    let others = others.filter({
        let chosen = chosen.clone();
        move |peer| !chosen.contains(peer)
    });
    chosen.into_iter().chain(others)
}

fn is_silent(connection: &Connection) -> bool {
    connection.is_silent().unwrap_or(false)
}

/// Tries a way as a path of a connection.
fn try_way(connection: &Connection, route: Route) {
    debug_assert_eq!(route.socket, RELAY_SOCKET, "a relayed way");
    if let Err(error) = connection.probe(route) {
        tracing::debug!(%error, "a relayed way was not tried");
    }
}

#[cfg(test)]
mod tests {
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
        let now = began + PROOF_TIME;
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

    #[test]
    fn who_is_named_and_leads_is_asked_once() {
        let [ann, bob, cid] = [1, 2, 3].map(|number| PeerId([number; 32]));
        let members = [ann, bob, cid];
        let asked = |first: &[PeerId]| each_once(first.iter().copied(), members.into_iter()).collect::<Vec<_>>();
        assert_eq!(asked(&[]), members);
        assert_eq!(asked(&[bob, bob]), [bob, ann, cid]);
        assert_eq!(asked(&[cid, bob]), [cid, bob, ann]);
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
