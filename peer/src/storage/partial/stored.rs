//! What is noted of something in the making: what it is to become, and where it is; `meta.json`.

use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use common::audience::{Audience, OfferId};
use common::id::{Content, NetworkId};
use serde::{Deserialize, Serialize};

use super::super::Placing;

/// The schema of `meta.json`.
pub(super) const SCHEMA: u32 = 2;
/// The schema before there were audiences; it is read, but not written.
const SCHEMA_WITHOUT_AUDIENCES: u32 = 1;
/// The most that is read of a `meta.json`: it may say how each file of a folder looked.
const MAX_META: u64 = 128 << 20;
/// What a file in the making is to become; `meta.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PartialMeta {
    /// In which network it was asked for.
    pub(crate) network: NetworkId,
    /// `owner/name`; of an offer `sender/name`.
    pub(crate) entry: String,
    /// What the tracker is asked for.
    pub(crate) source: PlanSource,
    /// The bare name.
    pub(crate) name: String,
    /// Which version of the entry; 0 for an offer.
    pub(crate) version: u32,
    /// What it is.
    pub(crate) content: Content,
    /// Under which audience it is downloaded.
    pub(crate) audience: Audience,
    /// Where it is to go.
    pub(crate) target: PathBuf,
    /// How it gets its name there.
    pub(crate) placing: Placing,
    /// What may hold the same bytes at the same places.
    pub(crate) bases: Vec<PathBuf>,
    /// Of a folder: only what matches one of these globs; with none of them, all.
    pub(crate) only: Vec<String>,
}

/// What the tracker is asked for plans of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanSource {
    /// The entry.
    #[default]
    Entry,
    /// An offer that was accepted.
    Offer(OfferId),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) schema: u32,
    pub(super) meta: PartialMeta,
    /// Where the data are.
    pub(super) data: PathBuf,
    /// Where the data go or went, once all is verified.
    pub(super) placed: Option<Placed>,
    /// All of the folder was here, and it is taking the place of an older version, file by file.
    #[serde(default)]
    pub(super) swapping: bool,
}

/// [`Stored`] in [`SCHEMA_WITHOUT_AUDIENCES`].
#[derive(Debug, Deserialize)]
struct StoredWithoutAudiences {
    network: NetworkId,
    entry: String,
    name: String,
    file: Content,
    target: PathBuf,
    data: PathBuf,
    placed: Option<Placed>,
}

impl From<StoredWithoutAudiences> for Stored {
    fn from(old: StoredWithoutAudiences) -> Self {
        let StoredWithoutAudiences { network, entry, name, file, target, data, placed } = old;
        let meta = PartialMeta {
            network,
            entry,
            source: PlanSource::Entry,
            name,
            // Nothing had more than one.
            version: 1,
            content: file,
            audience: Audience::Public,
            target,
            placing: Placing::Beside,
            bases: Vec::new(),
            only: Vec::new(),
        };
        Self { schema: SCHEMA, meta, data, placed, swapping: false }
    }
}

/// A file under its final name, and how to know it again: a number of an inode alone may come back for another file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Placed {
    pub(super) path: PathBuf,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// When it was made, nanoseconds since 1970; `None` where the file system does not say, and then it is never touched.
    pub(super) born_ns: Option<u64>,
    /// When it was written last; later than this, somebody else has.
    pub(super) written_ns: Option<u64>,
}

impl Placed {
    pub(super) fn of(path: &Path, metadata: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            born_ns: since_1970(metadata.created()),
            written_ns: since_1970(metadata.modified()),
        }
    }

    /// Whether this is that file, whatever was done with it.
    pub(super) fn is_same_file(&self, metadata: &Metadata) -> bool {
        (metadata.dev(), metadata.ino()) == (self.device, self.inode)
    }

    /// Whether the file there now is this one, and nobody has written to it since.
    pub(super) fn is_still(&self, metadata: &Metadata) -> bool {
        let now = Self::of(&self.path, metadata);
        // A crash may have lost the last time of writing, so an earlier one will do.
        (now.device, now.inode, now.born_ns) == (self.device, self.inode, self.born_ns)
            && now.born_ns.is_some()
            && now.written_ns <= self.written_ns
    }
}

fn since_1970(time: io::Result<SystemTime>) -> Option<u64> {
    let since = time.ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_nanos()).ok()
}

pub(super) fn read_stored(folder: &Path) -> Option<Stored> {
    let path = folder.join("meta.json");
    if fs::metadata(&path).ok()?.len() > MAX_META {
        return None;
    }
    #[derive(Deserialize)]
    struct Schema {
        schema: u32,
    }
    let bytes = fs::read(path).ok()?;
    match serde_json::from_slice::<Schema>(&bytes).ok()?.schema {
        SCHEMA => serde_json::from_slice(&bytes).ok(),
        SCHEMA_WITHOUT_AUDIENCES => serde_json::from_slice::<StoredWithoutAudiences>(&bytes).ok().map(Stored::from),
        _ => None,
    }
}

pub(super) fn write_stored(folder: &Path, stored: &Stored) -> io::Result<()> {
    write_atomically(&folder.join("meta.json"), &serde_json::to_vec_pretty(stored)?)
}

/// A crash leaves the old content or the new, never a half; neither is synced.
pub(super) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    fs::rename(temporary, path)
}
