//! Looking for a supernode: the election.
//!
//! The candidates are the members before us in the last roster, the supernode itself the first. Each is dialled, if we are
//! not connected, and asked to take us in. Who cannot be reached, or did not take over in its time, is *dead* to us. We follow the
//! first that is not dead, once it shows a PEER of exactly the next term (of the same supernode: a later one). When all are
//! dead, we take over. Where the last supernode named its successor, that is asked first.
//!
//! Whoever has a live link to the supernode says so when it is asked, and the supernode is dialled through it.

use std::collections::BTreeMap;
use std::time::Instant;

use super::following::{Descent, Offer, admits};
use super::limits::{
    ASK_EVERY, ASK_TIME, CANDIDATE_STEP, CANDIDATE_TIME, MAX_CANDIDATE_STEPS, MAX_HOPS, MAX_TERM_LEAD, MAX_TRIES,
    SUCCESSOR_TIME,
};
use super::links::Watch;
use super::machine::{Group, Loss, Role};
use super::meeting::Asked;
use super::message::Message;
use super::roster::{Farewell, Member, Roster, Sealed};
use super::taking_over::Former;
use super::{Event, Refusal};
use crate::id::PeerId;

/// What one knows who looks for a supernode.
#[derive(Debug)]
pub(super) struct Seeking {
    /// The last one that was accepted.
    pub(super) roster: Roster,
    since: Instant,
    successor: Option<Successor>,
    candidates: BTreeMap<PeerId, Candidate>,
    /// PEERs of candidates, until those before them are dead.
    offers: BTreeMap<PeerId, Offer>,
}

/// Whom the last supernode named.
#[derive(Debug)]
struct Successor {
    member: Member,
    next_term: u64,
    until: Instant,
    dial_at: Instant,
    /// How often one led on to the next.
    hops: u8,
}

/// A member before us.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// How often it was dialled, and may be.
    dialled: u8,
    allowed: u8,
    /// It answered, but did not take over in time.
    idle: bool,
}

impl Default for Candidate {
    fn default() -> Self {
        Self { dialled: 0, allowed: 1, idle: false }
    }
}

/// What is to be done about a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chance {
    Dead,
    Dial,
    Wait,
    Ask,
}

impl Seeking {
    fn new(now: Instant, roster: Roster) -> Self {
        Self { roster, since: now, successor: None, candidates: BTreeMap::new(), offers: BTreeMap::new() }
    }

    pub(super) fn watch_of(&self, peer: &PeerId, me: &PeerId) -> Watch {
        let named = self.successor.as_ref().is_some_and(|successor| successor.member.id() == *peer);
        if named || self.is_candidate(peer, me) { Watch::Ask } else { Watch::Not }
    }

    fn is_candidate(&self, peer: &PeerId, me: &PeerId) -> bool {
        self.roster.place(peer).is_some_and(|place| Some(place) < self.roster.place(me))
    }

    /// Those before us, in order, each with the time at which it must have taken over.
    fn candidates(&self, me: &PeerId) -> impl Iterator<Item = (&Member, Instant)> {
        let before = self.roster.members.iter().take_while(move |member| member.id() != *me);
        before.enumerate().map(|(place, member)| {
            let steps = u32::try_from(place).unwrap_or(u32::MAX).min(MAX_CANDIDATE_STEPS);
            (member, self.since + CANDIDATE_TIME + CANDIDATE_STEP * steps)
        })
    }

    pub(super) fn due_at(&self, group: &Group) -> Option<Instant> {
        let asks = |peer: &PeerId| {
            let link = group.links.ready(peer)?;
            Some(link.joined_at.map_or(group.now, |at| at + ASK_EVERY))
        };
        let after_now = |at: &Instant| *at > group.now;
        if let Some(successor) = &self.successor {
            let peer = successor.member.id();
            let times = [Some(successor.until), Some(successor.dial_at), asks(&peer)];
            return times.into_iter().flatten().filter(after_now).min();
        }
        let me = group.me.id();
        let candidates = self.candidates(&me).flat_map(|(member, until)| [asks(&member.id()), Some(until)]);
        candidates.flatten().chain([self.since + ASK_TIME]).filter(after_now).min()
    }
}

impl Group {
    /// The supernode is gone: looks for the next, or for the same.
    pub(super) fn seek(&mut self, now: Instant, loss: Loss) {
        let Role::Following(following) = &self.role else { return };
        let mut seeking = Seeking::new(now, following.roster.clone());
        let supernode = following.supernode;
        if loss == Loss::Silent {
            // It was asked several times on the connection that stood.
            seeking.candidates.insert(supernode, Candidate { dialled: 1, ..Candidate::default() });
        }
        self.begin_seeking(seeking);
        self.tell(Event::SupernodeLost { peer: supernode });
    }

    /// The supernode named its successor.
    pub(super) fn seek_successor(&mut self, now: Instant, roster: Roster, farewell: Farewell) {
        let (member, next_term) = (farewell.successor, farewell.next_term);
        let supernode = roster.supernode;
        let mut seeking = Seeking::new(now, roster);
        seeking.successor = Some(Successor { member, next_term, until: now + SUCCESSOR_TIME, dial_at: now, hops: 0 });
        let known = matches!(self.role, Role::Seeking(_));
        self.begin_seeking(seeking);
        if !known {
            self.tell(Event::SupernodeLost { peer: supernode });
        }
    }

    /// A connection is gone: what its other end offered is worth nothing.
    pub(super) fn on_lost_seeking(&mut self, peer: &PeerId) {
        if let Role::Seeking(seeking) = &mut self.role {
            seeking.offers.remove(peer);
        }
    }

    /// Whether this successor is looked for already.
    pub(super) fn is_seeking(&self, peer: &PeerId) -> bool {
        let Role::Seeking(seeking) = &self.role else { return false };
        seeking.successor.as_ref().is_some_and(|successor| successor.member.id() == *peer)
    }

    fn begin_seeking(&mut self, seeking: Seeking) {
        let me = self.me.id();
        let later = seeking.roster.members.iter().map(Member::id);
        let later: Vec<PeerId> = later.filter(|peer| !seeking.is_candidate(peer, &me)).collect();
        let asked: Vec<PeerId> = later.into_iter().filter(|peer| self.links.is_ready(peer)).collect();
        self.role = Role::Seeking(Box::new(seeking));
        self.forget_talks();
        self.put_all(asked, &Message::Seek);
    }

    /// Does what is due for one who looks for a supernode.
    pub(super) fn step_seeking(&mut self, now: Instant) {
        if self.step_successor(now) {
            return;
        }
        let Role::Seeking(seeking) = &self.role else { return };
        let candidates: Vec<(Member, Instant)> =
            seeking.candidates(&self.me.id()).map(|(member, until)| (member.clone(), until)).collect();
        let mut first = None;
        for (member, until) in candidates {
            let peer = member.id();
            match self.chance(now, &peer, until) {
                Chance::Dead => continue,
                Chance::Wait => {}
                Chance::Ask => self.join(now, peer),
                Chance::Dial => self.dial_candidate(now, &member, None),
            }
            first = first.or(Some(peer));
        }
        let Role::Seeking(seeking) = &mut self.role else { return };
        match first {
            Some(first) if self.links.is_ready(&first) => {
                if let Some(offer) = seeking.offers.remove(&first) {
                    self.follow(now, first, offer, Descent::Continues);
                }
            }
            Some(_) => {}
            None if now >= seeking.since + ASK_TIME => {
                let roster = seeking.roster.clone();
                self.take_over(now, &roster, Former::Silent);
            }
            None => {}
        }
    }

    fn chance(&mut self, now: Instant, peer: &PeerId, until: Instant) -> Chance {
        let dialling = self.dials.is_dialling(peer);
        let Role::Seeking(seeking) = &mut self.role else { return Chance::Dead };
        let offered = seeking.offers.contains_key(peer);
        let candidate = seeking.candidates.entry(*peer).or_default();
        if now >= until && !offered {
            candidate.idle = true;
        }
        match self.links.get(peer) {
            _ if candidate.idle => Chance::Dead,
            Some(link) if !link.is_ready() => Chance::Wait,
            Some(link) if link.joined_at.is_some_and(|at| now < at + ASK_EVERY) => Chance::Wait,
            Some(_) => Chance::Ask,
            None if dialling => Chance::Wait,
            None if candidate.dialled < candidate.allowed => Chance::Dial,
            None => Chance::Dead,
        }
    }

    fn dial_candidate(&mut self, now: Instant, member: &Member, relay: Option<PeerId>) {
        let peer = member.id();
        let relay = relay.or_else(|| self.any_relay(&peer));
        self.dial(now, member, relay);
        let began = self.dials.is_dialling(&peer);
        if let Role::Seeking(seeking) = &mut self.role
            && began
        {
            let candidate = seeking.candidates.entry(peer).or_default();
            candidate.dialled = candidate.dialled.saturating_add(1);
        }
    }

    /// A member that we are connected to, and that may relay.
    fn any_relay(&self, target: &PeerId) -> Option<PeerId> {
        let usable = |peer: &PeerId| {
            peer != target && self.links.is_ready(peer) && self.dials.may_relay(self.now, *target, *peer)
        };
        self.roster()?.members.iter().map(Member::id).find(usable)
    }

    /// Asks the named successor; says whether it is still its turn.
    fn step_successor(&mut self, now: Instant) -> bool {
        let Role::Seeking(seeking) = &mut self.role else { return false };
        let Some(successor) = &mut seeking.successor else { return false };
        if successor.until <= now {
            (seeking.successor, seeking.since) = (None, now);
            return false;
        }
        let member = successor.member.clone();
        let (peer, former) = (member.id(), seeking.roster.supernode);
        match self.links.get(&peer) {
            Some(link) if link.is_ready() && link.joined_at.is_none_or(|at| now >= at + ASK_EVERY) => {
                self.join(now, peer);
            }
            Some(_) => {}
            None if successor.dial_at <= now => {
                successor.dial_at = now + ASK_EVERY;
                let first = self.links.is_ready(&former) && self.dials.may_relay(now, peer, former);
                let relay = if first { Some(former) } else { self.any_relay(&peer) };
                self.dial(now, &member, relay);
            }
            None => {}
        }
        true
    }

    /// Our supernode says that it follows another now.
    pub(super) fn on_referral(&mut self, now: Instant, last: Roster, supernode: Member, next_term: u64) {
        let term = last.point.term;
        if next_term > term && next_term <= term.saturating_add(MAX_TERM_LEAD) {
            self.seek_successor(now, last, Farewell { term, next_term, successor: supernode });
        }
    }

    /// A candidate that led, and may have offered itself, follows another now.
    pub(super) fn on_candidate_leads_on(&mut self, now: Instant, from: PeerId, sealed: &Sealed) -> bool {
        let me = self.me.id();
        let Some(key) = self.links.get(&from).map(|link| link.identity) else { return false };
        let Role::Seeking(seeking) = &mut self.role else { return false };
        if !seeking.is_candidate(&from, &me) {
            return false;
        }
        let Ok(Some(farewell)) = Farewell::open(sealed, &key, &self.me.network, seeking.roster.point.term) else {
            return false;
        };
        self.on_clue(now, from, &farewell.successor, farewell.next_term);
        true
    }

    /// Somebody says who its supernode is: one of ours may be reached through it, or it is the one that we look for.
    pub(super) fn on_clue(&mut self, now: Instant, from: PeerId, supernode: &Member, next_term: u64) {
        let me = self.me.id();
        let Role::Seeking(seeking) = &mut self.role else { return };
        let peer = supernode.id();
        // What it offered before is void.
        seeking.offers.remove(&from);
        match &mut seeking.successor {
            Some(successor) if successor.member.id() == from => {
                if successor.hops < MAX_HOPS && next_term >= successor.next_term {
                    successor.hops += 1;
                    (successor.member, successor.next_term) = (supernode.clone(), next_term);
                    (successor.until, successor.dial_at) = (now + SUCCESSOR_TIME, now);
                }
                return;
            }
            None if from == seeking.roster.supernode => {
                let last = seeking.roster.clone();
                return self.on_referral(now, last, supernode.clone(), next_term);
            }
            _ => {}
        }
        if !seeking.is_candidate(&peer, &me) || self.links.contains(&peer) {
            return;
        }
        let candidate = seeking.candidates.entry(peer).or_default();
        if candidate.dialled < MAX_TRIES {
            (candidate.allowed, candidate.idle) = (candidate.dialled + 1, false);
            self.dial_candidate(now, supernode, Some(from));
        }
    }

    /// A PEER came while we look for a supernode.
    pub(super) fn on_offer(&mut self, now: Instant, from: PeerId, offer: Offer) {
        let (me, asked) = (self.me.id(), self.asked(&from));
        let Role::Seeking(seeking) = &mut self.role else { return };
        let (last, next) = (&seeking.roster, &offer.roster);
        let term = last.point.term;
        let named = seeking.successor.as_ref().filter(|successor| successor.member.id() == from);
        if let Some(successor) = named {
            if next.point.term < successor.next_term {
                return self.refuse(from, Refusal::Term);
            }
            let continues = successor.next_term == term.saturating_add(1) && last.member(&from).is_some();
            let descent = if continues { Descent::Continues } else { Descent::Elsewhere };
            return match admits(last, next, &self.me.member) {
                Ok(()) => self.follow(now, from, offer, descent),
                Err(why) => self.refuse(from, why),
            };
        }
        if from == last.supernode {
            let far = next.point.term > term.saturating_add(MAX_TERM_LEAD);
            let checked = match next.lists(&self.me.member) {
                Ok(()) if far => Err(Refusal::Term),
                Ok(()) if next.point < last.point => Err(Refusal::Lie),
                checked => checked,
            };
            return match checked {
                // What it signed before it said farewell is no offer.
                Ok(()) if seeking.successor.is_some() => {}
                Ok(()) => self.follow(now, from, offer, Descent::Continues),
                Err(why) => self.refuse(from, why),
            };
        }
        if asked == Asked::Yes && admits(last, next, &self.me.member).is_ok() {
            return self.follow(now, from, offer, Descent::Elsewhere);
        }
        if !seeking.is_candidate(&from, &me) {
            return self.refuse(from, Refusal::NotSupernode);
        }
        // One that offered the next term may have risen since.
        let far = next.point.term > term.saturating_add(MAX_TERM_LEAD);
        let risen = !far && seeking.offers.get(&from).is_some_and(|known| known.roster.point < next.point);
        if next.point.term != term.saturating_add(1) && !risen {
            return self.refuse(from, Refusal::Term);
        }
        if let Err(why) = next.lists(&self.me.member) {
            return self.refuse(from, why);
        }
        seeking.offers.insert(from, offer);
    }
}
