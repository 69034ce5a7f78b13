//! How far a job is, for people.

use tokio::time::Instant;

use super::Job;
use crate::command::{Activity, Progress};

impl Job {
    /// Tells those who look.
    pub(super) fn show_progress(&mut self, now: Instant) {
        let bytes = self.done_bytes;
        let seeders = self.sessions.values().filter(|session| session.opened).count();
        let progress = Progress {
            name: self.spec.name.clone(),
            activity: self.activity(),
            chunks: self.wanted.chunks.saturating_sub(self.missing()),
            chunks_total: self.wanted.chunks,
            bytes: bytes.min(self.wanted.bytes),
            bytes_total: self.wanted.bytes,
            bytes_per_sec: self.tally.speed(bytes, now),
            seeders: u32::try_from(seeders).unwrap_or(u32::MAX),
        };
        self.tools.progress.send_replace(Some(progress));
    }

    const fn activity(&self) -> Activity {
        if self.looking {
            Activity::Checking
        } else if self.told_starved {
            Activity::Waiting
        } else {
            Activity::Downloading
        }
    }
}
