//! The task of a node: one after the other it takes what comes, tells the group, and does what the group says.
//!
//! - `answering`: what the rest of the program asks
//! - `blame`: who may be to blame for a relayed way that is of no use
//! - `granting`: ways that others ask for
//! - `meeting`: what those hear whom this node meets
//! - `naming`: who breaks the rules
//! - `opening`: our router, for others
//! - `reaching`: streams for chunks
//! - `relaying`: ways through others
//! - `visiting`: who comes, and who of them is expected

mod answering;
mod blame;
mod granting;
mod meeting;
mod naming;
mod opening;
mod reaching;
mod relaying;
mod visiting;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::group::{
    Action, Addresses, Closing, ConnectError, Dial, DialId, Event, Facts, Group, MAX_MEMBERS, NodeMessage, RequestId,
};
use common::id::PeerId;
use common::mrt::{CloseCode, Target};
use common::nat::{Candidates, NatKind, Observation};
use common::wire::tracker::Holder;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::time::{interval, sleep_until};

use self::naming::Naming;
use self::opening::{OPENING, Openings};
use self::relaying::{Relaying, TEND_EVERY};
use self::visiting::Visits;
use super::INPUT_BYTES;
use super::asks::{Answer, Ask, Page};
use super::dial::{Knowledge, dial};
use super::line::{Heard, Line, LineId, Opened};
use super::meet::{Meeting, Whereabouts};
use super::outside::Outside;
use super::room::{Kept, Room};
use super::stun::Seen;
use super::wishes::Wishes;
use crate::mrt::{Node, RelayHandle};
use crate::notice::Notice;
use crate::overlay::{Reach, Reached};
use crate::tasks::Tasks;

/// Most lines: to all members that there may be, and some who are about to be. So many are too many for a test.
pub(super) const MOST_LINES: usize = if cfg!(test) { 8 } else { MAX_MEMBERS + 64 };
/// How often pairs that nobody uses are looked for.
const EXPIRY: Duration = Duration::from_secs(10);
/// What was said last to a node that is closed on has so long to arrive.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What comes to a node.
#[derive(Debug)]
pub(super) enum Input {
    /// A dial that the group asked for, to this peer if it is known, ended.
    Dialled(DialId, Option<PeerId>, Option<Opened>),
    /// A dial for a conversation ended.
    Reached(PeerId, Option<Opened>),
    /// Somebody came.
    Came(Opened),
    /// A message came on a line.
    Message(LineId, Kept),
    /// Somebody opened a stream for chunks.
    Conversation(Reached),
    /// A line ended.
    Ended(LineId),
    /// It was looked where this node is seen.
    Seen(Seen),
    /// Somebody saw its first socket.
    Observed(Observation),
    /// The rest of the program asks something.
    Ask(Ask),
}

impl From<Heard> for Input {
    fn from(heard: Heard) -> Self {
        match heard {
            Heard::Message(line, bytes) => Self::Message(line, bytes),
            Heard::Conversation(reached) => Self::Conversation(reached),
            Heard::Ended(line) => Self::Ended(line),
        }
    }
}

impl From<Opened> for Input {
    fn from(opened: Opened) -> Self {
        Self::Came(opened)
    }
}

/// The task's state.
pub(super) struct Actor {
    pub(super) group: Group,
    pub(super) node: Node,
    pub(super) relay: RelayHandle,
    /// Where this node may be reached.
    pub(super) candidates: Candidates,
    /// Where it is seen.
    pub(super) outside: Outside,
    /// What meetings know of that.
    pub(super) whereabouts: watch::Sender<Whereabouts>,
    pub(super) inputs: mpsc::Sender<Input>,
    /// Who came for chunks.
    pub(super) visitors: mpsc::Sender<Reached>,
    pub(super) events: broadcast::Sender<Event>,
    /// What the user is told.
    pub(super) notices: broadcast::Sender<Notice>,
    pub(super) tasks: Tasks,
    pub(super) state: State,
}

/// What is under way.
pub(super) struct State {
    visits: Visits,
    lines: BTreeMap<PeerId, Standing>,
    lines_made: u64,
    /// For messages that wait for this task.
    room: Room,
    /// Who waits for a stream to whom.
    wishes: Wishes,
    relaying: Relaying,
    openings: Openings,
    /// What all were told that this node is behind.
    told_nat: NatKind,
    naming: Naming,
    lists: HashMap<RequestId, Answer<Page>>,
    questions: HashMap<RequestId, Answer<Vec<Holder>>>,
    connecting: HashMap<SocketAddr, Vec<Answer<Result<PeerId, ConnectError>>>>,
    leaving: Vec<Answer<()>>,
}

/// A line, and how it is about to become a direct one.
struct Standing {
    line: Line,
    meeting: mpsc::Sender<Meeting>,
    /// What the other side is behind, as it said last.
    nat: NatKind,
}

impl State {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            visits: Visits::default(),
            lines: BTreeMap::new(),
            lines_made: 0,
            room: Room::new(INPUT_BYTES),
            wishes: Wishes::default(),
            relaying: Relaying::default(),
            openings: Openings::default(),
            told_nat: NatKind::Unknown,
            naming: Naming::default(),
            lists: HashMap::new(),
            questions: HashMap::new(),
            connecting: HashMap::new(),
            leaving: Vec::new(),
        }
    }

    fn has_room_for(&self, peer: &PeerId) -> bool {
        self.lines.len() < MOST_LINES || self.lines.contains_key(peer)
    }
}

impl Actor {
    /// Runs until the node has left, or its tasks are shut down.
    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>, mut reaches: mpsc::Receiver<Reach>) {
        let (mut expiry, mut tending) = (interval(EXPIRY), interval(TEND_EVERY));
        loop {
            if self.follow_group() {
                return;
            }
            let due = self.group.poll_timeout().map(tokio::time::Instant::from_std);
            let timeout = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(input) = inputs.recv() => self.on_input(input),
                Some(reach) = reaches.recv() => self.on_reach(reach),
                Some(connection) = self.node.accept() => self.on_visit(connection),
                () = timeout => self.group.handle_timeout(Instant::now()),
                _ = tending.tick() => self.on_tick(Instant::now()),
                _ = expiry.tick() => drop(self.relay.expire()),
                else => return,
            }
        }
    }

    fn on_tick(&mut self, now: Instant) {
        self.tend_ways(now);
        self.tell_whereabouts();
        self.name_strangers(now);
    }

    fn on_input(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Dialled(id, wanted, opened) => {
                if let (None, Some(wanted)) = (&opened, wanted) {
                    self.on_not_reached(now, wanted);
                }
                let peer = opened.map(|opened| self.take(opened));
                self.group.dialled(now, id, peer);
            }
            Input::Reached(peer, opened) => {
                match opened {
                    Some(opened) => {
                        self.take(opened);
                    }
                    None => self.on_not_reached(now, peer),
                }
                self.answer_reaches(peer);
            }
            Input::Came(opened) if self.state.has_room_for(&opened.peer()) => {
                let peer = self.take(opened);
                self.answer_reaches(peer);
            }
            Input::Came(opened) => tracing::info!(peer = %opened.peer(), "no room for one more connection"),
            Input::Message(id, bytes) => self.on_message(now, id, &bytes),
            Input::Conversation(reached) => {
                if self.visitors.try_send(reached).is_err() {
                    tracing::debug!("somebody who wanted chunks found no room");
                }
            }
            Input::Ended(id) => {
                let ended = self.state.lines.iter().find(|(_, standing)| standing.line.id == id);
                if let Some(peer) = ended.map(|(peer, _)| *peer) {
                    self.forget_line(&peer);
                    self.group.lost(now, peer);
                }
            }
            Input::Seen(seen) => self.on_seen(now, seen),
            Input::Observed(observation) => self.on_observed(now, observation),
            Input::Ask(ask) => self.on_ask(now, ask),
        }
    }

    /// Takes a line, unless there is one that stays.
    fn take(&mut self, opened: Opened) -> PeerId {
        let (now, peer, here) = (Instant::now(), opened.peer(), self.group.id());
        if let Some(earlier) = self.state.lines.get(&peer) {
            if earlier.line.making.outlives(opened.making(), here, peer) {
                return peer;
            }
            self.forget_line(&peer);
            self.group.lost(now, peer);
        }
        let id = LineId(self.state.lines_made);
        self.state.lines_made += 1;
        let line = opened.run(id, &self.inputs, &self.state.room, &self.tasks);
        let remote = line.connection.remote();
        let facts = Facts { identity: remote.identity, static_key: remote.static_key, observed: line.direct() };
        self.on_seen_by(now, &line);
        let meeting = self.begin_to_meet(&line);
        self.state.lines.insert(peer, Standing { line, meeting, nat: NatKind::Unknown });
        self.tell_whereabouts();
        self.tell_nat_to(peer);
        self.group.connected(now, &facts);
        peer
    }

    /// This node may be reached elsewhere, too.
    pub(super) fn tell_addresses(&mut self, now: Instant) {
        let local = self.node.local_addr();
        // Who listens on this machine only is reached from this machine.
        let only_here = local.ip().is_loopback().then_some(local);
        let all = self.candidates.iter().map(|candidate| candidate.address).chain(only_here);
        self.group.set_addresses(now, Addresses::new(all));
        self.tell_whereabouts();
    }

    fn on_message(&mut self, now: Instant, id: LineId, bytes: &[u8]) {
        let from = self.state.lines.iter().find(|(_, standing)| standing.line.id == id).map(|(peer, _)| *peer);
        let Some(from) = from else { return };
        if !NodeMessage::is_meant(bytes) {
            self.group.message(now, from, bytes);
            return;
        }
        match NodeMessage::decode(bytes) {
            Ok(message) => self.on_node_message(from, message),
            Err(error) => {
                self.name_talker(now, &from, &error);
                self.hang_up(now, from);
            }
        }
    }

    fn on_node_message(&mut self, from: PeerId, message: NodeMessage) {
        match message {
            NodeMessage::RelayWanted(to) => self.make_way(Instant::now(), from, to),
            NodeMessage::RelayGiven(to, channel) => self.on_way(Instant::now(), from, to, channel),
            NodeMessage::RelayDenied(to) => self.on_no_way(Instant::now(), from, to),
            NodeMessage::Candidates(round, theirs) => self.on_meeting(from, Meeting::Theirs(round, theirs)),
            NodeMessage::Sync(round) => self.on_meeting(from, Meeting::Sync(round)),
            NodeMessage::Nat(kind) => {
                if let Some(standing) = self.state.lines.get_mut(&from) {
                    standing.nat = kind;
                }
            }
        }
    }

    pub(super) fn say(&self, to: PeerId, message: &NodeMessage) {
        if let Some(standing) = self.state.lines.get(&to) {
            // Who does not take it is given up by the group soon.
            let _taken = standing.line.send(&message.encode());
        }
    }

    /// The group's actions and events; true when the node has left.
    fn follow_group(&mut self) -> bool {
        let mut left = false;
        loop {
            if let Some(action) = self.group.poll_action() {
                self.act(action);
            } else if let Some(event) = self.group.poll_event() {
                left |= event == Event::Left;
                self.on_event(event);
            } else {
                return left;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Dial(Dial { id, peer, static_key, addresses, relay_through }) => {
                if let Some(peer) = peer.filter(|peer| self.state.lines.contains_key(peer)) {
                    return self.group.dialled(Instant::now(), id, Some(peer));
                }
                // It may be about to dial us, too.
                addresses.iter().for_each(|address| self.expect_from(*address, OPENING));
                let is_known = |peer| self.group.roster().is_some_and(|roster| roster.member(&peer).is_some());
                let knowledge = if peer.is_none_or(is_known) { Knowledge::Sure } else { Knowledge::Hearsay };
                let relayed = peer.map(|peer| self.relayed_way(relay_through, peer));
                let (node, inputs) = (self.node.clone(), self.inputs.clone());
                self.tasks.spawn("dial", async move {
                    let relayed = async { relayed?.await };
                    let target = Target { peer, static_key };
                    let opened = dial(&node, target, &addresses, knowledge, relayed).await;
                    drop(inputs.send(Input::Dialled(id, peer, opened)).await);
                });
            }
            Action::Send { peer, bytes } => {
                let sent = self.state.lines.get(&peer).is_some_and(|standing| standing.line.send(&bytes));
                if !sent {
                    self.hang_up(Instant::now(), peer);
                }
            }
            Action::Close { peer, reason } => self.close(peer, reason),
            Action::Open { peer, addresses, .. } => self.open_for(Instant::now(), peer, &addresses),
        }
    }

    /// The group has closed on somebody already.
    fn close(&mut self, peer: PeerId, reason: Closing) {
        let Some(Standing { line, .. }) = self.forget_line(&peer) else { return };
        let (connection, written) = line.end();
        self.tasks.spawn("close", async move {
            drop(tokio::time::timeout(LAST_WORDS, written.cancelled()).await);
            connection.close(CloseCode(reason.code()), "");
        });
    }

    /// There is no line to somebody any more.
    fn forget_line(&mut self, peer: &PeerId) -> Option<Standing> {
        let standing = self.state.lines.remove(peer)?;
        self.on_line_gone(*peer);
        Some(standing)
    }

    /// Somebody cannot be talked to.
    fn hang_up(&mut self, now: Instant, peer: PeerId) {
        if let Some(Standing { line, .. }) = self.forget_line(&peer) {
            line.connection.close(CloseCode(Closing::Misbehaved.code()), "");
            self.group.lost(now, peer);
        }
    }

    fn on_event(&mut self, event: Event) {
        match &event {
            Event::Files { request, total, files } => {
                if let Some(answer) = self.state.lists.remove(request) {
                    reply(answer, Page { total: *total, files: files.clone() });
                }
            }
            Event::Holders { request, holders, .. } => {
                if let Some(answer) = self.state.questions.remove(request) {
                    reply(answer, holders.clone());
                }
            }
            Event::Unanswered(request) => {
                self.state.lists.remove(request);
                self.state.questions.remove(request);
            }
            Event::Connected { address, peer } => self.end_connecting(*address, Ok(*peer)),
            Event::ConnectFailed { address, why } => self.end_connecting(*address, Err(*why)),
            Event::Left => self.state.leaving.drain(..).for_each(|answer| reply(answer, ())),
            _ => {}
        }
        // Nobody may be listening.
        let _heard = self.events.send(event);
    }

    fn end_connecting(&mut self, address: SocketAddr, result: Result<PeerId, ConnectError>) {
        let waiting = self.state.connecting.remove(&address).unwrap_or_default();
        waiting.into_iter().for_each(|answer| reply(answer, result));
    }
}

/// Answers; who asked may be gone.
fn reply<T>(answer: Answer<T>, value: T) {
    let _nobody_waits = answer.send(value);
}
