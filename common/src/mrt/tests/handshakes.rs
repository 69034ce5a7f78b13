//! Who gets a connection, and what it costs those who do not.

use super::*;

#[test]
fn both_handshakes_stand_after_one_round_trip() {
    for knows in [true, false] {
        let mut pair = Pair::new();
        let target = Target { peer: None, static_key: knows.then_some(pair.ends[1].keys) };
        let here = pair.connect(target);
        let stands = |pair: &Pair| pair.saw(0, here, &ConnectionEvent::Connected);
        assert!(pair.run(pair.delay * 2, stands), "knows the key: {knows}");
        assert!(pair.run(pair.delay, |pair| pair.incoming().is_some()));
        let there = pair.incoming().unwrap();
        assert_eq!(pair.connection(1, there).remote().unwrap().static_key, pair.ends[0].keys);
        assert_eq!(pair.connection(0, here).remote().unwrap().static_key, pair.ends[1].keys);
        assert_eq!(pair.connection(0, here).observed(), Some(pair.ends[0].address));
    }
}

#[test]
fn it_stands_although_most_datagrams_are_lost() {
    let mut stood = 0;
    for seed in 0..40 {
        let mut pair = Pair::new();
        let mut dice = Dice::new(seed);
        pair.fate = Box::new(move |_| if dice.falls(400) { Fate::Vanishes } else { Fate::Arrives });
        let target = Target { peer: None, static_key: (seed % 2 == 0).then_some(pair.ends[1].keys) };
        let here = pair.connect(target);
        stood += u32::from(pair.run(Duration::from_secs(9), |pair| {
            pair.incoming().is_some() && pair.saw(0, here, &ConnectionEvent::Connected)
        }));
    }
    assert!(stood >= 38, "only {stood} of 40");
}

#[test]
fn another_network_key_gets_no_answer() {
    for knows in [true, false] {
        let mut pair = Pair::with([Config::default(), Config::default()], [PSK, [8; 32]]);
        let target = Target { peer: None, static_key: knows.then_some(pair.ends[1].keys) };
        let here = pair.connect(target);
        pair.run(Duration::from_secs(30), |pair| pair.closed(0, here).is_some());
        assert_eq!(pair.closed(0, here), Some(CloseReason::NoAnswer));
        assert_eq!(pair.incoming(), None);
        pair.run(Duration::from_secs(30), |_| false);
        assert_eq!(pair.ends[1].endpoint.unproven(), 0, "forgotten after a while");
    }
}

#[test]
fn somebody_else_than_expected_is_not_taken() {
    let mut pair = Pair::new();
    let target = Target { peer: Some(crate::id::PeerId([3; 32])), static_key: None };
    let here = pair.connect(target);
    pair.run(Duration::from_secs(30), |pair| pair.closed(0, here).is_some());
    assert_eq!(pair.closed(0, here), Some(CloseReason::NoAnswer));
}

#[test]
fn strangers_are_bounded_and_the_honest_get_in_with_a_cookie() {
    let mut pair = Pair::new();
    // Each of them asks once and is never heard of again.
    let flood = |pair: &mut Pair, asks: u16| {
        let mut spent = [0_usize; 2];
        for number in 0..asks {
            let [high, low] = number.to_be_bytes();
            let keys = LocalKeys::new(Arc::new(Identity::from_seed(&[7; 32])), PSK);
            let mut stranger = Endpoint::new(pair.now, Config::default(), keys, [low; 32]);
            stranger.connect(pair.now, pair.route(0), Target::default()).unwrap();
            let mut out = Vec::new();
            stranger.poll_transmit(pair.now, 1, &mut out).unwrap();
            spent[0] += out.len();
            let remote = SocketAddr::from(([172, 16, high, low], 5000));
            let received = Received { route: Route { socket: 0, remote }, local_ip: None, ecn: Ecn::NotCapable };
            pair.ends[1].endpoint.handle_datagram(pair.now, received, &mut out);
            out.clear();
            while let Some(transmit) = pair.ends[1].endpoint.poll_transmit(pair.now, 1, &mut out) {
                assert_eq!(transmit.route.remote, remote);
                spent[1] += transmit.size;
            }
        }
        assert!(spent[1] < spent[0], "{spent:?}");
    };
    flood(&mut pair, 1000);
    assert!(pair.ends[1].endpoint.unproven() <= 256);
    pair.connected(Target::default());
}

#[test]
fn a_connection_that_is_never_confirmed_ends_with_the_handshakes_deadline() {
    for knows in [true, false] {
        let mut pair = Pair::new();
        let target = Target { peer: None, static_key: knows.then_some(pair.ends[1].keys) };
        let here = pair.connect(target);
        assert!(pair.run(pair.delay * 2, |pair| pair.saw(0, here, &ConnectionEvent::Connected)));
        pair.flying.clear();
        pair.fate = Box::new(|_| Fate::Vanishes);
        assert!(pair.run(Config::default().handshake_timeout, |pair| pair.closed(0, here).is_some()));
        assert_eq!(pair.closed(0, here), Some(CloseReason::NoAnswer));
    }
}

/// Somebody at `remote` asks end 1, and asks again with the cookie if told to; is never heard of afterwards.
fn ask_with_cookie(pair: &mut Pair, seed: u8, remote: SocketAddr) {
    let keys = LocalKeys::new(Arc::new(Identity::from_seed(&[7; 32])), PSK);
    let mut stranger = Endpoint::new(pair.now, Config::default(), keys, [seed; 32]);
    stranger.connect(pair.now, pair.route(0), Target::default()).unwrap();
    let from_stranger = Received { route: Route { socket: 0, remote }, local_ip: None, ecn: Ecn::NotCapable };
    let from_us = Received { route: pair.route(0), ..from_stranger };
    for _ in 0..2 {
        let mut out = Vec::new();
        while stranger.poll_transmit(pair.now, 1, &mut out).is_some() {
            pair.ends[1].endpoint.handle_datagram(pair.now, from_stranger, &mut out);
            out.clear();
        }
        while pair.ends[1].endpoint.poll_transmit(pair.now, 1, &mut out).is_some() {
            let Ok(Packet::Cookie { .. }) = Packet::decode(&out) else {
                out.clear();
                continue;
            };
            stranger.handle_datagram(pair.now, from_us, &mut out);
            out.clear();
        }
    }
}

#[test]
fn who_has_many_addresses_of_one_network_gets_the_share_of_one() {
    let mut pair = Pair::new();
    let address = |network: u16, host: u16| SocketAddr::from(([0x2001, 0xdb8, 0, network, 0, 0, 0, host], 5000));
    for host in 0_u16..200 {
        ask_with_cookie(&mut pair, host.to_be_bytes()[1], address(1, host));
    }
    assert_eq!(pair.ends[1].endpoint.unproven(), 32);
    ask_with_cookie(&mut pair, 201, address(2, 1));
    assert_eq!(pair.ends[1].endpoint.unproven(), 33, "another network is let in");
}

#[test]
fn a_handshake_is_dropped_after_some_third_messages_that_do_not_open() {
    let mut pair = Pair::new();
    pair.connect(Target::default());
    // The first packet, with the third message, is caught on its way.
    let caught = pair.run(pair.delay * 2, |pair| {
        pair.flying.front().is_some_and(|first| matches!(Packet::decode(&first.bytes), Ok(Packet::Confirm { .. })))
    });
    assert!(caught && pair.ends[1].endpoint.unproven() == 1);
    let honest = pair.flying.pop_front().unwrap();
    let received = Received { route: Route { socket: 0, remote: honest.from }, local_ip: None, ecn: Ecn::NotCapable };
    let Ok(Packet::Confirm { noise, length, .. }) = Packet::decode(&honest.bytes) else { unreachable!() };
    let place = length - noise.len();
    for left in (0..8_u8).rev() {
        assert_eq!(pair.ends[1].endpoint.unproven(), 1);
        let mut forged = honest.bytes.clone();
        forged[place + usize::from(left)] ^= 1;
        pair.ends[1].endpoint.handle_datagram(pair.now, received, &mut forged);
    }
    assert_eq!(pair.ends[1].endpoint.unproven(), 0);
    pair.ends[1].endpoint.handle_datagram(pair.now, received, &mut honest.bytes.clone());
    pair.drain(1);
    assert_eq!(pair.incoming(), None, "forgotten");
}
