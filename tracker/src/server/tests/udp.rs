//! The UDP port: who asks is told its address, those who have no other way are relayed, and nothing else is answered.

use std::net::SocketAddr;
use std::time::Instant;

use common::id::PeerId;
use common::mrt::StaticKey;
use common::nat::{StunClient, StunProof, StunToken, TransactionId};
use common::relay::{ChannelId, RelayHead};
use common::wire::tracker::{Code, Event, Meeting, MrtContact, MrtRole, Reply, Request};
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::client::Client;
use super::{PATIENCE, Running};
use crate::server::{BindError, Server};
use crate::{Config, Relaying, Stun};

/// Times that something is tried for which another program may have taken the port by chance.
const TRIES: usize = 5;

/// Asks `server` from a socket at `from`; gives the address of that socket, and what the server says of it.
async fn ask(server: SocketAddr, from: &str) -> (SocketAddr, SocketAddr) {
    let socket = UdpSocket::bind(from).await.unwrap();
    let mut client = StunClient::new(Instant::now(), server, TransactionId([7; 12]));
    let mut buffer = [0; 1500];
    let mapped = loop {
        if let Some(request) = client.poll_transmit(Instant::now()) {
            socket.send_to(&request, server).await.unwrap();
        }
        if let Some(outcome) = client.outcome() {
            break outcome.unwrap();
        }
        let again = client.poll_timeout().unwrap().saturating_duration_since(Instant::now());
        if let Ok(received) = timeout(again, socket.recv_from(&mut buffer)).await {
            let (length, from) = received.unwrap();
            client.handle_datagram(from, &buffer[..length]);
        }
    };
    (socket.local_addr().unwrap(), mapped)
}

#[tokio::test]
async fn who_asks_is_told_its_address_by_the_one_it_asked() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let port = tracker.address.port();
    // An answer from another address of the tracker than the one that was asked would not count.
    for (server, from) in [("127.0.0.1", "127.0.0.1:0"), ("127.0.0.9", "127.0.0.1:0"), ("[::1]", "[::1]:0")] {
        let server = format!("{server}:{port}").parse().unwrap();
        let (socket, mapped) = ask(server, from).await;
        assert_eq!(mapped, socket, "asked at {server}");
    }
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn a_tracker_for_one_address_answers_there() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |config| config.listen = "127.0.0.1:0".parse().unwrap()).await;
    let (socket, mapped) = ask(tracker.address, "127.0.0.1:0").await;
    assert_eq!(mapped, socket);
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_no_request_gets_no_answer() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let request =
        StunClient::new(Instant::now(), tracker.address, TransactionId([1; 12])).poll_transmit(Instant::now());
    let request = request.unwrap();
    let mut damaged = request.clone();
    damaged[27] ^= 1;
    for bad in [b"".as_slice(), &[0x40; 1200], &[0; 1400], &damaged, &request[..20], &[0xff; 60_000]] {
        socket.send_to(bad, tracker.address).await.unwrap();
    }
    // The first answer is to the only good one, which came last.
    socket.send_to(&request, tracker.address).await.unwrap();
    let mut buffer = [0; 1500];
    let (length, _) = timeout(PATIENCE, socket.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!((length, &buffer[8..20]), (40, [1; 12].as_slice()));
    assert!(socket.try_recv(&mut buffer).is_err());
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn without_stun_there_is_no_udp_port() {
    let directory = TempDir::new().unwrap();
    let bind = |name, stun| Server::bind(Config { stun, ..config(&directory, name, "[::]:0".parse().unwrap()) });
    assert!(bind("off", Stun::Off).await.unwrap().udp.is_none());
    assert!(bind("on", Stun::On).await.unwrap().udp.is_some());
}

#[tokio::test]
async fn the_port_is_free_again_when_the_tracker_has_ended() {
    let directory = TempDir::new().unwrap();
    for _ in 0..TRIES {
        let tracker = Running::start(&directory, |_| ()).await;
        let address = tracker.address;
        assert!(UdpSocket::bind(address).await.is_err());
        tracker.stop().await.unwrap();
        if UdpSocket::bind(address).await.is_ok() {
            return;
        }
    }
    panic!("it stays taken");
}

#[tokio::test]
async fn a_udp_port_in_use_keeps_no_peer_out() {
    let directory = TempDir::new().unwrap();
    for _ in 0..TRIES {
        let taken = UdpSocket::bind("[::]:0").await.unwrap();
        let server = match Server::bind(config(&directory, "data", taken.local_addr().unwrap())).await {
            Err(BindError::InUse(_)) => continue,
            server => server.unwrap(),
        };
        assert!(server.udp.is_none());
        let tracker = Running::run(server);
        tracker.join("somebody").await;
        return tracker.stop().await.unwrap();
    }
    panic!("no port is free");
}

/// Somebody with a session and a UDP socket of its own.
struct Peer {
    client: Client,
    token: StunToken,
    socket: UdpSocket,
    tracker: SocketAddr,
}

impl Peer {
    async fn join(tracker: &Running, name: &str) -> Self {
        let at: SocketAddr = format!("127.0.0.1:{}", tracker.address.port()).parse().unwrap();
        let mut client = Client::connect(tracker, name, Some(at.ip())).await;
        let token = client.hello(name).await.unwrap().udp.unwrap().token;
        Self { client, token, socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(), tracker: at }
    }

    /// Shows a token, and gives the proof that comes back.
    async fn prove(&self, token: StunToken) -> StunProof {
        let mut client = StunClient::for_proof(Instant::now(), self.tracker, TransactionId([8; 12]), token);
        self.socket.send_to(&client.poll_transmit(Instant::now()).unwrap(), self.tracker).await.unwrap();
        let mut buffer = [0; 1500];
        let (length, from) = timeout(PATIENCE, self.socket.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert!(client.handle_datagram(from, &buffer[..length]));
        client.proof().unwrap()
    }

    fn contact(&self, proof: StunProof) -> MrtContact {
        let seen = self.socket.local_addr().unwrap();
        MrtContact { static_key: StaticKey([1; 32]), port: seen.port(), seen, proof, role: MrtRole::Serves }
    }

    async fn appear(&mut self) {
        let contact = self.contact(self.prove(self.token).await);
        assert_eq!(self.client.ask(Request::Mrt(contact)).await, Ok(Reply::Done));
    }

    async fn meet(&mut self, peer: PeerId) -> Meeting {
        match self.client.ask(Request::Meet { peer }).await {
            Ok(Reply::Meeting(meeting)) => meeting,
            other => panic!("{other:?}"),
        }
    }

    async fn is_met(&mut self) -> Meeting {
        self.client.event(|event| if let Event::Meet(meeting) = event { Some(meeting.clone()) } else { None }).await
    }

    async fn send(&self, channel: ChannelId, inner: &[u8]) {
        let datagram = [RelayHead { channel }.encode().as_slice(), inner].concat();
        self.socket.send_to(&datagram, self.tracker).await.unwrap();
    }

    async fn receive(&self) -> (ChannelId, Vec<u8>) {
        let mut buffer = [0; 1500];
        let (length, from) = timeout(PATIENCE, self.socket.recv_from(&mut buffer)).await.unwrap().unwrap();
        assert_eq!(from, self.tracker, "from where it is known");
        let (head, inner) = RelayHead::decode(&buffer[..length]).unwrap();
        (head.channel, inner.to_vec())
    }
}

#[tokio::test]
async fn two_who_met_are_relayed_and_a_stranger_is_not() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let [mut one, mut other] = [Peer::join(&tracker, "one").await, Peer::join(&tracker, "other").await];
    one.appear().await;
    other.appear().await;
    let mine = one.meet(other.client.peer()).await;
    let theirs = other.is_met().await;
    assert!(mine.addresses.contains(&other.socket.local_addr().unwrap()));
    assert!(theirs.addresses.contains(&one.socket.local_addr().unwrap()));
    let (my_channel, their_channel) = (mine.channel.unwrap(), theirs.channel.unwrap());
    // A stranger who knows the channel, and who is passed over.
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let datagram = [RelayHead { channel: my_channel }.encode().as_slice(), b"\x48bad"].concat();
    stranger.send_to(&datagram, one.tracker).await.unwrap();
    one.send(ChannelId(7), b"\x48bad").await;
    one.send(my_channel, b"\x48there").await;
    assert_eq!(other.receive().await, (their_channel, b"\x48there".to_vec()));
    other.send(their_channel, b"\x48back").await;
    assert_eq!(one.receive().await, (my_channel, b"\x48back".to_vec()));
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn a_wrong_token_or_somebody_elses_proves_nothing() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |config| config.relay = Relaying::Off).await;
    let [mut one, other] = [Peer::join(&tracker, "one").await, Peer::join(&tracker, "other").await];
    for token in [other.token, StunToken([0; 16])] {
        let contact = one.contact(one.prove(token).await);
        assert_eq!(one.client.refused(Request::Mrt(contact)).await, Code::Forbidden);
    }
    // What the other has proven, where it has.
    let theirs = other.contact(other.prove(other.token).await);
    assert_eq!(one.client.refused(Request::Mrt(theirs)).await, Code::Forbidden);
    one.appear().await;
    tracker.stop().await.unwrap();
}

fn config(directory: &TempDir, name: &str, listen: SocketAddr) -> Config {
    let mut config = Config::new(directory.path().join(name));
    config.listen = listen;
    config
}
