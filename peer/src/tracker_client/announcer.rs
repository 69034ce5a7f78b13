//! The announcer: what the tracker is to know of the chunks that are here, and what of it has not been said yet.
//!
//! It holds the latest state of every swarm, so that any number of changes between two batches cost one line each, and
//! so that all of it can be said again on a new connection. Pure: the time comes from the caller.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use common::audience::{Audience, Sharing};
use common::bitmap::Bitmap;
use common::name::MAX_ENTRY_REF;
use common::wire::tracker::{Announced, Have};
use common::wire::{MAX_ANNOUNCED, MAX_TRACKER_FRAME};
use tokio::time::Instant;

/// New chunks of downloads are told at most so often.
pub(super) const ADD_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes of JSON around the swarms of one announcement, generously.
const ENVELOPE_BYTES: usize = 1024;
/// Bytes of JSON around what one swarm has, generously: its id and the words.
const SWARM_BYTES: usize = 192;
/// Bytes of JSON around an entry's name as an audience, or of an offer as one, generously.
const AUDIENCE_BYTES: usize = 64;
/// Bytes of JSON of one chunk number: up to 2^19, and a comma.
const NUMBER_BYTES: usize = 7;

/// The state of all swarms. Call [`Self::set`] when something changes, [`Self::on_connected`] when a connection begins, and
/// on it [`Self::poll_batch`] until it gives nothing, again when [`Self::poll_timeout`] says so or something was set.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    swarms: HashMap<Sharing, Swarm>,
    /// Withdrawn, and the tracker does not know it yet.
    withdrawn: BTreeSet<Sharing>,
    /// What goes into the next batch.
    ready: BTreeSet<Sharing>,
    /// What has only additions, which wait for `next_add`.
    waiting: BTreeSet<Sharing>,
    /// Additions do not go out before; `None`: they may.
    next_add: Option<Instant>,
}

#[derive(Debug)]
struct Swarm {
    have: Kept,
    unsent: Unsent,
}

/// Which chunks are here.
#[derive(Debug)]
enum Kept {
    All,
    Some(Bitmap),
}

/// What the tracker does not know of it.
#[derive(Debug, PartialEq, Eq)]
enum Unsent {
    Nothing,
    Whole,
    Added(Vec<u32>),
}

impl Announcer {
    /// Takes what is here now. A map that is none of this file is an error of the caller and changes nothing.
    pub(super) fn set(&mut self, sharing: Sharing, have: &Have) {
        match have {
            Have::All => self.replace(sharing, Kept::All),
            Have::Map(_) => match have.to_bitmap(&sharing.content) {
                Ok(bitmap) => self.replace(sharing, Kept::Some(bitmap)),
                Err(error) => {
                    tracing::error!(content = %sharing.content, %error, "a map to be announced is not one of its swarm");
                }
            },
            Have::Add(chunks) => self.add(sharing, chunks),
            Have::None => {
                if self.swarms.remove(&sharing).is_some() {
                    self.ready.remove(&sharing);
                    self.waiting.remove(&sharing);
                    self.withdrawn.insert(sharing);
                }
            }
        }
    }

    fn replace(&mut self, sharing: Sharing, have: Kept) {
        if let (Some(Swarm { have: Kept::All, .. }), Kept::All) = (self.swarms.get(&sharing), &have) {
            return;
        }
        self.withdrawn.remove(&sharing);
        self.waiting.remove(&sharing);
        self.ready.insert(sharing.clone());
        self.swarms.insert(sharing, Swarm { have, unsent: Unsent::Whole });
    }

    fn add(&mut self, sharing: Sharing, chunks: &[u32]) {
        let Some(swarm) = self.swarms.get_mut(&sharing) else {
            let mut bitmap = Bitmap::empty(sharing.content.chunks());
            for chunk in chunks {
                bitmap.insert(*chunk);
            }
            return self.replace(sharing, Kept::Some(bitmap));
        };
        let Kept::Some(bitmap) = &mut swarm.have else { return };
        let new: Vec<u32> = chunks.iter().copied().filter(|chunk| bitmap.insert(*chunk)).collect();
        if new.is_empty() {
            return;
        }
        match &mut swarm.unsent {
            Unsent::Whole => {}
            Unsent::Added(added) => added.extend(new),
            Unsent::Nothing => {
                swarm.unsent = Unsent::Added(new);
                self.waiting.insert(sharing);
            }
        }
    }

    /// A new connection begins, on which nothing has been said.
    pub(super) fn on_connected(&mut self) {
        self.withdrawn.clear();
        self.waiting.clear();
        self.next_add = None;
        for swarm in self.swarms.values_mut() {
            swarm.unsent = Unsent::Whole;
        }
        self.ready = self.swarms.keys().cloned().collect();
    }

    /// The tracker did not take a batch with these swarms: they are to be said again, whole.
    pub(super) fn on_refused(&mut self, sharings: &[Sharing]) {
        for sharing in sharings {
            match self.swarms.get_mut(sharing) {
                Some(swarm) => {
                    swarm.unsent = Unsent::Whole;
                    self.waiting.remove(sharing);
                    self.ready.insert(sharing.clone());
                }
                None => {
                    self.withdrawn.insert(sharing.clone());
                }
            }
        }
    }

    /// The next batch, when there is something to say now: at most [`MAX_ANNOUNCED`] swarms, shorter than a frame.
    pub(super) fn poll_batch(&mut self, now: Instant) -> Option<Vec<Announced>> {
        if !self.waiting.is_empty() && self.next_add.is_none_or(|at| now >= at) {
            self.ready.append(&mut self.waiting);
            self.next_add = Some(now + ADD_INTERVAL);
        }
        let mut batch = Vec::new();
        let mut room = MAX_TRACKER_FRAME - ENVELOPE_BYTES;
        while batch.len() < MAX_ANNOUNCED {
            let (sharing, have) = match self.withdrawn.first() {
                Some(sharing) => (sharing.clone(), Have::None),
                None => match self.ready.first() {
                    Some(sharing) => (sharing.clone(), self.unsent(sharing)),
                    None => break,
                },
            };
            let Some(left) = room.checked_sub(encoded_size(&sharing.audience, &have)) else { break };
            room = left;
            if !self.withdrawn.remove(&sharing) {
                self.ready.remove(&sharing);
                if let Some(swarm) = self.swarms.get_mut(&sharing) {
                    swarm.unsent = Unsent::Nothing;
                }
            }
            let Sharing { content, audience } = sharing;
            batch.push(Announced { content, audience, have });
        }
        (!batch.is_empty()).then_some(batch)
    }

    fn unsent(&self, sharing: &Sharing) -> Have {
        let Some(swarm) = self.swarms.get(sharing) else { return Have::None };
        match (&swarm.unsent, &swarm.have) {
            (_, Kept::All) => Have::All,
            // From some number of chunks on the map is the shorter way to say it.
            (Unsent::Added(added), Kept::Some(bitmap)) if added.len() * NUMBER_BYTES <= bitmap.as_bytes().len() * 2 => {
                Have::Add(added.clone())
            }
            (_, Kept::Some(bitmap)) => Have::of(bitmap),
        }
    }

    /// When [`Self::poll_batch`] will have something if nothing is set before; `None`: it will not.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if !self.ready.is_empty() || !self.withdrawn.is_empty() {
            Some(now)
        } else if self.waiting.is_empty() {
            None
        } else {
            Some(self.next_add.unwrap_or(now))
        }
    }
}

/// At most so many bytes of JSON, together with the swarm's id.
fn encoded_size(audience: &Audience, have: &Have) -> usize {
    SWARM_BYTES
        + match audience {
            Audience::Public => 0,
            // A quotation mark in a name takes two.
            Audience::Entry(_) => AUDIENCE_BYTES + 2 * MAX_ENTRY_REF,
            Audience::Offer(_) => AUDIENCE_BYTES,
        }
        + match have {
            Have::All | Have::None => 0,
            Have::Map(hex) => hex.len(),
            Have::Add(chunks) => chunks.len() * NUMBER_BYTES,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::{FileId, Hash, MAX_FILE_LENGTH};
    use common::name::{MAX_ENTRY_NAME, MAX_USER_NAME};

    fn file(number: u8, length: u64) -> Sharing {
        Sharing::public(FileId::new(length, Hash([number; 32])).unwrap().into())
    }

    fn said(announcer: &mut Announcer, now: Instant) -> Vec<(Sharing, Have)> {
        let batch = announcer.poll_batch(now).unwrap_or_default();
        batch.into_iter().map(|announced| (announced.sharing(), announced.have)).collect()
    }

    fn bitmap(length: u32, ones: &[u32]) -> Have {
        let mut bitmap = Bitmap::empty(length);
        for one in ones {
            bitmap.insert(*one);
        }
        Have::of(&bitmap)
    }

    const LENGTH: u64 = 512 << 14;

    #[test]
    fn additions_are_told_once_a_second_and_together() {
        let (mut announcer, start) = (Announcer::default(), Instant::now());
        let swarm = file(1, LENGTH);
        announcer.set(swarm.clone(), &bitmap(512, &[]));
        assert_eq!(said(&mut announcer, start), [(swarm.clone(), bitmap(512, &[]))]);
        announcer.set(swarm.clone(), &Have::Add(vec![3]));
        assert_eq!(said(&mut announcer, start), [(swarm.clone(), Have::Add(vec![3]))], "the first does not wait");
        announcer.set(swarm.clone(), &Have::Add(vec![4]));
        announcer.set(swarm.clone(), &Have::Add(vec![4, 3, 5]));
        let almost = start + ADD_INTERVAL.saturating_sub(Duration::from_millis(1));
        assert_eq!(said(&mut announcer, almost), []);
        assert_eq!(announcer.poll_timeout(almost), Some(start + ADD_INTERVAL));
        assert_eq!(said(&mut announcer, start + ADD_INTERVAL), [(swarm, Have::Add(vec![4, 5]))]);
        assert_eq!(announcer.poll_timeout(start + ADD_INTERVAL), None);
    }

    #[test]
    fn what_replaces_goes_at_once_and_swallows_additions() {
        let (mut announcer, now) = (Announcer::default(), Instant::now());
        let swarm = file(1, LENGTH);
        announcer.set(swarm.clone(), &Have::Add(vec![1]));
        assert_eq!(said(&mut announcer, now), [(swarm.clone(), bitmap(512, &[1]))], "unknown before: whole");
        announcer.set(swarm.clone(), &Have::Add(vec![2]));
        said(&mut announcer, now);
        announcer.set(swarm.clone(), &Have::Add(vec![3]));
        announcer.set(swarm.clone(), &Have::All);
        announcer.set(swarm.clone(), &Have::Add(vec![4]));
        assert_eq!(said(&mut announcer, now), [(swarm.clone(), Have::All)]);
        announcer.set(swarm, &Have::All);
        assert_eq!(announcer.poll_timeout(now), None, "nothing new");
    }

    #[test]
    fn many_additions_become_a_map() {
        let (mut announcer, now) = (Announcer::default(), Instant::now());
        let swarm = file(1, LENGTH);
        announcer.set(swarm.clone(), &bitmap(512, &[]));
        said(&mut announcer, now);
        let many: Vec<u32> = (0..100).collect();
        announcer.set(swarm.clone(), &Have::Add(many.clone()));
        assert_eq!(said(&mut announcer, now), [(swarm, bitmap(512, &many))]);
    }

    #[test]
    fn withdrawn_is_said_once_and_forgotten() {
        let (mut announcer, now) = (Announcer::default(), Instant::now());
        let (one, two) = (file(1, LENGTH), file(2, LENGTH));
        announcer.set(one.clone(), &Have::None);
        assert_eq!(said(&mut announcer, now), [], "never announced");
        announcer.set(one.clone(), &Have::All);
        announcer.set(two.clone(), &Have::All);
        said(&mut announcer, now);
        announcer.set(one.clone(), &Have::None);
        assert_eq!(said(&mut announcer, now), [(one.clone(), Have::None)]);
        announcer.set(one, &Have::None);
        announcer.on_connected();
        assert_eq!(said(&mut announcer, now), [(two.clone(), Have::All)]);
        announcer.set(two.clone(), &Have::None);
        announcer.set(two.clone(), &Have::All);
        assert_eq!(said(&mut announcer, now), [(two, Have::All)], "shared again before it was said");
    }

    #[test]
    fn a_new_connection_hears_everything() {
        let (mut announcer, now) = (Announcer::default(), Instant::now());
        let (whole, part) = (file(1, LENGTH), file(2, LENGTH));
        announcer.set(whole.clone(), &Have::All);
        announcer.set(part.clone(), &bitmap(512, &[7]));
        said(&mut announcer, now);
        announcer.set(part.clone(), &Have::Add(vec![8]));
        announcer.on_connected();
        let expected = [(whole.clone(), Have::All), (part.clone(), bitmap(512, &[7, 8]))];
        assert_eq!(said(&mut announcer, now), expected);
        announcer.set(part.clone(), &Have::None);
        said(&mut announcer, now);
        announcer.on_refused(&[whole.clone(), part.clone()]);
        assert_eq!(said(&mut announcer, now), [(part, Have::None), (whole, Have::All)]);
    }

    fn longest() -> Audience {
        let entry = format!("{}/{}", "a".repeat(MAX_USER_NAME), "\"".repeat(MAX_ENTRY_NAME));
        Audience::Entry(entry.parse().unwrap())
    }

    #[test]
    fn the_same_is_said_for_each_audience_by_itself() {
        let (mut announcer, now) = (Announcer::default(), Instant::now());
        let all = file(1, LENGTH);
        let some = Sharing { audience: Audience::Entry("ann/x".parse().unwrap()), ..all };
        announcer.set(all.clone(), &Have::All);
        announcer.set(some.clone(), &bitmap(512, &[1]));
        assert_eq!(said(&mut announcer, now), [(all.clone(), Have::All), (some.clone(), bitmap(512, &[1]))]);
        announcer.set(all.clone(), &Have::None);
        assert_eq!(said(&mut announcer, now), [(all, Have::None)]);
        announcer.on_connected();
        assert_eq!(said(&mut announcer, now), [(some, bitmap(512, &[1]))]);
    }

    #[test]
    fn batches_keep_to_the_limits_of_the_wire() {
        let (mut announcer, now) = (Announcer::default(), Instant::now());
        let mut swarms = 0;
        for number in 0..2500_u32 {
            let mut root = [0; 32];
            root[..4].copy_from_slice(&number.to_be_bytes());
            announcer
                .set(Sharing { content: FileId::new(5, Hash(root)).unwrap().into(), audience: longest() }, &Have::All);
            swarms += 1;
        }
        // Each map of a file this long is 128 KiB of hex.
        for number in 0..20 {
            announcer.set(file(255 - number, MAX_FILE_LENGTH), &bitmap(1 << 19, &[u32::from(number)]));
            swarms += 1;
        }
        let mut batches = 0;
        while let Some(batch) = announcer.poll_batch(now) {
            batches += 1;
            assert!(batch.len() <= MAX_ANNOUNCED);
            let request = common::wire::tracker::Request::Announce { swarms: batch.clone() };
            let message = common::wire::tracker::FromPeer::Request { id: u64::MAX, op: request };
            assert!(serde_json::to_vec(&message).unwrap().len() <= MAX_TRACKER_FRAME);
            swarms -= batch.len();
        }
        assert_eq!(swarms, 0);
        assert!((5..=7).contains(&batches), "{batches}");
    }
}
