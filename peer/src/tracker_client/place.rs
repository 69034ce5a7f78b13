//! Where the tracker is: behind an address, or with whoever coordinates a group of nodes at the time.

use std::fmt;
use std::net::SocketAddr;

use common::id::NetworkId;
use common::identity::PublicKey;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use super::TrackerAddress;

/// Where the tracker is.
#[derive(Debug, Clone)]
pub enum Place {
    /// It listens there.
    Address(TrackerAddress),
    /// It is with the supernode of a network without a tracker of its own.
    Group(Entrance),
}

/// The way to the supernode of a network, whoever that is at the time; clones are the same.
#[derive(Debug, Clone)]
pub struct Entrance {
    network: NetworkId,
    wishes: mpsc::Sender<Wish>,
}

/// Somebody wants to talk to the supernode.
#[derive(Debug)]
pub(crate) struct Wish {
    /// Where what comes of it goes; a phrase where that is nothing.
    pub(crate) answer: oneshot::Sender<Result<Entered, String>>,
}

/// A way to the supernode.
pub(crate) struct Entered {
    pub(crate) stream: Stream,
    /// The supernode's key.
    pub(crate) key: PublicKey,
    /// The address that was reached, where there is one.
    pub(crate) remote: Option<SocketAddr>,
}

/// Bytes both ways.
pub(crate) type Stream = Box<dyn Duplex>;

/// What a [`Stream`] can do.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Sync + Unpin + fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin + fmt::Debug> Duplex for S {}

/// Wishes that may wait.
const WISHES: usize = 4;

impl Place {
    /// For people: where the tracker is.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Address(address) => address.place(),
            Self::Group(_) => "the supernode".to_owned(),
        }
    }

    /// The address, where there is one.
    pub(crate) const fn address(&self) -> Option<&TrackerAddress> {
        match self {
            Self::Address(address) => Some(address),
            Self::Group(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Group(_) => f.write_str(&self.text()),
        }
    }
}

impl Entrance {
    /// An entrance to this network, and what is wished for there.
    pub(crate) fn new(network: NetworkId) -> (Self, mpsc::Receiver<Wish>) {
        let (wishes, waiting) = mpsc::channel(WISHES);
        (Self { network, wishes }, waiting)
    }

    /// Which network.
    pub(crate) const fn network(&self) -> NetworkId {
        self.network
    }

    /// A new way to the supernode; a phrase where there is none now.
    pub(crate) async fn enter(&self) -> Result<Entered, String> {
        const GONE: &str = "this node is ending";
        let (answer, answered) = oneshot::channel();
        self.wishes.send(Wish { answer }).await.map_err(|_closed| GONE.to_owned())?;
        answered.await.unwrap_or_else(|_dropped| Err(GONE.to_owned()))
    }
}

impl fmt::Debug for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entered").field("key", &self.key).finish_non_exhaustive()
    }
}
