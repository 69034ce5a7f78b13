use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;
use crate::mrt::crypto::Crypto;

const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
const PATTERNS: [Pattern; 2] = [Pattern::Known, Pattern::Unknown];
const SOURCE: ConnectionId = ConnectionId(0x1111_2222_3333_4444);
const OURS: ConnectionId = ConnectionId(0x5555_6666_7777_8888);
const PSK: [u8; 32] = [9; 32];

fn keys(seed: u8) -> LocalKeys {
    LocalKeys::new(Arc::new(Identity::from_seed(&[seed; 32])), PSK)
}

fn observed() -> SocketAddr {
    "203.0.113.9:4001".parse().unwrap()
}

fn params(max_datagram: u16) -> Params {
    Params {
        max_datagram,
        idle_timeout: Duration::from_millis(30_000),
        window_total: 1 << 20,
        window_each: 1 << 18,
        max_streams: 256,
    }
}

fn initiate(local: &LocalKeys, suite: Suite, target: Option<StaticKey>) -> (Initiating, Pattern, Vec<u8>) {
    Initiating::start(local, suite, target, SOURCE, &params(1500), &mut Random::new([3; 32])).unwrap()
}

fn respond(
    local: &LocalKeys,
    chosen: (Suite, Pattern),
    request: &[u8],
) -> Result<(Responding, Vec<u8>), HandshakeError> {
    Responding::start(local, chosen, SOURCE, request, OURS, observed(), &params(16_384), &mut Random::new([4; 32]))
}

/// Runs a handshake of identities 1 and 2; gives the messages too.
fn run(suite: Suite, pattern: Pattern) -> (Established, Established, Vec<Vec<u8>>) {
    let (here, there) = (keys(1), keys(2));
    let target = (pattern == Pattern::Known).then(|| there.static_key());
    let (initiating, chosen, request) = initiate(&here, suite, target);
    assert_eq!(chosen, pattern);
    let (responding, answer) = respond(&there, (suite, pattern), &request).unwrap();
    let (ours, confirmation) = initiating.accept(&answer).unwrap();
    let mut messages = vec![request, answer];
    let theirs = match (responding, confirmation) {
        (Responding::Ready(theirs), None) => *theirs,
        (Responding::Waiting(waiting), Some(confirmation)) => {
            let theirs = waiting.confirm(&confirmation).unwrap();
            messages.push(confirmation);
            theirs
        }
        _ => panic!("IK has two messages, XX three"),
    };
    (ours, theirs, messages)
}

#[test]
fn both_sides_know_each_other_and_have_the_same_keys() {
    for suite in SUITES {
        for pattern in PATTERNS {
            let (ours, theirs, _) = run(suite, pattern);
            assert_eq!(ours.secrets.send, theirs.secrets.receive);
            assert_eq!(ours.secrets.receive, theirs.secrets.send);
            assert_ne!(ours.secrets.send, ours.secrets.receive);
            let (here, there) = (Identity::from_seed(&[1; 32]), Identity::from_seed(&[2; 32]));
            assert_eq!(ours.remote, Remote { identity: there.public_key(), static_key: keys(2).static_key() });
            assert_eq!(theirs.remote, Remote { identity: here.public_key(), static_key: keys(1).static_key() });
            assert_eq!((ours.params, theirs.params), (params(16_384), params(1500)));
            assert_eq!((ours.destination, theirs.destination), (OURS, SOURCE));
            assert_eq!((ours.observed, theirs.observed), (Some(observed()), None));
            assert_eq!((ours.suite, theirs.suite), (suite, suite));
            let (mut ours, mut theirs) = (Crypto::new(suite, &ours.secrets), Crypto::new(suite, &theirs.secrets));
            for sealing_first in [true, false] {
                let (from, to) = if sealing_first { (&mut ours, &mut theirs) } else { (&mut theirs, &mut ours) };
                let mut packet = vec![0; 20];
                from.seal(5, &mut packet, 0);
                assert_eq!(to.open(false, 5, &mut packet).unwrap(), [0; 7]);
            }
        }
    }
}

/// One line for each message: suite, pattern, hex.
#[test]
fn the_bytes_of_handshakes_stay_as_they_are() {
    let mut lines = String::new();
    for suite in SUITES {
        for pattern in PATTERNS {
            for message in run(suite, pattern).2 {
                lines += &format!("{suite:?} {pattern:?} {}\n", HEXLOWER.encode(&message));
            }
        }
    }
    assert_eq!(lines, include_str!("examples.txt"));
}

#[test]
fn the_key_that_an_endpoint_is_known_by_follows_from_its_identity() {
    assert_eq!(
        HEXLOWER.encode(&keys(1).static_key().0),
        "62a2ff6c29b54f28924d549da4eda8db8c50db78ac76dfd73e1f1f8cbed70b00"
    );
    assert_ne!(keys(1).static_key(), keys(2).static_key());
}

/// `message` with each of its bytes damaged, one after the other, and cut off at each.
fn damaged(message: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let flipped = (0..message.len()).map(|byte| {
        let mut damaged = message.to_vec();
        damaged[byte] ^= 1;
        damaged
    });
    flipped.chain((0..message.len()).map(|length| message[..length].to_vec())).chain([[message, &[0]].concat()])
}

#[test]
fn a_damaged_message_is_refused_and_the_right_one_still_works() {
    for suite in SUITES {
        for pattern in PATTERNS {
            let (here, there) = (keys(1), keys(2));
            let target = (pattern == Pattern::Known).then(|| there.static_key());
            let (initiating, _, request) = initiate(&here, suite, target);
            for damaged in damaged(&request) {
                assert!(respond(&there, (suite, pattern), &damaged).is_err(), "{}", HEXLOWER.encode(&damaged));
            }
            let (responding, answer) = respond(&there, (suite, pattern), &request).unwrap();
            for damaged in damaged(&answer) {
                assert!(initiating.accept(&damaged).is_err(), "{}", HEXLOWER.encode(&damaged));
            }
            let (ours, confirmation) = initiating.accept(&answer).unwrap();
            let Responding::Waiting(waiting) = responding else { continue };
            let confirmation = confirmation.unwrap();
            for damaged in damaged(&confirmation) {
                assert!(waiting.confirm(&damaged).is_err(), "{}", HEXLOWER.encode(&damaged));
            }
            assert_eq!(waiting.confirm(&confirmation).unwrap().secrets.send, ours.secrets.receive);
        }
    }
}

#[test]
fn the_clear_head_of_a_request_is_covered() {
    let (here, there) = (keys(1), keys(2));
    for (suite, other) in [(SUITES[0], SUITES[1]), (SUITES[1], SUITES[0])] {
        let (_, _, known) = initiate(&here, suite, Some(there.static_key()));
        let (_, _, unknown) = initiate(&here, suite, None);
        assert!(respond(&there, (other, Pattern::Known), &known).is_err());
        assert!(respond(&there, (suite, Pattern::Unknown), &known).is_err());
        assert!(respond(&there, (other, Pattern::Unknown), &unknown).is_err());
        assert!(respond(&there, (suite, Pattern::Known), &unknown).is_err());
        for (pattern, message) in [(Pattern::Known, known), (Pattern::Unknown, unknown)] {
            let source = ConnectionId(SOURCE.0 ^ 1);
            let mut random = Random::new([4; 32]);
            let chosen = (suite, pattern);
            let started =
                Responding::start(&there, chosen, source, &message, OURS, observed(), &params(1500), &mut random);
            assert_eq!(started.err(), Some(HandshakeError::Noise));
        }
    }
}

#[test]
fn another_network_key_or_another_target_gives_no_connection() {
    let here = keys(1);
    let stranger = LocalKeys::new(Arc::new(Identity::from_seed(&[2; 32])), [8; 32]);
    for suite in SUITES {
        // IK: the responder's answer does not open.
        let (initiating, _, request) = initiate(&here, suite, Some(stranger.static_key()));
        let (_, answer) = respond(&stranger, (suite, Pattern::Known), &request).unwrap();
        assert_eq!(initiating.accept(&answer).err(), Some(HandshakeError::Noise));
        // XX: the initiator's confirmation does not.
        let (initiating, _, request) = initiate(&here, suite, None);
        let (responding, answer) = respond(&stranger, (suite, Pattern::Unknown), &request).unwrap();
        let (ours, confirmation) = initiating.accept(&answer).unwrap();
        let Responding::Waiting(waiting) = responding else { panic!("XX has three messages") };
        assert_eq!(waiting.confirm(&confirmation.unwrap()).err(), Some(HandshakeError::Noise));
        drop(ours);
        // IK: only who has the key that the request was made for can read it.
        let (_, _, request) = initiate(&here, suite, Some(keys(3).static_key()));
        assert_eq!(respond(&keys(2), (suite, Pattern::Known), &request).err(), Some(HandshakeError::Noise));
    }
}

/// Keys of one identity, shown as those of another one.
fn impostor() -> LocalKeys {
    let (own, victim) = (keys(5), keys(6));
    let keys = Keys {
        identity: victim.keys.identity,
        signature: victim.keys.signature,
        secret: own.keys.secret.clone(),
        public: own.keys.public,
        psk: own.keys.psk.clone(),
    };
    LocalKeys { keys: Arc::new(keys) }
}

#[test]
fn nobody_shows_an_identity_that_did_not_sign_the_key() {
    let (impostor, honest) = (impostor(), keys(2));
    for suite in SUITES {
        let (_, _, request) = initiate(&impostor, suite, Some(honest.static_key()));
        assert_eq!(respond(&honest, (suite, Pattern::Known), &request).err(), Some(HandshakeError::Signature));

        let (initiating, _, request) = initiate(&impostor, suite, None);
        let (responding, answer) = respond(&honest, (suite, Pattern::Unknown), &request).unwrap();
        let (_, confirmation) = initiating.accept(&answer).unwrap();
        let Responding::Waiting(waiting) = responding else { panic!("XX has three messages") };
        assert_eq!(waiting.confirm(&confirmation.unwrap()).err(), Some(HandshakeError::Signature));

        for target in [Some(impostor.static_key()), None] {
            let (initiating, pattern, request) = initiate(&honest, suite, target);
            let (_, answer) = respond(&impostor, (suite, pattern), &request).unwrap();
            assert_eq!(initiating.accept(&answer).err(), Some(HandshakeError::Signature));
        }
    }
}

#[test]
fn an_answer_of_somebody_else_does_not_keep_the_right_one_out() {
    let (initiating, pattern, request) = initiate(&keys(1), Suite::Aes256Gcm, None);
    let (_, others) = respond(&keys(7), (Suite::Aes256Gcm, pattern), &request).unwrap();
    let (_, right) = respond(&keys(2), (Suite::Aes256Gcm, pattern), &request).unwrap();
    assert_eq!(initiating.accept(&others).unwrap().0.remote.static_key, keys(7).static_key());
    assert_eq!(initiating.accept(&right).unwrap().0.remote.static_key, keys(2).static_key());
}

#[test]
fn a_replayed_request_begins_anew() {
    let (here, there) = (keys(1), keys(2));
    let (initiating, pattern, request) = initiate(&here, Suite::Aes256Gcm, Some(there.static_key()));
    let chosen = (Suite::Aes256Gcm, pattern);
    let (responding, answer) = respond(&there, chosen, &request).unwrap();
    let mut random = Random::new([5; 32]);
    let (replayed, _) =
        Responding::start(&there, chosen, SOURCE, &request, OURS, observed(), &params(1500), &mut random).unwrap();
    let (Responding::Ready(first), Responding::Ready(second)) = (responding, replayed) else { panic!("IK") };
    assert_ne!(first.secrets.receive, second.secrets.receive);
    // What the initiator sealed for the first is nothing to the second.
    let (ours, _) = initiating.accept(&answer).unwrap();
    let mut packet = vec![0; 20];
    Crypto::new(Suite::Aes256Gcm, &ours.secrets).seal(0, &mut packet, 0);
    assert!(Crypto::new(Suite::Aes256Gcm, &second.secrets).open(false, 0, &mut packet.clone()).is_err());
    assert!(Crypto::new(Suite::Aes256Gcm, &first.secrets).open(false, 0, &mut packet).is_ok());
}

/// Points with which X25519 gives zero whatever the secret is, and encodings of them beyond the prime.
const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn keys_of_low_order_are_refused() {
    let (here, there) = (keys(1), keys(2));
    for suite in SUITES {
        for point in LOW_ORDER {
            let point: [u8; 32] = HEXLOWER.decode(point.as_bytes()).unwrap().try_into().unwrap();
            let mut random = Random::new([3; 32]);
            let target = Some(StaticKey(point));
            let started = Initiating::start(&here, suite, target, SOURCE, &params(1500), &mut random);
            assert_eq!(started.err(), Some(HandshakeError::Noise));

            // The first message of XX is an ephemeral key, and the tag of nothing under a key that everybody can compute.
            let request = unknown_request(suite, point);
            assert_eq!(respond(&there, (suite, Pattern::Unknown), &request).err(), Some(HandshakeError::Noise));

            for target in [Some(there.static_key()), None] {
                let (initiating, pattern, request) = initiate(&here, suite, target);
                let (_, answer) = respond(&there, (suite, pattern), &request).unwrap();
                let forged = [&point, answer.split_at(32).1].concat();
                assert_eq!(initiating.accept(&forged).err(), Some(HandshakeError::Noise));
                assert!(initiating.accept(&answer).is_ok());
            }
        }
    }
}

/// The first message of XX with this ephemeral key, whose secret nobody needs for it.
fn unknown_request(suite: Suite, ephemeral: [u8; 32]) -> Vec<u8> {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
    use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
    use sha2::{Digest as _, Sha256};

    let (name, algorithm) = match suite {
        Suite::Aes256Gcm => ("Noise_XXpsk3_25519_AESGCM_SHA256", &AES_256_GCM),
        Suite::ChaCha20Poly1305 => ("Noise_XXpsk3_25519_ChaChaPoly_SHA256", &CHACHA20_POLY1305),
    };
    let chaining: [u8; 32] = match name.len() {
        // A name of at most 32 bytes is padded, a longer one is hashed.
        length @ ..=32 => std::array::from_fn(|at| if at < length { name.as_bytes()[at] } else { 0 }),
        _ => Sha256::digest(name).into(),
    };
    let prologue = [b"shoal-mrt-1".as_slice(), &[1, suite.byte(), 2], &SOURCE.0.to_be_bytes()].concat();
    let hash = Sha256::new().chain_update(chaining).chain_update(prologue).finalize();
    let hash = Sha256::new().chain_update(hash).chain_update(ephemeral).finalize();
    let temporary = sign(&Key::new(HMAC_SHA256, &chaining), &ephemeral);
    let temporary = Key::new(HMAC_SHA256, temporary.as_ref());
    let first = sign(&temporary, &[1]);
    let key = sign(&temporary, &[first.as_ref(), &[2]].concat());
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).unwrap());
    let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key([0; 12]), Aad::from(hash), &mut []).unwrap();
    [ephemeral.as_slice(), tag.as_ref()].concat()
}

#[test]
fn the_first_message_of_xx_is_what_the_specification_of_noise_says() {
    for suite in SUITES {
        let (_, _, request) = initiate(&keys(1), suite, None);
        let ephemeral = request[..32].try_into().unwrap();
        assert_eq!(unknown_request(suite, ephemeral), request);
    }
}

#[test]
fn a_handshake_of_a_stranger_is_small() {
    // Behind it on the heap: nothing but the keys that all share.
    assert!(size_of::<Waiting>() <= 512, "{}", size_of::<Waiting>());
    assert!(size_of::<Established>() <= 512, "{}", size_of::<Established>());
    assert!(size_of::<Responding>() <= 16, "{}", size_of::<Responding>());
}

#[test]
fn every_message_has_room_even_with_the_longest_address() {
    let there = keys(2);
    let (_, pattern, request) = initiate(&keys(1), Suite::Aes256Gcm, None);
    let mut random = Random::new([4; 32]);
    let observed = "[2001:db8::1]:65535".parse().unwrap();
    let chosen = (Suite::Aes256Gcm, pattern);
    let (_, answer) =
        Responding::start(&there, chosen, SOURCE, &request, OURS, observed, &params(1500), &mut random).unwrap();
    assert!(answer.len() <= MAX_NOISE / 2, "{} bytes", answer.len());
}

#[test]
fn debug_shows_no_secret() {
    let here = LocalKeys::new(Arc::new(Identity::from_seed(&[0x5a; 32])), [0x5a; 32]);
    let (initiating, ..) = initiate(&here, Suite::Aes256Gcm, None);
    let shown = format!("{here:?} {initiating:?} {:?}", Secrets { send: [0x5a; 32], receive: [0x5a; 32] });
    assert!(!shown.contains("90") && !shown.contains("5a5a"), "{shown}");
}

proptest! {
    #[test]
    fn noise_is_no_message(message in prop::collection::vec(any::<u8>(), 0..MAX_NOISE + 2)) {
        for pattern in PATTERNS {
            prop_assert!(respond(&keys(2), (Suite::Aes256Gcm, pattern), &message).is_err());
            let target = (pattern == Pattern::Known).then(|| keys(2).static_key());
            let (initiating, ..) = initiate(&keys(1), Suite::Aes256Gcm, target);
            prop_assert!(initiating.accept(&message).is_err());
        }
    }
}
