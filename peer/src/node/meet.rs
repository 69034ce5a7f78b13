//! Meeting directly: two who talk through a relay tell each other where they may be reached, and both try at once, so that
//! what each of them sends opens its own router for the other (libp2p's DCUtR does likewise). The relayed way carries on
//! meanwhile.
//!
//! A meeting has [`ROUNDS`]. In the first both try from the socket that they have. A router may have kept what came too early
//! from the other side as a flow, and gives our socket another port towards there, where nobody expects it. So in the other
//! rounds both try from new sockets, for which nothing can have come; how these are seen from outside is asked of nodes that
//! are reached directly. A new socket that the connection does not use goes when the meeting is over.
//!
//! Who dialled leads: it begins when the connection goes through a relay, and again when a direct way has died, or later and
//! later when nothing came of it, since routers and networks change. Who follows takes nobody's word for it that there is much
//! to do: rounds are counted, new sockets go after some seconds, and while there is a direct way nothing is heard.

use std::net::SocketAddr;
use std::time::Duration;

use common::group::NodeMessage;
use common::mrt::Route;
use common::nat::{Candidates, Observation, Origin, to_try};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::line::Sayer;
use super::stun::local_towards;
use crate::link::Dialler;
use crate::mrt::{Connection, Node, PathEvent, RELAY_SOCKET, SocketId};
use crate::tasks::Tasks;

/// What the other side of a meeting says.
#[derive(Debug, Clone)]
pub(super) enum Meeting {
    /// In this round it may be reached here.
    Theirs(u8, Candidates),
    /// It tries now.
    Sync(u8),
}

/// Where this node is, for those who meet it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Whereabouts {
    /// Where its first socket may be reached.
    pub(super) candidates: Candidates,
    /// Who answers STUN and is reached directly; the best first.
    pub(super) observers: Vec<SocketAddr>,
}

/// What meetings bring.
#[derive(Debug, Clone, Copy)]
pub(super) enum News {
    /// The first socket was seen.
    Seen(Observation),
    /// The other side, which was relayed, is now reached directly at this address; said by who leads.
    Met(SocketAddr),
}

/// One side of the meetings of a connection.
pub(super) struct Meeter {
    pub(super) node: Node,
    pub(super) connection: Connection,
    pub(super) dialler: Dialler,
    pub(super) say: Sayer,
    pub(super) whereabouts: watch::Receiver<Whereabouts>,
    /// Hears of it.
    pub(super) tell: Box<dyn Fn(News) + Send + Sync>,
}

/// A round's part of this side: from where it tries, and what it tells the other side.
#[derive(Debug, Clone)]
struct Place {
    /// A new socket; `None`: the one that there is.
    socket: Option<SocketId>,
    candidates: Candidates,
}

/// A socket that was made for a round.
#[derive(Debug, Clone, Copy)]
struct NewSocket {
    id: SocketId,
    /// Who follows gives it up then, unless it is in use.
    until: Instant,
}

/// How often the other side has called for a round.
#[derive(Debug)]
struct Calls {
    /// When it will have called for none, at one in [`ROUND_EACH`].
    rested_at: Instant,
    not_before: Instant,
}

impl Calls {
    /// Whether one more is heard.
    fn is_heard(&mut self, now: Instant) -> bool {
        let next = self.rested_at.max(now) + ROUND_EACH;
        let is_heard = now >= self.not_before && next <= now + ROUND_EACH * ROUNDS_AT_ONCE;
        if is_heard {
            (self.rested_at, self.not_before) = (next, now + SOONEST);
        }
        is_heard
    }
}

/// What was waited for.
enum Waited {
    /// The other side said something.
    Said(Meeting),
    /// The connection goes another way.
    Moved,
    /// Nothing happened.
    Time,
}

/// The line is gone.
struct Over;

/// Rounds of a meeting (97 of 100 that succeed do so at the first, arXiv 2510.27500).
const ROUNDS: u8 = 3;
/// The answer may take so long: a few round trips over a slow relay, and the question how a new socket is seen.
const ANSWER: Duration = Duration::from_secs(2);
/// From when both have sent to when it came to nothing.
const TRY: Duration = Duration::from_millis(1500);
/// After a direct way has died it is tried again this much later: what killed it may last.
const AFTER_A_LOSS: Duration = Duration::from_secs(2);
/// After each meeting that came to nothing it is tried again this much later; the last one counts from then on. A router
/// forgets within minutes what made it fail.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(10), Duration::from_secs(30), Duration::from_secs(120), Duration::from_secs(300)];
/// Who follows takes part in no round sooner after the last: each makes it send to wherever the other side says.
const SOONEST: Duration = Duration::from_secs(1);
/// It takes part in so many rounds at once, those of three meetings ...
const ROUNDS_AT_ONCE: u32 = 9;
/// ... and in the long run in one in this time. Who leads soon needs fewer, see [`PAUSES`].
const ROUND_EACH: Duration = Duration::from_secs(10);
/// Who follows gives up a new socket so long after the round for which it was made began, whatever is said: who leads waits
/// for [`ANSWER`], half a round trip, and [`TRY`].
const PATIENCE: Duration = Duration::from_secs(6);
/// Who follows makes no new socket where the node has so many, half of what it may have: others are there for who leads.
const MOST_SOCKETS: usize = 32;
/// So many are asked at once how a new socket is seen.
const OBSERVERS: usize = 3;
/// How a new socket is seen must be known within this: two requests.
const SEEN: Duration = Duration::from_secs(1);
/// After the first answer the others have so long.
const SEEN_BY_OTHERS: Duration = Duration::from_millis(100);
/// The first socket of a node.
const FIRST: SocketId = SocketId(0);

impl Meeter {
    /// Meets for as long as the line stands; what the other side says goes into what is given.
    pub(super) fn start(self, tasks: &Tasks) -> mpsc::Sender<Meeting> {
        let (sender, said) = mpsc::channel(4);
        let calls = Calls { rested_at: Instant::now(), not_before: Instant::now() };
        let run = Run { with: self, said, round: 0, calls, sockets: Vec::new(), tried: Vec::new() };
        tasks.spawn("meet", run.run());
        sender
    }
}

/// A meeter that runs.
struct Run {
    with: Meeter,
    said: mpsc::Receiver<Meeting>,
    /// The next round, of all meetings of this connection; who leads counts.
    round: u8,
    /// The rounds of who follows.
    calls: Calls,
    /// New sockets that were not given up yet.
    sockets: Vec<NewSocket>,
    /// Direct ways that were tried last, the best first.
    tried: Vec<Route>,
}

impl Run {
    async fn run(mut self) {
        let _over = match self.with.dialler {
            Dialler::Here => self.lead().await,
            Dialler::There => self.follow().await,
        };
    }

    async fn lead(&mut self) -> Result<(), Over> {
        let mut next = Some(Instant::now());
        let mut failed = 0;
        loop {
            if self.is_direct() {
                (next, failed) = (None, 0);
                self.give_up_sockets(|_| true);
                if let Waited::Moved = self.wait(None).await?
                    && !self.is_direct()
                {
                    next = Some(Instant::now() + AFTER_A_LOSS);
                }
                continue;
            }
            match next {
                Some(at) if at > Instant::now() => drop(self.wait(Some(at)).await?),
                _ => {
                    self.meet().await?;
                    self.give_up_sockets(|_| true);
                    if let Some(address) = self.direct() {
                        (self.with.tell)(News::Met(address));
                    }
                    let pause = PAUSES.get(failed).or(PAUSES.last()).copied().unwrap_or(AFTER_A_LOSS);
                    (next, failed) = (Some(Instant::now() + pause), failed + 1);
                }
            }
        }
    }

    /// Leads one meeting; it is over as soon as there is a direct way.
    async fn meet(&mut self) -> Result<(), Over> {
        for _ in 0..ROUNDS {
            let round = self.round;
            // 0 is for the very first one.
            self.round = self.round.checked_add(1).unwrap_or(ROUNDS);
            let place = self.place(round).await;
            self.say(&NodeMessage::Candidates(round, place.candidates.clone()))?;
            let theirs = self.theirs(round, Instant::now() + ANSWER).await?;
            if self.is_direct() {
                return Ok(());
            }
            let Some(theirs) = theirs else { continue };
            self.say(&NodeMessage::Sync(round))?;
            // It hears that half a round trip from now: what we send then and what it sends then meet in the middle.
            let half = self.with.connection.stats().map_or(Duration::ZERO, |stats| stats.round_trip / 2);
            self.until_direct(Instant::now() + half).await?;
            self.try_all(&place, &theirs);
            self.until_direct(Instant::now() + TRY).await?;
            if self.is_direct() {
                return Ok(());
            }
        }
        tracing::debug!(peer = %self.with.connection.remote().identity.peer_id(), "no direct way was found");
        Ok(())
    }

    async fn follow(&mut self) -> Result<(), Over> {
        let mut agreed = None;
        loop {
            let waited = self.wait(self.next_old_socket(Instant::now())).await?;
            let now = Instant::now();
            self.give_up_sockets(|socket| socket.until <= now);
            match waited {
                // Nobody who is reached directly needs a meeting: it would only have us send to others.
                Waited::Said(_) if self.is_direct() => agreed = None,
                Waited::Said(Meeting::Theirs(round, theirs)) => {
                    if self.calls.is_heard(now) {
                        let place = self.place(round).await;
                        self.say(&NodeMessage::Candidates(round, place.candidates.clone()))?;
                        agreed = Some((round, place, theirs));
                    }
                }
                Waited::Said(Meeting::Sync(round)) => {
                    if let Some((_, place, theirs)) = agreed.take_if(|(agreed, ..)| *agreed == round) {
                        self.try_all(&place, &theirs);
                    }
                }
                Waited::Moved | Waited::Time => {}
            }
        }
    }

    /// When the next of the new sockets is to be given up. Those whose time is over are in use.
    fn next_old_socket(&self, now: Instant) -> Option<Instant> {
        self.sockets.iter().map(|socket| socket.until).filter(|until| *until > now).min()
    }

    /// The place of this side in a round.
    async fn place(&mut self, round: u8) -> Place {
        let Whereabouts { mut candidates, observers } = self.with.whereabouts.borrow().clone();
        if round == 0 {
            return Place { socket: None, candidates };
        }
        if !round.is_multiple_of(ROUNDS)
            && !observers.is_empty()
            && self.may_add_socket()
            && let Some(place) = self.new_place(&candidates, &observers).await
        {
            return place;
        }
        // Since the last time our router may have forgotten us.
        for observation in self.ask(FIRST, &observers).await {
            candidates.add(Origin::Stun, observation.mapped);
            (self.with.tell)(News::Seen(observation));
        }
        Place { socket: None, candidates }
    }

    /// Whether there is room for one more new socket. Who leads does so by itself, and who follows because others say so.
    fn may_add_socket(&self) -> bool {
        let in_all = self.with.node.sockets().len();
        self.sockets.len() < usize::from(ROUNDS) && (self.with.dialler == Dialler::Here || in_all < MOST_SOCKETS)
    }

    /// A new socket, if it is known how it is seen.
    async fn new_place(&mut self, known: &Candidates, observers: &[SocketAddr]) -> Option<Place> {
        let listen = SocketAddr::new(self.with.node.local_addr().ip(), 0);
        let socket =
            self.with.node.add_socket(listen).inspect_err(|error| tracing::debug!(%error, "no new socket")).ok()?;
        self.sockets.push(NewSocket { id: socket, until: Instant::now() + PATIENCE });
        let port =
            self.with.node.sockets().into_iter().find_map(|(id, local)| (id == socket).then_some(local.port()))?;
        let mut candidates = Candidates::default();
        for observation in self.ask(socket, observers).await {
            candidates.add(Origin::Stun, observation.mapped);
        }
        if candidates.is_empty() {
            return None;
        }
        for interface in known.iter().filter(|candidate| candidate.origin == Origin::Interface) {
            candidates.add(Origin::Interface, SocketAddr::new(interface.address.ip(), port));
        }
        Some(Place { socket: Some(socket), candidates })
    }

    /// How a socket is seen by those who answer in time.
    async fn ask(&self, socket: SocketId, observers: &[SocketAddr]) -> Vec<Observation> {
        let mut asked = JoinSet::new();
        for observer in observers.iter().copied().take(OBSERVERS) {
            let node = self.with.node.clone();
            asked.spawn(async move {
                let mapped = node.stun(observer, socket).await.ok()?;
                Some(Observation { local: local_towards(&node, observer), asked: observer, mapped })
            });
        }
        let (mut seen, mut until) = (Vec::new(), Instant::now() + SEEN);
        while let Ok(Some(answer)) = timeout_at(until, asked.join_next()).await {
            if let Ok(Some(observation)) = answer {
                seen.push(observation);
                until = until.min(Instant::now() + SEEN_BY_OTHERS);
            }
        }
        seen
    }

    /// Tries all direct ways that are worth it.
    fn try_all(&mut self, place: &Place, theirs: &Candidates) {
        let Meeter { node, connection, .. } = &self.with;
        self.tried.clear();
        for address in to_try(&place.candidates, theirs) {
            let route = match place.socket {
                Some(socket) => node.route(socket, address),
                None => node.route_to(address),
            };
            match route.and_then(|route| connection.probe(route).map(|()| route)) {
                Ok(route) => self.tried.push(route),
                Err(error) => tracing::debug!(%error, %address, "not tried"),
            }
        }
    }

    /// What the other side answers to a round; `None`: nothing in time, or it is not needed any more.
    async fn theirs(&mut self, wanted: u8, until: Instant) -> Result<Option<Candidates>, Over> {
        loop {
            match self.wait(Some(until)).await? {
                Waited::Said(Meeting::Theirs(round, theirs)) if round == wanted => return Ok(Some(theirs)),
                Waited::Moved if !self.is_direct() => {}
                Waited::Said(_) => {}
                Waited::Moved | Waited::Time => return Ok(None),
            }
        }
    }

    /// Waits for a direct way.
    async fn until_direct(&mut self, until: Instant) -> Result<(), Over> {
        loop {
            match self.wait(Some(until)).await? {
                Waited::Moved if self.is_direct() => return Ok(()),
                Waited::Moved | Waited::Said(_) => {}
                Waited::Time => return Ok(()),
            }
        }
    }

    /// Waits, and takes the best direct way that turns out to be there.
    async fn wait(&mut self, until: Option<Instant>) -> Result<Waited, Over> {
        let time = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(time);
        loop {
            tokio::select! {
                said = self.said.recv() => return said.map(Waited::Said).ok_or(Over),
                event = self.with.connection.path_event() => match event {
                    Ok(PathEvent::Validated { route, round_trip, observed }) => {
                        self.on_way(route, round_trip, observed);
                    }
                    Ok(PathEvent::InUse(_)) => return Ok(Waited::Moved),
                    Ok(PathEvent::Failed(_)) => {}
                    Err(_closed) => return Err(Over),
                },
                () = &mut time => return Ok(Waited::Time),
            }
        }
    }

    /// A way was proven. Who leads takes it, if it is direct and better than the one in use.
    fn on_way(&self, route: Route, round_trip: Duration, observed: Option<SocketAddr>) {
        if route.socket == RELAY_SOCKET {
            return;
        }
        if let Some(mapped) = observed.filter(|_| route.socket == FIRST.0) {
            let local = local_towards(&self.with.node, route.remote);
            (self.with.tell)(News::Seen(Observation { local, asked: route.remote, mapped }));
        }
        let connection = &self.with.connection;
        let (Dialler::Here, Ok(in_use)) = (self.with.dialler, connection.route()) else { return };
        let rank = |route: Route| self.tried.iter().position(|tried| *tried == route).unwrap_or(usize::MAX);
        if in_use.socket == RELAY_SOCKET || rank(route) < rank(in_use) {
            let taken = connection.switch(route);
            tracing::debug!(remote = %route.remote, ?round_trip, ?taken, "a direct way");
        }
    }

    fn is_direct(&self) -> bool {
        self.direct().is_some()
    }

    fn direct(&self) -> Option<SocketAddr> {
        let route = self.with.connection.route().ok()?;
        (route.socket != RELAY_SOCKET).then_some(route.remote)
    }

    fn say(&self, message: &NodeMessage) -> Result<(), Over> {
        if self.with.say.say(&message.encode()) { Ok(()) } else { Err(Over) }
    }

    /// Lets new sockets go that are old enough, but for the one in use.
    fn give_up_sockets(&mut self, is_old: impl Fn(&NewSocket) -> bool) {
        let in_use = self.with.connection.route().map(|route| route.socket);
        let node = &self.with.node;
        self.sockets.retain(|socket| {
            let stays = !is_old(socket) || in_use.as_ref().is_ok_and(|in_use| *in_use == socket.id.0);
            if !stays {
                node.remove_socket(socket.id);
            }
            stays
        });
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        for socket in &self.sockets {
            self.with.node.remove_socket(socket.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use common::identity::Identity;
    use common::mrt::{Config, LocalKeys, Target};
    use common::relay::RelayConfig;
    use tokio::time::{interval, timeout};

    use super::super::line::{Heard, Line, LineId, Opened};
    use super::super::room::Room;
    use super::*;
    use crate::mrt::{BindOptions, RelayAt};

    /// Nothing here takes so long, unless it hangs.
    const DEADLINE: Duration = Duration::from_secs(30);

    /// One who follows, and who calls it through a relay.
    struct Scene {
        follower: Node,
        calls: mpsc::Sender<Meeting>,
        /// What the caller hears.
        answers: mpsc::Receiver<Heard>,
        _lines: [Line; 2],
        /// What comes to who follows.
        _came: mpsc::Receiver<Heard>,
        _relay: Node,
        _caller: Node,
        _tasks: Tasks,
    }

    impl Scene {
        async fn new() -> Self {
            let tasks = Tasks::new();
            let [caller, follower, relay] = [1, 2, 3].map(|seed| {
                let keys = LocalKeys::new(Arc::new(Identity::from_seed(&[seed; 32])), [7; 32]);
                let listen = (Ipv4Addr::LOCALHOST, 0).into();
                Node::bind(&tasks, BindOptions { listen, config: Config::default(), keys }).unwrap()
            });
            let handle = relay.relay(RelayConfig::default());
            let join = async |node: &Node| {
                let (to, at) = tokio::join!(node.connect(relay.local_addr(), Target::default()), relay.accept());
                (to.unwrap(), at.unwrap())
            };
            let ((from_caller, one), (from_follower, other)) = (join(&caller).await, join(&follower).await);
            let [near, far] = handle.pair_between([&one, &other]).unwrap();
            let way = caller.add_relayed(RelayAt::Connection(&from_caller), near).unwrap();
            follower.add_relayed(RelayAt::Connection(&from_follower), far).unwrap();
            let (asked, came) = tokio::join!(caller.connect_on(way, Target::default()), follower.accept());
            let room = Room::new(1 << 20);
            let ((heard, answers), (inputs, _came)) = (mpsc::channel(64), mpsc::channel(64));
            let (at_caller, at_follower) = tokio::join!(
                async { Opened::here(asked.unwrap()).await.unwrap().run(LineId(0), &heard, &room, &tasks) },
                async { Opened::there(came.unwrap()).await.unwrap().run(LineId(1), &inputs, &room, &tasks) },
            );
            let whereabouts = Whereabouts { candidates: candidates(), observers: vec![relay.local_addr()] };
            let meeter = Meeter {
                node: follower.clone(),
                connection: at_follower.connection.clone(),
                dialler: Dialler::There,
                say: at_follower.sayer(),
                whereabouts: watch::channel(whereabouts).1,
                tell: Box::new(|_news| {}),
            };
            let calls = meeter.start(&tasks);
            // Who has no connection to the relay any more is not relayed.
            tasks.spawn("stay", async move {
                let _stay = (from_caller, from_follower, one, other);
                std::future::pending::<()>().await;
            });
            let _lines = [at_caller, at_follower];
            Self { follower, calls, answers, _lines, _came, _relay: relay, _caller: caller, _tasks: tasks }
        }

        async fn call(&mut self, round: u8) {
            self.calls.send(Meeting::Theirs(round, candidates())).await.unwrap();
            assert!(matches!(self.answers.recv().await, Some(Heard::Message(..))));
        }
    }

    fn candidates() -> Candidates {
        let mut candidates = Candidates::default();
        candidates.add(Origin::Peer, SocketAddr::from(([192, 0, 2, 1], 4000)));
        candidates
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_goes_on_talking_keeps_no_sockets_here() {
        let meeting = async {
            let mut scene = Scene::new().await;
            scene.call(1).await;
            assert_eq!(scene.follower.sockets().len(), 2, "a new one for the round");
            let mut ticks = interval(Duration::from_millis(50));
            while scene.follower.sockets().len() > 1 {
                ticks.tick().await;
                scene.calls.send(Meeting::Sync(7)).await.unwrap();
            }
        };
        timeout(DEADLINE, meeting).await.expect("the new socket is given up");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_calls_leaves_sockets_to_who_leads() {
        let meeting = async {
            let mut scene = Scene::new().await;
            for _ in 1..MOST_SOCKETS {
                scene.follower.add_socket((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            }
            scene.call(1).await;
            assert_eq!(scene.follower.sockets().len(), MOST_SOCKETS);
        };
        timeout(DEADLINE, meeting).await.unwrap();
    }

    #[test]
    fn so_many_calls_are_heard_and_then_one_now_and_then() {
        let begin = Instant::now();
        let mut calls = Calls { rested_at: begin, not_before: begin };
        let mut heard = |tenths: std::ops::Range<u32>| {
            tenths.filter(|tenth| calls.is_heard(begin + Duration::from_millis(100) * *tenth)).count()
        };
        assert_eq!(heard(0..10), 1, "one a second");
        assert_eq!(heard(10..100), 8);
        assert_eq!(heard(100..1100), 10);
    }
}
