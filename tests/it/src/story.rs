//! A day of three users, with the words that they type: alice shares, bob and carol get what she shares.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::cluster::{Cluster, ClusterConfig};
use harness::content::Content;
use harness::local_api::Notices;
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
    fn hears<T>(&self, notices: &mut Notices, pick: impl FnMut(Notice) -> Option<T>) -> T {
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

/// Three at their machines, and what bob is told meanwhile.
struct Story {
    alice: Person,
    bob: Person,
    carol: Person,
    bob_hears: Notices,
    /// Alice's picture, and bob's copy of it.
    picture: PathBuf,
    bobs: PathBuf,
    cluster: Cluster,
}

#[test]
fn alice_bob_and_carol_share_follow_talk_and_push() {
    let cluster = ClusterConfig::default().tracker_args(&["--access", "accounts"]).start();
    let [alice, bob, carol] = ["alice", "bob", "carol"].map(|name| Person::arrives(&cluster, name));
    let bob_hears = bob.peer.notices();
    let picture = cluster.file("alice/doug.png", Content::random(1, MIB));
    let bobs = bob.peer.spec().dir_path().join("seeding").join("doug.png");
    let mut story = Story { alice, bob, carol, bob_hears, picture, bobs, cluster };
    story.they_sign_up();
    story.bob_downloads_and_has_the_update();
    story.bobs_own_picture_is_not_overwritten();
    story.carol_follows_and_is_left_alone();
    story.alice_takes_it_off_the_list();
    story.they_talk();
    story.alice_pushes_a_film();
    story.no_password_is_in_any_log();
}

impl Story {
    /// Without an account one gets nothing. Bob logs out and in again.
    fn they_sign_up(&self) {
        let Self { alice, bob, carol, .. } = self;
        let refused = bob.peer.run(["lst"]);
        assert!(refused.code() != Some(0) && refused.stderr.contains("signup"), "{}", refused.stderr);
        for (person, name) in [(alice, "alice"), (bob, "bob"), (carol, "carol")] {
            person.types_with_password(&["signup", name, "--password-stdin"], "correct horse").succeeded();
            person.peer.wait_online();
            assert!(person.types(&["whoami"]).stdout.contains(name));
        }
        bob.types(&["logout"]);
        assert_ne!(bob.peer.run(["lst"]).code(), Some(0));
        let wrong = bob.types_with_password(&["login", "bob", "--password-stdin"], "wrong horse");
        assert_ne!(wrong.code(), Some(0));
        assert!(!wrong.stderr.contains("wrong horse") && !wrong.stdout.contains("wrong horse"));
        bob.types_with_password(&["login", "bob", "--password-stdin"], "correct horse").succeeded();
        bob.peer.wait_online();
    }

    /// Bob downloads alice's picture and thereby follows it: her update is on his disk by itself, under the same name.
    fn bob_downloads_and_has_the_update(&self) {
        let Self { alice, bob, picture, bobs, .. } = self;
        alice.types(&["r", &picture.to_string_lossy()]);
        assert_eq!(bob.lists(), [("doug.png".to_owned(), 1)]);
        assert_eq!(bob.downloads("doug.png"), *bobs);
        assert!(is(Content::random(1, MIB), bobs));
        self.alice_updates(2);
        wait_until(SOON, "version 2 on bob's disk", || is(Content::random(2, MIB), bobs));
        let Outcome::Versions { versions, .. } = alice.asks(&["versions", "doug.png"]) else { panic!("no versions") };
        assert_eq!(versions.iter().map(|version| version.number).collect::<Vec<_>>(), [2, 1]);
        wait_for(SOON, "what bob follows", || {
            let Outcome::Synced(synced) = bob.asks(&["synced"]) else { panic!("nothing is followed") };
            let [one] = synced.as_slice() else { panic!("bob follows one entry: {synced:?}") };
            (one.entry == "alice/doug.png" && one.here == Some(2) && one.there == Some(2)).then_some(())
        });
    }

    fn alice_updates(&self, seed: u64) {
        write(&self.picture, Content::random(seed, MIB));
        let registered = self.alice.types(&["r", &self.picture.to_string_lossy()]);
        assert!(registered.stdout.contains("doug.png"), "{}", registered.stdout);
    }

    /// Bob edits his copy; the next version comes beside it, and he is told.
    fn bobs_own_picture_is_not_overwritten(&mut self) {
        fs::write(&self.bobs, b"bob's own picture").unwrap();
        self.alice_updates(3);
        let (path, edited) = self.bob.hears(&mut self.bob_hears, |notice| match notice {
            Notice::Updated { version: 3, path, edited, .. } => Some((path, edited)),
            _ => None,
        });
        assert_eq!(edited.as_deref(), Some(&*self.bobs), "bob is told of his edited copy");
        assert_eq!(fs::read(&self.bobs).unwrap(), b"bob's own picture");
        assert_eq!(path, self.bobs.with_file_name("doug (v3).png"));
        assert!(is(Content::random(3, MIB), &path));
    }

    fn carol_follows_and_is_left_alone(&mut self) {
        self.carol.types(&["sub", "doug.png"]);
        let carols = wait_for(SOON, "carol's copy", || {
            let Outcome::Synced(synced) = self.carol.asks(&["synced"]) else { panic!("nothing is followed") };
            synced.into_iter().find(|one| one.here == Some(3)).and_then(|one| one.path)
        });
        assert!(is(Content::random(3, MIB), &carols));
        self.carol.types(&["unsub", "doug.png"]);
        self.alice_updates(4);
        let is_updated = |notice| matches!(notice, Notice::Updated { version: 4, .. }).then_some(());
        self.bob.hears(&mut self.bob_hears, is_updated);
        assert!(holds_for(A_WHILE, || is(Content::random(3, MIB), &carols)), "carol does not follow any more");
        assert_eq!(fs::read(&self.bobs).unwrap(), b"bob's own picture");
    }

    /// Only alice may; what bob has stays.
    fn alice_takes_it_off_the_list(&mut self) {
        assert_ne!(self.bob.peer.run(["dereg", "alice/doug.png"]).code(), Some(0), "only alice may");
        self.alice.types(&["dereg", "doug.png"]);
        let is_gone = |notice| matches!(notice, Notice::EntryGone { .. }).then_some(());
        self.bob.hears(&mut self.bob_hears, is_gone);
        assert_eq!(self.bob.lists(), []);
        assert_eq!(fs::read(&self.bobs).unwrap(), b"bob's own picture");
    }

    /// What is said to bob is not said to carol, and dora, who comes later, can read what was said to all.
    fn they_talk(&mut self) {
        let mut carol_hears = self.carol.peer.notices();
        self.alice.types(&["msg", "bob", "this is between us"]);
        self.alice.types(&["chat", "hello", "everybody"]);
        let said = self.bob.hears(&mut self.bob_hears, |notice| match notice {
            Notice::Message { from, text, .. } => Some(format!("{from}: {text}")),
            _ => None,
        });
        assert_eq!(said, "alice: this is between us");
        for (person, hears) in [(&self.bob, &mut self.bob_hears), (&self.carol, &mut carol_hears)] {
            let said = person.hears(hears, |notice| match notice {
                Notice::Chat { from, text, .. } => Some(format!("{from}: {text}")),
                Notice::Message { text, .. } => panic!("not for all: {text}"),
                _ => None,
            });
            assert_eq!(said, "alice: hello everybody");
        }
        let dora = Person::arrives(&self.cluster, "dora");
        dora.types_with_password(&["signup", "dora", "--password-stdin"], "battery staple").succeeded();
        dora.peer.wait_online();
        let Outcome::History(lines) = dora.asks(&["history"]) else { panic!("no history") };
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["hello everybody"]);
    }

    /// Bob takes it, carol does not; alice sees who has it, and it is on no list.
    fn alice_pushes_a_film(&mut self) {
        let film = self.cluster.file("alice/film.bin", Content::random(5, 4 * MIB));
        let mut carol_hears = self.carol.peer.notices();
        let Outcome::Sent { to, .. } = self.alice.asks(&["send", &film.to_string_lossy(), "bob", "carol"]) else {
            panic!("not sent")
        };
        assert_eq!(to, ["bob", "carol"]);
        let answers = [(&self.bob, &mut self.bob_hears, "accept"), (&self.carol, &mut carol_hears, "refuse")];
        for (person, hears, answer) in answers {
            let (from, name, bytes) = person.hears(hears, |notice| match notice {
                Notice::Offered { from, name, bytes, .. } => Some((from, name, bytes)),
                _ => None,
            });
            assert_eq!((from.as_str(), name.as_str(), bytes), ("alice", "film.bin", 4 * MIB));
            person.types(&[answer, "alice"]);
        }
        let at = |person: &Person| person.peer.spec().dir_path().join("seeding").join("film.bin");
        wait_until(SOON, "the film on bob's disk", || is(Content::random(5, 4 * MIB), &at(&self.bob)));
        wait_until(SOON, "alice to see who has it", || {
            let sent = self.alice.types(&["sent"]).stdout;
            sent.contains("bob done") && sent.contains("carol refused")
        });
        assert!(!at(&self.carol).exists());
        assert!(self.carol.lists().is_empty(), "what is pushed is on no list");
    }

    fn no_password_is_in_any_log(&self) {
        for log in fs::read_dir(self.cluster.dir().join("logs")).unwrap() {
            let path = log.unwrap().path();
            let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            if path.extension().is_none_or(|extension| extension != "in") {
                assert!(!text.contains("correct horse") && !text.contains("wrong horse"), "{}", path.display());
            }
        }
    }
}
