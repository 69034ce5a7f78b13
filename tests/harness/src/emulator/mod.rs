//! Emulators: two hosts on this machine, joined by a link with rate, queue, delay and loss, for real sockets of any kind.
//! Needs root, `ip` and `/dev/net/tun`; no support for traffic control in the kernel.
//!
//! Each host is a network namespace with a TUN device, and this process carries the packets from one device to the other:
//!
//! ```text
//!  left                                                                     right
//!  10.78.0.1   -> tun0 -> [ queue -> bottleneck -> loss -> delay ] -> tun0  10.78.0.2
//!              <- tun0 <- [ delay <- loss <- bottleneck <- queue ] <- tun0
//! ```
//!
//! Each module uses only those that stand after it in this list:
//!
//! - `side`: a host
//! - `cable`: a device on each side, joined
//! - `relay`: the thread that carries packets one way
//! - `tun`: a device
//! - `link`: what a packet meets, worked out

mod cable;
mod link;
mod relay;
mod side;
mod tun;

use std::fs;
use std::io;
use std::net::Ipv4Addr;

pub(crate) use cable::Cable;
pub use link::{Counters, Link, Loss, MTU};
pub use side::Side;

use crate::netns;
use side::DEVICE;

const LEFT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 2);

/// Two hosts and the link between them; all gone when dropped.
#[derive(Debug)]
pub struct Emulator {
    // The relays end before the namespaces go.
    cable: Cable,
    left: Side,
    right: Side,
}

/// Whether an emulator can be started here.
pub fn possible() -> Result<(), String> {
    netns::possible()?;
    fs::metadata("/dev/net/tun").map(drop).map_err(|error| format!("/dev/net/tun is not to be had: {error}"))
}

impl Emulator {
    /// One whose directions are alike, but for the seed.
    ///
    /// # Panics
    /// When the system refuses; ask [`possible`] first.
    pub fn start(link: Link) -> Self {
        Self::between(link, link.reseeded())
    }

    /// One with a link for each direction.
    ///
    /// # Panics
    /// When the system refuses; ask [`possible`] first.
    pub fn between(to_right: Link, to_left: Link) -> Self {
        Self::try_between(to_right, to_left).unwrap_or_else(|error| panic!("an emulator can be started: {error}"))
    }

    fn try_between(to_right: Link, to_left: Link) -> io::Result<Self> {
        let (left, right) = (Side::new(LEFT)?, Side::new(RIGHT)?);
        let cable = Cable::lay([to_right, to_left], [(left.namespace(), DEVICE), (right.namespace(), DEVICE)])?;
        left.reach(&right);
        right.reach(&left);
        Ok(Self { cable, left, right })
    }

    /// The host on the left.
    pub const fn left(&self) -> &Side {
        &self.left
    }

    /// The host on the right.
    pub const fn right(&self) -> &Side {
        &self.right
    }

    /// What happened up to now to packets from left to right.
    pub fn to_right(&self) -> Counters {
        self.cable.there()
    }

    /// What happened up to now to packets from right to left.
    pub fn to_left(&self) -> Counters {
        self.cable.back()
    }

    /// Packets that were lost up to now since the emulator did not keep up: more than none spoils what is measured.
    pub fn overruns(&self) -> u64 {
        self.left.overruns() + self.right.overruns()
    }
}
