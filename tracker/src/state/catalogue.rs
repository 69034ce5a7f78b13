//! The catalogue: which user registered what under which name, in which versions, and for whom.
//!
//! An *entry* is one owner's; a *line* is what lists show: all entries for everyone of one name whose newest versions name
//! the same content, or a single entry that is for some users only. The invariant: each entry is in exactly one line, and
//! a line stands under its name and its first owner.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use common::audience::Audience;
use common::id::Content;
use common::index::SwarmKey;
use common::name::{EntryName, EntryRef, UserName};
use common::wire::MAX_VERSIONS;
use common::wire::tracker::FolderSize;
use serde::{Deserialize, Serialize};

use super::fold;

/// One version of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionRecord {
    /// Its number, from 1.
    pub(crate) number: u32,
    /// What it names.
    pub(crate) content: Content,
    /// With a folder: how much is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<FolderSize>,
    /// When it was registered, milliseconds since 1970 (UTC).
    pub(crate) at_ms: u64,
}

/// What an owner has under a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawEntryRecord")]
pub(crate) struct EntryRecord {
    /// The newest last; never empty, at most [`MAX_VERSIONS`].
    versions: Vec<VersionRecord>,
    /// For whom it is beside its owner; `None`: for everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) users: Option<BTreeSet<UserName>>,
}

/// Why a record is not an entry's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry has 1 to {MAX_VERSIONS} versions, the newest last")]
pub(crate) struct NotAnEntry;

#[derive(Deserialize)]
struct RawEntryRecord {
    versions: Vec<VersionRecord>,
    #[serde(default)]
    users: Option<BTreeSet<UserName>>,
}

/// What lists show as one.
#[derive(Debug)]
pub(crate) struct Line {
    /// What the newest version names.
    pub(crate) content: Content,
    /// Bytes of it: of a folder, of all that is in it.
    pub(crate) bytes: u64,
    /// Whose it is, and which version that is of each owner's entry; never empty.
    pub(crate) owners: BTreeMap<UserName, VersionRecord>,
    /// When the first of its entries named this, milliseconds since 1970 (UTC).
    pub(crate) since_ms: u64,
    /// For whom it is beside its owner, in order; `None`: for everyone.
    users: Option<Box<[UserName]>>,
    /// Who has it.
    pub(crate) swarm: SwarmKey,
    /// The name in folded case, for searches.
    pub(crate) folded: String,
}

/// Where a line stands: lists are in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LineKey {
    /// The name of its entries.
    pub(crate) name: EntryName,
    /// The first of its owners.
    pub(crate) first_owner: UserName,
}

/// All entries.
#[derive(Debug, Default)]
pub(crate) struct Catalogue {
    entries: HashMap<UserName, Shelf>,
    lines: BTreeMap<LineKey, Line>,
    /// The first owner of the line of a name and a content that is for everyone.
    first_owners: HashMap<(EntryName, Content), UserName>,
    /// For how many entries a user is named; who is not there, for none.
    named: HashMap<UserName, usize>,
    count: usize,
}

/// All entries of one owner.
#[derive(Debug, Default)]
struct Shelf {
    entries: BTreeMap<EntryName, EntryRecord>,
    weight: usize,
}

impl EntryRecord {
    /// One with a first version.
    pub(crate) fn new(first: VersionRecord, users: Option<BTreeSet<UserName>>) -> Self {
        Self { versions: vec![first], users }
    }

    /// The newest version.
    pub(crate) fn newest(&self) -> &VersionRecord {
        self.versions.last().expect("an entry has a version")
    }

    /// All versions, the newest last.
    pub(crate) fn versions(&self) -> &[VersionRecord] {
        &self.versions
    }

    /// The version of this number.
    pub(crate) fn version(&self, number: u32) -> Option<&VersionRecord> {
        self.versions.iter().find(|version| version.number == number)
    }

    /// The newest version that names this.
    pub(crate) fn naming(&self, content: &Content) -> Option<&VersionRecord> {
        self.versions.iter().rev().find(|version| version.content == *content)
    }

    /// Adds a version and keeps the newest `kept`, at least one.
    pub(crate) fn add(&mut self, version: VersionRecord, kept: usize) {
        self.versions.push(version);
        let gone = self.versions.len().saturating_sub(kept.max(1));
        self.versions.drain(..gone);
    }

    /// The same versions for these users.
    pub(crate) fn with_users(&self, users: Option<BTreeSet<UserName>>) -> Self {
        Self { versions: self.versions.clone(), users }
    }

    /// Whether a user may have `owner`'s entry.
    pub(crate) fn is_for(&self, owner: &UserName, user: &UserName) -> bool {
        user == owner || self.users.as_ref().is_none_or(|users| users.contains(user))
    }

    /// For whom it is to be shared, as `owner`'s entry of this name.
    pub(crate) fn audience(&self, owner: &UserName, name: &EntryName) -> Audience {
        if self.users.is_none() { Audience::Public } else { restricted(owner, name) }
    }

    /// How many things are kept of it: versions and users.
    pub(crate) fn weight(&self) -> usize {
        self.versions.len() + self.users.as_ref().map_or(0, BTreeSet::len)
    }
}

/// Those who may have an entry that is not for everyone.
pub(crate) fn restricted(owner: &UserName, name: &EntryName) -> Audience {
    Audience::Entry(EntryRef { owner: Some(owner.clone()), name: name.clone() })
}

impl TryFrom<RawEntryRecord> for EntryRecord {
    type Error = NotAnEntry;

    fn try_from(RawEntryRecord { versions, users }: RawEntryRecord) -> Result<Self, NotAnEntry> {
        let number_is_right = (1..=MAX_VERSIONS).contains(&versions.len());
        if number_is_right && versions.is_sorted_by(|one, next| one.number < next.number) {
            Ok(Self { versions, users })
        } else {
            Err(NotAnEntry)
        }
    }
}

impl Line {
    fn new(name: &EntryName, version: &VersionRecord, swarm: SwarmKey) -> Self {
        let file = version.content.file_or_manifest();
        Self {
            content: version.content,
            bytes: version.folder.map_or_else(|| file.length(), |folder| folder.bytes),
            owners: BTreeMap::new(),
            since_ms: version.at_ms,
            users: None,
            swarm,
            folded: fold(name.as_str()),
        }
    }

    /// Who named this first under this name: whoever copies it later is not to be taken for him.
    pub(crate) fn earliest_owner(&self) -> Option<&UserName> {
        self.owners.iter().min_by_key(|(_, version)| version.at_ms).map(|(owner, _)| owner)
    }

    /// Whether it is for some users only.
    pub(crate) const fn is_restricted(&self) -> bool {
        self.users.is_some()
    }

    /// Whether a user may have it.
    pub(crate) fn is_for(&self, user: &UserName) -> bool {
        self.users.as_ref().is_none_or(|users| users.binary_search(user).is_ok() || self.owners.contains_key(user))
    }
}

impl Catalogue {
    /// How many entries there are.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// How many entries `owner` has.
    pub(crate) fn count_of(&self, owner: &UserName) -> usize {
        self.entries.get(owner).map_or(0, |shelf| shelf.entries.len())
    }

    /// How many versions and named users all entries of `owner` have.
    pub(crate) fn weight_of(&self, owner: &UserName) -> usize {
        self.entries.get(owner).map_or(0, |shelf| shelf.weight)
    }

    /// What `owner` has under `name`.
    pub(crate) fn entry(&self, owner: &UserName, name: &EntryName) -> Option<&EntryRecord> {
        self.entries.get(owner)?.entries.get(name)
    }

    /// All that `owner` has, by name.
    pub(crate) fn entries_of(&self, owner: &UserName) -> impl Iterator<Item = (&EntryName, &EntryRecord)> {
        self.entries.get(owner).into_iter().flat_map(|shelf| &shelf.entries)
    }

    /// Whether some entry is for a user by name. To say so takes no look at all of them.
    pub(crate) fn is_named(&self, user: &UserName) -> bool {
        self.named.contains_key(user)
    }

    /// All who have entries, in no order.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &UserName> {
        self.entries.keys()
    }

    /// The line of an entry.
    pub(crate) fn line_of(&self, owner: &UserName, name: &EntryName) -> Option<(&LineKey, &Line)> {
        let entry = self.entry(owner, name)?;
        self.lines.get_key_value(&self.key_of(owner, name, entry)?)
    }

    /// The lines of a name, in order.
    pub(crate) fn lines_of(&self, name: &EntryName) -> impl Iterator<Item = (&LineKey, &Line)> {
        let start = LineKey { name: name.clone(), first_owner: lowest_user_name() };
        let name = name.clone();
        self.lines.range(start..).take_while(move |(key, _)| key.name == name)
    }

    /// All lines, in order.
    pub(crate) fn lines(&self) -> impl ExactSizeIterator<Item = (&LineKey, &Line)> {
        self.lines.iter()
    }

    /// Puts an entry in, or out with `None`, and gives what was there before.
    pub(super) fn set(
        &mut self,
        owner: &UserName,
        name: &EntryName,
        entry: Option<EntryRecord>,
    ) -> Option<EntryRecord> {
        let before = self.take(owner, name);
        if let Some(entry) = entry {
            self.put(owner, name, entry);
        }
        before
    }

    fn put(&mut self, owner: &UserName, name: &EntryName, entry: EntryRecord) {
        self.count += 1;
        let newest = *entry.newest();
        let key = self.key_of(owner, name, &entry);
        let mut line = key.and_then(|key| self.lines.remove(&key)).unwrap_or_else(|| {
            let swarm = SwarmKey::new(&newest.content, &entry.audience(owner, name));
            Line::new(name, &newest, swarm)
        });
        line.users = entry.users.as_ref().map(|users| users.iter().cloned().collect());
        line.owners.insert(owner.clone(), newest);
        self.put_line(name, line);
        for user in entry.users.iter().flatten() {
            *self.named.entry(user.clone()).or_default() += 1;
        }
        let shelf = self.entries.entry(owner.clone()).or_default();
        shelf.weight += entry.weight();
        shelf.entries.insert(name.clone(), entry);
    }

    fn take(&mut self, owner: &UserName, name: &EntryName) -> Option<EntryRecord> {
        let key = self.key_of(owner, name, self.entry(owner, name)?);
        let shelf = self.entries.get_mut(owner)?;
        let entry = shelf.entries.remove(name)?;
        shelf.weight -= entry.weight();
        if shelf.entries.is_empty() {
            self.entries.remove(owner);
        }
        self.count -= 1;
        for user in entry.users.iter().flatten() {
            if let Some(number) = self.named.get_mut(user) {
                *number -= 1;
                if *number == 0 {
                    self.named.remove(user);
                }
            }
        }
        if let Some(mut line) = key.and_then(|key| self.lines.remove(&key)) {
            if !line.is_restricted() {
                self.first_owners.remove(&(name.clone(), line.content));
            }
            line.owners.remove(owner);
            self.put_line(name, line);
        }
        Some(entry)
    }

    /// Where the line of an entry stands, if it is there.
    fn key_of(&self, owner: &UserName, name: &EntryName, entry: &EntryRecord) -> Option<LineKey> {
        let first_owner = match entry.users {
            Some(_) => owner,
            None => self.first_owners.get(&(name.clone(), entry.newest().content))?,
        };
        Some(LineKey { name: name.clone(), first_owner: first_owner.clone() })
    }

    /// Puts a line where it belongs; one without owners is gone.
    fn put_line(&mut self, name: &EntryName, mut line: Line) {
        line.since_ms = line.owners.values().map(|version| version.at_ms).min().unwrap_or_default();
        if let Some(first_owner) = line.owners.keys().next().cloned() {
            if !line.is_restricted() {
                self.first_owners.insert((name.clone(), line.content), first_owner.clone());
            }
            self.lines.insert(LineKey { name: name.clone(), first_owner }, line);
        }
    }
}

/// No user's name is before this one.
fn lowest_user_name() -> UserName {
    UserName::new("-").expect("a hyphen, the first of the characters allowed, is a user name")
}

#[cfg(test)]
mod tests {
    use common::id::{FileId, Hash};
    use proptest::prelude::*;

    use super::*;

    fn user(text: &str) -> UserName {
        text.parse().unwrap()
    }

    fn name(text: &str) -> EntryName {
        text.parse().unwrap()
    }

    fn version(number: u32, byte: u8) -> VersionRecord {
        let content = FileId::new(1, Hash([byte; 32])).unwrap().into();
        VersionRecord { number, content, folder: None, at_ms: u64::from(byte) }
    }

    fn entry(byte: u8) -> EntryRecord {
        EntryRecord::new(version(1, byte), None)
    }

    fn entry_for(byte: u8, users: &[&str]) -> EntryRecord {
        EntryRecord { users: Some(users.iter().map(|name| user(name)).collect()), ..entry(byte) }
    }

    #[test]
    fn the_same_name_and_content_is_one_line() {
        let mut catalogue = Catalogue::default();
        for owner in ["b", "c", "a"] {
            catalogue.set(&user(owner), &name("x"), Some(entry(1)));
        }
        catalogue.set(&user("d"), &name("x"), Some(entry(2)));
        let lines: Vec<_> = catalogue.lines_of(&name("x")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].0.first_owner, user("a"));
        assert_eq!(lines[0].1.owners.len(), 3);
        assert_eq!(lines[1].0.first_owner, user("d"));
        assert_eq!(catalogue.len(), 4);
    }

    #[test]
    fn a_line_moves_when_its_first_owner_goes() {
        let mut catalogue = Catalogue::default();
        catalogue.set(&user("a"), &name("x"), Some(entry(1)));
        catalogue.set(&user("b"), &name("x"), Some(entry(1)));
        assert_eq!(catalogue.set(&user("a"), &name("x"), None), Some(entry(1)));
        let (key, line) = catalogue.line_of(&user("b"), &name("x")).unwrap();
        assert_eq!((key.first_owner.clone(), line.owners.len()), (user("b"), 1));
        catalogue.set(&user("b"), &name("x"), None);
        assert!(catalogue.line_of(&user("b"), &name("x")).is_none());
        assert_eq!((catalogue.len(), catalogue.lines().len(), catalogue.first_owners.len()), (0, 0, 0));
    }

    #[test]
    fn an_entry_for_some_is_a_line_of_its_own_in_a_swarm_of_its_own() {
        let mut catalogue = Catalogue::default();
        catalogue.set(&user("a"), &name("x"), Some(entry(1)));
        catalogue.set(&user("b"), &name("x"), Some(entry_for(1, &["c"])));
        let lines: Vec<_> = catalogue.lines_of(&name("x")).map(|(_, line)| line).collect();
        assert_eq!(lines.len(), 2);
        assert_ne!(lines[0].swarm, lines[1].swarm);
        let seen = |who| [lines[0].is_for(&user(who)), lines[1].is_for(&user(who))];
        assert_eq!(["a", "b", "c", "d"].map(seen), [[true, false], [true, true], [true, true], [true, false]]);
    }

    #[test]
    fn only_so_many_versions_are_kept_and_the_numbers_go_on() {
        let mut record = entry(1);
        for number in 2..=5 {
            record.add(version(number, 1), 3);
        }
        assert_eq!(record.versions().iter().map(|version| version.number).collect::<Vec<_>>(), [3, 4, 5]);
        record.add(version(6, 1), 0);
        assert_eq!(record.versions().len(), 1);
    }

    #[test]
    fn what_is_no_entry_is_not_read_as_one() {
        let json = serde_json::to_string(&entry_for(1, &["c"])).unwrap();
        assert_eq!(serde_json::from_str::<EntryRecord>(&json).unwrap(), entry_for(1, &["c"]));
        let version = serde_json::to_string(&version(1, 1)).unwrap();
        for versions in [String::new(), format!("{version},{version}"), vec![version; MAX_VERSIONS + 1].join(",")] {
            assert!(serde_json::from_str::<EntryRecord>(&format!(r#"{{"versions":[{versions}]}}"#)).is_err());
        }
    }

    proptest! {
        #[test]
        fn lines_and_entries_always_agree(
            steps in proptest::collection::vec(
                (0usize..3, 0usize..3, proptest::option::of((1u8..3, any::<bool>()))),
                0..40,
            ),
        ) {
            let (owners, names) = (["a", "b", "c"].map(user), ["x", "y", "z"].map(name));
            let mut catalogue = Catalogue::default();
            let mut model: BTreeMap<(EntryName, UserName), EntryRecord> = BTreeMap::new();
            for (owner, name, new) in steps {
                let new = new.map(|(file, is_public)| if is_public { entry(file) } else { entry_for(file, &["c"]) });
                let (owner, name) = (&owners[owner], &names[name]);
                let key = (name.clone(), owner.clone());
                let before = match new.clone() {
                    Some(new) => model.insert(key, new),
                    None => model.remove(&key),
                };
                prop_assert_eq!(catalogue.set(owner, name, new), before);
            }
            let mut seen = 0;
            for (key, line) in catalogue.lines() {
                prop_assert_eq!(line.owners.keys().next(), Some(&key.first_owner));
                prop_assert!(!line.is_restricted() || line.owners.len() == 1);
                for (owner, version) in &line.owners {
                    let entry = &model[&(key.name.clone(), owner.clone())];
                    prop_assert_eq!((entry.newest(), entry.users.is_some()), (version, line.is_restricted()));
                    prop_assert_eq!(version.content, line.content);
                    let of_entry = catalogue.line_of(owner, &key.name).map(|(key, _)| key);
                    prop_assert_eq!(of_entry, Some(key));
                    seen += 1;
                }
            }
            prop_assert_eq!((seen, catalogue.len()), (model.len(), model.len()));
            let public = catalogue.lines().filter(|(_, line)| !line.is_restricted()).count();
            prop_assert_eq!(catalogue.first_owners.len(), public);
            for owner in &owners {
                let weight: usize = model.iter().filter(|((_, of), _)| of == owner).map(|(_, e)| e.weight()).sum();
                prop_assert_eq!(catalogue.weight_of(owner), weight);
                let named = model.values().filter(|e| e.users.as_ref().is_some_and(|users| users.contains(owner)));
                let named = Some(named.count()).filter(|number| *number > 0);
                prop_assert_eq!(catalogue.named.get(owner).copied(), named);
                prop_assert_eq!(catalogue.is_named(owner), named.is_some());
            }
        }
    }
}
