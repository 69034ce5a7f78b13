//! Ways through a third node.

use std::num::NonZeroU64;
use std::time::Instant;

use common::mrt::{Config, Route};
use common::relay::{ChannelId, RelayConfig, RelayHead};

use super::*;

const MIB: usize = 1 << 20;
/// Bytes a second of a relay that is in nobody's way here.
const PLENTY: u64 = 1 << 34;

/// A relay, and two nodes that are connected with it and have a channel each.
struct Three {
    stage: Stage,
    relay: Node,
    handle: RelayHandle,
    channels: [ChannelId; 2],
    /// From the two to the relay; here first.
    to_relay: [Connection; 2],
    /// The same connections, as the relay has them.
    at_relay: [Connection; 2],
    /// From each of the two to the other.
    routes: [Route; 2],
}

impl Three {
    async fn new(bytes_per_sec: u64) -> Self {
        let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
        let relay = node(&stage.tasks, LOOPBACK, 3, PSK, &Config::default());
        let handle = relay.relay(RelayConfig::new(NonZeroU64::new(bytes_per_sec).unwrap()));
        let connect = async |node: &Node| {
            let (to, at) = tokio::join!(node.connect(relay.local_addr(), Target::default()), relay.accept());
            (to.unwrap(), at.unwrap())
        };
        let (here, here_at) = connect(&stage.here).await;
        let (there, there_at) = connect(&stage.there).await;
        let channels = handle.pair_between([&here_at, &there_at]).unwrap();
        assert_eq!(handle.pair_between([&there_at, &here_at]).unwrap(), [channels[1], channels[0]], "the same one");
        let routes = [
            stage.here.add_relayed(RelayAt::Connection(&here), channels[0]).unwrap(),
            stage.there.add_relayed(RelayAt::Connection(&there), channels[1]).unwrap(),
        ];
        let (to_relay, at_relay) = ([here, there], [here_at, there_at]);
        Self { stage, relay, handle, channels, to_relay, at_relay, routes }
    }

    /// A connection of the two that begins on the relayed way.
    async fn connect(&self) -> (Connection, Connection) {
        let target = Target::default();
        let (asked, accepted) =
            tokio::join!(self.stage.here.connect_on(self.routes[0], target), self.stage.there.accept());
        (asked.unwrap(), accepted.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshake_and_transfer_go_through_a_relay() {
    let three = in_time(Three::new(PLENTY)).await;
    let (asked, accepted) = in_time(three.connect()).await;
    assert_eq!(asked.remote().identity, Identity::from_seed(&[2; 32]).public_key());
    assert_eq!((asked.route().unwrap(), accepted.route().unwrap()), (three.routes[0], three.routes[1]));
    assert_eq!(asked.observed().unwrap(), None, "a relay shows nobody where he is");
    in_time(exchange_between(&asked, &accepted, 4 * MIB)).await;
    assert!(asked.stats().unwrap().datagram > 8_000, "larger datagrams are found through a relay, too");
    let [pair] = three.handle.pairs()[..] else { panic!("one pair") };
    assert!(pair.bytes.iter().all(|bytes| *bytes > 4 * MIB as u64), "{pair:?}");
    assert_eq!(pair.channels, three.channels);
    assert_eq!(three.at_relay[0].stats().unwrap().packets_lost, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_moves_from_the_relay_to_a_direct_path_and_back() {
    let three = in_time(Three::new(PLENTY)).await;
    let (asked, accepted) = in_time(three.connect()).await;
    let direct = three.stage.here.route(SocketId(0), three.stage.there.local_addr()).unwrap();
    let relayed = || three.handle.totals().bytes;
    let moves = async {
        until(|| relayed() > 2 * MIB as u64).await;
        asked.probe(direct).unwrap();
        proven(&asked, direct).await;
        assert!(asked.switch(direct).unwrap());
        until(|| accepted.route().unwrap().remote == three.stage.here.local_addr()).await;
        let before = asked.stats().unwrap().bytes_sent;
        until(|| asked.stats().unwrap().bytes_sent > before + 4 * MIB as u64).await;
        let (before, others) = (relayed(), asked.stats().unwrap().bytes_sent);
        until(|| asked.stats().unwrap().bytes_sent > others + 4 * MIB as u64).await;
        assert!(relayed() - before < MIB as u64, "{} bytes through the relay all the same", relayed() - before);
        assert!(asked.switch(three.routes[0]).unwrap());
        until(|| accepted.route().unwrap() == three.routes[1] && relayed() > before + 2 * MIB as u64).await;
    };
    in_time(exchange_during(&asked, &accepted, moves)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_carries_no_more_than_its_quota() {
    const RATE: u64 = 4 << 20;
    let three = in_time(Three::new(RATE)).await;
    let (asked, accepted) = in_time(three.connect()).await;
    let (begin, before) = (Instant::now(), three.handle.totals().bytes);
    let both = async {
        let writer = async {
            let mut stream = asked.open().await.unwrap();
            stream.write_all(&content(1, 8 * MIB)).await.unwrap();
            stream.finished().await.unwrap();
        };
        let reader = async {
            let mut came = Vec::new();
            accepted.accept().await.unwrap().read_to_end(&mut came).await.unwrap();
            assert!(came == content(1, 8 * MIB));
        };
        tokio::join!(writer, reader)
    };
    in_time(both).await;
    let (elapsed, bytes) = (begin.elapsed(), three.handle.totals().bytes - before);
    // A burst at first, and whatever else: a fifth more.
    let most = RATE as f64 * (elapsed.as_secs_f64() * 1.2 + 0.5);
    assert!((bytes as f64) < most, "{bytes} bytes in {elapsed:?}");
    assert!(three.handle.totals().over_quota > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_follows_its_members_and_they_follow_it() {
    let three = in_time(Three::new(PLENTY)).await;
    let (asked, accepted) = in_time(three.connect()).await;
    let [to_relay, _] = &three.to_relay;
    // A member is elsewhere from now on, as its router would have it.
    let other = three.stage.here.add_socket(LOOPBACK.parse().unwrap()).unwrap();
    let route = three.stage.here.route(other, three.relay.local_addr()).unwrap();
    in_time(async {
        to_relay.probe(route).unwrap();
        proven(to_relay, route).await;
        assert!(to_relay.switch(route).unwrap());
        exchange_between(&asked, &accepted, MIB).await;
        // And now the relay.
        let [at_relay, _] = &three.at_relay;
        let other = three.relay.add_socket(LOOPBACK.parse().unwrap()).unwrap();
        let route = three.relay.route(other, at_relay.route().unwrap().remote).unwrap();
        at_relay.probe(route).unwrap();
        proven(at_relay, route).await;
        assert!(at_relay.switch(route).unwrap());
        exchange_between(&asked, &accepted, MIB).await;
    })
    .await;
    assert_eq!(asked.route().unwrap(), three.routes[0]);
}

#[tokio::test]
async fn a_relay_forwards_nothing_from_strangers() {
    let three = in_time(Three::new(PLENTY)).await;
    let (asked, accepted) = in_time(three.connect()).await;
    let stranger = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let before = three.handle.totals();
    for (channel, inner) in [(three.channels[0], b"x".as_slice()), (ChannelId(1), b"x"), (three.channels[0], b"")] {
        let datagram = [&RelayHead { channel }.encode(), inner].concat();
        stranger.send_to(&datagram, three.relay.local_addr()).unwrap();
    }
    in_time(exchange_between(&asked, &accepted, MIB)).await;
    let after = three.handle.totals();
    assert_eq!((after.foreign, after.malformed), (before.foreign + 2, before.malformed + 1));
}

#[tokio::test]
async fn nothing_is_sent_through_a_relay_to_where_it_is_not_proven_to_be() {
    let three = in_time(Three::new(PLENTY)).await;
    let (here, relay) = (&three.stage.here, three.relay.local_addr());
    let between = Between::new([here.local_addr(), relay]).await;
    let victim = UdpSocket::bind(LOOPBACK).await.unwrap();
    in_time(async {
        let connect = async {
            let (to, at) = tokio::join!(here.connect(between.address(), Target::default()), three.relay.accept());
            let (to, at) = (to.unwrap(), at.unwrap());
            assert!(here.remove_relayed(three.routes[0]));
            let route = here.add_relayed(RelayAt::Connection(&to), three.channels[0]).unwrap();
            let (asked, accepted) = tokio::join!(here.connect_on(route, Target::default()), three.stage.there.accept());
            let (asked, accepted) = (asked.unwrap(), accepted.unwrap());
            exchange_between(&asked, &accepted, 1 << 16).await;
            (to, at, asked, accepted)
        };
        let (_to, at, asked, _accepted) = between.pass_on_during(connect).await;
        // Something of the relay comes from another address, as anybody on the way could make it.
        let mut word = at.open().await.unwrap();
        word.write_all(b"word").await.unwrap();
        let mut datagram = between.next_from(relay).await;
        let mut buffer = [0; 2_000];
        let nothing_asked_for = |datagram: &[u8]| {
            assert!(!RelayHead::is_in_front_of(datagram), "it is relayed to somebody who asked for nothing");
        };
        // The first may be one that shows no new address; what nobody acknowledges is sent again.
        loop {
            victim.send_to(&datagram, here.local_addr()).await.unwrap();
            tokio::select! {
                size = victim.recv(&mut buffer) => break nothing_asked_for(&buffer[..size.unwrap()]),
                next = between.next_from(relay) => datagram = next,
            }
        }
        let before = asked.stats().unwrap().bytes_sent;
        let mut stream = asked.open().await.unwrap();
        stream.write_all(&content(1, 1 << 16)).await.unwrap();
        until(|| asked.stats().unwrap().bytes_sent > before + 5_000).await;
        while let Ok(size) = victim.try_recv(&mut buffer) {
            nothing_asked_for(&buffer[..size]);
        }
    })
    .await;
}

#[tokio::test]
async fn who_has_left_is_sent_nothing_and_who_has_another_connection_has_not_left() {
    let mut three = in_time(Three::new(PLENTY)).await;
    let here = three.stage.here.clone();
    let other = here.add_socket(LOOPBACK.parse().unwrap()).unwrap();
    let route = here.route(other, three.relay.local_addr()).unwrap();
    in_time(async {
        let (to, at) = tokio::join!(here.connect_on(route, Target::default()), three.relay.accept());
        let (to, at) = (to.unwrap(), at.unwrap());
        three.to_relay[0].close(common::mrt::CloseCode::DONE, "");
        three.at_relay[0].closed().await;
        three.routes[0] = here.add_relayed(RelayAt::Connection(&to), three.channels[0]).unwrap();
        let (asked, accepted) = three.connect().await;
        exchange_between(&asked, &accepted, MIB).await;
        assert_eq!(three.handle.totals().unreachable, 0);
        to.close(common::mrt::CloseCode::DONE, "");
        at.closed().await;
        let mut stream = accepted.open().await.unwrap();
        stream.write_all(b"anybody there?").await.unwrap();
        until(|| three.handle.totals().unreachable > 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_relayed_way_goes_with_its_relay_and_the_connection_takes_another() {
    let three = in_time(Three::new(PLENTY)).await;
    let (asked, accepted) = in_time(three.connect()).await;
    let here = &three.stage.here;
    let taken = here.add_relayed(RelayAt::Connection(&three.to_relay[0]), three.channels[0]).unwrap_err();
    assert_eq!(taken, RelayedError::InUse);
    let nothing_to_open = in_time(here.open_towards(three.routes[0], DEADLINE)).await.unwrap_err();
    assert!(matches!(nothing_to_open, StunError::Connection(ConnectionError::Address(_))), "{nothing_to_open}");
    let direct = here.route(SocketId(0), three.stage.there.local_addr()).unwrap();
    in_time(async {
        asked.probe(direct).unwrap();
        proven(&asked, direct).await;
        three.relay.close(common::mrt::CloseCode::DONE, "no relay any more").await;
        three.to_relay[0].closed().await;
        while asked.path_event().await.unwrap() != PathEvent::InUse(direct) {}
        exchange_between(&asked, &accepted, MIB).await;
    })
    .await;
    assert_eq!(asked.route().unwrap(), direct);
    assert!(!here.remove_relayed(three.routes[0]), "it went by itself");
    let closed = here.add_relayed(RelayAt::Connection(&three.to_relay[0]), ChannelId(9)).unwrap_err();
    assert_eq!(closed, RelayedError::Nowhere);
}
