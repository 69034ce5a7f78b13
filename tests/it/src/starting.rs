//! How a node of a network without a tracker is started: what it asks at a terminal, and what it finds by itself.

use std::path::Path;
use std::time::Duration;

use harness::process::Launch;
use harness::programs::programs;
use harness::terminal::Terminal;
use rustix::process::Signal;

/// Until a program that has nothing to do has ended.
const SOON: Duration = Duration::from_secs(20);

/// `peer mrt ARGS...`, not started yet.
fn launch(dir: &Path, args: &[&str]) -> Launch {
    Launch::new(&programs().peer).args(["--name", "ann", "--dir"]).args([dir]).args(["mrt"]).args(args)
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
