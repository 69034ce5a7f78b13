//! Vouchers: what the tracker gives out over UDP, and believes when it is shown over TLS. They are computed from a key that
//! nobody else knows, so nothing has to be remembered, and nobody can make the tracker remember anything.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::hmac;
use common::identity::Identity;
use common::nat::{StunProof, StunToken};
use common::relay::ChannelId;

/// A proof is good in the slot in which it was given, and in the next one: for a minute at least.
const SLOT: Duration = Duration::from_secs(60);
/// Nobody is met, and nothing sent on, where a peer has proven longer ago to be: addresses change hands. Peers show a new proof
/// every minute.
pub(crate) const PROVEN_FOR: Duration = Duration::from_secs(180);
/// What the key is made from, besides the tracker's own one.
const CONTEXT: &[u8] = b"shoal-tracker-vouchers-v1";

/// What a voucher is for; no two are alike.
#[derive(Clone, Copy)]
enum Purpose {
    Token = 1,
    Proof = 2,
    Channel = 3,
}

/// Gives vouchers, and knows its own. Clones know each other's. Times are uptimes of the tracker.
#[derive(Clone)]
pub(crate) struct Vouchers {
    key: hmac::Key,
}

impl Vouchers {
    /// Those of a tracker with this key; `seed` differs from run to run.
    pub(crate) fn new(identity: &Identity, seed: u64) -> Self {
        let signature = identity.sign(&[CONTEXT, &seed.to_be_bytes()].concat());
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, signature.as_ref()) }
    }

    /// What stands for the connection of this number at the tracker's UDP port.
    pub(crate) fn token(&self, connection: u64) -> StunToken {
        StunToken(self.make(Purpose::Token, &[&connection.to_be_bytes()]))
    }

    /// That somebody with this token is at this address now: to be sent there, and nowhere else.
    pub(crate) fn prove(&self, token: StunToken, address: SocketAddr, uptime: Duration) -> StunProof {
        self.proof_in(slot(uptime), token, address)
    }

    /// Whether this proof was given to that token, there, in the last minute or two.
    pub(crate) fn is_good(&self, proof: StunProof, token: StunToken, address: SocketAddr, uptime: Duration) -> bool {
        let now = slot(uptime);
        let slots = [Some(now), now.checked_sub(1)].into_iter().flatten();
        slots.map(|slot| self.proof_in(slot, token, address)).any(|good| is_same(&good.0, &proof.0))
    }

    /// A channel of the relay; another one for each number.
    pub(crate) fn channel(&self, number: u64) -> ChannelId {
        ChannelId(u64::from_be_bytes(self.make(Purpose::Channel, &[&number.to_be_bytes()])))
    }

    fn proof_in(&self, slot: u64, token: StunToken, address: SocketAddr) -> StunProof {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let (slot, ip, port) = (slot.to_be_bytes(), ip.octets(), address.port().to_be_bytes());
        StunProof(self.make(Purpose::Proof, &[&slot, &token.0, &ip, &port]))
    }

    /// The first bytes of the HMAC over parts of which each has the same length every time.
    fn make<const LENGTH: usize>(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; LENGTH] {
        const { assert!(LENGTH <= 32, "an HMAC-SHA256 has 32 bytes") };
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&[purpose as u8]);
        parts.iter().for_each(|part| context.update(part));
        let tag = context.sign();
        *tag.as_ref().first_chunk().expect("an HMAC-SHA256 has 32 bytes")
    }
}

impl fmt::Debug for Vouchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vouchers").finish_non_exhaustive()
    }
}

const fn slot(uptime: Duration) -> u64 {
    uptime.as_secs() / SLOT.as_secs()
}

/// Compares in a time that tells nothing.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(600);

    fn vouchers(seed: u64) -> Vouchers {
        Vouchers::new(&Identity::from_seed(&[1; 32]), seed)
    }

    #[test]
    fn a_proof_is_good_for_its_token_its_address_and_a_minute() {
        let vouchers = vouchers(1);
        let [one, other] = [1, 2].map(|connection| vouchers.token(connection));
        let address: SocketAddr = "203.0.113.9:4000".parse().unwrap();
        let proof = vouchers.prove(one, address, NOW);
        let is_good = |token, address: &str, uptime| {
            let address = address.parse().unwrap();
            vouchers.is_good(proof, token, address, uptime)
        };
        assert!(is_good(one, "203.0.113.9:4000", NOW));
        assert!(is_good(one, "203.0.113.9:4000", NOW + SLOT));
        assert!(!is_good(one, "203.0.113.9:4000", NOW + 2 * SLOT), "it is old");
        assert!(!is_good(other, "203.0.113.9:4000", NOW), "it is somebody else's");
        for elsewhere in ["203.0.113.9:4001", "203.0.113.8:4000", "[2001:db8::9]:4000"] {
            assert!(!is_good(one, elsewhere, NOW), "{elsewhere}");
        }
        let mut wrong = proof;
        wrong.0[15] ^= 1;
        assert!(!vouchers.is_good(wrong, one, address, NOW));
    }

    #[test]
    fn another_run_knows_none_of_them() {
        let (before, after) = (vouchers(1), vouchers(2));
        let token = before.token(1);
        assert_ne!(token, after.token(1));
        let address = "203.0.113.9:4000".parse().unwrap();
        assert!(!after.is_good(before.prove(token, address, NOW), token, address, NOW));
        assert_ne!(before.channel(1), before.channel(2));
        assert_ne!(before.channel(1), after.channel(1));
    }
}
