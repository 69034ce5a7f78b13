//! `hash`: what a core makes of SHA-256 alone, and of file ids, which no transfer can outrun.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::thread;
use std::time::Instant;

use common::merkle::FileHasher;
use harness::content::Content;
use sha2::{Digest as _, Sha256};

use crate::Options;
use crate::report::{Report, Row};

const BLOCK: usize = 16 << 10;
/// Larger than the caches of most machines.
const BUFFER: usize = 64 << 20;

/// Measures both, on one core and on all.
pub(crate) fn run(options: &Options) -> Report {
    let (size, rounds) = (options.size_or(1 << 30), options.rounds_or(5));
    let mut buffer = vec![0; BUFFER];
    Content::random(1, BUFFER as u64).fill(0, &mut buffer);
    let passes = size.div_ceil(BUFFER as u64);
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let mut report = Report::new(
        "hash",
        format!("{} MiB from memory, {rounds} rounds, sha2, blocks of 16 KiB.", passes * (BUFFER as u64 >> 20)),
    );
    for threads in if cores > 1 { vec![1, cores] } else { vec![1] } {
        let mut measure = |what: &str, hash: fn(&[u8])| {
            let speeds = (0..rounds).map(|_| speed(&buffer, passes, threads, hash)).collect::<Vec<f64>>();
            let name = format!("{what}, {threads} {}", if threads == 1 { "thread" } else { "threads" });
            report.row(Row::new(name).figure("speed", "GB/s", 2, speeds));
        };
        measure("SHA-256", sha256_blocks);
        measure("file id", file_id);
    }
    report
}

/// Bytes a nanosecond, which are GB/s.
fn speed(buffer: &[u8], passes: u64, threads: usize, hash: fn(&[u8])) -> f64 {
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..passes).for_each(|_| hash(black_box(buffer))));
        }
    });
    let bytes = passes as f64 * buffer.len() as f64 * threads as f64;
    bytes / start.elapsed().as_nanos() as f64
}

fn sha256_blocks(buffer: &[u8]) {
    for block in buffer.chunks(BLOCK) {
        black_box(Sha256::digest(block));
    }
}

fn file_id(buffer: &[u8]) {
    let mut hasher = FileHasher::new(buffer.len() as u64).expect("a buffer is below 8 TiB");
    hasher.update(buffer);
    black_box(hasher.finish().expect("the whole buffer was hashed").file_id());
}
