//! Meetings: how often a peer meets others over MRT by its own wish, and by theirs.

use std::collections::VecDeque;
use std::time::Duration;

use common::id::PeerId;

use super::dials::{DIAL_DEADLINE, Dials, MAX_IN_WINDOW, WINDOW};
use crate::source::Source;

/// So many of one peer in [`WINDOW`]: one meeting makes a line for many downloads, so nobody needs more.
pub(crate) const MAX_OF_ASKER: usize = 4;
/// So many from one source, whatever peers are there: half, so that no single place keeps all others away.
pub(crate) const MAX_OF_SOURCE: usize = MAX_IN_WINDOW / 2;

/// The meetings of one peer. Times are uptimes of the tracker.
#[derive(Debug, Default)]
pub(crate) struct Meetings {
    /// Those it asked for.
    pub(crate) asked: Dials,
    /// Those it was asked for in the last [`WINDOW`], in order; at most [`MAX_IN_WINDOW`].
    visits: VecDeque<Visit>,
}

#[derive(Debug)]
struct Visit {
    asker: PeerId,
    source: Source,
    at: Duration,
}

impl Meetings {
    /// Whether there is room for one more that `asker` asks for from `source`.
    pub(crate) fn has_room_for(&mut self, asker: &PeerId, source: Source, now: Duration) -> bool {
        while self.visits.front().is_some_and(|visit| now.saturating_sub(visit.at) >= WINDOW) {
            self.visits.pop_front();
        }
        let of_asker = self.visits.iter().filter(|visit| visit.asker == *asker).count();
        let of_source = self.visits.iter().filter(|visit| visit.source == source).count();
        self.visits.len() < MAX_IN_WINDOW && of_asker < MAX_OF_ASKER && of_source < MAX_OF_SOURCE
    }

    /// Somebody comes; only where there is room.
    pub(crate) fn expect(&mut self, asker: PeerId, source: Source, now: Duration) {
        self.visits.push_back(Visit { asker, source, at: now });
    }

    /// Whether this peer was told of late that `asker` comes.
    pub(crate) fn is_expected(&self, asker: &PeerId, now: Duration) -> bool {
        let is_recent = |visit: &Visit| now.saturating_sub(visit.at) < DIAL_DEADLINE;
        self.visits.iter().rev().take_while(|visit| is_recent(visit)).any(|visit| visit.asker == *asker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these get in at once, each a number of a peer and one of its source.
    fn let_in(visitors: impl IntoIterator<Item = (u8, u8)>) -> usize {
        let (mut meetings, now) = (Meetings::default(), Duration::from_secs(100));
        let mut come = |(peer, source): (u8, u8)| {
            let (asker, source) = (PeerId([peer; 32]), Source::of([192, 0, 2, source].into()));
            let has_room = meetings.has_room_for(&asker, source, now);
            if has_room {
                meetings.expect(asker, source, now);
                assert!(meetings.is_expected(&asker, now) && !meetings.is_expected(&asker, now + DIAL_DEADLINE));
            }
            has_room
        };
        visitors.into_iter().filter(|visitor| come(*visitor)).count()
    }

    #[test]
    fn nobody_takes_all_that_others_may_ask_of_a_peer() {
        assert_eq!(let_in((0..99).map(|_| (1, 1))), MAX_OF_ASKER);
        assert_eq!(let_in((0..99).map(|peer| (peer, 1))), MAX_OF_SOURCE);
        assert_eq!(let_in((0..99).map(|peer| (peer, peer))), MAX_IN_WINDOW);
    }

    #[test]
    fn a_minute_later_there_is_room_again() {
        let (asker, source) = (PeerId([1; 32]), Source::of([192, 0, 2, 1].into()));
        let mut meetings = Meetings::default();
        (0..MAX_OF_ASKER).for_each(|_| meetings.expect(asker, source, WINDOW));
        assert!(!meetings.has_room_for(&asker, source, WINDOW));
        assert!(meetings.has_room_for(&asker, source, 2 * WINDOW));
    }
}
