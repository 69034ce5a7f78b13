//! What trackers and peers of Shoal agree on, as pure code: no socket, clock, task or file in here; seeds and
//! randomness come from the caller (TLS's own excepted).
//!
//! Each module uses only those that stand after it in this list:
//!
//! - [`group`]: networks without a tracker: members, election, chat, see `group/WIRE.md`
//! - [`relay`]: passing on datagrams of those who cannot reach each other
//! - [`nat`]: public addresses, kinds of NAT, and where a node may be reached
//! - [`mrt`]: the transport over UDP, see `mrt/WIRE.md`
//! - [`wire`]: the messages and their bytes, see `wire/WIRE.md`
//! - [`tls`]: TLS 1.3 with raw public keys on both sides
//! - [`ticket`]: the tracker's word that a peer may have a swarm
//! - [`identity`]: Ed25519 keys
//! - [`index`]: location maps, who has which chunks
//! - [`audience`]: for whom a swarm is shared
//! - [`secret`]: passwords and codes, which are never printed
//! - [`manifest`]: a folder as a file
//! - [`name`]: names of users and entries
//! - [`bitmap`]: which chunks of a swarm are there
//! - [`merkle`]: hashes of blocks and chunks up to the root
//! - [`chunk`]: how a file is cut into chunks
//! - [`id`]: file, peer and network ids
//! - [`reader`]: the one place that indexes bytes from the network

#![warn(missing_docs, clippy::iter_over_hash_type, clippy::indexing_slicing)]

pub mod audience;
pub mod bitmap;
pub mod chunk;
pub mod group;
pub mod id;
pub mod identity;
pub mod index;
pub mod manifest;
pub mod merkle;
pub mod mrt;
pub mod name;
pub mod nat;
pub mod reader;
pub mod relay;
pub mod secret;
pub mod ticket;
pub mod tls;
pub mod wire;
