//! Errors: what users get wrong is answered with one clear sentence and an exit code, and the rest goes on.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};

use common::id::NetworkId;
use harness::cluster::Cluster;
use harness::content::Content;
use harness::peer::Ran;
use harness::privilege;
use harness::process::Launch;
use harness::programs::programs;
use peer::command::FailureKind;

/// `nobody`, who may do nothing that root has not allowed.
const NOBODY: u32 = 65534;
const SOON: std::time::Duration = std::time::Duration::from_secs(20);

/// Checks that it failed with one sentence (and a hint perhaps) that has these words.
#[track_caller]
fn one_sentence(ran: &Ran, kind: FailureKind, words: &[&str]) {
    let said = ran.failed_with(kind.exit_code().into());
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let errors = lines.iter().filter(|line| line.starts_with("error:")).count();
    assert_eq!(errors, 1, "one sentence: {said}");
    assert!(lines.len() <= 4, "and a hint, not a page: {said}");
    for word in words {
        assert!(said.to_lowercase().contains(&word.to_lowercase()), "it speaks of {word}: {said}");
    }
    assert!(!said.contains("Err(") && !said.contains("Os {"), "for people: {said}");
}

#[test]
fn what_is_not_there_is_said() {
    let cluster = Cluster::start();
    let peer = cluster.peer("ann").serve();
    let missing = cluster.out("missing.txt");
    one_sentence(&peer.run(["r", &missing.to_string_lossy()]), FailureKind::Failed, &["missing.txt"]);
    one_sentence(&peer.run(["d", "nothing.txt"]), FailureKind::Failed, &["nothing.txt"]);
    one_sentence(&peer.run(["loc", "nothing.txt"]), FailureKind::Failed, &["nothing.txt"]);
    one_sentence(&peer.run(["dereg", "nothing.txt"]), FailureKind::Failed, &["nothing.txt"]);
    one_sentence(&peer.run(["hash", &missing.to_string_lossy()]), FailureKind::Failed, &["missing.txt"]);
    one_sentence(&peer.run(["ping", "zoe"]), FailureKind::Failed, &["zoe"]);
    one_sentence(&peer.run(["cancel", "nothing.txt"]), FailureKind::Failed, &["nothing.txt"]);
    assert!(peer.status().connected, "the peer goes on");
}

#[test]
fn what_is_no_command_is_said() {
    let cluster = Cluster::start();
    let peer = cluster.peer("ann");
    let ran = peer.run(["frobnicate"]);
    assert!(ran.failed_with(FailureKind::Usage.exit_code().into()).contains("frobnicate"));
    let ran = peer.run(["d"]);
    ran.failed_with(FailureKind::Usage.exit_code().into());
    let ran = Ran::of(peer.start(["--limit-up", "fast", "lst"]), SOON);
    assert!(ran.failed_with(FailureKind::Usage.exit_code().into()).contains("--limit-up"));
}

#[test]
fn a_device_is_no_file() {
    let cluster = Cluster::start();
    let peer = cluster.peer("ann").serve();
    one_sentence(&peer.run(["r", "/dev/null"]), FailureKind::Failed, &["/dev/null", "regular file"]);
}

#[test]
fn a_tracker_that_is_not_there_is_said() {
    let cluster = Cluster::start();
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let peer = cluster.peer("ann").tracker(Some(format!("127.0.0.1:{port}")));
    one_sentence(&peer.run(["lst"]), FailureKind::NoTracker, &["tracker", &port.to_string()]);
    let peer = cluster.peer("ben").tracker(Some("no-such-host.invalid".to_owned()));
    one_sentence(&peer.run(["lst"]), FailureKind::NoTracker, &["no-such-host.invalid"]);
}

#[test]
fn a_tracker_with_another_key_is_a_loud_error() {
    let (one, other) = (Cluster::start(), Cluster::start());
    let peer = one.peer("ann").tracker(Some(format!("{}#{}", one.address(), other.fingerprint())));
    let ran = peer.run(["lst"]);
    assert!(ran.code().is_some_and(|code| code != 0), "{}", ran.stdout);
    assert!(ran.stderr.contains(&one.fingerprint().to_string()), "it says who answered: {}", ran.stderr);
    // Without a fingerprint the first key is remembered.
    let peer = one.peer("ben").tracker(Some(one.address().to_string()));
    let ran = peer.run(["lst"]).succeeded();
    assert!(ran.stderr.contains(&one.fingerprint().to_string()), "the first use is said: {}", ran.stderr);
    peer.run(["lst"]).succeeded();
    let known = peer.dir_path().join("state").join("known_trackers");
    let text = fs::read_to_string(&known).unwrap();
    let changed = text.replace(&one.fingerprint().to_string(), &NetworkId([7; 32]).to_string());
    assert_ne!(text, changed, "known_trackers holds the fingerprint: {text}");
    fs::write(&known, changed).unwrap();
    let ran = peer.run(["lst"]);
    assert!(ran.code().is_some_and(|code| code != 0), "another key than before: {}", ran.stdout);
}

#[test]
fn a_port_in_use_is_said() {
    let cluster = Cluster::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = Ran::of(cluster.peer("ann").args(["--listen", &address]).start(["serve"]), SOON);
    one_sentence(&ran, FailureKind::Failed, &[&address]);
    let data = cluster.out("data");
    let tracker = Launch::new(&programs().tracker).args(["--listen", &address, "--data", &data.to_string_lossy()]);
    let ran = Ran::of(tracker.start(&cluster.out("tracker")), SOON);
    assert!(ran.code().is_some_and(|code| code != 0));
    assert!(ran.stderr.contains(&address), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("tracker: ")).count(), 1, "{}", ran.stderr);
}

#[test]
fn a_directory_of_data_in_use_is_said() {
    let cluster = Cluster::start();
    let tracker = Launch::new(&programs().tracker).args([
        "--listen",
        "127.0.0.1:0",
        "--data",
        &cluster.dir().join("tracker").to_string_lossy(),
    ]);
    let ran = Ran::of(tracker.start(&cluster.out("second")), SOON);
    assert!(ran.code().is_some_and(|code| code != 0));
    assert_eq!(ran.stderr.lines().filter(|line| line.starts_with("tracker: ")).count(), 1, "{}", ran.stderr);
}

#[test]
fn a_dir_in_use_is_said() {
    let cluster = Cluster::start();
    let peer = cluster.peer("ann").serve();
    let second = Ran::of(peer.spec().start(["serve"]), SOON);
    one_sentence(&second, FailureKind::Failed, &[&peer.spec().dir_path().to_string_lossy()]);
    assert!(peer.status().connected, "the first goes on");
}

#[test]
fn what_may_not_be_read_or_written_is_said() {
    let cluster = Cluster::start();
    let file = cluster.file("secret.txt", Content::random(1, 1000));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    let user = privilege::is_root().then_some(NOBODY);
    let readable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(cluster.dir(), readable).unwrap();
    let dir = cluster.out("nobody");
    fs::create_dir(&dir).unwrap();
    chown(&dir, user, user).unwrap();
    let peer = cluster.peer("ann").dir(&dir).user(user);
    one_sentence(&peer.run(["hash", &file.to_string_lossy()]), FailureKind::Failed, &["secret.txt", "permission"]);
    let closed = cluster.out("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    let peer = cluster.peer("ben").dir(&closed.join("ben")).user(user);
    one_sentence(&Ran::of(peer.start(["serve"]), SOON), FailureKind::Failed, &["closed", "permission"]);
}

#[test]
fn a_file_without_permission_to_be_read_is_not_registered() {
    let cluster = Cluster::start();
    let file = cluster.file("secret.txt", Content::random(2, 1000));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(cluster.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let user = privilege::is_root().then_some(NOBODY);
    let dir = cluster.out("nobody");
    fs::create_dir(&dir).unwrap();
    chown(&dir, user, user).unwrap();
    let ran = cluster.peer("ann").dir(&dir).user(user).run(["r", &file.to_string_lossy()]);
    one_sentence(&ran, FailureKind::Failed, &["secret.txt"]);
    assert_eq!(cluster.peer("ben").serve().list(), []);
}
