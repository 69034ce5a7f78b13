//! Places: where the socket of a DIR is. Both sides compute it alike.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use common::merkle::sha256;

use crate::dir::Dir;

/// Longest path of a socket that is used as it is; the system allows 107 bytes.
const MAX_SOCKET_PATH: usize = 100;
/// Hex digits of the DIR's hash in a substitute name: 64 bits, against mix-ups, not against attacks.
const NAME_DIGITS: usize = 16;

/// Where the socket of one DIR may be, the likeliest first; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Places {
    sockets: Vec<PathBuf>,
    /// The folder in /tmp, made only when it is needed.
    fallback: PathBuf,
}

/// A folder for sockets that somebody else could use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnsafeFolder {
    /// It belongs to another user, or others may enter it.
    #[error("{} should belong to this user alone (mode 0700)", .0.display())]
    Shared(PathBuf),
    /// It could not be made or looked at.
    #[error("could not use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Places {
    /// In DIR itself where the path is short enough, else under `runtime_dir` (`$XDG_RUNTIME_DIR`), else in
    /// `/tmp/shoal-UID`, with a name made from DIR's path.
    pub(crate) fn of(dir: &Dir, runtime_dir: Option<&Path>) -> Self {
        let user = rustix::process::getuid().as_raw();
        let fallback = PathBuf::from(format!("/tmp/shoal-{user}"));
        let own = dir.socket();
        if own.as_os_str().len() <= MAX_SOCKET_PATH {
            return Self { sockets: vec![own], fallback };
        }
        // The same DIR through another symlink is the same peer; before the first start there is nothing to resolve, and
        // no peer either.
        let root = fs::canonicalize(dir.root()).unwrap_or_else(|_missing| dir.root().to_path_buf());
        let mut digits = sha256(root.as_os_str().as_bytes()).to_string();
        digits.truncate(NAME_DIGITS);
        // Two logins may differ in $XDG_RUNTIME_DIR, so whoever looks for a peer looks in both.
        let in_runtime = runtime_dir.map(|folder| folder.join(format!("shoal-{digits}.sock")));
        let in_fallback = fallback.join(format!("{digits}.sock"));
        let sockets = in_runtime.into_iter().chain([in_fallback]);
        Self { sockets: sockets.filter(|path| path.as_os_str().len() <= MAX_SOCKET_PATH).collect(), fallback }
    }

    /// Where to look for a running peer, in this order.
    pub(crate) fn to_connect(&self) -> impl Iterator<Item = &Path> {
        self.sockets.iter().map(PathBuf::as_path).filter(|socket| {
            // What somebody else put into /tmp is not our peer.
            !socket.starts_with(&self.fallback) || check_folder(&self.fallback).is_ok()
        })
    }

    /// Where to listen; makes the folder in /tmp where that is the place.
    pub(crate) fn to_listen(&self) -> Result<&Path, UnsafeFolder> {
        let usable = |socket: &&PathBuf| socket.parent().is_some_and(Path::is_dir);
        if let Some(socket) = self.sockets.iter().find(|socket| !socket.starts_with(&self.fallback)).filter(usable) {
            return Ok(socket);
        }
        let socket = self.sockets.last().expect("the place in /tmp, or in DIR, is always in the list");
        if socket.starts_with(&self.fallback) {
            make_folder(&self.fallback)?;
        }
        Ok(socket)
    }
}

fn make_folder(path: &Path) -> Result<(), UnsafeFolder> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => check_folder(path),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check_folder(path),
        Err(source) => Err(UnsafeFolder::Io { path: path.to_path_buf(), source }),
    }
}

fn check_folder(path: &Path) -> Result<(), UnsafeFolder> {
    let metadata =
        fs::symlink_metadata(path).map_err(|source| UnsafeFolder::Io { path: path.to_path_buf(), source })?;
    let alone = metadata.mode() & 0o077 == 0;
    if metadata.is_dir() && alone && metadata.uid() == rustix::process::getuid().as_raw() {
        Ok(())
    } else {
        Err(UnsafeFolder::Shared(path.to_path_buf()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn deep(folder: &Path) -> Dir {
        Dir::new(&folder.join("x".repeat(60)).join("y".repeat(60))).unwrap()
    }

    #[test]
    fn a_short_path_is_used_as_it_is() {
        let dir = Dir::new(Path::new("/home/ann/.local/share/shoal/ann")).unwrap();
        let places = Places::of(&dir, Some(Path::new("/run/user/1000")));
        assert_eq!(places.to_connect().collect::<Vec<_>>(), [dir.socket()]);
    }

    #[test]
    fn a_long_path_goes_where_both_sides_find_it() {
        let runtime = tempfile::tempdir_in("/tmp").unwrap();
        let dir = deep(Path::new("/nowhere"));
        let places = Places::of(&dir, Some(runtime.path()));
        let socket = places.to_listen().unwrap();
        assert!(socket.starts_with(runtime.path()) && socket.as_os_str().len() <= MAX_SOCKET_PATH);
        assert_eq!(Places::of(&dir, Some(runtime.path())).to_connect().next(), Some(socket));
        // Another DIR has another name, and a side without $XDG_RUNTIME_DIR still has a place.
        let other = Places::of(&deep(Path::new("/elsewhere")), Some(runtime.path()));
        assert_ne!(other.to_listen().unwrap(), socket);
        let without = Places::of(&dir, None);
        assert!(without.sockets[0].starts_with("/tmp") && without.sockets.len() == 1);
        assert_eq!(without.sockets[0], places.sockets[1]);
    }

    #[test]
    fn the_same_folder_through_a_link_is_the_same_place() {
        let folder = tempfile::tempdir().unwrap();
        let real = deep(&folder.path().join("real"));
        fs::create_dir_all(real.root()).unwrap();
        std::os::unix::fs::symlink(folder.path().join("real"), folder.path().join("link")).unwrap();
        let link = deep(&folder.path().join("link"));
        assert_eq!(Places::of(&real, None).sockets, Places::of(&link, None).sockets);
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let shared = folder.path().join("shared");
        make_folder(&shared).unwrap();
        make_folder(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(make_folder(&shared), Err(UnsafeFolder::Shared(_))));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(matches!(make_folder(&link), Err(UnsafeFolder::Shared(_))));
    }
}
