//! Grounds: a NAT lab with a supernode that everybody reaches and two hosts that have to meet.

use std::net::Ipv4Addr;

use tempfile::TempDir;

use crate::natlab::{Access, Home, Host, Lab, Nat};
use crate::node::Node;

/// What the supernode's user is called.
pub const SUPERNODE: &str = "ann";
/// What the users of the other two are called.
pub const NAMES: [&str; 2] = ["bob", "eve"];

/// Nodes listen on all addresses, on a port that the system chooses.
const ANYWHERE: [&str; 2] = ["--listen", "0.0.0.0:0"];

/// A lab with three hosts.
#[derive(Debug)]
pub struct Ground {
    root: TempDir,
    /// The internet.
    pub lab: Lab,
    public: Host,
    /// The two homes; the same one twice where both are in it.
    homes: Vec<Home>,
    hosts: [Host; 2],
}

impl Ground {
    /// Two homes with a host each.
    ///
    /// # Panics
    /// When the system refuses; ask [`crate::natlab::possible`] first.
    pub fn apart(kinds: [Nat; 2], access: Access) -> Self {
        let lab = Lab::new();
        let homes = kinds.map(|nat| lab.home_over(nat, access));
        let hosts = homes.each_ref().map(Home::host);
        Self::new(lab, homes.into(), hosts)
    }

    /// A home with both hosts.
    ///
    /// # Panics
    /// When the system refuses; ask [`crate::natlab::possible`] first.
    pub fn together(nat: Nat) -> Self {
        let lab = Lab::new();
        let home = lab.home(nat);
        let hosts = [home.host(), home.host()];
        Self::new(lab, vec![home], hosts)
    }

    fn new(lab: Lab, homes: Vec<Home>, hosts: [Host; 2]) -> Self {
        let root = tempfile::tempdir().expect("there is a place for files");
        Self { root, public: lab.host(), lab, homes, hosts }
    }

    /// Where files are.
    pub fn root(&self) -> &std::path::Path {
        self.root.path()
    }

    /// The home of one of the two.
    pub fn home(&self, place: usize) -> &Home {
        self.homes.get(place).unwrap_or(&self.homes[0])
    }

    /// Where one of the two is seen from outside.
    pub fn public_address(&self, place: usize) -> Ipv4Addr {
        let home = self.home(place);
        if home.nat().translates() { home.public_address() } else { self.private_address(place) }
    }

    /// The address that one of the two has itself.
    pub fn private_address(&self, place: usize) -> Ipv4Addr {
        self.hosts[place].address()
    }

    /// Starts the supernode.
    pub fn supernode(&self) -> Node {
        self.start(SUPERNODE, &self.public, &ANYWHERE)
    }

    /// Starts one of the two.
    pub fn node(&self, place: usize) -> Node {
        self.node_with(place, &ANYWHERE)
    }

    /// Starts one of the two with these arguments.
    pub fn node_with(&self, place: usize, args: &[&str]) -> Node {
        self.start(NAMES[place], &self.hosts[place], args)
    }

    /// The host of one of the two.
    pub fn host(&self, place: usize) -> &Host {
        &self.hosts[place]
    }

    /// What to type to connect to the supernode.
    pub fn connect(&self, supernode: &Node) -> String {
        format!("C {} {}", self.public.address(), supernode.port())
    }

    fn start(&self, name: &str, host: &Host, args: &[&str]) -> Node {
        Node::start(self.root(), name, Some(host.netns()), args)
    }
}
