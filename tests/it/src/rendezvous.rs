//! Peers behind routers in a tracker's network: those whom TCP does not bring together meet over MRT, directly where their
//! routers allow it, and through the tracker's relay where they do not.

use std::time::Duration;

use harness::cluster::{Cluster, ClusterConfig};
use harness::content::Content;
use harness::natlab::{self, Home, Host, Lab, Nat, Rebinding};
use harness::peer::{PeerSpec, download};
use harness::privilege;
use harness::scenario::MIB;
use harness::wait::{pause, wait_until};
use peer::command::Outcome;

use crate::standstill::Standstill;

const ENTRY: &str = "film.mkv";
const OVER_MRT: &str = "over MRT";
const SIZE: u64 = 20 * MIB;
const SOON: Duration = Duration::from_secs(30);

/// A tracker on a public host, a seeder in one place and a downloader in another.
struct Scene {
    cluster: Cluster,
    seeder: Host,
    downloader: Host,
    homes: Vec<Home>,
    _tracker: Host,
    lab: Lab,
}

impl Scene {
    /// With these kinds of routers, and these arguments for the tracker.
    fn new([seeder, downloader]: [Nat; 2], tracker_args: &[&str]) -> Self {
        let lab = Lab::new();
        let tracker = lab.host();
        let homes: Vec<Home> = [seeder, downloader].map(|nat| lab.home(nat)).into();
        let config = ClusterConfig::default().listen(tracker.address().into()).netns(tracker.netns());
        let cluster = config.tracker_args(tracker_args).start();
        let (seeder, downloader) = (homes[0].host(), homes[1].host());
        Self { cluster, seeder, downloader, homes, _tracker: tracker, lab }
    }

    fn peer(&self, name: &str, host: &Host) -> PeerSpec {
        self.cluster.peer(name).netns(host.netns())
    }

    /// The seeder shares, started with these arguments; the downloader asks for it. Gives what it said, or how it failed.
    fn download(&self, seeder_args: &[&str], content: Content) -> Result<String, (Option<i32>, String)> {
        let seeder = self.peer("ann", &self.seeder).args(seeder_args).serve();
        seeder.register(&self.cluster.file(ENTRY, content));
        let out = self.cluster.out(ENTRY);
        let downloader = self.peer("ben", &self.downloader);
        let ran = downloader.run(["d", ENTRY, "--wait", "12", "-o", out.to_str().expect("a path of ours")]);
        if ran.code() != Some(0) {
            return Err((ran.code(), ran.stderr));
        }
        assert_eq!(content.compare(&out).unwrap(), Ok(()), "the file is what was shared");
        seeder.stop();
        Ok(ran.stderr)
    }
}

#[test]
fn a_seeder_behind_a_symmetric_router_is_relayed_to_one_behind_a_strict_one() {
    let test = "a_seeder_behind_a_symmetric_router_is_relayed_to_one_behind_a_strict_one";
    if !privilege::met(test, natlab::possible()) {
        return;
    }
    let scene = Scene::new([Nat::Symmetric, Nat::PortRestricted], &[]);
    let said = scene.download(&["--mrt"], Content::random(1, SIZE)).unwrap();
    assert!(said.contains("ann is reached over MRT, through the tracker's relay."), "{said}");
    assert!(!said.contains("directly"), "no direct way exists: {said}");
}

#[test]
fn two_behind_strict_routers_meet_directly() {
    if !privilege::met("two_behind_strict_routers_meet_directly", natlab::possible()) {
        return;
    }
    let scene = Scene::new([Nat::PortRestricted; 2], &[]);
    let said = scene.download(&["--mrt"], Content::random(2, SIZE)).unwrap();
    assert!(said.contains("ann is reached over MRT, directly at "), "{said}");
}

#[test]
fn without_a_relay_strict_routers_are_opened_all_the_same() {
    if !privilege::met("without_a_relay_strict_routers_are_opened_all_the_same", natlab::possible()) {
        return;
    }
    let scene = Scene::new([Nat::PortRestricted; 2], &["--relay", "off"]);
    let said = scene.download(&["--mrt"], Content::random(3, SIZE)).unwrap();
    assert!(said.contains("ann is reached over MRT, directly at "), "{said}");
}

#[test]
fn without_a_relay_it_is_said_why_a_file_cannot_be_had() {
    if !privilege::met("without_a_relay_it_is_said_why_a_file_cannot_be_had", natlab::possible()) {
        return;
    }
    let scene = Scene::new([Nat::Symmetric, Nat::PortRestricted], &["--relay", "off"]);
    let (code, said) = scene.download(&["--mrt"], Content::random(4, MIB)).unwrap_err();
    assert_eq!(code, Some(3), "{said}");
    let why = "film.mkv: ann cannot be reached by TCP, and over MRT neither router lets the other's datagrams in, and the \
               tracker does not relay (--relay off)";
    assert!(said.contains(why), "{said}");
}

#[test]
fn who_does_not_serve_over_mrt_is_named() {
    if !privilege::met("who_does_not_serve_over_mrt_is_named", natlab::possible()) {
        return;
    }
    let scene = Scene::new([Nat::PortRestricted; 2], &[]);
    let (code, said) = scene.download(&[], Content::random(5, MIB)).unwrap_err();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("ann cannot be reached by TCP, and it does not serve over MRT"), "{said}");
}

#[test]
fn who_is_reached_by_tcp_is_not_reached_over_mrt() {
    if !privilege::met("who_is_reached_by_tcp_is_not_reached_over_mrt", natlab::possible()) {
        return;
    }
    // The seeder beside the tracker is dialled; the one behind a router dials back.
    let mut scene = Scene::new([Nat::PortRestricted; 2], &[]);
    let home = std::mem::replace(&mut scene.seeder, scene.lab.host());
    let said = scene.download(&["--mrt"], Content::random(6, SIZE)).unwrap();
    assert!(!said.contains(OVER_MRT), "{said}");
    let mut back = Scene::new([Nat::PortRestricted; 2], &[]);
    back.downloader = back.lab.host();
    let said = back.download(&["--mrt"], Content::random(7, SIZE)).unwrap();
    assert!(!said.contains(OVER_MRT), "{said}");
    drop(home);
}

/// Begins a relayed download, does something when a part of it has come, and has it end well. What is done is given the count
/// of bytes that have come.
fn relayed_through(test: &str, seed: u64, trouble: impl FnOnce(&Scene, &dyn Fn() -> u64)) {
    if !privilege::met(test, natlab::possible()) {
        return;
    }
    let scene = Scene::new([Nat::Symmetric, Nat::PortRestricted], &["--relay", "2MiB"]);
    let content = Content::random(seed, 12 * MIB);
    let seeder = scene.peer("ann", &scene.seeder).args(["--mrt"]).serve();
    seeder.register(&scene.cluster.file(ENTRY, content));
    let downloader = scene.peer("ben", &scene.downloader).serve();
    let running = downloader.start(&download(ENTRY, None));
    wait_until(SOON, "some of it to come", || downloader.status().downloaded_bytes > 2 * MIB);
    let ways = downloader.status().over_mrt;
    assert!(matches!(ways.as_slice(), [way] if way.user == "ann" && way.way.address.is_none()), "{ways:?}");
    trouble(&scene, &|| downloader.status().downloaded_bytes);
    let Ok(Ok(Outcome::Downloaded(downloaded))) = running.finish() else { panic!("it did not end well") };
    assert_eq!(content.compare(&downloaded.path).unwrap(), Ok(()));
    assert!(downloaded.fetched_bytes < 14 * MIB, "{} bytes fetched", downloaded.fetched_bytes);
}

#[test]
fn what_is_relayed_goes_on_when_the_tracker_was_restarted() {
    relayed_through("what_is_relayed_goes_on_when_the_tracker_was_restarted", 8, |scene, _| {
        scene.cluster.kill_tracker();
        scene.cluster.restart_tracker();
    });
}

#[test]
fn what_is_relayed_goes_on_when_a_router_begins_anew() {
    relayed_through("what_is_relayed_goes_on_when_a_router_begins_anew", 9, |scene, _| {
        scene.homes[1].rebind(Rebinding::Port);
    });
}

#[test]
fn what_is_relayed_stands_still_for_seconds_when_the_session_of_the_seeder_is_renewed() {
    /// A peer that is relayed looks every 5 s whether it is still seen at the same place. A connection of which nothing is
    /// heard ends after 30 s.
    const STALL: Duration = Duration::from_secs(15);
    let test = "what_is_relayed_stands_still_for_seconds_when_the_session_of_the_seeder_is_renewed";
    relayed_through(test, 10, |scene, done| {
        let mut stall = Standstill::new(done());
        scene.homes[0].rebind(Rebinding::Port);
        while stall.longest < STALL && done() < 11 * MIB {
            stall.see(done());
            pause();
        }
        println!("stood still for {:?}", stall.longest);
        assert!(stall.longest < STALL, "it stood still for {:?}", stall.longest);
    });
}
