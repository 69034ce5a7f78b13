//! What can be done with a connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use common::mrt::{CloseCode, Connection as Machine, ConnectionHandle, Remote, Route, Side, Stats};

use super::entry::{PathEvent, Phase, Signals};
use super::error::ConnectionError;
use super::relayed::is_pseudo;
use super::shared::{Attention, Shared};
use super::stream::Stream;
use super::waiting::until;

/// A connection that stands, or did. Clones are the same connection.
///
/// When the last of them and of its streams is dropped, it is closed with [`CloseCode::DONE`], as if by [`Self::close`]:
/// what is not delivered by then never is. So the side that receives the last bytes should be the one that closes.
#[derive(Debug, Clone)]
pub struct Connection {
    inner: Arc<Inner>,
    remote: Remote,
}

/// The program's hold on a connection, which may not stand yet.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    pub(super) handle: ConnectionHandle,
    signals: Arc<Signals>,
}

impl Connection {
    pub(super) const fn new(inner: Arc<Inner>, remote: Remote) -> Self {
        Self { inner, remote }
    }

    pub(super) fn handle(&self) -> ConnectionHandle {
        self.inner.handle
    }

    pub(super) fn belongs_to(&self, node: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.inner.shared, node)
    }

    /// Who is at the other end.
    pub const fn remote(&self) -> Remote {
        self.remote
    }

    /// Opens a stream; waits while the other side has as many open as it allows. The other side learns of it with the
    /// first bytes written, or with its end.
    pub async fn open(&self) -> Result<Stream, ConnectionError> {
        let inner = &self.inner;
        let open = || {
            let opened = inner.shared.act(inner.handle, |machine, entry| {
                let id = machine.open();
                id.into_iter().for_each(|id| entry.add_stream(id));
                (Attention::NotNeeded, id)
            });
            opened.transpose()
        };
        until(&inner.signals.may_open, open).await.map(|id| Stream::new(Arc::clone(inner), id))
    }

    /// The next stream that the other side opened; waits for it.
    pub async fn accept(&self) -> Result<Stream, ConnectionError> {
        let inner = &self.inner;
        let accept = || {
            let accepted = inner.shared.act(inner.handle, |machine, entry| {
                let id = machine.accept();
                id.into_iter().for_each(|id| entry.add_stream(id));
                (Attention::NotNeeded, id)
            });
            accepted.transpose()
        };
        until(&inner.signals.opened, accept).await.map(|id| Stream::new(Arc::clone(inner), id))
    }

    /// Closes it at once: everything not yet delivered is given up, in both directions.
    pub fn close(&self, code: CloseCode, reason: &str) {
        self.inner.shared.close_connection(self.inner.handle, Instant::now(), code, reason);
    }

    /// Why it is closed; waits until it is.
    pub async fn closed(&self) -> ConnectionError {
        let inner = &self.inner;
        until(&inner.signals.closed, || match inner.shared.phase(inner.handle) {
            Phase::Closed(error) => Some(error),
            Phase::Connecting | Phase::Open(_) => None,
        })
        .await
    }

    /// Figures since its beginning; an error when it is closed.
    pub fn stats(&self) -> Result<Stats, ConnectionError> {
        self.inner.shared.look(self.inner.handle, Machine::stats)
    }

    /// Who asked for it; an error when it is closed.
    pub fn side(&self) -> Result<Side, ConnectionError> {
        self.inner.shared.look(self.inner.handle, Machine::side)
    }

    /// The path in use; an error when it is closed.
    pub fn route(&self) -> Result<Route, ConnectionError> {
        self.inner.shared.look(self.inner.handle, Machine::route)
    }

    /// Whether the other side is known to be at the end of this path, in use or not; an error when it is closed.
    pub fn is_proven(&self, route: Route) -> Result<bool, ConnectionError> {
        self.inner.shared.look(self.inner.handle, |machine| machine.is_proven(route))
    }

    /// Whether nothing of what was sent is acknowledged any more, several times in a row, so that the path in use may be dead; an
    /// error when it is closed. Another path that answers then is taken by itself.
    pub fn is_silent(&self) -> Result<bool, ConnectionError> {
        self.inner.shared.look(self.inner.handle, Machine::is_silent)
    }

    /// Where this side seemed to be when it asked for the connection, as the other side saw it; `None` at the side that was
    /// asked, and where it was asked through a relay.
    pub fn observed(&self) -> Result<Option<SocketAddr>, ConnectionError> {
        let observed = self.inner.shared.look(self.inner.handle, Machine::observed)?;
        Ok(observed.filter(|address| !is_pseudo(*address)))
    }

    /// Tries a path, from any socket of the node or through a relay (see [`Node::route`](super::Node::route) and
    /// [`Node::add_relayed`](super::Node::add_relayed)): challenges are sent, which open a NAT towards there, until one is
    /// answered or 3 s have passed. What becomes of it is told by [`Self::path_event`]. An error where the route leads
    /// nowhere. Nothing else is sent there until [`Self::switch`].
    pub fn probe(&self, route: Route) -> Result<(), ConnectionError> {
        self.inner.shared.probe(Instant::now(), self.inner.handle, route)
    }

    /// Sends on this path from now on, and the other side follows; says whether it is one that is validated, and was heard
    /// within 30 s; otherwise nothing changes, and it is to be probed again. Nothing is lost by it: what is under way on the
    /// old path is still taken there. Should the path die later, another that answers is taken without being told to, a
    /// relayed one as well ([`PathEvent::InUse`] says so).
    pub fn switch(&self, route: Route) -> Result<bool, ConnectionError> {
        self.inner.shared.act(self.inner.handle, |machine, _| {
            let switched = machine.switch(Instant::now(), route);
            (Attention::Needed, switched)
        })
    }

    /// The next event of its paths; waits for it. Of those that nobody asks for the last 16 are kept.
    pub async fn path_event(&self) -> Result<PathEvent, ConnectionError> {
        let inner = &self.inner;
        until(&inner.signals.paths, || inner.shared.path_event(inner.handle).transpose()).await
    }
}

impl Inner {
    pub(super) const fn new(shared: Arc<Shared>, handle: ConnectionHandle, signals: Arc<Signals>) -> Self {
        Self { shared, handle, signals }
    }

    /// Waits until it stands.
    pub(super) async fn connected(&self) -> Result<Remote, ConnectionError> {
        until(&self.signals.connected, || match self.shared.phase(self.handle) {
            Phase::Connecting => None,
            Phase::Open(remote) => Some(Ok(remote)),
            Phase::Closed(error) => Some(Err(error)),
        })
        .await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.drop_connection(self.handle);
    }
}
