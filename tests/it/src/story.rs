//! A day of three users, with the words that they type: alice shares, bob and carol get what she shares.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::cluster::{Cluster, ClusterConfig};
use harness::content::Content;
use harness::peer::{Peer, Ran};
use harness::scenario::MIB;
use harness::wait::{holds_for, wait_for, wait_until};
use peer::command::Outcome;
use peer::notice::Notice;

/// What comes by itself comes well before this, on a busy machine too.
const SOON: Duration = Duration::from_secs(20);
/// For how long is looked whether something does not happen.
const A_WHILE: Duration = Duration::from_secs(2);

/// Somebody at a machine of their own, where `peer serve` runs.
struct Person {
    peer: Peer,
}

impl Person {
    fn arrives(cluster: &Cluster, name: &str) -> Self {
        Self { peer: cluster.peer(name).serve_anyhow() }
    }

    /// Types a command.
    #[track_caller]
    fn types(&self, line: &[&str]) -> Ran {
        self.peer.run(line).succeeded()
    }

    /// Types a command that asks for a password.
    #[track_caller]
    fn types_with_password(&self, line: &[&str], password: &str) -> Ran {
        self.peer.spec().run_with_input(line, &format!("{password}\n"))
    }

    #[track_caller]
    fn asks(&self, line: &[&str]) -> Outcome {
        let line: Vec<&str> = line.iter().copied().chain(["--json"]).collect();
        self.types(&line).json()
    }

    #[track_caller]
    fn lists(&self) -> Vec<(String, u32)> {
        let Outcome::Entries(entries) = self.asks(&["lst"]) else { panic!("no list") };
        entries.into_iter().map(|entry| (entry.name, entry.version)).collect()
    }

    /// Types `d NAME` and says where it is now.
    #[track_caller]
    fn downloads(&self, entry: &str) -> PathBuf {
        let Outcome::Downloaded(downloaded) = self.asks(&["d", entry]) else { panic!("no download") };
        downloaded.path
    }

    /// Waits until something comes by itself.
    fn hears<T>(&self, notices: &mut harness::local_api::Notices, pick: impl FnMut(Notice) -> Option<T>) -> T {
        let name = self.peer.spec().name();
        notices.find(pick).unwrap_or_else(|error| panic!("{name} hears of it: {error}"))
    }
}

fn write(path: &Path, content: Content) {
    content.write(path).expect("a test's file can be written");
}

fn is(content: Content, path: &Path) -> bool {
    content.compare(path).is_ok_and(|compared| compared.is_ok())
}

#[test]
fn alice_bob_and_carol_share_follow_talk_and_push() {
    let cluster = ClusterConfig::default().tracker_args(&["--access", "accounts"]).start();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| Person::arrives(&cluster, name));

    // They sign up. Without an account one gets nothing.
    let refused = bob.peer.run(["lst"]);
    assert!(refused.code() != Some(0) && refused.stderr.contains("signup"), "{}", refused.stderr);
    for (person, name) in [(&alice, "alice"), (&bob, "bob"), (&carol, "carol")] {
        person.types_with_password(&["signup", name, "--password-stdin"], "correct horse").succeeded();
        person.peer.wait_online();
        assert!(person.types(&["whoami"]).stdout.contains(name));
    }
    // Bob logs out and in again.
    bob.types(&["logout"]);
    assert_ne!(bob.peer.run(["lst"]).code(), Some(0));
    let wrong = bob.types_with_password(&["login", "bob", "--password-stdin"], "wrong horse");
    assert_ne!(wrong.code(), Some(0));
    assert!(!wrong.stderr.contains("wrong horse") && !wrong.stdout.contains("wrong horse"));
    bob.types_with_password(&["login", "bob", "--password-stdin"], "correct horse").succeeded();
    bob.peer.wait_online();

    // Alice registers a picture. Bob downloads it and thereby follows it.
    let picture = cluster.file("alice/doug.png", Content::random(1, MIB));
    alice.types(&["r", &picture.to_string_lossy()]);
    assert_eq!(bob.lists(), [("doug.png".to_owned(), 1)]);
    let bobs = bob.downloads("doug.png");
    assert!(is(Content::random(1, MIB), &bobs));

    // She updates it; it is on his disk by itself, under the same name.
    write(&picture, Content::random(2, MIB));
    let registered = alice.types(&["r", &picture.to_string_lossy()]);
    assert!(registered.stdout.contains("doug.png"), "{}", registered.stdout);
    wait_until(SOON, "version 2 on bob's disk", || is(Content::random(2, MIB), &bobs));
    let Outcome::Versions { versions, .. } = alice.asks(&["versions", "doug.png"]) else { panic!("no versions") };
    assert_eq!(versions.iter().map(|version| version.number).collect::<Vec<_>>(), [2, 1]);
    wait_for(SOON, "what bob follows", || {
        let Outcome::Synced(synced) = bob.asks(&["synced"]) else { panic!("nothing is followed") };
        let [one] = synced.as_slice() else { panic!("bob follows one entry: {synced:?}") };
        (one.entry == "alice/doug.png" && one.here == Some(2) && one.there == Some(2)).then_some(())
    });

    // Bob edits his copy; the next version does not overwrite it.
    let mut bob_hears = bob.peer.notices();
    fs::write(&bobs, b"bob's own picture").unwrap();
    write(&picture, Content::random(3, MIB));
    alice.types(&["r", &picture.to_string_lossy()]);
    let (path, edited) = bob.hears(&mut bob_hears, |notice| match notice {
        Notice::Updated { version: 3, path, edited, .. } => Some((path, edited)),
        _ => None,
    });
    assert_eq!(edited.as_deref(), Some(&*bobs), "bob is told of his edited copy");
    assert_eq!(fs::read(&bobs).unwrap(), b"bob's own picture");
    assert_eq!(path, bobs.with_file_name("doug (v3).png"));
    assert!(is(Content::random(3, MIB), &path));

    // Carol subscribes, has it, unsubscribes, and is left alone.
    carol.types(&["sub", "doug.png"]);
    let carols = wait_for(SOON, "carol's copy", || {
        let Outcome::Synced(synced) = carol.asks(&["synced"]) else { panic!("nothing is followed") };
        synced.into_iter().find(|one| one.here == Some(3)).and_then(|one| one.path)
    });
    assert!(is(Content::random(3, MIB), &carols));
    carol.types(&["unsub", "doug.png"]);
    write(&picture, Content::random(4, MIB));
    alice.types(&["r", &picture.to_string_lossy()]);
    bob.hears(&mut bob_hears, |notice| matches!(notice, Notice::Updated { version: 4, .. }).then_some(()));
    assert!(holds_for(A_WHILE, || is(Content::random(3, MIB), &carols)), "carol does not follow any more");
    assert_eq!(fs::read(&bobs).unwrap(), b"bob's own picture");

    // Alice takes it off the list. What bob has stays.
    assert_ne!(bob.peer.run(["dereg", "alice/doug.png"]).code(), Some(0), "only alice may");
    alice.types(&["dereg", "doug.png"]);
    bob.hears(&mut bob_hears, |notice| matches!(notice, Notice::EntryGone { .. }).then_some(()));
    assert_eq!(bob.lists(), []);
    assert_eq!(fs::read(&bobs).unwrap(), b"bob's own picture");

    // They talk. What is said to bob is not said to carol, and dora, who comes later, can read what was said to all.
    let mut carol_hears = carol.peer.notices();
    alice.types(&["msg", "bob", "this is between us"]);
    alice.types(&["chat", "hello", "everybody"]);
    let said = bob.hears(&mut bob_hears, |notice| match notice {
        Notice::Message { from, text, .. } => Some(format!("{from}: {text}")),
        _ => None,
    });
    assert_eq!(said, "alice: this is between us");
    for (person, hears) in [(&bob, &mut bob_hears), (&carol, &mut carol_hears)] {
        let said = person.hears(hears, |notice| match notice {
            Notice::Chat { from, text, .. } => Some(format!("{from}: {text}")),
            Notice::Message { text, .. } => panic!("not for all: {text}"),
            _ => None,
        });
        assert_eq!(said, "alice: hello everybody");
    }
    let dora = Person::arrives(&cluster, "dora");
    dora.types_with_password(&["signup", "dora", "--password-stdin"], "battery staple").succeeded();
    dora.peer.wait_online();
    let Outcome::History(lines) = dora.asks(&["history"]) else { panic!("no history") };
    assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["hello everybody"]);

    // Alice pushes a film to bob and carol. Bob takes it, carol does not.
    let film = cluster.file("alice/film.bin", Content::random(5, 4 * MIB));
    let Outcome::Sent { to, .. } = alice.asks(&["send", &film.to_string_lossy(), "bob", "carol"]) else {
        panic!("not sent")
    };
    assert_eq!(to, ["bob", "carol"]);
    for (person, hears, answer) in [(&bob, &mut bob_hears, "accept"), (&carol, &mut carol_hears, "refuse")] {
        let (from, name, bytes) = person.hears(hears, |notice| match notice {
            Notice::Offered { from, name, bytes, .. } => Some((from, name, bytes)),
            _ => None,
        });
        assert_eq!((from.as_str(), name.as_str(), bytes), ("alice", "film.bin", 4 * MIB));
        person.types(&[answer, "alice"]);
    }
    let bobs_film = bob.peer.spec().dir_path().join("seeding").join("film.bin");
    wait_until(SOON, "the film on bob's disk", || is(Content::random(5, 4 * MIB), &bobs_film));
    wait_until(SOON, "alice to see who has it", || {
        let sent = alice.types(&["sent"]).stdout;
        sent.contains("bob done") && sent.contains("carol refused")
    });
    assert!(!carol.peer.spec().dir_path().join("seeding").join("film.bin").exists());
    assert!(dora.lists().is_empty(), "what is pushed is on no list");

    // Nobody's password is in any log.
    for log in fs::read_dir(cluster.dir().join("logs")).unwrap() {
        let path = log.unwrap().path();
        let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
        if !path.extension().is_some_and(|extension| extension == "in") {
            assert!(!text.contains("correct horse") && !text.contains("wrong horse"), "{}", path.display());
        }
    }
}
