//! What is here already: before anything is fetched, where the file is to go, and whether it lies there or elsewhere.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use common::id::{Content, Hash, NetworkId};
use common::manifest::EntryKind;
use common::name::EntryName;
use tokio::sync::mpsc;

use super::parts::{Parts, off_reactor};
use super::{Failure, FailureKind, Update};
use crate::engine::Shared;
use crate::hashing::{Digests, HashError};
use crate::storage::{Looks, Placing, Stamp, place, place_over, sync_parent};

/// Where the wanted file is already.
#[derive(Debug)]
pub(super) enum Here {
    /// It is shared from there.
    Listed(Shared),
    /// It lies where it is to go, but nobody knew that it is this file.
    Unlisted(Shared),
    /// It was copied from where it is shared to where it is to go.
    Copied(Shared),
}

impl Here {
    /// What is needed to serve it.
    pub(super) const fn shared(&self) -> &Shared {
        match self {
            Self::Listed(shared) | Self::Unlisted(shared) | Self::Copied(shared) => shared,
        }
    }

    /// What is needed to serve it.
    pub(super) fn into_shared(self) -> Shared {
        match self {
            Self::Listed(shared) | Self::Unlisted(shared) | Self::Copied(shared) => shared,
        }
    }
}

/// Where the complete file is to go: into `seeding`, or where the user says, into it where that is a directory.
pub(super) async fn target(seeding: &Path, name: &EntryName, output: Option<&Path>) -> Result<PathBuf, Failure> {
    let Some(output) = output else { return Ok(seeding.join(name.as_str())) };
    let (output, name) = (output.to_owned(), name.clone());
    off_reactor(move || {
        if output.is_dir() {
            return Ok(output.join(name.as_str()));
        }
        match output.parent() {
            Some(parent) if parent.is_dir() && !ends_like_a_directory(&output) => Ok(output),
            Some(parent) if parent.is_dir() => Err(no_directory(&output)),
            Some(parent) => Err(no_directory(parent)),
            None => Err(no_directory(&output)),
        }
    })
    .await
}

fn ends_like_a_directory(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

fn no_directory(path: &Path) -> Failure {
    Failure::new(FailureKind::Failed, format!("there is no directory {}", path.display())).with_hint("make it first")
}

/// Looks for a file: where it is to go, or, where the user did not say that, anywhere in the library. What is shared from
/// elsewhere is copied to where the user wants it.
pub(super) async fn find(
    parts: &Parts,
    network: NetworkId,
    file: &Content,
    target: &Path,
    place: Wanted,
    updates: &mpsc::Sender<Update>,
) -> Result<Option<Here>, Failure> {
    let wanted = *file;
    let listed =
        parts.with_library(move |library| library.of_content(network, &wanted)).await.map(|(_, shared)| shared);
    match (listed, place) {
        (Some(shared), Wanted::Anywhere) => Ok(Some(Here::Listed(shared))),
        (Some(shared), Wanted::There) if shared.path == target => Ok(Some(Here::Listed(shared))),
        (listed, _) => {
            if let Some(shared) = at_target(parts, file, target, updates).await {
                return Ok(Some(Here::Unlisted(shared)));
            }
            match listed {
                Some(shared) => copy(parts, &shared, target, &Placing::Beside, updates).await.map(Some),
                None => Ok(None),
            }
        }
    }
}

/// Whether the user said where the file is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Anywhere,
    There,
}

/// What lies at the target, if it is this content. What cannot be read is not.
pub(super) async fn at_target(
    parts: &Parts,
    content: &Content,
    target: &Path,
    updates: &mpsc::Sender<Update>,
) -> Option<Shared> {
    let path = target.to_owned();
    let metadata = off_reactor(move || std::fs::metadata(path)).await.ok()?;
    let may_be = match content {
        Content::File(file) => metadata.is_file() && metadata.len() == file.length(),
        Content::Folder(_) => metadata.is_dir(),
    };
    if !may_be {
        return None;
    }
    shared_at(parts, content, target, updates).await.ok().flatten()
}

/// Hashes what is at a path, and gives what is needed to serve it if it is this content.
pub(super) async fn shared_at(
    parts: &Parts,
    content: &Content,
    path: &Path,
    updates: &mpsc::Sender<Update>,
) -> Result<Option<Shared>, HashError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (found, looks, insides) = match content {
        Content::File(_) => {
            let hashed = parts.hashers.hash(path, name, Digests::Chunks, updates).await?;
            (Some(Content::File(hashed.hashes.file_id())), Looks::File(hashed.stamp), hashed.hashes.into())
        }
        Content::Folder(_) => {
            let hashed = parts.hashers.hash_folder(path, name, None, updates).await?;
            (hashed.insides.folder_id().map(Content::Folder), hashed.looks, hashed.insides)
        }
    };
    let is_same = found == Some(*content);
    let (path, audiences) = (path.to_owned(), BTreeSet::new());
    Ok(is_same.then_some(Shared { content: *content, path, looks, insides, audiences }))
}

/// Copies what is shared to the target, as `placing` says. The copy is hashed before it gets its name.
pub(super) async fn copy(
    parts: &Parts,
    from: &Shared,
    target: &Path,
    placing: &Placing,
    updates: &mpsc::Sender<Update>,
) -> Result<Here, Failure> {
    let failed = |error: io::Error| {
        Failure::new(FailureKind::Failed, format!("could not copy it to {}: {error}", target.display()))
    };
    let guard = RemoveOnDrop(beside(target));
    let (source, to) = (from.clone(), guard.0.clone());
    off_reactor(move || copy_all(&source, &to)).await.map_err(failed)?;
    let Some(copied) = shared_at(parts, &from.content, &guard.0, updates).await? else {
        let text = format!("{} is no longer what was registered", from.path.display());
        return Err(Failure::new(FailureKind::Failed, text));
    };
    let (target_path, placing) = (target.to_owned(), placing.clone());
    let (path, copied, looks) = off_reactor(move || {
        let path = match give_name(&guard.0, &target_path, &placing) {
            Ok(path) => path,
            Err(error) => {
                // What was to be replaced may have this name now.
                std::mem::forget(guard);
                return Err(error);
            }
        };
        sync_parent(&path)?;
        let looks = looks_now(&copied, &path)?;
        Ok((path, copied, looks))
    })
    .await
    .map_err(failed)?;
    Ok(Here::Copied(Shared { path, looks, ..copied }))
}

/// Moves a complete copy to its name; says where it is then.
fn give_name(from: &Path, target: &Path, placing: &Placing) -> io::Result<PathBuf> {
    match placing {
        Placing::Over { looks, otherwise } => Ok(place_over(from, target, looks, otherwise, |_| Ok(()))?.path),
        Placing::Beside => place(from, target, |_| Ok(())),
    }
}

/// A hidden name in the target's directory that nobody else has.
fn beside(target: &Path) -> PathBuf {
    let mut random = [0; 32];
    // Without randomness a name that exists is an error, and nothing is overwritten.
    let _filled = aws_lc_rs::rand::fill(&mut random);
    target.with_file_name(format!(".shoal-copy-{}", Hash(random)))
}

/// How a copy looks under its final name: a rename changes that.
fn looks_now(copied: &Shared, path: &Path) -> io::Result<Looks> {
    match copied.insides.manifest() {
        None => Ok(Looks::File(Stamp::of(&std::fs::metadata(path)?))),
        Some(manifest) => Looks::of_folder(path, manifest.entries().iter()),
    }
}

/// Copies a file, or a folder with what is shared of it.
fn copy_all(from: &Shared, to: &Path) -> io::Result<()> {
    let Some(manifest) = from.insides.manifest() else { return copy_bytes(&from.path, to) };
    std::fs::create_dir(to)?;
    for entry in manifest.entries() {
        let target = to.join(&entry.path);
        match entry.kind {
            EntryKind::EmptyDirectory => std::fs::create_dir_all(&target)?,
            EntryKind::File(_) => {
                std::fs::create_dir_all(target.parent().unwrap_or(to))?;
                copy_bytes(&from.path.join(&entry.path), &target)?;
                std::fs::set_permissions(&target, Permissions::from_mode(entry.mode.into()))?;
            }
        }
    }
    Ok(())
}

fn copy_bytes(from: &Path, to: &Path) -> io::Result<()> {
    /// As a new file is made by anybody; the umask takes from it.
    const ANYBODY: u32 = 0o666;
    let mut from = File::open(from)?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(ANYBODY).open(to)?;
    // The kernel copies, without the bytes coming here, where the file system can.
    io::copy(&mut from, &mut to)?;
    to.sync_all()
}

/// Removes what did not get its name.
struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // Once it has its name there is nothing here any more.
        drop(std::fs::remove_file(&self.0).or_else(|_error| std::fs::remove_dir_all(&self.0)));
    }
}
