//! Migration: a store of schema 1, from before accounts and versions, becomes one of this schema.

use common::id::{Content, FileId, Hash, PeerId};
use common::name::{EntryName, UserName};
use redb::{ReadableTable as _, TableDefinition};

use crate::state::{Account, Device, EntryRecord, VersionRecord, Write};

/// The schema that this brings up to the next.
pub(super) const FROM: u32 = 1;

/// Peer id -> user name, last seen in milliseconds since 1970 (UTC).
const USERS: TableDefinition<'_, [u8; 32], (&str, u64)> = TableDefinition::new("users");
/// Owner, name -> length, root, registered in milliseconds since 1970 (UTC).
const ENTRIES: TableDefinition<'_, (&str, &str), (u64, [u8; 32], u64)> = TableDefinition::new("entries");

/// What is there, as it is in this schema: each user is a guest with one device, each entry has one version. Within it,
/// a sentence where it is damaged.
pub(super) fn read(transaction: &redb::ReadTransaction) -> Result<Result<Vec<Write>, String>, redb::Error> {
    let mut contents = Vec::new();
    for row in transaction.open_table(USERS)?.iter()? {
        let (peer, user) = row?;
        let (name, seen_ms) = user.value();
        match UserName::new(name) {
            Ok(name) => contents.extend(user_as_of_now(PeerId(peer.value()), name, seen_ms)),
            Err(error) => return Ok(Err(error.to_string())),
        }
    }
    for row in transaction.open_table(ENTRIES)?.iter()? {
        let (key, value) = row?;
        let ((owner, name), (length, root, at_ms)) = (key.value(), value.value());
        let file = FileId::new(length, Hash(root));
        let (Ok(owner), Ok(name), Ok(file)) = (UserName::new(owner), EntryName::new(name), file) else {
            return Ok(Err("an entry has an illegal name or length".to_owned()));
        };
        let version = VersionRecord { number: 1, content: Content::File(file), folder: None, at_ms };
        contents.push(Write::Entry(owner, name, Some(EntryRecord::new(version, None))));
    }
    Ok(Ok(contents))
}

/// Empties the tables of before. They are not deleted: redb had faults in that.
pub(super) fn empty(transaction: &redb::WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(USERS)?.retain(|_peer, _user| false)?;
    transaction.open_table(ENTRIES)?.retain(|_key, _entry| false)?;
    Ok(())
}

fn user_as_of_now(peer: PeerId, name: UserName, seen_ms: u64) -> [Write; 2] {
    let account = Account { password: None, created_ms: seen_ms, seen_ms, former: Vec::new() };
    let device = Device { account: name.clone(), name: String::new(), since_ms: seen_ms, seen_ms };
    [Write::Account(name, Some(account)), Write::Device(peer, Some(device))]
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{META, META_KEY, META_SCHEMA, database, write};
    use super::*;

    /// Makes a store as a tracker of schema 1 left it, with alice and her entry `x`, and bob.
    pub(in super::super) fn make(path: &std::path::Path, seed: [u8; 32]) {
        let file = std::fs::OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
        let database = database(path, file).unwrap();
        let written = write(&database, |transaction| {
            let mut meta = transaction.open_table(META)?;
            meta.insert(META_SCHEMA, FROM.to_be_bytes().as_slice())?;
            meta.insert(META_KEY, seed.as_slice())?;
            let mut users = transaction.open_table(USERS)?;
            users.insert([1; 32], ("alice", 5))?;
            users.insert([2; 32], ("bob", 6))?;
            transaction.open_table(ENTRIES)?.insert(("alice", "x"), (9, [3; 32], 7))?;
            Ok(())
        });
        written.unwrap();
    }
}
