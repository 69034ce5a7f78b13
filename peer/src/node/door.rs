//! The door: how many connections that others made may wait until they have said what they are for. Those who are expected
//! are not kept out by strangers.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::id::PeerId;
use tokio::sync::mpsc;

use super::line::Opened;
use crate::gate::network_of;
use crate::mrt::Connection;
use crate::tasks::Tasks;

/// Most strangers.
pub(super) const MOST_STRANGERS: usize = 64;
/// Of those, from one address (IPv6: one /64), so that no single place takes all. This machine may: it is ours, and many of
/// its nodes may begin at once.
const MOST_FROM_NETWORK: usize = 8;
/// Most connections of a peer that is expected, or from where one is: its direct ones, and one through a relay.
const MOST_OF_EXPECTED: usize = 4;

/// Who waits at the door; clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Door(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    strangers: HashMap<IpAddr, usize>,
    expected: HashMap<PeerId, usize>,
    invited: HashMap<IpAddr, usize>,
}

/// A place at the door; free again when it is dropped.
#[derive(Debug)]
pub(super) struct Pass {
    door: Door,
    visitor: Visitor,
}

/// Who came.
#[derive(Debug, Clone, Copy)]
pub(super) enum Visitor {
    /// This peer, which is expected.
    Expected(PeerId),
    /// Somebody at this address, from where somebody is expected.
    Invited(IpAddr),
    /// Anybody else, at this address.
    Stranger(IpAddr),
}

impl Door {
    /// A place for somebody; `None`: there are too many, and he may come again.
    pub(super) fn enter(&self, visitor: Visitor) -> Option<Pass> {
        let mut waiting = self.lock();
        let has_entered = match visitor {
            Visitor::Expected(peer) => count_in(&mut waiting.expected, peer, MOST_OF_EXPECTED),
            Visitor::Invited(address) => count_in(&mut waiting.invited, address, MOST_OF_EXPECTED),
            Visitor::Stranger(address) => {
                let is_here = address.to_canonical().is_loopback();
                let most = if is_here { MOST_STRANGERS } else { MOST_FROM_NETWORK };
                waiting.strangers.values().sum::<usize>() < MOST_STRANGERS
                    && count_in(&mut waiting.strangers, network_of(address), most)
            }
        };
        drop(waiting);
        has_entered.then(|| Pass { door: self.clone(), visitor })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// Waits until whoever came on this connection has said that it is for a line, which goes to `inputs` then. The place is
    /// free again when that is so, or time is up.
    pub(super) fn admit<I>(self, connection: Connection, inputs: &mpsc::Sender<I>, tasks: &Tasks)
    where
        I: From<Opened> + Send + 'static,
    {
        let inputs = inputs.clone();
        tasks.spawn("visit", async move {
            let _pass = self;
            match Opened::there(connection).await {
                Ok(opened) => drop(inputs.send(opened.into()).await),
                Err(error) => tracing::debug!(%error, "a connection came to nothing"),
            }
        });
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut waiting = self.door.lock();
        match self.visitor {
            Visitor::Expected(peer) => count_out(&mut waiting.expected, peer),
            Visitor::Invited(address) => count_out(&mut waiting.invited, address),
            Visitor::Stranger(address) => count_out(&mut waiting.strangers, network_of(address)),
        }
    }
}

/// Counts one more, where there are less than `most`; says whether it did.
fn count_in<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K, most: usize) -> bool {
    let count = counts.entry(key).or_default();
    let has_room = *count < most;
    *count += usize::from(has_room);
    has_room
}

fn count_out<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    let Some(count) = counts.get_mut(&key) else { return };
    *count -= 1;
    if *count == 0 {
        counts.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(door: &Door, visitors: impl IntoIterator<Item = Visitor>) -> Vec<Pass> {
        visitors.into_iter().filter_map(|visitor| door.enter(visitor)).collect()
    }

    #[test]
    fn strangers_keep_out_neither_each_other_nor_who_is_expected() {
        let door = Door::default();
        let host = |network: u16, host: u16| Visitor::Stranger([0x2001, 0xdb8, 0, network, 0, 0, 0, host].into());
        let crowd = enter(&door, (0..99).map(|number| host(0, number)));
        assert_eq!(crowd.len(), MOST_FROM_NETWORK);
        let others = enter(&door, (1..99).map(|number| host(number, 1)));
        assert_eq!(others.len(), MOST_STRANGERS - MOST_FROM_NETWORK);
        let expected = Visitor::Expected(PeerId([7; 32]));
        let peer = enter(&door, [expected; 9]);
        assert_eq!(peer.len(), MOST_OF_EXPECTED);
        let invited = enter(&door, [Visitor::Invited([192, 0, 2, 1].into()); 9]);
        assert_eq!(invited.len(), MOST_OF_EXPECTED);
        assert!(door.enter(host(200, 1)).is_none());
        drop((crowd, others, peer, invited));
        let waiting = door.lock();
        assert!(waiting.strangers.is_empty() && waiting.expected.is_empty() && waiting.invited.is_empty());
    }

    #[test]
    fn all_of_this_machine_may_come_at_once() {
        let door = Door::default();
        assert_eq!(enter(&door, [Visitor::Stranger([127, 0, 0, 1].into()); 99]).len(), MOST_STRANGERS);
    }
}
