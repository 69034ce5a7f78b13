//! Hashing a file for the user's eyes: its id and its plain SHA-256; of a folder its id.

use std::path::PathBuf;

use common::id::Content;
use common::wire::tracker::FolderSize;
use tokio::sync::mpsc;

use super::{Failure, Outcome, Update};
use crate::hashing::{Digests, Hashers};

/// File id and plain SHA-256 of a file, in one pass, or the id of a folder. Needs neither app nor tracker. Ends in
/// [`Outcome::Hashed`] or [`Outcome::HashedFolder`].
pub async fn hash_file(path: PathBuf, updates: mpsc::Sender<Update>) -> Result<Outcome, Failure> {
    hash(&Hashers::default(), path, &updates).await
}

pub(super) async fn hash(hashers: &Hashers, path: PathBuf, updates: &mpsc::Sender<Update>) -> Result<Outcome, Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if tokio::fs::metadata(&path).await.is_ok_and(|metadata| metadata.is_dir()) {
        let hashed = hashers.hash_folder(&path, name, None, updates).await?;
        let manifest = hashed.insides.manifest().expect("a folder has a manifest");
        let (folder, size) = (Content::Folder(manifest.folder_id()), FolderSize::from(&**manifest));
        return Ok(Outcome::HashedFolder { path, folder, size });
    }
    let hashed = hashers.hash(&path, name, Digests::ChunksAndPlain, updates).await?;
    let file = hashed.hashes.file_id();
    let sha256 = hashed.plain.expect("plain SHA-256 was asked for");
    Ok(Outcome::Hashed { path, file, sha256 })
}
