//! Backends: what a face acts through, a peer in this process or the one that runs on this DIR.

#[cfg(test)]
pub(crate) mod fake;

use std::future::Future;

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};

use crate::app::App;
use crate::command::{Command, Failure, Outcome, Update};
use crate::notice::Notice;

/// Runs commands; clones act through the same peer.
pub(crate) trait Backend: Clone + Send + Sync + 'static {
    /// Runs a command to its end. Updates that find the queue full may be dropped.
    fn run(
        &self,
        command: Command,
        updates: mpsc::Sender<Update>,
    ) -> impl Future<Output = Result<Outcome, Failure>> + Send;

    /// What the peer tells by itself, from now on.
    fn notices(&self) -> impl Future<Output = Result<Notices, Failure>> + Send;

    /// What there is to be completed at a prompt.
    fn names(&self) -> impl Future<Output = Names> + Send;

    /// Ends when this peer was asked to end; that of another process ends its notices then.
    fn ended(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }
}

/// What there is to be completed at a prompt, each in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Names {
    /// Entries, `owner/name` where that is needed.
    pub(crate) entries: Vec<String>,
    /// Users.
    pub(crate) users: Vec<String>,
    /// Downloads under way.
    pub(crate) downloads: Vec<String>,
}

/// A stream of notices.
#[derive(Debug)]
pub(crate) enum Notices {
    /// From this process.
    Here(broadcast::Receiver<Notice>),
    /// From the running peer.
    There(mpsc::Receiver<Notice>),
}

impl Notices {
    /// The next notice; `None` when the peer has ended. Safe to drop at any await.
    pub(crate) async fn next(&mut self) -> Option<Notice> {
        match self {
            Self::Here(receiver) => loop {
                match receiver.recv().await {
                    Ok(notice) => return Some(notice),
                    // Whoever reads too slowly misses the oldest; the next one is as good.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            },
            Self::There(receiver) => receiver.recv().await,
        }
    }
}

impl Backend for App {
    async fn run(&self, command: Command, updates: mpsc::Sender<Update>) -> Result<Outcome, Failure> {
        Self::run(self, command, updates).await
    }

    async fn notices(&self) -> Result<Notices, Failure> {
        Ok(Notices::Here(Self::notices(self)))
    }

    async fn names(&self) -> Names {
        Names { entries: self.known_entries(), users: self.known_users(), downloads: self.download_names() }
    }

    async fn ended(&self) {
        self.stop_requested().await;
    }
}
