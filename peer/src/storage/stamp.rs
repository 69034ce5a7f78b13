//! Stamps: what the file system says of a file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use serde::{Deserialize, Serialize};

/// What the file system says of a file; as long as it is the same, the bytes are taken for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// When the content changed, nanoseconds since 1970.
    pub mtime_ns: i128,
    /// When the inode changed, nanoseconds since 1970.
    pub ctime_ns: i128,
    /// The inode's number.
    pub inode: u64,
    /// The device it is on.
    pub device: u64,
}

impl Stamp {
    /// The stamp in this metadata.
    pub fn of(metadata: &Metadata) -> Self {
        const NS: i128 = 1_000_000_000;
        Self {
            size: metadata.size(),
            mtime_ns: i128::from(metadata.mtime()) * NS + i128::from(metadata.mtime_nsec()),
            ctime_ns: i128::from(metadata.ctime()) * NS + i128::from(metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }

    /// Whether this is the stamp of the same file with the same content after it was given another name, which changes
    /// [`Self::ctime_ns`] on most file systems.
    pub(crate) fn is_renamed(&self, before: &Self) -> bool {
        Self { ctime_ns: before.ctime_ns, ..*self } == *before
    }
}
