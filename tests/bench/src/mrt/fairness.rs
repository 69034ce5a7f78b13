//! `mrt fairness`: two flows on one link.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum as _;
use harness::wait::wait_until;

use super::cell::Cell;
use super::contestant::{Contestant, Transport};
use super::end::{Moment, moment};
use super::flow::{Amount, Flow, Place};
use super::{MrtArgs, emulator_possible, estimate, say};
use crate::Options;
use crate::report::{Report, Row};

const FLOW: Duration = Duration::from_secs(60);
/// The second flow starts when so much of the first's time has passed: its rate has settled by then.
const LATER: f64 = 0.1;
/// From there on it counts: the two have found their shares.
const SETTLED: f64 = 1.0 / 3.0;

/// Two transports on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    first: Transport,
    second: Transport,
}

/// What two flows got.
#[derive(Debug, Clone, Copy)]
struct Shares {
    first_mbit: f64,
    second_mbit: f64,
    own_loss: f64,
    queue: f64,
}

/// Measures one pair after the other on each link.
pub(super) fn run(options: &Options, args: &MrtArgs, pairs: &[Pair]) -> anyhow::Result<Report> {
    emulator_possible()?;
    let (time, rounds) = (args.time_or(FLOW), options.rounds_or(1));
    let cells = args.cells_or([Cell::new(50.0, 0.0, 20.0), Cell::new(50.0, 0.0, 100.0), Cell::new(50.0, 1.0, 100.0)]);
    let pairs = if pairs.is_empty() { default_pairs() } else { pairs.to_vec() };
    estimate(cells.len() * pairs.len() * rounds as usize, time);
    let mut report = Report::new(
        "mrt fairness",
        format!(
            "Two flows on one emulated link for {} s, the second {:.0} s later, {rounds} rounds; what counts are the last \
             two thirds. Round trip, loss and rate as in the first column; the queue holds {} BDP.",
            time.as_secs(),
            time.as_secs_f64() * LATER,
            args.queue
        ),
    );
    for cell in cells {
        for pair in &pairs {
            let results: Vec<Shares> =
                (0..rounds).filter_map(|round| measure(cell, args.queue, *pair, time, round)).collect();
            let of = |figure: fn(&Shares) -> f64| results.iter().map(figure).collect::<Vec<f64>>();
            report.row(
                Row::new(format!("{cell}: {pair}"))
                    .figure("first", "Mbit/s", 1, of(|result| result.first_mbit))
                    .figure("second", "Mbit/s", 1, of(|result| result.second_mbit))
                    .figure("first's share", "%", 0, of(Shares::first_percent))
                    .figure("own loss", "%", 2, of(|result| result.own_loss * 100.0))
                    .figure("mean queue", "BDP", 2, of(|result| result.queue)),
            );
        }
    }
    Ok(report)
}

fn default_pairs() -> Vec<Pair> {
    use Transport::{Mrt, TcpBbr, TcpCubic};
    let pairs = [(Mrt, Mrt), (Mrt, TcpCubic), (TcpCubic, Mrt), (Mrt, TcpBbr), (TcpBbr, TcpCubic)];
    pairs.map(|(first, second)| Pair { first, second }).to_vec()
}

fn measure(cell: Cell, queue: f64, pair: Pair, time: Duration, round: u32) -> Option<Shares> {
    let emulator = cell.start(queue, round);
    let place = Place::Emulator(&emulator);
    let start = |transport, time| Flow::start(Contestant::on_internet(transport), Amount::Time(time), place);
    let later = time.mul_f64(LATER);
    let first = start(pair.first, time);
    let at = |part: f64| first.started() + Moment::try_from(time.mul_f64(part).as_nanos()).expect("a few minutes");
    let reach = |moment_wanted| wait_until(time, "a moment to come", || moment() >= moment_wanted);
    reach(at(LATER));
    let second = start(pair.second, time - later);
    reach(at(SETTLED));
    let (from, before) = (moment(), emulator.to_right());
    // A little before the end, so that both are still at it.
    reach(at(1.0) - 200_000_000);
    let (to, after) = (moment(), emulator.to_right());
    let (first, second) = (first.finish(time)?, second.finish(time)?);
    let result = Shares {
        first_mbit: first.rate_between(from, to) / 1e6,
        second_mbit: second.rate_between(from, to) / 1e6,
        own_loss: after.share_lost_at_queue(&before),
        queue: after.mean_queue_bytes(&before, Duration::from_nanos(to - from)) / cell.bdp_bytes(),
    };
    say(&format!(
        "{cell}: {pair}: {:.1} and {:.1} Mbit/s ({:.0} %), own loss {:.2} %, queue {:.2} BDP",
        result.first_mbit,
        result.second_mbit,
        result.first_percent(),
        result.own_loss * 100.0,
        result.queue
    ));
    Some(result)
}

impl Shares {
    fn first_percent(&self) -> f64 {
        self.first_mbit / (self.first_mbit + self.second_mbit) * 100.0
    }
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, second) = text.split_once('+').ok_or("a pair is FIRST+SECOND, as in mrt+tcp-cubic")?;
        let transport = |code| Transport::from_str(code, false);
        Ok(Self { first: transport(first)?, second: transport(second)? })
    }
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, then {}", self.first.name(), self.second.name())
    }
}
