//! Talk: what was said to all of late, and how fast each user may go on. Soft: a tracker that is started again begins anew.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use common::name::UserName;
use common::wire::MAX_HISTORY;
use common::wire::tracker::HistoryLine;

use crate::rate::Bucket;

/// So many lines a user may say at once, after a rest. Picked by hand, as is the next: faster than people type.
const LINES_AT_ONCE: u32 = 10;
/// So many lines a second it may go on with.
const LINES_PER_SEC: u32 = 1;
/// With so many users who spoke, those are forgotten who have rested.
const USERS_REMEMBERED: usize = 1_000;

/// What was said, and by whom of late.
#[derive(Debug, Default)]
pub(crate) struct Talk {
    lines: VecDeque<HistoryLine>,
    speakers: HashMap<UserName, Bucket>,
}

impl Talk {
    /// The last lines that were said to all, in their order.
    pub(crate) fn lines(&self) -> impl Iterator<Item = &HistoryLine> {
        self.lines.iter()
    }

    /// Keeps a line, and lets the oldest go.
    pub(crate) fn add(&mut self, line: HistoryLine) {
        self.lines.push_back(line);
        let gone = self.lines.len().saturating_sub(MAX_HISTORY);
        self.lines.drain(..gone);
    }

    /// Whether a user may say something now; counts it if so. `now` is the tracker's uptime.
    pub(crate) fn may_speak(&mut self, user: &UserName, now: Duration) -> bool {
        if self.speakers.len() >= USERS_REMEMBERED {
            self.speakers.retain(|_, bucket| !bucket.is_full(now));
        }
        let bucket = self.speakers.entry(user.clone()).or_insert_with(|| Bucket::new(LINES_PER_SEC, LINES_AT_ONCE));
        bucket.try_take(1, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let mut talk = Talk::default();
        for number in 0..250 {
            talk.add(HistoryLine { from: "a".to_owned(), text: String::new(), at_ms: number });
        }
        let kept: Vec<u64> = talk.lines().map(|line| line.at_ms).collect();
        assert_eq!(kept, (150..250).collect::<Vec<_>>());
    }

    #[test]
    fn each_user_may_say_so_much_and_those_who_rested_are_forgotten() {
        let mut talk = Talk::default();
        let user = |number: u32| -> UserName { format!("u{number}").parse().unwrap() };
        let mut now = Duration::from_secs(100);
        let said = (0..50).filter(|_| talk.may_speak(&user(0), now)).count();
        assert_eq!((said, talk.may_speak(&user(1), now)), (10, true));
        now += Duration::from_secs(1);
        assert_eq!([0; 3].map(|_| talk.may_speak(&user(0), now)), [true, false, false]);
        for number in 10..5_000 {
            now += Duration::from_millis(100);
            assert!(talk.may_speak(&user(number), now));
        }
        assert!(talk.speakers.len() <= USERS_REMEMBERED);
    }
}
