//! Processes: started, watched, signalled, and never left behind. What they print goes to files, so that nobody blocks
//! on a full pipe and a failed test can show it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::wait::pause;

/// How a process is started.
#[derive(Debug, Clone)]
pub struct Launch {
    program: OsString,
    args: Vec<OsString>,
    netns: Option<String>,
    user: Option<u32>,
    stdin: Option<PathBuf>,
    current_dir: Option<PathBuf>,
}

impl Launch {
    /// Starts `program`.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            netns: None,
            user: None,
            stdin: None,
            current_dir: None,
        }
    }

    /// With these arguments after those before.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// In this network namespace.
    #[must_use]
    pub fn netns(mut self, name: Option<String>) -> Self {
        self.netns = name;
        self
    }

    /// As this user, where the test is root.
    #[must_use]
    pub const fn user(mut self, user: Option<u32>) -> Self {
        self.user = user;
        self
    }

    /// With its input from this file instead of from nowhere.
    #[must_use]
    pub fn stdin(mut self, path: &Path) -> Self {
        self.stdin = Some(path.to_owned());
        self
    }

    /// In this directory.
    #[must_use]
    pub fn current_dir(mut self, path: &Path) -> Self {
        self.current_dir = Some(path.to_owned());
        self
    }

    /// Starts it; what it prints goes to `LOG.out` and `LOG.err`, after what is there.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, log: &Path) -> Process {
        let (stdout, stderr) = (log.with_extension("out"), log.with_extension("err"));
        let mut command = self.command();
        command.stdin(match &self.stdin {
            Some(path) => Stdio::from(File::open(path).expect("the input is there")),
            None => Stdio::null(),
        });
        command.stdout(append(&stdout)).stderr(append(&stderr));
        let started = Instant::now();
        let child = command.spawn().unwrap_or_else(|error| panic!("{} starts: {error}", self.program.display()));
        Process { child, started, stdout, stderr, peak_memory: 0, ended: None }
    }

    /// Without input and output.
    pub(crate) fn command(&self) -> Command {
        let mut command = match &self.netns {
            None => Command::new(&self.program),
            Some(netns) => {
                let mut command = Command::new("ip");
                // `ip` becomes the program: the process id is the program's.
                command.args(["netns", "exec", netns]).arg(&self.program);
                command
            }
        };
        command.args(&self.args);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        if let Some(dir) = &self.current_dir {
            command.current_dir(dir);
        }
        command
    }
}

fn append(path: &Path) -> Stdio {
    Stdio::from(File::options().create(true).append(true).open(path).expect("the log can be written"))
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    started: Instant,
    stdout: PathBuf,
    stderr: PathBuf,
    peak_memory: u64,
    ended: Option<Ended>,
}

/// How a process ended and what it used.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// Exit code or signal.
    pub status: ExitStatus,
    /// From start to end.
    pub elapsed: Duration,
    /// What it used.
    pub usage: Usage,
}

/// What a process used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor time, that of children that it waited for included.
    pub cpu: Duration,
    /// Most bytes resident; of a process that ended by itself, as of the last look before.
    pub peak_memory: u64,
}

impl Process {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it was started.
    pub const fn started(&self) -> Instant {
        self.started
    }

    /// All it printed to stdout so far, and what an earlier process with the same log did.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// All it printed to stderr so far, and what an earlier process with the same log did.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Sends a signal; nothing happens where it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.poll().is_none() {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, signal).expect("one's own child can be signalled");
        }
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) -> Ended {
        self.signal(Signal::KILL);
        self.wait(Duration::from_secs(10))
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self, limit: Duration) -> Ended {
        self.signal(Signal::TERM);
        self.wait(limit)
    }

    /// SIGSTOP; it is stopped when this returns.
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
        crate::wait::wait_until(Duration::from_secs(5), "a process to stop", || {
            stat_fields(self.pid()).is_some_and(|fields| fields.first().is_some_and(|state| state == "T"))
        });
    }

    /// SIGCONT.
    pub fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Its end, where it has ended.
    pub fn poll(&mut self) -> Option<Ended> {
        if self.ended.is_some() {
            return self.ended;
        }
        self.peak_memory = self.peak_memory.max(peak_memory(self.pid()).unwrap_or(0));
        let pid = Pid::from_child(&self.child);
        // Not reaped yet: what it used can still be read.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), look) {
            Ok(None) => return None,
            Ok(Some(_)) => {}
            Err(error) => panic!("process {} can be waited for: {error}", self.pid()),
        }
        let elapsed = self.started.elapsed();
        let usage = Usage { cpu: cpu_time(self.pid()), peak_memory: self.peak_memory };
        let status = self.child.wait().expect("it has ended");
        self.ended = Some(Ended { status, elapsed, usage });
        self.ended
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> Ended {
        let start = Instant::now();
        loop {
            if let Some(ended) = self.poll() {
                return ended;
            }
            assert!(
                start.elapsed() < limit,
                "waited {limit:?} for the end of a process that said:\n{}\n{}",
                self.stdout(),
                self.stderr()
            );
            pause();
        }
    }

    /// What it has used up to now.
    pub fn usage(&mut self) -> Usage {
        self.poll();
        self.ended
            .map_or_else(|| Usage { cpu: cpu_time(self.pid()), peak_memory: self.peak_memory }, |ended| ended.usage)
    }

    /// What it and its children have used up to now.
    pub fn tree_usage(&mut self) -> Usage {
        let mut usage = self.usage();
        let path = format!("/proc/{pid}/task/{pid}/children", pid = self.pid());
        for child in fs::read_to_string(path).unwrap_or_default().split_whitespace() {
            let Ok(child) = child.parse() else { continue };
            usage.cpu += cpu_time(child);
            usage.peak_memory += peak_memory(child).unwrap_or(0);
        }
        usage
    }

    /// Bytes that it asked the system to read, from files and sockets alike.
    pub fn bytes_read(&self) -> u64 {
        let io = fs::read_to_string(format!("/proc/{}/io", self.pid())).unwrap_or_default();
        io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok()).unwrap_or(0)
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.poll().is_none() {
            let outcome = self.child.kill().and_then(|()| self.child.wait());
            debug_assert!(outcome.is_ok(), "one's own child can be killed");
        }
    }
}

fn read(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The fields of `/proc/PID/stat` from the third, the state, on.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name, in parentheses and free to hold more of them.
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// utime, stime, cutime and cstime (proc(5): fields 14 to 17, the first being 1).
fn cpu_time(pid: u32) -> Duration {
    const UTIME: usize = 14 - 3;
    let ticks: u64 = stat_fields(pid)
        .unwrap_or_default()
        .iter()
        .skip(UTIME)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Most memory that a process had resident, in bytes; `None` where it is gone.
pub(crate) fn peak_memory(pid: u32) -> Option<u64> {
    const KIB: u64 = 1024;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * KIB)
}

/// Runs a program of the system to its end.
///
/// # Errors
/// When it cannot be started or ends badly; with what it said.
pub fn run(program: &str, args: &[&str]) -> io::Result<String> {
    run_with_input(program, args, "")
}

/// The same with `input`, of which the program reads all before it prints much.
///
/// # Errors
/// When it cannot be started or ends badly; with what it said.
pub(crate) fn run_with_input(program: &str, args: &[&str], input: &str) -> io::Result<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    // One that ends before it has read all of it says why.
    let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} {}: {}", args.join(" "), said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_watched_signalled_and_not_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut process = Launch::new("sh").args(["-c", "echo up; exec sleep 1000"]).start(&dir.path().join("sh"));
        crate::wait::wait_until(Duration::from_secs(10), "its word", || process.stdout() == "up\n");
        assert!(process.usage().peak_memory > 0);
        process.freeze();
        assert!(process.is_running());
        let pid = process.pid();
        drop(process);
        assert_eq!(stat_fields(pid), None, "the process is gone");
    }

    #[test]
    fn an_end_tells_code_and_usage() {
        let dir = tempfile::tempdir().unwrap();
        let work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exit 3";
        let mut process = Launch::new("sh").args(["-c", work]).start(&dir.path().join("sh"));
        let ended = process.wait(Duration::from_secs(60));
        assert_eq!(ended.status.code(), Some(3));
        assert!(ended.usage.cpu > Duration::ZERO && ended.usage.peak_memory > 0, "{ended:?}");
    }
}
