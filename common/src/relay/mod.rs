//! Relaying: datagrams of two members who cannot reach each other go through somebody who can reach both. The relay opens
//! nothing and keeps nothing: it looks up where a datagram belongs, and sends it on.
//!
//! A *pair* is two members who talk through this relay. Each of the two knows the pair by a *channel id* of its own, which
//! only it and the relay know; a datagram to the relay carries the sender's id, and comes out with the receiver's
//! (`mrt/WIRE.md`, section 9, has the bytes). Pairs are made by whoever runs the relay, on a way of its own: a supernode
//! over the members' connections, a tracker over their sessions.
//!
//! Invariants: a datagram is sent on only if it came from the address at which its channel's member is known, and only to
//! the address of the other member of the same pair; so nobody can have datagrams sent to somebody who did not ask for
//! them. What a pair may send depends on how many others send, never on how much they try to ([`RelayConfig`]).
//!
//! Each module uses only those that stand after it in this list:
//!
//! - `table`: the pairs, and the way of a datagram
//! - `quota`: how many bytes may pass
//! - `head`: what stands in front of a relayed datagram

mod head;
mod quota;
mod table;

pub use head::{ChannelId, HEAD_LENGTH, HeadError, RelayHead};
pub use quota::RelayConfig;
pub use table::{CHANNEL_IDLE, Dropped, OpenError, PairInfo, Relay, Totals};

#[cfg(test)]
mod tests;
