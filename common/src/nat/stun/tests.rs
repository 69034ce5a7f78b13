use std::net::SocketAddr;
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::message::{encode_request, encode_success, encode_unknown, fingerprint};
use super::*;
use crate::mrt::tests::clock;

const ID: TransactionId = TransactionId(*b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae");

/// RFC 5769, section 2.1: a request with PRIORITY, which only ICE knows, and with USERNAME.
const SAMPLE_REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae\
    802200105354554e207465737420636c69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020\
    000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";

/// RFC 5769, section 2.2.
const SAMPLE_RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
    002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";

/// RFC 5769, section 2.3.
const SAMPLE_RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
    002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";

/// What coturn 4.6.1 answered to the request of these tests, sent from 127.0.0.1:37701; with attributes that mean nothing here.
const COTURN: &str = "010100442112a442b7e7a701bc34d686fa87dfae002000080001b2575e12a44300010008000193457f000001\
    802b0008000187ef7f00000180220014436f7475726e2d342e362e312027476f72737427802800044a1c8b9b";

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A message with these attributes, as they are.
fn message(kind: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(attributes.len()).unwrap();
    let parts = [kind.to_be_bytes(), length.to_be_bytes()].concat();
    [parts.as_slice(), b"\x21\x12\xa4\x42", &ID.0, attributes].concat()
}

fn with_fingerprint(mut message: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(message.len() - 20 + 8).unwrap();
    message[2..4].copy_from_slice(&length.to_be_bytes());
    let value = fingerprint(&message);
    message.extend(b"\x80\x28\x00\x04");
    message.extend(value.to_be_bytes());
    message
}

fn success(mapped: SocketAddr) -> Vec<u8> {
    encode_success(ID, mapped, None, Fingerprint::Present)
}

#[test]
fn the_samples_of_rfc_5769_and_answers_of_others_are_understood() {
    let mapped = address("192.0.2.1:32853");
    assert_eq!(
        StunMessage::decode(&bytes(SAMPLE_RESPONSE_V4)),
        Ok(StunMessage::Success { id: ID, mapped, proof: None })
    );
    let mapped = address("[2001:db8:1234:5678:11:2233:4455:6677]:32853");
    assert_eq!(
        StunMessage::decode(&bytes(SAMPLE_RESPONSE_V6)),
        Ok(StunMessage::Success { id: ID, mapped, proof: None })
    );
    let mapped = address("127.0.0.1:37701");
    assert_eq!(StunMessage::decode(&bytes(COTURN)), Ok(StunMessage::Success { id: ID, mapped, proof: None }));
    let request = StunMessage::decode(&bytes(SAMPLE_REQUEST)).unwrap();
    let StunMessage::Request { id, unknown, fingerprint, .. } = request else { panic!("{request:?}") };
    assert_eq!((id, unknown.kinds(), fingerprint), (ID, [0x0024].as_slice(), Fingerprint::Present));
}

#[test]
fn any_change_of_a_sample_is_noticed() {
    for sample in [SAMPLE_REQUEST, SAMPLE_RESPONSE_V4, SAMPLE_RESPONSE_V6] {
        let whole = bytes(sample);
        // With another kind, the last attribute is one that may be passed over.
        let kind_of_fingerprint = whole.len() - 8..whole.len() - 6;
        for at in (0..whole.len()).filter(|at| !kind_of_fingerprint.contains(at)) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            assert!(StunMessage::decode(&damaged).is_err(), "byte {at}");
            assert!(StunMessage::decode(&whole[..at]).is_err(), "{at} bytes");
        }
        assert!(StunMessage::decode(&[whole, vec![0; 4]].concat()).is_err());
    }
}

#[test]
fn the_bytes_of_our_messages_stay_as_they_are() {
    let request = encode_request(ID, None);
    assert_eq!(HEXLOWER.encode(&request), "000100082112a442b7e7a701bc34d686fa87dfae80280004fdf6ae02");
    assert_eq!(request.len(), STUN_REQUEST_LENGTH);
    let v4 = encode_success(ID, address("192.0.2.1:32853"), None, Fingerprint::Absent);
    assert_eq!(HEXLOWER.encode(&v4), "0101000c2112a442b7e7a701bc34d686fa87dfae002000080001a147e112a643");
    let mapped = address("[2001:db8:1234:5678:11:2233:4455:6677]:32853");
    let v6 = encode_success(ID, mapped, None, Fingerprint::Absent);
    let hex = "010100182112a442b7e7a701bc34d686fa87dfae002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9";
    assert_eq!(HEXLOWER.encode(&v6), hex);
    let Ok(StunMessage::Request { unknown, .. }) = StunMessage::decode(&bytes(SAMPLE_REQUEST)) else { panic!() };
    let error = encode_unknown(ID, &unknown, Fingerprint::Absent);
    let hex = "011100102112a442b7e7a701bc34d686fa87dfae0009000400000414000a000200240000";
    assert_eq!(HEXLOWER.encode(&error), hex);
    assert_eq!(StunMessage::decode(&error), Ok(StunMessage::Error { id: ID, code: 420 }));
}

#[test]
fn stun_is_told_from_all_else_by_its_first_bytes() {
    assert!(is_stun(&bytes(SAMPLE_REQUEST)));
    assert!(is_stun(&message(0x3fff, &[])), "about whatever");
    assert!(!is_stun(&bytes(SAMPLE_REQUEST)[..19]), "too short for a head");
    for first in 0x40..=0xff {
        let mut other = bytes(SAMPLE_REQUEST);
        other[0] = first;
        assert!(!is_stun(&other), "{first:#04x}");
    }
    let mut other = bytes(SAMPLE_REQUEST);
    other[5] ^= 1;
    assert!(!is_stun(&other), "another cookie");
}

#[test]
fn attributes_are_strict() {
    let decode = |kind: u16, attributes: &[u8]| StunMessage::decode(&message(kind, attributes));
    let [request, success, error] = [0x0001, 0x0101, 0x0111];
    let mapped = address("192.0.2.1:32853");
    let found = Ok(StunMessage::Success { id: ID, mapped, proof: None });
    assert_eq!(decode(success, b"\x00\x01\x00\x08\x00\x01\x80\x55\xc0\x00\x02\x01"), found, "MAPPED-ADDRESS alone");
    let both = b"\x00\x01\x00\x08\x00\x01\x00\x01\x01\x01\x01\x01\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43";
    assert_eq!(decode(success, both), found, "the hidden one counts");
    let behind = [b"\x00\x08\x00\x00".as_slice(), b"\x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43"].concat();
    assert_eq!(decode(success, &behind), Err(StunError::Empty), "what is behind an integrity does not count");
    assert_eq!(decode(success, b"\x00\x20\x00\x04\x00\x01\xa1\x47"), Err(StunError::Attribute(0x20)), "short");
    assert_eq!(decode(success, b"\x00\x20\x00\x08\x00\x02\xa1\x47\xe1\x12\xa6\x43"), Err(StunError::Attribute(0x20)));
    assert_eq!(decode(success, b"\x00\x20\x00\x08\x00\x03\xa1\x47\xe1\x12\xa6\x43"), Err(StunError::Attribute(0x20)));
    assert_eq!(decode(success, &[both.as_slice(), b"\x7f\xff\x00\x00"].concat()), Err(StunError::Unknown(0x7fff)));
    assert_eq!(decode(success, &[both.as_slice(), b"\x80\x00\x00\x01\x01\xee\xee\xee"].concat()), found);
    assert_eq!(decode(success, b""), Err(StunError::Empty));
    assert_eq!(decode(error, b""), Err(StunError::Empty));
    assert_eq!(decode(error, b"\x00\x09\x00\x04\x00\x00\x02\x00"), Err(StunError::Attribute(9)), "class 2");
    assert_eq!(decode(error, b"\x00\x09\x00\x04\x00\x00\x04\x64"), Err(StunError::Attribute(9)), "number 100");
    let not_last = [with_fingerprint(message(request, b""))[20..].to_vec(), b"\x80\x00\x00\x00".to_vec()].concat();
    assert_eq!(decode(request, &not_last), Err(StunError::Attribute(0x8028)));
    assert_eq!(decode(request, b"\x80\x28\x00\x04\x00\x00\x00\x00"), Err(StunError::Fingerprint));
    assert_eq!(decode(request, b"\x80\x22\x00\x08\x00\x00\x00\x00"), Err(crate::reader::ReadError::Short.into()));
    assert_eq!(decode(0x0011, b""), Err(StunError::Kind), "an indication");
    assert_eq!(decode(0x0003, b""), Err(StunError::Kind), "an Allocate request of TURN");
    assert_eq!(decode(request, &[0; 1300]), Err(StunError::TooLong));
}

#[test]
fn a_request_is_answered_with_where_it_came_from() {
    for (request, from) in [
        (message(1, b""), "203.0.113.9:41000"),
        (with_fingerprint(message(1, b"")), "203.0.113.9:41000"),
        (with_fingerprint(message(1, b"")), "[2001:db8::9]:41000"),
    ] {
        let from = address(from);
        let answer = respond_to_stun(&request, from).unwrap();
        assert_eq!(StunMessage::decode(&answer), Ok(StunMessage::Success { id: ID, mapped: from, proof: None }));
        assert_eq!(answer.len() <= 44, request.len() == 20 || from.is_ipv4(), "{}", answer.len());
    }
    let mapped = respond_to_stun(&message(1, b""), address("[::ffff:203.0.113.9]:41000")).unwrap();
    let mapped = StunMessage::decode(&mapped);
    assert_eq!(mapped, Ok(StunMessage::Success { id: ID, mapped: address("203.0.113.9:41000"), proof: None }));
}

#[test]
fn what_is_not_known_is_said() {
    let answer = respond_to_stun(&bytes(SAMPLE_REQUEST), address("192.0.2.1:9")).unwrap();
    assert_eq!(StunMessage::decode(&answer), Ok(StunMessage::Error { id: ID, code: 420 }));
    // Many, some twice: the first four are told of.
    let kinds = [3_u16, 0x24, 3, 0x25, 0x26, 0x27];
    let attributes: Vec<u8> = kinds.iter().flat_map(|kind| [kind.to_be_bytes(), [0; 2]].concat()).collect();
    let answer = respond_to_stun(&message(1, &attributes), address("192.0.2.1:9")).unwrap();
    assert!(HEXLOWER.encode(&answer).ends_with("000a00080003002400250026"));
}

#[test]
fn nothing_but_a_request_gets_an_answer() {
    let from = address("192.0.2.1:9");
    assert_eq!(respond_to_stun(&bytes(SAMPLE_RESPONSE_V4), from), None);
    assert_eq!(respond_to_stun(&message(0x0111, b"\x00\x09\x00\x04\x00\x00\x04\x00"), from), None);
    assert_eq!(respond_to_stun(&message(0x0011, b""), from), None);
    assert_eq!(respond_to_stun(&[0; 20], from), None);
    assert_eq!(respond_to_stun(&[], from), None);
}

fn server() -> SocketAddr {
    address("198.51.100.1:3478")
}

fn client(now: Instant) -> StunClient {
    StunClient::new(now, server(), ID)
}

#[test]
fn a_question_is_repeated_until_it_is_given_up() {
    let begin = clock::start();
    let mut client = client(begin);
    let mut sent = Vec::new();
    while let Some(at) = client.poll_timeout() {
        let early = at.checked_sub(Duration::from_millis(1)).filter(|early| *early > begin);
        assert_eq!(early.and_then(|early| client.poll_transmit(early)), None);
        sent.extend(client.poll_transmit(at).map(|request| (at.duration_since(begin).as_millis(), request)));
    }
    assert_eq!(sent.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [0, 500, 1500, 3500]);
    assert!(sent.iter().all(|(_, request)| *request == sent[0].1), "the same each time");
    assert_eq!(client.outcome(), Some(Err(StunFailure::Silence)));
    assert!(!client.handle_datagram(server(), &success(address("203.0.113.9:41000"))), "too late");
}

#[test]
fn only_the_answer_of_the_server_counts() {
    let now = clock::start();
    let mut client = client(now);
    let mapped = address("203.0.113.9:41000");
    assert!(!client.handle_datagram(server(), &success(mapped)), "nothing was asked yet");
    let request = client.poll_transmit(now).unwrap();
    let answer = respond_to_stun(&request, mapped).unwrap();
    assert!(!client.handle_datagram(address("198.51.100.1:3479"), &answer), "from elsewhere");
    let mut other = answer.clone();
    other[19] ^= 1;
    assert!(!client.handle_datagram(server(), &other), "damaged");
    let other = respond_to_stun(&message(1, b""), mapped).unwrap();
    let mut to_other = other;
    to_other[19] ^= 1;
    assert!(!client.handle_datagram(server(), &to_other), "to another question");
    assert!(!client.handle_datagram(server(), &request), "no answer at all");
    assert_eq!((client.outcome(), client.poll_transmit(now)), (None, None));
    assert!(client.handle_datagram(server(), &answer));
    assert_eq!((client.outcome(), client.poll_timeout()), (Some(Ok(mapped)), None));
}

#[test]
fn a_refusal_ends_it() {
    let now = clock::start();
    let mut client = client(now);
    let _request = client.poll_transmit(now);
    assert!(client.handle_datagram(server(), &message(0x0111, b"\x00\x09\x00\x04\x00\x00\x05\x00")));
    assert_eq!(client.outcome(), Some(Err(StunFailure::Refused(500))));
}

proptest! {
    #[test]
    fn addresses_come_back_as_they_were(v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>(), port: u16, id: [u8; 12]) {
        let id = TransactionId(id);
        for mapped in [SocketAddr::from((v4, port)), SocketAddr::from((v6, port))] {
            for fingerprint in [Fingerprint::Present, Fingerprint::Absent] {
                let out = encode_success(id, mapped, None, fingerprint);
                prop_assert_eq!(StunMessage::decode(&out), Ok(StunMessage::Success { id, mapped, proof: None }));
                prop_assert!(out.len() <= MAX_STUN_ANSWER);
            }
        }
    }

    #[test]
    fn any_attributes_are_read_or_refused(
        kind in prop::sample::select(vec![0x0001, 0x0101, 0x0111]),
        attributes in prop::collection::vec(
            (prop_oneof![0_u16..0x30, 0x8020_u16..0x802c], prop::collection::vec(any::<u8>(), 0..24)),
            0..12,
        ),
    ) {
        let mut all = Vec::new();
        for (kind, value) in attributes {
            all.extend(kind.to_be_bytes());
            all.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            all.extend(&value);
            all.resize(all.len().next_multiple_of(4), 0xee);
        }
        let message = message(kind, &all);
        let _ = StunMessage::decode(&message);
        if let Some(answer) = respond_to_stun(&message, SocketAddr::from(([192, 0, 2, 1], 9))) {
            prop_assert!(answer.len() <= MAX_STUN_ANSWER && answer.len() <= message.len() + 12);
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = StunMessage::decode(&bytes);
        prop_assert_eq!(respond_to_stun(&bytes, SocketAddr::from(([192, 0, 2, 1], 9))), None);
    }
}

#[test]
fn a_proof_is_given_to_who_wishes_for_one_and_lengthens_nothing() {
    let (token, proof) = (StunToken([7; 16]), StunProof([9; 16]));
    let server = address("[2001:db8::1]:8000");
    let mut client = StunClient::for_proof(clock::start(), server, ID, token);
    let request = client.poll_transmit(clock::start()).unwrap();
    for from in ["203.0.113.9:41000", "[2001:db8::9]:41000"] {
        let from = address(from);
        let answer = respond_to_stun_with(&request, from, |who, at| {
            assert_eq!((who, at), (token, from));
            Some(proof)
        });
        let answer = answer.unwrap();
        assert!(answer.len() <= request.len() && answer.len() <= MAX_STUN_ANSWER);
        assert_eq!(StunMessage::decode(&answer), Ok(StunMessage::Success { id: ID, mapped: from, proof: Some(proof) }));
    }
    // Another server answers as well, and proves nothing.
    let plain = respond_to_stun(&request, server).unwrap();
    assert_eq!(StunMessage::decode(&plain), Ok(StunMessage::Success { id: ID, mapped: server, proof: None }));
    assert!(client.handle_datagram(server, &plain) && client.proof().is_none());
    let unasked = encode_success(ID, server, Some(proof), Fingerprint::Present);
    let mut client = StunClient::new(clock::start(), server, ID);
    let _request = client.poll_transmit(clock::start());
    assert!(client.handle_datagram(server, &unasked) && client.proof().is_none(), "nobody asked for it");
    respond_to_stun_with(&encode_request(ID, None), server, |_, _| panic!("nobody asked for a proof"));
}
