//! The line to another node: one connection, its control stream, and what else comes over it.
//!
//! The first byte of each stream says what it is for: [`CONTROL`] for the one stream of messages, which who dialled opens;
//! [`CONVERSATION`] for chunks. Behind [`CONTROL`] stands, as a big-endian u64, the run of the dialler's program; it is answered
//! with [`CONTROL`] and the run of the program there. If the dialler has no other line to there it says [`TAKEN`], and else
//! closes the connection, of which nobody hears then.

use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::group::{Framer, MAX_MESSAGE, frame};
use common::id::PeerId;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::room::{Kept, Room};
use crate::link::Dialler;
use crate::mrt::{Connection, RELAY_SOCKET, Stream, WriteHalf};
use crate::overlay::Reached;
use crate::tasks::Tasks;
use tokio_util::sync::CancellationToken;

/// The stream of messages.
const CONTROL: u8 = 1;
/// A stream for chunks.
const CONVERSATION: u8 = 2;
/// The last word of the opening: the dialler goes on with this line.
const TAKEN: u8 = 3;

/// Who dialled has so long to open the control stream, and who opens a stream to say what for.
const OPENING_DEADLINE: Duration = Duration::from_secs(5);
/// A line that was dialled from the other side later than this was begun when there was another: a dial takes no longer than
/// 4 s, and its opening as long as it may.
const AT_ONCE: Duration = Duration::from_secs(10);
/// Messages that wait to be written. Who does not read that many is gone for all practical purposes ...
const WAITING: usize = 4096;
/// ... and so is who does not read so many bytes: three rosters as large as can be, or what a member may say to all at once.
const WAITING_BYTES: usize = 3 * MAX_MESSAGE;
/// So many streams that somebody opened may wait for their first byte at once; the others wait until they are taken.
const MOST_BEGINNING: usize = 64;
/// Bytes read at once.
const READ: usize = 16 << 10;

/// How a line was made. Of two between the same nodes both ends keep the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Making {
    pub(super) dialler: Dialler,
    /// The run of the program at the other end.
    run: u64,
    /// When it was opened.
    at: Instant,
}

impl Making {
    /// Whether a line stays although `later` was made between the same two nodes, `here` and `there`. One from another run of
    /// the program there never does: that has ended. Who dialled keeps what there is, and nobody hears of its dial; who
    /// was dialled knows by the last word of the opening that the dialler has no other line any more, unless both dialled at
    /// once: then that of the lower peer id stays.
    pub(super) fn outlives(self, later: Self, here: PeerId, there: PeerId) -> bool {
        self.run == later.run
            && match (self.dialler, later.dialler) {
                (_, Dialler::Here) => true,
                (Dialler::There, Dialler::There) => false,
                (Dialler::Here, Dialler::There) => here < there && later.at < self.at + AT_ONCE,
            }
    }
}

/// What tells this run of the program from others: when it began, in microseconds.
fn this_run() -> u64 {
    static RUN: OnceLock<u64> = OnceLock::new();
    let since = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    *RUN.get_or_init(|| u64::try_from(since().as_micros()).unwrap_or(u64::MAX))
}

/// The number of a line in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LineId(pub(super) u64);

/// What comes on lines.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message.
    Message(LineId, Kept),
    /// Somebody opened a stream for chunks.
    Conversation(Reached),
    /// The line ended.
    Ended(LineId),
}

/// A line that stands.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: LineId,
    pub(super) connection: Connection,
    pub(super) making: Making,
    outgoing: Outgoing,
    /// Cancelled when all is written, or cannot be.
    written: CancellationToken,
}

/// Says things on a line, as long as it stands.
#[derive(Debug, Clone)]
pub(super) struct Sayer {
    queue: mpsc::WeakSender<Kept>,
    room: Room,
}

/// What waits to be written on a line.
#[derive(Debug)]
struct Outgoing {
    queue: mpsc::Sender<Kept>,
    room: Room,
}

/// A connection with its control stream.
#[derive(Debug)]
pub(super) struct Opened {
    connection: Connection,
    making: Making,
    control: Stream,
}

impl Opened {
    /// Opens the control stream of a connection that was dialled from here, and waits until the other side is there too.
    pub(super) async fn here(connection: Connection) -> io::Result<Self> {
        let opening = async {
            let mut control = connection.open().await.map_err(io::Error::other)?;
            control.write_all(&opening_word()).await?;
            // Only who has the key of the network can answer.
            match control.read_u8().await? {
                CONTROL => {}
                kind => return Err(unexpected(kind)),
            }
            let run = control.read_u64().await?;
            Ok((control, Making { dialler: Dialler::Here, run, at: Instant::now() }))
        };
        let (control, making) = timeout(OPENING_DEADLINE, opening).await??;
        Ok(Self { connection, making, control })
    }

    /// Waits for the control stream of a connection that was dialled there.
    pub(super) async fn there(connection: Connection) -> io::Result<Self> {
        let opening = async {
            let mut control = connection.accept().await.map_err(io::Error::other)?;
            match control.read_u8().await? {
                CONTROL => {}
                kind => return Err(unexpected(kind)),
            }
            let run = control.read_u64().await?;
            control.write_all(&opening_word()).await?;
            match control.read_u8().await? {
                TAKEN => Ok((control, Making { dialler: Dialler::There, run, at: Instant::now() })),
                kind => Err(unexpected(kind)),
            }
        };
        let (control, making) = timeout(OPENING_DEADLINE, opening).await??;
        Ok(Self { connection, making, control })
    }

    /// Who is there.
    pub(super) fn peer(&self) -> PeerId {
        self.connection.remote().identity.peer_id()
    }

    /// Which of all lines to there it is to be.
    pub(super) const fn making(&self) -> Making {
        self.making
    }

    /// Runs it: messages, conversations and its end go to `inputs`. Messages wait there as far as there is `room` for them, for
    /// all lines together.
    pub(super) fn run<I>(self, id: LineId, inputs: &mpsc::Sender<I>, room: &Room, tasks: &Tasks) -> Line
    where
        I: From<Heard> + Send + 'static,
    {
        let Self { connection, making, control } = self;
        let (read, write) = control.into_split();
        let (outgoing, waiting) = Outgoing::new();
        let (inputs, room) = (inputs.clone(), room.clone());
        let (running, written) = (connection.clone(), CancellationToken::new());
        let writing_ended = written.clone().drop_guard();
        tasks.spawn("line", async move {
            let _writing_ended = writing_ended;
            let why = tokio::select! {
                why = read_all(id, read, &inputs, &room) => why,
                why = write_all(making.dialler, write, waiting) => why,
                why = accept_all(&running, &inputs) => why,
                error = running.closed() => error.to_string(),
            };
            tracing::debug!(peer = %running.remote().identity.peer_id(), why, "a line ended");
            let _ending = inputs.send(Heard::Ended(id).into()).await;
        });
        Line { id, connection, making, outgoing, written }
    }
}

impl Line {
    /// Sends a message; false where the other side does not take any more.
    pub(super) fn send(&self, message: &[u8]) -> bool {
        self.outgoing.push(message)
    }

    /// Says things on it from elsewhere.
    pub(super) fn sayer(&self) -> Sayer {
        Sayer { queue: self.outgoing.queue.downgrade(), room: self.outgoing.room.clone() }
    }

    /// Nothing more is said; gives the connection, and what is cancelled when the last word has arrived.
    pub(super) fn end(self) -> (Connection, CancellationToken) {
        (self.connection, self.written)
    }

    /// Whether nothing is heard of the other side any more, although it was asked.
    pub(super) fn is_silent(&self) -> bool {
        self.connection.is_silent().unwrap_or(true)
    }

    /// Where it goes now; `None`: through a relay, or nowhere any more.
    pub(super) fn direct(&self) -> Option<SocketAddr> {
        let route = self.connection.route().ok()?;
        (route.socket != RELAY_SOCKET).then_some(route.remote)
    }
}

impl Sayer {
    /// Sends a message; false where that is not possible any more.
    pub(super) fn say(&self, message: &[u8]) -> bool {
        let queue = self.queue.upgrade();
        queue.is_some_and(|queue| Outgoing { queue, room: self.room.clone() }.push(message))
    }
}

impl Outgoing {
    fn new() -> (Self, mpsc::Receiver<Kept>) {
        let (queue, waiting) = mpsc::channel(WAITING);
        (Self { queue, room: Room::new(WAITING_BYTES) }, waiting)
    }

    /// One more message; false where there is no room for it.
    fn push(&self, message: &[u8]) -> bool {
        self.room.try_keep(frame(message)).is_some_and(|kept| self.queue.try_send(kept).is_ok())
    }
}

/// What either side says first.
fn opening_word() -> [u8; 9] {
    let mut word = [CONTROL; 9];
    word[1..].copy_from_slice(&this_run().to_be_bytes());
    word
}

fn unexpected(kind: u8) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a control stream of kind {kind}"))
}

/// A new stream for chunks on this connection.
pub(super) async fn converse(connection: &Connection) -> io::Result<Reached> {
    let mut stream = connection.open().await.map_err(io::Error::other)?;
    stream.write_all(&[CONVERSATION]).await?;
    reached(connection, stream)
}

fn reached(connection: &Connection, stream: Stream) -> io::Result<Reached> {
    let address = connection.route().map_err(io::Error::other)?.remote;
    Ok(Reached { stream: Box::new(stream), key: connection.remote().identity, address })
}

async fn read_all<I: From<Heard>>(
    id: LineId,
    mut read: impl AsyncRead + Unpin,
    inputs: &mpsc::Sender<I>,
    room: &Room,
) -> String {
    let mut framer = Framer::default();
    let mut buffer = vec![0; READ];
    loop {
        match read.read(&mut buffer).await {
            Ok(0) => return "it ended the conversation".to_owned(),
            Ok(count) => framer.push(buffer.get(..count).unwrap_or_default()),
            Err(error) => return error.to_string(),
        }
        loop {
            match framer.next_message() {
                Ok(Some(message)) => {
                    let kept = room.keep(message).await;
                    if inputs.send(Heard::Message(id, kept).into()).await.is_err() {
                        return "this node ends".to_owned();
                    }
                }
                Ok(None) => break,
                Err(error) => return error.to_string(),
            }
        }
    }
}

async fn write_all(dialler: Dialler, mut write: WriteHalf, mut waiting: mpsc::Receiver<Kept>) -> String {
    if dialler == Dialler::Here
        && let Err(error) = write.write_all(&[TAKEN]).await
    {
        return error.to_string();
    }
    while let Some(bytes) = waiting.recv().await {
        if let Err(error) = write.write_all(&bytes).await {
            return error.to_string();
        }
    }
    // What was said is to arrive before the connection ends.
    drop(timeout(OPENING_DEADLINE, write.finished()).await);
    "nothing more is said here".to_owned()
}

/// Takes the streams that the other side opens. One that is given up before it said anything, since whoever wanted it has
/// gone, is nothing to the others.
async fn accept_all<I: From<Heard>>(connection: &Connection, inputs: &mpsc::Sender<I>) -> String {
    let mut beginning = JoinSet::new();
    loop {
        tokio::select! {
            accepted = connection.accept(), if beginning.len() < MOST_BEGINNING => match accepted {
                Ok(stream) => drop(beginning.spawn(begin(stream))),
                Err(error) => return error.to_string(),
            },
            Some(begun) = beginning.join_next() => match begun {
                Ok(Begun::Conversation(stream)) => {
                    let Ok(reached) = reached(connection, stream) else {
                        return "it closed the connection".to_owned();
                    };
                    if inputs.send(Heard::Conversation(reached).into()).await.is_err() {
                        return "this node ends".to_owned();
                    }
                }
                Ok(Begun::Nothing) => {}
                Ok(Begun::Unknown(kind)) => return format!("it opened a stream of kind {kind}"),
                Err(panicked) => tracing::error!(%panicked, "the beginning of a stream"),
            },
        }
    }
}

/// What a stream turned out to be.
enum Begun {
    /// One for chunks.
    Conversation(Stream),
    /// One of a kind that does not exist.
    Unknown(u8),
    /// It was given up, or nothing was said on it in time.
    Nothing,
}

/// Waits for the first byte of a stream.
async fn begin(mut stream: Stream) -> Begun {
    match timeout(OPENING_DEADLINE, stream.read_u8()).await {
        Ok(Ok(CONVERSATION)) => Begun::Conversation(stream),
        Ok(Ok(kind)) => Begun::Unknown(kind),
        Ok(Err(_)) | Err(_) => Begun::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use common::identity::Identity;
    use common::mrt::{Config, LocalKeys, Target};

    use super::*;
    use crate::mrt::{BindOptions, Node};
    use Dialler::{Here, There};

    const LOW: PeerId = PeerId([1; 32]);
    const HIGH: PeerId = PeerId([2; 32]);

    fn made(dialler: Dialler) -> Making {
        static AT: OnceLock<Instant> = OnceLock::new();
        Making { dialler, run: 7, at: *AT.get_or_init(Instant::now) }
    }

    fn later(dialler: Dialler, by: Duration) -> Making {
        Making { at: made(dialler).at + by, ..made(dialler) }
    }

    #[test]
    fn of_two_that_were_dialled_at_once_both_ends_keep_the_same() {
        // Each has its own line when that of the other comes.
        assert!(made(Here).outlives(made(There), LOW, HIGH));
        assert!(!made(Here).outlives(made(There), HIGH, LOW));
    }

    #[test]
    fn who_is_dialled_long_after_it_dialled_has_been_left() {
        for (here, there) in [(LOW, HIGH), (HIGH, LOW)] {
            assert!(!made(Here).outlives(later(There, AT_ONCE), here, there));
            assert!(made(There).outlives(later(Here, AT_ONCE), here, there), "unless it dials itself");
        }
    }

    #[test]
    fn who_dials_beside_a_line_keeps_that_and_who_dials_anew_is_taken() {
        for earlier in [Here, There] {
            assert!(made(earlier).outlives(made(Here), LOW, HIGH));
        }
        assert!(!made(There).outlives(made(There), LOW, HIGH));
    }

    #[test]
    fn a_line_ends_with_the_run_of_the_program_there() {
        for (earlier, later) in [(Here, There), (There, There), (There, Here), (Here, Here)] {
            assert!(!made(earlier).outlives(Making { run: 8, ..made(later) }, LOW, HIGH));
        }
    }

    /// Nothing here takes so long, unless it hangs.
    const DEADLINE: Duration = Duration::from_secs(30);

    /// The two ends of a line between two nodes, and what is heard at the second.
    async fn line(tasks: &Tasks) -> ([Line; 2], mpsc::Receiver<Heard>) {
        let [here, there] = [1, 2].map(|seed| {
            let keys = LocalKeys::new(Arc::new(Identity::from_seed(&[seed; 32])), [7; 32]);
            let listen = SocketAddr::from(([127, 0, 0, 1], 0));
            Node::bind(tasks, BindOptions { listen, config: Config::default(), keys }).unwrap()
        });
        let (sender, heard) = mpsc::channel(8);
        let dialling = async {
            let connection = here.connect(there.local_addr(), Target::default()).await.unwrap();
            Opened::here(connection).await.unwrap().run(LineId(0), &sender, &Room::new(READ), tasks)
        };
        let coming = async {
            let connection = there.accept().await.unwrap();
            Opened::there(connection).await.unwrap().run(LineId(1), &sender, &Room::new(READ), tasks)
        };
        let (near, far) = timeout(DEADLINE, async { tokio::join!(dialling, coming) }).await.unwrap();
        ([near, far], heard)
    }

    #[test]
    fn who_does_not_read_is_given_up_by_bytes_rather_than_by_messages() {
        let (outgoing, _waiting) = Outgoing::new();
        let large = (0..99).take_while(|_| outgoing.push(&vec![7; MAX_MESSAGE / 2])).count();
        assert!((4..=6).contains(&large), "{large} large messages wait");
        let (outgoing, _waiting) = Outgoing::new();
        assert!((0..4000).all(|_| outgoing.push(&[7; 100])), "a crowd says something");
    }

    #[tokio::test]
    async fn what_was_read_waits_within_bounds() {
        const MESSAGES: usize = 100;
        let (sender, mut inputs) = mpsc::channel::<Heard>(MESSAGES);
        let stream = frame(&[7; 1000]).repeat(MESSAGES);
        let room = Room::new(9 * 1100);
        let mut reading = std::pin::pin!(read_all(LineId(0), stream.as_slice(), &sender, &room));
        // It is polled once, and reads as far as it can.
        assert!(timeout(Duration::ZERO, &mut reading).await.is_err(), "it waits");
        assert_eq!(inputs.len(), 9);
        let taking = async {
            for _ in 0..MESSAGES {
                let heard = inputs.recv().await;
                assert!(matches!(heard, Some(Heard::Message(LineId(0), message)) if *message == [7; 1000]));
            }
        };
        timeout(DEADLINE, async { tokio::join!(reading, taking) }).await.expect("all are taken in the end");
    }

    #[tokio::test]
    async fn streams_that_come_to_nothing_leave_the_line_to_the_others() {
        let tasks = Tasks::new();
        let ([near, _far], mut heard) = line(&tasks).await;
        let mut conversations = Vec::new();
        for _ in 0..3 {
            // Who wanted it has gone.
            drop(near.connection.open().await.unwrap());
            // On this one nothing is said yet.
            conversations.push(near.connection.open().await.unwrap());
        }
        let reached = timeout(DEADLINE, converse(&near.connection)).await.unwrap().unwrap();
        let first = timeout(DEADLINE, heard.recv()).await.unwrap();
        assert!(matches!(first, Some(Heard::Conversation(_))), "{first:?}");
        drop((reached, conversations));
        tasks.shutdown().await;
    }

    #[tokio::test]
    async fn a_stream_of_a_kind_that_does_not_exist_ends_the_line() {
        let tasks = Tasks::new();
        let ([near, _far], mut heard) = line(&tasks).await;
        let mut stream = near.connection.open().await.unwrap();
        stream.write_all(&[9]).await.unwrap();
        let first = timeout(DEADLINE, heard.recv()).await.unwrap();
        assert!(matches!(first, Some(Heard::Ended(LineId(1)))), "{first:?}");
        tasks.shutdown().await;
    }
}
