//! Resume: what was verified is kept, whoever or whatever ends a download.

use std::path::Path;
use std::time::Duration;

use harness::cluster::Cluster;
use harness::content::Content;
use harness::peer::{Peer, Ran, download};
use harness::scenario::{MIB, Resume, run_resume};
use harness::wait::wait_until;
use peer::command::{Command, FailureKind, Outcome};
use rustix::process::Signal;

use crate::small;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_killed_downloader_goes_on() {
    small("downloader-kills");
}

#[test]
fn a_killed_seeder_costs_nothing_that_was_verified() {
    small("seeder-kills");
}

#[test]
fn a_killed_download_goes_on_without_reading_or_fetching_it_all_again() {
    let result = run_resume(&Resume { size: 48 * MIB, rate: Some(24 * MIB), place: None });
    assert!(result.to_first_chunk < Duration::from_secs(5), "{result:?}");
    assert!(result.twice < 9 * MIB, "{result:?}");
}

/// A seeder of `film.bin` that needs some seconds for it.
fn slow_seeder(cluster: &Cluster, content: Content) -> Peer {
    let rate = (content.length() / 4).to_string();
    let seeder = cluster.peer("ann").args(["--limit-up", &rate]).serve();
    seeder.register(&cluster.file("film.bin", content));
    seeder
}

#[test]
fn ctrl_c_ends_a_one_shot_and_keeps_what_came() {
    let cluster = Cluster::start();
    let content = Content::random(1, 8 * MIB);
    let seeder = slow_seeder(&cluster, content);
    let output = cluster.out("film.bin");
    let start = || cluster.peer("ben").start([Path::new("d"), Path::new("film.bin"), Path::new("-o"), &output]);
    let mut process = start();
    wait_until(SOON, "half of it to come", || seeder.status().uploaded_bytes > content.length() / 2);
    process.signal(Signal::INT);
    let ran = Ran::of(process, SOON);
    ran.failed_with(FailureKind::Cancelled.exit_code().into());
    assert!(!output.exists());
    Ran::of(start(), SOON).succeeded();
    assert_eq!(content.compare(&output).unwrap(), Ok(()));
    assert!(seeder.status().uploaded_bytes < content.length() + 2 * MIB, "it went on where it was");
}

#[test]
fn cancel_ends_a_download_and_keeps_what_came() {
    let cluster = Cluster::start();
    let content = Content::random(2, 8 * MIB);
    let seeder = slow_seeder(&cluster, content);
    let downloader = cluster.peer("ben").serve();
    let running = downloader.start(&download("film.bin", None));
    wait_until(SOON, "half of it to come", || downloader.status().downloaded_bytes > content.length() / 2);
    let cancelled = downloader.command(&Command::Cancel { entry: Some("film.bin".to_owned()) });
    assert_eq!(cancelled, Ok(Outcome::Cancelled { names: vec!["film.bin".to_owned()] }));
    let failure = running.finish().unwrap().unwrap_err();
    assert_eq!(failure.kind, FailureKind::Cancelled, "{failure:?}");
    assert_eq!(downloader.status().downloads, []);
    let downloaded = downloader.download("film.bin", None).unwrap();
    assert_eq!(content.compare(&downloaded.path).unwrap(), Ok(()));
    assert!(seeder.status().uploaded_bytes < content.length() + 2 * MIB, "it went on where it was");
}

#[test]
fn a_download_goes_on_when_its_asker_hangs_up_and_when_its_peer_starts_again() {
    let cluster = Cluster::start();
    let content = Content::random(3, 8 * MIB);
    let seeder = slow_seeder(&cluster, content);
    let mut downloader = cluster.peer("ben").serve();
    downloader.start_download_alone("film.bin", None);
    wait_until(SOON, "half of it to come", || seeder.status().uploaded_bytes > content.length() / 2);
    let spec = downloader.spec().clone();
    downloader.kill();
    let downloader = spec.serve();
    let path = spec.dir_path().join("seeding").join("film.bin");
    wait_until(SOON, "the rest to come by itself", || path.exists());
    assert_eq!(content.compare(&path).unwrap(), Ok(()));
    wait_until(SOON, "it to be a seeder", || downloader.complete_holders("film.bin") == ["ann", "ben"]);
}

#[test]
fn a_restarted_peer_seeds_all_again_without_reading_it() {
    let cluster = Cluster::start();
    let (kept, changed) = (Content::random(4, 32 * MIB), Content::random(5, 2 * MIB));
    let seeder = cluster.peer("ann").serve();
    seeder.register(&cluster.file("kept.bin", kept));
    let changed_path = cluster.file("changed.bin", changed);
    seeder.register(&changed_path);
    let spec = seeder.spec().clone();
    seeder.stop();
    Content::random(6, 2 * MIB).write(&changed_path).unwrap();

    let mut seeder = spec.serve();
    wait_until(SOON, "it to seed again", || seeder.complete_holders("kept.bin") == ["ann"]);
    let read = seeder.process().bytes_read();
    assert!(read < kept.length() / 2, "{read} bytes were read to seed {} again", kept.length());
    let names: Vec<_> = seeder.status().sharing.into_iter().map(|item| item.name).collect();
    assert_eq!(names, ["kept.bin"], "what was changed is not shared");
    assert!(seeder.complete_holders("changed.bin").is_empty());
    let said = seeder.process().stderr();
    assert!(said.contains("changed.bin"), "it says what it dropped: {said}");
    let downloaded = cluster.peer("ben").serve().download("kept.bin", None).unwrap();
    assert_eq!(kept.compare(&downloaded.path).unwrap(), Ok(()));
}

#[test]
fn what_is_shared_in_one_network_is_not_shared_in_another() {
    let (one, other) = (Cluster::start(), Cluster::start());
    let seeder = one.peer("ann").serve();
    seeder.register(&one.file("film.bin", Content::random(7, MIB)));
    let spec = seeder.spec().clone();
    seeder.stop();
    let elsewhere = spec.clone().tracker(Some(other.tracker_arg())).serve();
    assert_eq!(elsewhere.list(), []);
    assert_eq!(elsewhere.status().sharing, []);
    elsewhere.stop();
    let back = spec.serve();
    wait_until(SOON, "it to seed again", || back.complete_holders("film.bin") == ["ann"]);
}
