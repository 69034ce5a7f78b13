//! Visitors: peers who come over the overlay, as long as they have not said hello. So many are heard at a time, and so few of
//! one peer that nobody alone keeps the others out.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use common::id::PeerId;
use tokio::sync::{Semaphore, mpsc};

use crate::overlay::Reached;
use crate::tasks::Tasks;

/// Visitors that are heard at a time, each for as long as a hello may take.
const MOST: usize = 64;
/// Those of one peer: one would do, but an earlier one may hang where its way broke.
const MOST_OF_PEER: usize = 4;

/// Has `greet` hear all who come. Who finds no room waits in the queue; who is one too many of a peer is turned away.
pub(super) async fn take_in<G, F>(mut visitors: mpsc::Receiver<Reached>, greet: G, tasks: Tasks)
where
    G: Fn(Reached) -> F,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let (room, shares) = (Arc::new(Semaphore::new(MOST)), Shares::default());
    while let Ok(place) = Arc::clone(&room).acquire_owned().await {
        let Some(reached) = visitors.recv().await else { return };
        let Some(share) = shares.take(reached.key.peer_id()) else {
            tracing::debug!(key = ?reached.key, "turned away: too many of one peer");
            continue;
        };
        let greeting = greet(reached);
        tasks.spawn("greet", async move {
            let _held = (place, share);
            if let Err(error) = greeting.await {
                tracing::debug!(%error, "a conversation came to nothing");
            }
        });
    }
}

/// How many of each peer are heard.
#[derive(Debug, Clone, Default)]
struct Shares {
    taken: Arc<Mutex<HashMap<PeerId, usize>>>,
}

/// A place of one peer; free again when it is dropped.
#[derive(Debug)]
struct Share {
    shares: Shares,
    peer: PeerId,
}

impl Shares {
    fn take(&self, peer: PeerId) -> Option<Share> {
        let mut taken = self.lock();
        let of_peer = taken.entry(peer).or_default();
        if *of_peer >= MOST_OF_PEER {
            return None;
        }
        *of_peer += 1;
        Some(Share { shares: self.clone(), peer })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.lock();
        if let Some(of_peer) = taken.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use common::identity::{Identity, PublicKey};
    use tokio::io::{AsyncReadExt as _, DuplexStream};
    use tokio::sync::mpsc::error::TrySendError;
    use tokio::time::timeout;

    use super::*;

    /// Longer than anything here takes.
    const DEADLINE: Duration = Duration::from_secs(30);

    fn key(number: usize) -> PublicKey {
        let seed = [number.to_be_bytes().as_slice(), &[7; 24]].concat();
        Identity::from_seed(&seed.try_into().unwrap()).public_key()
    }

    /// A visitor, and its end of the stream.
    fn visitor(number: usize) -> (Reached, DuplexStream) {
        let (here, there) = tokio::io::duplex(1);
        let address = SocketAddr::from(([127, 0, 0, 1], 4000));
        (Reached { stream: Box::new(here), key: key(number), address }, there)
    }

    struct Scene {
        sender: mpsc::Sender<Reached>,
        heard: mpsc::Receiver<PublicKey>,
        tasks: Tasks,
    }

    impl Scene {
        /// All are heard who are let in, and say nothing.
        fn new() -> Self {
            let (tasks, (sender, visitors)) = (Tasks::new(), mpsc::channel(1));
            let (hears, heard) = mpsc::channel(2 * MOST);
            let greet = move |reached: Reached| {
                let hears = hears.clone();
                async move {
                    hears.send(reached.key).await.unwrap();
                    std::future::pending::<()>().await;
                    drop(reached);
                    Ok(())
                }
            };
            tasks.spawn("visitors", take_in(visitors, greet, tasks.clone()));
            Self { sender, heard, tasks }
        }

        async fn is_heard(&mut self, number: usize) {
            let heard = timeout(DEADLINE, self.heard.recv()).await.unwrap().unwrap();
            assert_eq!(heard, key(number));
        }
    }

    #[tokio::test]
    async fn one_peer_does_not_keep_the_others_out() {
        let mut scene = Scene::new();
        let mut ends = Vec::new();
        for _ in 0..=MOST_OF_PEER {
            let (reached, end) = visitor(1);
            scene.sender.send(reached).await.unwrap();
            ends.push(end);
        }
        let mut last = ends.pop().unwrap();
        assert_eq!(timeout(DEADLINE, last.read(&mut [0])).await.unwrap().unwrap(), 0, "it is turned away");
        for _ in 0..MOST_OF_PEER {
            scene.is_heard(1).await;
        }
        let (reached, _end) = visitor(2);
        scene.sender.send(reached).await.unwrap();
        scene.is_heard(2).await;
        scene.tasks.shutdown().await;
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_and_others_find_the_queue_full() {
        let mut scene = Scene::new();
        let mut ends = Vec::new();
        for number in 0..MOST {
            let (reached, end) = visitor(number);
            scene.sender.send(reached).await.unwrap();
            scene.is_heard(number).await;
            ends.push(end);
        }
        let (waits, _end) = visitor(MOST);
        scene.sender.send(waits).await.unwrap();
        let (beyond, _end) = visitor(MOST + 1);
        assert!(matches!(scene.sender.try_send(beyond), Err(TrySendError::Full(_))));
        assert!(scene.heard.try_recv().is_err());
        scene.tasks.shutdown().await;
    }

    #[test]
    fn a_place_is_free_again() {
        let shares = Shares::default();
        let peer = key(1).peer_id();
        let taken: Vec<_> = (0..MOST_OF_PEER).map(|_| shares.take(peer).unwrap()).collect();
        assert!(shares.take(peer).is_none());
        drop(taken);
        drop(shares.take(peer).unwrap());
        assert!(shares.lock().is_empty());
    }
}
