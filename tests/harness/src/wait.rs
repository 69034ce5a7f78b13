//! Waiting: for a condition, with a deadline, and with words for what did not come true.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at: often enough to time things by it, seldom enough to cost nothing.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Waits until `condition` holds and says how long that took.
///
/// # Panics
/// When it does not hold within `limit`; `what` completes the sentence "waited for ...".
#[track_caller]
pub fn wait_until(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    wait_for(limit, what, || condition().then_some(()));
    start.elapsed()
}

/// Waits until `attempt` gives something.
///
/// # Panics
/// When it does not within `limit`; `what` completes the sentence "waited for ...".
#[track_caller]
pub fn wait_for<T>(limit: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        pause();
    }
}

/// Looks at `condition` for `span` and says whether it held all the time: for what must not happen.
pub fn holds_for(span: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < span {
        if !condition() {
            return false;
        }
        pause();
    }
    true
}

/// Lets others run for a moment.
pub fn pause() {
    thread::park_timeout(LOOK_EVERY);
}
