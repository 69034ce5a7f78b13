//! Relayed ways: through which other node two members talk who do not reach each other directly, and what becomes of their
//! connection when that node is gone.
//!
//! A connection outlives who relays it: each way is a path of the same connection, with its keys, its streams and all that is
//! under way. Who dialled keeps ways through [`WAYS`] members, the supernode first. When one of these is gone, or does not pass
//! on what it is given, MRT goes on over the other by itself, and a third member is asked. The other end takes part with
//! every way that it is given. A connection that is direct has none; when it does not answer any more, either end asks for some.

mod ways;

use std::time::{Duration, Instant};

use common::group::{Member, NodeMessage};
use common::id::PeerId;
use common::mrt::Route;
use common::relay::ChannelId;
use tokio::sync::oneshot;

pub(super) use self::ways::Relaying;
use self::ways::{ASK_AGAIN, Again, Came, Health, Pair, TooMany, Way};
use super::blame::Fault;
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
/// A way that is not in use is tried again so often: sooner than MRT holds it for stale (30 s), and than its relay forgets it.
const PROVE_EVERY: Duration = Duration::from_secs(20);
/// A member through whom a dial came to nothing is asked for a way again after this.
const PASS_OVER: Duration = Duration::from_secs(8);
/// The same of one that gave a way that does not work.
const AVOID: Duration = Duration::from_secs(60);
/// Ways that no line wants are forgotten after this: a dial over them has ended, and so has what was under way when the line
/// became direct.
const UNUSED: Duration = Duration::from_secs(30);
/// Of so many refused datagrams on, ...
const MANY_REFUSED: u64 = 64;
/// ... where they are at least this part of all that came: networks damage or repeat far fewer.
const REFUSED_PART: u64 = 8;

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
    fn who_is_named_and_leads_is_asked_once() {
        let [ann, bob, cid] = [1, 2, 3].map(|number| PeerId([number; 32]));
        let members = [ann, bob, cid];
        let asked = |first: &[PeerId]| each_once(first.iter().copied(), members.into_iter()).collect::<Vec<_>>();
        assert_eq!(asked(&[]), members);
        assert_eq!(asked(&[bob, bob]), [bob, ann, cid]);
        assert_eq!(asked(&[cid, bob]), [cid, bob, ann]);
    }
}
