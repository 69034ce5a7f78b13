//! Entries: who may register and deregister what.

use std::collections::BTreeSet;

use common::id::{Content, PeerId};
use common::name::{EntryName, EntryRef, UserName};
use common::wire::MAX_VERSIONS;
use common::wire::tracker::{Code, FolderSize, Refusal, Reply};

use super::callers::{known_users, user_of};
use super::resolving::{bad_name, resolve_own};
use super::{Change, Now, audiences, following, refusal};
use crate::state::{EntryRecord, State, VersionRecord, Write};

/// Most entries of one user.
const MAX_ENTRIES_OF_USER: usize = 100_000;
/// Most entries in all; some 500 bytes of memory each.
const MAX_ENTRIES: usize = 1_000_000;
/// Most versions and named users of all entries of one user; some 100 bytes of memory each.
const MAX_WEIGHT_OF_USER: usize = 300_000;

/// What is to be registered.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) name: String,
    pub(super) content: Content,
    pub(super) folder: Option<FolderSize>,
    pub(super) users: Option<Vec<String>>,
}

pub(super) fn register(state: &State, caller: PeerId, registration: Registration, now: Now) -> Result<Change, Refusal> {
    let Registration { name, content, folder, users } = registration;
    let owner = user_of(state, caller)?;
    let name = EntryName::new(name).map_err(|error| bad_name(&error))?;
    check_folder(&content, folder)?;
    let users = users.map(|users| known_users(state, &users, &owner)).transpose()?;
    let first = VersionRecord { number: 1, content, folder, at_ms: now.unix_ms };
    let before = state.catalogue().entry(&owner, &name);
    let after = match before {
        Some(before) => updated(state, &owner, before, first, users)?,
        None => {
            check_room(state, &owner)?;
            let entry = EntryRecord::new(first, users);
            room_for_versions(state, &owner, None, &entry.users)?;
            entry
        }
    };
    let entry = EntryRef { owner: Some(owner.clone()), name: name.clone() };
    let reply = Reply::Registered {
        entry: entry.to_string(),
        version: after.newest().number,
        already: before.is_some_and(|before| before.newest().content == content),
        audience: after.audience(&owner, &name),
    };
    if before == Some(&after) {
        return Ok((reply, Vec::new(), Vec::new()));
    }
    let (mut writes, mut effects) = match before {
        Some(before) => audiences::on_changed(state, &entry, before, &after, now),
        None => (Vec::new(), audiences::on_restricted(state, &owner, &entry, &after)),
    };
    if before.is_none_or(|before| before.newest() != after.newest()) {
        effects.extend(following::tell_updated(state, caller, &owner, &name, &after));
    }
    writes.push(Write::Entry(owner, name, Some(after)));
    Ok((reply, writes, effects))
}

/// An entry with what is registered under its name again.
fn updated(
    state: &State,
    owner: &UserName,
    before: &EntryRecord,
    version: VersionRecord,
    users: Option<BTreeSet<UserName>>,
) -> Result<EntryRecord, Refusal> {
    let mut after = before.clone();
    if let Some(users) = users {
        after.users = Some(users);
    }
    let kept = room_for_versions(state, owner, Some(before), &after.users)?;
    let newest = before.newest();
    if newest.content != version.content {
        let number = newest.number.checked_add(1);
        let number = number.ok_or_else(|| refusal(Code::Limit, "there are no more numbers for versions of this"))?;
        after.add(VersionRecord { number, ..version }, kept);
    }
    Ok(after)
}

pub(super) fn deregister(state: &State, caller: PeerId, text: &str, now: Now) -> Result<Change, Refusal> {
    let (owner, name, entry) = resolve_own(state, caller, text, "deregister it")?;
    let (mut writes, mut effects) = audiences::on_gone(state, &owner, &name, entry, now);
    effects.extend(following::tell_gone(state, &owner, &name, entry));
    writes.push(Write::Entry(owner, name, None));
    Ok((Reply::Done, writes, effects))
}

/// Only a folder has a folder's size.
pub(super) fn check_folder(content: &Content, folder: Option<FolderSize>) -> Result<(), Refusal> {
    match (content, folder) {
        (Content::File(_), Some(_)) => Err(refusal(Code::Malformed, "a file has no number of files in it")),
        (Content::File(_) | Content::Folder(_), _) => Ok(()),
    }
}

/// How many versions of an entry may be kept with these users; an error where there is no room for one.
pub(super) fn room_for_versions(
    state: &State,
    owner: &UserName,
    before: Option<&EntryRecord>,
    users: &Option<BTreeSet<UserName>>,
) -> Result<usize, Refusal> {
    let others = state.catalogue().weight_of(owner) - before.map_or(0, EntryRecord::weight);
    let room = MAX_WEIGHT_OF_USER.saturating_sub(others + users.as_ref().map_or(0, BTreeSet::len));
    if room == 0 {
        let text = format!(
            "a user may have at most {MAX_WEIGHT_OF_USER} versions and named users in all entries: name fewer users, or \
             deregister something"
        );
        return Err(refusal(Code::Limit, text));
    }
    Ok(room.min(MAX_VERSIONS))
}

fn check_room(state: &State, owner: &UserName) -> Result<(), Refusal> {
    if state.catalogue().count_of(owner) >= MAX_ENTRIES_OF_USER {
        let text = format!("a user may have at most {MAX_ENTRIES_OF_USER} entries: deregister some first");
        return Err(refusal(Code::Limit, text));
    }
    if state.catalogue().len() >= MAX_ENTRIES {
        return Err(refusal(Code::Limit, "this tracker has as many entries as it can keep: ask its operator"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
