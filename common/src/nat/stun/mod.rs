//! STUN (RFC 8489), as far as it takes to learn one's public address: Binding requests and their answers.
//!
//! A client sends a request of 28 bytes to a server, which answers with the address it came from. Both share a UDP socket
//! with MRT; [`is_stun`] tells their datagrams apart. There is no authentication: whoever sees a request can answer it
//! falsely, so what is learnt here is a guess until a connection proves it.
//!
//! - `client`: asks, again if need be
//! - `server`: answers
//! - `message`: the bytes

mod client;
mod message;
mod server;

pub use client::{StunClient, StunFailure};
pub use message::{
    Fingerprint, MAX_STUN_ANSWER, MAX_STUN_MESSAGE, STUN_REQUEST_LENGTH, StunError, StunMessage, TransactionId,
    UnknownAttributes, is_stun, is_stun_request,
};
pub use server::respond_to_stun;

#[cfg(test)]
mod tests;
