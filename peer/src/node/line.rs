//! The line to another node: one connection, its control stream, and what else comes over it.
//!
//! The first byte of each stream says what it is for: [`CONTROL`] for the one stream of messages, which who dialled opens;
//! [`CONVERSATION`] for chunks. Behind [`CONTROL`] stand, as big-endian u64, the run of the dialler's program and the number
//! of this line among those that it dialled; it is answered with [`CONTROL`] and the run of the program there.

use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::group::{Framer, frame};
use common::id::PeerId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::link::Dialler;
use crate::mrt::{Connection, RELAY_SOCKET, ReadHalf, Stream, WriteHalf};
use crate::overlay::Reached;
use crate::tasks::Tasks;
use tokio_util::sync::CancellationToken;

/// The stream of messages.
const CONTROL: u8 = 1;
/// A stream for chunks.
const CONVERSATION: u8 = 2;

/// Who dialled has so long to open the control stream, and who opens a stream to say what for.
const OPENING_DEADLINE: Duration = Duration::from_secs(5);
/// Messages that wait to be written. Who does not read that many is gone for all practical purposes.
const WAITING: usize = 256;
/// Bytes read at once.
const READ: usize = 16 << 10;

/// Which of all lines between two nodes one is. Both ends know it alike, so that of two lines both keep the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Making {
    pub(super) dialler: Dialler,
    /// The run of the program at the other end.
    run: u64,
    /// Among the lines that were dialled by who dialled this one, in order.
    number: u64,
}

impl Making {
    /// Whether a line stays although `other` was made between the same two nodes, `here` and `there`. One from another run
    /// of the program there never does: that has ended. Of two that one end dialled, the later stays: who dials again
    /// may have given the first up. Of two that both dialled, that of the lower peer id.
    pub(super) fn outlives(self, other: Self, here: PeerId, there: PeerId) -> bool {
        if self.run != other.run {
            return false;
        }
        match (self.dialler, other.dialler) {
            (Dialler::Here, Dialler::Here) | (Dialler::There, Dialler::There) => self.number > other.number,
            (Dialler::Here, Dialler::There) => here < there,
            (Dialler::There, Dialler::Here) => there < here,
        }
    }
}

/// What tells this run of the program from others: when it began, in microseconds.
fn this_run() -> u64 {
    static RUN: OnceLock<u64> = OnceLock::new();
    let since = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    *RUN.get_or_init(|| u64::try_from(since().as_micros()).unwrap_or(u64::MAX))
}

/// The number of the next line that is dialled.
fn next_number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

/// The number of a line in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LineId(pub(super) u64);

/// What comes on lines.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message.
    Message(LineId, Vec<u8>),
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
    outgoing: mpsc::Sender<Vec<u8>>,
    /// Cancelled when all is written, or cannot be.
    written: CancellationToken,
}

/// Says things on a line, as long as it stands.
#[derive(Debug, Clone)]
pub(super) struct Sayer(mpsc::WeakSender<Vec<u8>>);

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
            let number = next_number();
            let mut first = vec![CONTROL];
            first.extend(this_run().to_be_bytes());
            first.extend(number.to_be_bytes());
            control.write_all(&first).await?;
            // Only who has the key of the network can answer.
            match control.read_u8().await? {
                CONTROL => {}
                kind => return Err(unexpected(kind)),
            }
            let run = control.read_u64().await?;
            Ok((control, Making { dialler: Dialler::Here, run, number }))
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
            let (run, number) = (control.read_u64().await?, control.read_u64().await?);
            let mut answer = vec![CONTROL];
            answer.extend(this_run().to_be_bytes());
            control.write_all(&answer).await?;
            Ok((control, Making { dialler: Dialler::There, run, number }))
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

    /// Runs it: messages, conversations and its end go to `inputs`.
    pub(super) fn run<I>(self, id: LineId, inputs: &mpsc::Sender<I>, tasks: &Tasks) -> Line
    where
        I: From<Heard> + Send + 'static,
    {
        let Self { connection, making, control } = self;
        let (read, write) = control.into_split();
        let (outgoing, waiting) = mpsc::channel(WAITING);
        let (inputs, running, written) = (inputs.clone(), connection.clone(), CancellationToken::new());
        let writing_ended = written.clone().drop_guard();
        tasks.spawn("line", async move {
            let _writing_ended = writing_ended;
            let why = tokio::select! {
                why = read_all(id, read, &inputs) => why,
                why = write_all(write, waiting) => why,
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
        self.outgoing.try_send(frame(message)).is_ok()
    }

    /// Says things on it from elsewhere.
    pub(super) fn sayer(&self) -> Sayer {
        Sayer(self.outgoing.downgrade())
    }

    /// Nothing more is said; gives the connection, and what is cancelled when the last word has arrived.
    pub(super) fn end(self) -> (Connection, CancellationToken) {
        (self.connection, self.written)
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
        self.0.upgrade().is_some_and(|outgoing| outgoing.try_send(frame(message)).is_ok())
    }
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

async fn read_all<I: From<Heard>>(id: LineId, mut read: ReadHalf, inputs: &mpsc::Sender<I>) -> String {
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
                    if inputs.send(Heard::Message(id, message.to_vec()).into()).await.is_err() {
                        return "this node ends".to_owned();
                    }
                }
                Ok(None) => break,
                Err(error) => return error.to_string(),
            }
        }
    }
}

async fn write_all(mut write: WriteHalf, mut waiting: mpsc::Receiver<Vec<u8>>) -> String {
    while let Some(bytes) = waiting.recv().await {
        if let Err(error) = write.write_all(&bytes).await {
            return error.to_string();
        }
    }
    // What was said is to arrive before the connection ends.
    drop(timeout(OPENING_DEADLINE, write.finished()).await);
    "nothing more is said here".to_owned()
}

/// Takes the streams that the other side opens.
async fn accept_all<I: From<Heard>>(connection: &Connection, inputs: &mpsc::Sender<I>) -> String {
    loop {
        let mut stream = match connection.accept().await {
            Ok(stream) => stream,
            Err(error) => return error.to_string(),
        };
        match timeout(OPENING_DEADLINE, stream.read_u8()).await {
            Ok(Ok(CONVERSATION)) => {}
            Ok(Ok(kind)) => return format!("it opened a stream of kind {kind}"),
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "it opened a stream and said nothing".to_owned(),
        }
        let Ok(reached) = reached(connection, stream) else { return "it closed the connection".to_owned() };
        if inputs.send(Heard::Conversation(reached).into()).await.is_err() {
            return "this node ends".to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: PeerId = PeerId([1; 32]);
    const HIGH: PeerId = PeerId([2; 32]);

    /// The same two lines as both ends know them.
    fn both_ends(low_dialled: [bool; 2], numbers: [u64; 2]) -> [[Making; 2]; 2] {
        let made = |at_low: bool| {
            [0, 1].map(|one| Making {
                dialler: if low_dialled[one] == at_low { Dialler::Here } else { Dialler::There },
                run: 7,
                number: numbers[one],
            })
        };
        [made(true), made(false)]
    }

    #[test]
    fn both_ends_keep_the_same_line_whichever_they_made_first() {
        for (low_dialled, numbers, first_stays) in [
            ([true, true], [1, 2], false),
            ([false, false], [2, 1], true),
            ([true, false], [1, 2], true),
            ([false, true], [1, 2], false),
        ] {
            let [at_low, at_high] = both_ends(low_dialled, numbers);
            for ([first, second], here, there) in [(at_low, LOW, HIGH), (at_high, HIGH, LOW)] {
                assert_eq!(first.outlives(second, here, there), first_stays, "{low_dialled:?}");
                assert_eq!(second.outlives(first, here, there), !first_stays, "{low_dialled:?}");
            }
        }
    }

    #[test]
    fn a_line_ends_with_the_run_of_the_program_there() {
        let [[old, _], _] = both_ends([true, true], [5, 5]);
        let new = Making { run: 8, number: 0, dialler: Dialler::There };
        assert!(!old.outlives(new, LOW, HIGH));
    }
}
