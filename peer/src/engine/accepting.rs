//! Accepting: those who dial this peer.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::context::Context;
use crate::gate::Gate;
use crate::links;

/// How long to wait when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// Listens at an address; one that is any IPv6 address takes IPv4 too, and a machine without IPv6 gets IPv4 alone.
pub(super) async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match listen_at(address) {
        Err(error) if address == SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port()) => {
            // Only where there is no IPv6: a port in use is in use.
            if error.kind() == io::ErrorKind::AddrInUse {
                return Err(error);
            }
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        listener => listener,
    }
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Takes connections for ever.
pub(super) async fn accept(context: Arc<Context>, listener: TcpListener) {
    let gate = Gate::default();
    loop {
        let (socket, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others must end first.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let pass = gate.enter(address.ip());
        let context = Arc::clone(&context);
        context.clone().tasks.spawn("greet", async move {
            let greeted = tokio::select! {
                greeted = links::accept(&context, socket, address) => greeted,
                () = pass.shown_out() => Err(io::Error::other("too many wait from this address")),
            };
            if let Err(error) = greeted {
                tracing::debug!(%address, %error, "a connection came to nothing");
            }
        });
    }
}
