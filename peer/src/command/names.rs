//! Names seen: entries and users that were heard of, for completion at a prompt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::wire::tracker::{Entry, User};
use tokio::sync::Notify;

/// More names than this are of no use at a prompt.
const MOST: usize = 10_000;

/// What was heard of so far.
#[derive(Debug, Default)]
pub(crate) struct SeenNames {
    state: Mutex<State>,
    /// Somebody looks for names: now would be a good time to ask for them.
    pub(crate) wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Owners by name.
    entries: BTreeMap<String, BTreeSet<String>>,
    users: BTreeSet<String>,
}

impl SeenNames {
    /// These entries are there.
    pub(super) fn on_entries(&self, entries: &[Entry]) {
        let mut state = self.state();
        for entry in entries {
            if state.entries.len() >= MOST && !state.entries.contains_key(&entry.name) {
                continue;
            }
            state.entries.entry(entry.name.clone()).or_default().extend(entry.owners.iter().take(MOST).cloned());
        }
    }

    /// These entries, and no others, are there.
    pub(super) fn on_all_entries(&self, entries: &[Entry]) {
        self.state().entries.clear();
        self.on_entries(entries);
    }

    /// These users, and no others, are online.
    pub(super) fn on_users(&self, users: &[User]) {
        self.state().users = users.iter().take(MOST).map(|user| user.name.clone()).collect();
    }

    /// An entry is gone.
    pub(super) fn on_gone(&self, owner: &str, name: &str) {
        let mut state = self.state();
        let no_owner_left = state.entries.get_mut(name).is_some_and(|owners| owners.remove(owner) && owners.is_empty());
        if no_owner_left {
            state.entries.remove(name);
        }
    }

    /// All entries, in order: `name`, and `owner/name` for each owner where there are several.
    pub(crate) fn entries(&self) -> Vec<String> {
        self.wanted.notify_one();
        let state = self.state();
        let mut names = Vec::new();
        for (name, owners) in &state.entries {
            names.push(name.clone());
            if owners.len() > 1 {
                names.extend(owners.iter().map(|owner| format!("{owner}/{name}")));
            }
        }
        names.sort();
        names
    }

    /// All users, in order.
    pub(crate) fn users(&self) -> Vec<String> {
        self.wanted.notify_one();
        self.state().users.iter().cloned().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker_client::tests::entry;

    #[test]
    fn owners_are_named_where_there_are_several() {
        let names = SeenNames::default();
        names.on_entries(&[entry("bob", "x"), entry("ann", "x"), entry("ann", "a")]);
        assert_eq!(names.entries(), ["a", "ann/x", "bob/x", "x"]);
        names.on_gone("bob", "x");
        names.on_gone("ann", "a");
        assert_eq!(names.entries(), ["x"]);
        names.on_all_entries(&[entry("ann", "new")]);
        assert_eq!(names.entries(), ["new"]);
    }
}
