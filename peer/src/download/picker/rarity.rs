//! Rarity: how many links have each chunk, and a rare one of those that nobody was asked for yet.

use common::bitmap::Bitmap;

/// So many chunks of the same rarity are tried at random before others are; where there are no more, all of them are.
const TRIES: usize = 64;
/// Where no try hits, so many chunks that the link has are compared, from a random place on.
const COMPARED: usize = 256;
/// The place of a chunk that is in no list.
const NOWHERE: u32 = u32::MAX;

/// How many links have each chunk, and the chunks that are open: wanted, not there, and nobody was asked for them.
#[derive(Debug)]
pub(super) struct Rarity {
    wanted: Bitmap,
    open: Bitmap,
    holders: Vec<u16>,
    /// The open chunks, by how many links have them; in no order.
    by_holders: Vec<Vec<u32>>,
    /// Where each chunk is in its list.
    places: Vec<u32>,
}

impl Rarity {
    /// Nobody has anything, and all that is wanted is open.
    pub(super) fn new(wanted: Bitmap) -> Self {
        let count = wanted.length() as usize;
        let mut rarity = Self {
            open: Bitmap::empty(wanted.length()),
            holders: vec![0; count],
            by_holders: Vec::new(),
            places: vec![NOWHERE; count],
            wanted: Bitmap::empty(0),
        };
        for chunk in wanted.iter() {
            rarity.open.insert(chunk);
            rarity.list(chunk);
        }
        rarity.wanted = wanted;
        rarity
    }

    /// Whether the chunk is among those that were missing at the start.
    pub(super) fn is_wanted(&self, chunk: u32) -> bool {
        self.wanted.contains(chunk)
    }

    /// Whether a chunk is wanted and nobody was asked for it.
    pub(super) fn is_open(&self, chunk: u32) -> bool {
        self.open.contains(chunk)
    }

    /// How many open chunks no link has.
    pub(super) fn nowhere(&self) -> u32 {
        self.by_holders.first().map_or(0, |chunks| u32::try_from(chunks.len()).unwrap_or(u32::MAX))
    }

    /// One link more has a chunk.
    pub(super) fn on_holder(&mut self, chunk: u32) {
        self.change(chunk, |holders| holders.saturating_add(1));
    }

    /// One link less has a chunk.
    pub(super) fn on_holder_gone(&mut self, chunk: u32) {
        self.change(chunk, |holders| holders.saturating_sub(1));
    }

    /// Nobody is asked for a chunk any more. Says whether it is open now, and was not.
    pub(super) fn open(&mut self, chunk: u32) -> bool {
        let opened = self.wanted.contains(chunk) && self.open.insert(chunk);
        if opened {
            self.list(chunk);
        }
        opened
    }

    /// A chunk was asked for, or is there. Says whether it was open.
    pub(super) fn close(&mut self, chunk: u32) -> bool {
        let closed = self.open.remove(chunk);
        if closed {
            self.unlist(chunk);
        }
        closed
    }

    /// An open chunk of those in `have`: the rarest, ties at random. Where a link has few of very many, it may be a little
    /// less rare than another.
    pub(super) fn pick(&self, have: &Bitmap, mut random: impl FnMut() -> u64) -> Option<u32> {
        for chunks in self.by_holders.iter().skip(1).filter(|chunks| !chunks.is_empty()) {
            let from = below(random(), chunks.len());
            let tried = if chunks.len() <= COMPARED { chunks.len() } else { TRIES };
            // Up to so many one after the other, each of them with the same chance to be the first.
            let mut tries = chunks.iter().cycle().skip(from).take(tried);
            if tried == chunks.len() {
                let hits: Vec<u32> = tries.copied().filter(|chunk| have.contains(*chunk)).collect();
                if !hits.is_empty() {
                    return hits.get(below(random(), hits.len())).copied();
                }
            } else if let Some(hit) = tries.find(|chunk| have.contains(**chunk)) {
                return Some(*hit);
            }
        }
        self.compare_some(have, random())
    }

    /// The rarest of some open chunks in `have`, from a random place on.
    fn compare_some(&self, have: &Bitmap, random: u64) -> Option<u32> {
        let (open, have) = (self.open.as_bytes(), have.as_bytes());
        let start = below(random, open.len());
        let bytes = (start..open.len()).chain(0..start);
        let both = bytes.filter_map(|at| {
            let byte = open.get(at)? & have.get(at)?;
            (byte != 0).then_some((at, byte))
        });
        let chunks = both.flat_map(|(at, byte)| {
            let first = u32::try_from(at * 8).unwrap_or(u32::MAX);
            (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| first + bit)
        });
        chunks.take(COMPARED).min_by_key(|chunk| self.holders.get(*chunk as usize).copied())
    }

    fn change(&mut self, chunk: u32, change: impl FnOnce(u16) -> u16) {
        let listed = self.open.contains(chunk);
        if listed {
            self.unlist(chunk);
        }
        if let Some(holders) = self.holders.get_mut(chunk as usize) {
            *holders = change(*holders);
        }
        if listed {
            self.list(chunk);
        }
    }

    fn list(&mut self, chunk: u32) {
        let Some(holders) = self.holders.get(chunk as usize).map(|holders| usize::from(*holders)) else { return };
        if self.by_holders.len() <= holders {
            self.by_holders.resize_with(holders + 1, Vec::new);
        }
        let chunks = &mut self.by_holders[holders];
        self.places[chunk as usize] = u32::try_from(chunks.len()).expect("at most as many as there are chunks");
        chunks.push(chunk);
    }

    fn unlist(&mut self, chunk: u32) {
        let Some(place) = self.places.get_mut(chunk as usize) else { return };
        let at = std::mem::replace(place, NOWHERE) as usize;
        let chunks = &mut self.by_holders[usize::from(self.holders[chunk as usize])];
        chunks.swap_remove(at);
        if let Some(moved) = chunks.get(at) {
            self.places[*moved as usize] = u32::try_from(at).expect("it was one");
        }
    }
}

/// A number below `count`, which is not 0.
fn below(random: u64, count: usize) -> usize {
    usize::try_from(random % count.max(1) as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn random() -> impl FnMut() -> u64 {
        let mut state = 7;
        move || {
            state = super::super::xorshift(state);
            state
        }
    }

    #[test]
    fn a_link_with_one_chunk_of_a_million_is_asked_for_it() {
        const COUNT: u32 = 1 << 20;
        let mut rarity = Rarity::new(Bitmap::full(COUNT));
        (0..COUNT).for_each(|chunk| rarity.on_holder(chunk));
        let mut have = Bitmap::empty(COUNT);
        have.insert(777_777);
        assert_eq!(rarity.pick(&have, random()), Some(777_777));
        assert!(rarity.close(777_777) && !rarity.close(777_777));
        assert_eq!(rarity.pick(&have, random()), None);
        rarity.on_holder_gone(777_777);
        assert!(rarity.open(777_777));
        assert_eq!(rarity.nowhere(), 1);
    }

    #[test]
    fn all_the_chunks_of_a_large_folder_are_picked_in_no_time() {
        const COUNT: u32 = 1 << 20;
        let (mut rarity, have, mut random) = (Rarity::new(Bitmap::full(COUNT)), Bitmap::full(COUNT), random());
        (0..COUNT).for_each(|chunk| rarity.on_holder(chunk));
        let mut picked = 0;
        while let Some(chunk) = rarity.pick(&have, &mut random) {
            assert!(rarity.close(chunk));
            picked += 1;
        }
        assert_eq!(picked, COUNT);
    }

    proptest! {
        #[test]
        fn the_rarest_is_picked_whatever_happened_before(
            steps in proptest::collection::vec((0u32..40, 0u8..4), 0..200),
            have in proptest::collection::vec(any::<bool>(), 40),
            seed in any::<u64>(),
        ) {
            let mut rarity = Rarity::new(Bitmap::full(40));
            for (chunk, step) in steps {
                match step {
                    0 => { rarity.open(chunk); }
                    1 => { rarity.close(chunk); }
                    2 => rarity.on_holder(chunk),
                    _ => rarity.on_holder_gone(chunk),
                }
            }
            let mut has = Bitmap::empty(40);
            // What a link has, it has itself.
            for (chunk, _) in (0..).zip(have).filter(|(chunk, have)| *have && rarity.holders[*chunk as usize] > 0) {
                has.insert(chunk);
            }
            let fewest = has.iter().filter(|chunk| rarity.is_open(*chunk)).map(|chunk| rarity.holders[chunk as usize]);
            let picked = rarity.pick(&has, || seed);
            prop_assert_eq!(picked.map(|chunk| rarity.holders[chunk as usize]), fewest.min());
            prop_assert!(picked.is_none_or(|chunk| has.contains(chunk) && rarity.is_open(chunk)));
            let listed: usize = rarity.by_holders.iter().map(Vec::len).sum();
            prop_assert_eq!(listed, rarity.open.count() as usize);
        }
    }
}
