//! Sets of numbers as ranges: packet numbers received, bytes acknowledged, bytes to send again.

use std::collections::VecDeque;
use std::ops::Range;

/// A set of `u64` as ranges that are in order, apart from each other and not empty. Work at either end is cheap, in the
/// middle it costs a binary search and a move of what lies beyond.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    ranges: VecDeque<Range<u64>>,
}

impl Ranges {
    /// The empty set.
    pub(super) const fn new() -> Self {
        Self { ranges: VecDeque::new() }
    }

    /// Adds `range`; gives how many numbers were not there before.
    pub(super) fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        // Those from `first` to `last` touch or overlap the new one and become one with it.
        let first = self.ranges.partition_point(|old| old.end < range.start);
        let last = self.ranges.partition_point(|old| old.start <= range.end);
        let Some(begin) = self.ranges.get(first).filter(|_| first < last).map(|old| old.start) else {
            let added = range.end - range.start;
            self.ranges.insert(first, range);
            return added;
        };
        let end = self.ranges.get(last - 1).map_or(range.end, |old| old.end);
        let old: u64 = self.ranges.range(first..last).map(|old| old.end - old.start).sum();
        let merged = begin.min(range.start)..end.max(range.end);
        let added = merged.end - merged.start - old;
        if let Some(place) = self.ranges.get_mut(first) {
            *place = merged;
        }
        if last - first > 1 {
            self.ranges.drain(first + 1..last);
        }
        added
    }

    /// Takes `range` out; gives how many numbers were there.
    pub(super) fn remove(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let mut removed = 0;
        let mut at = self.ranges.partition_point(|old| old.end <= range.start);
        while let Some(old) = self.ranges.get_mut(at) {
            if old.start >= range.end {
                break;
            }
            let cut = old.start.max(range.start)..old.end.min(range.end);
            removed += cut.end - cut.start;
            match (cut.start == old.start, cut.end == old.end) {
                (true, true) => {
                    self.ranges.remove(at);
                }
                (true, false) => old.start = cut.end,
                (false, true) => {
                    old.end = cut.start;
                    at += 1;
                }
                (false, false) => {
                    let tail = cut.end..old.end;
                    old.end = cut.start;
                    self.ranges.insert(at + 1, tail);
                    break;
                }
            }
        }
        removed
    }

    /// Those that have a number in common with `range`, the smallest numbers first.
    pub(super) fn overlapping(&self, range: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<'_> {
        let (first, end) = (self.ranges.partition_point(|old| old.end <= range.start), range.end);
        self.ranges.range(first..).take_while(move |old| old.start < end).cloned()
    }

    /// The range with the smallest numbers.
    pub(super) fn first(&self) -> Option<Range<u64>> {
        self.ranges.front().cloned()
    }

    /// The range with the largest numbers.
    pub(super) fn last(&self) -> Option<Range<u64>> {
        self.ranges.back().cloned()
    }

    /// Takes the range with the smallest numbers out.
    pub(super) fn pop_first(&mut self) -> Option<Range<u64>> {
        self.ranges.pop_front()
    }

    /// All ranges, the smallest numbers first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Range<u64>> + ExactSizeIterator + '_ {
        self.ranges.iter().cloned()
    }

    /// How many ranges there are.
    pub(super) fn count(&self) -> usize {
        self.ranges.len()
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_set_of_numbers_holds(steps in prop::collection::vec((any::<bool>(), 0_u64..60, 0_u64..12), 0..60)) {
            let (mut ranges, mut model) = (Ranges::new(), BTreeSet::new());
            for (insert, start, length) in steps {
                let range = start..start + length;
                if insert {
                    let new = range.clone().filter(|number| model.insert(*number)).count() as u64;
                    prop_assert_eq!(ranges.insert(range), new);
                } else {
                    let gone = range.clone().filter(|number| model.remove(number)).count() as u64;
                    prop_assert_eq!(ranges.remove(range), gone);
                }
                prop_assert!(ranges.iter().flatten().eq(model.iter().copied()));
                prop_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|(a, b)| a.end < b.start), "apart: {:?}", ranges);
                let near = |old: &Range<u64>| old.start < 40 && old.end > 20;
                prop_assert!(ranges.overlapping(&(20..40)).eq(ranges.iter().filter(near)));
            }
        }
    }
}
