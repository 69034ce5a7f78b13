//! aria2's BitTorrent: a seeding and a downloading aria2c, which check the SHA-1 of each piece and encrypt nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use harness::process::{Launch, Process};
use harness::wait::{wait_for, wait_until};

use super::http_tracker::HttpTracker;
use super::torrent::torrent;
use super::{Absent, Arena, Contestant, LIMIT, Round, free_port, installed, used_since};

/// Both sides: no search for others, no encryption, no file allocation, no limit.
const ARGS: [&str; 11] = [
    "--enable-dht=false",
    "--enable-dht6=false",
    "--bt-enable-lpd=false",
    "--enable-peer-exchange=false",
    "--bt-require-crypto=false",
    "--bt-min-crypto-level=plain",
    "--file-allocation=none",
    "--max-overall-upload-limit=0",
    "--max-upload-limit=0",
    "--summary-interval=0",
    "--no-conf=true",
];

/// An aria2c that seeds, and one that downloads each round.
#[derive(Debug)]
pub(crate) struct Aria2 {
    seeder: Process,
    dir: PathBuf,
    torrent: PathBuf,
    rounds: u32,
    // Ends after the seeder, which says goodbye to it.
    _tracker: HttpTracker,
}

impl Aria2 {
    pub(crate) fn start(arena: &Arena) -> io::Result<Result<Self, Absent>> {
        if let Err(absent) = installed(&[("aria2c", "--version")]) {
            return Ok(Err(absent));
        }
        let dir = arena.corner("aria2")?;
        let tracker = HttpTracker::start()?;
        let torrent_path = dir.join("file.torrent");
        fs::write(&torrent_path, torrent(&arena.file(), &tracker.url())?)?;
        let seeder = aria2c(&torrent_path, &arena.dir().join("served"), free_port()?)
            .args(["--check-integrity=true", "--seed-ratio=0.0"])
            .start(&dir.join("seeder"));
        wait_until(LIMIT, "aria2c to have checked the file and to seed", || tracker.has_seeder());
        Ok(Ok(Self { seeder, dir, torrent: torrent_path, rounds: 0, _tracker: tracker }))
    }
}

impl Contestant for Aria2 {
    fn name(&self) -> String {
        "aria2 BitTorrent, SHA-1 checked".to_owned()
    }

    fn round(&mut self, output: &Path) -> Round {
        self.rounds += 1;
        let target = self.dir.join(format!("target-{}", self.rounds));
        let control = target.join("file.bin.aria2");
        let before = self.seeder.tree_usage();
        let start = Instant::now();
        let port = free_port().expect("a port is free");
        let mut downloader =
            aria2c(&self.torrent, &target, port).args(["--seed-time=0"]).start(&self.dir.join("downloader"));
        // The control file goes when the file is whole; the process ends a little later.
        let mut begun = false;
        let wall = wait_for(LIMIT, "aria2c to bring the file", || {
            let there = control.exists();
            begun |= there;
            (begun && !there || !downloader.is_running()).then(|| start.elapsed())
        });
        let ended = downloader.wait(LIMIT);
        assert!(ended.status.success(), "aria2c ended with {}:\n{}", ended.status, downloader.stdout());
        fs::rename(target.join("file.bin"), output).expect("the file is there");
        Round { wall, seeder: used_since(&mut self.seeder, before), downloader: ended.usage }
    }
}

fn aria2c(torrent: &Path, dir: &Path, port: u16) -> Launch {
    Launch::new("aria2c")
        .args(ARGS)
        .args([format!("--listen-port={port}"), format!("--dir={}", dir.display())])
        .args([torrent])
}
