//! Replacing: how a state file changes. The new one is written beside the old one, put on the disk, and takes its name;
//! then the name is put on the disk.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// State is nobody else's business.
const OWNER_ONLY: u32 = 0o600;

/// Puts `bytes` under the name `path`, durably, as one step. One at a time for each path. Blocks.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = with_suffix(path, ".new");
    // What a crash left of an earlier try; its mode may be anything.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(OWNER_ONLY).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// The whole of a file, or `None` where there is none; an error when it has more than `limit` bytes. Blocks.
pub(crate) fn read_limited(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {limit} bytes")));
    }
    Ok(Some(bytes))
}

/// Puts a damaged file aside as `NAME.damaged`, `NAME.damaged-1` and so on, and says where. Blocks.
pub(crate) fn put_aside(path: &Path) -> io::Result<PathBuf> {
    const MOST_KEPT: u32 = 100;
    for number in 0..MOST_KEPT {
        let suffix = if number == 0 { ".damaged".to_owned() } else { format!(".damaged-{number}") };
        let aside = with_suffix(path, &suffix);
        if !aside.try_exists()? {
            std::fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "there are too many damaged ones beside it already"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_replaced_whole_and_is_the_owners() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        assert_eq!(read_limited(&path, 10).unwrap(), None);
        std::fs::write(dir.path().join("state.new"), "left by a crash, and longer").unwrap();
        for bytes in [&b"one"[..], b"", b"three"] {
            replace_file(&path, bytes).unwrap();
            assert_eq!(read_limited(&path, 10).unwrap().as_deref(), Some(bytes));
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, OWNER_ONLY);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(read_limited(&path, 4).is_err());
    }

    #[test]
    fn an_old_file_stays_when_the_new_one_cannot_be_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        replace_file(&path, b"old").unwrap();
        std::fs::create_dir(dir.path().join("state.new")).unwrap();
        assert!(replace_file(&path, b"new").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }

    #[test]
    fn damaged_files_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        for expected in ["state.damaged", "state.damaged-1"] {
            std::fs::write(&path, expected).unwrap();
            assert_eq!(put_aside(&path).unwrap(), dir.path().join(expected));
            assert_eq!(std::fs::read_to_string(dir.path().join(expected)).unwrap(), expected);
        }
    }
}
