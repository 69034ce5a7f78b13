//! The controllers against a bottleneck in virtual time.

mod fair;
mod goals;
mod link;
mod trouble;

use std::time::Duration;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
