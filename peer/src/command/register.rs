//! Registering: from a file or folder on disk to an entry in the catalogue that this peer serves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::audience::Audience;
use common::id::{Content, NetworkId};
use common::name::{EntryName, EntryRef};
use common::wire::tracker::{FolderSize, Reply, Request};
use tokio::sync::mpsc;

use super::parts::{Parts, absolute};
use super::{Failure, FailureKind, Outcome, Update, failure};
use crate::engine::Shared;
use crate::hashing::{Digests, HashError, Known, open_regular};
use crate::library::{EntryShare, Item};
use crate::notice::Notice;
use crate::storage::Looks;
use crate::sync::Origin;

/// Hashes a file, unless that was done before and it has not changed, registers it under its own name, and shares it.
pub(super) async fn register(
    parts: &Arc<Parts>,
    path: PathBuf,
    users: Option<Vec<String>>,
    updates: &mpsc::Sender<Update>,
) -> Result<Outcome, Failure> {
    let Registered { entry, name, content, folder, version, path, already, audience } =
        enter(parts, path, users, updates).await?;
    let (entry, name) = (entry.to_string(), name.to_string());
    Ok(Outcome::Registered { entry, name, file: content, folder, version, path, already, audience })
}

/// What is in the catalogue now.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) entry: EntryRef,
    pub(super) name: EntryName,
    pub(super) content: Content,
    pub(super) folder: Option<FolderSize>,
    pub(super) version: u32,
    pub(super) path: PathBuf,
    pub(super) already: bool,
    pub(super) audience: Audience,
}

/// The same for whoever goes on with it.
pub(super) async fn enter(
    parts: &Arc<Parts>,
    path: PathBuf,
    users: Option<Vec<String>>,
    updates: &mpsc::Sender<Update>,
) -> Result<Registered, Failure> {
    absolute(&path)?;
    if let Some(users) = &users {
        users.iter().try_for_each(|user| failure::user_name(user).map(drop))?;
    }
    let readable = readable(parts, &path, updates).await?;
    let all = Arc::clone(parts);
    parts.to_the_end("register", async move { enter_readable(&all, readable, users).await }).await
}

/// Something on the disk that can be shared under its own name.
#[derive(Debug)]
pub(super) struct Readable {
    pub(super) name: EntryName,
    pub(super) shared: Shared,
    pub(super) folder: Option<FolderSize>,
}

/// Hashes a file, unless that was done before and it has not changed.
pub(super) async fn readable(parts: &Parts, path: &Path, updates: &mpsc::Sender<Update>) -> Result<Readable, Failure> {
    check_readable(path).await?;
    let name = failure::entry_name(path)?;
    // Better to hear of a tracker that is not there before a long hashing than after it.
    parts.tracker.connected().await?;
    let shared = hashed(parts, path, &name, updates).await?;
    let folder = folder_size(&shared.looks);
    Ok(Readable { name, shared, folder })
}

/// Says what is wrong with the file or folder before anything else: its name comes second.
async fn check_readable(path: &Path) -> Result<(), Failure> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || match std::fs::metadata(&path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        _ => open_regular(&path).map(drop),
    });
    Ok(opened.await.unwrap_or(Err(HashError::Cancelled))?)
}

/// What the engine needs to serve the file or folder.
async fn hashed(
    parts: &Parts,
    path: &Path,
    name: &EntryName,
    updates: &mpsc::Sender<Update>,
) -> Result<Shared, Failure> {
    let network = parts.network()?;
    let key = path.to_owned();
    if tokio::fs::metadata(path).await.is_ok_and(|metadata| metadata.is_dir()) {
        let known = parts.with_library(move |library| library.known_at(network, &key)).await;
        return hashed_folder(parts, path, name, known, updates).await;
    }
    if let Some((_, shared)) = parts.with_library(move |library| library.at_path(network, &key)).await {
        return Ok(shared);
    }
    let hashed = parts.hashers.hash(path, name.to_string(), Digests::Chunks, updates).await?;
    let content = Content::File(hashed.hashes.file_id());
    let (looks, insides) = (Looks::File(hashed.stamp), hashed.hashes.into());
    Ok(Shared { content, path: path.to_owned(), looks, insides, audiences: BTreeSet::new() })
}

/// A folder is looked through each time: something may have come into it.
async fn hashed_folder(
    parts: &Parts,
    path: &Path,
    name: &EntryName,
    known: Option<Known>,
    updates: &mpsc::Sender<Update>,
) -> Result<Shared, Failure> {
    let hashed = parts.hashers.hash_folder(path, name.to_string(), known, updates).await?;
    if hashed.left_out > 0 {
        let text = format!(
            "{} things in {} are not shared: links that lead out of it, pipes, sockets or devices",
            hashed.left_out,
            path.display()
        );
        tracing::info!(text);
        // Whoever asked is told, if it is there to hear it.
        drop(updates.try_send(Update::Notice(Notice::Warning { text })));
    }
    let content = Content::Folder(hashed.insides.folder_id().ok_or_else(failure::odd_answer)?);
    let (looks, insides) = (hashed.looks, hashed.insides);
    Ok(Shared { content, path: path.to_owned(), looks, insides, audiences: BTreeSet::new() })
}

fn folder_size(looks: &Looks) -> Option<FolderSize> {
    match looks {
        Looks::File(_) => None,
        Looks::Folder(files) => Some(FolderSize {
            files: u32::try_from(files.len()).unwrap_or(u32::MAX),
            bytes: files.values().map(|stamp| stamp.size).sum(),
        }),
    }
}

/// Puts it into the catalogue, and shares it.
async fn enter_readable(parts: &Parts, readable: Readable, users: Option<Vec<String>>) -> Result<Registered, Failure> {
    let Readable { name, shared, folder } = readable;
    let network = parts.network()?;
    let (content, path) = (shared.content, shared.path.clone());
    let request = Request::Register { name: name.to_string(), content, folder, users };
    let Reply::Registered { entry, version, already, audience } = parts.tracker.request(request).await? else {
        return Err(failure::odd_answer());
    };
    let entry = own_entry(&entry, &name)?;
    let entries = BTreeMap::from([(entry.clone(), EntryShare { version, audience: audience.clone() })]);
    let (offers, looks) = (BTreeSet::new(), shared.looks.clone());
    parts.share(Item { network, content, path: path.clone(), entries, offers, looks }, shared).await;
    // Older versions that lie elsewhere are for the same users.
    parts.set_audience(entry.clone(), audience.clone()).await;
    parts.save_library().await;
    lend(parts, network, &path).await;
    Ok(Registered { entry, name, content, folder, version, path, already, audience })
}

/// What its user registers is not replaced by a version of somebody else's, though it came from there.
async fn lend(parts: &Parts, network: NetworkId, path: &Path) {
    let lies_here = |copy: &crate::sync::LocalCopy| copy.path == path && copy.origin == Origin::Brought;
    let followed = parts.records.followed(network).into_iter();
    let mut any = false;
    for one in followed.filter(|one| one.copy.as_ref().is_some_and(lies_here)) {
        any = true;
        parts.records.change(network, &one.entry, |one| {
            if let Some(copy) = &mut one.copy {
                copy.origin = Origin::Lent;
            }
        });
    }
    if any {
        parts.save_records().await;
    }
}

/// What the tracker calls the entry: `owner/name`, and the name is the one asked for.
fn own_entry(entry: &str, name: &EntryName) -> Result<EntryRef, Failure> {
    match entry.parse::<EntryRef>() {
        Ok(full) if full.owner.is_some() && full.name == *name => Ok(full),
        _ => Err(Failure::new(FailureKind::Failed, "the tracker registered something else than was asked for")),
    }
}
