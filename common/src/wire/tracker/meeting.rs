//! What is said so that two meet over MRT who cannot reach each other by TCP: where each may be reached, by its own word and
//! by what the tracker saw, and the channels of a relay.

use std::net::SocketAddr;

use data_encoding::HEXLOWER;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::PeerId;
use crate::mrt::StaticKey;
use crate::nat::{StunProof, StunToken};
use crate::relay::ChannelId;

/// What a tracker with a UDP port offers to who joins: to see, over STUN at the port of the same number, where a peer's
/// datagrams come from, and to help it to meet others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpOffer {
    /// What to show there, so that what is seen is proven to the tracker later.
    pub token: StunToken,
    /// Whether the tracker relays for those who find no direct way.
    pub relays: bool,
}

/// Where a peer may be met over MRT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MrtContact {
    /// Its static key of MRT.
    pub static_key: StaticKey,
    /// The port of its socket, on all its interfaces.
    pub port: u16,
    /// Where the tracker's UDP port saw that socket.
    pub seen: SocketAddr,
    /// The proof of that, which came from there.
    pub proof: StunProof,
    /// Whom it is there for.
    pub role: MrtRole,
}

/// For whom a peer can be met over MRT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MrtRole {
    /// For all: it serves over MRT.
    Serves,
    /// For those whom it asks for.
    Asks,
}

/// One of two who are to meet over MRT, as the other needs to know it: opens its router towards these addresses, and
/// connects, or waits for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meeting {
    /// Who.
    pub peer: PeerId,
    /// Its user's name.
    pub user: String,
    /// Its static key of MRT, by its word.
    pub static_key: StaticKey,
    /// Where it may be reached, the likeliest first; at most [`super::super::MAX_ADDRESSES`].
    pub addresses: Vec<SocketAddr>,
    /// The receiver's channel to it through the relay at the tracker's UDP port; `None`: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelId>,
}

/// So many bytes as hex digits.
macro_rules! as_hex {
    ($($name:ident: $bytes:expr, $from:expr;)*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&HEXLOWER.encode(&$bytes(self)))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let bytes = HEXLOWER.decode(text.as_bytes()).map_err(D::Error::custom)?;
                let bytes = bytes.try_into().map_err(|_bytes| D::Error::custom("so many hex digits are not of this kind"))?;
                Ok($from(bytes))
            }
        }
    )*};
}

as_hex! {
    StunToken: |token: &Self| token.0, Self;
    StunProof: |proof: &Self| proof.0, Self;
    StaticKey: |key: &Self| key.0, Self;
    ChannelId: |channel: &Self| channel.0.to_be_bytes(), |bytes| Self(u64::from_be_bytes(bytes));
}
