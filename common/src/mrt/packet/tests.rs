use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::super::frame::MAX_VARINT;
use super::*;

const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::ChaCha20Poly1305];
const PATTERNS: [Pattern; 2] = [Pattern::Known, Pattern::Unknown];
const ID: ConnectionId = ConnectionId(0x0102_0304_0506_0708);

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

fn request(cookie: &[u8], noise: &[u8]) -> Vec<u8> {
    encoded(|out| Packet::encode_request(out, (Suite::Aes256Gcm, Pattern::Known), ID, cookie, noise))
}

/// A packet of each kind, and its bytes; those of the RCON but for the padding.
fn examples() -> Vec<(Packet<'static>, Vec<u8>, &'static str)> {
    let (cookie, noise) = (b"\xc0\x0c".as_slice(), b"\x01\x02\x03".as_slice());
    let (suite, pattern) = (Suite::ChaCha20Poly1305, Pattern::Unknown);
    let confirm = [encoded(|out| Packet::encode_confirm(out, ID, noise)), vec![0x48]].concat();
    let number = 0x0000_0001_0a0b_0c0d;
    let sealed = [0xee; TAG_LENGTH];
    let data = |phase| [encoded(|out| Packet::encode_data(out, ID, phase, number)), sealed.to_vec()].concat();
    let short = 0x0a0b_0c0d;
    vec![
        (
            Packet::Request { suite: Suite::Aes256Gcm, pattern: Pattern::Known, source: ID, cookie: &[], noise },
            request(&[], noise),
            "400101010102030405060708000003010203",
        ),
        (
            Packet::Request { suite, pattern, source: ID, cookie, noise },
            encoded(|out| Packet::encode_request(out, (suite, pattern), ID, cookie, noise)),
            "40010202010203040506070802c00c0003010203",
        ),
        (
            Packet::Accept { destination: ID, noise },
            encoded(|out| Packet::encode_accept(out, ID, noise)),
            "4101020304050607080003010203",
        ),
        (
            Packet::Cookie { destination: ID, cookie },
            encoded(|out| Packet::encode_cookie(out, ID, cookie)),
            "42010203040506070802c00c",
        ),
        (Packet::Confirm { destination: ID, noise, length: 14 }, confirm, "430102030405060708000301020348"),
        (
            Packet::Data { destination: ID, phase: false, number: short },
            data(false),
            "4801020304050607080a0b0c0deeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
        ),
        (
            Packet::Data { destination: ID, phase: true, number: short },
            data(true),
            "4901020304050607080a0b0c0deeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
        ),
    ]
}

#[test]
fn the_bytes_of_packets_stay_as_they_are() {
    for (packet, bytes, hex) in examples() {
        let (shown, padding) = bytes.split_at(hex.len() / 2);
        assert_eq!(HEXLOWER.encode(shown), hex);
        assert!(padding.iter().all(|byte| *byte == 0));
        assert_eq!(Packet::decode(&bytes), Ok(packet));
        if matches!(packet, Packet::Request { .. }) {
            assert_eq!(bytes.len(), MIN_INITIAL);
        }
    }
}

#[test]
fn a_packet_that_ends_early_is_none() {
    for (packet, bytes, hex) in examples() {
        // The last byte of the example with a CCON is of the packet behind it.
        let whole = if matches!(packet, Packet::Confirm { .. }) { bytes.len() - 1 } else { bytes.len() };
        for length in 0..whole {
            assert!(Packet::decode(&bytes[..length]).is_err(), "{length} bytes of {hex}");
        }
    }
}

#[test]
fn only_packets_with_something_behind_them_may_have_bytes_too_many() {
    for (packet, mut bytes, hex) in examples() {
        bytes.push(0);
        let strict = matches!(packet, Packet::Accept { .. } | Packet::Cookie { .. });
        assert_eq!(Packet::decode(&bytes).is_err(), strict, "{hex}");
    }
}

#[test]
fn a_request_must_be_as_large_as_its_answers() {
    let whole = request(&[], &[1; 48]);
    assert_eq!(Packet::decode(&whole[..MIN_INITIAL - 1]), Err(PacketError::Unpadded));
    // The longest message and the longest cookie are within what every path carries.
    let longest = request(&[2; MAX_COOKIE], &[1; MAX_NOISE]);
    assert_eq!(longest.len(), MIN_INITIAL);
    // What the padding holds does not matter.
    let mut padded = whole.clone();
    padded.resize(1500, 0xee);
    assert_eq!(Packet::decode(&padded), Packet::decode(&whole));
}

#[test]
fn parts_have_limits() {
    let mut long = request(&[], &[]);
    let cookie_at = 12;
    long.resize(3000, 0);
    long[cookie_at] = 65;
    assert_eq!(Packet::decode(&long), Err(PacketError::TooLong));
    long[cookie_at] = 0;
    long[cookie_at + 1..cookie_at + 3].copy_from_slice(&1025_u16.to_be_bytes());
    assert_eq!(Packet::decode(&long), Err(PacketError::TooLong));
    for kind in [ACON, CCON] {
        let accept = [&[kind; 9], 1025_u16.to_be_bytes().as_slice(), &[0; 1025]].concat();
        assert_eq!(Packet::decode(&accept), Err(PacketError::TooLong));
    }
    let cookie = [&[COOK; 9], [65].as_slice(), &[0; 65]].concat();
    assert_eq!(Packet::decode(&cookie), Err(PacketError::TooLong));
}

#[test]
fn other_protocols_and_versions_are_none_of_ours() {
    for kind in 0..=u8::MAX {
        let known = [RCON, ACON, COOK, CCON, DATA, DATA_PHASE].contains(&kind);
        let unknown = Packet::decode(&[kind; 1300]) == Err(PacketError::Kind);
        // An RCON of these bytes has no version that could be.
        assert_eq!(unknown, (!known && kind != RELY) || kind == RCON, "{kind:#04x}");
        assert!(!known || kind & 0xc0 == 0x40, "a STUN message begins with two zero bits, DTLS with 20 to 63");
    }
    for at in 1..4 {
        let mut wrong = request(&[], &[]);
        wrong[at] = 9;
        assert_eq!(Packet::decode(&wrong), Err(PacketError::Kind), "byte {at}");
    }
}

#[test]
fn what_is_relayed_is_for_no_endpoint() {
    for inside in [request(&[], &[1; 48]), vec![]] {
        let relayed = [&[RELY, 0, 0, 0, 0, 0, 0, 0, 7], inside.as_slice()].concat();
        assert_eq!(Packet::decode(&relayed), Err(PacketError::Relayed));
    }
    assert_eq!(RELY & 0xc0, 0x40, "nor is it STUN or DTLS");
}

proptest! {
    #[test]
    fn packets_come_back_as_they_were(
        id in any::<u64>(),
        suite in prop::sample::select(SUITES.to_vec()),
        pattern in prop::sample::select(PATTERNS.to_vec()),
        cookie in prop::collection::vec(any::<u8>(), 0..=MAX_COOKIE),
        noise in prop::collection::vec(any::<u8>(), 0..=MAX_NOISE),
        number in 0..=MAX_VARINT,
        phase in any::<bool>(),
    ) {
        let (cookie, noise, id) = (cookie.as_slice(), noise.as_slice(), ConnectionId(id));
        let bytes = encoded(|out| Packet::encode_request(out, (suite, pattern), id, cookie, noise));
        prop_assert_eq!(Packet::decode(&bytes), Ok(Packet::Request { suite, pattern, source: id, cookie, noise }));
        let bytes = encoded(|out| Packet::encode_accept(out, id, noise));
        prop_assert_eq!(Packet::decode(&bytes), Ok(Packet::Accept { destination: id, noise }));
        let bytes = encoded(|out| Packet::encode_cookie(out, id, cookie));
        prop_assert_eq!(Packet::decode(&bytes), Ok(Packet::Cookie { destination: id, cookie }));
        let mut bytes = encoded(|out| Packet::encode_confirm(out, id, noise));
        let length = bytes.len();
        bytes.extend(cookie);
        prop_assert_eq!(Packet::decode(&bytes), Ok(Packet::Confirm { destination: id, noise, length }));
        let mut bytes = encoded(|out| Packet::encode_data(out, id, phase, number));
        prop_assert_eq!(bytes.len(), DATA_HEADER);
        bytes.extend([0; TAG_LENGTH]);
        let low = u32::try_from(number & 0xffff_ffff).unwrap();
        prop_assert_eq!(Packet::decode(&bytes), Ok(Packet::Data { destination: id, phase, number: low }));
    }

    #[test]
    fn any_bytes_are_a_packet_or_an_error(
        kind in prop_oneof![Just(RCON), Just(ACON), Just(COOK), Just(CCON), Just(DATA), any::<u8>()],
        mut bytes in prop::collection::vec(any::<u8>(), 0..1400),
        damage in any::<bool>(),
    ) {
        if let (Some(first), true) = (bytes.first_mut(), damage) {
            *first = kind;
        }
        let _ = Packet::decode(&bytes);
        let mut whole = request(&[1; 40], &[2; 224]);
        for (to, from) in whole.iter_mut().skip(1).step_by(7).zip(&bytes) {
            *to = *from;
        }
        let _ = Packet::decode(&whole);
    }

    /// A number is told from its low half if it is less than half of the span away from what is expected.
    #[test]
    fn numbers_near_the_expected_one_are_found(
        expected in prop_oneof![0..1_u64 << 34, (1_u64 << 62) - (1 << 33)..=MAX_VARINT, 0..=MAX_VARINT],
        away in -(1_i64 << 31) + 1..1_i64 << 31,
    ) {
        let number = expected.saturating_add_signed(away);
        let low = u32::try_from(number & 0xffff_ffff).unwrap();
        prop_assert_eq!(expand_number(low, expected), number);
    }

    #[test]
    fn any_low_half_gives_a_number(expected in 0..=MAX_VARINT + 1, low in any::<u32>()) {
        prop_assert_eq!(expand_number(low, expected) & 0xffff_ffff, u64::from(low));
    }
}
