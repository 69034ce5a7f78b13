//! Changes of address.

use super::transfers::send;
use super::*;

/// Moves 0 or 1 to another address, as a router does that has lost its memory.
fn rebind(pair: &mut Pair, end: usize, address: SocketAddr) {
    pair.ends[end].address = address;
}

#[test]
fn a_transfer_survives_a_new_address_on_either_side() {
    for end in 0..2 {
        for address in ["same host", "another"] {
            let mut pair = Pair::new();
            let address = match address {
                "another" => SocketAddr::from(([10, 9, 9, 9], 4000)),
                _ => SocketAddr::new(pair.ends[end].address.ip(), 4444),
            };
            let both = pair.connected(Target::default());
            send(&mut pair, both, &content(2_000_000, 1), Duration::from_secs(60));
            rebind(&mut pair, end, address);
            // Only who moved can tell: it says something.
            let id = pair.connection(end, both[end]).open().unwrap();
            pair.connection(end, both[end]).write(id, b"here I am").unwrap();
            pair.run(Duration::from_millis(100), |_| false);
            assert_eq!(pair.connection(1 - end, both[1 - end]).route().remote, address);
            send(&mut pair, both, &content(2_000_000, 2), Duration::from_secs(60));
        }
    }
}

#[test]
fn an_address_that_does_not_answer_gets_little() {
    let mut pair = Pair::new();
    let [here, there] = pair.connected(Target::default());
    pair.run(Duration::from_secs(1), |_| false);
    // A true packet, caught and sent on from elsewhere before it arrives.
    let id = pair.connection(0, here).open().unwrap();
    pair.connection(0, here).write(id, b"caught").unwrap();
    pair.drain(0);
    let victim = SocketAddr::from(([10, 66, 66, 66], 666));
    let mut came = 0;
    for datagram in &mut pair.flying {
        datagram.from = victim;
        came += datagram.bytes.len() as u64;
    }
    let spent = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = std::rc::Rc::clone(&spent);
    // All that 1 sends now goes to the victim or back to 0; what goes to 0 passes here.
    pair.fate = Box::new(move |datagram| {
        count.set(count.get() + datagram.bytes.len() as u64 * u64::from(datagram.to == 0));
        Fate::Arrives
    });
    let before = pair.connection(1, there).stats().bytes_sent;
    let more = pair.connection(1, there).open().unwrap();
    pair.connection(1, there).write(more, &content(500_000, 1)).unwrap();
    pair.run(Duration::from_millis(500), |_| false);
    let to_victim = pair.connection(1, there).stats().bytes_sent - before - spent.get();
    assert!(to_victim <= 3 * came, "{to_victim} bytes for {came}");
    // And back it goes to where somebody answers.
    pair.run(Duration::from_secs(20), |_| false);
    assert_eq!(pair.ends[0].read.values().map(Vec::len).sum::<usize>(), 500_000);
}

#[test]
fn a_second_path_is_tried_and_taken() {
    let mut pair = Pair::new();
    let [here, there] = pair.connected(Target::default());
    let other = Route { socket: 1, ..pair.route(0) };
    let now = pair.now;
    assert!(!pair.connection(0, here).switch(now, other), "nobody answered there yet");
    pair.connection(0, here).probe(now, other);
    pair.run(Duration::from_millis(100), |_| false);
    let validated = |event: &Event| matches!(event, Event::Connection(_, ConnectionEvent::PathValidated { route, .. }) if *route == other);
    assert!(pair.ends[0].events.iter().any(validated));
    let now = pair.now;
    assert!(pair.connection(0, here).switch(now, other));
    send(&mut pair, [here, there], &content(1_000_000, 1), Duration::from_secs(60));
    assert_eq!(pair.connection(0, here).route(), other);
}

#[test]
fn a_transfer_goes_on_elsewhere_when_its_route_is_gone() {
    let mut pair = Pair::new();
    let [here, there] = pair.connected(Target::default());
    let (first, other) = (pair.route(0), Route { socket: 1, ..pair.route(0) });
    let now = pair.now;
    pair.connection(0, here).probe(now, other);
    pair.run(Duration::from_millis(100), |_| false);
    let (bytes, mut written) = (content(3_000_000, 1), 0);
    let id = pair.connection(0, here).open().unwrap();
    while pair.ends[1].read.get(&(there, id)).is_none_or(|read| read.len() < bytes.len() / 2) {
        written += pair.connection(0, here).write(id, &bytes[written..]).unwrap();
        pair.run(Duration::from_millis(5), |_| false);
    }
    let now = pair.now;
    pair.ends[0].endpoint.forget_routes(now, |route| route == first);
    assert_eq!(pair.connection(0, here).route(), other);
    assert!(!pair.connection(0, here).switch(now, first), "it is forgotten");
    while pair.ends[1].read[&(there, id)].len() < bytes.len() {
        written += pair.connection(0, here).write(id, &bytes[written..]).unwrap();
        assert!(pair.run(Duration::from_secs(5), |pair| pair.ends[1].read[&(there, id)].len() > written / 2));
        pair.run(Duration::from_millis(5), |_| false);
    }
    assert!(pair.ends[1].read[&(there, id)] == bytes);
    assert!(pair.saw(0, here, &ConnectionEvent::PathFailed(first)));
    assert!(pair.saw(0, here, &ConnectionEvent::PathInUse(other)));
}

#[test]
fn a_connection_without_a_route_waits_for_another() {
    let mut pair = Pair::new();
    let both = pair.connected(Target::default());
    let (first, other) = (pair.route(0), Route { socket: 1, ..pair.route(0) });
    let now = pair.now;
    pair.ends[0].endpoint.forget_routes(now, |route| route == first);
    pair.run(Duration::from_secs(5), |_| false);
    let now = pair.now;
    pair.connection(0, both[0]).probe(now, other);
    pair.run(Duration::from_secs(1), |_| false);
    let now = pair.now;
    assert!(pair.connection(0, both[0]).switch(now, other));
    send(&mut pair, both, &content(300_000, 1), Duration::from_secs(10));
    let asked = pair.connect(Target::default());
    pair.ends[0].endpoint.forget_routes(now, |route| route == first);
    pair.drain(0);
    assert_eq!(pair.closed(0, asked), Some(CloseReason::NoAnswer));
}

/// A second path of 0, proven.
fn second_path(pair: &mut Pair, here: ConnectionHandle) -> Route {
    let (other, now) = (Route { socket: 1, ..pair.route(0) }, pair.now);
    pair.connection(0, here).probe(now, other);
    pair.run(Duration::from_millis(100), |_| false);
    other
}

#[test]
fn when_the_path_in_use_is_dead_another_is_taken() {
    for writer in 0..2 {
        let mut pair = Pair::new();
        let both = pair.connected(Target::default());
        let other = second_path(&mut pair, both[0]);
        send(&mut pair, both, &content(1_000_000, 1), Duration::from_secs(10));
        // The first path carries nothing any more.
        pair.fate = Box::new(|datagram| {
            let socket = if datagram.to == 1 { datagram.from.port() - 4000 } else { datagram.socket };
            if socket == 0 { Fate::Vanishes } else { Fate::Arrives }
        });
        let id = pair.connection(writer, both[writer]).open().unwrap();
        pair.connection(writer, both[writer]).write(id, &content(100_000, 2)).unwrap();
        let key = (both[1 - writer], id);
        let all_came = |pair: &Pair| pair.ends[1 - writer].read.get(&key).is_some_and(|read| read.len() == 100_000);
        assert!(pair.run(Duration::from_secs(3), all_came), "{writer} writes");
        assert_eq!(pair.connection(0, both[0]).route(), other);
    }
}

#[test]
fn a_switch_holds_although_the_other_side_has_much_under_way() {
    for mover in 0..2 {
        let mut pair = Pair::new();
        let both = pair.connected(Target::default());
        let other = Route { socket: 1, ..pair.route(mover) };
        let now = pair.now;
        pair.connection(mover, both[mover]).probe(now, other);
        pair.run(Duration::from_millis(100), |_| false);
        let bytes = content(2_000_000, 1);
        let ids = [0, 1].map(|end| pair.connection(end, both[end]).open().unwrap());
        let mut written = [0, 0];
        for turn in 0..100 {
            for end in 0..2 {
                written[end] += pair.connection(end, both[end]).write(ids[end], &bytes[written[end]..]).unwrap();
            }
            pair.run(Duration::from_millis(2), |_| false);
            if turn == 20 {
                let now = pair.now;
                assert!(pair.connection(mover, both[mover]).switch(now, other));
            }
        }
        let uses = |event: &&Event| matches!(event, Event::Connection(_, ConnectionEvent::PathInUse(_)));
        for end in 0..2 {
            assert_eq!(pair.ends[end].events.iter().filter(uses).count(), 1, "{mover} moves, {end} uses");
        }
        assert_eq!(pair.connection(mover, both[mover]).route(), other);
    }
}

#[test]
fn when_both_switch_at_once_they_end_on_one_path() {
    let mut pair = Pair::new();
    let both = pair.connected(Target::default());
    let routes = [0, 1].map(|end| Route { socket: 1, ..pair.route(end) });
    for end in 0..2 {
        let now = pair.now;
        pair.connection(end, both[end]).probe(now, routes[end]);
    }
    pair.run(Duration::from_millis(100), |_| false);
    let (now, ids) = (pair.now, [0, 1].map(|end| pair.connection(end, both[end]).open().unwrap()));
    for end in 0..2 {
        assert!(pair.connection(end, both[end]).switch(now, routes[end]));
        pair.connection(end, both[end]).write(ids[end], &content(200_000, 1)).unwrap();
    }
    pair.run(Duration::from_secs(1), |_| false);
    assert_eq!(pair.connection(0, both[0]).route(), routes[0], "that of the initiator");
    let at_other = Route { socket: 0, remote: SocketAddr::new(pair.ends[0].address.ip(), 4001) };
    assert_eq!(pair.connection(1, both[1]).route(), at_other);
}

#[test]
fn a_path_that_was_proven_long_ago_is_proven_again() {
    let mut pair = Pair::new();
    let [here, there] = pair.connected(Target::default());
    let other = second_path(&mut pair, here);
    pair.run(Duration::from_secs(40), |_| false);
    let now = pair.now;
    assert!(!pair.connection(0, here).switch(now, other));
    second_path(&mut pair, here);
    let now = pair.now;
    assert!(pair.connection(0, here).switch(now, other));
    pair.run(Duration::from_secs(40), |_| false);
    // What comes from there after a long time, and goes on, is followed, but sent little before it has answered.
    let now = pair.now;
    let first = pair.route(0);
    pair.connection(0, here).probe(now, first);
    pair.run(Duration::from_millis(100), |_| false);
    let proven = pair.ends[1].events.len();
    let now = pair.now;
    assert!(pair.connection(0, here).switch(now, first));
    send(&mut pair, [here, there], &content(100_000, 1), Duration::from_secs(10));
    let again = |event: &Event| matches!(event, Event::Connection(_, ConnectionEvent::PathValidated { .. }));
    assert!(
        pair.ends[1].events[..proven].iter().filter(|event| again(event)).count() >= 2,
        "both were asked by 1, too"
    );
}

#[test]
fn a_path_without_credit_does_not_hold_up_another() {
    let mut pair = Pair::new();
    let [here, there] = pair.connected(Target::default());
    pair.run(Duration::from_secs(1), |_| false);
    // One small packet of 0 comes from where nobody is, and asks 1 to answer there.
    let id = pair.connection(0, here).open().unwrap();
    pair.connection(0, here).write(id, b"caught").unwrap();
    pair.drain(0);
    for datagram in &mut pair.flying {
        datagram.from = SocketAddr::from(([10, 66, 66, 66], 666));
    }
    pair.run(Duration::from_millis(15), |_| false);
    pair.connection(0, here).write(id, b"and on").unwrap();
    // All that 1 may send there is sent.
    pair.run(Duration::from_secs(2), |_| false);
    let other = Route { socket: 1, ..pair.route(1) };
    let (now, before) = (pair.now, pair.ends[1].events.len());
    pair.connection(1, there).probe(now, other);
    let validated = |event: &Event| matches!(event, Event::Connection(_, ConnectionEvent::PathValidated { route, .. }) if *route == other);
    assert!(pair.run(Duration::from_millis(30), |pair| pair.ends[1].events[before..].iter().any(validated)));
}

#[test]
fn a_path_where_nobody_answers_is_given_up() {
    let mut pair = Pair::new();
    let [here, there] = pair.connected(Target::default());
    let nowhere = Route { socket: 0, remote: SocketAddr::from(([10, 1, 1, 1], 1)) };
    let now = pair.now;
    pair.connection(0, here).probe(now, nowhere);
    pair.run(Duration::from_secs(20), |_| false);
    assert!(pair.saw(0, here, &ConnectionEvent::PathFailed(nowhere)));
    send(&mut pair, [here, there], &content(100_000, 1), Duration::from_secs(60));
}

#[test]
fn large_packets_that_vanish_are_given_up() {
    let mut pair = Pair::new();
    let both = pair.connected(Target::default());
    send(&mut pair, both, &content(3_000_000, 1), Duration::from_secs(60));
    assert_eq!(pair.connection(0, both[0]).stats().datagram, 16_384);
    pair.fate = Box::new(|datagram| if datagram.bytes.len() > 1300 { Fate::Vanishes } else { Fate::Arrives });
    send(&mut pair, both, &content(1_000_000, 2), Duration::from_secs(60));
    assert!(pair.connection(0, both[0]).stats().datagram <= 1300);
}

#[test]
fn any_number_of_moves_is_followed() {
    let mut pair = Pair::new();
    let both = pair.connected(Target::default());
    for port in 5000..5012 {
        let address = SocketAddr::new(pair.ends[0].address.ip(), port);
        rebind(&mut pair, 0, address);
        send(&mut pair, both, &content(50_000, u64::from(port)), Duration::from_secs(10));
        assert_eq!(pair.connection(1, both[1]).route().remote, address);
    }
}

#[test]
fn ports_that_change_to_and_fro_do_no_harm() {
    let mut pair = Pair::new();
    let [here, there] = pair.connected(Target::default());
    // 1 sends, and what comes from 0 comes from two ports in turn.
    let id = pair.connection(1, there).open().unwrap();
    let (bytes, mut written, mut turn) = (content(3_000_000, 1), 0, 0);
    let own = pair.ends[0].address;
    while pair.ends[0].read.get(&(here, id)).is_none_or(|read| read.len() < bytes.len()) {
        written += pair.connection(1, there).write(id, &bytes[written..]).unwrap();
        turn += 1;
        for datagram in &mut pair.flying {
            if datagram.to == 1 {
                datagram.from.set_port(own.port() + 100 * (turn % 2));
            }
        }
        pair.run(Duration::from_millis(3), |_| false);
        assert!(turn < 20_000, "{:?}", pair.connection(1, there).stats());
    }
    assert!(pair.ends[0].read[&(here, id)] == bytes);
}

#[test]
fn two_switches_in_a_row_are_not_undone() {
    let mut pair = Pair::new();
    let [here, there] = pair.connected(Target::default());
    // The responder sends, the initiator answers, all the time; the initiator's packets are still under way on the first path.
    let id = pair.connection(1, there).open().unwrap();
    pair.connection(1, there).write(id, &content(2_000_000, 1)).unwrap();
    let back = pair.connection(0, here).open().unwrap();
    pair.connection(0, here).write(back, &content(2_000_000, 2)).unwrap();
    pair.run(Duration::from_millis(200), |_| false);
    let first = pair.route(1);
    let now = pair.now;
    let other = |port: u16| Route {
        socket: first.socket,
        remote: SocketAddr::new(first.remote.ip(), first.remote.port() + port),
    };
    for port in [1, 0] {
        let route = Route { socket: 1, ..other(port) };
        pair.connection(1, there).probe(now, route);
    }
    let proven = |pair: &Pair, route: Route| {
        pair.ends[1].events.iter().any(|event| {
            matches!(event, Event::Connection(_, ConnectionEvent::PathValidated { route: of, .. }) if *of == route)
        })
    };
    let [one, two] = [1, 0].map(|port| Route { socket: 1, ..other(port) });
    assert!(pair.run(Duration::from_secs(2), |pair| proven(pair, one) && proven(pair, two)));
    let now = pair.now;
    assert!(pair.connection(1, there).switch(now, one) && pair.connection(1, there).switch(now, two));
    pair.run(Duration::from_secs(1), |_| false);
    assert_eq!(pair.connection(1, there).route(), two);
    let used = pair.ends[1].events.iter().filter_map(|event| match event {
        Event::Connection(_, ConnectionEvent::PathInUse(route)) => Some(*route),
        _ => None,
    });
    assert_eq!(used.collect::<Vec<_>>(), [one, two], "no way back in between");
}
