//! Location maps: for each swarm, which peer has which chunks. They are soft: peers announce them again after a restart.
//!
//! The invariant: a swarm knows a peer exactly if the peer's record knows the swarm, so that a peer that leaves leaves
//! nothing behind. A peer that has all chunks costs its id in the swarm and the swarm's in its record, a peer that has a
//! part its bitmap beside.

use std::collections::{BTreeMap, BTreeSet};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

use crate::audience::{Audience, Sharing};
use crate::bitmap::Bitmap;
use crate::id::{Content, PeerId};
use crate::merkle::sha256;

/// Most swarms that one peer may be in: some 20 MB of memory.
pub const MAX_SWARMS_PER_PEER: usize = 100_000;
/// Most bytes of bitmaps that one peer may take up: 8192 downloads at once of swarms with 1024 chunks, or 16 of the longest
/// files there may be.
pub const MAX_MAP_BYTES_PER_PEER: usize = 1 << 20;

/// Which swarm: some content, shared for one audience. Digests of both, so that the many keys of an index are small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SwarmKey {
    digest: [u8; 28],
    chunks: u32,
}

/// Who has which chunks of what; shared between threads. A lock is held within a call only, and calls for different
/// peers and swarms seldom wait for each other.
#[derive(Debug, Default)]
pub struct Index {
    swarms: DashMap<SwarmKey, Swarm>,
    /// Locked before `swarms` where a call needs both, so that the two agree whoever else calls.
    peers: DashMap<PeerId, Record>,
}

/// What a peer says of its chunks of one swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change<'a> {
    /// It has every chunk.
    All,
    /// It has these and no others; with none: it wants them and has nothing yet.
    Map(&'a Bitmap),
    /// It has these in addition. With none it is what [`Self::Map`] with none is, but takes nothing away.
    Add(&'a [u32]),
    /// It has nothing and wants nothing any more.
    None,
}

/// What a peer is to a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Not in it.
    Absent,
    /// It has a part, or nothing yet.
    Downloader,
    /// It has everything.
    Seeder,
}

/// What a change did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// What the peer was to the swarm.
    pub before: Standing,
    /// What it is now.
    pub after: Standing,
    /// How many chunks it has now that it did not have.
    pub gained: u32,
}

/// Why a change was refused; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The bitmap is for another number of chunks.
    #[error("it has {want} chunks, the map {got}")]
    Length {
        /// The chunks of the file.
        want: u32,
        /// Those of the bitmap.
        got: u32,
    },
    /// No such chunk.
    #[error("it has {count} chunks, so there is no chunk {chunk} (they count from 0)")]
    Chunk {
        /// The chunk's number.
        chunk: u32,
        /// The chunks of the file.
        count: u32,
    },
    /// [`MAX_SWARMS_PER_PEER`].
    #[error("a peer may announce at most 100000 files and folders")]
    Swarms,
    /// [`MAX_MAP_BYTES_PER_PEER`].
    #[error("a peer's maps of incomplete files may have at most 1 MiB in all")]
    MapBytes,
}

/// How many peers a swarm has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// With all chunks.
    pub seeders: u32,
    /// With a part, or with nothing yet.
    pub downloaders: u32,
}

/// A peer of a swarm and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// Who.
    pub peer: PeerId,
    /// What.
    pub chunks: Chunks,
}

/// Which chunks a peer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunks {
    /// Every one.
    All,
    /// These; perhaps none.
    Some(Bitmap),
}

/// The peers of one swarm. Kept small: most swarms have few peers, all of them complete.
#[derive(Debug, Default)]
struct Swarm {
    /// In order. A sorted list, not a set: of two peers it takes 64 bytes, where a tree's first node takes 360.
    seeders: Vec<PeerId>,
    #[expect(clippy::box_collection, reason = "8 bytes instead of 24 in the many swarms without a downloader")]
    downloaders: Option<Box<BTreeMap<PeerId, Bitmap>>>,
}

/// What one peer takes up.
#[derive(Debug, Default)]
struct Record {
    swarms: BTreeSet<SwarmKey>,
    map_bytes: usize,
}

impl SwarmKey {
    /// The swarm of this content, shared for this audience.
    pub fn new(content: &Content, audience: &Audience) -> Self {
        let (file, chunks) = (content.file_or_manifest(), content.chunks());
        let mut bytes = vec![u8::from(content.folder().is_some())];
        bytes.extend_from_slice(&file.length().to_be_bytes());
        bytes.extend_from_slice(&file.root().0);
        audience.encode(&mut bytes);
        let digest = sha256(&bytes).0;
        let digest = *digest.first_chunk().expect("a digest has 32 bytes");
        Self { digest, chunks }
    }

    /// How many chunks it has.
    pub const fn chunks(&self) -> u32 {
        self.chunks
    }
}

impl From<&Sharing> for SwarmKey {
    fn from(sharing: &Sharing) -> Self {
        Self::new(&sharing.content, &sharing.audience)
    }
}

impl Index {
    /// Nobody has anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in what `peer` says of its chunks of a swarm. On an error nothing is changed.
    pub fn announce(&self, peer: PeerId, key: SwarmKey, change: Change<'_>) -> Result<Changed, IndexError> {
        check(&key, change)?;
        if change == Change::None {
            return Ok(self.withdraw(peer, key));
        }
        let mut record = self.peers.entry(peer).or_default();
        let outcome = self.enter(peer, key, change, &mut record);
        let unused = record.swarms.is_empty();
        drop(record);
        if unused {
            self.peers.remove_if(&peer, |_, record| record.swarms.is_empty());
        }
        outcome
    }

    /// Takes a peer out of all its swarms and tells which those were, in order.
    pub fn remove_peer(&self, peer: &PeerId) -> Vec<SwarmKey> {
        // The record stays locked until the swarms are done: a peer that comes back waits.
        let Entry::Occupied(mut record) = self.peers.entry(*peer) else {
            return Vec::new();
        };
        let keys: Vec<SwarmKey> = std::mem::take(&mut record.get_mut().swarms).into_iter().collect();
        for key in &keys {
            self.change_swarm(*key, |swarm| swarm.remove(peer));
        }
        record.remove();
        keys
    }

    /// How many have all and a part of a swarm.
    pub fn counts(&self, key: &SwarmKey) -> Counts {
        self.swarms.get(key).map_or_else(Counts::default, |swarm| swarm.counts())
    }

    /// The peers of a swarm, those that have everything first, from number `offset` on, at most `limit`.
    pub fn holders(&self, key: &SwarmKey, offset: usize, limit: usize) -> Vec<Located> {
        self.swarms.get(key).map_or_else(Vec::new, |swarm| swarm.located().skip(offset).take(limit).collect())
    }

    /// At most `limit` peers of a swarm: a random choice of those that have everything, and only where they are fewer,
    /// of those that have something, then of the others. `random` decides; each value gives one choice.
    pub fn choose(&self, key: &SwarmKey, limit: usize, random: u64) -> Vec<Located> {
        let Some(swarm) = self.swarms.get(key) else {
            return Vec::new();
        };
        let mut source = SplitMix(random);
        let mut chosen: Vec<Located> = pick(swarm.seeders.len(), limit, &mut source)
            .into_iter()
            .filter_map(|at| swarm.seeders.get(at))
            .map(|peer| Located { peer: *peer, chunks: Chunks::All })
            .collect();
        for wanted in [Stock::Something, Stock::Nothing] {
            let left = limit - chosen.len();
            if left == 0 {
                break;
            }
            let group: Vec<(&PeerId, &Bitmap)> =
                swarm.downloaders().filter(|(_, bitmap)| Stock::of(bitmap) == wanted).collect();
            let picked = pick(group.len(), left, &mut source);
            chosen
                .extend(picked.into_iter().filter_map(|at| group.get(at)).map(|(peer, bitmap)| partial(peer, bitmap)));
        }
        chosen
    }

    /// Who has a part of a swarm or wants it: those to tell of new holders. In order.
    pub fn downloaders(&self, key: &SwarmKey) -> Vec<PeerId> {
        self.swarms.get(key).map_or_else(Vec::new, |swarm| swarm.downloaders().map(|(peer, _)| *peer).collect())
    }

    /// What `peer` has of a swarm; `None` where it is not in the swarm.
    pub fn chunks_of(&self, peer: &PeerId, key: &SwarmKey) -> Option<Chunks> {
        let swarm = self.swarms.get(key)?;
        match swarm.standing(peer) {
            Standing::Absent => None,
            Standing::Seeder => Some(Chunks::All),
            Standing::Downloader => swarm.bitmap(peer).cloned().map(Chunks::Some),
        }
    }

    /// How many swarms a peer is in.
    pub fn swarms_of(&self, peer: &PeerId) -> usize {
        self.peers.get(peer).map_or(0, |record| record.swarms.len())
    }

    /// How many swarms there are.
    pub fn swarm_count(&self) -> usize {
        self.swarms.len()
    }

    fn withdraw(&self, peer: PeerId, key: SwarmKey) -> Changed {
        let nothing = Changed { before: Standing::Absent, after: Standing::Absent, gained: 0 };
        let Entry::Occupied(mut record) = self.peers.entry(peer) else {
            return nothing;
        };
        if !record.get_mut().swarms.remove(&key) {
            return nothing;
        }
        let before = self.change_swarm(key, |swarm| {
            let before = swarm.standing(&peer);
            record.get_mut().map_bytes -= swarm.map_bytes(&peer);
            swarm.remove(&peer);
            before
        });
        if record.get().swarms.is_empty() {
            record.remove();
        }
        Changed { before, ..nothing }
    }

    fn enter(
        &self,
        peer: PeerId,
        key: SwarmKey,
        change: Change<'_>,
        record: &mut Record,
    ) -> Result<Changed, IndexError> {
        if !record.swarms.contains(&key) && record.swarms.len() >= MAX_SWARMS_PER_PEER {
            return Err(IndexError::Swarms);
        }
        let (changed, map_bytes) = self.change_swarm(key, |swarm| {
            let others = record.map_bytes - swarm.map_bytes(&peer);
            // Every change but `All` may need a map; that the map may turn out full is not worth a second way.
            if change != Change::All && others + map_bytes(&key) > MAX_MAP_BYTES_PER_PEER {
                return Err(IndexError::MapBytes);
            }
            let changed = swarm.apply(peer, &key, change);
            Ok((changed, others + swarm.map_bytes(&peer)))
        })?;
        record.swarms.insert(key);
        record.map_bytes = map_bytes;
        Ok(changed)
    }

    /// Changes a swarm that may not be there before or after.
    fn change_swarm<T>(&self, key: SwarmKey, change: impl FnOnce(&mut Swarm) -> T) -> T {
        match self.swarms.entry(key) {
            Entry::Occupied(mut entry) => {
                let result = change(entry.get_mut());
                if entry.get().is_empty() {
                    entry.remove();
                }
                result
            }
            Entry::Vacant(entry) => {
                let mut swarm = Swarm::default();
                let result = change(&mut swarm);
                if !swarm.is_empty() {
                    entry.insert(swarm);
                }
                result
            }
        }
    }
}

impl Swarm {
    fn is_empty(&self) -> bool {
        self.seeders.is_empty() && self.downloaders.is_none()
    }

    fn downloaders(&self) -> impl Iterator<Item = (&PeerId, &Bitmap)> {
        self.downloaders.iter().flat_map(|map| map.iter())
    }

    fn located(&self) -> impl Iterator<Item = Located> {
        let seeders = self.seeders.iter().map(|peer| Located { peer: *peer, chunks: Chunks::All });
        seeders.chain(self.downloaders().map(|(peer, bitmap)| partial(peer, bitmap)))
    }

    fn counts(&self) -> Counts {
        let downloaders = self.downloaders.as_ref().map_or(0, |map| map.len());
        Counts { seeders: saturate(self.seeders.len()), downloaders: saturate(downloaders) }
    }

    fn bitmap(&self, peer: &PeerId) -> Option<&Bitmap> {
        self.downloaders.as_ref()?.get(peer)
    }

    fn map_bytes(&self, peer: &PeerId) -> usize {
        self.bitmap(peer).map_or(0, |bitmap| bitmap.as_bytes().len())
    }

    fn standing(&self, peer: &PeerId) -> Standing {
        if self.seeders.binary_search(peer).is_ok() {
            Standing::Seeder
        } else if self.bitmap(peer).is_some() {
            Standing::Downloader
        } else {
            Standing::Absent
        }
    }

    /// Applies a checked change other than [`Change::None`], which [`Index::announce`] sees to.
    fn apply(&mut self, peer: PeerId, key: &SwarmKey, change: Change<'_>) -> Changed {
        let count = key.chunks();
        let before = self.standing(&peer);
        let gained = match (before, change) {
            (Standing::Seeder, Change::All | Change::Add(_)) | (_, Change::None) => 0,
            (Standing::Seeder, Change::Map(bitmap)) => {
                self.set_map(peer, bitmap.clone());
                0
            }
            (_, Change::All) => {
                let had = self.bitmap(&peer).map_or(0, Bitmap::count);
                self.set_complete(peer);
                count - had
            }
            (_, Change::Map(bitmap)) => {
                let gained = self.bitmap(&peer).map_or_else(|| bitmap.count(), |had| beyond(bitmap, had));
                self.set_map(peer, bitmap.clone());
                gained
            }
            (_, Change::Add(chunks)) => {
                let map = self.downloaders.get_or_insert_default();
                let bitmap = map.entry(peer).or_insert_with(|| Bitmap::empty(count));
                let had = bitmap.count();
                for chunk in chunks {
                    bitmap.insert(*chunk);
                }
                let gained = bitmap.count() - had;
                if bitmap.is_full() {
                    self.set_complete(peer);
                }
                gained
            }
        };
        Changed { before, after: self.standing(&peer), gained }
    }

    fn set_complete(&mut self, peer: PeerId) {
        self.remove(&peer);
        if let Err(at) = self.seeders.binary_search(&peer) {
            if self.seeders.len() == self.seeders.capacity() {
                // Grows by an eighth, not by the whole: there are many swarms, and they seldom grow.
                self.seeders.reserve_exact(1 + self.seeders.len() / 8);
            }
            self.seeders.insert(at, peer);
        }
    }

    fn set_map(&mut self, peer: PeerId, bitmap: Bitmap) {
        if bitmap.is_full() {
            self.set_complete(peer);
        } else {
            self.remove(&peer);
            self.downloaders.get_or_insert_default().insert(peer, bitmap);
        }
    }

    fn remove(&mut self, peer: &PeerId) {
        if let Ok(at) = self.seeders.binary_search(peer) {
            self.seeders.remove(at);
        }
        if let Some(map) = &mut self.downloaders {
            map.remove(peer);
            if map.is_empty() {
                self.downloaders = None;
            }
        }
    }
}

/// What a downloader has to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stock {
    Something,
    Nothing,
}

impl Stock {
    const fn of(bitmap: &Bitmap) -> Self {
        if bitmap.is_empty() { Self::Nothing } else { Self::Something }
    }
}

fn check(key: &SwarmKey, change: Change<'_>) -> Result<(), IndexError> {
    let count = key.chunks();
    match change {
        Change::Map(bitmap) if bitmap.length() != count => {
            Err(IndexError::Length { want: count, got: bitmap.length() })
        }
        Change::Add(chunks) => match chunks.iter().find(|chunk| **chunk >= count) {
            Some(chunk) => Err(IndexError::Chunk { chunk: *chunk, count }),
            None => Ok(()),
        },
        Change::All | Change::Map(_) | Change::None => Ok(()),
    }
}

fn partial(peer: &PeerId, bitmap: &Bitmap) -> Located {
    Located { peer: *peer, chunks: Chunks::Some(bitmap.clone()) }
}

/// Bytes of a map of this file.
fn map_bytes(key: &SwarmKey) -> usize {
    key.chunks().div_ceil(u8::BITS) as usize
}

/// How many chunks `now` has that `before` had not.
fn beyond(now: &Bitmap, before: &Bitmap) -> u32 {
    now.as_bytes().iter().zip(before.as_bytes()).map(|(now, before)| (now & !before).count_ones()).sum()
}

fn saturate(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// `limit` different numbers below `count` (all of them where there are fewer), in random order: Floyd's choice, then a
/// shuffle.
fn pick(count: usize, limit: usize, source: &mut SplitMix) -> Vec<usize> {
    let mut picked = Vec::with_capacity(limit.min(count));
    for last in count.saturating_sub(limit)..count {
        let at = source.below(last + 1);
        picked.push(if picked.contains(&at) { last } else { at });
    }
    for left in (1..picked.len()).rev() {
        picked.swap(left, source.below(left + 1));
    }
    picked
}

/// Steele, Lea and Flood's SplitMix64: enough to spread load, which is all that depends on it.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        let scaled = (u128::from(self.next()) * bound as u128) >> u64::BITS;
        usize::try_from(scaled).expect("less than bound")
    }
}

#[cfg(test)]
mod tests;
