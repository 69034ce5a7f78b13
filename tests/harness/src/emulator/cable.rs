//! Cables: a device in each of two namespaces, and the relays that carry packets from one to the other.

use std::io;
use std::sync::Arc;

use super::link::{Counters, Link, MTU};
use super::relay::Relay;
use super::tun::Tun;
use crate::netns::Namespace;

/// Packets that wait in a device for its relay, for 50 ms at the most that any test sends: beyond a sender's largest burst.
const DEVICE_QUEUE: u32 = 10_000;

/// Two devices that are up, without addresses, and what runs between them; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Cable {
    there: Relay,
    back: Relay,
}

impl Cable {
    /// Makes a device of this name, of at most 15 bytes, in each namespace. What goes from the first to the second meets the
    /// first link, what comes back the second.
    pub(crate) fn lay([there, back]: [Link; 2], [first, second]: [(&Namespace, &str); 2]) -> io::Result<Self> {
        let (first, second) = (device(first)?, device(second)?);
        Ok(Self {
            there: Relay::start(there, Arc::clone(&first), Arc::clone(&second))?,
            back: Relay::start(back, second, first)?,
        })
    }

    /// What happened up to now to packets from the first to the second.
    pub(crate) fn there(&self) -> Counters {
        self.there.counters()
    }

    /// What happened up to now to packets from the second to the first.
    pub(crate) fn back(&self) -> Counters {
        self.back.counters()
    }
}

fn device((namespace, name): (&Namespace, &str)) -> io::Result<Arc<Tun>> {
    let tun = namespace.run(|| Tun::new(name))?;
    namespace.configure(&format!("link set {name} mtu {MTU} txqueuelen {DEVICE_QUEUE} up"));
    Ok(Arc::new(tun))
}
