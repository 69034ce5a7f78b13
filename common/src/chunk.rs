//! Chunks: how files are cut for transfer. A chunk is a power of two of blocks; the last of a file may be shorter.

use std::ops::Range;
use std::sync::Arc;

use crate::id::{FileId, Hash, IdError, MAX_FILE_LENGTH, MAX_FOLDER_CHUNKS};

/// A block is the leaf of the hash tree: 16 KiB (BEP 52).
pub const BLOCK_SIZE: u64 = 16 << 10;
/// No chunk is larger than this.
pub const MAX_CHUNK_SIZE: u64 = 16 << 20;
/// A file is cut into about so many chunks, as long as [`BLOCK_SIZE`] and [`MAX_CHUNK_SIZE`] allow.
const CHUNKS_AIMED_AT: u64 = 1024;

/// The number of a chunk of one layout, from 0; made by [`Layout::chunk`] and [`SwarmLayout::chunk`] only, so it is always
/// within the file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkIndex(u32);

impl ChunkIndex {
    /// The bare number, from 0.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// How one file is cut: follows from its length alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    length: u64,
    chunk_size: u64,
}

impl Layout {
    /// The layout of a file with this id.
    pub fn of(id: &FileId) -> Self {
        Self::for_length(id.length())
    }

    /// The layout of a file of `length` bytes, which a [`FileId`] bounds: chunk size is the next power of two of
    /// `ceil(length / 1024)` within 16 KiB and 16 MiB.
    pub(crate) fn for_length(length: u64) -> Self {
        let chunk_size = length.div_ceil(CHUNKS_AIMED_AT).next_power_of_two().clamp(BLOCK_SIZE, MAX_CHUNK_SIZE);
        Self { length, chunk_size }
    }

    /// Bytes of the file.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of each chunk but the last.
    pub const fn chunk_size(&self) -> u64 {
        self.chunk_size
    }

    /// How many chunks there are; 0 for an empty file, at most 2^19.
    pub fn count(&self) -> u32 {
        u32::try_from(self.length.div_ceil(self.chunk_size)).expect("8 TiB in chunks of 16 MiB are 2^19")
    }

    /// Chunk number `index`, where there is one.
    pub fn chunk(&self, index: u32) -> Option<ChunkIndex> {
        (index < self.count()).then_some(ChunkIndex(index))
    }

    /// All chunks, in order.
    pub fn chunks(&self) -> impl DoubleEndedIterator<Item = ChunkIndex> + ExactSizeIterator + use<> {
        (0..self.count()).map(ChunkIndex)
    }

    /// Where a chunk begins in the file, in bytes.
    pub const fn offset(&self, chunk: ChunkIndex) -> u64 {
        chunk.0 as u64 * self.chunk_size
    }

    /// Bytes of this chunk: [`Self::chunk_size`] but for the last.
    pub fn size(&self, chunk: ChunkIndex) -> u32 {
        let size = self.chunk_size.min(self.length.saturating_sub(self.offset(chunk)));
        u32::try_from(size).expect("a chunk has at most 16 MiB")
    }

    /// Levels of the hash tree between the blocks and the chunks: a chunk node stands above `2^height` blocks.
    pub(crate) const fn chunk_height(&self) -> u32 {
        (self.chunk_size / BLOCK_SIZE).trailing_zeros()
    }
}

/// How a swarm is cut, and from which files: from one, or from those of a folder one after the other. Each file is cut by
/// its own length and begins a new chunk; an empty one has none.
///
/// Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwarmLayout(Cut);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cut {
    File(Part),
    Folder(Arc<Folder>),
}

#[derive(Debug, PartialEq, Eq)]
struct Folder {
    /// The files that are not empty, in the order of their chunks.
    parts: Vec<Part>,
    count: u32,
    length: u64,
    largest_chunk: u64,
}

/// A file of a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    first: u32,
    number: u32,
    id: FileId,
    layout: Layout,
}

/// Where a chunk of a swarm begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In which file: its number in the manifest; 0 where there is one file alone.
    pub file: u32,
    /// At which byte of it.
    pub offset: u64,
}

impl SwarmLayout {
    /// The layout of one file.
    pub fn of_file(id: &FileId) -> Self {
        Self(Cut::File(Part { first: 0, number: 0, id: *id, layout: Layout::of(id) }))
    }

    /// The layout of these files, each with its number in the manifest, which go up; an error when they have more than
    /// [`MAX_FOLDER_CHUNKS`] chunks or [`MAX_FILE_LENGTH`] bytes together.
    pub fn of_files(files: impl Iterator<Item = (u32, FileId)>) -> Result<Self, IdError> {
        let (mut count, mut length, mut largest_chunk) = (0, 0_u64, BLOCK_SIZE);
        let mut parts = Vec::new();
        for (number, id) in files.filter(|(_, id)| id.length() > 0) {
            let layout = Layout::of(&id);
            parts.push(Part { first: count, number, id, layout });
            // Neither sum can wrap: each is checked before the next is added, and one file has at most 2^19 chunks.
            count += layout.count();
            length += id.length();
            largest_chunk = largest_chunk.max(layout.chunk_size());
            if count > MAX_FOLDER_CHUNKS {
                return Err(IdError::TooManyChunks);
            }
            if length > MAX_FILE_LENGTH {
                return Err(IdError::TooLong);
            }
        }
        Ok(Self(Cut::Folder(Arc::new(Folder { parts, count, length, largest_chunk }))))
    }

    /// How many chunks there are, at most [`MAX_FOLDER_CHUNKS`].
    pub fn count(&self) -> u32 {
        match &self.0 {
            Cut::File(part) => part.layout.count(),
            Cut::Folder(folder) => folder.count,
        }
    }

    /// Bytes of all files together, at most [`MAX_FILE_LENGTH`].
    pub fn length(&self) -> u64 {
        match &self.0 {
            Cut::File(part) => part.layout.length(),
            Cut::Folder(folder) => folder.length,
        }
    }

    /// No chunk has more bytes.
    pub fn largest_chunk(&self) -> u64 {
        match &self.0 {
            Cut::File(part) => part.layout.chunk_size(),
            Cut::Folder(folder) => folder.largest_chunk,
        }
    }

    /// Chunk number `index`, where there is one.
    pub fn chunk(&self, index: u32) -> Option<ChunkIndex> {
        (index < self.count()).then_some(ChunkIndex(index))
    }

    /// All chunks, in order.
    pub fn chunks(&self) -> impl DoubleEndedIterator<Item = ChunkIndex> + ExactSizeIterator + use<> {
        (0..self.count()).map(ChunkIndex)
    }

    /// The files, but for the empty ones of a folder, in the order of their chunks.
    pub fn parts(&self) -> &[Part] {
        match &self.0 {
            Cut::File(part) => std::slice::from_ref(part),
            Cut::Folder(folder) => &folder.parts,
        }
    }

    /// The file that a chunk is of.
    pub fn part(&self, chunk: ChunkIndex) -> &Part {
        let parts = self.parts();
        let after = parts.partition_point(|part| part.first <= chunk.0);
        parts.get(after.saturating_sub(1)).expect("a chunk index of this layout")
    }

    /// The chunks of the file with this number; none where it is empty.
    pub fn chunks_of(&self, file: u32) -> Range<u32> {
        let parts = self.parts();
        let found = parts.binary_search_by_key(&file, |part| part.number);
        found.ok().and_then(|at| parts.get(at)).map_or(0..0, Part::chunks)
    }

    /// Where a chunk begins.
    pub fn place(&self, chunk: ChunkIndex) -> Place {
        let part = self.part(chunk);
        Place { file: part.number, offset: part.layout.offset(part.inner(chunk)) }
    }

    /// Bytes of this chunk.
    pub fn size(&self, chunk: ChunkIndex) -> u32 {
        let part = self.part(chunk);
        part.layout.size(part.inner(chunk))
    }

    /// Bytes of the chunks of its file, but for the last: a power of two, above which the chunk's hash is a node.
    pub fn span(&self, chunk: ChunkIndex) -> u64 {
        self.part(chunk).layout.chunk_size()
    }

    /// The hash of a chunk that is all of its file, and so follows from the file's id.
    pub fn known_hash(&self, chunk: ChunkIndex) -> Option<Hash> {
        let part = self.part(chunk);
        (part.layout.count() == 1).then(|| part.id.root())
    }
}

impl Part {
    /// Its number in the manifest; 0 where there is one file alone.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Its id.
    pub const fn id(&self) -> FileId {
        self.id
    }

    /// How it is cut.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// Its chunks, by their numbers in the swarm.
    pub fn chunks(&self) -> Range<u32> {
        self.first..self.first + self.layout.count()
    }

    /// A chunk of the swarm that is in this file, by its number within the file.
    const fn inner(&self, chunk: ChunkIndex) -> ChunkIndex {
        ChunkIndex(chunk.0 - self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: u64) -> FileId {
        FileId::new(length, Hash([u8::try_from(length % 251).unwrap(); 32])).unwrap()
    }

    #[test]
    fn chunks_of_a_folder_run_through_its_files() {
        let lengths = [5, 0, (16 << 20) + 1, 0, 40_000, 16_384];
        let files = || (0..).zip(lengths).map(|(number, length)| (number * 2, file(length)));
        let layout = SwarmLayout::of_files(files()).unwrap();
        assert_eq!((layout.count(), layout.length()), (1 + 513 + 3 + 1, lengths.iter().sum()));
        assert_eq!(layout.largest_chunk(), 32 << 10);
        let mut wanted = layout.chunks();
        for (number, id) in files() {
            let own = Layout::of(&id);
            let first = layout.count() - u32::try_from(wanted.len()).unwrap();
            let chunks = layout.chunks_of(number);
            assert_eq!(chunks.len(), own.count() as usize);
            assert!(chunks.is_empty() || chunks.start == first);
            for inner in own.chunks() {
                let chunk = wanted.next().unwrap();
                assert_eq!(layout.place(chunk), Place { file: number, offset: own.offset(inner) });
                assert_eq!((layout.size(chunk), layout.span(chunk)), (own.size(inner), own.chunk_size()));
                assert_eq!(layout.known_hash(chunk), (own.count() == 1).then(|| id.root()));
            }
        }
        assert_eq!((wanted.next(), layout.chunk(layout.count())), (None, None));
        assert_eq!(SwarmLayout::of_files(std::iter::empty()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_alone_is_cut_as_ever() {
        for length in [0, 1, 16_385, 40_000_000] {
            let (one, own) = (SwarmLayout::of_file(&file(length)), Layout::of(&file(length)));
            assert_eq!((one.count(), one.length(), one.largest_chunk()), (own.count(), length, own.chunk_size()));
            for chunk in one.chunks() {
                assert_eq!(one.place(chunk), Place { file: 0, offset: own.offset(chunk) });
            }
        }
    }

    #[test]
    fn a_folder_is_bounded() {
        let many = |length, count: u32| SwarmLayout::of_files((0..count).map(|number| (number, file(length))));
        assert_eq!(many(8 << 40, 2), Err(IdError::TooLong));
        assert_eq!(many(1, MAX_FOLDER_CHUNKS + 1), Err(IdError::TooManyChunks));
        assert!(many(1, MAX_FOLDER_CHUNKS).is_ok());
    }

    #[test]
    fn chunk_sizes_follow_the_length() {
        for (length, chunk_size, count, last) in [
            (0, 16 << 10, 0, None),
            (1, 16 << 10, 1, Some(1)),
            (16384, 16 << 10, 1, Some(16384)),
            (16385, 16 << 10, 2, Some(1)),
            (16 << 20, 16 << 10, 1024, Some(16384)),
            ((16 << 20) + 1, 32 << 10, 513, Some(1)),
            (1 << 30, 1 << 20, 1024, Some(1 << 20)),
            (16 << 30, 16 << 20, 1024, Some(16 << 20)),
            (8 << 40, 16 << 20, 1 << 19, Some(16 << 20)),
        ] {
            let layout = Layout::for_length(length);
            assert_eq!((layout.chunk_size(), layout.count()), (chunk_size, count), "{length}");
            assert_eq!(layout.chunks().last().map(|chunk| layout.size(chunk)), last, "{length}");
        }
    }
}
