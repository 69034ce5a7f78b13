//! The prompt: a thread that reads lines with the line editor, one each time it is asked.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc as std_mpsc;

use common::secret::Secret;
use rustix::termios::{LocalModes, OptionalActions, Termios};
use rustyline::error::ReadlineError;
use rustyline::history::{FileHistory, History as _};
use rustyline::{CompletionType, Config, Editor};
use tokio::sync::mpsc;

use super::super::secret::{Typed, ask_hidden};
use super::complete::{Completion, LineKind};
use super::screen::{Epoch, Screen};
use crate::backend::Names;
use crate::cli;
use crate::config::Colours;

/// Most lines that are remembered.
const MAX_HISTORY: usize = 1000;
/// What turns the marking of pasted text off again.
const BRACKETED_PASTE_OFF: &[u8] = b"\x1b[?2004l\r\n";

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    /// What stands before the line.
    pub(super) prompt: String,
    /// What the line is.
    pub(super) kind: LineKind,
    /// What may be completed.
    pub(super) names: Names,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Answer {
    /// A line, without its end.
    Line(String),
    /// A line that was not shown, where that was asked for.
    Secret(Secret),
    /// Ctrl-C on a line that was empty, or was not.
    Interrupt {
        /// Which.
        line_was_empty: bool,
    },
    /// Ctrl-D.
    End,
    /// The terminal is gone.
    Broken(String),
}

/// The thread's other end.
#[derive(Debug)]
pub(super) struct Prompt {
    questions: std_mpsc::SyncSender<Question>,
    answers: mpsc::Receiver<Answer>,
    /// Whether a question is on the screen already, from an asking that was dropped.
    asked: bool,
    original: Option<Termios>,
}

impl Prompt {
    /// Starts the thread and the screen above it.
    pub(super) fn start(history: &Path, colours: Colours) -> io::Result<(Self, Screen)> {
        let original = rustix::termios::tcgetattr(io::stdin()).ok();
        // Lists all there is at the first Tab: to wait for a second one would hold up what is printed above the prompt.
        let config = Config::builder()
            .completion_type(CompletionType::List)
            .completion_show_all_if_ambiguous(true)
            .max_history_size(MAX_HISTORY)
            .and_then(|builder| builder.history_ignore_dups(true))
            .map_err(io::Error::other)?
            .build();
        let mut editor = Editor::<Completion, FileHistory>::with_config(config).map_err(io::Error::other)?;
        let epoch = Epoch::default();
        let completion = Completion::new(epoch.clone());
        editor.set_helper(Some(completion.clone()));
        let history = open_history(history, &mut editor);
        let screen = Screen::start(editor.create_external_printer().ok(), epoch.clone(), colours)?;
        // One question at a time; the one who asks waits for the answer.
        let (questions, asked) = std_mpsc::sync_channel(1);
        let (answering, answers) = mpsc::channel(1);
        let reader = Reader { editor, completion, epoch, history, colours };
        std::thread::Builder::new().name("prompt".to_owned()).spawn(move || reader.run(&asked, &answering))?;
        if let Some(original) = &original {
            hide_what_is_typed_ahead(original);
        }
        Ok((Self { questions, answers, asked: false, original }, screen))
    }

    /// Shows the prompt; the answer comes from [`Self::answer`].
    pub(super) fn ask(&mut self, question: Question) {
        if !std::mem::replace(&mut self.asked, true) {
            // A thread that is gone leaves the answers closed, which says it all.
            let _gone = self.questions.try_send(question);
        }
    }

    /// The answer to the last question. Safe to drop at any await.
    pub(super) async fn answer(&mut self) -> Answer {
        let answer = self.answers.recv().await;
        self.asked = false;
        answer.unwrap_or_else(|| Answer::Broken("the prompt is gone".to_owned()))
    }

    /// Gives the terminal back as it was, even while a line is being read.
    pub(super) fn restore_terminal(&self) {
        use io::Write as _;
        let Some(original) = &self.original else { return };
        let Ok(now) = rustix::termios::tcgetattr(io::stdin()) else { return };
        let _terminal_gone = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Drain, original);
        let a_line_is_read =
            original.local_modes.contains(LocalModes::ICANON) && !now.local_modes.contains(LocalModes::ICANON);
        if a_line_is_read {
            let _terminal_gone = io::stdout().write_all(BRACKETED_PASTE_OFF);
        }
    }
}

/// What is typed while a command runs is shown by the next prompt, and not in the midst of what the command prints.
fn hide_what_is_typed_ahead(original: &Termios) {
    let mut quiet = original.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    let _terminal_gone = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &quiet);
}

struct Reader {
    editor: Editor<Completion, FileHistory>,
    completion: Completion,
    epoch: Epoch,
    history: Option<PathBuf>,
    colours: Colours,
}

impl Reader {
    fn run(mut self, questions: &std_mpsc::Receiver<Question>, answers: &mpsc::Sender<Answer>) {
        while let Ok(question) = questions.recv() {
            let answer = if question.kind == LineKind::Secret {
                self.epoch.hide(Some(&question.prompt));
                let answer = ask_secret(&question.prompt);
                self.epoch.hide(None);
                answer
            } else {
                self.ask(question)
            };
            if answers.blocking_send(answer).is_err() {
                return;
            }
        }
    }

    fn ask(&mut self, question: Question) -> Answer {
        self.completion.prepare(question.kind, question.names);
        let styled = match self.colours {
            Colours::OnTerminal => format!("\x1b[1m{}\x1b[0m", question.prompt),
            Colours::Never => question.prompt.clone(),
        };
        self.epoch.advance();
        let read = self.editor.readline(&(question.prompt, styled));
        self.epoch.advance();
        match read {
            Ok(line) => {
                if question.kind == LineKind::Command {
                    self.remember(&line);
                }
                Answer::Line(line)
            }
            Err(ReadlineError::Interrupted) => Answer::Interrupt { line_was_empty: self.completion.line_is_empty() },
            Err(ReadlineError::Eof) => Answer::End,
            Err(error) => Answer::Broken(error.to_string()),
        }
    }

    fn remember(&mut self, line: &str) {
        if line.trim().is_empty() || may_hold_a_password(line) || !self.editor.add_history_entry(line).unwrap_or(false)
        {
            return;
        }
        if let Some(path) = &self.history
            && let Err(error) = self.editor.append_history(path)
        {
            tracing::debug!(%error, "the history was not written");
        }
    }
}

/// Has the terminal to itself: the line editor does not read now.
fn ask_secret(prompt: &str) -> Answer {
    match ask_hidden(prompt) {
        Ok(Typed::Line(secret)) => Answer::Secret(secret),
        Ok(Typed::Interrupt) => Answer::Interrupt { line_was_empty: true },
        Ok(Typed::End) => Answer::End,
        Err(error) => Answer::Broken(format!("the password could not be read: {error}")),
    }
}

/// Whether it is a command about passwords: somebody may have written one into it.
fn may_hold_a_password(line: &str) -> bool {
    let word = line.split_whitespace().next().unwrap_or_default();
    cli::name_of(word).is_some_and(|name| matches!(name.as_str(), "signup" | "login" | "passwd"))
}

/// Loads the history; `None` where it cannot be kept. Lines may hold names that are nobody else's business.
fn open_history(path: &Path, editor: &mut Editor<Completion, FileHistory>) -> Option<PathBuf> {
    let made: io::Result<File> = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    if let Err(error) = made {
        tracing::debug!(%error, path = %path.display(), "no history");
        return None;
    }
    if let Err(error) = editor.load_history(path) {
        tracing::debug!(%error, "the history could not be read");
        let _nothing_to_clear = editor.history_mut().clear();
    }
    Some(path.to_path_buf())
}
