//! `crowd`: one seeder and N downloaders at once, all uploads limited alike, against what is possible at all.

use harness::scenario::{Crowd, MIB, run_crowd};

use crate::Options;
use crate::report::{Report, Row};

const RATE: u64 = 20 * MIB;

/// Runs it.
pub(crate) fn run(options: &Options, downloaders: u32) -> Report {
    let crowd = Crowd { size: options.size_or(128 * MIB), downloaders, rate: RATE };
    let rounds = options.rounds_or(3);
    let results: Vec<_> = (0..rounds).map(|_| run_crowd(crowd)).collect();
    let mut report = Report::new(
        "crowd",
        format!(
            "{} MiB from one seeder to {downloaders} downloaders that ask at the same moment, {} MiB/s up each, {rounds} \
             rounds. The bound is max(F / u_s, N F / (u_s + sum u_i)).",
            crowd.size / MIB,
            RATE / MIB
        ),
    );
    let others = results.iter().flat_map(|result| result.from_others.iter().map(|part| part * 100.0));
    report.row(
        Row::new(format!("1 to {downloaders}"))
            .figure("last one done", "s", 2, results.iter().map(|result| result.last.as_secs_f64()))
            .figure("first one done", "s", 2, results.iter().map(|result| result.first.as_secs_f64()))
            .figure("bound", "s", 2, results.iter().take(1).map(|result| result.bound.as_secs_f64()))
            .figure("times the bound", "", 2, results.iter().map(harness::scenario::CrowdResult::times_bound))
            .figure("from others", "%", 0, others)
            .figure("seeder sent", "MiB", 0, results.iter().map(|result| result.from_seeder as f64 / MIB as f64))
            .figure("beyond the files", "MiB", 2, results.iter().map(harness::scenario::CrowdResult::beyond_mib)),
    );
    report
}
