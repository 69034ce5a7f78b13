//! Rendering: outcomes, failures, updates and notices as lines for people or as JSON for programs.

mod escape;
mod json;
mod lists;
mod nodes;
mod people;
mod progress;
mod text;
mod when;

use std::time::{SystemTime, UNIX_EPOCH};

use crate::command::{Failure, Outcome};
use crate::notice::Notice;

pub(crate) use self::escape::visible;
pub(crate) use self::progress::{bytes, progress_details, progress_line};

/// One line to be printed; nothing in it controls a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Printed {
    /// What was asked for: goes to stdout.
    Data(String),
    /// What is good to know: goes to stderr.
    Talk(String),
    /// What went wrong: goes to stderr after `error: `.
    Error(String),
    /// What to do: goes to stderr after `hint: `.
    Hint(String),
}

impl Printed {
    /// The line with its beginning, without colours.
    pub(crate) fn plain(&self) -> String {
        match self {
            Self::Data(text) | Self::Talk(text) => text.clone(),
            Self::Error(text) => format!("error: {text}"),
            Self::Hint(text) => format!("hint: {text}"),
        }
    }
}

/// For whom results are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one line of JSON a result.
    Json,
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Detail {
    /// What matters.
    Brief,
    /// Each chunk too, where there is no terminal to show progress on.
    Chunks,
    /// Who comes and goes as well, and ids and addresses.
    Full,
}

/// How a command ended well.
pub(crate) fn outcome(outcome: &Outcome, format: Format, detail: Detail) -> Vec<Printed> {
    let lines = match format {
        Format::Text => text::outcome(outcome, detail, now_ms()),
        Format::Json => vec![Printed::Data(json::outcome(outcome))],
    };
    made_visible(lines)
}

/// How a command ended badly. With JSON the failure is data, too: programs read stdout.
pub(crate) fn failure(failure: &Failure, format: Format) -> Vec<Printed> {
    let mut lines = text::failure(failure);
    if format == Format::Json {
        lines.push(Printed::Data(json::failure(failure)));
    }
    made_visible(lines)
}

/// What the peer tells by itself; nothing where that much is not wanted.
pub(crate) fn notice(notice: &Notice, detail: Detail) -> Vec<Printed> {
    let wanted_from = match notice {
        Notice::ChunkReceived { .. } => Detail::Chunks,
        Notice::Joined { .. } | Notice::Left { .. } => Detail::Full,
        _ => Detail::Brief,
    };
    if detail < wanted_from {
        return Vec::new();
    }
    let text = match notice {
        // The wording of earlier systems of this family, to the letter.
        Notice::ChunkReceived { chunk, from, .. } => format!("Received chunk {} from {from}", chunk + 1),
        other => other.to_string(),
    };
    made_visible(vec![Printed::Talk(text)])
}

/// Whatever came from the network, a file system or a user, nothing in it reaches the terminal as a command.
fn made_visible(lines: Vec<Printed>) -> Vec<Printed> {
    let mut lines = lines;
    for line in &mut lines {
        let (Printed::Data(text) | Printed::Talk(text) | Printed::Error(text) | Printed::Hint(text)) = line;
        if let std::borrow::Cow::Owned(escaped) = visible(text) {
            *text = escaped;
        }
    }
    lines
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
