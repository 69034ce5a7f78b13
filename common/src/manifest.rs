//! Manifests: a folder as a file. It lists what is in the folder, strictly in the order of the bytes of the paths: every
//! file with its id, and the directories that are empty; other directories follow from the paths.
//!
//! Its bytes, in the one form that there is, numbers big-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 17 | `shoal-manifest-v1` |
//! | 4 | how many entries follow |
//! | each: 2 | length of the path |
//! | ... | the path: components joined by `/`, each a legal [`EntryName`] |
//! | 1 | 0 a file, 1 an empty directory |
//! | 2 | permission bits, at most 0o777: no setuid, setgid or sticky bit |
//! | 8 + 32 | of a file: length and root |
//!
//! A manifest may come from anybody. What has been decoded can be created below any directory of any common file system
//! without one entry getting in the way of another: no two paths are the same but for case, and no file is a directory of
//! another path.

use std::collections::HashSet;

use crate::chunk::SwarmLayout;
use crate::id::{FileId, FolderId, Hash, IdError};
use crate::merkle::{ChunkHashes, FileHasher, sha256};
use crate::name::{EntryName, NameError};
use crate::reader::{ReadError, Reader};

const MAGIC: &[u8] = b"shoal-manifest-v1";
const FILE: u8 = 0;
const DIRECTORY: u8 = 1;
/// Bytes of an entry without its path, at least.
const LEAST_ENTRY: usize = 2 + 1 + 2;

/// Most entries of a manifest.
pub const MAX_MANIFEST_FILES: usize = 200_000;
/// Most bytes of a manifest.
pub const MAX_MANIFEST_BYTES: usize = 32 << 20;
/// Most bytes of a path in a manifest: what Linux takes for one.
pub const MAX_MANIFEST_PATH: usize = 4096;
/// Most components of a path in a manifest. Picked by hand: deeper folders are not made by people.
pub const MAX_MANIFEST_DEPTH: usize = 64;
/// The permission bits that a manifest may name.
pub const MODE_BITS: u16 = 0o777;

/// A folder, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
    layout: SwarmLayout,
}

/// What is at one path of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path from the folder, components joined by `/`.
    pub path: String,
    /// Permission bits, within [`MODE_BITS`].
    pub mode: u16,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A file.
    File(FileId),
    /// A directory with nothing in it.
    EmptyDirectory,
}

/// Why something is no manifest, or a folder cannot have one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not in its form.
    #[error("the list of what is in the folder is damaged")]
    Malformed,
    /// A path that has no place on some systems, or leads out of the folder.
    #[error("{path:?} cannot be shared: {source}")]
    Name {
        /// Which.
        path: String,
        /// What is wrong with a component.
        source: NameError,
    },
    /// Over [`MAX_MANIFEST_PATH`] or [`MAX_MANIFEST_DEPTH`].
    #[error(
        "{0:?} is too long or too deep: a path has at most {MAX_MANIFEST_PATH} bytes and {MAX_MANIFEST_DEPTH} names"
    )]
    TooDeep(String),
    /// Two paths of which at most one can exist on some systems.
    #[error("{0:?} and another path are the same but for case, or one is a file and a directory of the other")]
    Clash(String),
    /// Not in the order of the paths.
    #[error("{0:?} is not in its place in the list of what is in the folder")]
    Order(String),
    /// Bits beyond [`MODE_BITS`].
    #[error("{0:?} has permission bits that may not be shared")]
    Mode(String),
    /// An empty file has one id only.
    #[error("{0:?} is empty, and its id is not that of an empty file")]
    Empty(String),
    /// Over [`MAX_MANIFEST_FILES`].
    #[error("a folder has at most {MAX_MANIFEST_FILES} files and empty directories")]
    TooMany,
    /// Over [`MAX_MANIFEST_BYTES`].
    #[error("the list of what is in the folder is longer than 32 MiB; share parts of it")]
    TooLong,
    /// Too many chunks, or too many bytes.
    #[error("the folder is too large: {0}")]
    TooLarge(#[from] IdError),
    /// The manifest is good, but does not have the number of chunks that the folder's id says.
    #[error("the list of what is in the folder does not fit the folder's id")]
    NotThisFolder,
}

impl Manifest {
    /// The manifest of these entries, in any order; an error where they cannot be in one.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, ManifestError> {
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let manifest = Self::checked(entries)?;
        if manifest.encoded_length() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong);
        }
        Ok(manifest)
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLong);
        }
        let mut reader = Reader::new(bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(ManifestError::Malformed);
        }
        let count = reader.u32()? as usize;
        if count > MAX_MANIFEST_FILES {
            return Err(ManifestError::TooMany);
        }
        let mut entries = Vec::with_capacity(count.min(reader.left() / LEAST_ENTRY));
        for _ in 0..count {
            entries.push(decode_entry(&mut reader)?);
        }
        reader.end()?;
        Self::checked(entries)
    }

    /// Reads the manifest of a folder; an error when it is another folder's.
    pub fn decode_as(bytes: &[u8], folder: &FolderId) -> Result<Self, ManifestError> {
        let manifest = Self::decode(bytes)?;
        if manifest.layout.count() != folder.chunks() || id_of(bytes)? != folder.manifest() {
            return Err(ManifestError::NotThisFolder);
        }
        Ok(manifest)
    }

    /// Its bytes, at most [`MAX_MANIFEST_BYTES`].
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_length());
        bytes.extend_from_slice(MAGIC);
        let count = u32::try_from(self.entries.len()).expect("at most MAX_MANIFEST_FILES");
        bytes.extend_from_slice(&count.to_be_bytes());
        for entry in &self.entries {
            let length = u16::try_from(entry.path.len()).expect("at most MAX_MANIFEST_PATH");
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(entry.path.as_bytes());
            bytes.push(if entry.kind == EntryKind::EmptyDirectory { DIRECTORY } else { FILE });
            bytes.extend_from_slice(&entry.mode.to_be_bytes());
            if let EntryKind::File(id) = entry.kind {
                bytes.extend_from_slice(&id.length().to_be_bytes());
                bytes.extend_from_slice(&id.root().0);
            }
        }
        bytes
    }

    fn encoded_length(&self) -> usize {
        const ID: usize = 8 + 32;
        let of_entry = |entry: &Entry| {
            LEAST_ENTRY + entry.path.len() + if entry.kind == EntryKind::EmptyDirectory { 0 } else { ID }
        };
        MAGIC.len() + 4 + self.entries.iter().map(of_entry).sum::<usize>()
    }

    /// What the folder is.
    pub fn folder_id(&self) -> FolderId {
        let id = id_of(&self.encode()).expect("at most MAX_MANIFEST_BYTES");
        FolderId::new(id, self.layout.count()).expect("the layout was checked")
    }

    /// Everything in the folder, in the order of the paths; a file's number in the [`layout`](Self::layout) is its place
    /// here.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry with this number.
    pub fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(number as usize)
    }

    /// The files, each with its number.
    pub fn files(&self) -> impl Iterator<Item = (u32, &Entry, FileId)> {
        (0..).zip(&self.entries).filter_map(|(number, entry)| match entry.kind {
            EntryKind::File(id) => Some((number, entry, id)),
            EntryKind::EmptyDirectory => None,
        })
    }

    /// The entry at a path.
    pub fn find(&self, path: &str) -> Option<&Entry> {
        self.number_of(path).and_then(|number| self.entry(number))
    }

    /// The number of the entry at a path.
    pub fn number_of(&self, path: &str) -> Option<u32> {
        let found = self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path));
        found.ok().and_then(|at| u32::try_from(at).ok())
    }

    /// How its files are cut.
    pub const fn layout(&self) -> &SwarmLayout {
        &self.layout
    }

    /// How many files there are.
    pub fn file_count(&self) -> u32 {
        u32::try_from(self.files().count()).expect("at most MAX_MANIFEST_FILES")
    }

    fn checked(entries: Vec<Entry>) -> Result<Self, ManifestError> {
        if entries.len() > MAX_MANIFEST_FILES {
            return Err(ManifestError::TooMany);
        }
        let mut names = Names::default();
        let mut before: Option<&Entry> = None;
        for entry in &entries {
            check_entry(entry)?;
            if before.is_some_and(|before| before.path > entry.path) {
                return Err(ManifestError::Order(entry.path.clone()));
            }
            names.add(&entry.path)?;
            before = Some(entry);
        }
        let files = (0..).zip(&entries).filter_map(|(number, entry)| match entry.kind {
            EntryKind::File(id) => Some((number, id)),
            EntryKind::EmptyDirectory => None,
        });
        let layout = SwarmLayout::of_files(files)?;
        Ok(Self { entries, layout })
    }
}

fn decode_entry(reader: &mut Reader<'_>) -> Result<Entry, ManifestError> {
    let length = usize::from(reader.u16()?);
    let path = std::str::from_utf8(reader.take(length)?).map_err(|_error| ManifestError::Malformed)?;
    if length > MAX_MANIFEST_PATH {
        return Err(ManifestError::TooDeep(path.to_owned()));
    }
    let kind = reader.u8()?;
    let mode = reader.u16()?;
    let kind = match kind {
        FILE => EntryKind::File(FileId::new(reader.u64()?, Hash(reader.array()?))?),
        DIRECTORY => EntryKind::EmptyDirectory,
        _ => return Err(ManifestError::Malformed),
    };
    Ok(Entry { path: path.to_owned(), mode, kind })
}

fn check_entry(entry: &Entry) -> Result<(), ManifestError> {
    let Entry { path, mode, kind } = entry;
    let depth = path.bytes().filter(|byte| *byte == b'/').count() + 1;
    if path.len() > MAX_MANIFEST_PATH || depth > MAX_MANIFEST_DEPTH {
        return Err(ManifestError::TooDeep(path.clone()));
    }
    for name in path.split('/') {
        EntryName::new(name).map_err(|source| ManifestError::Name { path: path.clone(), source })?;
    }
    if mode & !MODE_BITS != 0 {
        return Err(ManifestError::Mode(path.clone()));
    }
    match kind {
        EntryKind::File(id) if id.length() == 0 && id.root() != sha256(&[]) => Err(ManifestError::Empty(path.clone())),
        _ => Ok(()),
    }
}

/// The names in the directories that lead to the path that was added last. Because the paths come in order, a directory
/// that was left does not come again, and its names can be forgotten.
#[derive(Debug, Default)]
struct Names {
    /// The directories, outermost first, each with what it is called, and the names in it, folded.
    open: Vec<(String, HashSet<String>)>,
    /// The names in the folder itself, folded.
    top: HashSet<String>,
}

impl Names {
    fn add(&mut self, path: &str) -> Result<(), ManifestError> {
        let clash = || ManifestError::Clash(path.to_owned());
        let (directories, name) = path.rsplit_once('/').map_or((None, path), |(front, name)| (Some(front), name));
        let mut depth = 0;
        for directory in directories.into_iter().flat_map(|front| front.split('/')) {
            if self.open.get(depth).is_none_or(|(open, _)| open != directory) {
                self.open.truncate(depth);
                if !self.innermost().insert(fold(directory)) {
                    return Err(clash());
                }
                self.open.push((directory.to_owned(), HashSet::new()));
            }
            depth += 1;
        }
        self.open.truncate(depth);
        if self.innermost().insert(fold(name)) { Ok(()) } else { Err(clash()) }
    }

    fn innermost(&mut self) -> &mut HashSet<String> {
        self.open.last_mut().map_or(&mut self.top, |(_, names)| names)
    }
}

/// A name with case taken away, so that names which some system takes for the same are the same.
fn fold(name: &str) -> String {
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

/// The id of these bytes, at most [`MAX_MANIFEST_BYTES`], as a file.
fn id_of(bytes: &[u8]) -> Result<FileId, ManifestError> {
    hashes_of(bytes).map(|hashes| hashes.file_id())
}

/// The chunk hashes of a manifest's bytes.
pub fn hashes_of(bytes: &[u8]) -> Result<ChunkHashes, ManifestError> {
    let mut hasher = FileHasher::new(bytes.len() as u64)?;
    hasher.update(bytes);
    hasher.finish().ok_or(ManifestError::Malformed)
}

impl From<ReadError> for ManifestError {
    fn from(_: ReadError) -> Self {
        Self::Malformed
    }
}

#[cfg(test)]
mod tests;
