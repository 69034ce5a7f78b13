//! Two nodes behind routers: ports that are taken, routers that forget, ways that die and come back.

use std::net::UdpSocket;
use std::time::Duration;

use harness::content::Content;
use harness::emulator::Link;
use harness::ground::{Ground, NAMES};
use harness::local_api::Running;
use harness::natlab::{self, Access, Doorway, Nat, Rebinding};
use harness::node::Node;
use harness::peer::download;
use harness::privilege;
use harness::scenario::MIB;
use harness::slots::{Company, Slot};
use harness::wait::{pause, wait_until};

use crate::standstill::Standstill;

/// The longest that a download may stand still.
const STALL: Duration = Duration::from_secs(5);
/// How long anything else may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Bytes of the file, and of them before something happens; at [`RATE`] there is time for it.
const SIZE: u64 = 24 * MIB;
const SOME: u64 = 4 * MIB;
const RATE: &str = "2MiB";

/// Joins both.
fn join(ground: &Ground, supernode: &Node, nodes: &mut [Node; 2]) {
    for node in nodes {
        node.types(&ground.connect(supernode));
        node.sees("Connected to ann");
    }
}

/// A download under way.
struct Download {
    content: Content,
    running: Running,
    stood: Standstill,
}

impl Download {
    /// The first of the two shares a file, and the second has some of it.
    fn begin(ground: &Ground, [bob, eve]: &mut [Node; 2]) -> Self {
        let (content, path) = (Content::random(4, SIZE), ground.root().join("film.mkv"));
        content.write(&path).unwrap();
        bob.types(&format!("B {}", path.display()));
        bob.sees("successful.");
        // The supernode hears of it a moment later than its user.
        eve.sees("bob shares film.mkv");
        let running = eve.start_command(&download("film.mkv", Some(&ground.root().join("brought.mkv"))));
        wait_until(LIMIT, "the download to begin", || !eve.status().downloads.is_empty());
        let mut this = Self { content, running, stood: Standstill::new(0) };
        this.pass(eve, SOME);
        this.stood = Standstill::new(SOME);
        this
    }

    /// Waits until there are so many bytes; whoever is asked how far it is stops saying so at the end.
    #[track_caller]
    fn pass(&mut self, eve: &Node, bytes: u64) {
        while let Some(progress) = eve.status().downloads.first().map(|progress| progress.bytes)
            && progress < bytes
        {
            self.stood.see(progress);
            assert!(self.stood.longest < LIMIT, "the download stands still at {progress}");
            pause();
        }
    }

    /// It ends well.
    #[track_caller]
    fn end(mut self, ground: &Ground, eve: &Node) {
        self.pass(eve, SIZE);
        let ended = self.running.finish().expect("the node answers");
        assert!(ended.is_ok(), "{ended:?}");
        assert!(self.content.compare(&ground.root().join("brought.mkv")).unwrap().is_ok());
        eprintln!("stood still for {:?}", self.stood.longest);
        assert!(self.stood.longest < STALL, "the download stood still for {:?}", self.stood.longest);
    }
}

/// Waits until the second node reaches the first in this way.
#[track_caller]
fn wait_for_way(eve: &mut Node, way: &str) {
    let waited = wait_until(LIMIT, way, || eve.way_to(NAMES[0]).starts_with(way));
    eprintln!("{way} after {waited:?}");
}

#[test]
fn new_ports_are_tried_where_something_came_too_early_to_the_old_ones() {
    if !privilege::met("new_ports_are_tried_where_something_came_too_early_to_the_old_ones", natlab::possible()) {
        return;
    }
    let _slot = Slot::take(Company::Shared);
    let delayed = Access::alike(Link::new(1_000_000_000, Duration::from_millis(20)));
    let ground = Ground::apart([Nat::PortRestricted; 2], delayed);
    // All hosts are other machines than this: nobody has these ports.
    let ports: [u16; 2] = [5001, 5002];
    ground.home(1).set_doorway(Doorway::Ajar);
    let early = ground.host(0).run(|| UdpSocket::bind(("0.0.0.0", ports[0])).unwrap());
    early.send_to(b"early", (ground.public_address(1), ports[1])).unwrap();
    drop(early);
    let supernode = ground.supernode();
    let mut nodes = [0, 1].map(|place: usize| {
        let listen = format!("0.0.0.0:{}", ports[place]);
        ground.node_with(place, &["--listen", &listen])
    });
    join(&ground, &supernode, &mut nodes);
    let [_bob, eve] = &mut nodes;
    wait_for_way(eve, &format!("direct, {}:", ground.public_address(0)));
    assert_ne!(eve.way_to(NAMES[0]), format!("direct, {}:{}", ground.public_address(0), ports[0]));
}

#[test]
fn a_relayed_download_goes_on_when_routers_forget() {
    if !privilege::met("a_relayed_download_goes_on_when_routers_forget", natlab::possible()) {
        return;
    }
    let _slot = Slot::take(Company::Shared);
    let ground = Ground::apart([Nat::Symmetric; 2], Access::Wire);
    let supernode = ground.supernode();
    let mut nodes = [ground.node_with(0, &["--listen", "0.0.0.0:0", "--limit-up", RATE]), ground.node(1)];
    join(&ground, &supernode, &mut nodes);
    let mut download = Download::begin(&ground, &mut nodes);
    let [_bob, eve] = &mut nodes;
    wait_for_way(eve, "relayed");
    for (times, place) in (2..).zip([1, 0, 1, 0]) {
        ground.home(place).rebind(Rebinding::Port);
        download.pass(eve, times * SOME);
    }
    wait_for_way(eve, "relayed");
    download.end(&ground, eve);
}

#[test]
fn a_download_goes_through_the_supernode_while_there_is_no_direct_way() {
    if !privilege::met("a_download_goes_through_the_supernode_while_there_is_no_direct_way", natlab::possible()) {
        return;
    }
    let _slot = Slot::take(Company::Shared);
    let ground = Ground::apart([Nat::PortRestricted; 2], Access::Wire);
    let supernode = ground.supernode();
    let mut nodes = [ground.node_with(0, &["--listen", "0.0.0.0:0", "--limit-up", RATE]), ground.node(1)];
    join(&ground, &supernode, &mut nodes);
    let mut download = Download::begin(&ground, &mut nodes);
    let [_bob, eve] = &mut nodes;
    wait_for_way(eve, "direct");
    ground.lab.partition(&[ground.home(0).site()], &[ground.home(1).site()]);
    wait_for_way(eve, "relayed");
    download.pass(eve, 2 * SOME);
    ground.lab.heal();
    wait_for_way(eve, "direct");
    download.end(&ground, eve);
}
