//! Outside: where this node is seen by others, and what stands in between.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use common::nat::{NatKind, Observation, Origin, is_private};

use super::actor::Actor;
use super::line::Line;
use super::stun::{EVERY, Seen, local_towards};
use crate::notice::Notice;

/// So many observations by other nodes are kept, the newest; picked by hand.
const MOST_BY_NODES: usize = 8;
/// Observations further apart are not compared: routers forget, and then all that was seen before is void.
const COMPARABLE: Duration = Duration::from_secs(120);
/// What servers saw is void when none of them answers for so long: they were asked twice since.
const SERVERS_SILENT: Duration = EVERY.saturating_mul(2);

/// How this node is seen.
#[derive(Debug, Default)]
pub(super) struct Outside {
    interfaces: Vec<SocketAddr>,
    /// Those of the last time that any server answered.
    by_servers: Vec<Observation>,
    /// When that was.
    answered: Option<Instant>,
    /// Whether the servers were asked since, and none answered.
    unanswered: bool,
    /// The oldest first, one of each node.
    by_nodes: VecDeque<(Instant, Observation)>,
    nat: NatKind,
    told: Option<SocketAddr>,
}

impl Outside {
    /// Of a node whose machine has these addresses.
    pub(super) fn new(interfaces: impl Iterator<Item = SocketAddr>) -> Self {
        Self { interfaces: interfaces.collect(), ..Self::default() }
    }

    /// What kind of NAT is there, as far as known.
    pub(super) const fn nat(&self) -> NatKind {
        self.nat
    }

    /// Where it is seen: by a STUN server if one was asked, else by whoever saw it last.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.by_servers.first().or_else(|| self.by_nodes.back().map(|(_, seen)| seen)).map(|seen| seen.mapped)
    }

    /// The STUN servers that answered.
    pub(super) fn servers(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.by_servers.iter().map(|seen| seen.asked)
    }

    /// Interfaces and servers were looked at.
    fn on_look(&mut self, now: Instant, Seen { interfaces, observations }: Seen) {
        self.interfaces = interfaces;
        self.unanswered = observations.is_empty();
        if !observations.is_empty() {
            (self.by_servers, self.answered) = (observations, Some(now));
        } else if self.answered.is_some_and(|at| now.saturating_duration_since(at) >= SERVERS_SILENT) {
            self.by_servers.clear();
        }
        self.doubt_servers();
    }

    /// Servers that did not answer the last time count no more where a node has seen us at another public address since:
    /// this machine has moved, say. As long as they answer no node's word alone counts against theirs.
    fn doubt_servers(&mut self) {
        let Some(answered) = self.answered.filter(|_| self.unanswered) else { return };
        let since: Vec<IpAddr> =
            self.by_nodes.iter().filter(|(at, _)| *at > answered).map(|(_, seen)| seen.mapped.ip()).collect();
        self.by_servers.retain(|seen| !since.iter().any(|ip| is_elsewhere(*ip, seen.mapped.ip())));
    }

    /// A node saw us.
    fn add(&mut self, now: Instant, seen: Observation) {
        let before = self.by_nodes.iter().position(|(_, other)| other.asked == seen.asked && other.local == seen.local);
        let before = before.and_then(|place| self.by_nodes.remove(place));
        if before.is_some_and(|(_, before)| before.mapped != seen.mapped) {
            // Our router has forgotten us: what others saw before is over.
            self.by_nodes.clear();
        }
        if self.by_nodes.len() >= MOST_BY_NODES {
            self.by_nodes.pop_front();
        }
        self.by_nodes.push_back((now, seen));
        self.doubt_servers();
    }

    fn conclude(&mut self, now: Instant) {
        let by_nodes = self.by_nodes.iter().filter(|(at, _)| now.saturating_duration_since(*at) < COMPARABLE);
        let by_nodes = by_nodes.map(|(_, seen)| seen);
        let all: Vec<Observation> = self.by_servers.iter().chain(by_nodes).copied().collect();
        match NatKind::from_observations(&all) {
            // What was known stays so until something else is.
            NatKind::Unknown => {}
            kind => self.nat = kind,
        }
    }
}

/// Whether these are two public addresses of one family.
fn is_elsewhere(one: IpAddr, other: IpAddr) -> bool {
    let is_public = |ip: IpAddr| !is_private(ip) && !ip.is_loopback();
    one != other && one.is_ipv4() == other.is_ipv4() && is_public(one) && is_public(other)
}

impl Actor {
    /// Interfaces and servers were looked at.
    pub(super) fn on_seen(&mut self, now: Instant, seen: Seen) {
        self.outside.on_look(now, seen);
        self.look_outside(now);
        if let Some(first) = self.outside.by_servers.first()
            && self.outside.told.replace(first.mapped) != Some(first.mapped)
        {
            // Nobody may be listening.
            let _heard = self.notices.send(Notice::SeenAt { address: first.mapped, nat: self.outside.nat });
        }
    }

    /// Who was dialled says from where we came: our router's address for this socket.
    pub(super) fn on_seen_by(&mut self, now: Instant, line: &Line) {
        let (Ok(Some(mapped)), Some(asked)) = (line.connection.observed(), line.direct()) else { return };
        self.on_observed(now, Observation { local: local_towards(&self.node, asked), asked, mapped });
    }

    /// A node saw our first socket.
    pub(super) fn on_observed(&mut self, now: Instant, seen: Observation) {
        self.outside.add(now, seen);
        self.look_outside(now);
    }

    /// What is known has changed: that of the candidates which is not the user's is made anew from it.
    fn look_outside(&mut self, now: Instant) {
        let before = self.candidates.clone();
        [Origin::Stun, Origin::Peer, Origin::Interface].into_iter().for_each(|origin| self.candidates.forget(origin));
        let Outside { interfaces, by_servers, by_nodes, .. } = &self.outside;
        let by_servers = by_servers.iter().map(|seen| (Origin::Stun, seen.mapped));
        // The newest first: there is not room for all.
        let by_nodes = by_nodes.iter().rev().map(|(_, seen)| (Origin::Peer, seen.mapped));
        let interfaces = interfaces.iter().map(|address| (Origin::Interface, *address));
        for (origin, address) in by_servers.chain(by_nodes).chain(interfaces) {
            self.candidates.add(origin, address);
        }
        self.outside.conclude(now);
        self.tell_nat();
        if self.candidates != before {
            self.tell_addresses(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observed(asked: &str, mapped: &str) -> Observation {
        let address = |text: &str| text.parse().unwrap();
        Observation { local: address("192.168.1.7:4000"), asked: address(asked), mapped: address(mapped) }
    }

    fn servers_saw(mapped: &[&str]) -> Seen {
        let observations = mapped.iter().map(|mapped| observed("198.51.100.1:3478", mapped)).collect();
        Seen { interfaces: Vec::new(), observations }
    }

    fn seen_at(outside: &Outside) -> Option<String> {
        outside.address().map(|address| address.to_string())
    }

    #[test]
    fn what_servers_saw_is_void_when_they_are_silent() {
        let (mut outside, begin) = (Outside::default(), Instant::now());
        outside.on_look(begin, servers_saw(&["203.0.113.1:4000"]));
        outside.on_look(begin + EVERY, servers_saw(&[]));
        assert_eq!(seen_at(&outside).as_deref(), Some("203.0.113.1:4000"), "a datagram may be lost");
        outside.on_look(begin + 2 * EVERY, servers_saw(&[]));
        assert_eq!((seen_at(&outside), outside.servers().count()), (None, 0));
        outside.on_look(begin + 3 * EVERY, servers_saw(&["203.0.113.1:4000"]));
        assert_eq!(outside.servers().count(), 1);
    }

    #[test]
    fn where_nodes_see_us_counts_once_servers_are_silent() {
        let (mut outside, begin) = (Outside::default(), Instant::now());
        let at = |secs| begin + Duration::from_secs(secs);
        outside.on_look(at(0), servers_saw(&["203.0.113.1:4000"]));
        outside.add(at(1), observed("198.51.100.9:4000", "203.0.113.2:4000"));
        outside.on_look(at(2), servers_saw(&["203.0.113.1:4000"]));
        outside.add(at(3), observed("198.51.100.8:4000", "203.0.113.2:4000"));
        assert_eq!(seen_at(&outside).as_deref(), Some("203.0.113.1:4000"), "one node may lie");
        outside.on_look(at(4), servers_saw(&["203.0.113.1:4000"]));
        outside.on_look(at(5), servers_saw(&[]));
        outside.add(at(6), observed("192.168.1.9:4000", "192.168.1.7:4000"));
        outside.add(at(6), observed("198.51.100.9:4000", "203.0.113.1:5000"));
        assert_eq!(seen_at(&outside).as_deref(), Some("203.0.113.1:4000"), "that is no other place");
        outside.add(at(7), observed("198.51.100.9:4000", "203.0.113.2:4000"));
        assert_eq!((seen_at(&outside).as_deref(), outside.servers().count()), (Some("203.0.113.2:4000"), 0));
    }

    #[test]
    fn servers_that_fall_silent_after_nodes_saw_us_elsewhere_do_not_count() {
        let (mut outside, begin) = (Outside::default(), Instant::now());
        outside.on_look(begin, servers_saw(&["203.0.113.1:4000"]));
        let later = begin + Duration::from_secs(1);
        outside.add(later, observed("198.51.100.9:4000", "203.0.113.2:4000"));
        outside.on_look(later, servers_saw(&[]));
        assert_eq!((seen_at(&outside).as_deref(), outside.servers().count()), (Some("203.0.113.2:4000"), 0));
    }
}
