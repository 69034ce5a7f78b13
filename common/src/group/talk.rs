//! Chat: our lines until they are shown, the lines of all as they were ordered, and the order where we give it.
//!
//! The invariant: the positions of lines that are shown only grow, and no line is shown twice, whoever brings it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use super::limits::{LINES_BURST, LINES_PER_SEC, MAX_AUTHORS, MAX_LOG, MAX_PENDING_LINES, MAX_RUNS, MAX_WAITING_LINES};
use super::line::{Line, LineId, Ordered};
use super::rate::Bucket;
use super::roster::Point;
use crate::id::PeerId;

/// What this node knows of the chat.
#[derive(Debug)]
pub(super) struct Talk {
    /// The number of this run of the program: with it our lines differ from those of an earlier one.
    run: u64,
    /// The number of our last line.
    said: u64,
    pace: Bucket,
    /// Ours that were not shown yet.
    pending: VecDeque<Line>,
    /// Of each author the last line that was shown, of each of its last runs.
    shown: BTreeMap<PeerId, VecDeque<(u64, u64)>>,
    /// The last that were shown.
    log: VecDeque<Ordered>,
    /// Position of the last that was shown, or that we know others have seen before we came.
    heard: Option<Point>,
    /// The highest position of all that were shown, in whatever part of the network.
    highest: Option<Point>,
    /// Lines that wait for their places: until those of the last supernode are there, and for their turn.
    waiting: VecDeque<Line>,
}

/// What showing a line did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// It is new: show it.
    New,
    /// It has a place now, but was shown before; or its place was before that of something that was shown while we were in
    /// another part of the network.
    Again,
    /// It comes too late: its place was passed.
    Passed,
}

impl Talk {
    pub(super) fn new(now: Instant, run: u64) -> Self {
        Self {
            run,
            said: 0,
            pace: Bucket::new(now, LINES_BURST, LINES_PER_SEC),
            pending: VecDeque::new(),
            shown: BTreeMap::new(),
            log: VecDeque::new(),
            heard: None,
            highest: None,
            waiting: VecDeque::new(),
        }
    }

    /// The run and number of the next line of ours, if one more may be under way.
    pub(super) fn next(&mut self, now: Instant) -> Option<(u64, u64)> {
        if self.pending.len() >= MAX_PENDING_LINES || !self.pace.take(now, 1) {
            return None;
        }
        self.said += 1;
        Some((self.run, self.said))
    }

    /// A line of ours is under way.
    pub(super) fn pend(&mut self, line: Line) {
        self.pending.push_back(line);
    }

    /// Ours that are under way, in order.
    pub(super) fn pending(&self) -> Vec<Line> {
        self.pending.iter().cloned().collect()
    }

    /// Takes out a line of ours that was shown before, and those before it.
    pub(super) fn settle(&mut self, id: &LineId) {
        if id.run == self.run {
            self.pending.retain(|line| line.id().number > id.number);
        }
    }

    /// The position of the last line that is known.
    pub(super) const fn heard(&self) -> Option<Point> {
        self.heard
    }

    /// We came to a network in which lines up to here were said before. What we kept was said elsewhere.
    pub(super) fn begin_at(&mut self, heard: Option<Point>) {
        self.heard = heard;
        self.log.clear();
    }

    /// Whether this line, or a later one of the same run of its author, was shown.
    pub(super) fn was_shown(&self, id: &LineId) -> bool {
        let runs = self.shown.get(&id.author);
        runs.is_some_and(|runs| runs.iter().any(|(run, number)| *run == id.run && *number >= id.number))
    }

    /// Takes in a line with its place.
    pub(super) fn show(&mut self, ordered: Ordered, me: &PeerId) -> Shown {
        if self.heard >= Some(ordered.position) {
            return Shown::Passed;
        }
        self.heard = Some(ordered.position);
        let id = ordered.line.id();
        if id.author == *me {
            self.settle(&id);
        }
        self.log.push_back(ordered);
        if self.log.len() > MAX_LOG {
            self.log.pop_front();
        }
        if self.was_shown(&id) || self.highest >= self.heard {
            return Shown::Again;
        }
        self.highest = self.heard;
        self.note(id);
        Shown::New
    }

    fn note(&mut self, id: LineId) {
        if !self.shown.contains_key(&id.author) && self.shown.len() >= MAX_AUTHORS {
            self.shown.pop_first();
        }
        let runs = self.shown.entry(id.author).or_default();
        match runs.iter_mut().find(|(run, _)| *run == id.run) {
            Some((_, number)) => *number = id.number,
            None => runs.push_back((id.run, id.number)),
        }
        if runs.len() > MAX_RUNS {
            runs.pop_front();
        }
    }

    /// The position after the last one in `term`.
    pub(super) fn next_position(&self, term: u64) -> Point {
        let number = self.heard.filter(|heard| heard.term == term).map_or(0, |heard| heard.number);
        Point { term, number: number.saturating_add(1) }
    }

    /// What is kept of the lines after this one, in order.
    pub(super) fn since(&self, heard: Option<Point>) -> Vec<Ordered> {
        self.log.iter().filter(|ordered| Some(ordered.position) > heard).cloned().collect()
    }

    /// Keeps a line until it may be ordered; says whether there was room.
    pub(super) fn wait(&mut self, line: Line) -> bool {
        let id = line.id();
        if self.waiting.iter().any(|waiting| waiting.id() == id) {
            // It came again, on a new connection.
            return true;
        }
        let of_author = self.waiting.iter().filter(|waiting| waiting.id().author == id.author).count();
        let room = self.waiting.len() < MAX_WAITING_LINES && of_author < MAX_PENDING_LINES;
        if room {
            self.waiting.push_back(line);
        }
        room
    }

    /// Whether lines wait.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The line that waits longest.
    pub(super) fn take_waiting(&mut self) -> Option<Line> {
        self.waiting.pop_front()
    }
}
