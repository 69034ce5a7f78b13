//! The receiving half of a link: takes messages apart, and chunk bytes straight into segments for the verifier.

use std::io;
use std::sync::Arc;

use common::id::Content;
use common::merkle::SwarmHashes;
use common::wire::peer::{ConversationId, MAX_HASHES, Message, Opener, Reason, chunks_in_map, maps};
use tokio::io::AsyncRead;
use tokio::time::Instant;

use super::frame::FrameReader;
use super::outbox::Rejected;
use super::{Link, protocol_error};
use crate::context::{Context, REVOKED};
use crate::download::{Assembly, Fetching, LinkEvent, Wanted};
use crate::revocations::Grant;

/// Reads from one link until it ends.
pub(super) struct Reader<R> {
    frames: FrameReader<R>,
    half: Receiving,
}

/// The receiving half without the stream.
struct Receiving {
    link: Arc<Link>,
    context: Arc<Context>,
}

/// Bytes that follow a message.
struct Piece {
    conversation: ConversationId,
    chunk: u32,
    offset: u32,
    length: u32,
}

enum Then {
    Nothing,
    Bytes(Piece),
    End,
}

impl<R: AsyncRead + Unpin + Send> Reader<R> {
    pub(super) fn new(stream: R, link: Arc<Link>, context: Arc<Context>) -> Self {
        let half = Receiving { link, context };
        Self { frames: FrameReader::new(stream), half }
    }

    /// Runs until the other side hangs up or breaks the protocol.
    pub(super) async fn run(mut self) -> io::Result<()> {
        loop {
            let Some(body) = self.frames.frame().await? else { return Ok(()) };
            self.half.link.on_heard();
            let message = Message::decode(body).map_err(|error| protocol_error(error.to_string()))?;
            match self.half.on_message(message).await? {
                Then::Nothing => {}
                Then::Bytes(piece) => self.take_piece(&piece).await?,
                Then::End => return Ok(()),
            }
        }
    }

    /// Takes the bytes of a piece off the stream, and to where they belong.
    async fn take_piece(&mut self, piece: &Piece) -> io::Result<()> {
        let Some(fetching) = self.half.link.fetching(piece.conversation) else {
            return self.discard(piece.length).await;
        };
        let layout = fetching.swarm.layout();
        let size = layout.chunk(piece.chunk).map_or(0, |chunk| layout.size(chunk));
        if piece.offset.checked_add(piece.length).is_none_or(|end| end > size) {
            return Err(protocol_error("a piece reaches beyond its chunk"));
        }
        match fetching.wants(piece.chunk) {
            Some(Wanted::Yes) => {}
            Some(Wanted::No) => {
                fetching.meter.on_bytes(piece.length as usize);
                return self.discard(piece.length).await;
            }
            None => return Err(protocol_error("a piece was not asked for")),
        }
        let mut assembly = match fetching.take_half() {
            Some(half) if half.goes_on_with(piece.chunk, piece.offset) => half,
            // What is left of a request that was cancelled, and then made again, gives way.
            _ if piece.offset == 0 => Assembly::new(piece.chunk, size),
            _ => return self.discard(piece.length).await,
        };
        let mut left = piece.length as usize;
        while left > 0 {
            let (buffer, room) = assembly.buffer(&self.half.context.buffers).await?;
            let turn = self.half.context.down.turn(left.min(room));
            let taken = self.frames.raw(buffer, turn).await?;
            assembly.on_bytes(taken);
            left -= taken;
            self.half.on_bytes(&fetching, taken).await;
            if assembly.segment_is_whole() {
                assembly.submit(&fetching, &self.half.link, &self.half.context);
            }
        }
        if assembly.is_whole() {
            fetching.on_received(piece.chunk);
        } else {
            fetching.keep_half(assembly);
        }
        Ok(())
    }

    /// Takes bytes that nobody wants any more off the stream.
    async fn discard(&mut self, length: u32) -> io::Result<()> {
        const AT_ONCE: usize = 16 << 10;
        let mut left = length as usize;
        let mut nowhere = Vec::with_capacity(AT_ONCE);
        while left > 0 {
            nowhere.clear();
            let turn = self.half.context.down.turn(left.min(AT_ONCE));
            let taken = self.frames.raw(&mut nowhere, turn).await?;
            left -= taken;
            self.half.link.on_heard();
            self.half.count(taken).await;
        }
        Ok(())
    }
}

impl Receiving {
    async fn on_message(&self, message: Message) -> io::Result<Then> {
        match message {
            Message::Piece { conversation, chunk, offset, length } => {
                return Ok(Then::Bytes(Piece { conversation, chunk, offset, length }));
            }
            Message::Hello { .. } => return Err(protocol_error("a second hello")),
            Message::Bye { reason, text } => {
                tracing::debug!(peer = %self.link.peer(), ?reason, text, "the other side hangs up");
                return Ok(Then::End);
            }
            Message::Ping { token } => self.link.outbox().send(Message::Pong { token }),
            Message::Pong { token } => self.link.on_pong(token),
            Message::Open { .. }
            | Message::Close { .. }
            | Message::GetHashes { .. }
            | Message::Request { .. }
            | Message::Cancel { .. }
            | Message::Bad { .. } => self.on_served(message)?,
            Message::Map { opener: Opener::Sender, conversation, first, bits } => {
                if let Some(swarm) = self.link.outbox().served(conversation) {
                    self.on_their_chunks(&swarm, &chunks_in_map(swarm.layout().count(), first, &bits));
                }
            }
            Message::Have { opener: Opener::Sender, conversation, chunks } => {
                if let Some(swarm) = self.link.outbox().served(conversation) {
                    self.on_their_chunks(&swarm, &chunks);
                }
            }
            fetched => self.on_fetched(fetched).await,
        }
        Ok(Then::Nothing)
    }

    /// A message about a conversation that was opened there.
    fn on_served(&self, message: Message) -> io::Result<()> {
        let outbox = self.link.outbox();
        match message {
            Message::Open { conversation, content, ticket } => self.on_open(conversation, content, &ticket)?,
            Message::Close { conversation } => {
                if let Some(swarm) = outbox.end_serving(conversation) {
                    swarm.unlisten(&self.link, conversation, Opener::Receiver);
                    let peer = self.link.peer();
                    swarm.spread(|spread| spread.leave(peer));
                }
            }
            Message::GetHashes { conversation, first, count } => self.on_get_hashes(conversation, first, count),
            Message::Request { conversation, chunk } => match outbox.request(conversation, chunk) {
                // A conversation that just ended from this side.
                Ok(()) | Err(Rejected::NoConversation) => {}
                Err(Rejected::TooMany) => return Err(protocol_error("too many requests")),
            },
            Message::Cancel { conversation, chunk } => outbox.cancel(conversation, chunk),
            Message::Bad { conversation, chunk } => {
                // Whoever was not sent it cannot know.
                if outbox.was_sent(conversation, chunk)
                    && let Some(swarm) = outbox.served(conversation)
                {
                    self.context.recheck(swarm, chunk);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn on_open(&self, conversation: ConversationId, content: Content, ticket: &[u8]) -> io::Result<()> {
        let outbox = self.link.outbox();
        let refuse = |reason, text: String| outbox.send(Message::Refused { conversation, reason, text });
        let grant = match self.check_ticket(&content, ticket) {
            Ok(grant) => grant,
            Err(error) => {
                refuse(Reason::Ticket, error);
                return Ok(());
            }
        };
        let Some(swarm) = self.context.swarms.find(&content) else {
            refuse(Reason::NotShared, "this file is not shared here".to_owned());
            return Ok(());
        };
        if !swarm.is_for(&grant.audience) {
            refuse(Reason::Ticket, "this file is not shared for the audience of the ticket".to_owned());
            return Ok(());
        }
        if outbox.begin_serving(conversation, Arc::clone(&swarm)).is_err() {
            return Err(protocol_error("too many conversations"));
        }
        let have = swarm.listen(&self.link, conversation, Some(grant));
        outbox.send(Message::Opened { conversation, complete: have.is_full() });
        if !have.is_full() {
            maps(conversation, Opener::Receiver, &have).into_iter().for_each(|message| outbox.send(message));
        }
        let peer = self.link.peer();
        swarm.spread(|spread| spread.join(peer));
        swarm.on_newcomer(&self.link);
        // What was withdrawn or revoked just now did not find this conversation among those to end.
        if !self.context.swarms.find(&content).is_some_and(|there| Arc::ptr_eq(&there, &swarm)) {
            swarm.refuse_all("this file is shared no more");
        }
        swarm.refuse_strangers();
        self.context.refuse_revoked(&swarm);
        Ok(())
    }

    /// What a ticket grants for this content; a sentence where that is nothing.
    fn check_ticket(&self, content: &Content, ticket: &[u8]) -> Result<Grant, String> {
        let grant = self.context.tracker().check_ticket(self.link.key(), content, ticket)?;
        if self.context.revocations.contains(self.link.peer(), &grant) {
            return Err(REVOKED.to_owned());
        }
        Ok(grant)
    }

    fn on_get_hashes(&self, conversation: ConversationId, first: u32, count: u32) {
        let Some(swarm) = self.link.outbox().served(conversation) else { return };
        let hashes = swarm.hashes();
        let all = hashes.as_deref().map(SwarmHashes::as_slice).unwrap_or_default();
        let wanted = all.iter().skip(first as usize).take(count.min(MAX_HASHES) as usize).copied();
        self.link.outbox().send(Message::Hashes { conversation, first, hashes: wanted.collect() });
    }

    /// The other side has these chunks of a swarm that it wants from here.
    fn on_their_chunks(&self, swarm: &crate::swarm::Swarm, chunks: &[u32]) {
        let peer = self.link.peer();
        swarm.spread(|spread| chunks.iter().for_each(|chunk| spread.on_have(peer, *chunk)));
    }

    /// A message about a conversation that was opened here.
    async fn on_fetched(&self, message: Message) {
        let (conversation, event) = match message {
            Message::Opened { conversation, complete } => (conversation, LinkEvent::Opened { complete }),
            Message::Refused { conversation, reason, text } => (conversation, LinkEvent::Refused { reason, text }),
            Message::Map { conversation, first, bits, .. } => (conversation, LinkEvent::Map { first, bits }),
            Message::Have { conversation, chunks, .. } => (conversation, LinkEvent::Have(chunks)),
            Message::Hashes { conversation, first, hashes } => (conversation, LinkEvent::Hashes { first, hashes }),
            Message::Unavailable { conversation, chunk } => {
                if let Some(fetching) = self.link.fetching(conversation) {
                    fetching.on_received(chunk);
                }
                (conversation, LinkEvent::Unavailable { chunk })
            }
            Message::Suggest { conversation, chunks } => (conversation, LinkEvent::Suggest(chunks)),
            Message::Queued { conversation } => {
                if let Some(fetching) = self.link.fetching(conversation) {
                    fetching.meter.on_heard();
                }
                return;
            }
            _ => return,
        };
        if let Some(fetching) = self.link.fetching(conversation) {
            fetching.meter.on_heard();
            fetching.tell(self.link.id(), event).await;
        }
    }

    /// Counts bytes of a chunk, and waits as the limit says.
    async fn on_bytes(&self, fetching: &Fetching, bytes: usize) {
        fetching.meter.on_bytes(bytes);
        self.link.on_heard();
        self.link.on_moved();
        self.count(bytes).await;
    }

    async fn count(&self, bytes: usize) {
        self.context.on_downloaded(bytes as u64);
        if let Some(until) = self.context.down.book(bytes, Instant::now()) {
            tokio::time::sleep_until(until).await;
            // That silence was ours.
            self.link.on_heard();
        }
    }
}
