//! What nodes say to each other beside the group: about relayed ways, and about meeting directly. The last section of
//! `WIRE.md` has the bytes.

use crate::id::PeerId;
use crate::nat::{Candidates, CandidatesError, NatKind};
use crate::reader::{ReadError, Reader};
use crate::relay::ChannelId;

const RELAY_WANTED: u8 = 0x80;
const RELAY_GIVEN: u8 = 0x81;
const RELAY_DENIED: u8 = 0x82;
const CANDIDATES: u8 = 0x83;
const SYNC: u8 = 0x84;
const NAT: u8 = 0x85;

/// The kinds of NAT, each at the place of its byte.
const KINDS: [NatKind; 4] = [NatKind::Unknown, NatKind::None, NatKind::EndpointIndependent, NatKind::EndpointDependent];

/// A message between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeMessage {
    /// To whoever may relay: make me a way to this member.
    RelayWanted(PeerId),
    /// From the relay, to both: this is your end of a way to this member.
    RelayGiven(PeerId, ChannelId),
    /// From the relay: there is none.
    RelayDenied(PeerId),
    /// End to end, in this round: here I may be reached. Answered by the same round.
    Candidates(u8, Candidates),
    /// End to end: try now.
    Sync(u8),
    /// End to end: what I am behind, when that becomes known.
    Nat(NatKind),
}

/// Bytes that are no such message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NodeMessageError {
    /// Too short, or too long.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The candidates are none.
    #[error(transparent)]
    Candidates(#[from] CandidatesError),
    /// A kind of NAT that there is not.
    #[error("unknown kind of NAT {0:#04x}")]
    Nat(u8),
    /// A message that there is not.
    #[error("unknown message {0:#04x}")]
    Kind(u8),
}

impl NodeMessage {
    /// Whether a message of the control stream is meant to be one of these; the others are the group's.
    pub fn is_meant(bytes: &[u8]) -> bool {
        bytes.first().is_some_and(|first| *first >= RELAY_WANTED)
    }

    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::RelayWanted(peer) => {
                out.push(RELAY_WANTED);
                out.extend(peer.0);
            }
            Self::RelayGiven(peer, channel) => {
                out.push(RELAY_GIVEN);
                out.extend(peer.0);
                out.extend(channel.0.to_be_bytes());
            }
            Self::RelayDenied(peer) => {
                out.push(RELAY_DENIED);
                out.extend(peer.0);
            }
            Self::Candidates(round, candidates) => {
                out.extend([CANDIDATES, *round]);
                candidates.encode(&mut out);
            }
            Self::Sync(round) => out.extend([SYNC, *round]),
            Self::Nat(kind) => {
                let byte = (0..).zip(KINDS).find_map(|(byte, other)| (other == *kind).then_some(byte));
                out.extend([NAT, byte.unwrap_or_default()]);
            }
        }
        out
    }

    /// Reads one.
    pub fn decode(bytes: &[u8]) -> Result<Self, NodeMessageError> {
        let mut reader = Reader::new(bytes);
        let message = match reader.u8()? {
            RELAY_WANTED => Self::RelayWanted(PeerId(reader.array()?)),
            RELAY_GIVEN => Self::RelayGiven(PeerId(reader.array()?), ChannelId(reader.u64()?)),
            RELAY_DENIED => Self::RelayDenied(PeerId(reader.array()?)),
            CANDIDATES => Self::Candidates(reader.u8()?, Candidates::take(&mut reader)?),
            SYNC => Self::Sync(reader.u8()?),
            NAT => {
                let byte = reader.u8()?;
                Self::Nat(*KINDS.get(usize::from(byte)).ok_or(NodeMessageError::Nat(byte))?)
            }
            kind => return Err(NodeMessageError::Kind(kind)),
        };
        reader.end()?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nat::Origin;

    #[test]
    fn messages_are_what_they_were_and_nothing_else_is_one() {
        let mut candidates = Candidates::default();
        candidates.add(Origin::Peer, "203.0.113.7:4000".parse().unwrap());
        let peer = PeerId([7; 32]);
        let messages = [
            NodeMessage::RelayWanted(peer),
            NodeMessage::RelayGiven(peer, ChannelId(5)),
            NodeMessage::RelayDenied(peer),
            NodeMessage::Candidates(2, candidates),
            NodeMessage::Sync(2),
            NodeMessage::Nat(NatKind::EndpointDependent),
        ];
        for message in messages {
            let bytes = message.encode();
            assert!(NodeMessage::is_meant(&bytes));
            assert_eq!(NodeMessage::decode(&bytes), Ok(message));
            for cut in 0..bytes.len() {
                assert!(NodeMessage::decode(&bytes[..cut]).is_err(), "{cut} of {bytes:?}");
            }
            assert!(NodeMessage::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        }
    }

    #[test]
    fn the_examples_of_the_wire_document() {
        let mut candidates = Candidates::default();
        candidates.add(Origin::Peer, "203.0.113.7:4000".parse().unwrap());
        let examples: [(NodeMessage, &[u8]); 3] = [
            (NodeMessage::Sync(2), b"\x84\x02"),
            (NodeMessage::Nat(NatKind::EndpointDependent), b"\x85\x03"),
            (NodeMessage::Candidates(2, candidates), b"\x83\x02\x01\x03\x04\xcb\x00\x71\x07\x0f\xa0"),
        ];
        for (message, bytes) in examples {
            assert_eq!(message.encode(), bytes);
        }
        assert_eq!(NodeMessage::decode(&[NAT, 4]), Err(NodeMessageError::Nat(4)));
        assert_eq!(NodeMessage::decode(&[0xff]), Err(NodeMessageError::Kind(0xff)));
    }
}
