//! What is kept in step: entries of others that are followed here, and files of this user that are watched.
//!
//! A record says where the copy of a followed entry lies, which version it is and what it looked like when it was put there;
//! the tracker knows of following only that it is wished for. Of where and what, the records are the authority.

mod destination;
mod disk_watch;
mod queue;
mod quiet;
mod records;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::id::Content;
use common::name::EntryRef;
use tokio::sync::Notify;

pub(crate) use self::destination::{Destination, There, destination, versioned};
pub(crate) use self::disk_watch::{DiskEvent, DiskWatch, WatchError};
pub(crate) use self::queue::{End, Newest, Queue};
pub(crate) use self::quiet::Quiet;
pub(crate) use self::records::{Followed, LocalCopy, Origin, Records};

/// The queue, and a bell for the task that works it off.
#[derive(Debug, Default)]
pub(crate) struct Syncing {
    queue: Mutex<Queue>,
    /// Rung when something was put into the queue.
    pub(crate) changed: Notify,
    /// Held while the tracker is told what is followed, so that it and the records come to the same.
    pub(crate) subscribing: tokio::sync::Mutex<()>,
    /// What has come of versions that were overtaken by newer ones, for those to take from; one for each followed entry.
    overtaken: Mutex<BTreeMap<EntryRef, Content>>,
    /// Rung when something is watched, or watched no more.
    pub(crate) watched: Notify,
}

impl Syncing {
    /// Works with the queue, and rings the bell.
    pub(crate) fn with_queue<T>(&self, work: impl FnOnce(&mut Queue) -> T) -> T {
        let result = work(&mut self.queue());
        self.changed.notify_one();
        result
    }

    /// Which versions were overtaken.
    pub(crate) fn overtaken(&self) -> MutexGuard<'_, BTreeMap<EntryRef, Content>> {
        self.overtaken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works with the queue as the one who works it off.
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
