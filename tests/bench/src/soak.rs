//! `soak`: the scenarios that tests run small, with many rounds and large files.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use clap::Args;
use harness::natlab::Nat;
use harness::scenario::{self, MIB, Meetings, Scale};

use crate::Options;
use crate::report::{Report, Row};

/// Which, and what one can choose in it.
#[derive(Debug, Clone, Args)]
pub(crate) struct SoakArgs {
    /// Which; without it: list them
    name: Option<String>,
    /// What is random in it follows from this number
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// nat: the routers before the two nodes [default: port-restricted port-restricted]
    #[arg(long, num_args = 2, value_names = ["KIND", "KIND"])]
    kinds: Option<Vec<Nat>>,
    /// nat: how long a packet takes from each of the two to the internet
    #[arg(long, default_value_t = 0, value_name = "MS")]
    delay: u64,
}

/// Runs the scenario of this name, or says which there are.
pub(crate) fn run(options: &Options, args: &SoakArgs) -> anyhow::Result<Report> {
    let name = args.name.as_deref();
    let Some(scenario) = name.and_then(scenario::find) else { anyhow::bail!(unknown(name)) };
    let large = scenario.large;
    let scale = Scale {
        rounds: options.rounds_or(large.rounds),
        size: options.size_or(large.size),
        seed: args.seed.unwrap_or(large.seed),
    };
    let start = Instant::now();
    let (findings, how) = if scenario.name == NAT {
        let meetings = args.meetings();
        let [one, other] = meetings.kinds;
        let how = format!("{one} and {other}, {} ms to the internet", meetings.delay.as_millis());
        (scenario::run_meetings(meetings, scale), how)
    } else {
        ((scenario.run)(scale), format!("{} MiB, seed {}", scale.size / MIB, scale.seed))
    };
    let method = format!("{}: {}; {} rounds, {how}.", scenario.name, scenario.about, scale.rounds);
    let mut report = Report::new("soak", method);
    for figure in findings.figures {
        let name =
            if figure.unit.is_empty() { figure.name.to_owned() } else { format!("{}, {}", figure.name, figure.unit) };
        report.row(Row::new(name).figure("value", "", 2, figure.values));
    }
    report.note(format!("All held, in {:.0} s.", start.elapsed().as_secs_f64()));
    Ok(report)
}

impl SoakArgs {
    fn meetings(&self) -> Meetings {
        let mut meetings = Meetings { delay: Duration::from_millis(self.delay), ..Meetings::default() };
        if let Some([one, other]) = self.kinds.as_deref() {
            meetings.kinds = [*one, *other];
        }
        meetings
    }
}

/// The scenario that has options of its own.
const NAT: &str = "nat";

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
