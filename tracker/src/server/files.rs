//! Files: each connection is one of the files that the system lets a process open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that are open besides connections: the data, the runtime's, standard input and output.
const OTHER_FILES: u64 = 64;

/// Asks the system to let this process open files for so many connections, and says how many it allows.
pub fn allow_files(max_connections: usize) -> usize {
    let wanted = u64::try_from(max_connections).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return max_connections;
    }
    let possible = wanted.min(limit.maximum.unwrap_or(u64::MAX));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(possible), maximum: limit.maximum });
    let allowed = if raised.is_ok() { possible } else { current };
    let connections = allowed.saturating_sub(OTHER_FILES).max(1);
    if allowed < wanted {
        tracing::warn!("the system allows {allowed} open files, so there can be {connections} connections at once");
    }
    usize::try_from(connections).unwrap_or(max_connections)
}
