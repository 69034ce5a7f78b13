//! How a node of a network without a tracker is started: what it asks at a terminal, and what it finds by itself.

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use harness::netns::{self, Net};
use harness::node::Node;
use harness::privilege;
use harness::process::Launch;
use harness::programs::programs;
use harness::terminal::Terminal;
use harness::wait::wait_until;
use rustix::process::Signal;

/// Until a program that has nothing to do has ended.
const SOON: Duration = Duration::from_secs(20);

/// `peer mrt ARGS...`, not started yet.
fn launch(dir: &Path, args: &[&str]) -> Launch {
    Launch::new(&programs().peer)
        .args(["--name", "ann", "--dir"])
        .args([dir])
        .args(["mrt", "--no-discovery"])
        .args(args)
}

#[test]
fn a_node_at_a_terminal_asks_where_to_listen() {
    let root = tempfile::tempdir().unwrap();
    let mut ann = Terminal::start(&launch(root.path(), &[]));
    let mut says = |asked: &str, answer: &str| {
        ann.expect(asked);
        ann.enter(&format!("{answer}\r"));
    };
    says("Address [all of this machine's]: ", "lab");
    says("`lab` is no address of this machine: an IP address such as", "192.0.2.1");
    says("192.0.2.1 is no address of this machine", "0.0.0.0");
    says("Port [a free one]: ", "many");
    says("`many` is not a port", "");
    says("STUN server that says the public address, HOST:PORT [none, the supernode says it]: ", "yes");
    says("Which one?", "");
    ann.expect("this node listens at 0.0.0.0:");
    ann.expect("ann> ");
    // Another shell on it asks nothing.
    let mut again = Terminal::start(&launch(root.path(), &[]));
    again.expect("This is another shell on the peer");
    again.expect("ann> ");
    for shell in [&mut again, &mut ann] {
        shell.enter("Q\r");
        assert_eq!(shell.wait(), Some(0));
    }
}

#[test]
fn who_thinks_better_of_it_leaves_the_questions() {
    let root = tempfile::tempdir().unwrap();
    for leaves in ["Ctrl-D", "Ctrl-C"] {
        let mut ann = Terminal::start(&launch(root.path(), &[]));
        ann.expect("Address [all of this machine's]: ");
        ann.enter("127.0.0.1\r");
        ann.expect("Port [a free one]: ");
        let code = if leaves == "Ctrl-D" {
            ann.enter("\x04");
            0
        } else {
            // What the terminal makes of the key for those whose own terminal it is.
            ann.signal(Signal::INT);
            130
        };
        assert_eq!(ann.wait(), Some(code), "{leaves}: {}", ann.screen());
    }
}

#[test]
fn nobody_is_asked_through_a_pipe() {
    let root = tempfile::tempdir().unwrap();
    let input = root.path().join("input");
    std::fs::write(&input, "L\n").unwrap();
    let launch = launch(&root.path().join("dir"), &[]).stdin(&input);
    let mut ann = launch.start(&root.path().join("log"));
    let ended = ann.wait(SOON);
    assert!(ended.status.success(), "{}", ann.stderr());
    assert!(ann.stdout().starts_with("ann  you, at [::]:"), "{}", ann.stdout());
}

/// Waits until it was shown, be it before the first prompt.
fn shows(node: &Node, text: &str) {
    wait_until(SOON, text, || node.screen().contains(text));
}

#[test]
fn a_node_that_is_to_listen_where_one_of_its_network_does_joins_it() {
    let root = tempfile::tempdir().unwrap();
    let key = ["--network-key", "horse"];
    let start = |name: &str, listen: u16| {
        let listen = listen.to_string();
        Node::start(root.path(), name, None, &[&key[..], &["--listen", &listen]].concat())
    };
    let mut ann = start("ann", 0);
    let bob = start("bob", ann.port());
    assert_ne!(bob.port(), ann.port());
    shows(&bob, "ann, a node of this network, listens at ");
    ann.sees("bob is online.");
    // Bob is a plain member.
    let mut eve = start("eve", bob.port());
    shows(&eve, "bob, a node of this network, listens at");
    eve.types("T found you");
    ann.sees("eve: found you");
}

#[test]
fn an_address_that_somebody_else_has_is_an_error_that_says_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ann = Node::start(root.path(), "ann", None, &["--listen", "127.0.0.1:0", "--network-key", "horse"]);
    for port in [stranger.local_addr().unwrap().port(), ann.port()] {
        let listen = format!("127.0.0.1:{port}");
        let launch = launch(&root.path().join("bob"), &["--listen", &listen, "--network-key", "donkey"]);
        let mut bob = launch.start(&root.path().join("log"));
        assert_eq!(bob.wait(SOON).status.code(), Some(1));
        let said = bob.stderr();
        assert!(
            said.contains(&format!("{listen} is taken on this machine, and not by a node of this network")),
            "{said}"
        );
        assert!(said.contains("hint: choose another port with --listen ADDR:PORT"), "{said}");
    }
}

#[test]
fn a_node_that_is_killed_finds_back_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let start = |name: &str| Node::start(root.path(), name, None, &["--network-key", "horse"]);
    let [mut ann, mut bob, mut eve] = ["ann", "bob", "eve"].map(start);
    for node in [&mut bob, &mut eve] {
        node.types(&format!("C {}", ann.port()));
        node.sees("Connected to ann");
    }
    let memory = bob.dir().join("state/network.json");
    // All three are to be in it before it counts.
    wait_until(SOON, "bob to remember eve", || std::fs::read_to_string(&memory).is_ok_and(|text| text.contains("eve")));
    bob.signal(Signal::KILL);
    ann.sees("bob has left.");
    let mut bob = start("bob");
    shows(&bob, "Rejoined the network of last time through ");
    bob.types("T back again");
    for node in [&mut ann, &mut eve] {
        node.sees("bob: back again");
    }
    // A damaged memory is no reason not to start.
    bob.signal(Signal::KILL);
    std::fs::write(&memory, "?").unwrap();
    let mut bob = start("bob");
    shows(&bob, "Where this node's network was cannot be read from ");
    bob.types(&format!("C {}", eve.port()));
    bob.sees("Connected to ");
}

#[test]
fn nodes_of_one_network_find_each_other_on_a_lan() {
    if !privilege::met("nodes_of_one_network_find_each_other_on_a_lan", netns::possible()) {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let lan = Net::new(4);
    let netns = |host: usize| Some(lan.host(host).netns());
    let findable =
        |name: &str, host, key| Node::start_findable(root.path(), name, netns(host), &["--network-key", key]);
    // These two have more time to be found than the others need.
    let hidden = Node::start(root.path(), "dan", netns(0), &["--network-key", "horse"]);
    let stranger = findable("eve", 1, "donkey");
    let (mut ann, bob) = (findable("ann", 2, "horse"), findable("bob", 3, "horse"));
    ann.sees("bob is online.");
    wait_until(SOON, "one to say so", || {
        [&ann, &bob].iter().any(|node| node.screen().contains(" of this network at "))
    });
    ann.types("T found");
    for mut node in [hidden, stranger] {
        node.types("L");
        node.sees("Nobody else is here");
    }
    let mut bob = bob;
    bob.sees("ann: found");
    // Who is found later joins those who are there; a supernode finds him as he finds it.
    let mut cat = findable("cat", 0, "horse");
    cat.types("L");
    for node in [&mut ann, &mut bob] {
        node.sees("cat is online.");
    }
}

#[test]
fn who_is_connected_already_is_confirmed_from_both_sides() {
    let root = tempfile::tempdir().unwrap();
    let [mut ann, mut bob] = ["ann", "bob"].map(|name| Node::start(root.path(), name, None, &[]));
    let ports = [ann.port(), bob.port()];
    for _ in 0..3 {
        ann.types(&format!("C {}", ports[1]));
        ann.sees("Connected to bob");
        bob.types(&format!("C {}", ports[0]));
        bob.sees("Connected to ann");
    }
    for node in [ann, bob] {
        assert!(!node.screen().contains("The supernode is gone"), "{}", node.screen());
    }
}
