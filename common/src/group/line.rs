//! Lines of chat. A line is signed by its author, so that nobody can put words into another's mouth; its place in the one
//! order of all is signed by the supernode that gave it, so that whoever missed it may have it from anybody.

use super::Point;
use super::codec::{self, DecodeError, Writer};
use super::limits::MAX_TEXT;
use crate::id::{NetworkId, PeerId};
use crate::identity::{Identity, PublicKey, SIGNATURE_LENGTH};
use crate::merkle::sha256;
use crate::name::UserName;
use crate::reader::Reader;

const LINE_CONTEXT: &[u8] = b"shoal-mrt-chat-v1";
const ORDER_CONTEXT: &[u8] = b"shoal-mrt-line-v1";

/// Why a text cannot be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing.
    #[error("there is nothing to say")]
    Empty,
    /// Over [`MAX_TEXT`].
    #[error("a line has at most {MAX_TEXT} bytes")]
    TooLong,
    /// A control character, which could do anything to another's terminal.
    #[error("a line may not contain control characters")]
    Control,
}

/// Which of all lines, whoever carries it: an author, a run of its program, a number that grows by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LineId {
    pub(super) author: PeerId,
    pub(super) run: u64,
    pub(super) number: u64,
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    author: PublicKey,
    id: LineId,
    name: UserName,
    text: String,
    signature: [u8; SIGNATURE_LENGTH],
}

/// A line with its place in the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ordered {
    pub(super) position: Point,
    pub(super) line: Line,
    signature: [u8; SIGNATURE_LENGTH],
}

/// Whether a text can be said.
pub(super) fn check_text(text: &str) -> Result<(), TextError> {
    let breaks = |character: char| character.is_control() || matches!(character, '\u{2028}' | '\u{2029}');
    if text.is_empty() {
        Err(TextError::Empty)
    } else if text.len() > MAX_TEXT {
        Err(TextError::TooLong)
    } else if text.chars().any(breaks) {
        Err(TextError::Control)
    } else {
        Ok(())
    }
}

impl Line {
    /// A line of ours; `text` was checked.
    pub(super) fn say(
        identity: &Identity,
        network: &NetworkId,
        name: UserName,
        run: u64,
        number: u64,
        text: &str,
    ) -> Self {
        let author = identity.public_key();
        let id = LineId { author: author.peer_id(), run, number };
        let mut line = Self { author, id, name, text: text.to_owned(), signature: [0; SIGNATURE_LENGTH] };
        line.signature = identity.sign(&line.signed(network));
        line
    }

    pub(super) const fn id(&self) -> LineId {
        self.id
    }

    pub(super) const fn name(&self) -> &UserName {
        &self.name
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether its author said so in this network.
    pub(super) fn is_genuine(&self, network: &NetworkId) -> bool {
        self.author.verify(&self.signed(network), &self.signature).is_ok()
    }

    fn signed(&self, network: &NetworkId) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.raw(LINE_CONTEXT).raw(&network.0);
        self.put(&mut writer);
        writer.into_bytes()
    }

    fn put(&self, writer: &mut Writer) {
        writer.raw(&self.author.0).u64(self.id.run).u64(self.id.number);
        writer.text(self.name.as_str()).text(&self.text);
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        self.put(writer);
        writer.raw(&self.signature);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let author = codec::public_key(reader)?;
        let id = LineId { author: author.peer_id(), run: reader.u64()?, number: reader.u64()? };
        let name = codec::user_name(reader)?;
        let text = codec::text(reader, MAX_TEXT)?.to_owned();
        check_text(&text).map_err(|_error| DecodeError::Form)?;
        Ok(Self { author, id, name, text, signature: reader.array()? })
    }
}

impl Ordered {
    /// Gives a line its place.
    pub(super) fn new(identity: &Identity, network: &NetworkId, position: Point, line: Line) -> Self {
        let signature = identity.sign(&Self::signed(network, position, &line));
        Self { position, line, signature }
    }

    /// Whether `supernode` gave the line this place.
    pub(super) fn was_ordered_by(&self, supernode: &PublicKey, network: &NetworkId) -> bool {
        supernode.verify(&Self::signed(network, self.position, &self.line), &self.signature).is_ok()
    }

    fn signed(network: &NetworkId, position: Point, line: &Line) -> Vec<u8> {
        let mut said = Writer::default();
        line.encode(&mut said);
        let mut writer = Writer::default();
        writer.raw(ORDER_CONTEXT).raw(&network.0).point(position).raw(&sha256(&said.into_bytes()).0);
        writer.into_bytes()
    }

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.point(self.position);
        self.line.encode(writer);
        writer.raw(&self.signature);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let position = codec::point(reader)?;
        Ok(Self { position, line: Line::decode(reader)?, signature: reader.array()? })
    }
}
