//! Those who break the rules of a network without a tracker: they are refused and named, and the others go on.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::content::Content;
use harness::hostile::{FalseRoster, Liar, Spoil, Spoiler};
use harness::natlab::{self, Home, Lab, Nat};
use harness::node::Node;
use harness::privilege;
use harness::scenario::MIB;
use harness::wait::{pause, wait_until};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(20);
/// A term that nobody honest gets to.
const FAR_AHEAD: u64 = 1 << 20;

fn node(root: &TempDir, name: &str) -> Node {
    Node::start(root.path(), name, None, &[])
}

fn joins(node: &mut Node, port: u16) {
    node.types(&format!("C {port}"));
    node.sees("Connected to ");
}

/// Two talk, and one downloads what the other shares.
fn go_on(root: &Path, one: &mut Node, other: &mut Node) {
    let content = Content::random(5, MIB);
    let film = root.join("film.mkv");
    content.write(&film).unwrap();
    one.types("T all is well");
    for node in [&mut *one, &mut *other] {
        node.sees(": all is well");
    }
    one.types(&format!("B {}", film.display()));
    one.sees("successful.");
    other.sees("shares film.mkv");
    other.gets("film.mkv", content);
}

/// Mallory is the second member, so that all keep connections to it, and lies as `lies` says; all others name it.
fn a_member_lies(root: &TempDir, lies: impl FnOnce(&Liar, &FalseRoster) -> Vec<u8>, why: &str) {
    let mut ann = node(root, "ann");
    let mallory = Liar::start("mallory");
    mallory.join(ann.port());
    let [mut bob, mut eve] = ["bob", "eve"].map(|name| node(root, name));
    joins(&mut bob, ann.port());
    joins(&mut eve, ann.port());
    let all_linked = || {
        let members = mallory.members();
        members.len() == 4
            && members.iter().all(|member| member.id() == mallory.id() || mallory.is_linked(&member.id()))
    };
    wait_until(LIMIT, "the liar to be connected with all", all_linked);
    mallory.says_to_all(&lies(&mallory, &mallory.roster()));
    for node in [&mut ann, &mut bob, &mut eve] {
        node.sees(&format!("mallory was refused: {why}."));
    }
    go_on(root.path(), &mut bob, &mut eve);
    assert!(!bob.screen().contains("The supernode is gone"), "{}", bob.screen());
}

#[test]
fn who_has_not_the_key_is_named_by_its_address() {
    let root = tempfile::tempdir().unwrap();
    let [mut ann, mut bob] = ["ann", "bob"].map(|name| node(&root, name));
    joins(&mut bob, ann.port());
    let mut eve = Node::start(root.path(), "eve", None, &["--network-key", "another"]);
    eve.types(&format!("C {}", ann.port()));
    ann.sees(&format!("Somebody at 127.0.0.1:{} was refused: the key of this network is missing there.", eve.port()));
    eve.sees("no connection to");
    go_on(root.path(), &mut ann, &mut bob);
}

#[test]
fn who_forges_the_supernodes_word_is_named() {
    let root = tempfile::tempdir().unwrap();
    let in_the_name_of_ann = |mallory: &Liar, roster: &FalseRoster| {
        mallory.peer(&FalseRoster { number: roster.number + 1, ..roster.clone() })
    };
    a_member_lies(&root, in_the_name_of_ann, "it showed a signature that does not hold");
}

#[test]
fn who_claims_the_place_of_the_supernode_is_named() {
    let root = tempfile::tempdir().unwrap();
    let takes_over = |mallory: &Liar, roster: &FalseRoster| {
        let (supernode, term) = (mallory.id(), roster.term + 1);
        mallory.peer(&FalseRoster { supernode, term, number: 1, ..roster.clone() })
    };
    a_member_lies(&root, takes_over, "it claims the place of the supernode");
}

#[test]
fn who_belongs_to_another_network_is_named() {
    let root = tempfile::tempdir().unwrap();
    let hello = |_: &Liar, _: &FalseRoster| Liar::hello_of_another_network();
    a_member_lies(&root, hello, "it belongs to another network");
}

#[test]
fn a_supernode_that_lies_about_members_or_its_term_is_named() {
    let root = tempfile::tempdir().unwrap();
    let mallory = Liar::start("mallory");
    let names = ["bob", "eve", "ann"];
    let mut nodes = names.map(|name| node(&root, name));
    for (node, members) in nodes.iter_mut().zip(2..) {
        joins(node, mallory.address().port());
        wait_until(LIMIT, "the next to be a member", || mallory.members().len() == members);
    }
    let true_roster = mallory.roster();
    let next = FalseRoster { number: true_roster.number + 1, ..true_roster };
    let mut dropped = next.clone();
    dropped.members.truncate(1);
    let mut turned = next.clone();
    turned.members[1..].reverse();
    for lie in [&dropped, &turned] {
        mallory.says_to_all(&mallory.peer(lie));
    }
    nodes.iter_mut().for_each(|node| node.sees("mallory was refused: it lies about the members."));
    mallory.says_to_all(&mallory.peer(&FalseRoster { term: next.term + FAR_AHEAD, ..next }));
    nodes.iter_mut().for_each(|node| node.sees("mallory was refused: its term is not the next one."));
    let [bob, eve, _] = &mut nodes;
    go_on(root.path(), bob, eve);
}

#[test]
fn a_newcomer_with_a_term_far_ahead_is_named() {
    let root = tempfile::tempdir().unwrap();
    let [mut ann, mut bob] = ["ann", "bob"].map(|name| node(&root, name));
    joins(&mut bob, ann.port());
    let mallory = Liar::start("mallory");
    mallory.join(ann.port());
    mallory.says_to_all(&mallory.join_after(FAR_AHEAD));
    ann.sees("mallory was refused: its term is not the next one.");
    go_on(root.path(), &mut ann, &mut bob);
}

/// Two whose routers let no other way; the supernode relays, and spoils what it relays from the middle of a download on.
fn a_relay_spoils(test: &str, spoil: Spoil, faults: &[&str]) {
    if !privilege::met(test, natlab::possible()) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let lab = Lab::new();
    let (top, other) = (Arc::new(lab.host()), lab.host());
    let homes = [Nat::Symmetric, Nat::PortRestricted].map(|nat| lab.home(nat));
    let [left, right] = homes.each_ref().map(Home::host);
    let node = |name: &str, netns: String| {
        Node::start(root.path(), name, Some(netns), &["--listen", "0.0.0.0:0", "--limit-up", "2MiB"])
    };
    let mut mallory = node("mallory", top.netns());
    let spoiler = Spoiler::before(&top, mallory.port());
    let supernode = spoiler.address();
    let places = [("ann", other.netns()), ("bob", left.netns()), ("eve", right.netns())];
    let [mut ann, mut bob, mut eve] = places.map(|(name, netns)| {
        let mut node = node(name, netns);
        node.types(&format!("C {} {}", supernode.ip(), supernode.port()));
        node.sees("Connected to mallory");
        node
    });
    let content = Content::random(6, 12 * MIB);
    let film = root.path().join("film.mkv");
    content.write(&film).unwrap();
    bob.types(&format!("B {}", film.display()));
    eve.sees("bob shares film.mkv");
    eve.types("R film.mkv");
    wait_until(LIMIT, "the download to go", || eve.status().downloaded_bytes > 3 * MIB);
    spoiler.set(spoil);
    let said = |fault: &&str| format!("mallory {fault} what it relays from ");
    let named = |node: &Node| faults.iter().map(said).any(|said| node.screen().contains(&said));
    let shown = || format!("{}\n{}", bob.screen(), eve.screen());
    let begin = Instant::now();
    while !named(&bob) && !named(&eve) {
        assert!(begin.elapsed() < LIMIT, "nobody names the relay:\n{}", shown());
        pause();
    }
    eve.sees("film.mkv has completed downloading.");
    assert_eq!(content.compare(&eve.dir().join("seeding").join("film.mkv")).unwrap(), Ok(()));
    bob.types("T all is well");
    for node in [&mut mallory, &mut ann, &mut bob, &mut eve] {
        node.sees("bob: all is well");
    }
}

#[test]
fn a_relay_that_damages_is_named_and_left() {
    // Where all is damaged nothing comes through, and which of the two is said depends on how much came before that was seen.
    a_relay_spoils(
        "a_relay_that_damages_is_named_and_left",
        Spoil::Damage,
        &["damages or repeats", "does not pass on"],
    );
}

#[test]
fn a_relay_that_drops_is_named_and_left() {
    a_relay_spoils("a_relay_that_drops_is_named_and_left", Spoil::Drop, &["does not pass on"]);
}

#[test]
fn a_relay_that_repeats_is_named_and_left() {
    a_relay_spoils("a_relay_that_repeats_is_named_and_left", Spoil::Repeat, &["damages or repeats"]);
}
