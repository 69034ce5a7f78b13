//! Hashing: from a file on disk to its chunk hashes, off the reactor, as one reading from begin to end.

mod folder;

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::chunk::{BLOCK_SIZE, Layout};
use common::id::{FileId, Hash};
use common::manifest::ManifestError;
use common::merkle::{ChunkHashes, FileHasher};
use common::name::NameError;
use rustix::fs::{Advice, OFlags, fadvise};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, mpsc};

pub(crate) use self::folder::Known;
use crate::command::{Activity, Progress, Update};
use crate::storage::{SEGMENT, Stamp};

/// Files hashed at once by one [`Hashers`]: hashing is bound by one core each, and by the disk.
const AT_ONCE: usize = 2;
/// Progress is told at most so often.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Hashes files, at most [`AT_ONCE`] at a time; further ones wait for their turn.
#[derive(Debug, Clone)]
pub(crate) struct Hashers {
    permits: Arc<Semaphore>,
}

/// What is to be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Digests {
    /// The chunk hashes.
    Chunks,
    /// The SHA-256 of all bytes as well; takes twice the time.
    ChunksAndPlain,
}

/// What was found out.
#[derive(Debug)]
pub(crate) struct Hashed {
    pub(crate) hashes: ChunkHashes,
    /// What the file system said before and after.
    pub(crate) stamp: Stamp,
    /// With [`Digests::ChunksAndPlain`].
    pub(crate) plain: Option<Hash>,
}

/// Why a file was not hashed. The path is in each message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    /// Nothing there.
    #[error("there is no file {}", .0.display())]
    Missing(PathBuf),
    /// Not for this user.
    #[error("no permission to read {}", .0.display())]
    Permission(PathBuf),
    /// A directory.
    #[error("{} is a directory, not a file", .0.display())]
    Directory(PathBuf),
    /// A pipe, a device, a socket.
    #[error("{} is no regular file", .0.display())]
    Special(PathBuf),
    /// Over 8 TiB.
    #[error("{} is longer than 8 TiB", .0.display())]
    TooLong(PathBuf),
    /// It was written to, or replaced, meanwhile.
    #[error("{} changed while it was read; try again when nothing writes to it", .0.display())]
    Changed(PathBuf),
    /// In a folder: a name that other systems would not take.
    #[error("{} cannot be shared: {source}; rename it, or move it out of the folder", path.display())]
    Name {
        /// The whole path.
        path: PathBuf,
        /// What is wrong with its last name.
        source: NameError,
    },
    /// A folder that cannot be shared as a whole.
    #[error("{} cannot be shared: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ManifestError,
    },
    /// The disk does not give it.
    #[error("could not read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody waits for it any more.
    #[error("cancelled")]
    Cancelled,
}

impl Default for Hashers {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Hashers {
    /// Hashes the regular file at `path`, and tells how far it is under `name`. When the future is dropped, the reading
    /// ends within a segment.
    pub(crate) async fn hash(
        &self,
        path: &Path,
        name: String,
        digests: Digests,
        updates: &mpsc::Sender<Update>,
    ) -> Result<Hashed, HashError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("this semaphore is never closed");
        let given_up = GiveUp(Arc::default());
        let told = Arc::clone(&given_up.0);
        let (path, updates) = (path.to_owned(), updates.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut meter = Meter::new(name, updates);
            Reading { path: &path, digests, given_up: &told }.run(|bytes, total| meter.on_bytes(bytes, total))
        });
        reading.await.unwrap_or(Err(HashError::Cancelled))
    }
}

/// Opens a file for reading if it is a regular one; nothing waits for the other end of a pipe.
pub(crate) fn open_regular(path: &Path) -> Result<(File, Metadata), HashError> {
    let error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => HashError::Missing(path.to_owned()),
        io::ErrorKind::PermissionDenied => HashError::Permission(path.to_owned()),
        _ => HashError::Read { path: path.to_owned(), source },
    };
    // Looked at before it is opened: opening can do things to a device, and fails for a socket.
    check_regular(path, &std::fs::metadata(path).map_err(error)?)?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(error)?;
    let metadata = file.metadata().map_err(error)?;
    check_regular(path, &metadata)?;
    Ok((file, metadata))
}

fn check_regular(path: &Path, metadata: &Metadata) -> Result<(), HashError> {
    if metadata.is_dir() {
        Err(HashError::Directory(path.to_owned()))
    } else if metadata.is_file() {
        Ok(())
    } else {
        Err(HashError::Special(path.to_owned()))
    }
}

/// Tells the reading thread when nobody waits any more.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One file being read.
struct Reading<'a> {
    path: &'a Path,
    digests: Digests,
    given_up: &'a AtomicBool,
}

impl Reading<'_> {
    /// Reads it all; says after each piece how many bytes of how many there were.
    fn run(self, mut on_bytes: impl FnMut(u64, u64)) -> Result<Hashed, HashError> {
        let (mut file, metadata) = open_regular(self.path)?;
        let stamp = Stamp::of(&metadata);
        let mut hasher = FileHasher::new(stamp.size).map_err(|_error| HashError::TooLong(self.path.to_owned()))?;
        let mut plain = (self.digests == Digests::ChunksAndPlain).then(Sha256::new);
        // It only helps, and not every file system knows it.
        let _advice = fadvise(&file, 0, None, Advice::Sequential);
        let mut buffer = vec![0; SEGMENT];
        let mut bytes = 0;
        // What grows while it is read is not read for ever.
        while bytes <= stamp.size {
            if self.given_up.load(Ordering::Relaxed) {
                return Err(HashError::Cancelled);
            }
            let taken = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(taken) => buffer.get(..taken).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(HashError::Read { path: self.path.to_owned(), source }),
            };
            hasher.update(taken);
            if let Some(plain) = &mut plain {
                plain.update(taken);
            }
            bytes += taken.len() as u64;
            on_bytes(bytes, stamp.size);
        }
        let same = |metadata: io::Result<Metadata>| metadata.is_ok_and(|now| Stamp::of(&now) == stamp);
        if !same(file.metadata()) || !same(std::fs::metadata(self.path)) {
            return Err(HashError::Changed(self.path.to_owned()));
        }
        let hashes = hasher.finish().ok_or_else(|| HashError::Changed(self.path.to_owned()))?;
        let plain = plain.map(|plain| Hash(plain.finalize().into()));
        Ok(Hashed { hashes, stamp, plain })
    }
}

/// Tells how far it is, now and then.
struct Meter {
    name: String,
    updates: mpsc::Sender<Update>,
    begin: Instant,
    told: Option<Instant>,
}

impl Meter {
    fn new(name: String, updates: mpsc::Sender<Update>) -> Self {
        Self { name, updates, begin: Instant::now(), told: None }
    }

    fn on_bytes(&mut self, bytes: u64, total: u64) {
        let now = Instant::now();
        if bytes == total || self.told.is_none_or(|told| now - told >= PROGRESS_INTERVAL) {
            self.told = Some(now);
            // Who does not take it in time gets the next one.
            drop(self.updates.try_send(Update::Progress(self.progress(now, bytes, total))));
        }
    }

    fn progress(&self, now: Instant, bytes: u64, total: u64) -> Progress {
        const MS_A_SECOND: u128 = 1000;
        let elapsed_ms = (now - self.begin).as_millis().max(1);
        // How a file is cut follows from its length alone.
        let chunk_size = FileId::new(total, Hash([0; 32])).map_or(BLOCK_SIZE, |id| Layout::of(&id).chunk_size());
        let chunks = |bytes: u64| u32::try_from(bytes.div_ceil(chunk_size)).unwrap_or(u32::MAX);
        Progress {
            name: self.name.clone(),
            activity: Activity::Hashing,
            chunks: chunks(bytes),
            chunks_total: chunks(total),
            bytes,
            bytes_total: total,
            bytes_per_sec: u64::try_from(u128::from(bytes) * MS_A_SECOND / elapsed_ms).unwrap_or(u64::MAX),
            seeders: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::unix::net::UnixListener;

    fn updates() -> (mpsc::Sender<Update>, mpsc::Receiver<Update>) {
        mpsc::channel(16)
    }

    #[tokio::test]
    async fn a_file_is_hashed_in_one_pass_and_its_progress_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let content = vec![5; 3 * SEGMENT + 7];
        std::fs::write(&path, &content).unwrap();
        let (sender, mut receiver) = updates();
        let hashers = Hashers::default();
        let hashed = hashers.hash(&path, "a".to_owned(), Digests::ChunksAndPlain, &sender).await.unwrap();
        let mut expected = FileHasher::new(content.len() as u64).unwrap();
        expected.update(&content);
        assert_eq!(Some(hashed.hashes), expected.finish());
        assert_eq!(hashed.plain, Some(common::merkle::sha256(&content)));
        assert_eq!(hashed.stamp, Stamp::of(&std::fs::metadata(&path).unwrap()));
        let mut last = None;
        while let Ok(Update::Progress(progress)) = receiver.try_recv() {
            last = Some(progress);
        }
        let last = last.unwrap();
        assert_eq!((last.bytes, last.bytes_total), (content.len() as u64, content.len() as u64));
        assert_eq!((last.chunks, last.activity), (last.chunks_total, Activity::Hashing));
    }

    #[tokio::test]
    async fn what_is_no_regular_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = UnixListener::bind(at("socket")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        let refused = |path: PathBuf| open_regular(&path).unwrap_err().to_string();
        assert_eq!(refused(at("none")), format!("there is no file {}", at("none").display()));
        assert!(refused(at("file/below")).starts_with("there is no file"));
        assert!(refused(dir.path().to_owned()).ends_with("is a directory, not a file"));
        for special in [at("pipe"), at("socket"), "/dev/null".into()] {
            assert!(refused(special).ends_with("is no regular file"));
        }
    }

    #[test]
    fn a_file_that_changes_while_it_is_read_has_no_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let never = AtomicBool::new(false);
        let changes: [fn(&Path); 4] = [
            |path| std::fs::write(path, vec![1; 2 * SEGMENT]).unwrap(),
            |path| File::options().append(true).open(path).unwrap().set_len(1 << 30).unwrap(),
            |path| File::options().append(true).open(path).unwrap().set_len(1).unwrap(),
            |path| std::fs::remove_file(path).unwrap(),
        ];
        for change in changes {
            std::fs::write(&path, vec![1; 4 * SEGMENT]).unwrap();
            let reading = Reading { path: &path, digests: Digests::Chunks, given_up: &never };
            let mut pieces = 0;
            let result = reading.run(|_, _| {
                pieces += 1;
                if pieces == 1 {
                    change(&path);
                }
            });
            assert!(matches!(result, Err(HashError::Changed(_))), "{result:?}");
            assert!(pieces <= 5, "{pieces}");
        }
    }

    #[test]
    fn reading_ends_when_nobody_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, "a").unwrap();
        let given_up = GiveUp(Arc::default());
        let told = Arc::clone(&given_up.0);
        drop(given_up);
        let reading = Reading { path: &path, digests: Digests::Chunks, given_up: &told };
        assert!(matches!(reading.run(|_, _| ()), Err(HashError::Cancelled)));
    }
}
