//! Opening a DIR: its folders, its lock, and what is in its state files.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::identity::Identity;
use common::wire::DEFAULT_TRACKER_PORT;

use crate::dir::{Dir, KeyError, Lock, LockError, StateError, load_or_make_key, put_aside};
use crate::library::Library;
use crate::settings::Settings;
use crate::sync::Records;
use crate::tracker_client::{NameChoice, TrackerAddress};

/// Why an app could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process runs on this DIR: talk to it through [`Dir::socket`].
    #[error("another peer (process {pid}) runs on {}", dir.display())]
    InUse {
        /// Which DIR.
        dir: PathBuf,
        /// Its process id, 0 where unknown.
        pid: u32,
    },
    /// A file or folder of DIR cannot be made, read or written.
    #[error("could not use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The key file is not a key.
    #[error("the key in {} is damaged: it should be 64 hex digits", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
    },
    /// A state file was written by a newer program.
    #[error("{} was written by a newer version of this program (format {schema})", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema number.
        schema: u32,
    },
    /// The address to accept peers at cannot be had.
    #[error("could not listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody listens where a node was to, who is no node of its network.
    #[error("{address} is taken on this machine, and not by a node of this network")]
    Taken {
        /// Which.
        address: SocketAddr,
    },
}

impl StartError {
    /// What to do about it, where that is not in the sentence.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::InUse { .. } => "end that one first, or give another --dir DIR",
            Self::Key { .. } => {
                "put the right key back; or move the file away to begin with a new key, to which your names do not belong"
            }
            Self::Newer { .. } => "start the newer version, or give another --dir DIR",
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    "give a --dir DIR that you may write to"
                }
                io::ErrorKind::StorageFull => "make room on that disk, or give a --dir DIR on another",
                _ => return None,
            },
            Self::Taken { .. } => {
                "choose another port with --listen ADDR:PORT, or --listen 0 for a free one; if a node of yours listens \
                 there, give the same --network-key"
            }
            Self::Listen { source, .. } => match source.kind() {
                io::ErrorKind::AddrInUse => {
                    "choose another port with --listen ADDR:PORT, or leave it out for a free one"
                }
                io::ErrorKind::AddrNotAvailable => "the address in --listen ADDR:PORT must be one of this machine's",
                io::ErrorKind::PermissionDenied => "choose a port of at least 1024 with --listen ADDR:PORT",
                _ => return None,
            },
        };
        Some(hint.to_owned())
    }
}

/// A DIR that is this process's, and what is in it.
pub(super) struct Opened {
    pub(super) lock: Lock,
    pub(super) identity: Arc<Identity>,
    /// As they were read.
    pub(super) settings: Settings,
    /// Given, or the last, or the one on this machine.
    pub(super) tracker: TrackerAddress,
    /// Given, or the last, or as the face suggests.
    pub(super) name: NameChoice,
    pub(super) library: Library,
    pub(super) records: Records,
    /// What the user should hear of.
    pub(super) warnings: Vec<String>,
}

/// Takes the lock and reads everything. Blocks.
pub(super) fn open(dir: &Dir, tracker: Option<TrackerAddress>, name: NameChoice) -> Result<Opened, StartError> {
    dir.create().map_err(|(path, source)| StartError::Io { path, source })?;
    let lock = Lock::take(&dir.lock()).map_err(|error| match error {
        LockError::Taken(pid) => StartError::InUse { dir: dir.root().to_owned(), pid },
        LockError::Io(source) => StartError::Io { path: dir.lock(), source },
    })?;
    let identity = load_or_make_key(&dir.key()).map_err(|error| match error {
        KeyError::Damaged => StartError::Key { path: dir.key() },
        KeyError::Io(source) => StartError::Io { path: dir.key(), source },
    })?;
    let mut warnings = Vec::new();
    let settings = load_settings(&dir.settings(), &mut warnings)?;
    let (library, warning) =
        Library::load(&dir.library(), &dir.layers()).map_err(|error| unusable(&dir.library(), error))?;
    warnings.extend(warning);
    let (records, warning) = Records::load(&dir.sync()).map_err(|error| unusable(&dir.sync(), error))?;
    warnings.extend(warning);
    let tracker = tracker.or_else(|| settings.tracker.clone()).unwrap_or_else(|| TrackerAddress {
        host: "localhost".to_owned(),
        port: DEFAULT_TRACKER_PORT,
        fingerprint: None,
    });
    let name = match (name, &settings.name) {
        (NameChoice::Default(_), Some(last)) => NameChoice::Default(last.clone()),
        (name, _) => name,
    };
    Ok(Opened { lock, identity: Arc::new(identity), settings, tracker, name, library, records, warnings })
}

/// Damaged settings are put aside: they are soon given again.
fn load_settings(path: &Path, warnings: &mut Vec<String>) -> Result<Settings, StartError> {
    match Settings::load(path) {
        Ok(settings) => Ok(settings),
        Err(StateError::Damaged(error)) => {
            let aside = put_aside(path).map_err(|source| StartError::Io { path: path.to_owned(), source })?;
            let aside = aside.display();
            warnings.push(format!("The settings were damaged ({error}); they are kept as {aside} and begin anew"));
            Ok(Settings::default())
        }
        Err(error) => Err(unusable(path, error)),
    }
}

fn unusable(path: &Path, error: StateError) -> StartError {
    let path = path.to_owned();
    match error {
        StateError::Newer(schema) => StartError::Newer { path, schema },
        StateError::Io(source) => StartError::Io { path, source },
        StateError::Damaged(error) => StartError::Io { path, source: error.into() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::name::UserName;

    fn default_name() -> NameChoice {
        NameChoice::Default(UserName::new("login").unwrap())
    }

    #[test]
    fn what_was_used_last_is_used_again() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::new(root.path()).unwrap();
        let first = open(&dir, None, default_name()).unwrap();
        assert_eq!(first.tracker.to_string(), "localhost:8000");
        let last = Settings { tracker: "lab:81".parse().ok(), name: UserName::new("ann").ok() };
        last.save(&dir.settings()).unwrap();
        drop(first);
        let second = open(&dir, None, default_name()).unwrap();
        assert_eq!(second.tracker.to_string(), "lab:81");
        assert_eq!(second.name, NameChoice::Default(UserName::new("ann").unwrap()));
        drop(second);
        let given = NameChoice::Given(UserName::new("bob").unwrap());
        let third = open(&dir, "other".parse().ok(), given.clone()).unwrap();
        assert_eq!((third.tracker.to_string().as_str(), third.name), ("other:8000", given));
    }

    #[test]
    fn a_dir_in_use_is_an_error_that_names_who() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::new(root.path()).unwrap();
        let _opened = open(&dir, None, default_name()).unwrap();
        match open(&dir, None, default_name()).map(drop) {
            Err(StartError::InUse { pid, .. }) => assert_eq!(pid, std::process::id()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn damage_is_told_and_never_overwritten() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::new(root.path()).unwrap();
        dir.create().unwrap();
        std::fs::write(dir.settings(), "?").unwrap();
        std::fs::write(dir.library(), "?").unwrap();
        let opened = open(&dir, None, default_name()).unwrap();
        assert_eq!(opened.warnings.len(), 2, "{:?}", opened.warnings);
        assert_eq!(std::fs::read_to_string(dir.state().join("settings.json.damaged")).unwrap(), "?");
        drop(opened);
        std::fs::write(dir.key(), "?").unwrap();
        let error = open(&dir, None, default_name()).map(drop).unwrap_err();
        assert!(matches!(&error, StartError::Key { path } if *path == dir.key()), "{error}");
        assert!(error.hint().is_some());
        assert_eq!(std::fs::read_to_string(dir.key()).unwrap(), "?");
    }
}
