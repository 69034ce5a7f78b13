//! Spreading: what a sole seeder tells its downloaders to ask for, so that it sends each chunk once before it repeats one
//! (the idea of BEP 16, super-seeding, with the downloaders' consent).
//!
//! Each chunk is given to one downloader, as a suggestion; it becomes free again when that one leaves. A chunk that any
//! downloader has already is never suggested. With fewer than two downloaders there is nothing to spread.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use common::bitmap::Bitmap;
use common::id::PeerId;

/// So many suggestions a downloader may have open. Enough to keep a fair share of the seeder's rate busy over a round
/// trip; few enough that one who freezes holds back little. Picked by hand, see `bench crowd`.
const OPEN_SUGGESTIONS: usize = 8;
/// With fewer downloaders than this nobody is told anything.
const CROWD: usize = 2;

/// What the seeder knows of its downloaders.
#[derive(Debug)]
pub(crate) struct Spread {
    /// Given to somebody, or had by somebody.
    given: Bitmap,
    /// Where to look for the next chunk that was not given; all below were.
    next: u32,
    /// Chunks that a downloader who left was given and did not get.
    returned: VecDeque<u32>,
    downloaders: BTreeMap<PeerId, Downloader>,
}

#[derive(Debug, Default)]
struct Downloader {
    open: BTreeSet<u32>,
    told: Told,
}

/// What a downloader was told last.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    Suggestions,
    Free,
}

impl Spread {
    /// Nothing is given yet of `chunks` chunks.
    pub(crate) fn new(chunks: u32) -> Self {
        Self { given: Bitmap::empty(chunks), next: 0, returned: VecDeque::new(), downloaders: BTreeMap::new() }
    }

    /// A downloader came.
    pub(crate) fn join(&mut self, peer: PeerId) {
        self.downloaders.entry(peer).or_default();
    }

    /// A downloader left.
    pub(crate) fn leave(&mut self, peer: PeerId) {
        if let Some(gone) = self.downloaders.remove(&peer) {
            for chunk in gone.open {
                self.given.remove(chunk);
                self.returned.push_back(chunk);
            }
        }
    }

    /// Somebody has this chunk.
    pub(crate) fn on_have(&mut self, peer: PeerId, chunk: u32) {
        self.given.insert(chunk);
        if let Some(downloader) = self.downloaders.get_mut(&peer) {
            downloader.open.remove(&chunk);
        }
    }

    /// This chunk is on its way to this downloader (suggested or not).
    pub(crate) fn on_sent(&mut self, peer: PeerId, chunk: u32) {
        self.on_have(peer, chunk);
    }

    /// What to tell each downloader now, where there is anything to tell: chunks, or none for 'ask for what you like'.
    pub(crate) fn suggest(&mut self) -> Vec<(PeerId, Vec<u32>)> {
        if self.downloaders.len() < CROWD {
            return self.set_free();
        }
        let mut told = Vec::new();
        // Those with the fewest open suggestions come first, one at a time, so that all get the same share.
        let mut additions: BTreeMap<PeerId, Vec<u32>> = BTreeMap::new();
        while let Some(peer) = self.hungriest() {
            let Some(chunk) = self.take() else { break };
            if let Some(downloader) = self.downloaders.get_mut(&peer) {
                downloader.open.insert(chunk);
                downloader.told = Told::Suggestions;
            }
            additions.entry(peer).or_default().push(chunk);
        }
        told.extend(additions);
        if self.is_over() {
            for (peer, downloader) in &mut self.downloaders {
                if downloader.told == Told::Suggestions && downloader.open.is_empty() {
                    downloader.told = Told::Free;
                    told.push((*peer, Vec::new()));
                }
            }
        }
        told
    }

    /// Nobody is left to spread to: whoever was told what to ask for may ask for anything.
    fn set_free(&mut self) -> Vec<(PeerId, Vec<u32>)> {
        let mut told = Vec::new();
        for (peer, downloader) in &mut self.downloaders {
            if downloader.told == Told::Suggestions {
                downloader.told = Told::Free;
                for chunk in std::mem::take(&mut downloader.open) {
                    self.given.remove(chunk);
                    self.returned.push_back(chunk);
                }
                told.push((*peer, Vec::new()));
            }
        }
        told
    }

    /// Whether a chunk was suggested to this downloader and is still to be sent.
    #[cfg(test)]
    fn is_open(&self, peer: PeerId, chunk: u32) -> bool {
        self.downloaders.get(&peer).is_some_and(|downloader| downloader.open.contains(&chunk))
    }

    fn hungriest(&self) -> Option<PeerId> {
        let hungry = self.downloaders.iter().filter(|(_, downloader)| downloader.open.len() < OPEN_SUGGESTIONS);
        hungry.min_by_key(|(_, downloader)| downloader.open.len()).map(|(peer, _)| *peer)
    }

    fn take(&mut self) -> Option<u32> {
        while let Some(chunk) = self.returned.pop_front() {
            if self.given.insert(chunk) {
                return Some(chunk);
            }
        }
        while self.next < self.given.length() {
            self.next += 1;
            if self.given.insert(self.next - 1) {
                return Some(self.next - 1);
            }
        }
        None
    }

    fn is_over(&self) -> bool {
        self.next >= self.given.length() && self.returned.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> PeerId {
        PeerId([number; 32])
    }

    #[test]
    fn each_chunk_goes_to_one_downloader_before_any_goes_to_two() {
        let mut spread = Spread::new(100);
        (0..3).for_each(|number| spread.join(peer(number)));
        let mut sent = BTreeMap::new();
        let mut free = 0;
        loop {
            let told = spread.suggest();
            if told.is_empty() {
                break;
            }
            for (to, chunks) in told {
                free += usize::from(chunks.is_empty());
                for chunk in chunks {
                    assert_eq!(sent.insert(chunk, to), None, "chunk {chunk} was suggested twice");
                    spread.on_sent(to, chunk);
                }
            }
        }
        assert_eq!(sent.len(), 100);
        assert_eq!(free, 3);
        for number in 0..3 {
            let share = sent.values().filter(|to| **to == peer(number)).count();
            assert!((30..=36).contains(&share), "{share}");
        }
    }

    #[test]
    fn what_a_downloader_who_left_did_not_get_is_given_to_another() {
        let mut spread = Spread::new(6);
        spread.join(peer(1));
        assert!(spread.suggest().is_empty(), "one downloader is no crowd");
        spread.join(peer(2));
        let told = spread.suggest();
        assert_eq!(told, [(peer(1), vec![0, 2, 4]), (peer(2), vec![1, 3, 5])]);
        spread.on_sent(peer(1), 0);
        spread.leave(peer(1));
        assert_eq!(spread.suggest(), [(peer(2), vec![])], "alone again, it may ask for anything");
        assert!(spread.suggest().is_empty(), "and is told once");
        spread.join(peer(3));
        let told: BTreeMap<_, _> = spread.suggest().into_iter().collect();
        assert_eq!((told.get(&peer(2)), told.get(&peer(3))), (Some(&vec![2, 1, 5]), Some(&vec![4, 3])));
        assert!(spread.is_open(peer(3), 4) && spread.is_open(peer(2), 5));
    }

    #[test]
    fn what_somebody_has_is_not_suggested() {
        let mut spread = Spread::new(3);
        spread.join(peer(1));
        spread.join(peer(2));
        spread.on_have(peer(1), 0);
        spread.on_have(peer(2), 2);
        assert_eq!(spread.suggest(), [(peer(1), vec![1])]);
    }
}
