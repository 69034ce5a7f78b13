//! How the chunk hashes come: in parts, all from one link; a link whose hashes do not lead to the root is bad.

use common::id::{Content, Hash};
use common::merkle::ChunkHashes;
use common::wire::peer::MAX_HASHES;
use tokio::time::Instant;

use crate::link::LinkId;

/// After so long without a part somebody else is asked.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// The chunk hashes on their way.
#[derive(Debug)]
pub(super) struct Layer {
    file: Content,
    count: u32,
    from: Option<LinkId>,
    heard: Instant,
    hashes: Vec<Hash>,
}

/// What came of a part.
#[derive(Debug)]
pub(super) enum Part {
    /// Ask the same link for the next.
    Next {
        /// From this chunk.
        first: u32,
        /// So many.
        count: u32,
    },
    /// All are there.
    Whole(ChunkHashes),
    /// It has none to give (yet).
    None,
    /// What it gave is not right.
    Bad,
    /// Not what was asked for; nothing changes.
    Stray,
}

impl Layer {
    /// For a file of which no hash is known.
    pub(super) fn new(file: Content, now: Instant) -> Self {
        Self { file, count: file.chunks(), from: None, heard: now, hashes: Vec::new() }
    }

    /// The hashes of a file of at most one chunk follow from its id.
    pub(super) fn of_small(file: &Content) -> Option<ChunkHashes> {
        match file.chunks() {
            0 => ChunkHashes::checked(&file.file_or_manifest(), Vec::new()).ok(),
            1 => ChunkHashes::checked(&file.file_or_manifest(), vec![file.file_or_manifest().root()]).ok(),
            _ => None,
        }
    }

    /// Whether somebody is to be asked now.
    pub(super) fn is_free(&self, now: Instant) -> bool {
        self.from.is_none() || now.duration_since(self.heard) >= PATIENCE
    }

    /// Begins to ask this link; gives the first part to ask for.
    pub(super) fn begin(&mut self, link: LinkId, now: Instant) -> (u32, u32) {
        self.from = Some(link);
        self.heard = now;
        self.hashes.clear();
        self.next()
    }

    /// A link is gone.
    pub(super) fn leave(&mut self, link: LinkId) {
        if self.from == Some(link) {
            self.from = None;
        }
    }

    fn next(&self) -> (u32, u32) {
        let first = u32::try_from(self.hashes.len()).unwrap_or(self.count).min(self.count);
        (first, MAX_HASHES.min(self.count - first))
    }

    /// A part came.
    pub(super) fn on_part(&mut self, link: LinkId, first: u32, hashes: Vec<Hash>, now: Instant) -> Part {
        let (wanted, most) = self.next();
        if self.from != Some(link) || first != wanted {
            return Part::Stray;
        }
        if hashes.is_empty() {
            self.from = None;
            return Part::None;
        }
        if hashes.len() > most as usize {
            self.from = None;
            return Part::Bad;
        }
        // Who sends less than was asked for does not keep the others from being asked.
        if hashes.len() == most as usize {
            self.heard = now;
        }
        self.hashes.extend(hashes);
        match self.next() {
            (_, 0) => {
                self.from = None;
                match ChunkHashes::checked(&self.file.file_or_manifest(), std::mem::take(&mut self.hashes)) {
                    Ok(hashes) => Part::Whole(hashes),
                    Err(_) => Part::Bad,
                }
            }
            (first, count) => Part::Next { first, count },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::FileId;
    use common::merkle::FileHasher;

    fn sample(length: u64) -> ChunkHashes {
        let mut hasher = FileHasher::new(length).unwrap();
        let piece = vec![7; 1 << 20];
        let mut left = length;
        while left > 0 {
            let now = left.min(piece.len() as u64);
            hasher.update(&piece[..usize::try_from(now).unwrap()]);
            left -= now;
        }
        hasher.finish().unwrap()
    }

    #[test]
    fn hashes_come_whole_and_wrong_ones_are_bad() {
        let hashes = sample(3 << 20);
        let (link, now) = (LinkId(1), Instant::now());
        let mut layer = Layer::new(hashes.file_id().into(), now);
        assert_eq!(layer.begin(link, now), (0, 192));
        assert!(matches!(layer.on_part(link, 5, vec![Hash([0; 32])], now), Part::Stray));
        let (one, two) = hashes.as_slice().split_at(100);
        assert!(matches!(layer.on_part(link, 0, one.to_vec(), now), Part::Next { first: 100, count: 92 }));
        let Part::Whole(whole) = layer.on_part(link, 100, two.to_vec(), now) else { panic!("not whole") };
        assert_eq!(whole, hashes);
        layer.begin(link, now);
        assert!(matches!(layer.on_part(link, 0, vec![Hash([0; 32]); 192], now), Part::Bad));
        layer.begin(link, now);
        assert!(matches!(layer.on_part(link, 0, vec![Hash([0; 32]); 193], now), Part::Bad));
        layer.begin(link, now);
        assert!(matches!(layer.on_part(link, 0, Vec::new(), now), Part::None));
        assert!(layer.is_free(now));
    }

    #[test]
    fn one_who_gives_little_at_a_time_is_not_waited_for() {
        let hashes = sample(3 << 20);
        let (link, start) = (LinkId(1), Instant::now());
        let mut layer = Layer::new(hashes.file_id().into(), start);
        layer.begin(link, start);
        for (number, hash) in (0..).zip(&hashes.as_slice()[..3]) {
            let now = start + PATIENCE / 4 * number;
            assert!(!layer.is_free(now));
            assert!(matches!(layer.on_part(link, number, vec![*hash], now), Part::Next { .. }));
        }
        assert!(layer.is_free(start + PATIENCE));
    }

    #[test]
    fn small_files_need_no_hashes_from_anybody() {
        for length in [0, 1, 16384] {
            let hashes = sample(length);
            assert_eq!(Layer::of_small(&hashes.file_id().into()), Some(hashes));
        }
        assert_eq!(Layer::of_small(&sample(16385).file_id().into()), None);
        let wrong = FileId::new(0, Hash([1; 32])).unwrap().into();
        assert_eq!(Layer::of_small(&wrong), None);
    }
}
