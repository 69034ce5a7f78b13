//! Dials: how often a peer has others dial it, or is asked to dial others, because an address did not answer.

use std::collections::VecDeque;
use std::time::Duration;

use common::id::PeerId;

/// So many may be under way for one peer, asked for and asked of it together.
pub(crate) const MAX_UNDER_WAY: usize = 4;
/// So many in [`WINDOW`].
pub(crate) const MAX_IN_WINDOW: usize = 30;
/// A minute.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);
/// A dial of which nothing was heard for so long is over.
pub(crate) const DIAL_DEADLINE: Duration = Duration::from_secs(10);

/// The dials of one peer. Times are uptimes of the tracker.
#[derive(Debug, Default)]
pub(crate) struct Dials {
    /// With whom, and when it ends at the latest; at most [`MAX_UNDER_WAY`].
    under_way: Vec<(PeerId, Duration)>,
    /// When they began, in order; at most [`MAX_IN_WINDOW`].
    begun: VecDeque<Duration>,
}

impl Dials {
    /// Whether there is room for one more.
    pub(crate) fn has_room(&mut self, now: Duration) -> bool {
        self.under_way.retain(|(_, deadline)| *deadline > now);
        while self.begun.front().is_some_and(|begun| now.saturating_sub(*begun) >= WINDOW) {
            self.begun.pop_front();
        }
        self.under_way.len() < MAX_UNDER_WAY && self.begun.len() < MAX_IN_WINDOW
    }

    /// Whether one with `other` is under way.
    pub(crate) fn is_under_way(&self, other: &PeerId, now: Duration) -> bool {
        self.under_way.iter().any(|(peer, deadline)| peer == other && *deadline > now)
    }

    /// One with `other` begins; only where there is room.
    pub(crate) fn begin(&mut self, other: PeerId, now: Duration) {
        self.under_way.push((other, now + DIAL_DEADLINE));
        self.begun.push_back(now);
    }

    /// The one with `other` is over; says whether there was one.
    pub(crate) fn end(&mut self, other: &PeerId, now: Duration) -> bool {
        let found = self.under_way.iter().position(|(peer, deadline)| peer == other && *deadline > now);
        found.is_some_and(|at| {
            self.under_way.swap_remove(at);
            true
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> PeerId {
        PeerId([number; 32])
    }

    #[test]
    fn four_under_way_and_no_more() {
        let (mut dials, now) = (Dials::default(), Duration::from_secs(5));
        for number in 0..4 {
            assert!(dials.has_room(now));
            dials.begin(peer(number), now);
        }
        assert!(!dials.has_room(now));
        assert!(dials.end(&peer(2), now) && !dials.end(&peer(2), now));
        assert!(dials.has_room(now));
        dials.begin(peer(9), now);
        assert!(!dials.has_room(now + DIAL_DEADLINE - Duration::from_millis(1)));
        assert!(dials.has_room(now + DIAL_DEADLINE));
    }

    #[test]
    fn thirty_a_minute_and_no_more() {
        let mut dials = Dials::default();
        let mut begun = 0;
        for millis in 0..60_000 {
            let now = Duration::from_millis(millis);
            if dials.has_room(now) {
                dials.begin(peer(0), now);
                assert!(dials.end(&peer(0), now));
                begun += 1;
            }
        }
        assert_eq!(begun, MAX_IN_WINDOW);
        assert!(dials.has_room(WINDOW));
    }
}
