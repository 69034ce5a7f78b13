//! Hashing a file for the user's eyes: its id and its plain SHA-256.

use std::path::PathBuf;

use tokio::sync::mpsc;

use super::{Failure, Outcome, Update};
use crate::hashing::{Digests, Hashers};

/// File id and plain SHA-256 of a file, in one pass. Needs neither app nor tracker. Ends in [`Outcome::Hashed`].
pub async fn hash_file(path: PathBuf, updates: mpsc::Sender<Update>) -> Result<Outcome, Failure> {
    hash(&Hashers::default(), path, &updates).await
}

pub(super) async fn hash(hashers: &Hashers, path: PathBuf, updates: &mpsc::Sender<Update>) -> Result<Outcome, Failure> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let hashed = hashers.hash(&path, name, Digests::ChunksAndPlain, updates).await?;
    let file = hashed.hashes.file_id();
    let sha256 = hashed.plain.expect("plain SHA-256 was asked for");
    Ok(Outcome::Hashed { path, file, sha256 })
}
