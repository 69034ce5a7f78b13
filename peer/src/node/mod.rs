//! The mode without a tracker: a node of a network of nodes, one of which, the supernode, knows the others.
//!
//! ```text
//!   program --(tracker's protocol, in this process)--> desk --> actor --> group (who is in the network, the machine)
//!   engine  --(overlay: streams for chunks)----------------------^  |
//!                                                                   +--> lines: one connection to each other node
//!                                                                         direct, or through the supernode until they meet
//! ```
//!
//! Each module uses only those that stand after it in this list, but for the actor's `Input`, by which others tell it things, and
//! `outside`, which is a part of what the actor does:
//!
//! - `desk`: speaks like a tracker to the rest of the program
//! - `actor`: the one task that has the group
//! - `rendezvous`: the same beside a tracker, where the tracker knows the others
//! - `news`: what the user hears of
//! - `discovery`: others on the same LAN
//! - `memory`: with whom this node was in a network last
//! - `joining`: what a node joins by itself
//! - `asks`: what the rest of the program asks it
//! - `outside`: where this node is seen
//! - `meet`: from a relayed way to a direct one
//! - `dial`: from addresses to a connection
//! - `names`: what members are called
//! - `wishes`: who waits for a stream for chunks
//! - `door`: how many who came may wait until they have said what for
//! - `line`: a connection with its control stream
//! - `room`: how much may wait
//! - `stun`: who is asked where this node is seen
//! - `key`: the key of the network

mod actor;
mod asks;
mod desk;
mod dial;
mod discovery;
mod door;
mod joining;
mod key;
mod line;
mod meet;
mod memory;
mod names;
mod news;
mod outside;
pub(crate) mod rendezvous;
mod room;
mod stun;
#[cfg(test)]
mod tests;
mod wishes;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use common::group::{self, Addresses, Group};
use common::identity::Identity;
use common::mrt::{self, LocalKeys};
use common::name::UserName;
use common::nat::{Candidates, Origin};
use common::relay::RelayConfig;
use tokio::sync::{broadcast, mpsc, watch};

use self::actor::{Actor, Input, State};
pub(crate) use self::asks::{Asker, Ended, OwnLine, PeerLine, Peers};
use self::desk::Desk;
use self::discovery::Discovery;
pub use self::joining::Found;
use self::joining::{Joiner, on_this_machine};
pub(crate) use self::key::{network_psk, new_network_key};
use self::meet::Whereabouts;
use self::memory::Memory;
use self::outside::Outside;
use self::stun::Lookout;
pub(crate) use self::stun::StunServer;
use crate::mrt::{BindOptions, Node};
use crate::notice::Notice;
use crate::overlay::{Overlay, Reached};
use crate::tasks::Tasks;
use crate::tracker_client::{Entrance, reachable_addresses};

/// Inputs that wait for the actor; lines are not read meanwhile.
const INPUTS: usize = 1024;
/// Bytes of messages among them: ten of the longest.
const INPUT_BYTES: usize = 10 * group::MAX_MESSAGE;
/// Streams for chunks that wait for the engine; more are turned away.
const VISITORS: usize = 64;
/// Events that a slow listener may be behind before it loses the oldest.
const EVENTS: usize = 1024;
/// Bytes that all receive windows of a node may promise: with twenty nodes on a machine each stays below 50 MiB.
const RECEIVE_BUDGET: u64 = 24 << 20;

/// What a node is made from.
#[derive(Clone)]
pub(crate) struct NodeConfig {
    /// This peer's key.
    pub(crate) identity: Arc<Identity>,
    /// The key of the network, which all its members have.
    pub(crate) psk: [u8; 32],
    /// Its user's name.
    pub(crate) name: UserName,
    /// Where it receives; port 0 is one that the system chooses.
    pub(crate) listen: SocketAddr,
    /// Who is asked where it is seen from outside.
    pub(crate) stun: Vec<StunServer>,
    /// Whether it and others on its LAN find each other.
    pub(crate) discovery: DiscoveryRule,
    /// The file in which it remembers with whom it is in the network.
    pub(crate) memory: PathBuf,
}

/// Whether nodes on one LAN find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiscoveryRule {
    /// They do.
    On,
    /// This one neither looks nor shows itself.
    Off,
}

/// A node that runs.
pub(crate) struct Started {
    /// Asks it.
    pub(crate) asker: Asker,
    /// The way to what speaks like a tracker.
    pub(crate) entrance: Entrance,
    /// Ways to other members.
    pub(crate) overlay: Overlay,
    /// Members who come for chunks.
    pub(crate) visitors: mpsc::Receiver<Reached>,
    /// Where it receives.
    pub(crate) local: SocketAddr,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// It cannot listen there.
    #[error(transparent)]
    Listen(#[from] io::Error),
    /// Somebody else listens there, and no node of this network.
    #[error("somebody listens there already, who is no node of this network")]
    Taken,
}

/// Starts a node among `tasks`, which are to be ended where that fails. It is alone at first; but where a node of the same
/// network listens at its address on this machine, it takes a free port and joins that.
pub(crate) async fn start(
    config: NodeConfig,
    notices: broadcast::Sender<Notice>,
    tasks: &Tasks,
) -> Result<Started, StartError> {
    let wished = config.listen;
    match begin(config.clone(), &notices, tasks) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && wished.port() != 0 => {
            let free = SocketAddr::new(wished.ip(), 0);
            let (started, joiner) = begin(NodeConfig { listen: free, ..config }, &notices, tasks)?;
            if joiner.try_once(Found::Here, &on_this_machine(wished)).await {
                Ok(started)
            } else {
                Err(StartError::Taken)
            }
        }
        begun => Ok(begun?.0),
    }
}

/// Starts it, and gives what it joins others with: one for all, since that counts what it takes of the group's room.
fn begin(config: NodeConfig, notices: &broadcast::Sender<Notice>, tasks: &Tasks) -> io::Result<(Started, Joiner)> {
    let NodeConfig { identity, psk, name, listen, stun, discovery, memory } = config;
    let keys = LocalKeys::new(Arc::clone(&identity), psk);
    let static_key = keys.static_key();
    let options = mrt::Config { receive_budget: RECEIVE_BUDGET, ..mrt::Config::default() };
    let node = Node::bind(tasks, BindOptions { listen, config: options, keys })?;
    let local = node.local_addr();
    let mut candidates = Candidates::default();
    for address in reachable_addresses(local) {
        candidates.add(Origin::Interface, SocketAddr::new(address, local.port()));
    }
    let outside = Outside::new(candidates.iter().map(|candidate| candidate.address));
    // Who listens on this machine only is reached from this machine.
    let only_here = local.ip().is_loopback().then_some(local);
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_unspecified| io::Error::other("the system gives no randomness"))?;
    let network = group::network_id(&psk);
    let group = Group::new(
        Instant::now(),
        group::Config {
            network,
            identity: Arc::clone(&identity),
            static_key,
            name: name.clone(),
            addresses: Addresses::new(candidates.iter().map(|candidate| candidate.address).chain(only_here)),
            seed: u64::from_be_bytes(seed),
        },
    );
    let (sender, inputs) = mpsc::channel::<Input>(INPUTS);
    let (visitors_sender, visitors) = mpsc::channel(VISITORS);
    let events = broadcast::Sender::new(EVENTS);
    let (entrance, wishes) = Entrance::new(network);
    let (overlay, reaches) = Overlay::new();
    let asker = Asker::new(sender.clone());
    tasks.spawn("news", news::tell(events.subscribe(), identity.peer_id(), asker.clone(), notices.clone()));
    let desk = Desk::new(asker.clone(), identity.public_key(), name, local, events.clone());
    let relay = node.relay(RelayConfig::default());
    let lookout = Lookout {
        node: node.clone(),
        servers: stun,
        inputs: sender.clone(),
        events: events.subscribe(),
        notices: notices.clone(),
    };
    tasks.spawn("lookout", lookout.run());
    let memory = Memory {
        path: memory,
        network,
        here: identity.peer_id(),
        asker: asker.clone(),
        events: events.subscribe(),
        notices: notices.clone(),
    };
    let joiner = Joiner::new(asker.clone(), notices.clone());
    tasks.spawn("memory", memory.run(joiner.clone()));
    if discovery == DiscoveryRule::On {
        let (here, asker, joiner) = (identity.peer_id(), asker.clone(), joiner.clone());
        let discovery = Discovery { network, here, local, asker, joiner };
        tasks.spawn("discovery", discovery.run());
    }
    let actor = Actor {
        group,
        node,
        relay,
        candidates,
        outside,
        whereabouts: watch::Sender::new(Whereabouts::default()),
        inputs: sender,
        visitors: visitors_sender,
        events,
        notices: notices.clone(),
        tasks: tasks.clone(),
        state: State::new(),
    };
    tasks.spawn("node", actor.run(inputs, reaches));
    tasks.spawn("desks", desk.run(wishes, tasks.clone()));
    Ok((Started { asker, entrance, overlay, visitors, local }, joiner))
}
