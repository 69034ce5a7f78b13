//! Dialling a node: at its addresses, and after a moment through a relay, whichever answers first.

use std::net::SocketAddr;
use std::time::Duration;

use common::mrt::{Route, Target};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::line::Opened;
use crate::mrt::{Connection, Node};

/// All tries together take no longer: a handshake over a slow path, with one loss.
const DEADLINE: Duration = Duration::from_secs(4);
/// One address is tried so long alone before the next is tried beside it (RFC 8305, section 5).
const HEAD_START: Duration = Duration::from_millis(100);
/// No more addresses are tried; picked by hand.
const MOST_ADDRESSES: usize = 8;
/// Direct ways have so long before a relayed one is tried, which would win otherwise.
const RELAY_AFTER: Duration = Duration::from_millis(400);

/// Dials; `relayed` gives the relayed route, when it is there. The line is open where somebody answered.
pub(super) async fn dial(
    node: &Node,
    target: Target,
    addresses: &[SocketAddr],
    relayed: impl Future<Output = Option<Route>>,
) -> Option<Opened> {
    let dialling = async {
        let mut tries = JoinSet::new();
        for (place, address) in (0..).zip(addresses.iter().copied().take(MOST_ADDRESSES)) {
            let node = node.clone();
            tries.spawn(async move {
                sleep(HEAD_START * place).await;
                node.connect(address, target).await
            });
        }
        let began = Instant::now();
        let mut relayed = std::pin::pin!(async {
            let route = relayed.await?;
            if !addresses.is_empty() {
                sleep_until(began + RELAY_AFTER).await;
            }
            Some(route)
        });
        let mut relay_is_open = true;
        loop {
            tokio::select! {
                Some(tried) = tries.join_next() => match tried {
                    Ok(Ok(connection)) => return Some(connection),
                    Ok(Err(error)) => tracing::debug!(%error, "a dial came to nothing"),
                    Err(panicked) => tracing::error!(%panicked, "a dial"),
                },
                route = &mut relayed, if relay_is_open => {
                    relay_is_open = false;
                    if let Some(route) = route {
                        let node = node.clone();
                        tries.spawn(async move { node.connect_on(route, target).await });
                    }
                }
                else => return None,
            }
        }
    };
    let connection: Connection = timeout(DEADLINE, dialling).await.ok()??;
    Opened::here(connection).await.ok()
}
