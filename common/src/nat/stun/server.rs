//! The server: answers each request at once and remembers nothing.

use std::net::SocketAddr;

use super::message::{StunMessage, StunProof, StunToken, encode_success, encode_unknown};

/// The answer to a datagram that came from `from`: the address, or that an attribute is not known (420); at most
/// [`super::MAX_STUN_ANSWER`] bytes. `None`: it is no good Binding request; whatever is not gets no answer. The answer has
/// a FINGERPRINT if the request has.
pub fn respond_to_stun(request: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    respond_to_stun_with(request, from, |_token, _address| None)
}

/// The same of a server that vouches for addresses: where a proof is wished for, `prove` gives it, for who has this token
/// and is at this address (in its canonical form).
pub fn respond_to_stun_with(
    request: &[u8],
    from: SocketAddr,
    prove: impl FnOnce(StunToken, SocketAddr) -> Option<StunProof>,
) -> Option<Vec<u8>> {
    let message = StunMessage::decode(request);
    let Ok(StunMessage::Request { id, unknown, fingerprint, token }) = message else { return None };
    if unknown.kinds().is_empty() {
        let mapped = SocketAddr::new(from.ip().to_canonical(), from.port());
        let proof = token.and_then(|token| prove(token, mapped));
        Some(encode_success(id, mapped, proof, fingerprint))
    } else {
        Some(encode_unknown(id, &unknown, fingerprint))
    }
}
