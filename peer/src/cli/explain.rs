//! What clap says of wrong arguments, in this program's own form: one sentence and at most one hint.

use std::num::ParseIntError;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::verb::clashing_word;
use crate::command::{Failure, FailureKind};

/// Why parsing did not give a command.
#[derive(Debug)]
pub(crate) enum NotACommand {
    /// Help or version was asked for: to be printed, and all is well.
    Show(String),
    /// Something is wrong; the kind is [`FailureKind::Usage`].
    Wrong(Box<Failure>),
}

/// Where the words came from; hints differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The arguments of the program.
    Arguments,
    /// A line at the prompt or from a pipe.
    Line,
}

/// Says in this program's form what clap found.
pub(crate) fn explain(error: &clap::Error, source: Source) -> NotACommand {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return NotACommand::Show(super::without_gap(&error.render().to_string()));
    }
    let (text, hint) = sentence(error, source);
    NotACommand::Wrong(Box::new(Failure {
        kind: FailureKind::Usage,
        text,
        hint: hint.or_else(|| usage(error)),
        candidates: Vec::new(),
    }))
}

fn sentence(error: &clap::Error, source: Source) -> (String, Option<String>) {
    let argument = context(error, ContextKind::InvalidArg).map(bare);
    let argument = argument.as_deref().unwrap_or("an argument");
    let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            let hint = command_hint(&word, context(error, ContextKind::SuggestedSubcommand), source);
            (format!("there is no command `{word}`"), Some(hint))
        }
        ErrorKind::UnknownArgument if argument.starts_with('-') => {
            let hint = context(error, ContextKind::SuggestedArg).map(|near| format!("did you mean `{near}`?"));
            (format!("there is no option `{argument}` here"), hint)
        }
        ErrorKind::UnknownArgument | ErrorKind::TooManyValues | ErrorKind::WrongNumberOfValues => {
            let word = if error.kind() == ErrorKind::UnknownArgument { argument } else { &value };
            let hint = "a name with spaces goes in quotes, such as \"my holiday.png\"".to_owned();
            (format!("`{word}` is one word too many"), Some(hint))
        }
        ErrorKind::MissingRequiredArgument => (format!("{argument} is missing"), None),
        ErrorKind::InvalidValue if value.is_empty() => (format!("`{argument}` needs a value"), None),
        ErrorKind::TooFewValues => (format!("`{argument}` needs a value"), None),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let why =
                std::error::Error::source(error).map_or_else(String::new, |why| match why.is::<ParseIntError>() {
                    true => ": not a whole number".to_owned(),
                    false => format!(": {why}"),
                });
            (format!("`{value}` will not do for {argument}{why}"), valid_values(error))
        }
        ErrorKind::ArgumentConflict => {
            let prior = context(error, ContextKind::PriorArg).map(bare);
            match prior.as_deref() {
                Some(prior) if prior != argument => (format!("`{argument}` and `{prior}` do not go together"), None),
                _ => (format!("`{argument}` is given twice"), None),
            }
        }
        ErrorKind::InvalidUtf8 => ("an argument is not valid UTF-8".to_owned(), None),
        _ => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            (first.trim_start_matches("error: ").to_owned(), None)
        }
    }
}

/// The words that would do, where there are only some.
fn valid_values(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::ValidValue)? {
        ContextValue::Strings(words) if !words.is_empty() => Some(format!("one of these will: {}", words.join(", "))),
        _ => None,
    }
}

fn command_hint(word: &str, near: Option<String>, source: Source) -> String {
    let list = match source {
        Source::Arguments => "`peer --help` lists the commands",
        Source::Line => "`help` lists the commands",
    };
    if let Some(clash) = clashing_word(word) {
        return format!("{clash}; {list}");
    }
    let lower = word.to_lowercase();
    if source == Source::Arguments && matches!(lower.as_str(), "q" | "exit" | "quit") {
        return format!("`{lower}` leaves the prompt; `peer stop` ends the peer that runs on this DIR");
    }
    // Almost any word is near to one of a single letter.
    let near = super::name_of(&lower).or_else(|| near.filter(|near| near.chars().nth(1).is_some()));
    match near {
        Some(near) => format!("did you mean `{near}`? {list}"),
        None => list.to_owned(),
    }
}

/// The usage line as a hint, where clap gives one.
fn usage(error: &clap::Error) -> Option<String> {
    let usage = match error.get(ContextKind::Usage)? {
        ContextValue::StyledStr(text) => text.to_string(),
        _ => return None,
    };
    let line = usage.trim_start_matches("Usage:").lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(format!("usage: {line}"))
}

/// The first text of this kind that is not one of the old words in capitals.
fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => {
            texts.iter().find(|text| !text.chars().all(|c| c.is_ascii_uppercase() || c == '_')).cloned()
        }
        ContextValue::StyledStr(text) => Some(text.to_string()),
        _ => None,
    }
}

/// `<NAME>` and `[PATH]...` without their brackets, `--wait <SECS>` as it is.
fn bare(argument: String) -> String {
    if argument.starts_with('-') {
        return argument;
    }
    argument.trim_end_matches("...").trim_matches(['<', '>', '[', ']']).to_owned()
}
