//! Proof of an address without state: who can send back what we sent to an address receives what is sent there.

use std::net::SocketAddr;
use std::time::Instant;

use super::packet::ConnectionId;
use super::random::Random;

/// Makes cookies and knows them again.
#[derive(Debug)]
pub(super) struct Cookies {}

impl Cookies {
    pub(super) fn new(now: Instant, random: &mut Random) -> Self {
        let _ = random;
        unimplemented!("{now:?}")
    }
    /// A cookie for this address and this id, of at most `MAX_COOKIE` bytes, good for 10 to 20 seconds... (named constants).
    pub(super) fn make(&mut self, now: Instant, from: SocketAddr, source: ConnectionId) -> Vec<u8> {
        unimplemented!("{now:?} {from} {source:?}")
    }
    /// Whether it is one of ours, for this address and id, and not too old.
    pub(super) fn check(&mut self, now: Instant, from: SocketAddr, source: ConnectionId, cookie: &[u8]) -> bool {
        unimplemented!("{now:?} {from} {source:?} {cookie:?}")
    }
}
