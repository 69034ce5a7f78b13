//! Networks without a tracker: what people type at their terminals, on one machine and behind routers.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use harness::content::Content;
use harness::natlab::{self, Home, Lab, Nat};
use harness::privilege;
use harness::process::Launch;
use harness::programs::programs;
use harness::scenario::MIB;
use harness::terminal::Terminal;
use rustix::process::Signal;
use tempfile::TempDir;

/// Somebody at a terminal with a node of his own.
struct Node {
    terminal: Terminal,
    /// Where it listens.
    port: u16,
    dir: PathBuf,
}

impl Node {
    #[track_caller]
    fn start(root: &Path, name: &str, netns: Option<String>, args: &[&str]) -> Self {
        let dir = root.join(name);
        let launch = Launch::new(&programs().peer).args(["--name", name, "--dir"]).args([&dir]).args(["mrt"]);
        let mut terminal = Terminal::start(&launch.args(args).netns(netns));
        terminal.expect("this node listens at ");
        terminal.expect(&format!("{name}> "));
        let screen = terminal.screen();
        let (_, rest) = screen.split_once("listens at ").unwrap();
        let address: SocketAddr = rest.split_whitespace().next().unwrap().trim_end_matches('.').parse().unwrap();
        Self { terminal, port: address.port(), dir }
    }

    fn types(&mut self, line: &str) {
        self.terminal.enter(&format!("{line}\r"));
    }

    #[track_caller]
    fn sees(&mut self, text: &str) {
        self.terminal.expect(text);
    }

    /// Downloads, and has what it should have.
    #[track_caller]
    fn gets(&mut self, name: &str, content: Content) {
        self.types(&format!("R {name}"));
        self.sees(&format!("{name} has completed downloading."));
        let path = self.dir.join("seeding").join(name);
        self.sees(&path.display().to_string());
        assert!(content.compare(&path).unwrap().is_ok(), "{} is what was shared", path.display());
    }
}

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
    bob.types(&format!("C {}", ann.port));
    bob.sees(&format!("Connected to ann at 127.0.0.1:{}.", ann.port));
    // Bob is a plain member: he leads on.
    eve.types(&format!("C 127.0.0.1 {}", bob.port));
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
    ann.terminal.signal(Signal::KILL);
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
    assert_eq!(bob.terminal.wait(), Some(0));
    eve.sees("bob has left.");
    eve.types("Q");
    assert_eq!(eve.terminal.wait(), Some(0));
}

#[test]
fn who_has_another_network_key_is_no_member() {
    let root = tempfile::tempdir().unwrap();
    let mut ann = Node::start(root.path(), "ann", None, &["--network-key", "horse"]);
    let key = root.path().join("key");
    fs::write(&key, "donkey\n").unwrap();
    let mut eve = Node::start(root.path(), "eve", None, &["--network-key-file", key.to_str().unwrap()]);
    eve.types(&format!("C {}", ann.port));
    eve.sees(&format!("no connection to 127.0.0.1:{}", ann.port));
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
    let supernode = format!("{} {}", public.address(), ann.port);
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
