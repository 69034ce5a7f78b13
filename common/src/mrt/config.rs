//! What can be set. Every program may leave it at its default.

use std::time::Duration;

use super::crypto::Suite;

/// How an endpoint and its connections behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which controller decides how much is under way. Default [`ControllerKind::Model`].
    pub controller: ControllerKind,
    /// How packets of connections that this side asks for are sealed. Default AES-256-GCM; a machine without
    /// instructions for AES does better with ChaCha20-Poly1305. A responder takes either.
    pub suite: Suite,
    /// Largest datagram in bytes, without UDP and IP header, from 1200 to 65,527; what a path really carries is searched
    /// for below it. Default 16 KiB: above it loopback gains nothing.
    pub max_datagram: u16,
    /// A connection from which nothing came for so long is closed. Default 30 s.
    pub idle_timeout: Duration,
    /// A quiet connection sends something each time so much has passed; `None` lets it idle out. Default 15 s, since many
    /// routers forget a flow after 30.
    pub keep_alive: Option<Duration>,
    /// A connection that is not confirmed after so long is given up. Default 10 s.
    pub handshake_timeout: Duration,
    /// How many streams the other side may have open at once. Default 256. Each costs some hundred bytes.
    pub max_streams: u64,
    /// Most bytes that are written and not yet acknowledged, over all streams of a connection. Default 64 MiB, which
    /// carries 1 Gbit/s over 200 ms with losses; what is really held follows what is under way.
    pub max_send_buffer: u64,
    /// Bytes that all receive windows of this endpoint may promise together. Default 64 MiB. Each connection has 256 KiB
    /// beyond that, whatever the others take.
    pub receive_budget: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            controller: ControllerKind::Model,
            suite: Suite::Aes256Gcm,
            max_datagram: DEFAULT_MAX_DATAGRAM,
            idle_timeout: Duration::from_secs(30),
            keep_alive: Some(Duration::from_secs(15)),
            handshake_timeout: Duration::from_secs(10),
            max_streams: 256,
            max_send_buffer: MIB_64,
            receive_budget: MIB_64,
        }
    }
}

/// The two ways to find out how fast a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ControllerKind {
    /// By a model of the path, from delivery rate and shortest round trip. It holds its rate where packets are lost at
    /// random, and gives way when a queue grows.
    #[default]
    Model,
    /// CUBIC (RFC 9438) with HyStart++ (RFC 9406): takes every loss for congestion, as most TCP does.
    Fair,
}

const DEFAULT_MAX_DATAGRAM: u16 = 16 * 1024;
const MIB_64: u64 = 64 << 20;
