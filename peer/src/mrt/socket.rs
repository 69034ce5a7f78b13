//! Datagrams in batches, in and out, with marks for congestion (ECN) and never fragmented.
//!
//! Addresses on this side of it are canonical: an IPv4 peer has an IPv4 address, although a socket for both families
//! knows it by a mapped IPv6 one.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;
use std::sync::Once;
use std::task::{Context, Poll};

use common::mrt::{Ecn, Received, Route, Transmit};
use nix::sys::socket::sockopt::ReceiveTimestampns;
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
    /// The number of the socket.
    number: u16,
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
    /// Opens a socket, which has the number 0 until it is given another. `[::]` is all addresses of IPv4 too, and only those where the system has no IPv6.
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

    /// Takes over a socket, which has the number 0 until it is given another. Must be called in a tokio runtime.
    pub(super) fn from_std(socket: std::net::UdpSocket) -> io::Result<Self> {
        enlarge_buffers(&socket);
        let face = Face::of(&socket)?;
        let udp = prepare(&socket)?;
        let io = UdpSocket::from_std(socket)?;
        Ok(Self { io, udp, face, errors: 0 })
    }

    pub(super) const fn face(&self) -> Face {
        self.face
    }

    /// Gives it a number.
    pub(super) const fn set_number(&mut self, number: u16) {
        self.face.number = number;
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
        if !self.face.reaches(transmit.route.remote) {
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
        if error.kind() == io::ErrorKind::InvalidInput {
            // The layer below believes that offloading failed, and would do without for ever. But it was about this row.
            self.udp = prepare(&self.io)?;
        }
        if let Some(size) = datagrams.segment_size
            && error.kind() == io::ErrorKind::InvalidInput
        {
            // Such as of datagrams that this way does not carry whole, which a row must: what is relayed was made for another.
            tracing::debug!(%error, route = ?transmit.route, size, "sent one by one");
            return self.send_one_by_one(&datagrams, size);
        }
        if datagrams.src_ip.is_some() && is_about_source(&error) {
            // The address that it should leave from is gone, as after a change of networks.
            datagrams.src_ip = None;
            let again = self.try_send(&datagrams);
            tracing::debug!(%error, ?again, "sent from another address than before");
            return Ok(Sent::Done);
        }
        // A search for larger packets meets EMSGSIZE, and all else is a loss like any other.
        tracing::trace!(%error, route = ?transmit.route, size = transmit.size, "a datagram was not sent");
        Ok(Sent::Done)
    }

    /// Sends the datagrams of a row without the system's help. What it refuses is lost.
    fn send_one_by_one(&mut self, row: &quinn_udp::Transmit<'_>, size: usize) -> io::Result<Sent> {
        for contents in row.contents.chunks(size) {
            let one = quinn_udp::Transmit { contents, segment_size: None, ..*row };
            match self.try_send(&one) {
                // The rest is as good as lost on a full link.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.udp = prepare(&self.io)?,
                Ok(()) | Err(_) => {}
            }
        }
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
        Ok(Self { number: 0, local, families })
    }

    /// The number of the socket: [`Route::socket`] of all ways from here.
    pub(super) const fn number(self) -> u16 {
        self.number
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
        Ok(Route { socket: self.number, remote: canonical })
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

/// Sets what the socket tells and is told of each datagram.
fn prepare(socket: &impl AsFd) -> io::Result<UdpSocketState> {
    let state = UdpSocketState::new(UdpSockRef::from(socket))?;
    // The layer below asks for the time of each arrival too. Nobody wants it, and with it there is no room left for the
    // marks of congestion.
    nix::sys::socket::setsockopt(socket, ReceiveTimestampns, &false)?;
    Ok(state)
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

/// Whether an error of sending may be about the address that the datagram should leave from.
fn is_about_source(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::AddrNotAvailable | io::ErrorKind::NetworkUnreachable
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const SIZE: usize = 1_200;

    fn transmit(remote: SocketAddr, size: usize, segment_size: Option<usize>) -> Transmit {
        let route = Route { socket: 0, remote };
        Transmit { route, local_ip: None, ecn: Ecn::Capable, size, segment_size }
    }

    async fn send(socket: &mut Socket, transmit: &Transmit, contents: &[u8]) {
        poll_fn(|context| socket.poll_writable(context)).await.unwrap();
        assert_eq!(socket.send(transmit, contents).unwrap(), Sent::Done);
    }

    /// Receives until `count` datagrams have come, with what is known of each.
    async fn receive(socket: &mut Socket, count: usize) -> Vec<(Received, Vec<u8>)> {
        let (mut arrivals, mut came) = (Arrivals::new(), Vec::new());
        while came.len() < count {
            poll_fn(|context| socket.poll_readable(context)).await.unwrap();
            socket.receive(&mut arrivals).unwrap();
            for (received, size, row) in arrivals.rows(socket.face()) {
                came.extend(row.chunks(size).map(|datagram| (received, datagram.to_vec())));
            }
        }
        came
    }

    fn loopback(port_of: &Socket) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port_of.face().local().port()).into()
    }

    #[tokio::test]
    async fn datagrams_sent_at_once_arrive_one_by_one_with_their_mark_and_addresses() {
        let mut from = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut to = Socket::bind("[::]:0".parse().unwrap()).unwrap();
        let contents: Vec<u8> = (0_u8..).flat_map(|row| [row; 100]).take(SIZE * 5 / 2).collect();
        let row = transmit(loopback(&to), contents.len(), Some(SIZE));
        send(&mut from, &row, &contents).await;
        let came = receive(&mut to, 3).await;
        let datagrams: Vec<&[u8]> = came.iter().map(|(_, datagram)| datagram.as_slice()).collect();
        assert_eq!(datagrams, contents.chunks(SIZE).collect::<Vec<_>>());
        for (received, _) in &came {
            assert_eq!(received.route.remote, from.face().local(), "an IPv4 address as it is");
            assert_eq!(received.ecn, Ecn::Capable);
            assert_eq!(received.local_ip.unwrap().to_canonical(), Ipv4Addr::LOCALHOST);
        }
    }

    #[tokio::test]
    async fn an_answer_leaves_from_the_address_that_was_asked() {
        let mut asker = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut answerer = Socket::bind("[::]:0".parse().unwrap()).unwrap();
        let second = SocketAddr::from(([127, 0, 0, 2], answerer.face().local().port()));
        send(&mut asker, &transmit(second, 1, None), b"?").await;
        let (asked, _) = receive(&mut answerer, 1).await.remove(0);
        let answer = Transmit { local_ip: asked.local_ip, ..transmit(asked.route.remote, 1, None) };
        send(&mut answerer, &answer, b"!").await;
        let (answered, _) = receive(&mut asker, 1).await.remove(0);
        assert_eq!(answered.route.remote, second);
    }

    #[tokio::test]
    async fn a_row_that_the_system_refuses_goes_one_by_one_and_later_rows_as_rows() {
        let mut from = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut to = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let segments = from.segments();
        // Linux takes 128 at once.
        let contents: Vec<u8> = (0..200).collect();
        send(&mut from, &transmit(loopback(&to), contents.len(), Some(1)), &contents).await;
        let came: Vec<u8> =
            receive(&mut to, contents.len()).await.into_iter().flat_map(|(_, datagram)| datagram).collect();
        assert_eq!(came, contents);
        assert_eq!(from.segments(), segments, "it goes on sending many at once");
    }

    #[tokio::test]
    async fn what_the_system_refuses_is_lost_and_costs_nothing_else() {
        let mut from = Socket::bind("[::]:0".parse().unwrap()).unwrap();
        let mut to = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let segments = from.segments();
        let too_large = vec![0; 66_000];
        send(&mut from, &transmit(loopback(&to), 66_000, None), &too_large).await;
        let nowhere = "224.0.0.1:9".parse().unwrap();
        send(&mut from, &transmit(nowhere, 1, None), b"?").await;
        let gone = Transmit { local_ip: Some([192, 0, 2, 1].into()), ..transmit(loopback(&to), 2, Some(1)) };
        send(&mut from, &gone, b"ab").await;
        assert_eq!(receive(&mut to, 2).await.len(), 2, "sent from another address");
        assert_eq!(from.segments(), segments);
    }

    #[tokio::test]
    async fn empty_datagrams_and_those_from_nowhere_are_passed_over() {
        let mut from = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut to = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        send(&mut from, &transmit(loopback(&to), 0, None), b"").await;
        send(&mut from, &transmit(loopback(&to), 1, None), b"x").await;
        assert_eq!(receive(&mut to, 1).await.len(), 1);
        let face = to.face();
        for nowhere in ["127.0.0.1:0", "0.0.0.0:1", "255.255.255.255:1", "239.1.2.3:1", "[::1]:1"] {
            assert!(face.route(nowhere.parse().unwrap()).is_err(), "{nowhere}");
        }
    }
}
