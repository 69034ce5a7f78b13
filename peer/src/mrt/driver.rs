//! The loop: between socket, machine, clock and those who wait.
//!
//! One turn is: 1. receive what is there on each socket, up to a bound, and tell those who wait for it; 2. send what the
//! machine has to send, up to a bound; 3. sleep until a datagram comes, the socket takes more, the machine's time has come,
//! or a handle rouses the loop. Who is told after 1. runs as soon as the turn ends, so a turn is short.
//!
//! There is one loop for all sockets, and one queue: while one of them takes no more, the others wait. That costs nothing
//! where they share an interface, as they mostly do.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use common::mrt::{Route, Transmit};
use tokio::time::Sleep;

use super::error::ConnectionError;
use super::relayed::RELAY_SOCKET;
use super::shared::{Shared, Stage, State};
use super::socket::{Arrivals, Face, Sent, Socket};
use super::waiting::wake;
use super::ways::SocketId;

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

/// The loop of a node.
#[derive(Debug)]
pub(super) struct Driver {
    guard: EndGuard,
    /// Those of the node, as far as the loop knows.
    sockets: Vec<Socket>,
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
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            guard: EndGuard { shared, error: ConnectionError::Node },
            sockets: Vec::new(),
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

    /// Runs until the node is closed, or its last socket fails.
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
        let (mut left, mut at) = (Left::Nothing, 0);
        while at < self.sockets.len() {
            match self.receive_from(at) {
                Ok(Left::More) => left = Left::More,
                Ok(Left::Nothing | Left::Blocked) => {}
                Err(error) => {
                    self.lose(at, error)?;
                    continue;
                }
            }
            at += 1;
        }
        Ok(left)
    }

    /// Receives from the socket that stands at this place.
    fn receive_from(&mut self, at: usize) -> io::Result<Left> {
        for _ in 0..RECEIVE_ROUNDS {
            let Some(socket) = self.sockets.get_mut(at) else { break };
            let more = socket.receive(&mut self.arrivals)?;
            let face = socket.face();
            self.deliver(face);
            if !more {
                return Ok(Left::Nothing);
            }
        }
        Ok(Left::More)
    }

    /// A socket has failed: the node goes on with the others, if there are any.
    fn lose(&mut self, at: usize, error: io::Error) -> io::Result<()> {
        if self.sockets.len() <= 1 {
            return Err(error);
        }
        let face = self.sockets.remove(at).face();
        tracing::warn!(%error, local = %face.local(), "a socket of MRT failed, and is closed");
        self.guard.shared.remove_socket(Instant::now(), SocketId(face.number()));
        Ok(())
    }

    /// Hands what arrived to the machine.
    fn deliver(&mut self, face: Face) {
        let Self { guard: EndGuard { shared, .. }, arrivals, wakers, sockets, outgoing, .. } = self;
        let mut rows = arrivals.rows(face).peekable();
        while rows.peek().is_some() {
            let now = Instant::now();
            let mut state = shared.lock();
            // It was closed meanwhile: what still came must not bring connections back to it.
            if !state.ways.have(face) {
                return;
            }
            // Stays without memory in all nodes but relays.
            let (mut handled, mut onward) = (0, Vec::new());
            while handled < BYTES_AT_ONCE
                && let Some((received, size, row)) = rows.next()
            {
                handled += row.len();
                state.handle_row(now, &received, size, row, &mut onward);
            }
            state.tell_events(&shared.incoming, wakers);
            drop(state);
            wake(wakers);
            // Own datagrams that wait go first: what is forwarded is lost then, as on any full link.
            if outgoing.transmits.is_empty() {
                onward.drain(..).for_each(|row| row.send(sockets));
            }
        }
    }

    fn send(&mut self) -> io::Result<Left> {
        for _ in 0..SEND_ROUNDS {
            if self.flush()? == Sent::Blocked {
                return Ok(Left::Blocked);
            }
            if !self.gather() {
                return Ok(Left::Nothing);
            }
        }
        // What is left over to the next turn says that a socket is full, see `deliver`.
        Ok(match self.flush()? {
            Sent::Blocked => Left::Blocked,
            Sent::Done => Left::More,
        })
    }

    /// Sends until nothing is left, or a socket takes no more.
    fn flush(&mut self) -> io::Result<Sent> {
        loop {
            match self.outgoing.flush(&mut self.sockets) {
                Ok(sent) => return Ok(sent),
                Err((at, error)) => self.lose(at, error)?,
            }
        }
    }

    /// Takes what the machine has to send, up to a bound; says whether there was anything.
    fn gather(&mut self) -> bool {
        let Self { guard: EndGuard { shared, .. }, wakers, outgoing, sockets, .. } = self;
        let now = Instant::now();
        let mut state = shared.lock();
        state.attend();
        if state.ways.have_changed() {
            state.ways.update(sockets);
        }
        if state.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            state.endpoint.handle_timeout(now);
        }
        state.aside.move_to(&mut outgoing.bytes, &mut outgoing.transmits);
        let segments = sockets.iter().map(Socket::segments).min().unwrap_or(1);
        while outgoing.bytes.len() < BYTES_AT_ONCE
            && let Some(transmit) = state.endpoint.poll_transmit(now, segments, &mut outgoing.bytes)
        {
            if transmit.route.socket == RELAY_SOCKET {
                let rows = state.ways.relayed.wrap(&state.endpoint, &transmit, &mut outgoing.bytes);
                outgoing.transmits.extend(rows);
            } else {
                outgoing.transmits.push_back(transmit);
            }
        }
        state.tell_events(&shared.incoming, wakers);
        drop(state);
        wake(wakers);
        !outgoing.transmits.is_empty()
    }

    /// Registers for everything that may come. Ready: something is there already.
    fn poll_rest(&mut self, context: &mut Context<'_>, sent: Left) -> io::Result<Poll<()>> {
        for socket in &self.sockets {
            if socket.poll_readable(context)?.is_ready() {
                return Ok(Poll::Ready(()));
            }
        }
        if sent == Left::Blocked && self.poll_writable(context)?.is_ready() {
            return Ok(Poll::Ready(()));
        }
        let mut state = self.guard.shared.lock();
        if state.ways.have_changed() {
            state.ways.update(&mut self.sockets);
            return Ok(Poll::Ready(()));
        }
        // What is held back because the socket takes no more may be what the machine's time is about.
        let at = if sent == Left::Blocked { None } else { state.endpoint.poll_timeout() };
        if state.sleep(context.waker()) && sent != Left::Blocked {
            return Ok(Poll::Ready(()));
        }
        drop(state);
        Ok(self.alarm.poll_until(context, at))
    }

    /// Whether the socket takes datagrams again that the first of those waiting is for.
    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waiting = self.outgoing.transmits.front().map(|transmit| transmit.route.socket);
        match self.sockets.iter().find(|socket| Some(socket.face().number()) == waiting) {
            Some(socket) => socket.poll_writable(context),
            None => Poll::Ready(Ok(())),
        }
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
    /// Sends until nothing is left, or the socket takes no more. The error says of which socket it is, by where that stands.
    fn flush(&mut self, sockets: &mut [Socket]) -> Result<Sent, (usize, io::Error)> {
        while let Some(transmit) = self.transmits.front() {
            let end = self.sent + transmit.size;
            // Those of a socket that is gone are lost.
            let mut places = sockets.iter_mut().enumerate();
            if let Some((at, socket)) = places.find(|(_, socket)| socket.face().number() == transmit.route.socket) {
                let contents = self.bytes.get(self.sent..end).unwrap_or_default();
                if socket.send(transmit, contents).map_err(|error| (at, error))? == Sent::Blocked {
                    return Ok(Sent::Blocked);
                }
            }
            self.sent = end;
            self.transmits.pop_front();
        }
        self.bytes.clear();
        self.sent = 0;
        Ok(Sent::Done)
    }
}

/// The socket that a route begins at.
pub(super) fn socket_of(sockets: &mut [Socket], route: Route) -> Option<&mut Socket> {
    sockets.iter_mut().find(|socket| socket.face().number() == route.socket)
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

#[cfg(test)]
mod tests {
    use common::mrt::{Config, Endpoint, Target};

    use super::*;
    use crate::mrt::tests::{LOOPBACK, PSK, keys};
    use crate::mrt::ways::Ways;

    /// A driver that has one socket, which is ready.
    async fn driver() -> Driver {
        let (now, mut ways) = (Instant::now(), Ways::new());
        ways.add(Socket::bind(LOOPBACK.parse().unwrap()).unwrap()).unwrap();
        let endpoint = Endpoint::new(now, Config::default(), keys(1, PSK), [0; 32]);
        let mut driver = Driver::new(Arc::new(Shared::new(now, endpoint, ways)));
        assert!(!driver.gather(), "the socket alone");
        poll_fn(|context| driver.sockets[0].poll_writable(context)).await.unwrap();
        driver
    }

    #[tokio::test]
    async fn what_waits_after_sending_waits_for_a_full_socket() {
        let silent = std::net::UdpSocket::bind(LOOPBACK).unwrap();
        let mut driver = driver().await;
        let route = driver.sockets[0].face().route(silent.local_addr().unwrap()).unwrap();
        // Requests for twice as many bytes as are sent in one turn.
        for _ in 0..2 * SEND_ROUNDS * BYTES_AT_ONCE / 1_200 {
            driver.guard.shared.connect(Instant::now(), route, Target::default()).unwrap();
        }
        let left = driver.send().unwrap();
        assert_ne!(left, Left::Nothing);
        assert_eq!(left == Left::Blocked, !driver.outgoing.transmits.is_empty());
    }

    #[tokio::test]
    async fn what_still_comes_to_a_socket_that_was_closed_is_nobodys() {
        let asker = std::net::UdpSocket::bind(LOOPBACK).unwrap();
        let mut driver = driver().await;
        let ask = async |driver: &Driver| {
            let request = b"\0\x01\0\0\x21\x12\xa4\x42transaction.";
            asker.send_to(request, driver.sockets[0].face().local()).unwrap();
            poll_fn(|context| driver.sockets[0].poll_readable(context)).await.unwrap();
        };
        ask(&driver).await;
        driver.receive().unwrap();
        assert!(driver.gather(), "an answer");
        driver.outgoing.transmits.clear();
        ask(&driver).await;
        assert!(driver.guard.shared.remove_socket(Instant::now(), SocketId(0)));
        driver.receive().unwrap();
        assert!(!driver.gather());
    }
}
