//! The directory: what the members of a network share and who has which chunks of it. Its supernode keeps it, and a new one
//! is told everything again.

use std::collections::BTreeMap;
use std::time::Instant;

use super::limits::{
    MAX_ANSWER_MAPS, MAX_FILES, MAX_HAVES, MAX_LISTED, MAX_NEWS_MAP, MAX_SHARES, MAX_TOLD, TOLD_BURST, TOLD_FOR,
    TOLD_PER_SEC,
};
use super::message::{Listing, Shared, Shares};
use super::rate::Bucket;
use super::roster::{Member, Roster};
use crate::audience::Audience;
use crate::id::{Content, PeerId};
use crate::index::{Change, Chunks, Index, SwarmKey};
use crate::name::EntryName;
use crate::wire::MAX_PLAN_SEEDERS;
use crate::wire::tracker::{Announced, Have, Holder};

/// What all members share.
#[derive(Debug, Default)]
pub(super) struct Directory {
    files: BTreeMap<PeerId, BTreeMap<EntryName, Shared>>,
    /// How many there are in all.
    total: usize,
    index: Index,
    /// How often others may be told of a holder, and when they were. One that is forgotten, and comes again, is in it still.
    told: BTreeMap<PeerId, BTreeMap<SwarmKey, (Bucket, Instant)>>,
}

/// A member announced more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

impl Directory {
    /// Takes in what a member shares or does not any more; says whether that is anything new. Up to a limit: the rest is dropped,
    /// and that is said.
    pub(super) fn change(&mut self, owner: PeerId, shares: &Shares) -> Result<bool, TooMuch> {
        let files = self.files.entry(owner).or_default();
        let mut is_new = false;
        for entry in &shares.dropped {
            let removed = files.remove(entry).is_some();
            self.total -= usize::from(removed);
            is_new |= removed;
        }
        for (entry, shared) in &shares.shared {
            let new = !files.contains_key(entry);
            if new && (files.len() >= MAX_SHARES || self.total >= MAX_FILES) {
                return Err(TooMuch);
            }
            is_new |= files.insert(entry.clone(), *shared) != Some(*shared);
            self.total += usize::from(new);
        }
        Ok(is_new)
    }

    /// Takes in which chunks a member has; says whom to tell that there are more of them. Of the same they are not told again
    /// and again.
    pub(super) fn announce(
        &mut self,
        now: Instant,
        peer: PeerId,
        content: &Content,
        have: &Have,
    ) -> Result<Vec<PeerId>, TooMuch> {
        let announced = Announced { content: *content, audience: Audience::Public, have: have.clone() };
        let new = self.index.chunks_of(&peer, &announced.key()).is_none();
        if new && self.index.swarms_of(&peer) >= MAX_HAVES {
            return Err(TooMuch);
        }
        let changed = announced.enter(&self.index, peer).map_err(|_error| TooMuch)?;
        if changed.before >= changed.after {
            return Ok(Vec::new());
        }
        let mut interested = self.index.downloaders(&announced.key());
        interested.retain(|other| *other != peer);
        let may_tell = interested.is_empty() || self.may_tell(now, peer, announced.key());
        Ok(if may_tell { interested } else { Vec::new() })
    }

    /// Whether others may be told that a member has something of this, which is noted.
    fn may_tell(&mut self, now: Instant, peer: PeerId, key: SwarmKey) -> bool {
        let is_fresh = |at: Instant| now < at + TOLD_FOR;
        if !self.told.contains_key(&peer) {
            // Peers come and go.
            self.told.retain(|_, told| told.values().any(|(_, at)| is_fresh(*at)));
        }
        let told = self.told.entry(peer).or_default();
        if told.len() >= MAX_TOLD {
            told.retain(|_, (_, at)| is_fresh(*at));
        }
        if told.len() >= MAX_TOLD && !told.contains_key(&key) {
            return false;
        }
        let (bucket, at) = told.entry(key).or_insert_with(|| (Bucket::new(now, TOLD_BURST, TOLD_PER_SEC), now));
        *at = now;
        bucket.take(now, 1)
    }

    /// Forgets a member.
    pub(super) fn remove(&mut self, peer: &PeerId) {
        self.total -= self.files.remove(peer).map_or(0, |files| files.len());
        self.index.remove_peer(peer);
    }

    /// The files of this name, or all, from number `offset` on, as many as one message takes; and how many there are.
    pub(super) fn list(&self, name: Option<&EntryName>, offset: u32) -> (u32, Vec<Listing>) {
        let all =
            self.files.iter().flat_map(|(owner, files)| files.iter().map(move |(entry, file)| (owner, entry, file)));
        let named = all.filter(|(_, entry, _)| name.is_none_or(|name| name == *entry));
        let total = u32::try_from(named.clone().count()).unwrap_or(u32::MAX);
        let skipped = usize::try_from(offset).unwrap_or(usize::MAX);
        let listed = named.skip(skipped).take(MAX_LISTED);
        let listed =
            listed.map(|(owner, entry, shared)| Listing { owner: *owner, entry: entry.clone(), shared: *shared });
        (total, listed.collect())
    }

    /// Who has or wants `content`, `asker` left out; from now on it is one of those who want it.
    pub(super) fn request(&self, asker: PeerId, content: &Content, roster: &Roster, random: u64) -> Vec<Holder> {
        let key = key(content);
        // Over a limit it is told nothing of newcomers; the answer is as good.
        if self.index.chunks_of(&asker, &key).is_none() && self.index.swarms_of(&asker) < MAX_HAVES {
            let _over_a_limit = self.index.announce(asker, key, Change::Add(&[]));
        }
        let mut room = MAX_ANSWER_MAPS;
        let mut located = self.index.choose(&key, MAX_PLAN_SEEDERS + 1, random);
        located.retain(|located| located.peer != asker);
        located.truncate(MAX_PLAN_SEEDERS);
        let holders = located.into_iter().filter_map(|located| {
            let member = roster.member(&located.peer)?;
            let length = map_length(&located.chunks);
            let fits = length <= room;
            room -= if fits { length } else { 0 };
            Some(holder(member, fits.then_some(located.chunks)))
        });
        holders.collect()
    }

    /// What to tell of a member that has something of `content`.
    pub(super) fn news(&self, member: &Member, content: &Content) -> Option<Holder> {
        let chunks = self.index.chunks_of(&member.id(), &key(content))?;
        let short = map_length(&chunks) <= MAX_NEWS_MAP;
        Some(holder(member, short.then_some(chunks)))
    }
}

fn key(content: &Content) -> SwarmKey {
    SwarmKey::new(content, &Audience::Public)
}

fn map_length(chunks: &Chunks) -> usize {
    match chunks {
        Chunks::All => 0,
        Chunks::Some(bitmap) => bitmap.as_bytes().len(),
    }
}

fn holder(member: &Member, chunks: Option<Chunks>) -> Holder {
    Holder {
        peer: member.id(),
        user: member.name().to_string(),
        addresses: member.addresses().as_slice().to_vec(),
        have: chunks.map(Have::from),
    }
}
