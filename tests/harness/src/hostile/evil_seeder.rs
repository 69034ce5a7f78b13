//! The evil seeder: registers a file like anybody else, says that it has all of it, and then does mischief.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use common::audience::Audience;
use common::chunk::Layout;
use common::id::{FileId, NetworkId};
use common::merkle::ChunkHashes;
use common::tls;
use common::wire::PEER_ALPN;
use common::wire::peer::{ConversationId, MAX_PIECE, Message};
use common::wire::tracker::{Announced, Have, Reply, Request};
use rustls::ServerConfig;

use super::{RawPeer, RawTracker, Secure, identity};
use crate::cluster::Cluster;
use crate::content::Content;

/// What an evil seeder does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mischief {
    /// None: it serves the file as it should.
    None,
    /// Wrong bytes in every chunk.
    WrongBytes,
    /// The same, and hangs up before anybody can have looked at them.
    WrongBytesAndGone,
    /// Chunk hashes that are not the file's.
    WrongHashes,
    /// Opens conversations, and answers no request.
    Silence,
    /// Half of the first chunk asked for, and then nothing.
    HalfAChunk,
    /// Answers the first request with a length prefix of 4 GiB.
    HugeFrame,
    /// Pieces of a chunk that nobody asked for.
    UnaskedPieces,
    /// Pieces that go beyond the end of their chunk.
    PiecesBeyondTheEnd,
    /// Noise instead of frames, after hello.
    Noise,
}

/// An evil seeder; gone when dropped.
#[derive(Debug)]
pub struct EvilSeeder {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    network: NetworkId,
    content: Content,
    hashes: ChunkHashes,
    mischief: Mischief,
    tls: Arc<ServerConfig>,
    port: u16,
    ended: AtomicBool,
    requests: AtomicU64,
    /// All sockets, to hang up at the end.
    sockets: Mutex<Vec<TcpStream>>,
}

impl EvilSeeder {
    /// Joins the network of `cluster` as `user`, registers `content` under `entry`, and seeds it in its way.
    ///
    /// # Panics
    /// When the tracker refuses.
    pub fn start(cluster: &Cluster, user: &str, entry: &str, content: Content, mischief: Mischief) -> Self {
        let identity = identity(user);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            network: cluster.fingerprint(),
            content,
            hashes: content.hashes(),
            mischief,
            tls: tls::server_config(&identity, PEER_ALPN),
            port: address.port(),
            ended: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            sockets: Mutex::default(),
        });
        let mut tracker =
            RawTracker::join(cluster.address(), &identity, user, address.port()).expect("the tracker is there");
        let file = shared.hashes.file_id();
        let content = file.into();
        let register = Request::Register { name: entry.to_owned(), content, folder: None, users: None };
        let registered = tracker.request(register).expect("the tracker answers");
        assert!(matches!(registered, Ok(Reply::Registered { .. })), "registering: {registered:?}");
        let announce =
            Request::Announce { swarms: vec![Announced { content, audience: Audience::Public, have: Have::All }] };
        let announced = tracker.request(announce).expect("the tracker answers");
        assert!(matches!(announced, Ok(Reply::Done)), "announcing: {announced:?}");
        shared.keep(&tracker.socket().expect("a socket can be cloned"));
        let accepting = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || accept(&listener, &shared))
        };
        // Until somebody hangs up.
        let staying = thread::spawn(move || while tracker.next_event().is_ok() {});
        Self { address, shared, threads: vec![accepting, staying] }
    }

    /// Where it accepts peers.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it pretends to have.
    pub fn file(&self) -> FileId {
        self.shared.hashes.file_id()
    }

    /// How many chunks it was asked for.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for EvilSeeder {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        for socket in self.shared.sockets.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            drop(socket.shutdown(Shutdown::Both));
        }
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Shared {
    /// Remembers a socket; hangs up at once where the end has come already.
    fn keep(&self, socket: &TcpStream) {
        let Ok(socket) = socket.try_clone() else { return };
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        if self.ended.load(Ordering::SeqCst) {
            drop(socket.shutdown(Shutdown::Both));
        }
        sockets.push(socket);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    thread::scope(|scope| {
        for tcp in listener.incoming().flatten() {
            if shared.ended.load(Ordering::SeqCst) {
                return;
            }
            shared.keep(&tcp);
            // Whatever the other side does with such a seeder is its right.
            scope.spawn(|| drop(serve(tcp, shared)));
        }
    });
}

fn serve(tcp: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut peer = RawPeer::over(Secure::accept(tcp, &shared.tls)?);
    peer.greet(shared.network, shared.port)?;
    if shared.mischief == Mischief::Noise {
        return peer.secure().send_raw(&crate::content::Dice::new(1).bytes(1 << 16));
    }
    let mut served: HashMap<ConversationId, u32> = HashMap::new();
    loop {
        match peer.receive()? {
            Message::Open { conversation, .. } => peer.send(&Message::Opened { conversation, complete: true })?,
            Message::GetHashes { conversation, first, count } => {
                let (first_index, count) = (first as usize, count as usize);
                let mut hashes: Vec<_> =
                    shared.hashes.as_slice().iter().skip(first_index).take(count).copied().collect();
                if let (Mischief::WrongHashes, Some(hash)) = (shared.mischief, hashes.first_mut()) {
                    hash.0[0] ^= 1;
                }
                peer.send(&Message::Hashes { conversation, first, hashes })?;
            }
            Message::Request { conversation, chunk } => {
                shared.requests.fetch_add(1, Ordering::Relaxed);
                let before = served.entry(conversation).or_default();
                *before += 1;
                answer(&mut peer, shared, conversation, chunk, *before)?;
            }
            Message::Bye { .. } => return Ok(()),
            _ => {}
        }
    }
}

/// Answers the request number `number` of a conversation.
fn answer(
    peer: &mut RawPeer,
    shared: &Shared,
    conversation: ConversationId,
    chunk: u32,
    number: u32,
) -> io::Result<()> {
    let layout = Layout::of(&shared.hashes.file_id());
    let Some(index) = layout.chunk(chunk) else { return Ok(()) };
    let mut bytes = vec![0; layout.size(index) as usize];
    shared.content.fill(layout.offset(index), &mut bytes);
    match shared.mischief {
        Mischief::None | Mischief::WrongHashes => send_pieces(peer, conversation, chunk, &bytes),
        Mischief::WrongBytes => {
            bytes[0] ^= 1;
            send_pieces(peer, conversation, chunk, &bytes)
        }
        Mischief::WrongBytesAndGone => {
            bytes[0] ^= 1;
            send_pieces(peer, conversation, chunk, &bytes)?;
            Err(io::Error::other("gone"))
        }
        Mischief::Silence | Mischief::Noise => Ok(()),
        Mischief::HalfAChunk if number > 1 => Ok(()),
        Mischief::HalfAChunk => {
            bytes.truncate(bytes.len().div_ceil(2));
            send_pieces(peer, conversation, chunk, &bytes)
        }
        Mischief::HugeFrame => peer.secure().send_raw(&[0xff; 8]),
        Mischief::UnaskedPieces => send_pieces(peer, conversation, (chunk + 1) % layout.count(), &bytes),
        Mischief::PiecesBeyondTheEnd => {
            bytes.extend([0; 1]);
            send_pieces(peer, conversation, chunk, &bytes)
        }
    }
}

fn send_pieces(peer: &mut RawPeer, conversation: ConversationId, chunk: u32, bytes: &[u8]) -> io::Result<()> {
    let mut offset = 0;
    for piece in bytes.chunks(MAX_PIECE as usize) {
        let length = u32::try_from(piece.len()).expect("at most MAX_PIECE");
        peer.send(&Message::Piece { conversation, chunk, offset, length })?;
        peer.secure().send_raw(piece)?;
        offset += length;
    }
    Ok(())
}
