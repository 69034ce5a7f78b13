//! Frames off a byte stream: a length, a body; and the raw bytes between them.

use std::io;

use common::wire::{FRAME_HEADER, MAX_PEER_FRAME};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Read at once while looking for a frame. Small, because what it takes of a chunk's bytes is copied once more.
const READ_AHEAD: usize = 8 << 10;

/// Reads frames and raw bytes from a stream; holds at most one frame and [`READ_AHEAD`] bytes.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    inner: R,
    buffer: Vec<u8>,
    start: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) const fn new(inner: R) -> Self {
        Self { inner, buffer: Vec::new(), start: 0 }
    }

    /// The body of the next frame; `None` when the stream ended between frames.
    pub(super) async fn frame(&mut self) -> io::Result<Option<&[u8]>> {
        if !self.fill(FRAME_HEADER).await? {
            return Ok(None);
        }
        let header = self.buffer[self.start..].first_chunk().copied().unwrap_or_default();
        let length = u32::from_be_bytes(header) as usize;
        if length > MAX_PEER_FRAME {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
        }
        if !self.fill(FRAME_HEADER + length).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let body = self.start + FRAME_HEADER;
        self.start = body + length;
        Ok(self.buffer.get(body..self.start))
    }

    /// Appends the next raw bytes to `out`, at least one, at most `most`; never more than its capacity has room for.
    pub(super) async fn raw(&mut self, out: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let waiting = &self.buffer[self.start..];
        if !waiting.is_empty() {
            let taken = waiting.len().min(most);
            out.extend_from_slice(&waiting[..taken]);
            self.start += taken;
            return Ok(taken);
        }
        match (&mut self.inner).take(most as u64).read_buf(out).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            taken => Ok(taken),
        }
    }

    /// Makes sure that so many bytes wait; `false` when the stream ended before the first of them.
    async fn fill(&mut self, want: usize) -> io::Result<bool> {
        while self.buffer.len() - self.start < want {
            if self.start > 0 {
                self.buffer.drain(..self.start);
                self.start = 0;
            }
            let missing = want - self.buffer.len();
            self.buffer.reserve(missing.max(READ_AHEAD));
            let most = missing.max(READ_AHEAD) as u64;
            if (&mut self.inner).take(most).read_buf(&mut self.buffer).await? == 0 {
                if self.buffer.is_empty() {
                    return Ok(false);
                }
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(bytes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut reader = FrameReader::new(bytes);
        let mut frames = Vec::new();
        while let Some(body) = reader.frame().await? {
            frames.push(body.to_vec());
        }
        Ok(frames)
    }

    #[tokio::test]
    async fn frames_come_one_by_one() {
        let frames = read_all(&[0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0, 2, 8, 9]).await.unwrap();
        assert_eq!(frames, [vec![7], vec![], vec![8, 9]]);
    }

    #[tokio::test]
    async fn a_huge_length_is_refused_and_a_cut_frame_is_an_error() {
        assert_eq!(read_all(&[255, 255, 255, 255]).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert_eq!(read_all(&[0, 0, 0, 2, 1]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(read_all(&[0, 0]).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(read_all(&[]).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn raw_bytes_stand_between_frames() {
        let bytes = [0, 0, 0, 1, 7, 1, 2, 3, 4, 5, 0, 0, 0, 1, 8];
        let mut reader = FrameReader::new(&bytes[..]);
        assert_eq!(reader.frame().await.unwrap(), Some(&[7][..]));
        let mut out = Vec::with_capacity(5);
        while out.len() < 5 {
            let most = 5 - out.len();
            reader.raw(&mut out, most.min(2)).await.unwrap();
        }
        assert_eq!(out, [1, 2, 3, 4, 5]);
        assert_eq!(reader.frame().await.unwrap(), Some(&[8][..]));
    }
}
