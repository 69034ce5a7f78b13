//! What is here already: before anything is fetched, where the file is to go, and whether it lies there or elsewhere.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use common::id::{Content, Hash, NetworkId};
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

/// The file at the target, if it is this one. What cannot be read is not.
async fn at_target(parts: &Parts, file: &Content, target: &Path, updates: &mpsc::Sender<Update>) -> Option<Shared> {
    let path = target.to_owned();
    let metadata = off_reactor(move || std::fs::metadata(path)).await.ok()?;
    if !metadata.is_file() || metadata.len() != file.file_or_manifest().length() {
        return None;
    }
    shared_at(parts, file, target, updates).await.ok().flatten()
}

/// Hashes what is at a path, and gives what is needed to serve it if it is this file.
pub(super) async fn shared_at(
    parts: &Parts,
    file: &Content,
    path: &Path,
    updates: &mpsc::Sender<Update>,
) -> Result<Option<Shared>, HashError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let hashed = parts.hashers.hash(path, name, Digests::Chunks, updates).await?;
    let same = Content::File(hashed.hashes.file_id()) == *file;
    let insides = hashed.hashes.into();
    let (looks, audiences) = (Looks::File(hashed.stamp), BTreeSet::new());
    Ok(same.then(|| Shared { content: *file, path: path.to_owned(), looks, insides, audiences }))
}

/// Copies a shared file to the target, as `placing` says. The copy is hashed before it gets its name.
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
    let (source, to) = (from.path.clone(), guard.0.clone());
    off_reactor(move || copy_bytes(&source, &to)).await.map_err(failed)?;
    let Some(copied) = shared_at(parts, &from.content, &guard.0, updates).await? else {
        let text = format!("{} is no longer what was registered", from.path.display());
        return Err(Failure::new(FailureKind::Failed, text));
    };
    let (target_path, placing) = (target.to_owned(), placing.clone());
    let (path, looks) = off_reactor(move || {
        let path = match give_name(&guard.0, &target_path, &placing) {
            Ok(path) => path,
            Err(error) => {
                // What was to be replaced may have this name now.
                std::mem::forget(guard);
                return Err(error);
            }
        };
        sync_parent(&path)?;
        let looks = Looks::File(Stamp::of(&std::fs::metadata(&path)?));
        Ok((path, looks))
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

fn copy_bytes(from: &Path, to: &Path) -> io::Result<()> {
    /// As a new file is made by anybody; the umask takes from it.
    const ANYBODY: u32 = 0o666;
    let mut from = File::open(from)?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(ANYBODY).open(to)?;
    // The kernel copies, without the bytes coming here, where the file system can.
    io::copy(&mut from, &mut to)?;
    to.sync_all()
}

/// Removes a file that did not get its name.
struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // Once it has its name there is nothing here any more.
        drop(std::fs::remove_file(&self.0));
    }
}
