//! The server: answers each request at once and remembers nothing.

use std::net::SocketAddr;

use super::message::{StunMessage, encode_success, encode_unknown};

/// The answer to a datagram that came from `from`: the address, or that an attribute is not known (420); at most
/// [`super::MAX_STUN_ANSWER`] bytes. `None`: it is no good Binding request; whatever is not gets no answer. The answer has
/// a FINGERPRINT if the request has.
pub fn respond_to_stun(request: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let Ok(StunMessage::Request { id, unknown, fingerprint }) = StunMessage::decode(request) else { return None };
    if unknown.kinds().is_empty() {
        let mapped = SocketAddr::new(from.ip().to_canonical(), from.port());
        Some(encode_success(id, mapped, fingerprint))
    } else {
        Some(encode_unknown(id, &unknown, fingerprint))
    }
}
