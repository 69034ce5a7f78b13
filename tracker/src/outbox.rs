//! Outboxes: what is to be sent on one connection, in order, bounded. A peer that does not read what it is sent is hung
//! up on rather than remembered for.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use common::wire::tracker::{Event, FromTracker, Refusal, Reply};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::service::Why;

/// So many small requests of one connection may be under way; the connection is not read further meanwhile.
pub(crate) const MAX_IN_FLIGHT: usize = 64;
/// So many events may wait for a peer to read them: some two seconds of a thousand peers that come at once. Then it is
/// hung up on.
const MAX_EVENTS_WAITING: usize = 2_048;
/// With so many waiting, events are left out that only say who comes and goes.
const GOSSIP_UP_TO: usize = MAX_EVENTS_WAITING / 2;

/// Something to send.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A message, and what allowed its request, to be freed when it is sent.
    Message(Box<FromTracker>, Option<OwnedSemaphorePermit>),
    /// A message that many are sent, with its length.
    Frame(Bytes),
}

/// Sends on one connection; clones are for the same.
#[derive(Debug, Clone)]
pub(crate) struct Outbox {
    queue: mpsc::Sender<Outgoing>,
    /// Ends the connection.
    pub(crate) closing: Closing,
}

/// Ends a connection and says why; clones are for the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Closing {
    token: CancellationToken,
    finishing: CancellationToken,
    why: Arc<OnceLock<Why>>,
}

impl Outbox {
    /// One for a new connection, and what takes from it.
    pub(crate) fn new(closing: Closing) -> (Self, mpsc::Receiver<Outgoing>) {
        // Answers are bounded by what may be in flight, so what is left over is for events. Full: the peer is dropped.
        let (queue, receiver) = mpsc::channel(MAX_IN_FLIGHT + MAX_EVENTS_WAITING);
        (Self { queue, closing }, receiver)
    }

    /// Answers a request.
    pub(crate) fn answer(&self, id: u64, answer: Result<Reply, Refusal>, permit: Option<OwnedSemaphorePermit>) {
        let message = match answer {
            Ok(result) => FromTracker::Reply { id, result },
            Err(error) => FromTracker::Refusal { id, error },
        };
        self.push(Outgoing::Message(Box::new(message), permit));
    }

    /// Sends a ping.
    pub(crate) fn ping(&self, number: u64) {
        self.push(Outgoing::Message(Box::new(FromTracker::Ping(number)), None));
    }

    /// Sends an event.
    pub(crate) fn tell(&self, event: Event) {
        self.push(Outgoing::Message(Box::new(FromTracker::Event(event)), None));
    }

    /// Sends a message that many are sent.
    pub(crate) fn tell_frame(&self, frame: Bytes) {
        self.push(Outgoing::Frame(frame));
    }

    /// Sends a message that may be left out.
    pub(crate) fn gossip(&self, frame: Bytes) {
        if self.queue.max_capacity() - self.queue.capacity() < GOSSIP_UP_TO {
            self.push(Outgoing::Frame(frame));
        }
    }

    fn push(&self, outgoing: Outgoing) {
        // Closed: the connection is ending, and nobody waits for this.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(outgoing) {
            self.closing.close(Why::NotReading);
        }
    }
}

impl Closing {
    /// Ends the connection; only the first reason counts.
    pub(crate) fn close(&self, why: Why) {
        let _first = self.why.set(why);
        self.token.cancel();
    }

    /// Ends the connection when what is waiting was sent; only the first reason counts.
    pub(crate) fn finish(&self, why: Why) {
        let _first = self.why.set(why);
        self.finishing.cancel();
    }

    /// Ready when nothing more is to be read from the connection.
    pub(crate) fn finishing(&self) -> WaitForCancellationFuture<'_> {
        self.finishing.cancelled()
    }

    /// Ready when the connection is to end at once.
    pub(crate) fn closed(&self) -> WaitForCancellationFuture<'_> {
        self.token.cancelled()
    }

    /// Why it ends.
    pub(crate) fn why(&self) -> Why {
        self.why.get().copied().unwrap_or(Why::Disconnected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_does_not_read_is_hung_up_on() {
        let (outbox, mut receiver) = Outbox::new(Closing::default());
        for _ in 0..MAX_EVENTS_WAITING + MAX_IN_FLIGHT {
            outbox.tell(Event::Shutdown);
        }
        assert!(outbox.closing.why.get().is_none());
        outbox.tell(Event::Shutdown);
        assert_eq!(outbox.closing.why.get(), Some(&Why::NotReading));
        let mut waiting = 0;
        while receiver.try_recv().is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, MAX_EVENTS_WAITING + MAX_IN_FLIGHT);
    }

    #[test]
    fn gossip_never_costs_a_peer_its_connection() {
        let (outbox, mut receiver) = Outbox::new(Closing::default());
        for _ in 0..3 * MAX_EVENTS_WAITING {
            outbox.gossip(Bytes::from_static(b"x"));
        }
        assert!(outbox.closing.why.get().is_none());
        outbox.tell(Event::Shutdown);
        let mut waiting = 0;
        while receiver.try_recv().is_ok() {
            waiting += 1;
        }
        assert_eq!(waiting, GOSSIP_UP_TO + 1);
    }
}
