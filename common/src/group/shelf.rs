//! The shelf: what this node shares, which chunks it has, and what it asked for. All of it is told again to each new
//! supernode.

use std::collections::BTreeMap;
use std::time::Instant;

use super::limits::{MAX_BATCH, MAX_HAVES, MAX_LISTED, MAX_REQUESTS, MAX_SHARES, REQUEST_TIME};
use super::message::{MAX_ANNOUNCED, Message, Shares, Tidings};
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

/// This node's files.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    shares: BTreeMap<EntryName, Content>,
    haves: BTreeMap<Content, Bitmap>,
    next: u32,
    questions: BTreeMap<RequestId, (Question, Instant)>,
}

/// There is no room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there are as many files or questions as there may be")]
pub struct ShelfFull;

impl Shelf {
    pub(super) fn share(&mut self, entry: EntryName, content: Content) -> Result<(), ShelfFull> {
        if self.shares.len() >= MAX_SHARES && !self.shares.contains_key(&entry) {
            return Err(ShelfFull);
        }
        self.shares.insert(entry, content);
        Ok(())
    }

    pub(super) fn drop_share(&mut self, entry: &EntryName) -> bool {
        self.shares.remove(entry).is_some()
    }

    /// Notes what we have of `content`; a map that is none of it changes nothing.
    pub(super) fn have(&mut self, content: Content, have: &Have) -> Result<(), ShelfFull> {
        if *have == Have::None {
            self.haves.remove(&content);
            return Ok(());
        }
        if self.haves.len() >= MAX_HAVES && !self.haves.contains_key(&content) {
            return Err(ShelfFull);
        }
        let Ok(map) = have.to_bitmap(&content) else { return Ok(()) };
        match (have, self.haves.get_mut(&content)) {
            (Have::Add(_), Some(known)) => {
                for chunk in map.iter() {
                    known.insert(chunk);
                }
            }
            _ => {
                self.haves.insert(content, map);
            }
        }
        Ok(())
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

    /// Everything, for a new supernode.
    pub(super) fn tell(&self) -> Vec<Message> {
        let mut messages: Vec<Message> = Vec::new();
        let shares: Vec<(EntryName, Content)> =
            self.shares.iter().map(|(entry, content)| (entry.clone(), *content)).collect();
        for shared in shares.chunks(MAX_LISTED) {
            let shares = Shares { tidings: Tidings::Known, shared: shared.to_vec(), dropped: Vec::new() };
            messages.push(Message::File(shares));
        }
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for (content, map) in &self.haves {
            let have = Have::of(map);
            let length = if have == Have::All { 0 } else { map.as_bytes().len() };
            let full = bytes + length > MAX_BATCH || batch.len() >= MAX_ANNOUNCED;
            if full && !batch.is_empty() {
                messages.push(Message::Have(std::mem::take(&mut batch)));
                bytes = 0;
            }
            bytes += length;
            batch.push((*content, have));
        }
        if !batch.is_empty() {
            messages.push(Message::Have(batch));
        }
        messages.extend(self.questions.iter().map(|(id, (question, _))| question.message(*id)));
        messages
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
