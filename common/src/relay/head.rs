//! What stands in front of a relayed datagram.

use std::fmt;

use crate::mrt::RELY;
use crate::reader::{ReadError, Reader};

/// Bytes that a relayed datagram is longer than the one inside of it.
pub const HEAD_LENGTH: usize = 1 + 8;

/// What one member and the relay know a pair by. The number is from a cryptographic source: who cannot see the datagrams
/// of a channel cannot guess it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u64);

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChannelId({:016x})", self.0)
    }
}

/// The head of a RELY datagram; behind it is a datagram of MRT, up to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayHead {
    /// On the way to the relay that of the sender, on the way from it that of the receiver.
    pub channel: ChannelId,
}

/// Why a datagram is no relayed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// It ends too early, or there is nothing inside.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It begins with another byte.
    #[error("not a relayed datagram")]
    Kind,
    /// There is a relayed one inside. No member sends that, and relays must not send each other datagrams in circles.
    #[error("a relayed datagram inside of a relayed one")]
    Nested,
}

impl RelayHead {
    /// Whether this is for [`Self::decode`]: tells relayed datagrams from others by the first byte.
    pub fn is_in_front_of(datagram: &[u8]) -> bool {
        datagram.first() == Some(&RELY)
    }

    /// The bytes, to be put in front of a datagram.
    pub const fn encode(self) -> [u8; HEAD_LENGTH] {
        let [a, b, c, d, e, f, g, h] = self.channel.0.to_be_bytes();
        [RELY, a, b, c, d, e, f, g, h]
    }

    /// Reads the head; gives the datagram inside too, which has at least one byte.
    pub fn decode(datagram: &[u8]) -> Result<(Self, &[u8]), HeadError> {
        let mut reader = Reader::new(datagram);
        if reader.u8()? != RELY {
            return Err(HeadError::Kind);
        }
        let channel = ChannelId(reader.u64()?);
        match reader.rest() {
            [] => Err(ReadError::Short.into()),
            [RELY, ..] => Err(HeadError::Nested),
            inner => Ok((Self { channel }, inner)),
        }
    }

    /// Writes this head over the one in front of `datagram`.
    pub(super) fn replace(self, datagram: &mut [u8]) {
        if let Some(head) = datagram.first_chunk_mut() {
            *head = self.encode();
        }
    }
}
