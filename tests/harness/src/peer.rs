//! Peers: `peer serve` processes, and one-shot commands beside them.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::bitmap::Bitmap;
use common::id::{Content, FileId};
use common::wire::tracker::{Entry, Holder};
use peer::command::{Command, Downloaded, Failure, Follow, Listing, Outcome, Status};
use serde::de::DeserializeOwned;

use crate::cluster::START_LIMIT;
use crate::local_api::{self, Notices, Running};
use crate::process::{Ended, Launch, Process};
use crate::programs::programs;
use crate::wait::wait_for;

/// How long a command of a test may take; also how long a peer may be silent.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// How long a peer may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A peer's DIR and arguments.
#[derive(Debug, Clone)]
pub struct PeerSpec {
    name: String,
    dir: PathBuf,
    logs: PathBuf,
    tracker: Option<String>,
    args: Vec<OsString>,
    netns: Option<String>,
    user: Option<u32>,
}

impl PeerSpec {
    pub(crate) fn new(name: &str, cluster: &Path, tracker: String) -> Self {
        Self {
            name: name.to_owned(),
            dir: cluster.join("peers").join(name),
            logs: cluster.join("logs"),
            tracker: Some(tracker),
            args: Vec::new(),
            netns: None,
            user: None,
        }
    }

    /// With these global arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// With this for `--tracker`, or without it.
    #[must_use]
    pub fn tracker(mut self, tracker: Option<String>) -> Self {
        self.tracker = tracker;
        self
    }

    /// With its DIR here.
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = dir.to_owned();
        self
    }

    /// In this network namespace.
    #[must_use]
    pub fn netns(mut self, name: String) -> Self {
        self.netns = Some(name);
        self
    }

    /// As this user.
    #[must_use]
    pub const fn user(mut self, user: Option<u32>) -> Self {
        self.user = user;
        self
    }

    /// Its DIR.
    pub fn dir_path(&self) -> &Path {
        &self.dir
    }

    /// Its user name.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("state").join("peer.sock")
    }

    /// How `peer ARGS...` with this DIR is started, for what the other methods do not do.
    pub fn launch(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Launch {
        let mut launch = Launch::new(&programs().peer);
        if let Some(tracker) = &self.tracker {
            launch = launch.args(["--tracker", tracker]);
        }
        launch
            .args(["--name", &self.name, "--dir"])
            .args([&self.dir])
            .args(&self.args)
            .args(args)
            .netns(self.netns.clone())
            .user(self.user)
    }

    /// Starts `peer ARGS...` beside the test.
    pub fn start(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Process {
        self.start_launch(&self.launch(args))
    }

    /// Starts what [`Self::launch`] gave, with a log of its own.
    pub fn start_launch(&self, launch: &Launch) -> Process {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        launch.start(&self.logs.join(format!("{}-{number}", self.name)))
    }

    /// Runs `peer ARGS...` to its end.
    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
        Ran::of(self.start(args), COMMAND_LIMIT)
    }

    /// Runs `peer` with these lines as its input to its end.
    pub fn run_pipe(&self, lines: &str) -> Ran {
        let input = self.logs.join(format!("{}.in", self.name));
        fs::write(&input, lines).expect("the input can be written");
        let launch = self.launch(&[] as &[&str]).stdin(&input);
        Ran::of(self.start_launch(&launch), COMMAND_LIMIT)
    }

    /// Runs `peer ARGS...` with this as its input to its end.
    #[track_caller]
    pub fn run_with_input(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>, input: &str) -> Ran {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.logs.join(format!("{}-{number}.in", self.name));
        fs::write(&path, input).expect("the input can be written");
        Ran::of(self.start_launch(&self.launch(args).stdin(&path)), COMMAND_LIMIT)
    }

    /// Starts `peer serve` and waits until it is on the network.
    ///
    /// # Panics
    /// When it does not get there.
    pub fn serve(&self) -> Peer {
        let peer = self.serve_anyhow();
        peer.wait_online();
        peer
    }

    /// Starts `peer serve` and waits until it answers, on the network or not.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn serve_anyhow(&self) -> Peer {
        let mut process = self.start(["serve"]);
        wait_for(START_LIMIT, "the peer's local API", || {
            assert!(process.is_running(), "peer {} ended: {}", self.name, process.stderr());
            local_api::status(&self.socket(), COMMAND_LIMIT).ok()
        });
        Peer { spec: self.clone(), process }
    }
}

/// A one-shot that has ended.
#[derive(Debug)]
pub struct Ran {
    /// Its end.
    pub ended: Ended,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Ran {
    /// Waits for the end of a one-shot.
    #[track_caller]
    pub fn of(mut process: Process, limit: Duration) -> Self {
        let ended = process.wait(limit);
        Self { ended, stdout: process.stdout(), stderr: process.stderr() }
    }

    /// Its exit code; `None` where a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.ended.status.code()
    }

    /// The same, when its exit code is 0.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code(), Some(0), "it failed:\n{}\n{}", self.stdout, self.stderr);
        self
    }

    /// What it said, when its exit code is this one, and when it did not panic.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn failed_with(&self, code: i32) -> &str {
        assert_eq!(self.code(), Some(code), "another end:\n{}\n{}", self.stdout, self.stderr);
        assert!(!self.stderr.trim().is_empty(), "it failed without a word");
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        &self.stderr
    }

    /// What it printed, read as JSON.
    ///
    /// # Panics
    /// When it is not that.
    #[track_caller]
    pub fn json<T: DeserializeOwned>(&self) -> T {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in:\n{}\n{}", self.stdout, self.stderr))
    }
}

/// A running `peer serve`; killed when dropped.
#[derive(Debug)]
pub struct Peer {
    spec: PeerSpec,
    process: Process,
}

impl Peer {
    /// Its DIR and arguments.
    pub const fn spec(&self) -> &PeerSpec {
        &self.spec
    }

    /// Its process.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits until it is on the network.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn wait_online(&self) {
        wait_for(START_LIMIT, "a peer to be online", || self.status().connected.then_some(()));
    }

    /// What it is doing.
    ///
    /// # Panics
    /// When it does not say.
    #[track_caller]
    pub fn status(&self) -> Status {
        let name = &self.spec.name;
        local_api::status(&self.spec.socket(), COMMAND_LIMIT)
            .unwrap_or_else(|error| panic!("peer {name} tells its status: {error}"))
    }

    /// Listens to its notices.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn notices(&self) -> Notices {
        Notices::listen(&self.spec.socket(), COMMAND_LIMIT).expect("the peer tells its notices")
    }

    /// Starts a command through its local API.
    ///
    /// # Panics
    /// When it does not take it.
    #[track_caller]
    pub fn start(&self, command: &Command) -> Running {
        Running::start(&self.spec.socket(), command, COMMAND_LIMIT).expect("the peer takes a command")
    }

    /// Starts a download and hangs up when it goes: it goes on alone.
    ///
    /// # Panics
    /// When it does not begin.
    #[track_caller]
    pub fn start_download_alone(&self, entry: &str, output: Option<&Path>) {
        let mut running = self.start(&download(entry, output));
        let update = running.next_update().expect("the peer answers");
        assert!(update.is_some(), "the download of {entry} ended before it began");
    }

    /// Runs a command through its local API.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn command(&self, command: &Command) -> Result<Outcome, Failure> {
        self.start(command).finish().unwrap_or_else(|error| panic!("peer {} ends {command:?}: {error}", self.spec.name))
    }

    /// Registers a file and gives its id.
    ///
    /// # Panics
    /// When it is refused.
    #[track_caller]
    pub fn register(&self, path: &Path) -> FileId {
        match self.command(&Command::Register { path: path.to_owned(), users: None }) {
            Ok(Outcome::Registered { file, .. }) => file.file().expect("it is a file"),
            other => panic!("register ended in {other:?}"),
        }
    }

    /// Downloads an entry to `output`.
    #[track_caller]
    pub fn download(&self, entry: &str, output: Option<&Path>) -> Result<Downloaded, Failure> {
        match self.command(&download(entry, output))? {
            Outcome::Downloaded(downloaded) => Ok(downloaded),
            other => panic!("download ended in {other:?}"),
        }
    }

    /// Downloads an entry into `seeding` and follows it.
    #[track_caller]
    pub fn follow(&self, entry: &str) -> Result<Downloaded, Failure> {
        let command = Command::Download {
            entry: entry.to_owned(),
            only: Vec::new(),
            follow: Follow::Yes,
            output: None,
            wait_secs: Some(COMMAND_LIMIT.as_secs()),
        };
        match self.command(&command)? {
            Outcome::Downloaded(downloaded) => Ok(downloaded),
            other => panic!("download ended in {other:?}"),
        }
    }

    /// All entries.
    ///
    /// # Panics
    /// When they are not to be had.
    #[track_caller]
    pub fn list(&self) -> Vec<Entry> {
        match self.command(&Command::List(Listing::default())) {
            Ok(Outcome::Entries(entries)) => entries,
            other => panic!("list ended in {other:?}"),
        }
    }

    /// Who has which chunks of an entry.
    #[track_caller]
    pub fn loc(&self, entry: &str) -> Result<(Entry, Vec<Holder>), Failure> {
        match self.command(&Command::Loc { entry: entry.to_owned() })? {
            Outcome::Locations { entry, holders } => Ok((entry, holders)),
            other => panic!("loc ended in {other:?}"),
        }
    }

    /// The names of those who have every chunk of an entry, in order; none where there is no such entry.
    #[track_caller]
    pub fn complete_holders(&self, entry: &str) -> Vec<String> {
        let Ok((entry, holders)) = self.loc(entry) else { return Vec::new() };
        let mut names: Vec<String> = holders
            .into_iter()
            .filter(|holder| holder_map(holder, &entry.content).is_some_and(|map| map.is_full()))
            .map(|holder| holder.user)
            .collect();
        names.sort();
        names
    }

    /// Runs a one-shot on the same DIR.
    #[track_caller]
    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ran {
        self.spec.run(args)
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Ended {
        self.process.kill()
    }

    /// SIGTERM, which must end it with exit code 0.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn stop(mut self) -> Ended {
        let ended = self.process.terminate(STOP_LIMIT);
        assert_eq!(ended.status.code(), Some(0), "SIGTERM: {}", self.process.stderr());
        ended
    }
}

/// The command to download an entry, which gives up after [`COMMAND_LIMIT`].
pub fn download(entry: &str, output: Option<&Path>) -> Command {
    Command::Download {
        entry: entry.to_owned(),
        only: Vec::new(),
        follow: Follow::No,
        output: output.map(Path::to_owned),
        wait_secs: Some(COMMAND_LIMIT.as_secs()),
    }
}

/// The chunks that a holder is said to have, where that is said.
pub fn holder_map(holder: &Holder, content: &Content) -> Option<Bitmap> {
    holder.have.as_ref().map(|have| have.to_bitmap(content).expect("the tracker gives valid maps"))
}
