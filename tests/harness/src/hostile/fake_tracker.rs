//! A tracker that lies: it welcomes everybody, and says that each entry has the name that it was told to say.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use common::audience::Audience;
use common::id::{FileId, NetworkId};
use common::tls;
use common::wire::tracker::{Access, Entry, FromPeer, FromTracker, Plan, Reply, Request, Welcome};
use common::wire::{MAX_TRACKER_FRAME, TRACKER_ALPN};
use rustls::ServerConfig;

use super::{Secure, identity};

/// How long until a peer that hears nothing gives up: an hour, in milliseconds.
const SILENCE_MS: u64 = 3_600_000;

/// The tracker; gone when dropped.
#[derive(Debug)]
pub struct FakeTracker {
    address: SocketAddr,
    fingerprint: NetworkId,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    entry_name: String,
    file: FileId,
    tls: Arc<ServerConfig>,
    ended: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl FakeTracker {
    /// Says that every entry is called `entry_name` and names `file`.
    ///
    /// # Panics
    /// When there is no free port.
    pub fn start(entry_name: &str, file: FileId) -> Self {
        let identity = identity("fake tracker");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            entry_name: entry_name.to_owned(),
            file,
            tls: tls::server_config(&identity, TRACKER_ALPN),
            ended: AtomicBool::new(false),
            sockets: Mutex::default(),
        });
        let accepting = Arc::clone(&shared);
        let thread = Some(thread::spawn(move || accept(&listener, &accepting)));
        Self { address, fingerprint: NetworkId(identity.peer_id().0), shared, thread }
    }

    /// What `peer --tracker` takes.
    pub fn tracker_arg(&self) -> String {
        format!("{}#{}", self.address, self.fingerprint)
    }
}

impl Drop for FakeTracker {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        for socket in self.shared.sockets.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            drop(socket.shutdown(Shutdown::Both));
        }
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    thread::scope(|scope| {
        for tcp in listener.incoming().flatten() {
            if shared.ended.load(Ordering::SeqCst) {
                return;
            }
            if let Ok(socket) = tcp.try_clone() {
                shared.sockets.lock().unwrap_or_else(PoisonError::into_inner).push(socket);
            }
            // A peer that hangs up has every right to.
            scope.spawn(|| drop(serve(tcp, shared)));
        }
    });
}

fn serve(tcp: TcpStream, shared: &Shared) -> io::Result<()> {
    let seen_as = tcp.peer_addr()?;
    let mut secure = Secure::accept(tcp, &shared.tls)?;
    loop {
        let body = secure.receive_frame(MAX_TRACKER_FRAME)?;
        let Ok(FromPeer::Request { id, op }) = FromPeer::from_body(&body) else { continue };
        let result = answer(shared, &op, seen_as);
        let frame = FromTracker::Reply { id, result }.to_frame().map_err(io::Error::other)?;
        secure.send_raw(&frame)?;
    }
}

fn answer(shared: &Shared, request: &Request, seen_as: SocketAddr) -> Reply {
    let entry = || Entry {
        owners: vec!["mallory".to_owned()],
        name: shared.entry_name.clone(),
        version: 1,
        content: shared.file.into(),
        folder: None,
        restricted: false,
        users: Vec::new(),
        seeders: 1,
        downloaders: 0,
        registered_ms: 0,
    };
    match request {
        Request::Hello(hello) => Reply::Welcome(Welcome {
            name: hello.name.clone(),
            seen_as,
            time_ms: 0,
            silence_ms: SILENCE_MS,
            peers: 1,
            account: false,
            access: Access::Open,
            udp: None,
        }),
        Request::List(_) | Request::Search { .. } => Reply::Entries { entries: vec![entry()], total: 1 },
        Request::Loc { .. } => Reply::Locations { entry: entry(), holders: Vec::new(), next: None },
        Request::Plan { .. } => {
            Reply::Plan(Plan { entry: entry(), audience: Audience::Public, ticket: String::new(), holders: Vec::new() })
        }
        Request::Register { name, .. } => Reply::Registered {
            entry: format!("mallory/{name}"),
            version: 1,
            already: false,
            audience: Audience::Public,
        },
        _ => Reply::Done,
    }
}
