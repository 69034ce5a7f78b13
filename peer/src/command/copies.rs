//! Copies: what lies here of what is followed, and whether it may be replaced. What is in doubt is not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::id::{Content, NetworkId};
use common::name::EntryRef;
use tokio::sync::mpsc;

use super::local::{self, Wanted};
use super::parts::{Parts, off_reactor};
use crate::engine::Shared;
use crate::library::Item;
use crate::storage::{Links, Looks, Placing, Root, Stamp};
use crate::sync::{Destination, Followed, Origin};

/// Where something that is shared comes from: what came by download, and for this entry only, may be replaced by its next
/// version. Outside of `seeding` that is known only where the user said just now that it is to be there.
pub(super) fn origin_of(parts: &Parts, item: &Item, entry: &EntryRef, wanted: Wanted) -> Origin {
    let is_own = entry.owner.as_ref().is_some_and(|owner| owner.as_str() == parts.user_name());
    let came = item.path.starts_with(parts.dir.seeding()) || (wanted == Wanted::There && !is_own);
    let for_it_only = item.offers.is_empty() && item.entries.keys().all(|other| other == entry);
    if came && for_it_only { Origin::Brought } else { Origin::Lent }
}

/// A copy that somebody wanted for another reason too, since it came, is not to be replaced. Others that are followed
/// are no such reason: they get theirs anew.
pub(super) fn lend_what_others_want(parts: &Parts, network: NetworkId, followed: Followed) -> Followed {
    let Some(copy) = followed.copy.as_ref().filter(|copy| copy.origin == Origin::Brought) else { return followed };
    let lies_there = |one: &Followed| one.copy.as_ref().is_some_and(|other| other.path == copy.path);
    let is_follower = |entry: &EntryRef| parts.records.find(network, entry).as_ref().is_some_and(lies_there);
    let item = parts.library.items(network).into_iter().find(|item| item.path == copy.path);
    let is_free = item.is_none_or(|item| item.offers.is_empty() && item.entries.keys().all(is_follower));
    if is_free {
        return followed;
    }
    let lend = |followed: &mut Followed| {
        if let Some(copy) = &mut followed.copy {
            copy.origin = Origin::Lent;
        }
    };
    parts.records.change(network, &followed.entry, lend).unwrap_or(followed)
}

/// A copy that looks otherwise than it did, but has the same bytes, was not edited: somebody touched or restored it.
pub(super) async fn look_again(parts: &Parts, followed: Followed) -> Followed {
    let Some(copy) = followed.copy.clone().filter(|copy| copy.origin == Origin::Brought) else { return followed };
    let (path, looks) = (copy.path.clone(), copy.looks.clone());
    let changed = off_reactor(move || looks.check(&path).is_err() && path.exists()).await;
    if !changed {
        return followed;
    }
    let (updates, _nobody) = mpsc::channel(1);
    let Ok(Some(shared)) = local::shared_at(parts, &copy.content, &copy.path, &updates).await else { return followed };
    let change = |followed: &mut Followed| {
        if let Some(copy) = &mut followed.copy {
            copy.looks = shared.looks;
        }
    };
    parts.records.change(followed.network, &followed.entry, change).unwrap_or(followed)
}

/// What lies already where a version is to go, if it is that version: a run that was killed before it could note so may
/// have put it there.
pub(super) async fn lies_there(parts: &Parts, content: &Content, destination: &Destination) -> Option<Shared> {
    let mut places = vec![destination.target.clone()];
    if let Placing::Over { looks, otherwise } = &destination.placing {
        let (looks, target) = (looks.clone(), destination.target.clone());
        if off_reactor(move || looks.check(&target).is_ok()).await {
            // It is the version before.
            return None;
        }
        places.push(otherwise.clone());
    }
    let (updates, _nobody) = mpsc::channel(1);
    for place in places {
        if let Some(shared) = local::at_target(parts, content, &place, &updates).await {
            return Some(shared);
        }
    }
    None
}

/// Removes what was brought if it still looks as it did, and nothing else: of a folder the files that are known, and
/// directories that are empty then. Links are not followed. Says whether nothing is left. Blocks.
pub(super) fn remove(path: &Path, looks: &Looks) -> bool {
    let files = match looks {
        Looks::File(stamp) => {
            let is_it = path.symlink_metadata().is_ok_and(|now| now.is_file() && Stamp::of(&now) == *stamp);
            return is_it && std::fs::remove_file(path).is_ok();
        }
        Looks::Folder(files) => files,
    };
    let Ok(root) = Root::open_own(path) else { return false };
    let mut directories = BTreeSet::new();
    for (file, stamp) in files {
        let found = root.read(file, Links::Refused).and_then(|found| found.metadata());
        if found.is_ok_and(|found| Stamp::of(&found) == *stamp) {
            drop(root.remove_file(file));
        }
        let above = Path::new(file).ancestors().skip(1).filter_map(Path::to_str).filter(|above| !above.is_empty());
        directories.extend(above.map(str::to_owned));
    }
    // The deepest first; one that is not empty stays.
    directories.iter().rev().for_each(|directory| drop(root.remove_directory(directory)));
    std::fs::remove_dir(path).is_ok()
}

/// What lies here and may have the same bytes as a version of an entry: other versions of it.
pub(super) async fn bases(parts: &Parts, network: NetworkId, entry: &EntryRef) -> Vec<PathBuf> {
    /// More of them are of no use.
    const MOST: usize = 4;
    let items = parts.library.items(network).into_iter().filter(|item| item.entries.contains_key(entry));
    let mut bases: Vec<PathBuf> = items.map(|item| item.path).collect();
    if let Some(followed) = parts.records.find(network, entry) {
        // First what is newest; an edited copy may still have most of its bytes.
        bases.insert(0, followed.home);
        bases.splice(0..0, followed.copy.map(|copy| copy.path));
    }
    let overtaken = parts.syncing.overtaken().get(entry).copied();
    let engine = parts.engine.clone();
    off_reactor(move || {
        bases.splice(0..0, overtaken.and_then(|content| engine.in_the_making(&content)));
        let mut seen: Vec<PathBuf> = Vec::new();
        for base in bases {
            if seen.len() < MOST && !seen.contains(&base) && base.exists() {
                seen.push(base);
            }
        }
        seen
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_not_followed_when_an_old_copy_is_removed() {
        use std::fs;
        let dir = tempfile::tempdir().unwrap();
        let (copy, away) = (dir.path().join("copy"), dir.path().join("away"));
        fs::create_dir_all(copy.join("deep")).unwrap();
        for path in ["a", "deep/b", "deep/own"] {
            fs::write(copy.join(path), path).unwrap();
        }
        let stamp = |path: &str| (path.to_owned(), Stamp::of(&fs::metadata(copy.join(path)).unwrap()));
        let looks = Looks::Folder([stamp("a"), stamp("deep/b")].into());
        // Its user has put it, or a part of it, elsewhere.
        fs::rename(copy.join("deep"), &away).unwrap();
        std::os::unix::fs::symlink(&away, copy.join("deep")).unwrap();
        assert!(!remove(&copy, &looks));
        assert_eq!(fs::read(away.join("b")).unwrap(), b"deep/b");
        fs::remove_file(copy.join("deep")).unwrap();
        fs::rename(&away, copy.join("deep")).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&copy, &link).unwrap();
        assert!(!remove(&link, &looks));
        assert!(copy.join("deep/b").exists());
        assert!(!remove(&copy, &looks), "something else is in it");
        assert!(copy.join("deep/own").exists() && !copy.join("deep/b").exists());
        fs::remove_file(copy.join("deep/own")).unwrap();
        assert!(remove(&copy, &looks) && !copy.exists());
    }
}
