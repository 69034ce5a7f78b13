//! The UDP port: tells nodes from which address they come (STUN), so that those behind a NAT can be found by others.
//!
//! Nothing is remembered of who asks, and what is not a good request gets no answer.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::nat::{is_stun_request, respond_to_stun};
use nix::sys::socket::sockopt::ReceiveTimestampns;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::sleep;

use super::Complaint;
use crate::clock::Clock;
use crate::rate::Bucket;

/// Most answers in a second, and at once after a rest. A node asks some times an hour; this is for ten thousands of them,
/// and half a MiB a second, so that nobody can make much of requests in others' names.
const ANSWERS_PER_SEC: u32 = 10_000;
const MOST_AT_ONCE: u32 = 1_000;
/// Datagrams, or rows of them from one sender, that are taken from the system in one call.
const BATCH: usize = 4;
/// Bytes of the largest thing the system gives at once: a datagram, or several from one sender in a row (GRO).
const ARRIVAL: usize = 64 << 10;
/// The system cannot give datagrams now: it is asked again after this.
const PAUSE: Duration = Duration::from_millis(50);

/// A UDP socket that is bound.
#[derive(Debug)]
pub(super) struct UdpPort {
    io: UdpSocket,
    udp: UdpSocketState,
    /// Whether answers must say from which of our addresses they leave: that to which the request came. Asked at another
    /// one, a client does not know who answers.
    is_on_all_addresses: bool,
}

impl UdpPort {
    /// Opens a socket. `[::]` is all addresses of IPv4 too. To be called within a tokio runtime.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::from(address))?;
        let udp = UdpSocketState::new(UdpSockRef::from(&socket))?;
        // The layer below asks for the time of each arrival, which nobody wants.
        nix::sys::socket::setsockopt(&socket, ReceiveTimestampns, &false)?;
        let io = UdpSocket::from_std(socket.into())?;
        Ok(Self { io, udp, is_on_all_addresses: address.ip().is_unspecified() })
    }

    /// Answers for ever.
    pub(super) async fn serve(self, clock: Clock) {
        let mut bucket = Bucket::new(ANSWERS_PER_SEC, MOST_AT_ONCE);
        let mut storage = vec![0; BATCH * ARRIVAL];
        let mut metas = [RecvMeta::default(); BATCH];
        let mut complaint = Complaint::default();
        loop {
            let count = match self.receive(&mut storage, &mut metas).await {
                Ok(count) => count,
                Err(error) => {
                    complaint.make(|| format!("no datagrams can be received: {error}"));
                    sleep(PAUSE).await;
                    continue;
                }
            };
            for (meta, bytes) in metas.iter().zip(storage.chunks(ARRIVAL)).take(count) {
                let row = bytes.get(..meta.len).unwrap_or_default();
                for datagram in row.chunks(meta.stride.max(1)) {
                    // What is no request gets no answer, and takes none from others.
                    if is_stun_request(datagram) && bucket.try_take(1, clock.now().uptime) {
                        self.answer(datagram, meta.addr, meta.dst_ip);
                    }
                }
            }
        }
    }

    /// Waits for datagrams; says of how many things in `storage` the `metas` tell.
    async fn receive(&self, storage: &mut [u8], metas: &mut [RecvMeta; BATCH]) -> io::Result<usize> {
        let mut chunks = storage.chunks_mut(ARRIVAL);
        let mut buffers: [_; BATCH] = std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let receive = || self.udp.recv(UdpSockRef::from(&self.io), &mut buffers, metas);
        self.io.async_io(Interest::READABLE, receive).await
    }

    /// Answers one datagram, if it is a request. What the system does not take at once is lost: the node will ask again.
    fn answer(&self, datagram: &[u8], from: SocketAddr, came_to: Option<IpAddr>) {
        let Some(answer) = respond_to_stun(datagram, from) else { return };
        let transmit = Transmit {
            destination: from,
            ecn: None,
            contents: &answer,
            segment_size: None,
            src_ip: came_to.filter(|_| self.is_on_all_addresses),
        };
        let sent = self.io.try_io(Interest::WRITABLE, || self.udp.try_send(UdpSockRef::from(&self.io), &transmit));
        if let Err(error) = sent {
            tracing::trace!(%error, "an answer was not sent");
        }
    }
}
