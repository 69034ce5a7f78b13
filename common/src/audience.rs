//! Audiences: for whom a swarm is shared.
//!
//! The same content may be shared for several audiences at once, and each is a swarm of its own to the tracker: who is in
//! one does not learn who is in another. A ticket names one, and a seeder serves under those only for which it shares.

use serde::{Deserialize, Serialize};

use crate::id::Content;
use crate::name::EntryRef;
use crate::reader::{ReadError, Reader};

const PUBLIC: u8 = 0;
const ENTRY: u8 = 1;
const OFFER: u8 = 2;

/// The number of an offer: files that somebody pushes to others. No two offers of a tracker have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OfferId(pub u64);

/// For whom a swarm is shared. In JSON `"public"`, `{"entry": "owner/name"}` or `{"offer": 7}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Everybody in the network.
    #[default]
    Public,
    /// Those who may have this entry, `owner/name`; one without an owner is nobody's.
    Entry(EntryRef),
    /// Sender and receivers of an offer.
    Offer(OfferId),
}

/// One swarm: some content, shared for one audience.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sharing {
    /// What.
    pub content: Content,
    /// For whom.
    pub audience: Audience,
}

impl Sharing {
    /// Some content, shared for everybody.
    pub const fn public(content: Content) -> Self {
        Self { content, audience: Audience::Public }
    }
}

/// Bytes that are no audience in its one form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an audience")]
pub struct NotAnAudience;

impl Audience {
    /// Whether it is everybody.
    pub const fn is_public(&self) -> bool {
        matches!(self, Self::Public)
    }

    /// Appends its bytes: a kind, a big-endian u16 length, and as many bytes: none, the entry as text, or the offer's
    /// number as a big-endian u64.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, bytes) = match self {
            Self::Public => (PUBLIC, Vec::new()),
            Self::Entry(entry) => (ENTRY, entry.to_string().into_bytes()),
            Self::Offer(OfferId(number)) => (OFFER, number.to_be_bytes().to_vec()),
        };
        let length = u16::try_from(bytes.len()).expect("an entry has at most MAX_ENTRY_REF bytes");
        out.push(kind);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&bytes);
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, NotAnAudience> {
        let kind = reader.u8()?;
        let length = usize::from(reader.u16()?);
        let mut value = Reader::new(reader.take(length)?);
        let audience = match kind {
            PUBLIC => Self::Public,
            ENTRY => {
                let text = std::str::from_utf8(value.rest()).map_err(|_error| NotAnAudience)?;
                let entry: EntryRef = text.parse().map_err(|_error| NotAnAudience)?;
                // One form only: what is written back is what was read.
                if entry.owner.is_none() || entry.to_string() != text {
                    return Err(NotAnAudience);
                }
                Self::Entry(entry)
            }
            OFFER => Self::Offer(OfferId(value.u64()?)),
            _ => return Err(NotAnAudience),
        };
        value.end()?;
        Ok(audience)
    }
}

impl From<ReadError> for NotAnAudience {
    fn from(_: ReadError) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::MAX_ENTRY_REF;

    fn all() -> [Audience; 3] {
        [Audience::Public, Audience::Entry("jane/doug.png".parse().unwrap()), Audience::Offer(OfferId(7))]
    }

    #[test]
    fn its_bytes_and_its_json_are_those_of_the_page() {
        let want = [
            ("000000", r#""public""#),
            ("01000d6a616e652f646f75672e706e67", r#"{"entry":"jane/doug.png"}"#),
            ("0200080000000000000007", r#"{"offer":7}"#),
        ];
        for (audience, (hex, json)) in all().into_iter().zip(want) {
            let mut bytes = Vec::new();
            audience.encode(&mut bytes);
            assert_eq!(data_encoding::HEXLOWER.encode(&bytes), hex);
            assert_eq!(serde_json::to_string(&audience).unwrap(), json);
            let mut reader = Reader::new(&bytes);
            assert_eq!(Audience::decode(&mut reader), Ok(audience.clone()));
            assert_eq!(reader.left(), 0);
            assert_eq!(serde_json::from_str::<Audience>(json).unwrap(), audience);
        }
    }

    #[test]
    fn other_forms_are_refused() {
        let long = format!("01{:04x}{}", MAX_ENTRY_REF + 1, "61".repeat(MAX_ENTRY_REF + 1));
        for hex in
            ["", "00", "0000", "00000161", "010000", "010001ff", "01000161", "020000", "02000161", "030000", &long]
        {
            let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap();
            assert_eq!(Audience::decode(&mut Reader::new(&bytes)), Err(NotAnAudience), "{hex}");
        }
    }
}
