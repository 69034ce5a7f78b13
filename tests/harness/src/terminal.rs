//! Terminals: a program with a pseudo-terminal for input and output, as it is when a person sits there.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::LocalModes;

use crate::process::Launch;
use crate::wait::{wait_for, wait_until};

/// How long a program may take to say what is waited for.
const SAY_LIMIT: Duration = Duration::from_secs(20);

/// A program at a terminal of its own; killed when dropped.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    keyboard: File,
    /// Its side of the terminal, to see how it is set.
    line: OwnedFd,
    screen: Arc<Mutex<Vec<u8>>>,
    /// How much of what was shown was waited for.
    seen: usize,
}

impl Terminal {
    /// Starts a program there.
    ///
    /// # Panics
    /// When there is no pseudo-terminal to be had, or it does not start.
    pub fn start(launch: &Launch) -> Self {
        let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&controller).and_then(|()| unlockpt(&controller)).expect("it can be used");
        let name = ptsname(&controller, Vec::new()).expect("it has a name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let line = rustix::fs::open(name, flags, Mode::empty()).expect("it can be opened");
        let copy = || line.try_clone().expect("it can be shared");
        let mut command = launch.command();
        command.env("TERM", "xterm").stdin(copy()).stdout(copy()).stderr(copy());
        let child = command.spawn().expect("the program starts");
        let keyboard = File::from(controller);
        let mut shown = keyboard.try_clone().expect("it can be shared");
        let screen = Arc::new(Mutex::new(Vec::new()));
        let onto = Arc::clone(&screen);
        // Ends with the terminal.
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = shown.read(&mut buffer) {
                onto.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..count]);
            }
        });
        Self { child, keyboard, line, screen, seen: 0 }
    }

    /// All that was shown so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until this is shown, after what was waited for before.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let start = std::time::Instant::now();
        while start.elapsed() < SAY_LIMIT {
            let screen = self.screen();
            if let Some(at) = screen.get(self.seen..).and_then(|news| news.find(text)) {
                self.seen += at + text.len();
                return;
            }
            crate::wait::pause();
        }
        panic!("{text:?} is not shown:\n{}", self.screen());
    }

    /// Waits until this is shown, after what was waited for before, with all of its line; gives what stands behind it there.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn expect_line(&mut self, text: &str) -> String {
        self.expect(text);
        let rest = wait_for(SAY_LIMIT, "the end of a line", || {
            let screen = self.screen();
            let (rest, _) = screen.get(self.seen..)?.split_once('\n')?;
            Some(rest.to_owned())
        });
        self.seen += rest.len();
        rest.trim_end().to_owned()
    }

    /// Types this.
    ///
    /// # Panics
    /// When the terminal is gone.
    pub fn enter(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    /// Waits until keys are not shown: whoever types too early sees them.
    ///
    /// # Panics
    /// When they go on being shown.
    #[track_caller]
    pub fn wait_until_hidden(&self) {
        wait_until(SAY_LIMIT, "the echo to be off", || !self.shows_keys());
    }

    /// Whether the terminal shows keys and gives whole lines, as it does at first.
    pub fn shows_keys(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.line).expect("it is a terminal").local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("one's own child can be signalled");
    }

    /// Waits for its end; gives the exit code.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        wait_for(SAY_LIMIT, "the program to end", || self.child.try_wait().expect("one's own child")).code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
