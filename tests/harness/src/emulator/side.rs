//! Sides: the two hosts that an emulator joins, each a network namespace with one end of the cable.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use crate::netns::Namespace;

/// The end of the cable on each side.
pub(super) const DEVICE: &str = "tun0";
/// Most that TCP may keep of a connection in bytes, each way: so much that a window is never what limits it.
const MOST_TCP_BUFFER: u32 = 256 << 20;

/// One of the two hosts.
#[derive(Debug)]
pub struct Side {
    namespace: Namespace,
    address: Ipv4Addr,
}

impl Side {
    /// A host that will have `address`.
    pub(super) fn new(address: Ipv4Addr) -> io::Result<Self> {
        let side = Self { namespace: Namespace::new(), address };
        side.run(set_up_tcp)?;
        side.namespace.configure("link set lo up");
        Ok(side)
    }

    /// Takes its address, once the cable is there, whose other end is `other`: its one route.
    pub(super) fn reach(&self, other: &Self) {
        self.namespace.configure(&format!("address add {} peer {} dev {DEVICE}", self.address, other.address));
    }

    /// Where the cable's end goes.
    pub(super) const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Its address on the link.
    pub const fn address(&self) -> Ipv4Addr {
        self.address
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

    /// Packets that its device dropped since its relay did not take them: the emulator's fault, not the link's.
    pub(super) fn overruns(&self) -> u64 {
        /// The column of drops on the way out (proc(5), `/proc/net/dev`), counted from the name.
        const DROPS_OUT: usize = 12;
        let table = self.run(|| fs::read_to_string("/proc/thread-self/net/dev")).unwrap_or_default();
        let line = table.lines().find_map(|line| line.trim().strip_prefix(DEVICE)).unwrap_or_default();
        line.split_whitespace().nth(DROPS_OUT).and_then(|drops| drops.parse().ok()).unwrap_or(0)
    }
}

/// Settings of the namespace that this thread is in: TCP with buffers that never limit it, which remembers nothing from one
/// connection to the next, and no IPv6, whose router solicitations nobody asked for.
fn set_up_tcp() -> io::Result<()> {
    let buffers = |initial: u32| format!("4096 {initial} {MOST_TCP_BUFFER}");
    // The initial sizes are those of Linux; autotuning starts there.
    fs::write("/proc/sys/net/ipv4/tcp_rmem", buffers(131_072))?;
    fs::write("/proc/sys/net/ipv4/tcp_wmem", buffers(16_384))?;
    fs::write("/proc/sys/net/ipv4/tcp_no_metrics_save", "1")?;
    match fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
