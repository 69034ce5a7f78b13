//! A file in the making: data, journal, chunk hashes and what it is to become, in `downloading/ID/`.
//!
//! The data lie there too, unless the target is on another file system: then in a hidden file beside the target, so that
//! the final name is one rename away.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use common::bitmap::Bitmap;
use common::chunk::{ChunkIndex, SwarmLayout};
use common::id::{Content, Hash};
use common::manifest::{Entry, Manifest};
use common::merkle::{RunHasher, SwarmHashes, join_runs};
use rustix::fs::OFlags;

pub(crate) use self::stored::PartialMeta;
pub use self::stored::PlanSource;
use self::stored::{Placed, SCHEMA, Stored, read_stored, write_atomically, write_stored};
pub(crate) use self::usage::bytes_on_disk;
use super::beneath::Root;
use super::body::{Body, Tree, write_at};
use super::drafts::{Draft, Places, To, lock};
use super::journal::Journal;
use super::place::{Replaced, mend, place_over};
use super::swap::{Swap, Swapped};
use super::{Looks, PARTIAL_PREFIX, Placing, SEGMENT, Stamp, sync_parent};
use crate::outline::Outline;
use crate::selection::is_selected;

mod stored;
mod usage;

/// The manifest of a folder in the making.
const MANIFEST: &str = "manifest";

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

    /// Where the data are of something in the making.
    pub(crate) fn data_of(downloading: &Path, content: &Content) -> Option<PathBuf> {
        let stored = read_stored(&downloading.join(content.to_string()))?;
        (stored.meta.content == *content).then_some(stored.data)
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
mod tests;
