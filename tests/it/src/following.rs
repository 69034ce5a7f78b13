//! Following, watching and pushing: what is on the disks of others without their doing, and what is not.

use std::fs;
use std::time::{Duration, Instant};

use harness::cluster::Cluster;
use harness::content::Content;
use harness::peer::Peer;
use harness::scenario::MIB;
use harness::wait::{holds_for, wait_until};

/// What is wished for is a second, and asserted by hand; the machine of a test may be busy.
const SOON: Duration = Duration::from_secs(5);
/// A watched file is registered when it was quiet for 2 s.
const QUIET_AND_SOON: Duration = Duration::from_secs(10);
/// Not noticed within this: not done.
const A_WHILE: Duration = Duration::from_millis(500);

fn version(peer: &Peer, name: &str) -> Option<u32> {
    peer.list().into_iter().find(|entry| entry.name == name).map(|entry| entry.version)
}

#[test]
fn a_new_version_is_on_the_followers_disk_as_soon_as_it_is_registered() {
    let cluster = Cluster::start();
    let (ann, bob) = (cluster.peer("ann").serve(), cluster.peer("bob").serve());
    let path = cluster.file("plan.bin", Content::random(1, MIB));
    ann.run(["r".as_ref(), path.as_os_str()]);
    bob.run(["d", "plan.bin"]).succeeded();
    let copy = bob.spec().dir_path().join("seeding/plan.bin");
    let mut times = Vec::new();
    for seed in 2..7 {
        let content = Content::random(seed, MIB);
        content.write(&path).unwrap();
        let begin = Instant::now();
        ann.register(&path);
        wait_until(SOON, "the new version on the follower's disk", || content.compare(&copy).unwrap() == Ok(()));
        times.push(begin.elapsed());
    }
    println!("from `r` to the follower's disk, 1 MiB: {times:?}");
    wait_until(SOON, "the follower to serve it on", || ann.complete_holders("plan.bin") == ["ann", "bob"]);
    let seeding = fs::read_dir(bob.spec().dir_path().join("seeding")).unwrap().count();
    assert_eq!(seeding, 1, "nothing is left beside it");
}

#[test]
fn an_edited_copy_stays_and_who_was_away_catches_up() {
    let cluster = Cluster::start();
    let (ann, bob) = (cluster.peer("ann").serve(), cluster.peer("bob").serve());
    let path = cluster.dir().join("files/notes.txt");
    fs::write(&path, "one").unwrap();
    ann.register(&path);
    bob.run(["sub", "notes.txt"]).succeeded();
    let seeding = bob.spec().dir_path().join("seeding");
    let (copy, third) = (seeding.join("notes.txt"), seeding.join("notes (v3).txt"));
    assert_eq!(fs::read_to_string(&copy).unwrap(), "one");
    let spec = bob.spec().clone();
    bob.stop();
    fs::write(&path, "two").unwrap();
    ann.register(&path);
    let bob = spec.serve();
    wait_until(SOON, "what came meanwhile", || fs::read_to_string(&copy).unwrap() == "two");

    fs::write(&copy, "my own thoughts").unwrap();
    fs::write(&path, "three").unwrap();
    ann.register(&path);
    wait_until(SOON, "the new version beside the edited one", || third.exists());
    assert_eq!(fs::read_to_string(&third).unwrap(), "three");
    assert_eq!(fs::read_to_string(&copy).unwrap(), "my own thoughts");
    let synced = bob.run(["synced"]).succeeded();
    assert!(synced.stdout.contains("ann/notes.txt") && synced.stdout.contains('3'), "{}", synced.stdout);

    bob.run(["unsub", "notes.txt"]).succeeded();
    fs::write(&path, "four").unwrap();
    ann.register(&path);
    assert!(holds_for(A_WHILE, || !seeding.join("notes (v4).txt").exists() && third.exists()));
}

#[test]
fn a_watched_file_becomes_a_new_version_by_itself_also_without_a_running_peer_before() {
    let cluster = Cluster::start();
    let eve = cluster.peer("eve").serve();
    let path = cluster.dir().join("files/log.txt");
    fs::write(&path, "one").unwrap();
    let mut ann = cluster.peer("ann").start(["watch".as_ref(), path.as_os_str()]);
    wait_until(QUIET_AND_SOON, "it to be registered", || version(&eve, "log.txt") == Some(1));
    // As editors write: beside it, then over it.
    let beside = path.with_file_name("log.txt~");
    fs::write(&beside, "two").unwrap();
    fs::rename(&beside, &path).unwrap();
    wait_until(QUIET_AND_SOON, "a new version", || version(&eve, "log.txt") == Some(2));
    ann.terminate(SOON);
    fs::write(&path, "three").unwrap();
    let _ann = cluster.peer("ann").serve();
    wait_until(QUIET_AND_SOON, "the change while nobody watched", || version(&eve, "log.txt") == Some(3));
}

#[test]
fn what_is_pushed_comes_to_those_who_accept_it_and_to_nobody_else() {
    let cluster = Cluster::start();
    let (ann, bob, eve) = (cluster.peer("ann").serve(), cluster.peer("bob").serve(), cluster.peer("eve").serve());
    let tom = cluster.peer("tom").args(["--accept-from", "ann"]).serve();
    let content = Content::random(3, 3 * MIB);
    let path = cluster.file("gift.bin", content);
    let to = ["bob", "eve", "tom"].map(AsRef::as_ref);
    ann.run(["send".as_ref(), path.as_os_str()].into_iter().chain(to)).succeeded();
    bob.run(["accept", "ann"]).succeeded();
    eve.run(["refuse"]).succeeded();
    let gift = |peer: &Peer| peer.spec().dir_path().join("seeding/gift.bin");
    for peer in [&bob, &tom] {
        let here = || gift(peer).exists() && content.compare(&gift(peer)).unwrap() == Ok(());
        wait_until(SOON, "what was accepted", here);
    }
    wait_until(SOON, "the sender to know", || {
        let sent = ann.run(["sent"]).succeeded().stdout;
        sent.matches("done").count() == 2 && sent.matches("refused").count() == 1
    });
    assert!(!gift(&eve).exists());
    assert!(eve.list().is_empty(), "it is in no list");

    // Without a running peer it is downloaded before the command ends.
    let (cat, later) = (cluster.peer("cat"), cluster.file("later.bin", content));
    cat.serve().stop();
    ann.run(["send".as_ref(), later.as_os_str(), "cat".as_ref()]).succeeded();
    cat.run(["accept"]).succeeded();
    assert_eq!(content.compare(&cat.dir_path().join("seeding/later.bin")).unwrap(), Ok(()));
}
