//! The UDP port: who asks is told its address, and nothing else is answered.

use std::net::SocketAddr;
use std::time::Instant;

use common::nat::{StunClient, TransactionId};
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::{PATIENCE, Running};
use crate::server::{BindError, Server};
use crate::{Config, Stun};

/// Times that something is tried for which another program may have taken the port by chance.
const TRIES: usize = 5;

/// Asks `server` from a socket at `from`; gives the address of that socket, and what the server says of it.
async fn ask(server: SocketAddr, from: &str) -> (SocketAddr, SocketAddr) {
    let socket = UdpSocket::bind(from).await.unwrap();
    let mut client = StunClient::new(Instant::now(), server, TransactionId([7; 12]));
    let mut buffer = [0; 1500];
    let mapped = loop {
        if let Some(request) = client.poll_transmit(Instant::now()) {
            socket.send_to(&request, server).await.unwrap();
        }
        if let Some(outcome) = client.outcome() {
            break outcome.unwrap();
        }
        let again = client.poll_timeout().unwrap().saturating_duration_since(Instant::now());
        if let Ok(received) = timeout(again, socket.recv_from(&mut buffer)).await {
            let (length, from) = received.unwrap();
            client.handle_datagram(from, &buffer[..length]);
        }
    };
    (socket.local_addr().unwrap(), mapped)
}

#[tokio::test]
async fn who_asks_is_told_its_address_by_the_one_it_asked() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let port = tracker.address.port();
    // An answer from another address of the tracker than the one that was asked would not count.
    for (server, from) in [("127.0.0.1", "127.0.0.1:0"), ("127.0.0.9", "127.0.0.1:0"), ("[::1]", "[::1]:0")] {
        let server = format!("{server}:{port}").parse().unwrap();
        let (socket, mapped) = ask(server, from).await;
        assert_eq!(mapped, socket, "asked at {server}");
    }
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn a_tracker_for_one_address_answers_there() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |config| config.listen = "127.0.0.1:0".parse().unwrap()).await;
    let (socket, mapped) = ask(tracker.address, "127.0.0.1:0").await;
    assert_eq!(mapped, socket);
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_no_request_gets_no_answer() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let request =
        StunClient::new(Instant::now(), tracker.address, TransactionId([1; 12])).poll_transmit(Instant::now());
    let request = request.unwrap();
    let mut damaged = request.clone();
    damaged[27] ^= 1;
    for bad in [b"".as_slice(), &[0x40; 1200], &[0; 1400], &damaged, &request[..20], &[0xff; 60_000]] {
        socket.send_to(bad, tracker.address).await.unwrap();
    }
    // The first answer is to the only good one, which came last.
    socket.send_to(&request, tracker.address).await.unwrap();
    let mut buffer = [0; 1500];
    let (length, _) = timeout(PATIENCE, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!((length, &buffer[8..20]), (40, [1; 12].as_slice()));
    assert!(socket.try_recv(&mut buffer).is_err());
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn without_stun_there_is_no_udp_port() {
    let directory = TempDir::new().unwrap();
    let bind = |name, stun| Server::bind(Config { stun, ..config(&directory, name, "[::]:0".parse().unwrap()) });
    assert!(bind("off", Stun::Off).await.unwrap().udp.is_none());
    assert!(bind("on", Stun::On).await.unwrap().udp.is_some());
}

#[tokio::test]
async fn the_port_is_free_again_when_the_tracker_has_ended() {
    let directory = TempDir::new().unwrap();
    for _ in 0..TRIES {
        let tracker = Running::start(&directory, |_| ()).await;
        let address = tracker.address;
        assert!(UdpSocket::bind(address).await.is_err());
        tracker.stop().await.unwrap();
        if UdpSocket::bind(address).await.is_ok() {
            return;
        }
    }
    panic!("it stays taken");
}

#[tokio::test]
async fn a_udp_port_in_use_keeps_no_peer_out() {
    let directory = TempDir::new().unwrap();
    for _ in 0..TRIES {
        let taken = UdpSocket::bind("[::]:0").await.unwrap();
        let server = match Server::bind(config(&directory, "data", taken.local_addr().unwrap())).await {
            Err(BindError::InUse(_)) => continue,
            server => server.unwrap(),
        };
        assert!(server.udp.is_none());
        let tracker = Running::run(server);
        tracker.join("somebody").await;
        return tracker.stop().await.unwrap();
    }
    panic!("no port is free");
}

fn config(directory: &TempDir, name: &str, listen: SocketAddr) -> Config {
    let mut config = Config::new(directory.path().join(name));
    config.listen = listen;
    config
}
