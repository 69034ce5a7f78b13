//! Hosts of their own: tracker and one seeder on one, the others each on another, joined by a switch.

use std::net::Ipv6Addr;
use std::time::Duration;

use harness::cluster::{Cluster, ClusterConfig, PING_SECS};
use harness::content::Content;
use harness::netns::{self, Net, Wire};
use harness::peer::{Peer, PeerSpec, download};
use harness::privilege;
use harness::scenario::MIB;
use harness::wait::wait_until;

const ENTRY: &str = "film.bin";
const SOON: Duration = Duration::from_secs(20);

/// Which addresses the hosts use.
#[derive(Debug, Clone, Copy)]
enum Family {
    V4,
    V6,
}

/// A tracker on host 0 that the peers there reach by loopback and all others over the switch.
struct Scene {
    cluster: Cluster,
    family: Family,
    net: Net,
}

impl Scene {
    fn new(family: Family, hosts: u8) -> Self {
        let net = Net::new(hosts);
        let config = ClusterConfig::default().listen(Ipv6Addr::UNSPECIFIED.into()).netns(net.host(0).netns());
        Self { cluster: config.start(), family, net }
    }

    fn peer(&self, name: &str, host: usize) -> PeerSpec {
        let (port, fingerprint) = (self.cluster.address().port(), self.cluster.fingerprint());
        let tracker = match (self.family, host) {
            (Family::V4, 0) => format!("127.0.0.1:{port}"),
            (Family::V6, 0) => format!("[::1]:{port}"),
            (Family::V4, _) => format!("{}:{port}", self.net.host(0).ipv4()),
            (Family::V6, _) => format!("[{}]:{port}", self.net.host(0).ipv6()),
        };
        self.cluster.peer(name).netns(self.net.host(host).netns()).tracker(Some(format!("{tracker}#{fingerprint}")))
    }

    /// Ann on the tracker's host, ben and cat on theirs.
    fn three_seeders(&self, content: Content) -> [Peer; 3] {
        let file = self.cluster.file(ENTRY, content);
        [("ann", 0), ("ben", 1), ("cat", 2)].map(|(name, host)| {
            let seeder = self.peer(name, host).args(["--limit-up", "4MiB"]).serve();
            seeder.register(&file);
            seeder
        })
    }
}

fn three_hosts_serve_a_fourth(family: Family, test: &str) {
    if !privilege::met(test, netns::possible()) {
        return;
    }
    let scene = Scene::new(family, 4);
    let content = Content::random(1, 12 * MIB);
    let seeders = scene.three_seeders(content);
    let downloader = scene.peer("dora", 3).serve();
    let downloaded = downloader.download(ENTRY, None).unwrap();
    assert_eq!(content.compare(&downloaded.path).unwrap(), Ok(()));
    let mut from: Vec<_> = downloaded.shares.iter().map(|share| (share.user.clone(), share.address.ip())).collect();
    from.sort();
    let wanted: Vec<_> = ["ann", "ben", "cat"]
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let host = scene.net.host(number);
            let address = match family {
                Family::V4 => host.ipv4(),
                Family::V6 => host.ipv6(),
            };
            ((*name).to_owned(), address)
        })
        .collect();
    assert_eq!(from, wanted, "chunks came from all three, over the switch");
    wait_until(SOON, "the fourth to be a seeder", || {
        seeders[0].complete_holders(ENTRY) == ["ann", "ben", "cat", "dora"]
    });
    // And back: from the fourth to one on the tracker's host, who is told its address as the tracker sees it.
    drop(seeders);
    let downloaded = scene.peer("emil", 0).serve().download(ENTRY, None).unwrap();
    assert_eq!(content.compare(&downloaded.path).unwrap(), Ok(()));
}

#[test]
fn three_hosts_serve_a_fourth_over_ipv4() {
    three_hosts_serve_a_fourth(Family::V4, "three_hosts_serve_a_fourth_over_ipv4");
}

#[test]
fn three_hosts_serve_a_fourth_over_ipv6() {
    three_hosts_serve_a_fourth(Family::V6, "three_hosts_serve_a_fourth_over_ipv6");
}

#[test]
fn a_host_whose_wire_is_pulled_is_gone_in_time_and_comes_back() {
    if !privilege::met("a_host_whose_wire_is_pulled_is_gone_in_time_and_comes_back", netns::possible()) {
        return;
    }
    let scene = Scene::new(Family::V4, 4);
    let content = Content::random(2, 16 * MIB);
    let seeders = scene.three_seeders(content);
    let downloader = scene.peer("dora", 3).serve();
    let running = downloader.start(&download(ENTRY, None));
    wait_until(SOON, "a quarter to come", || downloader.status().downloaded_bytes > 4 * MIB);
    scene.net.set_wire(1, Wire::Pulled);
    let told = || seeders[0].complete_holders(ENTRY);
    let in_time = Duration::from_secs(2 * PING_SECS + 1);
    wait_until(in_time, "ben to be gone", || !told().contains(&"ben".to_owned()));
    let outcome = running.finish().unwrap();
    let Ok(peer::command::Outcome::Downloaded(downloaded)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(content.compare(&downloaded.path).unwrap(), Ok(()));
    scene.net.set_wire(1, Wire::Plugged);
    wait_until(SOON, "ben to be back", || told().contains(&"ben".to_owned()));
}

#[test]
fn a_seeder_that_cannot_be_reached_dials_the_downloader() {
    if !privilege::met("a_seeder_that_cannot_be_reached_dials_the_downloader", netns::possible()) {
        return;
    }
    let scene = Scene::new(Family::V4, 3);
    let content = Content::random(3, MIB);
    let seeder = scene.peer("ben", 1).serve();
    seeder.register(&scene.cluster.file(ENTRY, content));
    scene.net.host(1).close_to_others();
    let downloaded = scene.peer("dora", 2).serve().download(ENTRY, None).unwrap();
    assert_eq!(content.compare(&downloaded.path).unwrap(), Ok(()));
    assert_eq!(downloaded.shares.len(), 1);
}
