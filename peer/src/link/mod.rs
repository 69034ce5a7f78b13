//! A link: one connection between two peers, with conversations about swarms in both directions. It speaks over any
//! byte stream.
//!
//! - `outbox`: what waits to be sent
//! - `reader`, `writer`: the two halves
//! - `handshake`: hello, and who is there
//! - `frame`: frames off the stream

mod frame;
mod handshake;
mod outbox;
mod reader;
mod writer;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::id::PeerId;
use common::identity::PublicKey;
use common::wire::peer::{ConversationId, MAX_CONVERSATIONS, Message, Opener, Reason};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use self::handshake::{HANDSHAKE_DEADLINE, Introduced, introduce};
pub(crate) use self::outbox::Outbox;
use self::reader::Reader;
use self::writer::Writer;
use crate::context::Context;
use crate::download::Fetching;

/// After so long without a word the other side is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(5);
/// After so long without a word it is given up.
const SILENCE_LIMIT: Duration = Duration::from_secs(15);
/// A link without conversations ends after this long.
const IDLE_LIMIT: Duration = Duration::from_secs(30);
/// How often a link looks at its clocks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How long the last words of a link may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// The number of a link in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(pub(crate) u64);

/// Who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialler {
    /// This peer.
    Here,
    /// The other.
    There,
}

/// One connection to another peer.
#[derive(Debug)]
pub(crate) struct Link {
    id: LinkId,
    key: PublicKey,
    address: SocketAddr,
    dialler: Dialler,
    outbox: Arc<Outbox>,
    fetching: Mutex<HashMap<ConversationId, Arc<Fetching>>>,
    next_conversation: AtomicU32,
    closed: CancellationToken,
    began: Instant,
    /// Milliseconds after `began` when something came last.
    heard_ms: AtomicU64,
    /// Milliseconds after `began` when chunk bytes went or came last.
    moved_ms: AtomicU64,
    round_trip_us: AtomicU64,
    pings: Mutex<HashMap<u64, Asked>>,
    next_ping: AtomicU64,
}

/// A ping that is not answered yet.
#[derive(Debug)]
struct Asked {
    at: Instant,
    answer: Option<oneshot::Sender<Duration>>,
}

impl Link {
    /// Takes over a stream on which both have introduced themselves, and runs it in tasks of the context.
    pub(crate) fn start<S>(stream: S, introduced: Introduced, context: &Arc<Context>) -> Arc<Self>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let link = Arc::new(Self {
            id: LinkId(context.next_link()),
            key: introduced.key,
            address: introduced.address,
            dialler: introduced.dialler,
            outbox: Arc::default(),
            fetching: Mutex::default(),
            next_conversation: AtomicU32::new(0),
            closed: CancellationToken::new(),
            began: Instant::now(),
            heard_ms: AtomicU64::new(0),
            moved_ms: AtomicU64::new(0),
            round_trip_us: AtomicU64::new(0),
            pings: Mutex::default(),
            next_ping: AtomicU64::new(0),
        });
        let (read, write) = tokio::io::split(stream);
        let guard = EndGuard { link: Arc::clone(&link), context: Arc::clone(context) };
        let reader = Reader::new(read, Arc::clone(&link), Arc::clone(context));
        let writer = Writer::new(write, Arc::clone(&link), Arc::clone(context));
        let running = Arc::clone(&link);
        context.tasks.spawn("link", async move {
            let _guard = guard;
            let closed = running.closed.clone();
            let writing = async { (Half::Writing, writer.run().await) };
            tokio::select! {
                () = closed.cancelled() => {}
                () = running.outbox.hung_up() => tracing::debug!(peer = %running.peer(), "hung up"),
                () = running.watch() => {}
                (half, result) = async {
                    tokio::select! {
                        read = reader.run() => (Half::Reading, read),
                        written = writing => written,
                    }
                } => tracing::debug!(peer = %running.peer(), ?half, ?result, "a link ended"),
            }
        });
        link.ping(None);
        link
    }

    /// Its number.
    pub(crate) const fn id(&self) -> LinkId {
        self.id
    }

    /// Who is there.
    pub(crate) fn peer(&self) -> PeerId {
        self.key.peer_id()
    }

    /// The key of who is there.
    pub(crate) const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Where.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Who dialled.
    pub(crate) const fn dialler(&self) -> Dialler {
        self.dialler
    }

    /// What waits to be sent.
    pub(crate) const fn outbox(&self) -> &Arc<Outbox> {
        &self.outbox
    }

    /// Whether it has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Ends when the link has.
    pub(crate) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Hangs up, after a last word.
    pub(crate) fn close(&self, reason: Reason, text: &str) {
        self.outbox.close(reason, text);
    }

    /// The round trip measured last; `None` before the first.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        match self.round_trip_us.load(Ordering::Relaxed) {
            0 => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// When something came last.
    pub(crate) fn heard(&self) -> Instant {
        self.began + Duration::from_millis(self.heard_ms.load(Ordering::Relaxed))
    }

    fn on_heard(&self) {
        self.heard_ms.store(self.age_ms(), Ordering::Relaxed);
    }

    /// When chunk bytes went or came last; before the first, when it began.
    pub(crate) fn moved(&self) -> Instant {
        self.began + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed))
    }

    fn on_moved(&self) {
        self.moved_ms.store(self.age_ms(), Ordering::Relaxed);
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Opens a conversation: its chunks go through `fetching`. `None` when there are too many already.
    pub(crate) fn open(&self, fetching: Arc<Fetching>, ticket: Vec<u8>) -> Option<ConversationId> {
        let conversation = self.next_conversation.fetch_add(1, Ordering::Relaxed);
        let swarm = Arc::clone(&fetching.swarm);
        {
            let mut table = lock(&self.fetching);
            if table.len() >= MAX_CONVERSATIONS || self.is_closed() {
                return None;
            }
            table.insert(conversation, fetching);
        }
        self.outbox.send(Message::Open { conversation, content: swarm.content(), ticket });
        let have = swarm.listen(self, conversation, None);
        for message in common::wire::peer::maps(conversation, Opener::Sender, &have) {
            self.outbox.send(message);
        }
        Some(conversation)
    }

    /// Ends a conversation that was opened here.
    pub(crate) fn close_conversation(&self, conversation: ConversationId) {
        if let Some(fetching) = lock(&self.fetching).remove(&conversation) {
            fetching.swarm.unlisten(self, conversation, Opener::Sender);
            self.outbox.send(Message::Close { conversation });
        }
    }

    fn fetching(&self, conversation: ConversationId) -> Option<Arc<Fetching>> {
        lock(&self.fetching).get(&conversation).cloned()
    }

    /// Asks whether the other is there; the answer's time goes to `answer`.
    pub(crate) fn ping(&self, answer: Option<oneshot::Sender<Duration>>) {
        /// More than this unanswered: the oldest do not matter any more.
        const MOST_PINGS: usize = 64;
        let token = self.next_ping.fetch_add(1, Ordering::Relaxed);
        {
            let mut pings = lock(&self.pings);
            if pings.len() >= MOST_PINGS {
                pings.clear();
            }
            pings.insert(token, Asked { at: Instant::now(), answer });
        }
        self.outbox.send(Message::Ping { token });
    }

    fn on_pong(&self, token: u64) {
        let Some(Asked { at, answer }) = lock(&self.pings).remove(&token) else { return };
        let took = at.elapsed();
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        self.round_trip_us.store(micros, Ordering::Relaxed);
        if let Some(answer) = answer {
            // Who asked may be gone.
            let _ = answer.send(took);
        }
    }

    /// Whether nobody has a conversation on it.
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.fetching).is_empty() && self.outbox.all_served().is_empty()
    }

    /// Ends when the other side is silent for too long or the link has had no use for too long.
    async fn watch(&self) {
        let mut idle_since = Instant::now();
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let silence = self.heard().elapsed();
            if silence > SILENCE_LIMIT {
                tracing::debug!(peer = %self.peer(), "silent for too long");
                return;
            }
            if silence > PING_AFTER {
                self.ping(None);
            }
            if !self.is_idle() {
                idle_since = Instant::now();
            }
            if idle_since.elapsed() > IDLE_LIMIT {
                self.close(Reason::Done, "nothing is left to do");
                tokio::time::sleep(CLOSE_DEADLINE).await;
                return;
            }
        }
    }
}

#[derive(Debug)]
enum Half {
    Reading,
    Writing,
}

/// What must happen at the end of a link, however it comes.
struct EndGuard {
    link: Arc<Link>,
    context: Arc<Context>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.link.closed.cancel();
        let fetching = std::mem::take(&mut *lock(&self.link.fetching));
        for (conversation, fetching) in fetching {
            fetching.swarm.unlisten(&self.link, conversation, Opener::Sender);
        }
        for (conversation, swarm) in self.link.outbox.all_served() {
            swarm.unlisten(&self.link, conversation, Opener::Receiver);
            let peer = self.link.peer();
            swarm.spread(|spread| spread.leave(peer));
        }
        self.context.links.remove(&self.link);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn protocol_error(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}
