//! Sealing and opening packets, with keys that change in use.
//!
//! Each direction has a chain of secrets that begins with what the handshake gave:
//!
//! ```text
//! secret 0 --"shoal-mrt-update"--> secret 1 --"shoal-mrt-update"--> secret 2 ...
//!    |                                |
//!    "shoal-mrt-key" -> key 0         "shoal-mrt-key" -> key 1
//! ```
//!
//! Every arrow is HKDF-Expand with SHA-256 (RFC 5869), so that no key gives away the ones before or after it. The sender
//! goes to its next key after [`PACKETS_PER_KEY`] packets; a bit in the head of each packet, the phase, says which of two
//! keys in turn sealed it.

mod replay;
#[cfg(test)]
mod tests;

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use zeroize::{Zeroize as _, Zeroizing};

use super::frame::MAX_VARINT;
use super::packet::{DATA_HEADER, TAG_LENGTH};

pub(super) use replay::ReplayWindow;

/// Packets that one key seals before the next one takes over: half of what RFC 9001, section 6.6, allows for AES-GCM with
/// packets of up to 64 KiB. ChaCha20-Poly1305 would allow more; one number for both is simpler.
pub(super) const PACKETS_PER_KEY: u64 = 1 << 22;

/// Packets after which a key must not seal any more, whatever the other side has acknowledged (RFC 9001, section 6.6), as a
/// multiple of [`PACKETS_PER_KEY`].
const LAST_RESORT: u64 = 2;

/// How packets are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Suite {
    /// AES-256-GCM: fastest where the processor has instructions for AES.
    #[default]
    Aes256Gcm,
    /// ChaCha20-Poly1305: fastest elsewhere.
    ChaCha20Poly1305,
}

impl Suite {
    /// As on the wire.
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
        }
    }

    /// From the wire.
    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }

    /// Packets that may fail to open, over all keys of a connection, before a forger's chance is too good (RFC 9001,
    /// section 6.6).
    const fn forgery_limit(self) -> u64 {
        match self {
            Self::Aes256Gcm => 1 << 52,
            Self::ChaCha20Poly1305 => 1 << 36,
        }
    }
}

/// The first secrets of both directions, out of the handshake. Wiped when dropped; `Debug` shows nothing.
pub(super) struct Secrets {
    pub(super) send: [u8; 32],
    pub(super) receive: [u8; 32],
}

impl Drop for Secrets {
    fn drop(&mut self) {
        self.send.zeroize();
        self.receive.zeroize();
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

/// Why a packet was not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OpenError {
    /// It was not sealed by the other side for us, or was changed on its way.
    #[error("the packet does not open")]
    Forged,
    /// So many packets did not open that the keys must not be used any more: the connection has to end, silently.
    #[error("too many forged packets")]
    Exhausted,
}

/// How far the key for sending is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyUse {
    /// It serves on.
    Fresh,
    /// The next key is due, but waits until a packet of this one is acknowledged: the next packet should ask for that.
    WantsAck,
    /// It must not seal anything more: the connection has to end.
    Spent,
}

/// The keys of a connection: sealing in place, opening in place, key update. Keys are wiped when they go.
pub(super) struct Crypto {
    sending: Sending,
    receiving: Receiving,
}

impl Crypto {
    pub(super) fn new(suite: Suite, secrets: &Secrets) -> Self {
        Self {
            sending: Sending {
                current: Generation::new(suite, secrets.send),
                phase: false,
                first: 0,
                packets_per_key: PACKETS_PER_KEY,
            },
            receiving: Receiving {
                previous: None,
                current: Generation::new(suite, secrets.receive),
                next: None,
                phase: false,
                first: 0,
                largest: None,
                forged: 0,
                forgery_limit: suite.forgery_limit(),
            },
        }
    }

    /// The phase bit of packets sealed now.
    pub(super) const fn phase(&self) -> bool {
        self.sending.phase
    }

    /// Seals the packet that begins at `start` of `out` and goes to its end: the first `DATA_HEADER` bytes stay readable, are
    /// authenticated, the rest is sealed in place, and the tag is appended. No `number` may be given twice.
    pub(super) fn seal(&mut self, number: u64, out: &mut Vec<u8>, start: usize) {
        let (_, packet) = out.split_at_mut(start);
        let (head, inside) = packet.split_at_mut(DATA_HEADER);
        let key = &self.sending.current.key;
        let tag = key.seal_in_place_separate_tag(nonce(number), Aad::from(&*head), inside);
        let tag = tag.expect("no packet is as large as the limit of an AEAD");
        out.extend_from_slice(tag.as_ref());
    }

    /// Opens `packet` in place; gives what was inside. Nothing changes when it fails, but a count, and the bytes of `packet`. A packet
    /// of the next phase that opens changes the key for receiving; those of the phase before open until the next change.
    pub(super) fn open<'a>(
        &mut self,
        phase: bool,
        number: u64,
        packet: &'a mut [u8],
    ) -> Result<&'a mut [u8], OpenError> {
        self.receiving.open(phase, number, packet)
    }

    /// Changes to the next key for sending, if the limit of packets is reached and `acked` (the largest acknowledged packet number)
    /// shows that the other side has seen the current one. Called before each packet with the number it will have.
    pub(super) fn update_if_due(&mut self, next_number: u64, acked: Option<u64>) -> KeyUse {
        self.sending.update_if_due(next_number, acked)
    }

    /// Lets keys change after fewer packets, and fewer forged ones be enough to give up.
    #[cfg(test)]
    pub(super) const fn set_limits(&mut self, packets_per_key: u64, forgeries: u64) {
        self.sending.packets_per_key = packets_per_key;
        self.receiving.forgery_limit = forgeries;
    }
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto")
            .field("sending", &self.sending.phase)
            .field("receiving", &self.receiving.phase)
            .field("forged", &self.receiving.forged)
            .finish_non_exhaustive()
    }
}

/// 32 bytes that follow from `secret` for the purpose `label`: HKDF-Expand with SHA-256 (RFC 5869).
pub(super) fn expand(secret: &[u8; 32], label: &'static [u8]) -> Zeroizing<[u8; 32]> {
    /// How many bytes.
    struct Length;
    impl KeyType for Length {
        fn len(&self) -> usize {
            32
        }
    }
    let mut output = Zeroizing::new([0; 32]);
    Prk::new_less_safe(HKDF_SHA256, secret)
        .expand(&[label], Length)
        .and_then(|material| material.fill(output.as_mut()))
        .expect("HKDF gives up to 255 times 32 bytes");
    output
}

/// A key, and the secret that the next one follows from.
struct Generation {
    suite: Suite,
    secret: Zeroizing<[u8; 32]>,
    key: LessSafeKey,
}

impl Generation {
    fn new(suite: Suite, secret: [u8; 32]) -> Self {
        let secret = Zeroizing::new(secret);
        let key = UnboundKey::new(suite.algorithm(), expand(&secret, b"shoal-mrt-key").as_ref());
        let key = LessSafeKey::new(key.expect("keys of both suites have 32 bytes"));
        Self { suite, secret, key }
    }

    fn next(&self) -> Self {
        Self::new(self.suite, *expand(&self.secret, b"shoal-mrt-update"))
    }
}

/// The key of packets that leave.
struct Sending {
    current: Generation,
    phase: bool,
    /// Number of the first packet of this phase.
    first: u64,
    packets_per_key: u64,
}

impl Sending {
    fn update_if_due(&mut self, next_number: u64, acked: Option<u64>) -> KeyUse {
        let used = next_number.saturating_sub(self.first);
        if used < self.packets_per_key {
            return KeyUse::Fresh;
        }
        // Before that the other side might not have the current key yet, and could not tell it from the one before last.
        if acked.is_some_and(|acked| acked >= self.first) {
            self.current = self.current.next();
            self.phase = !self.phase;
            self.first = next_number;
            return KeyUse::Fresh;
        }
        if used < self.packets_per_key.saturating_mul(LAST_RESORT) { KeyUse::WantsAck } else { KeyUse::Spent }
    }
}

/// The keys of packets that come.
struct Receiving {
    /// For packets of the phase before this one that come late.
    previous: Option<Generation>,
    current: Generation,
    /// Made when first wanted, and kept, so that forged packets with the other phase cost no more than any.
    next: Option<Generation>,
    phase: bool,
    /// Smallest number of a packet that opened in this phase, from which on the phase before is over.
    first: u64,
    /// Largest number of a packet that opened in this phase.
    largest: Option<u64>,
    /// Packets that did not open, over all keys.
    forged: u64,
    forgery_limit: u64,
}

/// Which of three keys.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Previous,
    Current,
    Next,
}

impl Receiving {
    fn open<'a>(&mut self, phase: bool, number: u64, packet: &'a mut [u8]) -> Result<&'a mut [u8], OpenError> {
        if self.forged >= self.forgery_limit {
            return Err(OpenError::Exhausted);
        }
        let age = self.age(phase, number).ok_or(OpenError::Forged)?;
        let generation = match age {
            Age::Previous => self.previous.as_ref().ok_or(OpenError::Forged)?,
            Age::Current => &self.current,
            Age::Next => self.next.get_or_insert_with(|| self.current.next()),
        };
        let (head, sealed) = packet.split_at_mut_checked(DATA_HEADER).ok_or(OpenError::Forged)?;
        let length = sealed.len().checked_sub(TAG_LENGTH).ok_or(OpenError::Forged)?;
        let (inside, tag) = sealed.split_at_mut(length);
        // With the tag apart, nothing is moved afterwards.
        let opened = generation.key.open_in_place_separate_tag(nonce(number), Aad::from(&*head), tag, inside);
        let Ok(opened) = opened else {
            self.forged += 1;
            return Err(OpenError::Forged);
        };
        self.on_opened(age, number);
        Ok(opened)
    }

    /// Which key a packet must have been sealed with; `None`: none that an honest sender could have used.
    fn age(&self, phase: bool, number: u64) -> Option<Age> {
        if number > MAX_VARINT {
            // It could not be acknowledged.
            None
        } else if phase == self.phase {
            Some(Age::Current)
        } else if number < self.first {
            Some(Age::Previous)
        } else if self.largest.is_some_and(|largest| number > largest) {
            Some(Age::Next)
        } else {
            None
        }
    }

    fn on_opened(&mut self, age: Age, number: u64) {
        match age {
            Age::Previous => {}
            Age::Current => {
                self.first = self.first.min(number);
                self.largest = self.largest.max(Some(number));
            }
            Age::Next => {
                let next = self.next.take().expect("a packet was just opened with it");
                self.previous = Some(std::mem::replace(&mut self.current, next));
                self.phase = !self.phase;
                self.first = number;
                self.largest = Some(number);
            }
        }
    }
}

/// Four zero bytes and the packet number. It is unique for a key, since each direction has keys of its own.
fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    if let Some(end) = bytes.last_chunk_mut() {
        *end = number.to_be_bytes();
    }
    Nonce::assume_unique_for_key(bytes)
}
