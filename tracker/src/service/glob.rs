//! Patterns of searches: a part of a text, or a glob of the whole text, where `*` is any characters and `?` one.

use std::str::Chars;

/// What is searched for, in folded case.
#[derive(Debug)]
pub(super) enum Pattern {
    /// A part.
    Part(String),
    /// The whole.
    Glob(Vec<char>),
}

impl Pattern {
    /// Reads a folded text.
    pub(super) fn new(folded: String) -> Self {
        if folded.contains(['*', '?']) { Self::Glob(folded.chars().collect()) } else { Self::Part(folded) }
    }

    /// Whether a folded text is what is searched for.
    pub(super) fn matches(&self, folded: &str) -> bool {
        match self {
            Self::Part(part) => folded.contains(part.as_str()),
            Self::Glob(glob) => glob_matches(glob, folded),
        }
    }
}

/// At most pattern x text steps: only the last `*` is ever tried again, for what an earlier one could take more of, the
/// last one can take as well.
fn glob_matches(glob: &[char], text: &str) -> bool {
    let (mut at_glob, mut rest) = (0, text.chars());
    // Where to go on when it does not fit: after the last star, one character later than the last time.
    let mut retry: Option<(usize, Chars<'_>)> = None;
    loop {
        let mut after = rest.clone();
        let Some(character) = after.next() else { break };
        match glob.get(at_glob) {
            Some('*') => {
                at_glob += 1;
                retry = Some((at_glob, rest.clone()));
            }
            Some(wanted) if *wanted == '?' || *wanted == character => {
                at_glob += 1;
                rest = after;
            }
            _ => {
                let Some((after_star, taken)) = &mut retry else { return false };
                taken.next();
                (at_glob, rest) = (*after_star, taken.clone());
            }
        }
    }
    glob.iter().skip(at_glob).all(|wanted| *wanted == '*')
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern.to_owned()).matches(text)
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
        fn globs_mean_what_the_slow_way_says(glob in "[ab*?]{0,7}", text in "[ab]{0,9}") {
            let (glob, text_chars): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
            prop_assert_eq!(glob_matches(&glob, &text), slow(&glob, &text_chars));
        }
    }
}
