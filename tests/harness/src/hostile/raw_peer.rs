//! A peer, by hand: either end of a connection between peers.

use std::io;
use std::net::SocketAddr;

use common::id::NetworkId;
use common::identity::Identity;
use common::wire::peer::{Message, VERSION};
use common::wire::{MAX_PEER_FRAME, PEER_ALPN};

use super::Secure;

/// A connection to a peer.
#[derive(Debug)]
pub struct RawPeer {
    secure: Secure,
}

impl RawPeer {
    /// Dials a peer and says nothing yet.
    pub fn dial(address: SocketAddr, identity: &Identity) -> io::Result<Self> {
        Ok(Self { secure: Secure::dial(address, identity, PEER_ALPN)? })
    }

    /// Speaks over a connection that is there.
    pub const fn over(secure: Secure) -> Self {
        Self { secure }
    }

    /// Says hello and hears it.
    pub fn greet(&mut self, network: NetworkId, port: u16) -> io::Result<()> {
        self.send(&Message::Hello { version: VERSION, network, port })?;
        match self.next()? {
            Message::Hello { .. } => Ok(()),
            other => Err(io::Error::other(format!("{other:?} instead of hello"))),
        }
    }

    /// The connection below.
    pub const fn secure(&mut self) -> &mut Secure {
        &mut self.secure
    }

    /// Sends a message.
    pub fn send(&mut self, message: &Message) -> io::Result<()> {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        self.secure.send_raw(&frame)
    }

    /// The next message but for pings, which are answered; the bytes after a [`Message::Piece`] are for
    /// [`Secure::receive_raw`].
    pub fn receive(&mut self) -> io::Result<Message> {
        loop {
            match self.next()? {
                Message::Ping { token } => self.send(&Message::Pong { token })?,
                message => return Ok(message),
            }
        }
    }

    fn next(&mut self) -> io::Result<Message> {
        let body = self.secure.receive_frame(MAX_PEER_FRAME)?;
        Message::decode(&body).map_err(io::Error::other)
    }
}
