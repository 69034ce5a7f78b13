//! `resume`: how soon a download that was killed goes on, and what it costs.

use harness::scenario::{MIB, Resume, run_resume};

use crate::Options;
use crate::report::{Report, Row};

/// Runs it.
pub(crate) fn run(options: &Options) -> Report {
    let resume = Resume { size: options.size_or(4096 * MIB), rate: None, place: options.place.clone() };
    let rounds = options.rounds_or(3);
    let results: Vec<_> = (0..rounds).map(|_| run_resume(&resume)).collect();
    let mut report = Report::new(
        "resume",
        format!(
            "{} MiB, killed (SIGKILL) at about three quarters, {rounds} rounds; from the start of the second process to \
             the first chunk that was not there.",
            resume.size / MIB
        ),
    );
    report.row(
        Row::new("killed and started again")
            .figure("to the first new chunk", "s", 2, results.iter().map(|r| r.to_first_chunk.as_secs_f64()))
            .figure("there before", "MiB", 0, results.iter().map(|result| result.kept as f64 / MIB as f64))
            .figure("sent twice", "MiB", 2, results.iter().map(|result| result.twice as f64 / MIB as f64)),
    );
    report
}
