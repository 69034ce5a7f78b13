//! Completion: what may stand where the cursor is.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::completion::{Completer, FilenameCompleter, Pair, Quote, escape};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::super::render::visible;
use super::screen::{Epoch, Search};
use crate::backend::Names;
use crate::cli;

/// What the line at the prompt is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum LineKind {
    /// A command with its words.
    #[default]
    Command,
    /// A path, the whole line.
    Path,
    /// An entry, the whole line.
    Entry,
    /// A yes or a no; nothing is completed.
    Answer,
    /// A password or a code; it is not shown, and the line editor has nothing to do with it.
    Secret,
}

/// Most candidates that are shown; the line editor cannot take more than 65,535.
const MAX_CANDIDATES: usize = 1000;

/// What is completed, and what was seen of the line; shared with the line editor.
#[derive(Debug, Clone, Default)]
pub(super) struct Completion {
    known: Arc<Mutex<(LineKind, Names)>>,
    line_is_empty: Arc<AtomicBool>,
    epoch: Epoch,
}

impl Completion {
    /// Nothing is known yet.
    pub(super) fn new(epoch: Epoch) -> Self {
        Self { epoch, ..Self::default() }
    }

    /// What the next line is, and what there is.
    pub(super) fn prepare(&self, kind: LineKind, names: Names) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = (kind, names);
        self.line_is_empty.store(true, Ordering::Relaxed);
    }

    /// Whether the line was empty when it was last looked at.
    pub(super) fn line_is_empty(&self) -> bool {
        self.line_is_empty.load(Ordering::Relaxed)
    }

    fn candidates(&self, line: &str, position: usize) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (kind, names) = &*self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let cursor = Cursor::at(&line[..position]);
        let source = match kind {
            LineKind::Path => Source::Files,
            LineKind::Entry => Source::Words(names.entries.clone()),
            LineKind::Answer | LineKind::Secret => Source::Words(Vec::new()),
            LineKind::Command => source(&cursor, names),
        };
        match source {
            Source::Files => {
                let (start, files) = FilenameCompleter::new().complete_path(line, position)?;
                let harmless = |file: &Pair| visible(&file.display) == file.display;
                Ok((start, files.into_iter().filter(harmless).collect()))
            }
            Source::Words(words) => Ok((cursor.start, cursor.matching(words))),
        }
    }
}

enum Source {
    Files,
    Words(Vec<String>),
}

/// What the word at the cursor may be, after the words before it.
fn source(cursor: &Cursor, names: &Names) -> Source {
    let Some(first) = cursor.before.first() else {
        let own = ["help", "quit", "exit"].map(str::to_owned);
        let words = cli::commands().into_iter().flat_map(|(words, _about)| words);
        return Source::Words(words.chain(own).collect());
    };
    if cursor.word.starts_with('-') {
        return Source::Words(cli::options_of(first));
    }
    let last = cursor.before.last().map(String::as_str);
    match (cli::name_of(first).as_deref().unwrap_or(first), last) {
        ("r", Some("--for")) | ("share" | "unshare", Some("--with")) => Source::Words(names.users.clone()),
        ("lst" | "search", Some("--by")) => {
            Source::Words(["name", "size", "date", "seeders"].map(str::to_owned).to_vec())
        }
        ("d", Some("-o" | "--output")) | ("r" | "hash" | "watch" | "unwatch", _) => Source::Files,
        ("send" | "sendfile", _) if cursor.before.len() == 1 => Source::Files,
        ("d", Some("--wait")) => Source::Words(vec!["forever".to_owned()]),
        ("d" | "loc" | "dereg" | "search" | "share" | "unshare" | "versions" | "sub" | "unsub", _) => {
            Source::Words(names.entries.clone())
        }
        ("cancel", _) => Source::Words(names.downloads.clone()),
        ("msg", _) if cursor.before.len() > 1 => Source::Words(Vec::new()),
        ("devices", _) => Source::Words(vec!["revoke".to_owned()]),
        ("ping" | "msg" | "send" | "sendfile" | "accept" | "refuse", _) => Source::Words(names.users.clone()),
        ("help" | "?", _) => {
            Source::Words(cli::commands().into_iter().filter_map(|(w, _)| w.into_iter().next()).collect())
        }
        _ => Source::Words(Vec::new()),
    }
}

/// The words before the cursor, split as sh does, and the one that it is in.
#[derive(Debug)]
struct Cursor {
    before: Vec<String>,
    /// What the word at the cursor means so far.
    word: String,
    /// Where it begins, behind its quote.
    start: usize,
    quote: Quote,
}

impl Cursor {
    fn at(line: &str) -> Self {
        let mut cursor = Self { before: Vec::new(), word: String::new(), start: 0, quote: Quote::None };
        let mut in_word = false;
        let mut characters = line.char_indices();
        while let Some((at, character)) = characters.next() {
            let next = at + character.len_utf8();
            match (cursor.quote, character) {
                (Quote::None, ' ' | '\t') => {
                    if in_word {
                        cursor.before.push(std::mem::take(&mut cursor.word));
                    }
                    (in_word, cursor.start) = (false, next);
                    continue;
                }
                (Quote::None, '"') => (cursor.quote, cursor.start) = (Quote::Double, next),
                (Quote::None, '\'') => (cursor.quote, cursor.start) = (Quote::Single, next),
                (Quote::Double, '"') | (Quote::Single, '\'') => cursor.quote = Quote::None,
                (Quote::None | Quote::Double, '\\') => cursor.word.extend(characters.next().map(|(_at, c)| c)),
                _ => cursor.word.push(character),
            }
            in_word = true;
        }
        cursor
    }

    fn matching(&self, words: Vec<String>) -> Vec<Pair> {
        let fits = |word: &String| word.starts_with(&self.word) && visible(word) == *word;
        let pair = |word: String| {
            let is_special: fn(char) -> bool = match self.quote {
                Quote::Double => |c| matches!(c, '"' | '\\' | '$' | '`'),
                _ => |c| c.is_whitespace() || "\"'\\#$`&|;<>()*?[]{}~!".contains(c),
            };
            let written = escape(word.clone(), Some('\\'), is_special, self.quote);
            let closed = match self.quote {
                Quote::Double => written + "\"",
                Quote::Single => written + "'",
                Quote::None => written,
            };
            Pair { display: word, replacement: closed + " " }
        };
        words.into_iter().filter(fits).map(pair).collect()
    }
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, mut candidates) = self.candidates(line, position)?;
        candidates.truncate(MAX_CANDIDATES);
        if candidates.len() > 1 {
            // They are about to be listed, between the progress and the prompt.
            self.epoch.scrolled();
        }
        Ok((start, candidates))
    }
}

impl Hinter for Completion {
    type Hint = String;

    /// Gives no hint; it is called after each change of the line, which is how that becomes known.
    fn hint(&self, line: &str, _position: usize, _: &Context<'_>) -> Option<String> {
        self.line_is_empty.store(line.is_empty(), Ordering::Relaxed);
        None
    }
}

impl Highlighter for Completion {
    /// Changes nothing; it tells when a search in the history begins and ends, during which nothing is printed.
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, default: bool) -> Cow<'b, str> {
        self.epoch.search(if default { Search::Over } else { Search::On });
        Cow::Borrowed(prompt)
    }
}
impl Validator for Completion {}
impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str) -> (usize, Vec<String>) {
        let completion = Completion::default();
        let names = Names {
            entries: ["doug.png", "my holiday.png", "my\u{202e}file"].map(str::to_owned).to_vec(),
            users: vec!["ann".to_owned()],
            downloads: vec!["doug.png".to_owned()],
        };
        completion.prepare(LineKind::Command, names);
        let (start, pairs) = completion.candidates(line, line.len()).unwrap();
        (start, pairs.into_iter().map(|pair| pair.replacement).collect())
    }

    #[test]
    fn words_are_completed_by_what_stands_before_them() {
        for (line, start, words) in [
            ("us", 0, vec!["users "]),
            ("dereg", 0, vec!["dereg ", "deregister "]),
            ("d do", 2, vec!["doug.png "]),
            ("download d", 9, vec!["doug.png "]),
            ("d m", 2, vec!["my\\ holiday.png "]),
            ("d my\\ h", 2, vec!["my\\ holiday.png "]),
            ("d \"my h", 3, vec!["my holiday.png\" "]),
            ("d 'my h", 3, vec!["my holiday.png' "]),
            ("cancel ", 7, vec!["doug.png "]),
            ("ping a", 5, vec!["ann "]),
            ("share d --with a", 15, vec!["ann "]),
            ("msg a", 4, vec!["ann "]),
            ("msg ann a", 8, vec![]),
            ("send doug.png a", 14, vec!["ann "]),
            ("lst --by s", 9, vec!["size ", "seeders "]),
            ("help lo", 5, vec!["loc ", "login ", "logout "]),
            ("d --w", 2, vec!["--wait "]),
            ("d a --wait ", 11, vec!["forever "]),
            ("nothing ", 8, vec![]),
        ] {
            let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
            assert_eq!(complete(line), (start, words), "{line}");
        }
    }

    #[test]
    fn paths_are_completed_from_the_file_system() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one file"), "").unwrap();
        std::fs::write(folder.path().join("one\x1b[2J"), "").unwrap();
        let (_start, files) = complete(&format!("r {}/on", folder.path().display()));
        assert_eq!(files.len(), 1);
        assert!(files[0].ends_with("one\\ file"), "{files:?}");
    }

    #[test]
    fn it_knows_whether_the_line_is_empty() {
        let completion = Completion::default();
        let history = rustyline::history::FileHistory::new();
        let context = Context::new(&history);
        completion.prepare(LineKind::Command, Names::default());
        assert!(completion.line_is_empty());
        completion.hint("d", 1, &context);
        assert!(!completion.line_is_empty());
        completion.hint("", 0, &context);
        assert!(completion.line_is_empty());
    }
}
