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
//! NATK 85 kind (1)                        end to end: what I am behind, when that becomes known: 0 unknown, 1 no NAT,
//!                                         2 one whose mapping is endpoint-independent, 3 endpoint-dependent (RFC 4787)
//! ```
//!
//! Rounds count on from one meeting of a connection to the next, from 255 to 3. In those that are divisible by 3 both try from
//! the sockets that they have, in others from new ones; candidates are those of that socket.

use common::id::PeerId;
use common::nat::{Candidates, CandidatesError, NatKind};
use common::reader::{ReadError, Reader};
use common::relay::ChannelId;

/// From this first byte on a message is not the group's.
pub(super) const FIRST: u8 = 0x80;

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
    /// What I am behind.
    Nat(NatKind),
}

/// Bytes that are no such message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NodeMessageError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Candidates(#[from] CandidatesError),
    #[error("unknown kind of NAT {0:#04x}")]
    Nat(u8),
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
            Self::Nat(kind) => {
                let byte = (0..).zip(KINDS).find_map(|(byte, other)| (other == *kind).then_some(byte));
                out.extend([NAT, byte.unwrap_or_default()]);
            }
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
            NodeMessage::Nat(NatKind::EndpointDependent),
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
        assert_eq!(NodeMessage::decode(&[NAT, 4]), Err(NodeMessageError::Nat(4)));
        assert_eq!(NodeMessage::decode(&[0xff]), Err(NodeMessageError::Kind(0xff)));
    }
}
