//! `soak`: the scenarios that tests run small, with many rounds and large files.

use std::fmt::Write as _;
use std::time::Instant;

use harness::scenario::{self, MIB, Scale};

use crate::Options;
use crate::report::{Report, Row};

/// Runs the scenario of this name, or says which there are.
pub(crate) fn run(options: &Options, name: Option<&str>, seed: Option<u64>) -> anyhow::Result<Report> {
    let Some(scenario) = name.and_then(scenario::find) else { anyhow::bail!(unknown(name)) };
    let large = scenario.large;
    let scale = Scale {
        rounds: options.rounds_or(large.rounds),
        size: options.size_or(large.size),
        seed: seed.unwrap_or(large.seed),
    };
    let start = Instant::now();
    let findings = (scenario.run)(scale);
    let method = format!(
        "{}: {}; {} rounds, {} MiB, seed {}.",
        scenario.name,
        scenario.about,
        scale.rounds,
        scale.size / MIB,
        scale.seed
    );
    let mut report = Report::new("soak", method);
    for figure in findings.figures {
        let name =
            if figure.unit.is_empty() { figure.name.to_owned() } else { format!("{}, {}", figure.name, figure.unit) };
        report.row(Row::new(name).figure("value", "", 2, figure.values));
    }
    report.note(format!("All held, in {:.0} s.", start.elapsed().as_secs_f64()));
    Ok(report)
}

fn unknown(name: Option<&str>) -> String {
    let mut text = match name {
        Some(name) => format!("there is no soak {name}; there are:"),
        None => "say which soak; there are:".to_owned(),
    };
    for scenario in scenario::ALL {
        write!(text, "\n  {:18} {}", scenario.name, scenario.about).expect("a String takes all");
    }
    text
}
