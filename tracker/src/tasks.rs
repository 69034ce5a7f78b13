//! Tasks: every task of this program is spawned here, has a name, and is awaited by its owner when that ends.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Spawns tasks that end together. Clones belong to the same group; [`Tasks::child`] makes one that can end alone.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// An empty group.
    pub fn new() -> Self {
        Self::default()
    }

    /// A group of its own that is cancelled with this one, and that can be cancelled alone.
    pub fn child(&self) -> Self {
        Self { tracker: TaskTracker::new(), token: self.token.child_token() }
    }

    /// Runs `future` until it ends or the group is cancelled: it is dropped at its next await then.
    pub fn spawn<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let token = self.token.clone();
        let span = tracing::debug_span!("task", name);
        self.tracker.spawn(
            async move {
                tokio::select! {
                    () = token.cancelled() => {}
                    () = future => {}
                }
            }
            .instrument(span),
        );
    }

    /// Ends when the group is cancelled.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Cancels all tasks and waits until they have ended. May be called more than once.
    pub async fn shutdown(&self) {
        self.token.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
