//! The catalogue: which user registered which file under which name.
//!
//! An *entry* is one owner's; a *line* is all entries of one name and one file, as lists show it. The invariant: each
//! entry is in exactly one line, and a line stands under its name and its first owner.

use std::collections::{BTreeMap, HashMap};

use common::id::Content;
use common::name::{EntryName, UserName};
use serde::{Deserialize, Serialize};

use super::fold;

/// What an owner's name for something stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registered {
    /// The file.
    pub(crate) content: Content,
    /// When it was registered, milliseconds since 1970 (UTC).
    pub(crate) at_ms: u64,
}

/// All entries of one name and one file.
#[derive(Debug)]
pub(crate) struct Line {
    /// What they name.
    pub(crate) content: Content,
    /// Whose they are, and since when; never empty.
    pub(crate) owners: BTreeMap<UserName, u64>,
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
    entries: HashMap<UserName, BTreeMap<EntryName, Registered>>,
    lines: BTreeMap<LineKey, Line>,
    /// The first owner of the line of a name and a file.
    first_owners: HashMap<(EntryName, Content), UserName>,
    count: usize,
}

impl Line {
    /// When the first of its entries was registered, milliseconds since 1970 (UTC).
    pub(crate) fn since_ms(&self) -> u64 {
        self.owners.values().copied().min().unwrap_or_default()
    }
}

impl Catalogue {
    /// How many entries there are.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    /// How many entries `owner` has.
    pub(crate) fn count_of(&self, owner: &UserName) -> usize {
        self.entries.get(owner).map_or(0, BTreeMap::len)
    }

    /// What `owner` has under `name`.
    pub(crate) fn entry(&self, owner: &UserName, name: &EntryName) -> Option<Registered> {
        self.entries.get(owner)?.get(name).copied()
    }

    /// The line of a name and a file.
    pub(crate) fn line(&self, name: &EntryName, content: &Content) -> Option<(&LineKey, &Line)> {
        let first_owner = self.first_owners.get(&(name.clone(), *content))?.clone();
        self.lines.get_key_value(&LineKey { name: name.clone(), first_owner })
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
    pub(super) fn set(&mut self, owner: &UserName, name: &EntryName, entry: Option<Registered>) -> Option<Registered> {
        let before = self.take(owner, name);
        if let Some(entry) = entry {
            self.put(owner, name, entry);
        }
        before
    }

    fn put(&mut self, owner: &UserName, name: &EntryName, entry: Registered) {
        self.entries.entry(owner.clone()).or_default().insert(name.clone(), entry);
        self.count += 1;
        let mut line = self.take_line(name, &entry.content).unwrap_or_else(|| Line {
            content: entry.content,
            owners: BTreeMap::new(),
            folded: fold(name.as_str()),
        });
        line.owners.insert(owner.clone(), entry.at_ms);
        self.put_line(name, line);
    }

    fn take(&mut self, owner: &UserName, name: &EntryName) -> Option<Registered> {
        let of_owner = self.entries.get_mut(owner)?;
        let entry = of_owner.remove(name)?;
        if of_owner.is_empty() {
            self.entries.remove(owner);
        }
        self.count -= 1;
        if let Some(mut line) = self.take_line(name, &entry.content) {
            line.owners.remove(owner);
            self.put_line(name, line);
        }
        Some(entry)
    }

    fn take_line(&mut self, name: &EntryName, content: &Content) -> Option<Line> {
        let first_owner = self.first_owners.remove(&(name.clone(), *content))?;
        self.lines.remove(&LineKey { name: name.clone(), first_owner })
    }

    /// Puts a line where it belongs; one without owners is gone.
    fn put_line(&mut self, name: &EntryName, line: Line) {
        if let Some(first_owner) = line.owners.keys().next().cloned() {
            self.first_owners.insert((name.clone(), line.content), first_owner.clone());
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

    fn entry(byte: u8) -> Registered {
        Registered { content: Content::File(FileId::new(1, Hash([byte; 32])).unwrap()), at_ms: u64::from(byte) }
    }

    #[test]
    fn the_same_name_and_file_is_one_line() {
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
        let (key, line) = catalogue.line(&name("x"), &entry(1).content).unwrap();
        assert_eq!((key.first_owner.clone(), line.owners.len()), (user("b"), 1));
        catalogue.set(&user("b"), &name("x"), None);
        assert!(catalogue.line(&name("x"), &entry(1).content).is_none());
        assert_eq!((catalogue.len(), catalogue.lines().len(), catalogue.first_owners.len()), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn lines_and_entries_always_agree(
            steps in proptest::collection::vec((0usize..3, 0usize..3, proptest::option::of(1u8..3)), 0..40),
        ) {
            let (owners, names) = (["a", "b", "c"].map(user), ["x", "y", "z"].map(name));
            let mut catalogue = Catalogue::default();
            let mut model: BTreeMap<(EntryName, UserName), Registered> = BTreeMap::new();
            for (owner, name, file) in steps {
                let (owner, name, new) = (&owners[owner], &names[name], file.map(entry));
                let key = (name.clone(), owner.clone());
                let before = match new {
                    Some(new) => model.insert(key, new),
                    None => model.remove(&key),
                };
                prop_assert_eq!(catalogue.set(owner, name, new), before);
            }
            let mut seen = 0;
            for (key, line) in catalogue.lines() {
                prop_assert_eq!(line.owners.keys().next(), Some(&key.first_owner));
                for owner in line.owners.keys() {
                    prop_assert_eq!(model.get(&(key.name.clone(), owner.clone())).map(|e| e.content), Some(line.content));
                    seen += 1;
                }
            }
            prop_assert_eq!((seen, catalogue.len()), (model.len(), model.len()));
            prop_assert_eq!(catalogue.first_owners.len(), catalogue.lines().len());
        }
    }
}
