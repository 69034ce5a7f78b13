//! The addresses a connection may use, and what is known of each.

use std::net::{IpAddr, SocketAddr};

/// A way to the other side: one of our sockets, and an address. The address is opaque to the machines: it may as well stand
/// for a relay, if who moves the datagrams knows what to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// Which of the sockets; the driver numbers them.
    pub socket: u16,
    /// Where the other end is.
    pub remote: SocketAddr,
}

/// How a datagram came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// On which socket, and from where.
    pub route: Route,
    /// Which of our addresses it was sent to, where the system says so: the answer leaves from there.
    pub local_ip: Option<IpAddr>,
    /// What routers said on its way.
    pub ecn: Ecn,
}

/// The mark of a datagram for congestion (RFC 3168).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ecn {
    /// The sender does not take part.
    #[default]
    NotCapable,
    /// The sender takes part, and no router complained: ECT(0) or ECT(1).
    Capable,
    /// A router has a growing queue.
    CongestionExperienced,
}

/// Datagrams to be sent; their bytes are in the buffer given to `poll_transmit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// On which socket, and where to.
    pub route: Route,
    /// From which of our addresses, if it matters.
    pub local_ip: Option<IpAddr>,
    /// The mark to send it with.
    pub ecn: Ecn,
    /// All bytes.
    pub size: usize,
    /// Several datagrams of so many bytes, of which the last may be shorter; `None` for a single one.
    pub segment_size: Option<usize>,
}
