//! Meetings of supernodes: each introduces itself, both come to the same outcome, and one hands over.

use std::time::Instant;

use super::limits::{ASK_EVERY, LED_DIAL_EVERY, MAX_TERM_LEAD};
use super::machine::{Group, Role};
use super::meeting::{Asked, Company, Meet, Outcome};
use super::message::{Denial, Message};
use super::roster::{Roster, Sealed};
use super::{Event, Refusal};
use crate::id::PeerId;

impl Group {
    /// What is to be said of us to a peer, if we lead.
    fn introduction(&self, peer: &PeerId) -> Option<Meet> {
        let Role::Leading(leading) = &self.role else { return None };
        let company = leading.company_beside(peer);
        Some(self.past.meet(peer, leading.roster.point.term, self.asked(peer), company))
    }

    /// Sends MEET, and keeps what it said.
    pub(super) fn introduce(&mut self, peer: PeerId) {
        let Some(meet) = self.introduction(&peer) else { return };
        if let Some(link) = self.links.get_mut(&peer) {
            link.meet_sent = Some(meet);
            self.put(peer, &Message::Meet(meet));
        }
        self.weigh(self.now, peer);
    }

    /// Says so to other supernodes when nobody of our list came: what is decided by who is alone is decided anew.
    pub(super) fn introduce_as_alone(&mut self) {
        let Role::Leading(leading) = &self.role else { return };
        let others = self.links.ready_peers().into_iter().filter(|peer| {
            let said = self.links.get(peer).and_then(|link| link.meet_sent);
            said.is_some_and(|said| said.company == Company::Members) && leading.company_beside(peer) == Company::Alone
        });
        for peer in others.collect::<Vec<_>>() {
            self.introduce(peer);
        }
    }

    /// Whether we would still hand over to whom we asked: members may have come since.
    pub(super) fn still_yields_to(&self, peer: &PeerId) -> bool {
        let Role::Leading(leading) = &self.role else { return false };
        let Some((Some(ours), Some(theirs))) = self.links.ready(peer).map(|link| (link.meet_sent, link.meet_seen))
        else {
            return false;
        };
        let ours = Meet { company: leading.company_beside(peer), ..ours };
        self.past.outcome(&ours, &theirs, &self.me.id(), peer) == Outcome::Yield
    }

    /// A supernode introduces itself.
    pub(super) fn on_meet(&mut self, now: Instant, from: PeerId, meet: Meet) {
        match &self.role {
            // It said that it follows us, and it did not say that it leaves.
            Role::Leading(leading) if leading.is_confirmed(&from) => self.refuse(from, Refusal::Lie),
            Role::Leading(_) => {
                let ours = self.introduction(&from);
                let Some(link) = self.links.get_mut(&from) else { return };
                link.meet_seen = Some(meet);
                // Both decide by what was said last; what was said long ago may not be so any more.
                if link.meet_sent != ours {
                    self.introduce(from);
                } else {
                    self.weigh(now, from);
                }
            }
            Role::Following(_) => {
                // It leads, and looks for us or wants us: where we are is to be had for the asking.
                self.lead_on(now, from);
            }
            Role::Seeking(_) | Role::Left => {}
        }
    }

    /// Decides who stays, when both said who they are.
    fn weigh(&mut self, now: Instant, peer: PeerId) {
        let Some(link) = self.links.ready(&peer) else { return };
        let (Some(ours), Some(theirs)) = (link.meet_sent, link.meet_seen) else { return };
        match self.past.outcome(&ours, &theirs, &self.me.id(), &peer) {
            Outcome::Stay => {}
            Outcome::Lie => self.refuse(peer, Refusal::Lie),
            Outcome::Apart => {
                // They meet again and again; once is enough.
                let told = self.links.get_mut(&peer).is_none_or(|link| std::mem::replace(&mut link.is_apart, true));
                if !told {
                    self.refuse(peer, Refusal::Apart);
                }
            }
            Outcome::Yield => {
                // A network that nobody joined may join one of any age, if its user wants.
                let new = ours.term == 0 && ours.wish == Asked::Yes;
                if theirs.term > ours.term.saturating_add(MAX_TERM_LEAD) && !new {
                    self.fail_wishes(peer, Denial::FarAhead);
                    self.refuse(peer, Refusal::Term);
                } else {
                    self.yield_to(now, peer);
                }
            }
        }
    }

    /// A peer follows another supernode, and says which.
    pub(super) fn on_lead(&mut self, now: Instant, from: PeerId, sealed: &Sealed) {
        // Its signature is checked, which costs more than to send it.
        let Some(link) = self.links.get_mut(&from) else { return };
        let awaited = self.wishes.iter().any(|wish| wish.is_about(&from))
            || matches!(&self.role, Role::Following(following) if following.supernode == from);
        if !awaited && link.led_at.is_some_and(|at| now < at + ASK_EVERY / 2) {
            return;
        }
        link.led_at = Some(now);
        let roster = match Roster::open(sealed, &self.me.network) {
            Ok(roster) => roster,
            Err(why) => return self.refuse(from, why),
        };
        let Some(supernode) = roster.member(&roster.supernode).cloned() else { return };
        if supernode.id() == self.me.id() {
            return;
        }
        let led = self.lead_wishes(now, from, &supernode);
        if let Role::Leading(leading) = &mut self.role {
            leading.yielding = leading.yielding.filter(|yielding| yielding.to != from);
        }
        match &self.role {
            // One that follows us cannot lead others.
            Role::Leading(leading) if leading.is_confirmed(&supernode.id()) => {}
            Role::Leading(leading) if !leading.is_confirmed(&from) && !led => {
                if self.links.is_ready(&supernode.id()) {
                    self.introduce(supernode.id());
                } else if self.may_dial_led(now, from) {
                    self.dial(now, &supernode, Some(from));
                }
            }
            Role::Following(following) if following.supernode == from => {
                let (last, next_term) = (following.roster.clone(), roster.point.term);
                self.on_referral(now, last, supernode, next_term);
            }
            Role::Seeking(_) => self.on_clue(now, from, &supernode, roster.point.term),
            Role::Leading(_) | Role::Following(_) | Role::Left => {}
        }
    }

    /// Whether one that leads us on, though no user of ours waits for that, may have us dial, which is noted. Whom it names need
    /// not be there, nor be anybody.
    fn may_dial_led(&mut self, now: Instant, from: PeerId) -> bool {
        let Some(link) = self.links.get_mut(&from) else { return false };
        let may = link.led_dial_at.is_none_or(|at| now >= at + LED_DIAL_EVERY);
        link.led_dial_at = if may { Some(now) } else { link.led_dial_at };
        may
    }

    /// Whoever sends PING takes us for its supernode, or for the next. If we lead and do not list it, it is to know.
    pub(super) fn correct(&mut self, from: PeerId) {
        if let Role::Leading(leading) = &self.role
            && leading.roster.member(&from).is_none()
        {
            self.put(from, &Message::Missing);
        }
    }

    /// Whom we asked does not take us in.
    pub(super) fn on_deny(&mut self, from: PeerId, denial: Denial) {
        self.fail_wishes(from, denial);
        if let Role::Leading(leading) = &mut self.role {
            leading.yielding = leading.yielding.filter(|yielding| yielding.to != from);
        }
    }

    /// Names who claims to lead, and says who does.
    pub(super) fn contradict(&mut self, now: Instant, from: PeerId, why: Refusal) {
        self.refuse(from, why);
        self.lead_on(now, from);
    }

    /// Tells our user who leads now.
    pub(super) fn tell_supernode(&mut self, peer: PeerId, term: u64) {
        self.tell(Event::SupernodeIs { peer, term });
    }
}
