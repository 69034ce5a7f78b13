//! A client of the tracker, by hand.

use std::io;
use std::net::{SocketAddr, TcpStream};

use common::identity::Identity;
use common::wire::tracker::{Event, FromPeer, FromTracker, Hello, Refusal, Reply, Request};
use common::wire::{MAX_TRACKER_FRAME, TRACKER_ALPN};

use super::Secure;

/// A connection to a tracker.
#[derive(Debug)]
pub struct RawTracker {
    secure: Secure,
    next_id: u64,
}

impl RawTracker {
    /// Dials a tracker and says nothing yet.
    pub fn dial(address: SocketAddr, identity: &Identity) -> io::Result<Self> {
        Ok(Self { secure: Secure::dial(address, identity, TRACKER_ALPN)?, next_id: 0 })
    }

    /// Dials a tracker and joins under `name`, as a peer that listens on `port`.
    ///
    /// # Panics
    /// When the tracker refuses.
    pub fn join(address: SocketAddr, identity: &Identity, name: &str, port: u16) -> io::Result<Self> {
        let mut tracker = Self::dial(address, identity)?;
        match tracker.request(Self::hello(name, port))? {
            Ok(Reply::Welcome(_)) => Ok(tracker),
            other => panic!("the tracker answers hello with {other:?}"),
        }
    }

    /// How a peer that listens on `port` says hello under `name`.
    pub fn hello(name: &str, port: u16) -> Request {
        Request::Hello(Hello {
            name: name.to_owned(),
            name_is_default: false,
            port,
            interfaces: Vec::new(),
            advertised: Vec::new(),
            agent: "harness".to_owned(),
            device: "harness".to_owned(),
        })
    }

    /// The connection below.
    pub const fn secure(&mut self) -> &mut Secure {
        &mut self.secure
    }

    /// Its socket, to hang up from another thread.
    pub fn socket(&self) -> io::Result<TcpStream> {
        self.secure.tcp().try_clone()
    }

    /// Asks, and waits for the answer; pings are answered on the way, events passed over.
    pub fn request(&mut self, op: Request) -> io::Result<Result<Reply, Refusal>> {
        self.next_id += 1;
        let wanted = self.next_id;
        self.send(&FromPeer::Request { id: wanted, op })?;
        loop {
            match self.receive()? {
                FromTracker::Reply { id, result } if id == wanted => return Ok(Ok(result)),
                FromTracker::Refusal { id, error } if id == wanted => return Ok(Err(error)),
                FromTracker::Ping(number) => self.send(&FromPeer::Pong(number))?,
                FromTracker::Reply { .. } | FromTracker::Refusal { .. } | FromTracker::Event(_) => {}
            }
        }
    }

    /// Answers pings until an event comes.
    pub fn next_event(&mut self) -> io::Result<Event> {
        loop {
            match self.receive()? {
                FromTracker::Event(event) => return Ok(event),
                FromTracker::Ping(number) => self.send(&FromPeer::Pong(number))?,
                FromTracker::Reply { .. } | FromTracker::Refusal { .. } => {}
            }
        }
    }

    /// Sends a message.
    pub fn send(&mut self, message: &FromPeer) -> io::Result<()> {
        let frame = message.to_frame().map_err(io::Error::other)?;
        self.secure.send_raw(&frame)
    }

    /// Sends a frame with this body.
    pub fn send_body(&mut self, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        self.secure.send_raw(&[&length.to_be_bytes(), body].concat())
    }

    /// The next message.
    pub fn receive(&mut self) -> io::Result<FromTracker> {
        let body = self.secure.receive_frame(MAX_TRACKER_FRAME)?;
        match FromTracker::from_body(&body) {
            Ok(message) => Ok(message),
            Err(error) => Err(io::Error::other(format!("{error:?} in {}", String::from_utf8_lossy(&body)))),
        }
    }
}
