//! Whether anybody uses a line: its streams hold it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::tracker_client::Stream;

/// Held by all streams of a line; clones are of the same line.
#[derive(Debug, Clone, Default)]
pub(super) struct Hold(Arc<()>);

/// A stream that holds its line.
#[derive(Debug)]
struct Held {
    stream: Stream,
    _hold: Hold,
}

impl Hold {
    /// Whether a stream holds it.
    pub(super) fn is_used(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Has a stream hold it.
    pub(super) fn over(&self, stream: Stream) -> Stream {
        Box::new(Held { stream, _hold: self.clone() })
    }
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_used_as_long_as_one_of_its_streams_is_there() {
        let hold = Hold::default();
        assert!(!hold.is_used());
        let streams = [(); 2].map(|()| hold.over(Box::new(tokio::io::duplex(1).0)));
        let [one, other] = streams;
        drop(one);
        assert!(hold.is_used());
        drop(other);
        assert!(!hold.is_used());
    }
}
