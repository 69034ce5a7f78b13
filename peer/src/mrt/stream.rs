//! Reading and writing.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use common::mrt::{Connection as Machine, Read, ReadError, StreamId, WriteError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

use super::connection::Inner;
use super::entry::{Direction, Half, Outcome};
use super::error::StreamError;
use super::shared::Attention;

/// Most bytes copied in or out while all other connections of the node wait: some 10 us.
const QUANTUM: usize = 128 << 10;
/// The number that a stream is given up with that was dropped.
const DROPPED: u64 = 0;

/// Ordered bytes in both directions.
///
/// Writing takes what there is room for and waits while there is none, which is so while the other side does not read.
/// [`AsyncWrite::poll_shutdown`] ends what is written; that and all before it is delivered also when the stream is
/// dropped afterwards, as long as the connection lives. [`AsyncWrite::poll_flush`] has nothing to do.
///
/// Dropping it without `shutdown` gives up what was written (the other side meets [`ReadError::Reset`]); dropping it
/// before its end was read tells the other side that the rest is not wanted ([`WriteError::Stopped`]).
#[derive(Debug)]
pub struct Stream {
    read: ReadHalf,
    write: WriteHalf,
}

/// What the other side writes. See [`Stream`] for what dropping it does.
#[derive(Debug)]
pub struct ReadHalf {
    connection: Arc<Inner>,
    id: StreamId,
    progress: Progress,
}

/// How far the program has come with one half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There may be more.
    Open,
    /// Its end was read, or declared.
    Ended,
    /// It was given up, by one of both sides.
    Over,
}

/// What this side writes. See [`Stream`] for what dropping it does.
#[derive(Debug)]
pub struct WriteHalf {
    connection: Arc<Inner>,
    id: StreamId,
    progress: Progress,
}

impl Stream {
    pub(super) fn new(connection: Arc<Inner>, id: StreamId) -> Self {
        let read = ReadHalf { connection: Arc::clone(&connection), id, progress: Progress::Open };
        Self { read, write: WriteHalf { connection, id, progress: Progress::Open } }
    }

    /// Its number: the same on both sides.
    pub const fn id(&self) -> StreamId {
        self.read.id
    }

    /// Both directions on their own.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (self.read, self.write)
    }

    /// See [`WriteHalf::finished`].
    pub async fn finished(&mut self) -> Result<(), StreamError> {
        self.write.finished().await
    }

    /// See [`ReadHalf::read_chunk`].
    pub async fn read_chunk(&mut self, into: &mut Vec<u8>) -> Result<bool, StreamError> {
        self.read.read_chunk(into).await
    }

    /// See [`WriteHalf::write_chunk`].
    pub async fn write_chunk(&mut self, chunk: Bytes) -> Result<(), StreamError> {
        self.write.write_chunk(chunk).await
    }

    /// See [`WriteHalf::reset`].
    pub fn reset(&mut self, code: u64) {
        self.write.reset(code);
    }

    /// See [`ReadHalf::stop`].
    pub fn stop(&mut self, code: u64) {
        self.read.stop(code);
    }
}

impl ReadHalf {
    /// The number of the stream.
    pub const fn id(&self) -> StreamId {
        self.id
    }

    /// Does not want the rest: the other side is told, and nothing can be read any more.
    pub fn stop(&mut self, code: u64) {
        self.progress = Progress::Over;
        let _closed_already = self.connection.shared.act(self.connection.handle, |machine, _| {
            machine.stop(self.id, code);
            (Attention::of(machine), ())
        });
    }

    /// Waits for bytes, and puts them into `into`, and nothing else; false at the end. Unlike [`AsyncRead`] it copies nothing
    /// where it is used alone: what `into` has goes to the program, and its memory is used for what comes next.
    pub async fn read_chunk(&mut self, into: &mut Vec<u8>) -> Result<bool, StreamError> {
        let count = poll_fn(|context| {
            let turn = ready!(coop::poll_proceed(context));
            let read = self.poll_read_with(context, |machine, id| machine.read_chunk(id, into));
            if read.is_ready() {
                turn.made_progress();
            }
            read
        });
        Ok(count.await? > 0)
    }

    /// Lets `read` read, which has room for something; 0 bytes are the end.
    fn poll_read_with(
        &mut self,
        context: &Context<'_>,
        read: impl FnOnce(&mut Machine, StreamId) -> Result<Read, ReadError>,
    ) -> Poll<Result<usize, StreamError>> {
        if self.progress == Progress::Ended {
            return Poll::Ready(Ok(0));
        }
        let Self { connection, id, .. } = self;
        let read = connection.shared.act(connection.handle, |machine, entry| {
            let read = read(machine, *id);
            if read == Ok(Read::Blocked) {
                entry.wait(*id, Direction::Reading, context);
            }
            (Attention::of(machine), read)
        })?;
        Poll::Ready(match read {
            Ok(Read::Bytes(count)) => Ok(count),
            Ok(Read::Blocked) => return Poll::Pending,
            Ok(Read::End) => {
                self.progress = Progress::Ended;
                Ok(0)
            }
            Err(error) => {
                self.progress = Progress::Over;
                Err(error.into())
            }
        })
    }
}

impl WriteHalf {
    /// The number of the stream.
    pub const fn id(&self) -> StreamId {
        self.id
    }

    /// Declares the end, if that was not done, and waits until the other side has acknowledged everything up to it. That
    /// means it has arrived there, not that it was read.
    pub async fn finished(&mut self) -> Result<(), StreamError> {
        match self.progress {
            Progress::Open => self.finish()?,
            Progress::Ended => {}
            Progress::Over => return Err(WriteError::Closed.into()),
        }
        poll_fn(|context| self.poll_finished(context)).await
    }

    /// Gives up what was written and not yet delivered, and writes no more.
    pub fn reset(&mut self, code: u64) {
        self.progress = Progress::Over;
        let _closed_already = self.connection.shared.act(self.connection.handle, |machine, _| {
            machine.reset(self.id, code);
            (Attention::of(machine), ())
        });
    }

    fn finish(&mut self) -> Result<(), StreamError> {
        let finished = self.connection.shared.act(self.connection.handle, |machine, _| {
            let finished = machine.finish(self.id);
            (Attention::of(machine), finished)
        })?;
        // An end that was refused will never be acknowledged.
        self.progress = if finished.is_ok() { Progress::Ended } else { Progress::Over };
        Ok(finished?)
    }

    fn poll_finished(&self, context: &Context<'_>) -> Poll<Result<(), StreamError>> {
        let outcome = self.connection.shared.act(self.connection.handle, |_, entry| {
            let outcome = entry.half(self.id, Direction::Writing).and_then(|half| half.outcome);
            if outcome.is_none() {
                entry.wait(self.id, Direction::Writing, context);
            }
            (Attention::NotNeeded, outcome)
        })?;
        match outcome {
            None => Poll::Pending,
            Some(Outcome::Finished) => Poll::Ready(Ok(())),
            Some(Outcome::Stopped(code)) => Poll::Ready(Err(WriteError::Stopped(code).into())),
        }
    }

    /// Writes `chunk` without copying it, and waits while there is no room. What was written when this is dropped halfway is
    /// not known.
    pub async fn write_chunk(&mut self, mut chunk: Bytes) -> Result<(), StreamError> {
        while !chunk.is_empty() {
            poll_fn(|context| {
                let turn = ready!(coop::poll_proceed(context));
                let written = self.poll_write_with(context, |machine| machine.write_chunk(self.id, &mut chunk));
                if written.is_ready() {
                    turn.made_progress();
                }
                written
            })
            .await?;
        }
        Ok(())
    }

    /// Lets `write` write, which has something to write.
    fn poll_write_with(
        &self,
        context: &Context<'_>,
        write: impl FnOnce(&mut Machine) -> Result<usize, WriteError>,
    ) -> Poll<Result<usize, StreamError>> {
        let written = self.connection.shared.act(self.connection.handle, |machine, entry| {
            let mut written = write(machine);
            if written == Ok(0) {
                entry.wait(self.id, Direction::Writing, context);
            } else if written == Err(WriteError::Closed)
                && let Some(Half { outcome: Some(Outcome::Stopped(code)), .. }) =
                    entry.half(self.id, Direction::Writing)
            {
                written = Err(WriteError::Stopped(*code));
            }
            (Attention::of(machine), written)
        })?;
        match written {
            Ok(0) => Poll::Pending,
            written => Poll::Ready(Ok(written?)),
        }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if out.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        // Those who read from memory never wait, and would keep others from their turn.
        let turn = ready!(coop::poll_proceed(context));
        let length = out.remaining().min(QUANTUM);
        let count = {
            let out = out.initialize_unfilled_to(length);
            ready!(this.poll_read_with(context, |machine, id| machine.read(id, out)))?
        };
        turn.made_progress();
        out.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if data.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let turn = ready!(coop::poll_proceed(context));
        let data = data.get(..QUANTUM).unwrap_or(data);
        let count = ready!(self.poll_write_with(context, |machine| machine.write(self.id, data)))?;
        turn.made_progress();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.progress == Progress::Open {
            this.finish()?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().read).poll_read(context, out)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().write).poll_write(context, data)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().write).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().write).poll_shutdown(context)
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        let Self { connection, id, progress } = self;
        connection.shared.drop_half(connection.handle, *id, Direction::Reading, |machine| {
            if *progress == Progress::Open {
                machine.stop(*id, DROPPED);
            }
        });
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        let Self { connection, id, progress } = self;
        connection.shared.drop_half(connection.handle, *id, Direction::Writing, |machine| {
            if *progress == Progress::Open {
                machine.reset(*id, DROPPED);
            }
        });
    }
}
