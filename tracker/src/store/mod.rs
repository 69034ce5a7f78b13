//! The store: what outlives the tracker's process. It holds the tracker's key and all
//! that is durable of its state, as rows.
//!
//! Writes are absolute (they say what is there afterwards, not what changes), so that writing one twice does no harm.

mod redb;

use std::fmt;
use std::io;
use std::path::PathBuf;

pub(crate) use self::redb::RedbStore;
use crate::state::Write;

/// All that is kept.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The seed of the tracker's key.
    pub(crate) seed: [u8; 32],
    /// All that is durable, as the writes that make it.
    pub(crate) contents: Vec<Write>,
}

/// Keeps things durably. There is one user of it at a time, who waits for each call.
pub(crate) trait Store: Send + fmt::Debug {
    /// Everything that was committed.
    fn load(&mut self) -> Result<Stored, StoreError>;

    /// Writes all of `writes` in their order, or none: when this returns they outlive a crash. After an error nobody
    /// knows whether they were written; the caller writes again what it wants to be there, and that may succeed.
    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError>;
}

/// Why something could not be kept or found again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("{path} is in use by another tracker: stop that one, or give this one a directory of its own with --data")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// It is not readable or writable.
    #[error("cannot use {path} ({source}): give a directory that can be written with --data")]
    Directory {
        /// The directory or the database.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is one already where one was to be begun.
    #[error("there is a tracker's database already, {path}: give an empty directory with --data")]
    Exists {
        /// The database.
        path: PathBuf,
    },
    /// There is none where one was to be read.
    #[error("there is no tracker's database in {directory}: say with --data where the tracker keeps its data")]
    Missing {
        /// Where one was looked for.
        directory: PathBuf,
    },
    /// It was made by a later version.
    #[error("{path} was written by a newer tracker (its schema is {found}, this one knows {known}): use that version")]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema number.
        found: u32,
        /// The highest one known.
        known: u32,
    },
    /// It is not what was written.
    #[error("{path} is damaged ({what}): restore it from a copy, or move it away to begin anew with a new fingerprint")]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It could not be written.
    #[error("cannot write {path} ({what})")]
    Write {
        /// The database.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}
