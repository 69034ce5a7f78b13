//! The sessions of a job: its conversations, one a link.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use common::id::PeerId;
use common::wire::peer::{ConversationId, Message, Reason};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::picker::Order;
use super::super::{Fetching, JobEvent, Meter};
use super::Job;
use crate::engine::DownloadError;
use crate::link::{Link, LinkId};
use crate::node::rendezvous::Unmet;
use crate::notice::Notice;
use crate::reaching::reach;

/// A conversation in which no chunk bytes came for so long may have to make room for another.
const HUNGRY: Duration = Duration::from_secs(30);

/// A conversation of this job.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) link: Arc<Link>,
    pub(super) peer: PeerId,
    pub(super) conversation: ConversationId,
    pub(super) meter: Arc<Meter>,
    /// How many bytes had come when it was looked at last, and when more came than the time before.
    fed: (u64, Instant),
    pub(super) opened: bool,
    /// Whether it said that it has every chunk.
    complete: bool,
    /// How often it was asked for the chunk hashes.
    asked_hashes: u32,
    fetching: Arc<Fetching>,
    /// Ends the task that watches the link: a link may outlive many sessions.
    _watched: DropGuard,
}

impl Job {
    /// Dials whoever is to be dialled, once there is a ticket to show: holders may be heard of before the plan.
    pub(super) fn dial(&mut self) {
        if self.ticket.is_none() {
            return;
        }
        let now = Instant::now();
        while let Some((peer, addresses)) = self.contacts.dial(now) {
            let (context, events) = (Arc::clone(self.context()), self.events.clone());
            self.context().tasks.spawn("dial", async move {
                let result = reach(&context, peer, &addresses).await;
                let _ = events.send(JobEvent::Connected(peer, result)).await;
            });
        }
    }

    /// There is no way to a peer. The user hears why, once, where that will stay so.
    pub(super) fn on_unreached(&mut self, peer: PeerId, error: &io::Error) {
        tracing::debug!(%peer, %error, "a peer is not to be reached");
        self.contacts.on_failure(peer, Instant::now());
        let unmet = error.get_ref().and_then(|error| error.downcast_ref::<Unmet>());
        let Some(unmet) = unmet.filter(|unmet| unmet.is_lasting()) else { return };
        if self.contacts.on_unreached(peer, unmet.to_string()) {
            let user = self.contacts.find(&peer).map(|contact| contact.shown(&peer)).unwrap_or_default();
            self.context().notice(Notice::NotReached { name: self.spec.name.clone(), user, why: unmet.to_string() });
        }
    }

    /// Nobody gave what is missing.
    pub(super) fn incomplete(&self, missing: u32) -> DownloadError {
        match self.contacts.unreached() {
            Some((user, why)) => DownloadError::Unreached { user, why },
            None => DownloadError::Incomplete { missing, total: self.swarm.layout().count() },
        }
    }

    /// There is a link to a peer: opens a conversation on it, unless there is one.
    pub(super) fn begin_session(&mut self, peer: PeerId, link: &Arc<Link>) {
        let now = Instant::now();
        let Some(ticket) = self.ticket.clone() else { return };
        if !self.contacts.on_link(peer, link.id(), link.address(), now) {
            return;
        }
        let meter = Arc::new(Meter::new(now));
        let (swarm, partial) = (Arc::clone(&self.swarm), Arc::clone(&self.partial));
        let fetching = Arc::new(Fetching::new(swarm, partial, Arc::clone(&meter), self.events.clone()));
        let Some(conversation) = link.open(Arc::clone(&fetching), ticket) else {
            self.contacts.on_end(link.id(), now);
            return;
        };
        self.count_ended_meters();
        self.meters.push(Arc::clone(&meter));
        self.picker.join(link.id(), now);
        let over = CancellationToken::new();
        let session = Session {
            link: Arc::clone(link),
            peer,
            conversation,
            meter,
            fed: (0, now),
            opened: false,
            complete: false,
            asked_hashes: 0,
            fetching,
            _watched: over.clone().drop_guard(),
        };
        self.sessions.insert(link.id(), session);
        let (watched, events) = (Arc::clone(link), self.events.clone());
        self.context().tasks.spawn("watch link", async move {
            tokio::select! {
                () = watched.closed() => {
                    let _ = events.send(JobEvent::Closed(watched.id())).await;
                }
                () = events.closed() => {}
                () = over.cancelled() => {}
            }
        });
    }

    /// Keeps the sums of the meters to which nothing is added any more, and not the meters.
    fn count_ended_meters(&mut self) {
        let ended = self.meters.extract_if(.., |meter| Arc::strong_count(meter) == 1);
        self.metered += ended.map(|meter| meter.bytes()).sum::<u64>();
    }

    pub(super) fn on_opened(&mut self, link: LinkId, complete: bool) {
        let Some(session) = self.sessions.get_mut(&link) else { return };
        session.opened = true;
        session.complete = complete;
        if complete {
            (0..self.swarm.layout().count()).for_each(|chunk| self.picker.on_have(link, chunk));
        }
        if !self.sessions.values().any(|session| !session.opened) && !self.contacts.is_waiting() {
            self.picker.set_expected(None);
        } else if self.began.elapsed() < super::FAIR_START {
            self.picker.set_expected(Some(self.contacts.expected()));
        }
        self.ask_hashes_if_due(Instant::now());
    }

    pub(super) fn on_refused(&mut self, link: LinkId, reason: Reason, text: &str) {
        let Some(session) = self.sessions.remove(&link) else { return };
        tracing::debug!(peer = %session.peer, ?reason, text, "a conversation was refused");
        if reason == Reason::Ticket {
            // A new one, unless this one is as good as new: who refuses any is not to keep the tracker busy.
            self.planned = self.planned.filter(|planned| planned.elapsed() < super::STARVED_PLAN_INTERVAL);
        }
        session.link.close_conversation(session.conversation);
        self.forget(link);
        self.contacts.on_end(link, Instant::now());
    }

    /// Ends the conversations that have died, and makes room for others; these peers are tried again after a while.
    pub(super) fn drop_dead(&mut self, now: Instant) {
        let is_dead = |id: &LinkId, session: &Session| {
            let unanswered = !session.opened && now.duration_since(session.meter.heard()) >= super::DEAD;
            unanswered || self.picker.silence(*id, now) >= super::DEAD
        };
        let dead: Vec<LinkId> =
            self.sessions.iter().filter(|(id, session)| is_dead(id, session)).map(|(id, _)| *id).collect();
        for link in dead {
            self.end_session(link, "a conversation has died", now);
        }
    }

    /// Who only says that requests wait, or has nothing to give, gives its place to somebody else when all places are taken.
    pub(super) fn rotate(&mut self, now: Instant) {
        for session in self.sessions.values_mut() {
            let bytes = session.meter.bytes();
            if bytes > session.fed.0 {
                session.fed = (bytes, now);
            }
        }
        if !self.contacts.others_wait(now) {
            return;
        }
        let hungry = self.sessions.iter().filter(|(_, session)| now.duration_since(session.fed.1) >= HUNGRY);
        // One at a time: the next may be the one that gives.
        let longest = hungry.min_by_key(|(_, session)| session.fed.1).map(|(link, _)| *link);
        if let Some(link) = longest {
            self.end_session(link, "a conversation gives its place to another", now);
        }
    }

    fn end_session(&mut self, link: LinkId, why: &'static str, now: Instant) {
        let Some(session) = self.sessions.remove(&link) else { return };
        tracing::debug!(peer = %session.peer, why);
        session.link.close_conversation(session.conversation);
        self.forget(link);
        self.contacts.on_end(link, now);
    }

    pub(super) fn on_closed(&mut self, link: LinkId) {
        let Some(session) = self.sessions.remove(&link) else { return };
        self.forget(link);
        self.contacts.on_end(link, Instant::now());
        // Of two connections one was given up: go on with the other at once.
        if let Some(other) = self.context().links.find(&session.peer) {
            self.begin_session(session.peer, &other);
        }
    }

    pub(super) fn forget(&mut self, link: LinkId) {
        self.picker.leave(link);
        self.layer.leave(link);
    }

    pub(super) fn end_sessions(&mut self) {
        for session in std::mem::take(&mut self.sessions).into_values() {
            session.link.close_conversation(session.conversation);
        }
    }

    /// Asks somebody for the chunk hashes, unless they are known or on their way.
    pub(super) fn ask_hashes_if_due(&mut self, now: Instant) {
        if self.hashes.is_some() || !self.layer.is_free(now) {
            return;
        }
        // Those who have all of the file have its hashes; who did not answer, or had none, comes last.
        let open = self.sessions.iter_mut().filter(|(_, session)| session.opened);
        let likeliest = open.min_by_key(|(id, session)| (session.asked_hashes, !session.complete, **id));
        let Some((link, session)) = likeliest else { return };
        session.asked_hashes += 1;
        let link = *link;
        let (first, count) = self.layer.begin(link, now);
        self.ask_hashes(link, first, count);
    }

    pub(super) fn ask_hashes(&self, link: LinkId, first: u32, count: u32) {
        if let Some(session) = self.sessions.get(&link) {
            let conversation = session.conversation;
            session.link.outbox().send(Message::GetHashes { conversation, first, count });
        }
    }

    /// Does what the picker says.
    pub(super) fn give_orders(&mut self) {
        if self.hashes.is_none() || self.looking {
            return;
        }
        while let Some(order) = self.picker.next(Instant::now()) {
            let (Order::Request(link, chunk) | Order::Cancel(link, chunk)) = order;
            let Some(session) = self.sessions.get(&link) else { continue };
            let conversation = session.conversation;
            session.link.outbox().send(match order {
                Order::Request(..) => {
                    session.fetching.on_asked(chunk);
                    Message::Request { conversation, chunk }
                }
                Order::Cancel(..) => {
                    session.fetching.on_cancelled(chunk);
                    Message::Cancel { conversation, chunk }
                }
            });
        }
    }
}
