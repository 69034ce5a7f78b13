//! Registering: from a file on disk to an entry in the catalogue that this peer serves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::id::Content;
use common::name::{EntryName, EntryRef};
use common::wire::tracker::{Reply, Request};
use tokio::sync::mpsc;

use super::parts::{Parts, absolute};
use super::{Failure, FailureKind, Outcome, Update, failure};
use crate::engine::Shared;
use crate::hashing::{Digests, HashError, open_regular};
use crate::library::{EntryShare, Item};
use crate::storage::Looks;

/// Hashes a file, unless that was done before and it has not changed, registers it under its own name, and shares it.
pub(super) async fn register(
    parts: &Arc<Parts>,
    path: PathBuf,
    users: Option<Vec<String>>,
    updates: &mpsc::Sender<Update>,
) -> Result<Outcome, Failure> {
    absolute(&path)?;
    check_readable(&path).await?;
    let name = failure::entry_name(&path)?;
    // Better to hear of a tracker that is not there before a long hashing than after it.
    parts.tracker.connected().await?;
    let shared = hashed(parts, &path, &name, updates).await?;
    let all = Arc::clone(parts);
    parts.to_the_end("register", async move { enter(&all, name, shared, users).await }).await
}

/// Says what is wrong with the file before anything else: its name comes second.
async fn check_readable(path: &Path) -> Result<(), Failure> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || open_regular(&path).map(drop)).await;
    Ok(opened.unwrap_or(Err(HashError::Cancelled))?)
}

/// What the engine needs to serve the file.
async fn hashed(
    parts: &Parts,
    path: &Path,
    name: &EntryName,
    updates: &mpsc::Sender<Update>,
) -> Result<Shared, Failure> {
    let network = parts.network()?;
    let key = path.to_owned();
    if let Some((_, shared)) = parts.with_library(move |library| library.at_path(network, &key)).await {
        return Ok(shared);
    }
    let hashed = parts.hashers.hash(path, name.to_string(), Digests::Chunks, updates).await?;
    let content = Content::File(hashed.hashes.file_id());
    let (looks, hashes) = (Looks::File(hashed.stamp), Arc::new(hashed.hashes));
    Ok(Shared { content, path: path.to_owned(), looks, hashes, audiences: BTreeSet::new() })
}

/// Puts the file into the catalogue, and shares it.
async fn enter(parts: &Parts, name: EntryName, shared: Shared, users: Option<Vec<String>>) -> Result<Outcome, Failure> {
    let network = parts.network()?;
    let (content, path) = (shared.content, shared.path.clone());
    let request = Request::Register { name: name.to_string(), content, folder: None, users };
    let Reply::Registered { entry, version, already, audience } = parts.tracker.request(request).await? else {
        return Err(failure::odd_answer());
    };
    let full = own_entry(&entry, &name)?;
    let entries = BTreeMap::from([(full.clone(), EntryShare { version, audience: audience.clone() })]);
    let (offers, looks) = (BTreeSet::new(), shared.looks.clone());
    parts.share(Item { network, content, path: path.clone(), entries, offers, looks }, shared).await;
    parts.save_library().await;
    let (entry, name) = (full.to_string(), name.to_string());
    Ok(Outcome::Registered { entry, name, file: content, folder: None, version, path, already, audience })
}

/// What the tracker calls the entry: `owner/name`, and the name is the one asked for.
fn own_entry(entry: &str, name: &EntryName) -> Result<EntryRef, Failure> {
    match entry.parse::<EntryRef>() {
        Ok(full) if full.owner.is_some() && full.name == *name => Ok(full),
        _ => Err(Failure::new(FailureKind::Failed, "the tracker registered something else than was asked for")),
    }
}
