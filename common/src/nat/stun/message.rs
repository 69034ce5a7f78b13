//! The bytes of STUN messages: a head of 20 bytes, and attributes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::reader::{ReadError, Reader};

/// Most bytes of a message that is looked at: what fits into one packet on any IPv6 link. Honest ones of this kind have some
/// hundred.
pub const MAX_STUN_MESSAGE: usize = 1232;

/// Bytes of a request of ours.
pub const STUN_REQUEST_LENGTH: usize = HEAD_LENGTH + FINGERPRINT_LENGTH;

/// Which request an answer is to: from a cryptographic source, so that who cannot see the request cannot answer it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub [u8; 12]);

/// What whoever vouches for addresses knows an asker by; given to it on another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StunToken(pub [u8; TOKEN_LENGTH]);

/// The word of a server that somebody with a certain token was at a certain address, and heard it there. Means something to
/// that server only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StunProof(pub [u8; PROOF_LENGTH]);

/// A message about a Binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StunMessage {
    /// From which address does this come?
    Request {
        /// What the answer is to have too.
        id: TransactionId,
        /// Attributes that one must understand to answer, and that are not understood here.
        unknown: UnknownAttributes,
        /// Whether it ends with a FINGERPRINT.
        fingerprint: Fingerprint,
        /// A proof is wished for, for who has this token.
        token: Option<StunToken>,
    },
    /// From this one.
    Success {
        /// That of the request.
        id: TransactionId,
        /// The address that the server saw.
        mapped: SocketAddr,
        /// The proof of that, where one was wished for and is to be had.
        proof: Option<StunProof>,
    },
    /// That is not to be had.
    Error {
        /// That of the request.
        id: TransactionId,
        /// Why, from 300 to 699 (RFC 8489, section 14.8).
        code: u16,
    },
}

/// Whether a message ends with a FINGERPRINT, which tells it apart from what only looks like one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fingerprint {
    /// It does; it has been checked when a message was read.
    Present,
    /// It does not.
    Absent,
}

/// The first few kinds of attributes that a message had and that are not understood here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UnknownAttributes {
    kinds: [u16; MAX_UNKNOWN],
    count: usize,
}

/// Why bytes are no STUN message that is of use here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// It ends too early, or has bytes too many.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It is no STUN message, or one about something else than a Binding.
    #[error("not a STUN message about a Binding")]
    Kind,
    /// It is longer than any honest one.
    #[error("longer than {MAX_STUN_MESSAGE} bytes")]
    TooLong,
    /// Its stated length is not its length, or no multiple of four.
    #[error("the stated length is wrong")]
    Length,
    /// An attribute is not what its kind says, or stands where it must not.
    #[error("the attribute {0:#06x} is malformed")]
    Attribute(u16),
    /// The FINGERPRINT is wrong.
    #[error("the fingerprint is wrong")]
    Fingerprint,
    /// An answer has an attribute that one must understand and that is not understood here.
    #[error("the attribute {0:#06x} is not known")]
    Unknown(u16),
    /// An answer does not say what it should: a success no address, an error no code.
    #[error("the answer lacks its answer")]
    Empty,
}

/// Most bytes of an answer: a success with an IPv6 address, a proof and a FINGERPRINT. To the shortest requests, of 20 bytes
/// without a FINGERPRINT, the answers have 32 (IPv4) and 44 (IPv6), which is of no use to who wants to drown somebody else in
/// answers; one with a proof is no longer than its request.
pub const MAX_STUN_ANSWER: usize = HEAD_LENGTH + 4 + 20 + 4 + PROOF_LENGTH + FINGERPRINT_LENGTH;

/// Bytes of a token.
const TOKEN_LENGTH: usize = 16;

/// Bytes of a proof.
const PROOF_LENGTH: usize = 16;

/// Bytes of the attribute by which a proof is wished for: the token, and zeros that make the request as long as the longest
/// answer.
const WISH_LENGTH: usize = TOKEN_LENGTH + 24;

/// The lengths of these attributes as their heads state them.
const WISH_ATTRIBUTE: u16 = 40;
const PROOF_ATTRIBUTE: u16 = 16;
const _: () = assert!(WISH_ATTRIBUTE as usize == WISH_LENGTH && PROOF_ATTRIBUTE as usize == PROOF_LENGTH);

/// Bytes of the head.
const HEAD_LENGTH: usize = 20;

/// Bytes of a FINGERPRINT with its own head.
const FINGERPRINT_LENGTH: usize = 8;

/// Unknown attributes that an error tells of; more would make it longer than the request.
const MAX_UNKNOWN: usize = 4;

const MAGIC_COOKIE: u32 = 0x2112_a442;

// Methods and classes, RFC 8489, sections 5 and 18.1.
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const ERROR: u16 = 0x0111;

// Attributes, RFC 8489, section 18.3.
const MAPPED_ADDRESS: u16 = 0x0001;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const PASSWORD_ALGORITHM: u16 = 0x001d;
const USERHASH: u16 = 0x001e;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const FINGERPRINT: u16 = 0x8028;
/// Ours, and nobody else's as far as IANA's list goes: the wish for a proof, or the proof. One of another length is passed
/// over, as whoever does not know it passes over all.
const PROOF: u16 = 0xc53a;

/// Attributes from here on may be passed over by who does not understand them.
const COMPREHENSION_OPTIONAL: u16 = 0x8000;

const FAMILY_IPV4: u8 = 1;
const FAMILY_IPV6: u8 = 2;

/// "STUN", which makes the CRC different from one of a protocol around (RFC 8489, section 14.7).
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Whether a datagram is for STUN rather than MRT or others that share the socket (RFC 7983): two zero bits in front, and
/// the magic cookie. Whether it is a good message is another question.
pub fn is_stun(datagram: &[u8]) -> bool {
    let mut reader = Reader::new(datagram);
    let kind = reader.u16().is_ok_and(|kind| kind & 0xc000 == 0);
    let _length = reader.u16();
    kind && reader.u32() == Ok(MAGIC_COOKIE) && datagram.len() >= HEAD_LENGTH
}

/// Whether a datagram is for STUN, and claims to be a Binding request. Whether it is a good one is another question: this is
/// cheap, for who counts requests before reading them.
pub fn is_stun_request(datagram: &[u8]) -> bool {
    is_stun(datagram) && datagram.starts_with(&REQUEST.to_be_bytes())
}

impl StunMessage {
    /// Reads a message that fills a datagram.
    pub fn decode(datagram: &[u8]) -> Result<Self, StunError> {
        if datagram.len() > MAX_STUN_MESSAGE {
            return Err(StunError::TooLong);
        }
        let mut reader = Reader::new(datagram);
        let (kind, length, cookie) = (reader.u16()?, reader.u16()?, reader.u32()?);
        if cookie != MAGIC_COOKIE {
            return Err(StunError::Kind);
        }
        let id = TransactionId(reader.array()?);
        if usize::from(length) != reader.left() || length % 4 != 0 {
            return Err(StunError::Length);
        }
        if ![REQUEST, SUCCESS, ERROR].contains(&kind) {
            return Err(StunError::Kind);
        }
        let found = Found::read(datagram, reader, id)?;
        let known = |unknown: &UnknownAttributes| unknown.first().map_or(Ok(()), |kind| Err(StunError::Unknown(kind)));
        match kind {
            REQUEST => {
                let Found { unknown, fingerprint, token, .. } = found;
                Ok(Self::Request { id, unknown, fingerprint, token })
            }
            SUCCESS => {
                known(&found.unknown)?;
                let mapped = found.xor_mapped.or(found.mapped).ok_or(StunError::Empty)?;
                Ok(Self::Success { id, mapped, proof: found.proof })
            }
            _ => {
                known(&found.unknown)?;
                Ok(Self::Error { id, code: found.code.ok_or(StunError::Empty)? })
            }
        }
    }
}

impl UnknownAttributes {
    /// Their kinds, in the order in which they stood, each once.
    pub fn kinds(&self) -> &[u16] {
        self.kinds.get(..self.count).unwrap_or_default()
    }

    fn first(&self) -> Option<u16> {
        self.kinds().first().copied()
    }

    fn add(&mut self, kind: u16) {
        if self.kinds().contains(&kind) {
            return;
        }
        if let Some(place) = self.kinds.get_mut(self.count) {
            *place = kind;
            self.count += 1;
        }
    }
}

/// What was found among the attributes; of several of one kind the first counts (RFC 8489, section 14).
#[derive(Debug)]
struct Found {
    xor_mapped: Option<SocketAddr>,
    mapped: Option<SocketAddr>,
    code: Option<u16>,
    unknown: UnknownAttributes,
    fingerprint: Fingerprint,
    token: Option<StunToken>,
    proof: Option<StunProof>,
}

impl Found {
    fn read(message: &[u8], mut reader: Reader<'_>, id: TransactionId) -> Result<Self, StunError> {
        let mut found = Self {
            xor_mapped: None,
            mapped: None,
            code: None,
            unknown: UnknownAttributes::default(),
            fingerprint: Fingerprint::Absent,
            token: None,
            proof: None,
        };
        // Behind a MESSAGE-INTEGRITY only another one and the FINGERPRINT count.
        let mut is_signed = false;
        while reader.left() > 0 {
            let before = message.get(..message.len() - reader.left()).unwrap_or_default();
            let (kind, length) = (reader.u16()?, usize::from(reader.u16()?));
            let value = reader.take(length)?;
            let _padding = reader.take(length.next_multiple_of(4) - length)?;
            match kind {
                FINGERPRINT => {
                    let stated: [u8; 4] = value.try_into().or(Err(StunError::Attribute(kind)))?;
                    if reader.left() > 0 {
                        return Err(StunError::Attribute(kind));
                    }
                    if u32::from_be_bytes(stated) != fingerprint(before) {
                        return Err(StunError::Fingerprint);
                    }
                    found.fingerprint = Fingerprint::Present;
                }
                MESSAGE_INTEGRITY | MESSAGE_INTEGRITY_SHA256 => is_signed = true,
                _ if is_signed => {}
                kind => found.take(kind, value, id)?,
            }
        }
        Ok(found)
    }

    fn take(&mut self, kind: u16, value: &[u8], id: TransactionId) -> Result<(), StunError> {
        let malformed = StunError::Attribute(kind);
        match kind {
            XOR_MAPPED_ADDRESS => {
                let plain = xor(address(value).ok_or(malformed)?, id);
                self.xor_mapped.get_or_insert(plain);
            }
            MAPPED_ADDRESS => {
                let plain = address(value).ok_or(malformed)?;
                self.mapped.get_or_insert(plain);
            }
            ERROR_CODE => {
                let code = error_code(value).ok_or(malformed)?;
                self.code.get_or_insert(code);
            }
            PROOF => {
                let token = value.first_chunk().filter(|_| value.len() == WISH_LENGTH);
                self.token = self.token.or_else(|| token.copied().map(StunToken));
                self.proof = self.proof.or_else(|| value.try_into().ok().map(StunProof));
            }
            // About credentials, which nobody needs here; and what an error says beside its code.
            USERNAME | REALM | NONCE | PASSWORD_ALGORITHM | USERHASH | UNKNOWN_ATTRIBUTES => {}
            COMPREHENSION_OPTIONAL.. => {}
            unknown => self.unknown.add(unknown),
        }
        Ok(())
    }
}

/// A Binding request with a FINGERPRINT, and the wish for a proof where there is a token.
pub(super) fn encode_request(id: TransactionId, token: Option<StunToken>) -> Vec<u8> {
    let mut out = begin(REQUEST, id);
    if let Some(StunToken(token)) = token {
        put_attribute_head(&mut out, PROOF, WISH_ATTRIBUTE);
        out.extend(token);
        out.extend([0; WISH_LENGTH - TOKEN_LENGTH]);
    }
    finish(&mut out, Fingerprint::Present);
    out
}

/// The answer that a request came from `mapped`, and the proof of that.
pub(super) fn encode_success(
    id: TransactionId,
    mapped: SocketAddr,
    proof: Option<StunProof>,
    fingerprint: Fingerprint,
) -> Vec<u8> {
    let mut out = begin(SUCCESS, id);
    let hidden = xor(mapped, id);
    let (length, family) = if hidden.is_ipv4() { (8, FAMILY_IPV4) } else { (20, FAMILY_IPV6) };
    put_attribute_head(&mut out, XOR_MAPPED_ADDRESS, length);
    out.extend([0, family]);
    out.extend(hidden.port().to_be_bytes());
    match hidden.ip() {
        IpAddr::V4(ip) => out.extend(ip.octets()),
        IpAddr::V6(ip) => out.extend(ip.octets()),
    }
    if let Some(StunProof(proof)) = proof {
        put_attribute_head(&mut out, PROOF, PROOF_ATTRIBUTE);
        out.extend(proof);
    }
    finish(&mut out, fingerprint);
    out
}

/// The answer 420: there are attributes that are not known. It gives no reason in words.
pub(super) fn encode_unknown(id: TransactionId, unknown: &UnknownAttributes, fingerprint: Fingerprint) -> Vec<u8> {
    const CLASS_AND_NUMBER: [u8; 2] = [4, 20];
    let mut out = begin(ERROR, id);
    put_attribute_head(&mut out, ERROR_CODE, 4);
    out.extend([0, 0]);
    out.extend(CLASS_AND_NUMBER);
    let length = u16::try_from(2 * unknown.kinds().len()).expect("they are four at most");
    put_attribute_head(&mut out, UNKNOWN_ATTRIBUTES, length);
    out.extend(unknown.kinds().iter().flat_map(|kind| kind.to_be_bytes()));
    out.resize(out.len().next_multiple_of(4), 0);
    finish(&mut out, fingerprint);
    out
}

/// The head of a message, its length still to be written, with room for the rest of one of ours.
fn begin(kind: u16, id: TransactionId) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAX_STUN_ANSWER);
    out.extend(kind.to_be_bytes());
    out.extend([0, 0]);
    out.extend(MAGIC_COOKIE.to_be_bytes());
    out.extend(id.0);
    out
}

fn put_attribute_head(out: &mut Vec<u8>, kind: u16, length: u16) {
    out.extend(kind.to_be_bytes());
    out.extend(length.to_be_bytes());
}

/// Writes the length into the head, and the FINGERPRINT, which covers that length, behind the message.
fn finish(message: &mut Vec<u8>, with: Fingerprint) {
    let own = if with == Fingerprint::Present { FINGERPRINT_LENGTH } else { 0 };
    let length = u16::try_from(message.len() - HEAD_LENGTH + own).expect("a message of ours has 80 bytes at most");
    if let Some([_, _, place @ ..]) = message.first_chunk_mut::<4>() {
        *place = length.to_be_bytes();
    }
    if with == Fingerprint::Present {
        let value = fingerprint(message);
        put_attribute_head(message, FINGERPRINT, 4);
        message.extend(value.to_be_bytes());
    }
}

/// The value of a FINGERPRINT behind these bytes (RFC 8489, section 14.7): the CRC-32 of ISO 3309, bit by bit, since messages
/// are short.
pub(super) fn fingerprint(before: &[u8]) -> u32 {
    const POLYNOMIAL_REVERSED: u32 = 0xedb8_8320;
    let mut rest = u32::MAX;
    for byte in before {
        rest ^= u32::from(*byte);
        for _ in 0..u8::BITS {
            let carry = rest & 1;
            rest = (rest >> 1) ^ (POLYNOMIAL_REVERSED * carry);
        }
    }
    !rest ^ FINGERPRINT_XOR
}

/// An address in its plain form, as in MAPPED-ADDRESS. Nothing may follow.
fn address(value: &[u8]) -> Option<SocketAddr> {
    let mut reader = Reader::new(value);
    // The first byte means nothing (RFC 8489, section 14.1).
    let (_, family, port) = (reader.u8().ok()?, reader.u8().ok()?, reader.u16().ok()?);
    let ip: IpAddr = match family {
        FAMILY_IPV4 => Ipv4Addr::from(reader.array::<4>().ok()?).into(),
        FAMILY_IPV6 => Ipv6Addr::from(reader.array::<16>().ok()?).into(),
        _ => return None,
    };
    reader.end().ok()?;
    Some(SocketAddr::new(ip, port))
}

/// Hides an address from NATs that replace addresses wherever they see them, or shows it again (RFC 8489, section 14.2).
fn xor(address: SocketAddr, id: TransactionId) -> SocketAddr {
    let [high, low, ..] = MAGIC_COOKIE.to_be_bytes();
    let port = address.port() ^ u16::from_be_bytes([high, low]);
    let ip: IpAddr = match address.ip() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() ^ MAGIC_COOKIE).into(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h, i, j, k, l] = id.0;
            let id = u128::from_be_bytes([0, 0, 0, 0, a, b, c, d, e, f, g, h, i, j, k, l]);
            Ipv6Addr::from_bits(ip.to_bits() ^ (u128::from(MAGIC_COOKIE) << 96) ^ id).into()
        }
    };
    SocketAddr::new(ip, port)
}

/// The number in an ERROR-CODE; the words behind it are not looked at.
fn error_code(value: &[u8]) -> Option<u16> {
    let mut reader = Reader::new(value);
    let (_, class, number) = (reader.u16().ok()?, reader.u8().ok()? & 0b111, reader.u8().ok()?);
    ((3..=6).contains(&class) && number < 100).then(|| u16::from(class) * 100 + u16::from(number))
}
