use super::super::packet::{ConnectionId, Packet};
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

#[test]
fn what_one_side_seals_the_other_opens() {
    for suite in SUITES {
        let (mut here, mut there) = pair(suite);
        for (number, length) in [(0, 0), (1, 1), (u64::from(u32::MAX), 1187), (7, 16_384)] {
            let inside = vec![number as u8; length];
            for (from, to) in [(&mut here, &mut there)] {
                let packet = sealed(from, number, &inside);
                assert_eq!(packet.len(), DATA_HEADER + length + TAG_LENGTH);
                assert_eq!(opened(to, &packet), Ok(inside.clone()));
                assert_eq!(opened(from, &packet), Err(OpenError::Forged), "directions have keys of their own");
            }
        }
    }
}
