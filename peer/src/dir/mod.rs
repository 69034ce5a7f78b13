//! DIR: the folder of one peer, what is where in it, and who may run on it.
//!
//! State files are replaced whole: after a crash at any moment there is the old one or the new one. A file that is there
//! but makes no sense is never overwritten: it is an error, or is put aside under another name.

mod key;
mod lock;
mod replace;
mod state_file;

use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

pub(crate) use key::{KeyError, load_or_make_key};
pub(crate) use lock::{Lock, LockError};
pub(crate) use replace::{put_aside, read_limited, replace_file};
pub(crate) use state_file::{StateError, load as load_state, save as save_state};

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

    /// Whose lock says who runs on this DIR.
    pub(crate) fn lock(&self) -> PathBuf {
        self.state().join("lock")
    }

    /// The seed of this peer's key.
    pub(crate) fn key(&self) -> PathBuf {
        self.state().join("key")
    }

    /// What is used again the next time.
    pub(crate) fn settings(&self) -> PathBuf {
        self.state().join("settings.json")
    }

    /// What is shared.
    pub(crate) fn library(&self) -> PathBuf {
        self.state().join("library.json")
    }

    /// What is followed, watched and accepted.
    pub(crate) fn sync(&self) -> PathBuf {
        self.state().join("sync.json")
    }

    /// Who was in the network without a tracker.
    pub(crate) fn network(&self) -> PathBuf {
        self.state().join("network.json")
    }

    /// The chunk hashes of what is shared.
    pub(crate) fn layers(&self) -> PathBuf {
        self.state().join("layers")
    }

    /// The keys of trackers used before.
    pub(crate) fn known_trackers(&self) -> PathBuf {
        self.state().join("known_trackers")
    }

    /// Makes the folders that are missing, `state` for the owner only. An error comes with the path that it is about.
    pub(crate) fn create(&self) -> Result<(), (PathBuf, io::Error)> {
        const OWNER_ONLY: u32 = 0o700;
        for path in [self.seeding(), self.downloading()] {
            std::fs::create_dir_all(&path).map_err(|error| (path, error))?;
        }
        for path in [self.state(), self.layers()] {
            let made = DirBuilder::new().recursive(true).mode(OWNER_ONLY).create(&path);
            made.and_then(|()| std::fs::set_permissions(&path, Permissions::from_mode(OWNER_ONLY)))
                .map_err(|error| (path, error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_for_the_owner_only() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::new(&root.path().join("a/b")).unwrap();
        dir.create().unwrap();
        std::fs::set_permissions(dir.state(), Permissions::from_mode(0o755)).unwrap();
        dir.create().unwrap();
        let mode = std::fs::metadata(dir.state()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(dir.seeding().is_dir() && dir.downloading().is_dir() && dir.layers().is_dir());
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("state"), "").unwrap();
        let dir = Dir::new(root.path()).unwrap();
        assert_eq!(dir.create().unwrap_err().0, dir.state());
    }
}
