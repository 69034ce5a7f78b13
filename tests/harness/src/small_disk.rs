//! A small disk: a memory file system of a few MiB that can be filled up. Needs root.

use std::fs;
use std::path::{Path, PathBuf};

use crate::privilege;
use crate::process::run;

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

/// Whether one can be made here.
pub fn possible() -> Result<(), String> {
    privilege::root("mounting a small disk")
}

impl SmallDisk {
    /// A disk of `bytes` at `path`, which is made.
    ///
    /// # Panics
    /// When the system refuses; ask [`possible`] first.
    pub fn mount(path: &Path, bytes: u64) -> Self {
        fs::create_dir_all(path).expect("a place for the disk can be made");
        let place = path.to_str().expect("test paths are UTF-8");
        let size = format!("size={bytes},mode=0777");
        run("mount", &["-t", "tmpfs", "-o", &size, "shoal-test", place]).unwrap_or_else(|error| panic!("{error}"));
        Self { path: path.to_owned() }
    }

    /// Makes it larger, as somebody does who deletes something else.
    ///
    /// # Panics
    /// When the system refuses.
    pub fn grow(&self, bytes: u64) {
        let size = format!("remount,size={bytes}");
        run("mount", &["-o", &size, &self.path.to_string_lossy()]).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: processes that end at the same moment may still have files open.
        drop(run("umount", &["--lazy", &self.path.to_string_lossy()]));
    }
}
