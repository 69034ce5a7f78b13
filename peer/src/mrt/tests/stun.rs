//! Where a node is seen.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Instant;

use common::mrt::{Config, Ecn, Endpoint, Received, Route};
use common::nat::StunFailure;

use super::*;
use crate::mrt::shared::Shared;
use crate::mrt::stun::MOST_OPENINGS;
use crate::mrt::ways::Ways;

#[tokio::test]
async fn every_node_says_from_where_it_is_asked() {
    let stage = Stage::new(LOOPBACK, "[::]:0", &Config::default());
    let other = stage.here.add_socket("[::1]:0".parse().unwrap()).unwrap();
    let port = stage.there.local_addr().port();
    let [(first, four), (_, six)] = stage.here.sockets()[..] else { panic!("two sockets") };
    in_time(async {
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(stage.here.stun(server, first).await.unwrap(), four);
        let server = SocketAddr::new("::1".parse().unwrap(), port);
        assert_eq!(stage.here.stun(server, other).await.unwrap(), six);
        let wrong = stage.here.stun(server, first).await.unwrap_err();
        assert!(matches!(wrong, StunError::Connection(ConnectionError::Address(_))), "{wrong}");
    })
    .await;
}

#[test]
fn so_many_are_answered_in_a_second_and_only_requests_count() {
    const ASKED: usize = 4_000;
    const REQUEST: [u8; 2] = [0, 1];
    const SUCCESS: [u8; 2] = [1, 1];
    let begin = Instant::now();
    let shared = Shared::new(begin, Endpoint::new(begin, Config::default(), keys(1, PSK), [0; 32]), Ways::new());
    let ask = |at: Instant, kind: [u8; 2], askers: u32| {
        let mut state = shared.lock();
        let message = [kind.as_slice(), b"\0\0\x21\x12\xa4\x42transaction."].concat();
        for asker in (0..askers).cycle().take(ASKED) {
            let remote = SocketAddr::from((Ipv4Addr::from_bits(0x0a00_0000 + asker), 4000));
            let received = Received { route: Route { socket: 0, remote }, local_ip: None, ecn: Ecn::NotCapable };
            state.handle_stun(at, &received, &message);
        }
        let (mut bytes, mut answers) = (Vec::new(), VecDeque::new());
        state.aside.move_to(&mut bytes, &mut answers);
        answers.len()
    };
    assert_eq!(ask(begin, SUCCESS, 1), 0, "an answer to nobody's question");
    assert_eq!(ask(begin, REQUEST, 1), 50, "one leaves the most to others");
    assert_eq!(ask(begin, REQUEST, 2_000), 950);
    assert_eq!(ask(begin + Duration::from_millis(999), REQUEST, 2_000), 0);
    assert_eq!(ask(begin + Duration::from_secs(1), REQUEST, 2_000), 1_000);
}

#[tokio::test]
async fn a_way_is_open_when_the_other_side_has_answered() {
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let silent = UdpSocket::bind(LOOPBACK).unwrap();
    silent.set_nonblocking(true).unwrap();
    in_time(async {
        let route = stage.here.route(SocketId(0), silent.local_addr().unwrap()).unwrap();
        let failed = stage.here.open_towards(route, Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(failed, StunError::Failed(StunFailure::Silence)), "{failed}");
        let mut came = [0; 100];
        assert_eq!(silent.recv(&mut came).unwrap(), 28, "small");
        assert!(silent.recv(&mut came).is_err(), "and once at first");
        let there = stage.here.route(SocketId(0), stage.there.local_addr()).unwrap();
        let seen = stage.here.open_towards(there, DEADLINE).await.unwrap();
        assert_eq!(seen, stage.here.local_addr());
        stage.here.close(common::mrt::CloseCode::DONE, "").await;
        let closed = stage.here.open_towards(there, DEADLINE).await.unwrap_err();
        assert!(matches!(closed, StunError::Connection(ConnectionError::Node)), "{closed}");
    })
    .await;
}

#[tokio::test]
async fn who_has_us_open_many_ways_leaves_room_for_our_own_questions() {
    const ASKED: usize = 300;
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let silent = UdpSocket::bind(LOOPBACK).unwrap();
    let way = stage.here.route(SocketId(0), silent.local_addr().unwrap()).unwrap();
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..ASKED {
        let here = stage.here.clone();
        opening.spawn(async move { here.open_towards(way, DEADLINE).await });
    }
    in_time(async {
        for _ in MOST_OPENINGS..ASKED {
            let ended = opening.join_next().await.unwrap().unwrap();
            assert!(matches!(ended, Err(StunError::Busy)), "{ended:?}");
        }
        let seen = stage.here.stun(stage.there.local_addr(), SocketId(0)).await.unwrap();
        assert_eq!(seen, stage.here.local_addr());
    })
    .await;
}
