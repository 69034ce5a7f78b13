//! The internet: one namespace that routes between all who are plugged into it, and drops in silence what is for nobody.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::network::Network;
use crate::emulator::{Cable, Link};
use crate::netns::{Namespace, Wire};

/// All addresses of hosts and routers (RFC 5737: for documentation).
const ADDRESSES: Network = Network::new(Ipv4Addr::new(203, 0, 113, 0), 24);
/// Networks behind routers that do not translate are parts of this (RFC 5737).
const NETWORKS: Network = Network::new(Ipv4Addr::new(198, 51, 100, 0), 24);
/// Eight addresses: as much as a small customer gets.
const NETWORK_BITS: u8 = 29;
/// The middle's own address, everybody's gateway (RFC 5737).
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// How something is plugged into the internet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Access {
    /// As fast as this machine, without loss.
    Wire,
    /// Over a link of the emulator's.
    Link {
        /// What packets into the internet meet.
        up: Link,
        /// What packets from the internet meet.
        down: Link,
    },
}

impl Access {
    /// A link whose directions are alike, but for the seed.
    #[must_use]
    pub const fn alike(link: Link) -> Self {
        Self::Link { up: link, down: link.reseeded() }
    }
}

/// One plug of the internet, and all that is behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site(u16);

/// The namespace in the middle.
#[derive(Debug)]
pub(super) struct Internet {
    namespace: Namespace,
    given: Mutex<Given>,
}

/// How much has been given out; nothing of it is given twice.
#[derive(Debug, Default)]
struct Given {
    sites: u16,
    addresses: u16,
    networks: u16,
}

/// Something's way into the internet.
#[derive(Debug)]
pub(super) struct Uplink {
    // Its relays end before the namespaces go.
    _cable: Option<Cable>,
    internet: Arc<Internet>,
    site: Site,
}

impl Internet {
    pub(super) fn new() -> Self {
        let namespace = Namespace::new();
        be_router(&namespace);
        namespace.configure(&format!("link set lo up\naddress add {GATEWAY}/32 dev lo\nroute add blackhole default\n"));
        namespace.filter(RULES);
        Self { namespace, given: Mutex::default() }
    }

    /// An address that nobody has had.
    ///
    /// # Panics
    /// When there are no more than 253.
    pub(super) fn new_address(&self) -> Ipv4Addr {
        let mut given = self.lock();
        given.addresses += 1;
        ADDRESSES.address(given.addresses)
    }

    /// A network that nobody has had.
    ///
    /// # Panics
    /// When there are no more than 31.
    pub(super) fn new_network(&self) -> Network {
        let mut given = self.lock();
        given.networks += 1;
        let length = 1 << (u32::BITS - u32::from(NETWORK_BITS));
        Network::new(NETWORKS.address(given.networks * length), NETWORK_BITS)
    }

    /// Joins a namespace whose `device`, made here, has these addresses and is its way to everywhere.
    pub(super) fn plug(
        self: &Arc<Self>,
        namespace: &Namespace,
        device: &str,
        addresses: &[Ipv4Addr],
        access: Access,
    ) -> Uplink {
        let site = {
            let mut given = self.lock();
            given.sites += 1;
            Site(given.sites)
        };
        let port = site.port();
        let cable = match access {
            Access::Wire => {
                let middle = self.namespace.name();
                namespace.configure(&format!("link add {device} type veth peer name {port} netns {middle}\n"));
                self.namespace.configure(&format!("link set {port} up\n"));
                namespace.configure(&format!("link set {device} up\n"));
                self.namespace.wait_for_carrier(&port);
                None
            }
            Access::Link { up, down } => {
                let ends = [(namespace, device), (&self.namespace, port.as_str())];
                Some(Cable::lay([up, down], ends).expect("a cable can be laid"))
            }
        };
        let mut lines = String::new();
        for address in addresses {
            lines += &format!("address add {address}/32 dev {device}\n");
        }
        // Packets come from the first address where a program does not choose. To say so here would end the route with it.
        lines += &format!("route add default via {GATEWAY} dev {device} onlink\n");
        namespace.configure(&lines);
        let uplink = Uplink { _cable: cable, internet: Arc::clone(self), site };
        for address in addresses {
            uplink.lead(*address);
        }
        uplink
    }

    /// Drops all between two groups.
    pub(super) fn partition(&self, one: &[Site], other: &[Site]) {
        let pairs = one.iter().flat_map(|first| other.iter().map(move |second| (first.port(), second.port())));
        let mut rules = String::new();
        for (first, second) in pairs {
            assert_ne!(first, second, "what is behind one site cannot be parted");
            let pair = format!("{{ \"{first}\" . \"{second}\", \"{second}\" . \"{first}\" }}");
            writeln!(rules, "add element ip internet parted {pair}").expect("a string takes all");
        }
        self.namespace.filter(&rules);
    }

    /// Ends all partitions.
    pub(super) fn heal(&self) {
        self.namespace.filter("flush set ip internet parted");
    }

    fn lock(&self) -> MutexGuard<'_, Given> {
        // Whoever panicked has left numbers that are still right.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Site {
    /// What the internet calls its end of the cable.
    fn port(self) -> String {
        format!("port{}", self.0)
    }
}

impl Uplink {
    pub(super) const fn internet(&self) -> &Arc<Internet> {
        &self.internet
    }

    pub(super) const fn site(&self) -> Site {
        self.site
    }

    /// From now on what is for `address` goes this way.
    pub(super) fn lead(&self, address: Ipv4Addr) {
        self.internet.namespace.configure(&format!("route add {address}/32 dev {}", self.site.port()));
    }

    /// From now on what is for `address` goes nowhere.
    pub(super) fn mislead(&self, address: Ipv4Addr) {
        self.internet.namespace.configure(&format!("route delete {address}/32 dev {}", self.site.port()));
    }

    /// From now on what is for `network` goes this way, to the router `via`.
    pub(super) fn lead_network(&self, network: Network, via: Ipv4Addr) {
        self.internet.namespace.configure(&format!("route add {network} via {via} dev {} onlink", self.site.port()));
    }

    /// Lets packets through, or none.
    pub(super) fn set_wire(&self, wire: Wire) {
        let add = format!("add element ip internet pulled {{ \"{}\" }}\n", self.site.port());
        // What is not there cannot be deleted.
        let rules = match wire {
            Wire::Plugged => add.clone() + &add.replace("add", "delete"),
            Wire::Pulled => add,
        };
        self.internet.namespace.filter(&rules);
    }
}

/// Lets a namespace hand on packets, from wherever to wherever.
pub(super) fn be_router(namespace: &Namespace) {
    namespace.set(&[
        ("ipv4/ip_forward", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv4/conf/all/send_redirects", "0"),
        ("ipv4/conf/default/send_redirects", "0"),
    ]);
    be_without_ipv6(namespace);
}

/// Gives devices that are made from now on no IPv6, whose router solicitations nobody asked for.
pub(super) fn be_without_ipv6(namespace: &Namespace) {
    namespace.try_set("ipv6/conf/default/disable_ipv6", "1");
}

/// What does not pass. The middle forwards between its ports only: nothing is for itself.
const RULES: &str = "\
table ip internet {
    set pulled { type ifname; }
    set parted { type ifname . ifname; }
    chain forward {
        type filter hook forward priority filter; policy accept;
        iifname @pulled drop
        oifname @pulled drop
        iifname . oifname @parted drop
    }
}
";
