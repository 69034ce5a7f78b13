//! What is outside: the heads of packets, before anything is opened. `WIRE.md` has the layout of each.

#[cfg(test)]
mod tests;

use super::crypto::Suite;
use crate::reader::{ReadError, Reader};

/// Bytes that every path must carry in one datagram, and that the first datagram of a connection is padded to, so that
/// nobody is sent more than was spent to ask for it.
pub const MIN_MTU: usize = 1200;

/// Fewest bytes of a datagram with an RCON.
pub const MIN_INITIAL: usize = MIN_MTU;

/// Bytes of the tag that ends a sealed packet (both suites).
pub const TAG_LENGTH: usize = 16;

/// Most bytes of a Noise message in an RCON, ACON or CCON.
pub const MAX_NOISE: usize = 1024;

/// Most bytes of a cookie.
pub const MAX_COOKIE: usize = 64;

/// Bytes before the sealed part of a DATA packet: kind, connection id and the low half of the packet number.
pub(super) const DATA_HEADER: usize = 1 + 8 + 4;

/// The version of this wire.
pub(super) const VERSION: u8 = 1;

/// First bytes of packets. All have the bit 0x40, which no STUN message has (RFC 7983 does likewise), so that both can come
/// to one socket.
const RCON: u8 = 0x40;
const ACON: u8 = 0x41;
const COOK: u8 = 0x42;
const CCON: u8 = 0x43;
const DATA: u8 = 0x48;
const DATA_PHASE: u8 = 0x49;

/// First byte of a datagram that is relayed: it is for whoever relays, or moves datagrams for an endpoint
/// ([`crate::relay`]), and never for an endpoint itself.
pub const RELY: u8 = 0x50;

/// What the receiver of packets chose to know a connection by. It says nothing about addresses, so that a connection
/// survives their change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Which handshake an RCON begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    /// `Noise_IKpsk2`: the initiator knows the responder's static key.
    Known,
    /// `Noise_XXpsk3`: it does not.
    Unknown,
}

/// One packet of a datagram, as far as it can be told without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// RCON: asks for a connection.
    Request {
        /// How the packets are to be sealed.
        suite: Suite,
        /// Which handshake.
        pattern: Pattern,
        /// What the initiator will know the connection by.
        source: ConnectionId,
        /// What a COOK brought, or nothing.
        cookie: &'a [u8],
        /// The first Noise message.
        noise: &'a [u8],
    },
    /// ACON: accepts it.
    Accept {
        /// The initiator's id of the connection.
        destination: ConnectionId,
        /// The second Noise message.
        noise: &'a [u8],
    },
    /// COOK: ask again with this.
    Cookie {
        /// The initiator's id of the connection.
        destination: ConnectionId,
        /// What to ask with.
        cookie: &'a [u8],
    },
    /// CCON: the third Noise message of XX. A DATA packet follows in the same datagram.
    Confirm {
        /// The responder's id of the connection.
        destination: ConnectionId,
        /// The third Noise message.
        noise: &'a [u8],
        /// Bytes of this packet: where the next one begins.
        length: usize,
    },
    /// DATA: a sealed packet, up to the end of the datagram.
    Data {
        /// The receiver's id of the connection.
        destination: ConnectionId,
        /// Which of two keys in turn sealed it.
        phase: bool,
        /// The low 32 bits of the packet number.
        number: u32,
    },
}

/// Why a datagram is none of MRT's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It ends too early, or has bytes too many.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Another protocol, or a later version of this one.
    #[error("not a packet of this version of MRT")]
    Kind,
    /// A relayed datagram: the one inside may be for an endpoint, but whoever moves datagrams takes it out.
    #[error("a relayed datagram, which is not for an endpoint")]
    Relayed,
    /// A part is longer than any honest one.
    #[error("a part of the packet is longer than allowed")]
    TooLong,
    /// An RCON in a datagram so small that an answer would be an amplification.
    #[error("a request for a connection must come in {MIN_INITIAL} bytes or more")]
    Unpadded,
}

impl<'a> Packet<'a> {
    /// Reads the packet at the front of `datagram`.
    pub fn decode(datagram: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(datagram);
        match reader.u8()? {
            RCON => Self::decode_request(reader, datagram.len()),
            ACON => {
                let destination = ConnectionId(reader.u64()?);
                let noise = noise(&mut reader)?;
                reader.end()?;
                Ok(Self::Accept { destination, noise })
            }
            COOK => {
                let destination = ConnectionId(reader.u64()?);
                let cookie = cookie(&mut reader)?;
                reader.end()?;
                Ok(Self::Cookie { destination, cookie })
            }
            CCON => {
                let destination = ConnectionId(reader.u64()?);
                let noise = noise(&mut reader)?;
                Ok(Self::Confirm { destination, noise, length: datagram.len() - reader.left() })
            }
            kind @ (DATA | DATA_PHASE) => {
                let (destination, number) = (ConnectionId(reader.u64()?), reader.u32()?);
                if reader.left() < TAG_LENGTH {
                    return Err(ReadError::Short.into());
                }
                Ok(Self::Data { destination, phase: kind == DATA_PHASE, number })
            }
            RELY => Err(PacketError::Relayed),
            _ => Err(PacketError::Kind),
        }
    }

    /// Appends the packet as an endpoint would write it, up to what is sealed.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Request { suite, pattern, source, cookie, noise } => {
                Self::encode_request(out, (suite, pattern), source, cookie, noise);
            }
            Self::Accept { destination, noise } => Self::encode_accept(out, destination, noise),
            Self::Cookie { destination, cookie } => Self::encode_cookie(out, destination, cookie),
            Self::Confirm { destination, noise, .. } => Self::encode_confirm(out, destination, noise),
            Self::Data { destination, phase, number } => {
                Self::encode_data(out, destination, phase, u64::from(number));
            }
        }
    }

    fn decode_request(mut reader: Reader<'a>, datagram: usize) -> Result<Self, PacketError> {
        if datagram < MIN_INITIAL {
            return Err(PacketError::Unpadded);
        }
        if reader.u8()? != VERSION {
            return Err(PacketError::Kind);
        }
        let suite = Suite::from_byte(reader.u8()?).ok_or(PacketError::Kind)?;
        let pattern = Pattern::from_byte(reader.u8()?).ok_or(PacketError::Kind)?;
        let source = ConnectionId(reader.u64()?);
        let (cookie, noise) = (cookie(&mut reader)?, noise(&mut reader)?);
        // What is left is padding; what it holds does not matter.
        Ok(Self::Request { suite, pattern, source, cookie, noise })
    }

    /// Appends an RCON, padded.
    pub(super) fn encode_request(
        out: &mut Vec<u8>,
        (suite, pattern): (Suite, Pattern),
        source: ConnectionId,
        cookie: &[u8],
        noise: &[u8],
    ) {
        let start = out.len();
        out.extend([RCON, VERSION, suite.byte(), pattern.byte()]);
        out.extend(source.0.to_be_bytes());
        out.push(u8::try_from(cookie.len()).expect("a cookie has at most 64 bytes"));
        out.extend(cookie);
        put_noise(out, noise);
        out.resize(out.len().max(start + MIN_INITIAL), 0);
    }

    /// Appends an ACON.
    pub(super) fn encode_accept(out: &mut Vec<u8>, destination: ConnectionId, noise: &[u8]) {
        out.push(ACON);
        out.extend(destination.0.to_be_bytes());
        put_noise(out, noise);
    }

    /// Appends a COOK.
    pub(super) fn encode_cookie(out: &mut Vec<u8>, destination: ConnectionId, cookie: &[u8]) {
        out.push(COOK);
        out.extend(destination.0.to_be_bytes());
        out.push(u8::try_from(cookie.len()).expect("a cookie has at most 64 bytes"));
        out.extend(cookie);
    }

    /// Appends a CCON, after which a DATA packet must follow.
    pub(super) fn encode_confirm(out: &mut Vec<u8>, destination: ConnectionId, noise: &[u8]) {
        out.push(CCON);
        out.extend(destination.0.to_be_bytes());
        put_noise(out, noise);
    }

    /// Appends the head of a DATA packet.
    pub(super) fn encode_data(out: &mut Vec<u8>, destination: ConnectionId, phase: bool, number: u64) {
        out.push(if phase { DATA_PHASE } else { DATA });
        out.extend(destination.0.to_be_bytes());
        let [_, _, _, _, low @ ..] = number.to_be_bytes();
        out.extend(low);
    }
}

impl Pattern {
    /// As on the wire.
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Known => 1,
            Self::Unknown => 2,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Known),
            2 => Some(Self::Unknown),
            _ => None,
        }
    }
}

/// The packet number whose low half is `low` and that is nearest to `expected`, the one after the largest that came.
pub(super) fn expand_number(low: u32, expected: u64) -> u64 {
    const SPAN: u64 = 1 << 32;
    let candidate = (expected & !(SPAN - 1)) | u64::from(low);
    if candidate + SPAN / 2 <= expected {
        candidate + SPAN
    } else if candidate > expected + SPAN / 2 && candidate >= SPAN {
        candidate - SPAN
    } else {
        candidate
    }
}

fn noise<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], PacketError> {
    let length = usize::from(reader.u16()?);
    if length > MAX_NOISE {
        return Err(PacketError::TooLong);
    }
    Ok(reader.take(length)?)
}

fn put_noise(out: &mut Vec<u8>, noise: &[u8]) {
    let length = u16::try_from(noise.len()).expect("a Noise message of ours has at most 1,024 bytes");
    out.extend(length.to_be_bytes());
    out.extend(noise);
}

fn cookie<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], PacketError> {
    let length = usize::from(reader.u8()?);
    if length > MAX_COOKIE {
        return Err(PacketError::TooLong);
    }
    Ok(reader.take(length)?)
}
