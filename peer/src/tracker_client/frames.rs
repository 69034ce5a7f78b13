//! Frames: a big-endian u32 length and a body, read and written. See `common/src/wire/WIRE.md`.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use common::wire::{FRAME_HEADER, MAX_TRACKER_FRAME};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A tracker that takes nothing for so long is as good as gone.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// Takes frames off a stream. What has come of one stays here, so [`Self::next`] may be dropped at any await.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next body; `None` when the stream ends between two frames. A frame over [`MAX_TRACKER_FRAME`] is an error before
    /// any of it is kept.
    pub(crate) async fn next(&mut self) -> io::Result<Option<BytesMut>> {
        loop {
            if let Some(body) = self.take()? {
                return Ok(Some(body));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<BytesMut>> {
        let Some(header) = self.buffer.first_chunk::<FRAME_HEADER>() else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
        if length > MAX_TRACKER_FRAME {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it sent a frame that is too long"));
        }
        if self.buffer.len() < FRAME_HEADER + length {
            return Ok(None);
        }
        self.buffer.advance(FRAME_HEADER);
        Ok(Some(self.buffer.split_to(length)))
    }
}

/// Writes a whole frame within [`WRITE_DEADLINE`]. After an error, or when dropped before its end, the stream is of no use
/// any more.
pub(crate) async fn write<W: AsyncWrite + Unpin>(stream: &mut W, frame: &[u8]) -> io::Result<()> {
    let all = async {
        stream.write_all(frame).await?;
        stream.flush().await
    };
    match tokio::time::timeout(WRITE_DEADLINE, all).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it takes no more messages")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_whole_however_their_bytes_do() {
        let (mut near, far) = tokio::io::duplex(1);
        let mut reader = FrameReader::new(far);
        let sent: [&[u8]; 3] = [b"\0\0\0\0", b"\0\0\0\x01a", b"\0\0\0\x0asome words"];
        let writing = async {
            for frame in sent {
                write(&mut near, frame).await.unwrap();
            }
            drop(near);
        };
        let reading = async {
            let mut bodies = Vec::new();
            loop {
                // A read that is dropped loses nothing.
                match tokio::time::timeout(Duration::ZERO, reader.next()).await {
                    Err(_) => tokio::task::yield_now().await,
                    Ok(body) => match body.unwrap() {
                        Some(body) => bodies.push(String::from_utf8(body.to_vec()).unwrap()),
                        None => return bodies,
                    },
                }
            }
        };
        let ((), bodies) = tokio::join!(writing, reading);
        assert_eq!(bodies, ["", "a", "some words"]);
    }

    #[tokio::test]
    async fn a_stream_that_ends_within_a_frame_or_promises_too_much_is_an_error() {
        let mut reader = FrameReader::new(&[0, 0, 0, 9, b'x'][..]);
        assert_eq!(reader.next().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let too_long = u32::try_from(MAX_TRACKER_FRAME + 1).unwrap().to_be_bytes();
        let mut reader = FrameReader::new(&too_long[..]);
        assert_eq!(reader.next().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
