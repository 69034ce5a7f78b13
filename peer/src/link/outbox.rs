//! The outbox of a link: what waits to be sent. Others put things in and never wait; the writer takes them out.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::wire::peer::{ConversationId, MAX_CONVERSATIONS, MAX_REQUESTS, Message, Opener, Reason, have};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::CLOSE_DEADLINE;
use crate::swarm::Swarm;

/// More messages than this waiting mean that the other side does not read.
const MAX_WAITING: usize = 8192;
/// More bytes than these waiting mean the same: room for the longest maps (64 KiB) of 64 conversations.
const MAX_WAITING_BYTES: usize = 4 << 20;
/// Control bytes written at once, about.
const BATCH: usize = 256 << 10;
/// So many sent chunks of a conversation are remembered: more than are on their way at a time.
const MOST_SENT: usize = 256;
/// How often those who wait for chunks are told that they do (DESIGN section 4).
pub(super) const QUEUED_INTERVAL: Duration = Duration::from_millis(500);

/// What waits to be sent on one link.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    wake: Notify,
    closing: CancellationToken,
    overflowed: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Message>,
    /// Of `messages`, about.
    waiting_bytes: usize,
    haves: HashMap<(ConversationId, Opener), Vec<u32>>,
    serving: Vec<Serving>,
    /// Whose turn was last, so that conversations of one link take turns.
    last_turn: ConversationId,
    /// Chunks that are being read or sent.
    active: Vec<(ConversationId, u32)>,
    closing: bool,
}

/// A conversation that the other side opened.
#[derive(Debug)]
struct Serving {
    conversation: ConversationId,
    swarm: Arc<Swarm>,
    requests: VecDeque<u32>,
    /// Chunks that were sent last, the newest at the end.
    sent: VecDeque<u32>,
    told: Instant,
}

/// What the writer is to do next.
#[derive(Debug)]
pub(super) enum Next {
    /// Write these messages.
    Control(Vec<u8>),
    /// Hang up: nothing is left.
    Close,
    /// Nothing but uploads.
    Uploads,
}

/// Why a request of the other side was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejected {
    /// There is no such conversation; it may have just ended.
    NoConversation,
    /// Too many.
    TooMany,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Sends a message.
    pub(crate) fn send(&self, message: Message) {
        let mut state = self.lock();
        if state.closing {
            return;
        }
        if state.messages.len() >= MAX_WAITING || state.waiting_bytes >= MAX_WAITING_BYTES {
            drop(state);
            self.overflowed.cancel();
            return;
        }
        state.push(message);
        drop(state);
        self.wake.notify_one();
    }

    /// Tells of a new chunk; those that wait are told of together.
    pub(crate) fn have(&self, conversation: ConversationId, opener: Opener, chunk: u32) {
        self.lock().haves.entry((conversation, opener)).or_default().push(chunk);
        self.wake.notify_one();
    }

    /// Ends a conversation that the other side opened.
    pub(crate) fn refuse(&self, conversation: ConversationId, reason: Reason, text: &str) {
        self.end_serving(conversation);
        self.send(Message::Refused { conversation, reason, text: text.to_owned() });
    }

    /// Says goodbye after what waits already; nothing more is taken.
    pub(crate) fn close(&self, reason: Reason, text: &str) {
        self.send(Message::Bye { reason, text: text.to_owned() });
        self.lock().closing = true;
        self.wake.notify_one();
        self.closing.cancel();
    }

    /// Ends when the link is to end whatever the writer does, which may be stuck because the other side does not read:
    /// too much waits, or the last words take too long.
    pub(super) async fn hung_up(&self) {
        let closing = async {
            self.closing.cancelled().await;
            tokio::time::sleep(CLOSE_DEADLINE).await;
        };
        tokio::select! {
            () = self.overflowed.cancelled() => {}
            () = closing => {}
        }
    }

    /// The other side opened a conversation.
    pub(super) fn begin_serving(&self, conversation: ConversationId, swarm: Arc<Swarm>) -> Result<(), Rejected> {
        let mut state = self.lock();
        if state.serving.len() >= MAX_CONVERSATIONS || state.find(conversation).is_some() {
            return Err(Rejected::TooMany);
        }
        let (requests, sent) = (VecDeque::new(), VecDeque::new());
        state.serving.push(Serving { conversation, swarm, requests, sent, told: Instant::now() });
        Ok(())
    }

    /// A conversation that the other side opened is over; says about which swarm it was.
    pub(super) fn end_serving(&self, conversation: ConversationId) -> Option<Arc<Swarm>> {
        let mut state = self.lock();
        let at = state.serving.iter().position(|serving| serving.conversation == conversation)?;
        state.active.retain(|(active, _)| *active != conversation);
        Some(state.serving.swap_remove(at).swarm)
    }

    /// The swarm of a conversation that the other side opened.
    pub(super) fn served(&self, conversation: ConversationId) -> Option<Arc<Swarm>> {
        self.lock().find(conversation).map(|serving| Arc::clone(&serving.swarm))
    }

    /// All swarms that are served here, when the link ends.
    pub(super) fn all_served(&self) -> Vec<(ConversationId, Arc<Swarm>)> {
        let state = self.lock();
        state.serving.iter().map(|serving| (serving.conversation, Arc::clone(&serving.swarm))).collect()
    }

    /// The other side wants a chunk.
    pub(super) fn request(&self, conversation: ConversationId, chunk: u32) -> Result<(), Rejected> {
        let mut state = self.lock();
        let serving = state.find(conversation).ok_or(Rejected::NoConversation)?;
        if serving.requests.len() >= MAX_REQUESTS {
            return Err(Rejected::TooMany);
        }
        if serving.requests.is_empty() {
            serving.told = Instant::now();
        }
        if !serving.requests.contains(&chunk) {
            serving.requests.push_back(chunk);
        }
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// The other side does not want a chunk any more.
    pub(super) fn cancel(&self, conversation: ConversationId, chunk: u32) {
        let mut state = self.lock();
        if let Some(serving) = state.find(conversation) {
            serving.requests.retain(|waiting| *waiting != chunk);
        }
        state.active.retain(|active| *active != (conversation, chunk));
    }

    /// What the writer is to do next. Tells those who have waited for too long that they wait.
    pub(super) fn next(&self, now: Instant) -> Next {
        let mut state = self.lock();
        state.tell_queued(now);
        let mut bytes = Vec::new();
        while bytes.len() < BATCH {
            let Some(message) = state.pop() else { break };
            message.encode(&mut bytes);
        }
        for ((conversation, opener), chunks) in state.haves.drain() {
            have(conversation, opener, &chunks).iter().for_each(|message| message.encode(&mut bytes));
        }
        match (bytes.is_empty(), state.closing) {
            (false, _) => Next::Control(bytes),
            (true, true) => Next::Close,
            (true, false) => Next::Uploads,
        }
    }

    /// Takes the next request, conversations in turn; it is active until [`Self::done`] or [`Self::cancel`].
    pub(super) fn take_request(&self) -> Option<(ConversationId, Arc<Swarm>, u32)> {
        let mut state = self.lock();
        let last = state.last_turn;
        let waiting = state.serving.iter_mut().filter(|serving| !serving.requests.is_empty());
        // The first after the last in a circle: those at or before it come a whole turn later.
        let serving = waiting.min_by_key(|serving| (serving.conversation <= last, serving.conversation))?;
        let (conversation, swarm) = (serving.conversation, Arc::clone(&serving.swarm));
        let chunk = serving.requests.pop_front()?;
        state.last_turn = conversation;
        state.active.push((conversation, chunk));
        Some((conversation, swarm, chunk))
    }

    /// Whether a chunk that was taken is still wanted.
    pub(super) fn is_active(&self, conversation: ConversationId, chunk: u32) -> bool {
        self.lock().active.contains(&(conversation, chunk))
    }

    /// Bytes of this conversation were sent: it need not be told that it waits.
    pub(super) fn sent(&self, conversation: ConversationId, now: Instant) {
        if let Some(serving) = self.lock().find(conversation) {
            serving.told = now;
        }
    }

    /// All of a chunk that was taken is sent.
    pub(super) fn on_whole(&self, conversation: ConversationId, chunk: u32) {
        let mut state = self.lock();
        if let Some(serving) = state.find(conversation) {
            if serving.sent.len() >= MOST_SENT {
                serving.sent.pop_front();
            }
            serving.sent.push_back(chunk);
        }
        state.active.retain(|active| *active != (conversation, chunk));
    }

    /// Whether this chunk was sent in a conversation, not long ago.
    pub(super) fn was_sent(&self, conversation: ConversationId, chunk: u32) -> bool {
        self.lock().find(conversation).is_some_and(|serving| serving.sent.contains(&chunk))
    }

    /// A chunk that was taken is not sent after all.
    pub(super) fn done(&self, conversation: ConversationId, chunk: u32) {
        self.lock().active.retain(|active| *active != (conversation, chunk));
    }

    /// Ends when something was put in.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl State {
    fn push(&mut self, message: Message) {
        self.waiting_bytes += weight(&message);
        self.messages.push_back(message);
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.waiting_bytes -= weight(&message);
        Some(message)
    }

    fn find(&mut self, conversation: ConversationId) -> Option<&mut Serving> {
        self.serving.iter_mut().find(|serving| serving.conversation == conversation)
    }

    fn tell_queued(&mut self, now: Instant) {
        for serving in &mut self.serving {
            let active = self.active.iter().any(|(conversation, _)| *conversation == serving.conversation);
            let waits = active || !serving.requests.is_empty();
            if waits && now.saturating_duration_since(serving.told) >= QUEUED_INTERVAL {
                serving.told = now;
                // At most one for each conversation and turn of the writer.
                self.messages.push_back(Message::Queued { conversation: serving.conversation });
            }
        }
    }
}

/// Bytes that a message holds outside itself.
const fn weight(message: &Message) -> usize {
    match message {
        Message::Open { ticket, .. } => ticket.len(),
        Message::Refused { text, .. } | Message::Bye { text, .. } => text.len(),
        Message::Map { bits, .. } => bits.len(),
        Message::Have { chunks, .. } | Message::Suggest { chunks, .. } => size_of_val(chunks.as_slice()),
        Message::Hashes { hashes, .. } => size_of_val(hashes.as_slice()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outline::Outline;
    use crate::swarm::Announced;
    use common::audience::Audience;
    use common::id::{FileId, Hash};

    fn hung_up(outbox: &Outbox) -> bool {
        outbox.overflowed.is_cancelled()
    }

    #[test]
    fn what_waits_for_one_who_does_not_read_is_bounded() {
        let outbox = Outbox::default();
        for token in 0..MAX_WAITING as u64 {
            outbox.send(Message::Ping { token });
        }
        assert!(!hung_up(&outbox));
        for token in 0..10 {
            outbox.send(Message::Ping { token });
        }
        assert!(hung_up(&outbox));
        assert_eq!(outbox.lock().messages.len(), MAX_WAITING);
    }

    #[test]
    fn few_large_messages_are_too_much_as_well() {
        let outbox = Outbox::default();
        let hashes = || Message::Hashes { conversation: 1, first: 0, hashes: vec![Hash([0; 32]); 2000] };
        for _ in 0..400 {
            outbox.send(hashes());
            assert!(matches!(outbox.next(Instant::now()), Next::Control(_)));
        }
        assert!(!hung_up(&outbox), "what was taken out does not count");
        for _ in 0..1000 {
            outbox.send(hashes());
        }
        assert!(hung_up(&outbox));
        assert!(outbox.lock().messages.len() < 600);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_words_have_a_deadline() {
        let outbox = Outbox::default();
        let begin = Instant::now();
        outbox.close(Reason::Duplicate, "another connection is kept");
        outbox.hung_up().await;
        assert_eq!(begin.elapsed(), CLOSE_DEADLINE);
    }

    #[test]
    fn of_what_was_sent_the_newest_is_remembered() {
        let (outbox, file) = (Outbox::default(), FileId::new(1, Hash([1; 32])).unwrap());
        let making = Swarm::making(file.into(), Outline::of_file(&file), Audience::Public, Announced::Yes);
        let swarm = Arc::new(making);
        outbox.begin_serving(1, swarm).unwrap();
        let many = u32::try_from(MOST_SENT).unwrap() + 1;
        (0..many).for_each(|chunk| outbox.on_whole(1, chunk));
        assert!(!outbox.was_sent(1, 0) && outbox.was_sent(1, 1) && outbox.was_sent(1, many - 1));
        assert!(!outbox.was_sent(1, many) && !outbox.was_sent(2, 1));
    }
}
