//! Parts: what commands work with, wired together once by the app.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use common::audience::Audience;
use common::id::{NetworkId, PeerId};
use common::name::{EntryRef, UserName};
use tokio::sync::{SetOnce, broadcast, oneshot};
use tokio_util::sync::CancellationToken;

use super::AcceptRule;
use super::downloads::Downloads;
use super::failure;
use super::names::SeenNames;
use super::{Failure, FailureKind};
use crate::dir::Dir;
use crate::engine::{Engine, Shared};
use crate::hashing::Hashers;
use crate::library::{Item, Library, Reshared};
use crate::node::Asker;
use crate::node::rendezvous::Rendezvous;
use crate::notice::Notice;
use crate::sync::{Records, Syncing};
use crate::tasks::Tasks;
use crate::tracker_client::{Place, TrackerClient};

/// What commands work with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) peer: PeerId,
    pub(crate) dir: Dir,
    pub(crate) place: Place,
    pub(crate) listen: SocketAddr,
    /// The user name wished for.
    pub(crate) wished_name: UserName,
    pub(crate) tracker: TrackerClient,
    /// In a network without a tracker.
    pub(crate) node: Option<Asker>,
    /// In a network with a tracker: where peers meet whom TCP does not bring together.
    pub(crate) rendezvous: Option<Rendezvous>,
    pub(crate) engine: Engine,
    pub(crate) library: Arc<Library>,
    pub(crate) hashers: Hashers,
    pub(crate) downloads: Downloads,
    pub(crate) names: SeenNames,
    pub(crate) records: Arc<Records>,
    pub(crate) syncing: Syncing,
    /// Whose offers are accepted without asking.
    pub(crate) accept: AcceptRule,
    pub(crate) notices: broadcast::Sender<Notice>,
    pub(crate) tasks: Tasks,
    /// Set once this peer is to do by itself what a peer does that runs on.
    pub(crate) stays: SetOnce<()>,
    /// Cancelled when the user wants the peer to end.
    pub(crate) stop: CancellationToken,
    /// Cancelled when it is ending: no command begins or goes on.
    pub(crate) ending: CancellationToken,
}

impl Parts {
    /// The network of the tracker in use; a failure before it was ever reached.
    pub(super) fn network(&self) -> Result<NetworkId, Failure> {
        self.tracker.network().ok_or_else(|| Failure::new(FailureKind::NoTracker, "the tracker was not reached yet"))
    }

    /// The user name: the tracker's word for it, or the one wished for before it was reached.
    pub(crate) fn user_name(&self) -> String {
        self.tracker.name().unwrap_or_else(|| self.wished_name.to_string())
    }

    pub(crate) fn tell(&self, notice: Notice) {
        // Nobody may be listening.
        drop(self.notices.send(notice));
    }

    /// Works with the library off the reactor.
    pub(crate) async fn with_library<T, F>(&self, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&Library) -> T + Send + 'static,
    {
        let library = Arc::clone(&self.library);
        off_reactor(move || work(&library)).await
    }

    /// Puts what has changed in the library on the disk; tells where that is not possible.
    pub(crate) async fn save_library(&self) {
        if let Err(error) = self.with_library(Library::save).await {
            let path = self.dir.library();
            let text = format!(
                "What is shared could not be written to {}, and will not all be shared again after a restart: {error}",
                path.display()
            );
            self.tell(Notice::Warning { text });
        }
    }

    /// The same for what is followed, watched and accepted.
    pub(crate) async fn save_records(&self) {
        let records = Arc::clone(&self.records);
        if let Err(error) = off_reactor(move || records.save()).await {
            let path = self.dir.sync();
            let text = format!(
                "What is followed and watched could not be written to {}, and may be forgotten at a restart: {error}",
                path.display()
            );
            self.tell(Notice::Warning { text });
        }
    }

    /// Shares a complete file now, and after a restart once the library is saved. What else was at its path before is
    /// shared no more.
    pub(super) async fn share(&self, item: Item, mut shared: Shared) {
        let (network, insides) = (item.network, shared.insides.clone());
        let reshared = self.library.add(item, insides);
        self.reshare(reshared).await;
        shared.audiences = self.library.audiences(network, &shared.content);
        // It may have been shared under others, which are not right any more.
        let now = Reshared::from([(shared.content, shared.audiences.clone())]);
        self.serve(shared).await;
        self.reshare(now).await;
    }

    /// Has the engine serve a file; it opens it, so this is off the reactor.
    pub(crate) async fn serve(&self, shared: Shared) {
        let engine = self.engine.clone();
        self.with_library(move |_| engine.share(shared)).await;
    }

    /// Has the engine serve what has changed in the library for those only for whom it is now.
    pub(crate) async fn reshare(&self, reshared: Reshared) {
        for (content, audiences) in reshared {
            let engine = self.engine.clone();
            self.with_library(move |_| engine.set_audiences(&content, audiences)).await;
        }
    }

    /// An entry is for others now than it was: what is shared of it is shared for them, and no others on its account.
    pub(crate) async fn set_audience(&self, entry: EntryRef, audience: Audience) {
        let Some(network) = self.tracker.network() else { return };
        let reshared = self.with_library(move |library| library.set_audience(network, &entry, &audience)).await;
        if !reshared.is_empty() {
            self.reshare(reshared).await;
            self.save_library().await;
        }
    }

    /// Runs what must not stop half way when nobody waits for it any more.
    pub(super) async fn to_the_end<T, F>(&self, name: &'static str, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.tasks.spawn(name, async move {
            // Nobody may be waiting any more.
            drop(sender.send(work.await));
        });
        receiver.await.unwrap_or_else(|_| Err(failure::ending()))
    }
}

/// A path of a command: absolute, since the process that acts may be elsewhere than the one that asks.
pub(super) fn absolute(path: &Path) -> Result<(), Failure> {
    if path.is_absolute() {
        Ok(())
    } else {
        Err(Failure::new(FailureKind::Usage, format!("{} is not an absolute path", path.display())))
    }
}

/// Runs what blocks where it may.
pub(crate) async fn off_reactor<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is ending, and with it whoever asked.
            Err(_) => std::future::pending().await,
        },
    }
}
