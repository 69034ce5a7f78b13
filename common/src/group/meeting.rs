//! Meetings: which of two supernodes stays one.
//!
//! The one that was the earlier in the last roster that both were in wins; where there was none, the one that the other's user
//! asked for; where nobody asked, one that is alone gives in. What a node remembers of others is its own: nobody can make it yield by claims about rosters that it never
//! accepted, or that it saw the other accept a later one of.

use std::collections::BTreeMap;

use super::codec::{self, DecodeError, Writer};
use super::limits::MAX_REMEMBERED;
use super::roster::{Point, Roster};
use crate::id::PeerId;
use crate::reader::Reader;

const ASKED: u8 = 1;
const ALONE: u8 = 2;

/// MEET: a supernode introduces itself to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meet {
    /// Its term; 0 where nobody ever joined it.
    pub(super) term: u64,
    pub(super) wish: Asked,
    pub(super) company: Company,
    /// The last roster with both in which the sender stood before the receiver, as the sender remembers.
    pub(super) sender_first: Option<Point>,
    /// And the other way round.
    pub(super) receiver_first: Option<Point>,
}

/// Whether the sender's user asked for the receiver's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Yes,
    No,
}

/// Whether the sender has members beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Company {
    Alone,
    Members,
}

/// What comes of a meeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// We stay, the other hands over.
    Stay,
    /// We hand over.
    Yield,
    /// Both have members and nothing in common, and no user asked: both stay what they are.
    Apart,
    /// The other claims not to know what it told us that it does.
    Lie,
}

/// What a node remembers of those with whom it was in a roster.
#[derive(Debug, Default)]
pub(super) struct Past {
    peers: BTreeMap<PeerId, Acquaintance>,
}

/// When a peer was in a roster with us.
#[derive(Debug, Clone, Copy, Default)]
struct Acquaintance {
    we_first: Option<Point>,
    it_first: Option<Point>,
    /// The last of our rosters that it said it follows.
    acknowledged: Option<Point>,
}

impl Acquaintance {
    fn latest(&self) -> Option<Point> {
        self.we_first.max(self.it_first)
    }
}

impl Past {
    /// Remembers who was before whom in a roster that we accepted or signed.
    pub(super) fn remember(&mut self, roster: &Roster, me: &PeerId) {
        let Some(own) = roster.place(me) else { return };
        for (place, member) in roster.members.iter().enumerate() {
            let known = self.peers.entry(member.id()).or_default();
            match place.cmp(&own) {
                std::cmp::Ordering::Less => known.it_first = known.it_first.max(Some(roster.point)),
                std::cmp::Ordering::Greater => known.we_first = known.we_first.max(Some(roster.point)),
                std::cmp::Ordering::Equal => {}
            }
        }
        while self.peers.len() > MAX_REMEMBERED {
            let oldest = self.peers.iter().min_by_key(|(_, known)| known.latest()).map(|(peer, _)| *peer);
            oldest.map(|peer| self.peers.remove(&peer));
        }
    }

    /// Remembers those who stood before us in the last roster of an earlier run of the program. Those behind us are not
    /// remembered: who was first and restarts is not to take its place back from whoever took over.
    pub(super) fn recall(&mut self, before: impl IntoIterator<Item = PeerId>, point: Point) {
        for peer in before.into_iter().take(MAX_REMEMBERED) {
            let known = self.peers.entry(peer).or_default();
            known.it_first = known.it_first.max(Some(point));
        }
    }

    /// Remembers that a member of ours said that it follows us by this roster.
    pub(super) fn acknowledge(&mut self, peer: PeerId, point: Point) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.acknowledged = known.acknowledged.max(Some(point));
        }
    }

    /// How we introduce ourselves to `peer`.
    pub(super) fn meet(&self, peer: &PeerId, term: u64, wish: Asked, company: Company) -> Meet {
        let known = self.peers.get(peer).copied().unwrap_or_default();
        Meet { term, wish, company, sender_first: known.we_first, receiver_first: known.it_first }
    }

    /// What comes of a meeting, from what we said and what `peer` said. Two honest ones always come to the same.
    pub(super) fn outcome(&self, ours: &Meet, theirs: &Meet, me: &PeerId, peer: &PeerId) -> Outcome {
        let acknowledged = self.peers.get(peer).and_then(|known| known.acknowledged);
        if let (Some(ours_last), Some(theirs_last)) = (ours.latest(), theirs.latest()) {
            if acknowledged.is_some_and(|known| theirs_last < known) {
                return Outcome::Lie;
            }
            let common = ours_last.min(theirs_last);
            let we_first = (ours.sender_was_first(common), !theirs.sender_was_first(common));
            // Only who once stood behind the other may be made to yield.
            let may_yield = (ours.receiver_first.is_some(), theirs.receiver_first.is_some());
            match (we_first, may_yield) {
                ((true, true), _) | ((true, false) | (false, true), (false, true)) => return Outcome::Stay,
                ((false, false), _) | ((true, false) | (false, true), (true, false)) => return Outcome::Yield,
                (_, (true, true)) => return lower(me, peer),
                (_, (false, false)) => {}
            }
        }
        match (ours.wish, theirs.wish) {
            (Asked::Yes, Asked::No) => return Outcome::Yield,
            (Asked::No, Asked::Yes) => return Outcome::Stay,
            (Asked::Yes, Asked::Yes) => return lower(me, peer),
            (Asked::No, Asked::No) => {}
        }
        match (ours.company, theirs.company) {
            (Company::Alone, Company::Members) => return Outcome::Yield,
            (Company::Members, Company::Alone) => return Outcome::Stay,
            (Company::Alone, Company::Alone) => return lower(me, peer),
            (Company::Members, Company::Members) => {}
        }
        // One of us restarted, and found members before we met. Only the one that remembers may be made to yield.
        match (ours.latest(), theirs.latest()) {
            (Some(last), None) if !ours.sender_was_first(last) => Outcome::Yield,
            (None, Some(last)) if !theirs.sender_was_first(last) => Outcome::Stay,
            _ => Outcome::Apart,
        }
    }
}

fn lower(me: &PeerId, peer: &PeerId) -> Outcome {
    if me < peer { Outcome::Stay } else { Outcome::Yield }
}

impl Meet {
    fn latest(&self) -> Option<Point> {
        self.sender_first.max(self.receiver_first)
    }

    /// Who was the first at a point of the past, by what the sender remembers.
    fn sender_was_first(&self, at: Point) -> bool {
        match (self.sender_first, self.receiver_first) {
            (Some(sender), Some(receiver)) if at >= sender.max(receiver) => sender > receiver,
            (Some(sender), Some(receiver)) => sender < receiver,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        let asked = if self.wish == Asked::Yes { ASKED } else { 0 };
        let alone = if self.company == Company::Alone { ALONE } else { 0 };
        writer.u64(self.term).u8(asked | alone);
        for point in [self.sender_first, self.receiver_first] {
            writer.option(point, |writer, point| {
                writer.point(point);
            });
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let term = codec::term(reader)?;
        let flags = reader.u8()?;
        if flags & !(ASKED | ALONE) != 0 {
            return Err(DecodeError::Kind(flags));
        }
        let wish = if flags & ASKED != 0 { Asked::Yes } else { Asked::No };
        let company = if flags & ALONE != 0 { Company::Alone } else { Company::Members };
        let sender_first = codec::option(reader, codec::point)?;
        let receiver_first = codec::option(reader, codec::point)?;
        Ok(Self { term, wish, company, sender_first, receiver_first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LOW: PeerId = PeerId([1; 32]);
    const HIGH: PeerId = PeerId([2; 32]);

    fn at(number: u64) -> Option<Point> {
        Some(Point { term: 1, number })
    }

    fn meet(sender_first: Option<Point>, receiver_first: Option<Point>) -> Meet {
        Meet { term: 1, wish: Asked::No, company: Company::Members, sender_first, receiver_first }
    }

    #[test]
    fn the_earlier_in_the_last_common_roster_stays() {
        let past = Past::default();
        let (old, new) = (meet(at(7), None), meet(None, at(5)));
        assert_eq!(past.outcome(&old, &new, &HIGH, &LOW), Outcome::Stay);
        assert_eq!(past.outcome(&new, &old, &LOW, &HIGH), Outcome::Yield);
        // One came back behind the other, but heard of it no more: what counts is the last that both knew.
        let (came_back, other) = (meet(at(5), None), meet(at(9), at(5)));
        assert_eq!(past.outcome(&came_back, &other, &HIGH, &LOW), Outcome::Stay);
        assert_eq!(past.outcome(&other, &came_back, &LOW, &HIGH), Outcome::Yield);
    }

    #[test]
    fn strangers_with_members_stay_apart_unless_a_user_asks() {
        let past = Past::default();
        let (here, there) = (meet(None, None), meet(None, None));
        assert_eq!(past.outcome(&here, &there, &LOW, &HIGH), Outcome::Apart);
        let asking = Meet { wish: Asked::Yes, ..here };
        assert_eq!(past.outcome(&asking, &there, &LOW, &HIGH), Outcome::Yield);
        assert_eq!(past.outcome(&there, &asking, &HIGH, &LOW), Outcome::Stay);
        assert_eq!(past.outcome(&asking, &asking, &LOW, &HIGH), Outcome::Stay);
        let alone = Meet { company: Company::Alone, ..here };
        assert_eq!(past.outcome(&alone, &there, &LOW, &HIGH), Outcome::Yield);
    }

    #[test]
    fn who_restarted_and_recalls_who_was_before_it_hands_over_and_nobody_else_does() {
        let mut past = Past::default();
        past.recall([LOW], Point { term: 1, number: 5 });
        let here = past.meet(&LOW, 3, Asked::No, Company::Members);
        assert_eq!(past.outcome(&here, &meet(at(7), None), &HIGH, &LOW), Outcome::Yield);
        assert_eq!(Past::default().outcome(&meet(at(7), None), &here, &LOW, &HIGH), Outcome::Stay);
        let other = past.meet(&HIGH, 3, Asked::No, Company::Members);
        assert_eq!(other, Meet { term: 3, ..meet(None, None) });
    }

    #[test]
    fn claims_do_not_make_anybody_yield_who_was_never_behind() {
        let past = Past::default();
        for claim in [None, at(1), at(7), at(1_000)] {
            assert_eq!(past.outcome(&meet(at(7), None), &meet(claim, None), &HIGH, &LOW), Outcome::Apart);
            assert_eq!(past.outcome(&meet(None, None), &meet(claim, None), &HIGH, &LOW), Outcome::Apart);
        }
    }

    #[test]
    fn who_restarted_and_found_members_is_what_it_was_to_others() {
        let past = Past::default();
        let (restarted, other) = (meet(None, None), meet(None, at(5)));
        assert_eq!(past.outcome(&restarted, &other, &HIGH, &LOW), Outcome::Stay);
        assert_eq!(past.outcome(&other, &restarted, &LOW, &HIGH), Outcome::Yield);
    }

    prop_compose! {
        fn any_meet()(sender in prop::option::of(0u64..6), receiver in prop::option::of(0u64..6),
                      asked in any::<bool>(), alone in any::<bool>()) -> Meet {
            Meet {
                term: 1,
                wish: if asked { Asked::Yes } else { Asked::No },
                company: if alone { Company::Alone } else { Company::Members },
                sender_first: sender.and_then(|at_point| at(2 * at_point)),
                receiver_first: receiver.and_then(|at_point| at(2 * at_point + 1)),
            }
        }
    }

    proptest! {
        #[test]
        fn both_come_to_the_same(one in any_meet(), two in any_meet()) {
            let past = Past::default();
            let here = past.outcome(&one, &two, &LOW, &HIGH);
            let there = past.outcome(&two, &one, &HIGH, &LOW);
            prop_assert!(matches!(
                (here, there),
                (Outcome::Stay, Outcome::Yield) | (Outcome::Yield, Outcome::Stay) | (Outcome::Apart, Outcome::Apart)
            ));
        }
    }
}
