//! Bytes that the program wrote, until they are acknowledged: copied into blocks, or in the chunks that it gave.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::blocks::{BLOCK, Blocks, LARGEST_SMALL};

/// Chunks that are shorter are copied: to keep one costs about 100 bytes, and a look at each.
const SHORTEST_CHUNK: usize = 1 << 10;

/// What was written to one stream and is kept, by its offsets.
#[derive(Default)]
pub(super) struct Written {
    pieces: VecDeque<Piece>,
    /// Where the next byte goes.
    end: u64,
    /// Where the last chunk that was given ends.
    given: u64,
}

struct Piece {
    start: u64,
    content: Content,
}

enum Content {
    /// In a block.
    Copied(Vec<u8>),
    /// In memory of the program.
    Given(Bytes),
}

impl Content {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(block) => block,
            Self::Given(chunk) => chunk,
        }
    }

    fn release(self, blocks: &mut Blocks) {
        if let Self::Copied(block) = self {
            blocks.release(block);
        }
    }
}

impl Written {
    /// Copies `data` behind what is there.
    pub(super) fn put(&mut self, blocks: &mut Blocks, mut data: &[u8]) {
        while !data.is_empty() {
            let space = |content: &Content| match content {
                Content::Copied(block) => BLOCK - block.len(),
                Content::Given(_) => 0,
            };
            if self.pieces.back().is_none_or(|last| space(&last.content) == 0) {
                self.pieces.push_back(Piece { start: self.end, content: Content::Copied(Vec::new()) });
            }
            let Some(Piece { content: Content::Copied(block), .. }) = self.pieces.back_mut() else { return };
            let (part, rest) = data.split_at(data.len().min(BLOCK - block.len()));
            blocks.reserve(block, block.len() + part.len(), self.end - self.given);
            block.extend_from_slice(part);
            self.end += part.len() as u64;
            data = rest;
        }
    }

    /// Puts `chunk` behind what is there.
    pub(super) fn give(&mut self, blocks: &mut Blocks, chunk: Bytes) {
        if chunk.len() < SHORTEST_CHUNK {
            return self.put(blocks, &chunk);
        }
        let start = self.end;
        self.end += chunk.len() as u64;
        self.given = self.end;
        self.pieces.push_back(Piece { start, content: Content::Given(chunk) });
    }

    /// What was put at `range`, all of which must have been and not be freed, in order.
    pub(super) fn parts(&self, range: Range<u64>) -> impl Iterator<Item = &[u8]> {
        let first = self.pieces.partition_point(|piece| piece.start <= range.start).saturating_sub(1);
        let overlapping = self.pieces.range(first.min(self.pieces.len())..);
        overlapping.take_while(move |piece| piece.start < range.end).map(move |piece| {
            let at = |offset: u64| usize::try_from(offset.saturating_sub(piece.start)).unwrap_or(usize::MAX);
            let bytes = piece.content.bytes();
            bytes.get(at(range.start)..at(range.end).min(bytes.len())).unwrap_or_default()
        })
    }

    /// Frees what lies before `offset`, where the whole of its piece does.
    pub(super) fn free_before(&mut self, blocks: &mut Blocks, offset: u64) {
        let over = |piece: &mut Piece| piece.start + piece.content.bytes().len() as u64 <= offset;
        while let Some(piece) = self.pieces.pop_front_if(over) {
            piece.content.release(blocks);
        }
    }

    /// Frees all. A single small block is kept, since a stream of short messages comes here after each.
    pub(super) fn restart(&mut self, blocks: &mut Blocks) {
        let first = self.pieces.pop_front();
        self.clear(blocks);
        match first.map(|piece| piece.content) {
            Some(Content::Copied(mut small)) if small.capacity() <= LARGEST_SMALL => {
                small.clear();
                self.pieces.push_back(Piece { start: self.end, content: Content::Copied(small) });
            }
            Some(content) => content.release(blocks),
            None => {}
        }
    }

    /// Frees all for good.
    pub(super) fn clear(&mut self, blocks: &mut Blocks) {
        self.pieces.drain(..).for_each(|piece| piece.content.release(blocks));
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Written").field("end", &self.end).field("pieces", &self.pieces.len()).finish()
    }
}

#[cfg(test)]
impl Written {
    /// Bytes of memory, those of the program excepted.
    pub(super) fn memory(&self) -> usize {
        let copied = self.pieces.iter().map(|piece| match &piece.content {
            Content::Copied(block) => block.capacity(),
            Content::Given(_) => 0,
        });
        copied.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(written: &Written, range: Range<u64>) -> Vec<u8> {
        written.parts(range).flatten().copied().collect()
    }

    fn pattern(range: Range<u64>) -> Vec<u8> {
        range.map(|offset| u8::try_from(offset % 251).unwrap()).collect()
    }

    #[test]
    fn what_was_copied_and_what_was_given_stand_in_order() {
        let (mut blocks, mut written) = (Blocks::default(), Written::default());
        let mut at = 0;
        for (length, is_given) in [(40, false), (100_000, true), (70_000, false), (20, true), (5000, true), (9, false)]
        {
            let data = pattern(at..at + length);
            if is_given {
                written.give(&mut blocks, data.into());
            } else {
                written.put(&mut blocks, &data);
            }
            at += length;
        }
        for range in [0..at, 39..41, 40..100_040, 100_000..110_000, 175_058..175_061, at - 1..at] {
            assert_eq!(content(&written, range.clone()), pattern(range));
        }
        written.free_before(&mut blocks, 100_039);
        assert_eq!(content(&written, 100_039..at), pattern(100_039..at));
        written.free_before(&mut blocks, 100_040);
        assert_eq!(written.memory(), 2 * BLOCK + 256, "neither the first nor what was given");
        written.restart(&mut blocks);
        assert_eq!((written.memory(), blocks.count()), (0, (0, 2)));
    }

    #[test]
    fn short_messages_use_one_small_block() {
        let (mut blocks, mut written) = (Blocks::default(), Written::default());
        for n in 0..100 {
            written.put(&mut blocks, &[7; 40]);
            assert_eq!(content(&written, n * 40..n * 40 + 40), [7; 40]);
            written.restart(&mut blocks);
        }
        assert_eq!((written.memory(), blocks.count()), (256, (0, 0)));
    }
}
