//! Being the supernode: the list of members, who of them is here, and who is looked for.
//!
//! A member is *awaited* until it says HERE: it was promised a place, or its connection broke, or a new supernode took it
//! over from the last roster. Who does not come in time is *absent*: out of the list, but looked for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::directory::Directory;
use super::limits::{
    AWAIT_TIME, LEAVE_GRACE, MAX_TERM_LEAD, PLACES_BURST, PLACES_PER_SEC, PROBE_EVERY, PROBE_FOR, PUBLISH_BURST,
    PUBLISH_EVERY, PUBLISH_PER_SEC, RISES, RISES_PER_SEC, SEARCH_AGAIN, YIELD_TIME,
};
use super::links::Watch;
use super::machine::{Group, Loss, Rewatch, Role};
use super::meeting::Company;
use super::message::{Denial, Join, Message, Origin};
use super::rate::Bucket;
use super::roster::{Farewell, Member, Point, Roster, Sealed};
use super::{Closing, Event, Refusal};
use crate::id::PeerId;
use crate::identity::PublicKey;

/// What a supernode knows.
#[derive(Debug)]
pub(super) struct Leading {
    /// As it will be signed next.
    pub(super) roster: Roster,
    /// As it was signed last; `None` before anybody came.
    pub(super) sealed: Option<Sealed>,
    /// The members that our user was told of.
    told: Vec<Member>,
    /// Who went since it was signed.
    gone: BTreeSet<PeerId>,
    /// Since when the roster differs from the signed one.
    pub(super) changed: Option<Instant>,
    published: Option<Instant>,
    /// How often rosters may be published.
    pace: Bucket,
    /// Members that are not here, and until when they may come.
    pub(super) awaited: BTreeMap<PeerId, Instant>,
    /// Awaited and absent ones: when to look for them.
    pub(super) looking: BTreeMap<PeerId, Looking>,
    /// We asked this supernode to take us and ours in.
    pub(super) yielding: Option<Yielding>,
    /// New lines wait for those of the last supernode.
    pub(super) gathering: Option<Gathering>,
    pub(super) leaving: Option<Leaving>,
    pub(super) directory: Directory,
    /// How many lines of chat may be given places.
    pub(super) places: Bucket,
    /// By how much newcomers may raise the term.
    rises: Bucket,
}

/// A member that is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Looking {
    /// When to see whether there is room for a dial.
    next: Instant,
    /// Since when it is its turn; those who wait longest come first.
    due: Instant,
    until: Instant,
}

/// A supernode that we hand over to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Yielding {
    pub(super) to: PeerId,
    pub(super) until: Instant,
}

/// Lines of the last supernode may still come from members who saw them.
#[derive(Debug)]
pub(super) struct Gathering {
    pub(super) until: Instant,
    /// Who ordered them.
    pub(super) supernode: PublicKey,
    /// In which term.
    pub(super) term: u64,
}

/// Our user wants to leave.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) successor: PeerId,
    pub(super) farewell: Sealed,
    pub(super) until: Instant,
}

impl Leading {
    /// Of a network of one, that nobody joined.
    pub(super) fn alone(now: Instant, me: &Member) -> Self {
        let point = Point { term: 0, number: 0 };
        let roster = Roster { point, supernode: me.id(), members: vec![me.clone()], absent: Vec::new() };
        Self::of(now, roster)
    }

    /// Of this list, in which nobody is awaited.
    pub(super) fn of(now: Instant, roster: Roster) -> Self {
        Self {
            told: roster.members.clone(),
            roster,
            sealed: None,
            gone: BTreeSet::new(),
            changed: None,
            published: None,
            pace: Bucket::new(now, PUBLISH_BURST, PUBLISH_PER_SEC),
            awaited: BTreeMap::new(),
            looking: BTreeMap::new(),
            yielding: None,
            gathering: None,
            leaving: None,
            directory: Directory::default(),
            places: Bucket::new(now, PLACES_BURST, PLACES_PER_SEC),
            rises: Bucket::new(now, RISES, RISES_PER_SEC),
        }
    }

    /// Whether this peer is a member and follows us.
    pub(super) fn is_confirmed(&self, peer: &PeerId) -> bool {
        self.roster.member(peer).is_some() && !self.awaited.contains_key(peer)
    }

    /// Members that follow us, in order, without ourselves.
    pub(super) fn confirmed(&self) -> impl Iterator<Item = &Member> {
        let beside = self.roster.members.iter().filter(|member| member.id() != self.roster.supernode);
        beside.filter(|member| !self.awaited.contains_key(&member.id()))
    }

    /// Whether there are members beside us and `peer`. Those that are awaited count: most of them are on their way, and the
    /// network of them all is not to be had by whoever comes in the moments until then.
    pub(super) fn company_beside(&self, peer: &PeerId) -> Company {
        let ids = [self.roster.supernode, *peer];
        let others = self.roster.members.iter().any(|member| !ids.contains(&member.id()));
        if others { Company::Members } else { Company::Alone }
    }

    pub(super) fn watch_of(&self, peer: &PeerId) -> Watch {
        if self.is_confirmed(peer) {
            Watch::Expect
        } else if self.looking.contains_key(peer) {
            Watch::Ask
        } else {
            Watch::Not
        }
    }

    pub(super) fn publish_at(&self) -> Option<Instant> {
        let changed = self.changed.filter(|_| self.leaving.is_none())?;
        if self.sealed.is_none() && self.roster.members.len() == 1 && self.roster.absent.is_empty() {
            // Nobody to tell.
            return None;
        }
        let Some(published) = self.published else { return Some(changed) };
        Some(changed.max(published + PUBLISH_EVERY).max(self.pace.ready_at()))
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        let looking = self.looking.values().flat_map(|looking| [looking.next, looking.until]);
        let yielding = self.yielding.map(|yielding| yielding.until);
        let gathering = self.gathering.as_ref().map(|gathering| gathering.until);
        let leaving = self.leaving.as_ref().map(|leaving| leaving.until);
        let single = [self.publish_at(), yielding, gathering, leaving].into_iter().flatten();
        self.awaited.values().copied().chain(looking).chain(single).min()
    }

    /// Looks for a member from now on.
    pub(super) fn look_for(&mut self, now: Instant, peer: PeerId) {
        self.looking.insert(peer, Looking { next: now, due: now, until: now + PROBE_FOR });
    }

    /// A member did not come in time, or is silent.
    pub(super) fn miss(&mut self, now: Instant, peer: &PeerId) {
        if let Some(place) = self.roster.place(peer) {
            let member = self.roster.members.remove(place);
            self.roster.absent.push(member);
            self.gone.insert(*peer);
            self.changed = self.changed.or(Some(now));
            self.look_for(now, *peer);
        }
        self.awaited.remove(peer);
        self.directory.remove(peer);
    }

    /// A member left for good, or an absent one is not looked for any more.
    pub(super) fn strike(&mut self, now: Instant, peer: &PeerId) {
        let before = self.roster.members.len() + self.roster.absent.len();
        self.roster.members.retain(|member| member.id() != *peer);
        self.roster.absent.retain(|member| member.id() != *peer);
        if self.roster.members.len() + self.roster.absent.len() < before {
            self.gone.insert(*peer);
            self.changed = self.changed.or(Some(now));
        }
        self.awaited.remove(peer);
        self.looking.remove(peer);
        self.directory.remove(peer);
    }

    /// Puts a member into the list, or changes what is known of it.
    fn enlist(&mut self, now: Instant, member: Member) {
        let peer = member.id();
        match self.roster.members.iter_mut().find(|known| known.id() == peer) {
            Some(known) if *known == member => {}
            Some(known) => {
                *known = member;
                self.changed = self.changed.or(Some(now));
            }
            None => {
                self.roster.absent.retain(|absent| absent.id() != peer);
                self.roster.members.push(member);
                self.awaited.insert(peer, now + AWAIT_TIME);
                self.changed = self.changed.or(Some(now));
            }
        }
    }

    /// Whether this member is known by another key. Keys follow from identities, so that no honest one has two; and members
    /// take a list for a lie that changes a key from one roster to the next.
    fn knows_otherwise(&self, member: &Member) -> bool {
        let mut known = self.roster.members.iter().chain(&self.roster.absent);
        known.any(|known| known.id() == member.id() && known.static_key() != member.static_key())
    }

    /// Whether somebody comes from a term that nobody can come from: one more than that would be too far for our members.
    const fn is_far(&self, after: Origin) -> bool {
        after.point.term >= self.roster.point.term.saturating_add(MAX_TERM_LEAD)
    }

    /// Raises the term above that of somebody who comes from elsewhere, so that its own does not shrink; says whether it is
    /// above. What is claimed is not proven, and members follow a bounded way only: it goes as far as it may by now.
    fn rise_above(&mut self, now: Instant, after: Origin) -> bool {
        let point = &mut self.roster.point;
        let known = after.supernode == self.roster.supernode && after.point <= *point;
        let missing = after.point.term.saturating_add(1).saturating_sub(point.term);
        if known || missing == 0 {
            return true;
        }
        let rise = u64::from(self.rises.take_some(now, u32::try_from(missing).unwrap_or(u32::MAX)));
        if rise > 0 {
            *point = Point { term: point.term + rise, number: 0 };
            self.changed = self.changed.or(Some(now));
        }
        rise == missing
    }
}

impl Group {
    /// Does what is due for a supernode.
    pub(super) fn step_leading(&mut self, now: Instant) {
        let Role::Leading(leading) = &mut self.role else { return };
        let late: Vec<PeerId> =
            leading.awaited.iter().filter(|(_, until)| **until <= now).map(|(peer, _)| *peer).collect();
        for peer in &late {
            leading.miss(now, peer);
            self.rewatch = Rewatch::Needed;
        }
        if leading.yielding.is_some_and(|yielding| yielding.until <= now) {
            leading.yielding = None;
        }
        if self.rewatch == Rewatch::Needed {
            self.introduce_as_alone();
        }
        self.look_around(now);
        self.order_waiting(now);
        let Role::Leading(leading) = &self.role else { return };
        if leading.publish_at().is_some_and(|at| at <= now) {
            self.publish(now);
        }
        self.step_leaving(now);
    }

    /// Dials those who are looked for, and introduces itself where there is a connection.
    fn look_around(&mut self, now: Instant) {
        let Role::Leading(leading) = &mut self.role else { return };
        let over: Vec<PeerId> =
            leading.looking.iter().filter(|(_, looking)| looking.until <= now).map(|(peer, _)| *peer).collect();
        for peer in &over {
            leading.looking.remove(peer);
            if leading.roster.member(peer).is_none() {
                leading.strike(now, peer);
            }
        }
        if leading.looking.values().all(|looking| looking.next > now) {
            return;
        }
        // All whose turn it is, those too that found no room a moment ago: otherwise places would go to who comes just in time.
        let due = leading.looking.iter().filter(|(_, looking)| looking.due <= now);
        let mut due: Vec<(Instant, PeerId)> = due.map(|(peer, looking)| (looking.due, *peer)).collect();
        due.sort_unstable();
        for (_, peer) in due {
            self.look_once(now, peer);
        }
    }

    /// Dials one who is looked for, if there is room.
    fn look_once(&mut self, now: Instant, peer: PeerId) {
        let Role::Leading(leading) = &mut self.role else { return };
        let Some(looking) = leading.looking.get_mut(&peer) else { return };
        let is_here = self.links.is_ready(&peer);
        if !is_here && !self.dials.may_search() {
            looking.next = now + SEARCH_AGAIN;
            return;
        }
        (looking.next, looking.due) = (now + PROBE_EVERY, now + PROBE_EVERY);
        let mut listed = leading.roster.members.iter().chain(&leading.roster.absent);
        let Some(member) = listed.find(|member| member.id() == peer).cloned() else { return };
        if is_here {
            self.greet(peer);
        } else {
            self.dial(now, &member, None);
        }
    }

    /// Says to a peer that we lead: by PEER if it is in our list, otherwise by MEET.
    pub(super) fn greet(&mut self, peer: PeerId) {
        let Role::Leading(leading) = &self.role else { return };
        match &leading.sealed {
            // The next roster goes out within moments, and the last one may not have it.
            Some(_) if leading.roster.member(&peer).is_some() && leading.changed.is_some() => {}
            Some(sealed) if leading.roster.member(&peer).is_some() => {
                let message = Message::Peer { roster: sealed.clone(), heard: self.talk.heard() };
                self.put(peer, &message);
            }
            _ => self.introduce(peer),
        }
    }

    /// Signs the roster and sends it to all members.
    pub(super) fn publish(&mut self, now: Instant) {
        let Role::Leading(leading) = &mut self.role else { return };
        let point = &mut leading.roster.point;
        (point.term, point.number) = (point.term.max(1), point.number + 1);
        let first = leading.sealed.is_none();
        let sealed = leading.roster.seal(&self.me.identity, &self.me.network);
        leading.sealed = Some(sealed.clone());
        (leading.changed, leading.published) = (None, Some(now));
        leading.gone.clear();
        // Some rosters cannot wait, so that there may be none left.
        leading.pace.take(now, 1);
        let members = leading.roster.members.clone();
        let before = std::mem::replace(&mut leading.told, members.clone());
        let term = leading.roster.point.term;
        self.past.remember(&leading.roster, &self.me.id());
        let ready: Vec<PeerId> = members.iter().map(Member::id).filter(|peer| self.links.is_ready(peer)).collect();
        let message = Message::Peer { roster: sealed, heard: self.talk.heard() };
        self.put_all(ready, &message);
        if first {
            self.tell(Event::SupernodeIs { peer: self.me.id(), term });
        }
        self.tell_changes(&before, &members);
        self.rewatch = Rewatch::Needed;
    }

    /// Somebody wants to be taken in.
    pub(super) fn on_join(&mut self, now: Instant, from: PeerId, join: Join) {
        match &self.role {
            Role::Leading(leading) => {
                if let Some(leaving) = &leading.leaving {
                    let farewell = leaving.farewell.clone();
                    return self.put(from, &Message::Farewell(farewell));
                }
                // Both of us want to hand over: the lower id stays.
                if leading.yielding.is_some_and(|yielding| yielding.to == from) && from < self.me.id() {
                    return;
                }
                self.take_in(now, from, join);
            }
            Role::Following(_) => self.lead_on(now, from),
            Role::Seeking(_) | Role::Left => {}
        }
    }

    fn take_in(&mut self, now: Instant, from: PeerId, join: Join) {
        let Some(link) = self.links.get(&from) else { return };
        let mut addresses = join.addresses;
        if let Some(observed) = link.observed {
            addresses.push(observed);
        }
        let member = Member::new(link.identity, link.static_key, join.name, addresses);
        let is_listed = self.roster().and_then(|roster| roster.member(&from)) == Some(&member);
        if !is_listed && !self.may_change_list(now, from) {
            return;
        }
        if let Role::Leading(leading) = &self.role
            && leading.gone.contains(&from)
            && leading.publish_at().is_some()
        {
            // That it went is said first. In one roster with its return it would look as if we had changed the order of joining,
            // which one may for one at a time only.
            if leading.pace.ready_at() > now {
                return;
            }
            self.publish(now);
        }
        let Role::Leading(leading) = &mut self.role else { return };
        if leading.knows_otherwise(&member) {
            return self.refuse(from, Refusal::Lie);
        }
        let known = leading.roster.member(&from).is_some() || leading.roster.absent.iter().any(|one| one.id() == from);
        if !known && leading.roster.is_full() {
            return self.put(from, &Message::Deny(Denial::Full));
        }
        if join.after.is_some_and(|after| leading.is_far(after)) {
            self.refuse(from, Refusal::Term);
            return self.put(from, &Message::Deny(Denial::FarAhead));
        }
        if join.after.is_some_and(|after| !leading.rise_above(now, after)) {
            // It may ask again: the term is nearer to its own then.
            return self.put(from, &Message::Deny(Denial::FarAhead));
        }
        leading.yielding = leading.yielding.filter(|yielding| yielding.to != from);
        leading.enlist(now, member);
        if leading.changed.is_none() {
            self.greet(from);
        }
    }

    /// A member follows us.
    pub(super) fn on_here(&mut self, now: Instant, from: PeerId, point: Point, heard: Option<Point>) {
        if let Role::Following(following) = &self.role {
            // It comes late: we led, and follow somebody else now.
            let message = Message::Lead(following.sealed.clone());
            return self.put(from, &message);
        }
        let Role::Leading(leading) = &mut self.role else { return };
        if leading.roster.member(&from).is_none() {
            // It was late. It asks again when the connection is gone.
            return self.close(now, from, Closing::Unlisted);
        }
        leading.awaited.remove(&from);
        leading.looking.remove(&from);
        leading.directory.remove(&from);
        let current = point == leading.roster.point;
        self.rewatch = Rewatch::Needed;
        self.past.acknowledge(from, point);
        if let Some(link) = self.links.get_mut(&from) {
            // What it said as a supernode is over.
            (link.meet_sent, link.meet_seen) = (None, None);
        }
        if !current {
            self.greet(from);
        }
        if heard.is_some() {
            for ordered in self.talk.since(heard) {
                self.put(from, &Message::Line(ordered));
            }
        }
        self.order_waiting(now);
    }

    /// A member leaves for good, or goes to another supernode.
    pub(super) fn on_leave(&mut self, now: Instant, from: PeerId) {
        if let Role::Leading(leading) = &mut self.role {
            leading.strike(now, &from);
            self.rewatch = Rewatch::Needed;
        }
    }

    pub(super) fn on_lost_leading(&mut self, now: Instant, peer: PeerId, loss: Loss) {
        let Role::Leading(leading) = &mut self.role else { return };
        leading.yielding = leading.yielding.filter(|yielding| yielding.to != peer);
        if leading.roster.member(&peer).is_none() {
            return;
        }
        self.rewatch = Rewatch::Needed;
        match loss {
            _ if leading.leaving.is_some() => leading.strike(now, &peer),
            Loss::Silent => leading.miss(now, &peer),
            Loss::Broken => {
                leading.awaited.entry(peer).or_insert(now + AWAIT_TIME);
                leading.look_for(now, peer);
            }
        }
    }

    /// Asks a supernode that stays to take us in, and with us our members.
    pub(super) fn yield_to(&mut self, now: Instant, peer: PeerId) {
        let Role::Leading(leading) = &mut self.role else { return };
        // One that was asked before may lead no more.
        if leading.leaving.is_none() && leading.yielding.is_none_or(|yielding| yielding.to != peer) {
            leading.yielding = Some(Yielding { to: peer, until: now + YIELD_TIME });
            self.join(now, peer);
        }
    }

    /// Our addresses changed, or it is time to say so.
    pub(super) fn tell_addresses(&mut self, now: Instant) {
        let is_due = self.moves.is_waiting && self.supernode().is_some();
        if !is_due || !self.moves.pace.take(now, 1) {
            return;
        }
        self.moves.is_waiting = false;
        let me = self.me.member.clone();
        match &mut self.role {
            Role::Leading(leading) => leading.enlist(now, me),
            Role::Following(following) => {
                let supernode = following.supernode;
                self.join(now, supernode);
            }
            Role::Seeking(_) | Role::Left => {}
        }
    }

    /// Asks a peer to take us in.
    pub(super) fn join(&mut self, now: Instant, peer: PeerId) {
        let after = self.roster().filter(|roster| roster.point.term > 0);
        let after = after.map(|roster| Origin { point: roster.point, supernode: roster.supernode });
        let (name, addresses) = (self.me.member.name().clone(), self.me.member.addresses().clone());
        if let Some(link) = self.links.get_mut(&peer) {
            link.joined_at = Some(now);
            self.put(peer, &Message::Join(Join { name, addresses, after }));
        }
    }

    /// Our user wants to leave.
    pub(super) fn begin_leaving(&mut self, now: Instant) {
        let Role::Leading(leading) = &self.role else { return };
        if leading.leaving.is_some() {
            return;
        }
        let Some(successor) = leading.confirmed().next().cloned() else { return self.end() };
        if leading.changed.is_some() {
            self.publish(now);
        }
        let Role::Leading(leading) = &mut self.role else { return };
        let term = leading.roster.point.term;
        let farewell = Farewell { term, next_term: term + 1, successor };
        let sealed = farewell.seal(&self.me.identity, &self.me.network);
        let successor = farewell.successor.id();
        let until = now + super::limits::LEAVE_TIME;
        leading.leaving = Some(Leaving { successor, farewell: sealed.clone(), until });
        let members: Vec<PeerId> = leading.roster.members.iter().map(Member::id).collect();
        self.put_all(members, &Message::Farewell(sealed));
    }

    /// The successor says that it took over.
    pub(super) fn on_succeeded(&mut self, now: Instant, from: PeerId) {
        let Role::Leading(leading) = &mut self.role else { return };
        leading.strike(now, &from);
        if let Some(leaving) = &mut leading.leaving {
            leaving.until = leaving.until.min(now + LEAVE_GRACE);
        }
    }

    fn step_leaving(&mut self, now: Instant) {
        let Role::Leading(leading) = &self.role else { return };
        let Some(leaving) = &leading.leaving else { return };
        let gone = leading.confirmed().next().is_none();
        if gone || leaving.until <= now {
            self.end();
        }
    }
}
