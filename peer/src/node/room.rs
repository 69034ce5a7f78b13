//! Room: how many bytes of messages may wait for somebody. A message that waits takes its bytes of it, and leaves when it is
//! dropped.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a message takes beside its bytes: its place in a queue, and what the allocator adds. About so much.
const BESIDE: usize = 64;

/// Room for so many bytes; clones are the same room.
#[derive(Debug, Clone)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    bytes: usize,
}

/// A message that waits.
#[derive(Debug)]
pub(super) struct Kept {
    message: Vec<u8>,
    _places: OwnedSemaphorePermit,
}

impl Room {
    /// Room for so many bytes, less than 4 GiB.
    pub(super) fn new(bytes: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(bytes)), bytes }
    }

    /// Keeps a message, if there is room for it now.
    pub(super) fn try_keep(&self, message: Vec<u8>) -> Option<Kept> {
        let places = Arc::clone(&self.places).try_acquire_many_owned(self.places_of(&message)).ok()?;
        Some(Kept { message, _places: places })
    }

    /// Waits until there is room for a message, and keeps it. Who came first is served first.
    pub(super) async fn keep(&self, message: &[u8]) -> Kept {
        let places = Arc::clone(&self.places).acquire_many_owned(self.places_of(message));
        let places = places.await.expect("nobody closes it");
        Kept { message: message.to_vec(), _places: places }
    }

    /// One that is larger than the room takes all of it, and does not wait for ever.
    fn places_of(&self, message: &[u8]) -> u32 {
        u32::try_from((message.len() + BESIDE).min(self.bytes)).expect("a room has less than 4 GiB")
    }
}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_bytes_until_some_leave() {
        let room = Room::new(1000);
        let message = || vec![7; 1000 / 2 - BESIDE];
        let mut kept: Vec<Kept> = (0..9).filter_map(|_| room.try_keep(message())).collect();
        assert_eq!(kept.len(), 2);
        assert_eq!(*kept.pop().unwrap(), message());
        assert!(room.try_keep(message()).is_some());
        drop(kept);
        assert!(room.try_keep(vec![7; 9999]).is_some(), "alone");
        let empty: Vec<Kept> = (0..9999).filter_map(|_| room.try_keep(Vec::new())).collect();
        assert_eq!(empty.len(), 1000 / BESIDE, "nothing is free");
    }
}
