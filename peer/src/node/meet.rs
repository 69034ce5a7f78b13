//! Meeting directly: two who talk through a relay tell each other where they may be reached, and both try at once, so that
//! what each of them sends opens its own router for the other (libp2p's DCUtR does likewise). The relayed way carries on
//! meanwhile.

use std::time::Duration;

use common::nat::{Candidates, to_try};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::line::Sayer;
use super::wire::NodeMessage;
use crate::mrt::{Connection, Node, PathEvent, RELAY_SOCKET};

/// What the other side of a meeting says.
#[derive(Debug, Clone)]
pub(super) enum Meeting {
    /// In this round it may be reached here.
    Theirs(u8, Candidates),
}

/// So often it is tried (97 of 100 that succeed do so at the first, arXiv 2510.27500).
const ROUNDS: u8 = 3;
/// The answer may take so long, a few round trips over a slow relay.
const ANSWER: Duration = Duration::from_secs(2);
/// From when both have sent to when it came to nothing.
const TRY: Duration = Duration::from_millis(1500);

/// Leads a meeting: to be run by who dialled. Ends when the connection uses a direct way, or none was found.
pub(super) async fn meet(
    node: &Node,
    connection: &Connection,
    mine: Candidates,
    say: Sayer,
    mut replies: mpsc::Receiver<Meeting>,
) {
    for round in 0..ROUNDS {
        if !say.say(&NodeMessage::Candidates(round, mine.clone()).encode()) {
            return;
        }
        let Ok(Some(theirs)) = timeout(ANSWER, answer(&mut replies, round)).await else { continue };
        say.say(&NodeMessage::Sync(round).encode());
        // It hears that half a round trip from now: what we send then and what it sends then meet in the middle.
        let half = connection.stats().map_or(Duration::ZERO, |stats| stats.round_trip / 2);
        sleep(half).await;
        try_all(node, connection, &mine, &theirs);
        if is_met(connection, Instant::now() + TRY).await {
            return;
        }
    }
    tracing::debug!(peer = %connection.remote().identity.peer_id(), "no direct way was found");
}

/// Tries all direct ways that are worth it; what comes of it is told by [`Connection::path_event`].
pub(super) fn try_all(node: &Node, connection: &Connection, mine: &Candidates, theirs: &Candidates) {
    for address in to_try(mine, theirs) {
        let probed = node.route_to(address).and_then(|route| connection.probe(route));
        if let Err(error) = probed {
            tracing::debug!(%error, %address, "not tried");
        }
    }
}

async fn answer(replies: &mut mpsc::Receiver<Meeting>, wanted: u8) -> Option<Candidates> {
    loop {
        match replies.recv().await? {
            Meeting::Theirs(round, theirs) if round == wanted => return Some(theirs),
            Meeting::Theirs(..) => {}
        }
    }
}

/// Waits for a direct way, and takes it.
async fn is_met(connection: &Connection, until: Instant) -> bool {
    loop {
        match timeout_at(until, connection.path_event()).await {
            Ok(Ok(PathEvent::Validated { route, round_trip, .. })) if route.socket != RELAY_SOCKET => {
                tracing::debug!(remote = %route.remote, ?round_trip, "a direct way");
                return connection.switch(route).unwrap_or(true);
            }
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return false,
        }
    }
}
