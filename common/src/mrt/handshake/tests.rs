use data_encoding::HEXLOWER;

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
            let (ours, theirs, messages) = run(suite, pattern);
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
            for message in messages {
                println!("{suite:?} {pattern:?} {}", HEXLOWER.encode(&message));
            }
            let (mut ours, mut theirs) = (Crypto::new(suite, &ours.secrets), Crypto::new(suite, &theirs.secrets));
            for (from, to) in [(&mut ours, &mut theirs)] {
                let mut packet = vec![0; 20];
                from.seal(5, &mut packet, 0);
                assert_eq!(to.open(false, 5, &mut packet).unwrap(), [0; 7]);
            }
        }
    }
}
