//! State: all that the tracker knows. What is durable changes by [`State::apply`] only, one [`Write`] at a time.

mod catalogue;
mod contact;
mod dials;
mod gate;
mod roster;
mod users;

use std::sync::Arc;

use common::id::PeerId;
use common::identity::Identity;
use common::index::Index;
use common::name::{EntryName, UserName};

pub(crate) use self::catalogue::{Catalogue, Line, LineKey, Registered};
pub(crate) use self::contact::{Contact, plain};
pub(crate) use self::dials::Dials;
pub(crate) use self::gate::Gate;
pub(crate) use self::roster::{ConnId, Load, Online, Roster};
pub(crate) use self::users::{User, Users};

/// All that the tracker knows.
#[derive(Debug)]
pub(crate) struct State {
    users: Users,
    catalogue: Catalogue,
    /// Who is online.
    pub(crate) roster: Roster,
    /// Who has which chunks; shared with the connections, which announce to it by themselves.
    pub(crate) index: Arc<Index>,
    /// The tracker's key, which signs tickets.
    pub(crate) identity: Identity,
    /// What decides between equals.
    pub(crate) random: Random,
}

/// One change of what is durable. It says what is there afterwards, so to make it twice does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    /// A user is this, or unknown.
    User(PeerId, Option<User>),
    /// An owner's entry is this, or not there.
    Entry(UserName, EntryName, Option<Registered>),
}

/// A source of choices between equals: SplitMix64 (Steele, Lea, Flood 2014). Nothing secret depends on it.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl State {
    /// Nobody is there and nothing is known.
    pub(crate) fn new(identity: Identity, seed: u64) -> Self {
        Self {
            users: Users::default(),
            catalogue: Catalogue::default(),
            roster: Roster::default(),
            index: Arc::default(),
            identity,
            random: Random(seed),
        }
    }

    /// The users that are known.
    pub(crate) const fn users(&self) -> &Users {
        &self.users
    }

    /// The entries.
    pub(crate) const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Makes a change and gives the one that takes it back.
    pub(crate) fn apply(&mut self, write: Write) -> Write {
        match write {
            Write::User(peer, user) => Write::User(peer, self.users.set(peer, user)),
            Write::Entry(owner, name, entry) => {
                let before = self.catalogue.set(&owner, &name, entry);
                Write::Entry(owner, name, before)
            }
        }
    }
}

impl Random {
    /// The next number.
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let number = self.next() % u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(number).unwrap_or(0)
    }
}

/// A text in folded case: two texts that differ in case only are the same.
pub(crate) fn fold(text: &str) -> String {
    text.to_lowercase()
}
