//! A TLS connection that blocks, and TCP connections from an address of one's choice.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use common::identity::{Identity, PublicKey};
use common::tls::{self, Expect};
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use socket2::{Domain, SockAddr, Socket, Type};

/// An address of this machine from which nobody else dials.
pub const LOOPBACK_2: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// How long the other side may be silent.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

trait ReadWrite: Read + Write + Send {}
impl<T: Read + Write + Send> ReadWrite for T {}

/// A TLS connection with frames.
pub struct Secure {
    stream: Box<dyn ReadWrite>,
    tcp: TcpStream,
    key: PublicKey,
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure").field("tcp", &self.tcp).field("key", &self.key).finish_non_exhaustive()
    }
}

impl Secure {
    /// Dials, and takes whoever answers.
    pub fn dial(address: SocketAddr, identity: &Identity, alpn: &'static [u8]) -> io::Result<Self> {
        let tcp = TcpStream::connect(address)?;
        prepare(&tcp)?;
        let config = tls::client_config(identity, Expect::Anyone, alpn);
        let mut connection = ClientConnection::new(config, tls::server_name()).map_err(io::Error::other)?;
        connection.complete_io(&mut &tcp)?;
        let key = tls::peer_key(&connection).ok_or_else(|| io::Error::other("the other side has no key"))?;
        Ok(Self { stream: Box::new(StreamOwned::new(connection, tcp.try_clone()?)), tcp, key })
    }

    /// Takes a connection in.
    pub fn accept(tcp: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Self> {
        prepare(&tcp)?;
        let mut connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        connection.complete_io(&mut &tcp)?;
        let key = tls::peer_key(&connection).ok_or_else(|| io::Error::other("the other side has no key"))?;
        Ok(Self { stream: Box::new(StreamOwned::new(connection, tcp.try_clone()?)), tcp, key })
    }

    /// The other side's key.
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// The socket below, for breaking the rules there.
    pub const fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Sends bytes one by one, each in a TLS record and, as far as the system plays along, a packet of its own.
    pub fn send_trickling(&mut self, bytes: &[u8]) -> io::Result<()> {
        bytes.chunks(1).try_for_each(|byte| self.send_raw(byte))
    }

    /// Fills `bytes`.
    pub fn receive_raw(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.stream.read_exact(bytes)
    }

    /// The body of the next frame, which may have at most `most` bytes.
    pub fn receive_frame(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut header = [0; common::wire::FRAME_HEADER];
        self.receive_raw(&mut header)?;
        let length = usize::try_from(u32::from_be_bytes(header)).map_err(io::Error::other)?;
        if length > most {
            return Err(io::Error::other(format!("a frame of {length} bytes")));
        }
        let mut body = vec![0; length];
        self.receive_raw(&mut body)?;
        Ok(body)
    }

    /// Reads until the other side hangs up.
    ///
    /// # Errors
    /// When it does not within half a minute.
    pub fn wait_closed(&mut self) -> io::Result<()> {
        let mut rest = [0; 4096];
        loop {
            match self.stream.read(&mut rest) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(error);
                }
                // Reset or cut off inside a record: closed all the same.
                Err(_) => return Ok(()),
            }
        }
    }
}

fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(SILENCE_LIMIT))?;
    tcp.set_write_timeout(Some(SILENCE_LIMIT))
}

/// `count` TCP connections from `source`, one after the other, that say nothing.
pub fn crowd_from(source: IpAddr, to: SocketAddr, count: usize) -> io::Result<Vec<TcpStream>> {
    let dial = |_| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
        socket.connect_timeout(&SockAddr::from(to), SILENCE_LIMIT)?;
        Ok(TcpStream::from(socket))
    };
    (0..count).map(dial).collect()
}
