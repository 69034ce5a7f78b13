//! What the user says, shares and asks: calls of the machine that end with a message to the supernode, who may be this node.

use std::time::Instant;

use super::line::{Line, TextError, check_text};
use super::machine::{Group, Role};
use super::message::{Message, Shared};
use super::roster::{Addresses, Member};
use super::shelf::{Question, RequestId, ShelfFull};
use crate::id::{Content, PeerId};
use crate::name::EntryName;
use crate::wire::tracker::Have;

/// Why nothing is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChatError {
    /// Not a line.
    #[error(transparent)]
    Text(#[from] TextError),
    /// As many lines as may be are under way.
    #[error("too many lines are under way")]
    TooFast,
    /// The node left.
    #[error("this node left its network")]
    Left,
}

impl Group {
    /// Says something to all. It is an event when it has its place, for its author too.
    pub fn chat(&mut self, now: Instant, text: &str) -> Result<(), ChatError> {
        check_text(text)?;
        if matches!(self.role, Role::Left) {
            return Err(ChatError::Left);
        }
        let (run, number) = self.talk.next(now).ok_or(ChatError::TooFast)?;
        let name = self.me.member.name().clone();
        let line = Line::say(&self.me.identity, &self.me.network, name, run, number, text);
        self.talk.pend(line.clone());
        self.ask_supernode(now, Message::Chat(line));
        self.settle(now);
        Ok(())
    }

    /// Shares something under this name, and tells all: at once, or with what else is shared within half a second.
    pub fn share(&mut self, now: Instant, entry: EntryName, shared: impl Into<Shared>) -> Result<(), ShelfFull> {
        self.shelf.share(entry, shared.into())?;
        self.settle(now);
        Ok(())
    }

    /// Ends that.
    pub fn unshare(&mut self, now: Instant, entry: &EntryName) {
        self.shelf.unshare(entry);
        self.settle(now);
    }

    /// Which chunks of `content` this node has, as it announces them to a tracker. What comes within half a second goes out
    /// together.
    pub fn announce(&mut self, now: Instant, content: Content, have: &Have) -> Result<(), ShelfFull> {
        self.shelf.have(content, have)?;
        self.settle(now);
        Ok(())
    }

    /// Asks which files there are: all, or those of one name, from number `offset` on. Answered by [`Event::Files`](super::Event::Files).
    pub fn list(&mut self, now: Instant, name: Option<EntryName>, offset: u32) -> Result<RequestId, ShelfFull> {
        self.ask(now, Question::Files { name, offset })
    }

    /// Asks who has `content`. Answered by [`Event::Holders`](super::Event::Holders), then [`Event::Holder`](super::Event::Holder) for each further one, until
    /// [`Self::announce`] says [`Have::None`] or everything is there.
    pub fn request(&mut self, now: Instant, content: Content) -> Result<RequestId, ShelfFull> {
        self.ask(now, Question::Holders(content))
    }

    fn ask(&mut self, now: Instant, question: Question) -> Result<RequestId, ShelfFull> {
        let id = self.shelf.ask(now, question.clone())?;
        self.ask_supernode(now, question.message(id));
        self.settle(now);
        Ok(id)
    }

    /// Has a member open its NAT towards this node: to be called when it is about to be dialled.
    pub fn invite(&mut self, now: Instant, peer: PeerId) {
        self.ask_supernode(now, Message::Invite(peer));
        self.settle(now);
    }

    /// This node may be reached at other addresses now. Changes within a second go out together.
    pub fn set_addresses(&mut self, now: Instant, addresses: Addresses) {
        let known = &self.me.member;
        self.moves.is_waiting |= *known.addresses() != addresses;
        self.me.member = Member::new(known.identity(), known.static_key(), known.name().clone(), addresses);
        self.settle(now);
    }
}
