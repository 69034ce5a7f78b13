//! Outside: where this node is seen by others, and what stands in between.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use common::nat::{NatKind, Observation, Origin};

use super::actor::Actor;
use super::line::Line;
use super::stun::{Seen, local_towards};
use crate::notice::Notice;

/// So many observations by other nodes are kept, the newest; picked by hand.
const MOST_BY_NODES: usize = 8;

/// How this node is seen.
#[derive(Debug, Default)]
pub(super) struct Outside {
    by_servers: Vec<Observation>,
    by_nodes: VecDeque<Observation>,
    nat: NatKind,
    told: Option<SocketAddr>,
}

impl Outside {
    /// What kind of NAT is there, as far as known.
    pub(super) const fn nat(&self) -> NatKind {
        self.nat
    }

    /// Where it is seen: by a STUN server if one was asked, else by whoever saw it last.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.by_servers.first().or_else(|| self.by_nodes.back()).map(|seen| seen.mapped)
    }

    fn conclude(&mut self) {
        let all: Vec<Observation> = self.by_servers.iter().chain(&self.by_nodes).copied().collect();
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
        let before = self.candidates.clone();
        self.candidates.forget(Origin::Interface);
        if !observations.is_empty() {
            self.candidates.forget(Origin::Stun);
            self.outside.by_servers = observations;
        }
        for Observation { mapped, .. } in &self.outside.by_servers {
            self.candidates.add(Origin::Stun, *mapped);
        }
        for address in interfaces {
            self.candidates.add(Origin::Interface, address);
        }
        self.outside.conclude();
        if self.candidates != before {
            self.tell_addresses(now);
        }
        if let Some(first) = self.outside.by_servers.first()
            && self.outside.told.replace(first.mapped) != Some(first.mapped)
        {
            // Nobody may be listening.
            let _heard = self.notices.send(Notice::SeenAt { address: first.mapped, nat: self.outside.nat });
        }
    }

    /// Who was dialled says from where we came: our router's address for this socket.
    pub(super) fn on_observed(&mut self, now: Instant, line: &Line) {
        let (Ok(Some(mapped)), Some(asked)) = (line.connection.observed(), line.direct()) else { return };
        if self.outside.by_nodes.len() >= MOST_BY_NODES {
            self.outside.by_nodes.pop_front();
        }
        let local = local_towards(&self.node, asked);
        self.outside.by_nodes.push_back(Observation { local, asked, mapped });
        self.outside.conclude();
        if self.candidates.add(Origin::Peer, mapped) {
            self.tell_addresses(now);
        }
    }
}
