//! The sending half of a link: messages first, then chunks, read ahead by one segment and sent as the limit allows.

use std::io;
use std::sync::Arc;

use common::wire::peer::{ConversationId, Message};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::outbox::{Next, Outbox, QUEUED_INTERVAL};
use super::{Context, Link};
use crate::limit::QUANTUM;
use crate::storage::SEGMENT;
use crate::swarm::Swarm;
use crate::whole::ReadFailure;

/// Bytes of chunks that wait to be sent, on all links together.
const READ_AHEAD_BUDGET: usize = 24 << 20;
/// A link has one segment that is being sent and one that is being read.
const SEGMENTS_PER_LINK: usize = 2;
/// Many links read in small steps, but not in smaller ones.
const SMALLEST_SEGMENT: usize = 32 << 10;

/// Sends what is in the outbox of one link, until that closes or the stream fails.
pub(super) struct Writer<W> {
    pub(super) stream: W,
    pub(super) link: Arc<Link>,
    pub(super) context: Arc<Context>,
    ready: Option<Segment>,
    loading: Option<JoinHandle<Result<Segment, (Place, ReadFailure)>>>,
    /// Where the next segment of the chunk that was read last begins.
    after: Option<Place>,
    /// Bytes booked with the limit, and when they may go.
    booked: Option<(usize, Option<Instant>)>,
    spare: Vec<Vec<u8>>,
}

/// A place in a chunk that was asked for.
#[derive(Clone)]
struct Place {
    conversation: ConversationId,
    swarm: Arc<Swarm>,
    chunk: u32,
    offset: u32,
    size: u32,
}

/// Bytes read and waiting to be sent.
struct Segment {
    place: Place,
    bytes: Vec<u8>,
    sent: usize,
}

impl<W: AsyncWrite + Unpin + Send> Writer<W> {
    pub(super) const fn new(stream: W, link: Arc<Link>, context: Arc<Context>) -> Self {
        Self { stream, link, context, ready: None, loading: None, after: None, booked: None, spare: Vec::new() }
    }

    fn outbox(&self) -> &Outbox {
        self.link.outbox()
    }

    /// Runs until the link is closed.
    pub(super) async fn run(mut self) -> io::Result<()> {
        loop {
            match self.outbox().next(Instant::now()) {
                Next::Control(bytes) => {
                    self.stream.write_all(&bytes).await?;
                    self.stream.flush().await?;
                }
                Next::Close => return self.stream.shutdown().await,
                Next::Uploads => self.upload().await?,
            }
        }
    }

    /// One step of the uploads; returns soon when something else is to be sent.
    async fn upload(&mut self) -> io::Result<()> {
        self.load();
        if self.ready.is_none() {
            self.wait_for_segment().await;
            return Ok(());
        }
        if let Some(segment) = self.ready.as_ref()
            && !self.outbox().is_active(segment.place.conversation, segment.place.chunk)
        {
            self.drop_segment();
            return Ok(());
        }
        if self.may_send().await { self.send_quantum().await } else { Ok(()) }
    }

    /// Begins to read the next segment, if there is one and none is being read.
    fn load(&mut self) {
        if self.loading.is_some() {
            return;
        }
        let outbox = self.link.outbox();
        let going_on = self.after.take().filter(|place| outbox.is_active(place.conversation, place.chunk));
        let place = going_on.or_else(|| {
            let (conversation, swarm, chunk) = outbox.take_request()?;
            let layout = swarm.layout();
            // A chunk that does not exist has size 0, and reading it fails.
            let size = layout.chunk(chunk).map_or(0, |index| layout.size(index));
            Some(Place { conversation, swarm, chunk, offset: 0, size })
        });
        let Some(place) = place else { return };
        let length = self.segment_size().min((place.size - place.offset) as usize);
        let end = place.offset + u32::try_from(length).expect("at most 1 MiB");
        self.after = (end < place.size).then(|| Place { offset: end, ..place.clone() });
        let mut bytes = self.spare.pop().unwrap_or_default();
        self.loading = Some(tokio::task::spawn_blocking(move || {
            bytes.resize(length, 0);
            match place.swarm.read(place.chunk, place.offset, &mut bytes) {
                Ok(()) => Ok(Segment { place, bytes, sent: 0 }),
                Err(failure) => Err((place, failure)),
            }
        }));
    }

    /// Bytes to read at once: all links together stay within [`READ_AHEAD_BUDGET`].
    fn segment_size(&self) -> usize {
        let links = self.context.links.count().max(1);
        (READ_AHEAD_BUDGET / (SEGMENTS_PER_LINK * links)).clamp(SMALLEST_SEGMENT, SEGMENT)
    }

    async fn wait_for_segment(&mut self) {
        let Some(loading) = &mut self.loading else {
            let wait = tokio::time::sleep(QUEUED_INTERVAL);
            tokio::select! {
                () = self.link.outbox().woken() => {}
                () = wait => {}
            }
            return;
        };
        let loaded = tokio::select! {
            loaded = loading => loaded,
            () = self.link.outbox().woken() => return,
        };
        self.loading = None;
        match loaded {
            Ok(Ok(segment)) => self.ready = Some(segment),
            Ok(Err((place, failure))) => self.on_read_failure(&place, &failure),
            Err(panicked) => tracing::error!(%panicked, "reading a chunk"),
        }
    }

    fn on_read_failure(&mut self, place: &Place, failure: &ReadFailure) {
        self.after = None;
        let Place { conversation, chunk, .. } = *place;
        self.outbox().done(conversation, chunk);
        self.outbox().send(Message::Unavailable { conversation, chunk });
        if let ReadFailure::Changed(why) = failure {
            self.context.withdraw(&place.swarm, why);
        }
    }

    /// Waits for the limit; `false` when something came up meanwhile (the booking stands).
    async fn may_send(&mut self) -> bool {
        let Some(segment) = &self.ready else { return false };
        let until = match self.booked {
            Some((_, until)) => until,
            None => {
                let bytes = self.context.up.turn(segment.bytes.len() - segment.sent);
                let until = self.context.up.book(bytes, Instant::now());
                self.booked = Some((bytes, until));
                until
            }
        };
        let Some(until) = until.filter(|until| *until > Instant::now()) else { return true };
        tokio::select! {
            () = tokio::time::sleep_until(until) => true,
            () = self.link.outbox().woken() => false,
        }
    }

    async fn send_quantum(&mut self) -> io::Result<()> {
        let (Some(segment), Some((bytes, _))) = (self.ready.as_mut(), self.booked.take()) else { return Ok(()) };
        let from = segment.sent;
        let data = segment.bytes.get(from..from + bytes.min(segment.bytes.len() - from)).unwrap_or_default();
        let Place { conversation, chunk, offset, size, .. } = segment.place;
        let at = offset + u32::try_from(from).expect("at most 1 MiB");
        let length = u32::try_from(data.len()).expect("at most 1 MiB");
        let mut header = Vec::with_capacity(QUANTUM + 64);
        Message::Piece { conversation, chunk, offset: at, length }.encode(&mut header);
        if data.len() <= QUANTUM {
            // One record and one write for small pieces.
            header.extend_from_slice(data);
            self.stream.write_all(&header).await?;
        } else {
            self.stream.write_all(&header).await?;
            self.stream.write_all(data).await?;
        }
        self.stream.flush().await?;
        segment.sent += data.len();
        let (segment_done, chunk_done) = (segment.sent == segment.bytes.len(), at + length == size);
        self.context.on_uploaded(u64::from(length));
        self.link.on_moved();
        if at == 0 {
            let peer = self.link.peer();
            segment.place.swarm.spread(|spread| spread.on_sent(peer, chunk));
        }
        self.outbox().sent(conversation, Instant::now());
        if chunk_done {
            self.outbox().on_whole(conversation, chunk);
        }
        if segment_done {
            self.drop_segment();
        }
        Ok(())
    }

    /// Forgets the segment that is sent or not wanted; what was booked for it stays booked for the next.
    fn drop_segment(&mut self) {
        if let Some(segment) = self.ready.take() {
            self.spare.push(segment.bytes);
        }
    }
}
