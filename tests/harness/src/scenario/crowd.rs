//! The crowd: many want the same file from one seeder at once, and bring it to each other.

use std::thread;
use std::time::{Duration, Instant};

use peer::command::Downloaded;

use super::{MIB, limit_up};
use crate::cluster::ClusterConfig;
use crate::content::Content;
use crate::local_api::Running;
use crate::peer::{Peer, download};
use crate::wait::wait_until;

const ENTRY: &str = "film.bin";
const ONLINE_LIMIT: Duration = Duration::from_secs(20);

/// How large a crowd.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// Bytes of the file.
    pub size: u64,
    /// How many want it.
    pub downloaders: u32,
    /// Bytes a second that each may send, the seeder too.
    pub rate: u64,
}

/// How it went.
#[derive(Debug, Clone)]
pub struct CrowdResult {
    /// Until the last one had it, from the moment at which all asked for it.
    pub last: Duration,
    /// Until the first one had it.
    pub first: Duration,
    /// max(F / u_s, N F / (u_s + sum u_i)): nobody can be faster.
    pub bound: Duration,
    /// Bytes that came beyond the files', all downloaders together.
    pub beyond: u64,
    /// Bytes that the seeder sent.
    pub from_seeder: u64,
    /// For each downloader, which part of its bytes came from other downloaders.
    pub from_others: Vec<f64>,
}

/// Lets a crowd in.
///
/// # Panics
/// When somebody does not get the file.
pub fn run_crowd(crowd: Crowd) -> CrowdResult {
    let cluster = ClusterConfig::default().alone().start();
    let content = Content::random(9, crowd.size);
    let seeder = cluster.peer("seeder").args(limit_up(crowd.rate)).serve();
    seeder.register(&cluster.file(ENTRY, content));
    let downloaders: Vec<Peer> = (0..crowd.downloaders)
        .map(|number| cluster.peer(&format!("downloader-{number}")).args(limit_up(crowd.rate)).serve())
        .collect();
    wait_until(ONLINE_LIMIT, "all to be online", || downloaders.iter().all(|peer| peer.status().connected));
    let start = Instant::now();
    let running: Vec<Running> = downloaders.iter().map(|peer| peer.start(&download(ENTRY, None))).collect();
    let waiting: Vec<_> =
        running.into_iter().map(|running| thread::spawn(move || (running.finish(), start.elapsed()))).collect();
    let done: Vec<(Downloaded, Duration)> = waiting
        .into_iter()
        .map(|waiting| {
            let (outcome, took) = waiting.join().expect("waiting does not fail");
            match outcome {
                Ok(Ok(peer::command::Outcome::Downloaded(downloaded))) => (downloaded, took),
                other => panic!("a downloader ended in {other:?}"),
            }
        })
        .collect();
    for (downloaded, _) in &done {
        assert_eq!(content.compare(&downloaded.path).expect("it can be read"), Ok(()));
    }
    let fetched: u64 = done.iter().map(|(downloaded, _)| downloaded.fetched_bytes).sum();
    let times = || done.iter().map(|(_, took)| *took);
    CrowdResult {
        last: times().max().unwrap_or_default(),
        first: times().min().unwrap_or_default(),
        bound: bound(&crowd),
        beyond: fetched.saturating_sub(crowd.size * u64::from(crowd.downloaders)),
        from_seeder: seeder.status().uploaded_bytes,
        from_others: done.iter().map(|(downloaded, _)| from_others(downloaded)).collect(),
    }
}

fn bound(crowd: &Crowd) -> Duration {
    let (file, rate, count) = (crowd.size as f64, crowd.rate as f64, f64::from(crowd.downloaders));
    Duration::from_secs_f64((file / rate).max(count * file / (rate * (count + 1.0))))
}

fn from_others(downloaded: &Downloaded) -> f64 {
    let sum = |others_only: fn(&str) -> bool| -> f64 {
        downloaded.shares.iter().filter(|share| others_only(&share.user)).map(|share| share.bytes as f64).sum()
    };
    sum(|user| user != "seeder") / sum(|_| true).max(1.0)
}

impl CrowdResult {
    /// How much longer the last one needed than the bound.
    pub fn times_bound(&self) -> f64 {
        self.last.as_secs_f64() / self.bound.as_secs_f64()
    }

    /// Bytes beyond the files', in MiB.
    pub fn beyond_mib(&self) -> f64 {
        self.beyond as f64 / MIB as f64
    }
}
