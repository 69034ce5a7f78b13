//! Bitmaps: which chunks of a swarm are there, one bit a chunk, the first chunk in the highest bit of the first byte
//! (as in BEP 3). Bits beyond the last chunk are always 0.

use data_encoding::HEXLOWER;

/// A set of chunk numbers below a fixed length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bitmap {
    length: u32,
    ones: u32,
    bytes: Vec<u8>,
}

/// Bytes that are no bitmap of the length asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BitmapError {
    /// Too many or too few bytes.
    #[error("a bitmap of {want} bytes has {got}")]
    Length {
        /// What the number of chunks calls for.
        want: usize,
        /// What came.
        got: usize,
    },
    /// A bit is set beyond the last chunk.
    #[error("a bitmap has bits set beyond its last chunk")]
    Trailing,
    /// Not hex digits.
    #[error("a bitmap is not in lower-case hex")]
    Hex,
}

impl Bitmap {
    /// No chunk of `length`.
    pub fn empty(length: u32) -> Self {
        Self { length, ones: 0, bytes: vec![0; byte_count(length)] }
    }

    /// Every chunk of `length`.
    pub fn full(length: u32) -> Self {
        let mut bytes = vec![0xff; byte_count(length)];
        if let Some(last) = bytes.last_mut() {
            *last &= last_byte_mask(length);
        }
        Self { length, ones: length, bytes }
    }

    /// Reads what [`Self::as_bytes`] gives.
    pub fn from_bytes(length: u32, bytes: &[u8]) -> Result<Self, BitmapError> {
        let want = byte_count(length);
        if bytes.len() != want {
            return Err(BitmapError::Length { want, got: bytes.len() });
        }
        if bytes.last().is_some_and(|last| last & !last_byte_mask(length) != 0) {
            return Err(BitmapError::Trailing);
        }
        let ones = bytes.iter().map(|byte| byte.count_ones()).sum();
        Ok(Self { length, ones, bytes: bytes.to_vec() })
    }

    /// Reads what [`Self::to_hex`] gives.
    pub fn from_hex(length: u32, text: &str) -> Result<Self, BitmapError> {
        let want = byte_count(length);
        if text.len() != want * 2 {
            return Err(BitmapError::Length { want, got: text.len() / 2 });
        }
        match HEXLOWER.decode(text.as_bytes()) {
            Ok(bytes) => Self::from_bytes(length, &bytes),
            Err(_) => Err(BitmapError::Hex),
        }
    }

    /// `ceil(length / 8)` bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// [`Self::as_bytes`] in lower-case hex.
    pub fn to_hex(&self) -> String {
        HEXLOWER.encode(&self.bytes)
    }

    /// How many chunks it speaks of.
    pub const fn length(&self) -> u32 {
        self.length
    }

    /// How many are there.
    pub const fn count(&self) -> u32 {
        self.ones
    }

    /// Whether every chunk is there.
    pub const fn is_full(&self) -> bool {
        self.ones == self.length
    }

    /// Whether none is there.
    pub const fn is_empty(&self) -> bool {
        self.ones == 0
    }

    /// Whether chunk `index` is there; not if it is beyond the length.
    pub fn contains(&self, index: u32) -> bool {
        index < self.length && self.bytes.get(index as usize / 8).is_some_and(|byte| byte & mask(index) != 0)
    }

    /// Adds chunk `index`; says whether that changed anything. Beyond the length nothing happens.
    pub fn insert(&mut self, index: u32) -> bool {
        if index >= self.length || self.contains(index) {
            return false;
        }
        if let Some(byte) = self.bytes.get_mut(index as usize / 8) {
            *byte |= mask(index);
            self.ones += 1;
        }
        true
    }

    /// Takes chunk `index` out; says whether that changed anything.
    pub fn remove(&mut self, index: u32) -> bool {
        if !self.contains(index) {
            return false;
        }
        if let Some(byte) = self.bytes.get_mut(index as usize / 8) {
            *byte &= !mask(index);
            self.ones -= 1;
        }
        true
    }

    /// The chunks that are there, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.length).filter(|index| self.contains(*index))
    }

    /// The chunks that are missing, in order.
    pub fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.length).filter(|index| !self.contains(*index))
    }

    /// Runs of chunks that are there, first and last of each, in order: `[0-6]` is `(0, 6)`.
    pub fn runs(&self) -> Vec<(u32, u32)> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for index in self.iter() {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == index => *last = index,
                _ => runs.push((index, index)),
            }
        }
        runs
    }
}

const fn byte_count(length: u32) -> usize {
    length.div_ceil(8) as usize
}

const fn mask(index: u32) -> u8 {
    0x80 >> (index % 8)
}

const fn last_byte_mask(length: u32) -> u8 {
    match length % 8 {
        0 => 0xff,
        used => !(0xff >> used),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn bits_stand_as_in_bep_3() {
        let mut bitmap = Bitmap::empty(10);
        for index in [0, 9, 10, 11] {
            bitmap.insert(index);
        }
        assert_eq!(bitmap.as_bytes(), [0x80, 0x40]);
        assert_eq!(Bitmap::full(10).as_bytes(), [0xff, 0xc0]);
        assert_eq!(Bitmap::from_bytes(10, &[0, 0x20]), Err(BitmapError::Trailing));
        assert_eq!(Bitmap::from_bytes(10, &[0]), Err(BitmapError::Length { want: 2, got: 1 }));
        assert_eq!(Bitmap::from_hex(10, "80zz"), Err(BitmapError::Hex));
        assert!(Bitmap::full(0).is_full() && Bitmap::full(0).is_empty());
    }

    proptest! {
        #[test]
        fn it_is_a_set(length in 0u32..70, steps in proptest::collection::vec((0u32..80, any::<bool>()), 0..60)) {
            let (mut bitmap, mut model) = (Bitmap::empty(length), BTreeSet::new());
            for (index, add) in steps {
                if add {
                    prop_assert_eq!(bitmap.insert(index), index < length && model.insert(index));
                } else {
                    prop_assert_eq!(bitmap.remove(index), model.remove(&index));
                }
            }
            model.retain(|index| *index < length);
            prop_assert_eq!(bitmap.iter().collect::<BTreeSet<_>>(), model.clone());
            prop_assert_eq!(bitmap.count() as usize, model.len());
            prop_assert_eq!(bitmap.missing().count() + model.len(), length as usize);
            prop_assert_eq!(Bitmap::from_hex(length, &bitmap.to_hex()), Ok(bitmap.clone()));
            let from_runs: BTreeSet<u32> = bitmap.runs().into_iter().flat_map(|(a, b)| a..=b).collect();
            prop_assert_eq!(from_runs, model);
        }
    }
}
