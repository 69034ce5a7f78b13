//! Passwords: asked for without echo or read from the input, sent to the right tracker only, and written down nowhere.

use std::fs;
use std::path::Path;

use harness::cluster::{Cluster, ClusterConfig};
use harness::peer::PeerSpec;
use harness::terminal::Terminal;
use peer::command::{FailureKind, Outcome};

const PASSWORD: &str = "correct horse battery";
const WRONG: &str = "wrong staple";

fn accounts_only() -> Cluster {
    ClusterConfig::default().tracker_args(&["--access", "accounts"]).start()
}

/// Not told the tracker's fingerprint.
fn unpinned(cluster: &Cluster, name: &str) -> PeerSpec {
    cluster.peer(name).tracker(Some(cluster.address().to_string()))
}

fn log_in_at(terminal: &mut Terminal, password: &str) {
    terminal.expect("Password: ");
    terminal.wait_until_hidden();
    terminal.enter(&format!("{password}\r"));
}

/// Whether a text stands in any file below this folder, but for what the test itself put into a pipe.
fn is_written(folder: &Path, text: &str) -> bool {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().any(|path| {
        if path.is_dir() {
            return is_written(&path, text);
        }
        let is_input = path.extension().is_some_and(|extension| extension == "in");
        !is_input
            && fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    })
}

#[test]
fn a_person_confirms_the_tracker_and_types_a_password_that_nobody_sees() {
    let cluster = accounts_only();
    let ann = unpinned(&cluster, "ann");
    let mut terminal = Terminal::start(&ann.launch(["signup", "ann"]));
    terminal.expect(&format!("Its fingerprint is {}", cluster.fingerprint()));
    terminal.expect("Is this the right tracker? [yes/no] ");
    terminal.enter("yes\r");
    log_in_at(&mut terminal, PASSWORD);
    terminal.expect("The same again: ");
    terminal.wait_until_hidden();
    terminal.enter(&format!("{PASSWORD}\r"));
    terminal.expect("You are logged in as ann.");
    assert_eq!(terminal.wait(), Some(0));
    assert!(!terminal.screen().contains(PASSWORD), "{}", terminal.screen());

    // It was confirmed: the next time nobody asks, and a pipe will do.
    let mut terminal = Terminal::start(&ann.launch(["login", "ann"]));
    log_in_at(&mut terminal, PASSWORD);
    assert_eq!(terminal.wait(), Some(0));
    assert!(!terminal.screen().contains("right tracker"), "{}", terminal.screen());
    let ran = ann.run_pipe(&format!("login ann --password-stdin\n{PASSWORD}\nwhoami --json\n")).succeeded();
    assert!(ran.stdout.contains(r#""account":true"#), "{}", ran.stdout);
    assert!(!is_written(cluster.dir(), PASSWORD));
}

#[test]
fn a_no_or_ctrl_c_sends_nothing_and_gives_the_terminal_back() {
    let cluster = accounts_only();
    let ann = unpinned(&cluster, "ann");
    let mut terminal = Terminal::start(&ann.launch(["signup", "ann"]));
    terminal.expect("[yes/no] ");
    terminal.enter("\r");
    assert_eq!(terminal.wait(), Some(FailureKind::Cancelled.exit_code().into()));

    let mut terminal = Terminal::start(&cluster.peer("ann").launch(["login", "ann"]));
    terminal.expect("Password: ");
    terminal.wait_until_hidden();
    terminal.enter("half a pass\u{3}");
    assert_eq!(terminal.wait(), Some(FailureKind::Cancelled.exit_code().into()));
    assert!(terminal.shows_keys(), "the echo is back");

    let mut terminal = Terminal::start(&cluster.peer("ann").launch(["login", "ann"]));
    terminal.expect("Password: ");
    terminal.wait_until_hidden();
    terminal.signal(rustix::process::Signal::TERM);
    terminal.wait();
    assert!(terminal.shows_keys(), "the echo is back after a signal, too");
}

#[test]
fn at_the_prompt_a_password_is_neither_shown_nor_remembered() {
    let cluster = accounts_only();
    let ann = cluster.peer("ann");
    let mut terminal = Terminal::start(&ann.launch(&[] as &[&str]));
    terminal.expect("ann> ");
    terminal.enter("lst\r");
    terminal.expect("signup");
    terminal.expect("ann> ");
    terminal.enter("signup ann\r");
    log_in_at(&mut terminal, PASSWORD);
    terminal.expect("The same again: ");
    terminal.wait_until_hidden();
    terminal.enter(&format!("{WRONG}\r"));
    terminal.expect("not the same");
    terminal.expect("ann> ");
    terminal.enter("signup ann\r");
    log_in_at(&mut terminal, PASSWORD);
    terminal.expect("The same again: ");
    terminal.wait_until_hidden();
    terminal.enter(&format!("{PASSWORD}\r"));
    terminal.expect("You are logged in as ann.");
    terminal.expect("ann> ");
    // Ctrl-C at the password leads back to the prompt.
    terminal.enter("passwd\r");
    terminal.expect("Password as it is: ");
    terminal.wait_until_hidden();
    terminal.enter("\u{3}");
    terminal.expect("ann> ");
    terminal.enter("whoami\r");
    terminal.expect("ann, with an account");
    terminal.expect("ann> ");
    terminal.enter("q\r");
    assert_eq!(terminal.wait(), Some(0));
    assert!(terminal.shows_keys());
    for secret in [PASSWORD, WRONG] {
        assert!(!terminal.screen().contains(secret), "{}", terminal.screen());
        assert!(!is_written(cluster.dir(), secret), "{secret}");
    }
}

#[test]
fn a_pipe_needs_a_pinned_tracker_and_says_where_the_password_is() {
    let cluster = accounts_only();
    let ran = unpinned(&cluster, "ann").run_pipe(&format!("signup ann --password-stdin\n{PASSWORD}\n"));
    assert_eq!(ran.code(), Some(FailureKind::Failed.exit_code().into()));
    assert!(!ran.stderr.contains("correct"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("#{}", cluster.fingerprint())), "{}", ran.stderr);
    let ran = cluster.peer("ann").run(["signup", "ann"]);
    assert_eq!(ran.code(), Some(FailureKind::Usage.exit_code().into()), "{}", ran.stderr);
    assert!(ran.stderr.contains("--password-stdin"), "{}", ran.stderr);
    let ran = cluster.peer("ann").run(["lst"]);
    assert_eq!(ran.code(), Some(FailureKind::LoginRequired.exit_code().into()), "{}", ran.stderr);
    let pinned = cluster.peer("ann");
    let ran = pinned.run_pipe(&format!("signup ann --password-stdin\r\n{PASSWORD}\r\nlst\nlogout\nwhoami --json\n"));
    assert!(ran.stdout.contains("You are logged in as ann."), "{} {}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains(r#""name":null"#), "{}", ran.stdout);
    let ran = pinned.run_pipe(&format!("login ann --password-stdin\n{WRONG}\n"));
    assert_eq!(ran.code(), Some(FailureKind::Failed.exit_code().into()), "{}", ran.stderr);
    assert!(!is_written(&cluster.dir().join("peers"), PASSWORD));
}

#[test]
fn a_running_peer_joins_anew_under_the_name_of_its_account() {
    let cluster = Cluster::start();
    let ann = cluster.peer("ann").serve();
    let ran = ann.spec().run_pipe(&format!("signup boss --password-stdin\n{PASSWORD}\nwhoami\n")).succeeded();
    assert!(ran.stdout.contains("boss, with an account"), "{}", ran.stdout);
    assert!(!ran.stderr.contains("tracker"), "no loss is told: {}", ran.stderr);
    let Outcome::Devices { devices, this } = ann.run(["devices", "--json"]).succeeded().json() else { panic!() };
    assert_eq!(devices.iter().map(|device| device.peer).collect::<Vec<_>>(), [this]);
    assert!(ann.status().connected);
}

#[test]
fn what_others_say_stands_above_the_line_that_is_being_typed() {
    let cluster = Cluster::start();
    let ann = cluster.peer("ann").serve();
    ann.run(["chat", "this was before"]).succeeded();
    let mut terminal = Terminal::start(&cluster.peer("bob").launch(&[] as &[&str]));
    terminal.expect("this was before");
    terminal.expect("bob> ");
    terminal.enter("whoa");
    terminal.expect("whoa");
    ann.run(["chat", "it's \u{1b}[2Jme"]).succeeded();
    terminal.expect("ann: it's ");
    // The line editor draws the line again, below.
    terminal.expect("whoa");
    terminal.enter("mi\r");
    terminal.expect("bob, without an account");
    assert!(!terminal.screen().contains("\u{1b}[2J"), "{:?}", terminal.screen());
    let eve = cluster.peer("eve").serve();
    terminal.expect("eve is online.");
    eve.stop();
    terminal.expect("eve has left.");
    terminal.enter("msg ann don't wait\r");
    terminal.expect("don't wait");
    terminal.expect("bob> ");
    terminal.enter("\u{4}");
    assert_eq!(terminal.wait(), Some(0));
    assert!(ann.run(["history"]).succeeded().stdout.contains("this was before"));
}
