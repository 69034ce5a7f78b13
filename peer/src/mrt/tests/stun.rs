//! Where a node is seen.

use std::net::UdpSocket;

use common::mrt::Config;
use common::nat::{StunFailure, StunMessage, is_stun};

use super::*;

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

#[tokio::test]
async fn who_asks_too_much_is_not_answered() {
    const ASKED: usize = 4_000;
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let mut request = *b"\0\x01\0\0\x21\x12\xa4\x42transaction.";
    let asker = tokio::net::UdpSocket::bind(LOOPBACK).await.unwrap();
    let mut answers = 0;
    in_time(async {
        for number in 0..ASKED {
            request[8..16].copy_from_slice(&number.to_be_bytes());
            asker.send_to(&request, stage.here.local_addr()).await.unwrap();
            let mut answer = [0; 100];
            // In turn, so that no queue is full.
            tokio::task::yield_now().await;
            while let Ok((size, _)) = asker.try_recv_from(&mut answer) {
                assert!(is_stun(&answer[..size]));
                answers += 1;
            }
        }
        // What came before is answered by now, and a connection is not in the way of it.
        let _both = stage.connect().await;
    })
    .await;
    let mut answer = [0; 100];
    while let Ok((size, _)) = asker.try_recv_from(&mut answer) {
        assert!(matches!(StunMessage::decode(&answer[..size]), Ok(StunMessage::Success { .. })));
        answers += 1;
    }
    // Less than a second, or a bit more.
    assert!((100..=3_000).contains(&answers), "{answers}");
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
