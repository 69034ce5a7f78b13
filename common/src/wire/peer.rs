//! Messages between peers: binary, one a frame, but for the bytes of a chunk, which follow their [`Message::Piece`]
//! outside frames.
//!
//! Both sides send [`Message::Hello`] first. Then each may open conversations about swarms, as many as
//! [`MAX_CONVERSATIONS`] at a time, numbered by itself: who opens asks for chunks, who accepts serves them. The same pair
//! may have a conversation about the same swarm in either direction. `WIRE.md` has the bytes.

use crate::bitmap::Bitmap;
use crate::id::{Content, FileId, FolderId, Hash, IdError, NetworkId};
use crate::reader::{ReadError, Reader};
use crate::ticket::MAX_TICKET;

use super::{FRAME_HEADER, MAX_PEER_FRAME};

/// The version that [`Message::Hello`] carries.
pub const VERSION: u16 = 1;
/// Most conversations that one side may have open on a connection.
pub const MAX_CONVERSATIONS: usize = 256;
/// Most requests that may wait in one conversation.
pub const MAX_REQUESTS: usize = 1024;
/// Most hashes in one [`Message::Hashes`].
pub const MAX_HASHES: u32 = 2000;
/// Most chunks named in one [`Message::Have`] or [`Message::Suggest`].
pub const MAX_CHUNKS_NAMED: usize = 4096;
/// Most bytes of a map in one [`Message::Map`]; longer maps come in parts.
pub const MAX_MAP_PART: usize = 32 << 10;
/// Most bytes after one [`Message::Piece`].
pub const MAX_PIECE: u32 = 1 << 20;
/// Most bytes of a sentence.
const MAX_TEXT: usize = 1024;

/// The opener's number for a conversation.
pub type ConversationId = u32;

/// Who opened the conversation that a message is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opener {
    /// The sender of this message.
    Sender,
    /// Its receiver.
    Receiver,
}

/// What one peer tells another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// First on a connection, from both sides.
    Hello {
        /// [`VERSION`].
        version: u16,
        /// In which network.
        network: NetworkId,
        /// Where the sender accepts peers.
        port: u16,
    },
    /// Opens a conversation: I want chunks of this swarm.
    Open {
        /// The sender's number for it.
        conversation: ConversationId,
        /// What the swarm is about; the ticket says for whom.
        content: Content,
        /// The bytes of a [`crate::ticket::Ticket`].
        ticket: Vec<u8>,
    },
    /// The conversation is open; a [`Message::Map`] follows unless there is nothing or everything.
    Opened {
        /// The opener's number.
        conversation: ConversationId,
        /// Whether the sender has every chunk.
        complete: bool,
    },
    /// The conversation was refused or has ended from the serving side.
    Refused {
        /// The opener's number.
        conversation: ConversationId,
        /// Why, for programs.
        reason: Reason,
        /// Why, for people.
        text: String,
    },
    /// The opener ends the conversation.
    Close {
        /// Its number.
        conversation: ConversationId,
    },
    /// Chunks that the sender has, in addition to those told before, as a part of a bitmap.
    Map {
        /// The opener's number.
        conversation: ConversationId,
        /// Who opened it.
        opener: Opener,
        /// The first chunk that the bits speak of; a multiple of 8.
        first: u32,
        /// As [`Bitmap::as_bytes`].
        bits: Vec<u8>,
    },
    /// Chunks that the sender has now, in addition.
    Have {
        /// The opener's number.
        conversation: ConversationId,
        /// Who opened it.
        opener: Opener,
        /// Their numbers.
        chunks: Vec<u32>,
    },
    /// The opener asks for chunk hashes.
    GetHashes {
        /// Its number.
        conversation: ConversationId,
        /// From this chunk.
        first: u32,
        /// So many, at most [`MAX_HASHES`].
        count: u32,
    },
    /// Chunk hashes.
    Hashes {
        /// The opener's number.
        conversation: ConversationId,
        /// From this chunk.
        first: u32,
        /// One a chunk.
        hashes: Vec<Hash>,
    },
    /// The opener asks for a chunk.
    Request {
        /// Its number.
        conversation: ConversationId,
        /// Which.
        chunk: u32,
    },
    /// The opener does not want it any more. Pieces under way may still come.
    Cancel {
        /// Its number.
        conversation: ConversationId,
        /// Which.
        chunk: u32,
    },
    /// The next bytes of a chunk that was asked for, in order; they follow this frame.
    Piece {
        /// The opener's number.
        conversation: ConversationId,
        /// Of which chunk.
        chunk: u32,
        /// Where in the chunk.
        offset: u32,
        /// How many, 1 to [`MAX_PIECE`].
        length: u32,
    },
    /// The requests of this conversation wait for their turn.
    Queued {
        /// The opener's number.
        conversation: ConversationId,
    },
    /// A chunk that was asked for is not to be had here (any more); also ends one that is half sent.
    Unavailable {
        /// The opener's number.
        conversation: ConversationId,
        /// Which.
        chunk: u32,
    },
    /// Chunks that nobody else has yet: ask me for these first. Without chunks: ask for what you like.
    Suggest {
        /// The opener's number.
        conversation: ConversationId,
        /// Which.
        chunks: Vec<u32>,
    },
    /// What came for this chunk was not its content.
    Bad {
        /// The sender's number, who opened it.
        conversation: ConversationId,
        /// Which.
        chunk: u32,
    },
    /// To be answered with [`Message::Pong`].
    Ping {
        /// Repeated in the answer.
        token: u64,
    },
    /// Answers a ping.
    Pong {
        /// The ping's.
        token: u64,
    },
    /// The last message: why the sender hangs up.
    Bye {
        /// For programs.
        reason: Reason,
        /// For people.
        text: String,
    },
}

/// Why a conversation or a connection was refused or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// In good order.
    Done,
    /// This swarm is not shared here.
    NotShared,
    /// The ticket does not allow it.
    Ticket,
    /// Too much at once; later.
    Busy,
    /// The other broke the protocol.
    Protocol,
    /// Another connection to the same peer is kept.
    Duplicate,
    /// Not in this network.
    Network,
    /// Something else, of a newer version.
    Newer(u16),
}

impl Reason {
    const fn to_wire(self) -> u16 {
        match self {
            Self::Done => 0,
            Self::NotShared => 1,
            Self::Ticket => 2,
            Self::Busy => 3,
            Self::Protocol => 4,
            Self::Duplicate => 5,
            Self::Network => 6,
            Self::Newer(code) => code,
        }
    }

    const fn from_wire(code: u16) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::NotShared,
            2 => Self::Ticket,
            3 => Self::Busy,
            4 => Self::Protocol,
            5 => Self::Duplicate,
            6 => Self::Network,
            newer => Self::Newer(newer),
        }
    }
}

/// Bytes that are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Too short or too long.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No message has this type.
    #[error("there is no message type {0}")]
    Type(u8),
    /// A number beyond its limit.
    #[error("a number in a message of type {0} is beyond its limit")]
    Limit(u8),
    /// An id that is none.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A text that is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
}

mod kind {
    pub(super) const HELLO: u8 = 1;
    pub(super) const OPEN: u8 = 2;
    pub(super) const OPENED: u8 = 3;
    pub(super) const REFUSED: u8 = 4;
    pub(super) const CLOSE: u8 = 5;
    pub(super) const MAP: u8 = 6;
    pub(super) const HAVE: u8 = 7;
    pub(super) const GET_HASHES: u8 = 8;
    pub(super) const HASHES: u8 = 9;
    pub(super) const REQUEST: u8 = 10;
    pub(super) const CANCEL: u8 = 11;
    pub(super) const PIECE: u8 = 12;
    pub(super) const QUEUED: u8 = 13;
    pub(super) const UNAVAILABLE: u8 = 14;
    pub(super) const SUGGEST: u8 = 15;
    pub(super) const BAD: u8 = 16;
    pub(super) const PING: u8 = 17;
    pub(super) const PONG: u8 = 18;
    pub(super) const BYE: u8 = 19;
}

impl Message {
    /// Appends the whole frame, its length first, to `out`.
    ///
    /// Lists and texts beyond their limits are the caller's bug and panic: see [`maps`] and [`have`], which split.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; FRAME_HEADER]);
        self.encode_body(out);
        let length = out.len() - start - FRAME_HEADER;
        assert!(length <= MAX_PEER_FRAME, "a frame of {length} bytes");
        let header = u32::try_from(length).expect("at most 64 KiB").to_be_bytes();
        out.splice(start..start + FRAME_HEADER, header);
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { version, network, port } => {
                put(out, kind::HELLO, &[&version.to_be_bytes(), &network.0, &port.to_be_bytes()]);
            }
            Self::Open { conversation, content, ticket } => {
                put_one(out, kind::OPEN, *conversation);
                let file = content.file_or_manifest();
                out.push(u8::from(content.folder().is_some()));
                out.extend(file.length().to_be_bytes());
                out.extend(file.root().0);
                out.extend(content.folder().iter().flat_map(|folder| folder.chunks().to_be_bytes()));
                out.extend(ticket);
            }
            Self::Opened { conversation, complete } => {
                put_one(out, kind::OPENED, *conversation);
                out.push(u8::from(*complete));
            }
            Self::Refused { conversation, reason, text } => {
                put_one(out, kind::REFUSED, *conversation);
                put_reason(out, *reason, text);
            }
            Self::Close { conversation } => put_one(out, kind::CLOSE, *conversation),
            Self::Map { conversation, opener, first, bits } => {
                put_sided(out, kind::MAP, *conversation, *opener);
                out.extend(first.to_be_bytes());
                out.extend(bits);
            }
            Self::Have { conversation, opener, chunks } => {
                put_sided(out, kind::HAVE, *conversation, *opener);
                put_chunks(out, chunks);
            }
            Self::GetHashes { conversation, first, count } => {
                put_two(out, kind::GET_HASHES, *conversation, *first, *count);
            }
            Self::Hashes { conversation, first, hashes } => {
                put_one(out, kind::HASHES, *conversation);
                out.extend(first.to_be_bytes());
                hashes.iter().for_each(|hash| out.extend(hash.0));
            }
            Self::Request { conversation, chunk } => put_chunk(out, kind::REQUEST, *conversation, *chunk),
            Self::Cancel { conversation, chunk } => put_chunk(out, kind::CANCEL, *conversation, *chunk),
            Self::Piece { conversation, chunk, offset, length } => {
                put_chunk(out, kind::PIECE, *conversation, *chunk);
                put_chunks(out, &[*offset, *length]);
            }
            Self::Queued { conversation } => put_one(out, kind::QUEUED, *conversation),
            Self::Unavailable { conversation, chunk } => put_chunk(out, kind::UNAVAILABLE, *conversation, *chunk),
            Self::Suggest { conversation, chunks } => {
                put_one(out, kind::SUGGEST, *conversation);
                put_chunks(out, chunks);
            }
            Self::Bad { conversation, chunk } => put_chunk(out, kind::BAD, *conversation, *chunk),
            Self::Ping { token } => put(out, kind::PING, &[&token.to_be_bytes()]),
            Self::Pong { token } => put(out, kind::PONG, &[&token.to_be_bytes()]),
            Self::Bye { reason, text } => {
                out.push(kind::BYE);
                put_reason(out, *reason, text);
            }
        }
    }

    /// Reads the body of one frame.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let kind = reader.u8()?;
        let message = match kind {
            kind::HELLO => {
                Self::Hello { version: reader.u16()?, network: NetworkId(reader.array()?), port: reader.u16()? }
            }
            kind::PING => Self::Ping { token: reader.u64()? },
            kind::PONG => Self::Pong { token: reader.u64()? },
            kind::BYE => {
                let (reason, text) = read_reason(&mut reader)?;
                Self::Bye { reason, text }
            }
            _ => Self::decode_conversation(kind, &mut reader)?,
        };
        reader.end()?;
        Ok(message)
    }

    fn decode_conversation(kind: u8, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if !(kind::OPEN..=kind::BAD).contains(&kind) {
            return Err(DecodeError::Type(kind));
        }
        let conversation = reader.u32()?;
        Ok(match kind {
            kind::OPEN => {
                let is_folder = read_flag(reader, kind)?;
                let file = FileId::new(reader.u64()?, Hash(reader.array()?))?;
                let content = if is_folder { FolderId::new(file, reader.u32()?)?.into() } else { file.into() };
                Self::Open { conversation, content, ticket: read_rest(reader, kind, MAX_TICKET)?.to_vec() }
            }
            kind::OPENED => Self::Opened { conversation, complete: read_flag(reader, kind)? },
            kind::REFUSED => {
                let (reason, text) = read_reason(reader)?;
                Self::Refused { conversation, reason, text }
            }
            kind::CLOSE => Self::Close { conversation },
            kind::MAP => {
                let (opener, first) = (read_opener(reader, kind)?, reader.u32()?);
                Self::Map { conversation, opener, first, bits: read_rest(reader, kind, MAX_MAP_PART)?.to_vec() }
            }
            kind::HAVE => {
                Self::Have { conversation, opener: read_opener(reader, kind)?, chunks: read_chunks(reader, kind)? }
            }
            kind::GET_HASHES => {
                let (first, count) = (reader.u32()?, reader.u32()?);
                limit(kind, count <= MAX_HASHES)?;
                Self::GetHashes { conversation, first, count }
            }
            kind::HASHES => Self::Hashes { conversation, first: reader.u32()?, hashes: read_hashes(reader, kind)? },
            kind::REQUEST => Self::Request { conversation, chunk: reader.u32()? },
            kind::CANCEL => Self::Cancel { conversation, chunk: reader.u32()? },
            kind::PIECE => {
                let (chunk, offset, length) = (reader.u32()?, reader.u32()?, reader.u32()?);
                limit(kind, (1..=MAX_PIECE).contains(&length))?;
                Self::Piece { conversation, chunk, offset, length }
            }
            kind::QUEUED => Self::Queued { conversation },
            kind::UNAVAILABLE => Self::Unavailable { conversation, chunk: reader.u32()? },
            kind::SUGGEST => Self::Suggest { conversation, chunks: read_chunks(reader, kind)? },
            _ => Self::Bad { conversation, chunk: reader.u32()? },
        })
    }
}

/// The messages that tell which chunks of a bitmap are there: none where it is empty.
pub fn maps(conversation: ConversationId, opener: Opener, bitmap: &Bitmap) -> Vec<Message> {
    const CHUNKS_PER_BYTE: usize = 8;
    let parts = bitmap.as_bytes().chunks(MAX_MAP_PART).enumerate();
    parts
        .filter(|(_, part)| part.iter().any(|byte| *byte != 0))
        .map(|(number, part)| Message::Map {
            conversation,
            opener,
            first: u32::try_from(number * MAX_MAP_PART * CHUNKS_PER_BYTE).expect("at most 2^20 chunks"),
            bits: part.to_vec(),
        })
        .collect()
}

/// The messages that tell of these chunks: none where there are none.
pub fn have(conversation: ConversationId, opener: Opener, chunks: &[u32]) -> Vec<Message> {
    chunks.chunks(MAX_CHUNKS_NAMED).map(|part| Message::Have { conversation, opener, chunks: part.to_vec() }).collect()
}

/// The chunks that a [`Message::Map`] names, those beyond the swarm's `count` left out.
pub fn chunks_in_map(count: u32, first: u32, bits: &[u8]) -> Vec<u32> {
    let numbers = (first..count).zip(bits.iter().flat_map(|byte| (0..8).map(move |bit| byte & (0x80 >> bit) != 0)));
    numbers.filter(|(_, there)| *there).map(|(number, _)| number).collect()
}

fn put(out: &mut Vec<u8>, kind: u8, fields: &[&[u8]]) {
    out.push(kind);
    fields.iter().for_each(|field| out.extend(*field));
}

fn put_one(out: &mut Vec<u8>, kind: u8, conversation: u32) {
    put(out, kind, &[&conversation.to_be_bytes()]);
}

fn put_chunk(out: &mut Vec<u8>, kind: u8, conversation: u32, chunk: u32) {
    put(out, kind, &[&conversation.to_be_bytes(), &chunk.to_be_bytes()]);
}

fn put_two(out: &mut Vec<u8>, kind: u8, conversation: u32, first: u32, second: u32) {
    put(out, kind, &[&conversation.to_be_bytes(), &first.to_be_bytes(), &second.to_be_bytes()]);
}

fn put_sided(out: &mut Vec<u8>, kind: u8, conversation: u32, opener: Opener) {
    put_one(out, kind, conversation);
    out.push(match opener {
        Opener::Sender => 0,
        Opener::Receiver => 1,
    });
}

fn put_chunks(out: &mut Vec<u8>, chunks: &[u32]) {
    chunks.iter().for_each(|chunk| out.extend(chunk.to_be_bytes()));
}

fn put_reason(out: &mut Vec<u8>, reason: Reason, text: &str) {
    out.extend(reason.to_wire().to_be_bytes());
    let end = (0..=text.len().min(MAX_TEXT)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    out.extend(text.as_bytes().iter().take(end));
}

const fn limit(kind: u8, within: bool) -> Result<(), DecodeError> {
    if within { Ok(()) } else { Err(DecodeError::Limit(kind)) }
}

fn read_rest<'a>(reader: &mut Reader<'a>, kind: u8, most: usize) -> Result<&'a [u8], DecodeError> {
    limit(kind, reader.left() <= most)?;
    Ok(reader.rest())
}

fn read_flag(reader: &mut Reader<'_>, kind: u8) -> Result<bool, DecodeError> {
    let byte = reader.u8()?;
    limit(kind, byte <= 1)?;
    Ok(byte == 1)
}

fn read_opener(reader: &mut Reader<'_>, kind: u8) -> Result<Opener, DecodeError> {
    Ok(if read_flag(reader, kind)? { Opener::Receiver } else { Opener::Sender })
}

fn read_chunks(reader: &mut Reader<'_>, kind: u8) -> Result<Vec<u32>, DecodeError> {
    const BYTES: usize = 4;
    limit(kind, reader.left() <= MAX_CHUNKS_NAMED * BYTES)?;
    let mut chunks = Vec::with_capacity(reader.left() / BYTES);
    while reader.left() > 0 {
        chunks.push(reader.u32()?);
    }
    Ok(chunks)
}

fn read_hashes(reader: &mut Reader<'_>, kind: u8) -> Result<Vec<Hash>, DecodeError> {
    const BYTES: usize = 32;
    limit(kind, reader.left() <= MAX_HASHES as usize * BYTES)?;
    let mut hashes = Vec::with_capacity(reader.left() / BYTES);
    while reader.left() > 0 {
        hashes.push(Hash(reader.array()?));
    }
    Ok(hashes)
}

fn read_reason(reader: &mut Reader<'_>) -> Result<(Reason, String), DecodeError> {
    let reason = Reason::from_wire(reader.u16()?);
    let text = reader.rest();
    limit(kind::BYE, text.len() <= MAX_TEXT)?;
    match std::str::from_utf8(text) {
        Ok(text) => Ok((reason, text.to_owned())),
        Err(_) => Err(DecodeError::Text),
    }
}

#[cfg(test)]
mod tests;
