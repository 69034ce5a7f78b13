//! Executing: one command to its end, with its progress and its news shown meanwhile.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc;

use super::render::{self, Detail, Format, Printed};
use crate::backend::{Backend, Notices};
use crate::command::{Command, Failure, Outcome, Progress, Update};
use crate::notice::Notice;

/// Updates under way between a command and the terminal; what finds no room is dropped.
const QUEUE: usize = 256;
/// How long the last news of a download may take: they come by another way than its end.
const LAST_NEWS: Duration = Duration::from_millis(50);

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Printing {
    /// For whom.
    pub(crate) format: Format,
    /// How much.
    pub(crate) detail: Detail,
}

/// Where lines and progress go.
pub(crate) trait Sink {
    /// Prints lines, in order.
    fn print(&mut self, lines: &[Printed]) -> io::Result<()>;

    /// Shows how far something is, instead of what was shown for the same name before.
    fn progress(&mut self, progress: &Progress);

    /// Takes what is shown of progress away.
    fn end_progress(&mut self);
}

/// Which notices are printed while a command runs.
#[derive(Debug)]
pub(crate) enum News<'a> {
    /// None: somebody else prints them all.
    Elsewhere,
    /// Of a peer that runs for these commands alone: all but the end of a download, which is printed as its result.
    All(&'a mut Notices),
    /// Of a peer that does other things, too: what is about this download.
    Download {
        notices: Notices,
        /// Its bare name.
        name: String,
    },
}

impl News<'_> {
    /// The news of a command of somebody else's peer: there are some of downloads only.
    pub(crate) async fn of<B: Backend>(backend: &B, command: &Command) -> Self {
        let Command::Download { entry, .. } = command else { return Self::Elsewhere };
        match backend.notices().await {
            Ok(notices) => Self::Download { notices, name: bare_name(entry).to_owned() },
            Err(failure) => {
                tracing::debug!(%failure, "no news");
                Self::Elsewhere
            }
        }
    }

    /// The next notice, about anything. Safe to drop at any await.
    async fn next(&mut self) -> Notice {
        let next = match self {
            Self::Elsewhere => None,
            Self::All(notices) => notices.next().await,
            Self::Download { notices, .. } => notices.next().await,
        };
        match next {
            Some(notice) => notice,
            // The command has an end of its own.
            None => std::future::pending().await,
        }
    }

    fn is_wanted(&self, notice: &Notice) -> bool {
        if is_end_of_download(notice) {
            return false;
        }
        match self {
            Self::Elsewhere => false,
            Self::All(_) => true,
            Self::Download { name, .. } => notice_name(notice).is_some_and(|about| bare_name(about) == name),
        }
    }
}

/// How a command ended.
pub(crate) type Ended = Result<Outcome, Failure>;

/// Runs a command, shows its updates, and prints how it ended. An error means that nobody reads what is printed.
pub(crate) async fn execute<B: Backend>(
    backend: &B,
    command: Command,
    mut news: News<'_>,
    sink: &mut impl Sink,
    printing: Printing,
) -> io::Result<Ended> {
    let is_download = matches!(command, Command::Download { .. });
    let (updates, mut incoming) = mpsc::channel(QUEUE);
    let mut running = std::pin::pin!(backend.run(command, updates));
    let ended = loop {
        tokio::select! {
            biased;
            notice = news.next() => if news.is_wanted(&notice) {
                sink.print(&render::notice(&notice, printing.detail))?;
            },
            Some(update) = incoming.recv() => show(update, sink, printing.detail)?,
            ended = &mut running => break ended,
        }
    };
    while let Ok(update) = incoming.try_recv() {
        show(update, sink, printing.detail)?;
    }
    sink.end_progress();
    if is_download && !matches!(news, News::Elsewhere) {
        while let Ok(notice) = tokio::time::timeout(LAST_NEWS, news.next()).await {
            if is_end_of_download(&notice) {
                break;
            }
            if news.is_wanted(&notice) {
                sink.print(&render::notice(&notice, printing.detail))?;
            }
        }
    }
    match &ended {
        Ok(outcome) => sink.print(&render::outcome(outcome, printing.format, printing.detail))?,
        Err(failure) => sink.print(&render::failure(failure, printing.format))?,
    }
    Ok(ended)
}

/// The last part of `owner/name`.
pub(super) fn bare_name(entry: &str) -> &str {
    entry.rsplit_once('/').map_or(entry, |(_owner, name)| name)
}

const fn is_end_of_download(notice: &Notice) -> bool {
    matches!(notice, Notice::Downloaded { .. } | Notice::DownloadFailed { .. })
}

/// The download that a notice is about.
fn notice_name(notice: &Notice) -> Option<&str> {
    match notice {
        Notice::ChunkReceived { name, .. }
        | Notice::Downloaded { name, .. }
        | Notice::DownloadFailed { name, .. }
        | Notice::Waiting { name, .. }
        | Notice::NotReached { name, .. }
        | Notice::BadSeeder { name, .. } => Some(name),
        _ => None,
    }
}

fn show(update: Update, sink: &mut impl Sink, detail: Detail) -> io::Result<()> {
    match update {
        Update::Progress(progress) => {
            sink.progress(&progress);
            Ok(())
        }
        Update::Notice(notice) => sink.print(&render::notice(&notice, detail)),
    }
}
