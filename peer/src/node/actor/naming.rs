//! Naming: the user is told who breaks the rules, and what was done about it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use common::group::NodeMessageError;
use common::id::PeerId;

use super::super::names::names;
use super::Actor;
use crate::notice::Notice;

/// Strangers of one address, and one member, are named no more often.
const NAME_AGAIN: Duration = Duration::from_secs(60);
/// Of each kind so many are remembered; while there are so many, others are not named.
const MOST_NAMED: usize = 64;

/// Who was named.
#[derive(Debug, Default)]
pub(super) struct Naming {
    /// Who came without the key, by address.
    strangers: Named<IpAddr>,
    /// Who sent what is no message.
    talkers: Named<PeerId>,
}

/// Who was named for one thing, and when.
#[derive(Debug)]
struct Named<K>(BTreeMap<K, Instant>);

impl<K> Default for Named<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Named<K> {
    /// Whether somebody was not named of late, and is now.
    fn is_news(&mut self, now: Instant, whom: K) -> bool {
        self.0.retain(|_, at| now < *at + NAME_AGAIN);
        let is_news = self.0.len() < MOST_NAMED && !self.0.contains_key(&whom);
        if is_news {
            self.0.insert(whom, now);
        }
        is_news
    }
}

impl Actor {
    /// What the user knows a node by, as far as it is known: nobody is taken for another who calls himself the same.
    pub(super) fn name_of(&self, peer: &PeerId) -> String {
        let members = self.group.roster().map(|roster| roster.members()).unwrap_or_default();
        names(members).remove(peer).unwrap_or_else(|| peer.to_string())
    }

    /// Tells the user.
    pub(super) fn warn(&self, text: String) {
        // Nobody may be listening.
        let _heard = self.notices.send(Notice::Warning { text });
    }

    /// Names those who came without the key of the network.
    pub(super) fn name_strangers(&mut self, now: Instant) {
        while let Some(address) = self.node.stranger() {
            if self.state.naming.strangers.is_news(now, address.ip()) {
                self.warn(format!("Somebody at {address} was refused: the key of this network is missing there."));
            }
        }
    }

    /// Names one who sent what is no message.
    pub(super) fn name_talker(&mut self, now: Instant, from: &PeerId, error: &NodeMessageError) {
        if self.state.naming.talkers.is_news(now, *from) {
            self.warn(format!("{} was refused: it sent what is no message: {error}.", self.name_of(from)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_it_again_and_again_is_named_once_a_minute() {
        let (mut named, now) = (Named::default(), Instant::now());
        let peer = |number| PeerId([number; 32]);
        assert!(named.is_news(now, peer(0)));
        let named_in_a_minute =
            (0..60).filter(|second| named.is_news(now + Duration::from_secs(*second), peer(0))).count();
        assert_eq!(named_in_a_minute, 0);
        assert!(named.is_news(now + NAME_AGAIN, peer(0)));
        let crowd = (1..=u8::MAX).filter(|number| named.is_news(now + NAME_AGAIN, peer(*number))).count();
        assert_eq!(crowd, MOST_NAMED - 1, "a crowd is bounded");
    }
}
