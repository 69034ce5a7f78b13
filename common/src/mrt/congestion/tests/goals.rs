//! What the model must reach alone, over a table of links. `--nocapture` shows the table.

use super::link::{Flow, Link, Run, Simulation, mbit};
use super::{millis, seconds};

/// Runs a flow for 30 s, of which the first 5 do not count.
fn alone(link: Link) -> Run {
    let run = Simulation::new(link, &[Flow::model()], 7).run(seconds(5), seconds(30));
    println!("{link:?}: {run}");
    run
}

fn table(losses: &[u64]) -> impl Iterator<Item = Link> {
    let links = [20, 200].into_iter().flat_map(|mbit| [5, 50, 200].map(|rtt| Link::new(mbit, rtt)));
    links.flat_map(move |link| losses.iter().map(move |loss| link.loss_percent(*loss)).collect::<Vec<_>>())
}

#[test]
fn a_link_is_filled_whatever_it_loses() {
    for link in table(&[0, 1, 2, 5]) {
        let run = alone(link);
        assert!(run.utilisation() > 99.0, "{link:?}: {run}");
        assert!(run.lost_to_queue(0) < 0.5, "{link:?}: {run}");
        assert!(run.standing() < 45.0, "{link:?}: {run}");
    }
}

#[test]
fn fifteen_percent_of_loss_do_not_cut() {
    for link in table(&[15]) {
        let run = alone(link);
        assert!(run.utilisation() > 98.0, "{link:?}: {run}");
    }
}

#[test]
fn a_shallow_queue_is_not_overrun() {
    for link in table(&[0, 2]).map(|link| link.queue_packets(100)) {
        let run = alone(link);
        assert!(run.utilisation() > 98.5, "{link:?}: {run}");
        let most = if link.loss == 0 { 1.0 } else { 3.5 };
        assert!(run.lost_to_queue(0) < most, "{link:?}: {run}");
    }
    // So few that at 200 Mbit/s the burst of one tick of the timer does not fit.
    for link in table(&[0, 2]).map(|link| link.queue_packets(25)) {
        let run = alone(link);
        assert!(run.utilisation() > 97.0, "{link:?}: {run}");
        assert!(run.lost_to_queue(0) < 2.0 || link.rate > mbit(20), "{link:?}: {run}");
    }
}

#[test]
fn jitter_is_no_queue() {
    for link in table(&[0, 2]).filter(|link| link.rtt > millis(5)).map(|link| link.jitter(millis(8))) {
        let run = alone(link);
        assert!(run.utilisation() > 95.0, "{link:?}: {run}");
    }
}

#[test]
fn a_cold_start_takes_few_round_trips() {
    const BYTES: u64 = 10 << 20;
    let finish = |link| Simulation::new(link, &[Flow::model().of(BYTES)], 7).run(seconds(0), seconds(30));
    for (mbit, rtt, rounds) in [(20, 50, 3), (200, 5, 5), (200, 50, 6), (200, 200, 8)] {
        let link = Link::new(mbit, rtt);
        let finished = finish(link).flows[0].finished.unwrap();
        let ideal = seconds(BYTES) / u32::try_from(link.rate).unwrap();
        println!("{link:?}: 10 MiB in {finished:?}, the rate alone takes {ideal:?}");
        assert!(finished < ideal + link.rtt * rounds, "{link:?}: {finished:?}");
        let lossy = finish(link.loss_percent(5)).flows[0].finished.unwrap();
        println!("with 5 % of loss in {lossy:?}");
        assert!(lossy < ideal * 110 / 100 + link.rtt * (rounds + 5) + millis(200), "{link:?}: {lossy:?}");
    }
}
