//! Two ends of a connection's streams, joined by a carrier that loses, doubles and reorders packets.

#![expect(clippy::cast_possible_truncation, reason = "small numbers, or bytes of a pattern")]
#![expect(clippy::disallowed_methods, reason = "some instant has to be the first")]

mod random;

use std::time::{Duration, Instant};

use super::blocks::BLOCK;
use super::table::Stream;
use super::*;
use crate::mrt::frame::{Frame, FrameWriter, Frames};

const ROUND_TRIP: Duration = Duration::from_millis(20);

/// The byte of every stream at `offset`.
fn byte(id: StreamId, offset: u64) -> u8 {
    ((offset.wrapping_mul(0x9e37_79b9) >> 13) ^ id.0.wrapping_mul(31)) as u8
}

fn bytes(id: StreamId, offset: u64, length: usize) -> Vec<u8> {
    (offset..offset + length as u64).map(|at| byte(id, at)).collect()
}

fn params(config: &Config) -> Params {
    Params {
        max_datagram: 1200,
        idle_timeout: Duration::from_secs(1),
        window_total: INITIAL_TOTAL,
        window_each: INITIAL_EACH,
        max_streams: config.max_streams,
    }
}

fn streams(side: Side, config: &Config, budget: &Budget) -> Streams {
    Streams::new(side, config, budget.clone(), &params(config))
}

fn pair(config: &Config, budgets: [&Budget; 2]) -> [Streams; 2] {
    [streams(Side::Initiator, config, budgets[0]), streams(Side::Responder, config, budgets[1])]
}

/// One packet of `streams`, if it has anything to say.
fn packet(streams: &mut Streams, size: usize) -> Option<(Vec<u8>, Vec<SentStreamFrame>)> {
    let (mut out, mut sent) = (Vec::new(), Vec::new());
    let has_frames = streams.has_frames();
    streams.write_frames(&mut FrameWriter::new(&mut out, size), &mut |frame| sent.push(frame));
    assert_eq!(has_frames, !sent.is_empty(), "has_frames says whether there are frames");
    assert!(out.len() <= size, "{} bytes where {size} were free", out.len());
    has_frames.then_some((out, sent))
}

/// Gives the frames of a packet to `streams`.
fn deliver(streams: &mut Streams, packet: &[u8]) -> Result<(), Violation> {
    for frame in Frames::new(packet) {
        match frame.expect("frames of ours can be read") {
            Frame::Data { stream, offset, data, fin } => streams.on_data(stream, offset, data, fin)?,
            Frame::Reset { stream, code, size } => streams.on_reset(stream, code, size)?,
            Frame::Stop { stream, code } => streams.on_stop(stream, code)?,
            Frame::Window { total, each } => streams.on_window(total, each),
            Frame::StreamWindow { stream, limit } => streams.on_stream_window(stream, limit)?,
            Frame::MaxStreams(count) => streams.on_max_streams(count),
            frame => unreachable!("{frame:?} is none of streams"),
        }
    }
    Ok(())
}

/// Everything that `from` has to say reaches `to`, and is acknowledged.
fn carry(from: &mut Streams, to: &mut Streams) -> usize {
    let mut count = 0;
    while let Some((packet, sent)) = packet(from, 1200) {
        deliver(to, &packet).unwrap();
        sent.iter().for_each(|frame| from.on_acked(frame));
        count += 1;
    }
    count
}

fn settle([a, b]: &mut [Streams; 2]) {
    while carry(a, b) + carry(b, a) > 0 {}
}

fn memory(streams: &mut Streams) -> (usize, usize) {
    let halves = streams.table.iter_mut().map(|stream| (stream.send.memory(), stream.receive.memory()));
    halves.fold((0, 0), |(send, receive), (s, r)| (send + s, receive + r))
}

fn events(streams: &mut Streams) -> Vec<StreamEvent> {
    std::iter::from_fn(|| streams.poll_event()).collect()
}

#[test]
fn a_stream_carries_bytes_both_ways_and_goes() {
    let (config, budget) = (Config::default(), Budget::new(64 << 20));
    let mut pair = pair(&config, [&budget; 2]);
    let id = pair[0].open().unwrap();
    assert_eq!(pair[0].read(id, &mut [0; 8]), Ok(Read::Blocked));
    assert_eq!(pair[0].write(id, b"question"), Ok(8));
    pair[0].finish(id).unwrap();
    settle(&mut pair);
    assert_eq!(events(&mut pair[0]), [StreamEvent::Finished(id)]);
    assert_eq!((events(&mut pair[1]), pair[1].accept()), (vec![StreamEvent::Opened], Some(id)));
    let mut out = [0; 100];
    assert_eq!(pair[1].read(id, &mut out), Ok(Read::Bytes(8)));
    assert_eq!(pair[1].read(id, &mut out), Ok(Read::End));
    assert_eq!(pair[1].write(id, b"answer"), Ok(6));
    pair[1].finish(id).unwrap();
    settle(&mut pair);
    assert_eq!(events(&mut pair[0]), [StreamEvent::Readable(id)]);
    assert_eq!(pair[0].read(id, &mut out), Ok(Read::Bytes(6)));
    assert_eq!(&out[..6], b"answer");
    assert_eq!(pair[0].read(id, &mut out), Ok(Read::End));
    assert_eq!(pair[0].read(id, &mut out), Err(ReadError::Closed), "the entry is gone");
    assert_eq!(pair[1].write(id, b"more"), Err(WriteError::Closed));
    assert!(pair.iter_mut().all(|end| end.table.iter_mut().next().is_none()));
}

#[test]
fn the_frame_that_fills_a_packet_states_no_length() {
    let (config, budget) = (Config::default(), Budget::new(64 << 20));
    let mut sender = streams(Side::Initiator, &config, &budget);
    let id = sender.open().unwrap();
    sender.write(id, &bytes(id, 0, 3000)).unwrap();
    let mut control = packet(&mut sender, 12).unwrap().0;
    assert!(matches!(Frames::new(&control).next(), Some(Ok(Frame::Window { .. }))), "{control:?}");
    control.clear();
    let (first, sent) = packet(&mut sender, 1000).unwrap();
    assert_eq!((first[0], first.len()), (0x10, 1000));
    let [SentStreamFrame::Data { offset: 0, length: 997, fin: false, .. }] = sent[..] else { panic!("{sent:?}") };
    let (rest, sent) = packet(&mut sender, 4000).unwrap();
    assert_eq!((rest[0], rest.len()), (0x12, 2003 + 6), "{sent:?}");
    // A probe sends the beginning again; when that is acknowledged after all, nothing is left to send.
    assert!(sender.probe() && sender.has_frames());
    sender.on_acked(&SentStreamFrame::Data { stream: id, offset: 0, length: 997, fin: false });
    sender.on_acked(&SentStreamFrame::Data { stream: id, offset: 997, length: 2003, fin: false });
    assert!(!sender.has_frames() && !sender.probe());
}

#[test]
fn a_hostile_sender_is_told_apart_and_costs_little() {
    let (config, budget) = (Config { max_streams: 4, ..Config::default() }, Budget::new(64 << 20));
    let fresh = || streams(Side::Responder, &config, &budget);
    let (ours, theirs) = (StreamId(1), StreamId(0));
    let code = |result: Result<(), Violation>| result.map_err(|violation| violation.code);
    let flow = Err(CloseCode::FLOW);
    let stream = Err(CloseCode::STREAM);
    // Streams that cannot be.
    assert_eq!(code(fresh().on_data(ours, 0, b"x", false)), stream);
    assert_eq!(code(fresh().on_stop(ours, 0)), stream);
    assert_eq!(code(fresh().on_stream_window(StreamId(8), 9)), stream);
    assert_eq!(code(fresh().on_reset(StreamId(u64::MAX), 0, 0)), stream);
    assert_eq!(code(fresh().on_data(StreamId(6), 0, b"x", false)), Ok(()));
    // Ends that change.
    let mut streams = fresh();
    assert_eq!(code(streams.on_data(theirs, 10, b"end", true)), Ok(()));
    assert_eq!(code(streams.on_data(theirs, 10, b"end", true)), Ok(()));
    assert_eq!(code(streams.on_data(theirs, 10, b"ends", false)), flow);
    assert_eq!(code(streams.on_data(theirs, 10, b"en", true)), flow);
    assert_eq!(code(streams.on_reset(theirs, 0, 12)), flow);
    // More than was allowed, of one and of all.
    assert_eq!(code(fresh().on_data(theirs, INITIAL_EACH, b"x", false)), flow);
    assert_eq!(code(fresh().on_reset(theirs, 0, u64::MAX >> 2)), flow);
    let mut streams = fresh();
    assert_eq!(code(streams.on_data(theirs, INITIAL_EACH - 1, b"x", false)), Ok(()));
    assert_eq!(code(streams.on_data(StreamId(2), 0, b"x", false)), flow);
    let (_, receive) = memory(&mut streams);
    assert!(receive <= BLOCK, "{receive} bytes for one");
    // A gap for every second byte.
    let mut streams = fresh();
    let result = (0..INITIAL_EACH / 2).try_for_each(|n| streams.on_data(theirs, n * 2 + 1, b"x", false));
    assert_eq!(code(result), flow);
    assert!(streams.pieces <= MAX_PIECES + 1);
    // Frames for streams that are over, and promises that mean nothing.
    let mut streams = fresh();
    streams.on_data(theirs, 0, b"x", true).unwrap();
    streams.stop(theirs, 1);
    streams.reset(theirs, 1);
    streams.on_acked(&SentStreamFrame::Reset { stream: theirs });
    assert!(streams.table.get_mut(theirs).is_none());
    assert_eq!(code(streams.on_data(theirs, 1 << 40, b"x", false)), Ok(()));
    streams.on_window(u64::MAX, u64::MAX);
    streams.on_window(0, 0);
    streams.on_max_streams(u64::MAX);
    let id = streams.open().unwrap();
    assert_eq!(code(streams.on_stream_window(id, u64::MAX)), Ok(()));
    assert_eq!(streams.write(id, b"x"), Ok(1));
    assert!(packet(&mut streams, 1200).is_some());
}

#[test]
fn stopping_ends_the_sender_and_wakes_who_waits_for_the_end() {
    let (config, budget) = (Config::default(), Budget::new(64 << 20));
    let mut pair = pair(&config, [&budget; 2]);
    let id = pair[0].open().unwrap();
    pair[0].write(id, &bytes(id, 0, 600_000)).unwrap();
    pair[0].finish(id).unwrap();
    carry_one(&mut pair);
    assert_eq!(pair[1].accept(), Some(id));
    pair[1].stop(id, 9);
    pair[1].finish(id).unwrap();
    settle(&mut pair);
    assert_eq!(events(&mut pair[0]), [StreamEvent::Writable(id)]);
    assert_eq!(pair[0].write(id, b"x"), Err(WriteError::Stopped(9)));
    assert_eq!(pair[0].read(id, &mut [0; 8]), Ok(Read::End));
    // Who is still writing is told, however late.
    let id = pair[0].open().unwrap();
    pair[0].write(id, b"x").unwrap();
    carry_one(&mut pair);
    pair[1].stop(id, 9);
    pair[1].finish(id).unwrap();
    settle(&mut pair);
    assert_eq!(pair[0].read(id, &mut [0; 8]), Ok(Read::End));
    assert_eq!(pair[0].write(id, b"x"), Err(WriteError::Stopped(9)));
    assert_eq!(pair[0].write(id, b"x"), Err(WriteError::Closed));
    assert!(pair.iter_mut().all(|end| end.table.iter_mut().next().is_none() && end.buffer.kept == Kept::default()));
}

#[test]
fn what_is_of_no_use_behind_the_end_is_not_sent() {
    let (config, budget) = (Config::default(), Budget::new(64 << 20));
    let fresh = || {
        let mut streams = streams(Side::Responder, &config, &budget);
        while packet(&mut streams, 1200).is_some() {}
        streams
    };
    let (id, half) = (StreamId(0), INITIAL_EACH as usize / 2);
    // A STOP that is due.
    let mut streams = fresh();
    streams.on_data(id, 0, &bytes(id, 0, half), false).unwrap();
    streams.stop(id, 9);
    assert!(streams.has_frames());
    while streams.window.is_due() {
        streams.window.on_sent();
    }
    streams.on_data(id, half as u64, b"", true).unwrap();
    assert!(!streams.has_frames());
    // A WINS that was lost.
    let mut streams = fresh();
    streams.on_data(id, 0, &bytes(id, 0, half), false).unwrap();
    streams.on_lost(&SentStreamFrame::StreamWindow { stream: id });
    assert!(streams.has_frames());
    streams.on_data(id, half as u64, b"", true).unwrap();
    assert!(!streams.has_frames());
}

fn carry_one([a, b]: &mut [Streams; 2]) {
    let (packet, sent) = packet(a, 1200).unwrap();
    deliver(b, &packet).unwrap();
    sent.iter().for_each(|frame| a.on_acked(frame));
}

#[test]
fn one_stuck_stream_stops_no_other() {
    let config = Config { max_send_buffer: 1 << 20, ..Config::default() };
    let budget = Budget::new(0);
    let mut pair = pair(&config, [&budget; 2]);
    let (stuck, lively) = (pair[0].open().unwrap(), pair[0].open().unwrap());
    let all = bytes(stuck, 0, 2 << 20);
    assert_eq!(pair[0].write(stuck, &all), Ok(1 << 20));
    settle(&mut pair);
    // The first stream has filled what it may, and nobody reads it.
    let room = pair[0].write(lively, &bytes(lively, 0, 2 << 20)).unwrap();
    assert!(room as u64 >= ALWAYS_WRITABLE, "{room}");
}

/// A sender that always has something, limited by nothing but credit, and by `rate(round)` bytes in each round trip.
/// Gives the window behind the last round, and whether credit was ever too little.
fn grow(pair: &mut [Streams; 2], now: &mut Instant, id: StreamId, rates: impl Iterator<Item = u64>) -> (u64, bool) {
    /// Batches of packets in a round trip.
    const BATCHES: u64 = 20;
    let (mut limited, mut out) = (false, vec![0; 1 << 20]);
    let chunk = vec![1; 1 << 20];
    for rate in rates {
        for _ in 0..BATCHES {
            *now += ROUND_TRIP / BATCHES as u32;
            let mut left = rate / BATCHES;
            while left > 0 {
                let _ = pair[0].write(id, &chunk).unwrap();
                let Some((bytes, sent)) = packet(&mut pair[0], 1200) else {
                    limited = true;
                    break;
                };
                deliver(&mut pair[1], &bytes).unwrap();
                sent.iter().for_each(|frame| pair[0].on_acked(frame));
                left = left.saturating_sub(bytes.len() as u64);
            }
            pair[1].tune_windows(*now, ROUND_TRIP);
            while let Ok(Read::Bytes(_)) = pair[1].read(id, &mut out) {}
            let [a, b] = pair;
            carry(b, a);
        }
    }
    (pair[1].window.size(), limited)
}

#[test]
fn the_window_limits_no_sender_that_doubles_its_rate() {
    let (config, budget) = (Config::default(), Budget::new(64 << 20));
    let mut pair = pair(&config, [&Budget::new(0), &budget]);
    let id = pair[0].open().unwrap();
    let mut now = Instant::now();
    let doubling = (0..9).map(|round| (45_000_u64 << round).min(8 << 20));
    let (window, limited) = grow(&mut pair, &mut now, id, doubling.chain([8 << 20; 4]));
    assert!(!limited, "limited at a window of {window}");
    assert!((24 << 20..=48 << 20).contains(&window), "three times 8 MiB: {window}");
    let steady = grow(&mut pair, &mut now, id, [8 << 20; 30].into_iter()).0;
    assert_eq!(steady, window, "it stays");
}

#[test]
fn a_program_that_does_not_read_does_not_widen_its_window() {
    let (config, budget) = (Config::default(), Budget::new(64 << 20));
    let mut pair = pair(&config, [&budget; 2]);
    let id = pair[0].open().unwrap();
    let start = Instant::now();
    for millisecond in 0..1000 {
        let _ = pair[0].write(id, &[0; 100_000]).unwrap();
        let [a, b] = &mut pair;
        carry(a, b);
        b.tune_windows(start + Duration::from_millis(millisecond), ROUND_TRIP);
        carry(b, a);
    }
    let window = pair[1].window.size();
    assert!(window <= 2 << 20, "{window}");
}

#[test]
fn who_has_more_than_a_fair_share_gives_it_to_who_has_less() {
    let (config, budget, none) = (Config::default(), Budget::new(24 << 20), Budget::new(0));
    let mut rich = pair(&config, [&none, &budget]);
    let mut poor = pair(&config, [&none, &budget]);
    let mut now = Instant::now();
    let (a, b) = (rich[0].open().unwrap(), poor[0].open().unwrap());
    let (before, _) = grow(&mut rich, &mut now, a, [16 << 20; 5].into_iter());
    assert!(before > 18 << 20, "{before}");
    for _ in 0..10 {
        grow(&mut poor, &mut now, b, [8 << 20; 2].into_iter());
        grow(&mut rich, &mut now, a, [8 << 20; 2].into_iter());
        assert!(budget.taken() <= 24 << 20);
    }
    let sizes = (rich[1].window.size(), poor[1].window.size());
    assert!(sizes.0.abs_diff(sizes.1) <= 1 << 20, "{sizes:?}");
    drop(rich);
    drop(poor);
    assert_eq!(budget.taken(), 0);
}
