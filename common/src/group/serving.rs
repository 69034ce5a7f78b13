//! Serving: what a supernode does for its members, itself included, and what members are told by it.

use std::time::Instant;

use super::limits::MAX_LISTED;
use super::line::{Line, LineId, Ordered};
use super::machine::{Group, Role};
use super::message::{Listing, Message, Shares, Tidings};
use super::roster::Member;
use super::shelf::{Question, RequestId};
use super::talk::Shown;
use super::{Event, Refusal};
use crate::id::{Content, PeerId};
use crate::wire::tracker::{Have, Holder};

impl Group {
    /// A member asks something of us as its supernode, or tells us something. Of others it is passed over: they may not
    /// know yet whom to ask.
    pub(super) fn serve(&mut self, now: Instant, from: PeerId, message: Message) {
        let Role::Leading(leading) = &self.role else { return };
        if !leading.is_confirmed(&from) && from != self.me.id() {
            return;
        }
        match message {
            Message::Chat(line) => self.on_chat(now, from, line),
            Message::File(shares) => self.on_shares(from, shares),
            Message::Have(haves) => {
                for (content, have) in haves {
                    self.on_have(now, from, &content, &have);
                }
            }
            Message::GetFiles { request, name, offset } => {
                let Role::Leading(leading) = &self.role else { return };
                let (total, files) = leading.directory.list(name.as_ref(), offset);
                debug_assert!(files.len() <= MAX_LISTED, "a message takes so many");
                self.answer(now, from, Message::Files { request, total, files });
            }
            Message::Request { request, content } => {
                let random = self.draw();
                let Role::Leading(leading) = &self.role else { return };
                let holders = leading.directory.request(from, &content, &leading.roster, random);
                self.answer(now, from, Message::Start { request, content, holders });
            }
            Message::Invite(peer) => {
                let may_invite = self.links.get_mut(&from).is_none_or(|link| link.may_invite(now, peer));
                let Role::Leading(leading) = &self.role else { return };
                if let (true, Some(member)) = (may_invite, leading.roster.member(&from).cloned()) {
                    self.answer(now, peer, Message::Open(member));
                }
            }
            _ => {}
        }
    }

    /// Sends to a member, or takes in what is for ourselves.
    fn answer(&mut self, now: Instant, to: PeerId, message: Message) {
        if to == self.me.id() {
            self.on_word(now, message);
        } else if let Role::Leading(leading) = &self.role
            && leading.is_confirmed(&to)
        {
            self.put(to, &message);
        }
    }

    /// A line to be given its place.
    fn on_chat(&mut self, now: Instant, from: PeerId, line: Line) {
        if line.id().author != from || (from != self.me.id() && !line.is_genuine(&self.me.network)) {
            return self.refuse(from, Refusal::Forgery);
        }
        let Role::Leading(leading) = &mut self.role else { return };
        // Nobody's line is placed before one that waits.
        let waits = leading.gathering.is_some() || self.talk.has_waiting();
        if !waits && leading.places.take(now, 1) {
            self.order(now, line);
        } else if !self.talk.wait(line) && from != self.me.id() {
            self.refuse(from, Refusal::Flood);
        }
    }

    /// Gives a line the next place, and sends it to all.
    fn order(&mut self, now: Instant, line: Line) {
        let id = line.id();
        if self.talk.was_shown(&id) {
            return self.answer(now, id.author, Message::Seen(id));
        }
        let Role::Leading(leading) = &self.role else { return };
        if leading.changed.is_some() {
            // A place is in a term that all know of.
            self.publish(now);
        }
        let Role::Leading(leading) = &self.role else { return };
        let position = self.talk.next_position(leading.roster.point.term);
        let ordered = Ordered::new(&self.me.identity, &self.me.network, position, line);
        self.spread(ordered);
    }

    /// Shows a line with its place, and sends it to all members.
    fn spread(&mut self, ordered: Ordered) {
        let Role::Leading(leading) = &self.role else { return };
        let members: Vec<PeerId> =
            leading.roster.members.iter().map(Member::id).filter(|peer| self.links.is_ready(peer)).collect();
        self.put_all(members, &Message::Line(ordered.clone()));
        self.show(ordered);
    }

    /// Gives lines that wait their places, as many as may have them by now: when no more lines of the last supernode may come.
    pub(super) fn order_waiting(&mut self, now: Instant) {
        let Role::Leading(leading) = &mut self.role else { return };
        let over = |until: Instant| until <= now || leading.awaited.is_empty();
        if leading.gathering.as_ref().is_some_and(|gathering| over(gathering.until)) {
            leading.gathering = None;
        }
        while let Role::Leading(leading) = &mut self.role
            && leading.gathering.is_none()
            && self.talk.has_waiting()
            && leading.places.take(now, 1)
        {
            if let Some(line) = self.talk.take_waiting() {
                self.order(now, line);
            }
        }
    }

    /// When the next line that waits may have its place.
    pub(super) fn lines_at(&self) -> Option<Instant> {
        let Role::Leading(leading) = &self.role else { return None };
        let waits = leading.gathering.is_none() && self.talk.has_waiting();
        waits.then(|| leading.places.ready_at())
    }

    /// A member has a line of the last supernode, that we may have missed.
    fn on_gathered(&mut self, from: PeerId, ordered: Ordered) {
        let Role::Leading(leading) = &self.role else { return };
        let (Some(gathering), true) = (&leading.gathering, leading.roster.member(&from).is_some()) else { return };
        let next =
            ordered.position.term == gathering.term && ordered.position == self.talk.next_position(gathering.term);
        if !next {
            return;
        }
        let genuine =
            ordered.was_ordered_by(&gathering.supernode, &self.me.network) && ordered.line.is_genuine(&self.me.network);
        if genuine {
            self.spread(ordered);
        } else {
            self.refuse(from, Refusal::Forgery);
        }
    }

    fn show(&mut self, ordered: Ordered) {
        let (line, position) = (ordered.line.clone(), ordered.position);
        if self.talk.show(ordered, &self.me.id()) == Shown::New {
            self.tell_line(&line, position);
        }
    }

    fn tell_line(&mut self, line: &Line, position: super::Point) {
        self.tell(Event::Chat {
            author: line.id().author,
            name: line.name().clone(),
            text: line.text().to_owned(),
            position,
        });
    }

    fn on_shares(&mut self, from: PeerId, shares: Shares) {
        let Role::Leading(leading) = &mut self.role else { return };
        let Ok(is_new) = leading.directory.change(from, &shares) else { return self.refuse(from, Refusal::Flood) };
        if is_new && shares.tidings == Tidings::New {
            let others: Vec<PeerId> = leading.confirmed().map(Member::id).filter(|peer| *peer != from).collect();
            let news = Message::News { owner: from, shares };
            self.put_all(others, &news);
            if from != self.me.id() {
                self.on_word(self.now, news);
            }
        }
    }

    fn on_have(&mut self, now: Instant, from: PeerId, content: &Content, have: &Have) {
        let Role::Leading(leading) = &mut self.role else { return };
        match leading.directory.announce(now, from, content, have) {
            Err(_) => self.refuse(from, Refusal::Flood),
            Ok(interested) => {
                let Some(member) = leading.roster.member(&from) else { return };
                let Some(holder) = leading.directory.news(member, content) else { return };
                for peer in interested {
                    self.answer(now, peer, Message::More { content: *content, holder: holder.clone() });
                }
            }
        }
    }

    /// Something that only a supernode says. From others it is passed over: it may be late.
    pub(super) fn on_told(&mut self, now: Instant, from: PeerId, message: Message) {
        match (&self.role, message) {
            (Role::Leading(_), Message::Line(ordered)) => self.on_gathered(from, ordered),
            (Role::Following(following), message) if following.supernode == from => self.on_word(now, message),
            _ => {}
        }
    }

    /// The supernode's word; it may be our own.
    fn on_word(&mut self, now: Instant, message: Message) {
        match message {
            Message::Line(ordered) => {
                // Its place is the supernode's to give, in its own term; whose words they are is not.
                let term = self.roster().map_or(0, |roster| roster.point.term);
                match self.supernode() {
                    Some(supernode) if ordered.position.term > term => self.refuse(supernode, Refusal::Term),
                    Some(supernode) if !ordered.line.is_genuine(&self.me.network) => {
                        self.refuse(supernode, Refusal::Forgery);
                    }
                    _ => self.show(ordered),
                }
            }
            Message::Seen(id) => self.on_seen(&id),
            Message::News { owner, shares } => self.on_news(owner, shares),
            Message::Files { request, total, files } => {
                let request = RequestId(request);
                if self.shelf.answered(request, |question| matches!(question, Question::Files { .. })) {
                    self.tell(Event::Files { request, total, files });
                }
            }
            Message::Start { request, content, holders } => self.on_start(RequestId(request), content, holders),
            Message::More { content, holder } => self.tell(Event::Holder { content, holder }),
            Message::Open(member) if member.id() != self.me.id() && !self.links.contains(&member.id()) => {
                self.open(&member);
            }
            _ => {}
        }
        self.now = now;
    }

    /// A line of ours was shown before we came: it has its place, though not here.
    fn on_seen(&mut self, id: &LineId) {
        if id.author == self.me.id() {
            self.talk.settle(id);
        }
    }

    fn on_news(&mut self, owner: PeerId, shares: Shares) {
        for (entry, shared) in shares.shared {
            self.tell(Event::Shared(Listing { owner, entry, shared }));
        }
        for entry in shares.dropped {
            self.tell(Event::Unshared { owner, entry });
        }
    }

    fn on_start(&mut self, request: RequestId, content: Content, holders: Vec<Holder>) {
        if self.shelf.answered(request, |question| *question == Question::Holders(content)) {
            self.tell(Event::Holders { request, content, holders });
        }
    }
}
