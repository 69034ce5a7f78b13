//! Members of the network whose programs do what they like.

use super::transfers::send;
use super::*;
use crate::mrt::frame::{Frame, FrameWriter};
use crate::mrt::ranges::Ranges;

/// A pair whose end 0 has just sent `frames` in a packet to end 1, which has handled it.
fn forged(frames: &[Frame<'_>]) -> (Pair, [ConnectionHandle; 2]) {
    let mut pair = Pair::new();
    let both = pair.connected(Target::default());
    pair.run(Duration::from_secs(1), |_| false);
    forge(&mut pair, both[0], frames);
    (pair, both)
}

fn forge(pair: &mut Pair, handle: ConnectionHandle, frames: &[Frame<'_>]) {
    let mut inside = Vec::new();
    let mut writer = FrameWriter::new(&mut inside, 60_000);
    for frame in frames {
        writer.put(frame);
    }
    forge_bytes(pair, handle, &inside);
}

fn forge_bytes(pair: &mut Pair, handle: ConnectionHandle, inside: &[u8]) {
    let now = pair.now;
    let mut packet = pair.connection(0, handle).forge(now, inside);
    let route = Route { socket: 0, remote: pair.ends[0].address };
    pair.ends[1].endpoint.handle_datagram(now, Received { route, local_ip: None, ecn: Ecn::NotCapable }, &mut packet);
}

#[test]
fn a_packet_with_very_many_frames_ends_the_connection() {
    for (count, ends) in [(64, false), (65, true)] {
        let (mut pair, [_, there]) = forged(&vec![Frame::Ping; count]);
        pair.drain(1);
        assert_eq!(pair.closed(1, there).is_some(), ends, "{count} frames");
    }
}

#[test]
fn who_acknowledges_nothing_is_not_remembered_for_without_end() {
    let (mut pair, [here, there]) = forged(&[Frame::Ping]);
    // As long as this one is open, all that go out behind it are remembered.
    let id = pair.connection(1, there).open().unwrap();
    pair.connection(1, there).write(id, &[7; 100]).unwrap();
    let mut packets = 0_u32;
    while pair.closed(1, there).is_none() {
        packets += 1;
        assert!(packets < 300_000, "it goes on for ever");
        // Each is answered at once, and the answer vanishes.
        forge(&mut pair, here, &[Frame::Ping]);
        forge(&mut pair, here, &[Frame::Ping]);
        pair.drain(1);
        pair.flying.clear();
    }
    assert!(packets > 10_000, "an honest one may lose many");
}

#[test]
fn who_acknowledges_what_he_cannot_have_got_is_found_out() {
    let mut pair = Pair::new();
    let [here, there] = pair.connected(Target::default());
    let id = pair.connection(1, there).open().unwrap();
    for _ in 0..400 {
        pair.connection(1, there).write(id, &content(100_000, 3)).unwrap();
        pair.run(Duration::from_millis(20), |_| false);
        // So many have been sent at least; one or the other was left out.
        let mut all = Ranges::new();
        all.insert(0..pair.connection(0, here).stats().datagrams_received);
        let mut inside = Vec::new();
        FrameWriter::new(&mut inside, 60_000).put_acks(&all, 0, 0);
        forge_bytes(&mut pair, here, &inside);
        pair.drain(1);
        if let Some(reason) = pair.closed(1, there) {
            assert_eq!(reason, CloseReason::Violation("an acknowledgement of what cannot have come"));
            return;
        }
    }
    panic!("nobody noticed");
}

#[test]
fn left_out_numbers_disturb_nobody_who_is_honest() {
    let mut pair = Pair::with([Config::default(), Config { max_datagram: 1252, ..Config::default() }], [PSK; 2]);
    let both = pair.connected(Target::default());
    send(&mut pair, both, &content(10_000_000, 2), Duration::from_secs(60));
    let stats = pair.connection(0, both[0]).stats();
    assert_eq!((stats.packets_lost, stats.spurious_losses), (0, 0), "{stats:?}");
}
