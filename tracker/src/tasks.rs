//! Tasks: every task of this program is spawned here, has a name, and is awaited by its owner when that ends.

use std::future::Future;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// Spawns tasks that end together. Clones belong to the same group.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// An empty group.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Runs `future` until it ends or the group is cancelled: it is dropped at its next await then.
    pub(crate) fn spawn<F>(&self, name: &'static str, future: F)
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
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Waits until all tasks have ended by themselves; no more are to be spawned.
    pub(crate) async fn finish(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Cancels all tasks and waits until they have ended. May be called more than once.
    pub(crate) async fn shutdown(&self) {
        self.token.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}
