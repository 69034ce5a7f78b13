//! Routers: between the internet, or another router's network, and a network of their own.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::internet::{Access, Internet, Site, Uplink, be_router};
use super::nat::{Doorway, Life, Nat, Rebinding};
use super::network::Network;
use crate::netns::{Namespace, Wire};

/// What a router calls its way out; the rules name it too.
const WAN: &str = "wan";
/// What it calls the switch of its own network; the rules name it too.
const LAN: &str = "lan";
/// Number of the router's own address in its network; hosts follow.
const OWN: u16 = 1;
/// How many leading bits the addresses of a private network share.
const PRIVATE_BITS: u8 = 24;

/// A router.
#[derive(Debug)]
pub(super) struct Router {
    upstream: Upstream,
    namespace: Namespace,
    nat: Nat,
    network: Network,
    /// How many routers are between the internet and its network.
    depth: u8,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// On the way out.
    address: Ipv4Addr,
    life: Life,
    doorway: Doorway,
    /// How many addresses of its network are given out, its own included.
    given: u16,
}

#[derive(Debug)]
enum Upstream {
    Internet(Uplink),
    Network(Plug),
}

/// A place in the switch of a router's network.
#[derive(Debug)]
pub(super) struct Plug {
    router: Arc<Router>,
    port: String,
}

impl Router {
    /// One on the internet.
    pub(super) fn on_internet(internet: &Arc<Internet>, nat: Nat, access: Access) -> Arc<Self> {
        let (namespace, address) = (new_namespace(), internet.new_address());
        let uplink = internet.plug(&namespace, WAN, &[address], access);
        let network = if nat.translates() { private(OUTERMOST) } else { internet.new_network() };
        if !nat.translates() {
            uplink.lead_network(network, address);
        }
        Self::new(Upstream::Internet(uplink), namespace, nat, network, OUTERMOST, address)
    }

    /// One on the network of `outer`.
    pub(super) fn behind(outer: &Arc<Self>, nat: Nat) -> Arc<Self> {
        let namespace = new_namespace();
        let (plug, address) = Plug::new(outer, &namespace, WAN);
        let depth = outer.depth + 1;
        Self::new(Upstream::Network(plug), namespace, nat, private(depth), depth, address)
    }

    fn new(
        upstream: Upstream,
        namespace: Namespace,
        nat: Nat,
        network: Network,
        depth: u8,
        address: Ipv4Addr,
    ) -> Arc<Self> {
        namespace.configure(&format!(
            "link set lo up\nlink add {LAN} type bridge\naddress add {}/{} dev {LAN}\nlink set {LAN} up\n",
            network.address(OWN),
            network.bits()
        ));
        let state = State { address, life: Life::FIRST, doorway: Doorway::Shut, given: OWN };
        namespace.filter(&nat.rules(state.address, state.life, state.doorway));
        Arc::new(Self { upstream, namespace, nat, network, depth, state: Mutex::new(state) })
    }

    /// Its address on the way out.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.lock().address
    }

    /// Its address in its own network.
    pub(super) fn gateway(&self) -> Ipv4Addr {
        self.network.address(OWN)
    }

    /// The router that is directly on the internet: this, or one that this is behind.
    pub(super) fn outermost(&self) -> &Self {
        match &self.upstream {
            Upstream::Internet(_) => self,
            Upstream::Network(plug) => plug.router.outermost(),
        }
    }

    pub(super) fn site(&self) -> Site {
        match &self.upstream {
            Upstream::Internet(uplink) => uplink.site(),
            Upstream::Network(plug) => plug.site(),
        }
    }

    pub(super) fn set_wire(&self, wire: Wire) {
        match &self.upstream {
            Upstream::Internet(uplink) => uplink.set_wire(wire),
            Upstream::Network(plug) => plug.set_wire(wire),
        }
    }

    /// Begins another life; only where it is on the internet and translates.
    pub(super) fn rebind(&self, rebinding: Rebinding) {
        assert!(self.nat.translates(), "{:?} has no mappings that could change", self.nat);
        let Upstream::Internet(uplink) = &self.upstream else {
            unreachable!("the outermost router is on the internet")
        };
        let mut state = self.lock();
        let old = state.address;
        state.life = state.life.next();
        if rebinding == Rebinding::Address {
            state.address = uplink.internet().new_address();
            uplink.lead(state.address);
            self.namespace.configure(&format!("address add {}/32 dev {WAN}", state.address));
        }
        // From here on all goes out in the new way and only that gets back in.
        self.namespace.filter(&self.nat.rules(state.address, state.life, state.doorway));
        if rebinding == Rebinding::Address {
            uplink.mislead(old);
            self.namespace.configure(&format!("address delete {old}/32 dev {WAN}"));
        }
    }

    /// What comes from outside unasked is handled like this from now on.
    pub(super) fn set_doorway(&self, doorway: Doorway) {
        let mut state = self.lock();
        state.doorway = doorway;
        self.namespace.filter(&self.nat.rules(state.address, state.life, state.doorway));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Whoever panicked has said so; what is here is as far as it came.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plug {
    /// Joins a namespace whose `device`, made here, gets an address, which is returned too, and is its way to everywhere.
    pub(super) fn new(router: &Arc<Router>, namespace: &Namespace, device: &str) -> (Self, Ipv4Addr) {
        let number = {
            let mut state = router.lock();
            state.given += 1;
            state.given
        };
        let (port, address, bits) = (format!("lan{number}"), router.network.address(number), router.network.bits());
        let (beyond, gateway) = (router.namespace.name(), router.gateway());
        namespace.configure(&format!("link add {device} type veth peer name {port} netns {beyond}\n"));
        router.namespace.configure(&format!("link set {port} master {LAN} up\n"));
        namespace.configure(&format!(
            "address add {address}/{bits} dev {device}\nlink set {device} up\nroute add default via {gateway}\n"
        ));
        router.namespace.wait_for_carrier(&port);
        (Self { router: Arc::clone(router), port }, address)
    }

    pub(super) fn site(&self) -> Site {
        self.router.site()
    }

    pub(super) fn set_wire(&self, wire: Wire) {
        let state = match wire {
            Wire::Plugged => "up",
            Wire::Pulled => "down",
        };
        self.router.namespace.configure(&format!("link set {} {state}", self.port));
        if wire == Wire::Plugged {
            self.router.namespace.wait_for_carrier(&self.port);
        }
    }
}

fn new_namespace() -> Namespace {
    let namespace = Namespace::new();
    be_router(&namespace);
    // Where the kernel knows this setting: what a switch hands on is no business of the router's rules.
    namespace.try_set("bridge/bridge-nf-call-iptables", "0");
    namespace
}

/// How many routers are before the network of one that is on the internet: itself.
const OUTERMOST: u8 = 1;

/// The private network behind so many routers, the same everywhere (RFC 1918).
const fn private(depth: u8) -> Network {
    Network::new(Ipv4Addr::new(192, 168, depth, 0), PRIVATE_BITS)
}
