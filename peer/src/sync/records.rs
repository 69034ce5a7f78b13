//! Records of what is followed, watched and accepted, over restarts. Everything here blocks for the disk but what says
//! otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::audience::OfferId;
use common::id::{Content, NetworkId};
use common::name::EntryRef;
use serde::{Deserialize, Serialize};

use crate::dir::{StateError, load_state, put_aside, save_state};
use crate::library::path_text;
use crate::storage::Looks;

/// The file's format; one that is newer is not touched.
const SCHEMA: u32 = 1;
/// No records have more bytes: a thousand followed folders of ten thousand files are less.
const MAX_BYTES: u64 = 1 << 30;

/// An entry that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Followed {
    pub(crate) network: NetworkId,
    /// With its owner.
    pub(crate) entry: EntryRef,
    /// Where the copy is to lie.
    #[serde(with = "path_text")]
    pub(crate) home: PathBuf,
    /// `None` while nothing of it is here yet.
    pub(crate) copy: Option<LocalCopy>,
    /// The tracker does not have it any more, or not for this user, and that was told.
    #[serde(default)]
    pub(crate) gone: bool,
}

/// What is here of a followed entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LocalCopy {
    pub(crate) version: u32,
    pub(crate) content: Content,
    /// Where it lies: at home, or beside what was edited there.
    #[serde(with = "path_text")]
    pub(crate) path: PathBuf,
    /// What it looked like when it was put there; what looks otherwise was edited here.
    pub(crate) looks: Looks,
    pub(crate) origin: Origin,
}

/// Why a copy lies where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Origin {
    /// It was downloaded, and may be replaced.
    Brought,
    /// It lay there for another reason (an own file with the same bytes, say) and is never touched.
    Lent,
}

/// All records. Changes are in memory at once, and last after [`Self::save`].
#[derive(Debug)]
pub(crate) struct Records {
    path: PathBuf,
    state: Mutex<State>,
    /// Which change was saved last; held while saving, so that the newest is the last.
    saved: Mutex<u64>,
}

#[derive(Debug, Default)]
struct State {
    followed: BTreeMap<(NetworkId, EntryRef), Followed>,
    watched: BTreeSet<(NetworkId, PathBuf)>,
    accepted: BTreeSet<(NetworkId, OfferId)>,
    /// Goes up with every change.
    changes: u64,
}

/// What is on the disk.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    followed: Vec<Followed>,
    #[serde(default)]
    watched: Vec<Watched>,
    #[serde(default)]
    accepted: Vec<(NetworkId, OfferId)>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Watched {
    network: NetworkId,
    #[serde(with = "path_text")]
    path: PathBuf,
}

impl Records {
    /// Reads what an earlier run saved. Damaged records are put aside, which the text tells; those of a newer program are
    /// an error.
    pub(crate) fn load(path: &Path) -> Result<(Self, Option<String>), StateError> {
        let (stored, warning) = match load_state::<Stored>(path, SCHEMA, MAX_BYTES) {
            Ok(stored) => (stored.unwrap_or_default(), None),
            Err(StateError::Damaged(error)) => {
                let aside = put_aside(path)?;
                let text = format!(
                    "The list of what is followed and watched was damaged ({error}). It is kept as {}; what is to be \
                     followed or watched is to be named again with `sub` and `watch`",
                    aside.display()
                );
                (Stored::default(), Some(text))
            }
            Err(error) => return Err(error),
        };
        let followed = stored.followed.into_iter().map(|one| ((one.network, one.entry.clone()), one)).collect();
        let watched = stored.watched.into_iter().map(|one| (one.network, one.path)).collect();
        let accepted = stored.accepted.into_iter().collect();
        let state = Mutex::new(State { followed, watched, accepted, changes: 0 });
        Ok((Self { path: path.to_owned(), state, saved: Mutex::new(0) }, warning))
    }

    /// What is followed in a network, in the order of names. Does not block.
    pub(crate) fn followed(&self, network: NetworkId) -> Vec<Followed> {
        self.state().followed.values().filter(|one| one.network == network).cloned().collect()
    }

    /// The record of an entry, `owner/name`. Does not block.
    pub(crate) fn find(&self, network: NetworkId, entry: &EntryRef) -> Option<Followed> {
        self.state().followed.get(&(network, entry.clone())).cloned()
    }

    /// Those that a user may mean by this: of this name, and of this owner where one is named. Does not block.
    pub(crate) fn named(&self, network: NetworkId, entry: &EntryRef) -> Vec<Followed> {
        let is_meant =
            |one: &Followed| one.entry.name == entry.name && (entry.owner.is_none() || one.entry.owner == entry.owner);
        self.followed(network).into_iter().filter(is_meant).collect()
    }

    /// An entry is followed, or its record has changed. Does not block.
    pub(crate) fn follow(&self, followed: Followed) {
        let mut state = self.state();
        state.changes += 1;
        state.followed.insert((followed.network, followed.entry.clone()), followed);
    }

    /// Changes a record, if there is one; gives it as it is then. Does not block.
    pub(crate) fn change(
        &self,
        network: NetworkId,
        entry: &EntryRef,
        change: impl FnOnce(&mut Followed),
    ) -> Option<Followed> {
        let mut state = self.state();
        state.changes += 1;
        let followed = state.followed.get_mut(&(network, entry.clone()))?;
        change(followed);
        Some(followed.clone())
    }

    /// An entry is followed no more. Does not block.
    pub(crate) fn unfollow(&self, network: NetworkId, entry: &EntryRef) -> Option<Followed> {
        let mut state = self.state();
        state.changes += 1;
        state.followed.remove(&(network, entry.clone()))
    }

    /// What is watched in a network, in order. Does not block.
    pub(crate) fn watched(&self, network: NetworkId) -> Vec<PathBuf> {
        self.state().watched.iter().filter(|(of, _)| *of == network).map(|(_, path)| path.clone()).collect()
    }

    /// Something is watched. Does not block.
    pub(crate) fn watch(&self, network: NetworkId, path: PathBuf) {
        let mut state = self.state();
        state.changes += 1;
        state.watched.insert((network, path));
    }

    /// Something is watched no more; says whether it was. Does not block.
    pub(crate) fn unwatch(&self, network: NetworkId, path: &Path) -> bool {
        let mut state = self.state();
        state.changes += 1;
        state.watched.remove(&(network, path.to_owned()))
    }

    /// Offers that this device accepted and does not have yet. Does not block.
    pub(crate) fn accepted(&self, network: NetworkId) -> BTreeSet<OfferId> {
        self.state().accepted.iter().filter(|(of, _)| *of == network).map(|(_, offer)| *offer).collect()
    }

    /// This device accepted an offer. Does not block.
    pub(crate) fn accept(&self, network: NetworkId, offer: OfferId) {
        let mut state = self.state();
        state.changes += 1;
        state.accepted.insert((network, offer));
    }

    /// An accepted offer is here, or is not to be had any more. Does not block.
    pub(crate) fn settle(&self, network: NetworkId, offer: OfferId) {
        let mut state = self.state();
        state.changes += 1;
        state.accepted.remove(&(network, offer));
    }

    /// Puts all changes made before the call on the disk. Calls at the same time share one writing.
    pub(crate) fn save(&self) -> io::Result<()> {
        let wanted = self.state().changes;
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if *saved >= wanted {
            return Ok(());
        }
        // The second lock is held for the copy only, and whoever holds it never asks for the first.
        let (changes, stored) = {
            let state = self.state();
            let watched = state.watched.iter().map(|(network, path)| Watched { network: *network, path: path.clone() });
            let stored = Stored {
                followed: state.followed.values().cloned().collect(),
                watched: watched.collect(),
                accepted: state.accepted.iter().copied().collect(),
            };
            (state.changes, stored)
        };
        save_state(&self.path, SCHEMA, &stored)?;
        *saved = changes;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Stamp;
    use common::id::{FileId, Hash};

    fn network(number: u8) -> NetworkId {
        NetworkId([number; 32])
    }

    fn followed(entry: &str, here: bool) -> Followed {
        let looks = Looks::File(Stamp { size: 1, mtime_ns: -2, ctime_ns: 3, inode: 4, device: 5 });
        let content = FileId::new(1, Hash([1; 32])).unwrap().into();
        let copy =
            here.then(|| LocalCopy { version: 2, content, path: "/h/x (v2)".into(), looks, origin: Origin::Brought });
        let entry = entry.parse().unwrap();
        Followed { network: network(1), entry, home: "/h/x".into(), copy, gone: false }
    }

    #[test]
    fn records_last_and_belong_to_their_network() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sync.json");
        let (records, warning) = Records::load(&path).unwrap();
        assert_eq!(warning, None);
        records.follow(followed("ann/x", true));
        records.follow(followed("bob/x", false));
        records.follow(Followed { network: network(2), ..followed("ann/y", false) });
        records.watch(network(1), "/w".into());
        records.accept(network(1), OfferId(7));
        records.save().unwrap();

        let (again, _) = Records::load(&path).unwrap();
        assert_eq!(again.followed(network(1)), [followed("ann/x", true), followed("bob/x", false)]);
        assert_eq!(again.named(network(1), &"x".parse().unwrap()).len(), 2);
        assert_eq!(again.named(network(1), &"bob/x".parse().unwrap()).len(), 1);
        assert_eq!(again.watched(network(1)), [PathBuf::from("/w")]);
        assert!(again.watched(network(2)).is_empty());
        assert_eq!(again.accepted(network(1)), BTreeSet::from([OfferId(7)]));
        again.settle(network(1), OfferId(7));
        assert!(again.unwatch(network(1), Path::new("/w")) && !again.unwatch(network(1), Path::new("/w")));
        again.unfollow(network(1), &"bob/x".parse().unwrap()).unwrap();
        again.save().unwrap();
        let (third, _) = Records::load(&path).unwrap();
        assert_eq!(third.followed(network(1)).len(), 1);
        assert!(third.accepted(network(1)).is_empty() && third.watched(network(1)).is_empty());
    }

    #[test]
    fn damaged_records_are_put_aside_and_newer_ones_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sync.json");
        std::fs::write(&path, "?").unwrap();
        let (records, warning) = Records::load(&path).unwrap();
        assert!(records.followed(network(1)).is_empty() && warning.unwrap().contains("sync.json.damaged"));
        std::fs::write(&path, r#"{"schema":2}"#).unwrap();
        assert!(matches!(Records::load(&path), Err(StateError::Newer(2))));
    }
}
