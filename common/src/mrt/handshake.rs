//! Noise, and whose key it was.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::crypto::{Secrets, Suite};
use super::packet::{ConnectionId, Pattern};
use super::random::Random;
use crate::identity::{Identity, PublicKey};

/// An X25519 public key: what a responder must be known by for the short handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StaticKey(pub [u8; 32]);

/// The keys an endpoint acts with: its identity, an X25519 key that follows from it and is signed by it, and the pre-shared key of
/// the network. `Debug` shows no secret.
pub struct LocalKeys {
    identity: Arc<Identity>,
}

impl LocalKeys {
    /// `psk` is the network's: 32 bytes that all its members have and nobody else.
    pub fn new(identity: Arc<Identity>, psk: [u8; 32]) -> Self {
        let _ = psk;
        Self { identity }
    }
    /// What others may know this endpoint by.
    pub fn static_key(&self) -> StaticKey {
        unimplemented!()
    }
}

impl fmt::Debug for LocalKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKeys").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// Who is at the other end, proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// Its identity.
    pub identity: PublicKey,
    /// Its X25519 key, signed by the identity: with it the next connection needs one round trip only.
    pub static_key: StaticKey,
}

/// What each side says of itself in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Params {
    /// Largest datagram it takes, in bytes; from 1,200.
    pub(super) max_datagram: u16,
    /// It closes a connection from which nothing came for so long; on the wire in milliseconds, 32 bits.
    pub(super) idle_timeout: Duration,
    /// Receive windows at the beginning: sum of all streams, and each (see the frame WIND).
    pub(super) window_total: u64,
    pub(super) window_each: u64,
    /// How many streams the other side may open at once at the beginning.
    pub(super) max_streams: u64,
}

/// A handshake that is done.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) secrets: Secrets,
    pub(super) suite: Suite,
    pub(super) remote: Remote,
    pub(super) params: Params,
    /// What the other side knows the connection by: the destination of packets to it.
    pub(super) destination: ConnectionId,
    /// Where we seemed to be, as the other side saw it (only the initiator is told).
    pub(super) observed: Option<SocketAddr>,
}

/// Why a handshake message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HandshakeError {
    /// It does not open: another network key, a key that is not the one expected, or changed on its way.
    #[error("the handshake does not open")]
    Noise,
    /// What was inside cannot be read.
    #[error("the handshake's payload is malformed")]
    Payload,
    /// The X25519 key is not signed by the identity.
    #[error("the handshake's key is not signed by its identity")]
    Signature,
}

/// An initiator that waits for the ACON.
pub(super) struct Initiating {}

impl Initiating {
    /// Gives the first message too. `target` is the responder's key, if it is known: then IKpsk2, else XXpsk3.
    pub(super) fn start(
        local: &LocalKeys,
        suite: Suite,
        target: Option<StaticKey>,
        source: ConnectionId,
        params: &Params,
        random: &mut Random,
    ) -> (Self, Pattern, Vec<u8>) {
        let _ = (local, suite, target, source, params, random);
        unimplemented!()
    }
    /// Reads the second message. After an error it can be called again with another one: a forged ACON does no harm. With XX the
    /// third message comes too.
    pub(super) fn accept(&mut self, message: &[u8]) -> Result<(Established, Option<Vec<u8>>), HandshakeError> {
        unimplemented!("{message:?}")
    }
}

/// A responder that has answered.
pub(super) enum Responding {
    /// IK: the keys are there, but nobody has proven to be there.
    Ready(Box<Established>),
    /// XX: the third message is missing.
    Waiting(Waiting),
}

/// XX, before the third message.
pub(super) struct Waiting {}

impl Responding {
    /// Reads the first message; gives the second too. `ours` is our id of the connection, `observed` where the first message came from.
    pub(super) fn start(
        local: &LocalKeys,
        (suite, pattern): (Suite, Pattern),
        source: ConnectionId,
        noise: &[u8],
        ours: ConnectionId,
        observed: SocketAddr,
        params: &Params,
        random: &mut Random,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let _ = (local, suite, pattern, source, noise, ours, observed, params, random);
        unimplemented!()
    }
}

impl Waiting {
    /// Reads the third message. After an error it can be called again with another one.
    pub(super) fn confirm(&mut self, message: &[u8]) -> Result<Established, HandshakeError> {
        unimplemented!("{message:?}")
    }
}
