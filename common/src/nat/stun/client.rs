//! The client: asks one server, again if need be, until it has an answer or gives up.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::message::{StunMessage, StunProof, StunToken, TransactionId, encode_request};

/// The first request is repeated after this time, and each later one after twice as long as the one before (RFC 8489, section
/// 6.2.1).
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// How many requests are sent. The RFC's seven take 40 s, and nobody waits that long at the start of a program; with 10 % of all
/// datagrams lost, four fail once in 750 times.
const TRIES: u32 = 4;

/// How long an answer to the last request may take.
const LAST_WAIT: Duration = Duration::from_secs(2);

/// One question to one server.
///
/// Contract: ask [`Self::poll_transmit`] for what to send to [`Self::server`] at first and whenever the time of
/// [`Self::poll_timeout`] has come; give [`Self::handle_datagram`] what [`super::is_stun`] holds for. When there is an
/// [`Self::outcome`] it is over.
#[derive(Debug)]
pub struct StunClient {
    server: SocketAddr,
    id: TransactionId,
    token: Option<StunToken>,
    proof: Option<StunProof>,
    state: State,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StunFailure {
    /// None came.
    #[error("no answer")]
    Silence,
    /// The server does not want to say; the number is one of RFC 8489, section 14.8.
    #[error("refused with error {0}")]
    Refused(u16),
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// So many requests were sent; something is to be done at this time.
    Asking {
        sent: u32,
        at: Instant,
    },
    Over(Result<SocketAddr, StunFailure>),
}

impl StunClient {
    /// Asks `server`. The id is fresh from a cryptographic source.
    pub const fn new(now: Instant, server: SocketAddr, id: TransactionId) -> Self {
        Self { server, id, token: None, proof: None, state: State::Asking { sent: 0, at: now } }
    }

    /// The same, and for a proof of the answer, which servers that know the token give ([`Self::proof`]).
    pub const fn for_proof(now: Instant, server: SocketAddr, id: TransactionId, token: StunToken) -> Self {
        Self { token: Some(token), ..Self::new(now, server, id) }
    }

    /// Who is asked.
    pub const fn server(&self) -> SocketAddr {
        self.server
    }

    /// What is to be sent to the server now, if anything.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        let State::Asking { sent, at } = self.state else { return None };
        if now < at {
            return None;
        }
        if sent == TRIES {
            self.state = State::Over(Err(StunFailure::Silence));
            return None;
        }
        let wait = if sent + 1 == TRIES { LAST_WAIT } else { FIRST_WAIT * (1 << sent) };
        self.state = State::Asking { sent: sent + 1, at: now + wait };
        Some(encode_request(self.id, self.token))
    }

    /// When [`Self::poll_transmit`] is to be called, if at all.
    pub const fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Asking { at, .. } => Some(at),
            State::Over(_) => None,
        }
    }

    /// A datagram came from `from`; says whether it was the answer. Whatever does not come from the server, is not to this
    /// question or is not in order is none.
    pub fn handle_datagram(&mut self, from: SocketAddr, datagram: &[u8]) -> bool {
        if from != self.server || !matches!(self.state, State::Asking { sent: 1.., .. }) {
            return false;
        }
        let outcome = match StunMessage::decode(datagram) {
            Ok(StunMessage::Success { id, mapped, proof }) if id == self.id => {
                self.proof = proof.filter(|_| self.token.is_some());
                Ok(mapped)
            }
            Ok(StunMessage::Error { id, code }) if id == self.id => Err(StunFailure::Refused(code)),
            _ => return false,
        };
        self.state = State::Over(outcome);
        true
    }

    /// The address from which the server saw the request come, or why it is not known; `None`: not over yet.
    pub const fn outcome(&self) -> Option<Result<SocketAddr, StunFailure>> {
        match self.state {
            State::Asking { .. } => None,
            State::Over(outcome) => Some(outcome),
        }
    }

    /// The server's proof of the address, where it was asked for one, and gave it.
    pub const fn proof(&self) -> Option<StunProof> {
        self.proof
    }
}
