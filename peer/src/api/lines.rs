//! Lines: JSON values, one a line, as the body of an answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::MAX_LINE;
use crate::command::{Failure, Outcome, Update};

/// A line of the answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line {
    /// It goes on.
    Update(Update),
    /// It ended well: the last line.
    Outcome(Outcome),
    /// It ended badly: the last line.
    Failure(Failure),
}

/// A body that ends when the sender of its lines is dropped.
#[derive(Debug)]
pub(super) struct LinesBody(pub(super) mpsc::Receiver<Bytes>);

impl Body for LinesBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

/// A value as a line; `None` where JSON cannot say it (a path that is not UTF-8).
pub(super) fn to_line(value: &impl Serialize) -> Option<Bytes> {
    let mut line = serde_json::to_vec(value).ok()?;
    line.push(b'\n');
    Some(line.into())
}

/// Cuts what comes over the wire into lines.
#[derive(Debug, Default)]
pub(super) struct LineBuffer {
    bytes: BytesMut,
    /// How much of `bytes` has no newline in it.
    searched: usize,
}

/// A line over [`MAX_LINE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineTooLong;

impl LineBuffer {
    /// Takes what came; an error when no line may be so long.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), LineTooLong> {
        if self.bytes.len() + bytes.len() > MAX_LINE {
            return Err(LineTooLong);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole line, without its newline.
    pub(super) fn next_line(&mut self) -> Option<BytesMut> {
        let Some(at) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') else {
            self.searched = self.bytes.len();
            return None;
        };
        let mut line = self.bytes.split_to(self.searched + at + 1);
        self.searched = 0;
        line.truncate(line.len() - 1);
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::FailureKind;

    #[test]
    fn lines_come_out_whole_however_they_came_in() {
        let mut buffer = LineBuffer::default();
        let mut lines = Vec::new();
        for byte in b"one\n\ntwo\nthr" {
            buffer.push(&[*byte]).unwrap();
            lines.extend(buffer.next_line());
        }
        assert_eq!(lines, [&b"one"[..], b"", b"two"]);
        assert_eq!(buffer.next_line(), None);
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_fills_memory() {
        let mut buffer = LineBuffer::default();
        let piece = vec![b'x'; 1 << 20];
        for _ in 0..MAX_LINE >> 20 {
            buffer.push(&piece).unwrap();
        }
        assert_eq!(buffer.push(b"x"), Err(LineTooLong));
    }

    #[test]
    fn lines_are_what_the_api_promises() {
        let line = to_line(&Line::Outcome(Outcome::Stopping)).unwrap();
        assert_eq!(&line[..], b"{\"outcome\":\"stopping\"}\n");
        let failure = Line::Failure(Failure::new(FailureKind::NoTracker, "no"));
        let line = to_line(&failure).unwrap();
        assert!(line.starts_with(b"{\"failure\":{\"kind\":\"no_tracker\","), "{line:?}");
        assert_eq!(serde_json::from_slice::<Line>(&line).unwrap(), failure);
    }
}
