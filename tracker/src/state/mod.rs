//! State: all that the tracker knows. What is durable changes by [`State::apply`] only, one [`Write`] at a time.

mod accounts;
mod catalogue;
mod contact;
mod dials;
mod gate;
mod invites;
mod issued;
mod meetings;
mod offers;
mod revocations;
mod roster;
mod row;
mod subscriptions;
mod talk;

use std::sync::Arc;

use common::audience::{Audience, OfferId};
use common::id::PeerId;
use common::identity::Identity;
use common::index::Index;
use common::name::{EntryName, EntryRef, UserName};
use common::wire::tracker::Access;

pub(crate) use self::accounts::{Account, Accounts, Device, PasswordHash};
pub(crate) use self::catalogue::{Catalogue, EntryRecord, Line, LineKey, VersionRecord, restricted};
pub(crate) use self::contact::{Contact, is_unicast, plain};
pub(crate) use self::dials::Dials;
pub(crate) use self::gate::Gate;
pub(crate) use self::invites::{CodeHash, Invite, Invites};
pub(crate) use self::issued::Issued;
pub(crate) use self::meetings::Meetings;
pub(crate) use self::offers::{OfferRecord, Offers, Response};
pub(crate) use self::revocations::Revocations;
pub(crate) use self::roster::{ConnId, Load, MetAt, Online, Roster};
pub(crate) use self::row::{Row, Table};
pub(crate) use self::subscriptions::Subscriptions;
pub(crate) use self::talk::Talk;
use crate::relay::Relay;
use crate::vouchers::Vouchers;

/// All that the tracker knows.
#[derive(Debug)]
pub(crate) struct State {
    accounts: Accounts,
    invites: Invites,
    revocations: Revocations,
    catalogue: Catalogue,
    subscriptions: Subscriptions,
    offers: Offers,
    /// Who was given tickets of late.
    pub(crate) issued: Issued,
    /// What was said of late.
    pub(crate) talk: Talk,
    /// Who may join.
    pub(crate) access: Access,
    /// Who is online.
    pub(crate) roster: Roster,
    /// Who has which chunks; shared with the connections, which announce to it by themselves.
    pub(crate) index: Arc<Index>,
    /// The tracker's key, which signs tickets.
    pub(crate) identity: Identity,
    /// What decides between equals.
    pub(crate) random: Random,
    /// Whether the tracker helps peers to meet over MRT.
    pub(crate) rendezvous: Rendezvous,
    /// What it gives out over UDP, and believes.
    pub(crate) vouchers: Vouchers,
    /// How many channels of the relay were given out.
    pub(crate) channels: u64,
}

/// Whether the tracker helps peers to meet over MRT.
#[derive(Debug, Clone)]
pub(crate) enum Rendezvous {
    /// It has no UDP port.
    Off,
    /// It tells each where the other is.
    Direct,
    /// It also relays between them.
    Relayed(Relay),
}

/// One change of what is durable. It says what is there afterwards, so to make it twice does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    /// The account of this name is this, or not there.
    Account(UserName, Option<Account>),
    /// A key is bound to an account, or to none.
    Device(PeerId, Option<Device>),
    /// The invite with this code is this, or not there.
    Invite(CodeHash, Option<Invite>),
    /// Tickets of this holder for this audience (`None`: for any) are worth nothing if their time began before this,
    /// milliseconds since 1970 (UTC).
    Revocation(PeerId, Option<Audience>, Option<u64>),
    /// An owner's entry is this, or not there.
    Entry(UserName, EntryName, Option<EntryRecord>),
    /// A key follows an entry, `owner/name`, since then in milliseconds since 1970 (UTC); or it does not.
    Subscription(PeerId, EntryRef, Option<u64>),
    /// The offer of this number is this, or not there.
    Offer(OfferId, Option<OfferRecord>),
    /// The highest number that an offer ever had, so that none has it again; `None`: there never was one.
    LastOffer(Option<OfferId>),
}

impl Rendezvous {
    /// The relay, where there is one.
    pub(crate) const fn relay(&self) -> Option<&Relay> {
        match self {
            Self::Off | Self::Direct => None,
            Self::Relayed(relay) => Some(relay),
        }
    }
}

/// A source of choices between equals: SplitMix64 (Steele, Lea, Flood 2014). Nothing secret depends on it.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl State {
    /// Nobody is there and nothing is known; everybody may join.
    pub(crate) fn new(identity: Identity, seed: u64) -> Self {
        Self {
            accounts: Accounts::default(),
            invites: Invites::default(),
            revocations: Revocations::default(),
            catalogue: Catalogue::default(),
            subscriptions: Subscriptions::default(),
            offers: Offers::default(),
            issued: Issued::default(),
            talk: Talk::default(),
            access: Access::Open,
            roster: Roster::default(),
            index: Arc::default(),
            vouchers: Vouchers::new(&identity, seed),
            identity,
            random: Random(seed),
            rendezvous: Rendezvous::Off,
            channels: 0,
        }
    }

    /// The users that are known, and their devices.
    pub(crate) const fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// The codes that let somebody sign up.
    pub(crate) const fn invites(&self) -> &Invites {
        &self.invites
    }

    /// The tickets that are worth nothing any more.
    pub(crate) const fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The entries.
    pub(crate) const fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Who follows what.
    pub(crate) const fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// What users push to each other.
    pub(crate) const fn offers(&self) -> &Offers {
        &self.offers
    }

    /// Makes a change and gives the one that takes it back.
    pub(crate) fn apply(&mut self, write: Write) -> Write {
        match write {
            Write::Account(name, account) => {
                let before = self.accounts.set_account(&name, account);
                Write::Account(name, before)
            }
            Write::Device(peer, device) => Write::Device(peer, self.accounts.set_device(peer, device)),
            Write::Invite(code, invite) => Write::Invite(code, self.invites.set(code, invite)),
            Write::Revocation(holder, audience, before_ms) => {
                let before = self.revocations.set(holder, audience.clone(), before_ms);
                Write::Revocation(holder, audience, before)
            }
            Write::Entry(owner, name, entry) => {
                let before = self.catalogue.set(&owner, &name, entry);
                Write::Entry(owner, name, before)
            }
            Write::Subscription(peer, entry, since_ms) => {
                let before = self.subscriptions.set(peer, &entry, since_ms);
                Write::Subscription(peer, entry, before)
            }
            Write::Offer(id, offer) => Write::Offer(id, self.offers.set(id, offer)),
            Write::LastOffer(last) => Write::LastOffer(self.offers.set_last(last)),
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
