//! Outside: where this node is seen by others, and what stands in between.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::nat::{NatKind, Observation, Origin};

use super::actor::Actor;
use super::line::Line;
use super::stun::{Seen, local_towards};
use crate::notice::Notice;

/// So many observations by other nodes are kept, the newest; picked by hand.
const MOST_BY_NODES: usize = 8;
/// Observations further apart are not compared: routers forget, and then all that was seen before is void.
const COMPARABLE: Duration = Duration::from_secs(120);

/// How this node is seen.
#[derive(Debug, Default)]
pub(super) struct Outside {
    interfaces: Vec<SocketAddr>,
    by_servers: Vec<Observation>,
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

impl Actor {
    /// Interfaces and servers were looked at.
    pub(super) fn on_seen(&mut self, now: Instant, seen: Seen) {
        let Seen { interfaces, observations } = seen;
        self.outside.interfaces = interfaces;
        if !observations.is_empty() {
            self.outside.by_servers = observations;
        }
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
