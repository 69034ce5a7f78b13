//! The shelf: what this node shares, which chunks it has, and what it asked for. All of it is told again to each new
//! supernode.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::limits::{
    MAX_ADDED, MAX_BATCH, MAX_HAVES, MAX_LISTED, MAX_REQUESTS, MAX_SHARES, REQUEST_TIME, TELL_BYTES, TELL_EVERY,
};
use super::message::{MAX_ANNOUNCED, Message, Shared, Shares, Tidings};
use crate::bitmap::Bitmap;
use crate::id::Content;
use crate::name::EntryName;
use crate::wire::tracker::Have;

/// The number of a question about files; none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

/// What was asked of the supernode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    Files { name: Option<EntryName>, offset: u32 },
    Holders(Content),
}

/// Bytes of a content in a message, with what stands before and behind it.
const CONTENT_BYTES: usize = 61;
/// So many announcements go out at once.
const HAVES_A_TELL: usize = 128;

/// This node's files.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    shares: BTreeMap<EntryName, Shared>,
    haves: BTreeMap<Content, Bitmap>,
    /// Names that are shared since now, or not any more, and that nobody was told of.
    new_shares: BTreeSet<EntryName>,
    /// What of `haves` nobody was told of.
    new_haves: BTreeMap<Content, Change>,
    /// When the next may go out.
    news_at: Option<Instant>,
    next: u32,
    questions: BTreeMap<RequestId, (Question, Instant)>,
}

/// How what we have of something differs from what was told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    /// These came.
    Added(Vec<u32>),
    /// In any way.
    Anyhow,
}

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are as many files or questions as there may be")]
pub struct ShelfFull;

impl Shelf {
    pub(super) fn share(&mut self, entry: EntryName, shared: Shared) -> Result<(), ShelfFull> {
        if self.shares.len() >= MAX_SHARES && !self.shares.contains_key(&entry) {
            return Err(ShelfFull);
        }
        self.new_shares.insert(entry.clone());
        self.shares.insert(entry, shared);
        Ok(())
    }

    pub(super) fn unshare(&mut self, entry: &EntryName) {
        // The names that wait are bounded as those that are shared: who drops faster than it is told is not heard of.
        if self.shares.remove(entry).is_some() && self.new_shares.len() < MAX_SHARES {
            self.new_shares.insert(entry.clone());
        }
    }

    /// Notes what we have of `content`; a map that is none of it changes nothing.
    pub(super) fn have(&mut self, content: Content, have: &Have) -> Result<(), ShelfFull> {
        let known = self.haves.contains_key(&content) || self.new_haves.contains_key(&content);
        if !known && self.haves.len().max(self.new_haves.len()) >= MAX_HAVES {
            return Err(ShelfFull);
        }
        let Ok(map) = have.to_bitmap(&content) else { return Ok(()) };
        let mut change = Change::Anyhow;
        match (have, self.haves.get_mut(&content)) {
            (Have::None, _) => {
                self.haves.remove(&content);
            }
            (Have::Add(_), Some(known)) => {
                change = Change::Added(map.iter().filter(|chunk| known.insert(*chunk)).collect());
            }
            _ => {
                self.haves.insert(content, map);
            }
        }
        match (self.new_haves.get_mut(&content), change) {
            (Some(Change::Added(told)), Change::Added(more)) if told.len() + more.len() <= MAX_ADDED => {
                told.extend(more);
            }
            (None, Change::Added(more)) if more.len() <= MAX_ADDED => {
                self.new_haves.insert(content, Change::Added(more));
            }
            _ => {
                self.new_haves.insert(content, Change::Anyhow);
            }
        }
        Ok(())
    }

    /// When there is something new to tell.
    pub(super) fn news_at(&self) -> Option<Instant> {
        let nothing = self.new_shares.is_empty() && self.new_haves.is_empty();
        self.news_at.filter(|_| !nothing)
    }

    /// What is new, as much of it as may go out now.
    pub(super) fn poll_news(&mut self, now: Instant) -> Vec<Message> {
        let nothing = self.new_shares.is_empty() && self.new_haves.is_empty();
        if nothing || self.news_at.is_some_and(|at| now < at) {
            return Vec::new();
        }
        self.news_at = Some(now + TELL_EVERY);
        let shares = self.poll_shares();
        let haves = self.poll_haves();
        let shares = (!shares.shared.is_empty() || !shares.dropped.is_empty()).then_some(Message::File(shares));
        shares.into_iter().chain((!haves.is_empty()).then_some(Message::Have(haves))).collect()
    }

    fn poll_shares(&mut self) -> Shares {
        let (mut shared, mut dropped, mut bytes) = (Vec::new(), Vec::new(), 0);
        while bytes < TELL_BYTES && shared.len().max(dropped.len()) < MAX_LISTED {
            let Some(entry) = self.new_shares.pop_first() else { break };
            bytes += entry.as_str().len() + CONTENT_BYTES;
            match self.shares.get(&entry) {
                Some(one) => shared.push((entry, *one)),
                None => dropped.push(entry),
            }
        }
        Shares { tidings: Tidings::New, shared, dropped }
    }

    fn poll_haves(&mut self) -> Vec<(Content, Have)> {
        let (mut haves, mut bytes) = (Vec::new(), 0);
        while bytes < TELL_BYTES && haves.len() < HAVES_A_TELL {
            let Some((content, change)) = self.new_haves.pop_first() else { break };
            let have = match (change, self.haves.get(&content)) {
                (_, None) => Have::None,
                (Change::Added(chunks), Some(map)) if !map.is_full() => Have::Add(chunks),
                (_, Some(map)) => Have::of(map),
            };
            bytes += length(&have);
            haves.push((content, have));
        }
        haves
    }

    pub(super) fn ask(&mut self, now: Instant, question: Question) -> Result<RequestId, ShelfFull> {
        if self.questions.len() >= MAX_REQUESTS {
            return Err(ShelfFull);
        }
        let id = RequestId(self.next);
        self.next = self.next.wrapping_add(1);
        self.questions.insert(id, (question, now + REQUEST_TIME));
        Ok(id)
    }

    /// A question was answered; says whether it was asked.
    pub(super) fn answered(&mut self, id: RequestId, right: impl FnOnce(&Question) -> bool) -> bool {
        let asked = self.questions.get(&id).is_some_and(|(question, _)| right(question));
        if asked {
            self.questions.remove(&id);
        }
        asked
    }

    /// Questions that nobody answered.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<RequestId> {
        let late: Vec<RequestId> =
            self.questions.iter().filter(|(_, (_, until))| *until <= now).map(|(id, _)| *id).collect();
        for id in &late {
            self.questions.remove(id);
        }
        late
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        self.questions.values().map(|(_, until)| *until).min()
    }

    /// Everything, for a new supernode. What it shares since now is told as new besides.
    pub(super) fn tell(&mut self) -> Vec<Message> {
        self.new_haves.clear();
        let mut messages: Vec<Message> = Vec::new();
        let shares: Vec<(EntryName, Shared)> =
            self.shares.iter().map(|(entry, shared)| (entry.clone(), *shared)).collect();
        for shared in shares.chunks(MAX_LISTED) {
            let shares = Shares { tidings: Tidings::Known, shared: shared.to_vec(), dropped: Vec::new() };
            messages.push(Message::File(shares));
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for (content, map) in &self.haves {
            let have = Have::of(map);
            let more = length(&have);
            let full = bytes + more > MAX_BATCH || batch.len() >= MAX_ANNOUNCED;
            if full && !batch.is_empty() {
                messages.push(Message::Have(std::mem::take(&mut batch)));
                bytes = 0;
            }
            bytes += more;
            batch.push((*content, have));
        }
        if !batch.is_empty() {
            messages.push(Message::Have(batch));
        }
        messages.extend(self.questions.iter().map(|(id, (question, _))| question.message(*id)));
        messages
    }
}

/// About so many bytes a message takes for what somebody has.
fn length(have: &Have) -> usize {
    match have {
        Have::All | Have::None => CONTENT_BYTES,
        // Hex digits here, bytes there.
        Have::Map(map) => CONTENT_BYTES + map.len() / 2,
        Have::Add(chunks) => CONTENT_BYTES + chunks.len() * size_of::<u32>(),
    }
}

impl Question {
    pub(super) fn message(&self, id: RequestId) -> Message {
        match self {
            Self::Files { name, offset } => Message::GetFiles { request: id.0, name: name.clone(), offset: *offset },
            Self::Holders(content) => Message::Request { request: id.0, content: *content },
        }
    }
}
