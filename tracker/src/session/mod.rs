//! Sessions: one connection of one peer, from its first byte to its end.
//!
//! 1. The handshake and `hello`, in small frames and a short time, counted against where it comes from. Signing up and
//!    logging in come before it.
//! 2. Requests, answered in the order in which they are done; announcements go to the index from here, everything else
//!    to the owner. Pings.
//! 3. The end: the owner is told, what is waiting is sent.

mod accounts;
mod frame;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::id::PeerId;
use common::identity::PublicKey;
use common::index::Index;
use common::tls::peer_key;
use common::wire::MAX_TRACKER_FRAME;
use common::wire::tracker::{Announced, Answer, Code, FromPeer, Hello, Refusal, Reply, Request};
use tokio::io::{ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use self::accounts::Applicant;
use self::frame::{FrameError, FrameReader};
use self::writer::{FLUSH_DEADLINE, write_answer, write_messages};
use crate::attempts::Attempts;
use crate::clock::Clock;
use crate::liveness::{Due, Liveness};
use crate::outbox::{Closing, MAX_IN_FLIGHT, Outbox, Outgoing};
use crate::owner::{Input, Join};
use crate::passwords::Passwords;
use crate::rate::Bucket;
use crate::service::{self, Entered, Newcomer, Why, refusal};
use crate::state::{ConnId, Contact, Gate, plain};

/// From the first byte of a connection to a `hello` that is granted.
pub(crate) const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// The longest message before `hello` is granted: one with all addresses that are allowed takes 2 KiB.
const MAX_HELLO_FRAME: usize = 8 << 10;
/// From the first byte of a message to its last.
pub(crate) const MESSAGE_DEADLINE: Duration = Duration::from_secs(30);
/// Requests of one peer in a second, over longer times; it is read no faster.
const REQUESTS_PER_SEC: u32 = 1_000;
/// Requests of one peer at once, after a rest.
const REQUESTS_AT_ONCE: u32 = 2_000;
/// What one request that goes through the catalogue counts for.
const SEARCH_COST: u32 = 10;
/// What one counts for whose answer may be as large as there may be.
const LIST_COST: u32 = 5;
/// What one counts for of which all who are online may have to be told.
const REVOKING_COST: u32 = 20;
/// So many files of an announcement count for a request.
const ANNOUNCED_PER_COST: usize = 200;
/// So many messages may come before `hello` is granted: names that were taken, mostly.
const MAX_MESSAGES_BEFORE_HELLO: usize = 20;
/// Of these so many may be sign-ups and log-ins.
const MAX_LOGINS: usize = 5;

type Reader = FrameReader<ReadHalf<TlsStream<TcpStream>>>;
type Writer = WriteHalf<TlsStream<TcpStream>>;

/// What all sessions share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// The tracker's side of TLS.
    pub(crate) tls: TlsAcceptor,
    /// Where the owner is told things.
    pub(crate) inputs: mpsc::Sender<Input>,
    /// Who has which chunks.
    pub(crate) index: Arc<Index>,
    /// What time it is.
    pub(crate) clock: Clock,
    /// Hashes and checks passwords.
    pub(crate) passwords: Passwords,
    /// How many wrong ones are looked at.
    pub(crate) attempts: Attempts,
    /// Time between two pings.
    pub(crate) ping_interval: Duration,
    /// Time to answer one.
    pub(crate) ping_timeout: Duration,
    /// Time from the first byte of a connection to a `hello` that is granted.
    pub(crate) hello_deadline: Duration,
    /// Time from the first byte of a message to its last.
    pub(crate) message_deadline: Duration,
    /// Cancelled when the tracker ends: sessions send what is waiting, and end.
    pub(crate) draining: CancellationToken,
}

/// A connection that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// Its number.
    pub(crate) conn: ConnId,
    /// The connection.
    pub(crate) socket: TcpStream,
    /// Where it comes from.
    pub(crate) from: SocketAddr,
}

/// Why a connection did not get as far as joining.
#[derive(Debug, thiserror::Error)]
enum NotJoined {
    /// Another one of the same source took its place.
    #[error("too many others from there have not joined either")]
    Crowded,
    /// It took too long.
    #[error("it did not join in time")]
    TooSlow,
    /// The handshake failed.
    #[error("the handshake failed: {0}")]
    Handshake(std::io::Error),
    /// Its key or protocol is not right.
    #[error("it showed no key, or speaks another protocol")]
    NoKey,
    /// What it sent is no `hello`.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// What it sent is no message.
    #[error("it sent something else than messages")]
    Nonsense,
    /// It sent many messages, and none that lets it join.
    #[error("it said much, but no hello that could be granted")]
    Undecided,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// The tracker ends.
    #[error("the tracker ends")]
    Shutdown,
}

/// Serves a connection to its end. `crowded` is cancelled when it must make place before it has joined; `pending`
/// counts it as one that has not joined, and is dropped when it has.
pub(crate) async fn serve<P>(shared: Shared, accepted: Accepted, crowded: CancellationToken, pending: P) {
    let from = accepted.from;
    let joining = timeout(shared.hello_deadline, join(&shared, accepted));
    let joined = tokio::select! {
        () = crowded.cancelled() => Err(NotJoined::Crowded),
        () = shared.draining.cancelled() => Err(NotJoined::Shutdown),
        joined = joining => joined.unwrap_or(Err(NotJoined::TooSlow)),
    };
    drop(pending);
    match joined {
        Ok(joined) => Box::pin(joined.run(shared)).await,
        Err(error) => tracing::debug!(%from, "a connection did not join: {error}"),
    }
}

/// A session that has joined.
struct Session {
    membership: Membership,
    from: SocketAddr,
    reader: Reader,
    writer: Writer,
    outbox: Outbox,
    waiting: mpsc::Receiver<Outgoing>,
}

/// That the owner knows of a connection; it is told when that ends, however it does.
struct Membership {
    peer: PeerId,
    conn: ConnId,
    gate: Arc<Gate>,
    why: Why,
    /// Room in the owner's queue that nothing else can take.
    farewell: Option<mpsc::OwnedPermit<Input>>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.gate.close();
        if let Some(farewell) = self.farewell.take() {
            farewell.send(Input::Leave { peer: self.peer, conn: self.conn, why: self.why });
        }
    }
}

async fn join(shared: &Shared, accepted: Accepted) -> Result<Session, NotJoined> {
    let Accepted { conn, socket, from } = accepted;
    socket.set_nodelay(true)?;
    let arrived_at = socket.local_addr()?.ip().to_canonical();
    let stream = shared.tls.accept(socket).await.map_err(NotJoined::Handshake)?;
    let key = peer_key(stream.get_ref().1).ok_or(NotJoined::NoKey)?;
    let (read_half, mut writer) = tokio::io::split(stream);
    let mut reader = FrameReader::new(read_half, MAX_HELLO_FRAME, shared.hello_deadline);
    let applicant = Applicant { peer: key.peer_id(), from };
    let mut logins = 0;
    for _ in 0..MAX_MESSAGES_BEFORE_HELLO {
        let body = reader.next().await?;
        let (id, hello) = match FromPeer::from_body(&body) {
            Ok(FromPeer::Request { id, op: Request::Hello(hello) }) => (id, hello),
            Ok(FromPeer::Request { id, op: op @ (Request::SignUp { .. } | Request::LogIn { .. }) }) => {
                logins += 1;
                if logins > MAX_LOGINS {
                    let text = "too many on one connection: open another";
                    write_answer(&mut writer, id, Err(refusal(Code::Busy, text))).await?;
                    return Err(NotJoined::Undecided);
                }
                let answer = before_hello(shared, applicant, op).await;
                write_answer(&mut writer, id, answer).await?;
                continue;
            }
            Ok(FromPeer::Request { id, .. }) => {
                write_answer(&mut writer, id, Err(refusal(Code::NotJoined, "say hello first"))).await?;
                continue;
            }
            Ok(FromPeer::Pong(_)) => continue,
            Err(undecoded) => {
                let id = undecoded.id.ok_or(NotJoined::Nonsense)?;
                write_answer(&mut writer, id, Err(undecoded.refusal)).await?;
                continue;
            }
        };
        let contact = Contact {
            seen: plain(from),
            arrived_at,
            port: hello.port,
            interfaces: hello.interfaces.iter().map(std::net::IpAddr::to_canonical).collect(),
            advertised: hello.advertised.iter().copied().map(plain).collect(),
        };
        let (outbox, waiting) = Outbox::new(Closing::default());
        match say_hello(shared, conn, key, contact, hello, id, &outbox).await? {
            Ok(membership) => {
                reader.set_limits(MAX_TRACKER_FRAME, shared.message_deadline);
                return Ok(Session { membership, from, reader, writer, outbox, waiting });
            }
            Err(refused) => write_answer(&mut writer, id, Err(refused)).await?,
        }
    }
    Err(NotJoined::Undecided)
}

/// Signs up or logs in. The future is boxed: passwords are rare, and each connection waits in this function.
async fn before_hello(shared: &Shared, applicant: Applicant, request: Request) -> Result<Reply, Refusal> {
    match request {
        Request::SignUp { name, password, code } => Box::pin(applicant.sign_up(shared, &name, password, code)).await,
        Request::LogIn { name, password } => Box::pin(applicant.log_in(shared, &name, password)).await,
        _ => Err(refusal(Code::NotJoined, "say hello first")),
    }
}

async fn say_hello(
    shared: &Shared,
    conn: ConnId,
    key: PublicKey,
    contact: Contact,
    hello: Hello,
    id: u64,
    outbox: &Outbox,
) -> Result<Result<Membership, Refusal>, NotJoined> {
    let gate = Arc::new(Gate::default());
    let farewell = shared.inputs.clone().reserve_owned().await.map_err(|_closed| NotJoined::Shutdown)?;
    // From here on the owner hears of the end, also if this is dropped while it waits.
    let membership = Membership {
        peer: key.peer_id(),
        conn,
        gate: Arc::clone(&gate),
        why: Why::Disconnected,
        farewell: Some(farewell),
    };
    let (answer, answered) = oneshot::channel();
    let newcomer = Newcomer { conn, gate, key, contact };
    let join = Join { newcomer, hello, id, outbox: outbox.clone(), answer };
    shared.inputs.send(Input::Join(Box::new(join))).await.map_err(|_closed| NotJoined::Shutdown)?;
    let answer = answered.await.map_err(|_closed| NotJoined::Shutdown)?;
    Ok(answer.map(|()| membership))
}

impl Session {
    async fn run(self, shared: Shared) {
        let Self { mut membership, from, reader, writer, outbox, waiting } = self;
        let closing = outbox.closing.clone();
        let reading_ended = CancellationToken::new();
        let reading = async {
            let requests = Requests::new(&shared, &membership, from, reader, outbox);
            let why = tokio::select! {
                biased;
                () = closing.closed() => closing.why(),
                () = closing.finishing() => closing.why(),
                () = shared.draining.cancelled() => Why::Shutdown,
                why = requests.run() => why,
            };
            membership.why = why;
            // The owner lets go of its end of the outbox then, so that the writer comes to an end.
            drop(membership);
            reading_ended.cancel();
        };
        let writing = async {
            tokio::select! {
                () = write_messages(writer, waiting, &closing) => {}
                () = async {
                    reading_ended.cancelled().await;
                    sleep(FLUSH_DEADLINE).await;
                } => {}
            }
        };
        tokio::join!(reading, writing);
    }
}

/// Takes the requests of a peer that has joined.
struct Requests<'a> {
    shared: &'a Shared,
    applicant: Applicant,
    peer: PeerId,
    conn: ConnId,
    gate: Arc<Gate>,
    reader: Reader,
    outbox: Outbox,
    liveness: Liveness,
    bucket: Bucket,
    /// Allow requests; answers give them back when they are sent.
    small: Arc<Semaphore>,
    /// The same for those whose answers may be large: one at a time.
    large: Arc<Semaphore>,
}

/// How much the answer to a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Small,
    Large,
}

impl<'a> Requests<'a> {
    fn new(shared: &'a Shared, membership: &Membership, from: SocketAddr, reader: Reader, outbox: Outbox) -> Self {
        let now = shared.clock.now().uptime;
        Self {
            shared,
            applicant: Applicant { peer: membership.peer, from },
            peer: membership.peer,
            conn: membership.conn,
            gate: Arc::clone(&membership.gate),
            reader,
            outbox,
            liveness: Liveness::new(shared.ping_interval, shared.ping_timeout, now),
            bucket: Bucket::new(REQUESTS_PER_SEC, REQUESTS_AT_ONCE),
            small: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            large: Arc::new(Semaphore::new(1)),
        }
    }

    async fn run(mut self) -> Why {
        loop {
            let until = match self.liveness.poll(self.now()) {
                Due::Nothing { until } => self.shared.clock.instant_of(until),
                Due::Ping(number) => {
                    self.outbox.ping(number);
                    continue;
                }
                Due::Gone => break Why::Silent,
            };
            tokio::select! {
                // What has come already is taken before anybody is said not to have answered: it was the tracker that
                // was slow then.
                biased;
                body = self.reader.next() => {
                    let ended = match body {
                        Ok(body) => self.on_message(&body).await.err(),
                        Err(FrameError::End | FrameError::Io(_)) => Some(Why::Disconnected),
                        Err(FrameError::TooLong(_) | FrameError::TooSlow) => Some(Why::Nonsense),
                    };
                    if let Some(why) = ended {
                        break why;
                    }
                }
                () = sleep_until(until) => {}
            }
        }
    }

    /// An error ends the session.
    async fn on_message(&mut self, body: &[u8]) -> Result<(), Why> {
        match FromPeer::from_body(body) {
            Ok(FromPeer::Pong(number)) => {
                self.liveness.on_pong(number, self.now());
                Ok(())
            }
            Ok(FromPeer::Request { id, op }) => self.on_request(id, op).await,
            Err(undecoded) => {
                let id = undecoded.id.ok_or(Why::Nonsense)?;
                let permit = self.permit(1, Size::Small).await?;
                self.outbox.answer(id, Err(undecoded.refusal), Some(permit));
                Ok(())
            }
        }
    }

    async fn on_request(&mut self, id: u64, request: Request) -> Result<(), Why> {
        let (cost, size) = weigh(&request);
        let permit = self.permit(cost, size).await?;
        match request {
            Request::Announce { swarms } => {
                // Who may be in a swarm that is not for everybody the owner knows; each swarm goes one of the two ways
                // only, so that nothing overtakes what was said of it before.
                let (public, private): (Vec<Announced>, Vec<Announced>) =
                    swarms.into_iter().partition(|announced| announced.audience.is_public());
                let answer = self.announce(&public).await?;
                if private.is_empty() || answer.is_err() {
                    self.outbox.answer(id, answer, Some(permit));
                } else {
                    self.ask(id, Request::Announce { swarms: private }, permit).await?;
                }
            }
            Request::ChangePassword { old, new } => {
                // Nothing else is read meanwhile: the queue is short, and a ping has seconds.
                let answer = Box::pin(self.applicant.change_password(self.shared, old, new)).await;
                self.outbox.answer(id, answer, Some(permit));
            }
            Request::Leave => {
                self.outbox.answer(id, Ok(Reply::Done), Some(permit));
                return Err(Why::SaidGoodbye);
            }
            request => self.ask(id, request, permit).await?,
        }
        Ok(())
    }

    async fn ask(&self, id: u64, request: Request, permit: OwnedSemaphorePermit) -> Result<(), Why> {
        let (peer, conn, request) = (self.peer, self.conn, Box::new(request));
        self.send(Input::Ask { peer, conn, id, request, permit }).await
    }

    async fn announce(&self, swarms: &[Announced]) -> Result<Result<Reply, Refusal>, Why> {
        let entered = self.gate.pass(|| service::announce(&self.shared.index, self.peer, swarms));
        // The gate is closed where a newer connection of the same peer is there.
        let Entered { news, refusal } = entered.ok_or(Why::Disconnected)?;
        if !news.is_empty() {
            self.send(Input::Announced { peer: self.peer, swarms: news }).await?;
        }
        Ok(refusal.map_or(Ok(Reply::Done), Err))
    }

    async fn permit(&mut self, cost: u32, size: Size) -> Result<OwnedSemaphorePermit, Why> {
        let wait = self.bucket.take(cost, self.now());
        if !wait.is_zero() {
            sleep(wait).await;
        }
        let permits = match size {
            Size::Small => &self.small,
            Size::Large => &self.large,
        };
        Arc::clone(permits).acquire_owned().await.map_err(|_closed| Why::Shutdown)
    }

    async fn send(&self, input: Input) -> Result<(), Why> {
        self.shared.inputs.send(input).await.map_err(|_closed| Why::Shutdown)
    }

    fn now(&self) -> Duration {
        self.shared.clock.now().uptime
    }
}

fn weigh(request: &Request) -> (u32, Size) {
    match request {
        Request::Search { .. } | Request::List(_) => (SEARCH_COST, Size::Large),
        Request::Announce { swarms } => {
            let cost = 1 + swarms.len() / ANNOUNCED_PER_COST;
            (u32::try_from(cost).unwrap_or(REQUESTS_AT_ONCE), Size::Small)
        }
        Request::Users | Request::Subscriptions | Request::Offers | Request::History => (LIST_COST, Size::Large),
        // Whom an offer could go to is looked at one by one.
        Request::Offer { to: None, .. } => (LIST_COST, Size::Small),
        // The others may have to be told of tickets that are worth nothing any more.
        Request::Share { .. } | Request::Answer { answer: Answer::Refuse, .. } | Request::Revoke { .. } => {
            (REVOKING_COST, Size::Small)
        }
        Request::Loc { .. }
        | Request::Plan { .. }
        | Request::PlanOffer { .. }
        | Request::Where { .. }
        | Request::Versions { .. }
        | Request::Devices => (1, Size::Large),
        _ => (1, Size::Small),
    }
}

#[cfg(test)]
mod tests {
    use common::audience::OfferId;

    use super::*;

    /// What small requests may leave waiting in an outbox is so many answers.
    #[test]
    fn answers_that_may_be_large_are_asked_for_one_at_a_time() {
        let entry = || "x".to_owned();
        for request in [
            Request::Users,
            Request::Subscriptions,
            Request::Offers,
            Request::History,
            Request::Devices,
            Request::Where { user: entry() },
            Request::Versions { entry: entry() },
            Request::Loc { entry: entry(), offset: 0 },
            Request::PlanOffer { offer: OfferId(1) },
        ] {
            assert_eq!(weigh(&request).1, Size::Large, "{request:?}");
        }
    }
}
