//! Datagrams in batches, in and out, with marks for congestion (ECN) and never fragmented.
//!
//! Addresses on this side of it are canonical: an IPv4 peer has an IPv4 address, although a socket for both families
//! knows it by a mapped IPv6 one.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::sync::Once;
use std::task::{Context, Poll};

use common::mrt::{Ecn, Received, Route, Transmit};
use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, Socket as Raw, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::error::ConnectionError;

/// Bytes that wait for this program in the system at most. What 1 Gbit/s brings in 64 ms, should the loop come late.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Bytes of ours that wait in the system at most: enough for the queue of a fast interface.
const SEND_BUFFER: usize = 4 << 20;
/// A warning is given for less than this part of what was asked for.
const WARN_BELOW: usize = 4;
/// Bytes of the largest thing the system gives at once: a datagram, or several from one sender in a row (GRO).
const ARRIVAL: usize = 64 << 10;
/// Errors of receiving in a row after which the socket is held for dead: each is about one datagram, if it is alive.
const MOST_ERRORS: u32 = 256;
/// The number of the one socket of a node.
const SOCKET: u16 = 0;

/// A UDP socket of the node.
#[derive(Debug)]
pub(super) struct Socket {
    io: UdpSocket,
    udp: UdpSocketState,
    face: Face,
    errors: u32,
}

/// Where a socket is bound, which says whom it reaches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Face {
    local: SocketAddr,
    families: Families,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Families {
    /// An IPv4 socket.
    Four,
    /// An IPv6 socket that takes no IPv4.
    Six,
    /// An IPv6 socket that knows IPv4 by mapped addresses.
    Both,
}

/// What was received: buffers that are used again and again.
#[derive(Debug)]
pub(super) struct Arrivals {
    storage: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    count: usize,
}

/// How sending went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// It is on its way, or it can never be; both is none of this layer's business.
    Done,
    /// The system takes no more now.
    Blocked,
}

impl Socket {
    /// Opens a socket. `[::]` is all addresses of IPv4 too, and only those where the system has no IPv6.
    ///
    /// Must be called in a tokio runtime.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let any_ipv6 = address.is_ipv6() && address.ip().is_unspecified();
        let raw = match raw_socket(address) {
            // Only where there is no IPv6: a port in use is in use.
            Err(error) if any_ipv6 && error.kind() != io::ErrorKind::AddrInUse => {
                raw_socket((Ipv4Addr::UNSPECIFIED, address.port()).into())?
            }
            raw => raw?,
        };
        Self::from_std(raw.into())
    }

    /// Takes over a socket. Must be called in a tokio runtime.
    pub(super) fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
        enlarge_buffers(&socket);
        let face = Face::of(&socket)?;
        let udp = UdpSocketState::new(UdpSockRef::from(&socket))?;
        let io = UdpSocket::from_std(socket)?;
        Ok(Self { io, udp, face, errors: 0 })
    }

    pub(super) const fn face(&self) -> Face {
        self.face
    }

    /// How many datagrams one call of [`Self::send`] can take.
    pub(super) fn segments(&self) -> usize {
        self.udp.max_gso_segments()
    }

    /// Whether there is anything to receive; who asks is woken when there is.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_recv_ready(context)
    }

    /// Whether the system takes datagrams again; who asks is woken when it does.
    pub(super) fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_send_ready(context)
    }

    /// Receives what is there, up to a batch. Says whether there may be more.
    ///
    /// Errors that are told here but belong to a datagram sent earlier (ICMP) are passed over. Any other means that the
    /// socket is dead.
    pub(super) fn receive(&mut self, arrivals: &mut Arrivals) -> io::Result<bool> {
        let Arrivals { storage, metas, count } = arrivals;
        *count = 0;
        let mut buffers: [IoSliceMut<'_>; BATCH_SIZE] = {
            let mut chunks = storage.chunks_exact_mut(ARRIVAL);
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()))
        };
        let received = self.io.try_io(Interest::READABLE, || {
            *count = self.udp.recv(UdpSockRef::from(&self.io), &mut buffers, metas)?;
            // Fewer than asked for: nothing is left. To say so at once saves the call that would find it out; tokio
            // forgets no datagram that comes in between.
            if *count < BATCH_SIZE { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.errors = if *count > 0 { 0 } else { self.errors };
                Ok(false)
            }
            Err(error) if is_about_one_datagram(&error) && self.errors < MOST_ERRORS => {
                tracing::trace!(%error, "told of a datagram that did not get through");
                self.errors += 1;
                Ok(true)
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.errors = 0;
                Ok(true)
            }
        }
    }

    /// Sends `contents`, which `transmit` describes.
    pub(super) fn send(&mut self, transmit: &Transmit, contents: &[u8]) -> io::Result<Sent> {
        if transmit.route.socket != SOCKET || !self.face.reaches(transmit.route.remote) {
            tracing::debug!(route = ?transmit.route, "a datagram for a place that cannot be reached");
            return Ok(Sent::Done);
        }
        let mut datagrams = quinn_udp::Transmit {
            destination: self.face.to_system(transmit.route.remote),
            ecn: to_codepoint(transmit.ecn),
            contents,
            segment_size: transmit.segment_size,
            src_ip: transmit.local_ip.filter(|_| self.face.local.ip().is_unspecified()),
        };
        let error = match self.try_send(&datagrams) {
            Ok(()) => return Ok(Sent::Done),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::Blocked),
            Err(error) => error,
        };
        if datagrams.src_ip.is_some() && error.kind() == io::ErrorKind::InvalidInput {
            // The address that it should leave from is gone, as after a change of networks. The layer below believes
            // that offloading failed, and would do without for ever.
            self.udp = UdpSocketState::new(UdpSockRef::from(&self.io))?;
            datagrams.src_ip = None;
            let again = self.try_send(&datagrams);
            tracing::debug!(%error, ?again, "sent from another address than before");
            return Ok(Sent::Done);
        }
        // A search for larger packets meets EMSGSIZE, and all else is a loss like any other.
        tracing::trace!(%error, route = ?transmit.route, size = transmit.size, "a datagram was not sent");
        Ok(Sent::Done)
    }

    fn try_send(&self, datagrams: &quinn_udp::Transmit<'_>) -> io::Result<()> {
        self.io.try_io(Interest::WRITABLE, || self.udp.try_send(UdpSockRef::from(&self.io), datagrams))
    }
}

impl Face {
    fn of(socket: &std::net::UdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let families = match local {
            SocketAddr::V4(_) => Families::Four,
            SocketAddr::V6(_) if socket2::SockRef::from(socket).only_v6()? => Families::Six,
            SocketAddr::V6(_) => Families::Both,
        };
        Ok(Self { local, families })
    }

    /// Where it is bound.
    pub(super) const fn local(self) -> SocketAddr {
        self.local
    }

    /// The way to `remote` from here.
    pub(super) fn route(self, remote: SocketAddr) -> Result<Route, ConnectionError> {
        let canonical = canonical(remote);
        if !self.reaches(canonical) {
            return Err(ConnectionError::Address(remote));
        }
        Ok(Route { socket: SOCKET, remote: canonical })
    }

    /// Whether anything can be sent to `remote`. To try it with an address that the system refuses as invalid would turn
    /// off offloading, since that is refused with the same words; and strangers choose such addresses at will.
    fn reaches(self, remote: SocketAddr) -> bool {
        let ip = remote.ip();
        let bound_to_six = self.local.is_ipv6() && !self.local.ip().is_unspecified();
        let family = match self.families {
            Families::Four => ip.is_ipv4(),
            Families::Six => ip.is_ipv6(),
            Families::Both => ip.is_ipv6() || !bound_to_six,
        };
        let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
        family && remote.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
    }

    fn to_system(self, remote: SocketAddr) -> SocketAddr {
        match remote {
            SocketAddr::V4(four) if self.families != Families::Four => {
                SocketAddrV6::new(four.ip().to_ipv6_mapped(), four.port(), 0, 0).into()
            }
            _ => remote,
        }
    }
}

impl Arrivals {
    pub(super) fn new() -> Self {
        Self { storage: vec![0; BATCH_SIZE * ARRIVAL], metas: [RecvMeta::default(); BATCH_SIZE], count: 0 }
    }

    /// What came: for each row of datagrams where it came from, the size of each but the last, and the bytes. Those that
    /// could not be answered are left out.
    pub(super) fn rows(&mut self, face: Face) -> impl Iterator<Item = (Received, usize, &mut [u8])> {
        let rows = self.metas.iter().take(self.count).zip(self.storage.chunks_exact_mut(ARRIVAL));
        rows.filter_map(move |(meta, buffer)| {
            let route = face.route(meta.addr).ok()?;
            let local_ip = meta.dst_ip.filter(|ip| !ip.to_canonical().is_multicast());
            let received = Received { route, local_ip, ecn: from_codepoint(meta.ecn) };
            // An empty datagram has a stride of 0, which is no size of anything.
            Some((received, meta.stride.max(1), buffer.get_mut(..meta.len)?))
        })
    }
}

fn raw_socket(address: SocketAddr) -> io::Result<Raw> {
    let socket = Raw::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // No SO_REUSEADDR: with it, two programs would share the port and steal each other's datagrams.
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Asks for large buffers: beyond the system's limit where this program may, else up to it.
fn enlarge_buffers(socket: &std::net::UdpSocket) {
    use rustix::net::sockopt;
    static WARNED: Once = Once::new();
    let reference = socket2::SockRef::from(socket);
    if sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER).is_err() {
        let _limited = reference.set_recv_buffer_size(RECEIVE_BUFFER);
    }
    if sockopt::set_socket_send_buffer_size_force(socket, SEND_BUFFER).is_err() {
        let _limited = reference.set_send_buffer_size(SEND_BUFFER);
    }
    let (receive, send) = (reference.recv_buffer_size().unwrap_or(0), reference.send_buffer_size().unwrap_or(0));
    if receive < RECEIVE_BUFFER / WARN_BELOW || send < SEND_BUFFER / WARN_BELOW {
        WARNED.call_once(|| {
            tracing::warn!(
                receive,
                send,
                "the system keeps the buffers for UDP small, which costs speed; \
                 sysctl net.core.rmem_max and net.core.wmem_max raise them"
            );
        });
    }
}

/// Whether an error of receiving only says that a datagram of ours did not get through.
fn is_about_one_datagram(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::Interrupted
            | io::ErrorKind::OutOfMemory
    )
}

fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(four) => SocketAddr::new(IpAddr::V4(four), address.port()),
        // As it is: the scope of a link-local address counts.
        IpAddr::V6(_) => address,
    }
}

const fn to_codepoint(ecn: Ecn) -> Option<EcnCodepoint> {
    match ecn {
        Ecn::NotCapable => None,
        Ecn::Capable => Some(EcnCodepoint::Ect0),
        Ecn::CongestionExperienced => Some(EcnCodepoint::Ce),
    }
}

const fn from_codepoint(codepoint: Option<EcnCodepoint>) -> Ecn {
    match codepoint {
        None => Ecn::NotCapable,
        Some(EcnCodepoint::Ect0 | EcnCodepoint::Ect1) => Ecn::Capable,
        Some(EcnCodepoint::Ce) => Ecn::CongestionExperienced,
    }
}
