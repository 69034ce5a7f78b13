//! Listening: one socket for IPv6 and IPv4, and one of UDP with the same number.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::TcpListener;

use super::BindError;
use super::udp::UdpPort;

/// Connections that the system keeps until they are accepted.
const BACKLOG: i32 = 1_024;

/// How many free ports are tried until one is free for TCP and UDP.
const TRIES: usize = 16;

/// Listens, and opens the UDP port of the same number. Without the latter peers are served all the same.
pub(super) fn listen_with_udp(address: SocketAddr) -> Result<(TcpListener, Option<UdpPort>), BindError> {
    let on_listen = |source| BindError::Listen { address, source };
    for left in (0..TRIES).rev() {
        let listener = listen(address)?;
        let listening = listener.local_addr().map_err(on_listen)?;
        match UdpPort::bind(listening) {
            Ok(udp) => return Ok((listener, Some(udp))),
            // Another number will do.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && address.port() == 0 && left > 0 => {}
            Err(error) => {
                tracing::warn!("nodes cannot ask here for their public address: no UDP port at {listening}: {error}");
                return Ok((listener, None));
            }
        }
    }
    unreachable!("the last try returns")
}

/// Listens. `[::]` is all addresses of IPv4 too, and only those where the system has no IPv6.
pub(super) fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    let any_ipv6 = address.is_ipv6() && address.ip().is_unspecified();
    let listening = match socket(address) {
        Err(error) if any_ipv6 && has_no_ipv6(&error) => {
            tracing::debug!("no IPv6 here ({error}); listening on IPv4 alone");
            socket(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port()))
        }
        listening => listening,
    };
    listening.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        _ => BindError::Listen { address, source },
    })
}

fn socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A tracker that was killed leaves connections behind, which would keep the port from the next one for a minute. On
    // Linux this does not let two programs listen on one port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn has_no_ipv6(error: &io::Error) -> bool {
    let address_family = rustix::io::Errno::AFNOSUPPORT.raw_os_error();
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(address_family)
}
