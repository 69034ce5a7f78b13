//! Patterns of searches: a part of a text, or a glob of the whole text, where `*` is any characters and `?` one.

use memchr::memchr;
use memchr::memmem::Finder;

/// What is searched for, in folded case.
#[derive(Debug)]
pub(super) enum Pattern {
    /// Parts, one after the other with anything around them: a plain text, or a glob such as `*a*b*`.
    Parts(Vec<Finder<'static>>),
    /// The whole.
    Glob(Vec<Token>),
}

/// A part of a glob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// Any characters.
    Star,
    /// Any one character.
    One,
    /// This byte of a character in UTF-8.
    Byte(u8),
}

impl Pattern {
    /// Reads a folded text.
    pub(super) fn new(folded: &str) -> Self {
        let is_plain = !folded.contains(['*', '?']);
        if is_plain || folded.starts_with('*') && folded.ends_with('*') && !folded.contains('?') {
            let parts = folded.split('*').filter(|part| !part.is_empty());
            return Self::Parts(parts.map(|part| Finder::new(part).into_owned()).collect());
        }
        let tokens = folded.bytes().map(|byte| match byte {
            b'*' => Token::Star,
            b'?' => Token::One,
            byte => Token::Byte(byte),
        });
        Self::Glob(tokens.collect())
    }

    /// Whether a folded text is what is searched for.
    pub(super) fn matches(&self, folded: &str) -> bool {
        match self {
            Self::Parts(parts) => {
                let mut rest = Some(folded.as_bytes());
                for part in parts {
                    rest = rest.and_then(|rest| rest.get(part.find(rest)? + part.needle().len()..));
                }
                rest.is_some()
            }
            Self::Glob(glob) => glob_matches(glob, folded.as_bytes()),
        }
    }
}

/// At most pattern x text steps: only the last star is ever tried again, for what an earlier one could take more of, the
/// last one can take as well. Works on the bytes of both, which are UTF-8: that is several times as fast as on characters,
/// and the first byte of a character is never one within another.
fn glob_matches(glob: &[Token], text: &[u8]) -> bool {
    let (mut at_glob, mut at_text) = (0, 0);
    // Where to go on when it does not fit: after the last star, one character later than the last time.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(at_text) {
        let fits = match glob.get(at_glob) {
            Some(Token::Star) => {
                at_glob += 1;
                let Some(at) = first_fit(glob.get(at_glob), text, at_text) else { return at_glob == glob.len() };
                at_text = at;
                retry = Some((at_glob, at));
                continue;
            }
            Some(Token::One) => Some(character_length(*byte)),
            Some(Token::Byte(wanted)) => (wanted == byte).then_some(1),
            None => None,
        };
        if let Some(length) = fits {
            at_glob += 1;
            at_text += length;
            continue;
        }
        let Some((after_star, taken)) = retry else { return false };
        let next = taken + text.get(taken).map_or(1, |byte| character_length(*byte));
        let Some(at) = first_fit(glob.get(after_star), text, next) else { return false };
        (at_glob, at_text) = (after_star, at);
        retry = Some((after_star, at));
    }
    glob.iter().skip(at_glob).all(|token| *token == Token::Star)
}

/// The first place from `from` on where what stands after a star may fit; `None` where there is none, or nothing stands
/// there.
fn first_fit(token: Option<&Token>, text: &[u8], from: usize) -> Option<usize> {
    match token? {
        Token::Byte(byte) => Some(from + memchr(*byte, text.get(from..)?)?),
        Token::One | Token::Star => Some(from),
    }
}

/// How many bytes a character has in UTF-8 that begins with this one.
const fn character_length(first: u8) -> usize {
    match first {
        0..0xc0 => 1,
        0xc0..0xe0 => 2,
        0xe0..0xf0 => 3,
        0xf0.. => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern).matches(text)
    }

    #[test]
    fn a_part_is_enough_but_a_glob_is_the_whole() {
        for (pattern, text, want) in [
            ("oug", "doug.png", true),
            ("", "doug.png", true),
            ("dog", "doug.png", false),
            ("*.png", "doug.png", true),
            ("*.pn", "doug.png", false),
            ("d?ug.*", "doug.png", true),
            ("d?g", "doug", false),
            ("*", "", true),
            ("?", "", false),
            ("?", "ü", true),
            ("**a**", "bab", true),
            ("*aab", "aaaab", true),
            ("a*b*c", "abxbxc", true),
            ("a*b*c", "abxbx", false),
            ("*ab*ba*", "xabxba", true),
            ("*ab*ba*", "aba", false),
            ("*a*a*", "ba", false),
            ("***", "", true),
            ("*?ü?", "aüüx", true),
            ("*?文", "文文", true),
            ("文?", "文", false),
            ("*文?x", "文文文x", true),
            ("?*👩", "👩👩", true),
        ] {
            assert_eq!(matches(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_one() {
        let (pattern, text) = ("*a".repeat(500) + "b", "a".repeat(255));
        let begun = Instant::now();
        assert!(!matches(&pattern, &text));
        assert!(begun.elapsed() < Duration::from_secs(1));
    }

    fn slow(glob: &[char], text: &[char]) -> bool {
        match (glob, text) {
            ([], []) => true,
            (['*', glob_rest @ ..], _) => {
                slow(glob_rest, text) || text.split_first().is_some_and(|(_, rest)| slow(glob, rest))
            }
            (['?', glob_rest @ ..], [_, rest @ ..]) => slow(glob_rest, rest),
            ([wanted, glob_rest @ ..], [character, rest @ ..]) => wanted == character && slow(glob_rest, rest),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn globs_mean_what_the_slow_way_says(glob in "[ aüé文*?]{0,7}[*?]", text in "[aüé文👩]{0,9}") {
            let (characters, text_characters): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
            prop_assert_eq!(matches(&glob, &text), slow(&characters, &text_characters));
        }
    }
}
