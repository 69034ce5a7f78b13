//! MRT on simulated networks: rates, queues, fairness, changes of address, and random runs.

use std::time::Duration;

use common::mrt::{Config, ControllerKind, Side};
use harness::sim::{Change, Direction, Half, Host, Link, Network, NodeId, Plan, Rebinding, Scenario, TalkId};

use crate::small;

const SECOND: Duration = Duration::from_secs(1);
/// Part of a full Ethernet packet that is data: 1,472 bytes of datagram less head, frame and tag, of 1,500.
const DATA_SHARE: f64 = 0.95;

#[test]
fn every_byte_arrives_on_random_networks_or_the_connection_ends_with_a_reason() {
    small("mrt");
}

#[test]
fn seeds_that_once_failed_work() {
    let seeds = include_str!("../mrt-seeds.txt").lines().filter(|line| !line.starts_with('#'));
    for line in seeds {
        let seed =
            line.split_whitespace().next().and_then(|seed| seed.parse().ok()).expect("a line begins with a seed");
        if let Err(failure) = Scenario::random(seed).run() {
            panic!("{failure}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| Scenario::random(seed).run().map_err(|failure| failure.to_string());
    for seed in 1000..1020 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

fn host(controller: ControllerKind) -> Host {
    Host { config: Config { controller, ..Config::default() }, ..Host::default() }
}

/// A flow without end over this link, in the direction of `plan`.
fn endless(seed: u64, link: Link, plan: fn(Half) -> Plan) -> (Network, TalkId, [NodeId; 2], harness::sim::Cable) {
    let (mut network, first, second, cable) = Network::pair(seed, link, Host::default());
    let talk = network.connect(first, second, plan(Half::endless()));
    (network, talk, [first, second], cable)
}

/// The [`Plan`] of a flow, and who writes.
type Flow = (fn(Half) -> Plan, Side);

const FLOWS: [Flow; 2] = [(Plan::upload, Side::Initiator), (Plan::download, Side::Responder)];

/// Bits a second that arrive in the two seconds in which something changes in the middle of a flow, or nothing; and the
/// round trip before.
fn rate_around(seed: u64, link: Link, (plan, writer): Flow, change: Option<(usize, Rebinding)>) -> (f64, Duration) {
    let (mut network, talk, nodes, _) = endless(seed, link, plan);
    // At any time of the controller's cycle.
    network.run_for(4 * SECOND + Duration::from_millis(seed * 37));
    let round_trip = network.stats(talk, writer).unwrap().round_trip.max(link.delay * 2);
    if let Some((mover, rebinding)) = change {
        network.at(network.elapsed(), Change::Rebind(nodes[mover].into(), rebinding));
        network.fail_after_waiting(round_trip * 3);
    }
    let since = network.elapsed();
    network.run_for(2 * SECOND);
    assert_eq!(network.fault(), None, "seed {seed}, {writer:?} writes, {change:?}");
    (network.progress(talk).bits_per_sec(writer, since, since + 2 * SECOND), round_trip)
}

#[test]
fn a_change_of_address_costs_three_round_trips_at_most() {
    // Where packets are lost, it may be the challenge, which costs one more.
    for (link, seeds, most) in [(Link::ethernet(50, 50), 0..4, 3.0), (Link::ethernet(100, 20).loss(0.01), 10..12, 4.0)]
    {
        for flow in FLOWS {
            let changes = [0, 1].into_iter().flat_map(|mover| [(mover, Rebinding::Port), (mover, Rebinding::Address)]);
            for (change, seed) in changes.flat_map(|change| seeds.clone().map(move |seed| (change, seed))) {
                let (undisturbed, round_trip) = rate_around(seed, link, flow, None);
                let (rate, _) = rate_around(seed, link, flow, Some(change));
                let cost = (1.0 - rate / undisturbed) * 2.0 / round_trip.as_secs_f64();
                println!("seed {seed}, {:?} writes, {change:?}: {cost:.1} round trips", flow.1);
                assert!(cost <= most, "seed {seed}, {:?} writes, {change:?}: {cost:.1} round trips", flow.1);
            }
        }
    }
}

/// Rates of two flows over one bottleneck of 40 Mbit/s, the second of which begins a while later, and what part of the link
/// they use together.
fn shared(seed: u64, controllers: [ControllerKind; 2], round_trips_ms: [u64; 2]) -> [f64; 2] {
    const MBIT: u64 = 40;
    let mut network = Network::new(seed);
    let longest = round_trips_ms[0].max(round_trips_ms[1]);
    let bottleneck = network.cable(Link { delay: Duration::ZERO, ..Link::ethernet(longest, MBIT) });
    let talks = [0, 1].map(|number| {
        let access = network.cable(Link::new(Duration::from_millis(round_trips_ms[number] / 2)));
        let (first, second) = (network.node(host(controllers[number])), network.node(host(controllers[number])));
        network.join(first, second, &[access, bottleneck]);
        let talk = network.connect(first, second, Plan::upload(Half::endless()));
        network.run_for(3 * SECOND);
        talk
    });
    network.run_for(60 * SECOND);
    assert_eq!(network.fault(), None);
    let now = network.elapsed();
    // The second talk counts from its own beginning.
    let begins = [Duration::ZERO, 3 * SECOND];
    [0, 1].map(|number| {
        let end = now - begins[number];
        network.progress(talks[number]).bits_per_sec(Side::Initiator, end - 40 * SECOND, end) / (MBIT as f64 * 1e6)
    })
}

#[test]
fn two_connections_share_a_bottleneck() {
    // Where one has the shorter round trip, the shares may differ more.
    for (seed, round_trips, least) in [(1, [40, 40], 0.4), (2, [40, 40], 0.4), (3, [30, 40], 0.3)] {
        let [one, two] = shared(seed, [ControllerKind::Model; 2], round_trips);
        let share = one.min(two) / (one + two);
        println!("seed {seed}, {round_trips:?} ms: {one:.3} and {two:.3} of the link");
        assert!(share >= least, "seed {seed}, {round_trips:?} ms: {one:.3} and {two:.3} of the link");
        assert!(one + two > 0.85, "seed {seed}: the link is used");
    }
}

#[test]
fn who_takes_losses_for_congestion_is_left_a_quarter() {
    for seed in [1, 2] {
        let [fair, model] = shared(seed, [ControllerKind::Fair, ControllerKind::Model], [40, 40]);
        println!("seed {seed}: {fair:.3} of the link for the fair one, {model:.3} for the other");
        assert!(fair >= 0.25, "seed {seed}: {fair:.3} and {model:.3} of the link");
    }
}

#[test]
fn the_standing_queue_is_half_of_the_links_content_at_most() {
    for (seed, round_trip_ms, mbit) in [(1, 50, 20), (2, 20, 100), (3, 200, 20)] {
        let link = Link::ethernet(round_trip_ms, mbit);
        let product = link.queue;
        let (mut network, _, _, cable) = endless(seed, link.queue(product * 4), Plan::upload);
        network.run_for(5 * SECOND);
        let before = network.link_figures(cable, Direction::There);
        network.run_for(20 * SECOND);
        let after = network.link_figures(cable, Direction::There);
        let queue = after.mean_queue(&before, 20 * SECOND);
        println!("{round_trip_ms} ms, {mbit} Mbit/s: {queue} bytes of {product}");
        assert!(queue <= product / 2, "{round_trip_ms} ms, {mbit} Mbit/s: {queue} bytes, the link holds {product}");
    }
}

#[test]
fn random_losses_do_not_slow_it_down() {
    for (seed, loss) in [(1, 0.01), (2, 0.05)] {
        let (mut network, talk, ..) = endless(seed, Link::ethernet(50, 20).loss(loss), Plan::upload);
        network.run_for(20 * SECOND);
        let rate = network.progress(talk).bits_per_sec(Side::Initiator, 5 * SECOND, 20 * SECOND);
        let possible = 20e6 * DATA_SHARE * (1.0 - loss);
        println!("{loss}: {:.3} of what is possible", rate / possible);
        assert!(rate > 0.9 * possible, "{loss}: {:.3} of what is possible", rate / possible);
    }
}

#[test]
fn on_a_clean_link_its_own_queue_drops_next_to_nothing() {
    let (mut network, _, _, cable) = endless(1, Link::ethernet(50, 20), Plan::upload);
    network.run_for(20 * SECOND);
    let figures = network.link_figures(cable, Direction::There);
    println!("{figures:?}");
    assert!(figures.overflowed * 100 <= figures.datagrams, "{figures:?}");
}

#[test]
fn a_path_that_carries_less_in_mid_transfer_is_found_out() {
    for (seed, largest) in [(1, 1400), (2, 1252), (3, 1200)] {
        let (mut network, talk, _, cable) = endless(seed, Link::ethernet(50, 20), Plan::upload);
        network.run_for(5 * SECOND);
        network.at(network.elapsed(), Change::MaxDatagram(cable, largest));
        network.fail_after_waiting(2 * SECOND);
        network.run_for(10 * SECOND);
        assert_eq!(network.fault(), None, "{largest}");
        let now = network.elapsed();
        let rate = network.progress(talk).bits_per_sec(Side::Initiator, now - 5 * SECOND, now);
        let wait = network.progress(talk).longest_wait();
        let size = network.stats(talk, Side::Initiator).unwrap().datagram;
        println!("{largest}: waited {wait:?}, then {rate} bit/s with datagrams of {size}");
        assert!(rate > 16e6 && usize::from(size) <= largest, "{largest}: {rate} bit/s with datagrams of {size}");
    }
}

#[test]
fn a_cable_that_is_cut_for_ten_seconds_does_not_end_a_connection() {
    let (mut network, talk, _, cable) = endless(1, Link::ethernet(50, 20), Plan::download);
    network.run_for(3 * SECOND);
    network.at(3 * SECOND, Change::Cut(cable));
    network.at(13 * SECOND, Change::Mend(cable));
    network.run_for(10 * SECOND);
    // Probes are three seconds apart at most.
    network.fail_after_waiting(5 * SECOND);
    network.run_for(10 * SECOND);
    assert_eq!(network.fault(), None);
    let rate = network.progress(talk).bits_per_sec(Side::Responder, 18 * SECOND, 23 * SECOND);
    assert!(rate > 16e6, "{rate} bit/s");
}
