//! STUN (RFC 8489), as far as it takes to learn one's public address: Binding requests and their answers.
//!
//! A client sends a request of 28 bytes to a server, which answers with the address it came from. Both share a UDP socket
//! with MRT; [`is_stun`] tells their datagrams apart. There is no authentication: whoever sees a request can answer it
//! falsely, so what is learnt here is a guess until a connection proves it. The other way round a server may vouch for an
//! address: to a request with a token it gives a proof that somebody with that token heard it there, which the asker can show
//! to whoever trusts the server (attribute 0xc53a: in a request the token and 24 zeros, in an answer the 16 bytes of the proof).
//!
//! - `client`: asks, again if need be
//! - `server`: answers
//! - `message`: the bytes

mod client;
mod message;
mod server;

pub use client::{StunClient, StunFailure};
pub use message::{
    Fingerprint, MAX_STUN_ANSWER, MAX_STUN_MESSAGE, STUN_REQUEST_LENGTH, StunError, StunMessage, StunProof, StunToken,
    TransactionId, UnknownAttributes, is_stun, is_stun_request,
};
pub use server::{respond_to_stun, respond_to_stun_with};

#[cfg(test)]
mod tests;
