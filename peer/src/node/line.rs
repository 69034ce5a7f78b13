//! The line to another node: one connection, its control stream, and what else comes over it.
//!
//! The first byte of each stream says what it is for: [`CONTROL`] for the one stream of messages, which who dialled opens,
//! and which is answered with the same byte; [`CONVERSATION`] for chunks.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use common::group::{Framer, frame};
use common::id::PeerId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::actor::Input;
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

/// The number of a line in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LineId(pub(super) u64);

/// A line that stands.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: LineId,
    pub(super) connection: Connection,
    pub(super) dialler: Dialler,
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
    dialler: Dialler,
    control: Stream,
}

impl Opened {
    /// Opens the control stream of a connection that was dialled from here, and waits until the other side is there too.
    pub(super) async fn here(connection: Connection) -> io::Result<Self> {
        let opening = async {
            let mut control = connection.open().await.map_err(io::Error::other)?;
            control.write_all(&[CONTROL]).await?;
            // Only who has the key of the network can answer.
            match control.read_u8().await? {
                CONTROL => io::Result::Ok(control),
                kind => Err(unexpected(kind)),
            }
        };
        let control = timeout(OPENING_DEADLINE, opening).await??;
        Ok(Self { connection, dialler: Dialler::Here, control })
    }

    /// Waits for the control stream of a connection that was dialled there.
    pub(super) async fn there(connection: Connection) -> io::Result<Self> {
        let opening = async {
            let mut control = connection.accept().await.map_err(io::Error::other)?;
            match control.read_u8().await? {
                CONTROL => {
                    control.write_all(&[CONTROL]).await?;
                    Ok(control)
                }
                kind => Err(unexpected(kind)),
            }
        };
        let control = timeout(OPENING_DEADLINE, opening).await??;
        Ok(Self { connection, dialler: Dialler::There, control })
    }

    /// Who is there.
    pub(super) fn peer(&self) -> PeerId {
        self.connection.remote().identity.peer_id()
    }

    /// Who dialled.
    pub(super) const fn dialler(&self) -> Dialler {
        self.dialler
    }

    /// Runs it: messages, conversations and its end go to `inputs`.
    pub(super) fn run(self, id: LineId, inputs: &mpsc::Sender<Input>, tasks: &Tasks) -> Line {
        let Self { connection, dialler, control } = self;
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
            let _ending = inputs.send(Input::Ended(id)).await;
        });
        Line { id, connection, dialler, outgoing, written }
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

async fn read_all(id: LineId, mut read: ReadHalf, inputs: &mpsc::Sender<Input>) -> String {
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
                    if inputs.send(Input::Message(id, message.to_vec())).await.is_err() {
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
async fn accept_all(connection: &Connection, inputs: &mpsc::Sender<Input>) -> String {
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
        if inputs.send(Input::Conversation(reached)).await.is_err() {
            return "this node ends".to_owned();
        }
    }
}
