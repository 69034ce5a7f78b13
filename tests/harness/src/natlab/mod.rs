//! NAT labs: an internet of network namespaces for real processes and real sockets, with hosts directly on it, and homes
//! behind routers that translate addresses as home routers do. IPv4 only. Needs root, `ip`, `nft` and `/dev/net/tun`.
//!
//! ```text
//!                internet: routes, nothing else         203.0.113.0/24, and 198.51.100.0/24 for networks without NAT
//!               /            |               \
//!           host          router            router      203.0.113.N each, over a wire or a link with delay and loss
//!                        /      \           /     \
//!                      host    router     host   host   192.168.1.N: the same addresses in every home
//!                                |
//!                               host                    192.168.2.N: behind two routers
//! ```
//!
//! What a router or host sends into nothing is dropped in silence everywhere: nobody sends an ICMP error for an address
//! that nobody has, for a port that is closed to the outside, or over a cable that was pulled.
//!
//! A lab, its homes and its hosts may be dropped in any order; a namespace is gone with the last that needs it. Those of a
//! test process that was killed are removed when the next test process makes its first, with all that runs in them.
//!
//! Each module uses only those that stand after it in this list:
//!
//! - `host`: where programs run
//! - `router`: what stands between two networks
//! - `internet`: what stands in the middle
//! - `network`: ranges of addresses
//! - `nat`: kinds of address translation, as rules of `nft`

mod host;
mod internet;
mod nat;
mod network;
mod router;

use std::sync::Arc;

pub use host::Host;
pub use internet::{Access, Site};
pub use nat::{Doorway, Nat, Rebinding};

use crate::emulator;
use crate::netns::Wire;
use crate::process::run;
use internet::Internet;
use router::Router;

/// An internet, at first with nobody on it.
#[derive(Debug)]
pub struct Lab {
    internet: Arc<Internet>,
}

/// A router and the network behind it.
#[derive(Debug)]
pub struct Home {
    nat: Nat,
    router: Arc<Router>,
}

/// Whether a lab can be built here.
pub fn possible() -> Result<(), String> {
    emulator::possible()?;
    run("nft", &["--version"]).map(drop).map_err(|error| format!("`nft` is not to be had: {error}"))
}

impl Lab {
    /// An internet.
    ///
    /// # Panics
    /// As everything in a lab: when the system refuses; ask [`possible`] first.
    #[expect(clippy::new_without_default, reason = "this takes milliseconds and privileges")]
    pub fn new() -> Self {
        Self { internet: Arc::new(Internet::new()) }
    }

    /// A host directly on the internet.
    pub fn host(&self) -> Host {
        self.host_with(1, Access::Wire)
    }

    /// A host with so many addresses, at least one, directly on the internet over `access`.
    pub fn host_with(&self, addresses: usize, access: Access) -> Host {
        Host::on_internet(&self.internet, addresses, access)
    }

    /// A home directly on the internet.
    pub fn home(&self, nat: Nat) -> Home {
        self.home_over(nat, Access::Wire)
    }

    /// A home on the internet over `access`.
    pub fn home_over(&self, nat: Nat, access: Access) -> Home {
        let router = Router::on_internet(&self.internet, nat, access);
        let router = if nat == Nat::Double { Router::behind(&router, nat) } else { router };
        Home { nat, router }
    }

    /// Lets nothing pass any more between these two groups of sites, until [`Self::heal`]. More than one such border may be
    /// drawn.
    pub fn partition(&self, one: &[Site], other: &[Site]) {
        self.internet.partition(one, other);
    }

    /// Removes all borders; cables that were pulled stay so.
    pub fn heal(&self) {
        self.internet.heal();
    }
}

impl Home {
    /// A host on the network behind the router. Hosts get addresses in the order in which they are made, the same in every
    /// home.
    pub fn host(&self) -> Host {
        Host::behind(&self.router)
    }

    /// A home whose router is on the network behind this one's.
    ///
    /// # Panics
    /// When `nat` is none: what is behind it would have no route back.
    pub fn home(&self, nat: Nat) -> Self {
        assert!(nat.translates(), "a network behind {:?} has to be translated", self.nat);
        let router = Router::behind(&self.router, nat);
        let router = if nat == Nat::Double { Router::behind(&router, nat) } else { router };
        Self { nat, router }
    }

    /// What its router does.
    pub const fn nat(&self) -> Nat {
        self.nat
    }

    /// The public address of the outermost router.
    pub fn public_address(&self) -> std::net::Ipv4Addr {
        self.router.outermost().address()
    }

    /// Forgets all mappings of the outermost router, as its restart does: the next packet of every flow goes out from
    /// another port, or another address too, and what comes to the old one is dropped.
    ///
    /// # Panics
    /// When that router does not translate.
    pub fn rebind(&self, rebinding: Rebinding) {
        self.router.outermost().rebind(rebinding);
    }

    /// What comes from outside unasked is handled by the outermost router like this from now on. Public ports that a full cone gave
    /// before are forgotten.
    pub fn set_doorway(&self, doorway: Doorway) {
        self.router.outermost().set_doorway(doorway);
    }

    /// Pulls the cable between this router and what is beyond it, or puts it back. Nobody is told, as when it is cut on its
    /// way: what is sent just vanishes.
    pub fn set_wire(&self, wire: Wire) {
        self.router.set_wire(wire);
    }

    /// Through where the internet sees it.
    pub fn site(&self) -> Site {
        self.router.site()
    }
}
