//! MRT's packets and frames: what is outside of a datagram, and what is inside.

use std::net::SocketAddr;

use common::mrt::{
    CloseCode, ConnectionId, Frame, FrameError, Frames, MAX_ACK_RANGES, MAX_COOKIE, MAX_NOISE, MAX_REASON, MIN_INITIAL,
    Packet, Pattern, StreamId, Suite,
};

use super::{Target, answer, kind_of};

/// A datagram.
pub(super) const PACKET: Target = Target {
    name: "mrt_packet",
    run: packet,
    seeds: || {
        let (destination, noise) = (ConnectionId(0x0102_0304_0506_0708), [7; 96].as_slice());
        let request = |suite, pattern, cookie| Packet::Request { suite, pattern, source: destination, cookie, noise };
        let whole = [
            request(Suite::Aes256Gcm, Pattern::Known, &[]),
            request(Suite::ChaCha20Poly1305, Pattern::Unknown, &[1; 40]),
            Packet::Accept { destination, noise },
            Packet::Cookie { destination, cookie: &[1; 40] },
            Packet::Confirm { destination, noise, length: 0 },
            Packet::Data { destination, phase: false, number: 7 },
            Packet::Data { destination, phase: true, number: u32::MAX },
        ];
        let mut seeds: Vec<_> = whole.iter().map(encoded).collect();
        for seed in &mut seeds {
            // Something sealed, and its tag.
            seed.extend([0xee; 40]);
        }
        // No such packet may be followed by anything.
        seeds.extend([encoded(&whole[2]), encoded(&whole[3])]);
        seeds
    },
    words: &["@", "A", "B", "C", "H", "I", "\u{1}\u{1}\u{1}", "\u{4}\u{0}"],
    memory_base: 4 << 10,
    memory_per_byte: 4,
};

/// The inside of a packet.
pub(super) const FRAMES: Target = Target {
    name: "mrt_frames",
    run: frames,
    seeds: || {
        let [v4, v6]: [SocketAddr; 2] =
            ["10.0.0.1:9".parse(), "[2001:db8::1]:9".parse()].map(|a| a.expect("it is one"));
        let stream = StreamId(4);
        let each = [
            Frame::Ping,
            Frame::Reset { stream, code: 7, size: 1 << 40 },
            Frame::Stop { stream, code: 7 },
            Frame::Window { total: 1 << 20, each: 1 << 14 },
            Frame::StreamWindow { stream, limit: 100_000 },
            Frame::MaxStreams(300),
            Frame::AckFrequency { packets: 10, delay_us: 5000 },
            Frame::Challenge([1; 8]),
            Frame::Response { token: [1; 8], observed: v4 },
            Frame::Response { token: [1; 8], observed: v6 },
            Frame::Close { code: CloseCode::FLOW, reason: b"too much" },
            Frame::Data { stream, offset: 70_000, data: b"hello", fin: false },
            Frame::Data { stream, offset: 0, data: b"", fin: true },
        ];
        let mut seeds: Vec<_> = each.iter().map(inside).collect();
        seeds.push(seeds.concat());
        // Acknowledgements: 100 without a gap; with two gaps; the same with three marked packets.
        seeds.extend([
            b"\x02\x40\x63\x05\x40\x63\x00".to_vec(),
            b"\x02\x40\x63\x05\x03\x02\x00\x01\x02\x03".to_vec(),
            b"\x03\x40\x63\x05\x03\x03\x02\x00\x01\x02\x03".to_vec(),
        ]);
        // Data up to the end of the packet.
        seeds.push(b"\x10\x04\x07hello".to_vec());
        seeds
    },
    words: &["\u{2}", "\u{3}", "\u{c}", "\u{10}", "\u{13}", "\u{0}\u{0}", "\u{40}\u{7f}"],
    memory_base: 64 << 10,
    // A range of two bytes is one of 16 in a set that doubles, twice.
    memory_per_byte: 96,
};

/// Bytes of an RCON beside its cookie and its Noise message: kind, version, suite, pattern, id, and two lengths.
const REQUEST_HEAD: usize = 4 + 8 + 1 + 2;

fn encoded(packet: &Packet<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    packet.encode(&mut out);
    out
}

fn inside(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out);
    out
}

fn packet(input: &[u8]) -> String {
    let decoded = Packet::decode(input);
    let Ok(packet) = decoded else { return answer(&decoded) };
    match packet {
        Packet::Request { cookie, noise, .. } => {
            assert!(input.len() >= MIN_INITIAL && cookie.len() <= MAX_COOKIE && noise.len() <= MAX_NOISE);
        }
        Packet::Accept { noise, .. } => assert!(noise.len() <= MAX_NOISE),
        Packet::Cookie { cookie, .. } => assert!(cookie.len() <= MAX_COOKIE),
        Packet::Confirm { noise, length, .. } => assert!(noise.len() <= MAX_NOISE && length <= input.len()),
        Packet::Data { .. } => {}
    }
    let again = encoded(&packet);
    let length = match packet {
        // What the padding holds does not matter.
        Packet::Request { cookie, noise, .. } => REQUEST_HEAD + cookie.len() + noise.len(),
        _ => again.len(),
    };
    assert_eq!(again.get(..length), input.get(..length), "{packet:?} is written in another form");
    kind_of(&packet)
}

fn frames(input: &[u8]) -> String {
    let mut kinds = String::new();
    let mut count = 0;
    let mut rest = Frames::new(input);
    while let Some(frame) = rest.next() {
        count += 1;
        match frame {
            Ok(frame) => {
                check(&frame);
                kinds = format!("{} {}", kind_of(&frame), kinds.split(' ').next().unwrap_or_default());
            }
            Err(error) => {
                assert!(rest.next().is_none(), "nothing comes after an error");
                return format!("{kinds}, {}", name_of(error));
            }
        }
    }
    assert!(count <= input.len(), "a frame has a byte at least");
    kinds
}

const fn name_of(error: FrameError) -> &'static str {
    match error {
        FrameError::Read(_) => "short",
        FrameError::Kind(_) => "kind",
        FrameError::Range => "range",
        FrameError::TooLong => "too long",
    }
}

/// A frame that was read can be written, and is read as the same again.
fn check(frame: &Frame<'_>) {
    let again = inside(frame);
    let mut frames = Frames::new(&again);
    let (first, second) = (frames.next(), frames.next());
    assert!(second.is_none(), "{frame:?} is written as two");
    match (frame, first) {
        (Frame::Acks(acks), Some(Ok(Frame::Acks(again)))) => {
            let ranges: Vec<_> = acks.ranges().collect();
            assert!(ranges.len() <= MAX_ACK_RANGES);
            assert_eq!(ranges.first().map(|range| range.end), Some(acks.largest + 1));
            assert!(ranges.iter().all(|range| !range.is_empty()));
            assert!(ranges.windows(2).all(|pair| pair[1].end < pair[0].start), "apart from each other");
            assert!(again.ranges().eq(ranges), "the ranges change when they are written");
            assert_eq!((again.largest, again.delay_us, again.congested), (acks.largest, acks.delay_us, acks.congested));
        }
        (frame, Some(Ok(again))) => {
            if let Frame::Close { reason, .. } = frame {
                assert!(reason.len() <= MAX_REASON);
            }
            assert_eq!(&again, frame);
        }
        (frame, again) => panic!("{frame:?} is read as {again:?}"),
    }
}
