//! The owner: the one task that has the state. It asks the service what comes of each request, in the order in which
//! they come, keeps what is to last in the store, and hands out answers and events.
//!
//! While one batch of writes is being committed the next one gathers: under load many requests share a commit. An
//! answer that rests on a write waits for it. After a commit that failed, what it wrote is taken back, and nothing
//! durable is accepted until the store has taken that too.

mod batch;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use common::audience::Sharing;
use common::id::PeerId;
use common::wire::tracker::{Code, Event, FromTracker, Hello, Refusal, Reply, Request, Welcome};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use self::batch::{Batch, Export, Journal};
use crate::clock::Clock;
use crate::outbox::Outbox;
use crate::service::{
    self, AccountReply, AccountRequest, AdminReply, AdminRequest, Claim, Effect, Newcomer, News, When, Why, refusal,
};
use crate::state::{Account, ConnId, State, Write};
use crate::store::Store;

/// How often what is due now and then is looked after.
const TICK: Duration = Duration::from_secs(5);
/// Ticks between two looks at who was seen: a minute.
const TICKS_PER_TOUCH: u64 = 12;
/// Ticks between two looks at whose names are free again: an hour.
const TICKS_PER_EXPIRY: u64 = 720;

/// What the owner is told, by the connections mostly.
#[derive(Debug)]
pub(crate) enum Input {
    /// Somebody wants to join.
    Join(Box<Join>),
    /// A peer that has joined asks something.
    Ask {
        /// Who.
        peer: PeerId,
        /// On which connection.
        conn: ConnId,
        /// The number of its request.
        id: u64,
        /// What.
        request: Box<Request>,
        /// What allowed it, to be freed with the answer.
        permit: OwnedSemaphorePermit,
    },
    /// A peer announced that it is in swarms in which it did not before: it is in the index already.
    Announced {
        /// Who.
        peer: PeerId,
        /// Which.
        swarms: Vec<Sharing>,
    },
    /// A connection that wanted to join, or has joined, ended.
    Leave {
        /// Whose.
        peer: PeerId,
        /// Which.
        conn: ConnId,
        /// How it ended.
        why: Why,
    },
    /// A key asks something about accounts.
    Account {
        /// Whose.
        peer: PeerId,
        /// What.
        request: AccountRequest,
        /// Where the answer goes when what it rests on is committed.
        answer: oneshot::Sender<Result<AccountReply, Refusal>>,
    },
    /// The operator asks something.
    Admin {
        /// What.
        request: AdminRequest,
        /// As with [`Self::Account`].
        answer: oneshot::Sender<Result<AdminReply, Refusal>>,
    },
    /// The operator wants all that is committed.
    Export(Export),
    /// The tracker ends: everybody is told.
    Shutdown,
}

/// Somebody who wants to join.
#[derive(Debug)]
pub(crate) struct Join {
    /// Who, and where.
    pub(crate) newcomer: Newcomer,
    /// What it says of itself.
    pub(crate) hello: Hello,
    /// The number of its request; its answer is the first that goes into the outbox.
    pub(crate) id: u64,
    /// Where to send what is for it.
    pub(crate) outbox: Outbox,
    /// Whether it is in.
    pub(crate) answer: oneshot::Sender<Result<(), Refusal>>,
}

/// The task's state.
#[derive(Debug)]
pub(crate) struct Owner {
    state: State,
    links: HashMap<ConnId, Link>,
    journal: Journal,
    clock: Clock,
    /// After so long without a word a peer may think that the tracker is gone.
    silence: Duration,
}

#[derive(Debug)]
struct Link {
    peer: PeerId,
    outbox: Outbox,
}

/// What goes out when the writes that it rests on are committed.
#[derive(Debug)]
enum Waiting {
    Answer { conn: ConnId, id: u64, permit: OwnedSemaphorePermit, reply: Box<Reply>, effects: Vec<Effect> },
    Join { join: Box<Join>, name: common::name::UserName, effects: Vec<Effect> },
    Account { answer: oneshot::Sender<Result<AccountReply, Refusal>>, reply: AccountReply, effects: Vec<Effect> },
    Admin { answer: oneshot::Sender<Result<AdminReply, Refusal>>, reply: AdminReply, effects: Vec<Effect> },
}

/// The store can be used no more; a sentence.
#[derive(Debug, thiserror::Error)]
#[error("the store failed for good ({0})")]
pub(crate) struct StoreLost(String);

impl Owner {
    /// The owner of a state and the store that it came from.
    pub(crate) fn new(state: State, store: Box<dyn Store>, clock: Clock, silence: Duration) -> Self {
        Self { state, links: HashMap::new(), journal: Journal::new(store), clock, silence }
    }

    /// Runs until nobody can send inputs any more and all is committed.
    pub(crate) async fn run(mut self, mut inputs: mpsc::Receiver<Input>) -> Result<(), StoreLost> {
        let mut tick = interval_at(Instant::now() + TICK, TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks: u64 = 0;
        loop {
            self.journal.start();
            // 1. Answers whose writes are committed; 2. requests; 3. what can wait.
            tokio::select! {
                biased;
                (batch, committed) = self.journal.committed() => self.on_committed(batch, committed?),
                input = inputs.recv() => match input {
                    Some(input) => self.on_input(input),
                    None => break,
                },
                _ = tick.tick() => {
                    ticks += 1;
                    self.on_tick(ticks);
                }
            }
        }
        self.links.clear();
        while self.journal.is_busy() {
            let (batch, committed) = self.journal.committed().await;
            self.on_committed(batch, committed?);
            self.journal.start();
        }
        Ok(())
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Join(join) => self.on_join(join),
            Input::Ask { peer, conn, id, request, permit } => self.on_ask(peer, conn, id, *request, permit),
            Input::Announced { peer, swarms } => {
                let effects = service::tell_of(&mut self.state, peer, &swarms);
                self.carry_out(effects);
            }
            Input::Leave { peer, conn, why } => self.on_leave(peer, conn, why),
            Input::Account { peer, request, answer } => self.on_account(peer, request, answer),
            Input::Admin { request, answer } => self.on_admin(request, answer),
            Input::Export(to) => self.journal.export(to),
            Input::Shutdown => {
                for link in self.links.values() {
                    link.outbox.tell(Event::Shutdown);
                }
                // The connections end when all that is in their outboxes is sent.
                self.links.clear();
            }
        }
    }

    fn on_join(&mut self, join: Box<Join>) {
        let peer = join.newcomer.key.peer_id();
        match service::claim(&mut self.state, peer, &join.hello, self.clock.now()) {
            Ok(Claim { name, writes, effects }) => match self.record(writes) {
                Ok(()) => self.release_when_committed(Waiting::Join { join, name, effects }),
                Err(refused) => {
                    drop(join.answer.send(Err(refused)));
                    self.carry_out_soft(effects);
                }
            },
            // Nobody there any more: nobody to be told.
            Err(refused) => drop(join.answer.send(Err(refused))),
        }
    }

    fn on_ask(&mut self, peer: PeerId, conn: ConnId, id: u64, request: Request, permit: OwnedSemaphorePermit) {
        if self.state.roster.get(&peer).is_none_or(|online| online.conn != conn) {
            return;
        }
        let mut outcome = service::handle(&mut self.state, peer, request, self.clock.now());
        if outcome.reply.is_ok()
            && let Err(refused) = self.record(outcome.writes)
        {
            outcome.reply = Err(refused);
            outcome.effects.retain(Effect::is_of_soft_state);
        }
        match (outcome.reply, outcome.when) {
            (Ok(reply), When::Committed) => {
                let (reply, effects) = (Box::new(reply), outcome.effects);
                self.release_when_committed(Waiting::Answer { conn, id, permit, reply, effects });
            }
            (reply, _) => {
                self.answer(conn, id, reply, permit);
                self.carry_out(outcome.effects);
            }
        }
    }

    fn on_account(
        &mut self,
        peer: PeerId,
        request: AccountRequest,
        answer: oneshot::Sender<Result<AccountReply, Refusal>>,
    ) {
        match service::account(&mut self.state, peer, request, self.clock.now()) {
            Ok(outcome) => match self.record(outcome.writes) {
                Ok(()) => {
                    let (reply, effects) = (outcome.reply, outcome.effects);
                    self.release_when_committed(Waiting::Account { answer, reply, effects });
                }
                Err(refused) => {
                    drop(answer.send(Err(refused)));
                    self.carry_out_soft(outcome.effects);
                }
            },
            // Nobody there any more: nobody to be told.
            Err(refused) => drop(answer.send(Err(refused))),
        }
    }

    fn on_admin(&mut self, request: AdminRequest, answer: oneshot::Sender<Result<AdminReply, Refusal>>) {
        match service::admin(&mut self.state, request, self.clock.now()) {
            Ok(outcome) => match self.record(outcome.writes) {
                Ok(()) => {
                    let (reply, effects) = (outcome.reply, outcome.effects);
                    self.release_when_committed(Waiting::Admin { answer, reply, effects });
                }
                Err(refused) => {
                    drop(answer.send(Err(refused)));
                    self.carry_out_soft(outcome.effects);
                }
            },
            Err(refused) => drop(answer.send(Err(refused))),
        }
    }

    fn on_leave(&mut self, peer: PeerId, conn: ConnId, why: Why) {
        self.links.remove(&conn);
        let (writes, effects) = service::leave(&mut self.state, peer, conn, why, self.clock.now());
        // When somebody was last seen is worth no refusal: it is seen again.
        let _kept = self.record(writes);
        self.carry_out(effects);
    }

    fn on_tick(&mut self, ticks: u64) {
        self.journal.retry();
        let now = self.clock.now();
        if let Some(relay) = self.state.rendezvous.relay() {
            relay.expire(now.uptime);
        }
        if ticks.is_multiple_of(TICKS_PER_TOUCH) {
            let _kept = self.record(service::touch(&self.state, now));
        }
        if ticks.is_multiple_of(TICKS_PER_EXPIRY) {
            let _kept = self.record(service::expire(&self.state, now));
        }
    }

    /// Makes changes and has them committed; nothing is changed where that is not possible now.
    fn record(&mut self, writes: Vec<Write>) -> Result<(), Refusal> {
        if writes.is_empty() {
            return Ok(());
        }
        if self.journal.is_failing() {
            return Err(unavailable());
        }
        for write in writes {
            let undo = self.state.apply(write.clone());
            self.journal.add(write, undo);
        }
        Ok(())
    }

    fn release_when_committed(&mut self, waiting: Waiting) {
        if let Some(waiting) = self.journal.wait(waiting) {
            self.release(waiting);
        }
    }

    fn on_committed(&mut self, batch: Batch, committed: Result<(), Vec<Write>>) {
        match committed {
            Ok(()) => batch.waiting.into_iter().for_each(|waiting| self.release(waiting)),
            Err(undone) => {
                for write in undone {
                    self.state.apply(write);
                }
                batch.waiting.into_iter().for_each(|waiting| self.refuse(waiting));
            }
        }
    }

    fn release(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Answer { conn, id, permit, reply, effects } => {
                self.answer(conn, id, Ok(*reply), permit);
                self.carry_out(effects);
            }
            Waiting::Join { join, name, effects } => {
                self.carry_out(effects);
                self.enter(*join, name);
            }
            Waiting::Account { answer, reply, effects } => {
                let _listening = answer.send(Ok(reply));
                self.carry_out(effects);
            }
            Waiting::Admin { answer, reply, effects } => {
                let _listening = answer.send(Ok(reply));
                self.carry_out(effects);
            }
        }
    }

    fn refuse(&mut self, waiting: Waiting) {
        match waiting {
            Waiting::Answer { conn, id, permit, effects, .. } => {
                self.answer(conn, id, Err(unavailable()), permit);
                self.carry_out_soft(effects);
            }
            Waiting::Join { join, effects, .. } => {
                drop(join.answer.send(Err(unavailable())));
                self.carry_out_soft(effects);
            }
            Waiting::Account { answer, effects, .. } => {
                let _listening = answer.send(Err(unavailable()));
                self.carry_out_soft(effects);
            }
            Waiting::Admin { answer, effects, .. } => {
                let _listening = answer.send(Err(unavailable()));
                self.carry_out_soft(effects);
            }
        }
    }

    /// What was to last was taken back; what was soft is as it was made.
    fn carry_out_soft(&mut self, mut effects: Vec<Effect>) {
        effects.retain(Effect::is_of_soft_state);
        self.carry_out(effects);
    }

    fn enter(&mut self, join: Join, name: common::name::UserName) {
        let Join { newcomer, id, outbox, answer, hello } = join;
        // A connection that ended meanwhile has closed its gate, and said so before it came here.
        if newcomer.gate.pass(|| ()).is_none() {
            return;
        }
        // Logged in or out, or thrown out, while it waited for the commit.
        if self.state.accounts().device(&newcomer.key.peer_id()).is_none_or(|device| device.account != name) {
            let refused = refusal(Code::Busy, "this device was logged in or out just now: join again");
            drop(answer.send(Err(refused)));
            return;
        }
        let now = self.clock.now();
        let (peer, conn, seen_as) = (newcomer.key.peer_id(), newcomer.conn, newcomer.contact.seen);
        let account = self.state.accounts().get(&name).is_some_and(Account::has_password);
        let effects = service::enter(&mut self.state, name.clone(), newcomer, now);
        tracing::debug!(%peer, agent = ?hello.agent.chars().take(LONGEST_AGENT).collect::<String>(), "joined");
        let welcome = Welcome {
            name: name.to_string(),
            seen_as,
            time_ms: now.unix_ms,
            silence_ms: u64::try_from(self.silence.as_millis()).unwrap_or(u64::MAX),
            peers: u32::try_from(self.state.roster.len()).unwrap_or(u32::MAX),
            account,
            access: self.state.access,
            udp: service::udp_offer(&self.state, conn),
        };
        outbox.answer(id, Ok(Reply::Welcome(welcome)), None);
        self.links.insert(conn, Link { peer, outbox });
        // A connection that ended just now says so next.
        let _listening = answer.send(Ok(()));
        self.carry_out(effects);
    }

    fn answer(&self, conn: ConnId, id: u64, answer: Result<Reply, Refusal>, permit: OwnedSemaphorePermit) {
        if let Some(link) = self.links.get(&conn) {
            link.outbox.answer(id, answer, Some(permit));
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Tell { to, event } => {
                    let link = self.state.roster.get(&to).and_then(|online| self.links.get(&online.conn));
                    if let Some(link) = link {
                        link.outbox.tell(event);
                    }
                }
                Effect::TellOthers { than, event } => self.gossip(than, event),
                Effect::TellAll(event) => self.tell_all(event),
                Effect::Close(conn) => {
                    if let Some(link) = self.links.remove(&conn) {
                        link.outbox.closing.close(Why::Disconnected);
                    }
                }
                Effect::Expel(conn) => {
                    if let Some(link) = self.links.remove(&conn) {
                        link.outbox.closing.finish(Why::Expelled);
                    }
                }
                Effect::Say(news) => say(&news),
            }
        }
    }

    fn tell_all(&self, event: Event) {
        let Ok(frame) = FromTracker::Event(event).to_frame() else { return };
        let frame = Bytes::from(frame);
        for link in self.links.values() {
            link.outbox.tell_frame(frame.clone());
        }
    }

    fn gossip(&self, than: PeerId, event: Event) {
        let Ok(frame) = FromTracker::Event(event).to_frame() else { return };
        let frame = Bytes::from(frame);
        for link in self.links.values().filter(|link| link.peer != than) {
            link.outbox.gossip(frame.clone());
        }
    }
}

/// Characters of a peer's program and version that are logged.
const LONGEST_AGENT: usize = 64;

fn unavailable() -> Refusal {
    refusal(Code::Unavailable, "the tracker cannot write its database now (its log says why): try again later")
}

fn say(news: &News) {
    match news {
        News::Joined { name, address, peers } => tracing::info!(%address, peers, "{name} joined"),
        News::Left { name, address, peers, why } => tracing::info!(%address, peers, "{name} left: {why}"),
        News::Completed { name, address, entry } => tracing::info!(%address, "{name} completed downloading {entry}"),
    }
}

#[cfg(test)]
mod tests;
