//! Revoked: whoever keeps revocations hears of each at once, since one that a slow listener loses would let somebody in.

use std::fmt;

use common::wire::tracker::Revocation;

use super::TrackerClient;

/// What is called with revocations.
pub(super) struct OnRevoked(Box<dyn Fn(Vec<Revocation>) + Send + Sync>);

impl OnRevoked {
    /// Tells of these.
    pub(super) fn tell(&self, revocations: Vec<Revocation>) {
        (self.0)(revocations);
    }
}

impl fmt::Debug for OnRevoked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("OnRevoked")
    }
}

impl TrackerClient {
    /// From now on `keep` is called with what the tracker revokes, before anybody else hears of it. It must not block. Only
    /// the first who asks is heard.
    pub(crate) fn on_revoked(&self, keep: impl Fn(Vec<Revocation>) + Send + Sync + 'static) {
        if self.shared.revoked.set(OnRevoked(Box::new(keep))).is_err() {
            tracing::error!("revocations are kept in one place only");
        }
    }
}
