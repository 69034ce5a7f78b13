//! Rows: what is durable, as the store keeps it. Each [`Write`] is one row of one table: a key as text and a record in
//! JSON, or no record where the row is to be gone.
//!
//! A new kind of record is a variant of [`Write`], one of [`Table`], and an arm in `table`, `encode` and `decode`; the
//! store and the export take it from there.

use std::fmt::Display;
use std::str::FromStr;

use common::audience::OfferId;
use common::name::{EntryRef, UserName};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Write;

/// The key of a counter.
const LAST_OFFER: &str = "last_offer";

/// A kind of record. The order is that in which they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// User name -> [`super::Account`].
    Accounts,
    /// Peer id -> [`super::Device`].
    Devices,
    /// Hash of a code -> [`super::Invite`].
    Invites,
    /// Peer id, or peer id, a space and an audience in JSON -> milliseconds since 1970.
    Revocations,
    /// `owner/name` -> [`super::EntryRecord`].
    Entries,
    /// Peer id, a space, `owner/name` -> milliseconds since 1970.
    Subscriptions,
    /// Number of an offer -> [`super::OfferRecord`].
    Offers,
    /// `last_offer` -> the highest number that an offer ever had.
    Counters,
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// Which table.
    pub(crate) table: Table,
    /// Which row of it.
    pub(crate) key: String,
    /// The record in JSON; `None`: there is none.
    pub(crate) record: Option<String>,
}

/// A row that no [`Write`] makes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the row {key:?} of table {} cannot be read: {what}", .table.name())]
pub(crate) struct DamagedRow {
    table: Table,
    key: String,
    what: String,
}

impl Table {
    /// Every kind.
    pub(crate) const ALL: [Self; 8] = [
        Self::Accounts,
        Self::Devices,
        Self::Invites,
        Self::Revocations,
        Self::Entries,
        Self::Subscriptions,
        Self::Offers,
        Self::Counters,
    ];

    /// Its name in the store and in an export.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Accounts => "account",
            Self::Devices => "device",
            Self::Invites => "invite",
            Self::Revocations => "revocation",
            Self::Entries => "entry",
            Self::Subscriptions => "subscription",
            Self::Offers => "offer",
            Self::Counters => "counter",
        }
    }
}

impl Write {
    /// What kind of record it is about.
    pub(crate) const fn table(&self) -> Table {
        match self {
            Self::Account(..) => Table::Accounts,
            Self::Device(..) => Table::Devices,
            Self::Invite(..) => Table::Invites,
            Self::Revocation(..) => Table::Revocations,
            Self::Entry(..) => Table::Entries,
            Self::Subscription(..) => Table::Subscriptions,
            Self::Offer(..) => Table::Offers,
            Self::LastOffer(_) => Table::Counters,
        }
    }

    /// As a row.
    pub(crate) fn encode(&self) -> Row {
        let (key, record) = match self {
            Self::Account(name, account) => (name.to_string(), account.as_ref().map(json)),
            Self::Device(peer, device) => (peer.to_string(), device.as_ref().map(json)),
            Self::Invite(code, invite) => (code.to_string(), invite.as_ref().map(json)),
            Self::Revocation(holder, None, before_ms) => (holder.to_string(), before_ms.as_ref().map(json)),
            Self::Revocation(holder, Some(audience), before_ms) => {
                (format!("{holder} {}", json(audience)), before_ms.as_ref().map(json))
            }
            Self::Entry(owner, name, entry) => {
                let key = EntryRef { owner: Some(owner.clone()), name: name.clone() };
                (key.to_string(), entry.as_ref().map(json))
            }
            Self::Subscription(peer, entry, since_ms) => (format!("{peer} {entry}"), since_ms.as_ref().map(json)),
            Self::Offer(OfferId(id), offer) => (id.to_string(), offer.as_ref().map(json)),
            Self::LastOffer(last) => (LAST_OFFER.to_owned(), last.as_ref().map(json)),
        };
        Row { table: self.table(), key, record }
    }

    /// What [`Self::encode`] made a row of.
    pub(crate) fn decode(row: &Row) -> Result<Self, DamagedRow> {
        match row.table {
            Table::Accounts => Ok(Self::Account(row.key()?, row.record()?)),
            Table::Devices => Ok(Self::Device(row.key()?, row.record()?)),
            Table::Invites => Ok(Self::Invite(row.key()?, row.record()?)),
            Table::Revocations => {
                let (holder, audience) = row.key.split_once(' ').unzip();
                let holder = row.part(holder.unwrap_or(&row.key))?;
                let audience = audience.map(|json| serde_json::from_str(json).map_err(|error| row.damaged(&error)));
                Ok(Self::Revocation(holder, audience.transpose()?, row.record()?))
            }
            Table::Entries => {
                let EntryRef { owner, name } = row.key()?;
                let owner: UserName = owner.ok_or_else(|| row.damaged(&"it has no owner"))?;
                Ok(Self::Entry(owner, name, row.record()?))
            }
            Table::Subscriptions => {
                let (peer, entry) = row.key.split_once(' ').ok_or_else(|| row.damaged(&"it has no entry"))?;
                let entry: EntryRef = row.part(entry)?;
                if entry.owner.is_none() {
                    return Err(row.damaged(&"it has no owner"));
                }
                Ok(Self::Subscription(row.part(peer)?, entry, row.record()?))
            }
            Table::Offers => Ok(Self::Offer(OfferId(row.key()?), row.record()?)),
            Table::Counters if row.key == LAST_OFFER => Ok(Self::LastOffer(row.record()?)),
            Table::Counters => Err(row.damaged(&"there is no such counter")),
        }
    }
}

impl Row {
    fn key<T: FromStr<Err: Display>>(&self) -> Result<T, DamagedRow> {
        self.part(&self.key)
    }

    fn part<T: FromStr<Err: Display>>(&self, text: &str) -> Result<T, DamagedRow> {
        text.parse().map_err(|error| self.damaged(&error))
    }

    fn record<T: DeserializeOwned>(&self) -> Result<Option<T>, DamagedRow> {
        self.record.as_ref().map(|json| serde_json::from_str(json).map_err(|error| self.damaged(&error))).transpose()
    }

    fn damaged(&self, what: &dyn Display) -> DamagedRow {
        DamagedRow { table: self.table, key: self.key.clone(), what: what.to_string() }
    }
}

fn json(record: &impl Serialize) -> String {
    serde_json::to_string(record).expect("no record has a map whose keys are not text, and nothing else can fail")
}

#[cfg(test)]
mod tests {
    use common::audience::Audience;
    use common::id::{Content, FileId, Hash, PeerId};

    use super::super::{
        Account, CodeHash, Device, EntryRecord, Invite, OfferRecord, PasswordHash, Response, VersionRecord,
    };
    use super::*;

    #[test]
    fn rows_are_what_they_were() {
        let peer = PeerId([1; 32]);
        let account = Account {
            password: Some(PasswordHash("$argon2id$x".to_owned())),
            created_ms: 1,
            seen_ms: 2,
            former: vec![peer],
        };
        let device = Device { account: "alice".parse().unwrap(), name: "laptop".to_owned(), since_ms: 1, seen_ms: 2 };
        let file = FileId::new(5, Hash([3; 32])).unwrap();
        let version = VersionRecord { number: 1, content: Content::File(file), folder: None, at_ms: 7 };
        let entry = EntryRecord::new(version, Some(["bob".parse().unwrap()].into()));
        let offer = OfferRecord {
            from: "alice".parse().unwrap(),
            name: "x".parse().unwrap(),
            content: Content::File(file),
            folder: None,
            at_ms: 7,
            receivers: [("bob".parse().unwrap(), Response::Accepted(peer))].into(),
        };
        let writes = [
            Write::Account("alice".parse().unwrap(), Some(account)),
            Write::Device(peer, Some(device)),
            Write::Invite(CodeHash(Hash([9; 32])), Some(Invite { uses_left: 1, expires_ms: 2 })),
            Write::Revocation(peer, None, Some(5)),
            Write::Revocation(peer, Some(Audience::Entry("alice/a b \"c\".png".parse().unwrap())), Some(5)),
            Write::Revocation(peer, Some(Audience::Offer(OfferId(1))), None),
            Write::Entry("alice".parse().unwrap(), "x y@2".parse().unwrap(), Some(entry)),
            Write::Subscription(peer, "alice/x y@2".parse().unwrap(), Some(7)),
            Write::Offer(OfferId(7), Some(offer)),
            Write::LastOffer(Some(OfferId(7))),
        ];
        for write in &writes {
            let row = write.encode();
            assert_eq!(Write::decode(&row).as_ref(), Ok(write), "{row:?}");
            let gone = Row { record: None, ..row };
            assert_eq!(Write::decode(&gone).unwrap().encode(), gone);
        }
        // A kind of record that this test does not know would not be tested.
        let seen: std::collections::BTreeSet<Table> = writes.iter().map(|write| write.encode().table).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), Table::ALL);
    }

    #[test]
    fn what_is_no_row_is_said_to_be_damaged() {
        let row = |table, key: &str, record: &str| Row { table, key: key.to_owned(), record: Some(record.to_owned()) };
        for row in [
            row(Table::Accounts, "Alice", r#"{"created_ms":1,"seen_ms":1}"#),
            row(Table::Accounts, "alice", "{}"),
            row(Table::Devices, "x", r#"{"account":"alice","since_ms":1,"seen_ms":1}"#),
            row(Table::Entries, "x", "{}"),
            row(Table::Revocations, "x {}", "1"),
        ] {
            assert!(Write::decode(&row).is_err(), "{row:?}");
        }
    }
}
