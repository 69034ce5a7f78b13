//! Nodes: connecting, inviting, and who is there, in a network without a tracker.

use std::net::SocketAddr;

use common::group::ConnectError;
use common::id::PeerId;
use common::nat::NatKind;
use serde::{Deserialize, Serialize};

use super::parts::Parts;
use super::{Failure, FailureKind, Outcome, failure};
use crate::node::{Asker, Ended, OwnLine, PeerLine, Peers};

/// Who is there, and how each is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbourhood {
    /// This node.
    pub here: OwnNode,
    /// The others, in order of joining.
    pub others: Vec<Neighbour>,
}

/// This node among the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnNode {
    /// What the others call its user.
    pub name: String,
    /// Who.
    pub peer: PeerId,
    /// Whether it is the supernode.
    pub supernode: bool,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where others see it; `None` as long as that is not known.
    pub seen_at: Option<SocketAddr>,
    /// What stands in between.
    pub nat: NatKind,
}

/// Another node, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Its user's name.
    pub name: String,
    /// Who.
    pub peer: PeerId,
    /// Whether it is the supernode.
    pub supernode: bool,
    /// How it is reached; `None` while there is no connection to it.
    pub way: Option<Way>,
    /// What stands between it and the others, as far as it told.
    pub nat: NatKind,
}

/// A way to another node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Way {
    /// Where it is; `None`: it is reached through a relay.
    pub address: Option<SocketAddr>,
    /// The smoothed round trip, in microseconds.
    pub round_trip_us: u64,
    /// How fast it is sent to, in bytes a second; `None` as long as that is not known.
    pub bytes_per_sec: Option<u64>,
}

/// Connects to whoever is there, with all members of this network.
pub(super) async fn connect(parts: &Parts, address: SocketAddr) -> Result<Outcome, Failure> {
    let node = node(parts)?;
    let peer = node.connect(address).await.map_err(ended)?.map_err(|error| {
        let hint = match error {
            ConnectError::TooMany(_) => "wait until one of those under way has come to an end, and ask again",
            _ => {
                "is a node running there, with the same network key? behind a router it has to invite you: A ADDR PORT"
            }
        };
        Failure::new(FailureKind::Failed, format!("no connection to {address}: {error}")).with_hint(hint)
    })?;
    let neighbours = node.peers().await.map_err(ended)?.others;
    let name = neighbours.into_iter().find(|line| line.peer == peer).map(|line| line.name);
    Ok(Outcome::Connected { address, peer, name })
}

/// Opens our router towards an address.
pub(super) async fn invite(parts: &Parts, address: SocketAddr) -> Result<Outcome, Failure> {
    node(parts)?.invite(address).await.map_err(ended)?;
    Ok(Outcome::Invited { address })
}

/// Who is there, and how each is reached.
pub(super) async fn neighbours(parts: &Parts) -> Result<Outcome, Failure> {
    let Peers { here, others } = node(parts)?.peers().await.map_err(ended)?;
    let OwnLine { name, supernode, seen_at, nat } = here;
    let here = OwnNode { name, peer: parts.peer, supernode, listen: parts.listen, seen_at, nat };
    Ok(Outcome::Neighbours(Neighbourhood { here, others: others.into_iter().map(neighbour).collect() }))
}

fn neighbour(line: PeerLine) -> Neighbour {
    let PeerLine { peer, name, supernode, way, nat } = line;
    let way = way.map(|way| Way {
        address: way.address,
        round_trip_us: u64::try_from(way.round_trip.as_micros()).unwrap_or(u64::MAX),
        bytes_per_sec: way.rate,
    });
    Neighbour { name, peer, supernode, way, nat }
}

fn node(parts: &Parts) -> Result<&Asker, Failure> {
    parts.node.as_ref().ok_or_else(|| {
        Failure::new(FailureKind::Usage, "that is for networks without a tracker")
            .with_hint("`peer mrt` starts a node of one")
    })
}

fn ended(_ended: Ended) -> Failure {
    failure::ending()
}
