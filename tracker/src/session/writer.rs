//! Writing: what waits in an outbox goes onto the connection, as many messages at once as are there.

use std::io;
use std::time::Duration;

use common::wire::tracker::{Code, FromTracker, Refusal, Reply};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::outbox::{Closing, Outgoing};
use crate::service::{Why, refusal};

/// A connection that takes nothing for so long is closed.
pub(super) const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// At the end of a connection there is so long to send what is waiting.
pub(super) const FLUSH_DEADLINE: Duration = Duration::from_secs(2);
/// Messages are gathered up to so many bytes, and written in pieces of so many.
const PIECE: usize = 64 << 10;

/// Sends what comes until nobody can send any more, or the connection is to be closed; closes it when it fails.
pub(super) async fn write_messages<W>(mut writer: W, mut waiting: mpsc::Receiver<Outgoing>, closing: &Closing)
where
    W: AsyncWrite + Unpin,
{
    loop {
        let first = tokio::select! {
            biased;
            () = closing.closed() => return,
            first = waiting.recv() => first,
        };
        let Some(first) = first else { break };
        let mut gathered = Gathered::default();
        gathered.add(first);
        while gathered.bytes.len() < PIECE {
            let Ok(more) = waiting.try_recv() else { break };
            gathered.add(more);
        }
        let written = tokio::select! {
            biased;
            // Nothing is written after this, so it does not matter where it stopped.
            () = closing.closed() => return,
            written = write_all(&mut writer, &gathered.bytes) => written,
        };
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return closing.close(Why::NotReading),
            Err(_) => return closing.close(Why::Disconnected),
        }
    }
    // The other side may be gone: it need not hear this.
    let _goodbye = timeout(WRITE_DEADLINE, writer.shutdown()).await;
}

/// Answers a request of a peer that has not joined, and has no outbox yet.
pub(super) async fn write_answer<W>(writer: &mut W, id: u64, answer: Result<Reply, Refusal>) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let message = match answer {
        Ok(result) => FromTracker::Reply { id, result },
        Err(error) => FromTracker::Refusal { id, error },
    };
    write_all(writer, &encode(message)).await
}

/// Messages to be written together.
#[derive(Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// What allowed the requests; freed when the answers are written.
    permits: Vec<tokio::sync::OwnedSemaphorePermit>,
}

impl Gathered {
    fn add(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Message(message, permit) => {
                let frame = encode(*message);
                if self.bytes.is_empty() {
                    self.bytes = frame;
                } else {
                    self.bytes.extend_from_slice(&frame);
                }
                self.permits.extend(permit);
            }
            Outgoing::Frame(frame) => self.bytes.extend_from_slice(&frame),
        }
    }
}

fn encode(message: FromTracker) -> Vec<u8> {
    let id = match &message {
        FromTracker::Reply { id, .. } | FromTracker::Refusal { id, .. } => Some(*id),
        FromTracker::Ping(_) | FromTracker::Event(_) => None,
    };
    let too_large = match message.to_frame() {
        Ok(frame) => return frame,
        Err(too_large) => too_large,
    };
    // Replies and events are made to fit, so this is a fault of ours; the connection need not suffer for it.
    tracing::error!("a message was not sent: {too_large}");
    let error = refusal(Code::Limit, "the answer is longer than a message may be");
    let frame = id.and_then(|id| FromTracker::Refusal { id, error }.to_frame().ok());
    frame.unwrap_or_default()
}

async fn write_all<W>(writer: &mut W, bytes: &[u8]) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    for piece in bytes.chunks(PIECE) {
        within_deadline(writer.write_all(piece)).await?;
    }
    within_deadline(writer.flush()).await
}

async fn within_deadline(write: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    timeout(WRITE_DEADLINE, write).await.unwrap_or_else(|_elapsed| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, duplex};

    use super::*;
    use crate::outbox::Outbox;

    #[tokio::test(start_paused = true)]
    async fn what_is_waiting_is_sent_before_the_end() {
        let (mut theirs, ours) = duplex(1 << 20);
        let (outbox, waiting) = Outbox::new(Closing::default());
        for number in 0..1000 {
            outbox.ping(number);
        }
        drop(outbox);
        write_messages(ours, waiting, &Closing::default()).await;
        let mut bytes = Vec::new();
        theirs.read_to_end(&mut bytes).await.unwrap();
        let mut at = 0;
        for number in 0..1000u64 {
            let frame = FromTracker::Ping(number).to_frame().unwrap();
            assert_eq!(&bytes[at..at + frame.len()], frame);
            at += frame.len();
        }
        assert_eq!(at, bytes.len());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_takes_nothing_is_closed() {
        let (_theirs, ours) = duplex(8);
        let (outbox, waiting) = Outbox::new(Closing::default());
        outbox.ping(1);
        let begun = tokio::time::Instant::now();
        write_messages(ours, waiting, &outbox.closing).await;
        assert_eq!((outbox.closing.why(), begun.elapsed()), (Why::NotReading, WRITE_DEADLINE));
    }

    #[tokio::test(start_paused = true)]
    async fn closing_does_not_wait_for_what_is_waiting() {
        let (_theirs, ours) = duplex(8);
        let (outbox, waiting) = Outbox::new(Closing::default());
        outbox.ping(1);
        let begun = tokio::time::Instant::now();
        let closing = outbox.closing.clone();
        let close = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            closing.close(Why::Silent);
        };
        tokio::join!(write_messages(ours, waiting, &outbox.closing), close);
        assert_eq!(begun.elapsed(), Duration::from_secs(1));
    }
}
