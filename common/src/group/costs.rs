//! Costs: what a peer sends costs others something, and it may cost so much only.

use std::time::Instant;

use super::limits::{BYTES_A_TOKEN, HAVES_A_TOKEN, INVITE_COST, LISTING_COST, NEWS_COST};
use super::machine::Group;
use super::message::{Message, Tidings};
use super::{Closing, Refusal};
use crate::id::PeerId;

impl Group {
    /// Whether a peer may send this. Who sends too much is named, and hung up on.
    pub(super) fn may_cost(&mut self, now: Instant, from: PeerId, message: &Message, length: usize) -> bool {
        let bytes = u32::try_from(length / BYTES_A_TOKEN).unwrap_or(u32::MAX);
        let cost = match message {
            Message::Ping | Message::Pong => 0,
            Message::File(shares) if shares.tidings == Tidings::New => NEWS_COST + bytes,
            Message::Have(haves) => 1 + u32::try_from(haves.len() / HAVES_A_TOKEN).unwrap_or(u32::MAX),
            Message::Invite(_) => INVITE_COST,
            _ => 1,
        };
        // Of its supernode one hears as much as there is to tell.
        let told = self.supernode() == Some(from);
        let allowed = told
            || self.links.get_mut(&from).is_none_or(|link| match message {
                Message::Chat(_) => link.lines.take(now, 1),
                _ => link.costly.take(now, cost),
            });
        if !allowed {
            self.refuse(from, Refusal::Flood);
            self.close(now, from, Closing::Misbehaved);
        }
        allowed
    }

    /// Whether a peer may come into our list, or change in it, which is noted. Nobody is hung up on for that: a node whose router
    /// shows others other addresses of it may change honestly, and more often than it can be told of.
    pub(super) fn may_change_list(&mut self, now: Instant, from: PeerId) -> bool {
        self.links.get_mut(&from).is_none_or(|link| link.costly.take(now, LISTING_COST))
    }
}
