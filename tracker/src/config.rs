//! Configuration: what a tracker is run with, checked.

use std::net::{Ipv6Addr, SocketAddr};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use common::relay::RelayConfig;
use common::wire::DEFAULT_TRACKER_PORT;

/// How often each peer is asked whether it is there, unless another time is given.
pub const DEFAULT_PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long it may take to answer, unless another time is given.
pub const DEFAULT_PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections there may be at once, unless another number is given. A connection takes some 50 KiB, and up to
/// 1.2 MiB more while a peer asks for much and reads slowly.
pub const DEFAULT_MAX_CONNECTIONS: usize = 10_000;

/// What a tracker is run with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where peers connect; port 0 is a free one. `[::]` is all addresses, of IPv4 too; where the system has no IPv6,
    /// all of IPv4.
    pub listen: SocketAddr,
    /// The directory for what is to last: key, names, entries.
    pub data: PathBuf,
    /// How often each peer is asked whether it is there.
    pub ping_interval: Duration,
    /// How long it may take to answer. A peer that is gone without a word is known to be so after both times together.
    pub ping_timeout: Duration,
    /// How many connections there may be at once, at least 1; see [`DEFAULT_MAX_CONNECTIONS`] for what each costs.
    pub max_connections: usize,
    /// Who may join.
    pub access: Access,
    /// Whether nodes may ask for their public address.
    pub stun: Stun,
    /// Whether, and how much, it relays between peers who find no way to each other. It needs the UDP port of [`Stun::On`].
    pub relay: Relaying,
}

/// Who may join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Access {
    /// Everybody; a name belongs to the first who uses it, or to the account of that name
    Open,
    /// Who has an account; everybody may sign up
    Accounts,
    /// Who has an account; to sign up takes a code from `tracker invite`
    Invite,
}

/// Whether peers may ask, over UDP, from which address they come (STUN, RFC 8489).
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Stun {
    /// They are told, on the UDP port of the same number
    On,
    /// No UDP port is opened
    Off,
}

/// Whether the tracker passes datagrams between peers who meet over MRT and find no way to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relaying {
    /// So many bytes a second in all, shared fairly among pairs.
    At(NonZeroU64),
    /// None.
    Off,
}

impl Default for Relaying {
    fn default() -> Self {
        Self::At(RelayConfig::DEFAULT_BYTES_PER_SEC)
    }
}

impl From<Access> for common::wire::tracker::Access {
    fn from(access: Access) -> Self {
        match access {
            Access::Open => Self::Open,
            Access::Accounts => Self::Accounts,
            Access::Invite => Self::Invite,
        }
    }
}

impl Config {
    /// The defaults, with this directory.
    pub const fn new(data: PathBuf) -> Self {
        let listen = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), DEFAULT_TRACKER_PORT);
        Self {
            listen,
            data,
            ping_interval: DEFAULT_PING_INTERVAL,
            ping_timeout: DEFAULT_PING_TIMEOUT,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            access: Access::Open,
            stun: Stun::On,
            relay: Relaying::At(RelayConfig::DEFAULT_BYTES_PER_SEC),
        }
    }
}
