//! A cluster: a tracker, peers and files in a temporary directory, as real processes. When it ends, its logs are looked
//! through: an error that no test expected fails the test.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use common::id::NetworkId;
use tempfile::TempDir;

use crate::content::Content;
use crate::peer::PeerSpec;
use crate::process::{Launch, Process};
use crate::programs::programs;
use crate::slots::{Company, Slot};
use crate::wait::wait_for;

/// How long a program may take to be up, on a busy machine.
pub const START_LIMIT: Duration = Duration::from_secs(20);
/// Seconds between two pings of a test's tracker, and until a peer that does not answer is gone.
pub const PING_SECS: u64 = 1;
const LOG_LINES_SHOWN: usize = 40;

/// A tracker and the place where everything of it and its peers lies.
#[derive(Debug)]
pub struct Cluster {
    // In the order in which they end.
    tracker: Mutex<Option<Process>>,
    address: SocketAddr,
    fingerprint: NetworkId,
    config: ClusterConfig,
    expected_errors: Mutex<Vec<String>>,
    dir: TempDir,
    _slot: Slot,
}

/// How a cluster is made.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    company: Company,
    listen: IpAddr,
    netns: Option<String>,
    tracker_args: Vec<String>,
    place: Option<PathBuf>,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            company: Company::Shared,
            listen: Ipv4Addr::LOCALHOST.into(),
            netns: None,
            tracker_args: Vec::new(),
            place: None,
        }
    }
}

impl ClusterConfig {
    /// With no other cluster beside it.
    #[must_use]
    pub const fn alone(mut self) -> Self {
        self.company = Company::Alone;
        self
    }

    /// With its tracker at this address.
    #[must_use]
    pub const fn listen(mut self, address: IpAddr) -> Self {
        self.listen = address;
        self
    }

    /// With its tracker in this network namespace.
    #[must_use]
    pub fn netns(mut self, name: String) -> Self {
        self.netns = Some(name);
        self
    }

    /// With these arguments for its tracker.
    #[must_use]
    pub fn tracker_args(mut self, args: &[&str]) -> Self {
        self.tracker_args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// With everything in a directory below this one, instead of the system's for temporary files.
    #[must_use]
    pub fn place(mut self, place: Option<PathBuf>) -> Self {
        self.place = place;
        self
    }

    /// Starts the tracker.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(self) -> Cluster {
        let slot = Slot::take(self.company);
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix("shoal-");
        let dir = match &self.place {
            Some(place) => builder.tempdir_in(place),
            None => builder.tempdir(),
        }
        .expect("a temporary directory can be made");
        for part in ["logs", "files", "peers", "out"] {
            fs::create_dir(dir.path().join(part)).expect("a directory can be made");
        }
        let listen = SocketAddr::new(self.listen, 0);
        let (tracker, address, fingerprint) = start_tracker(&self, dir.path(), listen, 0);
        Cluster {
            tracker: Mutex::new(Some(tracker)),
            address,
            fingerprint,
            config: self,
            expected_errors: Mutex::default(),
            dir,
            _slot: slot,
        }
    }
}

impl Cluster {
    /// A tracker on 127.0.0.1.
    pub fn start() -> Self {
        ClusterConfig::default().start()
    }

    /// Everything that belongs to it is below this directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the tracker listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the tracker's key is called.
    pub const fn fingerprint(&self) -> NetworkId {
        self.fingerprint
    }

    /// What `peer --tracker` takes.
    pub fn tracker_arg(&self) -> String {
        format!("{}#{}", self.address, self.fingerprint)
    }

    /// A peer that is not started yet.
    pub fn peer(&self, name: &str) -> PeerSpec {
        PeerSpec::new(name, self.dir.path(), self.tracker_arg())
    }

    /// A place for a file outside of all DIRs.
    pub fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join("out").join(name)
    }

    /// Writes a file to be shared.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: Content) -> PathBuf {
        let path = self.dir.path().join("files").join(name);
        fs::create_dir_all(path.parent().expect("it is below the directory")).expect("a directory can be made");
        content.write(&path).expect("a test's file can be written");
        path
    }

    /// Looks at the tracker's process.
    ///
    /// # Panics
    /// When it was killed before.
    pub fn with_tracker<T>(&self, look: impl FnOnce(&mut Process) -> T) -> T {
        let mut tracker = self.tracker.lock().expect("no test has failed in here");
        look(tracker.as_mut().expect("the tracker was started"))
    }

    /// `kill -9` of the tracker.
    pub fn kill_tracker(&self) {
        self.with_tracker(Process::kill);
    }

    /// Starts the tracker again, with the same data, at the same address.
    ///
    /// # Panics
    /// When it does not start, or is somebody else now.
    pub fn restart_tracker(&self) {
        let run = fs::read_dir(self.dir.path().join("logs")).map_or(0, Iterator::count);
        let (tracker, address, fingerprint) = start_tracker(&self.config, self.dir.path(), self.address, run);
        assert_eq!((address, fingerprint), (self.address, self.fingerprint), "the tracker is the same as before");
        *self.tracker.lock().expect("no test has failed in here") = Some(tracker);
    }

    /// From now on, a line of a log may say ERROR if it has this text.
    pub fn expect_error(&self, text: &str) {
        self.expected_errors.lock().expect("no test has failed in here").push(text.to_owned());
    }

    fn logs(&self) -> Vec<(PathBuf, String)> {
        let mut logs: Vec<_> = fs::read_dir(self.dir.path().join("logs"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .map(|path| (path.clone(), fs::read(path).map(lossy).unwrap_or_default()))
            .collect();
        logs.sort();
        logs
    }

    fn unexpected_errors(&self) -> Vec<String> {
        let expected = self.expected_errors.lock().map(|texts| texts.clone()).unwrap_or_default();
        self.logs()
            .into_iter()
            .flat_map(|(path, text)| {
                let lines = text.lines().filter(|line| line.contains("ERROR") || line.contains("panicked at"));
                lines.map(|line| format!("{}: {line}", name_of(&path))).collect::<Vec<_>>()
            })
            .filter(|line| !expected.iter().any(|text| line.contains(text)))
            .collect()
    }

    #[expect(clippy::print_stderr, reason = "what a failed test's programs said belongs to its output")]
    fn show_logs(&self) {
        for (path, text) in self.logs() {
            let lines: Vec<&str> = text.lines().collect();
            eprintln!("--- {} ({} lines)", name_of(&path), lines.len());
            for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES_SHOWN)) {
                eprintln!("{line}");
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Ok(tracker) = self.tracker.get_mut() {
            *tracker = None;
        }
        if thread::panicking() {
            self.show_logs();
            return;
        }
        let errors = self.unexpected_errors();
        assert!(errors.is_empty(), "errors in the logs:\n{}", errors.join("\n"));
    }
}

fn start_tracker(
    config: &ClusterConfig,
    dir: &Path,
    listen: SocketAddr,
    run: usize,
) -> (Process, SocketAddr, NetworkId) {
    let log = dir.join("logs").join(format!("tracker-{run}"));
    let seconds = PING_SECS.to_string();
    let mut process = Launch::new(&programs().tracker)
        .args(["--listen", &listen.to_string(), "--data"])
        .args([dir.join("tracker")])
        .args(["--ping-interval", &seconds, "--ping-timeout", &seconds])
        .args(&config.tracker_args)
        .netns(config.netns.clone())
        .start(&log);
    let (address, fingerprint) = wait_for(START_LIMIT, "the tracker's line", || {
        assert!(process.is_running(), "the tracker ended: {}", process.stderr());
        read_tracker_line(&process.stdout())
    });
    (process, address, fingerprint)
}

/// Finds address and fingerprint in what a tracker prints when it listens.
fn read_tracker_line(text: &str) -> Option<(SocketAddr, NetworkId)> {
    let (line, _) = text.split_once('\n')?;
    let words = || line.split(|c: char| c.is_whitespace() || "#,()".contains(c));
    let address = words().find_map(|word| word.parse().ok())?;
    let fingerprint = words().find_map(|word| word.parse().ok())?;
    Some((address, fingerprint))
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
