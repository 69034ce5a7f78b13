//! Where a node may be reached, and which of the other side's addresses are worth trying.
//!
//! A node tells whoever helps it to meet others a list of its candidates; the helper sends each of the two the other's
//! list. Nobody checks them on the way, and a liar may name addresses of somebody else: so lists are short, and what is sent
//! there is a few small probes which only the right node can answer.
//!
//! As bytes: their number (1), then each: where it comes from (1: 1 user, 2 STUN, 3 seen by a peer, 4 interface), and the
//! address as in RESP (`mrt/WIRE.md`, section 6): 04 and 4 bytes, or 06 and 16 bytes, and the port (2).

mod choice;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use super::scope::Scope;
use crate::mrt::{FrameError, put_address, take_address};
use crate::reader::{ReadError, Reader};

pub use choice::{MAX_TRIED, to_try};

/// Most candidates of a node.
pub const MAX_CANDIDATES: usize = {
    let (mut sum, mut origins) = (0, Origin::ALL.as_slice());
    while let [origin, rest @ ..] = origins {
        sum += origin.limit();
        origins = rest;
    }
    sum
};

/// Most bytes of a list of candidates.
pub const MAX_CANDIDATES_BYTES: usize = 1 + MAX_CANDIDATES * (1 + 1 + 16 + 2);

/// An address at which a node may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// How it is known.
    pub origin: Origin,
    /// The address, in its canonical form.
    pub address: SocketAddr,
}

/// How an address is known. What is surer or rarer comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The user says so.
    User,
    /// A STUN server saw it.
    Stun,
    /// A peer, such as the supernode, saw it.
    Peer,
    /// One of our interfaces has it.
    Interface,
}

/// The candidates of a node: no nonsense, none twice, and of each origin no more than a few, in the order of origins and
/// within them that in which they were added.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Candidates {
    list: Vec<Candidate>,
}

/// Why bytes are no list of candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CandidatesError {
    /// They end too early, or there are bytes too many.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An origin or a family is none.
    #[error("not a candidate")]
    Kind,
    /// A candidate can be nobody's address, is there twice, is one too many, or stands at the wrong place.
    #[error("a candidate that must not be there")]
    Refused,
}

impl Origin {
    const ALL: [Self; 4] = [Self::User, Self::Stun, Self::Peer, Self::Interface];

    /// Most candidates of this origin (picked by hand). What is seen from outside is one or two for each family; interfaces are
    /// many where virtual machines or containers run.
    const fn limit(self) -> usize {
        match self {
            Self::User => 2,
            Self::Stun | Self::Peer => 3,
            Self::Interface => 8,
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::User => 1,
            Self::Stun => 2,
            Self::Peer => 3,
            Self::Interface => 4,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.byte() == byte)
    }
}

impl Candidates {
    /// Adds an address, unless it can be nobody's, is there already, or there are enough of its origin. An address that
    /// becomes known in a better way moves. Says whether the list changed.
    pub fn add(&mut self, origin: Origin, address: SocketAddr) -> bool {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        if address.port() == 0 || Scope::of(address.ip()) == Scope::Nowhere {
            return false;
        }
        let known = self.list.iter().find(|candidate| candidate.address == address);
        if known.is_some_and(|known| known.origin <= origin) || self.count(origin) >= origin.limit() {
            return false;
        }
        self.list.retain(|candidate| candidate.address != address);
        let place = self.list.partition_point(|candidate| candidate.origin <= origin);
        self.list.insert(place, Candidate { origin, address });
        true
    }

    /// Takes out all of one origin: they are to be found out anew.
    pub fn forget(&mut self, origin: Origin) {
        self.list.retain(|candidate| candidate.origin != origin);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Candidate> + '_ {
        self.list.iter()
    }

    /// Whether this address is one of them.
    pub fn contains(&self, address: SocketAddr) -> bool {
        self.list.iter().any(|candidate| candidate.address == address)
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Appends the bytes: at most [`MAX_CANDIDATES_BYTES`].
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::try_from(self.list.len()).expect("the limits of all origins together are below 256"));
        for Candidate { origin, address } in &self.list {
            out.push(origin.byte());
            put_address(out, *address);
        }
    }

    /// Reads a list from the front, in the one form in which it is written.
    pub fn take(reader: &mut Reader<'_>) -> Result<Self, CandidatesError> {
        let mut candidates = Self::default();
        for number in 0..usize::from(reader.u8()?) {
            let origin = Origin::from_byte(reader.u8()?).ok_or(CandidatesError::Kind)?;
            let address = take_address(reader).map_err(|error| match error {
                FrameError::Read(error) => CandidatesError::Read(error),
                _ => CandidatesError::Kind,
            })?;
            let is_canonical = address.ip() == address.ip().to_canonical();
            if !is_canonical || candidates.contains(address) || !candidates.add(origin, address) {
                return Err(CandidatesError::Refused);
            }
            // It went to the end: the list is in order.
            if candidates.list.get(number).is_none_or(|last| last.address != address) {
                return Err(CandidatesError::Refused);
            }
        }
        Ok(candidates)
    }

    /// Reads a list that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, CandidatesError> {
        let mut reader = Reader::new(bytes);
        let candidates = Self::take(&mut reader)?;
        reader.end()?;
        Ok(candidates)
    }

    fn count(&self, origin: Origin) -> usize {
        self.list.iter().filter(|candidate| candidate.origin == origin).count()
    }
}

impl FromIterator<Candidate> for Candidates {
    fn from_iter<I: IntoIterator<Item = Candidate>>(each: I) -> Self {
        let mut candidates = Self::default();
        for Candidate { origin, address } in each {
            candidates.add(origin, address);
        }
        candidates
    }
}
