//! The NAT lab itself: its routers do what the kinds of address translation are defined by.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use harness::emulator::Link;
use harness::natlab::{self, Access, Doorway, Home, Host, Lab, Nat, Rebinding};
use harness::netns::Wire;
use harness::privilege;
use harness::process::Launch;
use harness::wait::{wait_for, wait_until};

/// Within this comes what comes at all; only a failed test waits for so long.
const SOON: Duration = Duration::from_secs(5);
/// A datagram that was sent before another that has arrived comes within this, if at all: they run through the kernel of one
/// machine.
const MOMENT: Duration = Duration::from_millis(30);
const TRANSLATING: [Nat; 4] = [Nat::FullCone, Nat::PortRestricted, Nat::Symmetric, Nat::Double];

fn met(test: &str) -> bool {
    privilege::met(test, natlab::possible())
}

fn address(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

/// Who sends the next datagram that comes within `limit`, and its one byte.
fn next(socket: &UdpSocket, limit: Duration) -> Option<(SocketAddr, u8)> {
    socket.set_read_timeout(Some(limit)).unwrap();
    let mut buffer = [0];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((_, from)) => return Some((from, buffer[0])),
            // The system ends a wait with a time limit for signals that nobody handles too.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A timeout, or an ICMP error where nobody is: nothing came.
            Err(_) => return None,
        }
    }
}

/// As whom `to` sees `from`, where what is sent gets there.
fn seen(from: &UdpSocket, to: &UdpSocket) -> Option<SocketAddr> {
    // Late ones of before.
    while next(to, Duration::from_millis(1)).is_some() {}
    from.send_to(&[7], address(to)).unwrap();
    next(to, MOMENT).map(|(seen, _)| seen)
}

/// As whom `to` sees `from`.
#[track_caller]
fn mapping(from: &UdpSocket, to: &UdpSocket) -> SocketAddr {
    wait_for(SOON, "a datagram to get through", || seen(from, to))
}

/// A host with two addresses and a socket on each, and another on the first: as a STUN server has.
fn observer(lab: &Lab) -> (Host, [UdpSocket; 3]) {
    let host = lab.host_with(2, Access::Wire);
    let [first, second] = [host.addresses()[0], host.addresses()[1]];
    let sockets = [first, second, first].map(|address| host.run(|| UdpSocket::bind((address, 0))).unwrap());
    (host, sockets)
}

/// Whether two sockets reach each other directly within `patience`: both send to where `observer` saw the other, and then to
/// where the other's datagrams come from.
fn punches(one: &UdpSocket, other: &UdpSocket, observer: &UdpSocket, patience: Duration) -> bool {
    let mut ends = [(one, mapping(other, observer), None), (other, mapping(one, observer), None)];
    let start = Instant::now();
    while start.elapsed() < patience {
        for (socket, guess, heard) in &ends {
            socket.send_to(&[1], heard.unwrap_or(*guess)).unwrap();
        }
        for (socket, _, heard) in &mut ends {
            *heard = next(socket, MOMENT / 4).map(|(from, _)| from).or(*heard);
        }
        if ends.iter().all(|(_, _, heard)| heard.is_some()) {
            return true;
        }
    }
    false
}

#[test]
fn a_socket_has_one_mapping_or_one_for_each_destination() {
    if !met("a_socket_has_one_mapping_or_one_for_each_destination") {
        return;
    }
    let lab = Lab::new();
    let (_server, observers) = observer(&lab);
    for nat in Nat::ALL {
        let home = lab.home(nat);
        let host = home.host();
        let socket = host.udp();
        let seen: BTreeSet<SocketAddr> = observers.iter().map(|to| mapping(&socket, to)).collect();
        let own = address(&socket);
        println!("{nat:?}: {own} is seen as {seen:?}");
        assert_eq!(seen.len(), if nat == Nat::Symmetric { 3 } else { 1 }, "{nat:?}");
        let public = if nat.translates() { home.public_address() } else { host.address() };
        assert!(seen.iter().all(|seen| seen.ip() == public), "{nat:?}");
        let keeps = !matches!(nat, Nat::FullCone | Nat::Symmetric);
        assert_eq!(seen.iter().all(|seen| seen.port() == own.port()), keeps, "{nat:?}");
        // It lasts.
        assert!(observers.iter().all(|to| seen.contains(&mapping(&socket, to))), "{nat:?}");
    }
}

#[test]
fn filters_let_in_whom_they_should() {
    if !met("filters_let_in_whom_they_should") {
        return;
    }
    let lab = Lab::new();
    let (_server, [asked, other_address, other_port]) = observer(&lab);
    let stranger_host = lab.host();
    let stranger = stranger_host.udp();
    for nat in Nat::ALL {
        let host = lab.home(nat).host();
        let socket = host.udp();
        let public = mapping(&socket, &asked);
        for (sender, byte) in [(&stranger, 1), (&other_address, 2), (&other_port, 3), (&asked, 4)] {
            sender.send_to(&[byte], public).unwrap();
        }
        let mut came = BTreeSet::new();
        while let Some((_, byte)) = next(&socket, if came.contains(&4) { MOMENT } else { SOON }) {
            came.insert(byte);
        }
        let all = matches!(nat, Nat::Open | Nat::FullCone);
        assert_eq!(came, if all { BTreeSet::from([1, 2, 3, 4]) } else { BTreeSet::from([4]) }, "{nat:?}");
    }
}

#[test]
fn nobody_comes_in_from_behind_by_the_public_address_but_neighbours_meet_on_their_own() {
    if !met("nobody_comes_in_from_behind_by_the_public_address") {
        return;
    }
    let lab = Lab::new();
    let (_server, [observer, ..]) = observer(&lab);
    for nat in TRANSLATING {
        let home = lab.home(nat);
        let hosts = [home.host(), home.host()];
        let [one, other] = [&hosts[0], &hosts[1]].map(Host::udp);
        assert!(!punches(&one, &other, &observer, MOMENT), "{nat:?} has no hairpinning");
        assert_eq!(mapping(&one, &other), address(&one), "{nat:?}");
        assert_eq!(mapping(&other, &one), address(&other), "{nat:?}");
    }
}

#[test]
fn both_of_two_neighbours_with_the_same_port_are_reached() {
    if !met("both_of_two_neighbours_with_the_same_port_are_reached") {
        return;
    }
    let lab = Lab::new();
    let (_server, [observer, ..]) = observer(&lab);
    for nat in TRANSLATING {
        let home = lab.home(nat);
        let hosts = [home.host(), home.host()];
        let sockets = [&hosts[0], &hosts[1]].map(|host| host.run(|| UdpSocket::bind((host.address(), 5000))).unwrap());
        let mappings = [&sockets[0], &sockets[1]].map(|socket| mapping(socket, &observer));
        assert_ne!(mappings[0], mappings[1], "{nat:?}");
        for (number, (socket, mapping)) in (0..).zip(sockets.iter().zip(mappings)) {
            observer.send_to(&[number], mapping).unwrap();
            assert_eq!(next(socket, SOON), Some((address(&observer), number)), "{nat:?}");
        }
    }
}

#[test]
fn homes_are_alike_inside_and_routers_stand_behind_routers() {
    if !met("homes_are_alike_inside_and_routers_stand_behind_routers") {
        return;
    }
    let lab = Lab::new();
    let (_server, [observer, ..]) = observer(&lab);
    let outer = lab.home(Nat::PortRestricted);
    let (inner, twin) = (outer.home(Nat::FullCone), lab.home(Nat::Symmetric));
    let hosts = [outer.host(), inner.host(), twin.host()];
    let [neighbour, deep, far] = [0, 1, 2].map(|index: usize| hosts[index].udp());
    // The inner router was the first on the outer network, the host the first on the twin's.
    let first = Ipv4Addr::new(192, 168, 1, 2);
    assert_eq!(hosts[2].address(), first);
    assert_eq!(inner.site(), outer.site());
    assert_eq!(mapping(&deep, &observer).ip(), outer.public_address());
    assert_eq!(mapping(&far, &observer).ip(), twin.public_address());
    // From the inner network out to the outer one, but not the other way round.
    assert_eq!(mapping(&deep, &neighbour).ip(), first);
    assert_eq!(seen(&neighbour, &deep), None);
    observer.send_to(&[9], mapping(&deep, &observer)).unwrap();
    assert_eq!(next(&deep, SOON).map(|(_, byte)| byte), Some(9));
}

#[test]
fn holes_can_be_punched_between_the_kinds_that_allow_it() {
    if !met("holes_can_be_punched_between_the_kinds_that_allow_it") {
        return;
    }
    let lab = Lab::new();
    let (_server, [observer, ..]) = observer(&lab);
    let homes: Vec<[Host; 2]> = Nat::ALL.iter().map(|nat| [lab.home(*nat).host(), lab.home(*nat).host()]).collect();
    for (one, left) in Nat::ALL.iter().zip(&homes) {
        for (other, right) in Nat::ALL.iter().zip(&homes) {
            let expected = one.meets(*other);
            let patience = if expected { SOON } else { MOMENT };
            let meets = punches(&left[0].udp(), &right[1].udp(), &observer, patience);
            assert_eq!(meets, expected, "{one:?} with {other:?}");
        }
    }
}

#[test]
fn who_comes_too_early_does_not_take_the_port_away() {
    if !met("who_comes_too_early_does_not_take_the_port_away") {
        return;
    }
    let lab = Lab::new();
    let (_server, [observer, ..]) = observer(&lab);
    let peer_host = lab.host();
    for nat in [Nat::FullCone, Nat::PortRestricted, Nat::Double] {
        let host = lab.home(nat).host();
        let (socket, peer) = (host.udp(), peer_host.udp());
        let public = mapping(&socket, &observer);
        peer.send_to(&[1], public).unwrap();
        peer.send_to(&[2], public).unwrap();
        assert_eq!(mapping(&socket, &peer), public, "{nat:?}");
    }
}

#[test]
fn who_comes_too_early_takes_the_port_away_where_the_doorway_is_ajar() {
    if !met("who_comes_too_early_takes_the_port_away_where_the_doorway_is_ajar") {
        return;
    }
    let lab = Lab::new();
    let (_server, [observer, ..]) = observer(&lab);
    let peer_host = lab.host();
    for nat in [Nat::PortRestricted, Nat::Double] {
        let home = lab.home(nat);
        home.set_doorway(Doorway::Ajar);
        let host = home.host();
        let (socket, peer) = (host.udp(), peer_host.udp());
        let public = mapping(&socket, &observer);
        peer.send_to(&[1], public).unwrap();
        assert_ne!(mapping(&socket, &peer), public, "{nat:?}");
        assert_eq!(mapping(&socket, &observer), public, "{nat:?}: towards others it stays");
    }
}

#[test]
fn a_rebinding_changes_all_mappings_at_once() {
    if !met("a_rebinding_changes_all_mappings_at_once") {
        return;
    }
    let lab = Lab::new();
    let (_server, [observer, ..]) = observer(&lab);
    for nat in TRANSLATING {
        let home = lab.home(nat);
        let host = home.host();
        let socket = host.udp();
        for rebinding in [Rebinding::Port, Rebinding::Address, Rebinding::Port] {
            let (before, address_before) = (mapping(&socket, &observer), home.public_address());
            home.rebind(rebinding);
            observer.send_to(&[1], before).unwrap();
            let after = mapping(&socket, &observer);
            println!("{nat:?}, {rebinding:?}: {before}, then {after}");
            observer.send_to(&[2], before).unwrap();
            observer.send_to(&[3], after).unwrap();
            assert_eq!(next(&socket, SOON), Some((address(&observer), 3)), "{nat:?}: the old mapping is closed");
            assert_ne!(after.port(), before.port(), "{nat:?}, {rebinding:?}");
            assert_eq!(after.ip(), home.public_address());
            assert_eq!(home.public_address() != address_before, rebinding == Rebinding::Address, "{nat:?}");
        }
    }
}

#[test]
fn cables_are_pulled_and_networks_parted_and_healed() {
    if !met("cables_are_pulled_and_networks_parted_and_healed") {
        return;
    }
    let lab = Lab::new();
    let home = lab.home(Nat::PortRestricted);
    let hosts = [lab.host(), lab.host(), home.host()];
    let [one, other, behind] = [0, 1, 2].map(|index: usize| hosts[index].udp());
    let pulls: [(&str, &dyn Fn(Wire)); 2] =
        [("the router's", &|wire| home.set_wire(wire)), ("the host's", &|wire| hosts[2].set_wire(wire))];
    for (whose, set_wire) in pulls {
        mapping(&behind, &one);
        set_wire(Wire::Pulled);
        assert_eq!(seen(&behind, &one), None, "{whose} cable is pulled");
        set_wire(Wire::Plugged);
        mapping(&behind, &one);
    }
    lab.partition(&[hosts[0].site()], &[hosts[1].site(), home.site()]);
    assert_eq!((seen(&one, &other), seen(&other, &one), seen(&behind, &one)), (None, None, None));
    mapping(&behind, &other);
    lab.heal();
    mapping(&one, &other);
    mapping(&behind, &one);
}

#[test]
fn a_link_delays_what_a_home_sends_and_gets() {
    if !met("a_link_delays_what_a_home_sends_and_gets") {
        return;
    }
    const MBIT: u64 = 1_000_000;
    let delay = Duration::from_millis(20);
    let lab = Lab::new();
    let home = lab.home_over(Nat::FullCone, Access::alike(Link::new(50 * MBIT, delay)));
    let (host, server) = (home.host(), lab.host());
    let (socket, listener) = (host.udp(), server.udp());
    let round_trip = || {
        let start = Instant::now();
        socket.send_to(&[1], address(&listener)).unwrap();
        let (from, _) = next(&listener, SOON).unwrap();
        listener.send_to(&[2], from).unwrap();
        assert_eq!(next(&socket, SOON), Some((address(&listener), 2)));
        start.elapsed()
    };
    let least = (0..5).map(|_| round_trip()).min();
    assert!(least >= Some(2 * delay) && least < Some(3 * delay), "{least:?}");
    home.rebind(Rebinding::Address);
    assert!(round_trip() >= 2 * delay);
}

#[test]
fn processes_run_on_hosts_and_tcp_gets_through() {
    if !met("processes_run_on_hosts_and_tcp_gets_through") {
        return;
    }
    let lab = Lab::new();
    let (server, host) = (lab.host(), lab.home(Nat::Double).host());
    let listener = server.run(|| TcpListener::bind((server.address(), 0))).unwrap();
    let to = listener.local_addr().unwrap();
    drop(host.run(|| TcpStream::connect_timeout(&to, SOON)).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let dial = format!("echo > /dev/tcp/{}/{}", to.ip(), to.port());
    let mut process = Launch::new("bash").args(["-c", &dial]).netns(Some(host.netns())).start(&dir.path().join("dial"));
    assert!(process.wait(SOON).status.success(), "{}", process.stderr());
}

#[test]
fn a_lab_is_built_fast_and_leaves_nothing() {
    if !met("a_lab_is_built_fast_and_leaves_nothing") {
        return;
    }
    let start = Instant::now();
    let lab = Lab::new();
    let (homes, server): ([Home; 2], Host) = (TRANSLATING_PAIR.map(|nat| lab.home(nat)), lab.host());
    let hosts = [homes[0].host(), homes[1].host()];
    let built = start.elapsed();
    println!("six namespaces in {built:?}");
    // A machine with other work takes longer than the few tenths of a second that it should be.
    assert!(built < SOON, "{built:?}");
    let names: Vec<String> = hosts.iter().chain([&server]).map(Host::netns).collect();
    let there = |name: &String| std::path::Path::new("/run/netns").join(name).exists();
    assert!(names.iter().all(there));
    // Whatever goes first.
    drop(lab);
    drop(homes);
    mapping(&hosts[0].udp(), &server.udp());
    drop((hosts, server));
    wait_until(SOON, "the namespaces to go", || !names.iter().any(there));
}

const TRANSLATING_PAIR: [Nat; 2] = [Nat::PortRestricted, Nat::Symmetric];
