//! Requests: how a question finds the open connection, and its answer the one who asked.
//!
//! A question belongs to the connection on which it was sent: when that ends, it has no answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::wire::tracker::{FromPeer, Refusal, Reply, Request, TooLarge};
use tokio::sync::{mpsc, oneshot};

/// Questions that wait to be written; who asks more waits for room.
const QUEUE: usize = 64;

/// The answer to one question; an error when the connection ended before it came.
pub(super) type Answer = oneshot::Receiver<Result<Reply, Refusal>>;

/// The way to the connection that is open now, if there is one.
#[derive(Debug, Default)]
pub(super) struct Requests {
    open: Mutex<Option<Line>>,
}

/// The way to one connection.
#[derive(Debug, Clone)]
pub(super) struct Line {
    queue: mpsc::Sender<Vec<u8>>,
    asked: Asked,
}

/// The questions of one connection that have no answer yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    state: Arc<Mutex<AskedState>>,
}

#[derive(Debug, Default)]
struct AskedState {
    last_id: u64,
    waiting: HashMap<u64, oneshot::Sender<Result<Reply, Refusal>>>,
    closed: bool,
}

/// What a connection's owner holds: questions come out of `queue`, answers go to `asked`. Dropping it ends the line.
#[derive(Debug)]
pub(super) struct LineEnd<'a> {
    requests: &'a Requests,
    pub(super) queue: mpsc::Receiver<Vec<u8>>,
    pub(super) asked: Asked,
}

impl Requests {
    /// A new connection is open.
    pub(super) fn open(&self) -> LineEnd<'_> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let asked = Asked::default();
        *self.line_slot() = Some(Line { queue: sender, asked: asked.clone() });
        LineEnd { requests: self, queue, asked }
    }

    /// The way to the connection that is open now.
    pub(super) fn line(&self) -> Option<Line> {
        self.line_slot().clone()
    }

    fn line_slot(&self) -> MutexGuard<'_, Option<Line>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LineEnd<'_> {
    fn drop(&mut self) {
        *self.requests.line_slot() = None;
        self.asked.close();
    }
}

impl Line {
    /// Asks, and waits for the answer; `None` when the connection ended first. Dropped before that, nobody waits for the
    /// answer any more.
    pub(super) async fn ask(&self, op: Request) -> Result<Option<Result<Reply, Refusal>>, TooLarge> {
        let question = self.asked.register(op)?;
        if self.queue.send(question.frame).await.is_err() {
            return Ok(None);
        }
        // The guard stays until the answer is there.
        let _guard = question.guard;
        Ok(question.answer.await.ok())
    }
}

/// A question with its number, not sent yet.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) frame: Vec<u8>,
    pub(super) answer: Answer,
    pub(super) guard: Forget,
}

/// Takes a question out of those that wait when nobody wants its answer any more.
#[derive(Debug)]
pub(super) struct Forget {
    asked: Asked,
    id: u64,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.asked.state().waiting.remove(&self.id);
    }
}

impl Asked {
    /// Gives a question a number.
    pub(super) fn register(&self, op: Request) -> Result<Question, TooLarge> {
        let (sender, answer) = oneshot::channel();
        let id = {
            let mut state = self.state();
            state.last_id += 1;
            let id = state.last_id;
            // On a closed line the sender is dropped here, and the answer is that there is none.
            if !state.closed {
                state.waiting.insert(id, sender);
            }
            id
        };
        let guard = Forget { asked: self.clone(), id };
        let frame = FromPeer::Request { id, op }.to_frame()?;
        Ok(Question { frame, answer, guard })
    }

    /// An answer came; one that nobody waits for is dropped.
    pub(super) fn answer(&self, id: u64, result: Result<Reply, Refusal>) {
        let waiting = self.state().waiting.remove(&id);
        match waiting {
            // Who asked may have gone meanwhile.
            Some(sender) => drop(sender.send(result)),
            None => tracing::debug!(id, "an answer that nobody waits for"),
        }
    }

    fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.waiting.clear();
    }

    fn state(&self) -> MutexGuard<'_, AskedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_find_their_questions_in_any_order() {
        let requests = Requests::default();
        assert!(requests.line().is_none());
        let mut end = requests.open();
        let line = requests.line().unwrap();
        let tracker = async {
            let (_one, _two) = (end.queue.recv().await.unwrap(), end.queue.recv().await.unwrap());
            end.asked.answer(2, Ok(Reply::Done));
            end.asked.answer(1, Ok(Reply::Users { users: Vec::new() }));
            end.asked.answer(7, Ok(Reply::Done));
        };
        let (one, two, ()) = tokio::join!(line.ask(Request::Users), line.ask(Request::Leave), tracker);
        assert_eq!(one.unwrap(), Some(Ok(Reply::Users { users: Vec::new() })));
        assert_eq!(two.unwrap(), Some(Ok(Reply::Done)));
        assert!(end.asked.state().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_connection_that_ends_answers_nothing() {
        let requests = Requests::default();
        let mut end = requests.open();
        let line = requests.line().unwrap();
        let ((), answer) = tokio::join!(
            async {
                end.queue.recv().await.unwrap();
                drop(end);
            },
            line.ask(Request::Users)
        );
        assert_eq!(answer.unwrap(), None);
        assert!(requests.line().is_none());
        assert_eq!(line.ask(Request::Users).await.unwrap(), None, "a line kept from before");
    }

    #[tokio::test]
    async fn a_question_given_up_is_forgotten() {
        let requests = Requests::default();
        let end = requests.open();
        let line = requests.line().unwrap();
        let waiting = tokio::time::timeout(std::time::Duration::ZERO, line.ask(Request::Users));
        assert!(waiting.await.is_err());
        assert!(end.asked.state().waiting.is_empty());
    }
}
