//! Naming: the user is told who breaks the rules, and what was done about it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::id::PeerId;

use super::Actor;
use crate::notice::Notice;

/// Strangers of one address are named no more often.
const NAME_AGAIN: Duration = Duration::from_secs(60);
/// Addresses of strangers that are remembered; while there are so many, others are not named.
const MOST_NAMED: usize = 64;

/// Strangers that were named.
#[derive(Debug, Default)]
pub(super) struct Naming {
    named: BTreeMap<IpAddr, Instant>,
}

impl Actor {
    /// What a node is called, as far as that is known.
    pub(super) fn name_of(&self, peer: &PeerId) -> String {
        let member = self.group.roster().and_then(|roster| roster.member(peer));
        member.map_or_else(|| peer.to_string(), |member| member.name().to_string())
    }

    /// Tells the user.
    pub(super) fn warn(&self, text: String) {
        // Nobody may be listening.
        let _heard = self.notices.send(Notice::Warning { text });
    }

    /// Names those who came without the key of the network.
    pub(super) fn name_strangers(&mut self, now: Instant) {
        let named = &mut self.state.naming.named;
        named.retain(|_, at| now < *at + NAME_AGAIN);
        while let Some(address) = self.node.stranger() {
            let named = &mut self.state.naming.named;
            if named.len() < MOST_NAMED && named.insert(address.ip(), now).is_none() {
                self.warn(format!("Somebody at {address} was refused: the key of this network is missing there."));
            }
        }
    }
}
