//! What is inside the Noise messages: who a side is, and what it wants.
//!
//! ```text
//! Ed25519 public key        32 bytes
//! signature of the X25519 key 64 bytes
//! length of what follows     2 bytes
//!   max_datagram             2 bytes
//!   idle_timeout             4 bytes, milliseconds
//!   window_total             8 bytes
//!   window_each              8 bytes
//!   max_streams              8 bytes
//!   anything, which is ignored
//! the responder only:
//!   its id of the connection 8 bytes
//!   where the RCON came from 7 or 19 bytes
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use super::{HandshakeError, Keys, Params, StaticKey};
use crate::identity::PublicKey;
use crate::mrt::Side;
use crate::mrt::frame::{MAX_VARINT, address, put_address};
use crate::mrt::packet::{ConnectionId, MIN_MTU};
use crate::reader::{ReadError, Reader};

/// What an identity's signature of its X25519 key begins with.
const SIGNED_PREFIX: &[u8] = b"shoal-mrt-static-v1";

/// Bytes of the parameters that this version knows.
const PARAMS_LENGTH: u16 = 2 + 4 + 3 * 8;

/// Most streams that can have a number: twice the number of a stream, and one more, is a variable-length integer.
const MAX_STREAMS: u64 = 1 << 60;

/// What only a responder says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// What it knows the connection by.
    pub(super) ours: ConnectionId,
    /// Where the RCON came from.
    pub(super) observed: SocketAddr,
}

/// A payload of the other side, with the identity proven.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) identity: PublicKey,
    pub(super) params: Params,
    /// There exactly when the responder said it.
    pub(super) answer: Option<Answer>,
}

/// What an identity signs so that `key` is known to be its own.
pub(super) fn signed(key: &StaticKey) -> Vec<u8> {
    [SIGNED_PREFIX, &key.0].concat()
}

/// The payload of a side with `keys`; `answer` if it is the responder.
pub(super) fn encode(keys: &Keys, params: &Params, answer: Option<&Answer>) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(keys.identity.0);
    out.extend(keys.signature);
    out.extend(PARAMS_LENGTH.to_be_bytes());
    out.extend(params.max_datagram.to_be_bytes());
    out.extend(u32::try_from(params.idle_timeout.as_millis()).unwrap_or(u32::MAX).to_be_bytes());
    for (number, limit) in
        [(params.window_total, MAX_VARINT), (params.window_each, MAX_VARINT), (params.max_streams, MAX_STREAMS)]
    {
        out.extend(number.min(limit).to_be_bytes());
    }
    if let Some(answer) = answer {
        out.extend(answer.ours.0.to_be_bytes());
        put_address(&mut out, answer.observed);
    }
    out
}

/// Reads the payload of the side `from`, which Noise has proven to hold `static_key`. The signature is checked before
/// anything behind it is looked at.
pub(super) fn decode(payload: &[u8], static_key: &StaticKey, from: Side) -> Result<Claim, HandshakeError> {
    let mut reader = Reader::new(payload);
    let (identity, signature) = (PublicKey(reader.array()?), reader.array()?);
    if identity.verify(&signed(static_key), &signature).is_err() {
        return Err(HandshakeError::Signature);
    }
    let length = usize::from(reader.u16()?);
    let params = params(Reader::new(reader.take(length)?))?;
    let answer = match from {
        Side::Initiator => None,
        Side::Responder => {
            let ours = ConnectionId(reader.u64()?);
            let observed = address(&mut reader).or(Err(HandshakeError::Payload))?;
            Some(Answer { ours, observed })
        }
    };
    reader.end()?;
    Ok(Claim { identity, params, answer })
}

/// Reads parameters; whatever stands behind those that this version knows is of a later one.
fn params(mut reader: Reader<'_>) -> Result<Params, HandshakeError> {
    let params = Params {
        max_datagram: reader.u16()?,
        idle_timeout: Duration::from_millis(reader.u32()?.into()),
        window_total: reader.u64()?,
        window_each: reader.u64()?,
        max_streams: reader.u64()?,
    };
    let sane = usize::from(params.max_datagram) >= MIN_MTU
        && !params.idle_timeout.is_zero()
        && params.window_total <= MAX_VARINT
        && params.window_each <= MAX_VARINT
        && params.max_streams <= MAX_STREAMS;
    if sane { Ok(params) } else { Err(HandshakeError::Payload) }
}

impl From<ReadError> for HandshakeError {
    fn from(_: ReadError) -> Self {
        Self::Payload
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::super::LocalKeys;
    use super::*;
    use crate::identity::{Identity, SIGNATURE_LENGTH};

    fn keys() -> LocalKeys {
        LocalKeys::new(Arc::new(Identity::from_seed(&[1; 32])), [9; 32])
    }

    fn params() -> Params {
        Params {
            max_datagram: 1452,
            idle_timeout: Duration::from_millis(30_000),
            window_total: MAX_VARINT,
            window_each: 1 << 18,
            max_streams: 256,
        }
    }

    fn answer() -> Answer {
        Answer { ours: ConnectionId(0x0102_0304_0506_0708), observed: "203.0.113.9:4001".parse().unwrap() }
    }

    const HEAD: usize = 32 + SIGNATURE_LENGTH;

    #[test]
    fn the_bytes_behind_the_signature_stay_as_they_are() {
        let payload = encode(&keys().keys, &params(), Some(&answer()));
        assert_eq!(
            HEXLOWER.encode(&payload[HEAD..]),
            "001e05ac000075303fffffffffffffff00000000000400000000000000000100010203040506070804cb0071090fa1"
        );
    }

    #[test]
    fn a_payload_says_what_its_side_has_to_say() {
        let keys = keys();
        let ipv6 = Answer { observed: "[2001:db8::1]:65535".parse().unwrap(), ..answer() };
        for (from, answer) in
            [(Side::Initiator, None), (Side::Responder, Some(answer())), (Side::Responder, Some(ipv6))]
        {
            let payload = encode(&keys.keys, &params(), answer.as_ref());
            let claim = Claim { identity: keys.keys.identity, params: params(), answer };
            assert_eq!(decode(&payload, &keys.static_key(), from), Ok(claim));
            let other = if from == Side::Initiator { Side::Responder } else { Side::Initiator };
            assert_eq!(decode(&payload, &keys.static_key(), other), Err(HandshakeError::Payload));
            for length in 0..payload.len() {
                assert!(decode(&payload[..length], &keys.static_key(), from).is_err());
            }
            let longer = [payload.as_slice(), &[0]].concat();
            assert_eq!(decode(&longer, &keys.static_key(), from), Err(HandshakeError::Payload));
        }
    }

    #[test]
    fn nothing_is_looked_at_before_the_signature() {
        let keys = keys();
        let mut payload = encode(&keys.keys, &params(), None);
        payload.truncate(HEAD);
        payload[0] ^= 1;
        assert_eq!(decode(&payload, &keys.static_key(), Side::Initiator), Err(HandshakeError::Signature));
        payload[0] ^= 1;
        assert_eq!(decode(&payload, &keys.static_key(), Side::Initiator), Err(HandshakeError::Payload));
        assert_eq!(decode(&payload, &StaticKey([1; 32]), Side::Initiator), Err(HandshakeError::Signature));
    }

    /// A payload with these bytes for parameters.
    fn with_params(bytes: &[u8]) -> Vec<u8> {
        let payload = encode(&keys().keys, &params(), None);
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&payload[..HEAD], &length, bytes].concat()
    }

    #[test]
    fn parameters_of_later_versions_are_passed_over() {
        let payload = encode(&keys().keys, &params(), None);
        let known = &payload[HEAD + 2..];
        let longer = with_params(&[known, b"something new"].concat());
        assert_eq!(decode(&longer, &keys().static_key(), Side::Initiator).unwrap().params, params());
        let shorter = with_params(&known[..known.len() - 1]);
        assert_eq!(decode(&shorter, &keys().static_key(), Side::Initiator), Err(HandshakeError::Payload));
    }

    #[test]
    fn parameters_that_cannot_be_are_refused() {
        let known = encode(&keys().keys, &params(), None).split_off(HEAD + 2);
        for (at, bytes) in [
            (0, 1199_u16.to_be_bytes().to_vec()),
            (2, vec![0; 4]),
            (6, (MAX_VARINT + 1).to_be_bytes().to_vec()),
            (14, (MAX_VARINT + 1).to_be_bytes().to_vec()),
            (22, (MAX_STREAMS + 1).to_be_bytes().to_vec()),
        ] {
            let mut wrong = known.clone();
            wrong[at..at + bytes.len()].copy_from_slice(&bytes);
            let decoded = decode(&with_params(&wrong), &keys().static_key(), Side::Initiator);
            assert_eq!(decoded, Err(HandshakeError::Payload), "{at}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_behind_the_signature_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let payload = encode(&keys().keys, &params(), None);
            for from in [Side::Initiator, Side::Responder] {
                let _ = decode(&[&payload[..HEAD], &bytes].concat(), &keys().static_key(), from);
            }
        }
    }
}
