//! Networks without a tracker: what people type at their terminals, on one machine and behind routers.

use std::fs;

use harness::content::Content;
use harness::natlab::{self, Home, Lab, Nat};
use harness::node::Node;
use harness::privilege;
use harness::scenario::MIB;
use rustix::process::Signal;
use tempfile::TempDir;

/// A file that somebody shares.
fn file(root: &TempDir, name: &str, content: Content) -> String {
    let path = root.path().join(name);
    content.write(&path).unwrap();
    path.display().to_string()
}

#[test]
fn three_at_their_terminals_share_talk_and_outlive_their_supernode() {
    let root = tempfile::tempdir().unwrap();
    let content = Content::random(1, 5 * MIB);
    let picture = file(&root, "doug.png", content);
    let [mut ann, mut bob, mut eve] =
        ["ann", "bob", "eve"].map(|name| Node::start(root.path(), name, None, &["--network-key", "horse"]));
    bob.types(&format!("C {}", ann.port()));
    bob.sees(&format!("Connected to ann at 127.0.0.1:{}.", ann.port()));
    // Bob is a plain member: he leads on.
    eve.types(&format!("C 127.0.0.1 {}", bob.port()));
    eve.sees("Connected to ");
    ann.sees("eve is online.");
    ann.types(&format!("B {picture}"));
    ann.sees("Registration of doug.png of size 5242880 bytes successful.");
    eve.sees("ann shares doug.png (5242880 bytes).");
    eve.types("G");
    eve.sees("(1) Name: doug.png  Size: 5242880 bytes");
    eve.gets("doug.png", content);
    bob.types("T hello all");
    for node in [&mut ann, &mut bob, &mut eve] {
        node.sees("bob: hello all");
    }
    bob.types("L");
    bob.sees("supernode");
    // The supernode dies, and with it all who shared the picture first.
    ann.signal(Signal::KILL);
    for node in [&mut bob, &mut eve] {
        node.sees("ann has left.");
    }
    eve.types("T are you there");
    for node in [&mut bob, &mut eve] {
        node.sees("eve: are you there");
    }
    bob.gets("doug.png", content);
    // In good order this time.
    bob.types("Q");
    assert_eq!(bob.ends(), Some(0));
    eve.sees("bob has left.");
    eve.types("Q");
    assert_eq!(eve.ends(), Some(0));
}

#[test]
fn who_has_another_network_key_is_no_member() {
    let root = tempfile::tempdir().unwrap();
    let mut ann = Node::start(root.path(), "ann", None, &["--network-key", "horse"]);
    let key = root.path().join("key");
    fs::write(&key, "donkey\n").unwrap();
    let mut eve = Node::start(root.path(), "eve", None, &["--network-key-file", key.to_str().unwrap()]);
    eve.types(&format!("C {}", ann.port()));
    eve.sees(&format!("no connection to 127.0.0.1:{}", ann.port()));
    ann.types("L");
    ann.sees("Nobody else is here");
}

/// Two at home behind routers of these kinds, and a supernode that everybody reaches: one shares, the other downloads, and
/// is reached as `how` says.
fn through_routers(test: &str, kinds: [Nat; 2], how: impl FnOnce(&[Home; 2]) -> String) {
    if !privilege::met(test, natlab::possible()) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let lab = Lab::new();
    let public = lab.host();
    let homes = kinds.map(|nat| lab.home(nat));
    let [left, right] = homes.each_ref().map(Home::host);
    let node = |name: &str, netns: String| Node::start(root.path(), name, Some(netns), &["--listen", "0.0.0.0:0"]);
    let (ann, mut bob, mut eve) = (node("ann", public.netns()), node("bob", left.netns()), node("eve", right.netns()));
    let supernode = format!("{} {}", public.address(), ann.port());
    for node in [&mut bob, &mut eve] {
        node.types(&format!("C {supernode}"));
        node.sees("Connected to ann");
    }
    let content = Content::random(2, 20 * MIB);
    let film = file(&root, "film.mkv", content);
    bob.types(&format!("B {film}"));
    bob.sees("successful.");
    eve.gets("film.mkv", content);
    eve.types("L");
    eve.sees(&how(&homes));
}

#[test]
fn two_behind_routers_meet_through_a_third() {
    through_routers("two_behind_routers_meet_through_a_third", [Nat::PortRestricted; 2], |homes| {
        format!("direct, {}", homes[0].public_address())
    });
}

#[test]
fn two_behind_routers_that_change_ports_talk_through_a_third() {
    let test = "two_behind_routers_that_change_ports_talk_through_a_third";
    through_routers(test, [Nat::Symmetric; 2], |_homes| "bob  relayed".to_owned());
}
