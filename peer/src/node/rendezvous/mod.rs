//! Meeting over MRT with a tracker as the rendezvous: for two who cannot reach each other by TCP, either way round.
//!
//! ```text
//!   engine --(overlay: a stream to this peer)--> actor --(meet)--> tracker --(meet)--> the other's actor
//!                                                  |  presence: our socket, which the tracker has seen
//!                                                  +--> dial: its addresses, and after a moment the tracker's relay
//!                                                  +--> line, as in a network without a tracker; meets directly if it can
//! ```
//!
//! Who serves over MRT has its socket from the start; who downloads makes one when it first needs it. The connection is
//! sealed from end to end; what the other may have is decided by its ticket, as over TCP.
//!
//! - `actor`: the one task that has the lines
//! - `introduce`: asking the tracker, and why there is no way
//! - `presence`: the socket, and what the tracker knows of it
//! - `known`: of whom the tracker spoke
//! - `held`: whether anybody uses a line

mod actor;
mod held;
mod introduce;
mod known;
mod presence;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::group::MAX_MESSAGE;
use common::id::{NetworkId, PeerId};
use common::identity::Identity;
use common::merkle::sha256;
use common::wire::tracker::MrtRole;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::timeout;

use self::actor::{Actor, Input};
pub(crate) use self::introduce::Unmet;
use crate::command::OverMrt;
use crate::notice::Notice;
use crate::overlay::{Reach, Reached};
use crate::tasks::Tasks;
use crate::tracker_client::TrackerClient;

/// Inputs that wait for the actor; lines are not read meanwhile.
const INPUTS: usize = 256;
/// Bytes of messages among them: two of the longest. What is said here is short.
const INPUT_BYTES: usize = 2 * MAX_MESSAGE;
/// Streams for chunks that wait for the engine; more are turned away.
const VISITORS: usize = 64;
/// How long the others have to hear that this peer goes.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

/// What a rendezvous is made from.
pub(crate) struct RendezvousConfig {
    /// This peer's key.
    pub(crate) identity: Arc<Identity>,
    /// The tracker, which is behind an address.
    pub(crate) tracker: TrackerClient,
    /// Where this peer accepts others by TCP; its datagrams come to the same port, if that is free.
    pub(crate) listen: SocketAddr,
    /// Whether it serves over MRT, or only downloads.
    pub(crate) role: MrtRole,
    /// What the user hears.
    pub(crate) notices: broadcast::Sender<Notice>,
}

/// A handle to the actor.
#[derive(Debug)]
pub(crate) struct Rendezvous {
    inputs: mpsc::Sender<Input>,
}

/// Starts it among `tasks`: it finds ways for those who wish for streams in `reaches`. Gives those who come for chunks, too.
pub(crate) fn start(
    config: RendezvousConfig,
    reaches: mpsc::Receiver<Reach>,
    tasks: &Tasks,
) -> (Rendezvous, mpsc::Receiver<Reached>) {
    let (sender, inputs) = mpsc::channel(INPUTS);
    let (visitors, came) = mpsc::channel(VISITORS);
    let events = config.tracker.events();
    let actor = Actor::new(config, sender.clone(), visitors, tasks.clone());
    tasks.spawn("rendezvous", actor.run(inputs, reaches, events));
    (Rendezvous { inputs: sender }, came)
}

impl Rendezvous {
    /// With whom this peer is connected over MRT, and how.
    pub(crate) async fn lines(&self) -> Vec<OverMrt> {
        let (answer, answered) = oneshot::channel();
        let asked = self.inputs.send(Input::Lines(answer)).await;
        if asked.is_ok() { answered.await.unwrap_or_default() } else { Vec::new() }
    }

    /// Ends all connections in good order, within a second.
    pub(crate) async fn close(&self) {
        let closing = async {
            let (answer, answered) = oneshot::channel();
            self.inputs.send(Input::Close(answer)).await.ok()?;
            answered.await.ok()
        };
        let _in_time = timeout(CLOSE_DEADLINE, closing).await;
    }
}

/// The pre-shared key of MRT in a tracker's network. It separates networks, and keeps nobody out: tickets do.
fn psk(network: NetworkId) -> [u8; 32] {
    sha256(&[b"shoal-mrt-tracker-network-v1".as_slice(), &network.0].concat()).0
}

/// For the log and the user: who somebody is.
fn named<'a>(user: &'a str, peer: &'a PeerId) -> std::borrow::Cow<'a, str> {
    if user.is_empty() { peer.to_string().into() } else { user.into() }
}
