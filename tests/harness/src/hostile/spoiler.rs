//! A relay that spoils what it relays: an honest node, and before it somebody who damages, drops or repeats the datagrams that
//! it passes on for others. What it says for itself goes through untouched.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

use common::relay::RelayHead;

use crate::natlab::Host;

/// The largest datagram.
const LARGEST: usize = 1 << 16;

/// What is done with what is relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Spoil {
    /// Nothing: it is passed on.
    Nothing,
    /// A bit of it is changed.
    Damage,
    /// It vanishes.
    Drop,
    /// It comes twice.
    Repeat,
}

/// Who stands before a node. Its threads end with the test's process.
#[derive(Debug)]
pub struct Spoiler {
    address: SocketAddr,
    mode: Arc<AtomicU8>,
}

/// One who talks to the node.
#[derive(Debug)]
struct Side {
    front: Arc<UdpSocket>,
    back: Arc<UdpSocket>,
    client: SocketAddr,
    mode: Arc<AtomicU8>,
}

impl Spoiler {
    /// Stands before the node that listens at this port of the host, on a port of its own.
    ///
    /// # Panics
    /// When sockets or threads are not to be had.
    pub fn before(host: &Arc<Host>, port: u16) -> Self {
        let front = Arc::new(host.udp());
        let address = front.local_addr().expect("it is bound");
        let node = SocketAddr::from((host.address(), port));
        let mode = Arc::new(AtomicU8::new(Spoil::Nothing as u8));
        let (host, mode_there) = (Arc::clone(host), Arc::clone(&mode));
        thread::spawn(move || {
            let mut sides: HashMap<SocketAddr, UdpSocket> = HashMap::new();
            let mut buffer = vec![0; LARGEST];
            while let Ok((size, client)) = front.recv_from(&mut buffer) {
                let back = sides.entry(client).or_insert_with(|| {
                    let back = host.udp();
                    back.connect(node).expect("it is on the same host");
                    let copy = Arc::new(back.try_clone().expect("it can be shared"));
                    let (front, mode) = (Arc::clone(&front), Arc::clone(&mode_there));
                    let side = Side { front, back: copy, client, mode };
                    thread::spawn(move || side.run());
                    back
                });
                // What is relayed comes by here twice: it is spoiled on its way out.
                drop(back.send(&buffer[..size]));
            }
        });
        Self { address, mode }
    }

    /// Where others reach the node.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on this is done.
    pub fn set(&self, spoil: Spoil) {
        self.mode.store(spoil as u8, Ordering::Relaxed);
    }
}

impl Side {
    /// From the node to the client.
    fn run(self) {
        let mut buffer = vec![0; LARGEST];
        // While the node is not there the system says so; it may come back.
        loop {
            if let Ok(size) = self.back.recv(&mut buffer) {
                let send = |datagram: &[u8]| drop(self.front.send_to(datagram, self.client));
                spoil(self.mode.load(Ordering::Relaxed), &mut buffer[..size], send);
            }
        }
    }
}

fn spoil(mode: u8, datagram: &mut [u8], send: impl Fn(&[u8])) {
    let relayed = RelayHead::is_in_front_of(datagram);
    if relayed && mode == Spoil::Drop as u8 {
        return;
    }
    if relayed
        && mode == Spoil::Damage as u8
        && let Some(last) = datagram.last_mut()
    {
        *last ^= 1;
    }
    send(datagram);
    if relayed && mode == Spoil::Repeat as u8 {
        send(datagram);
    }
}
