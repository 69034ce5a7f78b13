//! Scratch: a temporary directory that goes when it is dropped.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::command::{Failure, FailureKind};

/// How many names are tried.
const TRIES: u32 = 1000;

/// A directory of this process alone.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one in the system's place for temporary files.
    pub(super) fn make() -> Result<Self, Failure> {
        let place = std::env::temp_dir();
        for number in 0..TRIES {
            let path = place.join(format!("shoal-demo-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(unusable(&place, &error)),
            }
        }
        Err(unusable(&place, &io::ErrorKind::AlreadyExists.into()))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that fit in.
    pub(super) fn free_bytes(&self) -> Result<u64, Failure> {
        let space = rustix::fs::statvfs(&self.path).map_err(|error| unusable(&self.path, &error.into()))?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::error!(%error, path = %self.path.display(), "the demo's directory could not be removed");
        }
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(FailureKind::Failed, format!("could not use {}: {error}", path.display()))
        .with_hint("$TMPDIR says where temporary files go")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left() {
        let (one, two) = (Scratch::make().unwrap(), Scratch::make().unwrap());
        assert_ne!(one.path(), two.path());
        fs::create_dir(one.path().join("folder")).unwrap();
        fs::write(one.path().join("folder/file"), "x").unwrap();
        let path = one.path().to_path_buf();
        drop(one);
        assert!(!path.exists() && two.path().exists());
    }
}
