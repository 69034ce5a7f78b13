//! From the bytes of a piece to a verified chunk on disk. Bytes gather in segments of 1 MiB; a whole segment is hashed
//! and written off the reactor, while the next one comes in.

use std::io;
use std::sync::{Arc, Mutex};

use common::chunk::BLOCK_SIZE;
use common::id::Hash;
use common::merkle::{RunHasher, chunk_hash};

use super::{Fetching, LinkEvent, Source};
use crate::context::{Buffer, Buffers, Context};
use crate::link::Link;
use crate::storage::{Draft, Partial, SEGMENT, join_segments};
use crate::swarm::Swarm;

/// A chunk that is coming in on one conversation.
#[derive(Debug)]
pub(crate) struct Assembly {
    chunk: u32,
    size: u32,
    /// Bytes that came, those submitted too.
    received: u32,
    buffer: Option<Buffer>,
    runs: Arc<Runs>,
}

/// The hashes of the segments of a chunk, as far as they are there.
#[derive(Debug)]
struct Runs {
    hashes: Mutex<Vec<Option<Hash>>>,
    /// Where they are written.
    draft: Mutex<Option<Arc<Draft>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Other segments are to come.
    Partway,
    Right,
    Wrong,
}

impl Assembly {
    /// Nothing of this chunk yet.
    pub(crate) fn new(chunk: u32, size: u32) -> Self {
        let segments = (size as usize).div_ceil(SEGMENT);
        let runs = Arc::new(Runs { hashes: Mutex::new(vec![None; segments]), draft: Mutex::default() });
        Self { chunk, size, received: 0, buffer: None, runs }
    }

    /// Which chunk.
    pub(crate) const fn chunk(&self) -> u32 {
        self.chunk
    }

    /// Whether a piece at this place is the next one.
    pub(crate) const fn goes_on_with(&self, chunk: u32, offset: u32) -> bool {
        self.chunk == chunk && self.received == offset
    }

    /// Where the next bytes go, and how many of them; waits until there is room in memory.
    pub(crate) async fn buffer(&mut self, buffers: &Arc<Buffers>) -> io::Result<(&mut Vec<u8>, usize)> {
        let here = self.in_buffer();
        let whole = SEGMENT.min((self.size - self.received) as usize + here);
        if self.buffer.is_none() {
            self.buffer = Some(buffers.take(whole).await?);
        }
        let buffer = self.buffer.as_mut().expect("it was just put there");
        Ok((&mut buffer.bytes, whole - here))
    }

    fn in_buffer(&self) -> usize {
        self.buffer.as_ref().map_or(0, |buffer| buffer.bytes.len())
    }

    /// So many bytes were put into the buffer.
    pub(crate) fn on_bytes(&mut self, bytes: usize) {
        self.received += u32::try_from(bytes).expect("no more than there is room for");
    }

    /// Whether the buffer can be submitted.
    pub(crate) fn segment_is_whole(&self) -> bool {
        self.in_buffer() == SEGMENT || self.is_whole()
    }

    /// Whether all bytes of the chunk came.
    pub(crate) const fn is_whole(&self) -> bool {
        self.received == self.size
    }

    /// Hands the segment on to be hashed and written; the job hears how it went.
    pub(crate) fn submit(&mut self, fetching: &Arc<Fetching>, link: &Arc<Link>, context: &Arc<Context>) {
        let Some(buffer) = self.buffer.take() else { return };
        let start = self.received as usize - buffer.bytes.len();
        let work = Work { chunk: self.chunk, segment: start / SEGMENT, buffer, runs: Arc::clone(&self.runs) };
        let (from, link) = (Source::of(link), link.id());
        let (fetching, workers) = (Arc::clone(fetching), Arc::clone(&context.workers));
        context.tasks.spawn("verify", async move {
            let Ok(permit) = workers.acquire_owned().await else { return };
            let chunk = work.chunk;
            let (swarm, partial) = (Arc::clone(&fetching.swarm), Arc::clone(&fetching.partial));
            let verdict = tokio::task::spawn_blocking(move || {
                let verdict = work.run(&swarm, &partial);
                drop(permit);
                verdict
            });
            match verdict.await {
                Ok(Ok(Verdict::Partway)) => {}
                Ok(Ok(Verdict::Right)) => fetching.tell(link, LinkEvent::Verified { chunk, from }).await,
                Ok(Ok(Verdict::Wrong)) => fetching.tell(link, LinkEvent::Bad { chunk, from }).await,
                Ok(Err(error)) => fetching.tell_disk(error).await,
                Err(panicked) => tracing::error!(%panicked, "verifying a chunk"),
            }
        });
    }
}

/// A segment to be hashed and written.
struct Work {
    chunk: u32,
    segment: usize,
    buffer: Buffer,
    runs: Arc<Runs>,
}

impl Work {
    /// A chunk of one segment is written only when it is right. A longer one is written as it comes, and counts only
    /// when all of it is right.
    fn run(self, swarm: &Swarm, partial: &Partial) -> io::Result<Verdict> {
        let (layout, hashes) = (swarm.layout(), swarm.hashes());
        let (Some(index), Some(hashes)) = (layout.chunk(self.chunk), hashes) else { return Ok(Verdict::Wrong) };
        let bytes = &self.buffer.bytes;
        if layout.size(index) as usize <= SEGMENT {
            if chunk_hash(&layout.part(index).layout(), bytes) != hashes.of(index) {
                return Ok(Verdict::Wrong);
            }
            partial.write_chunk(self.chunk, bytes)?;
            return Ok(Verdict::Right);
        }
        let draft = self.runs.draft(partial, self.chunk)?;
        partial.write_draft(&draft, bytes, (self.segment * SEGMENT) as u64)?;
        let mut hasher = RunHasher::default();
        hasher.update(bytes);
        let Some(runs) = self.runs.add(self.segment, hasher.finish(SEGMENT as u64)) else {
            return Ok(Verdict::Partway);
        };
        if join_segments(layout.span(index), &runs) != Some(hashes.of(index)) {
            return Ok(Verdict::Wrong);
        }
        partial.accept(&draft)?;
        Ok(Verdict::Right)
    }
}

impl Runs {
    fn draft(&self, partial: &Partial, chunk: u32) -> io::Result<Arc<Draft>> {
        let mut draft = self.draft.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(draft) = &*draft {
            return Ok(Arc::clone(draft));
        }
        let begun = Arc::new(partial.draft(chunk)?);
        *draft = Some(Arc::clone(&begun));
        Ok(begun)
    }

    /// Adds the hash of a segment; gives all when it was the last.
    fn add(&self, segment: usize, hash: Option<Hash>) -> Option<Vec<Hash>> {
        let mut hashes = self.hashes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(place) = hashes.get_mut(segment) {
            *place = hash;
        }
        hashes.iter().copied().collect()
    }
}

const _: () = assert!((SEGMENT as u64).is_multiple_of(BLOCK_SIZE), "segments are nodes of the tree");
