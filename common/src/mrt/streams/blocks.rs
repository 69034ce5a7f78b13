//! Where received bytes of streams wait: blocks that are recycled within a connection, and queues of them.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

/// Bytes of a full block. Large enough that a packet of 16 KiB seldom crosses from one to the next, small enough that a
/// block for a gap costs little.
pub(super) const BLOCK: usize = 64 << 10;

/// The same as an offset.
const BLOCK_OFFSET: u64 = BLOCK as u64;

/// The first block of a stream starts with this and doubles: most streams carry a request of some dozen bytes one way.
const SMALLEST: usize = 256;

/// Up to this it doubles; what needs more gets a full block.
pub(super) const LARGEST_SMALL: usize = 8 << 10;

/// Full blocks that are kept for later, as long as so many were in use lately: the window of a fast local path. To get
/// them from the system anew each time, page by page, costs more than to seal them.
const MAX_FREE: usize = 64;

/// The blocks of a connection. Full ones are kept for the next use, as many as were needed lately.
#[derive(Default)]
pub(super) struct Blocks {
    free: Vec<Vec<u8>>,
    /// Full blocks that are in some queue.
    used: usize,
    /// Most of them since [`Self::trim`].
    peak: usize,
}

/// What came of one stream, by its offsets. Block `n` begins at `origin` + `n` times [`BLOCK`]; blocks in
/// which nothing was put yet are empty.
#[derive(Default)]
pub(super) struct BlockQueue {
    origin: u64,
    blocks: VecDeque<Vec<u8>>,
}

impl Blocks {
    /// Gives up free blocks that were not needed since the last call.
    pub(super) fn trim(&mut self) {
        self.free.truncate(self.peak.saturating_sub(self.used));
        self.peak = self.used;
    }

    /// Makes room for `length` bytes in `block`, which belongs to a stream that has carried `carried` bytes so far.
    pub(super) fn reserve(&mut self, block: &mut Vec<u8>, length: usize, carried: u64) {
        if block.capacity() >= length {
            return;
        }
        if length <= LARGEST_SMALL && carried < BLOCK_OFFSET {
            let size = length.max(SMALLEST).next_power_of_two();
            block.reserve_exact(size - block.len());
            return;
        }
        self.used += 1;
        self.peak = self.peak.max(self.used);
        let mut full = self.free.pop().unwrap_or_else(|| Vec::with_capacity(BLOCK));
        full.extend_from_slice(block);
        *block = full;
    }

    pub(super) fn release(&mut self, block: Vec<u8>) {
        if block.capacity() >= BLOCK {
            self.used -= 1;
            self.keep(block);
        }
    }

    /// Gives `block` away, and takes `other` in its place, which is of some size, or of none.
    fn exchange(&mut self, block: Vec<u8>, other: &mut Vec<u8>) {
        if block.capacity() >= BLOCK {
            self.used -= 1;
        }
        let other = std::mem::replace(other, block);
        // A larger one would hold more than windows allow for.
        if other.capacity() == BLOCK {
            self.keep(other);
        }
    }

    fn keep(&mut self, mut block: Vec<u8>) {
        if self.free.len() < MAX_FREE {
            block.clear();
            self.free.push(block);
        }
    }
}

impl BlockQueue {
    /// Copies `data` to its place at `offset`, which must not be before what was freed.
    pub(super) fn put(&mut self, blocks: &mut Blocks, mut offset: u64, mut data: &[u8]) {
        while !data.is_empty() {
            let (index, at) = self.place(offset);
            let (part, rest) = data.split_at(data.len().min(BLOCK - at));
            if index >= self.blocks.len() {
                self.blocks.resize_with(index + 1, Vec::new);
            }
            let block = self.blocks.get_mut(index).expect("made above");
            blocks.reserve(block, at + part.len(), offset);
            if at > block.len() {
                block.resize(at, 0);
            }
            let (again, new) = part.split_at(part.len().min(block.len() - at));
            block.get_mut(at..at + again.len()).expect("within its length").copy_from_slice(again);
            block.extend_from_slice(new);
            offset += part.len() as u64;
            data = rest;
        }
    }

    /// What was put at `range`, all of which must have been, in order.
    pub(super) fn parts(&self, range: Range<u64>) -> impl Iterator<Item = &[u8]> {
        let mut at = range.start;
        std::iter::from_fn(move || {
            let left = usize::try_from(range.end - at).expect("what is in memory fits in it");
            let (index, start) = self.place(at);
            let block = self.blocks.get(index).filter(|_| left > 0)?;
            let part = block.get(start..block.len().min(start + left))?;
            at += part.len() as u64;
            Some(part).filter(|part| !part.is_empty())
        })
    }

    /// Puts what was put at the beginning of `range` into `into`, up to the end of a block, and says how much. A block that is
    /// needed no more is not copied but given away, and the memory of `into` is kept for other blocks.
    pub(super) fn take(&mut self, blocks: &mut Blocks, range: Range<u64>, into: &mut Vec<u8>) -> usize {
        let block_end = range.start - self.place(range.start).1 as u64 + BLOCK_OFFSET;
        let end = range.end.min(block_end);
        if range.start == self.origin
            && (end == block_end || self.blocks.len() == 1)
            && let Some(block) = self.blocks.pop_front_if(|block| range.start + block.len() as u64 == end)
        {
            self.origin = end;
            blocks.exchange(block, into);
        } else {
            into.clear();
            // Powers of two end at a full block, which may come back for another.
            let length = usize::try_from(end - range.start).expect("what is in memory fits in it");
            into.reserve_exact(length.next_power_of_two());
            self.parts(range.start..end).for_each(|part| into.extend_from_slice(part));
        }
        into.len()
    }

    /// Frees blocks that lie before `offset` as a whole.
    pub(super) fn free_before(&mut self, blocks: &mut Blocks, offset: u64) {
        while offset >= self.origin + BLOCK_OFFSET {
            let Some(block) = self.blocks.pop_front() else {
                self.origin = offset;
                return;
            };
            self.origin += BLOCK_OFFSET;
            blocks.release(block);
        }
    }

    /// Frees all: the next bytes come at `offset` or later. A single small block is kept, since a stream of short messages
    /// comes here after each.
    pub(super) fn restart(&mut self, blocks: &mut Blocks, offset: u64) {
        self.origin = offset;
        match self.blocks.front_mut() {
            Some(only) if only.capacity() <= LARGEST_SMALL => {
                only.clear();
                self.blocks.drain(1..).for_each(|block| blocks.release(block));
            }
            _ => self.clear(blocks),
        }
    }

    /// Frees all for good.
    pub(super) fn clear(&mut self, blocks: &mut Blocks) {
        self.blocks.drain(..).for_each(|block| blocks.release(block));
    }

    /// Block of the byte at `offset`, and its place there.
    fn place(&self, offset: u64) -> (usize, usize) {
        let distance = usize::try_from(offset - self.origin).expect("what is in memory fits in it");
        (distance / BLOCK, distance % BLOCK)
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").field("free", &self.free.len()).field("used", &self.used).finish_non_exhaustive()
    }
}

impl fmt::Debug for BlockQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockQueue").field("origin", &self.origin).field("blocks", &self.blocks.len()).finish()
    }
}

#[cfg(test)]
impl BlockQueue {
    /// Bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.blocks.iter().map(Vec::capacity).sum()
    }
}

#[cfg(test)]
impl Blocks {
    /// Full blocks in use, and those kept.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.used, self.free.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(queue: &BlockQueue, range: Range<u64>) -> Vec<u8> {
        queue.parts(range).flatten().copied().collect()
    }

    fn pattern(range: Range<u64>) -> Vec<u8> {
        range.map(|offset| u8::try_from(offset % 251).unwrap()).collect()
    }

    #[test]
    fn bytes_are_where_they_were_put_in_whatever_order() {
        let (mut blocks, mut queue) = (Blocks::default(), BlockQueue::default());
        for range in [100_000..170_000, 0..100, 90..66_000, 65_000..100_001] {
            queue.put(&mut blocks, range.start, &pattern(range.clone()));
        }
        assert_eq!(content(&queue, 0..170_000), pattern(0..170_000));
        assert_eq!(content(&queue, 65_530..65_540), pattern(65_530..65_540));
        queue.free_before(&mut blocks, 131_071);
        assert_eq!(content(&queue, 131_071..170_000), pattern(131_071..170_000));
        assert_eq!(blocks.count(), (2, 1));
    }

    #[test]
    fn what_is_taken_is_what_was_put_and_full_blocks_are_exchanged() {
        let (mut blocks, mut queue) = (Blocks::default(), BlockQueue::default());
        queue.put(&mut blocks, 0, &pattern(0..150_000));
        let (mut into, mut at) = (Vec::with_capacity(BLOCK), 0);
        let mut memory = into.as_ptr();
        while at < 150_000 {
            let count = queue.take(&mut blocks, at..150_000, &mut into) as u64;
            assert_eq!(into, pattern(at..at + count));
            assert_ne!(std::mem::replace(&mut memory, into.as_ptr()), into.as_ptr(), "exchanged");
            at += count;
        }
        // Of the three blocks the program has the last, and has given its own for the first, and that for the second.
        assert_eq!(blocks.count(), (0, 3));
        // Behind what is there something else came: that stays in its place.
        queue.put(&mut blocks, 150_000, &pattern(150_000..151_000));
        queue.put(&mut blocks, 152_000, &pattern(152_000..153_000));
        assert_eq!(queue.take(&mut blocks, 150_000..151_000, &mut into), 1000);
        assert_eq!(into, pattern(150_000..151_000));
        queue.put(&mut blocks, 151_000, &pattern(151_000..152_000));
        assert_eq!(queue.take(&mut blocks, 151_000..153_000, &mut into), 2000);
        assert_eq!(into, pattern(151_000..153_000));
    }

    #[test]
    fn what_a_program_gives_for_a_block_takes_no_more_than_one() {
        let (mut blocks, mut queue) = (Blocks::default(), BlockQueue::default());
        queue.put(&mut blocks, 0, &pattern(0..BLOCK_OFFSET));
        let mut into = Vec::with_capacity(2 * BLOCK - 1);
        assert_eq!(queue.take(&mut blocks, 0..BLOCK_OFFSET, &mut into), BLOCK);
        queue.put(&mut blocks, BLOCK_OFFSET, &pattern(0..BLOCK_OFFSET));
        assert_eq!(queue.memory(), BLOCK);
        // What is copied in parts grows into a block that is worth keeping.
        let mut grown = Vec::new();
        for length in [1, 100, 40_000] {
            queue.take(&mut blocks, BLOCK_OFFSET..BLOCK_OFFSET + length, &mut grown);
        }
        assert_eq!(grown.capacity(), BLOCK);
    }

    #[test]
    fn a_short_stream_takes_little_and_a_long_one_recycles() {
        let (mut blocks, mut queue) = (Blocks::default(), BlockQueue::default());
        queue.put(&mut blocks, 0, &[7; 40]);
        assert_eq!(queue.memory(), SMALLEST);
        queue.restart(&mut blocks, 40);
        queue.put(&mut blocks, 40, &[7; 40]);
        assert_eq!((queue.memory(), blocks.count()), (SMALLEST, (0, 0)));
        for n in 0..1000 {
            let offset = 80 + n * 1400;
            queue.put(&mut blocks, offset, &[7; 1400]);
            queue.free_before(&mut blocks, offset);
        }
        let (used, free) = blocks.count();
        assert!(used <= 2 && free <= 1, "{used} used, {free} free");
        queue.clear(&mut blocks);
        blocks.trim();
        blocks.trim();
        assert_eq!(blocks.count(), (0, 0));
    }

    #[test]
    fn blocks_beyond_the_cap_are_given_back() {
        let (mut blocks, mut queue) = (Blocks::default(), BlockQueue::default());
        queue.put(&mut blocks, 0, &vec![1; (MAX_FREE + 8) * BLOCK]);
        assert_eq!(blocks.count(), (MAX_FREE + 8, 0));
        queue.clear(&mut blocks);
        assert_eq!(blocks.count(), (0, MAX_FREE));
    }
}
