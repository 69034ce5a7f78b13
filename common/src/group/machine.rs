//! The machine: its calls, and who is to deal with what they bring.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dials::{DialId, Dials, Way};
use super::following::Following;
use super::leading::Leading;
use super::limits::{DIAL_TIME, MAX_FAULTS, MAX_TERM, MAX_WISHES, MOVES_BURST, MOVES_PER_SEC, PROTOCOL};
use super::links::{Links, Watch};
use super::meeting::{Asked, Past};
use super::message::Message;
use super::rate::Bucket;
use super::roster::{Member, Point, Roster};
use super::seeking::Seeking;
use super::shelf::Shelf;
use super::talk::Talk;
use super::wishes::Wish;
use super::{Action, Closing, Config, Dial, Event, Facts, Refusal};
use crate::id::{NetworkId, PeerId};
use crate::identity::Identity;
use crate::merkle::sha256;

/// One node of a network.
///
/// # The contract
///
/// Every call that takes the time must not go back in it. After each call the driver drains [`Self::poll_action`] and
/// [`Self::poll_event`] and asks [`Self::poll_timeout`] when to call [`Self::handle_timeout`]. One call gives at most a
/// few actions and events for each member.
///
/// *Connections.* The machine knows of at most one connection a peer. Whoever dialled, the driver calls [`Self::connected`]
/// when one stands (handshake confirmed on both sides, control stream open), then [`Self::message`] for each message in
/// order, then [`Self::lost`] when it is gone; not after [`Action::Close`]. Where both dialled at once the driver keeps one
/// of the two, the same at both ends, and says nothing of the other. Where a peer connects anew while the old connection seems to
/// stand (it restarted), it calls [`Self::lost`], then [`Self::connected`]. Connections that the node has for other reasons,
/// to download for instance, are told of too. One that [`Self::needs`] nobody and nothing uses may be closed by the driver.
///
/// *Dials.* Each [`Action::Dial`] ends with one call of [`Self::dialled`]: with the peer, after [`Self::connected`] or where
/// there was a connection already; with `None` where nobody answered, or somebody else. The machine stops waiting by
/// itself after a time.
///
/// *Backpressure.* The driver bounds what it holds for a connection, and closes one that does not take it (a few times
/// [`super::MAX_MESSAGE`] is fair); the machine is told by [`Self::lost`].
#[derive(Debug)]
pub struct Group {
    pub(super) me: Me,
    pub(super) role: Role,
    pub(super) links: Links,
    pub(super) dials: Dials,
    pub(super) past: Past,
    pub(super) talk: Talk,
    pub(super) shelf: Shelf,
    pub(super) wishes: Vec<Wish>,
    pub(super) moves: Moves,
    pub(super) now: Instant,
    /// Whether roster or role changed, so that other links are to be watched.
    pub(super) rewatch: Rewatch,
    random: [u8; 32],
    actions: VecDeque<Action>,
    events: VecDeque<Event>,
}

/// Who this node is.
#[derive(Debug)]
pub(super) struct Me {
    pub(super) identity: Arc<Identity>,
    pub(super) network: NetworkId,
    pub(super) member: Member,
}

/// Changes of our addresses: all others are to know, but not of each.
#[derive(Debug)]
pub(super) struct Moves {
    /// There is one that was not told of.
    pub(super) is_waiting: bool,
    pub(super) pace: Bucket,
}

/// What this node is in its network: see the picture in the documentation of the module.
#[derive(Debug)]
pub(super) enum Role {
    Leading(Box<Leading>),
    Following(Box<Following>),
    Seeking(Box<Seeking>),
    Left,
}

/// Whether the watches of links fit role and roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rewatch {
    Needed,
    Done,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// It broke, or the other end closed it: it may be back at once.
    Broken,
    /// Nothing came for too long.
    Silent,
}

/// A user wants to connect to too many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("at most {MAX_WISHES} connections can be asked for at once")]
pub struct TooManyWishes;

impl Me {
    pub(super) const fn id(&self) -> PeerId {
        self.member.id()
    }
}

impl Group {
    /// A network of one.
    pub fn new(now: Instant, config: Config) -> Self {
        let Config { network, identity, static_key, name, addresses, seed } = config;
        let member = Member::new(identity.public_key(), static_key, name, addresses);
        let random = sha256(&[b"shoal-mrt-group-seed".as_slice(), &seed.to_be_bytes(), &member.id().0].concat()).0;
        let role = Role::Leading(Box::new(Leading::alone(now, &member)));
        let mut group = Self {
            me: Me { identity, network, member },
            role,
            links: Links::default(),
            dials: Dials::default(),
            past: Past::default(),
            talk: Talk::new(now, 0),
            shelf: Shelf::default(),
            wishes: Vec::new(),
            moves: Moves { is_waiting: false, pace: Bucket::new(now, MOVES_BURST, MOVES_PER_SEC) },
            now,
            rewatch: Rewatch::Done,
            random,
            actions: VecDeque::new(),
            events: VecDeque::new(),
        };
        group.talk = Talk::new(now, group.draw());
        group
    }

    /// In an earlier run of the program these stood before this node in the last roster, which was this one. If it meets one of
    /// them that leads, and leads others itself, it hands over: without that both would stay what they are.
    pub fn recall(&mut self, before: impl IntoIterator<Item = PeerId>, point: Point) {
        let me = self.me.id();
        // No roster has another number, and no message carries one.
        if point.term > MAX_TERM || point.number > MAX_TERM {
            return;
        }
        self.past.recall(before.into_iter().filter(|peer| *peer != me), point);
    }

    /// The user wants to be in one network with whoever is at this address: with all members, if we lead some.
    pub fn connect(&mut self, now: Instant, address: SocketAddr) -> Result<(), TooManyWishes> {
        if self.wishes.len() >= MAX_WISHES {
            return Err(TooManyWishes);
        }
        self.wishes.push(Wish::new(now, address));
        self.settle(now);
        Ok(())
    }

    /// A connection stands, whoever dialled.
    pub fn connected(&mut self, now: Instant, facts: &Facts) {
        let peer = facts.identity.peer_id();
        if peer == self.me.id() || matches!(self.role, Role::Left) {
            return;
        }
        if self.links.contains(&peer) {
            self.on_lost(now, peer, Loss::Broken);
        }
        self.links.add(now, facts);
        self.dials.reached(&peer);
        self.rewatch = Rewatch::Needed;
        self.put(peer, &Message::Hello { protocol: PROTOCOL, network: self.me.network });
        self.settle(now);
    }

    /// A connection is gone.
    pub fn lost(&mut self, now: Instant, peer: PeerId) {
        self.on_lost(now, peer, Loss::Broken);
        self.settle(now);
    }

    /// A dial ended: with this peer, or with nobody.
    pub fn dialled(&mut self, now: Instant, id: DialId, reached: Option<PeerId>) {
        self.dials.end(id);
        self.on_wish_dialled(id, reached);
        self.settle(now);
    }

    /// A message came.
    pub fn message(&mut self, now: Instant, peer: PeerId, bytes: &[u8]) {
        self.now = now;
        let Some(link) = self.links.get_mut(&peer) else { return };
        link.heard(now);
        match Message::decode(bytes) {
            Ok(message) => {
                if self.may_cost(now, peer, &message, bytes.len()) {
                    self.on_message(now, peer, message);
                }
            }
            Err(error) => {
                self.refuse(peer, Refusal::Garbage(error));
                self.close(now, peer, Closing::Misbehaved);
            }
        }
        self.settle(now);
    }

    /// The time that [`Self::poll_timeout`] gave has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.dials.expire(now);
        for peer in self.links.peers() {
            let Some(link) = self.links.get_mut(&peer) else { continue };
            if link.is_dead(now) {
                self.close_as(now, peer, Closing::Silent, Loss::Silent);
            } else if link.is_ping_due(now) {
                self.put(peer, &Message::Ping);
            }
        }
        for request in self.shelf.expire(now) {
            self.tell(Event::Unanswered(request));
        }
        self.settle(now);
    }

    /// When [`Self::handle_timeout`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let role = match &self.role {
            Role::Leading(leading) => leading.due_at(),
            Role::Following(following) => following.due_at(),
            Role::Seeking(seeking) => seeking.due_at(self),
            Role::Left => return None,
        };
        let wishes = self.wishes.iter().map(|wish| wish.due_at()).min();
        let news = self.supernode().and_then(|_| self.shelf.news_at());
        let moves = self.supernode().filter(|_| self.moves.is_waiting).map(|_| self.moves.pace.ready_at());
        let all =
            [role, moves, self.lines_at(), wishes, self.links.due_at(), self.dials.due_at(), self.shelf.due_at(), news];
        all.into_iter().flatten().min()
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Leaves, in good order: [`Event::Left`] says when it is done. A supernode waits for its successor, for a few seconds
    /// at most.
    pub fn leave(&mut self, now: Instant) {
        match &self.role {
            Role::Leading(_) => self.begin_leaving(now),
            Role::Following(following) => {
                let supernode = following.supernode;
                self.put(supernode, &Message::Leave);
                self.end();
            }
            Role::Seeking(_) => self.end(),
            Role::Left => {}
        }
        self.settle(now);
    }

    /// Who is in the network, as far as this node knows; while a supernode is looked for, who was.
    pub fn roster(&self) -> Option<&Roster> {
        match &self.role {
            Role::Leading(leading) => Some(&leading.roster),
            Role::Following(following) => Some(&following.roster),
            Role::Seeking(seeking) => Some(&seeking.roster),
            Role::Left => None,
        }
    }

    /// The supernode that this node follows, or itself; `None` while it looks for one.
    pub fn supernode(&self) -> Option<PeerId> {
        match &self.role {
            Role::Leading(_) => Some(self.me.id()),
            Role::Following(following) => Some(following.supernode),
            Role::Seeking(_) | Role::Left => None,
        }
    }

    /// Whether the machine wants the connection to this peer to stand.
    pub fn needs(&self, peer: &PeerId) -> bool {
        self.watch_of(peer) != Watch::Not
    }

    /// Whose machine this is.
    pub const fn id(&self) -> PeerId {
        self.me.id()
    }

    /// Everybody deals with what is due: after each call, until nobody has anything to do.
    pub(super) fn settle(&mut self, now: Instant) {
        self.now = now;
        self.step_wishes(now);
        self.tell_addresses(now);
        if self.supernode().is_some() {
            for message in self.shelf.poll_news(now) {
                self.ask_supernode(now, message);
            }
        }
        match self.role {
            Role::Leading(_) => self.step_leading(now),
            Role::Following(_) => self.step_following(now),
            Role::Seeking(_) => self.step_seeking(now),
            Role::Left => {}
        }
        if self.rewatch == Rewatch::Needed {
            self.rewatch = Rewatch::Done;
            for peer in self.links.peers() {
                let watch = self.watch_of(&peer);
                if let Some(link) = self.links.get_mut(&peer) {
                    link.watch(now, watch);
                }
            }
        }
    }

    fn watch_of(&self, peer: &PeerId) -> Watch {
        let watch = match &self.role {
            Role::Leading(leading) => leading.watch_of(peer),
            Role::Following(following) => following.watch_of(peer, &self.me.id()),
            Role::Seeking(seeking) => seeking.watch_of(peer, &self.me.id()),
            Role::Left => Watch::Not,
        };
        // Whom our user waits for is to be there.
        if watch == Watch::Not && self.asked(peer) == Asked::Yes { Watch::Ask } else { watch }
    }

    pub(super) fn on_lost(&mut self, now: Instant, peer: PeerId, loss: Loss) {
        self.now = now;
        if self.links.remove(&peer).is_none() {
            return;
        }
        match &self.role {
            Role::Leading(_) => self.on_lost_leading(now, peer, loss),
            Role::Following(following) if following.supernode == peer => self.seek(now, loss),
            Role::Seeking(_) => self.on_lost_seeking(&peer),
            Role::Following(_) | Role::Left => {}
        }
    }

    fn on_message(&mut self, now: Instant, from: PeerId, message: Message) {
        if let Message::Hello { protocol, network } = message {
            return self.on_hello(now, from, protocol, network);
        }
        if !self.links.is_ready(&from) {
            self.refuse(from, Refusal::Stranger);
            return self.close(now, from, Closing::Stranger);
        }
        match message {
            Message::Ping => {
                self.put(from, &Message::Pong);
                self.correct(from);
            }
            Message::Pong | Message::Hello { .. } => {}
            Message::Meet(meet) => self.on_meet(now, from, meet),
            Message::Join(join) => self.on_join(now, from, join),
            Message::Seek => self.on_seek(now, from),
            Message::Deny(denial) => self.on_deny(from, denial),
            Message::Peer { roster, heard } => self.on_peer(now, from, roster, heard),
            Message::Here { point, heard } => self.on_here(now, from, point, heard),
            Message::Lead(sealed) => self.on_lead(now, from, &sealed),
            Message::Farewell(sealed) => self.on_farewell(now, from, sealed),
            Message::Leave => self.on_leave(now, from),
            Message::Missing => self.on_missing(now, from),
            Message::Chat(_)
            | Message::File(_)
            | Message::Have(_)
            | Message::GetFiles { .. }
            | Message::Request { .. }
            | Message::Invite(_) => self.serve(now, from, message),
            Message::Line(_)
            | Message::Seen(_)
            | Message::News { .. }
            | Message::Files { .. }
            | Message::Start { .. }
            | Message::More { .. }
            | Message::Open(_) => self.on_told(now, from, message),
        }
    }

    fn on_hello(&mut self, now: Instant, from: PeerId, protocol: u16, network: NetworkId) {
        if protocol != PROTOCOL || network != self.me.network {
            self.refuse(from, Refusal::Stranger);
            return self.close(now, from, Closing::Stranger);
        }
        if let Some(link) = self.links.get_mut(&from) {
            link.greeted();
        }
        if let Role::Leading(_) = self.role {
            self.greet(from);
        }
    }

    /// Sends to the supernode what it is to know; where this node is one, serves it. Without one nothing is done: the next is
    /// told everything anyway.
    pub(super) fn ask_supernode(&mut self, now: Instant, message: Message) {
        match &self.role {
            Role::Leading(_) => self.serve(now, self.me.id(), message),
            Role::Following(following) => {
                let supernode = following.supernode;
                self.put(supernode, &message);
            }
            Role::Seeking(_) | Role::Left => {}
        }
    }

    /// Sends a message, if there is a connection. HELO goes before the other end's came, so nothing is checked here.
    pub(super) fn put(&mut self, peer: PeerId, message: &Message) {
        self.put_all([peer], message);
    }

    /// Sends the same to several.
    pub(super) fn put_all(&mut self, peers: impl IntoIterator<Item = PeerId>, message: &Message) {
        let bytes: Arc<[u8]> = message.encode().into();
        for peer in peers {
            if self.links.contains(&peer) {
                self.actions.push_back(Action::Send { peer, bytes: Arc::clone(&bytes) });
            }
        }
    }

    /// Begins to dial a member, if none is under way and there is room.
    pub(super) fn dial(&mut self, now: Instant, member: &Member, relay: Option<PeerId>) {
        let peer = member.id();
        if peer == self.me.id() || self.links.contains(&peer) {
            return;
        }
        let may_relay =
            |relay: &PeerId| *relay != peer && self.links.is_ready(relay) && self.dials.may_relay(now, peer, *relay);
        let relay = relay.filter(may_relay);
        let way = relay.map_or(Way::Direct, Way::Relayed);
        let Some(id) = self.dials.begin(now, Some((peer, way)), DIAL_TIME) else { return };
        self.actions.push_back(Action::Dial(Dial {
            id,
            peer: Some(peer),
            static_key: Some(member.static_key()),
            addresses: member.addresses().as_slice().to_vec(),
            relay_through: relay,
        }));
    }

    /// Begins to dial an address.
    pub(super) fn dial_address(&mut self, now: Instant, address: SocketAddr, time: Duration) -> Option<DialId> {
        let id = self.dials.begin(now, None, time)?;
        self.actions.push_back(Action::Dial(Dial {
            id,
            peer: None,
            static_key: None,
            addresses: vec![address],
            relay_through: None,
        }));
        Some(id)
    }

    pub(super) fn open(&mut self, member: &Member) {
        self.actions.push_back(Action::Open {
            peer: member.id(),
            static_key: member.static_key(),
            addresses: member.addresses().as_slice().to_vec(),
        });
    }

    pub(super) fn close(&mut self, now: Instant, peer: PeerId, reason: Closing) {
        self.close_as(now, peer, reason, Loss::Broken);
    }

    fn close_as(&mut self, now: Instant, peer: PeerId, reason: Closing, loss: Loss) {
        if self.links.contains(&peer) {
            self.actions.push_back(Action::Close { peer, reason });
            self.on_lost(now, peer, loss);
        }
    }

    /// Names somebody who was refused something; who does it again and again is hung up on.
    pub(super) fn refuse(&mut self, whom: PeerId, why: Refusal) {
        let fault = !matches!(why, Refusal::Apart | Refusal::NotSupernode);
        let faults = self.links.get_mut(&whom).filter(|_| fault).map(|link| {
            link.faults += 1;
            link.faults
        });
        if faults == Some(MAX_FAULTS) {
            self.close(self.now, whom, Closing::Misbehaved);
        }
        self.tell(Event::Refused { whom, why });
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Tells who came and went between two rosters.
    pub(super) fn tell_changes(&mut self, before: &[Member], after: &[Member]) {
        let id = self.me.id();
        let missing = |from: &[Member], members: &[Member]| -> Vec<Member> {
            let known: std::collections::BTreeSet<PeerId> = members.iter().map(Member::id).collect();
            from.iter().filter(|member| member.id() != id && !known.contains(&member.id())).cloned().collect()
        };
        for member in missing(before, after) {
            self.tell(Event::Went(member.id()));
        }
        for member in missing(after, before) {
            self.tell(Event::Came(member));
        }
    }

    /// Nothing of what was said as a supernode, or to one, holds any more.
    pub(super) fn forget_talks(&mut self) {
        for (_, link) in self.links.iter_mut() {
            (link.meet_sent, link.meet_seen, link.joined_at) = (None, None, None);
        }
        self.rewatch = Rewatch::Needed;
    }

    /// It is over.
    pub(super) fn end(&mut self) {
        for peer in self.links.peers() {
            self.actions.push_back(Action::Close { peer, reason: Closing::Leaving });
        }
        self.links = Links::default();
        self.role = Role::Left;
        self.wishes.clear();
        self.tell(Event::Left);
    }

    /// A fresh random number.
    pub(super) fn draw(&mut self) -> u64 {
        self.random = sha256(&self.random).0;
        let [a, b, c, d, e, f, g, h, ..] = sha256(&[b"draw".as_slice(), &self.random].concat()).0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}
