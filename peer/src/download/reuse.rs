//! Reuse: chunks that lie here already, in an older version most likely, at the same place of a file of the same name. They
//! are read, hashed and written as if they had come over the wire, so that it does no harm if a file changes meanwhile, or
//! never was an older version of anything.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::id::FileId;
use common::manifest::{Entry, EntryKind, Manifest};
use common::merkle::{RunHasher, SwarmHashes};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::JobEvent;
use crate::hashing::open_regular;
use crate::storage::{Links, Partial, Root, SEGMENT};

/// Threads that read and hash at once: it is bound by the disk or by one core each, and leaves others room.
pub(super) const WORKERS: usize = 2;

/// Looks in other files for the chunks that are missing. Each worker runs [`Self::work`].
#[derive(Debug)]
pub(super) struct Reuse {
    /// Where to look.
    pub(super) bases: Vec<Place>,
    pub(super) partial: Arc<Partial>,
    pub(super) hashes: Arc<SwarmHashes>,
    /// Which chunks to look for, in order.
    pub(super) missing: Vec<u32>,
    /// How many of them were taken up; workers share it.
    pub(super) next: AtomicUsize,
    pub(super) cancel: CancellationToken,
    /// Hears of each chunk that was found.
    pub(super) events: mpsc::Sender<JobEvent>,
}

/// A place to look: a file, or for a folder, a folder.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Where the files of a folder are that was served from here, by what they are: a file may have another name now.
    files: HashMap<FileId, String>,
}

impl Place {
    /// `manifest` is what is in the folder there, where that is known.
    pub(super) fn new(path: PathBuf, manifest: Option<&Manifest>) -> Self {
        let files = manifest.into_iter().flat_map(Manifest::files);
        Self { path, files: files.map(|(_, entry, id)| (id, entry.path.clone())).collect() }
    }
}

/// A place with the file in it that was read last.
struct Base<'a> {
    place: &'a Place,
    open: Option<(u32, Option<File>)>,
}

impl Reuse {
    /// Looks for chunks until none is left to look for, it is cancelled, or the job ended. Blocks. An error is one of writing;
    /// what cannot be read is not there.
    pub(super) fn work(&self) -> io::Result<()> {
        let mut bases: Vec<Base<'_>> = self.bases.iter().map(|place| Base { place, open: None }).collect();
        let mut buffer = Vec::new();
        while let Some(chunk) = self.missing.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            for base in &mut bases {
                if self.cancel.is_cancelled() || self.events.is_closed() {
                    return Ok(());
                }
                if self.take(base, *chunk, &mut buffer)? {
                    // A job that has ended does not need to know.
                    let _ = self.events.blocking_send(JobEvent::Found { chunk: *chunk });
                    break;
                }
            }
        }
        Ok(())
    }

    /// Takes a chunk from a base, if it is there.
    fn take(&self, base: &mut Base<'_>, chunk: u32, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let layout = self.hashes.layout();
        let Some(index) = layout.chunk(chunk) else { return Ok(false) };
        let (place, size) = (layout.place(index), layout.size(index) as usize);
        let Some(file) = base.file(place.file, &self.partial) else { return Ok(false) };
        let mut hasher = RunHasher::default();
        // What comes in parts is written before it is known to be right, and counts only when it is.
        let draft = if size > SEGMENT { Some(self.partial.draft(chunk)?) } else { None };
        let mut at = 0;
        while at < size {
            buffer.resize(SEGMENT.min(size - at), 0);
            if file.read_exact_at(buffer, place.offset + at as u64).is_err() {
                return Ok(false);
            }
            hasher.update(buffer);
            if let Some(draft) = &draft {
                self.partial.write_draft(draft, buffer, at as u64)?;
            }
            at += buffer.len();
        }
        if hasher.finish(layout.span(index)) != Some(self.hashes.of(index)) {
            return Ok(false);
        }
        match &draft {
            Some(draft) => self.partial.accept(draft)?,
            None => self.partial.write_chunk(chunk, buffer)?,
        }
        Ok(true)
    }
}

impl Base<'_> {
    /// The file of this number in the manifest, or the base itself where there is none; nothing but a regular file is read.
    fn file(&mut self, number: u32, partial: &Partial) -> Option<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            let file = match partial.outline().manifest() {
                None => open_regular(&self.place.path).ok().map(|(file, _)| file),
                Some(manifest) => manifest.entry(number).and_then(|entry| self.file_of_folder(entry)),
            };
            self.open = Some((number, file));
        }
        self.open.as_ref().and_then(|(_, file)| file.as_ref())
    }

    /// The same file, whatever its name is there; or else one that may be an older version of it.
    fn file_of_folder(&self, entry: &Entry) -> Option<File> {
        let same = match entry.kind {
            EntryKind::File(id) => self.place.files.get(&id),
            EntryKind::EmptyDirectory => None,
        };
        let file =
            Root::open(&self.place.path).ok()?.read(same.unwrap_or(&entry.path), Links::WithinAreFollowed).ok()?;
        file.metadata().ok()?.is_file().then_some(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outline::Outline;
    use crate::storage::{PartialMeta, Placing, PlanSource};
    use common::audience::Audience;
    use common::id::NetworkId;
    use common::merkle::{ChunkHashes, FileHasher, join_runs};
    use std::path::Path;

    /// A sixteenth of 1 GiB, cut into as many chunks: 1024 of 64 KiB.
    const LENGTH: usize = 64 << 20;

    fn content(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            // SplitMix64: no two blocks are the same.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bytes.extend_from_slice(&(mixed ^ (mixed >> 27)).to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    fn hashes_of(bytes: &[u8]) -> ChunkHashes {
        let mut hasher = FileHasher::new(bytes.len() as u64).unwrap();
        hasher.update(bytes);
        hasher.finish().unwrap()
    }

    struct Scene {
        dir: tempfile::TempDir,
        reuse: Reuse,
        found: mpsc::Receiver<JobEvent>,
    }

    fn scene(new: &[u8], bases: &[&str]) -> Scene {
        scene_of(hashes_of(new), bases)
    }

    fn scene_of(hashes: ChunkHashes, bases: &[&str]) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let file = hashes.file_id();
        let meta = PartialMeta {
            network: NetworkId([1; 32]),
            entry: "ann/x".into(),
            source: PlanSource::Entry,
            name: "x".into(),
            version: 2,
            content: file.into(),
            audience: Audience::Public,
            target: dir.path().join("target"),
            placing: Placing::Beside,
            bases: Vec::new(),
            only: Vec::new(),
        };
        let outline = Outline::of_file(&file);
        let partial = Arc::new(Partial::open(&dir.path().join("downloading"), meta, outline).unwrap().partial);
        let (events, found) = mpsc::channel(4096);
        let reuse = Reuse {
            bases: bases.iter().map(|name| Place::new(dir.path().join(name), None)).collect(),
            partial,
            missing: (0..hashes.layout().count()).collect(),
            hashes: Arc::new(hashes.into()),
            next: AtomicUsize::new(0),
            cancel: CancellationToken::new(),
            events,
        };
        Scene { dir, reuse, found }
    }

    impl Scene {
        fn write(&self, name: &str, bytes: &[u8]) {
            std::fs::write(self.dir.path().join(name), bytes).unwrap();
        }

        /// Looks, checks that what was found is written and right, and says which chunks must come over the wire.
        fn missing(&mut self) -> Vec<u32> {
            std::thread::scope(|scope| {
                for _ in 0..WORKERS {
                    scope.spawn(|| self.reuse.work().unwrap());
                }
            });
            let mut missing = self.reuse.missing.clone();
            while let Ok(JobEvent::Found { chunk }) = self.found.try_recv() {
                assert!(self.reuse.partial.is_right(&self.reuse.hashes, chunk).unwrap(), "{chunk}");
                missing.retain(|other| *other != chunk);
            }
            missing
        }

        fn bytes(&self, chunks: &[u32]) -> u64 {
            let layout = self.reuse.hashes.layout();
            chunks.iter().map(|chunk| u64::from(layout.size(layout.chunk(*chunk).unwrap()))).sum()
        }
    }

    #[test]
    fn a_change_of_one_contiguous_hundredth_moves_little_more_than_that() {
        let old = content(LENGTH);
        for (length, from) in [(LENGTH / 100, 0), (LENGTH / 100, 12_345_678), (1, LENGTH - 1)] {
            let mut new = old.clone();
            new[from..from + length].iter_mut().for_each(|byte| *byte ^= 0x55);
            let mut scene = scene(&new, &["old"]);
            scene.write("old", &old);
            let missing = scene.missing();
            let moved = scene.bytes(&missing);
            assert!(moved >= length as u64 && moved * 1000 <= LENGTH as u64 * 15, "{moved} of {LENGTH}");
        }
    }

    #[test]
    fn what_was_appended_moves_and_one_chunk_also_where_chunks_become_larger() {
        let new = content(LENGTH + 5_000_000);
        for kept in [LENGTH, LENGTH + 1, LENGTH - 70_000] {
            let mut scene = scene(&new, &["old"]);
            scene.write("old", &new[..kept]);
            let missing = scene.missing();
            let chunk = scene.reuse.hashes.layout().largest_chunk();
            assert_eq!(chunk, 128 << 10, "it was 64 KiB");
            assert!(scene.bytes(&missing) <= (new.len() - kept) as u64 + chunk);
        }
    }

    #[test]
    fn of_what_became_shorter_at_most_the_last_chunk_moves() {
        let old = content(LENGTH);
        let mut scene = scene(&old[..LENGTH - 5_000_000], &["old"]);
        scene.write("old", &old);
        assert_eq!(scene.missing(), [0; 0]);
    }

    #[test]
    fn each_base_gives_what_it_has_and_what_is_none_gives_nothing() {
        let new = content(40 << 10);
        let mut scene = scene(&new, &["none", "folder", "first", "second"]);
        std::fs::create_dir(scene.dir.path().join("folder")).unwrap();
        scene.write("first", &new[..20 << 10]);
        let mut second = new.clone();
        second[..1].copy_from_slice(&[!new[0]]);
        scene.write("second", &second);
        assert_eq!(scene.missing(), [0; 0]);
    }

    #[test]
    fn chunks_of_many_segments_are_taken_whole_or_not_at_all() {
        const CHUNK: usize = 2 << 20;
        // Over 1 GiB, of which all but the beginning is a hole.
        let count = 513;
        let head = content(3 * CHUNK);
        let node = |bytes: &[u8]| {
            let mut hasher = RunHasher::default();
            hasher.update(bytes);
            hasher.finish(CHUNK as u64).unwrap()
        };
        let hole = node(&vec![0; CHUNK]);
        let mut hashes: Vec<_> = head.chunks(CHUNK).map(node).collect();
        hashes.resize(count, hole);
        let root = join_runs(&hashes, CHUNK as u64, 2 << 30).unwrap();
        let file = FileId::new((count * CHUNK) as u64, root).unwrap();
        let hashes = ChunkHashes::checked(&file, hashes).unwrap();
        let mut scene = scene_of(hashes, &["old"]);
        let mut old = head;
        old[CHUNK + CHUNK / 2] ^= 1;
        scene.write("old", &old);
        scene.reuse.missing = vec![0, 1, 2, 3];
        assert_eq!(scene.missing(), [1, 3], "one is another, and one is beyond the end");
    }

    #[test]
    fn a_base_that_changes_while_it_is_read_does_no_harm() {
        let new = content(8 << 20);
        let mut scene = scene(&new, &["old"]);
        scene.write("old", &new);
        let path = scene.dir.path().join("old");
        let stop = CancellationToken::new();
        std::thread::scope(|threads| {
            threads.spawn(|| scribble(&path, &stop));
            threads.spawn(|| {
                scene.reuse.work().unwrap();
                stop.cancel();
            });
        });
        // Whatever counts as found is right.
        scene.missing();
    }

    /// Writes nonsense into a file, here and there, until it is told to stop.
    fn scribble(path: &Path, stop: &CancellationToken) {
        let file = File::options().write(true).open(path).unwrap();
        let length = file.metadata().unwrap().len();
        for number in 0_u64.. {
            if stop.is_cancelled() {
                return;
            }
            file.write_all_at(&number.to_be_bytes(), number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % length).unwrap();
            if number % 100 == 99 {
                file.set_len(length / 2).unwrap();
                file.set_len(length).unwrap();
            }
        }
    }

    #[test]
    fn it_ends_when_it_is_cancelled_or_nobody_waits() {
        let new = content(1 << 20);
        let mut scene = scene(&new, &["old"]);
        scene.write("old", &new);
        scene.reuse.cancel.cancel();
        assert_eq!(scene.missing().len(), scene.reuse.missing.len());
    }
}
