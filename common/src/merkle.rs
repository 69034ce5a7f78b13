//! Hashes: the SHA-256 Merkle tree of BEP 52 over blocks of 16 KiB. Missing leaves are 32 zero bytes, up to the next
//! power of two; an inner node is SHA-256(left || right).

use sha2::{Digest, Sha256};

use crate::chunk::{BLOCK_SIZE, ChunkIndex, Layout, SwarmLayout};
use crate::id::{FileId, Hash};

#[expect(clippy::cast_possible_truncation, reason = "16 KiB")]
const BLOCK: usize = BLOCK_SIZE as usize;

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Hash {
    Hash(Sha256::digest(bytes).into())
}

fn join(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new().chain_update(left.0).chain_update(right.0).finalize().into())
}

/// The root of `2^height` missing leaves.
fn padding(height: u32) -> Hash {
    (0..height).fold(Hash([0; 32]), |node, _| join(&node, &node))
}

/// Folds nodes of one level, left to right, into the node above them; holds one node a level.
#[derive(Debug, Clone)]
struct Fold {
    base_height: u32,
    count: u64,
    pending: Vec<(u32, Hash)>,
}

impl Fold {
    const fn new(base_height: u32) -> Self {
        Self { base_height, count: 0, pending: Vec::new() }
    }

    fn push(&mut self, node: Hash) {
        self.count += 1;
        let (mut height, mut node) = (self.base_height, node);
        while let Some((_, left)) = self.pending.pop_if(|(h, _)| *h == height) {
            node = join(&left, &node);
            height += 1;
        }
        self.pending.push((height, node));
    }

    /// The node at `height`, with what is missing padded; `None` when nothing was pushed.
    fn finish(mut self, height: u32) -> Option<Hash> {
        let (mut at, mut node) = self.pending.pop()?;
        while at < height {
            node = match self.pending.pop_if(|(h, _)| *h == at) {
                Some((_, left)) => join(&left, &node),
                None => join(&node, &padding(at)),
            };
            at += 1;
        }
        Some(node)
    }
}

/// Hashes a run of bytes to the nodes above its blocks; fed in pieces of any size.
///
/// Runs of 1 MiB that begin on a 1 MiB boundary may be hashed apart and joined with [`join_runs`].
#[derive(Debug, Clone)]
pub struct RunHasher {
    fold: Fold,
    block: Sha256,
    block_used: usize,
}

impl Default for RunHasher {
    fn default() -> Self {
        Self { fold: Fold::new(0), block: Sha256::new(), block_used: 0 }
    }
}

impl RunHasher {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - self.block_used));
            self.block.update(now);
            self.block_used += now.len();
            bytes = rest;
            if self.block_used == BLOCK {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        self.fold.push(Hash(self.block.finalize_reset().into()));
        self.block_used = 0;
    }

    /// The node above `span` bytes (a power of two of blocks) of which the bytes given are the beginning.
    ///
    /// `None` when nothing was given.
    pub fn finish(mut self, span: u64) -> Option<Hash> {
        if self.block_used > 0 {
            self.end_block();
        }
        self.fold.finish((span / BLOCK_SIZE).trailing_zeros())
    }
}

/// The node above `span` bytes from the nodes above its runs of `run` bytes each (both powers of two of blocks), the
/// missing ones padded. `None` without runs.
pub fn join_runs(runs: &[Hash], run: u64, span: u64) -> Option<Hash> {
    let mut fold = Fold::new((run / BLOCK_SIZE).trailing_zeros());
    for node in runs {
        fold.push(*node);
    }
    fold.finish((span / BLOCK_SIZE).trailing_zeros())
}

/// The hash of one whole chunk, its bytes in one piece.
///
/// A file of one block has that block's hash as its chunk hash and root.
pub fn chunk_hash(layout: &Layout, bytes: &[u8]) -> Hash {
    let mut hasher = RunHasher::default();
    hasher.update(bytes);
    hasher.finish(layout.chunk_size()).unwrap_or_else(|| sha256(&[]))
}

/// The chunk hashes of one file, checked against its id: BEP 52's `piece layer`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkHashes {
    layout: Layout,
    hashes: Vec<Hash>,
}

/// Chunk hashes that are not those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayerError {
    /// Not as many as the length calls for.
    #[error("there are {got} chunk hashes where the file has {want}")]
    Count {
        /// How many there must be.
        want: u32,
        /// How many there are.
        got: usize,
    },
    /// They do not lead to the root.
    #[error("the chunk hashes do not lead to the file's root")]
    Root,
}

impl ChunkHashes {
    /// Takes the hashes for those of `id` if they are: count first, then the root.
    pub fn checked(id: &FileId, hashes: Vec<Hash>) -> Result<Self, LayerError> {
        let layout = Layout::of(id);
        let want = layout.count();
        if hashes.len() != want as usize {
            return Err(LayerError::Count { want, got: hashes.len() });
        }
        if root_of(&layout, &hashes) != id.root() {
            return Err(LayerError::Root);
        }
        Ok(Self { layout, hashes })
    }

    /// The id of the file that these are the hashes of.
    pub fn file_id(&self) -> FileId {
        FileId::new(self.layout.length(), root_of(&self.layout, &self.hashes)).expect("a layout's length is bounded")
    }

    /// How the file is cut.
    pub const fn layout(&self) -> Layout {
        self.layout
    }

    /// What this chunk must hash to.
    pub fn of(&self, chunk: ChunkIndex) -> Hash {
        *self.hashes.get(chunk.get() as usize).expect("a chunk index of this layout")
    }

    /// All, in order.
    pub fn as_slice(&self) -> &[Hash] {
        &self.hashes
    }
}

/// The chunk hashes of a swarm, checked: those of its files, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwarmHashes {
    layout: SwarmLayout,
    hashes: Vec<Hash>,
}

impl SwarmHashes {
    /// Takes the hashes for those of a swarm if they are: count first, then each file's root.
    pub fn checked(layout: &SwarmLayout, hashes: Vec<Hash>) -> Result<Self, LayerError> {
        let want = layout.count();
        if hashes.len() != want as usize {
            return Err(LayerError::Count { want, got: hashes.len() });
        }
        let mut rest = hashes.as_slice();
        for part in layout.parts() {
            let (own, after) = rest.split_at_checked(part.layout().count() as usize).ok_or(LayerError::Root)?;
            if root_of(&part.layout(), own) != part.id().root() {
                return Err(LayerError::Root);
            }
            rest = after;
        }
        Ok(Self { layout: layout.clone(), hashes })
    }

    /// Those that follow from the ids of the files: where no file has more than one chunk.
    pub fn known(layout: &SwarmLayout) -> Option<Self> {
        let hashes: Option<Vec<Hash>> = layout.chunks().map(|chunk| layout.known_hash(chunk)).collect();
        Self::checked(layout, hashes?).ok()
    }

    /// How the swarm is cut.
    pub const fn layout(&self) -> &SwarmLayout {
        &self.layout
    }

    /// What this chunk must hash to.
    pub fn of(&self, chunk: ChunkIndex) -> Hash {
        *self.hashes.get(chunk.get() as usize).expect("a chunk index of this layout")
    }

    /// All, in order.
    pub fn as_slice(&self) -> &[Hash] {
        &self.hashes
    }
}

impl From<ChunkHashes> for SwarmHashes {
    fn from(hashes: ChunkHashes) -> Self {
        Self { layout: SwarmLayout::of_file(&hashes.file_id()), hashes: hashes.hashes }
    }
}

fn root_of(layout: &Layout, hashes: &[Hash]) -> Hash {
    let base = layout.chunk_height();
    let mut fold = Fold::new(base);
    for hash in hashes {
        fold.push(*hash);
    }
    // A file of one chunk is one block, and the root is its hash. Otherwise a whole tree stands above the chunks.
    let levels = u64::from(layout.count()).next_power_of_two().trailing_zeros();
    fold.finish(base + levels).unwrap_or_else(|| sha256(&[]))
}

/// Hashes a file from its beginning to its end, in pieces of any size, to its chunk hashes.
#[derive(Debug, Clone)]
pub struct FileHasher {
    layout: Layout,
    taken: u64,
    chunk: RunHasher,
    hashes: Vec<Hash>,
}

impl FileHasher {
    /// For a file of `length` bytes, at most [`crate::id::MAX_FILE_LENGTH`].
    pub fn new(length: u64) -> Result<Self, crate::id::IdError> {
        FileId::new(length, Hash([0; 32]))?;
        Ok(Self { layout: Layout::for_length(length), taken: 0, chunk: RunHasher::default(), hashes: Vec::new() })
    }

    /// Takes the next bytes; what goes beyond the length counts as a wrong length in [`Self::finish`].
    pub fn update(&mut self, mut bytes: &[u8]) {
        let size = self.layout.chunk_size();
        while !bytes.is_empty() {
            let left = usize::try_from(size - self.taken % size).expect("at most 16 MiB");
            let (now, rest) = bytes.split_at(bytes.len().min(left));
            self.chunk.update(now);
            self.taken += now.len() as u64;
            bytes = rest;
            if self.taken.is_multiple_of(size) {
                self.end_chunk();
            }
        }
    }

    fn end_chunk(&mut self) {
        if let Some(hash) = std::mem::take(&mut self.chunk).finish(self.layout.chunk_size()) {
            self.hashes.push(hash);
        }
    }

    /// The chunk hashes, when exactly the length came; otherwise `None`: the file changed while it was read.
    pub fn finish(mut self) -> Option<ChunkHashes> {
        if self.taken != self.layout.length() {
            return None;
        }
        self.end_chunk();
        Some(ChunkHashes { layout: self.layout, hashes: self.hashes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Vectors {
        files: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        length: u64,
        root: Hash,
        chunk_size: u64,
        chunks: u32,
        sha256_of_chunk_hashes: Hash,
    }

    fn vectors() -> Vec<Vector> {
        let text = include_str!("../vectors/file_ids.json");
        serde_json::from_str::<Vectors>(text).unwrap().files
    }

    fn content(length: u64) -> Vec<u8> {
        (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    #[test]
    fn file_ids_are_those_of_bep_52() {
        for vector in vectors() {
            let mut hasher = FileHasher::new(vector.length).unwrap();
            for piece in content(vector.length).chunks(100_003) {
                hasher.update(piece);
            }
            let hashes = hasher.finish().unwrap();
            let id = hashes.file_id();
            assert_eq!((id.length(), id.root()), (vector.length, vector.root));
            assert_eq!(hashes.layout().chunk_size(), vector.chunk_size, "{}", vector.length);
            assert_eq!(hashes.layout().count(), vector.chunks, "{}", vector.length);
            let layer: Vec<u8> = hashes.as_slice().iter().flat_map(|hash| hash.0).collect();
            assert_eq!(sha256(&layer), vector.sha256_of_chunk_hashes, "{}", vector.length);
            assert_eq!(ChunkHashes::checked(&id, hashes.as_slice().to_vec()).as_ref(), Ok(&hashes));
        }
    }

    #[test]
    fn a_chunk_alone_hashes_to_its_node() {
        for length in [1, 16384, 16385, 107_330, (16 << 20) + 1, 40_000_000] {
            let bytes = content(length);
            let mut hasher = FileHasher::new(length).unwrap();
            hasher.update(&bytes);
            let hashes = hasher.finish().unwrap();
            let layout = hashes.layout();
            for chunk in layout.chunks() {
                let from = usize::try_from(layout.offset(chunk)).unwrap();
                let chunk_bytes = &bytes[from..from + layout.size(chunk) as usize];
                assert_eq!(chunk_hash(&layout, chunk_bytes), hashes.of(chunk));
            }
        }
    }

    #[test]
    fn runs_hashed_apart_join_to_the_chunk() {
        let (span, run) = (1 << 22, 1 << 20);
        for length in [1, 1 << 20, (1 << 20) + 1, 3 << 20, (1 << 22) - 5, 1 << 22] {
            let bytes = content(length);
            let mut whole = RunHasher::default();
            whole.update(&bytes);
            let runs: Vec<Hash> = bytes
                .chunks(1 << 20)
                .map(|run_bytes| {
                    let mut hasher = RunHasher::default();
                    hasher.update(run_bytes);
                    hasher.finish(run).unwrap()
                })
                .collect();
            assert_eq!(join_runs(&runs, run, span), whole.finish(span), "{length}");
        }
    }

    #[test]
    fn wrong_layers_are_refused() {
        let id = FileId::new(100_000, vectors()[11].root).unwrap();
        let mut hasher = FileHasher::new(100_000).unwrap();
        hasher.update(&content(100_000));
        let mut hashes = hasher.finish().unwrap().as_slice().to_vec();
        hashes.swap(0, 1);
        assert_eq!(ChunkHashes::checked(&id, hashes.clone()), Err(LayerError::Root));
        hashes.pop();
        assert_eq!(ChunkHashes::checked(&id, hashes), Err(LayerError::Count { want: 7, got: 6 }));
    }

    #[test]
    fn the_hashes_of_a_folder_are_checked_file_by_file() {
        let hashed = |length: u64| {
            let mut hasher = FileHasher::new(length).unwrap();
            hasher.update(&content(length));
            hasher.finish().unwrap()
        };
        let files = [hashed(100_000), hashed(0), hashed(5), hashed(16_385)];
        let layout = SwarmLayout::of_files((0..).zip(files.iter().map(ChunkHashes::file_id))).unwrap();
        let all: Vec<Hash> = files.iter().flat_map(|file| file.as_slice().iter().copied()).collect();
        let whole = SwarmHashes::checked(&layout, all.clone()).unwrap();
        assert_eq!((whole.as_slice(), SwarmHashes::known(&layout)), (all.as_slice(), None));
        for wrong in 0..all.len() {
            let mut changed = all.clone();
            changed[wrong] = Hash([9; 32]);
            assert_eq!(SwarmHashes::checked(&layout, changed), Err(LayerError::Root), "{wrong}");
        }
        let short = all.len() - 1;
        assert!(matches!(SwarmHashes::checked(&layout, all[..short].to_vec()), Err(LayerError::Count { .. })));
        let small = SwarmLayout::of_files([(0, files[2].file_id()), (1, files[1].file_id())].into_iter()).unwrap();
        assert_eq!(SwarmHashes::known(&small).unwrap().as_slice(), files[2].as_slice());
        let alone: SwarmHashes = files[0].clone().into();
        assert_eq!(alone.as_slice(), files[0].as_slice());
    }

    #[test]
    fn a_file_that_grew_or_shrank_while_read_has_no_hashes() {
        for taken in [9, 11] {
            let mut hasher = FileHasher::new(10).unwrap();
            hasher.update(&content(taken));
            assert_eq!(hasher.finish(), None);
        }
    }
}
