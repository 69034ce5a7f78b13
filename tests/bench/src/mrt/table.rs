//! `mrt table`: goodput of long flows on many links.

use std::time::Duration;

use clap::ValueEnum as _;
use harness::emulator::Counters;
use harness::wait::wait_until;

use super::cell::Cell;
use super::contestant::{Contestant, Transport};
use super::end::{Moment, moment};
use super::flow::{Amount, Flow, Place};
use super::{MrtArgs, emulator_possible, estimate, say};
use crate::Options;
use crate::report::{Report, Row, Spread};

const FLOW: Duration = Duration::from_secs(30);
/// What a flow does at its start does not count.
const START: Duration = Duration::from_secs(5);
/// So much of the best is good enough.
const ENOUGH: f64 = 0.98;

/// One flow on one cell.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    transport: Transport,
    mbit: f64,
    /// Share of the packets from source to sink that found the queue full.
    own_loss: f64,
    /// Mean and most bytes in the queue before the bottleneck, in bandwidth-delay products.
    queue: f64,
    queue_most: f64,
}

/// Measures one after the other on each cell.
pub(super) fn run(options: &Options, args: &MrtArgs) -> anyhow::Result<Report> {
    emulator_possible()?;
    let (time, rounds, transports) = (args.time_or(FLOW), options.rounds_or(1), args.transports());
    let start = START.as_secs();
    anyhow::ensure!(time > START, "the first {start} s of a flow do not count: give --seconds more than that");
    let cells = args.cells_or(all_cells());
    estimate(cells.len() * transports.len() * rounds as usize, time);
    let mut report = Report::new(
        "mrt table",
        format!(
            "Flows of {} s over an emulated link, one at a time, {rounds} rounds in turns; goodput from second {} on, as \
             the receiver sees it. Round trip, loss (random, each way) and rate of IP packets as in the first column; the \
             queue holds {} BDP, but 30 packets at least. Own loss: of all packets, those that found the queue full. \
             Queue: its mean and its peak. TCP tunes its buffers up to 256 MiB, quinn's windows are 10 MiB, with which its BBR does best.",
            time.as_secs(),
            START.as_secs(),
            args.queue
        ),
    );
    for cell in cells {
        let mut results = Vec::new();
        for round in 0..rounds {
            for transport in &transports {
                results.extend(measure(cell, args.queue, *transport, time, round));
            }
        }
        report.row(row(cell, &transports, &results));
        if let Some(part) = to_best(&results).filter(|part| *part < ENOUGH) {
            report.note(format!("Less than {:.0} % of the best: {cell}, {:.1} %.", ENOUGH * 100.0, part * 100.0));
        }
    }
    Ok(report)
}

fn all_cells() -> impl Iterator<Item = Cell> {
    let links = [5.0, 50.0, 200.0].into_iter().flat_map(|rtt| [20.0, 200.0].map(|rate| (rtt, rate)));
    links.flat_map(|(rtt, rate)| [0.0, 1.0, 2.0, 5.0].map(|loss| Cell::new(rtt, loss, rate)))
}

/// `None` where the flow failed, which has been said.
fn measure(cell: Cell, queue: f64, transport: Transport, time: Duration, round: u32) -> Option<Outcome> {
    let emulator = cell.start(queue, round);
    let flow = Flow::start(Contestant::on_internet(transport), Amount::Time(time), Place::Emulator(&emulator));
    let (from, before) = counters_at(flow.started(), START, || emulator.to_right());
    let (to, after) = counters_at(flow.started(), time, || emulator.to_right());
    let overruns = emulator.overruns();
    let seen = flow.finish(time)?;
    let bdp = cell.bdp_bytes();
    let result = Outcome {
        transport,
        mbit: seen.rate_between(from, to) / 1e6,
        own_loss: after.share_lost_at_queue(&before),
        queue: after.mean_queue_bytes(&before, Duration::from_nanos(to - from)) / bdp,
        queue_most: after.queue_most_bytes as f64 / bdp,
    };
    let Outcome { mbit, own_loss, queue, queue_most, .. } = result;
    say(&format!(
        "{cell}: {}: {mbit:.2} Mbit/s, own loss {:.2} %, queue {queue:.2} BDP (peak {queue_most:.2}), latest {:.1} ms",
        transport.name(),
        own_loss * 100.0,
        after.latest.as_secs_f64() * 1e3,
    ));
    if overruns > 0 {
        say(&format!("the emulator did not keep up: {overruns} packets were lost by it"));
    }
    Some(result)
}

/// The counters when `after` has passed since `started`, and when exactly that was.
fn counters_at(started: Moment, after: Duration, counters: impl Fn() -> Counters) -> (Moment, Counters) {
    let due = started + Moment::try_from(after.as_nanos()).expect("a few seconds");
    wait_until(after + START, "a moment to come", || moment() >= due);
    (moment(), counters())
}

fn row(cell: Cell, transports: &[Transport], results: &[Outcome]) -> Row {
    let of = |transport: Transport| results.iter().filter(move |result| result.transport == transport);
    let mut row = Row::new(cell.to_string());
    for transport in transports {
        row = row.figure(transport.name(), "Mbit/s", 1, of(*transport).map(|result| result.mbit));
    }
    let mrt = || of(Transport::Mrt);
    row.figure("MRT to best", "%", 1, to_best(results).map(|part| part * 100.0))
        .figure("MRT own loss", "%", 2, mrt().map(|result| result.own_loss * 100.0))
        .figure("MRT queue", "BDP", 2, mrt().map(|result| result.queue))
        .figure("peak", "BDP", 2, mrt().map(|result| result.queue_most))
}

/// MRT's goodput to that of the best rival, both as medians over all rounds.
fn to_best(results: &[Outcome]) -> Option<f64> {
    let median = |transport| Spread::of(results.iter().filter(|one| one.transport == transport).map(|one| one.mbit));
    let rivals = Transport::value_variants().iter().filter(|transport| transport.is_rival());
    let best = rivals.filter_map(|rival| median(*rival)).map(Spread::median).max_by(f64::total_cmp)?;
    Some(median(Transport::Mrt)?.median() / best)
}
