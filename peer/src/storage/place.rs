//! Placing: how a complete file gets its final name. Nothing that exists is ever overwritten.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use super::Looks;

/// So many `name (N).ext` are tried before giving up.
const MOST_TRIES: u32 = 10_000;

/// How something complete gets its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placing {
    /// Under the target's name, or `name (1).ext` and so on where that is taken.
    #[default]
    Beside,
    /// In the place of what lies at the target, in one rename, if that still looks as it did. If somebody edited it, at
    /// `otherwise`, or beside that; if it is gone, at the target.
    Over {
        /// How what is to be replaced looked when it was put there.
        looks: Looks,
        /// Where it goes if it may not replace that.
        otherwise: PathBuf,
    },
}

/// Moves `from` to `target`, or to `name (1).ext` and so on where that exists; says where it is now. `before` hears of
/// each name before it is tried.
///
/// Both are on one file system, see [`super::Partial`].
pub(crate) fn place(
    from: &Path,
    target: &Path,
    mut before: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    for number in 0..MOST_TRIES {
        let candidate = numbered(target, number);
        if candidate.symlink_metadata().is_ok() {
            continue;
        }
        before(&candidate)?;
        match renameat_with(CWD, from, CWD, &candidate, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(candidate),
            Err(rustix::io::Errno::EXIST) => {}
            // The file system cannot rename without replacing: a link fails where the name exists.
            Err(rustix::io::Errno::INVAL) => match std::fs::hard_link(from, &candidate) {
                Ok(()) => {
                    std::fs::remove_file(from)?;
                    return Ok(candidate);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "there are too many files of this name"))
}

/// `name.ext`, then `name (1).ext`, `name (2).ext` ...
fn numbered(target: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return target.to_owned();
    }
    let mut name = target.file_stem().unwrap_or_default().to_owned();
    name.push(format!(" ({number})"));
    if let Some(extension) = target.extension() {
        name.push(OsString::from("."));
        name.push(extension);
    }
    target.with_file_name(name)
}

/// Puts the folder's entry for `path` on the disk.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_exists_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.tar.gz");
        for (round, name) in ["a.tar.gz", "a.tar (1).gz", "a.tar (2).gz"].into_iter().enumerate() {
            let from = dir.path().join("from");
            fs::write(&from, round.to_string()).unwrap();
            let mut heard = Vec::new();
            let before = |candidate: &Path| {
                heard.push(candidate.to_owned());
                Ok(())
            };
            assert_eq!(place(&from, &target, before).unwrap(), dir.path().join(name));
            assert_eq!(heard, [dir.path().join(name)]);
            assert!(!from.exists());
        }
        assert_eq!(fs::read(target).unwrap(), b"0");
    }
}
