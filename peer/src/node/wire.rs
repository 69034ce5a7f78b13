//! What nodes say to each other beside the group: about relayed ways, and about meeting directly.
//!
//! These messages go on the control stream between those of [`common::group`], which begin with a byte below [`FIRST`].
//! Numbers are big-endian.
//!
//! ```text
//! RLYQ 80 peer id (32)                    to the supernode: make me a way to this member
//! RLYC 81 peer id (32) channel (8)        from the supernode, to both: this is your end of a way to this member
//! RLYN 82 peer id (32)                    from the supernode: there is none
//! CAND 83 round (1) candidates            end to end: here I may be reached; answered by the same round
//! SYNC 84 round (1)                       end to end: try now
//! ```

use common::id::PeerId;
use common::nat::{Candidates, CandidatesError};
use common::reader::{ReadError, Reader};
use common::relay::ChannelId;

/// From this first byte on a message is not the group's.
pub(super) const FIRST: u8 = 0x80;

const RELAY_WANTED: u8 = 0x80;
const RELAY_GIVEN: u8 = 0x81;
const RELAY_DENIED: u8 = 0x82;
const CANDIDATES: u8 = 0x83;
const SYNC: u8 = 0x84;

/// A message between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NodeMessage {
    /// Make me a way to this member.
    RelayWanted(PeerId),
    /// This is your end of a way to this member.
    RelayGiven(PeerId, ChannelId),
    /// There is none.
    RelayDenied(PeerId),
    /// Here I may be reached.
    Candidates(u8, Candidates),
    /// Try now.
    Sync(u8),
}

/// Bytes that are no such message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NodeMessageError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Candidates(#[from] CandidatesError),
    #[error("unknown message {0:#04x}")]
    Kind(u8),
}

impl NodeMessage {
    pub(super) fn encode(&self) -> Vec<u8> {
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
        }
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, NodeMessageError> {
        let mut reader = Reader::new(bytes);
        let message = match reader.u8()? {
            RELAY_WANTED => Self::RelayWanted(PeerId(reader.array()?)),
            RELAY_GIVEN => Self::RelayGiven(PeerId(reader.array()?), ChannelId(reader.u64()?)),
            RELAY_DENIED => Self::RelayDenied(PeerId(reader.array()?)),
            CANDIDATES => {
                let round = reader.u8()?;
                return Ok(Self::Candidates(round, Candidates::decode(reader.rest())?));
            }
            SYNC => Self::Sync(reader.u8()?),
            kind => return Err(NodeMessageError::Kind(kind)),
        };
        reader.end()?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use common::nat::Origin;

    use super::*;

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
        ];
        for message in messages {
            let bytes = message.encode();
            assert!(bytes[0] >= FIRST);
            assert_eq!(NodeMessage::decode(&bytes), Ok(message));
            for cut in 0..bytes.len() {
                assert!(NodeMessage::decode(&bytes[..cut]).is_err(), "{cut} of {bytes:?}");
            }
            assert!(NodeMessage::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
        }
        assert_eq!(NodeMessage::decode(&[0xff]), Err(NodeMessageError::Kind(0xff)));
    }
}
