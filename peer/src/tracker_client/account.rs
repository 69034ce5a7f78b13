//! Accounts: logging in and out, which change who this peer is on the network, so that it joins anew.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use common::id::{NetworkId, PeerId};
use common::wire::tracker::{Reply, Request, Welcome};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::connection::{JoinError, ask_unjoined};
use super::{NameChoice, ONE_TRY, REQUEST_DEADLINE, Shared, TrackerClient, TrackerError, TrackerState};

/// Whether this peer is about to join anew because its user logs in or out.
#[derive(Debug, Default)]
pub(super) struct Renewal {
    /// How many such commands are under way: what ends meanwhile is no loss.
    under_way: AtomicUsize,
    asked: Notify,
    /// Whether the user has logged in or out: the name is that of the account, or, where the one that was wished for is an
    /// account's, another will do.
    any_name: AtomicBool,
}

/// Says that a renewal is under way for as long as it lives.
struct UnderWay<'a>(&'a Renewal);

impl Renewal {
    /// Whether one is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::SeqCst) > 0
    }

    /// Waits until this peer is to join anew. Safe to drop at any await.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    fn begin(&self) -> UnderWay<'_> {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        UnderWay(self)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Shared {
    /// The name to join under.
    pub(super) fn wished_name(&self) -> NameChoice {
        match &self.introduction.name {
            NameChoice::Given(name) if self.renewal.is_under_way() || self.renewal.any_name.load(Ordering::SeqCst) => {
                NameChoice::Default(name.clone())
            }
            name => name.clone(),
        }
    }
}

impl TrackerClient {
    /// Waits until it is known which tracker it is: reached, or remembered from before.
    pub(crate) async fn met(&self) -> Result<NetworkId, TrackerError> {
        let deadline = Instant::now() + ONE_TRY;
        let mut state = self.state();
        loop {
            let why = match &*state.borrow_and_update() {
                TrackerState::Failed(error @ TrackerError::Untrusted { .. }) => return Err(error.clone()),
                TrackerState::Connecting { why } if !why.is_empty() => why.clone(),
                _ => "it has not answered yet".to_owned(),
            };
            if let Some(network) = self.shared.trust.expected_or_met() {
                return Ok(network);
            }
            self.shared.wanted.notify_one();
            if tokio::time::timeout_at(deadline, state.changed()).await.is_err() {
                return Err(self.not_connected(&why));
            }
        }
    }

    /// Whether the user ever said that this tracker is the right one: pinned its fingerprint, or confirmed it.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.shared.trust.is_confirmed()
    }

    /// The user says so; an error, a sentence, where that could not be written down. Blocks for a small file.
    pub(crate) fn confirm(&self, network: NetworkId) -> Result<(), String> {
        self.shared.trust.confirm(network)
    }

    /// What the tracker said last when this peer joined; `None` while it wants a login.
    pub(crate) fn welcome(&self) -> Option<Welcome> {
        match &*self.shared.state.borrow() {
            TrackerState::LoginRequired(_) => None,
            _ => self.shared.last_welcome().map(|last| last.welcome),
        }
    }

    /// Signs up or logs in on a connection of its own, to the tracker of the known key and no other; then joins anew.
    pub(crate) async fn authenticate(&self, request: Request) -> Result<Reply, TrackerError> {
        let network = self.met().await?;
        let _under_way = self.shared.renewal.begin();
        let asked_at = Instant::now();
        let answer = ask_unjoined(&self.shared.introduction, PeerId(network.0), request).await;
        let reply = answer.map_err(|error| match error {
            JoinError::NoTracker(why) => self.not_connected(&why),
            JoinError::Unexpected(unexpected) => self.shared.trust.wrong_key(&unexpected),
            JoinError::Refused { refusal, .. } => refusal.into(),
        })??;
        self.shared.renewal.any_name.store(true, Ordering::SeqCst);
        self.join_anew(asked_at).await;
        Ok(reply)
    }

    /// Logs out, and joins anew where that is possible.
    pub(crate) async fn log_out(&self) -> Result<Reply, TrackerError> {
        let _under_way = self.shared.renewal.begin();
        let asked_at = Instant::now();
        let reply = self.request(Request::LogOut).await?;
        self.shared.renewal.any_name.store(true, Ordering::SeqCst);
        self.join_anew(asked_at).await;
        Ok(reply)
    }

    /// Has this peer join anew, unless it has since then, and waits until it has, or is not let in.
    async fn join_anew(&self, since: Instant) {
        let has_joined = || self.shared.last_welcome().is_some_and(|last| last.at > since);
        if !has_joined() {
            self.shared.state.send_if_modified(|state| {
                let waits = matches!(state, TrackerState::LoginRequired(_) | TrackerState::Failed(_));
                if waits {
                    *state = TrackerState::Connecting { why: String::new() };
                }
                waits
            });
            self.shared.renewal.asked.notify_one();
        }
        let mut state = self.state();
        let over = state.wait_for(|state| match state {
            TrackerState::Connected(_) => has_joined(),
            TrackerState::LoginRequired(_) | TrackerState::Failed(_) => true,
            TrackerState::Connecting { .. } => false,
        });
        // A tracker that is gone meanwhile is told of as ever.
        let _too_long = timeout(REQUEST_DEADLINE, over).await;
    }
}
