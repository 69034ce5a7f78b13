//! `multi`: several seeders, each limited; the downloader gets the sum of their limits, and none sends more than its own.

use harness::scenario::{MIB, Multi, run_multi};

use crate::Options;
use crate::report::{Report, Row};

const SEEDERS: u32 = 4;
const RATE: u64 = 25 * MIB;

/// Runs it.
pub(crate) fn run(options: &Options) -> Report {
    let multi = Multi { size: options.size_or(1024 * MIB), seeders: SEEDERS, rate: RATE };
    let rounds = options.rounds_or(3);
    let results: Vec<_> = (0..rounds).map(|_| run_multi(multi)).collect();
    let mut report = Report::new(
        "multi",
        format!(
            "{} MiB from {SEEDERS} seeders of {} MiB/s each to one downloader, {rounds} rounds; from the command to the \
             file under its name. A seeder's rate is that of the middle eight tenths.",
            multi.size / MIB,
            RATE / MIB
        ),
    );
    report.row(
        Row::new("download")
            .figure("time", "s", 2, results.iter().map(|result| result.elapsed.as_secs_f64()))
            .figure("of the limits", "%", 1, results.iter().map(|result| result.of_sum * 100.0))
            .figure("beyond the file", "MiB", 2, results.iter().map(|result| result.beyond as f64 / MIB as f64)),
    );
    for number in 0..SEEDERS as usize {
        let of_limit = results.iter().filter_map(|result| result.of_limits.get(number)).map(|part| part * 100.0);
        report.row(Row::new(format!("seeder {}", number + 1)).figure("of the limits", "%", 1, of_limit));
    }
    report
}
