//! A file in the making: data, journal, chunk hashes and what it is to become, in `downloading/ID/`.
//!
//! The data lie there too, unless the target is on another file system: then in a hidden file beside the target, so that
//! the final name is one rename away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use common::audience::{Audience, OfferId};
use common::bitmap::Bitmap;
use common::chunk::{ChunkIndex, SwarmLayout};
use common::id::{Content, Hash, NetworkId};
use common::manifest::{Entry, Manifest};
use common::merkle::{RunHasher, SwarmHashes, join_runs};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::beneath::Root;
use super::body::{Body, Tree, write_at};
use super::drafts::{Draft, Places, To, lock};
use super::journal::Journal;
use super::place::{Replaced, mend, place_over};
use super::swap::{Swap, Swapped};
use super::{Looks, PARTIAL_PREFIX, Placing, SEGMENT, Stamp, sync_parent};
use crate::outline::Outline;
use crate::selection::is_selected;

/// The schema of `meta.json`.
const SCHEMA: u32 = 2;
/// The schema before there were audiences; it is read, but not written.
const SCHEMA_WITHOUT_AUDIENCES: u32 = 1;
/// The most that is read of a `meta.json`: it may say how each file of a folder looked.
const MAX_META: u64 = 128 << 20;
/// The manifest of a folder in the making.
const MANIFEST: &str = "manifest";

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
struct Stored {
    schema: u32,
    meta: PartialMeta,
    /// Where the data are.
    data: PathBuf,
    /// Where the data go or went, once all is verified.
    placed: Option<Placed>,
    /// All of the folder was here, and it is taking the place of an older version, file by file.
    #[serde(default)]
    swapping: bool,
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
struct Placed {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// When it was made, nanoseconds since 1970; `None` where the file system does not say, and then it is never touched.
    born_ns: Option<u64>,
    /// When it was written last; later than this, somebody else has.
    written_ns: Option<u64>,
}

impl Placed {
    fn of(path: &Path, metadata: &Metadata) -> Self {
        Self {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            born_ns: since_1970(metadata.created()),
            written_ns: since_1970(metadata.modified()),
        }
    }

    /// Whether this is that file, whatever was done with it.
    fn is_same_file(&self, metadata: &Metadata) -> bool {
        (metadata.dev(), metadata.ino()) == (self.device, self.inode)
    }

    /// Whether the file there now is this one, and nobody has written to it since.
    fn is_still(&self, metadata: &Metadata) -> bool {
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

/// Where something complete is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) path: PathBuf,
    /// What was to be replaced, was edited, and stays.
    pub(crate) edited: Vec<PathBuf>,
    /// Files of a folder that do not lie at their paths in it.
    pub(crate) elsewhere: BTreeSet<String>,
}

/// A file in the making that an earlier run left.
#[derive(Debug)]
pub(crate) struct PartialRecord {
    pub(crate) meta: PartialMeta,
}

/// An open file in the making.
#[derive(Debug)]
pub(crate) struct Partial {
    folder: PathBuf,
    outline: Outline,
    stored: Mutex<Stored>,
    body: Body,
    journal: Mutex<Journal>,
    places: Places,
}

/// A file in the making, and what is there of it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) partial: Partial,
    /// Surely there.
    pub(crate) synced: Bitmap,
    /// To be hashed again.
    pub(crate) written: Bitmap,
    /// The chunk hashes, where an earlier run had them.
    pub(crate) hashes: Option<SwarmHashes>,
}

impl Partial {
    /// Notes that a folder is to be made, before its manifest is there; says where that goes.
    pub(crate) fn begin_folder(downloading: &Path, meta: PartialMeta) -> io::Result<PathBuf> {
        let folder = downloading.join(meta.content.to_string());
        fs::create_dir_all(&folder)?;
        if read_stored(&folder).is_none_or(|stored| stored.meta.content != meta.content) {
            let data = folder.join("data");
            write_stored(&folder, &Stored { schema: SCHEMA, meta, data, placed: None, swapping: false })?;
        }
        Ok(folder.join(MANIFEST))
    }

    /// Opens what is there of something in the making, or begins it. `meta` replaces what an earlier run wanted.
    pub(crate) fn open(downloading: &Path, meta: PartialMeta, outline: Outline) -> io::Result<Opened> {
        let folder = downloading.join(meta.content.to_string());
        fs::create_dir_all(&folder)?;
        let earlier = read_stored(&folder).filter(|stored| stored.meta.content == meta.content);
        let swapping = earlier.as_ref().is_some_and(|earlier| earlier.swapping);
        let earlier = earlier.filter(|earlier| !swapping || earlier.meta.target == meta.target);
        if swapping && earlier.is_none() {
            // A part of it lies where it is not wanted any more.
            remove_folder(&folder.join("data"))?;
            remove_if_there(&folder.join("journal"))?;
        }
        let swapping = swapping && earlier.is_some();
        earlier.as_ref().map_or(Ok(()), mend_placing)?;
        let (data_path, body) = open_body(&folder, &meta, earlier.as_ref(), &outline)?;
        let journal_path = folder.join("journal");
        if let Body::File(data) = &body
            && data.metadata()?.len() != outline.layout().length()
        {
            // Nothing that the journal says is about these bytes.
            remove_if_there(&journal_path)?;
            data.set_len(outline.layout().length())?;
        }
        let hashes = read_hashes(&folder, outline.layout());
        let stored = Stored { schema: SCHEMA, meta, data: data_path, placed: None, swapping };
        write_stored(&folder, &stored)?;
        let (journal, replayed) = Journal::open(&journal_path, outline.layout().count())?;
        let (stored, journal, places) = (Mutex::new(stored), Mutex::new(journal), Places::default());
        let partial = Self { folder, outline, stored, body, journal, places };
        Ok(Opened { partial, synced: replayed.synced, written: replayed.written, hashes })
    }

    /// What earlier runs left under `downloading`. A file that had its final name already, but perhaps not on the disk, is
    /// checked: it is finished where it is right, and taken back where it is not.
    pub(crate) fn list(downloading: &Path) -> io::Result<Vec<PartialRecord>> {
        let mut found = Vec::new();
        for folder in fs::read_dir(downloading)? {
            let folder = folder?.path();
            let Some(stored) = read_stored(&folder) else { continue };
            mend_placing(&stored)?;
            if let Some(placed) = &stored.placed
                && !stored.data.exists()
                && settle(&folder, &stored, placed)?
            {
                continue;
            }
            found.push(PartialRecord { meta: stored.meta });
        }
        Ok(found)
    }

    /// Removes what is there of something in the making that nobody wants any more. Nobody has it open.
    pub(crate) fn discard(downloading: &Path, content: &Content) -> io::Result<()> {
        let folder = downloading.join(content.to_string());
        // Without this record nobody knows what else is there.
        if let Some(stored) = read_stored(&folder).filter(|stored| stored.meta.content == *content) {
            remove_if_there(&stored.data)?;
        }
        remove_folder(&folder)
    }

    /// Keeps the chunk hashes for later runs.
    pub(crate) fn keep_hashes(&self, hashes: &SwarmHashes) -> io::Result<()> {
        let bytes: Vec<u8> = hashes.as_slice().iter().flat_map(|hash| hash.0).collect();
        write_atomically(&self.folder.join("hashes"), &bytes)
    }

    /// Writes a chunk that is right, and notes that; nothing happens where it is there already.
    pub(crate) fn write_chunk(&self, chunk: u32, bytes: &[u8]) -> io::Result<()> {
        self.places.settle(chunk, || {
            self.write_at(chunk, 0, bytes)?;
            self.mark_written(chunk)
        })
    }

    /// Begins a chunk that comes in parts, of which nobody knows yet whether they are right.
    pub(crate) fn draft(&self, chunk: u32) -> io::Result<Draft> {
        self.places.draft(chunk, &self.folder)
    }

    /// Writes a part of a draft, `offset` bytes from the beginning of its chunk.
    pub(crate) fn write_draft(&self, draft: &Draft, bytes: &[u8], offset: u64) -> io::Result<()> {
        match &draft.to {
            To::Place(pass) => {
                let pass = lock(pass);
                if *pass { self.write_at(draft.chunk, offset, bytes) } else { Ok(()) }
            }
            To::Beside(file) => write_at(file, bytes, offset),
            To::Nowhere => Ok(()),
        }
    }

    /// All parts of a draft are written and right: notes that the chunk is there.
    pub(crate) fn accept(&self, draft: &Draft) -> io::Result<()> {
        self.places.settle(draft.chunk, || {
            if let To::Beside(file) = &draft.to {
                self.copy_to_place(file, draft.chunk)?;
            }
            self.mark_written(draft.chunk)
        })
    }

    fn copy_to_place(&self, file: &File, chunk: u32) -> io::Result<()> {
        let layout = self.outline.layout();
        let mut left = layout.chunk(chunk).map_or(0, |index| layout.size(index)) as usize;
        let mut buffer = vec![0; left.min(SEGMENT)];
        let mut at = 0;
        while left > 0 {
            let part = left.min(buffer.len());
            file.read_exact_at(&mut buffer[..part], at)?;
            self.write_at(chunk, at, &buffer[..part])?;
            at += part as u64;
            left -= part;
        }
        Ok(())
    }

    /// From now on nothing is written, whoever is still about to: another run may begin.
    pub(crate) fn end_writing(&self) {
        self.places.end();
    }

    fn write_at(&self, chunk: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.body.write_at(self.outline.layout().place(self.index(chunk)?), offset, bytes)
    }

    /// Reads from `offset` within a chunk.
    pub(crate) fn read_at(&self, chunk: u32, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.body.read_exact_at(self.outline.layout().place(self.index(chunk)?), offset, buffer)
    }

    fn index(&self, chunk: u32) -> io::Result<ChunkIndex> {
        self.outline.layout().chunk(chunk).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether a chunk that was written is what it must be.
    pub(crate) fn is_right(&self, hashes: &SwarmHashes, chunk: u32) -> io::Result<bool> {
        match verify_chunk(hashes, chunk, |offset, buffer| self.read_at(chunk, offset, buffer)) {
            // A file of the folder that was never made, or not so far.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(false),
            right => right,
        }
    }

    /// How it is cut, and of a folder what is in it.
    pub(crate) const fn outline(&self) -> &Outline {
        &self.outline
    }

    /// How what lies where it was placed looks; of a folder, the files that lie at their paths.
    pub(crate) fn looks(&self, placement: &Placement) -> io::Result<Looks> {
        match &self.body {
            Body::File(file) => {
                let mut stamp = Stamp::of(&file.metadata()?);
                // Under its name it is anybody's to edit: what was written since is not what was downloaded.
                let written_ns = lock(&self.stored).placed.as_ref().and_then(|placed| placed.written_ns);
                stamp.mtime_ns = written_ns.map_or(stamp.mtime_ns, i128::from);
                stamp.size = self.meta().content.file_or_manifest().length();
                Ok(Looks::File(stamp))
            }
            Body::Folder(_) => self.looks_of_folder(placement),
        }
    }

    fn looks_of_folder(&self, placement: &Placement) -> io::Result<Looks> {
        let only = self.meta().only;
        let entries = self.outline.manifest().into_iter().flat_map(|manifest| manifest.entries());
        let here = |entry: &&Entry| is_selected(&only, &entry.path) && !placement.elsewhere.contains(&entry.path);
        Looks::of_folder(&placement.path, entries.filter(here))
    }

    /// What it is to become.
    pub(crate) fn meta(&self) -> PartialMeta {
        lock(&self.stored).meta.clone()
    }

    /// Where the data are, for messages.
    pub(crate) fn data_path(&self) -> PathBuf {
        lock(&self.stored).data.clone()
    }

    /// Forgets all marks but these: what was found at the start.
    pub(crate) fn mark_found(&self, synced: &Bitmap, written: &Bitmap) -> io::Result<()> {
        lock(&self.journal).replace(&self.folder.join("journal"), synced, written)
    }

    /// Notes that a chunk was verified and written.
    fn mark_written(&self, chunk: u32) -> io::Result<()> {
        lock(&self.journal).written(chunk)
    }

    /// Puts what was written so far on the disk, then notes that.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let covered = lock(&self.journal).records();
        self.body.sync()?;
        lock(&self.journal).synced(covered)
    }

    /// Gives what is complete its final name and says what that is. The journal stays until [`Self::settle`].
    pub(crate) fn place(&self) -> io::Result<Placement> {
        let mut stored = lock(&self.stored);
        let (data, target, placing) = (stored.data.clone(), stored.meta.target.clone(), stored.meta.placing.clone());
        make_parent(&target)?;
        if let Body::Folder(tree) = &self.body
            && !stored.swapping
        {
            tree.finish(&|entry| is_selected(&stored.meta.only, &entry.path))?;
        }
        if let (Body::Folder(tree), Placing::Over { looks: Looks::Folder(looks), .. }) = (&self.body, &placing)
            && target.symlink_metadata().is_ok_and(|metadata| metadata.is_dir())
        {
            return self.swap(&mut stored, tree, looks);
        }
        let metadata = self.body.handle()?.metadata()?;
        let note = |candidate: &Path| {
            stored.placed = Some(Placed::of(candidate, &metadata));
            write_stored(&self.folder, &stored)
        };
        let replaced = match placing {
            Placing::Beside => Replaced { path: super::place(&data, &target, note)?, edited: None },
            Placing::Over { looks, otherwise } => {
                make_parent(&otherwise)?;
                // What it replaces is gone for good: the new one is on the disk before that.
                self.body.sync()?;
                let is_file = matches!((&self.body, &looks), (Body::File(_), Looks::File(_)));
                if is_file || target.symlink_metadata().is_err() {
                    place_over(&data, &target, &looks, &otherwise, note)?
                } else {
                    // A folder that was a file, or the other way round.
                    Replaced { path: super::place(&data, &otherwise, note)?, edited: Some(target) }
                }
            }
        };
        let Replaced { path, edited } = replaced;
        Ok(Placement { path, edited: edited.into_iter().collect(), elsewhere: BTreeSet::new() })
    }

    fn swap(&self, stored: &mut Stored, tree: &Tree, looks: &BTreeMap<String, Stamp>) -> io::Result<Placement> {
        let (target, version) = (stored.meta.target.clone(), stored.meta.version);
        let manifest = self.outline.manifest().ok_or(io::ErrorKind::InvalidInput)?;
        if !stored.swapping {
            // From here on files leave the place that the journal speaks of: all of them are believed.
            self.body.sync_all()?;
            let mut journal = lock(&self.journal);
            let covered = journal.records();
            journal.synced(covered)?;
            stored.swapping = true;
            write_stored(&self.folder, stored)?;
        }
        let swap = Swap { from: tree.root(), manifest, version, target: &target, looks };
        let Swapped { edited, elsewhere } = swap.run()?;
        Ok(Placement { path: target, edited, elsewhere })
    }

    /// Puts the complete file and its name on the disk, then forgets the journal.
    pub(crate) fn settle(&self) -> io::Result<()> {
        self.body.sync_all()?;
        let placed = lock(&self.stored).placed.clone();
        if let Some(placed) = placed {
            sync_parent(&placed.path)?;
        } else if matches!(&self.body, Body::Folder(_)) {
            // What was swapped left its directories behind.
            remove_folder(&self.data_path())?;
        }
        remove_folder(&self.folder)
    }
}

/// Whether a chunk is what it must be, going by what `read` gives from an offset within it.
pub(crate) fn verify_chunk(
    hashes: &SwarmHashes,
    chunk: u32,
    mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<bool> {
    let layout = hashes.layout();
    let Some(chunk) = layout.chunk(chunk) else { return Ok(false) };
    let size = layout.size(chunk) as usize;
    let mut buffer = vec![0; SEGMENT.min(size)];
    let mut hasher = RunHasher::default();
    let mut at = 0;
    while at < size {
        let want = (size - at).min(buffer.len());
        read(at as u64, &mut buffer[..want])?;
        hasher.update(&buffer[..want]);
        at += want;
    }
    Ok(hasher.finish(layout.span(chunk)) == Some(hashes.of(chunk)))
}

/// The hash of a chunk from those of its segments; `span` is that of its file.
pub(crate) fn join_segments(span: u64, segments: &[Hash]) -> Option<Hash> {
    join_runs(segments, SEGMENT as u64, span)
}

/// A run that did not live to the end may have stopped in the middle of replacing a file.
fn mend_placing(stored: &Stored) -> io::Result<()> {
    match &stored.placed {
        Some(placed) => mend(&stored.data, &placed.path, &stored.meta.placing, |found| placed.is_same_file(found)),
        None => Ok(()),
    }
}

/// Looks at what was placed by a run that did not live to sync it. Says whether it is settled now.
fn settle(folder: &Path, stored: &Stored, placed: &Placed) -> io::Result<bool> {
    let ours = File::open(&placed.path).and_then(|file| Ok((placed.is_still(&file.metadata()?), file)));
    let outline = read_outline(folder, &stored.meta.content);
    let (Ok((true, handle)), Some(outline)) = (ours, outline) else {
        // Moved, deleted or edited by its owner since: it is the owner's now.
        remove_folder(folder)?;
        return Ok(true);
    };
    let body = match outline.manifest() {
        None => Body::File(handle),
        Some(manifest) => Body::Folder(Tree::new(Root::open_own(&placed.path)?, Arc::clone(manifest))),
    };
    let layout = outline.layout();
    let (_, replayed) = Journal::open(&folder.join("journal"), layout.count())?;
    let Some(hashes) = read_hashes(folder, layout) else {
        fs::rename(&placed.path, &stored.data)?;
        return Ok(false);
    };
    let is_right = |chunk| {
        let place = layout.place(chunk);
        verify_chunk(&hashes, chunk.get(), |offset, buffer| body.read_exact_at(place, offset, buffer)).unwrap_or(false)
    };
    let length_is_right = match &body {
        Body::File(file) => file.metadata()?.len() == layout.length(),
        Body::Folder(_) => true,
    };
    let doubtful = layout.chunks().filter(|chunk| !replayed.synced.contains(chunk.get()));
    let wrong: Vec<ChunkIndex> = doubtful.filter(|chunk| !is_right(*chunk)).collect();
    if wrong.is_empty() && length_is_right {
        body.sync_all()?;
        sync_parent(&placed.path)?;
        remove_folder(folder)?;
        return Ok(true);
    }
    if let Body::Folder(tree) = &body
        && wrong.iter().any(|chunk| tree.was_edited(layout.place(*chunk).file, placed.written_ns))
    {
        // Its owner works in it already.
        remove_folder(folder)?;
        return Ok(true);
    }
    fs::rename(&placed.path, &stored.data)?;
    Ok(false)
}

/// The outline of something in the making, as far as it is known.
fn read_outline(folder: &Path, content: &Content) -> Option<Outline> {
    match content {
        Content::File(file) => Some(Outline::of_file(file)),
        Content::Folder(id) => {
            let bytes = fs::read(folder.join(MANIFEST)).ok()?;
            let manifest = Manifest::decode_as(&bytes, id).ok()?;
            Some(Outline::of_folder(Arc::new(manifest)))
        }
    }
}

fn open_body(
    folder: &Path,
    meta: &PartialMeta,
    earlier: Option<&Stored>,
    outline: &Outline,
) -> io::Result<(PathBuf, Body)> {
    let wanted = data_path(folder, meta)?;
    if let Some(earlier) = earlier
        && earlier.data != wanted
        && fs::symlink_metadata(&earlier.data).is_ok()
        && fs::rename(&earlier.data, &wanted).is_err()
    {
        // The target is on another file system now: begin there anew, and leave nothing behind.
        match outline.manifest() {
            None => remove_if_there(&earlier.data)?,
            Some(_) => remove_folder(&earlier.data)?,
        }
        remove_if_there(&folder.join("journal"))?;
    }
    let Some(manifest) = outline.manifest() else {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // Beside the target others may write: a link that lies there is not ours.
        let file = options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed()).open(&wanted)?;
        return Ok((wanted, Body::File(file)));
    };
    match fs::create_dir(&wanted) {
        // Nothing that the journal says is about what is there now.
        Ok(()) => remove_if_there(&folder.join("journal"))?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let tree = Tree::new(Root::open_own(&wanted)?, Arc::clone(manifest));
    Ok((wanted, Body::Folder(tree)))
}

/// In the folder, or beside the target where that is on another file system.
fn data_path(folder: &Path, meta: &PartialMeta) -> io::Result<PathBuf> {
    let inside = folder.join("data");
    let Some(parent) = meta.target.parent() else { return Ok(inside) };
    fs::create_dir_all(parent)?;
    if fs::metadata(parent)?.dev() == fs::metadata(folder)?.dev() {
        return Ok(inside);
    }
    Ok(parent.join(format!("{PARTIAL_PREFIX}{}.part", meta.content)))
}

fn read_stored(folder: &Path) -> Option<Stored> {
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

fn write_stored(folder: &Path, stored: &Stored) -> io::Result<()> {
    write_atomically(&folder.join("meta.json"), &serde_json::to_vec_pretty(stored)?)
}

fn read_hashes(folder: &Path, layout: &SwarmLayout) -> Option<SwarmHashes> {
    const HASH: usize = 32;
    let path = folder.join("hashes");
    let length = u64::from(layout.count()) * HASH as u64;
    if fs::metadata(&path).ok()?.len() != length {
        return None;
    }
    let bytes = fs::read(path).ok()?;
    let hashes = bytes.chunks_exact(HASH).filter_map(|hash| hash.try_into().ok().map(Hash)).collect();
    SwarmHashes::checked(layout, hashes).ok()
}

/// A crash leaves the old content or the new, never a half; neither is synced.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    fs::rename(temporary, path)
}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Looks;
    use common::id::FileId;
    use common::merkle::FileHasher;

    struct Sample(SwarmHashes);

    impl std::ops::Deref for Sample {
        type Target = SwarmHashes;

        fn deref(&self) -> &SwarmHashes {
            &self.0
        }
    }

    impl Sample {
        fn file_id(&self) -> FileId {
            self.0.layout().parts()[0].id()
        }
    }

    fn sample(length: usize) -> (Vec<u8>, Sample) {
        let bytes: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut hasher = FileHasher::new(length as u64).unwrap();
        hasher.update(&bytes);
        (bytes, Sample(hasher.finish().unwrap().into()))
    }

    fn open(downloading: &Path, meta: PartialMeta) -> io::Result<Opened> {
        let outline = Outline::of_file(&meta.content.file_or_manifest());
        Partial::open(downloading, meta, outline)
    }

    fn write_raw(partial: &Partial, bytes: &[u8]) {
        partial.body.write_at(common::chunk::Place { file: 0, offset: 0 }, 0, bytes).unwrap();
    }

    fn meta(file: FileId, target: PathBuf) -> PartialMeta {
        PartialMeta {
            network: NetworkId([1; 32]),
            entry: "ann/x".into(),
            source: PlanSource::Offer(OfferId(7)),
            name: "x".into(),
            version: 3,
            content: file.into(),
            audience: Audience::Offer(OfferId(7)),
            target,
            placing: Placing::Beside,
            bases: vec!["/old".into()],
            only: Vec::new(),
        }
    }

    #[test]
    fn what_was_written_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, hashes) = sample(50_000);
        let meta = meta(hashes.file_id(), dir.path().join("out/x"));
        let opened = open(dir.path(), meta.clone()).unwrap();
        assert!(opened.synced.is_empty() && opened.written.is_empty() && opened.hashes.is_none());
        opened.partial.keep_hashes(&hashes).unwrap();
        write_raw(&opened.partial, &bytes[..16384]);
        opened.partial.mark_written(0).unwrap();
        opened.partial.sync().unwrap();
        opened.partial.mark_written(1).unwrap(); // a lie: nothing was written
        drop(opened);
        let listed = Partial::list(dir.path()).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].meta, meta);
        let opened = open(dir.path(), meta).unwrap();
        assert_eq!(opened.synced.iter().collect::<Vec<_>>(), [0]);
        assert_eq!(opened.written.iter().collect::<Vec<_>>(), [1]);
        assert_eq!(opened.hashes.as_ref(), Some(&hashes.0));
        assert!(opened.partial.is_right(&hashes, 0).unwrap());
        assert!(!opened.partial.is_right(&hashes, 1).unwrap());
        assert!(!opened.partial.is_right(&hashes, 99).unwrap());
    }

    #[test]
    fn what_a_program_without_audiences_left_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let (_, hashes) = sample(50_000);
        let file = hashes.file_id();
        let folder = dir.path().join(file.to_string());
        fs::create_dir_all(&folder).unwrap();
        let (network, target) = (NetworkId([1; 32]), dir.path().join("x"));
        let data = folder.join("data");
        let old = serde_json::json!({
            "schema": 1, "network": network, "entry": "ann/x", "name": "x", "file": file, "target": target, "data": data,
            "placed": null,
        });
        fs::write(folder.join("meta.json"), old.to_string()).unwrap();
        let [PartialRecord { meta }] = <[_; 1]>::try_from(Partial::list(dir.path()).unwrap()).unwrap();
        assert_eq!((meta.content, meta.audience, meta.version), (file.into(), Audience::Public, 1));
        assert_eq!((meta.target, meta.source, meta.placing), (target, PlanSource::Entry, Placing::Beside));
    }

    #[test]
    fn a_placed_file_is_settled_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (downloading, target) = (dir.path().join("downloading"), dir.path().join("out/x"));
        let (bytes, hashes) = sample(50_000);
        let opened = open(&downloading, meta(hashes.file_id(), target.clone())).unwrap();
        write_raw(&opened.partial, &bytes);
        let placement = opened.partial.place().unwrap();
        assert_eq!(placement.path, target);
        let looks = opened.partial.looks(&placement).unwrap();
        assert_eq!(looks.check(&target), Ok(()));
        opened.partial.settle().unwrap();
        assert_eq!(fs::read(target).unwrap(), bytes);
        assert_eq!(fs::read_dir(&downloading).unwrap().count(), 0);
    }

    #[test]
    fn an_edit_right_after_the_final_name_is_not_taken_for_what_was_downloaded() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x");
        let (bytes, hashes) = sample(50_000);
        let opened = open(&dir.path().join("downloading"), meta(hashes.file_id(), target.clone())).unwrap();
        write_raw(&opened.partial, &bytes);
        let placement = opened.partial.place().unwrap();
        let later = fs::metadata(&target).unwrap().modified().unwrap() + std::time::Duration::from_millis(10);
        let file = OpenOptions::new().write(true).open(&target).unwrap();
        file.write_all_at(b"mine", 0).unwrap();
        file.set_modified(later).unwrap();
        assert!(opened.partial.looks(&placement).unwrap().check(&target).is_err());
    }

    #[test]
    fn a_file_placed_before_a_crash_is_checked_and_taken_back_when_wrong() {
        for right in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let (downloading, target) = (dir.path().join("downloading"), dir.path().join("x"));
            let (bytes, hashes) = sample(50_000);
            let opened = open(&downloading, meta(hashes.file_id(), target.clone())).unwrap();
            opened.partial.keep_hashes(&hashes).unwrap();
            write_raw(&opened.partial, &bytes);
            for chunk in 0..4 {
                opened.partial.mark_written(chunk).unwrap();
            }
            opened.partial.place().unwrap();
            drop(opened);
            if !right {
                let file = OpenOptions::new().write(true).open(&target).unwrap();
                let written = file.metadata().unwrap().modified().unwrap();
                file.write_all_at(&[0; 9], 20_000).unwrap();
                // As a crash that lost a page would leave it.
                file.set_modified(written).unwrap();
            }
            let left = Partial::list(&downloading).unwrap();
            assert_eq!(left.is_empty(), right);
            assert_eq!(target.exists(), right);
        }
    }

    #[test]
    fn a_replacing_that_a_crash_cut_off_is_finished_or_taken_back() {
        for edited in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (downloading, target) = (dir.path().join("downloading"), dir.path().join("x"));
            let (bytes, hashes) = sample(50_000);
            fs::write(&target, "old").unwrap();
            let looks = Looks::File(Stamp::of(&fs::metadata(&target).unwrap()));
            let placing = Placing::Over { looks, otherwise: dir.path().join("x (v2)") };
            let meta = PartialMeta { placing, ..meta(hashes.file_id(), target.clone()) };
            let partial = open(&downloading, meta.clone()).unwrap().partial;
            partial.keep_hashes(&hashes).unwrap();
            write_raw(&partial, &bytes);
            for chunk in 0..4 {
                partial.mark_written(chunk).unwrap();
            }
            if edited {
                fs::write(&target, "mine").unwrap();
            }
            {
                let mut stored = lock(&partial.stored);
                stored.placed = Some(Placed::of(&target, &partial.body.handle().unwrap().metadata().unwrap()));
                write_stored(&partial.folder, &stored).unwrap();
                use rustix::fs::{CWD, RenameFlags, renameat_with};
                renameat_with(CWD, &stored.data, CWD, &target, RenameFlags::EXCHANGE).unwrap();
            }
            drop(partial);
            let left = Partial::list(&downloading).unwrap();
            assert_eq!(left.len(), usize::from(edited));
            if !edited {
                assert_eq!(fs::read(&target).unwrap(), bytes);
                assert_eq!(fs::read_dir(&downloading).unwrap().count(), 0);
                continue;
            }
            assert_eq!(fs::read(&target).unwrap(), b"mine");
            let opened = open(&downloading, meta).unwrap();
            assert_eq!(opened.written.count(), 4, "nothing of it is fetched again");
            let replaced = opened.partial.place().unwrap();
            assert_eq!((&replaced.path, &replaced.edited), (&dir.path().join("x (v2)"), &vec![target.clone()]));
            assert_eq!(fs::read(replaced.path).unwrap(), bytes);
            assert_eq!(fs::read(&target).unwrap(), b"mine");
        }
    }

    #[test]
    fn a_lie_that_comes_beside_a_right_chunk_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        let (bytes, hashes) = sample(3_000_000);
        let opened = open(dir.path(), meta(hashes.file_id(), dir.path().join("x"))).unwrap();
        let partial = opened.partial;
        let size = usize::try_from(hashes.layout().largest_chunk()).unwrap();
        let (half, right) = (size / 2, |chunk: usize| &bytes[chunk * size..(chunk + 1) * size]);
        let is_right = |chunk| partial.is_right(&hashes, chunk).unwrap();
        // The lie is there first, goes on, and comes late as well.
        let (lie, truth) = (partial.draft(3).unwrap(), partial.draft(3).unwrap());
        partial.write_draft(&lie, &vec![0; half], 0).unwrap();
        partial.write_draft(&truth, &right(3)[..half], 0).unwrap();
        partial.write_draft(&truth, &right(3)[half..], half as u64).unwrap();
        partial.accept(&truth).unwrap();
        partial.write_draft(&lie, &vec![0; half], half as u64).unwrap();
        assert!(is_right(3));
        let late = partial.draft(3).unwrap();
        partial.write_draft(&late, &vec![0; size], 0).unwrap();
        assert!(is_right(3));
        // The truth is there first.
        let (truth, lie) = (partial.draft(4).unwrap(), partial.draft(4).unwrap());
        partial.write_draft(&truth, right(4), 0).unwrap();
        partial.write_draft(&lie, &vec![0; size], 0).unwrap();
        partial.accept(&truth).unwrap();
        assert!(is_right(4));
        // One that was given up leaves its place to the next.
        drop(partial.draft(5).unwrap());
        let next = partial.draft(5).unwrap();
        assert!(matches!(next.to, To::Place(_)));
        partial.write_draft(&next, right(5), 0).unwrap();
        partial.end_writing();
        partial.write_draft(&next, &vec![0; size], 0).unwrap();
        partial.accept(&next).unwrap();
        partial.write_chunk(6, right(6)).unwrap();
        assert!(is_right(5) && !is_right(6));
        assert_eq!(lock(&partial.journal).records(), 2);
        let left = fs::read_dir(&partial.folder).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with("draft")));
    }

    #[test]
    fn a_link_where_the_data_go_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (_, hashes) = sample(50_000);
        let meta = meta(hashes.file_id(), dir.path().join("x"));
        let (folder, theirs) = (dir.path().join(meta.content.to_string()), dir.path().join("theirs"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(&theirs, "mine").unwrap();
        std::os::unix::fs::symlink(&theirs, folder.join("data")).unwrap();
        assert!(open(dir.path(), meta).is_err());
        assert_eq!(fs::read(theirs).unwrap(), b"mine");
    }

    #[test]
    fn data_of_another_length_are_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let (_, hashes) = sample(50_000);
        let meta = meta(hashes.file_id(), dir.path().join("x"));
        let opened = open(dir.path(), meta.clone()).unwrap();
        opened.partial.mark_written(2).unwrap();
        let data = opened.partial.data_path();
        drop(opened);
        File::options().write(true).open(data).unwrap().set_len(7).unwrap();
        let opened = open(dir.path(), meta).unwrap();
        assert!(opened.synced.is_empty() && opened.written.is_empty());
    }
}
