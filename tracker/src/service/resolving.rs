//! Resolving: which version of whose entry a peer means by a name, and how that looks to it. What it may not have is not
//! there for it.

use common::audience::Audience;
use common::id::{Content, PeerId};
use common::index::SwarmKey;
use common::name::{EntryName, EntryRef, UserName};
use common::wire::tracker::{Code, Entry, Refusal, Reply, Version};

use super::callers::user_of;
use super::refusal;
use crate::state::{EntryRecord, Line, LineKey, State, VersionRecord};

/// So many owners of a line are named; where there are more, nobody reads them all.
pub(super) const MAX_OWNERS_NAMED: usize = 100;
/// So many entries are named that an ambiguous name could be.
pub(super) const MAX_CANDIDATES: usize = 20;

/// A version of an entry that is meant by a name.
#[derive(Debug)]
pub(super) struct Meant {
    /// Whose: the one that was named, or the first, and then those who have the same under that name; never empty.
    pub(super) owners: Vec<UserName>,
    /// The entry's name.
    pub(super) name: EntryName,
    /// The version of the first owner's entry.
    pub(super) version: VersionRecord,
    /// For whom it is shared.
    pub(super) audience: Audience,
    /// When the first of the owners named this, milliseconds since 1970 (UTC).
    since_ms: u64,
}

/// Which versions will do.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    content: Option<&'a Content>,
    number: Option<u32>,
}

impl Wanted<'_> {
    const ANY: Self = Self { content: None, number: None };

    /// The newest version that will do.
    fn in_entry<'a>(&self, entry: &'a EntryRecord) -> Option<&'a VersionRecord> {
        let version = match self.number {
            Some(number) => entry.version(number),
            None => self.content.map_or_else(|| Some(entry.newest()), |content| entry.naming(content)),
        };
        version.filter(|version| self.content.is_none_or(|content| version.content == *content))
    }
}

impl Meant {
    fn newest(line: &Line, name: &EntryName, owner: &UserName, entry: &EntryRecord) -> Self {
        let others = line.owners.keys().filter(|other| *other != owner).cloned();
        Self {
            owners: [owner.clone()].into_iter().chain(others).take(MAX_OWNERS_NAMED).collect(),
            name: name.clone(),
            version: *entry.newest(),
            audience: entry.audience(owner, name),
            since_ms: line.since_ms,
        }
    }

    fn of(state: &State, name: &EntryName, owner: &UserName, entry: &EntryRecord, version: &VersionRecord) -> Self {
        match state.catalogue().line_of(owner, name) {
            Some((_, line)) if version.number == entry.newest().number => Self::newest(line, name, owner, entry),
            _ => Self {
                owners: vec![owner.clone()],
                name: name.clone(),
                version: *version,
                audience: entry.audience(owner, name),
                since_ms: version.at_ms,
            },
        }
    }

    /// The first of its owners.
    pub(super) fn owner(&self) -> &UserName {
        self.owners.first().expect("an entry has an owner")
    }

    /// `owner/name` of the first owner's entry.
    pub(super) fn entry_ref(&self) -> EntryRef {
        EntryRef { owner: Some(self.owner().clone()), name: self.name.clone() }
    }
}

/// What the caller means by `text`, which is `name` or `owner/name`, and, where there is no entry with that very name, one of
/// these with `@` and a version; where `content` is given, the version that names it.
pub(super) fn resolve(state: &State, caller: PeerId, text: &str, content: Option<&Content>) -> Result<Meant, Refusal> {
    let viewer = user_of(state, caller)?;
    let literal = text.parse::<EntryRef>();
    if let Ok(entry) = &literal
        && let Some(meant) = find(state, &viewer, entry, Wanted { content, number: None })?
    {
        return Ok(meant);
    }
    match (with_version(text), literal) {
        (Some((entry, number)), _) => {
            let found = find(state, &viewer, &entry, Wanted { content, number: Some(number) })?;
            found.ok_or_else(|| not_found(text))
        }
        (None, Ok(_)) => Err(not_found(text)),
        (None, Err(error)) => Err(bad_name(&error)),
    }
}

/// The newest version of the entry that the caller means by `name` or `owner/name`.
pub(super) fn resolve_entry(state: &State, caller: PeerId, text: &str) -> Result<Meant, Refusal> {
    let viewer = user_of(state, caller)?;
    find(state, &viewer, &parse(text)?, Wanted::ANY)?.ok_or_else(|| not_found(text))
}

/// The entry of the caller that it means by `name` or `owner/name`; `wish` is what only its owner may do.
pub(super) fn resolve_own<'a>(
    state: &'a State,
    caller: PeerId,
    text: &str,
    wish: &str,
) -> Result<(UserName, EntryName, &'a EntryRecord), Refusal> {
    let viewer = user_of(state, caller)?;
    let EntryRef { owner, name } = parse(text)?;
    let wanted = owner.as_ref().unwrap_or(&viewer);
    if wanted == &viewer
        && let Some(entry) = state.catalogue().entry(&viewer, &name)
    {
        return Ok((viewer, name, entry));
    }
    let theirs = match owner {
        Some(owner) => {
            state.catalogue().entry(&owner, &name).filter(|entry| entry.is_for(&owner, &viewer)).map(|_| owner)
        }
        None => seen_lines(state, &viewer, &name).next().map(|(key, _)| key.first_owner.clone()),
    };
    Err(match theirs {
        Some(owner) if owner != viewer => {
            refusal(Code::Forbidden, format!("{owner}/{name} is not yours: only {owner} can {wish}"))
        }
        _ => not_found(text),
    })
}

/// All versions of an entry.
pub(super) fn versions(state: &State, caller: PeerId, text: &str) -> Result<Reply, Refusal> {
    let meant = resolve_entry(state, caller, text)?;
    let entry = state.catalogue().entry(meant.owner(), &meant.name).ok_or_else(|| not_found(text))?;
    let versions = entry.versions().iter().rev().map(|version| {
        let counts = state.index.counts(&SwarmKey::new(&version.content, &meant.audience));
        Version {
            number: version.number,
            content: version.content,
            folder: version.folder,
            registered_ms: version.at_ms,
            seeders: counts.seeders,
            downloaders: counts.downloaders,
        }
    });
    let versions = versions.collect();
    Ok(Reply::Versions { entry: view(state, &user_of(state, caller)?, &meant), versions })
}

/// What is meant, as `viewer` sees it.
pub(super) fn view(state: &State, viewer: &UserName, meant: &Meant) -> Entry {
    let entry = state.catalogue().entry(meant.owner(), &meant.name);
    let seen = entry.map(|entry| view_alone(state, viewer, meant.owner(), &meant.name, entry, &meant.version));
    let seen = seen.expect("what is meant was found in the same state");
    Entry { owners: meant.owners.iter().map(UserName::to_string).collect(), registered_ms: meant.since_ms, ..seen }
}

/// A line of the catalogue, as `viewer` sees it.
pub(super) fn view_line(state: &State, viewer: &UserName, key: &LineKey, line: &Line) -> Entry {
    let owner = line.earliest_owner().unwrap_or(&key.first_owner);
    let entry = state.catalogue().entry(owner, &key.name).expect("each owner of a line has an entry in it");
    view(state, viewer, &Meant::newest(line, &key.name, owner, entry))
}

/// A version of an entry with its owner alone, as `viewer` sees it; `entry` need not be in the catalogue yet.
pub(super) fn view_alone(
    state: &State,
    viewer: &UserName,
    owner: &UserName,
    name: &EntryName,
    entry: &EntryRecord,
    version: &VersionRecord,
) -> Entry {
    let counts = state.index.counts(&SwarmKey::new(&version.content, &entry.audience(owner, name)));
    let users = entry.users.as_ref().filter(|_users| viewer == owner);
    Entry {
        owners: vec![owner.to_string()],
        name: name.to_string(),
        version: version.number,
        content: version.content,
        folder: version.folder,
        restricted: entry.users.is_some(),
        users: users.into_iter().flatten().map(UserName::to_string).collect(),
        seeders: counts.seeders,
        downloaders: counts.downloaders,
        registered_ms: version.at_ms,
    }
}

/// Most bytes of an [`Entry`] in JSON: its numbers, its root and the names of its fields, and a name in which each
/// character is escaped.
pub(super) fn entry_bytes(entry: &Entry) -> usize {
    const WITHOUT_NAMES: usize = 450;
    const AROUND_A_NAME: usize = 3;
    let users: usize = entry.owners.iter().chain(&entry.users).map(|user| user.len() + AROUND_A_NAME).sum();
    WITHOUT_NAMES + 2 * entry.name.len() + users
}

pub(super) fn parse(text: &str) -> Result<EntryRef, Refusal> {
    text.parse().map_err(|error| bad_name(&error))
}

pub(super) fn bad_name(error: &common::name::NameError) -> Refusal {
    refusal(Code::BadName, error.to_string())
}

pub(super) fn not_found(text: &str) -> Refusal {
    refusal(Code::NotFound, format!("there is no entry {text}: `lst` shows what there is"))
}

/// Splits `name@2` into name and version.
fn with_version(text: &str) -> Option<(EntryRef, u32)> {
    let (name, number) = text.rsplit_once('@')?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
    Some((name.parse().ok()?, number.parse().ok().filter(|_number| is_number)?))
}

/// What is meant by this very name; `None` where there is nothing for the viewer under it.
fn find(state: &State, viewer: &UserName, named: &EntryRef, wanted: Wanted<'_>) -> Result<Option<Meant>, Refusal> {
    let owner = match &named.owner {
        Some(owner) => Some(owner.clone()),
        None => owner_meant(state, viewer, &named.name, wanted)?,
    };
    let Some(owner) = owner else { return Ok(None) };
    let entry = state.catalogue().entry(&owner, &named.name).filter(|entry| entry.is_for(&owner, viewer));
    let Some(entry) = entry else { return Ok(None) };
    let version = wanted.in_entry(entry).ok_or_else(|| no_such_version(named, wanted))?;
    Ok(Some(Meant::of(state, &named.name, &owner, entry, version)))
}

/// Whose entry is meant by a bare name.
fn owner_meant(
    state: &State,
    viewer: &UserName,
    name: &EntryName,
    wanted: Wanted<'_>,
) -> Result<Option<UserName>, Refusal> {
    let lines: Vec<(&LineKey, &Line)> = seen_lines(state, viewer, name).collect();
    if let Some(content) = wanted.content {
        let has_it = |owner: &&UserName| {
            let entry = state.catalogue().entry(owner, name);
            entry.is_some_and(|entry| wanted.in_entry(entry).is_some())
        };
        let newest = lines.iter().filter(|(_, line)| line.content == *content);
        let found = newest.chain(&lines).flat_map(|(_, line)| line.owners.keys()).find(has_it);
        let any = found.or_else(|| lines.first().map(|(key, _)| &key.first_owner));
        return Ok(any.cloned());
    }
    let Some((_, first)) = lines.first() else { return Ok(None) };
    if lines.iter().any(|(_, line)| line.content != first.content) {
        let candidates = lines.iter().take(MAX_CANDIDATES).map(|(key, line)| view_line(state, viewer, key, line));
        let text = format!("several owners have different files under the name {name}: say OWNER/{name}");
        return Err(Refusal { code: Code::Ambiguous, text, candidates: candidates.collect() });
    }
    // Of the same for everyone and for some, that for everyone has more seeders, mostly.
    let chosen = lines.iter().find(|(_, line)| !line.is_restricted()).or_else(|| lines.first());
    Ok(chosen.and_then(|(_, line)| line.earliest_owner()).cloned())
}

fn seen_lines<'a>(
    state: &'a State,
    viewer: &'a UserName,
    name: &EntryName,
) -> impl Iterator<Item = (&'a LineKey, &'a Line)> {
    state.catalogue().lines_of(name).filter(move |(_, line)| line.is_for(viewer))
}

fn no_such_version(named: &EntryRef, wanted: Wanted<'_>) -> Refusal {
    match wanted {
        Wanted { content: Some(_), .. } => {
            refusal(Code::Changed, format!("{named} does not name that any more: look at `versions {named}`"))
        }
        Wanted { number, .. } => {
            let number = number.unwrap_or_default();
            refusal(
                Code::NotFound,
                format!("{named} has no version {number}: `versions {named}` shows which there are"),
            )
        }
    }
}

#[cfg(test)]
mod tests;
