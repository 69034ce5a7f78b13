//! Announcements: the [`Announcer`] as tasks share it, with the clock and with what comes back from the tracker.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::audience::Sharing;
use common::wire::tracker::{Announced, Code, Have, Refusal, Reply};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::announcer::Announcer;

/// A tracker that has no time for an announcement gets it again after so long.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// What the tracker is to know, and when it is told.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    announcer: Announcer,
    not_before: Option<Instant>,
}

impl Announcements {
    /// Takes what is here now.
    pub(super) fn set(&self, sharing: Sharing, have: &Have) {
        self.state().announcer.set(sharing, have);
        self.changed.notify_one();
    }

    /// A new connection begins, on which nothing has been said.
    pub(super) fn on_connected(&self) {
        let mut state = self.state();
        state.announcer.on_connected();
        state.not_before = None;
    }

    /// The tracker answered a batch with these swarms. One that has no time gets them again after a pause; any other refusal
    /// would come again, and is given back for the user.
    pub(super) fn on_answer(&self, sharings: &[Sharing], answer: Result<Reply, Refusal>) -> Result<(), Refusal> {
        match answer {
            Ok(_) => Ok(()),
            Err(Refusal { code: Code::Busy | Code::Unavailable, text, .. }) => {
                tracing::debug!(text, "the tracker has no time for an announcement");
                let mut state = self.state();
                state.announcer.on_refused(sharings);
                state.not_before = Some(Instant::now() + REFUSED_PAUSE);
                Ok(())
            }
            Err(refusal) => Err(refusal),
        }
    }

    /// Waits for the next batch. Dropped before its end, it has taken nothing.
    pub(super) async fn next_batch(&self) -> Vec<Announced> {
        loop {
            let now = Instant::now();
            let due = {
                let mut state = self.state();
                match state.not_before {
                    Some(at) if now < at => Some(at),
                    _ => match state.announcer.poll_batch(now) {
                        Some(batch) => return batch,
                        None => state.announcer.poll_timeout(now),
                    },
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                () = async {
                    match due {
                        Some(at) => sleep_until(at).await,
                        None => std::future::pending().await,
                    }
                } => {}
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::{FileId, Hash};

    fn file() -> Sharing {
        Sharing::public(FileId::new(64 << 14, Hash([1; 32])).unwrap().into())
    }

    async fn next(announcements: &Announcements, start: Instant) -> (Duration, Vec<Have>) {
        let batch = announcements.next_batch().await;
        (start.elapsed(), batch.into_iter().map(|swarm| swarm.have).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn additions_wait_for_their_second_and_replacements_do_not() {
        let (announcements, start) = (Announcements::default(), Instant::now());
        announcements.set(file(), &Have::Map("0".repeat(16)));
        next(&announcements, start).await;
        announcements.set(file(), &Have::Add(vec![0]));
        assert_eq!(next(&announcements, start).await, (Duration::ZERO, vec![Have::Add(vec![0])]));
        announcements.set(file(), &Have::Add(vec![1]));
        announcements.set(file(), &Have::Add(vec![2]));
        assert_eq!(next(&announcements, start).await, (Duration::from_secs(1), vec![Have::Add(vec![1, 2])]));
        announcements.set(file(), &Have::Add(vec![3]));
        let (late, ()) = tokio::join!(next(&announcements, start), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            announcements.set(file(), &Have::All);
        });
        assert_eq!(late, (Duration::from_millis(1500), vec![Have::All]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_tracker_is_told_again_after_a_pause() {
        let (announcements, start) = (Announcements::default(), Instant::now());
        announcements.set(file(), &Have::All);
        next(&announcements, start).await;
        let refusal = |code| Refusal { code, text: String::new(), candidates: Vec::new() };
        announcements.on_answer(&[file()], Err(refusal(Code::Busy))).unwrap();
        assert_eq!(next(&announcements, start).await, (REFUSED_PAUSE, vec![Have::All]));
        assert_eq!(announcements.on_answer(&[file()], Err(refusal(Code::Limit))), Err(refusal(Code::Limit)));
        let quiet = tokio::time::timeout(Duration::from_secs(60), announcements.next_batch()).await;
        assert!(quiet.is_err());
    }
}
