//! Open files: every shared file is one, and every connection.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No more are asked for: room for a large library beside its connections, where the system would give any number.
const WANTED: u64 = 1 << 18;

/// Raises the number of files that this process may have open, as far as it may by itself; often only 1024 are given at
/// first. Where that fails, it has to do.
pub(super) fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    // No limit at all is `None`.
    let Some(current) = limit.current else { return };
    let possible = limit.maximum.map_or(WANTED, |maximum| maximum.min(WANTED));
    if possible <= current {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(possible), maximum: limit.maximum }) {
        Ok(()) => tracing::debug!(before = current, now = possible, "more files may be open"),
        Err(error) => tracing::debug!(%error, current, "no more files may be open"),
    }
}
