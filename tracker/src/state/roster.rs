//! The roster: the peers that are online, each with one connection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::id::PeerId;
use common::identity::PublicKey;
use common::mrt::StaticKey;
use common::name::UserName;
use common::wire::tracker::MrtRole;

use super::contact::Contact;
use super::dials::Dials;
use super::gate::Gate;
use super::meetings::Meetings;

/// Plans of so long ago count half for how busy a peer is.
const LOAD_HALF_LIFE: Duration = Duration::from_secs(30);

/// One connection of one peer; no two have the same while the tracker runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnId(pub(crate) u64);

/// A peer that is online.
#[derive(Debug)]
pub(crate) struct Online {
    /// Its connection.
    pub(crate) conn: ConnId,
    /// Its connection's way to the index.
    pub(crate) gate: Arc<Gate>,
    /// Its key, which it has proved.
    pub(crate) key: PublicKey,
    /// Its user's name.
    pub(crate) name: UserName,
    /// Where it is.
    pub(crate) contact: Contact,
    /// Since when, milliseconds since 1970 (UTC).
    pub(crate) since_ms: u64,
    /// Whether others reach it by dialling, where that is known.
    pub(crate) reachable: Option<bool>,
    /// The dials it asked for or was asked for.
    pub(crate) dials: Dials,
    /// The meetings over MRT that it asked for or was asked for.
    pub(crate) meetings: Meetings,
    /// Where it may be met over MRT, if it has said so.
    pub(crate) met_at: Option<MetAt>,
    /// How busy it is.
    pub(crate) load: Load,
}

/// Where a peer may be met over MRT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MetAt {
    /// Its static key, by its word.
    pub(crate) static_key: StaticKey,
    /// The port of its socket, by its word.
    pub(crate) port: u16,
    /// Where its datagrams come from, proven.
    pub(crate) seen: SocketAddr,
    /// When that was shown; uptime of the tracker.
    pub(crate) proven: Duration,
    /// Whom it is there for.
    pub(crate) role: MrtRole,
}

/// In how many plans a peer was given of late.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    plans: u32,
    /// In which of the half-lives since the tracker's start `plans` was right.
    half_life: u64,
}

/// All peers that are online. Several may have one name: the devices of one user.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    peers: HashMap<PeerId, Online>,
    names: BTreeMap<UserName, BTreeSet<PeerId>>,
}

impl Load {
    /// How many plans, those of the half-life before counting half, and so on.
    pub(crate) fn at(self, uptime: Duration) -> u32 {
        let ago = half_life(uptime).saturating_sub(self.half_life);
        u32::try_from(ago).ok().and_then(|ago| self.plans.checked_shr(ago)).unwrap_or(0)
    }

    /// One more plan.
    pub(crate) fn add(&mut self, uptime: Duration) {
        *self = Self { plans: self.at(uptime).saturating_add(1), half_life: half_life(uptime) };
    }
}

const fn half_life(uptime: Duration) -> u64 {
    uptime.as_secs() / LOAD_HALF_LIFE.as_secs()
}

impl Roster {
    /// How many are online.
    pub(crate) fn len(&self) -> usize {
        self.peers.len()
    }

    /// A peer, where it is online.
    pub(crate) fn get(&self, peer: &PeerId) -> Option<&Online> {
        self.peers.get(peer)
    }

    /// The same, to change.
    pub(crate) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Online> {
        self.peers.get_mut(peer)
    }

    /// The devices of a user that are online, in the order of their ids.
    pub(crate) fn named(&self, name: &UserName) -> impl Iterator<Item = PeerId> {
        self.names.get(name).into_iter().flatten().copied()
    }

    /// All of them, by name.
    pub(crate) fn by_name(&self) -> impl Iterator<Item = (&PeerId, &Online)> {
        self.names.values().flatten().filter_map(|peer| self.peers.get_key_value(peer))
    }

    /// Puts a peer in and gives the one of the same key that was there.
    pub(crate) fn insert(&mut self, peer: PeerId, online: Online) -> Option<Online> {
        let before = self.remove(&peer);
        self.names.entry(online.name.clone()).or_default().insert(peer);
        self.peers.insert(peer, online);
        before
    }

    /// Takes a peer out.
    pub(crate) fn remove(&mut self, peer: &PeerId) -> Option<Online> {
        let online = self.peers.remove(peer)?;
        if let Some(peers) = self.names.get_mut(&online.name) {
            peers.remove(peer);
            if peers.is_empty() {
                self.names.remove(&online.name);
            }
        }
        Some(online)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_halves_as_time_goes_by() {
        let mut load = Load::default();
        let at = Duration::from_secs;
        for _ in 0..8 {
            load.add(at(100));
        }
        assert_eq!([100, 119, 120, 150, 180, 210, 100_000_000].map(|now| load.at(at(now))), [8, 8, 4, 2, 1, 0, 0]);
        for now in 120..150 {
            load.add(at(now));
        }
        assert_eq!([149, 150].map(|now| load.at(at(now))), [34, 17]);
    }
}
