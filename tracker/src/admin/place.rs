//! Places: where the socket of a data directory is.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// The socket in its directory.
const SOCKET_NAME: &str = "tracker.sock";
/// Longest path of a socket that is used as it is; the system allows 107 bytes.
const MAX_SOCKET_PATH: usize = 100;

/// A path by which this process reaches the socket of a data directory.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Keeps the short way to the directory open.
    _directory: Option<File>,
}

impl Place {
    /// That of `data`. Where the path is too long for a socket it goes through the open directory, which the system has a
    /// short name for: the socket is in its directory in any case, whatever the environment of who looks for it.
    pub(super) fn of(data: &Path) -> io::Result<Self> {
        let path = data.join(SOCKET_NAME);
        if path.as_os_str().len() <= MAX_SOCKET_PATH {
            return Ok(Self { path, _directory: None });
        }
        let directory = File::open(data)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_NAME}", directory.as_raw_fd()));
        Ok(Self { path, _directory: Some(directory) })
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
