//! The link emulator itself: what it does to packets is what was asked for, within what its clock can do. Each tolerance
//! is stated where it is used; the emulator's own error is 0.1 ms a packet, the rest is for a machine with other work.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use harness::emulator::{self, Counters, Emulator, Link, Loss, Side};
use harness::privilege;
use harness::wait::wait_until;

const MBIT: u64 = 1_000_000;
const SOON: Duration = Duration::from_secs(5);
/// Nothing comes any more after so long: ten times the longest delay in here.
const SILENCE: Duration = Duration::from_millis(300);
const IP_AND_UDP_HEADERS: usize = 28;

/// A socket on `side`.
fn udp(side: &Side) -> UdpSocket {
    let socket = side.run(|| UdpSocket::bind((side.address(), 0))).unwrap();
    // Beyond the system's limit, so that nothing is lost behind the emulator.
    rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 16 << 20).unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    socket
}

/// When each datagram that comes within [`SILENCE`] of the one before comes, with its length.
fn arrivals(socket: &UdpSocket) -> Vec<(Instant, usize)> {
    let mut buffer = [0; 2048];
    let next = || socket.recv(&mut buffer).ok().map(|length| (Instant::now(), length));
    std::iter::from_fn(next).collect()
}

/// What went to the right, once all is out.
fn settled(emulator: &Emulator, entered: u64) -> Counters {
    let settles = || {
        let Counters { entered: count, delivered, lost_at_queue, lost_at_random, .. } = emulator.to_right();
        count == entered && delivered + lost_at_queue + lost_at_random == entered
    };
    wait_until(SOON, "every packet to be delivered or lost", settles);
    assert_eq!(emulator.overruns(), 0, "the emulator kept up");
    emulator.to_right()
}

#[test]
fn a_round_trip_takes_twice_the_delay() {
    if !privilege::met("a_round_trip_takes_twice_the_delay", emulator::possible()) {
        return;
    }
    let delay = Duration::from_millis(20);
    let emulator = Emulator::start(Link::new(200 * MBIT, delay));
    let (here, there) = (udp(emulator.left()), udp(emulator.right()));
    here.connect(there.local_addr().unwrap()).unwrap();
    there.connect(here.local_addr().unwrap()).unwrap();
    let mut buffer = [0; 100];
    let mut round_trips: Vec<Duration> = (0..15)
        .map(|_| {
            let start = Instant::now();
            here.send(&buffer).unwrap();
            there.recv(&mut buffer).unwrap();
            there.send(&buffer).unwrap();
            here.recv(&mut buffer).unwrap();
            start.elapsed()
        })
        .collect();
    round_trips.sort();
    let (least, median) = (round_trips[0], round_trips[7]);
    assert!(least >= 2 * delay && median < 2 * delay + Duration::from_millis(2), "{round_trips:?}");
}

#[test]
fn losses_are_as_many_as_asked_for_and_all_are_counted() {
    if !privilege::met("losses_are_as_many_as_asked_for_and_all_are_counted", emulator::possible()) {
        return;
    }
    const COUNT: u64 = 20_000;
    const SHARE: f64 = 0.05;
    let link = Link::new(1000 * MBIT, Duration::from_millis(5)).queue_bytes(64 << 20).loss(Loss::Independent(SHARE));
    let emulator = Emulator::start(link);
    let (here, there) = (udp(emulator.left()), udp(emulator.right()));
    let to = there.local_addr().unwrap();
    let received = thread::scope(|scope| {
        let receiver = scope.spawn(|| arrivals(&there).len() as u64);
        for _ in 0..COUNT {
            here.send_to(&[0; 100], to).unwrap();
        }
        receiver.join().unwrap()
    });
    let counters = settled(&emulator, COUNT);
    assert_eq!((counters.lost_at_queue, counters.delivered), (0, received));
    // Five standard deviations of a binomial distribution are 0.8 %.
    let share = counters.lost_at_random as f64 / COUNT as f64;
    assert!((share - SHARE).abs() < 0.008, "{share}");
}

#[test]
fn the_bottleneck_passes_its_rate_and_drops_what_its_queue_does_not_hold() {
    if !privilege::met("the_bottleneck_passes_its_rate", emulator::possible()) {
        return;
    }
    const PAYLOAD: usize = 1472;
    const COUNT: u64 = 1200;
    let rate = 20 * MBIT;
    let emulator = Emulator::start(Link::new(rate, Duration::from_millis(10)).queue_bytes(600 * 1500));
    let (here, there) = (udp(emulator.left()), udp(emulator.right()));
    let to = there.local_addr().unwrap();
    let arrived = thread::scope(|scope| {
        let receiver = scope.spawn(|| arrivals(&there));
        for _ in 0..COUNT {
            here.send_to(&[0; PAYLOAD], to).unwrap();
        }
        receiver.join().unwrap()
    });
    let counters = settled(&emulator, COUNT);
    assert_eq!(counters.delivered, arrived.len() as u64);
    assert_eq!(counters.delivered_bytes, counters.delivered * (PAYLOAD + IP_AND_UDP_HEADERS) as u64);
    assert!(counters.lost_at_queue > COUNT / 3, "{counters:?}");
    assert!((599 * 1500..=600 * 1500).contains(&counters.queue_most_bytes), "{counters:?}");
    let (first, last) = (arrived[0].0, arrived[arrived.len() - 1].0);
    let bits: usize = arrived[1..].iter().map(|(_, length)| 8 * (length + IP_AND_UDP_HEADERS)).sum();
    let seen = bits as f64 / (last - first).as_secs_f64();
    assert!((seen / rate as f64 - 1.0).abs() < 0.02, "{seen} bit/s of {rate}");
}

#[test]
fn tcp_fills_a_fast_link() {
    if !privilege::met("tcp_fills_a_fast_link", emulator::possible()) {
        return;
    }
    let (rate, bytes) = (200 * MBIT, 12 << 20);
    let emulator = Emulator::start(Link::new(rate, Duration::from_millis(2)).queue_bytes(1 << 20));
    let listener = emulator.right().run(|| TcpListener::bind((emulator.right().address(), 0))).unwrap();
    let to: SocketAddr = listener.local_addr().unwrap();
    let mut sender = emulator.left().run(|| TcpStream::connect(to)).unwrap();
    let mut receiver = listener.accept().unwrap().0;
    let start = Instant::now();
    let received = thread::scope(|scope| {
        scope.spawn(move || sender.write_all(&vec![7; bytes]).unwrap());
        let mut all = Vec::with_capacity(bytes);
        receiver.read_to_end(&mut all).unwrap();
        all
    });
    let took = start.elapsed();
    assert!(received.len() == bytes && received.iter().all(|byte| *byte == 7));
    // Headers take 3.5 %; the start of the flow, and a busy machine, the rest.
    let part = bytes as f64 * 8.0 / took.as_secs_f64() / rate as f64;
    assert!((0.3..0.97).contains(&part), "{part} of the rate");
    assert_eq!(emulator.overruns(), 0);
}
