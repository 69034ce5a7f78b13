//! Several sockets of a node.

use std::io;
use std::net::UdpSocket;

use common::mrt::Config;

use super::*;

fn received(connection: &Connection) -> u64 {
    connection.stats().unwrap().bytes_received
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_moves_between_sockets_of_both_sides_and_nothing_is_lost() {
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let (asked, accepted) = in_time(stage.connect()).await;
    let mine = stage.here.add_socket(LOOPBACK.parse().unwrap()).unwrap();
    let theirs = stage.there.add_socket("[::1]:0".parse().unwrap()).unwrap();
    let mine_too = stage.here.add_socket("[::1]:0".parse().unwrap()).unwrap();
    let [_, (_, here), (_, here_too)] = stage.here.sockets()[..] else { panic!("three sockets") };
    let [_, (_, there)] = stage.there.sockets()[..] else { panic!("two sockets") };
    let moves = async {
        until(|| received(&asked) > 1 << 20).await;
        // From another socket of ours to where the other side is.
        let route = stage.here.route(mine, stage.there.local_addr()).unwrap();
        assert!(!asked.switch(route).unwrap(), "nobody answered there yet");
        asked.probe(route).unwrap();
        proven(&asked, route).await;
        assert!(asked.switch(route).unwrap());
        until(|| accepted.route().unwrap().remote == here).await;
        // The other side moves both ends, to another family.
        let route = stage.there.route(theirs, here_too).unwrap();
        accepted.probe(route).unwrap();
        proven(&accepted, route).await;
        let before = received(&accepted);
        assert!(accepted.switch(route).unwrap());
        until(|| asked.route().unwrap() == stage.here.route(mine_too, there).unwrap()).await;
        until(|| received(&accepted) > before + (1 << 20)).await;
    };
    in_time(exchange_during(&asked, &accepted, moves)).await;
    assert_eq!(accepted.route().unwrap().socket, theirs.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_is_removed_fails_its_paths_and_transfers_go_on_elsewhere() {
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let (asked, accepted) = in_time(stage.connect()).await;
    let first = asked.route().unwrap();
    let second = stage.here.add_socket(LOOPBACK.parse().unwrap()).unwrap();
    let route = stage.here.route(second, stage.there.local_addr()).unwrap();
    asked.probe(route).unwrap();
    in_time(proven(&asked, route)).await;
    let removal = async {
        until(|| received(&asked) > 1 << 20).await;
        assert!(stage.here.remove_socket(SocketId(0)));
        assert!(!stage.here.remove_socket(SocketId(0)), "once");
        while asked.path_event().await.unwrap() != PathEvent::InUse(route) {}
        until(|| UdpSocket::bind(stage.here.local_addr()).is_ok()).await;
    };
    in_time(exchange_during(&asked, &accepted, removal)).await;
    assert_eq!(asked.route().unwrap(), route);
    assert!(matches!(asked.probe(first), Err(ConnectionError::Address(_))));
    let refused = in_time(stage.here.connect_on(first, Target::default())).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::Address(_)), "{refused}");
}

#[tokio::test]
async fn a_connection_whose_only_socket_went_is_had_back_on_another() {
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let (asked, accepted) = in_time(stage.connect()).await;
    assert!(stage.here.remove_socket(SocketId(0)));
    let nowhere = stage.here.connect(stage.there.local_addr(), Target::default()).await.unwrap_err();
    assert!(matches!(nowhere, ConnectionError::Address(_)), "{nowhere}");
    let second = stage.here.add_socket(LOOPBACK.parse().unwrap()).unwrap();
    assert_ne!(second, SocketId(0), "numbers are not used again soon");
    let route = stage.here.route(second, stage.there.local_addr()).unwrap();
    in_time(async {
        asked.probe(route).unwrap();
        proven(&asked, route).await;
        assert!(asked.switch(route).unwrap());
        exchange_between(&asked, &accepted, 100_000).await;
    })
    .await;
}

#[tokio::test]
async fn each_family_is_reached_from_a_socket_of_it() {
    let stage = Stage::new(LOOPBACK, "[::1]:0", &Config::default());
    let error = stage.here.connect(stage.there.local_addr(), Target::default()).await.unwrap_err();
    assert!(matches!(error, ConnectionError::Address(_)), "{error}");
    let six = stage.here.add_socket("[::1]:0".parse().unwrap()).unwrap();
    let (asked, _accepted) = in_time(stage.connect()).await;
    assert_eq!(asked.route().unwrap().socket, six.0);
    let taken = stage.here.add_socket(stage.here.local_addr()).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
}
