//! quinn, set up as well as was found: what is left is its protocol and its congestion control.
//! Its TLS is Shoal's own: raw Ed25519 keys, AES-128-GCM.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use common::identity::Identity;
use common::tls::{self, Expect};
use quinn::congestion::{BbrConfig, CubicConfig};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, ServerConfig, TokioRuntime,
    TransportConfig, VarInt,
};

use super::load::Load;
use super::meter::Meter;
use super::{EndArgs, PIECE, udp};
use crate::mrt::contestant::{INTERNET_PACKET, Transport};

const ALPN: &[u8] = b"bench";
/// Every window of quinn in bytes: what 200 Mbit/s x 200 ms keep under way, and a queue of the same size. With four times
/// as much its BBR often floods the queue at its start, to the point where it stands still for the rest of the flow (seen at
/// 100 Mbit/s x 50 ms and 200 Mbit/s x 200 ms).
const WINDOW: u32 = 10 << 20;
/// Datagrams above it, in bytes, are sent one by one: ten of them, which quinn sends at once, are more than the kernel takes
/// in one call (65,507), and quinn takes the refusal for loss.
const LARGEST_FOR_OFFLOAD: u16 = 6550;
/// Pieces of a stream that are taken over at once.
const CHUNKS: usize = 64;

/// Receives one stream's bytes.
pub(super) async fn sink(
    args: &EndArgs,
    announce: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
    meter: &mut Meter,
) -> anyhow::Result<()> {
    let tls = tls::server_config(&Identity::from_seed(&[1; 32]), ALPN);
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport(args));
    let endpoint = endpoint(args, Some(config))?;
    announce(endpoint.local_addr()?)?;
    let incoming = endpoint.accept().await.ok_or_else(|| anyhow::anyhow!("the endpoint was closed"))?;
    let connection = incoming.await?;
    let mut stream = connection.accept_uni().await?;
    let mut chunks = vec![Bytes::new(); CHUNKS];
    loop {
        let Some(count) = stream.read_chunks(&mut chunks).await? else { anyhow::bail!("the source ended early") };
        if meter.on_bytes(chunks[..count].iter().map(Bytes::len).sum()) {
            break;
        }
    }
    connection.close(VarInt::from_u32(0), b"");
    endpoint.wait_idle().await;
    Ok(())
}

/// Connects and sends; says how many datagrams that took.
pub(super) async fn source(args: &EndArgs, to: SocketAddr, load: Load) -> anyhow::Result<Option<u64>> {
    let tls = tls::client_config(&Identity::from_seed(&[2; 32]), Expect::Anyone, ALPN);
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport(args));
    let endpoint = endpoint(args, None)?;
    let connection = endpoint.connect_with(config, to, "shoal.invalid")?.await?;
    match load.end() {
        None => send(&connection, load).await?,
        Some(end) => drop(tokio::time::timeout_at(end.into(), send(&connection, load)).await),
    }
    let packets = connection.stats().udp_tx.datagrams;
    connection.close(VarInt::from_u32(0), b"");
    Ok(Some(packets))
}

async fn send(connection: &Connection, mut load: Load) -> anyhow::Result<()> {
    let mut stream = connection.open_uni().await?;
    let piece = Bytes::from(vec![7; PIECE]);
    while let Some(length) = load.next() {
        stream.write_chunk(piece.slice(..length)).await?;
    }
    stream.finish()?;
    // The sink closes when it has all.
    connection.closed().await;
    Ok(())
}

fn endpoint(args: &EndArgs, server: Option<ServerConfig>) -> anyhow::Result<Endpoint> {
    let mut config = EndpointConfig::default();
    config.max_udp_payload_size(args.packet.max(INTERNET_PACKET))?;
    Ok(Endpoint::new(config, server, udp::socket(args.bind)?, Arc::new(TokioRuntime))?)
}

fn transport(args: &EndArgs) -> Arc<TransportConfig> {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(args.packet);
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(WINDOW.into())
        .enable_segmentation_offload(args.packet <= LARGEST_FOR_OFFLOAD)
        .mtu_discovery_config(Some(discovery));
    match args.transport {
        Transport::QuinnBbr => config.congestion_controller_factory(Arc::new(BbrConfig::default())),
        _ => config.congestion_controller_factory(Arc::new(CubicConfig::default())),
    };
    Arc::new(config)
}
