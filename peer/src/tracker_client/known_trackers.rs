//! Known trackers: which key each tracker had when it was used first. A file of lines `HOST:PORT FINGERPRINT`, with a third
//! word `confirmed` once the user has said that it is the right one; empty lines and lines that begin with `#` are comments.
//! Lines are only ever added here, or confirmed; taking one out is for the user.

use std::io;
use std::path::{Path, PathBuf};

use common::id::NetworkId;

use crate::dir::{read_limited, replace_file};

/// No such file has more bytes: some ten thousand trackers.
const MAX_BYTES: u64 = 1 << 20;

/// The third word of a line that the user has confirmed.
const CONFIRMED: &str = "confirmed";

/// The file. All methods block.
#[derive(Debug, Clone)]
pub(super) struct KnownTrackers {
    path: PathBuf,
}

/// A tracker that was used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// Its fingerprint then.
    pub(super) fingerprint: NetworkId,
    /// In which line it stands, from 1.
    pub(super) line: usize,
    /// Whether the user has said that it is the right one.
    pub(super) confirmed: bool,
}

/// Why the file does not help.
#[derive(Debug, thiserror::Error)]
pub(super) enum KnownError {
    /// The line of this tracker is damaged.
    #[error("line {0} has no fingerprint")]
    Line(usize),
    /// It is not text.
    #[error("it is not a text")]
    NotText,
    /// It cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl KnownTrackers {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The first line for `place`, which is `host:port`.
    pub(super) fn find(&self, place: &str) -> Result<Option<Known>, KnownError> {
        let text = self.text()?;
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            if words.next() != Some(place) {
                continue;
            }
            let line = number + 1;
            let fingerprint = words.next().and_then(|word| word.parse().ok()).ok_or(KnownError::Line(line))?;
            let confirmed = words.next() == Some(CONFIRMED);
            return Ok(Some(Known { fingerprint, line, confirmed }));
        }
        Ok(None)
    }

    /// Adds a line.
    pub(super) fn remember(&self, place: &str, fingerprint: NetworkId) -> Result<(), KnownError> {
        let mut text = self.text()?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&format!("{place} {fingerprint}\n"));
        Ok(replace_file(&self.path, text.as_bytes())?)
    }

    /// Writes down that the user has said that this is the right one; adds a line where there is none.
    pub(super) fn confirm(&self, place: &str, fingerprint: NetworkId) -> Result<(), KnownError> {
        let confirmed = format!("{place} {fingerprint} {CONFIRMED}");
        let mut lines: Vec<String> = self.text()?.lines().map(str::to_owned).collect();
        let same = |line: &&mut String| {
            let mut words = line.split_whitespace();
            words.next() == Some(place) && words.next().and_then(|word| word.parse().ok()) == Some(fingerprint)
        };
        match lines.iter_mut().find(same) {
            Some(line) => *line = confirmed,
            None => lines.push(confirmed),
        }
        lines.push(String::new());
        Ok(replace_file(&self.path, lines.join("\n").as_bytes())?)
    }

    fn text(&self) -> Result<String, KnownError> {
        let bytes = read_limited(&self.path, MAX_BYTES)?.unwrap_or_default();
        String::from_utf8(bytes).map_err(|_error| KnownError::NotText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_uses_are_remembered_line_by_line() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownTrackers::new(dir.path().join("known_trackers"));
        let (one, two) = (NetworkId([1; 32]), NetworkId([2; 32]));
        assert_eq!(known.find("lab:1").unwrap(), None);
        std::fs::write(known.path(), "# by hand, without a newline at its end").unwrap();
        known.remember("lab:1", one).unwrap();
        known.remember("lab:11", two).unwrap();
        assert_eq!(known.find("lab:1").unwrap(), Some(Known { fingerprint: one, line: 2, confirmed: false }));
        assert_eq!(known.find("lab:11").unwrap(), Some(Known { fingerprint: two, line: 3, confirmed: false }));
        assert_eq!(known.find("lab").unwrap(), None);
    }

    #[test]
    fn a_confirmation_is_remembered_in_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownTrackers::new(dir.path().join("known_trackers"));
        let (one, two) = (NetworkId([1; 32]), NetworkId([2; 32]));
        std::fs::write(known.path(), format!("# mine\nlab:1 {one}\nlab:2 {two}")).unwrap();
        known.confirm("lab:1", one).unwrap();
        known.confirm("lab:3", two).unwrap();
        let written = std::fs::read_to_string(known.path()).unwrap();
        assert_eq!(written, format!("# mine\nlab:1 {one} confirmed\nlab:2 {two}\nlab:3 {two} confirmed\n"));
        assert_eq!(known.find("lab:1").unwrap(), Some(Known { fingerprint: one, line: 2, confirmed: true }));
        assert_eq!(known.find("lab:2").unwrap(), Some(Known { fingerprint: two, line: 3, confirmed: false }));
    }

    #[test]
    fn a_damaged_line_counts_only_for_its_tracker() {
        let dir = tempfile::tempdir().unwrap();
        let known = KnownTrackers::new(dir.path().join("known_trackers"));
        std::fs::write(known.path(), "\nlab:1 short\nlab:2\n").unwrap();
        assert!(matches!(known.find("lab:1"), Err(KnownError::Line(2))));
        assert!(matches!(known.find("lab:2"), Err(KnownError::Line(3))));
        assert_eq!(known.find("lab:3").unwrap(), None);
        std::fs::write(known.path(), [0xff]).unwrap();
        assert!(matches!(known.find("lab:3"), Err(KnownError::NotText)));
        assert!(matches!(known.remember("lab:3", NetworkId([0; 32])), Err(KnownError::NotText)));
        assert_eq!(std::fs::read(known.path()).unwrap(), [0xff], "it is not overwritten");
    }
}
