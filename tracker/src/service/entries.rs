//! Entries: who may register what, what a name means, and how a line of the catalogue looks to a peer.

use common::id::{FileId, PeerId};
use common::name::{EntryName, EntryRef, UserName};
use common::wire::tracker::{Code, Entry, Refusal, Reply};

use super::{Now, refusal};
use crate::state::{Line, LineKey, Registered, State, Write};

/// Most entries of one user.
const MAX_ENTRIES_OF_USER: usize = 100_000;
/// Most entries in all; some 500 bytes of memory each.
const MAX_ENTRIES: usize = 1_000_000;
/// So many owners of a line are named; where there are more, nobody reads them all.
const MAX_OWNERS_NAMED: usize = 100;
/// So many entries are named that an ambiguous name could be.
const MAX_CANDIDATES: usize = 20;

/// Most bytes of an [`Entry`] in JSON: its numbers, its root and the names of its fields, and a name in which each
/// character is escaped.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    const WITHOUT_NAMES: usize = 300;
    const AROUND_A_NAME: usize = 3;
    let owners: usize = entry.owners.iter().map(|owner| owner.len() + AROUND_A_NAME).sum();
    WITHOUT_NAMES + 2 * entry.name.len() + owners
}

pub(super) fn register(
    state: &State,
    caller: PeerId,
    name: &str,
    file: FileId,
    now: Now,
) -> Result<(Reply, Vec<Write>), Refusal> {
    let name = EntryName::new(name).map_err(|error| bad_name(&error))?;
    let owner = owner_of(state, caller)?;
    let entry = format!("{owner}/{name}");
    match state.catalogue().entry(&owner, &name) {
        Some(registered) if registered.file == file => {
            return Ok((Reply::Registered { entry, already: true }, Vec::new()));
        }
        Some(_) => {
            let text = format!("your entry {name} names another file: `dereg {name}` first, or use another name");
            return Err(refusal(Code::Conflict, text));
        }
        None => {}
    }
    if state.catalogue().count_of(&owner) >= MAX_ENTRIES_OF_USER {
        let text = format!("a user may have at most {MAX_ENTRIES_OF_USER} entries: deregister some first");
        return Err(refusal(Code::Limit, text));
    }
    if state.catalogue().len() >= MAX_ENTRIES {
        return Err(refusal(Code::Limit, "this tracker has as many entries as it can keep: ask its operator"));
    }
    let registered = Registered { file, at_ms: now.unix_ms };
    Ok((Reply::Registered { entry, already: false }, vec![Write::Entry(owner, name, Some(registered))]))
}

pub(super) fn deregister(state: &State, caller: PeerId, entry: &str) -> Result<(Reply, Vec<Write>), Refusal> {
    let EntryRef { owner: named, name } = parse(entry)?;
    let caller = owner_of(state, caller)?;
    let owner = named.unwrap_or_else(|| caller.clone());
    if state.catalogue().entry(&owner, &name).is_none() {
        return Err(match state.catalogue().lines_of(&name).next() {
            Some((key, _)) if owner == caller => {
                let text =
                    format!("{name} is an entry of {}, not yours: only its owner can deregister it", key.first_owner);
                refusal(Code::Forbidden, text)
            }
            _ => not_found(entry),
        });
    }
    if owner != caller {
        let text = format!("{owner}/{name} is not yours: only {owner} can deregister it");
        return Err(refusal(Code::Forbidden, text));
    }
    Ok((Reply::Done, vec![Write::Entry(owner, name, None)]))
}

/// The line that a peer means by `entry`; where `file` is given, the one that names it.
pub(super) fn resolve<'a>(
    state: &'a State,
    entry: &str,
    file: Option<&FileId>,
) -> Result<(&'a LineKey, &'a Line), Refusal> {
    let EntryRef { owner, name } = parse(entry)?;
    if let Some(owner) = owner {
        let registered = state.catalogue().entry(&owner, &name).ok_or_else(|| not_found(entry))?;
        if file.is_some_and(|file| *file != registered.file) {
            return Err(changed(entry));
        }
        return state.catalogue().line(&name, &registered.file).ok_or_else(|| not_found(entry));
    }
    if let Some(file) = file {
        return state.catalogue().line(&name, file).ok_or_else(|| match state.catalogue().lines_of(&name).next() {
            Some(_) => changed(entry),
            None => not_found(entry),
        });
    }
    let mut lines = state.catalogue().lines_of(&name);
    let first = lines.next().ok_or_else(|| not_found(entry))?;
    if lines.next().is_none() {
        return Ok(first);
    }
    let candidates = state.catalogue().lines_of(&name).take(MAX_CANDIDATES);
    let candidates: Vec<Entry> = candidates.map(|(key, line)| view(state, key, line)).collect();
    let text = format!("several owners have different files under the name {name}: say OWNER/{name}");
    Err(Refusal { code: Code::Ambiguous, text, candidates })
}

/// A line as a peer sees it.
pub(super) fn view(state: &State, key: &LineKey, line: &Line) -> Entry {
    let counts = state.index.counts(&line.file);
    Entry {
        owners: line.owners.keys().take(MAX_OWNERS_NAMED).map(UserName::to_string).collect(),
        name: key.name.to_string(),
        file: line.file,
        seeders: counts.seeders,
        downloaders: counts.downloaders,
        registered_ms: line.since_ms(),
    }
}

pub(super) fn parse(entry: &str) -> Result<EntryRef, Refusal> {
    entry.parse().map_err(|error| bad_name(&error))
}

fn owner_of(state: &State, caller: PeerId) -> Result<UserName, Refusal> {
    let online = state.roster.get(&caller);
    online.map(|online| online.name.clone()).ok_or_else(|| refusal(Code::NotJoined, "join first"))
}

fn bad_name(error: &common::name::NameError) -> Refusal {
    refusal(Code::BadName, error.to_string())
}

fn changed(entry: &str) -> Refusal {
    refusal(Code::Changed, format!("{entry} does not name that file any more: look at `lst`"))
}

fn not_found(entry: &str) -> Refusal {
    refusal(Code::NotFound, format!("there is no entry {entry}: `lst` shows what there is"))
}
