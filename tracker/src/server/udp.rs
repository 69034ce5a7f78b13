//! The UDP port: tells those who ask (STUN) from which address they come, with a proof of it for those who want one, and
//! passes what is relayed. Everything else is dropped without an answer.

use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::Duration;

use common::nat::{is_stun_request, respond_to_stun_with};
use common::relay::RelayHead;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::sleep;

use super::Complaint;
use crate::clock::Clock;
use crate::rate::Bucket;
use crate::relay::Relay;
use crate::source::Source;
use crate::state::plain;
use crate::vouchers::Vouchers;

/// Most answers in a second, and at once after a rest. A peer that serves over MRT asks four times a minute, and twelve times
/// while it is relayed: this is for many times as many as there are connections, and about a MiB a second, so that nobody can
/// make much of requests in others' names.
const ANSWERS_PER_SEC: u32 = 10_000;
const MOST_AT_ONCE: u32 = 1_000;
/// The same to all addresses that fall into one of [`GROUPS`], so that one of them leaves something to the others: for some
/// thousands of peers behind one router.
const ANSWERS_PER_GROUP: u32 = 500;
const MOST_AT_ONCE_PER_GROUP: u32 = 250;
/// Groups of addresses, by a hash that nobody can foresee.
const GROUPS: usize = 256;
/// Datagrams, or rows of them from one sender, that are taken from the system in one call.
const BATCH: usize = 4;
/// Bytes of the largest thing the system gives at once: a datagram, or several from one sender in a row (GRO).
const ARRIVAL: usize = 64 << 10;
/// Bytes of the largest row that is sent at once: what fits a UDP datagram of IPv4.
const MOST_BYTES: usize = 65_507;
/// Bytes that may wait in the socket each way: what the default rate of the relay brings in a tenth of a second.
const SOCKET_BUFFER: usize = 1 << 20;
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
    /// Whether it knows IPv4 addresses by mapped ones of IPv6.
    is_ipv6: bool,
}

/// What the port does for those who come.
#[derive(Debug)]
pub(super) struct Services {
    pub(super) clock: Clock,
    pub(super) vouchers: Vouchers,
    /// `None`: nothing is relayed.
    pub(super) relay: Option<Relay>,
}

/// Where a relayed datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Onward {
    to: SocketAddr,
    /// Which of the tracker's addresses it has to come from.
    answered_from: IpAddr,
}

/// Relayed datagrams of a row, one behind the other, that go to the same place.
#[derive(Debug)]
struct Run {
    to: Onward,
    bytes: Range<usize>,
}

/// How many answers there are left, for all and for each group of addresses.
#[derive(Debug)]
struct Share {
    all: Bucket,
    groups: Vec<Bucket>,
    hasher: RandomState,
}

impl Share {
    fn new() -> Self {
        let group = || Bucket::new(ANSWERS_PER_GROUP, MOST_AT_ONCE_PER_GROUP);
        let groups = std::iter::repeat_with(group).take(GROUPS).collect();
        Self { all: Bucket::new(ANSWERS_PER_SEC, MOST_AT_ONCE), groups, hasher: RandomState::new() }
    }

    /// Takes one answer to this address, if there is one left. IPv6 addresses of one network are as one.
    fn try_take(&mut self, to: IpAddr, uptime: Duration) -> bool {
        let hash = self.hasher.hash_one(Source::of(to));
        let group = self.groups.get_mut(usize::from(hash.to_be_bytes()[0])).expect("a group for each byte");
        // Who has used up his part takes nothing from others.
        group.try_take(1, uptime) && self.all.try_take(1, uptime)
    }
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
        let udp = prepare(&socket)?;
        // As much as the system gives: a burst of relayed datagrams is to wait, not to be lost.
        let _smaller = udp.set_recv_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
        let _smaller = udp.set_send_buffer_size(UdpSockRef::from(&socket), SOCKET_BUFFER);
        let io = UdpSocket::from_std(socket.into())?;
        Ok(Self { io, udp, is_on_all_addresses: address.ip().is_unspecified(), is_ipv6: address.is_ipv6() })
    }

    /// Serves for ever.
    pub(super) async fn serve(mut self, services: Services) {
        let mut share = Share::new();
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
            for (meta, bytes) in metas.iter().zip(storage.chunks_mut(ARRIVAL)).take(count) {
                self.serve_row(&services, &mut share, meta, bytes.get_mut(..meta.len).unwrap_or_default());
            }
        }
    }

    /// A row of datagrams came. What is to be passed on leaves in rows again.
    fn serve_row(&mut self, services: &Services, share: &mut Share, meta: &RecvMeta, row: &mut [u8]) {
        let (size, uptime) = (meta.stride.max(1), services.clock.now().uptime);
        let mut runs: Vec<Run> = Vec::new();
        for (index, datagram) in row.chunks_mut(size).enumerate() {
            if RelayHead::is_in_front_of(datagram) {
                let Some(to) = services.forward(uptime, meta.addr, datagram) else { continue };
                let bytes = index * size..index * size + datagram.len();
                match runs.last_mut() {
                    Some(last) if last.to == to && last.bytes.end == bytes.start => last.bytes.end = bytes.end,
                    _ => runs.push(Run { to, bytes }),
                }
            // What is no request gets no answer, and takes none from others.
            } else if is_stun_request(datagram) && share.try_take(meta.addr.ip(), uptime) {
                self.answer(services, datagram, meta);
            }
        }
        for Run { to, bytes } in runs {
            self.pass_on(to, row.get(bytes).unwrap_or_default(), size);
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
    fn answer(&mut self, services: &Services, datagram: &[u8], meta: &RecvMeta) {
        let uptime = services.clock.now().uptime;
        let prove = |token, address| Some(services.vouchers.prove(token, address, uptime));
        let Some(answer) = respond_to_stun_with(datagram, meta.addr, prove) else { return };
        self.send(&answer, answer.len(), meta.addr, meta.dst_ip);
    }

    /// Passes datagrams of `size` bytes on, the last of which may be shorter. What the system does not take at once is lost:
    /// there is no queue.
    fn pass_on(&mut self, Onward { to, answered_from }: Onward, row: &[u8], size: usize) {
        let to = match to.ip() {
            IpAddr::V4(ip) if self.is_ipv6 => SocketAddr::new(ip.to_ipv6_mapped().into(), to.port()),
            _ => to,
        };
        let segments = self.udp.max_gso_segments().min(MOST_BYTES / size).max(1);
        for part in row.chunks(size * segments) {
            self.send(part, size, to, Some(answered_from));
        }
    }

    /// Sends datagrams of `size` bytes in one call, or one by one where the system does not take them so.
    fn send(&mut self, row: &[u8], size: usize, to: SocketAddr, from: Option<IpAddr>) {
        let Err(error) = self.try_send(row, size, to, from) else { return };
        tracing::trace!(%error, bytes = row.len(), size, "not sent");
        if error.kind() != io::ErrorKind::InvalidInput {
            return;
        }
        // The layer below believes now that rows cannot be sent at all. But it was about this one, or about this address.
        match prepare(&self.io) {
            Ok(udp) => self.udp = udp,
            Err(error) => tracing::warn!(%error, "the UDP socket could not be prepared again"),
        }
        if row.len() > size {
            let one_by_one = row.chunks(size).map(|datagram| self.try_send(datagram, size, to, from));
            let lost = one_by_one.filter(Result::is_err).count();
            tracing::trace!(lost, "sent one by one");
        }
    }

    fn try_send(&self, row: &[u8], size: usize, destination: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        let src_ip = from.filter(|_| self.is_on_all_addresses);
        let segment_size = (row.len() > size).then_some(size);
        let transmit = Transmit { destination, ecn: None, contents: row, segment_size, src_ip };
        self.io.try_io(Interest::WRITABLE, || self.udp.try_send(UdpSockRef::from(&self.io), &transmit))
    }
}

impl Services {
    /// A relayed datagram came from there: makes it ready to be passed on, and says where to; `None`: it is not to be.
    fn forward(&self, uptime: Duration, from: SocketAddr, datagram: &mut [u8]) -> Option<Onward> {
        let (to, answered_from) = self.relay.as_ref()?.forward(uptime, plain(from), datagram)?;
        Some(Onward { to, answered_from })
    }
}

/// Makes a socket ready for datagrams in rows.
fn prepare(socket: &impl AsFd) -> io::Result<UdpSocketState> {
    let state = UdpSocketState::new(UdpSockRef::from(socket))?;
    // The layer below asks for the time of each arrival, which nobody wants.
    nix::sys::socket::setsockopt(socket, ReceiveTimestampns, &false)?;
    Ok(state)
}

#[cfg(test)]
mod tests {
    use common::id::PeerId;
    use common::identity::Identity;
    use common::relay::{ChannelId, RelayConfig};

    use super::*;
    use crate::relay::Place;

    #[tokio::test]
    async fn a_row_is_passed_on_without_what_may_not_pass() {
        const SIZE: usize = 100;
        let mut port = UdpPort::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        port.io.writable().await.unwrap();
        let receiver = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let (relay, clock) = (Relay::new(RelayConfig::DEFAULT_BYTES_PER_SEC), Clock::start());
        let members = [PeerId([1; 32]), PeerId([2; 32])];
        let addresses = ["192.0.2.1:4000".parse().unwrap(), receiver.local_addr().unwrap()];
        let channels = [ChannelId(1), ChannelId(2)];
        for (member, address) in members.into_iter().zip(addresses) {
            let proven = clock.now().uptime;
            relay.place(member, Place { address, answered_from: [127, 0, 0, 1].into(), proven });
        }
        relay.open(clock.now().uptime, members, channels).unwrap();
        let vouchers = Vouchers::new(&Identity::from_seed(&[1; 32]), 1);
        let services = Services { clock, vouchers, relay: Some(relay) };
        let datagram = |channel, number: u8, size: usize| {
            let head = RelayHead { channel }.encode();
            [head.as_slice(), &vec![number; size - head.len()]].concat()
        };
        // The third is nobody's, and the last is shorter.
        let sent = [(0, SIZE), (1, SIZE), (3, SIZE), (4, SIZE), (5, 60)];
        let mut row: Vec<u8> = sent.iter().flat_map(|(number, size)| datagram(channels[0], *number, *size)).collect();
        row.splice(2 * SIZE..2 * SIZE, datagram(ChannelId(9), 2, SIZE));
        let mut meta = RecvMeta::default();
        (meta.addr, meta.len, meta.stride) = (addresses[0], row.len(), SIZE);
        port.serve_row(&services, &mut Share::new(), &meta, &mut row);
        for (number, size) in sent {
            let mut buffer = [0; 2 * SIZE];
            let (length, _) = receiver.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], datagram(channels[1], number, size));
        }
    }

    #[test]
    fn one_place_leaves_answers_to_others() {
        let (mut share, uptime) = (Share::new(), Duration::from_secs(60));
        let greedy = |host: u16| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]);
        let given = (0..20_000).filter(|number| share.try_take(greedy(*number), uptime)).count();
        assert_eq!(given, usize::try_from(MOST_AT_ONCE_PER_GROUP).unwrap());
        // All four are in the same group one time in 2^32.
        let others = (0..4_u8).filter(|number| share.try_take([192, 0, 2, *number].into(), uptime)).count();
        assert!(others >= 1);
        let later = uptime + Duration::from_secs(1);
        assert!(share.try_take(greedy(0), later), "it waits for the next second");
    }
}
