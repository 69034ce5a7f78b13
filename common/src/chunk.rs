//! Chunks: how a file is cut for transfer. A chunk is a power of two of blocks; the last may be shorter.

use crate::id::FileId;

/// A block is the leaf of the hash tree: 16 KiB (BEP 52).
pub const BLOCK_SIZE: u64 = 16 << 10;
/// No chunk is larger than this.
pub const MAX_CHUNK_SIZE: u64 = 16 << 20;
/// A file is cut into about so many chunks, as long as [`BLOCK_SIZE`] and [`MAX_CHUNK_SIZE`] allow.
const CHUNKS_AIMED_AT: u64 = 1024;

/// The number of a chunk of one layout, from 0; made by [`Layout::chunk`] only, so it is always within the file.
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
    pub fn chunks(&self) -> impl DoubleEndedIterator<Item = ChunkIndex> + use<> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
