//! The lock: at most one process runs on a DIR. The system gives the lock back when its holder ends, however that comes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Held by the process that runs on a DIR, until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Why the lock was not to be had.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process has it: this one, or 0 where it did not say.
    Taken(u32),
    /// The file cannot be used.
    Io(io::Error),
}

impl Lock {
    /// Takes the lock at `path`, at once or not at all, and writes down who has it. Blocks only for the disk.
    pub(crate) fn take(path: &Path) -> Result<Self, LockError> {
        const OWNER_ONLY: u32 = 0o600;
        // Not truncated before the lock is ours: the holder's number is in it.
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(OWNER_ONLY).open(path);
        let mut file = opened.map_err(LockError::Io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(LockError::Taken(holder(&mut file).unwrap_or_default())),
            Err(error) => return Err(LockError::Io(error.into())),
        }
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(LockError::Io)?;
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> Option<u32> {
    /// The digits of a process id, and a newline.
    const LONGEST: u64 = 16;
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_it_and_the_next_gets_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path).unwrap();
        match Lock::take(&path) {
            Err(LockError::Taken(pid)) => assert_eq!(pid, std::process::id()),
            other => panic!("{other:?}"),
        }
        drop(first);
        Lock::take(&path).unwrap();
    }
}
