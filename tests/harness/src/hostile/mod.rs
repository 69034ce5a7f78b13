//! Hostile company: clients and seeders that speak the protocols by hand, and so can break them.

mod evil_seeder;
mod fake_tracker;
mod liar;
mod raw_peer;
mod raw_tracker;
mod secure;
mod spoiler;

pub use evil_seeder::{EvilSeeder, Mischief};
pub use fake_tracker::FakeTracker;
pub use liar::{FalseRoster, Liar};
pub use raw_peer::RawPeer;
pub use raw_tracker::RawTracker;
pub use secure::{LOOPBACK_2, Secure, crowd_from};
pub use spoiler::{Spoil, Spoiler};

use common::identity::Identity;
use common::merkle::sha256;

/// An identity that follows from a name.
pub fn identity(name: &str) -> Identity {
    Identity::from_seed(&sha256(name.as_bytes()).0)
}
