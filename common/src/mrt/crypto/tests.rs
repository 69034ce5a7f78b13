use std::collections::VecDeque;

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::super::packet::{ConnectionId, Packet, expand_number};
use super::*;

const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];

/// Both ends of a connection.
fn pair(suite: Suite) -> (Crypto, Crypto) {
    let here = Crypto::new(suite, &Secrets { send: [1; 32], receive: [2; 32] });
    let there = Crypto::new(suite, &Secrets { send: [2; 32], receive: [1; 32] });
    (here, there)
}

/// A packet with `inside`, behind three bytes of something else.
fn sealed(crypto: &mut Crypto, number: u64, inside: &[u8]) -> Vec<u8> {
    let mut out = vec![0xee; 3];
    Packet::encode_data(&mut out, ConnectionId(7), crypto.phase(), number);
    out.extend(inside);
    crypto.seal(number, &mut out, 3);
    assert_eq!(out[..3], [0xee; 3]);
    out.split_off(3)
}

/// Opens a packet with the number and phase that its head has.
fn opened(crypto: &mut Crypto, packet: &[u8]) -> Result<Vec<u8>, OpenError> {
    let Ok(Packet::Data { phase, number, .. }) = Packet::decode(packet) else { panic!("not a DATA packet") };
    crypto.open(phase, number.into(), &mut packet.to_vec()).map(|inside| inside.to_vec())
}

/// Opens `packet` as a receiver does that waits for number `expected`.
fn opened_near(crypto: &mut Crypto, packet: &[u8], expected: u64) -> Result<Vec<u8>, OpenError> {
    let Ok(Packet::Data { phase, number, .. }) = Packet::decode(packet) else { panic!("not a DATA packet") };
    let number = expand_number(number, expected);
    crypto.open(phase, number, &mut packet.to_vec()).map(|inside| inside.to_vec())
}

#[test]
fn what_one_side_seals_the_other_opens() {
    for suite in SUITES {
        let (mut here, mut there) = pair(suite);
        for (number, length) in [(0, 0), (1, 1), (u64::from(u32::MAX), 1187), (7, 16_384), (8, 65_000)] {
            let inside = vec![7; length];
            let packet = sealed(&mut here, number, &inside);
            assert_eq!(packet.len(), DATA_HEADER + length + TAG_LENGTH);
            assert_eq!(opened(&mut there, &packet), Ok(inside.clone()));
            assert_eq!(opened(&mut here, &packet), Err(OpenError::Forged), "directions have keys of their own");
            let packet = sealed(&mut there, number, &inside);
            assert_eq!(opened(&mut here, &packet), Ok(inside));
        }
    }
}

#[test]
fn the_bytes_of_packets_stay_as_they_are() {
    let mut lines = Vec::new();
    for suite in SUITES {
        let (mut here, _) = pair(suite);
        here.set_limits(1, u64::MAX);
        lines.push(HEXLOWER.encode(&sealed(&mut here, 0x0001_0000_0002, b"inside")));
        assert_eq!(here.update_if_due(0x0001_0000_0003, Some(0x0001_0000_0002)), KeyUse::Fresh);
        lines.push(HEXLOWER.encode(&sealed(&mut here, 0x0001_0000_0003, b"inside")));
    }
    assert_eq!(
        lines,
        [
            "48000000000000000700000002c77faac4d531472b3fa5d5647bd5b4d226e95960aa92",
            "49000000000000000700000003db7f65333da59c41390bbafbec2f4dbf9a4d253d608e",
            "480000000000000007000000027a2f822c2c113ce2aa0d5d4c607289e649c065fad855",
            "490000000000000007000000039109e240f83b34bfef14a52ea202a26f5e300894bfdb",
        ]
    );
}

#[test]
fn every_byte_of_a_packet_counts() {
    for suite in SUITES {
        let (mut here, mut there) = pair(suite);
        let packet = sealed(&mut here, 3, b"some bytes");
        for byte in 0..packet.len() {
            let mut damaged = packet.clone();
            damaged[byte] ^= 1;
            assert_eq!(there.open(false, 3, &mut damaged), Err(OpenError::Forged), "byte {byte}");
            let mut short = packet[..byte].to_vec();
            assert_eq!(there.open(false, 3, &mut short), Err(OpenError::Forged), "{byte} bytes");
        }
        // The head has only half of the number; the nonce has all of it.
        assert_eq!(there.open(false, 3 + (1 << 32), &mut packet.clone()), Err(OpenError::Forged));
        assert_eq!(there.open(true, 3, &mut packet.clone()), Err(OpenError::Forged));
        assert_eq!(opened(&mut there, &packet), Ok(b"some bytes".to_vec()));
    }
}

#[test]
fn a_key_is_changed_when_it_is_used_up_and_known_to_have_arrived() {
    let (mut here, mut there) = pair(Suite::Aes256Gcm);
    here.set_limits(10, u64::MAX);
    assert_eq!(opened(&mut there, &sealed(&mut here, 4, b"first")), Ok(b"first".to_vec()));
    assert_eq!(here.update_if_due(9, None), KeyUse::Fresh);
    assert_eq!(here.update_if_due(10, None), KeyUse::WantsAck);
    assert_eq!(here.update_if_due(19, None), KeyUse::WantsAck);
    assert!(!here.phase());
    assert_eq!(here.update_if_due(20, None), KeyUse::Spent);
    assert_eq!(here.update_if_due(20, Some(4)), KeyUse::Fresh);
    assert!(here.phase());
    // Now the packets from 20 on have the second key, and one of those must be acknowledged.
    assert_eq!(here.update_if_due(30, Some(19)), KeyUse::WantsAck);
    let late = sealed(&mut pair(Suite::Aes256Gcm).0, 19, b"late");
    assert_eq!(opened(&mut there, &sealed(&mut here, 21, b"second")), Ok(b"second".to_vec()));
    assert_eq!(opened(&mut there, &sealed(&mut here, 20, b"second")), Ok(b"second".to_vec()));
    assert_eq!(opened(&mut there, &late), Ok(b"late".to_vec()), "the key before still opens what comes late");
    assert_eq!(here.update_if_due(30, Some(20)), KeyUse::Fresh);
    assert!(!here.phase());
    assert_eq!(opened(&mut there, &sealed(&mut here, 30, b"third")), Ok(b"third".to_vec()));
    assert_eq!(opened(&mut there, &late), Err(OpenError::Forged), "but not the one before that");
    let forward = there.receiving.current.secret.clone();
    assert_eq!(*forward, *here.sending.current.secret);
}

#[test]
fn forged_packets_change_no_key() {
    let (mut here, mut there) = pair(Suite::Aes256Gcm);
    assert_eq!(opened(&mut there, &sealed(&mut here, 5, b"first")), Ok(b"first".to_vec()));
    for number in [0, 4, 5, 6, 1000, MAX_VARINT, MAX_VARINT + 1, u64::MAX] {
        for phase in [false, true] {
            for length in [0, DATA_HEADER, DATA_HEADER + TAG_LENGTH, 1200] {
                assert_eq!(there.open(phase, number, &mut vec![1; length]), Err(OpenError::Forged));
            }
        }
    }
    assert_eq!(opened(&mut there, &sealed(&mut here, 6, b"second")), Ok(b"second".to_vec()));
    here.set_limits(1, u64::MAX);
    here.update_if_due(7, Some(6));
    assert_eq!(opened(&mut there, &sealed(&mut here, 7, b"third")), Ok(b"third".to_vec()));
}

#[test]
fn after_too_many_forged_packets_nothing_opens() {
    for suite in SUITES {
        let (mut here, mut there) = pair(suite);
        there.set_limits(PACKETS_PER_KEY, 3);
        let packet = sealed(&mut here, 0, b"inside");
        for _ in 0..3 {
            assert!(opened(&mut there, &packet).is_ok());
            assert_eq!(there.open(false, 1, &mut packet.clone()), Err(OpenError::Forged));
        }
        assert_eq!(opened(&mut there, &packet), Err(OpenError::Exhausted));
    }
}

#[test]
fn limits_are_those_of_rfc_9001() {
    const CONFIDENTIALITY_GCM: u64 = 1 << 23;
    assert_eq!(PACKETS_PER_KEY * LAST_RESORT, CONFIDENTIALITY_GCM);
    assert_eq!(SUITES.map(Suite::forgery_limit), [1 << 52, 1 << 36]);
}

#[test]
fn a_connection_has_few_keys() {
    // Each key has about 600 bytes more on the heap (EVP_AEAD_CTX).
    assert!(size_of::<Crypto>() <= 512, "{}", size_of::<Crypto>());
}

/// What happens to the next packet.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// It is sent, and arrives after so many others.
    Late(usize),
    Lost,
    /// The sender hears of all that arrived.
    Acked,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![4 => (0..6_usize).prop_map(Step::Late), 1 => Just(Step::Lost), 1 => Just(Step::Acked)]
}

proptest! {
    /// The key changes every 20 packets at most; packets come up to 6 others late, so that no two changes are under way at once.
    #[test]
    fn whatever_arrives_opens_across_changes_of_the_key(
        steps in prop::collection::vec(step(), 0..600),
        start in prop_oneof![Just(0_u64), Just((1 << 32) - 100)],
    ) {
        let (mut here, mut there) = pair(Suite::Aes256Gcm);
        here.set_limits(20, u64::MAX);
        let mut number = start;
        let mut expected = start;
        let mut acked = None;
        let mut phases = 0;
        let mut flying: VecDeque<(usize, u64, Vec<u8>)> = VecDeque::new();
        for step in steps {
            if let Step::Acked = step {
                acked = expected.checked_sub(1).filter(|last| *last >= start);
                continue;
            }
            let before = here.phase();
            here.update_if_due(number, acked);
            phases += u32::from(here.phase() != before);
            let packet = sealed(&mut here, number, &number.to_be_bytes());
            if let Step::Late(others) = step {
                flying.push_back((others, number, packet));
            }
            number += 1;
            let mut waiting = VecDeque::new();
            for (others, number, packet) in flying.drain(..) {
                if others > 0 {
                    waiting.push_back((others - 1, number, packet));
                    continue;
                }
                prop_assert_eq!(opened_near(&mut there, &packet, expected), Ok(number.to_be_bytes().to_vec()));
                expected = expected.max(number + 1);
            }
            flying = waiting;
        }
        prop_assert!(phases <= 30);
    }
}
