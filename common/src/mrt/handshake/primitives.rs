//! What Noise is computed with: X25519, both AEADs and SHA-256 of the libraries that the rest of the program uses, and
//! randomness from a seed.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey, X25519};
use sha2::{Digest as _, Sha256};
use snow::Error;
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash};
use zeroize::{Zeroize as _, Zeroizing};

use crate::mrt::packet::TAG_LENGTH;
use crate::mrt::random::Random;

/// Bytes of keys and of hashes, all.
const KEY_LENGTH: usize = 32;

/// Bytes that SHA-256 works on at a time (for HMAC).
const HASH_BLOCK: usize = 64;

/// Gives Noise what it asks for. All ephemeral keys follow from the seed.
pub(super) struct Primitives {
    seed: Zeroizing<[u8; 32]>,
}

impl Primitives {
    pub(super) const fn new(seed: Zeroizing<[u8; 32]>) -> Self {
        Self { seed }
    }
}

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn snow::types::Random>> {
        Some(Box::new(Seeded(Random::new(*self.seed))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::<Curve25519>::default() as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::<Hasher>::default() as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::AESGCM => Some(Box::<AesGcm>::default()),
            CipherChoice::ChaChaPoly => Some(Box::<ChaChaPoly>::default()),
        }
    }
}

/// Randomness for Noise.
struct Seeded(Random);

impl snow::types::Random for Seeded {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        for part in out.chunks_mut(KEY_LENGTH) {
            let bytes = Zeroizing::new(self.0.bytes());
            part.iter_mut().zip(bytes.iter()).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }
}

/// X25519 (RFC 7748). It agrees on nothing with a public key of low order, with which the result would be zero whatever the
/// secret is: it would be known to everybody.
#[derive(Default)]
struct Curve25519 {
    private: Option<PrivateKey>,
    public: [u8; KEY_LENGTH],
}

impl Dh for Curve25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        KEY_LENGTH
    }

    fn priv_len(&self) -> usize {
        KEY_LENGTH
    }

    fn set(&mut self, private: &[u8]) {
        let private = PrivateKey::from_private_key(&X25519, private).expect("any 32 bytes are an X25519 secret");
        let public = private.compute_public_key().expect("an X25519 secret has a public key");
        self.public = public.as_ref().try_into().expect("an X25519 public key has 32 bytes");
        self.private = Some(private);
    }

    fn generate(&mut self, random: &mut dyn snow::types::Random) -> Result<(), Error> {
        let mut private = Zeroizing::new([0; KEY_LENGTH]);
        random.try_fill_bytes(private.as_mut())?;
        self.set(private.as_ref());
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    /// Nothing: Noise itself has no use for it, and the secret stays where it is.
    fn privkey(&self) -> &[u8] {
        &[]
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let private = self.private.as_ref().ok_or(Error::Dh)?;
        let public: &[u8; KEY_LENGTH] = public.first_chunk().ok_or(Error::Dh)?;
        let out = out.first_chunk_mut::<KEY_LENGTH>().ok_or(Error::Dh)?;
        agreement::agree(private, UnparsedPublicKey::new(&X25519, public), Error::Dh, |shared| {
            *out = shared.try_into().or(Err(Error::Dh))?;
            if *out == [0; KEY_LENGTH] { Err(Error::Dh) } else { Ok(()) }
        })
    }
}

/// SHA-256.
#[derive(Default)]
struct Hasher(Sha256);

impl Hash for Hasher {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        HASH_BLOCK
    }

    fn hash_len(&self) -> usize {
        KEY_LENGTH
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let hash: [u8; KEY_LENGTH] = self.0.finalize_reset().into();
        if let Some(out) = out.first_chunk_mut() {
            *out = hash;
        }
    }
}

/// AES-256-GCM with nonces as Noise has them: big-endian.
#[derive(Default)]
struct AesGcm(Option<LessSafeKey>);

impl Cipher for AesGcm {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; KEY_LENGTH]) {
        self.0 = UnboundKey::new(&AES_256_GCM, key).ok().map(LessSafeKey::new);
    }

    fn encrypt(&self, number: u64, associated: &[u8], data: &[u8], out: &mut [u8]) -> usize {
        seal(self.0.as_ref(), number.to_be_bytes(), associated, data, out)
    }

    fn decrypt(&self, number: u64, associated: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        open(self.0.as_ref(), number.to_be_bytes(), associated, sealed, out)
    }
}

/// ChaCha20-Poly1305 with nonces as Noise has them: little-endian.
#[derive(Default)]
struct ChaChaPoly(Option<LessSafeKey>);

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; KEY_LENGTH]) {
        self.0 = UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new);
    }

    fn encrypt(&self, number: u64, associated: &[u8], data: &[u8], out: &mut [u8]) -> usize {
        seal(self.0.as_ref(), number.to_le_bytes(), associated, data, out)
    }

    fn decrypt(&self, number: u64, associated: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        open(self.0.as_ref(), number.to_le_bytes(), associated, sealed, out)
    }
}

/// Seals `data` with the tag behind it. Noise looks before it calls that there is a key and that `out` has room.
fn seal(key: Option<&LessSafeKey>, number: [u8; 8], associated: &[u8], data: &[u8], out: &mut [u8]) -> usize {
    let (sealed, rest) = out.split_at_mut(data.len());
    let (tag, _) = rest.split_at_mut(TAG_LENGTH);
    key.expect("Noise sets the key first")
        .seal_out_of_place_scatter(nonce(number), Aad::from(associated), data, sealed, &[], tag)
        .expect("the lengths are those of this AEAD");
    data.len() + TAG_LENGTH
}

fn open(
    key: Option<&LessSafeKey>,
    number: [u8; 8],
    associated: &[u8],
    sealed: &[u8],
    out: &mut [u8],
) -> Result<usize, Error> {
    let length = sealed.len().checked_sub(TAG_LENGTH).ok_or(Error::Decrypt)?;
    let (sealed, tag) = sealed.split_at(length);
    let out = out.get_mut(..length).ok_or(Error::Decrypt)?;
    let opened =
        key.ok_or(Error::Decrypt)?.open_separate_gather(nonce(number), Aad::from(associated), sealed, tag, out);
    if opened.is_err() {
        out.zeroize();
        return Err(Error::Decrypt);
    }
    Ok(length)
}

fn nonce(number: [u8; 8]) -> Nonce {
    let [a, b, c, d, e, f, g, h] = number;
    Nonce::assume_unique_for_key([0, 0, 0, 0, a, b, c, d, e, f, g, h])
}
