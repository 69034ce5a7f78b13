//! The library: which complete files this peer shares, in which network, remembered over restarts.
//!
//! An item is a file at a path in one network. It counts only as long as the file system says of the file what it said
//! when it was hashed, its [`Looks`]; the chunk hashes are kept beside it, so that nothing is hashed twice. The list is in
//! one state file, the chunk hashes in a file for each file id. Everything here blocks for the disk.

mod layers;
pub(crate) mod path_text;
mod stored;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::audience::{Audience, OfferId};
use common::id::{Content, NetworkId};
use common::name::EntryRef;
use serde::{Deserialize, Serialize};

use self::layers::Layers;
use self::stored::Stored;
use crate::dir::{StateError, put_aside};
use crate::engine::Shared;
use crate::hashing::Known;
use crate::outline::Insides;
use crate::storage::Looks;

/// Something complete, a file or a folder, that is shared in one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Item {
    /// In which network, and nowhere else.
    pub(crate) network: NetworkId,
    /// What it is.
    pub(crate) content: Content,
    /// Where it lies; there is one item for each path and network.
    #[serde(with = "path_text")]
    pub(crate) path: PathBuf,
    /// As which entries, each with its owner, it was registered or downloaded.
    pub(crate) entries: BTreeMap<EntryRef, EntryShare>,
    /// On account of which offers it was sent or accepted.
    #[serde(default)]
    pub(crate) offers: BTreeSet<OfferId>,
    /// How it looked when it was hashed.
    pub(crate) looks: Looks,
}

/// How something is shared on account of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EntryShare {
    /// Which version of the entry it is, from 1.
    pub(crate) version: u32,
    /// For whom.
    pub(crate) audience: Audience,
}

impl Item {
    /// Under which audiences it is shared.
    pub(crate) fn audiences(&self) -> BTreeSet<Audience> {
        let entries = self.entries.values().map(|share| share.audience.clone());
        entries.chain(self.offers.iter().copied().map(Audience::Offer)).collect()
    }

    fn is_unused(&self) -> bool {
        self.entries.is_empty() && self.offers.is_empty()
    }
}

/// What is to be shared from now on under just these audiences; with none of them, not at all.
pub(crate) type Reshared = BTreeMap<Content, BTreeSet<Audience>>;

/// An item that is shared no more, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) path: PathBuf,
    pub(crate) content: Content,
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
    unsaved: BTreeMap<Content, Insides>,
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
            layers.remove_unused(&state.items.values().map(|item| item.content).collect())?;
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
        // What was dropped is no reason to share a copy of it.
        for one in &mut shared {
            one.audiences = self.audiences(network, &one.content);
        }
        (shared, dropped)
    }

    /// The engine withdrew something. The item that it served is dropped; where the same lies at another path as well, that
    /// one can be shared instead.
    pub(crate) fn on_withdrawn(&self, network: NetworkId, content: Content) -> (Option<Shared>, Vec<Dropped>) {
        let mut items: Vec<Item> = self.items(network).into_iter().filter(|item| item.content == content).collect();
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
        let audiences = self.audiences(network, &content);
        let instead = good.into_iter().next().map(|(_, one)| Shared { audiences, ..one });
        (instead, dropped)
    }

    /// Under which audiences something is to be shared in a network; none where it is not.
    pub(crate) fn audiences(&self, network: NetworkId, content: &Content) -> BTreeSet<Audience> {
        self.state().audiences(network, content)
    }

    /// Whether an item is what it was: what the engine needs to serve it, or a sentence.
    pub(crate) fn check(&self, item: &Item) -> Result<Shared, String> {
        item.looks.check(&item.path).map_err(|different| different.to_string())?;
        let insides = self.insides(&item.content).map_err(|error| format!("its chunk hashes are lost ({error})"))?;
        let audiences = self.audiences(item.network, &item.content);
        Ok(Shared { content: item.content, path: item.path.clone(), looks: item.looks.clone(), insides, audiences })
    }

    /// The insides of something that an item is.
    fn insides(&self, content: &Content) -> io::Result<Insides> {
        let unsaved = self.state().unsaved.get(content).cloned();
        unsaved.map_or_else(|| self.layers.load(content), Ok)
    }

    /// Adds an item; one at the same path in the same network is replaced, or gets the new names where it is the same.
    /// What it was before is returned, with the audiences that are left of it.
    pub(crate) fn add(&self, mut item: Item, insides: Insides) -> Reshared {
        let mut state = self.state();
        state.changes += 1;
        state.unsaved.insert(item.content, insides);
        state.cancelled.remove(&item.content);
        let (network, content, key) = (item.network, item.content, (item.network, item.path.clone()));
        let before = state.items.remove(&key).map(|before| {
            if before.content == item.content {
                let newer = std::mem::replace(&mut item.entries, before.entries);
                item.entries.extend(newer);
                item.offers.extend(before.offers);
            }
            before.content
        });
        state.items.insert(key, item);
        let others = before.into_iter().filter(|before| *before != content);
        others.map(|before| (before, state.audiences(network, &before))).collect()
    }

    /// Takes a name away from the items that have it; those without any name left are dropped. Gives what is shared for
    /// others now than it was.
    pub(crate) fn forget_entry(&self, network: NetworkId, entry: &EntryRef) -> Reshared {
        self.change_items(network, |item| item.entries.remove(entry).is_some())
    }

    /// The same for an offer.
    pub(crate) fn forget_offer(&self, network: NetworkId, offer: OfferId) -> Reshared {
        self.change_items(network, |item| item.offers.remove(&offer))
    }

    /// An entry that is for some only is not for this user any more. Gives what is shared for others now than it was.
    pub(crate) fn forget_restricted(&self, network: NetworkId, entry: &EntryRef) -> Reshared {
        self.change_items(network, |item| {
            let is_restricted = item.entries.get(entry).is_some_and(|share| !share.audience.is_public());
            is_restricted && item.entries.remove(entry).is_some()
        })
    }

    /// What lies at a path is shared no more. Gives what is shared for others now than it was.
    pub(crate) fn forget_path(&self, network: NetworkId, path: &Path) -> Reshared {
        let Some(item) = self.items(network).into_iter().find(|item| item.path == path) else {
            return Reshared::new();
        };
        let content = self.drop_item(item, String::new()).content;
        Reshared::from([(content, self.audiences(network, &content))])
    }

    /// An entry is for others now than it was. Gives what is shared for others now than it was.
    pub(crate) fn set_audience(&self, network: NetworkId, entry: &EntryRef, audience: &Audience) -> Reshared {
        self.change_items(network, |item| match item.entries.get_mut(entry) {
            Some(share) if share.audience != *audience => {
                share.audience = audience.clone();
                true
            }
            _ => false,
        })
    }

    /// Changes the items of a network for which `change` says that it did, and drops those that have no name any more.
    fn change_items(&self, network: NetworkId, mut change: impl FnMut(&mut Item) -> bool) -> Reshared {
        let (changed, unused) = {
            let mut state = self.state();
            let (mut changed, mut unused) = (BTreeSet::new(), Vec::new());
            for item in state.items.values_mut().filter(|item| item.network == network) {
                if change(item) {
                    changed.insert(item.content);
                    unused.extend(item.is_unused().then(|| item.clone()));
                }
            }
            state.changes += 1;
            (changed, unused)
        };
        for item in unused {
            self.drop_item(item, String::new());
        }
        let state = self.state();
        changed.into_iter().map(|content| (content, state.audiences(network, &content))).collect()
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

    /// What is known of the folder at a path, though it may not look the same any more.
    pub(crate) fn known_at(&self, network: NetworkId, path: &Path) -> Option<Known> {
        let item = {
            let state = self.state();
            let here = state.items.get(&(network, path.to_owned()));
            here.or_else(|| state.items.values().find(|item| item.path == path))?.clone()
        };
        let insides = self.insides(&item.content).ok()?;
        Some(Known { insides, looks: item.looks })
    }

    /// The first item of this content in this network that is what it was.
    pub(crate) fn of_content(&self, network: NetworkId, content: &Content) -> Option<(Item, Shared)> {
        let items = self.items(network).into_iter().filter(|item| item.content == *content);
        items.into_iter().find_map(|item| self.check(&item).ok().map(|shared| (item, shared)))
    }

    /// A download is not to go on by itself when the peer starts again, or is.
    pub(crate) fn set_resumption(&self, content: Content, resumption: Resumption) {
        let mut state = self.state();
        state.changes += 1;
        match resumption {
            Resumption::ByItself => state.cancelled.remove(&content),
            Resumption::WhenAsked => state.cancelled.insert(content),
        };
    }

    /// Whether a download goes on by itself when the peer starts again.
    pub(crate) fn resumption(&self, content: &Content) -> Resumption {
        if self.state().cancelled.contains(content) { Resumption::WhenAsked } else { Resumption::ByItself }
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
        for (content, insides) in &layers {
            self.layers.save(content, insides)?;
        }
        stored.save(&self.path)?;
        *saved = changes;
        // What was dropped and added again meanwhile is not saved.
        let is_saved =
            |content: &Content, insides: &Insides| layers.get(content).is_some_and(|saved| saved.is_same(insides));
        self.state().unsaved.retain(|content, insides| !is_saved(content, insides));
        Ok(())
    }

    fn drop_item(&self, item: Item, why: String) -> Dropped {
        let last = {
            let mut state = self.state();
            state.changes += 1;
            state.items.remove(&(item.network, item.path.clone()));
            let last = !state.items.values().any(|other| other.content == item.content);
            if last {
                state.unsaved.remove(&item.content);
            }
            last
        };
        if last {
            self.layers.remove(&item.content);
        }
        Dropped { path: item.path, content: item.content, why }
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
    /// Under which audiences this is shared, by all items of the network that are it; none where none is.
    fn audiences(&self, network: NetworkId, content: &Content) -> BTreeSet<Audience> {
        let same = self.items.values().filter(|item| item.network == network && item.content == *content);
        same.flat_map(Item::audiences).collect()
    }
}

#[cfg(test)]
mod tests;
