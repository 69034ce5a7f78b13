//! Names: who may be called what, said by tracker and peer each for itself.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;

use common::wire::tracker::{Code, FromTracker, Request};
use harness::cluster::Cluster;
use harness::content::Content;
use harness::hostile::{FakeTracker, RawTracker, identity};
use harness::scenario::MIB;

/// Names that could do harm where they become a path or a line.
fn bad_names() -> Vec<String> {
    let fixed = [
        "",
        ".",
        "..",
        "../x",
        "/etc/passwd",
        "a/b",
        "a\\b",
        "CON",
        "nul",
        "NUL.txt",
        "COM1",
        "a\nb",
        "a\rb",
        "a\tb",
        "a\0b",
        "\u{1b}[2J",
        "photo\u{202e}gpj.exe",
        "a\u{2066}b",
    ];
    fixed.iter().map(|name| (*name).to_owned()).chain([("a").repeat(256), "é".repeat(128)]).collect()
}

#[test]
fn different_files_of_one_name_are_told_apart_by_owner() {
    let cluster = Cluster::start();
    let contents = [Content::random(1, MIB), Content::random(2, MIB)];
    let owners = ["ann", "ben"].map(|name| cluster.peer(name).serve());
    for (owner, content) in owners.iter().zip(contents) {
        let name = format!("{}/notes.txt", owner.spec().name());
        owner.register(&cluster.file(&name, content));
    }
    let downloader = cluster.peer("cat").serve();
    let failure = downloader.download("notes.txt", None).unwrap_err();
    let mut candidates: Vec<_> = failure.candidates.iter().flat_map(|entry| entry.owners.clone()).collect();
    candidates.sort();
    assert_eq!(candidates, ["ann", "ben"], "{failure:?}");
    let ran = downloader.run(["d", "notes.txt"]);
    let said = ran.failed_with(1);
    assert!(said.contains("ann/notes.txt") && said.contains("ben/notes.txt"), "{said}");
    for (owner, content) in ["ann", "ben"].iter().zip(contents) {
        let output = cluster.out(owner);
        downloader.download(&format!("{owner}/notes.txt"), Some(&output)).unwrap();
        assert_eq!(content.compare(&output).unwrap(), Ok(()), "{owner}");
    }
}

#[test]
fn the_tracker_refuses_bad_names_with_a_sentence() {
    let cluster = Cluster::start();
    let mut tracker = RawTracker::join(cluster.address(), &identity("ann"), "ann", 1).unwrap();
    let content = Content::random(3, 10).hashes().file_id().into();
    for name in bad_names() {
        let request = Request::Register { name: name.clone(), content, folder: None, users: None };
        let refusal = tracker.request(request).unwrap().unwrap_err();
        assert_eq!(refusal.code, Code::BadName, "{name:?}: {refusal:?}");
        assert!(refusal.text.contains(' '), "{name:?}: a sentence: {refusal:?}");
        assert!(!refusal.text.contains(char::is_control), "{name:?} is not repeated raw: {refusal:?}");
    }
    let invalid =
        [br#"{"request":{"id":900,"op":{"register":{"name":""#.as_slice(), &[0xff, 0xfe], br#""}}}}"#].concat();
    tracker.send_body(&invalid).unwrap();
    // Refused or hung up on; the next one is served.
    if let Ok(message) = tracker.receive() {
        assert!(matches!(message, FromTracker::Refusal { .. } | FromTracker::Ping(_)), "{message:?}");
    }
    let mut tracker = RawTracker::join(cluster.address(), &identity("ben"), "ben", 1).unwrap();
    let list = tracker.request(Request::List(common::wire::tracker::Query::default())).unwrap().unwrap();
    let common::wire::tracker::Reply::Entries { total, .. } = list else { panic!("{list:?}") };
    assert_eq!(total, 0, "nothing of that was registered");
}

#[test]
fn the_tracker_refuses_bad_user_names() {
    let cluster = Cluster::start();
    for name in ["", "Ann", "a b", "a/b", "..", "ünal", &"a".repeat(33)] {
        let mut tracker = RawTracker::dial(cluster.address(), &identity(name)).unwrap();
        let hello = common::wire::tracker::Hello {
            name: name.to_owned(),
            name_is_default: false,
            port: 1,
            interfaces: Vec::new(),
            advertised: Vec::new(),
            agent: String::new(),
            device: String::new(),
        };
        let refusal = tracker.request(Request::Hello(hello)).unwrap().unwrap_err();
        assert_eq!(refusal.code, Code::BadName, "{name:?}: {refusal:?}");
    }
}

#[test]
fn a_peer_refuses_to_register_bad_names() {
    let cluster = Cluster::start();
    let seeder = cluster.peer("ann").serve();
    let dir = cluster.out("odd");
    fs::create_dir(&dir).unwrap();
    for name in [b"CON".as_slice(), b"nul.txt", b"a\nb", "a\u{202e}b".as_bytes(), b"a\\b", b"a\xffb"] {
        let path = dir.join(OsStr::from_bytes(name));
        fs::write(&path, b"x").unwrap();
        let ran = seeder.run([OsStr::new("r"), path.as_os_str()]);
        assert!(ran.code().is_some_and(|code| code != 0), "{name:?}: {}", ran.stdout);
        assert!(ran.stderr.contains("name"), "{name:?}: {}", ran.stderr);
    }
    assert_eq!(seeder.list(), []);
}

#[test]
fn a_peer_refuses_to_ask_for_bad_names() {
    let cluster = Cluster::start();
    let peer = cluster.peer("ann").serve();
    for name in bad_names().iter().filter(|name| !name.contains('\0')) {
        let ran = peer.run(["d", name]);
        assert!(ran.code().is_some_and(|code| code != 0), "{name:?}: {}", ran.stdout);
        assert!(!ran.stderr.contains("panicked"), "{name:?}: {}", ran.stderr);
        assert!(
            !ran.stderr.contains(['\u{1b}', '\u{202e}', '\u{2066}']),
            "{name:?} is not repeated raw: {}",
            ran.stderr
        );
    }
}

#[test]
fn a_peer_refuses_bad_names_that_a_tracker_tells() {
    let cluster = Cluster::start();
    // An empty file: there is nothing to wait for.
    let empty = Content::zeros(0).hashes().file_id();
    for (number, name) in
        ["../evil", "/tmp/shoal-evil", "a/evil", "CON", "evil\u{1b}[2J", "evil\u{202e}"].iter().enumerate()
    {
        let tracker = FakeTracker::start(name, empty);
        let peer = cluster.peer(&format!("ann-{number}")).tracker(Some(tracker.tracker_arg()));
        let ran = peer.run(["d", "film.bin", "--wait", "1"]);
        assert!(ran.code().is_some_and(|code| code != 0), "{name:?}: {}", ran.stdout);
        assert!(!ran.stderr.contains("panicked"), "{name:?}: {}", ran.stderr);
        let listed = peer.run(["lst"]);
        for text in [&listed.stdout, &listed.stderr, &ran.stdout, &ran.stderr] {
            assert!(!text.contains(['\u{1b}', '\u{202e}']), "{name:?} is not repeated raw: {text:?}");
        }
        let seeding = peer.dir_path().join("seeding");
        assert_eq!(fs::read_dir(&seeding).map_or(0, Iterator::count), 0, "{name:?}");
        assert!(!peer.dir_path().join("evil").exists() && !seeding.join("../evil").exists(), "{name:?}");
    }
}

#[test]
fn a_taken_default_name_gets_a_number_and_a_taken_wish_is_an_error() {
    let cluster = Cluster::start();
    let _ann = cluster.peer("ann").serve();
    let other = cluster.peer("ann").dir(&cluster.out("other-dir"));
    let said = other.run(["lst"]);
    let said = said.failed_with(1);
    assert!(said.contains("ann"), "{said}");
    let users = cluster.peer("ben").run(["users"]).succeeded();
    assert!(users.stdout.contains("ann"), "{}", users.stdout);
}
