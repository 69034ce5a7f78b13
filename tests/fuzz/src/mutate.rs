//! Mutations: a broken input out of one or two whole ones. They know what inputs are made of: numbers in binary and in
//! text, lengths, repeated parts, the words of a target's language.

use crate::random::Random;

/// Longest input; past it decoders do more of the same.
const MAX_INPUT: usize = 64 << 10;
/// Most changes to one input.
const MAX_CHANGES: usize = 5;
/// Numbers at the edges of something.
const EDGES: &[u64] = &[
    0,
    1,
    7,
    8,
    127,
    128,
    255,
    256,
    16_383,
    16_384,
    32_768,
    65_535,
    65_536,
    (1 << 19) - 1,
    1 << 19,
    1 << 20,
    i32::MAX as u64,
    u32::MAX as u64,
    1 << 32,
    (8 << 40) - 1,
    8 << 40,
    (8 << 40) + 1,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];
/// Texts that are odd in any language.
const ODD_TEXTS: &[&str] = &[
    "",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\u{0}",
    "\u{7f}",
    "\u{85}",
    "\u{202e}",
    "\u{2028}",
    "\u{feff}",
    "é",
    "文",
    "👩‍👩‍👧",
    "..",
    "/",
    "-",
    "+",
    ".",
    "e",
    "null",
    "{}",
    "[]",
    "1e999",
    "-0",
    "NaN",
];

/// Changes `input` in one to [`MAX_CHANGES`] ways; `other` is another whole input to take parts from.
pub(crate) fn mutate(random: &mut Random, input: &[u8], other: &[u8], words: &[&str]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(MAX_CHANGES) {
        change(random, &mut bytes, other, words);
    }
    bytes.truncate(MAX_INPUT);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8], words: &[&str]) {
    let at = random.below(bytes.len() + 1);
    match random.below(12) {
        0 => bytes.truncate(at),
        1 => set(bytes, at, |byte| byte ^ (1 << (at % 8))),
        2 => {
            let new = random.byte();
            set(bytes, at, |_| new);
        }
        3 => bytes.insert(at, random.byte()),
        4 => {
            bytes.drain(range(random, at, bytes.len()));
        }
        5 => {
            let part = bytes.get(range(random, at, bytes.len())).unwrap_or_default().to_vec();
            let most = 1 << random.below(10);
            let times = 1 + random.below(most);
            let room = MAX_INPUT.saturating_sub(bytes.len()) / part.len().max(1);
            splice(bytes, at, 0, &part.repeat(times.min(room)));
        }
        6 => {
            let from = random.below(other.len() + 1);
            let part = other.get(range(random, from, other.len())).unwrap_or_default();
            let gone = random.below(part.len() + 1);
            splice(bytes, at, gone, part);
        }
        7 => {
            let edge = EDGES[random.below(EDGES.len())].to_be_bytes();
            let width = 1 << random.below(4);
            splice(bytes, at, width, &edge[edge.len() - width..]);
        }
        8 | 9 => replace_number(random, bytes, at),
        10 => {
            let text = ODD_TEXTS[random.below(ODD_TEXTS.len())];
            let gone = random.below(4);
            splice(bytes, at, gone, text.as_bytes());
        }
        _ if words.is_empty() => bytes.push(0),
        _ => {
            let word = words[random.below(words.len())];
            let gone = random.below(word.len() + 1);
            splice(bytes, at, gone, word.as_bytes());
        }
    }
}

fn set(bytes: &mut [u8], at: usize, new: impl FnOnce(u8) -> u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = new(*byte);
    }
}

/// From `at` on for a length that is short more often than long.
fn range(random: &mut Random, at: usize, end: usize) -> std::ops::Range<usize> {
    let most = 1 << random.below(12);
    at..(at + random.below(most)).min(end).max(at)
}

fn splice(bytes: &mut Vec<u8>, at: usize, gone: usize, part: &[u8]) {
    let end = (at + gone).min(bytes.len());
    bytes.splice(at..end, part.iter().copied());
}

/// Puts an edge where the first digits from `at` on are.
fn replace_number(random: &mut Random, bytes: &mut Vec<u8>, at: usize) {
    let digit = |byte: &u8| byte.is_ascii_digit();
    let Some(start) = bytes.iter().skip(at).position(digit).map(|skipped| at + skipped) else {
        return;
    };
    let count = bytes.iter().skip(start).take_while(|byte| digit(byte)).count();
    let edge = EDGES[random.below(EDGES.len())].to_string();
    splice(bytes, start, count, edge.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_breaks_in_the_same_way() {
        let broken = |seed| mutate(&mut Random::from_seed(seed), b"{\"a\":12}", b"[1,2]", &["hello"]);
        assert_eq!(broken(1), broken(1));
        let kinds: std::collections::BTreeSet<_> = (0..1000).map(broken).collect();
        assert!(kinds.len() > 500, "{}", kinds.len());
    }

    #[test]
    fn any_input_can_be_broken_and_stays_short() {
        let mut random = Random::from_seed(1);
        let mut input = Vec::new();
        for _ in 0..20_000 {
            input = mutate(&mut random, &input, b"", &[]);
            assert!(input.len() <= MAX_INPUT);
        }
    }
}
