//! State files: JSON objects with a schema number, read whole and replaced whole.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::replace::{read_limited, replace_file};

/// Why a state file cannot be used. It is left as it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// Not what this program writes.
    #[error("it makes no sense ({0})")]
    Damaged(serde_json::Error),
    /// Written by a newer program.
    #[error("it was written by a newer version of this program (format {0})")]
    Newer(u32),
    /// It cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
}

#[derive(Serialize, Deserialize)]
struct WithSchema<T> {
    schema: u32,
    #[serde(flatten)]
    content: T,
}

/// Reads the file; `None` where there is none. Blocks.
pub(crate) fn load<T: DeserializeOwned>(path: &Path, schema: u32, limit: u64) -> Result<Option<T>, StateError> {
    #[derive(Deserialize)]
    struct Schema {
        schema: u32,
    }
    let Some(bytes) = read_limited(path, limit)? else { return Ok(None) };
    // The number comes first: in a newer format everything else may be different.
    let found = serde_json::from_slice::<Schema>(&bytes).map_err(StateError::Damaged)?.schema;
    if found != schema {
        return Err(StateError::Newer(found));
    }
    Ok(Some(serde_json::from_slice(&bytes).map_err(StateError::Damaged)?))
}

/// Replaces the file. Blocks.
pub(crate) fn save<T: Serialize>(path: &Path, schema: u32, content: &T) -> io::Result<()> {
    replace_file(path, &serde_json::to_vec(&WithSchema { schema, content })?)
}
