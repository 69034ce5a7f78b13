//! MRT against an attacker who sees all datagrams, and sends any from any address.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use common::mrt::{CloseReason, Side};
use harness::sim::{Half, Host, Known, Link, Network, NodeId, Plan, Seen, TalkId};

const MS: Duration = Duration::from_millis(1);
const SIZE: u64 = 2 << 20;
/// Most handshakes that an endpoint keeps of which nobody has proven to be there.
const MAX_UNPROVEN: usize = 256;
/// Who was not shown to be at an address is sent at most so many times what came from there.
const AMPLIFICATION: u64 = 3;
/// After this a handshake that nobody completed is forgotten.
const HANDSHAKE_LIFETIME: Duration = Duration::from_secs(5);

/// An address where nobody is.
fn nobody(number: usize) -> SocketAddr {
    let [_, high, middle, low] = u32::try_from(number).unwrap().to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(192, high, middle, low), 9))
}

/// A client that downloads [`SIZE`] bytes from a server, over 20 ms and 50 Mbit/s; all datagrams are recorded.
fn download(seed: u64) -> (Network, TalkId, [NodeId; 2]) {
    let (mut network, client, server, _) = Network::pair(seed, Link::ethernet(20, 50), Host::default());
    network.record();
    let talk = network.connect(client, server, Plan::download(Half::new(SIZE)));
    (network, talk, [client, server])
}

/// It ended as planned, and nothing is left of it.
fn ends_well(network: &mut Network, talk: TalkId, nodes: [NodeId; 2]) {
    assert!(network.run_to_end(Duration::from_secs(30)), "{:?}", network.fault());
    assert!(network.is_done(talk));
    assert_eq!(network.closed(talk, Side::Initiator), Some(&CloseReason::Here));
    network.run_for(HANDSHAKE_LIFETIME * 2);
    assert_eq!(network.fault(), None);
    for node in nodes {
        let endpoint = network.endpoint(node);
        assert_eq!((endpoint.handles().count(), endpoint.unproven()), (0, 0));
    }
}

/// Lets a transfer go on, and shows the attacker every datagram soon after it was sent.
fn attacked(network: &mut Network, talk: TalkId, mut attack: impl FnMut(&mut Network, Seen)) {
    while network.closed(talk, Side::Initiator).is_none() && network.elapsed() < Duration::from_secs(60) {
        network.run_for(MS);
        assert_eq!(network.fault(), None);
        for seen in network.recorded() {
            attack(network, seen);
        }
    }
}

#[test]
fn replayed_datagrams_change_nothing() {
    let (mut network, talk, nodes) = download(1);
    let mut old = Vec::new();
    attacked(&mut network, talk, |network, seen| {
        // Each at once, and one of those long ago.
        network.inject(seen.from, seen.to, seen.bytes.clone());
        old.push(seen);
        let again: &Seen = &old[old.len() * 7 / 11];
        network.inject(again.from, again.to, again.bytes.clone());
    });
    for seen in old {
        network.inject(seen.from, seen.to, seen.bytes);
    }
    ends_well(&mut network, talk, nodes);
}

#[test]
fn reflected_datagrams_change_nothing() {
    let (mut network, talk, nodes) = download(2);
    attacked(&mut network, talk, |network, seen| network.inject(seen.to, seen.from, seen.bytes));
    ends_well(&mut network, talk, nodes);
}

#[test]
fn changed_datagrams_change_nothing() {
    let (mut network, talk, nodes) = download(3);
    let mut count = 0;
    attacked(&mut network, talk, |network, mut seen| {
        count += 1;
        let at = count * 31 % seen.bytes.len();
        seen.bytes[at] ^= 1 << (count % 8);
        network.inject(seen.from, seen.to, seen.bytes.clone());
        seen.bytes.truncate(at);
        network.inject(seen.from, seen.to, seen.bytes);
    });
    ends_well(&mut network, talk, nodes);
}

#[test]
fn datagrams_forwarded_from_elsewhere_draw_no_flood_there_and_stop_no_transfer() {
    let (mut network, talk, nodes) = download(4);
    let (client, mut count, mut spoofed) = (network.address(nodes[0]), 0, vec![0; 20]);
    attacked(&mut network, talk, |network, seen| {
        count += 1;
        // Faster than the original, which is taken for the copy then.
        if seen.from == client && count % 10 == 0 {
            let number = count / 10 % spoofed.len();
            spoofed[number] += seen.bytes.len() as u64;
            network.inject(nobody(number), seen.to, seen.bytes);
        }
        for (number, came) in spoofed.iter().enumerate() {
            let sent = network.sent_to_nobody(nobody(number));
            assert!(sent <= came * AMPLIFICATION, "{sent} bytes were sent to an address that sent {came}");
        }
    });
    assert!(spoofed.iter().sum::<u64>() > 0);
    ends_well(&mut network, talk, nodes);
}

#[test]
fn a_flood_of_requests_takes_bounded_state_and_locks_nobody_out() {
    const ADDRESSES: usize = 10_000;
    for known in [Known::Address, Known::Key] {
        let mut network = Network::new(5);
        let [member, client, server] = [(); 3].map(|()| network.node(Host::default()));
        let cable = network.cable(Link::ethernet(20, 50));
        for node in [member, client] {
            network.join(node, server, &[cable]);
        }
        // The attacker has seen the request of somebody with the keys.
        network.record();
        let plan = |size| Plan { known, ..Plan::upload(Half::new(size)) };
        let first = network.connect(member, server, plan(1));
        assert!(network.run_to_end(Duration::from_secs(10)));
        assert!(network.is_done(first));
        let request = network.recorded().into_iter().next().unwrap();
        let sent_before = network.node_figures(server).sent_bytes;
        let flood = |network: &mut Network, numbers: std::ops::Range<usize>| {
            for number in numbers {
                network.inject(nobody(number), request.to, request.bytes.clone());
                network.run_for(Duration::from_micros(50));
                assert!(network.endpoint(server).unproven() <= MAX_UNPROVEN);
            }
        };
        flood(&mut network, 0..ADDRESSES / 2);
        let talk = network.connect(client, server, plan(SIZE));
        flood(&mut network, ADDRESSES / 2..ADDRESSES);
        ends_well(&mut network, talk, [client, server]);
        let came = request.bytes.len() as u64;
        for number in 0..ADDRESSES {
            let sent = network.sent_to_nobody(nobody(number));
            assert!(sent <= came, "{sent} bytes were sent to an address that sent {came}");
        }
        assert!(network.node_figures(server).sent_bytes > sent_before);
    }
}

#[test]
fn four_hundred_clients_at_once_get_in() {
    let mut network = Network::new(6);
    let server = network.node(Host::default());
    let cable = network.cable(Link::ethernet(20, 50));
    let talks: Vec<_> = (0..400)
        .map(|_| {
            let client = network.node(Host::default());
            network.join(client, server, &[cable]);
            let talk = network.connect(client, server, Plan::upload(Half::new(1000)));
            network.run_for(Duration::from_micros(20));
            assert!(network.endpoint(server).unproven() <= MAX_UNPROVEN);
            talk
        })
        .collect();
    assert!(network.run_to_end(Duration::from_secs(60)), "{:?}", network.fault());
    assert!(talks.into_iter().all(|talk| network.is_done(talk)));
}
