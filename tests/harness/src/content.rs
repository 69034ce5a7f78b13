//! Content: bytes that follow from a seed, so that any part of a file can be made and checked without the file.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use common::merkle::{ChunkHashes, FileHasher};

const PIECE: usize = 1 << 20;
const WORD: usize = 8;

/// The bytes of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    kind: Kind,
    length: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Random { seed: u64 },
    Zeros,
}

/// Where two files differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// One is longer.
    Length {
        /// Bytes there are.
        got: u64,
        /// Bytes there should be.
        want: u64,
    },
    /// The piece of 1 MiB that begins here is not the same.
    Piece {
        /// In bytes.
        offset: u64,
    },
}

impl Content {
    /// `length` pseudo-random bytes.
    pub const fn random(seed: u64, length: u64) -> Self {
        Self { kind: Kind::Random { seed }, length }
    }

    /// `length` zeros, which take no room on disk.
    pub const fn zeros(length: u64) -> Self {
        Self { kind: Kind::Zeros, length }
    }

    /// Bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from `offset`, which must be a multiple of 8.
    pub fn fill(&self, offset: u64, bytes: &mut [u8]) {
        match self.kind {
            Kind::Zeros => bytes.fill(0),
            Kind::Random { seed } => {
                debug_assert!(offset.is_multiple_of(WORD as u64), "pieces begin at words");
                for (index, word) in (offset / WORD as u64..).zip(bytes.chunks_mut(WORD)) {
                    word.copy_from_slice(&word_of(seed, index).to_le_bytes()[..word.len()]);
                }
            }
        }
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = File::create(path)?;
        if self.kind == Kind::Zeros {
            return file.set_len(self.length);
        }
        self.pieces(|_offset, piece| file.write_all(piece))
    }

    /// Compares the file byte for byte.
    pub fn compare(&self, path: &Path) -> io::Result<Result<(), Difference>> {
        let mut file = File::open(path)?;
        let got = file.metadata()?.len();
        if got != self.length {
            return Ok(Err(Difference::Length { got, want: self.length }));
        }
        let mut there = vec![0; PIECE];
        let mut differs = None;
        self.pieces(|offset, piece| {
            let there = &mut there[..piece.len()];
            file.read_exact(there)?;
            if differs.is_none() && there != piece {
                differs = Some(Difference::Piece { offset });
            }
            Ok(())
        })?;
        Ok(differs.map_or(Ok(()), Err))
    }

    /// Its chunk hashes, and from them its file id.
    pub fn hashes(&self) -> ChunkHashes {
        let mut hasher = FileHasher::new(self.length).expect("tests make files below 8 TiB");
        self.pieces(|_offset, piece| {
            hasher.update(piece);
            Ok(())
        })
        .expect("hashing does not fail");
        hasher.finish().expect("exactly its length was hashed")
    }

    fn pieces(&self, mut take: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        let mut offset = 0;
        while offset < self.length {
            let now = usize::try_from(self.length - offset).map_or(PIECE, |left| left.min(PIECE));
            self.fill(offset, &mut piece[..now]);
            take(offset, &piece[..now])?;
            offset += now as u64;
        }
        Ok(())
    }
}

/// A stream of numbers that follow from a seed.
#[derive(Debug, Clone)]
pub struct Dice {
    seed: u64,
    thrown: u64,
}

impl Dice {
    /// The same seed gives the same throws.
    pub const fn new(seed: u64) -> Self {
        Self { seed, thrown: 0 }
    }

    /// A number below `bound`, or 0 where that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.thrown += 1;
        word_of(self.seed, self.thrown).checked_rem(bound).unwrap_or(0)
    }

    /// A number from `low` to `high`, each order of magnitude as likely as any other. `low` is not 0.
    pub fn scaled(&mut self, low: u64, high: u64) -> u64 {
        let (first, last) = (low.ilog2(), high.ilog2());
        let order = 1_u64 << (u64::from(first) + self.below(u64::from(last - first) + 1));
        (order + self.below(order)).clamp(low, high)
    }

    /// A fraction from 0 to below 1.
    pub fn fraction(&mut self) -> f64 {
        /// What an `f64` has room for exactly.
        const BITS: u32 = 53;
        self.below(1 << BITS) as f64 / (1_u64 << BITS) as f64
    }

    /// True in `fraction` of all throws.
    pub fn chance(&mut self, fraction: f64) -> bool {
        fraction > 0.0 && self.fraction() < fraction
    }

    /// `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256).to_le_bytes()[0]).collect()
    }
}

/// The word at `index` of the stream of `seed`: splitmix64 (Steele, Lea, Flood 2014), whose states are a plain count.
const fn word_of(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_mul(0xd1b5_4a32_d192_ed03).wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_compares_with_what_it_was_written_from() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for length in [0, 1, 7, PIECE as u64 - 1, PIECE as u64 + 13] {
            let content = Content::random(length, length);
            content.write(&path).unwrap();
            assert_eq!(content.compare(&path).unwrap(), Ok(()));
            assert_eq!(content.hashes().file_id().length(), length);
        }
        let length = PIECE as u64 + 13;
        assert_eq!(
            Content::random(1, length).compare(&path).unwrap(),
            Err(Difference::Piece { offset: 0 }),
            "another seed"
        );
        assert_eq!(Content::random(1, 5).compare(&path).unwrap(), Err(Difference::Length { got: length, want: 5 }));
    }

    #[test]
    fn any_part_is_that_part_of_the_whole() {
        let content = Content::random(3, 100);
        let (mut whole, mut part) = ([0; 100], [0; 20]);
        content.fill(0, &mut whole);
        content.fill(40, &mut part);
        assert_eq!(part, whole[40..60]);
    }
}
