//! Bodies: the bytes of a file or folder in the making. A folder in the making is a directory with real files in it, of
//! which each is made when its first chunk is written.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::sync::{Arc, Mutex};

use common::chunk::Place;
use common::manifest::{Entry, EntryKind, Manifest};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW};

use super::beneath::{Links, Root};
use super::drafts::lock;

/// Bytes written at once. Writes of 1 MiB in random order took 1.3 to 8 times as long (ext4, Linux 6.18, 1 GiB: 0.60 to
/// 2.7 s where these took 0.25 to 0.56 s): the page cache then looks for a folio of that size for each.
const WRITE: usize = 256 << 10;
/// Up to so many files are put on the disk one by one; with more of them the whole file system is, at once. Picked by
/// hand: each costs a commit of the file system's journal.
const MOST_SYNCED_ALONE: usize = 16;
/// Its owner can always read what is here: it is served from here.
pub(super) const OWNER_READS: u16 = 0o400;
/// The same of a directory, which is also searched, and written when a newer version comes.
const OWNER_ENTERS: u16 = 0o700;

/// The bytes of something in the making.
#[derive(Debug)]
pub(super) enum Body {
    File(File),
    Folder(Tree),
}

/// A folder in the making.
#[derive(Debug)]
pub(super) struct Tree {
    root: Root,
    manifest: Arc<Manifest>,
    /// Files that were written to and are perhaps not on the disk.
    unsynced: Mutex<BTreeSet<u32>>,
}

impl Body {
    /// Writes at a place, and so many bytes on from there.
    pub(super) fn write_at(&self, place: Place, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(file) => write_at(file, bytes, place.offset + offset),
            Self::Folder(tree) => {
                let file = tree.root.write(tree.path(place.file)?)?;
                write_at(&file, bytes, place.offset + offset)?;
                lock(&tree.unsynced).insert(place.file);
                Ok(())
            }
        }
    }

    /// Reads from a place, and so many bytes on from there.
    pub(super) fn read_exact_at(&self, place: Place, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(buffer, place.offset + offset),
            Self::Folder(tree) => {
                let file = tree.root.read(tree.path(place.file)?, Links::Refused)?;
                file.read_exact_at(buffer, place.offset + offset)
            }
        }
    }

    /// Puts what was written on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync_data(),
            Self::Folder(tree) => tree.sync(),
        }
    }

    /// The same, and what the file system says of it.
    pub(super) fn sync_all(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.sync_all(),
            Self::Folder(tree) => Ok(rustix::fs::syncfs(tree.root.directory())?),
        }
    }

    /// The file or directory itself, whatever lies under its name.
    pub(super) fn handle(&self) -> io::Result<File> {
        match self {
            Self::File(file) => file.try_clone(),
            Self::Folder(tree) => Ok(tree.root.directory().try_clone_to_owned()?.into()),
        }
    }
}

impl Tree {
    pub(super) const fn new(root: Root, manifest: Arc<Manifest>) -> Self {
        Self { root, manifest, unsynced: Mutex::new(BTreeSet::new()) }
    }

    pub(super) const fn root(&self) -> &Root {
        &self.root
    }

    /// Whether a file was written to after this moment, nanoseconds since 1970, or is gone.
    pub(super) fn was_edited(&self, number: u32, after_ns: Option<u64>) -> bool {
        let file = self.path(number).and_then(|path| self.root.read(path, Links::Refused));
        let written = file.and_then(|file| file.metadata()).map(|metadata| super::Stamp::of(&metadata).mtime_ns);
        match (written, after_ns) {
            (Ok(written), Some(after)) => written > i128::from(after),
            _ => true,
        }
    }

    fn path(&self, number: u32) -> io::Result<&str> {
        let entry = self.manifest.entry(number).ok_or(io::ErrorKind::NotFound)?;
        Ok(&entry.path)
    }

    fn sync(&self) -> io::Result<()> {
        let unsynced = std::mem::take(&mut *lock(&self.unsynced));
        if unsynced.len() > MOST_SYNCED_ALONE {
            return Ok(rustix::fs::syncfs(self.root.directory())?);
        }
        for number in unsynced {
            self.root.read(self.path(number)?, Links::Refused)?.sync_all()?;
        }
        Ok(())
    }

    /// Makes what has no chunks, and gives all that is wanted its permissions. All chunks of it are there.
    pub(super) fn finish(&self, wanted: &dyn Fn(&Entry) -> bool) -> io::Result<()> {
        for entry in self.manifest.entries().iter().filter(|entry| wanted(entry)) {
            match entry.kind {
                EntryKind::EmptyDirectory => {
                    self.root.make_directory(&entry.path)?;
                    let (holder, name) = self.root.holder_of(&entry.path)?;
                    let mode = rustix::fs::Mode::from_raw_mode(u32::from(entry.mode | OWNER_ENTERS));
                    rustix::fs::chmodat(holder, name, mode, rustix::fs::AtFlags::empty())?;
                }
                EntryKind::File(id) => {
                    let file = match self.root.read(&entry.path, Links::Refused) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => self.root.write(&entry.path)?,
                        file => file?,
                    };
                    if file.metadata()?.len() != id.length() {
                        self.root.write(&entry.path)?.set_len(id.length())?;
                    }
                    file.set_permissions(Permissions::from_mode(u32::from(entry.mode | OWNER_READS)))?;
                }
            }
        }
        // Whatever is written to later than this was written to by somebody else.
        let now = Timestamps { last_access: NOW, last_modification: NOW };
        Ok(rustix::fs::futimens(self.root.directory(), &now)?)
    }
}

const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };

/// Writes bytes to a file.
pub(super) fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    for (number, part) in bytes.chunks(WRITE).enumerate() {
        file.write_all_at(part, offset + (number * WRITE) as u64)?;
    }
    Ok(())
}
