//! TCP of the kernel, with the congestion control that the contestant is named for.

use std::net::SocketAddr;

use anyhow::Context as _;
use rustix::net::sockopt::set_tcp_congestion;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::load::Load;
use super::meter::Meter;
use super::{EndArgs, PIECE};
use crate::mrt::contestant::Transport;

/// Receives one connection's bytes.
pub(super) async fn sink(
    args: &EndArgs,
    announce: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
    meter: &mut Meter,
) -> anyhow::Result<()> {
    let socket = socket(args)?;
    socket.bind(SocketAddr::new(args.bind, 0))?;
    let listener = socket.listen(1)?;
    announce(listener.local_addr()?)?;
    let (mut stream, _) = listener.accept().await?;
    let mut buffer = vec![0; PIECE];
    loop {
        let length = stream.read(&mut buffer).await?;
        anyhow::ensure!(length > 0, "the source ended early");
        if meter.on_bytes(length) {
            return Ok(());
        }
    }
}

/// Connects and sends; nobody here counts packets.
pub(super) async fn source(args: &EndArgs, to: SocketAddr, mut load: Load) -> anyhow::Result<Option<u64>> {
    let mut stream = socket(args)?.connect(to).await?;
    let piece = vec![7; PIECE];
    let end = load.end();
    let sending = async {
        while let Some(length) = load.next() {
            stream.write_all(&piece[..length]).await?;
        }
        stream.shutdown().await?;
        // The sink closes when it has all.
        stream.read(&mut [0]).await.map(drop)
    };
    match end {
        None => sending.await?,
        Some(end) => drop(tokio::time::timeout_at(end.into(), sending).await),
    }
    Ok(None)
}

/// A socket with buffers that the kernel tunes, as they do best.
fn socket(args: &EndArgs) -> anyhow::Result<TcpSocket> {
    let control = match args.transport {
        Transport::TcpBbr => "bbr",
        _ => "cubic",
    };
    let socket = Socket::new(Domain::for_address(SocketAddr::new(args.bind, 0)), Type::STREAM, None)?;
    set_tcp_congestion(&socket, control).with_context(|| format!("the kernel has no {control}"))?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}
