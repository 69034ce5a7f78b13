//! Why something ended.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use common::mrt::{CloseReason, ConnectError, ReadError, WriteError};

/// Why there is no connection (any more).
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectionError {
    /// It was closed, by one of the two sides or because of what happened between them.
    #[error(transparent)]
    Closed(#[from] CloseReason),
    /// It cannot be asked for now.
    #[error(transparent)]
    Refused(#[from] ConnectError),
    /// Nothing can be sent to this address from the socket of the node: it is of another family, or nobody's.
    #[error("nothing can be sent to {0} from here")]
    Address(SocketAddr),
    /// The node was closed, and its connections with it.
    #[error("closed with the node")]
    Node,
    /// The socket failed, and the node with it.
    #[error("the socket failed")]
    Socket(#[source] Arc<io::Error>),
}

impl ConnectionError {
    /// What the user may do about it, if anything.
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Closed(CloseReason::NoAnswer) => {
                Some("check that the other side runs, that UDP gets through, and that both have the same network key")
            }
            Self::Address(_) => Some("bind to [::], which reaches IPv4 and IPv6"),
            _ => None,
        }
    }

    const fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Closed(CloseReason::Here) | Self::Node => io::ErrorKind::NotConnected,
            Self::Closed(CloseReason::There { .. }) => io::ErrorKind::ConnectionReset,
            Self::Closed(CloseReason::TimedOut | CloseReason::NoAnswer) => io::ErrorKind::TimedOut,
            Self::Closed(CloseReason::Violation(_)) => io::ErrorKind::InvalidData,
            Self::Refused(ConnectError::Full) => io::ErrorKind::QuotaExceeded,
            Self::Refused(ConnectError::Key) => io::ErrorKind::InvalidInput,
            Self::Address(_) => io::ErrorKind::AddrNotAvailable,
            Self::Socket(_) => io::ErrorKind::ConnectionAborted,
        }
    }
}

/// Why a stream gives or takes nothing. Inside of an [`io::Error`] where the traits of tokio want one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StreamError {
    /// Of reading.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Of writing.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// There is no connection any more.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        let kind = match &error {
            StreamError::Read(ReadError::Reset(_)) => io::ErrorKind::ConnectionReset,
            StreamError::Write(WriteError::Stopped(_)) => io::ErrorKind::BrokenPipe,
            StreamError::Read(ReadError::Closed) | StreamError::Write(WriteError::Closed) => {
                io::ErrorKind::NotConnected
            }
            StreamError::Connection(error) => error.kind(),
        };
        Self::new(kind, error)
    }
}
