//! `mrt completion`: how long files of several sizes take from a cold start.

use std::time::Duration;

use super::cell::Cell;
use super::contestant::{Contestant, Transport};
use super::flow::{Amount, Flow, Place};
use super::{MrtArgs, emulator_possible, say};
use crate::Options;
use crate::report::{Report, Row};

/// Beyond it a flow has failed.
const LIMIT: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;
/// Sizes in MiB and what the column of each is called.
const SIZES: [(u64, &str); 3] = [(1, "1 MiB"), (10, "10 MiB"), (256, "256 MiB")];
/// Files above it are tried on fast links without loss only: elsewhere they take minutes and tell what the table tells.
const ANYWHERE_MIB: u64 = 10;
const FAST_MBIT: f64 = 100.0;

/// Measures all in turns.
pub(super) fn run(options: &Options, args: &MrtArgs) -> anyhow::Result<Report> {
    emulator_possible()?;
    let (rounds, transports) = (options.rounds_or(5), args.transports());
    let cells = args.cells_or([
        Cell::new(5.0, 0.0, 200.0),
        Cell::new(50.0, 0.0, 20.0),
        Cell::new(50.0, 0.0, 200.0),
        Cell::new(50.0, 1.0, 200.0),
        Cell::new(200.0, 0.0, 200.0),
    ]);
    let mut report = Report::new(
        "mrt completion",
        format!(
            "From the first packet to the last byte over an emulated link, handshake included, {rounds} rounds in turns; a \
             new link and new processes each time, so that nothing is known from before. Round trip, loss and rate as in \
             the first column; the queue holds {} BDP. TCP has no handshake but its own.",
            args.queue
        ),
    );
    for cell in cells {
        let mut walls = vec![[const { Vec::new() }; SIZES.len()]; transports.len()];
        for round in 0..rounds {
            for (transport, walls) in transports.iter().zip(&mut walls) {
                for ((mib, name), walls) in SIZES.iter().zip(walls) {
                    let is_sensible = cell.is_clean() && cell.rate_mbit() >= FAST_MBIT;
                    if *mib > ANYWHERE_MIB && !is_sensible {
                        continue;
                    }
                    let wall = measure(cell, args.queue, *transport, mib * MIB, round);
                    if let Some(wall) = wall {
                        say(&format!("{cell}: {}: {name} in {wall:.3} s", transport.name()));
                    }
                    walls.extend(wall);
                }
            }
        }
        for (transport, walls) in transports.iter().zip(walls) {
            let mut row = Row::new(format!("{cell}: {}", transport.name()));
            for ((_, name), walls) in SIZES.into_iter().zip(walls) {
                row = row.figure(name, "s", 3, walls);
            }
            report.row(row);
        }
    }
    Ok(report)
}

fn measure(cell: Cell, queue: f64, transport: Transport, bytes: u64, round: u32) -> Option<f64> {
    let emulator = cell.start(queue, round);
    let contestant = Contestant::on_internet(transport);
    let seen = Flow::start(contestant, Amount::Bytes(bytes), Place::Emulator(&emulator)).finish(LIMIT)?;
    Some(seen.wall())
}
