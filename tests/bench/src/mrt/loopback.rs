//! `mrt loopback`: as fast as this machine allows.

use std::time::Duration;

use super::MrtArgs;
use super::contestant::Contestant;
use super::flow::{Amount, Flow, Place, Seen};
use super::say;
use crate::Options;
use crate::report::{Report, Row};

/// Beyond it a flow has failed.
const LIMIT: Duration = Duration::from_secs(120);
const GIB: f64 = 1_073_741_824.0;

/// Measures all in turns.
pub(super) fn run(options: &Options, args: &MrtArgs) -> Report {
    let (size, rounds) = (options.size_or(2 << 30), options.rounds_or(5));
    let contestants: Vec<Contestant> = args
        .transports()
        .into_iter()
        .flat_map(|transport| {
            transport.loopback_packets().iter().map(move |packet| Contestant { transport, packet: *packet })
        })
        .collect();
    let mut report = Report::new(
        "mrt loopback",
        format!(
            "{} MiB over loopback, {rounds} rounds in turns, from the first packet to the last byte; source and sink are \
             processes with two threads each, whose processor time is summed. TCP is not encrypted.",
            size >> 20
        ),
    );
    let mut seen: Vec<Vec<Seen>> = vec![Vec::new(); contestants.len()];
    for _ in 0..rounds {
        for (contestant, seen) in contestants.iter().zip(&mut seen) {
            let flow = Flow::start(*contestant, Amount::Bytes(size), Place::Loopback).finish(LIMIT);
            if let Some(flow) = &flow {
                say(&format!("{contestant}: {:.0} MB/s", flow.bytes() as f64 / 1e6 / flow.wall()));
            }
            seen.extend(flow);
        }
    }
    for (contestant, seen) in contestants.iter().zip(&seen) {
        report.row(row(*contestant, seen));
    }
    report
}

fn row(contestant: Contestant, seen: &[Seen]) -> Row {
    let of = |figure: fn(&Seen) -> f64| seen.iter().map(figure).collect::<Vec<f64>>();
    let packets = seen.iter().filter_map(|flow| Some(flow.packets? as f64 / flow.wall() / 1e3));
    Row::new(contestant.to_string())
        .figure("speed", "MB/s", 0, of(|flow| flow.bytes() as f64 / 1e6 / flow.wall()))
        .figure("CPU a GiB", "s", 2, of(|flow| flow.cpu * GIB / flow.bytes() as f64))
        .figure("packets", "1000/s", 0, packets)
}
