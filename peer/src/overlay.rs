//! The overlay: ways to other peers that are not TCP connections of their own. Who runs it finds a way, and brings those who
//! come by it.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use common::id::PeerId;
use common::identity::PublicKey;
use tokio::sync::{mpsc, oneshot};

use crate::tracker_client::Stream;

/// A handle to the overlay; clones are handles to the same.
#[derive(Debug, Clone)]
pub(crate) struct Overlay {
    wishes: mpsc::Sender<Reach>,
}

/// Somebody wants a stream to a peer.
#[derive(Debug)]
pub(crate) struct Reach {
    /// To whom.
    pub(crate) peer: PeerId,
    /// Where it goes.
    pub(crate) answer: oneshot::Sender<io::Result<Reached>>,
}

/// A stream to a peer, who has shown who he is.
pub(crate) struct Reached {
    /// The stream; nothing was said on it yet.
    pub(crate) stream: Stream,
    /// His key.
    pub(crate) key: PublicKey,
    /// Where he is, as far as that can be said.
    pub(crate) address: SocketAddr,
}

/// Wishes that may wait.
const WISHES: usize = 64;

impl Overlay {
    /// An overlay, and what is wished for there.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Reach>) {
        let (wishes, waiting) = mpsc::channel(WISHES);
        (Self { wishes }, waiting)
    }

    /// A stream to this peer.
    pub(crate) async fn reach(&self, peer: PeerId) -> io::Result<Reached> {
        let gone = || io::Error::new(io::ErrorKind::NotConnected, "this node is ending");
        let (answer, answered) = oneshot::channel();
        self.wishes.send(Reach { peer, answer }).await.map_err(|_closed| gone())?;
        answered.await.unwrap_or_else(|_dropped| Err(gone()))
    }
}

impl fmt::Debug for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reached").field("key", &self.key).field("address", &self.address).finish_non_exhaustive()
    }
}
