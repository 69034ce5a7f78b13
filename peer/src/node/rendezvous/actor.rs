//! The one task that has the lines: it finds ways for those who want streams, and takes those who come.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::group::NodeMessage;
use common::id::PeerId;
use common::identity::Identity;
use common::mrt::{CloseCode, Target};
use common::wire::tracker::{Event, Meeting as Introduction, MrtRole, Request};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Instant, interval};

use super::super::dial::{Knowledge, dial};
use super::super::door::{Door, Visitor};
use super::super::line::{Heard, Line, LineId, Opened, converse};
use super::super::meet::{Meeter, Meeting, News, Whereabouts};
use super::super::room::Room;
use super::super::wishes::Wishes;
use super::held::Hold;
use super::introduce::{Introduced, Unmet, introduce};
use super::known::{Known, one_too_many};
use super::presence::Presence;
use super::{INPUT_BYTES, RendezvousConfig, named};
use crate::command::{OverMrt, Way};
use crate::link::Dialler;
use crate::mrt::Connection;
use crate::notice::Notice;
use crate::overlay::{Reach, Reached};
use crate::tasks::Tasks;
use crate::tracker_client::{TrackerClient, TrackerState};

/// Most lines; as many as links.
const MOST_LINES: usize = 512;
/// How long our router is opened for somebody who is about to come, or whom we dial.
const OPENING: Duration = Duration::from_secs(5);
/// How often lines that nobody uses are looked for.
const TIDY: Duration = Duration::from_secs(10);
/// A line over which nobody talks is kept for so long: making it anew takes seconds.
const IDLE: Duration = Duration::from_secs(60);
/// Who was to come, and has not, is forgotten after this.
const EXPECTED: Duration = Duration::from_secs(60);

/// What comes to the actor.
#[derive(Debug)]
pub(super) enum Input {
    /// Something on a line.
    Heard(Heard),
    /// Somebody came.
    Came(Opened),
    /// The tracker answered to the wish to meet a peer.
    Introduced(PeerId, Result<Introduced, Unmet>),
    /// The same to the wish to meet one with whom there was a line before the session with the tracker.
    IntroducedAgain(PeerId, LineId, Result<Introduced, Unmet>),
    /// Dialling that peer ended.
    Dialled(PeerId, Option<Opened>),
    /// Somebody asks who is connected, and how.
    Lines(oneshot::Sender<Vec<OverMrt>>),
    /// This peer goes.
    Close(oneshot::Sender<()>),
}

impl From<Heard> for Input {
    fn from(heard: Heard) -> Self {
        Self::Heard(heard)
    }
}

impl From<Opened> for Input {
    fn from(opened: Opened) -> Self {
        Self::Came(opened)
    }
}

/// The task's state.
pub(super) struct Actor {
    identity: Arc<Identity>,
    tracker: TrackerClient,
    listen: SocketAddr,
    role: MrtRole,
    notices: broadcast::Sender<Notice>,
    inputs: mpsc::Sender<Input>,
    visitors: mpsc::Sender<Reached>,
    tasks: Tasks,
    door: Door,
    /// From when it is first needed.
    presence: Option<Presence>,
    lines: BTreeMap<PeerId, Standing>,
    lines_made: u64,
    /// For messages that wait for this task.
    room: Room,
    /// Who waits for a stream to whom.
    wishes: Wishes,
    /// Of whom the tracker spoke.
    introduced: BTreeMap<PeerId, Known>,
}

/// A line, and how it is about to become a direct one.
struct Standing {
    line: Line,
    meeting: Option<mpsc::Sender<Meeting>>,
    hold: Hold,
    /// When somebody was seen to use it.
    used: Instant,
}

impl Actor {
    pub(super) fn new(
        config: RendezvousConfig,
        inputs: mpsc::Sender<Input>,
        visitors: mpsc::Sender<Reached>,
        tasks: Tasks,
    ) -> Self {
        let RendezvousConfig { identity, tracker, listen, role, notices } = config;
        Self {
            identity,
            tracker,
            listen,
            role,
            notices,
            inputs,
            visitors,
            tasks,
            door: Door::default(),
            presence: None,
            lines: BTreeMap::new(),
            lines_made: 0,
            room: Room::new(INPUT_BYTES),
            wishes: Wishes::default(),
            introduced: BTreeMap::new(),
        }
    }

    /// Runs until its tasks are shut down.
    pub(super) async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut reaches: mpsc::Receiver<Reach>,
        mut events: broadcast::Receiver<Event>,
    ) {
        let (mut state, mut tidy) = (self.tracker.state(), interval(TIDY));
        // It may be there already.
        state.mark_changed();
        loop {
            let visit = async {
                match &self.presence {
                    Some(presence) => presence.node.accept().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(input) = inputs.recv() => self.on_input(input),
                Some(reach) = reaches.recv() => self.on_reach(reach),
                event = events.recv() => match event {
                    Ok(Event::Meet(introduction)) => self.on_expected(introduction),
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                Ok(()) = state.changed() => {
                    let is_connected = matches!(&*state.borrow_and_update(), TrackerState::Connected(_));
                    if is_connected {
                        self.on_session();
                    }
                }
                Some(connection) = visit => self.on_visit(connection),
                _ = tidy.tick() => self.tidy(),
                else => return,
            }
        }
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Heard(Heard::Message(id, bytes)) => self.on_message(id, &bytes),
            Input::Heard(Heard::Conversation(reached)) => self.on_conversation(reached),
            Input::Heard(Heard::Ended(id)) => self.lines.retain(|_, standing| standing.line.id != id),
            Input::Came(opened) => self.on_came(opened),
            Input::Introduced(peer, introduced) => self.on_introduced(peer, introduced),
            Input::IntroducedAgain(peer, line, introduced) => self.on_introduced_again(peer, line, &introduced),
            Input::Dialled(peer, opened) => self.on_dialled(peer, opened),
            Input::Lines(answer) => drop(answer.send(self.lines())),
            Input::Close(answer) => self.close(answer),
        }
    }

    /// There is a new session with the tracker: what was relayed in the one before goes on when it knows where this peer is,
    /// unless the tracker itself began anew. Who dialled finds out.
    fn on_session(&mut self) {
        let lines = self.lines.iter().map(|(peer, standing)| (*peer, &standing.line));
        for (peer, line) in lines.filter(|(_, line)| line.direct().is_none() && line.making.dialler == Dialler::Here) {
            let id = line.id;
            self.ask(peer, move |introduced| Input::IntroducedAgain(peer, id, introduced));
        }
        if self.role == MrtRole::Serves
            && let Err(error) = self.be_present()
        {
            let text = format!("This peer does not serve over MRT: {error}");
            drop(self.notices.send(Notice::Warning { text }));
        }
    }

    /// A line through the relay goes on where that has not changed; else it leads nowhere any more.
    fn on_introduced_again(&mut self, peer: PeerId, id: LineId, introduced: &Result<Introduced, Unmet>) {
        let is_relayed = |standing: &&Standing| standing.line.id == id && standing.line.direct().is_none();
        let Some(standing) = self.lines.get(&peer).filter(is_relayed) else { return };
        let before = self.introduced.get(&peer).and_then(|known| known.way).map(|(channel, _)| channel);
        match introduced {
            Ok(Introduced::Meeting(now)) if now.channel.is_some() && now.channel == before => {
                self.tell_how_it_went(peer, true);
            }
            // The tracker may have gone once more, or have no time for a meeting.
            Ok(Introduced::ShowYourself) | Err(_) if standing.hold.is_used() && !standing.line.is_silent() => {}
            Ok(_) | Err(_) => {
                tracing::debug!(%peer, "the tracker does not know any more what it relayed");
                self.close_line(&peer);
            }
        }
    }

    fn be_present(&mut self) -> Result<Presence, Unmet> {
        if let Some(presence) = &self.presence {
            return Ok(presence.clone());
        }
        let network = self.tracker.network().ok_or(Unmet::NoTracker)?;
        let begun = Presence::begin(&self.identity, network, &self.tracker, self.listen, self.role, &self.tasks);
        let presence = begun.map_err(Unmet::Socket)?;
        self.presence = Some(presence.clone());
        Ok(presence)
    }

    /// Somebody wants a stream to a peer.
    fn on_reach(&mut self, reach: Reach) {
        let peer = reach.peer;
        let is_first = self.wishes.add(reach);
        if self.line_to(&peer).is_some() {
            return self.answer_reaches(peer, None);
        }
        if is_first {
            self.ask_for(peer);
        }
    }

    /// The line to a peer, if anything is heard on it.
    fn line_to(&self, peer: &PeerId) -> Option<&Standing> {
        self.lines.get(peer).filter(|standing| !standing.line.is_silent())
    }

    fn ask_for(&self, peer: PeerId) {
        self.ask(peer, move |introduced| Input::Introduced(peer, introduced));
    }

    /// Asks the tracker for a meeting.
    fn ask(&self, peer: PeerId, input: impl FnOnce(Result<Introduced, Unmet>) -> Input + Send + 'static) {
        let (tracker, presence, inputs) = (self.tracker.clone(), self.presence.clone(), self.inputs.clone());
        self.tasks.spawn("introduce", async move {
            let introduced = introduce(&tracker, presence.as_ref(), peer).await;
            drop(inputs.send(input(introduced)).await);
        });
    }

    fn on_introduced(&mut self, peer: PeerId, introduced: Result<Introduced, Unmet>) {
        if self.line_to(&peer).is_some() {
            return self.answer_reaches(peer, None);
        }
        let dialling = match introduced {
            Ok(Introduced::Meeting(introduction)) => self.be_present().map(|presence| {
                self.know(&presence, &introduction);
                self.dial(&presence, *introduction);
            }),
            Ok(Introduced::ShowYourself) => self.be_present().map(|_presence| self.ask_for(peer)),
            Err(unmet) => Err(unmet),
        };
        if let Err(unmet) = dialling {
            tracing::debug!(%peer, %unmet, "not met over MRT");
            self.answer_reaches(peer, Some(unmet));
        }
    }

    /// The tracker speaks of somebody: opens our router, and the way through the relay.
    fn know(&mut self, presence: &Presence, introduction: &Introduction) {
        for address in &introduction.addresses {
            let (node, address) = (presence.node.clone(), *address);
            let Ok(route) = node.route_to(address) else { continue };
            self.tasks.spawn("open", async move { drop(node.open_towards(route, OPENING).await) });
        }
        let before = self.introduced.remove(&introduction.peer).and_then(|known| known.way);
        let way = match (before, introduction.channel) {
            (Some((channel, route)), Some(wanted)) if channel == wanted => Some((channel, route)),
            (before, wanted) => {
                if let Some((_, route)) = before {
                    presence.node.remove_relayed(route);
                    // The tracker has no pair of before any more.
                    if self.lines.get(&introduction.peer).is_some_and(|standing| standing.line.direct().is_none()) {
                        self.close_line(&introduction.peer);
                    }
                }
                wanted.and_then(|channel| match presence.add_relayed(channel) {
                    Ok(route) => Some((channel, route)),
                    Err(error) => {
                        tracing::debug!(%error, "no way through the tracker's relay");
                        None
                    }
                })
            }
        };
        if let Some(oldest) = one_too_many(&self.introduced, |peer| self.lines.contains_key(peer)) {
            self.forget(&oldest);
        }
        let Introduction { peer, user, addresses, .. } = introduction.clone();
        self.introduced.insert(peer, Known { user, addresses, way, at: Instant::now() });
    }

    fn forget(&mut self, peer: &PeerId) {
        let way = self.introduced.remove(peer).and_then(|known| known.way);
        if let (Some((_, route)), Some(presence)) = (way, &self.presence) {
            presence.node.remove_relayed(route);
        }
    }

    fn dial(&self, presence: &Presence, introduction: Introduction) {
        let Introduction { peer, static_key, addresses, .. } = introduction;
        let way = self.introduced.get(&peer).and_then(|known| known.way).map(|(_, route)| route);
        let (node, inputs) = (presence.node.clone(), self.inputs.clone());
        self.tasks.spawn("dial over MRT", async move {
            let target = Target { peer: Some(peer), static_key: Some(static_key) };
            let opened = dial(&node, target, &addresses, Knowledge::Sure, std::future::ready(way)).await;
            drop(inputs.send(Input::Dialled(peer, opened)).await);
        });
    }

    fn on_dialled(&mut self, peer: PeerId, opened: Option<Opened>) {
        if let Some(opened) = opened {
            self.take(opened);
        }
        let reached = self.line_to(&peer).is_some();
        self.tell_how_it_went(peer, reached);
        let channel = self.introduced.get(&peer).and_then(|known| known.way).map(|(channel, _)| channel);
        let unmet = Unmet::unanswered(channel, self.tracker.udp().map(|(_, offer)| offer));
        if !self.lines.contains_key(&peer) {
            self.forget(&peer);
        }
        self.answer_reaches(peer, Some(unmet));
    }

    fn tell_how_it_went(&self, peer: PeerId, reached: bool) {
        let tracker = self.tracker.clone();
        self.tasks.spawn("tell how it went", async move {
            // A tracker that is gone has forgotten it.
            drop(tracker.request(Request::Met { peer, reached }).await);
        });
    }

    /// The tracker says that somebody is about to come.
    fn on_expected(&mut self, introduction: Introduction) {
        let Some(presence) = self.presence.clone().filter(|_| introduction.peer != self.identity.peer_id()) else {
            return;
        };
        tracing::debug!(peer = %introduction.peer, relayed = introduction.channel.is_some(), "somebody comes over MRT");
        self.know(&presence, &introduction);
    }

    /// Somebody's connection stands. Who only downloads expects nobody but those of whom the tracker spoke.
    fn on_visit(&self, connection: Connection) {
        let Ok(route) = connection.route() else { return };
        let peer = connection.remote().identity.peer_id();
        let visitor = match self.role {
            _ if self.introduced.contains_key(&peer) => Visitor::Expected(peer),
            MrtRole::Serves => Visitor::Stranger(route.remote.ip()),
            MrtRole::Asks => return tracing::debug!(%peer, "somebody comes over MRT who is not expected"),
        };
        if let Some(pass) = self.door.enter(visitor) {
            pass.admit(connection, &self.inputs, &self.tasks);
        }
    }

    fn on_came(&mut self, opened: Opened) {
        let peer = opened.peer();
        if peer == self.identity.peer_id() || !self.has_room_for(&peer) {
            return tracing::info!(%peer, "no room for one more connection over MRT");
        }
        self.take(opened);
        self.answer_reaches(peer, None);
    }

    /// Whether there is room for one more line; for somebody of whom the tracker spoke, a stranger has to go.
    fn has_room_for(&mut self, peer: &PeerId) -> bool {
        if self.lines.len() < MOST_LINES || self.lines.contains_key(peer) {
            return true;
        }
        if !self.introduced.contains_key(peer) {
            return false;
        }
        let stranger = self.lines.keys().find(|other| !self.introduced.contains_key(other)).copied();
        stranger.is_some_and(|stranger| self.close_line(&stranger))
    }

    /// Takes a line, unless there is one that stays.
    fn take(&mut self, opened: Opened) {
        let (peer, here) = (opened.peer(), self.identity.peer_id());
        if let Some(earlier) = self.lines.get(&peer) {
            if !earlier.line.is_silent() && earlier.line.making.outlives(opened.making(), here, peer) {
                return;
            }
            self.close_line(&peer);
        }
        let id = LineId(self.lines_made);
        self.lines_made += 1;
        let line = opened.run(id, &self.inputs, &self.room, &self.tasks);
        if line.making.dialler == Dialler::Here {
            self.tell_of_way(peer, line.direct());
        }
        let meeting = self.begin_to_meet(peer, &line);
        self.lines.insert(peer, Standing { line, meeting, hold: Hold::default(), used: Instant::now() });
        self.look_for_relayed();
    }

    fn look_for_relayed(&self) {
        if let Some(presence) = &self.presence {
            presence.on_relayed(self.lines.values().any(|standing| standing.line.direct().is_none()));
        }
    }

    fn tell_of_way(&self, peer: PeerId, direct: Option<SocketAddr>) {
        drop(self.notices.send(self.news_of(peer, direct)));
    }

    fn news_of(&self, peer: PeerId, address: Option<SocketAddr>) -> Notice {
        let user = self.introduced.get(&peer).map(|known| known.user.as_str()).unwrap_or_default();
        Notice::OverMrt { user: named(user, &peer).into_owned(), address }
    }

    /// Two who talk through the relay look for a direct way, for as long as they have a line.
    fn begin_to_meet(&self, peer: PeerId, line: &Line) -> Option<mpsc::Sender<Meeting>> {
        let presence = self.presence.as_ref()?;
        let theirs = self.introduced.get(&peer).map(|known| known.addresses.as_slice()).unwrap_or_default();
        // The tracker tells how new sockets are seen, too.
        let whereabouts = Whereabouts {
            candidates: presence.candidates_for(theirs),
            observers: presence.observer().into_iter().collect(),
        };
        let (notices, news) = (self.notices.clone(), self.news_of(peer, None));
        let meeter = Meeter {
            node: presence.node.clone(),
            connection: line.connection.clone(),
            dialler: line.making.dialler,
            say: line.sayer(),
            whereabouts: watch::channel(whereabouts).1,
            tell: Box::new(move |told| {
                if let (News::Met(address), Notice::OverMrt { user, .. }) = (told, news.clone()) {
                    // Nobody may be listening.
                    drop(notices.send(Notice::OverMrt { user, address: Some(address) }));
                }
            }),
        };
        Some(meeter.start(&self.tasks))
    }

    fn on_message(&mut self, id: LineId, bytes: &[u8]) {
        let from = self.lines.iter().find(|(_, standing)| standing.line.id == id);
        let Some((peer, Standing { meeting: Some(meeting), .. })) = from else { return };
        let said = match (NodeMessage::decode(bytes), self.introduced.get(peer)) {
            (Ok(NodeMessage::Candidates(round, theirs)), Some(known)) => {
                Meeting::Theirs(round, known.places_in(&theirs))
            }
            (Ok(NodeMessage::Sync(round)), Some(_)) => Meeting::Sync(round),
            // Anybody may have a line, and would have us send to whomever he names.
            (Ok(NodeMessage::Candidates(..) | NodeMessage::Sync(_)), None) => return,
            (Ok(_) | Err(_), _) => {
                let peer = *peer;
                tracing::warn!(%peer, "a peer said over MRT what is not said here");
                self.close_line(&peer);
                return;
            }
        };
        // Who says more than is asked is not heard.
        drop(meeting.try_send(said));
    }

    /// Somebody opened a stream for chunks.
    fn on_conversation(&mut self, reached: Reached) {
        let peer = reached.key.peer_id();
        let Some(standing) = self.lines.get(&peer) else { return };
        let address = self.address_of(peer, standing, reached.address);
        let reached = Reached { stream: standing.hold.over(reached.stream), address, ..reached };
        if self.visitors.try_send(reached).is_err() {
            tracing::debug!("somebody who wanted chunks found no room");
        }
    }

    /// Where somebody is, for people: of who is relayed, where the tracker sees it.
    fn address_of(&self, peer: PeerId, standing: &Standing, route: SocketAddr) -> SocketAddr {
        let seen = || self.introduced.get(&peer)?.addresses.first().copied();
        standing.line.direct().or_else(seen).unwrap_or(route)
    }

    /// There is a line to a peer; or none can be had, and this is why.
    fn answer_reaches(&mut self, peer: PeerId, unmet: Option<Unmet>) {
        let waiting = self.wishes.take(peer);
        let Some(standing) = self.line_to(&peer) else {
            let mut unmet = unmet;
            for Reach { answer, .. } in waiting {
                let why = unmet.take().unwrap_or(Unmet::Silence);
                // Who asked may be gone.
                drop(answer.send(Err(io::Error::new(io::ErrorKind::NotConnected, why))));
            }
            return;
        };
        for Reach { answer, .. } in waiting {
            let (connection, hold) = (standing.line.connection.clone(), standing.hold.clone());
            let shown = standing.line.direct().is_none().then(|| self.address_of(peer, standing, self.listen));
            self.tasks.spawn("converse", async move {
                let stream = converse(&connection).await.map(|reached| Reached {
                    stream: hold.over(reached.stream),
                    address: shown.unwrap_or(reached.address),
                    ..reached
                });
                drop(answer.send(stream));
            });
        }
    }

    /// Who is connected, and how.
    fn lines(&self) -> Vec<OverMrt> {
        let shown = |(peer, standing): (&PeerId, &Standing)| {
            let stats = standing.line.connection.stats().ok()?;
            let user = self.introduced.get(peer).map(|known| known.user.clone()).unwrap_or_default();
            let round_trip_us = u64::try_from(stats.round_trip.as_micros()).unwrap_or(u64::MAX);
            let way = Way { address: standing.line.direct(), round_trip_us, bytes_per_sec: stats.rate };
            Some(OverMrt { user, peer: *peer, way })
        };
        self.lines.iter().filter_map(shown).collect()
    }

    /// Ends lines that nobody uses, and forgets who did not come. Who only downloads gives its socket back when nobody is left.
    fn tidy(&mut self) {
        let now = Instant::now();
        for standing in self.lines.values_mut().filter(|standing| standing.hold.is_used()) {
            standing.used = now;
        }
        self.close_lines(|standing| now.duration_since(standing.used) >= IDLE);
        let is_gone = |(peer, known): &(&PeerId, &Known)| {
            !self.lines.contains_key(*peer) && now.duration_since(known.at) >= EXPECTED
        };
        let gone: Vec<PeerId> = self.introduced.iter().filter(is_gone).map(|(peer, _)| *peer).collect();
        gone.iter().for_each(|peer| self.forget(peer));
        if self.role == MrtRole::Asks && self.lines.is_empty() && self.wishes.is_empty() && self.introduced.is_empty() {
            self.presence = None;
        }
        self.look_for_relayed();
    }

    fn close_lines(&mut self, of: impl Fn(&Standing) -> bool) {
        let closed = self.lines.extract_if(.., |_, standing| of(standing));
        closed.for_each(|(_, standing)| standing.line.connection.close(CloseCode::DONE, ""));
    }

    /// Says whether there was one.
    fn close_line(&mut self, peer: &PeerId) -> bool {
        let closed = self.lines.remove(peer);
        closed.map(|standing| standing.line.connection.close(CloseCode::DONE, "")).is_some()
    }

    fn close(&mut self, answer: oneshot::Sender<()>) {
        self.lines.clear();
        let presence = self.presence.take();
        self.tasks.spawn("close MRT", async move {
            if let Some(presence) = presence {
                presence.node.close(CloseCode::DONE, "").await;
            }
            let _nobody_waits = answer.send(());
        });
    }
}

#[cfg(test)]
mod tests;
