//! Faults: seeders that lie, freeze or vanish, trackers that die, files that change, disks that are full.

use std::time::Duration;

use common::chunk::Layout;
use harness::cluster::{Cluster, ClusterConfig, PING_SECS};
use harness::content::Content;
use harness::hostile::{EvilSeeder, Mischief};
use harness::peer::Peer;
use harness::privilege;
use harness::scenario::MIB;
use harness::small_disk::{self, SmallDisk};
use harness::wait::{holds_for, wait_until};
use peer::command::FailureKind;
use peer::notice::Notice;

use crate::small;

const SOON: Duration = Duration::from_secs(20);
/// What a busy machine may add to a time that is promised.
const GRACE: Duration = Duration::from_millis(700);

#[test]
fn a_frozen_seeder_costs_two_seconds_at_most() {
    small("seeder-freezes");
}

#[test]
fn a_killed_tracker_comes_back_with_all_it_acknowledged_and_stops_no_download() {
    small("tracker-kills");
}

#[test]
fn a_file_that_changes_under_its_seeder_never_arrives_wrong() {
    small("changes");
}

#[test]
fn a_file_arrives_whoever_is_killed() {
    small("chaos");
}

#[test]
fn a_seeder_of_wrong_bytes_is_dropped_and_named() {
    wrong_bytes_are_found_out(Mischief::WrongBytes);
}

#[test]
fn a_seeder_of_wrong_bytes_that_hangs_up_is_named_and_not_dialled_again() {
    wrong_bytes_are_found_out(Mischief::WrongBytesAndGone);
}

fn wrong_bytes_are_found_out(mischief: Mischief) {
    let cluster = Cluster::start();
    let content = Content::random(1, 8 * MIB);
    let honest = cluster.peer("ann").args(["--limit-up", "4MiB"]).serve();
    let file = honest.register(&cluster.file("film.bin", content));
    let evil = EvilSeeder::start(&cluster, "mallory", "film.bin", content, mischief);
    assert_eq!(evil.file(), file);
    let downloader = cluster.peer("ben").serve();
    let mut notices = downloader.notices();
    let downloaded = downloader.download("film.bin", None).unwrap();
    assert_eq!(content.compare(&downloaded.path).unwrap(), Ok(()));
    assert!(evil.requests() > 0, "it was asked for chunks");
    assert!(evil.requests() < Layout::of(&file).count().into(), "and not any more when it had lied");
    assert!(downloaded.shares.iter().all(|share| share.user == "ann"), "{:?}", downloaded.shares);
    let named = notices.find(|notice| match notice {
        Notice::BadSeeder { user, address, .. } => Some((user, address)),
        _ => None,
    });
    assert_eq!(named.unwrap(), ("mallory".to_owned(), evil.address()));
}

#[test]
fn a_lone_seeder_of_wrong_bytes_brings_an_error_and_no_file() {
    for mischief in [Mischief::WrongBytes, Mischief::WrongHashes] {
        let cluster = Cluster::start();
        let content = Content::random(2, 2 * MIB);
        let _evil = EvilSeeder::start(&cluster, "mallory", "film.bin", content, mischief);
        let output = cluster.out("film.bin");
        let args = ["d", "film.bin", "--wait", "2", "-o", &output.to_string_lossy()].map(str::to_owned);
        let ran = cluster.peer("ben").run(args);
        assert!(ran.code().is_some_and(|code| code != 0), "{mischief:?}: {}", ran.stdout);
        assert!(ran.stderr.contains("mallory"), "{mischief:?}: it names who did it: {}", ran.stderr);
        assert!(!output.exists(), "{mischief:?}");
    }
}

#[test]
fn a_file_arrives_through_every_mischief_at_once() {
    let all = [
        Mischief::WrongBytes,
        Mischief::WrongBytesAndGone,
        Mischief::WrongHashes,
        Mischief::Silence,
        Mischief::HalfAChunk,
        Mischief::HugeFrame,
        Mischief::UnaskedPieces,
        Mischief::PiecesBeyondTheEnd,
        Mischief::Noise,
    ];
    let cluster = Cluster::start();
    let content = Content::random(3, 8 * MIB);
    let honest = cluster.peer("ann").args(["--limit-up", "4MiB"]).serve();
    honest.register(&cluster.file("film.bin", content));
    let evil: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(number, mischief)| {
            EvilSeeder::start(&cluster, &format!("mallory-{number}"), "film.bin", content, *mischief)
        })
        .collect();
    let mut downloader = cluster.peer("ben").serve();
    let downloaded = downloader.download("film.bin", None).unwrap();
    assert_eq!(content.compare(&downloaded.path).unwrap(), Ok(()));
    assert!(evil.iter().any(|seeder| seeder.requests() > 0), "some of them were asked");
    let peak = downloader.process().usage().peak_memory;
    assert!(peak < 100 * MIB, "{} MiB", peak / MIB);
}

/// Whether `who` is told to have all of `film.bin`.
fn is_told(by: &Peer, who: &str) -> bool {
    by.complete_holders("film.bin").iter().any(|name| name == who)
}

#[test]
fn a_stopped_peer_leaves_loc_in_time_and_comes_back() {
    let cluster = ClusterConfig::default().alone().start();
    let (ann, mut ben) = (cluster.peer("ann").serve(), cluster.peer("ben").serve());
    let file = cluster.file("film.bin", Content::random(4, MIB));
    ann.register(&file);
    ben.register(&file);
    assert!(is_told(&ann, "ben"));
    ben.process().freeze();
    // Interval and timeout are a second each.
    wait_until(Duration::from_secs(2 * PING_SECS) + GRACE, "the stopped peer to leave loc", || !is_told(&ann, "ben"));
    ben.process().thaw();
    wait_until(Duration::from_secs(5), "the peer to be back", || is_told(&ann, "ben"));
    // Nobody is thrown out who answers.
    assert!(holds_for(Duration::from_secs(3 * PING_SECS), || is_told(&ann, "ben")));
}

#[test]
fn a_killed_peer_leaves_loc_at_once() {
    let cluster = ClusterConfig::default().alone().start();
    let (ann, mut ben) = (cluster.peer("ann").serve(), cluster.peer("ben").serve());
    let file = cluster.file("film.bin", Content::random(5, MIB));
    ann.register(&file);
    ben.register(&file);
    ben.kill();
    wait_until(GRACE, "the killed peer to leave loc", || !is_told(&ann, "ben"));
}

#[test]
fn a_download_without_a_full_set_waits_keeps_what_came_and_goes_on() {
    let cluster = Cluster::start();
    let content = Content::random(6, 8 * MIB);
    let mut seeder = cluster.peer("ann").args(["--limit-up", "2MiB"]).serve();
    seeder.register(&cluster.file("film.bin", content));
    let output = cluster.out("film.bin");
    let spec = cluster.peer("ben");
    let args = ["d", "film.bin", "--wait", "1", "-o", &output.to_string_lossy()].map(str::to_owned);
    let process = spec.start(&args);
    wait_until(SOON, "a part to come", || seeder.status().uploaded_bytes > 3 * MIB);
    seeder.kill();
    let ran = harness::peer::Ran::of(process, SOON);
    ran.failed_with(FailureKind::Incomplete.exit_code().into());
    assert!(!output.exists());
    let seeder = seeder.spec().clone().serve();
    wait_until(SOON, "the seeder to be back", || is_told(&seeder, "ann"));
    spec.run(&args).succeeded();
    assert_eq!(content.compare(&output).unwrap(), Ok(()));
    assert!(seeder.status().uploaded_bytes < 6 * MIB, "what came before is not fetched again");
}

#[test]
fn an_entry_that_nobody_has_is_listed_with_no_seeders() {
    let cluster = Cluster::start();
    let (ann, ben) = (cluster.peer("ann").serve(), cluster.peer("ben").serve());
    ann.register(&cluster.file("film.bin", Content::random(7, MIB)));
    ann.stop();
    wait_until(SOON, "the entry to have no seeder", || {
        ben.list().iter().any(|entry| entry.name == "film.bin" && entry.seeders == 0)
    });
    let ran = ben.run(["d", "film.bin", "--wait", "1"]);
    let said = ran.failed_with(FailureKind::Incomplete.exit_code().into());
    assert!(said.contains("film.bin"), "{said}");
}

#[test]
fn a_full_disk_is_told_and_costs_nothing_that_came() {
    let test = "a_full_disk_is_told_and_costs_nothing_that_came";
    if !privilege::met(test, small_disk::possible()) {
        return;
    }
    let cluster = Cluster::start();
    let content = Content::random(8, 16 * MIB);
    let seeder = cluster.peer("ann").serve();
    seeder.register(&cluster.file("film.bin", content));
    let disk = SmallDisk::mount(&cluster.out("disk"), 10 * MIB);
    let downloader = cluster.peer("ben").dir(&disk.path().join("ben"));
    let ran = downloader.run(["d", "film.bin"]);
    let said = ran.failed_with(FailureKind::Failed.exit_code().into());
    assert!(said.contains("space"), "it says what is wrong: {said}");
    let sent = seeder.status().uploaded_bytes;
    disk.grow(64 * MIB);
    let ran = downloader.run(["d", "film.bin"]).succeeded();
    let path = downloader.dir_path().join("seeding").join("film.bin");
    assert!(ran.stdout.contains(&*path.to_string_lossy()), "{}", ran.stdout);
    assert_eq!(content.compare(&path).unwrap(), Ok(()));
    let again = seeder.status().uploaded_bytes - sent;
    assert!(again < content.length() - 2 * MIB, "{} MiB were fetched again", again / MIB);
}

#[test]
fn what_the_tracker_acknowledged_outlives_its_kills() {
    small("acknowledged");
}
