use std::ops::Range;

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;

/// More than any packet.
const ROOM: usize = 1 << 16;

fn encoded(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = FrameWriter::new(&mut out, ROOM);
    for frame in frames {
        assert!(writer.put(frame));
    }
    out
}

fn encoded_acks(ranges: &[Range<u64>], delay_us: u64, congested: u64, limit: usize) -> Vec<u8> {
    let mut set = Ranges::default();
    for range in ranges {
        set.insert(range.clone());
    }
    let mut out = Vec::new();
    FrameWriter::new(&mut out, limit).put_acks(&set, delay_us, congested);
    out
}

fn decoded(bytes: &[u8]) -> Result<Vec<Frame<'_>>, FrameError> {
    Frames::new(bytes).collect()
}

fn address_of(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A frame of each kind but ADAT, and its bytes.
fn examples() -> Vec<(Frame<'static>, &'static str)> {
    let stream = StreamId(4);
    vec![
        (Frame::Ping, "01"),
        (Frame::Reset { stream, code: 300, size: 70_000 }, "0404412c80011170"),
        (Frame::Stop { stream, code: 300 }, "0504412c"),
        (Frame::Window { total: 1 << 30, each: 63 }, "06c0000000400000003f"),
        (Frame::StreamWindow { stream, limit: 64 }, "07044040"),
        (Frame::MaxStreams(256), "084100"),
        (Frame::AckFrequency { packets: 16, delay_us: 25_000 }, "0910800061a8"),
        (Frame::Challenge([1, 2, 3, 4, 5, 6, 7, 8]), "0a0102030405060708"),
        (
            Frame::Response { token: [1, 2, 3, 4, 5, 6, 7, 8], observed: address_of("203.0.113.9:4001") },
            "0b010203040506070804cb0071090fa1",
        ),
        (
            Frame::Response { token: [0; 8], observed: address_of("[2001:db8::1]:4001") },
            "0b00000000000000000620010db80000000000000000000000010fa1",
        ),
        (Frame::Close { code: CloseCode(0), reason: b"" }, "0c000000"),
        (Frame::Close { code: CloseCode::APPLICATION, reason: b"bye" }, "0c41000003627965"),
        (Frame::Data { stream, offset: 5, data: b"abc", fin: false }, "12040503616263"),
        (Frame::Data { stream, offset: 5, data: b"abc", fin: true }, "13040503616263"),
        (Frame::Data { stream, offset: 0, data: b"", fin: true }, "13040000"),
    ]
}

#[test]
fn the_bytes_of_frames_stay_as_they_are() {
    for (frame, hex) in examples() {
        let bytes = encoded(std::slice::from_ref(&frame));
        assert_eq!(HEXLOWER.encode(&bytes), hex, "{frame:?}");
        assert_eq!(decoded(&bytes), Ok(vec![frame]));
    }
}

#[test]
fn the_bytes_of_acknowledgements_stay_as_they_are() {
    for (ranges, delay_us, congested, hex) in [
        (std::slice::from_ref(&(0..1)), 0, 0, "0200000000"),
        (&[90..100, 50..80, 0..49], 1000, 0, "02406343e80902091d0030"),
        (&[1..2, 3..4], 8, 5, "0303080500010000"),
    ] {
        let bytes = encoded_acks(ranges, delay_us, congested, ROOM);
        assert_eq!(HEXLOWER.encode(&bytes), hex);
        let frames = decoded(&bytes).unwrap();
        let [Frame::Acks(acks)] = frames.as_slice() else { panic!("{frames:?}") };
        let mut ranges = ranges.to_vec();
        ranges.sort_by_key(|range| std::cmp::Reverse(range.start));
        assert_eq!((acks.delay_us, acks.congested), (delay_us, congested));
        assert_eq!(acks.largest, ranges[0].end - 1);
        assert_eq!(acks.ranges().collect::<Vec<_>>(), ranges);
    }
}

#[test]
fn frames_follow_each_other_with_padding_between_and_data_to_the_end() {
    let all: Vec<_> = examples().into_iter().map(|(frame, _)| frame).collect();
    let mut bytes = vec![0; 3];
    for frame in &all {
        bytes.extend(encoded(std::slice::from_ref(frame)));
        bytes.extend([0; 2]);
    }
    bytes.extend(encoded_acks(&[1..2, 3..4], 8, 5, ROOM));
    FrameWriter::new(&mut bytes, ROOM).put_data_head(StreamId(9), 1 << 20, true, None);
    bytes.extend(b"to the end");
    let frames = decoded(&bytes).unwrap();
    assert_eq!(frames[..all.len()], all);
    assert!(matches!(frames[all.len()], Frame::Acks(acks) if acks.ranges().eq([3..4, 1..2])));
    let last = Frame::Data { stream: StreamId(9), offset: 1 << 20, data: b"to the end", fin: true };
    assert_eq!(frames[all.len() + 1..], [last]);
}

#[test]
fn a_frame_that_ends_early_is_none_and_ends_the_packet() {
    let mut whole: Vec<_> = examples().into_iter().map(|(frame, _)| encoded(&[frame])).collect();
    whole.push(encoded_acks(&[90..100, 50..80, 0..49], 1000, 7, ROOM));
    for bytes in whole {
        for length in 1..bytes.len() {
            let mut frames = Frames::new(&bytes[..length]);
            assert_eq!(frames.next(), Some(Err(FrameError::Read(ReadError::Short))), "{length} of {bytes:?}");
            assert_eq!(frames.next(), None);
        }
    }
}

#[test]
fn frames_that_cannot_be_are_refused() {
    let of = |hex: &str| HEXLOWER.decode(hex.as_bytes()).unwrap();
    for (hex, error) in [
        // Kinds that are not there.
        ("0d", FrameError::Kind(0x0d)),
        ("0f", FrameError::Kind(0x0f)),
        ("14", FrameError::Kind(0x14)),
        ("ff", FrameError::Kind(0xff)),
        // Acknowledgements below number 0: in the first range, the gap, and the second range.
        ("02050006 00", FrameError::Range),
        ("0205000501 0000", FrameError::Range),
        ("0205000101 0400", FrameError::Range),
        ("0205000101 0104", FrameError::Range),
        // 256 ranges behind the first.
        ("0205000141 00", FrameError::TooLong),
        // An address of another family.
        ("0b0000000000000000050102", FrameError::Range),
        // A reason of 257 bytes.
        ("0c000101", FrameError::TooLong),
        // Data that would end beyond the largest offset.
        ("1204ffffffffffffffff0161", FrameError::Range),
    ] {
        let bytes = of(&hex.replace(' ', ""));
        assert_eq!(decoded(&bytes), Err(error), "{hex}");
    }
}

#[test]
fn the_largest_acknowledgement_has_256_ranges() {
    let ranges: Vec<_> = (0..MAX_ACK_RANGES as u64 + 50).map(|at| 10 * at..10 * at + 1).collect();
    let bytes = encoded_acks(&ranges, 0, 0, ROOM);
    let frames = decoded(&bytes).unwrap();
    let [Frame::Acks(acks)] = frames.as_slice() else { panic!("{frames:?}") };
    let newest: Vec<_> = ranges.into_iter().rev().take(MAX_ACK_RANGES).collect();
    assert_eq!(acks.ranges().collect::<Vec<_>>(), newest);
}

#[test]
fn a_reason_that_is_too_long_is_cut() {
    let reason = [b'x'; MAX_REASON + 1];
    let bytes = encoded(&[Frame::Close { code: CloseCode::DONE, reason: &reason }]);
    let cut = Frame::Close { code: CloseCode::DONE, reason: &reason[..MAX_REASON] };
    assert_eq!(decoded(&bytes), Ok(vec![cut]));
}

#[test]
fn variable_lengths_are_those_of_rfc_9000() {
    // Appendix A.1.
    for (value, hex) in
        [(151_288_809_941_952_652, "c2197c5eff14e88c"), (494_878_333, "9d7f3e7d"), (15_293, "7bbd"), (37, "25")]
    {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        assert_eq!(HEXLOWER.encode(&out), hex);
        assert_eq!(varint_length(value), out.len());
    }
    // A number may be longer than it needs.
    assert_eq!(varint(&mut Reader::new(&[0x40, 37])), Ok(37));
}

/// Numbers of all lengths.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..64_u64, 64..16_384_u64, 16_384..1_u64 << 30, (1_u64 << 30)..=MAX_VARINT]
}

/// What a frame is made of, so that it can be borrowed.
#[derive(Debug, Clone)]
struct Parts {
    kind: usize,
    numbers: [u64; 3],
    bytes: Vec<u8>,
    token: [u8; 8],
    address: SocketAddr,
    fin: bool,
}

fn parts() -> impl Strategy<Value = Parts> {
    let address = (any::<IpAddr>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::new(ip, port));
    let bytes = prop::collection::vec(any::<u8>(), 0..=MAX_REASON);
    (0..KINDS, [number(), number(), number()], bytes, any::<[u8; 8]>(), address, any::<bool>())
        .prop_map(|(kind, numbers, bytes, token, address, fin)| Parts { kind, numbers, bytes, token, address, fin })
}

/// Kinds of frames that [`Parts`] can become.
const KINDS: usize = 11;

impl Parts {
    fn frame(&self) -> Frame<'_> {
        let [a, b, c] = self.numbers;
        let stream = StreamId(a);
        match self.kind {
            0 => Frame::Ping,
            1 => Frame::Reset { stream, code: b, size: c },
            2 => Frame::Stop { stream, code: b },
            3 => Frame::Window { total: a, each: b },
            4 => Frame::StreamWindow { stream, limit: b },
            5 => Frame::MaxStreams(a),
            6 => Frame::AckFrequency { packets: a, delay_us: b },
            7 => Frame::Challenge(self.token),
            8 => Frame::Response { token: self.token, observed: self.address },
            9 => Frame::Close { code: CloseCode(a), reason: &self.bytes },
            _ => {
                let offset = b.min(MAX_VARINT - self.bytes.len() as u64);
                Frame::Data { stream, offset, data: &self.bytes, fin: self.fin }
            }
        }
    }
}

/// Ranges with gaps between them.
fn ranges() -> impl Strategy<Value = Vec<Range<u64>>> {
    let near = || prop_oneof![4 => 1..4_u64, 1 => 1..100_000_u64];
    (prop_oneof![Just(0), 0..1_u64 << 40], prop::collection::vec((near(), near()), 1..300)).prop_map(
        |(start, steps)| {
            let mut at = start;
            let range = |(gap, length): (u64, u64)| {
                let range = at + gap..at + gap + length;
                at = range.end;
                range
            };
            steps.into_iter().map(range).collect()
        },
    )
}

proptest! {
    #[test]
    fn frames_come_back_as_they_were(parts in prop::collection::vec(parts(), 0..20), room in 0..3000_usize) {
        let frames: Vec<_> = parts.iter().map(Parts::frame).collect();
        let bytes = encoded(&frames);
        prop_assert_eq!(decoded(&bytes), Ok(frames.clone()));
        // What has no room leaves nothing behind.
        let mut out = vec![0xee; 5];
        let mut writer = FrameWriter::new(&mut out, 5 + room);
        let fitting: Vec<_> = frames.into_iter().filter(|frame| writer.put(frame)).collect();
        prop_assert!(out.len() <= 5 + room);
        prop_assert_eq!(decoded(&out[5..]), Ok(fitting));
    }

    #[test]
    fn acknowledgements_come_back_as_far_as_there_was_room(
        ranges in ranges(),
        delay_us in number(),
        congested in prop_oneof![Just(0), number()],
        room in prop_oneof![0..100_usize, 100..1500_usize, Just(ROOM)],
    ) {
        let bytes = encoded_acks(&ranges, delay_us, congested, room);
        prop_assert!(bytes.len() <= room);
        let frames = decoded(&bytes).unwrap();
        let newest: Vec<_> = ranges.into_iter().rev().collect();
        match frames.as_slice() {
            [] => prop_assert!(room < 5 * 8),
            [Frame::Acks(acks)] => {
                let told: Vec<_> = acks.ranges().collect();
                prop_assert_eq!((acks.delay_us, acks.congested), (delay_us, congested));
                prop_assert!(newest.starts_with(&told), "{:?}", told);
                let all = newest.len().min(MAX_ACK_RANGES);
                prop_assert!(told.len() == all || bytes.len() + 16 > room, "{} of {} told", told.len(), all);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn any_bytes_are_frames_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut frames = Frames::new(&bytes);
        while let Some(frame) = frames.next() {
            match frame {
                Ok(Frame::Acks(acks)) => {
                    let mut above = acks.largest + 1;
                    let count = acks.ranges().inspect(|range| {
                        assert!(range.start < range.end && range.end <= above);
                        above = range.start;
                    }).count();
                    prop_assert!((1..=MAX_ACK_RANGES).contains(&count));
                }
                Ok(_) => {}
                Err(_) => prop_assert_eq!(frames.next(), None),
            }
        }
    }

    #[test]
    fn damaged_frames_are_frames_or_an_error(
        parts in prop::collection::vec(parts(), 1..5),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut bytes = encoded(&parts.iter().map(Parts::frame).collect::<Vec<_>>());
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = decoded(&bytes);
    }
}
