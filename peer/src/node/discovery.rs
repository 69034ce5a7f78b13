//! Discovery: nodes of a network find each other on their LAN, by mDNS and DNS-SD (RFC 6762, RFC 6763).
//!
//! A node announces the service `_shoal._udp.local.` under its peer id. The one TXT property tells networks apart: a hash of
//! the network's id, so that who does not have the key learns nothing but who is in one network with whom.
//!
//! Whatever comes may be a lie. A lie costs a few dials, one at a time and ever more seldom, to addresses on our own links;
//! whoever answers there must have the key of the network. A node that is a plain member dials nobody, one that is alone
//! anybody, and a supernode those who are not in its network.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::group::Addresses;
use common::id::{NetworkId, PeerId};
use common::merkle::sha256;
use data_encoding::HEXLOWER;
use mdns_sd::{IfKind, Metrics, Receiver, ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use super::asks::Asker;
use super::joining::{Found, Joiner};
use crate::tracker_client::{is_on_a_link, reachable_addresses};

const SERVICE: &str = "_shoal._udp.local.";
/// The TXT property that tells networks apart.
const NETWORK_PROPERTY: &str = "network";
/// Bytes of the hash in it: enough that no two networks of a LAN have the same.
const HASH_BYTES: usize = 8;
/// So many nodes are known at once; for one more one is forgotten that was dialled in vain.
const MOST_NODES: usize = 64;
/// So many addresses of a node are tried.
const MOST_ADDRESSES: usize = 4;
/// How often it is looked whom to dial.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of two who find each other one dials at once, and the other after this, if that came to nothing.
const GRACE: Duration = Duration::from_secs(5);
/// A supernode with members waits so much longer: who is alone comes by himself, and would make it yield if it dialled.
const SUPERNODE_GRACE: Duration = Duration::from_secs(20);
/// The second time a node is dialled after this, and then each time after twice as long ...
const AGAIN: Duration = Duration::from_secs(15);
/// ... up to 32 times as long, which is 8 minutes.
const MOST_DOUBLINGS: u32 = 5;
/// How often the cache behind is looked at.
const CHECK_EVERY: u32 = 5;
/// That cache keeps what anybody on the LAN says, without a limit of its own: with more entries it is thrown away.
const MOST_CACHED: i64 = 4096;
/// After trouble it is begun anew after this.
const AFTER_TROUBLE: Duration = Duration::from_secs(300);

/// Finds others, and lets itself be found.
#[derive(Debug)]
pub(super) struct Discovery {
    pub(super) network: NetworkId,
    pub(super) here: PeerId,
    /// Where this node listens.
    pub(super) local: SocketAddr,
    pub(super) asker: Asker,
    pub(super) joiner: Joiner,
}

/// Why the search ended.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Daemon(#[from] mdns_sd::Error),
    #[error("it ended")]
    Ended,
    #[error("somebody on this LAN announces far too much")]
    Flood,
}

impl Discovery {
    /// Runs for as long as the node does. Who listens on this machine only is not looked for.
    pub(super) async fn run(self) {
        if self.local.ip().is_loopback() {
            return;
        }
        loop {
            match self.search().await {
                Ok(()) => return,
                Err(trouble) => tracing::info!(%trouble, "the search on the LAN rests for some minutes"),
            }
            sleep(AFTER_TROUBLE).await;
        }
    }

    /// Ends when the node does.
    async fn search(&self) -> Result<(), Trouble> {
        let daemon = Daemon::start(self.local)?;
        daemon.0.register(self.service()?)?;
        let events = daemon.0.browse(SERVICE)?;
        let (mut nodes, mut look, mut dialling, mut looks) =
            (Nodes::default(), interval(LOOK_EVERY), JoinSet::new(), 0);
        loop {
            tokio::select! {
                event = events.recv_async() => match event.map_err(|_closed| Trouble::Ended)? {
                    ServiceEvent::ServiceResolved(service) => self.on_service(&mut nodes, &service),
                    ServiceEvent::ServiceRemoved(_, name) => nodes.forget(&peer_of(&name)),
                    _ => {}
                },
                Some(_) = dialling.join_next() => {}
                _ = look.tick() => {
                    looks = (looks + 1) % CHECK_EVERY;
                    if looks == 0 && daemon.cached().await > MOST_CACHED {
                        return Err(Trouble::Flood);
                    }
                    if self.asker.has_ended() {
                        return Ok(());
                    }
                    if !dialling.is_empty() || !nodes.is_one_due(Instant::now()) {
                        continue;
                    }
                    let Ok(peers) = self.asker.peers().await else { return Ok(()) };
                    let part = match (peers.here.supernode, peers.others.is_empty()) {
                        (_, true) => Part::Alone,
                        (true, false) => Part::Supernode,
                        (false, false) => Part::Member,
                    };
                    let is_known = |peer: &PeerId| peers.others.iter().any(|line| line.peer == *peer);
                    if let Some(addresses) = nodes.next(Instant::now(), part, is_known) {
                        let joiner = self.joiner.clone();
                        dialling.spawn(async move { joiner.try_in_turn(Found::OnLan, &addresses).await });
                    }
                }
            }
        }
    }

    fn service(&self) -> Result<ServiceInfo, mdns_sd::Error> {
        let instance = self.here.to_string();
        let properties = [(NETWORK_PROPERTY, network_hash(&self.network))];
        // A name of its own: that of the machine may have other addresses.
        let host = format!("shoal-{instance:.16}.local.");
        let ips: Vec<IpAddr> = reachable_addresses(self.local);
        let service =
            ServiceInfo::new(SERVICE, &instance, &host, ips.as_slice(), self.local.port(), properties.as_slice())?;
        let mut service = if self.local.ip().is_unspecified() { service.enable_addr_auto() } else { service };
        // Nobody else has this name.
        service.set_requires_probe(false);
        Ok(service)
    }

    fn on_service(&self, nodes: &mut Nodes, service: &ResolvedService) {
        if service.txt_properties.get_property_val_str(NETWORK_PROPERTY) != Some(&network_hash(&self.network)) {
            return;
        }
        let Some(peer) = peer_of(&service.fullname).filter(|peer| *peer != self.here) else { return };
        let mut ips: Vec<IpAddr> = service.addresses.iter().map(mdns_sd::ScopedIp::to_ip_addr).collect();
        // IPv4 first: not every LAN has more.
        ips.sort_unstable();
        let near = ips.into_iter().filter(|ip| is_on_a_link(*ip)).map(|ip| SocketAddr::new(ip, service.port));
        let heard = self.local.is_ipv6();
        let dialled = Addresses::new(near.filter(|address| heard || address.is_ipv4()));
        let addresses: Vec<SocketAddr> = dialled.as_slice().iter().take(MOST_ADDRESSES).copied().collect();
        let wait = if self.here < peer { Duration::ZERO } else { GRACE };
        nodes.note(Instant::now() + wait, peer, addresses);
    }
}

/// What tells networks apart on a LAN.
fn network_hash(network: &NetworkId) -> String {
    let hash = sha256(&[b"shoal-mdns-v1".as_slice(), &network.0].concat());
    HEXLOWER.encode(hash.0.get(..HASH_BYTES).unwrap_or_default())
}

/// The peer that announces itself under this name.
fn peer_of(fullname: &str) -> Option<PeerId> {
    fullname.split_once('.')?.0.parse().ok()
}

/// What this node is in its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Alone,
    Supernode,
    Member,
}

/// Who announced himself.
#[derive(Debug, Default)]
struct Nodes(BTreeMap<PeerId, Sighting>);

#[derive(Debug)]
struct Sighting {
    addresses: Vec<SocketAddr>,
    /// Not dialled before.
    due: Instant,
    tries: u32,
    /// It took its leave, and has not come back.
    is_gone: bool,
}

impl Nodes {
    /// Somebody is there; not to be dialled before `due`.
    fn note(&mut self, due: Instant, peer: PeerId, addresses: Vec<SocketAddr>) {
        if addresses.is_empty() {
            return;
        }
        if let Some(known) = self.0.get_mut(&peer) {
            // To say it again brings nobody's turn nearer.
            known.addresses = addresses;
            known.is_gone = false;
        } else if self.0.len() < MOST_NODES || self.make_room() {
            self.0.insert(peer, Sighting { addresses, due, tries: 0, is_gone: false });
        }
    }

    /// Forgets one that was dialled in vain, if there is one: rather one that has gone, and the most often dialled.
    fn make_room(&mut self) -> bool {
        let in_vain = self.0.iter().filter(|(_, sighting)| sighting.tries > 0);
        let worst = in_vain.max_by_key(|(_, sighting)| (sighting.is_gone, sighting.tries)).map(|(peer, _)| *peer);
        worst.is_some_and(|peer| self.0.remove(&peer).is_some())
    }

    fn forget(&mut self, peer: &Option<PeerId>) {
        if let Some(peer) = peer {
            // Whoever was dialled in vain and comes back at once waits as before.
            self.0.retain(|known, sighting| known != peer || sighting.tries > 0);
            if let Some(sighting) = self.0.get_mut(peer) {
                sighting.is_gone = true;
            }
        }
    }

    /// Whether it is anybody's turn, as far as is known here.
    fn is_one_due(&self, now: Instant) -> bool {
        self.0.values().any(|sighting| sighting.due <= now)
    }

    /// Whom to dial now: who has waited longest.
    fn next(&mut self, now: Instant, part: Part, is_known: impl Fn(&PeerId) -> bool) -> Option<Vec<SocketAddr>> {
        let patience = match part {
            Part::Member => return None,
            Part::Alone => Duration::ZERO,
            Part::Supernode => SUPERNODE_GRACE,
        };
        let due = self.0.iter_mut().filter(|(peer, sighting)| sighting.due + patience <= now && !is_known(peer));
        let (_, sighting) = due.min_by_key(|(_, sighting)| sighting.due)?;
        sighting.due = now + AGAIN * 2_u32.pow(sighting.tries.min(MOST_DOUBLINGS));
        sighting.tries = sighting.tries.saturating_add(1);
        Some(sighting.addresses.clone())
    }
}

/// The thread that speaks mDNS; told to end when dropped.
struct Daemon(ServiceDaemon);

impl Daemon {
    fn start(local: SocketAddr) -> Result<Self, mdns_sd::Error> {
        let daemon = Self(ServiceDaemon::new()?);
        match local.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => daemon.0.disable_interface(IfKind::IPv6)?,
            ip if ip.is_unspecified() => {}
            ip => {
                daemon.0.disable_interface(IfKind::All)?;
                daemon.0.enable_interface(IfKind::Addr(ip))?;
            }
        }
        Ok(daemon)
    }

    /// How many entries its cache has; 0 where it does not say.
    async fn cached(&self) -> i64 {
        let Ok(answer): Result<Receiver<Metrics>, _> = self.0.get_metrics() else { return 0 };
        let Ok(Ok(metrics)) = timeout(LOOK_EVERY, answer.recv_async()).await else { return 0 };
        metrics.iter().filter(|(name, _)| name.starts_with("cached-")).map(|(_, count)| *count).sum()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.shutdown());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> PeerId {
        PeerId([number; 32])
    }

    fn addresses(last: u8) -> Vec<SocketAddr> {
        vec![SocketAddr::from(([192, 168, 1, last], 4000))]
    }

    const NOBODY: fn(&PeerId) -> bool = |_| false;

    #[test]
    fn networks_have_hashes_that_differ_and_peers_are_found_in_names() {
        let [one, other] = [1, 2].map(|number| network_hash(&NetworkId([number; 32])));
        assert_ne!(one, other);
        assert_eq!(one.len(), 2 * HASH_BYTES);
        assert_eq!(peer_of(&format!("{}.{SERVICE}", peer(7))), Some(peer(7)));
        for name in ["", "ann", "ann._shoal._udp.local.", "._shoal._udp.local."] {
            assert_eq!(peer_of(name), None, "{name}");
        }
    }

    #[test]
    fn who_is_alone_dials_and_a_member_does_not() {
        let (mut nodes, now) = (Nodes::default(), Instant::now());
        nodes.note(now, peer(1), addresses(1));
        assert_eq!(nodes.next(now, Part::Member, NOBODY), None);
        assert_eq!(nodes.next(now, Part::Supernode, |known| *known == peer(1)), None, "one of its own");
        assert_eq!(nodes.next(now, Part::Alone, NOBODY), Some(addresses(1)));
        nodes.note(now + GRACE, peer(2), addresses(2));
        assert_eq!(nodes.next(now, Part::Alone, NOBODY), None, "the other has its turn first");
        assert_eq!(nodes.next(now + GRACE, Part::Supernode, NOBODY), None, "who is alone comes by himself");
        assert_eq!(
            nodes.next(now + GRACE + SUPERNODE_GRACE, Part::Supernode, |known| *known == peer(1)),
            Some(addresses(2))
        );
    }

    #[test]
    fn who_does_not_answer_is_dialled_ever_more_seldom() {
        let (mut nodes, start) = (Nodes::default(), Instant::now());
        let mut dials = 0;
        for second in 0..3600 {
            let now = start + Duration::from_secs(second);
            // It cries out all the time, and goes and comes.
            nodes.note(now, peer(1), addresses(1));
            dials += usize::from(nodes.next(now, Part::Alone, NOBODY).is_some());
            nodes.forget(&Some(peer(1)));
        }
        assert!((10..=14).contains(&dials), "{dials}");
    }

    #[test]
    fn a_crowd_is_bounded() {
        let (mut nodes, now) = (Nodes::default(), Instant::now());
        for number in 0..=255 {
            nodes.note(now, peer(number), addresses(number));
        }
        assert_eq!(nodes.0.len(), MOST_NODES);
        nodes.note(now, peer(255), Vec::new());
        nodes.forget(&Some(peer(0)));
        nodes.forget(&None);
        assert_eq!(nodes.0.len(), MOST_NODES - 1);
    }

    #[test]
    fn who_has_waited_longest_is_dialled_first() {
        let (mut nodes, start) = (Nodes::default(), Instant::now());
        assert!(!nodes.is_one_due(start));
        for (number, seconds) in (1..).zip([2, 0, 1]) {
            nodes.note(start + Duration::from_secs(seconds), peer(number), addresses(number));
        }
        let now = start + Duration::from_secs(2);
        let dialled = [0; 3].map(|_| nodes.next(now, Part::Alone, NOBODY).unwrap());
        assert_eq!(dialled, [2, 3, 1].map(addresses));
        assert!(!nodes.is_one_due(now) && nodes.is_one_due(now + AGAIN));
    }

    #[test]
    fn a_crowd_of_liars_keeps_nobody_out() {
        let (mut nodes, now) = (Nodes::default(), Instant::now());
        for number in 0..64 {
            nodes.note(now, peer(number), addresses(number));
            nodes.next(now, Part::Alone, NOBODY);
        }
        nodes.next(now + AGAIN, Part::Alone, NOBODY);
        nodes.forget(&Some(peer(5)));
        for number in [100, 101] {
            nodes.note(now, peer(number), addresses(number));
        }
        assert_eq!(nodes.0.len(), MOST_NODES);
        let is_there = |number| nodes.0.contains_key(&peer(number));
        assert!(is_there(100) && is_there(101), "there is room for others");
        assert!(!is_there(5) && !is_there(0), "the one that has gone, and the one dialled most often");
    }
}
