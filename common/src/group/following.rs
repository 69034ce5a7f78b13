//! Having a supernode: its rosters are taken in, its farewell is obeyed, others are led on to it, and connections to its
//! standbys are kept, so that the next one is reached at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::leading::Leading;
use super::limits::{MAX_TERM_LEAD, STANDBY_EVERY, STANDBY_RARELY, STANDBYS};
use super::links::Watch;
use super::machine::{Group, Loss, Rewatch, Role};
use super::meeting::Asked;
use super::message::Message;
use super::roster::{Farewell, Member, Point, Roster, Sealed};
use super::taking_over::Former;
use super::{Event, Refusal};
use crate::id::PeerId;

/// What a member knows.
#[derive(Debug)]
pub(super) struct Following {
    pub(super) supernode: PeerId,
    pub(super) roster: Roster,
    pub(super) sealed: Sealed,
    standby_at: Instant,
    /// Standbys that were dialled and did not come.
    missing: BTreeMap<PeerId, Missing>,
}

/// A standby that cannot be reached: its addresses are its own word, and may be those of somebody who has no part in this.
#[derive(Debug, Clone, Copy)]
struct Missing {
    /// When it may be dialled again.
    next: Instant,
    /// How long after the last time that is.
    pause: Duration,
}

/// How a new supernode is related to the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Descent {
    /// It is the same, or came after it: the chat goes on where it was.
    Continues,
    /// It is that of another network, or of another part of ours.
    Elsewhere,
}

/// A PEER that was checked.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) sealed: Sealed,
    pub(super) roster: Roster,
    /// The last line that the supernode knows.
    pub(super) heard: Option<Point>,
}

impl Following {
    pub(super) fn watch_of(&self, peer: &PeerId, me: &PeerId) -> Watch {
        let standby = self.roster.standbys(me, STANDBYS).any(|member| member.id() == *peer);
        if *peer == self.supernode || standby { Watch::Ask } else { Watch::Not }
    }

    pub(super) const fn due_at(&self) -> Option<Instant> {
        Some(self.standby_at)
    }
}

impl Group {
    /// Does what is due for a member: dials standbys that it is not connected to.
    pub(super) fn step_following(&mut self, now: Instant) {
        let Role::Following(following) = &mut self.role else { return };
        if now < following.standby_at {
            return;
        }
        following.standby_at = now + STANDBY_EVERY;
        let supernode = following.supernode;
        following.missing.retain(|peer, missing| !self.links.contains(peer) && now < missing.next + STANDBY_RARELY);
        let me = self.me.id();
        let standbys = following.roster.standbys(&me, STANDBYS);
        let away: Vec<Member> = standbys.filter(|member| !self.links.contains(&member.id())).cloned().collect();
        for standby in away {
            if self.may_dial_standby(now, standby.id()) {
                self.put(supernode, &Message::Invite(standby.id()));
                self.dial(now, &standby, Some(supernode));
            }
        }
    }

    /// Whether it is time to dial a standby, which is noted: each time it takes twice as long until the next.
    fn may_dial_standby(&mut self, now: Instant, peer: PeerId) -> bool {
        let Role::Following(following) = &mut self.role else { return false };
        match following.missing.get_mut(&peer) {
            Some(missing) if now < missing.next => false,
            Some(missing) => {
                missing.pause = (missing.pause * 2).min(STANDBY_RARELY);
                missing.next = now + missing.pause;
                true
            }
            None => {
                following.missing.insert(peer, Missing { next: now + STANDBY_EVERY, pause: STANDBY_EVERY });
                true
            }
        }
    }

    /// PEER came.
    pub(super) fn on_peer(&mut self, now: Instant, from: PeerId, sealed: Sealed, heard: Option<Point>) {
        let opened = Roster::open(&sealed, &self.me.network);
        let roster = match opened {
            Ok(roster) if roster.supernode == from => roster,
            Ok(_) => return self.refuse(from, Refusal::Lie),
            Err(why) => return self.refuse(from, why),
        };
        if heard.is_some_and(|heard| heard.term > roster.point.term) {
            // After a line of a term to come nothing more would be shown, whoever leads, for as long as anybody remembers it.
            return self.refuse(from, Refusal::Term);
        }
        let offer = Offer { sealed, roster, heard };
        match &self.role {
            Role::Leading(_) => self.on_peer_leading(now, from, offer),
            Role::Following(following) if following.supernode == from => self.on_update(now, from, offer),
            Role::Following(following) => {
                if self.asked(&from) == Asked::No {
                    self.contradict(now, from, Refusal::NotSupernode);
                } else if let Err(why) = admits(&following.roster, &offer.roster, &self.me.member) {
                    self.refuse(from, why);
                } else {
                    self.follow(now, from, offer, Descent::Elsewhere);
                }
            }
            Role::Seeking(_) => self.on_offer(now, from, offer),
            Role::Left => {}
        }
    }

    fn on_peer_leading(&mut self, now: Instant, from: PeerId, offer: Offer) {
        if !self.still_yields_to(&from)
            && let Role::Leading(leading) = &mut self.role
        {
            leading.yielding = leading.yielding.filter(|yielding| yielding.to != from);
        }
        let Role::Leading(leading) = &self.role else { return };
        let term = leading.roster.point.term;
        let succeeds = leading.leaving.as_ref().is_some_and(|leaving| leaving.successor == from);
        if succeeds && offer.roster.point.term == term.saturating_add(1) {
            return self.on_succeeded(now, from);
        }
        if leading.yielding.is_some_and(|yielding| yielding.to == from) {
            if offer.roster.point.term <= term {
                // Somebody joined us meanwhile, so that our term rose: it is to rise above that.
                return self.join(now, from);
            }
            let new = term == 0 && self.asked(&from) == Asked::Yes;
            let checked = if new {
                offer.roster.lists(&self.me.member)
            } else {
                admits(&leading.roster, &offer.roster, &self.me.member)
            };
            return match checked {
                Ok(()) => self.follow(now, from, offer, Descent::Elsewhere),
                Err(why) => self.refuse(from, why),
            };
        }
        if leading.is_confirmed(&from) {
            self.refuse(from, Refusal::NotSupernode);
        } else {
            self.introduce(from);
        }
    }

    /// The next roster of our supernode.
    fn on_update(&mut self, now: Instant, from: PeerId, offer: Offer) {
        let Role::Following(following) = &mut self.role else { return };
        let (known, next) = (&following.roster, &offer.roster);
        if next.point == known.point {
            return;
        }
        let checked = if next.point < known.point {
            Err(Refusal::Lie)
        } else if next.point.term > known.point.term.saturating_add(MAX_TERM_LEAD) {
            Err(Refusal::Term)
        } else if !known.keeps_order(next, &self.me.id()) || !known.keeps_keys(next) {
            Err(Refusal::Lie)
        } else {
            next.lists(&self.me.member)
        };
        if let Err(why) = checked {
            return self.refuse(from, why);
        }
        let raised = next.point.term > known.point.term;
        let before = std::mem::replace(&mut following.roster, offer.roster);
        following.sealed = offer.sealed;
        following.standby_at = now;
        let after = following.roster.clone();
        self.past.remember(&after, &self.me.id());
        self.rewatch = Rewatch::Needed;
        self.tell_changes(&before.members, &after.members);
        if raised {
            self.tell_supernode(from, after.point.term);
        }
    }

    /// Follows a supernode from now on, and tells it everything.
    pub(super) fn follow(&mut self, now: Instant, supernode: PeerId, offer: Offer, descent: Descent) {
        let Offer { sealed, roster, heard } = offer;
        self.take_leave(now, supernode, &roster);
        let last = self.roster().map(|last| (last.supernode, last.point.term, last.members.clone()));
        let point = roster.point;
        let members = roster.members.clone();
        self.past.remember(&roster, &self.me.id());
        self.role = Role::Following(Box::new(Following {
            supernode,
            roster,
            sealed,
            standby_at: now,
            missing: BTreeMap::new(),
        }));
        self.forget_talks();
        match (descent, &last) {
            (Descent::Continues, Some((former, term, _))) => {
                if *former != supernode {
                    let missed = self.talk.since(heard).into_iter().filter(|ordered| ordered.position.term == *term);
                    for ordered in missed.collect::<Vec<_>>() {
                        self.put(supernode, &Message::Line(ordered));
                    }
                }
            }
            _ => self.talk.begin_at(heard),
        }
        let start = Point { term: 0, number: 0 };
        let wanted = (descent == Descent::Continues).then(|| self.talk.heard().unwrap_or(start));
        self.put(supernode, &Message::Here { point, heard: wanted });
        for message in self.shelf.tell() {
            self.put(supernode, &message);
        }
        for line in self.talk.pending() {
            self.put(supernode, &Message::Chat(line));
        }
        // Its name is to be known before its place.
        self.tell_changes(&last.map(|(_, _, members)| members).unwrap_or_default(), &members);
        self.tell_supernode(supernode, point.term);
    }

    /// Says goodbye to those whom we led or followed.
    fn take_leave(&mut self, now: Instant, successor: PeerId, next: &Roster) {
        let must_publish = matches!(&self.role, Role::Leading(leading) if leading.publish_at().is_some());
        if must_publish {
            self.publish(now);
        }
        match &self.role {
            Role::Leading(leading) => {
                let term = leading.roster.point.term;
                let (Some(_), Some(successor)) = (&leading.sealed, next.member(&successor).cloned()) else { return };
                let farewell = Farewell { term, next_term: next.point.term, successor };
                let sealed = farewell.seal(&self.me.identity, &self.me.network);
                let to = farewell.successor.id();
                let members: Vec<PeerId> = members_beside(leading, to);
                self.put_all(members, &Message::Farewell(sealed));
            }
            Role::Following(following) => {
                let former = following.supernode;
                self.put(former, &Message::Leave);
            }
            Role::Seeking(seeking) => {
                let former = seeking.roster.supernode;
                if former != successor {
                    self.put(former, &Message::Leave);
                }
            }
            Role::Left => {}
        }
    }

    /// SCLS came: from the supernode that signed it, or from its successor, who was told first.
    pub(super) fn on_farewell(&mut self, now: Instant, from: PeerId, sealed: Sealed) {
        let roster = match &self.role {
            Role::Following(following) => &following.roster,
            Role::Seeking(seeking) => &seeking.roster,
            Role::Leading(_) | Role::Left => return self.on_forwarding(now, from, &sealed),
        };
        let Some(supernode) = roster.member(&roster.supernode) else { return };
        let (term, supernode) = (roster.point.term, supernode.clone());
        let farewell = match Farewell::open(&sealed, &supernode.identity(), &self.me.network, term) {
            Ok(Some(farewell)) => farewell,
            Ok(None) => return,
            Err(_) if self.on_candidate_leads_on(now, from, &sealed) => return,
            Err(_) if self.asked(&from) == Asked::Yes => return self.on_forwarding(now, from, &sealed),
            Err(why) => return self.refuse(from, why),
        };
        let successor = farewell.successor.id();
        let next = farewell.next_term > term && farewell.next_term <= term.saturating_add(MAX_TERM_LEAD);
        let ours = successor == self.me.id();
        let wrong = successor == supernode.id() || (ours && farewell.next_term != term.saturating_add(1));
        if farewell.term != term || !next || wrong {
            return self.refuse(from, Refusal::Term);
        }
        let roster = roster.clone();
        if ours {
            self.tell(Event::SupernodeLost { peer: supernode.id() });
            // They may hear of us before they hear of it.
            let members = roster.members.iter().map(Member::id).filter(|peer| *peer != from);
            let members: Vec<PeerId> = members.filter(|peer| self.links.is_ready(peer)).collect();
            self.put_all(members, &Message::Farewell(sealed));
            self.take_over(now, &roster, Former::Left);
        } else if !self.is_seeking(&successor) {
            self.seek_successor(now, roster, farewell);
        }
    }

    /// Whom we asked leads no more, and says who does.
    fn on_forwarding(&mut self, now: Instant, from: PeerId, sealed: &Sealed) {
        let Some(key) = self.links.get(&from).map(|link| link.identity) else { return };
        if let Role::Leading(leading) = &mut self.role {
            leading.yielding = leading.yielding.filter(|yielding| yielding.to != from);
        }
        if self.asked(&from) == Asked::Yes
            && let Ok(Some(farewell)) = Farewell::open(sealed, &key, &self.me.network, 0)
            && farewell.successor.id() != self.me.id()
        {
            self.lead_wishes(now, from, &farewell.successor);
        }
    }

    /// A supernode does not list us. If it is ours, we ask it, or the next, to take us in again.
    pub(super) fn on_missing(&mut self, now: Instant, from: PeerId) {
        if matches!(&self.role, Role::Following(following) if following.supernode == from) {
            self.seek(now, Loss::Broken);
        }
    }

    /// Somebody looks for the supernode of this network.
    pub(super) fn on_seek(&mut self, now: Instant, from: PeerId) {
        match &self.role {
            Role::Leading(_) => self.greet(from),
            Role::Following(_) => self.lead_on(now, from),
            Role::Seeking(_) | Role::Left => {}
        }
    }

    /// Leads somebody on to our supernode, if that lives for certain.
    pub(super) fn lead_on(&mut self, now: Instant, from: PeerId) {
        let Role::Following(following) = &self.role else { return };
        let fresh = self.links.ready(&following.supernode).is_some_and(|link| link.is_fresh(now));
        if fresh && following.supernode != from {
            let message = Message::Lead(following.sealed.clone());
            self.put(from, &message);
        }
    }
}

/// Whether a roster of another supernode may come after ours: later, but not far, with us in it.
pub(super) fn admits(ours: &Roster, next: &Roster, me: &Member) -> Result<(), Refusal> {
    let (term, next_term) = (ours.point.term, next.point.term);
    if next_term <= term || next_term > term.saturating_add(MAX_TERM_LEAD) {
        return Err(Refusal::Term);
    }
    next.lists(me)
}

fn members_beside(leading: &Leading, other: PeerId) -> Vec<PeerId> {
    leading.roster.members.iter().map(Member::id).filter(|peer| *peer != other).collect()
}
