//! The journal: writes on their way to the store, in batches, and who waits for them.
//!
//! ```text
//!            start                commit succeeded
//!   Idle ------------> Committing -----------------> Idle
//!    ^                     | commit failed
//!    |   debt is paid      v
//!    +----------------- Failing (each retry tries to pay)
//! ```
//!
//! After a commit that failed nobody knows what is on disk. The debt is what makes the disk say again what the memory
//! says; writes are absolute, so to pay it is right in either case.
//!
//! Between two commits the store may be read, to be exported: what was committed, and nothing else.

use std::collections::VecDeque;
use std::mem;

use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

use super::{StoreLost, Waiting};
use crate::state::Write;
use crate::store::{Store, StoreError, Stored};

/// Writes that are committed together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    writes: Vec<Write>,
    /// What takes the writes back, in the order of the writes.
    undo: Vec<Write>,
    /// Who waits for it.
    pub(super) waiting: Vec<Waiting>,
}

type Committed = (Box<dyn Store>, Result<(), StoreError>);

/// Where what was committed is to go.
pub(super) type Export = oneshot::Sender<Result<Stored, StoreError>>;

#[derive(Debug)]
enum Disk {
    Idle(Box<dyn Store>),
    Exporting {
        task: JoinHandle<Committed>,
    },
    Committing {
        task: JoinHandle<Committed>,
        batch: Batch,
    },
    Failing {
        store: Box<dyn Store>,
        debt: Vec<Write>,
    },
    Paying {
        task: JoinHandle<Committed>,
        debt: Vec<Write>,
    },
    /// Between two of the others, and after a panic in the store.
    Lost,
}

/// Writes on their way to the store.
#[derive(Debug)]
pub(super) struct Journal {
    disk: Disk,
    /// Gathers while another batch is committed.
    next: Batch,
    /// Who waits for an export; few, as they all come through one door.
    exports: VecDeque<Export>,
}

impl Journal {
    pub(super) fn new(store: Box<dyn Store>) -> Self {
        Self { disk: Disk::Idle(store), next: Batch::default(), exports: VecDeque::new() }
    }

    /// Whether writes cannot be taken now.
    pub(super) const fn is_failing(&self) -> bool {
        matches!(self.disk, Disk::Failing { .. } | Disk::Paying { .. } | Disk::Lost)
    }

    /// Whether a commit is under way or to come.
    pub(super) const fn is_busy(&self) -> bool {
        matches!(self.disk, Disk::Committing { .. } | Disk::Paying { .. } | Disk::Exporting { .. })
    }

    /// Has what is committed read and sent there, when nothing is being committed.
    pub(super) fn export(&mut self, to: Export) {
        self.exports.push_back(to);
    }

    /// Puts a write, and what takes it back, into the next batch.
    pub(super) fn add(&mut self, write: Write, undo: Write) {
        self.next.writes.push(write);
        self.next.undo.push(undo);
    }

    /// Keeps `waiting` until all that was added before is committed; gives it back where that is so already.
    pub(super) fn wait(&mut self, waiting: Waiting) -> Option<Waiting> {
        match &mut self.disk {
            _ if !self.next.writes.is_empty() => self.next.waiting.push(waiting),
            Disk::Committing { batch, .. } => batch.waiting.push(waiting),
            _ => return Some(waiting),
        }
        None
    }

    /// Begins to commit the next batch, or to export, where there is something to do and nothing is under way.
    pub(super) fn start(&mut self) {
        if let Disk::Idle(_) = self.disk
            && let Some(export) = self.exports.pop_front()
            && let Disk::Idle(store) = mem::replace(&mut self.disk, Disk::Lost)
        {
            self.disk = Disk::Exporting { task: spawn_export(store, export) };
        }
        if self.next.writes.is_empty() {
            return;
        }
        self.disk = match mem::replace(&mut self.disk, Disk::Lost) {
            Disk::Idle(store) => {
                let batch = mem::take(&mut self.next);
                Disk::Committing { task: spawn(store, batch.writes.clone()), batch }
            }
            other => other,
        };
    }

    /// Tries again to pay the debt, where there is one.
    pub(super) fn retry(&mut self) {
        self.disk = match mem::replace(&mut self.disk, Disk::Lost) {
            Disk::Failing { store, debt } => Disk::Paying { task: spawn(store, debt.clone()), debt },
            other => other,
        };
    }

    /// Waits for a commit to end; for ever where none is under way. Gives the batch and, where it failed, what is to be
    /// applied to the state to take it back. May be dropped and called again at any time.
    pub(super) async fn committed(&mut self) -> (Batch, Result<Result<(), Vec<Write>>, StoreLost>) {
        let ended = match &mut self.disk {
            Disk::Committing { task, .. } | Disk::Paying { task, .. } | Disk::Exporting { task } => task.await,
            Disk::Idle(_) | Disk::Failing { .. } | Disk::Lost => std::future::pending().await,
        };
        self.on_ended(ended)
    }

    fn on_ended(&mut self, ended: Result<Committed, JoinError>) -> (Batch, Result<Result<(), Vec<Write>>, StoreLost>) {
        let (store, result) = match ended {
            Ok(committed) => committed,
            Err(error) => return (Batch::default(), Err(StoreLost(error.to_string()))),
        };
        match (mem::replace(&mut self.disk, Disk::Lost), result) {
            (Disk::Committing { batch, .. }, Ok(())) => {
                self.disk = Disk::Idle(store);
                (batch, Ok(Ok(())))
            }
            (Disk::Committing { mut batch, .. }, Err(error)) => {
                tracing::warn!("nothing can be registered until the database can be written again: {error}");
                let debt: Vec<Write> = batch.undo.drain(..).rev().collect();
                // What gathered meanwhile rests on what failed, so it goes first.
                let mut next = mem::take(&mut self.next);
                let undone = next.undo.drain(..).rev().chain(debt.iter().cloned()).collect();
                batch.waiting.append(&mut next.waiting);
                self.disk = Disk::Failing { store, debt };
                (batch, Ok(Err(undone)))
            }
            (Disk::Exporting { .. }, _) => {
                self.disk = Disk::Idle(store);
                (Batch::default(), Ok(Ok(())))
            }
            (Disk::Paying { .. }, Ok(())) => {
                tracing::warn!("the database can be written again");
                self.disk = Disk::Idle(store);
                (Batch::default(), Ok(Ok(())))
            }
            (Disk::Paying { debt, .. }, Err(error)) => {
                tracing::debug!("the database still cannot be written: {error}");
                self.disk = Disk::Failing { store, debt };
                (Batch::default(), Ok(Ok(())))
            }
            (Disk::Idle(_) | Disk::Failing { .. } | Disk::Lost, _) => {
                unreachable!("a commit was under way in `committed`")
            }
        }
    }
}

fn spawn_export(mut store: Box<dyn Store>, export: Export) -> JoinHandle<Committed> {
    tokio::task::spawn_blocking(move || {
        let _nobody_waits = export.send(store.load());
        (store, Ok(()))
    })
}

fn spawn(mut store: Box<dyn Store>, writes: Vec<Write>) -> JoinHandle<Committed> {
    tokio::task::spawn_blocking(move || {
        let result = store.commit(&writes);
        (store, result)
    })
}
