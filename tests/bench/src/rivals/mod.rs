//! Rivals: other programs that bring the same file over the same loopback, each set up as well as its manual allows.

mod aria2;
mod curl;
mod http_tracker;
mod torrent;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::content::Content;
use harness::process::{Process, Usage};
use tempfile::TempDir;

pub(crate) use aria2::Aria2;
pub(crate) use curl::{Checked, Curl};

/// How long a rival may take to start, or a gibibyte to come.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Where all run: one file, in one directory.
#[derive(Debug)]
pub(crate) struct Arena {
    dir: TempDir,
    content: Content,
}

impl Arena {
    /// Makes the file, in a directory below `place`.
    pub(crate) fn new(place: &Path, length: u64) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("shoal-bench-").tempdir_in(place)?;
        let arena = Self { dir, content: Content::random(1, length) };
        fs::create_dir(arena.dir.path().join("served"))?;
        arena.content.write(&arena.file())?;
        Ok(arena)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) const fn content(&self) -> Content {
        self.content
    }

    /// The file that all bring.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("served").join("file.bin")
    }

    /// A new directory of its own for a contestant.
    pub(crate) fn corner(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.dir.path().join(name);
        fs::create_dir(&path)?;
        Ok(path)
    }
}

/// One that brings the file.
pub(crate) trait Contestant {
    /// What it is called in the table.
    fn name(&self) -> String;

    /// Brings the file to `output` once.
    fn round(&mut self, output: &Path) -> Round;
}

/// One time that the file was brought.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// From the start of the downloading process to the whole file under its name.
    pub(crate) wall: Duration,
    pub(crate) seeder: Usage,
    pub(crate) downloader: Usage,
}

/// Why a rival does not run here.
#[derive(Debug, Clone)]
pub(crate) struct Absent(pub(crate) String);

/// Whether these programs are installed.
pub(crate) fn installed(programs: &[(&str, &str)]) -> Result<(), Absent> {
    for (program, argument) in programs {
        if Command::new(program).arg(argument).output().is_err() {
            return Err(Absent(format!("{program} is not installed")));
        }
    }
    Ok(())
}

/// A port that was free a moment ago, for programs that cannot choose one themselves.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// What `process` and its children used since `before`.
pub(crate) fn used_since(process: &mut Process, before: Usage) -> Usage {
    let now = process.tree_usage();
    Usage { cpu: now.cpu.saturating_sub(before.cpu), peak_memory: now.peak_memory }
}
