//! The ways out of a node, as its handles know them: which sockets there are, and what the loop still has to learn of them.

use std::io;
use std::net::SocketAddr;

use common::mrt::Route;

use super::error::ConnectionError;
use super::relayed::{RELAY_SOCKET, Relayed};
use super::socket::{Face, Socket};

/// Most sockets of a node at once. Each is looked at in each turn of the loop, and has buffers in the system.
const MOST_SOCKETS: usize = 64;

/// A socket of a node: [`Route::socket`] of the ways from it. A number is used again only when all others were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u16);

/// The ways of a node.
#[derive(Debug)]
pub(super) struct Ways {
    /// Of all sockets, in the order in which they were added.
    faces: Vec<Face>,
    /// The number of the next one.
    next: u16,
    /// Sockets that the loop has not taken over yet.
    opened: Vec<Socket>,
    /// Sockets that the loop still has and that are to go.
    closed: Vec<u16>,
    /// Ways through others.
    pub(super) relayed: Relayed,
}

impl Ways {
    /// Those of a node that has no socket yet.
    pub(super) fn new() -> Self {
        Self { faces: Vec::new(), next: 0, opened: Vec::new(), closed: Vec::new(), relayed: Relayed::default() }
    }

    /// One more socket, which gets its number here.
    pub(super) fn add(&mut self, mut socket: Socket) -> io::Result<SocketId> {
        if self.faces.len() >= MOST_SOCKETS {
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many sockets"));
        }
        while self.next == RELAY_SOCKET || self.face(self.next).is_some() {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        socket.set_number(number);
        self.faces.push(socket.face());
        self.opened.push(socket);
        Ok(SocketId(number))
    }

    /// A socket is to go; says whether it was there.
    pub(super) fn remove(&mut self, socket: SocketId) -> bool {
        let before = self.faces.len();
        self.faces.retain(|face| face.number() != socket.0);
        let was_there = self.faces.len() < before;
        if was_there {
            self.opened.retain(|opened| opened.face().number() != socket.0);
            self.closed.push(socket.0);
        }
        was_there
    }

    /// Whether a socket is there, and not to go.
    pub(super) fn have(&self, face: Face) -> bool {
        self.face(face.number()).is_some()
    }

    /// All sockets and where they are bound.
    pub(super) fn sockets(&self) -> impl Iterator<Item = (SocketId, SocketAddr)> + '_ {
        self.faces.iter().map(|face| (SocketId(face.number()), face.local()))
    }

    /// The way to `remote` from a certain socket.
    pub(super) fn route_from(&self, socket: SocketId, remote: SocketAddr) -> Result<Route, ConnectionError> {
        self.face(socket.0).ok_or(ConnectionError::Address(remote))?.route(remote)
    }

    /// The way to `remote` from the first socket that reaches it.
    pub(super) fn route_to(&self, remote: SocketAddr) -> Result<Route, ConnectionError> {
        self.faces.iter().find_map(|face| face.route(remote).ok()).ok_or(ConnectionError::Address(remote))
    }

    /// A route as the machine is to know it; an error where it leads nowhere.
    pub(super) fn checked(&self, route: Route) -> Result<Route, ConnectionError> {
        if route.socket == RELAY_SOCKET {
            return self.relayed.has(route).then_some(route).ok_or(ConnectionError::Address(route.remote));
        }
        self.route_from(SocketId(route.socket), route.remote)
    }

    /// Whether the loop has sockets to take over or to let go.
    pub(super) const fn have_changed(&self) -> bool {
        !self.opened.is_empty() || !self.closed.is_empty()
    }

    /// Brings the loop's sockets up to date.
    pub(super) fn update(&mut self, sockets: &mut Vec<Socket>) {
        for number in self.closed.drain(..) {
            sockets.retain(|socket| socket.face().number() != number);
        }
        sockets.append(&mut self.opened);
    }

    fn face(&self, number: u16) -> Option<&Face> {
        self.faces.iter().find(|face| face.number() == number)
    }
}
