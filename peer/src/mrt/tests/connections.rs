//! Connections and streams: what arrives, what stops, what ends.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use common::identity::Identity;
use common::mrt::{CloseCode, CloseReason, Config, ReadError, Target, WriteError};
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _};

use super::super::shared::MOST_INCOMING;
use super::*;

async fn exchange_over(here: &str, there: &str) {
    const LENGTH: usize = 5_000_001;
    let stage = Stage::new(here, there, &Config::default());
    let (asked, accepted) = stage.connect().await;
    let asker = async { exchange(asked.open().await.unwrap(), 1, LENGTH).await };
    let accepter = async { exchange(accepted.accept().await.unwrap(), 2, LENGTH).await };
    let (at_asker, at_accepter) = tokio::join!(asker, accepter);
    assert!(at_asker == content(2, LENGTH) && at_accepter == content(1, LENGTH));
    assert_eq!(asked.remote().identity, Identity::from_seed(&[2; 32]).public_key());
    assert_eq!(accepted.remote().identity, Identity::from_seed(&[1; 32]).public_key());
}

#[tokio::test]
async fn every_byte_arrives_both_ways_over_ipv4_and_ipv6() {
    in_time(exchange_over(LOOPBACK, LOOPBACK)).await;
    in_time(exchange_over("[::1]:0", "[::1]:0")).await;
}

#[tokio::test]
async fn a_node_bound_to_all_addresses_is_reached_by_ipv4() {
    in_time(exchange_over("[::]:0", "[::]:0")).await;
    in_time(exchange_over(LOOPBACK, "[::]:0")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_short_streams_at_once_are_answered() {
    const STREAMS: u8 = 200;
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let (asked, accepted) = in_time(stage.connect()).await;
    stage.tasks.spawn("echo", async move {
        let echoes = Tasks::new();
        while let Ok(stream) = accepted.accept().await {
            echoes.spawn("echo of one", async move {
                let (mut read, mut write) = stream.into_split();
                tokio::io::copy(&mut read, &mut write).await.unwrap();
                write.shutdown().await.unwrap();
            });
        }
    });
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..STREAMS {
        let asked = asked.clone();
        asking.spawn(async move {
            let length = usize::from(number) * 20;
            let came = exchange(asked.open().await.unwrap(), number, length).await;
            assert!(came == content(number, length));
        });
    }
    in_time(async {
        while let Some(ended) = asking.join_next().await {
            ended.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_are_written_and_read_in_order() {
    // More than a send buffer holds, so that chunks are taken in parts.
    const TOTAL: usize = 12 << 20;
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config { max_send_buffer: 1 << 20, ..Config::default() });
    let (asked, accepted) = in_time(stage.connect()).await;
    let whole = Bytes::from(content(5, TOTAL));
    let sent = whole.clone();
    let mut stream = asked.open().await.unwrap();
    stage.tasks.spawn("writer", async move {
        stream.write_all(&sent[..100]).await.unwrap();
        stream.write_chunk(sent.slice(100..3_000_000)).await.unwrap();
        stream.write_chunk(Bytes::new()).await.unwrap();
        stream.write_chunk(sent.slice(3_000_000..)).await.unwrap();
        stream.finished().await.unwrap();
    });
    let mut incoming = in_time(accepted.accept()).await.unwrap();
    let (mut came, mut chunk) = (Vec::new(), Vec::new());
    while in_time(incoming.read_chunk(&mut chunk)).await.unwrap() {
        came.extend_from_slice(&chunk);
    }
    assert!(came == whole);
    assert!(!in_time(incoming.read_chunk(&mut chunk)).await.unwrap(), "the end stays the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_does_not_read_stops_the_writer() {
    const TOTAL: u64 = 24 << 20;
    /// What both buffers hold at most, and what is on its way from one to the other.
    const BETWEEN: u64 = 8 << 20;
    let config = Config { receive_budget: 1 << 20, max_send_buffer: 1 << 20, ..Config::default() };
    let stage = Stage::new(LOOPBACK, LOOPBACK, &config);
    let (asked, accepted) = in_time(stage.connect()).await;
    let (read, waits) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (reader_read, writer_waits) = (Arc::clone(&read), Arc::clone(&waits));
    let mut stream = asked.open().await.unwrap();
    stage.tasks.spawn("writer", async move {
        let (block, mut written) = ([1; 64 << 10], 0);
        while written < TOTAL {
            let (mut stream, left) = (pin!(&mut stream), usize::try_from(TOTAL - written).unwrap());
            written += std::future::poll_fn(|context| {
                let poll = stream.as_mut().poll_write(context, &block[..left.min(block.len())]);
                writer_waits.store(poll.is_pending(), Ordering::SeqCst);
                poll.map(|count| count.unwrap() as u64)
            })
            .await;
            assert!(written - reader_read.load(Ordering::SeqCst) < BETWEEN, "{written} bytes are somewhere");
        }
        stream.finished().await.unwrap();
    });
    let mut incoming = in_time(accepted.accept()).await.unwrap();
    in_time(async {
        while !(waits.load(Ordering::SeqCst) && asked.stats().unwrap().in_flight == 0) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let mut block = vec![0; 64 << 10];
    in_time(async {
        while let count @ 1.. = incoming.read(&mut block).await.unwrap() {
            read.fetch_add(count as u64, Ordering::SeqCst);
        }
    })
    .await;
    assert_eq!(read.load(Ordering::SeqCst), TOTAL);
}

#[tokio::test]
async fn dropping_half_a_stream_gives_it_up_and_dropping_it_after_shutdown_does_not() {
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let (asked, accepted) = in_time(stage.connect()).await;
    in_time(async {
        let mut dropped = asked.open().await.unwrap();
        dropped.write_all(b"begun").await.unwrap();
        let mut seen = accepted.accept().await.unwrap();
        seen.read_exact(&mut [0; 5]).await.unwrap();
        drop(dropped);
        let error = seen.read(&mut [0; 1]).await.unwrap_err();
        assert!(matches!(cause(&error), StreamError::Read(ReadError::Reset(0))), "{error}");
        let error = loop {
            match seen.write(b"to nobody").await {
                Err(error) => break error,
                Ok(_) => tokio::task::yield_now().await,
            }
        };
        assert!(matches!(cause(&error), StreamError::Write(WriteError::Stopped(0))), "{error}");

        let mut ended = asked.open().await.unwrap();
        ended.write_all(&content(3, 100_000)).await.unwrap();
        ended.shutdown().await.unwrap();
        drop(ended);
        let (mut seen, mut came) = (accepted.accept().await.unwrap(), Vec::new());
        seen.read_to_end(&mut came).await.unwrap();
        assert!(came == content(3, 100_000));
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_stops_fails_who_waits_for_the_end() {
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let (asked, accepted) = in_time(stage.connect()).await;
    in_time(async {
        let (_read, mut write) = asked.open().await.unwrap().into_split();
        write.write_all(&content(4, 1 << 20)).await.unwrap();
        let mut seen = accepted.accept().await.unwrap();
        seen.stop(42);
        let error = write.finished().await.unwrap_err();
        assert!(matches!(error, StreamError::Write(WriteError::Stopped(42))), "{error}");
    })
    .await;
}

#[tokio::test]
async fn both_sides_learn_why_a_connection_was_closed() {
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let (asked, accepted) = in_time(stage.connect()).await;
    in_time(async {
        let mut stream = asked.open().await.unwrap();
        let code = CloseCode(CloseCode::APPLICATION.0 + 1);
        accepted.close(code, "enough");
        let error = stream.read(&mut [0; 1]).await.unwrap_err();
        let reason = CloseReason::There { code, reason: "enough".to_owned() };
        assert!(
            matches!(cause(&error), StreamError::Connection(ConnectionError::Closed(why)) if *why == reason),
            "{error}"
        );
        assert!(matches!(asked.closed().await, ConnectionError::Closed(why) if why == reason));
        assert!(matches!(accepted.closed().await, ConnectionError::Closed(CloseReason::Here)));
        assert!(matches!(accepted.open().await, Err(ConnectionError::Closed(CloseReason::Here))));
        assert!(asked.stats().is_err());
    })
    .await;
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_connection() {
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let (asked, accepted) = in_time(stage.connect()).await;
    let stream = asked.open().await.unwrap();
    drop(asked);
    assert!(accepted.stats().is_ok(), "the stream holds it");
    drop(stream);
    let done = in_time(accepted.closed()).await;
    assert!(matches!(done, ConnectionError::Closed(CloseReason::There { code: CloseCode::DONE, .. })), "{done}");
}

#[tokio::test]
async fn nobody_there_and_another_network_key_are_no_answer() {
    let config = Config { handshake_timeout: Duration::from_millis(300), ..Config::default() };
    let tasks = Tasks::new();
    let here = node(&tasks, LOOPBACK, 1, PSK, &config);
    let stranger = node(&tasks, LOOPBACK, 2, [8; 32], &config);
    let silent = std::net::UdpSocket::bind(LOOPBACK).unwrap();
    let closed_port = std::net::UdpSocket::bind(LOOPBACK).unwrap().local_addr().unwrap();
    let static_key = Some(keys(2, [8; 32]).static_key());
    for nobody in [silent.local_addr().unwrap(), closed_port, stranger.local_addr()] {
        let error = in_time(here.connect(nobody, Target { static_key, ..Target::default() })).await.unwrap_err();
        assert!(matches!(error, ConnectionError::Closed(CloseReason::NoAnswer)), "{error}");
        assert!(error.hint().is_some());
    }
    let error = here.connect("[::1]:1".parse().unwrap(), Target::default()).await.unwrap_err();
    assert!(matches!(error, ConnectionError::Address(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_node_do_not_disturb_each_other() {
    const LENGTH: usize = 300_000;
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let others: Vec<Node> = (3..8).map(|seed| node(&stage.tasks, LOOPBACK, seed, PSK, &Config::default())).collect();
    let server = stage.there.clone();
    stage.tasks.spawn("server", async move {
        let serving = Tasks::new();
        while let Some(connection) = server.accept().await {
            serving.spawn("connection", async move {
                let stream = connection.accept().await.unwrap();
                exchange(stream, 9, LENGTH).await;
                connection.closed().await;
            });
        }
    });
    let mut asking = tokio::task::JoinSet::new();
    for (node, seed) in others.iter().chain([&stage.here]).zip(1..) {
        let (node, address) = (node.clone(), stage.there.local_addr());
        asking.spawn(async move {
            let connection = node.connect(address, Target::default()).await.unwrap();
            let came = exchange(connection.open().await.unwrap(), seed, LENGTH).await;
            assert!(came == content(9, LENGTH));
        });
    }
    in_time(async {
        while let Some(ended) = asking.join_next().await {
            ended.unwrap();
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_that_closes_says_so_to_all_and_ends_its_task() {
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let (asked, accepted) = in_time(stage.connect()).await;
    let code = CloseCode(CloseCode::APPLICATION.0);
    in_time(stage.there.close(code, "going home")).await;
    let why = in_time(asked.closed()).await;
    let expected = CloseReason::There { code, reason: "going home".to_owned() };
    assert!(matches!(&why, ConnectionError::Closed(reason) if *reason == expected), "{why}");
    assert!(matches!(accepted.closed().await, ConnectionError::Closed(CloseReason::Here)));
    assert!(in_time(stage.there.accept()).await.is_none());
    let refused = stage.there.connect(stage.here.local_addr(), Target::default()).await.unwrap_err();
    assert!(matches!(refused, ConnectionError::Node), "{refused}");
    // The port is free again, since the task has ended.
    std::net::UdpSocket::bind(stage.there.local_addr()).unwrap();
    in_time(stage.there.close(code, "twice")).await;
}

#[tokio::test]
async fn connections_that_close_before_they_are_accepted_take_nobodys_place() {
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    in_time(async {
        for _ in 0..=MOST_INCOMING {
            let asked = stage.here.connect(stage.there.local_addr(), Target::default()).await.unwrap();
            asked.close(CloseCode::DONE, "");
        }
        let asked = stage.here.connect(stage.there.local_addr(), Target::default()).await.unwrap();
        // In order: the other node knows of all ends by now.
        let accepted = stage.there.accept().await.unwrap();
        exchange_between(&asked, &accepted, 1_000).await;
    })
    .await;
}

#[tokio::test]
async fn a_node_without_handles_ends_when_its_connections_have() {
    let Stage { tasks, here, there } = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let address = there.local_addr();
    let (asked, accepted) = in_time(async {
        let (asked, accepted) = tokio::join!(here.connect(address, Target::default()), there.accept());
        (asked.unwrap(), accepted.unwrap())
    })
    .await;
    drop((here, there));
    in_time(async {
        let mut stream = asked.open().await.unwrap();
        stream.write_all(b"still here").await.unwrap();
        accepted.accept().await.unwrap().read_exact(&mut [0; 10]).await.unwrap();
    })
    .await;
    drop(asked);
    in_time(accepted.closed()).await;
    drop(accepted);
    in_time(async {
        while std::net::UdpSocket::bind(address).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    tasks.shutdown().await;
}

#[tokio::test]
async fn when_the_tasks_are_cancelled_all_who_wait_are_told() {
    let stage = Stage::new(LOOPBACK, LOOPBACK, &Config::default());
    let (asked, accepted) = in_time(stage.connect()).await;
    let mut stream = asked.open().await.unwrap();
    let mut reading = pin!(stream.read_u8());
    std::future::poll_fn(|context| {
        assert!(reading.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    in_time(stage.tasks.shutdown()).await;
    let error = in_time(reading).await.unwrap_err();
    assert!(matches!(cause(&error), StreamError::Connection(ConnectionError::Node)), "{error}");
    assert!(matches!(accepted.closed().await, ConnectionError::Node));
    assert!(stage.here.accept().await.is_none());
}

/// What is inside of an error of tokio's traits.
fn cause(error: &std::io::Error) -> &StreamError {
    error.get_ref().and_then(|inner| inner.downcast_ref()).expect("errors of streams have their cause inside")
}
