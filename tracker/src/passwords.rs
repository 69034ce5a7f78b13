//! Passwords: hashing and checking them, with argon2id, off the reactor, a few at a time.
//!
//! An unknown user's password is checked too, against a hash that no password has, so that time does not tell who has an
//! account.

use std::num::NonZeroUsize;
use std::sync::Arc;

use argon2::password_hash::{PasswordHash as Parsed, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use common::secret::Secret;
use common::wire::tracker::{Code, Refusal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::service::refusal;
use crate::state::PasswordHash;

/// The password storage cheat sheet of OWASP for argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Bytes of salt, as RFC 9106 recommends.
const SALT_LENGTH: usize = 16;
/// A password has at least so many characters, as NIST SP 800-63B says; at most [`common::secret::MAX_SECRET`] bytes.
const MIN_PASSWORD: usize = 8;
/// No more are hashed at once, and on few cores half as many as there are: each takes one for some 20 ms, and the others
/// are to get on meanwhile.
const MOST_AT_ONCE: usize = 4;
/// So many are hashed or wait for that, a second's worth; more are asked to come again.
const MAX_WAITING: usize = 64;
/// The form of a hash with the parameters above, of no known password.
const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlzIQ$bm9ib2R5IGhhcyB0aGlzIHBhc3N3b3JkLCBub2JvZHk";

/// Hashes and checks passwords; clones share what it takes.
#[derive(Debug, Clone)]
pub(crate) struct Passwords {
    slots: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Passwords {
    /// With nothing under way.
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let at_once = (cores / 2).clamp(1, MOST_AT_ONCE);
        Self { slots: Arc::new(Semaphore::new(at_once)), places: Arc::new(Semaphore::new(MAX_WAITING)) }
    }

    /// The hash of a new password; refused where it is too short, or too many wait.
    pub(crate) async fn hash(&self, password: Secret) -> Result<PasswordHash, Refusal> {
        if password.reveal().chars().count() < MIN_PASSWORD {
            return Err(refusal(Code::Malformed, format!("a password has at least {MIN_PASSWORD} characters")));
        }
        self.run(move || hash(&password)).await?.ok_or_else(unavailable)
    }

    /// Whether a password is that of which `hash` is; with `None` it is not, which takes as long to say.
    pub(crate) async fn verify(&self, password: Secret, hash: Option<PasswordHash>) -> Result<bool, Refusal> {
        self.run(move || {
            let known = hash.is_some();
            let text = hash.map_or_else(|| NOBODYS.to_owned(), |hash| hash.0);
            let fits = verify(&password, &text);
            known && fits
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, what: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        let busy = || refusal(Code::Busy, "too many log in at this moment: try again in a few seconds");
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_full| busy())?;
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_closed| unavailable())?;
        // Who hangs up meanwhile frees nothing: the work goes on.
        let permits: [OwnedSemaphorePermit; 2] = [place, slot];
        let working = tokio::task::spawn_blocking(move || {
            let result = what();
            drop(permits);
            result
        });
        working.await.map_err(|_panicked| unavailable())
    }
}

/// A new random text of 26 characters, 130 bits: a password or a code that nobody guesses.
pub(crate) fn random_text() -> Option<String> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    const LENGTH: usize = 26;
    let mut random = [0; LENGTH];
    aws_lc_rs::rand::fill(&mut random).ok()?;
    Some(random.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

fn argon2() -> Option<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &Secret) -> Option<PasswordHash> {
    let mut salt = [0; SALT_LENGTH];
    aws_lc_rs::rand::fill(&mut salt).ok()?;
    let salt = SaltString::encode_b64(&salt).ok()?;
    let hashed = argon2()?.hash_password(password.reveal().as_bytes(), &salt).ok()?;
    Some(PasswordHash(hashed.to_string()))
}

fn verify(password: &Secret, hash: &str) -> bool {
    let (Ok(hash), Some(argon2)) = (Parsed::new(hash), argon2()) else { return false };
    argon2.verify_password(password.reveal().as_bytes(), &hash).is_ok()
}

fn unavailable() -> Refusal {
    refusal(Code::Unavailable, "the tracker cannot hash passwords now: try again later")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.to_owned()).unwrap()
    }

    #[tokio::test]
    async fn a_password_fits_its_own_hash_alone() {
        let passwords = Passwords::new();
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.0);
        assert_ne!(passwords.hash(secret("correct horse")).await.unwrap(), hash, "each has a salt of its own");
        assert_eq!(passwords.verify(secret("correct horse"), Some(hash.clone())).await, Ok(true));
        assert_eq!(passwords.verify(secret("battery staple"), Some(hash)).await, Ok(false));
        assert_eq!(passwords.verify(secret("battery staple"), None).await, Ok(false));
        assert_eq!(passwords.hash(secret("1234567")).await.unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn nobodys_hash_costs_what_a_real_one_does() {
        let nobodys = Parsed::new(NOBODYS).unwrap();
        let real = hash(&secret("correct horse")).unwrap();
        let real = Parsed::new(&real.0).unwrap();
        assert_eq!((nobodys.algorithm, nobodys.version, &nobodys.params), (real.algorithm, real.version, &real.params));
        let lengths = |hash: &Parsed<'_>| (hash.salt.unwrap().len(), hash.hash.unwrap().len());
        assert_eq!(lengths(&nobodys), lengths(&real));
    }

    #[tokio::test]
    async fn those_for_whom_there_is_no_place_are_told_to_come_again() {
        let passwords = Passwords::new();
        let _taken = Arc::clone(&passwords.places).acquire_many_owned(64).await.unwrap();
        assert_eq!(passwords.verify(secret("x"), None).await.unwrap_err().code, Code::Busy);
    }

    #[test]
    fn random_texts_differ() {
        let (one, other) = (random_text().unwrap(), random_text().unwrap());
        assert!(one.len() == 26 && one != other);
    }
}
