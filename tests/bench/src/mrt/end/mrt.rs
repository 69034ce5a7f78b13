//! MRT as peers use it, with everything but the packet size and the controller as it is by default. The source knows the
//! sink's key, as peers do: the handshake takes one round trip, as quinn's.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use common::identity::Identity;
use common::mrt::{CloseCode, Config, ControllerKind, LocalKeys, Target};
use peer::mrt::{Connection, Node};
use peer::tasks::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::load::Load;
use super::meter::Meter;
use super::{EndArgs, PIECE, udp};
use crate::mrt::contestant::Transport;

/// The key of the network that both ends are in.
const NETWORK: [u8; 32] = [3; 32];

/// Receives one stream's bytes.
pub(super) async fn sink(
    args: &EndArgs,
    announce: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
    meter: &mut Meter,
) -> anyhow::Result<()> {
    let tasks = Tasks::new();
    let node = node(args, &tasks, sink_keys())?;
    announce(node.local_addr())?;
    let connection = node.accept().await.ok_or_else(|| anyhow::anyhow!("the node was closed"))?;
    let mut stream = connection.accept().await?;
    let mut chunk = Vec::new();
    loop {
        anyhow::ensure!(stream.read_chunk(&mut chunk).await?, "the source ended early");
        if meter.on_bytes(chunk.len()) {
            break;
        }
    }
    // By this the source knows that all was read.
    stream.shutdown().await?;
    connection.closed().await;
    node.close(CloseCode::DONE, "").await;
    Ok(())
}

/// Connects and sends; says how many datagrams that took.
pub(super) async fn source(args: &EndArgs, to: SocketAddr, load: Load) -> anyhow::Result<Option<u64>> {
    let tasks = Tasks::new();
    let node = node(args, &tasks, LocalKeys::new(Arc::new(Identity::from_seed(&[2; 32])), NETWORK))?;
    let target = Target { peer: None, static_key: Some(sink_keys().static_key()) };
    let connection = node.connect(to, target).await?;
    match load.end() {
        None => send(&connection, load).await?,
        Some(end) => drop(tokio::time::timeout_at(end.into(), send(&connection, load)).await),
    }
    let packets = connection.stats()?.datagrams_sent;
    connection.close(CloseCode::DONE, "");
    node.close(CloseCode::DONE, "").await;
    Ok(Some(packets))
}

async fn send(connection: &Connection, mut load: Load) -> anyhow::Result<()> {
    let mut stream = connection.open().await?;
    let piece = Bytes::from(vec![7; PIECE]);
    while let Some(length) = load.next() {
        stream.write_chunk(piece.slice(..length)).await?;
    }
    stream.shutdown().await?;
    let extra = stream.read(&mut [0]).await?;
    anyhow::ensure!(extra == 0, "the sink answered");
    Ok(())
}

fn sink_keys() -> LocalKeys {
    LocalKeys::new(Arc::new(Identity::from_seed(&[1; 32])), NETWORK)
}

fn node(args: &EndArgs, tasks: &Tasks, keys: LocalKeys) -> anyhow::Result<Node> {
    let controller = match args.transport {
        Transport::MrtFair => ControllerKind::Fair,
        _ => ControllerKind::Model,
    };
    let config = Config { controller, max_datagram: args.packet, ..Config::default() };
    Ok(Node::from_socket(tasks, udp::socket(args.bind)?, config, keys)?)
}
