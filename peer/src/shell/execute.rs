//! Executing: one command to its end, with its progress shown meanwhile.

use std::io;

use tokio::sync::mpsc;

use super::render::{self, Detail, Format, Printed};
use crate::backend::Backend;
use crate::command::{Command, Failure, Outcome, Progress, Update};
use crate::notice::Notice;

/// Updates under way between a command and the terminal; what finds no room is dropped.
const QUEUE: usize = 256;

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

    /// Prints what a command tells while it runs.
    fn notice(&mut self, notice: &Notice, detail: Detail) -> io::Result<()> {
        self.print(&render::notice(notice, detail))
    }
}

/// How a command ended.
pub(crate) type Ended = Result<Outcome, Failure>;

/// Runs a command, shows its updates, and prints how it ended. An error means that nobody reads what is printed.
pub(crate) async fn execute<B: Backend>(
    backend: &B,
    command: Command,
    sink: &mut impl Sink,
    printing: Printing,
) -> io::Result<Ended> {
    let (updates, mut incoming) = mpsc::channel(QUEUE);
    let mut running = std::pin::pin!(backend.run(command, updates));
    let ended = loop {
        tokio::select! {
            biased;
            Some(update) = incoming.recv() => show(update, sink, printing.detail)?,
            ended = &mut running => break ended,
        }
    };
    while let Ok(update) = incoming.try_recv() {
        show(update, sink, printing.detail)?;
    }
    sink.end_progress();
    match &ended {
        Ok(outcome) => sink.print(&render::outcome(outcome, printing.format, printing.detail))?,
        Err(failure) => sink.print(&render::failure(failure, printing.format))?,
    }
    Ok(ended)
}

fn show(update: Update, sink: &mut impl Sink, detail: Detail) -> io::Result<()> {
    match update {
        Update::Progress(progress) => {
            sink.progress(&progress);
            Ok(())
        }
        Update::Notice(notice) => sink.notice(&notice, detail),
    }
}
