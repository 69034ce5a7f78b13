//! A connection: dialled, secured, joined, and then read and written until it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use common::audience::Sharing;
use common::id::PeerId;
use common::identity::{Identity, PublicKey};
use common::tls::{self, Expect, UnexpectedPeer};
use common::wire::tracker::{
    Code, Event, FromPeer, FromTracker, Hello, Refusal, Reply, Request, Strange, TooLarge, Welcome,
};
use common::wire::{MAX_DEVICE_NAME, TRACKER_ALPN};
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::announcements::Announcements;
use super::dial::{dial, words};
use super::frames::{self, FrameReader};
use super::interfaces::reachable_addresses;
use super::place::{Entered, Place, Stream};
use super::requests::{Asked, LineEnd, Question};
use super::{NameChoice, TrackerAddress, sound};

/// A host that does not answer at all is given up after so long: long enough for a lost SYN to be sent again, short enough
/// that a peer is back within 5 s of its tracker.
const DIAL_DEADLINE: Duration = Duration::from_secs(3);
/// Until the handshake is done and the tracker has let this peer in.
const JOIN_DEADLINE: Duration = Duration::from_secs(5);
/// A tracker may ask to be waited for so long, and no longer, before its silence counts.
const LONGEST_SILENCE: Duration = Duration::from_secs(600);
/// A tracker cannot make this peer reconnect all the time.
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);
/// Answers to pings that wait to be written; of a tracker that pings faster than it reads, the rest is dropped.
const PONGS: usize = 8;
/// A password takes a tracker a moment to check, and others may be before it in the queue.
const ACCOUNT_DEADLINE: Duration = Duration::from_secs(30);
/// The number of the one request that is sent before the line is open; those that follow begin with 1.
const FIRST_ID: u64 = 0;

type Reader = FrameReader<ReadHalf<Stream>>;
type Writer = WriteHalf<Stream>;

/// How this peer introduces itself.
#[derive(Debug)]
pub(super) struct Introduction {
    pub(super) place: Place,
    pub(super) identity: Arc<Identity>,
    pub(super) name: NameChoice,
    pub(super) listen: SocketAddr,
    pub(super) advertise: Vec<SocketAddr>,
}

/// A connection on which this peer is on the network.
#[derive(Debug)]
pub(super) struct Joined {
    reader: Reader,
    writer: Writer,
    /// The tracker's key.
    pub(super) key: PublicKey,
    /// What it said.
    pub(super) welcome: Welcome,
    /// When it said so.
    pub(super) at: Instant,
    /// The address at which it was reached, where there is one.
    pub(super) remote: Option<SocketAddr>,
}

/// Why this peer is not on the network.
#[derive(Debug)]
pub(super) enum JoinError {
    /// Nobody there, or nobody who speaks like a tracker: a phrase.
    NoTracker(String),
    /// A tracker, but not the expected one.
    Unexpected(UnexpectedPeer),
    /// It does not let this peer in.
    Refused {
        /// What it says.
        refusal: Refusal,
        /// Its key, which it has proven.
        key: PublicKey,
    },
}

/// Dials, secures and joins, under this name.
pub(super) async fn join(introduction: &Introduction, name: &NameChoice, expect: Expect) -> Result<Joined, JoinError> {
    let joining = async {
        let Secured { mut reader, mut writer, key, remote } = secure(introduction, expect).await?;
        let hello = Request::Hello(hello(introduction, name));
        match ask(&mut reader, &mut writer, hello).await? {
            Ok(Reply::Welcome(welcome)) => Ok(Joined { reader, writer, key, welcome, at: Instant::now(), remote }),
            Ok(_) => Err(JoinError::NoTracker("its welcome makes no sense".to_owned())),
            Err(refusal) => Err(JoinError::Refused { refusal, key }),
        }
    };
    match timeout(DIAL_DEADLINE + JOIN_DEADLINE, joining).await {
        Ok(joined) => joined,
        Err(_) => Err(JoinError::NoTracker("what is there does not answer as a tracker does".to_owned())),
    }
}

/// Asks one thing on a connection of its own, before any hello: to sign up or to log in. The tracker must be this one.
pub(super) async fn ask_unjoined(
    introduction: &Introduction,
    tracker: PeerId,
    request: Request,
) -> Result<Result<Reply, Refusal>, JoinError> {
    let asking = async {
        let Secured { mut reader, mut writer, .. } = secure(introduction, Expect::Peer(tracker)).await?;
        let answer = ask(&mut reader, &mut writer, request).await;
        // Whether it heard or not, this connection has had its use.
        drop(writer.shutdown().await);
        answer
    };
    match timeout(DIAL_DEADLINE + ACCOUNT_DEADLINE, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(JoinError::NoTracker(format!("no answer within {} s", ACCOUNT_DEADLINE.as_secs()))),
    }
}

/// A connection on which nothing was said yet.
struct Secured {
    reader: Reader,
    writer: Writer,
    key: PublicKey,
    remote: Option<SocketAddr>,
}

async fn secure(introduction: &Introduction, expect: Expect) -> Result<Secured, JoinError> {
    let Entered { stream, key, remote } = match &introduction.place {
        Place::Address(address) => dial_tracker(address, &introduction.identity, expect).await?,
        Place::Group(entrance) => entrance.enter().await.map_err(JoinError::NoTracker)?,
    };
    let (reader, writer) = tokio::io::split(stream);
    Ok(Secured { reader: FrameReader::new(reader), writer, key, remote })
}

async fn dial_tracker(address: &TrackerAddress, identity: &Identity, expect: Expect) -> Result<Entered, JoinError> {
    let stream = dial(&address.host, address.port, DIAL_DEADLINE).await.map_err(JoinError::NoTracker)?;
    let remote = stream.peer_addr().ok();
    let config = tls::client_config(identity, expect, TRACKER_ALPN);
    let connected = TlsConnector::from(config).connect(tls::server_name(), stream).await;
    let stream = connected.map_err(|error| handshake_error(&error))?;
    let Some(key) = tls::peer_key(stream.get_ref().1) else {
        return Err(JoinError::NoTracker("what is there is no tracker".to_owned()));
    };
    Ok(Entered { stream: Box::new(stream), key, remote })
}

fn handshake_error(error: &io::Error) -> JoinError {
    let Some(tls_error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return JoinError::NoTracker(words(error));
    };
    match UnexpectedPeer::in_error(tls_error) {
        Some(unexpected) => JoinError::Unexpected(unexpected),
        None => JoinError::NoTracker(format!("what is there is no tracker: {tls_error}")),
    }
}

fn hello(introduction: &Introduction, name: &NameChoice) -> Hello {
    let (name, name_is_default) = match name {
        NameChoice::Given(name) => (name, false),
        NameChoice::Default(name) => (name, true),
    };
    Hello {
        name: name.as_str().to_owned(),
        name_is_default,
        port: introduction.listen.port(),
        interfaces: reachable_addresses(introduction.listen),
        advertised: introduction.advertise.clone(),
        agent: concat!("shoal-peer/", env!("CARGO_PKG_VERSION")).to_owned(),
        device: device_name(),
    }
}

/// The name of this machine, as far as its system has one.
fn device_name() -> String {
    let system = rustix::system::uname();
    system
        .nodename()
        .to_string_lossy()
        .chars()
        .filter(|character| !character.is_control())
        .take(MAX_DEVICE_NAME)
        .collect()
}

async fn send(writer: &mut Writer, message: &FromPeer) -> io::Result<()> {
    let frame = message.to_frame().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    frames::write(writer, &frame).await
}

/// Asks the first thing on a connection, and waits for the answer; pings are answered meanwhile.
async fn ask(reader: &mut Reader, writer: &mut Writer, first: Request) -> Result<Result<Reply, Refusal>, JoinError> {
    let first = FromPeer::Request { id: FIRST_ID, op: first };
    send(writer, &first).await.map_err(|error| JoinError::NoTracker(words(&error)))?;
    loop {
        match next_message(reader).await.map_err(JoinError::NoTracker)? {
            FromTracker::Reply { id: FIRST_ID, result } => return Ok(sound::reply(result)),
            FromTracker::Refusal { id: FIRST_ID, error } => return Ok(Err(sound::refusal(error))),
            FromTracker::Ping(number) => {
                let sent = send(writer, &FromPeer::Pong(number)).await;
                sent.map_err(|error| JoinError::NoTracker(words(&error)))?;
            }
            FromTracker::Event(Event::Shutdown) => return Err(JoinError::NoTracker("it is ending".to_owned())),
            other => tracing::debug!(?other, "before the first answer"),
        }
    }
}

/// The next message that this program knows; what a newer tracker may say besides is passed over.
async fn next_message(reader: &mut Reader) -> Result<FromTracker, String> {
    loop {
        let body = match reader.next().await {
            Ok(Some(body)) => body,
            Ok(None) => return Err("it closed the connection".to_owned()),
            Err(error) => return Err(words(&error)),
        };
        match FromTracker::from_body(&body) {
            Ok(message) => return Ok(message),
            Err(strange @ Strange::Answer(id)) => {
                // Who asked need not wait for the deadline.
                let error = Refusal { code: Code::Newer, text: strange.to_string(), candidates: Vec::new() };
                return Ok(FromTracker::Refusal { id, error });
            }
            Err(strange @ Strange::Newer) => tracing::debug!(%strange),
            Err(Strange::Malformed) => return Err("it sent what is no message".to_owned()),
        }
    }
}

/// Moves messages until the connection ends; says why it did. Events go to `on_event`, refused announcements to
/// `on_refused`.
pub(super) async fn serve(
    joined: Joined,
    mut line: LineEnd<'_>,
    announcements: &Announcements,
    on_event: impl FnMut(Event),
    on_refused: impl FnMut(Refusal),
) -> String {
    let Joined { mut reader, mut writer, welcome, .. } = joined;
    let silence = Duration::from_millis(welcome.silence_ms).clamp(SHORTEST_SILENCE, LONGEST_SILENCE);
    let (pong, pongs) = mpsc::channel(PONGS);
    let asked = line.asked.clone();
    tokio::select! {
        why = read_all(&mut reader, &asked, &pong, silence, on_event) => why,
        why = write_all(&mut writer, &mut line, pongs, announcements, on_refused) => why,
    }
}

async fn read_all(
    reader: &mut Reader,
    asked: &Asked,
    pong: &mpsc::Sender<u64>,
    silence: Duration,
    mut on_event: impl FnMut(Event),
) -> String {
    loop {
        let message = match timeout(silence, next_message(reader)).await {
            Ok(Ok(message)) => message,
            Ok(Err(why)) => return why,
            Err(_) => return format!("it has said nothing for {} s", silence.as_secs()),
        };
        match message {
            FromTracker::Reply { id, result } => asked.answer(id, sound::reply(result)),
            FromTracker::Refusal { id, error } => asked.answer(id, Err(sound::refusal(error))),
            FromTracker::Ping(number) => {
                if pong.try_send(number).is_err() {
                    tracing::debug!("the tracker pings faster than it takes answers");
                }
            }
            FromTracker::Event(Event::Shutdown) => return "it has ended".to_owned(),
            FromTracker::Event(event) => match sound::event(event) {
                Some(event) => on_event(event),
                None => tracing::warn!("the tracker tells of a peer with an illegal name"),
            },
        }
    }
}

/// Writes, first things first: 1. answers to pings, 2. what is announced, 3. questions.
async fn write_all(
    writer: &mut Writer,
    line: &mut LineEnd<'_>,
    mut pongs: mpsc::Receiver<u64>,
    announcements: &Announcements,
    mut on_refused: impl FnMut(Refusal),
) -> String {
    // One announcement at a time: a tracker that is slow is not buried under them.
    let mut announced: Option<(Question, Vec<Sharing>)> = None;
    loop {
        let frame = tokio::select! {
            biased;
            Some(number) = pongs.recv() => FromPeer::Pong(number).to_frame().expect("a pong is short"),
            answer = answer_to(&mut announced) => {
                if let Some((_, sharings)) = announced.take()
                    && let Err(refusal) = announcements.on_answer(&sharings, answer)
                {
                    on_refused(refusal);
                }
                continue;
            }
            batch = announcements.next_batch(), if announced.is_none() => {
                let sharings = batch.iter().map(|announced| announced.sharing()).collect();
                match line.asked.register(Request::Announce { swarms: batch }) {
                    Ok(mut question) => {
                        let frame = std::mem::take(&mut question.frame);
                        announced = Some((question, sharings));
                        frame
                    }
                    Err(TooLarge { .. }) => unreachable!("batches keep to the limit of a frame"),
                }
            }
            Some(frame) = line.queue.recv() => frame,
        };
        if let Err(error) = frames::write(writer, &frame).await {
            return words(&error);
        }
    }
}

/// The answer to the announcement that is under way; never, when there is none.
async fn answer_to(announced: &mut Option<(Question, Vec<Sharing>)>) -> Result<Reply, Refusal> {
    match announced {
        Some((question, _)) => match (&mut question.answer).await {
            Ok(answer) => answer,
            // The connection is ending, and all will be announced on the next.
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}
