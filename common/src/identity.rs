//! Identities: Ed25519 keys. A key pair is made from a seed that the caller keeps; everybody else knows the public key,
//! and names its holder by the SHA-256 of it, the [`PeerId`].

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::id::PeerId;

/// Bytes of a signature (RFC 8032, section 5.1.6).
pub const SIGNATURE_LENGTH: usize = 64;

/// DER of a `SubjectPublicKeyInfo` with the algorithm id-Ed25519 up to the key itself (RFC 8410, section 4). There is
/// one encoding of a key and no other.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// A key pair: who can prove to be this peer or tracker. Its `Debug` shows no secret.
pub struct Identity {
    pair: Ed25519KeyPair,
    seed: [u8; 32],
}

impl Identity {
    /// The key pair of this seed, always the same. The seed is the secret: 32 bytes from a cryptographic source.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are an Ed25519 seed");
        Self { pair, seed: *seed }
    }

    /// Who this is.
    pub fn peer_id(&self) -> PeerId {
        self.public_key().peer_id()
    }

    /// The half that everybody may know.
    pub fn public_key(&self) -> PublicKey {
        let bytes = self.pair.public_key().as_ref();
        PublicKey(bytes.try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    /// Signs `message`, which must begin with a text that says what kind of message it is, so that no signature is taken
    /// for one under something else.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LENGTH] {
        let signature = self.pair.sign(message);
        signature.as_ref().try_into().expect("an Ed25519 signature has 64 bytes")
    }

    /// The secret, to be kept where only its owner can read it.
    pub const fn seed(&self) -> [u8; 32] {
        self.seed
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("peer_id", &self.peer_id()).finish_non_exhaustive()
    }
}

/// An Ed25519 public key; as text 64 lower-case hex digits. Whether it is a point on the curve shows in
/// [`Self::verify`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(pub [u8; 32]);

/// A signature that is not one of this key under this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not one of this key")]
pub struct BadSignature;

/// Why something is not a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 64 lower-case hex digits.
    #[error("a public key is 64 lower-case hex digits")]
    Hex,
    /// Another algorithm, an X.509 certificate, or no DER at all.
    #[error("not the SubjectPublicKeyInfo of an Ed25519 key")]
    Spki,
}

impl PublicKey {
    /// Who holds this key.
    pub fn peer_id(&self) -> PeerId {
        PeerId(Sha256::digest(self.0).into())
    }

    /// Whether `signature` was made by this key under exactly this message.
    pub fn verify(&self, message: &[u8], signature: &[u8; SIGNATURE_LENGTH]) -> Result<(), BadSignature> {
        match UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature) {
            Ok(()) => Ok(()),
            Err(_) => Err(BadSignature),
        }
    }

    /// The DER of its `SubjectPublicKeyInfo`, 44 bytes: what TLS shows as a raw public key (RFC 7250).
    pub fn to_spki_der(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &self.0].concat()
    }

    /// Reads what [`Self::to_spki_der`] gives, and nothing else.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let key = der.strip_prefix(&SPKI_PREFIX).ok_or(KeyError::Spki)?;
        match key.try_into() {
            Ok(key) => Ok(Self(key)),
            Err(_) => Err(KeyError::Spki),
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        const TEXT_LENGTH: usize = 64;
        let mut key = [0; 32];
        if text.len() != TEXT_LENGTH {
            return Err(KeyError::Hex);
        }
        match HEXLOWER.decode_mut(text.as_bytes(), &mut key) {
            Ok(_) => Ok(Self(key)),
            Err(_) => Err(KeyError::Hex),
        }
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn keys_and_signatures_are_those_of_rfc_8032() {
        let seed = decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let identity = Identity::from_seed(&seed);
        let public = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
        assert_eq!(identity.public_key().to_string(), public);
        let signature = identity.sign(&[0x72]);
        assert_eq!(
            HEXLOWER.encode(&signature),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert_eq!(identity.public_key().verify(&[0x72], &signature), Ok(()));
        assert_eq!(identity.seed(), seed);
    }

    #[test]
    fn a_peer_id_is_the_hash_of_the_key() {
        let key = PublicKey([7; 32]);
        let hash: [u8; 32] = Sha256::digest([7; 32]).into();
        assert_eq!(key.peer_id(), PeerId(hash));
        let identity = Identity::from_seed(&[1; 32]);
        assert_eq!(identity.peer_id(), identity.public_key().peer_id());
    }

    #[test]
    fn a_signature_holds_for_one_key_and_one_message() {
        let (one, other) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
        let signature = one.sign(b"message");
        assert_eq!(one.public_key().verify(b"massage", &signature), Err(BadSignature));
        assert_eq!(other.public_key().verify(b"message", &signature), Err(BadSignature));
        for byte in 0..SIGNATURE_LENGTH {
            let mut damaged = signature;
            damaged[byte] ^= 1;
            assert_eq!(one.public_key().verify(b"message", &damaged), Err(BadSignature), "byte {byte}");
        }
        // y = 2 is not the y of any point.
        let mut no_point = [0; 32];
        no_point[0] = 2;
        assert_eq!(PublicKey(no_point).verify(b"message", &signature), Err(BadSignature));
    }

    #[test]
    fn a_key_has_one_der() {
        let key = Identity::from_seed(&[3; 32]).public_key();
        let der = key.to_spki_der();
        assert_eq!(PublicKey::from_spki_der(&der), Ok(key));
        for wrong in [&der[..43], &[der.as_slice(), &[0]].concat(), &der[1..], &[]] {
            assert_eq!(PublicKey::from_spki_der(wrong), Err(KeyError::Spki));
        }
        // id-X25519 is 1.3.101.110.
        let mut x25519 = der;
        x25519[8] = 0x6e;
        assert_eq!(PublicKey::from_spki_der(&x25519), Err(KeyError::Spki));
    }

    #[test]
    fn texts_are_read_in_one_form_only() {
        let key = PublicKey([0xab; 32]);
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(serde_json::from_str::<PublicKey>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
        for text in ["", "ab", &"AB".repeat(32), &"é".repeat(32), &"ab".repeat(33)] {
            assert_eq!(text.parse::<PublicKey>(), Err(KeyError::Hex), "{text}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", Identity::from_seed(&[0x5a; 32]));
        assert!(!shown.contains("90") && !shown.contains("5a5a"), "{shown}");
    }

    fn decode(hex: &str) -> [u8; 32] {
        HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap()
    }
}
