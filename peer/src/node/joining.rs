//! Joining by itself: a node that is alone dials those whom it knows of from elsewhere than its user.
//!
//! The group takes a few wishes to connect at a time. Those from here are so few that the user's always have room.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use common::id::PeerId;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, broadcast};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::asks::Asker;
use crate::notice::Notice;
use crate::tracker_client::reachable_addresses;

/// So many addresses are dialled at once, half of what a group takes.
const AT_ONCE: usize = 2;
/// So long it is tried to find back; picked by hand.
const PATIENCE: Duration = Duration::from_secs(45);
/// Between two rounds: they may be starting, too.
const PAUSE: Duration = Duration::from_secs(3);
/// Of an unspecified address, so many of those that it stands for are tried.
const MOST_OWN: usize = 4;

/// How a node came to know the network that it joined by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// It was in it before it was restarted.
    Again,
    /// A node of it listens where this one was to.
    Here,
    /// A node of it announces itself on this LAN.
    OnLan,
}

/// Dials for a node, as long as that is alone. There is one for each node; clones share its room.
#[derive(Debug, Clone)]
pub(super) struct Joiner {
    asker: Asker,
    notices: broadcast::Sender<Notice>,
    room: Arc<Semaphore>,
}

impl Joiner {
    pub(super) fn new(asker: Asker, notices: broadcast::Sender<Notice>) -> Self {
        Self { asker, notices, room: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Tries these addresses until this node is not alone any more, for some time, and tells what came of it.
    pub(super) async fn try_all(&self, found: Found, addresses: Vec<SocketAddr>) {
        if addresses.is_empty() {
            return;
        }
        let trying = async {
            loop {
                if self.try_once(found, &addresses).await {
                    return;
                }
                sleep(PAUSE).await;
            }
        };
        if timeout(PATIENCE, trying).await.is_err() {
            tracing::info!("nobody of the network of last time is there");
        }
    }

    /// Tries each once; true when there is no more to do.
    pub(super) async fn try_once(&self, found: Found, addresses: &[SocketAddr]) -> bool {
        let mut tries = JoinSet::new();
        for address in addresses {
            let (joiner, address) = (self.clone(), *address);
            tries.spawn(async move {
                let _room = joiner.room.acquire().await.ok()?;
                if !joiner.is_alone().await {
                    return None;
                }
                joiner.asker.connect(address).await.ok()?.ok().map(|peer| (address, peer))
            });
        }
        while let Some(tried) = tries.join_next().await {
            if let Ok(Some((address, peer))) = tried {
                self.tell(found, address, peer).await;
                return true;
            }
        }
        !self.is_alone().await
    }

    /// Tries addresses of one node, one after the other, be this node alone or not.
    pub(super) async fn try_in_turn(&self, found: Found, addresses: &[SocketAddr]) {
        let Ok(_room) = self.room.acquire().await else { return };
        for address in addresses {
            match self.asker.connect(*address).await {
                Ok(Ok(peer)) => return self.tell(found, *address, peer).await,
                Ok(Err(why)) => tracing::debug!(%address, %why, "a node on this LAN was not joined"),
                Err(_ended) => return,
            }
        }
    }

    /// Whether nobody else is in the network; not where the node ends.
    pub(super) async fn is_alone(&self) -> bool {
        self.asker.members().await.is_ok_and(|members| members.members.len() <= 1)
    }

    async fn tell(&self, found: Found, address: SocketAddr, peer: PeerId) {
        let line =
            self.asker.peers().await.ok().and_then(|peers| peers.others.into_iter().find(|one| one.peer == peer));
        let name = line.map_or_else(|| peer.to_string(), |line| line.name);
        // Nobody may be listening.
        let _heard = self.notices.send(Notice::FoundNetwork { found, name, address });
    }
}

/// Where somebody may be found who listens at `taken` on this machine.
pub(super) fn on_this_machine(taken: SocketAddr) -> Vec<SocketAddr> {
    if !taken.ip().is_unspecified() {
        return vec![taken];
    }
    let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].into_iter();
    let ips = loopback.filter(|ip| ip.is_ipv4() || taken.is_ipv6()).chain(reachable_addresses(taken));
    ips.take(MOST_OWN).map(|ip| SocketAddr::new(ip, taken.port())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_addresses_are_a_few() {
        let of = |text: &str| on_this_machine(text.parse().unwrap());
        assert_eq!(of("192.0.2.7:4000"), ["192.0.2.7:4000".parse::<SocketAddr>().unwrap()]);
        assert_eq!(of("0.0.0.0:4000").first().unwrap().to_string(), "127.0.0.1:4000");
        assert!(of("0.0.0.0:4000").iter().all(SocketAddr::is_ipv4));
        assert!(of("[::]:4000").contains(&"[::1]:4000".parse().unwrap()));
        assert!(of("[::]:4000").len() <= MOST_OWN);
    }
}
