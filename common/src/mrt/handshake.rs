//! Noise, and whose key it was.
//!
//! An initiator that knows the responder's X25519 key uses `IKpsk2`, which takes one round trip and two messages;
//! otherwise `XXpsk3`, whose third message goes with the first packet. Each side has an Ed25519 identity, and shows that it signed
//! the X25519 key which Noise proves that it holds.
//!
//! A message can be forged by anybody who sees the handshake, so one that does not open must not break what waits for the
//! right one. [`HandshakeState`] is not to be had back after it took in half of a message; therefore none is kept. What is
//! kept is all that it follows from, a few hundred bytes, and each message is read by a new one that repeats the steps
//! before it. That costs three multiplications on the curve, and leaves nothing of Noise in memory between messages.

mod payload;
mod primitives;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use super::Side;
use super::crypto::{Secrets, Suite, expand};
use super::packet::{ConnectionId, MAX_NOISE, Pattern, TAG_LENGTH, VERSION};
use super::random::Random;
use crate::identity::{Identity, PublicKey, SIGNATURE_LENGTH};
use payload::{Answer, Claim};
use primitives::Primitives;

/// Bytes of the first message of XX: an X25519 key, and the tag of nothing.
const UNKNOWN_REQUEST_LENGTH: usize = 32 + TAG_LENGTH;

/// An X25519 public key: what a responder must be known by for the short handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StaticKey(pub [u8; 32]);

/// The keys an endpoint acts with: its identity, an X25519 key that follows from it and is signed by it, and the pre-shared key of
/// the network. `Debug` shows no secret.
pub struct LocalKeys {
    keys: Arc<Keys>,
}

/// What handshakes share of [`LocalKeys`]. Secrets are wiped when dropped.
struct Keys {
    identity: PublicKey,
    /// By the identity, of the X25519 public key.
    signature: [u8; SIGNATURE_LENGTH],
    secret: Zeroizing<[u8; 32]>,
    public: StaticKey,
    psk: Zeroizing<[u8; 32]>,
}

impl LocalKeys {
    /// `psk` is the network's: 32 bytes that all its members have and nobody else.
    pub fn new(identity: Arc<Identity>, psk: [u8; 32]) -> Self {
        let secret = expand(&Zeroizing::new(identity.seed()), b"shoal-mrt-x25519");
        let private = PrivateKey::from_private_key(&X25519, secret.as_ref());
        let public = private.expect("any 32 bytes are an X25519 secret").compute_public_key();
        let public = public.expect("an X25519 secret has a public key");
        let public = StaticKey(public.as_ref().try_into().expect("an X25519 public key has 32 bytes"));
        let signature = identity.sign(&payload::signed(&public));
        let psk = Zeroizing::new(psk);
        Self { keys: Arc::new(Keys { identity: identity.public_key(), signature, secret, public, psk }) }
    }

    /// What others may know this endpoint by.
    pub fn static_key(&self) -> StaticKey {
        self.keys.public
    }
}

impl fmt::Debug for LocalKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Keys { identity, public, .. } = &*self.keys;
        f.debug_struct("LocalKeys").field("identity", identity).field("static_key", public).finish_non_exhaustive()
    }
}

/// Who is at the other end, proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remote {
    /// Its identity.
    pub identity: PublicKey,
    /// Its X25519 key, signed by the identity: with it the next connection needs one round trip only.
    pub static_key: StaticKey,
}

/// What each side says of itself in the handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Params {
    /// Largest datagram it takes, in bytes; from 1,200.
    pub(super) max_datagram: u16,
    /// It closes a connection from which nothing came for so long; on the wire in milliseconds, 32 bits.
    pub(super) idle_timeout: Duration,
    /// Receive windows at the beginning: sum of all streams, and each (see the frame WIND).
    pub(super) window_total: u64,
    pub(super) window_each: u64,
    /// How many streams the other side may open at once at the beginning.
    pub(super) max_streams: u64,
}

/// A handshake that is done.
#[derive(Debug)]
pub(super) struct Established {
    pub(super) secrets: Secrets,
    pub(super) suite: Suite,
    pub(super) remote: Remote,
    pub(super) params: Params,
    /// What the other side knows the connection by: the destination of packets to it.
    pub(super) destination: ConnectionId,
    /// Where we seemed to be, as the other side saw it (only the initiator is told).
    pub(super) observed: Option<SocketAddr>,
}

/// Why a handshake message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HandshakeError {
    /// It does not open: another network key, a key that is not the one expected, or changed on its way.
    #[error("the handshake does not open")]
    Noise,
    /// What was inside cannot be read.
    #[error("the handshake's payload is malformed")]
    Payload,
    /// The X25519 key is not signed by the identity.
    #[error("the handshake's key is not signed by its identity")]
    Signature,
}

/// An initiator that waits for the ACON.
pub(super) struct Initiating {
    recipe: Recipe,
}

impl Initiating {
    /// Gives the first message too. `target` is the responder's key, if it is known: then IKpsk2, else XXpsk3. An error if
    /// `target` is no key that anybody could hold (a point of low order).
    pub(super) fn start(
        local: &LocalKeys,
        suite: Suite,
        target: Option<StaticKey>,
        source: ConnectionId,
        params: &Params,
        random: &mut Random,
    ) -> Result<(Self, Pattern, Vec<u8>), HandshakeError> {
        let role = Role::Initiator { target };
        let pattern = if target.is_some() { Pattern::Known } else { Pattern::Unknown };
        let this = Self { recipe: Recipe::new(local, (suite, pattern), role, source, params, random) };
        let (_, message) = this.request()?;
        Ok((this, pattern, message))
    }

    /// Reads the second message. It can be called again with another one, after an error (a forged ACON does no harm) and
    /// as well after success, if who answered is not who was wanted. With XX the third message comes too.
    ///
    /// With XX the responder has not yet shown that it has the network's key: its first packet that opens does.
    pub(super) fn accept(&self, message: &[u8]) -> Result<(Established, Option<Vec<u8>>), HandshakeError> {
        let (mut noise, _) = self.request()?;
        let claim = read_claim(&mut noise, message, Side::Responder)?;
        let confirmation = match self.recipe.pattern {
            Pattern::Known => None,
            Pattern::Unknown => Some(write(&mut noise, &self.recipe.payload(None))?),
        };
        Ok((self.recipe.established(&mut noise, claim), confirmation))
    }

    /// Noise after the first message, and that message: always the same.
    fn request(&self) -> Result<(HandshakeState, Vec<u8>), HandshakeError> {
        let mut noise = self.recipe.noise();
        let message = match self.recipe.pattern {
            Pattern::Known => write(&mut noise, &self.recipe.payload(None))?,
            Pattern::Unknown => write(&mut noise, &[])?,
        };
        Ok((noise, message))
    }
}

impl fmt::Debug for Initiating {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiating").field("source", &self.recipe.source).finish_non_exhaustive()
    }
}

/// A responder that has answered.
#[derive(Debug)]
pub(super) enum Responding {
    /// IK: the keys are there, but nobody has proven to be there: the first message may be an old one that somebody sends
    /// again. The first packet that opens proves it.
    Ready(Box<Established>),
    /// XX: the third message is missing.
    Waiting(Box<Waiting>),
}

impl Responding {
    /// Reads the first message; gives the second too. `ours` is our id of the connection, `observed` where the first message came from.
    #[expect(clippy::too_many_arguments, reason = "all that a handshake depends on, each of another type")]
    pub(super) fn start(
        local: &LocalKeys,
        (suite, pattern): (Suite, Pattern),
        source: ConnectionId,
        noise: &[u8],
        ours: ConnectionId,
        observed: SocketAddr,
        params: &Params,
        random: &mut Random,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let answer = Answer { ours, observed };
        let recipe = Recipe::new(local, (suite, pattern), Role::Responder, source, params, random);
        match pattern {
            Pattern::Known => {
                let mut state = recipe.noise();
                let claim = read_claim(&mut state, noise, Side::Initiator)?;
                let message = write(&mut state, &recipe.payload(Some(&answer)))?;
                let established = recipe.established(&mut state, claim);
                Ok((Self::Ready(Box::new(established)), message))
            }
            Pattern::Unknown => {
                let request = noise.try_into().or(Err(HandshakeError::Noise))?;
                let waiting = Box::new(Waiting { recipe, request, answer });
                let (_, message) = waiting.answer()?;
                Ok((Self::Waiting(waiting), message))
            }
        }
    }
}

/// XX, before the third message.
pub(super) struct Waiting {
    recipe: Recipe,
    /// The first message.
    request: [u8; UNKNOWN_REQUEST_LENGTH],
    answer: Answer,
}

impl Waiting {
    /// Reads the third message. After an error it can be called again with another one.
    pub(super) fn confirm(&self, message: &[u8]) -> Result<Established, HandshakeError> {
        let (mut noise, _) = self.answer()?;
        let claim = read_claim(&mut noise, message, Side::Initiator)?;
        Ok(self.recipe.established(&mut noise, claim))
    }

    /// Noise after the second message, and that message: always the same.
    fn answer(&self) -> Result<(HandshakeState, Vec<u8>), HandshakeError> {
        let mut noise = self.recipe.noise();
        read(&mut noise, &self.request)?;
        let message = write(&mut noise, &self.recipe.payload(Some(&self.answer)))?;
        Ok((noise, message))
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("answer", &self.answer).finish_non_exhaustive()
    }
}

/// Which side this is.
#[derive(Clone, Copy)]
enum Role {
    Initiator { target: Option<StaticKey> },
    Responder,
}

/// All that the messages of one side follow from, but for those of the other side.
struct Recipe {
    keys: Arc<Keys>,
    suite: Suite,
    pattern: Pattern,
    role: Role,
    /// The initiator's id of the connection.
    source: ConnectionId,
    params: Params,
    /// Of the ephemeral key.
    seed: Zeroizing<[u8; 32]>,
}

impl Recipe {
    fn new(
        local: &LocalKeys,
        (suite, pattern): (Suite, Pattern),
        role: Role,
        source: ConnectionId,
        params: &Params,
        random: &mut Random,
    ) -> Self {
        let (keys, seed) = (Arc::clone(&local.keys), Zeroizing::new(random.bytes()));
        Self { keys, suite, pattern, role, source, params: *params, seed }
    }

    /// Noise before the first message.
    fn noise(&self) -> HandshakeState {
        let name = match (self.pattern, self.suite) {
            (Pattern::Known, Suite::Aes256Gcm) => "Noise_IKpsk2_25519_AESGCM_SHA256",
            (Pattern::Known, Suite::ChaCha20Poly1305) => "Noise_IKpsk2_25519_ChaChaPoly_SHA256",
            (Pattern::Unknown, Suite::Aes256Gcm) => "Noise_XXpsk3_25519_AESGCM_SHA256",
            (Pattern::Unknown, Suite::ChaCha20Poly1305) => "Noise_XXpsk3_25519_ChaChaPoly_SHA256",
        };
        let psk_position = match self.pattern {
            Pattern::Known => 2,
            Pattern::Unknown => 3,
        };
        let prologue = self.prologue();
        let resolver = Box::new(Primitives::new(self.seed.clone()));
        let builder = Builder::with_resolver(name.parse().expect("one of four names of Noise"), resolver)
            .prologue(&prologue)
            .and_then(|builder| builder.local_private_key(self.keys.secret.as_ref()))
            .and_then(|builder| builder.psk(psk_position, &self.keys.psk))
            .expect("each is set once");
        match &self.role {
            Role::Initiator { target: Some(key) } => {
                builder.remote_public_key(&key.0).and_then(Builder::build_initiator)
            }
            Role::Initiator { target: None } => builder.build_initiator(),
            Role::Responder => builder.build_responder(),
        }
        .expect("all is there that the pattern asks for")
    }

    /// What both sides must agree on: all of the RCON's head but for the cookie.
    fn prologue(&self) -> Vec<u8> {
        let head = [VERSION, self.suite.byte(), self.pattern.byte()];
        [b"shoal-mrt-1".as_slice(), &head, &self.source.0.to_be_bytes()].concat()
    }

    fn payload(&self, answer: Option<&Answer>) -> Vec<u8> {
        payload::encode(&self.keys, &self.params, answer)
    }

    /// What follows from `noise` after its last message, and from what the other side said.
    fn established(&self, noise: &mut HandshakeState, (static_key, claim): (StaticKey, Claim)) -> Established {
        let (to_responder, to_initiator) = noise.dangerously_get_raw_split();
        let (to_responder, to_initiator) = (Zeroizing::new(to_responder), Zeroizing::new(to_initiator));
        let secrets = match self.role {
            Role::Initiator { .. } => Secrets { send: *to_responder, receive: *to_initiator },
            Role::Responder => Secrets { send: *to_initiator, receive: *to_responder },
        };
        Established {
            secrets,
            suite: self.suite,
            remote: Remote { identity: claim.identity, static_key },
            params: claim.params,
            destination: claim.answer.map_or(self.source, |answer| answer.ours),
            observed: claim.answer.map(|answer| answer.observed),
        }
    }
}

/// Reads a message with which the side `from` says who it is: gives that, and the key that Noise proved.
fn read_claim(noise: &mut HandshakeState, message: &[u8], from: Side) -> Result<(StaticKey, Claim), HandshakeError> {
    let payload = read(noise, message)?;
    let key = noise.get_remote_static().and_then(|key| key.try_into().ok()).ok_or(HandshakeError::Noise)?;
    let key = StaticKey(key);
    Ok((key, payload::decode(&payload, &key, from)?))
}

/// Reads a message; gives what was inside.
fn read(noise: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    if message.len() > MAX_NOISE {
        return Err(HandshakeError::Noise);
    }
    let mut payload = vec![0; message.len()];
    let length = noise.read_message(message, &mut payload).or(Err(HandshakeError::Noise))?;
    payload.truncate(length);
    Ok(payload)
}

/// The next message, with `payload` inside. Fails only when a public key of the other side is of low order.
fn write(noise: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    let mut message = vec![0; MAX_NOISE];
    let length = noise.write_message(payload, &mut message).or(Err(HandshakeError::Noise))?;
    message.truncate(length);
    Ok(message)
}
