//! Nodes of networks without a tracker: `peer mrt`, with a person at its terminal.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use common::wire::tracker::Entry;
use peer::command::{Command, Failure, Listing, Neighbour, Outcome, Status};
use rustix::process::Signal;

use crate::content::Content;
use crate::local_api::{self, Running};
use crate::peer::COMMAND_LIMIT;
use crate::process::{Launch, peak_memory};
use crate::programs::programs;
use crate::terminal::Terminal;

/// Somebody at a terminal with a node of his own; it is killed when dropped.
#[derive(Debug)]
pub struct Node {
    terminal: Terminal,
    port: u16,
    dir: PathBuf,
}

impl Node {
    /// Starts `peer mrt ARGS...` with its DIR in `root`, and waits until it takes commands.
    ///
    /// # Panics
    /// When it does not get there.
    #[track_caller]
    pub fn start(root: &Path, name: &str, netns: Option<String>, args: &[&str]) -> Self {
        // Whoever runs on the same machine is not to be found.
        Self::start_findable(root, name, netns, &[&["--no-discovery"], args].concat())
    }

    /// The same, but it finds others on its LAN, and they find it.
    ///
    /// # Panics
    /// When it does not get there.
    #[track_caller]
    pub fn start_findable(root: &Path, name: &str, netns: Option<String>, args: &[&str]) -> Self {
        let dir = root.join(name);
        let launch = Launch::new(&programs().peer).args(["--name", name, "--dir"]).args([&dir]).args(["mrt"]);
        // Without this it would ask where; what is given after it counts.
        let launch = launch.args(["--listen", "0"]);
        let mut terminal = Terminal::start(&launch.args(args).netns(netns));
        terminal.expect("this node listens at ");
        terminal.expect(&format!("{name}> "));
        let screen = terminal.screen();
        let (_, rest) = screen.split_once("this node listens at ").expect("it was just seen");
        let address = rest.split_whitespace().next().expect("it says where").trim_end_matches('.');
        let address: SocketAddr = address.parse().unwrap_or_else(|error| panic!("{error}: {address}"));
        Self { terminal, port: address.port(), dir }
    }

    /// The port at which it listens.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its DIR.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Types a line.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn types(&mut self, line: &str) {
        self.terminal.enter(&format!("{line}\r"));
    }

    /// Waits until this is shown, after what was seen before.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn sees(&mut self, text: &str) {
        self.terminal.expect(text);
    }

    /// Downloads, and has what it should have.
    ///
    /// # Panics
    /// When it has not.
    #[track_caller]
    pub fn gets(&mut self, name: &str, content: Content) {
        self.types(&format!("R {name}"));
        self.sees(&format!("{name} has completed downloading."));
        let path = self.dir.join("seeding").join(name);
        self.sees(&path.display().to_string());
        assert!(content.compare(&path).expect("it can be read").is_ok(), "{} is what was shared", path.display());
    }

    /// How the node of this name is reached, in the words of `L`; the node must be listed.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn way_to(&mut self, name: &str) -> String {
        self.types("L");
        // Two blanks at least stand between the columns of a table, and nowhere else.
        let row = self.terminal.expect_line(&format!("{name}  "));
        row.split("  ").find(|column| !column.trim().is_empty()).unwrap_or_default().trim().to_owned()
    }

    /// What it is doing, as its local API tells.
    ///
    /// # Panics
    /// When it does not say.
    #[track_caller]
    pub fn status(&self) -> Status {
        local_api::status(&self.socket(), COMMAND_LIMIT).expect("a node tells its status")
    }

    /// Starts a command through its local API.
    ///
    /// # Panics
    /// When it does not take it.
    #[track_caller]
    pub fn start_command(&self, command: &Command) -> Running {
        Running::start(&self.socket(), command, COMMAND_LIMIT).expect("a node takes a command")
    }

    /// Runs a command through its local API.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn command(&self, command: &Command) -> Result<Outcome, Failure> {
        self.start_command(command).finish().unwrap_or_else(|error| panic!("a node ends {command:?}: {error}"))
    }

    /// What is shared in its network; nothing where it does not know now.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn list(&self) -> Vec<Entry> {
        match self.command(&Command::List(Listing::default())) {
            Ok(Outcome::Entries(entries)) => entries,
            Ok(other) => panic!("a list ended in {other:?}"),
            Err(_) => Vec::new(),
        }
    }

    /// The others, and how each is reached.
    ///
    /// # Panics
    /// When it does not say.
    #[track_caller]
    pub fn neighbours(&self) -> Vec<Neighbour> {
        match self.command(&Command::Neighbours) {
            Ok(Outcome::Neighbours(all)) => all.others,
            other => panic!("a node tells of its neighbours: {other:?}"),
        }
    }

    /// Most memory that it had resident, in bytes.
    ///
    /// # Panics
    /// When it is gone.
    #[track_caller]
    pub fn peak_memory(&self) -> u64 {
        peak_memory(self.terminal.pid()).expect("it runs")
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("state").join("peer.sock")
    }

    /// All that was shown so far.
    pub fn screen(&self) -> String {
        self.terminal.screen()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn signal(&self, signal: Signal) {
        self.terminal.signal(signal);
    }

    /// Waits for its end; gives the exit code, `None` where a signal ended it.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn ends(&mut self) -> Option<i32> {
        self.terminal.wait()
    }
}
