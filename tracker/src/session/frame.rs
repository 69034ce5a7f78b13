//! Frames: a big-endian u32 length and so many bytes. Memory grows with what has come, not with what was announced, and
//! a frame that has begun must end within a time.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use common::wire::FRAME_HEADER;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::{Instant, timeout_at};

/// Bytes that are read at once.
const READ_SIZE: usize = 16 << 10;

/// Takes frames from a stream.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    limit: usize,
    /// From the first byte of a frame to its last.
    patience: Duration,
    /// When the frame that has begun must be whole.
    deadline: Option<Instant>,
}

/// Why there is no next frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream ended between two frames, or within one.
    #[error("the connection ended")]
    End,
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// Longer than allowed.
    #[error("a message of {0} bytes was announced")]
    TooLong(u32),
    /// It took too long from its first byte to its last.
    #[error("a message did not end in time")]
    TooSlow,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Takes frames of at most `limit` bytes, each within `patience`.
    pub(super) fn new(stream: R, limit: usize, patience: Duration) -> Self {
        Self { stream, buffer: BytesMut::new(), limit, patience, deadline: None }
    }

    /// From now on, frames may have other lengths and times.
    pub(super) const fn set_limits(&mut self, limit: usize, patience: Duration) {
        self.limit = limit;
        self.patience = patience;
    }

    /// The next frame's body. May be dropped and called again at any time: nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Bytes, FrameError> {
        loop {
            if let Some(body) = self.take()? {
                return Ok(body);
            }
            if self.buffer.is_empty() {
                self.deadline = None;
            } else if self.deadline.is_none() {
                self.deadline = Some(Instant::now() + self.patience);
            }
            self.buffer.reserve(READ_SIZE);
            let read = match self.deadline {
                None => self.stream.read_buf(&mut self.buffer).await?,
                Some(deadline) => match timeout_at(deadline, self.stream.read_buf(&mut self.buffer)).await {
                    Ok(read) => read?,
                    Err(_elapsed) => return Err(FrameError::TooSlow),
                },
            };
            if read == 0 {
                return Err(FrameError::End);
            }
        }
    }

    fn take(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<FRAME_HEADER>() else { return Ok(None) };
        let announced = u32::from_be_bytes(*header);
        let length = usize::try_from(announced).ok().filter(|length| *length <= self.limit);
        let length = length.ok_or(FrameError::TooLong(announced))?;
        if self.buffer.len() < FRAME_HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(FRAME_HEADER);
        self.deadline = None;
        let body = self.buffer.split_to(length).freeze();
        if self.buffer.is_empty() && length > READ_SIZE {
            // What a long message took is not kept for the next.
            self.buffer = BytesMut::new();
        }
        Ok(Some(body))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use tokio::io::{AsyncWriteExt as _, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn frames_come_out_as_they_went_in_however_they_were_cut() {
        let (mut theirs, ours) = duplex(7);
        let mut reader = FrameReader::new(ours, 100, PATIENCE);
        let writing = async {
            theirs.write_all(b"\0\0\0\x03abc\0\0\0\0\0\0\0\x02de").await.unwrap();
            drop(theirs);
        };
        let reading = async {
            for want in [&b"abc"[..], b"", b"de"] {
                assert_eq!(reader.next().await.unwrap(), want);
            }
            assert!(matches!(reader.next().await, Err(FrameError::End)));
        };
        tokio::join!(writing, reading);
    }

    #[tokio::test(start_paused = true)]
    async fn a_huge_length_is_refused_before_anything_else_comes() {
        let (mut theirs, ours) = duplex(64);
        let mut reader = FrameReader::new(ours, 100, PATIENCE);
        theirs.write_all(&[0xff; 4]).await.unwrap();
        assert!(matches!(reader.next().await, Err(FrameError::TooLong(u32::MAX))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_at_a_time_takes_no_memory_and_not_for_ever() {
        let (mut theirs, ours) = duplex(64);
        let mut reader = FrameReader::new(ours, 1 << 20, PATIENCE);
        theirs.write_all(&(1u32 << 20).to_be_bytes()).await.unwrap();
        let begun = Instant::now();
        let trickle = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if theirs.write_all(b"x").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            () = trickle => unreachable!("it goes on for ever"),
            frame = reader.next() => assert!(matches!(frame, Err(FrameError::TooSlow))),
        }
        assert_eq!(begun.elapsed(), PATIENCE);
        assert!(reader.buffer.capacity() <= 2 * READ_SIZE, "{}", reader.buffer.capacity());
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_stream_has_all_the_time_there_is() {
        let (mut theirs, ours) = duplex(64);
        let mut reader = FrameReader::new(ours, 100, PATIENCE);
        assert!(tokio::time::timeout(PATIENCE * 100, reader.next()).await.is_err());
        theirs.write_all(b"\0\0\0\x01x").await.unwrap();
        assert_eq!(reader.next().await.unwrap(), &b"x"[..]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_read_loses_nothing() {
        let (mut theirs, ours) = duplex(64);
        let mut reader = FrameReader::new(ours, 100, PATIENCE);
        for byte in b"\0\0\0\x02de" {
            {
                let mut next = std::pin::pin!(reader.next());
                let polled = futures_poll(next.as_mut()).await;
                assert!(polled.is_pending());
            }
            theirs.write_all(&[*byte]).await.unwrap();
        }
        assert_eq!(reader.next().await.unwrap(), &b"de"[..]);
    }

    async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
    }
}
