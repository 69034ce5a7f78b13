//! Networks: with a tracker, or of nodes alone; and the engine that goes with each.

use std::path::PathBuf;
use std::sync::Arc;

use common::name::UserName;
use common::wire::tracker::MrtRole;
use tokio::sync::mpsc;

use super::open::StartError;
use super::visitors::take_in;
use super::{GroupConfig, Place, TrackerAddress};
use crate::engine::{Engine, EngineConfig};
use crate::node::rendezvous::{self, Rendezvous, RendezvousConfig};
use crate::node::{self, Asker, NodeConfig, Started};
use crate::overlay::{Overlay, Reach, Reached};
use crate::tasks::Tasks;
use crate::tracker_client::TrackerClient;

/// An engine, and the network that it is for.
pub(super) struct Entered {
    pub(super) engine: Engine,
    pub(super) place: Place,
    /// In a network of nodes: asks this one.
    pub(super) node: Option<Asker>,
    /// In a network with a tracker: whom TCP does not reach.
    pub(super) reaches: Option<mpsc::Receiver<Reach>>,
}

/// An engine for the network of this tracker.
pub(super) async fn with_tracker(
    tracker: TrackerAddress,
    config: EngineConfig,
    tasks: &Tasks,
) -> Result<Entered, StartError> {
    let (address, (overlay, reaches)) = (config.listen, Overlay::new());
    let bound = Engine::bind_beside(overlay, config, tasks).await;
    let engine = bound.map_err(|source| StartError::Listen { address, source })?;
    Ok(Entered { engine, place: Place::Address(tracker), node: None, reaches: Some(reaches) })
}

/// A node, and an engine over it. Where that fails all of `tasks` end.
pub(super) async fn of_nodes(
    group: GroupConfig,
    name: UserName,
    memory: PathBuf,
    config: EngineConfig,
    tasks: &Tasks,
) -> Result<Entered, StartError> {
    let GroupConfig { psk, stun, discovery, hold: _ } = group;
    let (identity, address) = (Arc::clone(&config.identity), config.listen);
    let node_config = NodeConfig { identity, psk, name, listen: address, stun, discovery, memory };
    let started = match node::start(node_config, config.notices.clone(), tasks).await {
        Ok(started) => started,
        Err(error) => {
            tasks.shutdown().await;
            return Err(match error {
                node::StartError::Listen(source) => StartError::Listen { address, source },
                node::StartError::Taken => StartError::Taken { address },
            });
        }
    };
    let Started { asker, entrance, overlay, visitors, local } = started;
    let engine = Engine::over(overlay, EngineConfig { listen: local, ..config }, tasks);
    hand_in(&engine, visitors, tasks);
    Ok(Entered { engine, place: Place::Group(entrance), node: Some(asker), reaches: None })
}

/// Has peers meet over MRT whom TCP does not bring together.
pub(super) fn meet_over_mrt(
    engine: &Engine,
    tracker: &TrackerClient,
    role: MrtRole,
    reaches: mpsc::Receiver<Reach>,
    tasks: &Tasks,
) -> Rendezvous {
    let (identity, notices) = engine.who_and_whom_to_tell();
    let config = RendezvousConfig { identity, tracker: tracker.clone(), listen: engine.local_addr(), role, notices };
    let (rendezvous, visitors) = rendezvous::start(config, reaches, tasks);
    hand_in(engine, visitors, tasks);
    rendezvous
}

/// Hands those who come over the overlay to the engine.
fn hand_in(engine: &Engine, visitors: mpsc::Receiver<Reached>, tasks: &Tasks) {
    let engine = engine.clone();
    let greet = move |reached| {
        let engine = engine.clone();
        async move { engine.take(reached).await }
    };
    tasks.spawn("visitors", take_in(visitors, greet, tasks.clone()));
}
