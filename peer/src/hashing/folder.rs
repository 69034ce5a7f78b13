//! Hashing a folder: what is in it, file by file, several at a time.
//!
//! A link to a regular file in the folder counts as that file. Other links, and what is neither file nor directory, are
//! left out and counted. What cannot have its name on other systems is an error: it would be missing there.

use std::fs::{DirEntry, File};
use std::io::{self, Read as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use common::id::{FileId, Hash};
use common::manifest::{Entry, EntryKind, MAX_MANIFEST_DEPTH, MAX_MANIFEST_FILES, MODE_BITS, Manifest, ManifestError};
use common::merkle::{ChunkHashes, FileHasher, SwarmHashes};
use common::name::EntryName;
use tokio::sync::mpsc;

use super::{GiveUp, HashError, Hashers, PROGRESS_INTERVAL};
use crate::command::{Activity, Progress, Update};
use crate::engine::{Insides, Looks};
use crate::storage::{Links, PARTIAL_PREFIX, Root, SEGMENT, Stamp};

/// What was found out about a folder.
#[derive(Debug)]
pub(crate) struct HashedFolder {
    pub(crate) insides: Insides,
    /// What the file system says of each file.
    pub(crate) looks: Looks,
    /// How many links, pipes, sockets and devices are not part of it.
    pub(crate) left_out: usize,
}

/// What was known of a folder before: files that look as they did are not read again.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) insides: Insides,
    pub(crate) looks: Looks,
}

impl Hashers {
    /// Hashes the folder at `path`, and tells how far it is under `name`. When the future is dropped, the reading ends soon.
    pub(crate) async fn hash_folder(
        &self,
        path: &Path,
        name: String,
        known: Option<Known>,
        updates: &mpsc::Sender<Update>,
    ) -> Result<HashedFolder, HashError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("this semaphore is never closed");
        let given_up = GiveUp(Arc::default());
        let told = Arc::clone(&given_up.0);
        let (path, updates) = (path.to_owned(), updates.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            hash_folder(&path, known.as_ref(), &told, &Meter::new(name, updates))
        });
        reading.await.unwrap_or(Err(HashError::Cancelled))
    }
}

/// A file that was found.
#[derive(Debug)]
struct Found {
    path: String,
    bytes: u64,
}

/// What is in a folder, unread.
#[derive(Debug, Default)]
struct Walked {
    files: Vec<Found>,
    empty: Vec<Entry>,
    left_out: usize,
}

/// A file that was read.
#[derive(Debug)]
struct Read {
    hashes: Vec<Hash>,
    id: FileId,
    stamp: Stamp,
    mode: u16,
}

fn hash_folder(
    path: &Path,
    known: Option<&Known>,
    given_up: &AtomicBool,
    meter: &Meter,
) -> Result<HashedFolder, HashError> {
    let Walked { files, empty, left_out } = walk(path, given_up)?;
    meter.begin(&files);
    let folder = Folder { path, root: Root::open(path).map_err(|error| failed(path, error))?, known, given_up };
    let mut entries = empty;
    let mut layers = Vec::with_capacity(files.len());
    let mut stamps = std::collections::BTreeMap::new();
    for (found, read) in files.iter().zip(folder.read_all(&files, meter)?) {
        entries.push(Entry { path: found.path.clone(), mode: read.mode, kind: EntryKind::File(read.id) });
        stamps.insert(found.path.clone(), read.stamp);
        layers.push((found.path.as_str(), read.hashes));
    }
    layers.sort_unstable_by_key(|(path, _)| *path);
    let manifest = Manifest::new(entries).map_err(|source| HashError::Folder { path: path.to_owned(), source })?;
    let hashes = layers.into_iter().flat_map(|(_, hashes)| hashes).collect();
    let hashes = SwarmHashes::checked(manifest.layout(), hashes).expect("each file was hashed by its own id");
    let looks = Looks::Folder(stamps);
    // What was read first may have changed by now.
    if let Err(different) = looks.check(path) {
        tracing::debug!(%different, "a folder changed while it was read");
        return Err(HashError::Changed(path.to_owned()));
    }
    let insides = Insides::of_folder(Arc::new(manifest), Arc::new(hashes));
    Ok(HashedFolder { insides, looks, left_out })
}

/// Looks at everything in the folder, and reads nothing.
fn walk(folder: &Path, given_up: &AtomicBool) -> Result<Walked, HashError> {
    let real = std::fs::canonicalize(folder).map_err(|error| failed(folder, error))?;
    let mut walked = Walked::default();
    let mut ahead = vec![(folder.to_owned(), String::new())];
    while let Some((directory, above)) = ahead.pop() {
        if given_up.load(Ordering::Relaxed) {
            return Err(HashError::Cancelled);
        }
        let mut is_empty = true;
        for entry in std::fs::read_dir(&directory).map_err(|error| failed(&directory, error))? {
            let entry = entry.map_err(|error| failed(&directory, error))?;
            let kind = entry.file_type().map_err(|error| failed(&entry.path(), error))?;
            let in_it =
                if kind.is_dir() || kind.is_file() { true } else { kind.is_symlink() && is_inside(&entry, &real) };
            if !in_it {
                walked.left_out += 1;
                continue;
            }
            if entry.file_name().as_encoded_bytes().starts_with(PARTIAL_PREFIX.as_bytes()) {
                continue;
            }
            is_empty = false;
            let path = relative(&entry, &above)?;
            if kind.is_dir() {
                ahead.push((entry.path(), path));
            } else {
                let metadata = std::fs::metadata(entry.path()).map_err(|error| failed(&entry.path(), error))?;
                walked.files.push(Found { path, bytes: metadata.len() });
            }
            if walked.files.len() + walked.empty.len() + ahead.len() > MAX_MANIFEST_FILES {
                let source = ManifestError::TooMany;
                return Err(HashError::Folder { path: folder.to_owned(), source });
            }
        }
        if is_empty && !above.is_empty() {
            let metadata = std::fs::metadata(&directory).map_err(|error| failed(&directory, error))?;
            walked.empty.push(Entry { path: above, mode: mode_of(&metadata), kind: EntryKind::EmptyDirectory });
        }
    }
    Ok(walked)
}

/// Whether a link leads to a regular file in the folder.
fn is_inside(link: &DirEntry, real: &Path) -> bool {
    let Ok(target) = std::fs::canonicalize(link.path()) else { return false };
    // One that is given from the root on is not followed where it is read, for it may lead anywhere tomorrow.
    let is_relative = std::fs::read_link(link.path()).is_ok_and(|target| target.is_relative());
    is_relative && target.starts_with(real) && std::fs::metadata(target).is_ok_and(|metadata| metadata.is_file())
}

fn relative(entry: &DirEntry, above: &str) -> Result<String, HashError> {
    let name = EntryName::try_from(entry.file_name().as_os_str())
        .map_err(|source| HashError::Name { path: entry.path(), source })?;
    let path = if above.is_empty() { name.to_string() } else { format!("{above}/{name}") };
    if above.bytes().filter(|byte| *byte == b'/').count() + 2 > MAX_MANIFEST_DEPTH {
        let source = ManifestError::TooDeep(path);
        return Err(HashError::Folder { path: entry.path(), source });
    }
    Ok(path)
}

fn mode_of(metadata: &std::fs::Metadata) -> u16 {
    u16::try_from(metadata.permissions().mode() & u32::from(MODE_BITS)).unwrap_or_default()
}

/// A folder that is being read.
struct Folder<'a> {
    path: &'a Path,
    root: Root,
    known: Option<&'a Known>,
    given_up: &'a AtomicBool,
}

impl Folder<'_> {
    /// Reads all files, as many at a time as there are cores; gives what was found in the order of the files.
    fn read_all(&self, files: &[Found], meter: &Meter) -> Result<Vec<Read>, HashError> {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<HashError>> = Mutex::new(None);
        let work = || {
            let mut buffer = vec![0; SEGMENT];
            let mut read = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(found) = files.get(number) else { return read };
                match self.read(found, &mut buffer, meter) {
                    Ok(one) => read.push((number, one)),
                    Err(error) => {
                        next.store(files.len(), Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        return read;
                    }
                }
                meter.on_file();
            }
        };
        let mut read = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..cores.min(files.len())).map(|_| scope.spawn(work)).collect();
            let joined = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
            joined.flat_map(Result::unwrap_or_default).collect::<Vec<_>>()
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        read.sort_unstable_by_key(|(number, _)| *number);
        Ok(read.into_iter().map(|(_, one)| one).collect())
    }

    fn read(&self, found: &Found, buffer: &mut [u8], meter: &Meter) -> Result<Read, HashError> {
        let path = self.path.join(&found.path);
        let error = |error| failed(&path, error);
        let mut file = self.root.read(&found.path, Links::WithinAreFollowed).map_err(error)?;
        let metadata = file.metadata().map_err(error)?;
        if !metadata.is_file() {
            return Err(HashError::Changed(path));
        }
        let (stamp, mode) = (Stamp::of(&metadata), mode_of(&metadata));
        if let Some((id, hashes)) = self.known.and_then(|known| known.find(&found.path, &stamp)) {
            meter.on_bytes(metadata.size());
            return Ok(Read { hashes, id, stamp, mode });
        }
        let hashes = self.hash(&mut file, stamp.size, &path, buffer, meter)?;
        let after = file.metadata().map_err(error)?;
        match hashes {
            Some(hashes) if Stamp::of(&after) == stamp => {
                Ok(Read { id: hashes.file_id(), hashes: hashes.as_slice().to_vec(), stamp, mode })
            }
            _ => Err(HashError::Changed(path)),
        }
    }

    fn hash(
        &self,
        file: &mut File,
        size: u64,
        path: &Path,
        buffer: &mut [u8],
        meter: &Meter,
    ) -> Result<Option<ChunkHashes>, HashError> {
        let mut hasher = FileHasher::new(size).map_err(|_error| HashError::TooLong(path.to_owned()))?;
        let mut bytes = 0;
        // What grows while it is read is not read for ever.
        while bytes <= size {
            if self.given_up.load(Ordering::Relaxed) {
                return Err(HashError::Cancelled);
            }
            let taken = match file.read(buffer) {
                Ok(0) => break,
                Ok(taken) => buffer.get(..taken).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(failed(path, error)),
            };
            hasher.update(taken);
            bytes += taken.len() as u64;
            meter.on_bytes(taken.len() as u64);
        }
        Ok(hasher.finish())
    }
}

impl Known {
    /// The id and chunk hashes of a file that looks as it did.
    fn find(&self, path: &str, stamp: &Stamp) -> Option<(FileId, Vec<Hash>)> {
        if self.looks.in_folder(path) != Some(stamp) {
            return None;
        }
        let manifest = self.insides.manifest()?;
        let number = manifest.number_of(path)?;
        let EntryKind::File(id) = manifest.entry(number)?.kind else { return None };
        let chunks = manifest.layout().chunks_of(number);
        let hashes = self.insides.hashes().as_slice().get(chunks.start as usize..chunks.end as usize)?;
        Some((id, hashes.to_vec()))
    }
}

fn failed(path: &Path, source: io::Error) -> HashError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => HashError::Missing(path),
        io::ErrorKind::PermissionDenied => HashError::Permission(path),
        _ => HashError::Read { path, source },
    }
}

/// Tells how far it is, now and then.
#[derive(Debug)]
struct Meter {
    name: String,
    updates: mpsc::Sender<Update>,
    began: std::time::Instant,
    /// Milliseconds after the beginning when it was told last.
    told_ms: AtomicU64,
    bytes: AtomicU64,
    bytes_total: AtomicU64,
    files: AtomicUsize,
    files_total: AtomicUsize,
}

impl Meter {
    fn new(name: String, updates: mpsc::Sender<Update>) -> Self {
        Self {
            name,
            updates,
            began: std::time::Instant::now(),
            told_ms: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_total: AtomicU64::new(0),
            files: AtomicUsize::new(0),
            files_total: AtomicUsize::new(0),
        }
    }

    fn begin(&self, files: &[Found]) {
        self.bytes_total.store(files.iter().map(|file| file.bytes).sum(), Ordering::Relaxed);
        self.files_total.store(files.len(), Ordering::Relaxed);
    }

    fn on_file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.tell();
    }

    fn on_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.tell();
    }

    fn tell(&self) {
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let told = self.told_ms.load(Ordering::Relaxed);
        let due = u128::from(millis - told.min(millis)) >= PROGRESS_INTERVAL.as_millis();
        let all = self.files.load(Ordering::Relaxed) == self.files_total.load(Ordering::Relaxed);
        if due || all {
            self.told_ms.store(millis, Ordering::Relaxed);
            // Who does not take it in time gets the next one.
            drop(self.updates.try_send(Update::Progress(self.progress(millis))));
        }
    }

    fn progress(&self, millis: u64) -> Progress {
        const MS_A_SECOND: u64 = 1000;
        let bytes = self.bytes.load(Ordering::Relaxed);
        let count = |number: &AtomicUsize| u32::try_from(number.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
        Progress {
            name: self.name.clone(),
            activity: Activity::Hashing,
            // Its chunks are not known before its files are.
            chunks: count(&self.files),
            chunks_total: count(&self.files_total),
            bytes,
            bytes_total: self.bytes_total.load(Ordering::Relaxed).max(bytes),
            bytes_per_sec: bytes.saturating_mul(MS_A_SECOND) / millis.max(1),
            seeders: 0,
        }
    }
}

/// The path of a folder as it is, links in it resolved, for comparisons.
#[cfg(test)]
fn real(path: &Path) -> std::path::PathBuf {
    std::fs::canonicalize(path).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;

    fn meter() -> Meter {
        Meter::new("x".to_owned(), mpsc::channel(1).0)
    }

    fn hash(path: &Path, known: Option<&Known>) -> Result<HashedFolder, HashError> {
        hash_folder(path, known, &AtomicBool::new(false), &meter())
    }

    fn sample() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::create_dir_all(at("none/deep")).unwrap();
        fs::write(at("a/b/large"), vec![7; 3 << 20]).unwrap();
        fs::write(at("a/run"), "#!/bin/sh").unwrap();
        fs::set_permissions(at("a/run"), fs::Permissions::from_mode(0o4755)).unwrap();
        fs::write(at("empty"), "").unwrap();
        dir
    }

    fn paths(hashed: &HashedFolder) -> Vec<&str> {
        hashed.insides.manifest().unwrap().entries().iter().map(|entry| entry.path.as_str()).collect()
    }

    #[test]
    fn what_is_in_a_folder_is_listed_with_modes_and_empty_directories() {
        let dir = sample();
        let hashed = hash(dir.path(), None).unwrap();
        assert_eq!(paths(&hashed), ["a/b/large", "a/run", "empty", "none/deep"]);
        let manifest = hashed.insides.manifest().unwrap();
        assert_eq!(manifest.find("a/run").unwrap().mode, 0o755, "and not more than that");
        assert_eq!(manifest.find("none/deep").unwrap().kind, EntryKind::EmptyDirectory);
        assert_eq!(manifest.layout().count(), 192 + 1);
        assert_eq!(hashed.looks.check(dir.path()), Ok(()));
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(hash(empty.path(), None).unwrap().insides.manifest().unwrap().entries(), []);
    }

    #[test]
    fn links_lead_nowhere_but_to_files_in_the_folder() {
        let dir = sample();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let link = |target: &Path, name: &str| std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        link(Path::new("a/run"), "near");
        link(Path::new("../../../etc/passwd"), "up");
        link(&outside.path().join("secret"), "out");
        link(outside.path(), "away");
        link(Path::new("a"), "directory");
        link(Path::new("nothing"), "broken");
        link(&real(dir.path()).join("a/run"), "absolute");
        mknodat(CWD, dir.path().join("pipe"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let hashed = hash(dir.path(), None).unwrap();
        assert_eq!(paths(&hashed), ["a/b/large", "a/run", "empty", "near", "none/deep"]);
        assert_eq!(hashed.left_out, 8);
        let manifest = hashed.insides.manifest().unwrap();
        assert_eq!(manifest.find("near").unwrap().kind, manifest.find("a/run").unwrap().kind);
    }

    #[test]
    fn what_cannot_be_shared_is_named() {
        for name in [b"con.txt".as_slice(), b"a\\b", b"\xff", b"x\ny", b"trailing."] {
            let dir = sample();
            let path = dir.path().join("a").join(std::ffi::OsStr::from_bytes(name));
            fs::write(&path, "").unwrap();
            assert!(matches!(hash(dir.path(), None), Err(HashError::Name { path: named, .. }) if named == path));
        }
        let dir = sample();
        fs::write(dir.path().join("A"), "").unwrap();
        let refused = hash(dir.path(), None);
        assert!(matches!(refused, Err(HashError::Folder { source: ManifestError::Clash(_), .. })), "{refused:?}");
    }

    #[test]
    fn a_file_that_looks_as_it_did_is_not_read_again() {
        let dir = sample();
        let first = hash(dir.path(), None).unwrap();
        let folder = first.insides.manifest().unwrap().folder_id();
        let known = Known { insides: first.insides, looks: first.looks };
        let counting = meter();
        let again = hash_folder(dir.path(), Some(&known), &AtomicBool::new(false), &counting).unwrap();
        assert_eq!(again.insides.manifest().unwrap().folder_id(), folder);
        fs::write(dir.path().join("a/run"), "other").unwrap();
        fs::write(dir.path().join("new"), "new").unwrap();
        let changed = hash(dir.path(), Some(&known)).unwrap();
        assert_eq!(paths(&changed), ["a/b/large", "a/run", "empty", "new", "none/deep"]);
        let fresh = hash(dir.path(), None).unwrap();
        assert_eq!(changed.insides.manifest(), fresh.insides.manifest());
        assert_eq!(changed.insides.hashes(), fresh.insides.hashes());
    }
}
