//! The queue: which followed entries are to be brought up to date, and when.
//!
//! One line for each entry. A version that is heard of replaces the one before it, also where that is under way. Pure: the
//! time comes from the caller.
//!
//! ```text
//! want --> Waiting --poll--> Running --on_end--> gone
//!             ^                 |
//!             +-----failed------+   (after a pause that doubles)
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use common::audience::Audience;
use common::id::Content;
use common::name::{EntryRef, UserName};
use tokio::time::Instant;

/// So many entries are brought up to date at once; the others wait for their turn.
const AT_ONCE: usize = 2;
/// Pause after the first failure; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest pause. Who comes online meanwhile ends it, see [`Queue::hurry`].
const LONGEST_PAUSE: Duration = Duration::from_secs(5 * 60);

/// The newest version of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Newest {
    pub(crate) version: u32,
    pub(crate) content: Content,
    pub(crate) audience: Audience,
}

/// All entries that are to be brought up to date.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    lines: BTreeMap<EntryRef, Line>,
}

#[derive(Debug)]
struct Line {
    newest: Newest,
    /// Tries that came to nothing, since it was heard of.
    failures: u32,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting { not_before: Instant },
    Running,
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It is here.
    Done,
    /// It could not be done now.
    Failed,
    /// It is not wanted any more.
    GivenUp,
}

impl Queue {
    /// This is the newest version of an entry. Gives the content that is under way for it and is not wanted any more.
    pub(crate) fn want(&mut self, entry: EntryRef, newest: Newest, now: Instant) -> Option<Content> {
        let waiting = State::Waiting { not_before: now };
        let Some(line) = self.lines.get_mut(&entry) else {
            self.lines.insert(entry, Line { newest, failures: 0, state: waiting });
            return None;
        };
        let before = std::mem::replace(&mut line.newest, newest);
        let is_other = before.content != line.newest.content;
        line.failures = 0;
        if line.state == State::Running {
            return is_other.then_some(before.content);
        }
        line.state = waiting;
        None
    }

    /// The next entry to begin with; it is under way until [`Self::on_end`].
    pub(crate) fn poll(&mut self, now: Instant) -> Option<(EntryRef, Newest)> {
        if self.is_full() {
            return None;
        }
        // Those that never failed come first: for the others there may be nobody to fetch them from.
        let due = self.lines.iter_mut().filter_map(|(entry, line)| match line.state {
            State::Waiting { not_before } if not_before <= now => Some(((line.failures, not_before), entry, line)),
            State::Waiting { .. } | State::Running => None,
        });
        let (_, entry, line) = due.min_by_key(|(order, ..)| *order)?;
        line.state = State::Running;
        Some((entry.clone(), line.newest.clone()))
    }

    /// A try to bring this content of an entry here has ended.
    pub(crate) fn on_end(&mut self, entry: &EntryRef, content: &Content, end: End, now: Instant) {
        let Some(line) = self.lines.get_mut(entry) else { return };
        if line.newest.content != *content {
            // A newer one was heard of meanwhile.
            line.state = State::Waiting { not_before: now };
            return;
        }
        if end == End::Failed {
            let pause = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(line.failures).unwrap_or(u32::MAX));
            line.failures = line.failures.saturating_add(1);
            line.state = State::Waiting { not_before: now + pause.min(LONGEST_PAUSE) };
        } else {
            self.lines.remove(entry);
        }
    }

    /// The newest version of an entry that is not here yet.
    pub(crate) fn newest(&self, entry: &EntryRef) -> Option<Newest> {
        self.lines.get(entry).map(|line| line.newest.clone())
    }

    /// An entry is followed no more. Gives the content that is under way for it.
    pub(crate) fn forget(&mut self, entry: &EntryRef) -> Option<Content> {
        let line = self.lines.remove(entry)?;
        (line.state == State::Running).then_some(line.newest.content)
    }

    /// The owner of these entries came online (or, without one, the tracker is back): nobody waits any more.
    pub(crate) fn hurry(&mut self, owner: Option<&UserName>, now: Instant) {
        for (entry, line) in &mut self.lines {
            let is_meant = owner.is_none_or(|owner| entry.owner.as_ref() == Some(owner));
            if is_meant && line.state != State::Running {
                line.state = State::Waiting { not_before: now };
            }
        }
    }

    /// When [`Self::poll`] has something if nothing else happens before; `None`: it will not.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.is_full() {
            return None;
        }
        let waiting = self.lines.values().filter_map(|line| match line.state {
            State::Waiting { not_before } => Some(not_before),
            State::Running => None,
        });
        waiting.min()
    }

    fn is_full(&self) -> bool {
        self.lines.values().filter(|line| line.state == State::Running).count() >= AT_ONCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::id::{FileId, Hash};

    fn newest(version: u32) -> Newest {
        let number = u8::try_from(version).unwrap();
        let content = FileId::new(1, Hash([number; 32])).unwrap().into();
        Newest { version, content, audience: Audience::Public }
    }

    fn entry(text: &str) -> EntryRef {
        text.parse().unwrap()
    }

    #[test]
    fn two_at_a_time_and_those_that_never_failed_first() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for name in ["ann/a", "ann/b", "ann/c"] {
            queue.want(entry(name), newest(1), now);
        }
        let first = queue.poll(now).unwrap().0;
        let second = queue.poll(now).unwrap().0;
        assert_eq!((first.to_string(), second.to_string()), ("ann/a".to_owned(), "ann/b".to_owned()));
        assert_eq!((queue.poll(now), queue.poll_timeout()), (None, None), "the third waits for its turn");
        queue.on_end(&first, &newest(1).content, End::Failed, now);
        let later = now + FIRST_PAUSE;
        assert_eq!(queue.poll(later).unwrap().0, entry("ann/c"));
        queue.on_end(&second, &newest(1).content, End::Done, later);
        assert_eq!(queue.poll(later).unwrap().0, first);
    }

    #[test]
    fn the_newest_version_wins_also_over_one_that_is_under_way() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let x = entry("ann/x");
        queue.want(x.clone(), newest(2), now);
        queue.want(x.clone(), newest(3), now);
        assert_eq!(queue.poll(now), Some((x.clone(), newest(3))));
        assert_eq!(queue.want(x.clone(), newest(3), now), None, "it is under way");
        assert_eq!(queue.want(x.clone(), newest(4), now), Some(newest(3).content));
        assert_eq!(queue.poll(now), None, "one of an entry at a time");
        queue.on_end(&x, &newest(3).content, End::GivenUp, now);
        assert_eq!(queue.poll(now), Some((x.clone(), newest(4))));
        queue.on_end(&x, &newest(4).content, End::Done, now);
        assert_eq!((queue.poll(now), queue.poll_timeout()), (None, None));
    }

    #[test]
    fn failures_wait_longer_and_longer_until_the_owner_comes() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        let x = entry("ann/x");
        queue.want(x.clone(), newest(2), now);
        for failures in 0..40_u32 {
            assert!(queue.poll(now).is_some(), "{failures}");
            queue.on_end(&x, &newest(2).content, End::Failed, now);
            let pause = queue.poll_timeout().unwrap() - now;
            assert_eq!(pause, LONGEST_PAUSE.min(FIRST_PAUSE * 2_u32.pow(failures.min(10))));
            assert!(queue.poll(now).is_none());
            now += pause;
        }
        queue.poll(now);
        queue.on_end(&x, &newest(2).content, End::Failed, now);
        queue.hurry(Some(&UserName::new("bob").unwrap()), now);
        assert!(queue.poll(now).is_none());
        queue.hurry(Some(&UserName::new("ann").unwrap()), now);
        assert!(queue.poll(now).is_some());
        assert_eq!(queue.forget(&x), Some(newest(2).content));
    }
}
