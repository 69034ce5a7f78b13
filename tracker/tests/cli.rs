//! The built program: what it prints, how it ends, and what it says when it cannot start.

#![expect(clippy::unwrap_used, reason = "what a test cannot do without ends it")]

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

fn command(data: &Path) -> Command {
    command_at("127.0.0.1:0", data)
}

fn command_at(listen: &str, data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.args(["--listen", listen, "--data"]).arg(data);
    command
}

/// A tracker that listens; killed when it is dropped.
struct Tracker {
    child: Child,
    address: SocketAddr,
    fingerprint: String,
}

impl Tracker {
    fn start(data: &Path) -> Self {
        let mut child = command(data).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["tracker", "listening", "on", address, "fingerprint", fingerprint] = words.as_slice() else {
            panic!("{line:?}")
        };
        let (address, fingerprint) = (address.parse().unwrap(), (*fingerprint).to_owned());
        child.stdout = Some(stdout.into_inner());
        Self { child, address, fingerprint }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; gives its exit code, and what else it printed on stdout and stderr.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (self.child.wait().unwrap().code(), stdout, stderr)
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// One sentence on stderr that has this in it, nothing on stdout, and this exit code.
#[track_caller]
fn assert_refused(output: &Output, code: i32, part: &str) {
    let stderr = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(code), ""), "{stderr}");
    assert!(stderr.contains(part) && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn it_prints_one_line_and_ends_tidily_when_it_is_asked_to() {
    for signal in [Signal::TERM, Signal::INT] {
        let directory = TempDir::new().unwrap();
        let tracker = Tracker::start(directory.path());
        assert_eq!(tracker.fingerprint.len(), 52);
        TcpStream::connect(tracker.address).unwrap();
        let to_join = format!("peer --tracker HOST:{}#{}", tracker.address.port(), tracker.fingerprint);
        tracker.signal(signal);
        let (code, stdout, stderr) = tracker.end();
        assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
        assert!(stderr.contains(&to_join) && !stderr.contains("ERROR") && !stderr.contains('\x1b'), "{stderr}");
    }
}

#[test]
fn killed_and_started_again_it_is_the_same_tracker() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let first = Tracker::start(&data);
    let fingerprint = first.fingerprint.clone();
    first.signal(Signal::KILL);
    assert_eq!(first.end().0, None);
    assert_eq!(Tracker::start(&data).fingerprint, fingerprint);
    let other = TempDir::new().unwrap();
    assert_ne!(Tracker::start(other.path()).fingerprint, fingerprint);
}

#[test]
fn a_port_in_use_is_said_with_what_to_do() {
    let directory = TempDir::new().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let output = command_at(&address, directory.path()).output().unwrap();
    let sentence = format!("{address} is in use by another program: stop that one, or give another port with --listen");
    assert_refused(&output, 1, &sentence);
}

#[test]
fn data_in_use_or_not_usable_is_said_with_what_to_do() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let _running = Tracker::start(&data);
    assert_refused(&command(&data).output().unwrap(), 1, "is in use by another tracker: stop that one, or");
    let file = directory.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    assert_refused(&command(&file).output().unwrap(), 1, "give a directory that can be written with --data");
    let damaged = directory.path().join("damaged");
    std::fs::create_dir(&damaged).unwrap();
    std::fs::write(damaged.join("tracker.redb"), b"not a database").unwrap();
    assert_refused(&command(&damaged).output().unwrap(), 1, "is damaged");
}

/// The client of Debian's package `coturn`. Where it is missing the test is skipped, but not in CI.
#[test]
fn a_stun_client_of_others_learns_its_address() {
    let directory = TempDir::new().unwrap();
    let tracker = Tracker::start(directory.path());
    let mut client = Command::new("turnutils_stunclient");
    let output = match client.args(["-p", &tracker.address.port().to_string(), "127.0.0.1"]).output() {
        Err(error) if error.kind() == ErrorKind::NotFound && std::env::var_os("CI").is_none() => return,
        output => output.unwrap(),
    };
    let stdout = text(&output.stdout);
    assert!(output.status.success() && stdout.contains("UDP reflexive addr: 127.0.0.1:"), "{stdout}");
}

/// Runs `tracker` with these arguments and `--data`.
fn operator(arguments: &[&str], data: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tracker"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command.args(arguments).arg("--data").arg(data).output().unwrap()
}

#[test]
fn an_invite_says_where_to_go_and_with_which_code() {
    let directory = TempDir::new().unwrap();
    // A path too long for a socket is no obstacle.
    let data = directory.path().join("x".repeat(100));
    let tracker = Tracker::start(&data);
    let place = format!("{}#{}", tracker.address, tracker.fingerprint);
    let invite = operator(&["invite", "--uses", "30", "--expires", "12h"], &data);
    let (stdout, stderr) = (text(&invite.stdout), text(&invite.stderr));
    let words: Vec<&str> = stdout.split_whitespace().collect();
    let ["tracker", at, "code", code] = words.as_slice() else { panic!("{stdout} {stderr}") };
    assert!(*at == place && code.len() == 26 && stderr.contains("30 people, for 12 hours"), "{stdout} {stderr}");
    let json = operator(&["invite", "--json", "--host", "tracker.example"], &data);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let place = format!("tracker.example:{}#{}", tracker.address.port(), tracker.fingerprint);
    assert_eq!((json["tracker"].as_str(), json["uses"].as_u64()), (Some(place.as_str()), Some(1)));
    tracker.signal(Signal::TERM);
    let log = tracker.end().2;
    assert!(!log.contains(code) && !log.contains(json["code"].as_str().unwrap()), "{log}");
    let gone = operator(&["invite"], &data);
    assert_refused(&gone, 1, "no tracker runs with the data in");
    assert!(!data.join("tracker.sock").exists());
}

#[test]
fn users_that_are_not_there_and_names_that_are_none_are_refused() {
    let directory = TempDir::new().unwrap();
    let tracker = Tracker::start(directory.path());
    let list = operator(&["user", "list", "--json"], directory.path());
    assert_eq!((list.status.code(), text(&list.stdout)), (Some(0), "[]\n"));
    assert_refused(&operator(&["user", "remove", "nobody"], directory.path()), 1, "there is no user nobody");
    assert_refused(&operator(&["user", "reset", "nobody"], directory.path()), 1, "there is no user nobody");
    assert_eq!(operator(&["user", "remove", "No Body"], directory.path()).status.code(), Some(1));
    // What a tracker that was killed left behind is no tracker, and in nobody's way.
    tracker.signal(Signal::KILL);
    tracker.end();
    assert_refused(&operator(&["user", "list"], directory.path()), 1, "no tracker runs");
    let _again = Tracker::start(directory.path());
    assert_eq!(operator(&["user", "list"], directory.path()).status.code(), Some(0));
}

#[test]
fn what_is_exported_is_the_same_tracker_elsewhere() {
    let directory = TempDir::new().unwrap();
    let (data, other) = (directory.path().join("data"), directory.path().join("other"));
    let file = directory.path().join("export.json");
    let name = file.to_str().unwrap();
    let missing = operator(&["export", name], &data);
    assert_refused(&missing, 1, "there is no tracker's database");
    let running = Tracker::start(&data);
    let exported = operator(&["export", name], &data);
    assert!(text(&exported.stderr).contains("holds the tracker's key") && exported.status.success());
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_refused(&operator(&["import", name], &data), 1, "is in use by another tracker");
    running.signal(Signal::TERM);
    let fingerprint = running.fingerprint.clone();
    running.end();
    assert_refused(&operator(&["import", name], &data), 1, "there is a tracker's database already");
    let exported = operator(&["export", name, "--json"], &data);
    assert!(exported.status.success(), "from the data alone");
    assert_eq!(text(&exported.stdout).trim(), format!("{{\"exported\":\"{name}\"}}"));
    let damaged = directory.path().join("damaged.json");
    let content = std::fs::read_to_string(&file).unwrap();
    for (change, part) in [
        (content.replace("shoal-tracker-export", "x"), "is not an export"),
        (content.replace("\"version\": 2", "\"version\": 3"), "newer tracker"),
        (content.replace("\"tables\": {", "\"tables\": {\"device\": {\"x\": 1}"), "is damaged"),
        (content[..content.len() / 2].to_owned(), "is not an export"),
    ] {
        std::fs::write(&damaged, change).unwrap();
        assert_refused(&operator(&["import", damaged.to_str().unwrap()], &other), 1, part);
        assert!(!other.exists(), "nothing is written");
    }
    let imported = operator(&["import", name, "--json"], &other);
    assert!(
        imported.status.success() && text(&imported.stdout).contains("\"imported\":"),
        "{}",
        text(&imported.stdout)
    );
    assert_eq!(Tracker::start(&other).fingerprint, fingerprint);
}

#[test]
fn wrong_usage_has_an_exit_code_of_its_own() {
    let directory = TempDir::new().unwrap();
    for arguments in [&["--ping-interval", "0"][..], &["--max-connections", "0"], &["--access", "nobody"], &["extra"]] {
        let output = command(directory.path()).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    }
    let help = Command::new(env!("CARGO_BIN_EXE_tracker")).arg("--help").output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    for option in ["--listen <ADDR:PORT>", "--data <DIR>", "--ping-interval <SECS>", "--ping-timeout <SECS>"] {
        assert!(text(&help.stdout).contains(option), "{option}");
    }
}
