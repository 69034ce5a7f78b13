//! Where the time of tests begins.

use std::time::Instant;

/// Some time; from there on it passes as a test wants.
#[expect(clippy::disallowed_methods, reason = "an instant cannot be made otherwise; read once, it is as good as any")]
pub(crate) fn start() -> Instant {
    Instant::now()
}
