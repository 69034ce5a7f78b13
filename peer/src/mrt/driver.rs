//! The loop: between socket, machine, clock and those who wait.
//!
//! One turn is: 1. receive what is there, up to a bound, and tell those who wait for it; 2. send what the machine has to
//! send, up to a bound; 3. sleep until a datagram comes, the socket takes more, the machine's time has come, or a handle
//! rouses the loop. Who is told after 1. runs as soon as the turn ends, so a turn is short.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use common::mrt::Transmit;
use tokio::time::Sleep;

use super::error::ConnectionError;
use super::shared::{Shared, Stage, State, wake};
use super::socket::{Arrivals, Sent, Socket};

/// Calls to receive in one turn.
const RECEIVE_ROUNDS: usize = 2;
/// Times that the machine is asked for datagrams in one turn.
const SEND_ROUNDS: usize = 8;
/// Bytes handled while the mutex is held, after which others get it: some 50 us, mostly for opening or sealing.
const BYTES_AT_ONCE: usize = 128 << 10;
/// Bytes of one transmit at most, which may come on top of [`BYTES_AT_ONCE`].
const TRANSMIT: usize = 64 << 10;
/// Deadlines so near are waited for awake: the runtime's clock counts in milliseconds.
const NEAR: Duration = Duration::from_micros(50);

/// The loop of one socket.
#[derive(Debug)]
pub(super) struct Driver {
    guard: EndGuard,
    socket: Socket,
    arrivals: Arrivals,
    outgoing: Outgoing,
    /// Who is to be woken as soon as the mutex is free.
    wakers: Vec<Waker>,
    alarm: Alarm,
}

/// Tells all that the loop has ended, however that came about.
#[derive(Debug)]
struct EndGuard {
    shared: Arc<Shared>,
    error: ConnectionError,
}

/// Datagrams that the machine gave and that are not sent yet.
#[derive(Debug)]
struct Outgoing {
    bytes: Vec<u8>,
    /// What `bytes` are, in order.
    transmits: VecDeque<Transmit>,
    /// How many of `bytes` are sent.
    sent: usize,
}

/// A timer that is set again only when its time changes.
#[derive(Debug)]
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    at: Option<Instant>,
}

/// What is left after a part of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Nothing for now.
    Nothing,
    /// Something, for the next turn.
    More,
    /// Something, when the socket takes it.
    Blocked,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, socket: Socket) -> Self {
        Self {
            guard: EndGuard { shared, error: ConnectionError::Node },
            socket,
            arrivals: Arrivals::new(),
            outgoing: Outgoing {
                bytes: Vec::with_capacity(BYTES_AT_ONCE + TRANSMIT),
                transmits: VecDeque::new(),
                sent: 0,
            },
            wakers: Vec::new(),
            alarm: Alarm { sleep: Box::pin(tokio::time::sleep(Duration::ZERO)), at: None },
        }
    }

    /// Runs until the node is closed, or the socket fails.
    pub(super) async fn run(mut self) {
        if let Err(error) = poll_fn(|context| self.poll(context)).await {
            tracing::warn!(%error, "the socket of MRT failed");
            self.guard.error = ConnectionError::Socket(Arc::new(error));
        }
    }

    /// One turn.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let received = self.receive()?;
        let sent = self.send()?;
        if self.is_done(sent) {
            return Poll::Ready(Ok(()));
        }
        let rest =
            if received == Left::More || sent == Left::More { Poll::Ready(()) } else { self.poll_rest(context, sent)? };
        if rest.is_ready() {
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn receive(&mut self) -> io::Result<Left> {
        for _ in 0..RECEIVE_ROUNDS {
            let more = self.socket.receive(&mut self.arrivals)?;
            self.deliver();
            if !more {
                return Ok(Left::Nothing);
            }
        }
        Ok(Left::More)
    }

    /// Hands what arrived to the machine.
    fn deliver(&mut self) {
        let Self { guard: EndGuard { shared, .. }, arrivals, wakers, socket, .. } = self;
        let mut rows = arrivals.rows(socket.face()).peekable();
        while rows.peek().is_some() {
            let now = Instant::now();
            let mut state = shared.lock();
            let mut handled = 0;
            while handled < BYTES_AT_ONCE
                && let Some((received, size, row)) = rows.next()
            {
                handled += row.len();
                for datagram in row.chunks_mut(size) {
                    state.endpoint.handle_datagram(now, received, datagram);
                }
            }
            state.tell_events(&shared.incoming, wakers);
            drop(state);
            wake(wakers);
        }
    }

    fn send(&mut self) -> io::Result<Left> {
        for _ in 0..SEND_ROUNDS {
            if self.outgoing.flush(&mut self.socket)? == Sent::Blocked {
                return Ok(Left::Blocked);
            }
            if !self.gather() {
                return Ok(Left::Nothing);
            }
        }
        Ok(Left::More)
    }

    /// Takes what the machine has to send, up to a bound; says whether there was anything.
    fn gather(&mut self) -> bool {
        let Self { guard: EndGuard { shared, .. }, wakers, outgoing, socket, .. } = self;
        let now = Instant::now();
        let mut state = shared.lock();
        state.attend();
        if state.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            state.endpoint.handle_timeout(now);
        }
        let segments = socket.segments();
        while outgoing.bytes.len() < BYTES_AT_ONCE
            && let Some(transmit) = state.endpoint.poll_transmit(now, segments, &mut outgoing.bytes)
        {
            outgoing.transmits.push_back(transmit);
        }
        state.tell_events(&shared.incoming, wakers);
        drop(state);
        wake(wakers);
        !outgoing.transmits.is_empty()
    }

    /// Registers for everything that may come. Ready: something is there already.
    fn poll_rest(&mut self, context: &mut Context<'_>, sent: Left) -> io::Result<Poll<()>> {
        if self.socket.poll_readable(context)?.is_ready() {
            return Ok(Poll::Ready(()));
        }
        if sent == Left::Blocked && self.socket.poll_writable(context)?.is_ready() {
            return Ok(Poll::Ready(()));
        }
        let mut state = self.guard.shared.lock();
        // What is held back because the socket takes no more may be what the machine's time is about.
        let at = if sent == Left::Blocked { None } else { state.endpoint.poll_timeout() };
        if state.sleep(context.waker()) && sent != Left::Blocked {
            return Ok(Poll::Ready(()));
        }
        drop(state);
        Ok(self.alarm.poll_until(context, at))
    }

    /// Whether the node is closed and nothing is left to be said.
    fn is_done(&self, sent: Left) -> bool {
        let state: &State = &self.guard.shared.lock();
        match state.stage {
            Stage::Open => false,
            Stage::Closing => sent == Left::Nothing && state.endpoint.handles().next().is_none(),
            Stage::Stopping | Stage::Ended(_) => true,
        }
    }
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.shared.end(self.error.clone());
    }
}

impl Outgoing {
    /// Sends until nothing is left, or the socket takes no more.
    fn flush(&mut self, socket: &mut Socket) -> io::Result<Sent> {
        while let Some(transmit) = self.transmits.front() {
            let end = self.sent + transmit.size;
            if socket.send(transmit, self.bytes.get(self.sent..end).unwrap_or_default())? == Sent::Blocked {
                return Ok(Sent::Blocked);
            }
            self.sent = end;
            self.transmits.pop_front();
        }
        self.bytes.clear();
        self.sent = 0;
        Ok(Sent::Done)
    }
}

impl Alarm {
    /// Ready when `at` has come, or as good as; with `None` never.
    fn poll_until(&mut self, context: &mut Context<'_>, at: Option<Instant>) -> Poll<()> {
        let Some(at) = at else {
            self.at = None;
            return Poll::Pending;
        };
        if at <= Instant::now() + NEAR {
            return Poll::Ready(());
        }
        if self.at != Some(at) {
            self.sleep.as_mut().reset(at.into());
            self.at = Some(at);
        }
        let rung = self.sleep.as_mut().poll(context);
        if rung.is_ready() {
            self.at = None;
        }
        rung
    }
}
