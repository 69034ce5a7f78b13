//! Ids: what names a file, a peer and a network for ever, whoever asks.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};

use crate::chunk::Layout;

/// The longest file there may be: 8 TiB, so that a chunk number always fits 32 bits.
pub const MAX_FILE_LENGTH: u64 = 8 << 40;

/// A folder has at most so many chunks; those of its manifest do not count.
pub const MAX_FOLDER_CHUNKS: u32 = 1 << 20;

/// A SHA-256 digest; as text 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub [u8; 32]);

/// What a file is: its length in bytes and the SHA-256 Merkle root over its blocks, BEP 52's `pieces root`.
///
/// The length is part of the id because a root alone is ambiguous. Decoding refuses lengths over
/// [`MAX_FILE_LENGTH`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawFileId")]
pub struct FileId {
    /// Bytes, at most [`MAX_FILE_LENGTH`].
    length: u64,
    /// The Merkle root.
    root: Hash,
}

/// What one version of an entry names, and what one swarm is about: a file, or a folder with all that is in it.
///
/// As JSON a file is `{"length", "root"}`, as a [`FileId`] is; a folder has `chunks` besides, and length and root are those
/// of its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawContent", into = "RawContent")]
pub enum Content {
    /// One file.
    File(FileId),
    /// A folder.
    Folder(FolderId),
}

/// What a folder is: its manifest, and how many chunks the files have that it lists.
///
/// The number follows from the manifest; it is a part of the id so that who has not seen the manifest knows how long a map
/// of the chunks is. Who has seen it must check it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderId {
    /// The id of the manifest, as of any file.
    manifest: FileId,
    /// At most [`MAX_FOLDER_CHUNKS`].
    chunks: u32,
}

/// Who a peer is: the SHA-256 of its Ed25519 public key; as text 52 characters of lower-case base32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerId(pub [u8; 32]);

/// Which network: for a tracker, the [`PeerId`] of its key. What is shared in one network is not shared in another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkId(pub [u8; 32]);

/// Why a text or a pair of numbers is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 64 hex digits.
    #[error("a hash is 64 hex digits")]
    Hash,
    /// Not 52 characters of base32.
    #[error("a peer id or fingerprint is 52 characters of a-z and 2-7")]
    Base32,
    /// Over [`MAX_FILE_LENGTH`].
    #[error("a file may have at most 8 TiB")]
    TooLong,
    /// Over [`MAX_FOLDER_CHUNKS`].
    #[error("a folder may have at most {MAX_FOLDER_CHUNKS} chunks")]
    TooManyChunks,
    /// Neither a file nor a folder.
    #[error("what is shared is a file, LENGTH-ROOT, or a folder, LENGTH-ROOT-CHUNKS")]
    Content,
}

impl FileId {
    /// The id of a file of `length` bytes with this root; an error when it is longer than [`MAX_FILE_LENGTH`].
    pub const fn new(length: u64, root: Hash) -> Result<Self, IdError> {
        if length > MAX_FILE_LENGTH {
            return Err(IdError::TooLong);
        }
        Ok(Self { length, root })
    }

    /// Bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The Merkle root.
    pub const fn root(&self) -> Hash {
        self.root
    }
}

impl Content {
    /// How many chunks its swarm has.
    pub fn chunks(&self) -> u32 {
        match self {
            Self::File(file) => Layout::of(file).count(),
            Self::Folder(folder) => folder.chunks,
        }
    }

    /// The file, where it is one.
    pub const fn file(&self) -> Option<FileId> {
        match self {
            Self::File(file) => Some(*file),
            Self::Folder(_) => None,
        }
    }

    /// The folder, where it is one.
    pub const fn folder(&self) -> Option<FolderId> {
        match self {
            Self::File(_) => None,
            Self::Folder(folder) => Some(*folder),
        }
    }

    /// The file, or the manifest of the folder.
    pub const fn file_or_manifest(&self) -> FileId {
        match self {
            Self::File(file) => *file,
            Self::Folder(folder) => folder.manifest,
        }
    }
}

impl FolderId {
    /// The id of a folder; an error when it has more than [`MAX_FOLDER_CHUNKS`].
    pub const fn new(manifest: FileId, chunks: u32) -> Result<Self, IdError> {
        if chunks > MAX_FOLDER_CHUNKS {
            return Err(IdError::TooManyChunks);
        }
        Ok(Self { manifest, chunks })
    }

    /// The id of the manifest.
    pub const fn manifest(&self) -> FileId {
        self.manifest
    }

    /// How many chunks the files have that the manifest lists.
    pub const fn chunks(&self) -> u32 {
        self.chunks
    }
}

impl From<FileId> for Content {
    fn from(file: FileId) -> Self {
        Self::File(file)
    }
}

impl From<FolderId> for Content {
    fn from(folder: FolderId) -> Self {
        Self::Folder(folder)
    }
}

/// `length-root` of a file, `length-root-chunks` of a folder.
impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.fmt(f),
            Self::Folder(folder) => write!(f, "{}-{}", folder.manifest, folder.chunks),
        }
    }
}

impl FromStr for Content {
    type Err = IdError;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let is_folder = text.bytes().filter(|byte| *byte == b'-').count() > 1;
        match text.rsplit_once('-') {
            Some((manifest, chunks)) if is_folder => {
                let chunks = chunks.parse().map_err(|_error| IdError::Content)?;
                FolderId::new(manifest.parse()?, chunks).map(Self::Folder)
            }
            _ => text.parse().map(Self::File),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct RawContent {
    length: u64,
    root: Hash,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chunks: Option<u32>,
}

impl TryFrom<RawContent> for Content {
    type Error = IdError;

    fn try_from(raw: RawContent) -> Result<Self, IdError> {
        let file = FileId::new(raw.length, raw.root)?;
        match raw.chunks {
            None => Ok(Self::File(file)),
            Some(chunks) => FolderId::new(file, chunks).map(Self::Folder),
        }
    }
}

impl From<Content> for RawContent {
    fn from(content: Content) -> Self {
        let file = content.file_or_manifest();
        let chunks = content.folder().map(|folder| folder.chunks);
        Self { length: file.length, root: file.root, chunks }
    }
}

#[derive(Deserialize)]
struct RawFileId {
    length: u64,
    root: Hash,
}

impl TryFrom<RawFileId> for FileId {
    type Error = IdError;

    fn try_from(raw: RawFileId) -> Result<Self, IdError> {
        Self::new(raw.length, raw.root)
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.length, self.root)
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileId({self})")
    }
}

impl FromStr for FileId {
    type Err = IdError;

    /// Reads what `Display` writes: the length, a hyphen, the root.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let (length, root) = text.split_once('-').ok_or(IdError::Hash)?;
        let length = length.parse().map_err(|_error| IdError::TooLong)?;
        Self::new(length, root.parse()?)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut bytes = [0; 32];
        if text.len() != 64 {
            return Err(IdError::Hash);
        }
        match HEXLOWER_PERMISSIVE.decode_mut(text.as_bytes(), &mut bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(_) => Err(IdError::Hash),
        }
    }
}

impl TryFrom<String> for Hash {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

fn encode_base32(bytes: &[u8; 32]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn decode_base32(text: &str) -> Result<[u8; 32], IdError> {
    const TEXT_LENGTH: usize = 52;
    let mut bytes = [0; 32];
    if text.len() != TEXT_LENGTH || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(IdError::Base32);
    }
    match BASE32_NOPAD.decode_mut(text.to_ascii_uppercase().as_bytes(), &mut bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(IdError::Base32),
    }
}

macro_rules! base32_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&encode_base32(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                decode_base32(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }
    };
}

base32_id!(PeerId);
base32_id!(NetworkId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_what_they_write() {
        let peer = PeerId([0xa7; 32]);
        assert_eq!(peer.to_string().len(), 52);
        assert_eq!(peer.to_string().parse(), Ok(peer));
        let file = FileId::new(5, Hash([3; 32])).unwrap();
        assert_eq!(file.to_string().parse(), Ok(file));
    }

    #[test]
    fn wrong_texts_are_refused() {
        for text in ["", "a", &"A".repeat(52), &"1".repeat(52), &"a".repeat(53), &"é".repeat(26)] {
            assert_eq!(text.parse::<PeerId>(), Err(IdError::Base32), "{text}");
        }
        for text in ["", "zz", &"g".repeat(64), &"é".repeat(32)] {
            assert_eq!(text.parse::<Hash>(), Err(IdError::Hash), "{text}");
        }
    }

    #[test]
    fn a_file_over_8_tib_is_refused_wherever_it_comes_from() {
        assert!(FileId::new(MAX_FILE_LENGTH, Hash([0; 32])).is_ok());
        assert_eq!(FileId::new(MAX_FILE_LENGTH + 1, Hash([0; 32])), Err(IdError::TooLong));
        let json = format!(r#"{{"length":{},"root":"{}"}}"#, MAX_FILE_LENGTH + 1, Hash([0; 32]));
        assert!(serde_json::from_str::<FileId>(&json).is_err());
    }
}
