//! The clock: the one place where the tracker learns what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::service::Now;

/// Tells the time. Clones began at the same moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    begun: Instant,
}

impl Clock {
    /// Uptimes count from now.
    pub(crate) fn start() -> Self {
        Self { begun: Instant::now() }
    }

    /// The time.
    pub(crate) fn now(&self) -> Now {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        Now { unix_ms, uptime: self.begun.elapsed() }
    }

    /// The moment of an uptime.
    pub(crate) fn instant_of(&self, uptime: std::time::Duration) -> Instant {
        self.begun + uptime
    }
}
