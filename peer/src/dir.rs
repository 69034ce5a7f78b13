//! DIR: the folder of one peer, and who may run on it.

use std::io;
use std::path::{Path, PathBuf};

/// The paths of one DIR; all absolute. Nothing is created by naming them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dir {
    root: PathBuf,
}

impl Dir {
    /// The DIR at this path; a relative one is taken from the current directory.
    pub fn new(root: &Path) -> io::Result<Self> {
        Ok(Self { root: std::path::absolute(root)? })
    }

    /// DIR itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Complete files that came by download.
    pub fn seeding(&self) -> PathBuf {
        self.root.join("seeding")
    }

    /// Files in the making and their journals.
    pub fn downloading(&self) -> PathBuf {
        self.root.join("downloading")
    }

    /// Key, library, settings, lock and socket; for the owner only.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// The socket of the local API.
    pub fn socket(&self) -> PathBuf {
        self.state().join("peer.sock")
    }

    /// The lines that the prompt remembers.
    pub fn history(&self) -> PathBuf {
        self.state().join("history")
    }
}
