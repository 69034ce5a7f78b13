//! What is said of the catalogue: entries, their versions, and lists of them.

use serde::{Deserialize, Serialize};

use crate::id::Content;
use crate::manifest::Manifest;

/// Which part of a list, and in which order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Query {
    /// Skip so many.
    #[serde(default)]
    pub offset: u32,
    /// At most so many; 0, or more than [`crate::wire::MAX_PAGE`], means that.
    #[serde(default)]
    pub limit: u32,
    /// Only entries of the caller.
    #[serde(default)]
    pub mine: bool,
    /// In which order.
    #[serde(default)]
    pub by: SortBy,
}

/// Orders of lists; equals are in the order of name and owner.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SortBy {
    /// By name, then owner.
    #[default]
    Name,
    /// The largest first.
    Size,
    /// The newest first.
    Date,
    /// Those with most seeders first.
    Seeders,
}

/// How much is in a folder, by the word of who registered it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderSize {
    /// Files.
    pub files: u32,
    /// Bytes in all of them together.
    pub bytes: u64,
}

impl From<&Manifest> for FolderSize {
    fn from(manifest: &Manifest) -> Self {
        Self { files: manifest.file_count(), bytes: manifest.layout().length() }
    }
}

/// A line of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose: several where they have the same file under the same name.
    pub owners: Vec<String>,
    /// Its name, without owner.
    pub name: String,
    /// Which version this is of its first owner's entry, from 1.
    #[serde(default)]
    pub version: u32,
    /// What it names.
    pub content: Content,
    /// With a folder: how much is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderSize>,
    /// Whether it is for some users only.
    #[serde(default)]
    pub restricted: bool,
    /// Those users, beside the owner; told to the owner only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// How many online peers have all of it.
    pub seeders: u32,
    /// How many online peers have a part of it or want it.
    pub downloaders: u32,
    /// When this version was registered first, milliseconds since 1970 (UTC).
    pub registered_ms: u64,
}

impl Entry {
    /// Bytes of it: of a folder, of all files in it together.
    pub fn bytes(&self) -> u64 {
        self.folder.map_or_else(|| self.content.file_or_manifest().length(), |folder| folder.bytes)
    }
}

/// One version of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number, from 1.
    pub number: u32,
    /// What it names.
    pub content: Content,
    /// With a folder: how much is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<FolderSize>,
    /// When it was registered, milliseconds since 1970 (UTC).
    pub registered_ms: u64,
    /// How many online peers have all of it.
    pub seeders: u32,
    /// How many online peers have a part of it or want it.
    pub downloaders: u32,
}
