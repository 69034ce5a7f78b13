//! UDP sockets whose buffers lose nothing that a burst brings.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use socket2::{Domain, Socket, Type};

/// Bytes of both buffers. The kernel grants as many to receive to root only, and to send as its limit allows.
const BUFFER: usize = 16 << 20;

/// A socket on a port that is free.
pub(super) fn socket(address: IpAddr) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(address, 0);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    set_socket_recv_buffer_size_force(&socket, BUFFER).or_else(|_| set_socket_recv_buffer_size(&socket, BUFFER))?;
    socket.set_send_buffer_size(BUFFER)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
