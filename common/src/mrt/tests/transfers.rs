//! Bytes get there.

use super::*;

/// Writes all of `bytes` to a new stream of 0, ends it, and lets time pass until 1 has read it; gives how long it took.
pub(super) fn send(pair: &mut Pair, [here, there]: [ConnectionHandle; 2], bytes: &[u8], limit: Duration) -> Duration {
    let begin = pair.now;
    let id = pair.connection(0, here).open().expect("a stream may be opened");
    let mut written = 0;
    let done = |pair: &Pair| pair.ends[1].ended.contains(&(there, id));
    while written < bytes.len() {
        let count = pair.connection(0, here).write(id, &bytes[written..]).expect("it takes bytes");
        written += count;
        if count == 0 {
            let events = pair.ends[0].events.len();
            let left = (begin + limit).saturating_duration_since(pair.now);
            assert!(
                pair.run(left, |pair| pair.ends[0].events.len() > events),
                "stuck at {written} of {}: {:?}",
                bytes.len(),
                pair.connection(0, here).stats()
            );
        }
    }
    pair.connection(0, here).finish(id).unwrap();
    let left = (begin + limit).saturating_duration_since(pair.now);
    assert!(pair.run(left, done), "the end did not come: {:?}", pair.connection(0, here).stats());
    assert!(pair.ends[1].read[&(there, id)] == bytes, "other bytes came");
    pair.now - begin
}

#[test]
fn a_file_arrives_and_the_sender_knows() {
    let mut pair = Pair::new();
    let both = pair.connected(Target::default());
    send(&mut pair, both, &content(5_000_000, 1), Duration::from_secs(60));
    assert!(pair.run(Duration::from_secs(1), |pair| {
        pair.ends[0]
            .events
            .iter()
            .any(|event| matches!(event, Event::Connection(_, ConnectionEvent::Stream(StreamEvent::Finished(_)))))
    }));
    let stats = pair.connection(0, both[0]).stats();
    assert_eq!(stats.packets_lost, 0, "{stats:?}");
    assert_eq!(stats.datagram, 16_384, "the path carries it");
}

#[test]
fn a_file_arrives_through_losses() {
    for (seed, loss) in [(1, 10), (2, 50), (3, 150), (4, 300)] {
        let mut pair = Pair::new();
        let both = pair.connected(Target::default());
        let mut dice = Dice::new(seed);
        pair.fate = Box::new(move |_| if dice.falls(loss) { Fate::Vanishes } else { Fate::Arrives });
        send(&mut pair, both, &content(1_000_000, seed), Duration::from_secs(120));
    }
}

#[test]
fn many_short_streams_both_ways() {
    let mut pair = Pair::new();
    let both = pair.connected(Target::default());
    for round in 0..40_u64 {
        for (side, handle) in both.into_iter().enumerate() {
            for _ in 0..20 {
                let connection = pair.connection(side, handle);
                let id = connection.open().expect("few are open");
                assert_eq!(connection.write(id, &content(300, id.0)).unwrap(), 300);
                connection.finish(id).unwrap();
            }
        }
        let wanted = usize::try_from(round + 1).unwrap() * 20;
        let all = |pair: &Pair| pair.ends.iter().all(|end| end.ended.len() == wanted);
        assert!(pair.run(Duration::from_secs(1), all), "round {round}");
        // The other half of each stream ends too.
        for side in 0..2 {
            let ended: Vec<_> = pair.ends[side].ended[wanted - 20..].to_vec();
            for (handle, id) in ended {
                assert_eq!(pair.ends[side].read[&(handle, id)], content(300, id.0));
                pair.connection(side, handle).finish(id).unwrap();
            }
        }
        pair.run(Duration::from_millis(50), |_| false);
    }
}

#[test]
fn a_reader_that_does_not_read_holds_the_writer_and_nothing_else() {
    let mut pair = Pair::new();
    let [here, there] = pair.connected(Target::default());
    pair.ends[1].reads = false;
    let id = pair.connection(0, here).open().unwrap();
    let chunk = content(1 << 16, 0);
    let mut written = 0_u64;
    let mut idle = 0;
    while idle < 5 {
        let count = pair.connection(0, here).write(id, &chunk).unwrap() as u64;
        written += count;
        idle = if count == 0 { idle + 1 } else { 0 };
        pair.run(Duration::from_millis(100), |_| false);
    }
    assert!(written < 16 << 20, "{written} bytes were taken although nobody reads");
    assert_eq!(pair.closed(0, here), None);
    pair.ends[1].reads = true;
    pair.ends[1].endpoint.connection(there).unwrap().accept().unwrap();
    pair.ends[1].drain_stream(there, id);
    pair.connection(0, here).finish(id).unwrap();
    assert!(pair.run(Duration::from_secs(10), |pair| pair.ends[1].ended.contains(&(there, id))));
    assert_eq!(pair.ends[1].read[&(there, id)].len() as u64, written);
}

#[test]
fn a_closed_connection_says_why_and_leaves_nothing() {
    let mut pair = Pair::new();
    let [here, there] = pair.connected(Target::default());
    let now = pair.now;
    pair.connection(0, here).close(now, CloseCode(300), "enough");
    pair.run(Duration::from_secs(20), |_| false);
    assert_eq!(pair.closed(0, here), Some(CloseReason::Here));
    assert_eq!(pair.closed(1, there), Some(CloseReason::There { code: CloseCode(300), reason: "enough".to_owned() }));
    for end in &mut pair.ends {
        assert_eq!(end.endpoint.handles().count(), 0);
        assert_eq!(end.endpoint.poll_timeout(), None);
    }
}

#[test]
fn a_quiet_connection_lives_and_a_dead_one_ends() {
    let mut pair = Pair::new();
    let [here, there] = pair.connected(Target::default());
    let sent = pair.sent;
    pair.run(Duration::from_secs(300), |_| false);
    assert_eq!((pair.closed(0, here), pair.closed(1, there)), (None, None));
    assert!(pair.sent - sent < 200, "{} datagrams in five quiet minutes", pair.sent - sent);
    pair.fate = Box::new(|_| Fate::Vanishes);
    pair.run(Duration::from_secs(60), |_| false);
    assert_eq!(pair.closed(0, here), Some(CloseReason::TimedOut));
    assert_eq!(pair.closed(1, there), Some(CloseReason::TimedOut));
}

#[test]
fn replayed_datagrams_change_nothing() {
    let mut pair = Pair::new();
    let both = pair.connected(Target::default());
    let recorded = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let tape = std::rc::Rc::clone(&recorded);
    pair.fate = Box::new(move |datagram| {
        tape.borrow_mut().push(datagram.clone());
        Fate::Arrives
    });
    send(&mut pair, both, &content(300_000, 1), Duration::from_secs(60));
    pair.run(Duration::from_secs(1), |_| false);
    let before = [0, 1].map(|end| pair.connection(end, both[end]).stats().datagrams_received);
    pair.fate = Box::new(|_| Fate::Arrives);
    let tape = std::mem::take(&mut *recorded.borrow_mut());
    for datagram in tape {
        pair.flying.push_back(InFlight { at: pair.now, ..datagram });
    }
    pair.run(Duration::from_secs(1), |_| false);
    let after = [0, 1].map(|end| pair.connection(end, both[end]).stats().datagrams_received);
    assert!(after[0] + after[1] <= before[0] + before[1] + 4, "{before:?} {after:?}");
    send(&mut pair, both, &content(300_000, 2), Duration::from_secs(60));
}
