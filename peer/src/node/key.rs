//! The key of a network: what all its members have, from a text that they agree on.

use argon2::{Algorithm, Argon2, Params, Version};
use common::merkle::sha256;
use data_encoding::BASE32_NOPAD;

/// What separates this use of argon2id from others. All networks have the same: who wants to try texts one after the other
/// must do so for each handshake that he saw, or against a node.
const SALT: &[u8] = b"shoal-mrt-network-key-v1";
/// OWASP's second choice for argon2id, as strong as the first (46 MiB, one pass) by its word: 19 MiB, two passes. With the first a
/// node would take more memory at its start than ever after.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Bytes of chance in a key that is made here: as many as AES-256 has.
const STRONG: usize = 32;

/// No key was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    /// There is not enough memory.
    #[error("there is not enough memory to derive the key of the network (19 MiB)")]
    Memory,
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

/// The key of the network with this text; without one, that of the network that is open to everybody. Takes a tenth of a
/// second.
pub(crate) fn network_psk(text: Option<&str>) -> Result<[u8; 32], KeyError> {
    let Some(text) = text else { return Ok(sha256(b"shoal-mrt-open-network-v1").0) };
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(32)).expect("within argon2's limits");
    let mut psk = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(text.as_bytes(), SALT, &mut psk)
        .map_err(|_error| KeyError::Memory)?;
    Ok(psk)
}

/// A text that nobody can guess.
pub(crate) fn new_network_key() -> Result<String, KeyError> {
    let mut bytes = [0; STRONG];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| KeyError::Randomness)?;
    Ok(BASE32_NOPAD.encode(&bytes).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_text_gives_the_same_key_and_none_that_of_the_open_network() {
        let of = |text: Option<&str>| network_psk(text).unwrap();
        assert_eq!(of(Some("horse")), of(Some("horse")));
        assert_ne!(of(Some("horse")), of(Some("Horse")));
        assert_ne!(of(Some("")), of(None));
        assert_ne!(new_network_key().unwrap(), new_network_key().unwrap());
        assert_eq!(new_network_key().unwrap().len(), 52);
    }
}
