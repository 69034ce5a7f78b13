//! Wholes: what is complete and lies where its owner may change it at any time, read only as long as it looks as it did.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::chunk::ChunkIndex;
use common::manifest::Manifest;
use common::merkle::SwarmHashes;

use crate::outline::Outline;
use crate::storage::{Links, Looks, Root, Stamp, verify_chunk};

/// Files of a folder that are looked at in one [`Whole::check`]; the next one goes on with those after them. Each costs
/// some microseconds, and all folders are looked at every other second.
const LOOKED_AT_ONCE: usize = 200;

/// Something complete.
#[derive(Debug)]
pub(crate) struct Whole {
    path: PathBuf,
    looks: Looks,
    outline: Outline,
    /// Of a folder: with which file the next look begins.
    next_look: AtomicUsize,
}

/// Why bytes could not be read for a downloader.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFailure {
    /// This chunk is not here.
    #[error("the chunk is not here")]
    NotHere,
    /// What is to be read is not what it was.
    #[error("{0}")]
    Changed(String),
}

impl Whole {
    pub(crate) const fn new(path: PathBuf, looks: Looks, outline: Outline) -> Self {
        Self { path, looks, outline, next_look: AtomicUsize::new(0) }
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads into `buffer` from `offset` within a chunk. Blocks.
    ///
    /// The stamp is compared before and after: a change in between is an error, and what was read is not to be used. It is
    /// the downloader's check that guarantees the bytes.
    pub(crate) fn read(&self, chunk: ChunkIndex, offset: u32, buffer: &mut [u8]) -> Result<(), ReadFailure> {
        let place = self.outline.layout().place(chunk);
        let (file, stamp, name) = self.open(place.file)?;
        let in_file = |failure| named(name, failure);
        file.read_exact_at(buffer, place.offset + u64::from(offset)).map_err(|error| in_file(unreadable(&error)))?;
        compare(file.metadata(), stamp).map_err(in_file)
    }

    /// Whether it is still what it was, going by stamps; of a large folder a part is looked at each time. Blocks.
    pub(crate) fn check(&self) -> Result<(), ReadFailure> {
        let (Some(manifest), Looks::Folder(_)) = (self.outline.manifest(), &self.looks) else {
            let stamp = self.looks.file().ok_or(ReadFailure::NotHere)?;
            return compare(std::fs::metadata(&self.path), stamp);
        };
        match std::fs::metadata(&self.path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(ReadFailure::Changed("it is no folder any more".to_owned())),
            Err(error) => return Err(unreadable(&error)),
        }
        let entries = manifest.entries();
        let first = self.next_look.fetch_add(LOOKED_AT_ONCE, Ordering::Relaxed) % entries.len().max(1);
        for entry in entries.iter().cycle().skip(first).take(LOOKED_AT_ONCE.min(entries.len())) {
            if let Some(stamp) = self.looks.in_folder(&entry.path) {
                let now = std::fs::metadata(self.path.join(&entry.path));
                compare(now, stamp).map_err(|failure| named(Some(&entry.path), failure))?;
            }
        }
        Ok(())
    }

    /// Hashes a chunk again that a downloader calls bad. Blocks.
    pub(crate) fn check_chunk(&self, hashes: &SwarmHashes, chunk: u32) -> Result<(), ReadFailure> {
        let Some(index) = self.outline.layout().chunk(chunk) else { return Ok(()) };
        let place = self.outline.layout().place(index);
        let (file, _, name) = self.open(place.file)?;
        match verify_chunk(hashes, chunk, |offset, buffer| file.read_exact_at(buffer, place.offset + offset)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(named(name, ReadFailure::Changed(CHANGED.to_owned()))),
            Err(error) => Err(named(name, unreadable(&error))),
        }
    }

    /// Opens the file with this number, which looks as it did; gives its stamp, and in a folder its path.
    fn open(&self, number: u32) -> Result<(File, &Stamp, Option<&str>), ReadFailure> {
        let (file, stamp, name) = match (&self.looks, self.outline.manifest()) {
            (Looks::File(stamp), _) => (File::open(&self.path), stamp, None),
            (Looks::Folder(_), manifest) => {
                let name = manifest.and_then(|manifest| path_of(manifest, number)).ok_or(ReadFailure::NotHere)?;
                let stamp = self.looks.in_folder(name).ok_or(ReadFailure::NotHere)?;
                let file = Root::open(&self.path).and_then(|root| root.read(name, Links::WithinAreFollowed));
                (file, stamp, Some(name))
            }
        };
        let file = file.map_err(|error| named(name, unreadable(&error)))?;
        compare(file.metadata(), stamp).map_err(|failure| named(name, failure))?;
        Ok((file, stamp, name))
    }
}

fn path_of(manifest: &Manifest, number: u32) -> Option<&str> {
    manifest.entry(number).map(|entry| entry.path.as_str())
}

const CHANGED: &str = "it was changed after it was registered; register it again to share what it is now";

fn compare(metadata: io::Result<Metadata>, stamp: &Stamp) -> Result<(), ReadFailure> {
    match metadata {
        Ok(metadata) if Stamp::of(&metadata) == *stamp => Ok(()),
        Ok(_) => Err(ReadFailure::Changed(CHANGED.to_owned())),
        Err(error) => Err(unreadable(&error)),
    }
}

/// A failure with the file of the folder that it is about.
fn named(name: Option<&str>, failure: ReadFailure) -> ReadFailure {
    match (name, failure) {
        (Some(name), ReadFailure::Changed(why)) => ReadFailure::Changed(format!("{name:?} in it: {why}")),
        (_, failure) => failure,
    }
}

/// What an error of the file system says of a file: gone for good, or not to be had at the moment.
fn unreadable(error: &io::Error) -> ReadFailure {
    match error.kind() {
        io::ErrorKind::NotFound => ReadFailure::Changed("it was deleted or moved".to_owned()),
        io::ErrorKind::UnexpectedEof => ReadFailure::Changed(CHANGED.to_owned()),
        io::ErrorKind::PermissionDenied => {
            ReadFailure::Changed("it may no longer be read (permission denied)".to_owned())
        }
        _ => {
            // Too many open files, a disk that is away: it may be there again in a moment.
            tracing::warn!(%error, "a shared file could not be read");
            ReadFailure::NotHere
        }
    }
}
