//! What stands between a node and the others: its public address, what kind of NAT it is behind, and where it may be
//! reached.
//!
//! A *mapping* is what a NAT remembers of a flow from the inside: which address outside stands for it. A *candidate* is
//! an address at which a node may be reached; that it can is never taken for granted, but always proven by a connection.
//!
//! - `candidates`: where a node may be reached, and which of the other side's addresses are worth trying
//! - `kind`: what NATs do, as far as can be told, and whether two nodes behind them can meet
//! - `stun`: asking a server from which address one's datagrams come
//! - `scope`: from where an address can be reached at all

mod candidates;
mod kind;
mod scope;
mod stun;

pub use candidates::{
    Candidate, Candidates, CandidatesError, MAX_CANDIDATES, MAX_CANDIDATES_BYTES, MAX_TRIED, Origin, to_try,
};
pub use kind::{Filtering, Nat, NatKind, Observation, Prospect, can_punch};
pub use scope::is_private;
pub use stun::{
    Fingerprint, MAX_STUN_ANSWER, MAX_STUN_MESSAGE, STUN_REQUEST_LENGTH, StunClient, StunError, StunFailure,
    StunMessage, StunProof, StunToken, TransactionId, UnknownAttributes, is_stun, is_stun_request, respond_to_stun,
    respond_to_stun_with,
};
