//! Links that change, fall silent, or are not used.

use super::link::{Flow, Link, Run, Simulation, mbit};
use super::{millis, seconds};

/// A flow on a link that becomes another one after 10 s; what counts is from `settled` to 40 s.
fn changed(before: Link, rate: u64, rtt_ms: u64, settled: u64) -> Run {
    let mut simulation = Simulation::new(before, &[Flow::model()], 3);
    simulation.change(seconds(10), rate, millis(rtt_ms));
    let run = simulation.run(seconds(settled), seconds(40));
    println!("{before:?} to {rate} bytes/s, {rtt_ms} ms: {run}");
    run
}

#[test]
fn more_rate_is_found_within_seconds() {
    for rtt in [5, 50, 200] {
        let run = changed(Link::new(20, rtt), mbit(200), rtt, 20);
        assert!(run.utilisation() > 95.0, "{run}");
    }
}

#[test]
fn less_rate_is_obeyed_within_seconds() {
    for rtt in [5, 50, 200] {
        let run = changed(Link::new(200, rtt), mbit(20), rtt, 20);
        assert!(run.utilisation() > 97.0, "{run}");
        assert!(run.lost_to_queue(0) < 4.0, "{run}");
    }
}

#[test]
fn a_longer_way_is_believed_after_a_while() {
    let run = changed(Link::new(100, 20), mbit(100), 120, 25);
    assert!(run.utilisation() > 95.0, "{run}");
}

#[test]
fn a_silence_leaves_no_scar() {
    for rtt in [5, 50, 200] {
        let link = Link::new(50, rtt);
        let mut simulation = Simulation::new(link, &[Flow::model()], 3);
        simulation.outage(seconds(10), seconds(13));
        let run = simulation.run(seconds(16), seconds(30));
        println!("{link:?}: {run}");
        assert!(run.utilisation() > 97.0, "{link:?}: {run}");
    }
}

#[test]
fn a_slow_application_does_not_lower_the_rate() {
    // 100 ms of nothing after each 100 KB: the rate must be known still when there is more to send.
    let link = Link::new(100, 20);
    let flow = Flow::model().pauses(100_000, millis(100));
    let run = Simulation::new(link, &[flow], 3).run(seconds(5), seconds(20));
    let sent = run.flows[0].sent;
    println!("{link:?}: {run}");
    // 8 ms for the bytes and 20 for the way: seven times a second at least.
    assert!(sent * super::link::PACKET > 20 * 7 * 100_000, "{sent}");
}

#[test]
fn a_very_short_way_is_not_paced() {
    let mut link = Link::new(8_000, 0);
    link.rtt = std::time::Duration::from_micros(60);
    link.queue = 4 << 20;
    let run = Simulation::new(link, &[Flow::model()], 3).run(millis(100), millis(500));
    println!("{run}");
    assert!(run.utilisation() > 95.0, "{run}");
    assert!(run.lost_to_queue(0) < 0.1, "{run}");
}
