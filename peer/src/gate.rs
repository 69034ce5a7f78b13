//! The gate: how many may wait at the door from one address before they have said who they are (DESIGN section 5). When
//! there are too many, the oldest is shown out.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

/// Connections from one address (IPv6: one /64) that are not authenticated yet.
const MOST_WAITING: usize = 64;
/// Connections from all addresses together that are not authenticated yet.
const MOST_IN_ALL: usize = 1024;
/// Bits of an IPv6 address that belong to the network.
const NETWORK_BITS: u32 = 64;

/// Who waits at the door.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    by_network: HashMap<IpAddr, VecDeque<CancellationToken>>,
    /// All, the oldest first; those who have left are taken out when it is full.
    in_all: VecDeque<CancellationToken>,
}

/// A place at the door; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Gate,
    network: IpAddr,
    token: CancellationToken,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Somebody comes; the oldest from the same address, or the oldest of all, may have to go.
    pub(crate) fn enter(&self, address: IpAddr) -> Pass {
        let (network, token) = (network_of(address), CancellationToken::new());
        let mut waiting = self.lock();
        if waiting.in_all.len() >= MOST_IN_ALL {
            waiting.in_all.retain(|token| !token.is_cancelled());
        }
        if waiting.in_all.len() >= MOST_IN_ALL
            && let Some(oldest) = waiting.in_all.pop_front()
        {
            oldest.cancel();
        }
        waiting.in_all.push_back(token.clone());
        let queue = waiting.by_network.entry(network).or_default();
        if queue.len() >= MOST_WAITING
            && let Some(oldest) = queue.pop_front()
        {
            oldest.cancel();
        }
        queue.push_back(token.clone());
        drop(waiting);
        Pass { gate: self.clone(), network, token }
    }
}

impl Pass {
    /// Ends when this one has to go.
    pub(crate) async fn shown_out(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        // Marks this one, and takes out all that are marked.
        self.token.cancel();
        let mut waiting = self.gate.lock();
        if let Some(queue) = waiting.by_network.get_mut(&self.network) {
            queue.retain(|token| !token.is_cancelled());
            if queue.is_empty() {
                waiting.by_network.remove(&self.network);
            }
        }
    }
}

pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let host_bits = u128::BITS - NETWORK_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> host_bits << host_bits))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_others_are_not_touched() {
        let gate = Gate::default();
        let (crowded, other) = ("2001:db8::1".parse().unwrap(), "2001:db8:0:1::1".parse().unwrap());
        let elsewhere = gate.enter(other);
        let first = gate.enter(crowded);
        let rest: Vec<Pass> = (1..MOST_WAITING).map(|_| gate.enter(crowded)).collect();
        assert!(!first.token.is_cancelled());
        let last = gate.enter("2001:db8::ffff".parse().unwrap());
        assert!(first.token.is_cancelled());
        assert!(!rest[0].token.is_cancelled() && !last.token.is_cancelled() && !elsewhere.token.is_cancelled());
        drop((elsewhere, first, rest, last));
        assert!(gate.lock().by_network.is_empty());
    }

    #[test]
    fn many_addresses_together_are_bounded_too() {
        let gate = Gate::default();
        let from = |number: usize| Ipv6Addr::from_bits((number as u128) << NETWORK_BITS).into();
        let gone = gate.enter(from(0));
        drop(gone);
        let passes: Vec<Pass> = (1..=MOST_IN_ALL).map(|number| gate.enter(from(number))).collect();
        assert!(passes.iter().all(|pass| !pass.token.is_cancelled()));
        let last = gate.enter(from(MOST_IN_ALL + 1));
        assert!(passes[0].token.is_cancelled() && !passes[1].token.is_cancelled() && !last.token.is_cancelled());
        assert!(gate.lock().in_all.len() <= MOST_IN_ALL);
    }
}
