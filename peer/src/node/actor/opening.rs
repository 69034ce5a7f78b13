//! Opening our router for others: for whom the user invites, and for members who are about to dial this node.
//!
//! Members say that by themselves, as often as they like, and name the addresses: so there are bounds to it, within which
//! each address costs a few small datagrams.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::id::PeerId;

use super::Actor;

/// How long an invitation lasts.
pub(super) const INVITATION: Duration = Duration::from_secs(60);
/// How long our router is opened for a member who is about to dial.
pub(super) const OPENING: Duration = Duration::from_secs(5);
/// So many addresses of a member, the first; picked by hand. Those at which it is seen come before those of its interfaces.
const MOST_OF_MEMBER: usize = 8;
/// So many addresses of members at once; half of what may be opened at all, see [`open_towards`](crate::mrt::Node::open_towards).
const MOST_AT_ONCE: usize = 64;

/// For which members our router is being opened.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// Until when, and towards how many addresses.
    under_way: BTreeMap<PeerId, (Instant, usize)>,
}

impl Openings {
    /// How many of so many addresses of a member may be opened now; none while some of the same are.
    fn begin(&mut self, now: Instant, peer: PeerId, wished: usize) -> usize {
        self.under_way.retain(|_, (until, _)| *until > now);
        if self.under_way.contains_key(&peer) {
            return 0;
        }
        let taken: usize = self.under_way.values().map(|(_, count)| count).sum();
        let count = wished.min(MOST_OF_MEMBER).min(MOST_AT_ONCE - taken);
        if count > 0 {
            self.under_way.insert(peer, (now + OPENING, count));
        }
        count
    }
}

impl Actor {
    /// A member is about to dial from one of these addresses.
    pub(super) fn open_for(&mut self, now: Instant, peer: PeerId, addresses: &[SocketAddr]) {
        let count = self.state.openings.begin(now, peer, addresses.len());
        tracing::debug!(%peer, count, "a member is about to come");
        self.expect(peer, OPENING);
        for address in addresses.iter().take(count) {
            self.open_towards(*address, OPENING);
        }
    }

    pub(super) fn open_towards(&self, address: SocketAddr, patience: Duration) {
        let Ok(route) = self.node.route_to(address) else { return };
        let node = self.node.clone();
        self.tasks.spawn("open", async move {
            let seen = node.open_towards(route, patience).await;
            tracing::debug!(%address, ?seen, "our router was opened");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_have_a_router_opened_within_bounds() {
        let (mut openings, now) = (Openings::default(), Instant::now());
        let peer = |number| PeerId([number; 32]);
        assert_eq!(openings.begin(now, peer(0), 3), 3);
        assert_eq!(openings.begin(now + OPENING / 2, peer(0), 3), 0, "it is being opened");
        assert_eq!(openings.begin(now + OPENING, peer(0), 3), 3);
        let opened: usize = (1..=u8::MAX).map(|number| openings.begin(now + OPENING, peer(number), 16)).sum();
        assert_eq!(opened, MOST_AT_ONCE - 3);
        assert_eq!(openings.begin(now + OPENING * 2, peer(200), 16), MOST_OF_MEMBER);
    }
}
