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
