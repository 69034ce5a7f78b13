//! The library: which complete files this peer shares, in which network, remembered over restarts.
//!
//! An item is a file at a path in one network. It counts only as long as the file system says of the file what it said
//! when it was hashed, its [`Stamp`]; the chunk hashes are kept beside it, so that nothing is hashed twice. The list is in
//! one state file, the chunk hashes in a file for each file id. Everything here blocks for the disk.

mod layers;
mod path_text;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::id::{Content, NetworkId};
use common::merkle::ChunkHashes;
use common::name::EntryRef;
use serde::{Deserialize, Serialize};

use self::layers::Layers;
use self::stored::Stored;
use crate::dir::{StateError, put_aside};
use crate::engine::Shared;
use crate::storage::Stamp;

/// A complete file that is shared in one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    /// In which network, and nowhere else.
    pub(crate) network: NetworkId,
    /// What it is.
    pub(crate) file: Content,
    /// Where it lies; there is one item for each path and network.
    #[serde(with = "path_text")]
    pub(crate) path: PathBuf,
    /// Under which names, each with its owner, it was registered or downloaded.
    pub(crate) entries: BTreeSet<EntryRef>,
    /// What the file system said of it when it was hashed.
    pub(crate) stamp: Stamp,
}

/// An item that is shared no more, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) path: PathBuf,
    pub(crate) file: Content,
    /// A sentence.
    pub(crate) why: String,
}

/// All items, and the downloads that are not to go on by themselves. Methods may be called from anywhere; changes are in
/// memory at once, and last after [`Self::save`].
#[derive(Debug)]
pub(crate) struct Library {
    path: PathBuf,
    layers: Layers,
    state: Mutex<State>,
    /// Which change was saved last; held while saving, so that the newest is the last.
    saved: Mutex<u64>,
}

#[derive(Debug, Default)]
struct State {
    items: BTreeMap<(NetworkId, PathBuf), Item>,
    cancelled: BTreeSet<Content>,
    /// Chunk hashes that are not on the disk yet.
    unsaved: BTreeMap<Content, Arc<ChunkHashes>>,
    /// Goes up with every change.
    changes: u64,
}

impl Library {
    /// Reads what an earlier run saved. A damaged list is put aside, which the text tells; one of a newer program is an
    /// error.
    pub(crate) fn load(path: &Path, layers: &Path) -> Result<(Self, Option<String>), StateError> {
        let (stored, warning) = match Stored::load(path) {
            Ok(stored) => (stored, None),
            Err(StateError::Damaged(error)) => {
                let aside = put_aside(path)?;
                let text = format!(
                    "The list of shared files was damaged ({error}). It is kept as {}, and nothing is shared until it is \
                     registered again",
                    aside.display()
                );
                (Stored::default(), Some(text))
            }
            Err(error) => return Err(error),
        };
        let mut state = State::default();
        for item in stored.items {
            state.items.insert((item.network, item.path.clone()), item);
        }
        state.cancelled = stored.cancelled;
        let layers = Layers::new(layers);
        // With a damaged list nobody knows which of them are used.
        if warning.is_none() {
            layers.remove_unused(&state.items.values().map(|item| item.file).collect())?;
        }
        let library = Self { path: path.to_owned(), layers, state: Mutex::new(state), saved: Mutex::new(0) };
        Ok((library, warning))
    }

    /// Looks which items of a network are what they were; the others are dropped.
    pub(crate) fn restore(&self, network: NetworkId) -> (Vec<Shared>, Vec<Dropped>) {
        let (mut shared, mut dropped) = (Vec::new(), Vec::new());
        for item in self.items(network) {
            match self.check(&item) {
                Ok(one) => shared.push(one),
                Err(why) => dropped.push(self.drop_item(item, why)),
            }
        }
        (shared, dropped)
    }

    /// The engine withdrew a file. The item that it served is dropped; where the same file lies at another path as well,
    /// that one can be shared instead.
    pub(crate) fn on_withdrawn(&self, network: NetworkId, file: Content) -> (Option<Shared>, Vec<Dropped>) {
        let mut items: Vec<Item> = self.items(network).into_iter().filter(|item| item.file == file).collect();
        let mut dropped = Vec::new();
        let mut good = Vec::new();
        for item in items.drain(..) {
            match self.check(&item) {
                Ok(one) => good.push((item, one)),
                Err(why) => dropped.push(self.drop_item(item, why)),
            }
        }
        if dropped.is_empty() && !good.is_empty() {
            // The file system says nothing, but the bytes are not those of the file: the first was served.
            let (item, _) = good.remove(0);
            dropped.push(self.drop_item(item, "its bytes are not what they were".to_owned()));
        }
        (good.into_iter().next().map(|(_, one)| one), dropped)
    }

    /// Whether an item is what it was: what the engine needs to serve it, or a sentence.
    pub(crate) fn check(&self, item: &Item) -> Result<Shared, String> {
        check_stamp(&item.path, &item.stamp)?;
        let unsaved = self.state().unsaved.get(&item.file).cloned();
        let hashes = match unsaved {
            Some(hashes) => hashes,
            None => match self.layers.load(&item.file) {
                Ok(hashes) => Arc::new(hashes),
                Err(error) => return Err(format!("its chunk hashes are lost ({error})")),
            },
        };
        Ok(Shared { file: item.file, path: item.path.clone(), stamp: item.stamp, hashes })
    }

    /// Adds an item; one at the same path in the same network is replaced, or gets the new names where it is the same.
    /// The file that it was before is returned when no item names it any more.
    pub(crate) fn add(&self, mut item: Item, hashes: Arc<ChunkHashes>) -> Option<Content> {
        let mut state = self.state();
        state.changes += 1;
        state.unsaved.insert(item.file, hashes);
        state.cancelled.remove(&item.file);
        let (network, key) = (item.network, (item.network, item.path.clone()));
        let before = state.items.remove(&key).map(|before| {
            if before.file == item.file {
                item.entries.extend(before.entries);
            }
            before.file
        });
        state.items.insert(key, item);
        before.filter(|file| !state.names(network, file))
    }

    /// Takes a name away from the items that have it; those without any name left are dropped. Gives the files that no
    /// item of the network is any more.
    pub(crate) fn forget_entry(&self, network: NetworkId, entry: &EntryRef) -> BTreeSet<Content> {
        let nameless: Vec<Item> = {
            let mut state = self.state();
            let with_entry = state.items.values_mut().filter(|item| item.network == network);
            with_entry
                .filter_map(|item| (item.entries.remove(entry) && item.entries.is_empty()).then(|| item.clone()))
                .collect()
        };
        let files: BTreeSet<Content> = nameless.iter().map(|item| item.file).collect();
        for item in nameless {
            self.drop_item(item, String::new());
        }
        let mut state = self.state();
        state.changes += 1;
        files.into_iter().filter(|file| !state.names(network, file)).collect()
    }

    /// The items of a network, in the order of their paths.
    pub(crate) fn items(&self, network: NetworkId) -> Vec<Item> {
        self.state().items.values().filter(|item| item.network == network).cloned().collect()
    }

    /// The item at a path whose file is what it was, with its chunk hashes: of this network, or else of another.
    pub(crate) fn at_path(&self, network: NetworkId, path: &Path) -> Option<(Item, Shared)> {
        let mut found: Vec<Item> = self.state().items.values().filter(|item| item.path == path).cloned().collect();
        found.sort_by_key(|item| item.network != network);
        found.into_iter().find_map(|item| self.check(&item).ok().map(|shared| (item, shared)))
    }

    /// The first item of this file in this network that is what it was.
    pub(crate) fn of_file(&self, network: NetworkId, file: &Content) -> Option<(Item, Shared)> {
        let items = self.items(network).into_iter().filter(|item| item.file == *file);
        items.into_iter().find_map(|item| self.check(&item).ok().map(|shared| (item, shared)))
    }

    /// A download is not to go on by itself when the peer starts again, or is.
    pub(crate) fn set_resumption(&self, file: Content, resumption: Resumption) {
        let mut state = self.state();
        state.changes += 1;
        match resumption {
            Resumption::ByItself => state.cancelled.remove(&file),
            Resumption::WhenAsked => state.cancelled.insert(file),
        };
    }

    /// Whether a download goes on by itself when the peer starts again.
    pub(crate) fn resumption(&self, file: &Content) -> Resumption {
        if self.state().cancelled.contains(file) { Resumption::WhenAsked } else { Resumption::ByItself }
    }

    /// Puts all changes made before the call on the disk. Calls at the same time share one writing.
    pub(crate) fn save(&self) -> io::Result<()> {
        let wanted = self.state().changes;
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        if *saved >= wanted {
            return Ok(());
        }
        // The second lock is held for the copy only, and whoever holds it never asks for the first.
        let (changes, stored, layers) = {
            let state = self.state();
            let items = state.items.values().cloned().collect();
            (state.changes, Stored { items, cancelled: state.cancelled.clone() }, state.unsaved.clone())
        };
        for (file, hashes) in &layers {
            self.layers.save(file, hashes)?;
        }
        stored.save(&self.path)?;
        *saved = changes;
        // What was dropped and added again meanwhile is not saved.
        self.state().unsaved.retain(|file, hashes| !layers.get(file).is_some_and(|saved| Arc::ptr_eq(saved, hashes)));
        Ok(())
    }

    fn drop_item(&self, item: Item, why: String) -> Dropped {
        let last = {
            let mut state = self.state();
            state.changes += 1;
            state.items.remove(&(item.network, item.path.clone()));
            let last = !state.items.values().any(|other| other.file == item.file);
            if last {
                state.unsaved.remove(&item.file);
            }
            last
        };
        if last {
            self.layers.remove(&item.file);
        }
        Dropped { path: item.path, file: item.file, why }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an unfinished download goes on by itself when the peer starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumption {
    ByItself,
    /// It was cancelled by the user.
    WhenAsked,
}

impl State {
    /// Whether any item of the network is this file.
    fn names(&self, network: NetworkId, file: &Content) -> bool {
        self.items.values().any(|item| item.network == network && item.file == *file)
    }
}

/// Whether the file system says of a file what it said before; if not, a sentence.
fn check_stamp(path: &Path, stamp: &Stamp) -> Result<(), String> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "it is gone".to_owned(),
        _ => format!("it cannot be looked at ({error})"),
    })?;
    let now = Stamp::of(&metadata);
    if !metadata.is_file() {
        Err("it is no regular file any more".to_owned())
    } else if now.size != stamp.size {
        Err(format!("it has {} bytes now, and had {}", now.size, stamp.size))
    } else if now != *stamp {
        Err("it has changed since it was read".to_owned())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
