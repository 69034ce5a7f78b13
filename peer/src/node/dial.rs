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
/// Of somebody of whom only another one spoke each address is tried no longer: RCON is sent twice. Whoever spoke may have named
/// anybody's; and it leads there again a second later, if the way is that slow.
const HEARSAY: Duration = Duration::from_millis(800);
/// Direct ways have so long before a relayed one is tried, which would win otherwise.
const RELAY_AFTER: Duration = Duration::from_millis(400);

/// How it is known where somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Knowledge {
    /// The user says so, or whoever has the list of those who are there.
    Sure,
    /// Somebody else says so.
    Hearsay,
}

/// Dials; `relayed` gives the relayed route, when it is there. The line is open where somebody answered.
pub(super) async fn dial(
    node: &Node,
    target: Target,
    addresses: &[SocketAddr],
    knowledge: Knowledge,
    relayed: impl Future<Output = Option<Route>>,
) -> Option<Opened> {
    let dialling = async {
        let mut tries = JoinSet::new();
        let patience = match knowledge {
            Knowledge::Sure => DEADLINE,
            Knowledge::Hearsay => HEARSAY,
        };
        for (place, address) in (0..).zip(addresses.iter().copied().take(MOST_ADDRESSES)) {
            let node = node.clone();
            tries.spawn(async move {
                sleep(HEAD_START * place).await;
                timeout(patience, node.connect(address, target)).await
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
                    Ok(Ok(Ok(connection))) => return Some(connection),
                    Ok(Ok(Err(error))) => tracing::debug!(%error, "a dial came to nothing"),
                    Ok(Err(_elapsed)) => {}
                    Err(panicked) => tracing::error!(%panicked, "a dial"),
                },
                route = &mut relayed, if relay_is_open => {
                    relay_is_open = false;
                    if let Some(route) = route {
                        let node = node.clone();
                        tries.spawn(async move { timeout(DEADLINE, node.connect_on(route, target)).await });
                    }
                }
                else => return None,
            }
        }
    };
    let connection: Connection = timeout(DEADLINE, dialling).await.ok()??;
    Opened::here(connection).await.ok()
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::Arc;

    use common::identity::Identity;
    use common::mrt::{Config, LocalKeys};

    use super::*;
    use crate::mrt::BindOptions;
    use crate::tasks::Tasks;

    #[tokio::test]
    async fn those_whom_somebody_names_are_not_buried() {
        let (tasks, here) = (Tasks::new(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let keys = LocalKeys::new(Arc::new(Identity::from_seed(&[1; 32])), [7; 32]);
        let node = Node::bind(&tasks, BindOptions { listen: here, config: Config::default(), keys }).unwrap();
        let silent: Vec<UdpSocket> = (0..MOST_ADDRESSES + 1).map(|_| UdpSocket::bind(here).unwrap()).collect();
        let addresses: Vec<SocketAddr> = silent.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let nobody = std::future::ready(None);
        let opened = dial(&node, Target::default(), &addresses, Knowledge::Hearsay, nobody).await;
        assert!(opened.is_none());
        let came = |socket: &UdpSocket| {
            socket.set_nonblocking(true).unwrap();
            std::iter::repeat_with(|| socket.recv(&mut [0; 2000])).take_while(Result::is_ok).count()
        };
        let counts: Vec<usize> = silent.iter().map(came).collect();
        let (beyond, tried) = counts.split_last().unwrap();
        // The second is sent after 300 ms; a third were due after 900 ms.
        assert!(*beyond == 0 && tried.iter().all(|count| (1..=2).contains(count)), "{counts:?}");
        tasks.shutdown().await;
    }
}
