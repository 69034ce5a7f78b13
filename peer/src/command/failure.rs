//! Failures: from the errors of the parts to one sentence for the user, with what to do.

use std::io;

use common::name::{EntryName, EntryRef, NameError, UserName};
use common::wire::tracker::{Code, Refusal};

use super::{Failure, FailureKind};
use crate::engine::DownloadError;
use crate::hashing::HashError;
use crate::tracker_client::TrackerError;

/// An entry as the user names it.
pub(super) fn entry_ref(text: &str) -> Result<EntryRef, Failure> {
    text.parse().map_err(|error| bad_name(text, error))
}

/// A user as the user names it.
pub(super) fn user_name(text: &str) -> Result<UserName, Failure> {
    UserName::new(text).map_err(|error| bad_name(text, error))
}

/// A file's own name as that of an entry.
pub(super) fn entry_name(path: &std::path::Path) -> Result<EntryName, Failure> {
    let name = path.file_name().unwrap_or_default();
    EntryName::try_from(name).map_err(|error| {
        bad_name(&name.to_string_lossy(), error).with_hint("rename the file, or make a link to it under another name")
    })
}

/// What is quoted is escaped: it may be anything.
fn bad_name(text: &str, error: NameError) -> Failure {
    const LONGEST_QUOTE: usize = 80;
    let mut quote: String = text.chars().take(LONGEST_QUOTE).collect();
    if quote.len() < text.len() {
        quote.push('…');
    }
    Failure::new(FailureKind::Usage, format!("{quote:?} is not a name here: {error}"))
}

/// This peer is about to be no more.
pub(super) fn ending() -> Failure {
    Failure::new(FailureKind::Failed, "this peer is ending")
}

/// The tracker answered something else than what was asked.
pub(super) fn odd_answer() -> Failure {
    Failure::new(FailureKind::Failed, "the tracker's answer does not fit the question")
        .with_hint("peer and tracker may be of different versions")
}

impl From<TrackerError> for Failure {
    fn from(error: TrackerError) -> Self {
        let text = error.to_string();
        match error {
            TrackerError::Refused(refusal) => refusal.into(),
            TrackerError::NotConnected { .. } => Self::new(FailureKind::NoTracker, text)
                .with_hint("start one with \"tracker\", or give --tracker HOST:PORT"),
            TrackerError::NoAnswer { .. } => Self::new(FailureKind::NoTracker, text)
                .with_hint("it may have been done or not; ask again when the tracker is back"),
            TrackerError::Untrusted { hint, .. } => Self::new(FailureKind::NoTracker, text).with_hint(hint),
            TrackerError::TooLarge(_) => Self::new(FailureKind::Usage, text),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.text.trim_end_matches('.').to_owned();
        // The tracker's sentences say themselves what to do.
        let hint = match refusal.code {
            Code::Unknown | Code::Newer => Some("peer and tracker may be of different versions"),
            Code::LoginRequired if !text.contains("peer login") => {
                Some("`peer login NAME` logs in, `peer signup NAME` makes an account")
            }
            _ => None,
        };
        let hint = hint.map(str::to_owned);
        let kind = match refusal.code {
            Code::BadName => FailureKind::Usage,
            Code::LoginRequired => FailureKind::LoginRequired,
            Code::InviteRequired => FailureKind::InviteRequired,
            _ => FailureKind::Failed,
        };
        Self { kind, text, hint, candidates: refusal.candidates }
    }
}

impl From<HashError> for Failure {
    fn from(error: HashError) -> Self {
        let kind = match error {
            HashError::Cancelled => FailureKind::Cancelled,
            HashError::Missing(_) | HashError::Permission(_) | HashError::Directory(_) => FailureKind::Failed,
            HashError::Special(_) | HashError::TooLong(_) | HashError::Changed(_) => FailureKind::Failed,
            HashError::Read { .. } | HashError::Name { .. } | HashError::Folder { .. } => FailureKind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}

/// A download of this name that ended without the file.
pub(super) fn of_download(name: &EntryName, error: DownloadError) -> Failure {
    let text = format!("{name}: {error}");
    match error {
        DownloadError::Cancelled => Failure::new(FailureKind::Cancelled, text),
        DownloadError::Incomplete { .. } => Failure::new(FailureKind::Incomplete, text)
            .with_hint("ask for it again when somebody who has the rest is online"),
        DownloadError::Unreached { .. } => Failure::new(FailureKind::Incomplete, text)
            .with_hint("forward a port to one of the two, and say so with --listen and --advertise there"),
        DownloadError::Disk { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
            Failure::new(FailureKind::Failed, text).with_hint("make room and ask for it again; what has come is kept")
        }
        DownloadError::NoMatch { .. }
        | DownloadError::BadSeeders { .. }
        | DownloadError::UnderWay
        | DownloadError::Manifest(_)
        | DownloadError::Disk { .. } => Failure::new(FailureKind::Failed, text),
        DownloadError::Refused(refusal) => refusal.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_none_are_refused_before_anything_is_sent() {
        for text in ["../x", "/etc/passwd", "a/b/c", "a\nb", "nul", "", "\u{202e}x", &"x".repeat(256)] {
            let failure = entry_ref(text).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Usage, "{text}");
            assert!(!failure.text.contains(['\n', '\u{202e}']), "{text}");
            assert!(failure.text.len() < 300, "{text}");
        }
        assert!(entry_ref("bob/doug.png").is_ok());
        assert!(user_name("Bob").is_err());
    }

    #[test]
    fn a_refusal_is_the_trackers_sentence() {
        let refusal = Refusal { code: Code::NotFound, text: "There is no x.".to_owned(), candidates: Vec::new() };
        let failure = Failure::from(TrackerError::Refused(refusal));
        assert_eq!((failure.kind, failure.text.as_str()), (FailureKind::Failed, "There is no x"));
        let newer = Refusal { code: Code::Newer, text: "What?".to_owned(), candidates: Vec::new() };
        assert!(Failure::from(newer).hint.unwrap().contains("versions"));
    }

    #[test]
    fn kinds_are_those_of_the_exit_codes() {
        let name = EntryName::new("x").unwrap();
        let kind = |error| of_download(&name, error).kind;
        assert_eq!(kind(DownloadError::Cancelled), FailureKind::Cancelled);
        assert_eq!(kind(DownloadError::Incomplete { missing: 1, total: 2 }), FailureKind::Incomplete);
        let full = DownloadError::Disk { path: "/x".into(), source: io::ErrorKind::StorageFull.into() };
        assert!(of_download(&name, full).hint.unwrap().starts_with("make room"));
        let away = TrackerError::NotConnected { place: "lab:1".to_owned(), why: "connection refused".to_owned() };
        let failure = Failure::from(away);
        assert_eq!(failure.kind, FailureKind::NoTracker);
        assert_eq!(failure.text, "no tracker answers at lab:1 (connection refused)");
    }
}
