//! How the chunk hashes come: in parts, all from one link; a link whose hashes do not lead to the roots is bad. Those that
//! follow from the ids of files are not asked for.

use common::chunk::SwarmLayout;
use common::id::Hash;
use common::merkle::SwarmHashes;
use common::wire::peer::MAX_HASHES;
use tokio::time::Instant;

use crate::link::LinkId;

/// After so long without a part somebody else is asked.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// The chunk hashes on their way.
#[derive(Debug)]
pub(super) struct Layer {
    layout: SwarmLayout,
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
    Whole(SwarmHashes),
    /// It has none to give (yet).
    None,
    /// What it gave is not right.
    Bad,
    /// Not what was asked for; nothing changes.
    Stray,
}

impl Layer {
    /// For something of which no hash has come.
    pub(super) const fn new(layout: SwarmLayout, now: Instant) -> Self {
        Self { layout, from: None, heard: now, hashes: Vec::new() }
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

    /// From which chunk on how many are to be asked for.
    fn next(&mut self) -> (u32, u32) {
        let count = self.layout.count();
        loop {
            let first = u32::try_from(self.hashes.len()).unwrap_or(count).min(count);
            let known = self.layout.chunk(first).and_then(|chunk| self.layout.known_hash(chunk));
            let Some(known) = known else { return (first, MAX_HASHES.min(count - first)) };
            self.hashes.push(known);
        }
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
                match SwarmHashes::checked(&self.layout, std::mem::take(&mut self.hashes)) {
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

    fn sample(length: u64) -> SwarmHashes {
        let mut hasher = FileHasher::new(length).unwrap();
        let piece = vec![7; 1 << 20];
        let mut left = length;
        while left > 0 {
            let now = left.min(piece.len() as u64);
            hasher.update(&piece[..usize::try_from(now).unwrap()]);
            left -= now;
        }
        hasher.finish().unwrap().into()
    }

    #[test]
    fn hashes_come_whole_and_wrong_ones_are_bad() {
        let hashes = sample(3 << 20);
        let (link, now) = (LinkId(1), Instant::now());
        let mut layer = Layer::new(hashes.layout().clone(), now);
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
        let mut layer = Layer::new(hashes.layout().clone(), start);
        layer.begin(link, start);
        for (number, hash) in (0..).zip(&hashes.as_slice()[..3]) {
            let now = start + PATIENCE / 4 * number;
            assert!(!layer.is_free(now));
            assert!(matches!(layer.on_part(link, number, vec![*hash], now), Part::Next { .. }));
        }
        assert!(layer.is_free(start + PATIENCE));
    }

    #[test]
    fn what_follows_from_ids_is_not_asked_for() {
        let hashed = |length| {
            let hashes = sample(length);
            (hashes.layout().parts()[0].id(), hashes)
        };
        let empty = FileId::new(0, common::merkle::sha256(&[])).unwrap();
        let (small, large) = (hashed(9), hashed(40_000));
        let files = [small.0, empty, small.0, large.0, small.0, small.0, large.0, small.0];
        let layout = SwarmLayout::of_files((0..).zip(files)).unwrap();
        let (link, now) = (LinkId(1), Instant::now());
        let mut layer = Layer::new(layout.clone(), now);
        let mut asked = layer.begin(link, now);
        assert_eq!(asked, (2, 9));
        let all: Vec<Hash> = [&small, &small, &large, &small, &small, &large, &small]
            .into_iter()
            .flat_map(|(_, hashes)| hashes.as_slice().to_vec())
            .collect();
        let whole = loop {
            let (first, count) = (asked.0 as usize, asked.1.min(4) as usize);
            match layer.on_part(link, asked.0, all[first..first + count].to_vec(), now) {
                Part::Next { first, count } => asked = (first, count),
                Part::Whole(whole) => break whole,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(asked, (7, 4), "it went on after the file that needs none");
        assert_eq!(Some(whole), SwarmHashes::checked(&layout, all).ok());
        for length in [0, 1, 16384] {
            let hashes = sample(length);
            assert_eq!(SwarmHashes::known(hashes.layout()), Some(hashes));
        }
        assert_eq!(SwarmHashes::known(sample(16385).layout()), None);
        let wrong = SwarmLayout::of_file(&FileId::new(0, Hash([1; 32])).unwrap());
        assert_eq!(SwarmHashes::known(&wrong), None);
    }
}
