//! `mrt`: MRT beside TCP and quinn, over loopback and over links with delay, loss, rate and queue.
//!
//! Each module uses only those that stand after it in this list:
//!
//! - `loopback`, `table`, `completion`, `fairness`: what is measured
//! - `flow`: a source and a sink as processes
//! - `end`: what runs in these processes
//! - `cell`: a link
//! - `contestant`: a transport

mod cell;
mod completion;
mod contestant;
mod end;
mod fairness;
mod flow;
mod loopback;
mod table;

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum as _};

use crate::Options;
use crate::report::Report;
use cell::Cell;
use contestant::Transport;
pub(crate) use end::{EndArgs, run as run_end};

/// What to measure and how
#[derive(Debug, Clone, Args)]
pub(crate) struct MrtArgs {
    #[command(subcommand)]
    part: Part,
    /// Only these transports
    #[arg(long, global = true, value_name = "TRANSPORT", value_delimiter = ',')]
    only: Vec<Transport>,
    /// Queues hold so many bandwidth-delay products, but 30 packets at least
    #[arg(long, global = true, value_name = "BDP", default_value_t = 1.0)]
    queue: f64,
    /// How long each flow lasts
    #[arg(long, global = true, value_name = "SECS")]
    seconds: Option<u64>,
    /// Only these links: round trip in ms, loss in percent, rate in Mbit/s
    #[arg(long, global = true, value_name = "RTT:LOSS:RATE", value_delimiter = ',')]
    cells: Vec<Cell>,
}

#[derive(Debug, Clone, Subcommand)]
enum Part {
    /// As fast as this machine allows: speed, processor time, packets
    Loopback,
    /// Goodput on links of 5, 50 and 200 ms, 0, 1, 2 and 5 % loss, 20 and 200 Mbit/s
    Table,
    /// From the first packet to the last byte of 1, 10 and 256 MiB
    Completion,
    /// Two flows on one link, of which the second starts later
    Fairness {
        /// Which flows
        #[arg(long, value_name = "FIRST+SECOND", value_delimiter = ',')]
        pairs: Vec<fairness::Pair>,
    },
}

/// Runs one part.
pub(crate) fn run(options: &Options, args: &MrtArgs) -> anyhow::Result<Report> {
    match &args.part {
        Part::Loopback => Ok(loopback::run(options, args)),
        Part::Table => table::run(options, args),
        Part::Completion => completion::run(options, args),
        Part::Fairness { pairs } => fairness::run(options, args, pairs),
    }
}

impl MrtArgs {
    fn transports(&self) -> Vec<Transport> {
        let all = Transport::value_variants().iter().copied();
        all.filter(|transport| self.only.is_empty() || self.only.contains(transport)).collect()
    }

    fn cells_or(&self, default: impl IntoIterator<Item = Cell>) -> Vec<Cell> {
        if self.cells.is_empty() { default.into_iter().collect() } else { self.cells.clone() }
    }

    fn time_or(&self, default: Duration) -> Duration {
        self.seconds.map_or(default, Duration::from_secs)
    }
}

/// An error where no emulator can be started.
fn emulator_possible() -> anyhow::Result<()> {
    harness::emulator::possible().map_err(|why| anyhow::anyhow!("no link can be emulated here: {why}"))
}

/// Tells how it goes, beside the data.
#[expect(clippy::print_stderr, reason = "stderr is talk")]
fn say(what: &str) {
    eprintln!("{what}");
}

/// How long it will take, in words.
fn estimate(flows: usize, each: Duration) {
    /// Processes and an emulator are started and ended for each flow.
    const AROUND: f64 = 0.7;
    let minutes = flows as f64 * (each.as_secs_f64() + AROUND) / 60.0;
    say(&format!("{flows} flows, about {minutes:.0} min"));
}
