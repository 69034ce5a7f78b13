//! Escaping: text from elsewhere as something that only shows, and controls nothing.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The same text with control characters, those that change the direction of text, and those that cannot be seen
/// written as `\u{..}`.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(must_escape) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            '\r' => escaped.push_str("\\r"),
            _ if must_escape(character) => {
                let _infallible = write!(escaped, "\\u{{{:x}}}", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

const fn must_escape(character: char) -> bool {
    matches!(
        character,
        // Control characters, C0 and C1, which hold all that a terminal obeys.
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // Unicode's `Bidi_Control`.
        | '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Line and paragraph separator; what takes no room; tags.
        | '\u{2028}' | '\u{2029}' | '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_controls_a_terminal_gets_through() {
        for (text, shown) in [
            ("doug.png", "doug.png"),
            ("größe – 写真 🐟.txt", "größe – 写真 🐟.txt"),
            ("\x1b[2Jgone", "\\u{1b}[2Jgone"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("gpj.\u{202e}exe", "gpj.\\u{202e}exe"),
            ("a\u{200b}b\u{2028}c\u{7f}", "a\\u{200b}b\\u{2028}c\\u{7f}"),
        ] {
            assert_eq!(visible(text), shown);
        }
        assert!(matches!(visible("plain"), Cow::Borrowed(_)));
    }
}
