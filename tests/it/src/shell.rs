//! The shell from a pipe, the words that this family of programs uses, and how programs end.

use std::time::Duration;

use harness::cluster::Cluster;
use harness::content::Content;
use harness::process::Launch;
use harness::programs::programs;
use harness::scenario::MIB;
use harness::wait::wait_until;
use peer::command::{FailureKind, Outcome};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn commands_from_a_pipe_are_done_line_by_line() {
    let cluster = Cluster::start();
    let picture = Content::random(1, 107_330);
    let path = cluster.file("doug.png", picture);
    let seeder = cluster.peer("ann").serve();
    let ran = seeder.run(["r", &path.to_string_lossy()]).succeeded();
    let said = |ran: &harness::peer::Ran| format!("{}\n{}", ran.stdout, ran.stderr);
    assert!(said(&ran).contains("Registration of doug.png of size 107330 bytes successful."), "{}", said(&ran));
    let second = cluster.peer("ben").serve();
    second.register(&path);

    let ran = cluster.peer("cat").run_pipe("lst\nloc doug.png\n\nd 'doug.png'\nq\n").succeeded();
    let all = said(&ran);
    assert!(ran.stdout.contains("(1) Name: doug.png  Size: 107330 bytes"), "{all}");
    assert!(all.contains("There are 2 endpoints seeding this file."), "{all}");
    assert!(all.contains(" currently has chunks [1-7]."), "{all}");
    for chunk in 1..=7 {
        assert!(all.contains(&format!("Received chunk {chunk} from ")), "{all}");
    }
    assert!(all.contains("doug.png has completed downloading."), "{all}");
    assert!(!all.contains('\u{1b}'), "no prompt and no colour: {all:?}");
    let arrived = cluster.peer("cat").dir_path().join("seeding").join("doug.png");
    assert!(all.contains(&*arrived.to_string_lossy()), "the path is printed: {all}");
    assert_eq!(picture.compare(&arrived).unwrap(), Ok(()));
}

#[test]
fn an_error_in_a_pipe_is_said_and_the_rest_is_done() {
    let cluster = Cluster::start();
    let seeder = cluster.peer("ann").serve();
    seeder.register(&cluster.file("film.bin", Content::random(2, MIB)));
    let ran = cluster.peer("ben").run_pipe("frobnicate\nd nothing.bin\nr /no/such/file\nd 'unclosed\nR x\nlst\n");
    assert!(ran.code().is_some_and(|code| code != 0), "{}", ran.stdout);
    for word in ["frobnicate", "nothing.bin", "/no/such/file"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    assert!(ran.stdout.contains("film.bin"), "the last line is done: {}", ran.stdout);
    let good = cluster.peer("cat").run_pipe("lst\n").succeeded();
    assert!(good.stdout.contains("film.bin"), "the end of the input is the end: {}", good.stdout);
}

#[test]
fn the_words_of_earlier_systems_do_too() {
    let cluster = Cluster::start();
    let seeder = cluster.peer("ann").serve();
    let path = cluster.file("film.bin", Content::random(3, MIB));
    let input = format!("OP_R {}\nOP_LST\nls\nOP_LOC film.bin\nS film\nOP_Q\n", path.display());
    let ran = seeder.spec().run_pipe(&input).succeeded();
    assert!(ran.stdout.matches("film.bin").count() >= 4, "{}", ran.stdout);
    assert!(seeder.status().connected, "the shell of a running peer ends alone");
}

#[test]
fn one_shots_without_a_running_peer_join_do_it_and_leave() {
    let cluster = Cluster::start();
    let seeder = cluster.peer("ann").serve();
    let content = Content::random(4, MIB);
    seeder.register(&cluster.file("film.bin", content));
    let spec = cluster.peer("ben");
    let ran = spec.run(["d", "film.bin", "--json"]).succeeded();
    let Outcome::Downloaded(downloaded) = ran.json() else { panic!("{}", ran.stdout) };
    assert_eq!(content.compare(&downloaded.path).unwrap(), Ok(()));
    wait_until(SOON, "it to have left", || seeder.complete_holders("film.bin") == ["ann"]);
    let ran = spec.run(["lst", "--json"]).succeeded();
    let Outcome::Entries(entries) = ran.json() else { panic!("{}", ran.stdout) };
    assert_eq!(entries.len(), 1);
}

#[test]
fn a_one_shot_that_registers_stays_and_seeds_until_it_is_ended() {
    let cluster = Cluster::start();
    let content = Content::random(5, MIB);
    let path = cluster.file("film.bin", content);
    let mut process = cluster.peer("ann").start(["r", &path.to_string_lossy()]);
    let other = cluster.peer("ben").serve();
    wait_until(SOON, "it to be registered", || other.complete_holders("film.bin") == ["ann"]);
    let downloaded = other.download("film.bin", None).unwrap();
    assert_eq!(content.compare(&downloaded.path).unwrap(), Ok(()));
    assert!(process.is_running());
    process.signal(rustix::process::Signal::INT);
    process.wait(SOON);
}

#[test]
fn further_shells_and_one_shots_reach_the_running_peer() {
    let cluster = Cluster::start();
    let peer = cluster.peer("ann").serve();
    let ran = peer.run(["status", "--json"]).succeeded();
    let Outcome::Status(status) = ran.json() else { panic!("{}", ran.stdout) };
    assert_eq!(status.listen.port(), peer.status().listen.port(), "the running one answers");
    let ran = peer.spec().run_pipe("status\nusers\n").succeeded();
    assert!(ran.stdout.contains("ann"), "{}", ran.stdout);
    // Relative paths are those of the one-shot, not of the running peer.
    let content = Content::random(6, 1000);
    let path = cluster.file("relative.txt", content);
    let launch = peer.spec().launch(["r", "relative.txt"]).current_dir(path.parent().unwrap());
    harness::peer::Ran::of(peer.spec().start_launch(&launch), SOON).succeeded();
    assert_eq!(peer.status().sharing[0].path, path);
}

#[test]
fn ping_and_users_and_hash_tell_what_they_should() {
    let cluster = Cluster::start();
    let (ann, ben) = (cluster.peer("ann").serve(), cluster.peer("ben").serve());
    let Outcome::Users(users) = ann.run(["users", "--json"]).succeeded().json() else { panic!("no users") };
    let names: Vec<_> = users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["ann", "ben"]);
    let Outcome::Pong { peer, .. } = ann.run(["ping", "ben", "--json"]).succeeded().json() else { panic!("no pong") };
    assert_eq!(peer, ben.status().peer);

    let content = Content::random(7, 100_000);
    let path = cluster.file("x.bin", content);
    let path = path.to_string_lossy();
    let Outcome::Hashed { file, sha256, .. } = ann.run(["hash", &path, "--json"]).succeeded().json() else {
        panic!("no hash")
    };
    assert_eq!(file, content.hashes().file_id());
    let sum = harness::process::run("sha256sum", &[&path]).unwrap();
    assert!(sum.starts_with(&sha256.to_string()), "{sum}");
    // Without a running peer and without a tracker.
    let alone = cluster.peer("cat").tracker(None).run(["hash", &path]).succeeded();
    assert!(alone.stdout.contains(&sha256.to_string()), "{}", alone.stdout);
}

#[test]
fn sigterm_ends_tracker_and_peer_tidily() {
    let cluster = Cluster::start();
    let peer = cluster.peer("ann").serve();
    let other = cluster.peer("ben").serve();
    peer.register(&cluster.file("film.bin", Content::random(8, MIB)));
    let socket = peer.spec().dir_path().join("state").join("peer.sock");
    assert!(socket.exists());
    peer.stop();
    assert!(!socket.exists(), "the socket is taken away");
    wait_until(SOON, "it to have left", || other.complete_holders("film.bin").is_empty());
    let ended = cluster.with_tracker(|tracker| tracker.terminate(SOON));
    assert_eq!(ended.status.code(), Some(0));
}

#[test]
fn help_and_version_go_to_stdout() {
    let cluster = Cluster::start();
    for program in [&programs().tracker, &programs().peer] {
        for argument in ["--help", "--version"] {
            let log = cluster.out(&argument[2..]);
            let ran = harness::peer::Ran::of(Launch::new(program).args([argument]).start(&log), SOON).succeeded();
            assert!(!ran.stdout.is_empty() && ran.stderr.is_empty(), "{argument}: {}", ran.stderr);
        }
    }
}

#[test]
fn a_name_that_is_not_shared_fails_alone_among_several_shells() {
    let cluster = Cluster::start();
    let ran = cluster.peer("ann").run_pipe("d nothing\n");
    assert_eq!(ran.code(), Some(FailureKind::Failed.exit_code().into()), "{}", ran.stderr);
}
