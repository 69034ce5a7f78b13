//! Which packet numbers came.

/// Bits of a word of the ring.
const WORD: u64 = u64::BITS as u64;

/// Words of the ring. 8,192 packets are 10 ms of the fastest loopback and seconds of any other path; a packet that comes
/// later than that was held for lost long ago.
const WORDS: usize = 128;

/// How many numbers are remembered.
const SPAN: u64 = WORDS as u64 * WORD;

/// Which packet numbers came: for finding duplicates. Remembers the last 8,192; older ones count as seen (RFC 6479). Bit
/// `number % 8192` of the ring stands for the number of that remainder that is within 8,192 of the largest.
#[derive(Debug)]
pub(in crate::mrt) struct ReplayWindow {
    words: [u64; WORDS],
    /// One more than the largest that came.
    next: u64,
}

impl ReplayWindow {
    /// Whether `number` may be new.
    pub(in crate::mrt) fn is_new(&self, number: u64) -> bool {
        if number >= self.next {
            return true;
        }
        self.next - number <= SPAN && self.words.get(index(number)).is_some_and(|word| word & bit(number) == 0)
    }

    /// `number` came, and its packet was opened.
    pub(in crate::mrt) fn mark(&mut self, number: u64) {
        if number >= self.next {
            self.clear(self.next, number);
            self.next = number.saturating_add(1);
        } else if self.next - number > SPAN {
            return;
        }
        if let Some(word) = self.words.get_mut(index(number)) {
            *word |= bit(number);
        }
    }

    /// The numbers from `from` up to, not with, `to` did not come: their bits are those of numbers long ago. The bit of `to` is set
    /// afterwards anyway.
    fn clear(&mut self, from: u64, to: u64) {
        if to - from >= SPAN {
            self.words.fill(0);
            return;
        }
        let mut number = from;
        while number < to {
            let end = (number / WORD + 1).saturating_mul(WORD).min(to);
            // Ones from the bit of `number` up, as many as there are numbers before `end`.
            let ones = (u64::MAX >> (WORD - (end - number))) << (number % WORD);
            if let Some(word) = self.words.get_mut(index(number)) {
                *word &= !ones;
            }
            number = end;
        }
    }
}

impl Default for ReplayWindow {
    fn default() -> Self {
        Self { words: [0; WORDS], next: 0 }
    }
}

/// Which word has the bit of `number`.
fn index(number: u64) -> usize {
    usize::try_from(number / WORD % WORDS as u64).expect("less than 128")
}

/// The bit of `number` in its word.
const fn bit(number: u64) -> u64 {
    1 << (number % WORD)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::mrt::frame::MAX_VARINT;

    #[test]
    fn each_number_is_new_once() {
        let mut window = ReplayWindow::default();
        for number in [0, 1, 3, 2, 10_000, 9_999, 10_000 - 8_191] {
            assert!(window.is_new(number), "{number}");
            window.mark(number);
            assert!(!window.is_new(number), "{number}");
        }
        assert!(!window.is_new(10_000 - 8_192), "too old to tell");
        assert!(window.is_new(10_000 - 8_190));
        window.mark(MAX_VARINT);
        assert!(!window.is_new(MAX_VARINT) && window.is_new(MAX_VARINT - 1));
    }

    #[test]
    fn a_marked_number_that_is_too_old_takes_no_others_place() {
        let mut window = ReplayWindow::default();
        window.mark(SPAN + 5);
        window.mark(5);
        assert!(window.is_new(6) && !window.is_new(5));
        window.mark(5 + SPAN + 1);
        assert!(window.is_new(SPAN), "bits of numbers in between are clear");
    }

    /// Steps from the largest number so far: mostly near it, sometimes at the edges of words and of the window.
    fn step() -> impl Strategy<Value = i64> {
        let (word, span) = (WORD as i64, SPAN as i64);
        prop_oneof![
            8 => -20..4_i64,
            2 => -span - 2..span + 2,
            1 => prop_oneof![Just(word), Just(word - 1), Just(span - 1), Just(span), Just(span + 1), Just(-span), Just(1 - span)],
            1 => 0..4 * span,
        ]
    }

    proptest! {
        #[test]
        fn it_answers_like_a_set(start in 0..3 * SPAN, steps in prop::collection::vec(step(), 1..400)) {
            let mut window = ReplayWindow::default();
            let mut seen = BTreeSet::new();
            let mut largest = start;
            for step in steps {
                let number = largest.saturating_add_signed(step);
                let next = seen.last().map_or(0, |last| last + 1);
                let expected = number + SPAN >= next && !seen.contains(&number);
                prop_assert_eq!(window.is_new(number), expected, "{} of {}", number, next);
                window.mark(number);
                seen.insert(number);
                prop_assert!(!window.is_new(number));
                largest = largest.max(number);
            }
        }
    }
}
