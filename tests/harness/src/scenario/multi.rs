//! Several seeders, each limited: their limits add up, and none is exceeded.

use std::time::{Duration, Instant};

use super::limit_up;
use crate::cluster::ClusterConfig;
use crate::content::Content;
use crate::peer::{Peer, download};
use crate::wait::wait_until;

const ENTRY: &str = "film.bin";
const STEP_LIMIT: Duration = Duration::from_secs(60);

/// How many, how much.
#[derive(Debug, Clone, Copy)]
pub struct Multi {
    /// Bytes of the file.
    pub size: u64,
    /// How many have it.
    pub seeders: u32,
    /// Bytes a second that each may send.
    pub rate: u64,
}

/// How it went.
#[derive(Debug, Clone)]
pub struct MultiResult {
    /// From the command to the file under its name.
    pub elapsed: Duration,
    /// Bytes a second over all that time, as a part of the sum of the limits.
    pub of_sum: f64,
    /// What each seeder sent a second in the middle of the download, as a part of its limit.
    pub of_limits: Vec<f64>,
    /// Bytes that came beyond the file's.
    pub beyond: u64,
}

/// Downloads a file from seeders that all are limited alike.
///
/// # Panics
/// When it does not arrive.
pub fn run_multi(multi: Multi) -> MultiResult {
    let cluster = ClusterConfig::default().alone().start();
    let content = Content::random(10, multi.size);
    let file = cluster.file(ENTRY, content);
    let seeders: Vec<Peer> = (0..multi.seeders)
        .map(|number| {
            let seeder = cluster.peer(&format!("seeder-{number}")).args(limit_up(multi.rate)).serve();
            seeder.register(&file);
            seeder
        })
        .collect();
    let downloader = cluster.peer("downloader").serve();
    let output = cluster.out(ENTRY);
    let start = Instant::now();
    let running = downloader.start(&download(ENTRY, Some(&output)));
    // From the first tenth to the last: neither the start nor the end belongs to the limits.
    let at = |part: u64| {
        wait_until(STEP_LIMIT, "the download to go on", || {
            downloader.status().downloaded_bytes >= multi.size / 10 * part
        });
        seeders.iter().map(|seeder| (Instant::now(), seeder.status().uploaded_bytes)).collect::<Vec<_>>()
    };
    let (early, late) = (at(1), at(9));
    let outcome = running.finish().expect("the peer answers").expect("the download succeeds");
    let elapsed = start.elapsed();
    let peer::command::Outcome::Downloaded(downloaded) = outcome else { panic!("it ended in {outcome:?}") };
    assert_eq!(content.compare(&output).expect("it can be read"), Ok(()));
    let of_limits = early.iter().zip(&late).map(|((then, before), (now, after))| {
        (after - before) as f64 / now.duration_since(*then).as_secs_f64() / multi.rate as f64
    });
    MultiResult {
        elapsed,
        of_sum: multi.size as f64 / elapsed.as_secs_f64() / (multi.rate * u64::from(multi.seeders)) as f64,
        of_limits: of_limits.collect(),
        beyond: downloaded.fetched_bytes.saturating_sub(multi.size),
    }
}
