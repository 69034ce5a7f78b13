//! Dialects: the words of networks without a tracker are translated to those that there are.

use crate::command::Failure;

/// Which words a line begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Those of a network with a tracker.
    Tracker,
    /// Those of one without, and all others.
    Mrt,
}

/// A letter and a long word, what they stand for, what follows them, and what they do.
type Row = ([&'static str; 2], &'static [&'static str], &'static str, &'static str);

/// The words of networks without a tracker.
const MRT_WORDS: [Row; 8] = [
    (
        ["C", "connect"],
        &["connect"],
        "ADDR PORT",
        "Connect to a node, with all who are with you (C PORT: on this machine)",
    ),
    (["A", "invite"], &["invite"], "ADDR PORT", "Open the router here for a node that wants to connect"),
    (["T", "chat"], &["chat"], "TEXT", "Say something to all"),
    (["B", "share"], &["r"], "PATH", "Share a file or a folder, and tell everybody"),
    (["G", "list"], &["lst"], "", "List what is shared"),
    (["R", "get"], &["d", "--no-sync"], "NAME", "Download something"),
    (["L", "peers"], &["peers"], "", "List who is there, and how each is reached"),
    (["Q", "quit"], &["q"], "", "Leave; the others go on"),
];

/// Words that mean something else where there is a tracker, and one of the letters here: what is downloaded cannot be
/// followed, and nobody keeps a list of users.
const ALSO: [(&str, &str); 2] = [("d", "R"), ("users", "L")];

/// The row of a line's first word, and the rest of the line.
fn row(line: &str) -> Option<(&'static Row, &str)> {
    let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let first = ALSO.iter().find(|(also, _)| *also == first).map_or(first, |(_, letter)| letter);
    Some((MRT_WORDS.iter().find(|(words, ..)| words.contains(&first))?, rest.trim()))
}

/// A line of a network without a tracker in the words of one with.
pub(super) fn translated(line: &str) -> Option<String> {
    let ((_, plain, ..), rest) = row(line)?;
    // A bare word asks for what is missing, which it does without options only.
    let plain = if rest.is_empty() { plain.get(..1)?.join(" ") } else { plain.join(" ") };
    Some(format!("{plain} {rest}").trim_end().to_owned())
}

/// What was wrong with a line, in the words that it was written in.
pub(super) fn explained(line: &str, failure: Failure) -> Failure {
    let Some((([letter, _], _, what, _), _)) = row(line) else { return failure };
    match failure.hint.as_deref() {
        Some(hint) if hint.starts_with("usage: ") => failure.with_hint(format!("usage: {letter} {what}").trim_end()),
        _ => failure,
    }
}

/// The commands of the prompt there, a line each.
pub(super) fn help() -> String {
    let rows = MRT_WORDS.map(|([letter, word], _, what, about)| (format!("{letter}, {word} {what}"), about));
    let width = rows.iter().map(|(words, _)| words.len()).max().unwrap_or(0);
    let lines = rows.iter().map(|(words, about)| format!("  {words:width$}  {about}"));
    let all: Vec<String> = std::iter::once("Commands:".to_owned()).chain(lines).collect();
    format!(
        "{}\nAlso: loc NAME, search TEXT, status, cancel, dereg NAME. `help loc` says all about loc.",
        all.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::command::{Command, Follow, Listing};
    use crate::shell::Surroundings;
    use crate::shell::parse::{Asked, parse_line};

    #[test]
    fn networks_without_a_tracker_have_letters_of_their_own() {
        let surroundings = Surroundings { wait: None, home: None, dialect: Dialect::Mrt };
        let parse = |line: &str| match parse_line(line, &surroundings) {
            Ok(Asked::Run(job)) => job.commands.into_iter().next(),
            _ => None,
        };
        let address = "192.0.2.7:4000".parse().unwrap();
        for line in ["C 192.0.2.7 4000", "connect 192.0.2.7:4000"] {
            assert_eq!(parse(line), Some(Command::Connect { address }), "{line}");
        }
        assert_eq!(parse("C 4000"), Some(Command::Connect { address: "127.0.0.1:4000".parse().unwrap() }));
        assert_eq!(parse("A 192.0.2.7 4000"), Some(Command::Invite { address }));
        assert_eq!(parse("T it's me"), Some(Command::Chat { text: "it's me".to_owned() }));
        assert_eq!(parse("G"), Some(Command::List(Listing::default())));
        assert_eq!(parse("L"), Some(Command::Neighbours));
        let got = parse("R 'doug 1.png' -o /tmp/x");
        let output = Some(PathBuf::from("/tmp/x"));
        let entry = "doug 1.png".to_owned();
        let wanted = Command::Download { entry, only: Vec::new(), follow: Follow::No, output, wait_secs: None };
        assert_eq!(got, Some(wanted));
        assert_eq!(parse_line("Q", &surroundings).unwrap(), Asked::Quit);
        assert!(matches!(parse("d a"), Some(Command::Download { follow: Follow::No, .. })));
        assert!(matches!(parse_line("R", &surroundings), Ok(Asked::Incomplete(_))));
        assert_eq!(parse("users"), Some(Command::Neighbours));
        assert_eq!(parse("C localhost 4000"), Some(Command::Connect { address: "127.0.0.1:4000".parse().unwrap() }));
        let hint = parse_line("C", &surroundings).unwrap_err().hint.unwrap();
        assert_eq!(hint, "usage: C ADDR PORT");
        for wrong in ["C", "C nowhere", "C 192.0.2.7 0", "C 1 2 3", "A"] {
            assert!(parse_line(wrong, &surroundings).is_err(), "{wrong}");
        }
    }
}
