//! Nodes over real sockets.

mod connections;
mod relays;
mod sockets;
mod stun;

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::identity::Identity;
use common::mrt::{Config, LocalKeys, Target};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::*;
use crate::tasks::Tasks;

pub(super) const PSK: [u8; 32] = [7; 32];
pub(super) const LOOPBACK: &str = "127.0.0.1:0";
/// Nothing here takes so long, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(30);

/// Two nodes, and the tasks in which they run.
struct Stage {
    tasks: Tasks,
    here: Node,
    there: Node,
}

impl Stage {
    fn new(here: &str, there: &str, config: &Config) -> Self {
        let tasks = Tasks::new();
        let (here, there) = (node(&tasks, here, 1, PSK, config), node(&tasks, there, 2, PSK, config));
        Self { tasks, here, there }
    }

    /// A connection, as both nodes have it.
    async fn connect(&self) -> (Connection, Connection) {
        let target = at_loopback(self.there.local_addr());
        let (asked, accepted) = tokio::join!(self.here.connect(target, Target::default()), self.there.accept());
        (asked.unwrap(), accepted.unwrap())
    }
}

fn node(tasks: &Tasks, listen: &str, seed: u8, psk: [u8; 32], config: &Config) -> Node {
    let options = BindOptions { listen: listen.parse().unwrap(), config: config.clone(), keys: keys(seed, psk) };
    Node::bind(tasks, options).unwrap()
}

pub(super) fn keys(seed: u8, psk: [u8; 32]) -> LocalKeys {
    LocalKeys::new(Arc::new(Identity::from_seed(&[seed; 32])), psk)
}

/// Where a socket is reached that is bound to all addresses.
fn at_loopback(bound: SocketAddr) -> SocketAddr {
    if bound.ip().is_unspecified() { ([127, 0, 0, 1], bound.port()).into() } else { bound }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("it ends")
}

/// Bytes that differ everywhere, and with `seed`.
fn content(seed: u8, length: usize) -> Vec<u8> {
    let mut block = Sha256::digest([seed]);
    let mut bytes = Vec::with_capacity(length + block.len());
    while bytes.len() < length {
        bytes.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    bytes.truncate(length);
    bytes
}

/// Sends `seed`'s content and ends, and at the same time reads what comes to its end.
async fn exchange(stream: Stream, seed: u8, length: usize) -> Vec<u8> {
    let (mut read, mut write) = stream.into_split();
    let sending = async {
        write.write_all(&content(seed, length)).await.unwrap();
        write.finished().await.unwrap();
    };
    let mut came = Vec::new();
    let (_, received) = tokio::join!(sending, read.read_to_end(&mut came));
    received.unwrap();
    came
}

/// Both sides of a connection send each other bytes, of which all must arrive.
async fn exchange_between(asked: &Connection, accepted: &Connection, length: usize) {
    let asker = async { exchange(asked.open().await.unwrap(), 1, length).await };
    let accepter = async { exchange(accepted.accept().await.unwrap(), 2, length).await };
    let (at_asker, at_accepter) = tokio::join!(asker, accepter);
    assert!(at_asker == content(2, length) && at_accepter == content(1, length));
}

/// The same for as long as `meanwhile` takes, stream after stream.
async fn exchange_during(asked: &Connection, accepted: &Connection, meanwhile: impl Future<Output = ()>) {
    const LENGTH: usize = 8 << 20;
    let over = Cell::new(false);
    let transfers = async {
        while !over.get() {
            exchange_between(asked, accepted, LENGTH).await;
        }
    };
    tokio::join!(transfers, async {
        meanwhile.await;
        over.set(true);
    });
}

/// Waits until a path that was probed is proven; it must not fail.
async fn proven(connection: &Connection, route: common::mrt::Route) {
    loop {
        match connection.path_event().await.unwrap() {
            PathEvent::Validated { route: proven, .. } if proven == route => return,
            PathEvent::Failed(failed) => assert_ne!(failed, route, "nobody answered"),
            _ => {}
        }
    }
}

/// Stands between two nodes as a router does: passes on to each what comes from the other, from its own address.
struct Between {
    socket: UdpSocket,
    ends: [SocketAddr; 2],
}

impl Between {
    async fn new(ends: [SocketAddr; 2]) -> Self {
        Self { socket: UdpSocket::bind(LOOPBACK).await.unwrap(), ends }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// Passes everything on for as long as `meanwhile` takes.
    async fn pass_on_during<T>(&self, meanwhile: impl Future<Output = T>) -> T {
        let passing = async {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let (size, from) = self.socket.recv_from(&mut buffer).await.unwrap();
                let to = if from == self.ends[0] { self.ends[1] } else { self.ends[0] };
                self.socket.send_to(&buffer[..size], to).await.unwrap();
            }
        };
        tokio::select! {
            () = passing => unreachable!("it has no end"),
            outcome = meanwhile => outcome,
        }
    }

    /// What comes next from one of the two; all from the other until then is lost.
    async fn next_from(&self, end: SocketAddr) -> Vec<u8> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let (size, from) = self.socket.recv_from(&mut buffer).await.unwrap();
            if from == end {
                buffer.truncate(size);
                return buffer;
            }
        }
    }
}

/// Lets others run until `done`; tests that run beside this one need the processor, too.
async fn until(mut done: impl FnMut() -> bool) {
    const LOOK_EVERY: Duration = Duration::from_millis(1);
    while !done() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
