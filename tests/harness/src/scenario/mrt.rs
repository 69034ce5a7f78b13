//! MRT on random networks, in virtual time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::{Findings, Scale};
use crate::sim::{Failure, Outcome, Scenario};

/// Runs the scenarios of as many seeds as there are rounds, on all cores; size does not matter.
pub(super) fn mrt(scale: Scale) -> Findings {
    /// After so many the rest is not worth running.
    const MAX_FAILURES: usize = 5;
    let seeds = scale.seed..scale.seed + u64::from(scale.rounds);
    let next = AtomicU64::new(seeds.start);
    let (outcomes, failures) = (Mutex::new(Vec::new()), Mutex::new(Vec::<Failure>::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let has_failed = failures.lock().expect("nobody panics with it").len() >= MAX_FAILURES;
            if seed >= seeds.end || has_failed {
                return;
            }
            match Scenario::random(seed).run() {
                Ok(outcome) => outcomes.lock().expect("nobody panics with it").push(outcome),
                Err(failure) => failures.lock().expect("nobody panics with it").push(*failure),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().expect("all threads have ended");
    if let Some(first) = failures.first() {
        let all: Vec<_> =
            failures.iter().map(|failure| format!("seed {}: {}", failure.scenario.seed, failure.what)).collect();
        panic!("{first}\n{} of {} runs failed:\n{}", all.len(), scale.rounds, all.join("\n"));
    }
    findings(&outcomes.into_inner().expect("all threads have ended"))
}

fn findings(outcomes: &[Outcome]) -> Findings {
    const MIB: f64 = (1 << 20) as f64;
    let sum = |of: fn(&Outcome) -> f64| vec![outcomes.iter().map(of).sum::<f64>()];
    let longest = outcomes.iter().map(|outcome| outcome.longest_wait).max().unwrap_or(Duration::ZERO);
    Findings::default()
        .with("runs", "", sum(|_| 1.0))
        .with("of them ended as planned, the rest with a reason", "", sum(|outcome| f64::from(outcome.done)))
        .with("bytes that arrived", "MiB", sum(|outcome| outcome.bytes as f64 / MIB))
        .with("datagrams", "", sum(|outcome| outcome.datagrams as f64))
        .with("timeouts", "", sum(|outcome| outcome.timeouts as f64))
        .with("virtual time", "s", sum(|outcome| outcome.time.as_secs_f64()))
        .with("longest wait", "s", vec![longest.as_secs_f64()])
}
