//! Hosts: where programs run.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;

use super::internet::{Access, Internet, Site, Uplink, be_without_ipv6};
use super::router::{Plug, Router};
use crate::netns::{Namespace, Wire};

const DEVICE: &str = "eth0";

/// A host on the internet or in a home: a namespace with loopback and one way out. The loopback alone has IPv6.
#[derive(Debug)]
pub struct Host {
    place: Place,
    namespace: Namespace,
    addresses: Vec<Ipv4Addr>,
}

#[derive(Debug)]
enum Place {
    Internet(Uplink),
    Home(Plug),
}

impl Host {
    pub(super) fn on_internet(internet: &Arc<Internet>, addresses: usize, access: Access) -> Self {
        let namespace = new_namespace();
        let addresses: Vec<Ipv4Addr> = (0..addresses.max(1)).map(|_| internet.new_address()).collect();
        let uplink = internet.plug(&namespace, DEVICE, &addresses, access);
        Self { place: Place::Internet(uplink), namespace, addresses }
    }

    pub(super) fn behind(router: &Arc<Router>) -> Self {
        let namespace = new_namespace();
        let (plug, address) = Plug::new(router, &namespace, DEVICE);
        Self { place: Place::Home(plug), namespace, addresses: vec![address] }
    }

    /// Its address, the first where it has several.
    pub fn address(&self) -> Ipv4Addr {
        self.addresses[0]
    }

    /// All its addresses, at least one.
    pub fn addresses(&self) -> &[Ipv4Addr] {
        &self.addresses
    }

    /// The namespace's name, for `ip netns exec` and [`crate::process::Launch::netns`].
    pub fn netns(&self) -> String {
        self.namespace.name().to_owned()
    }

    /// Runs `work` on a thread of its own that is on this host: sockets made there belong to it for good, whoever uses
    /// them.
    ///
    /// # Panics
    /// When `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(work)
    }

    /// A UDP socket on this host, on its first address and a port that the system chooses.
    pub fn udp(&self) -> UdpSocket {
        self.run(|| UdpSocket::bind((self.address(), 0))).expect("a socket can be bound")
    }

    /// Pulls its cable, or puts it back. In a home its network device goes down with it; on the internet the cable is cut on
    /// its way, which nobody is told.
    pub fn set_wire(&self, wire: Wire) {
        match &self.place {
            Place::Internet(uplink) => uplink.set_wire(wire),
            Place::Home(plug) => plug.set_wire(wire),
        }
    }

    /// Through where the internet sees it.
    pub fn site(&self) -> Site {
        match &self.place {
            Place::Internet(uplink) => uplink.site(),
            Place::Home(plug) => plug.site(),
        }
    }
}

fn new_namespace() -> Namespace {
    let namespace = Namespace::new();
    be_without_ipv6(&namespace);
    namespace.configure("link set lo up\n");
    namespace
}
