//! Resume: how soon a killed download goes on, and what it fetches twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{STEP_LIMIT, limit_up, uploaded};
use crate::cluster::ClusterConfig;
use crate::content::Content;
use crate::peer::Ran;
use crate::wait::wait_for;

const ENTRY: &str = "film.bin";
/// What a one-shot says of each chunk when it is not on a terminal.
const RECEIVED: &str = "Received chunk";

/// How much, where.
#[derive(Debug, Clone)]
pub struct Resume {
    /// Bytes of the file.
    pub size: u64,
    /// Bytes a second that the seeder may send: so many that a small file is not done before it is noticed.
    pub rate: Option<u64>,
    /// Where to put everything.
    pub place: Option<PathBuf>,
}

/// How it went.
#[derive(Debug, Clone, Copy)]
pub struct ResumeResult {
    /// From the start of the process to the first chunk that it did not have.
    pub to_first_chunk: Duration,
    /// Bytes that were there before.
    pub kept: u64,
    /// Bytes that the seeder sent beyond the file's.
    pub twice: u64,
}

/// Kills a downloader at three quarters and starts it again.
///
/// # Panics
/// When it does not finish then.
pub fn run_resume(resume: &Resume) -> ResumeResult {
    let cluster = ClusterConfig::default().alone().place(resume.place.clone()).start();
    let content = Content::random(11, resume.size);
    let spec = cluster.peer("seeder");
    let seeder = resume.rate.map_or_else(|| spec.clone(), |rate| spec.clone().args(limit_up(rate))).serve();
    let file = cluster.file(ENTRY, content);
    let registered = seeder.spec().start([Path::new("r"), &file]).wait(STEP_LIMIT);
    assert!(registered.status.success(), "the file is registered");
    let downloader = cluster.peer("downloader");
    let output = cluster.out(ENTRY);
    let start = || downloader.start([Path::new("d"), Path::new(ENTRY), Path::new("-o"), &output]);
    let mut first = start();
    wait_for(STEP_LIMIT, "three quarters to be there", || {
        assert!(first.is_running(), "the first download ended: {}", first.stderr());
        (uploaded([&seeder]) >= resume.size / 4 * 3).then_some(())
    });
    first.kill();
    assert!(!output.exists(), "it was done before it was killed");
    let before = uploaded([&seeder]);
    let second = start();
    let to_first_chunk = wait_for(STEP_LIMIT, "the first new chunk", || {
        second.stderr().contains(RECEIVED).then(|| second.started().elapsed())
    });
    Ran::of(second, STEP_LIMIT).succeeded();
    assert_eq!(content.compare(&output).expect("it can be read"), Ok(()));
    ResumeResult { to_first_chunk, kept: before, twice: uploaded([&seeder]).saturating_sub(resume.size) }
}
