//! The screen: everything that a shell at a terminal prints goes through one thread here, which keeps the progress lines
//! above the prompt up to date without disturbing what is being typed.
//!
//! The progress lines are the rows directly above the prompt (or the cursor), and are overwritten in place. They are as
//! long as nothing but this thread has moved the cursor since: the [`Epoch`] says when that was.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustyline::ExternalPrinter;
use tokio::sync::{mpsc, oneshot};

use super::super::execute::Sink;
use super::super::render::{Printed, progress_line};
use super::super::streams::coloured;
use crate::command::Progress;
use crate::config::Colours;

/// Messages on the way to the screen; what finds no room is dropped (the terminal stands still).
const QUEUE: usize = 1024;
/// Progress is drawn at most this often.
const REDRAW: Duration = Duration::from_millis(150);
/// While there is no prompt, progress is drawn only after so long: most commands are done before.
const SETTLE: Duration = Duration::from_millis(600);
/// Most progress lines at once.
const MAX_ROWS: usize = 8;
/// Columns where the terminal does not tell.
const DEFAULT_COLUMNS: usize = 80;
/// How long to wait until all is printed before the prompt comes back.
const FLUSH_DEADLINE: Duration = Duration::from_millis(300);

/// Counts how often the prompt came and went; raised by whoever shows it.
#[derive(Debug, Clone, Default)]
pub(super) struct Epoch {
    count: Arc<AtomicU64>,
    searching: Arc<AtomicBool>,
    /// What stands before a line that is typed without being shown, while one is.
    hidden: Arc<Mutex<Option<String>>>,
}

/// Whether the user searches in the history. What is printed meanwhile is held back by the line editor, and stands
/// somewhere else than expected when it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Search {
    On,
    Over,
}

impl Epoch {
    /// To be called right before and right after a line is read.
    pub(super) fn advance(&self) {
        self.search(Search::Over);
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// To be called when something else was printed above the same prompt.
    pub(super) fn scrolled(&self) {
        self.count.fetch_add(2, Ordering::SeqCst);
    }

    /// To be called whenever it may have begun or ended.
    pub(super) fn search(&self, search: Search) {
        self.searching.store(search == Search::On, Ordering::SeqCst);
    }

    /// To be called right before and, with `None`, right after a line is typed without being shown.
    pub(super) fn hide(&self, prompt: Option<&str>) {
        *self.hidden.lock().unwrap_or_else(PoisonError::into_inner) = prompt.map(str::to_owned);
    }

    /// What is printed while a line is typed without being shown: above that line, for which nobody else cares.
    fn above_hidden(&self, text: String) -> String {
        match &*self.hidden.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(prompt) => format!("\r\x1b[K{text}{prompt}"),
            None => text,
        }
    }

    fn is_searching(&self) -> bool {
        self.searching.load(Ordering::SeqCst)
    }

    fn now(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// It begins without one.
    const fn has_prompt(epoch: u64) -> bool {
        !epoch.is_multiple_of(2)
    }
}

/// A handle to the screen; clones are handles to the same.
#[derive(Debug, Clone)]
pub(super) struct Screen {
    messages: mpsc::Sender<Message>,
}

enum Message {
    Print(Vec<Printed>),
    /// A line of the log, as it is.
    Log(String),
    Progress(Progress),
    EndProgress(String),
    Flush(oneshot::Sender<()>),
}

impl Screen {
    /// Starts the thread. Without a printer (on a terminal that cannot do it) lines go to stdout as they come.
    pub(super) fn start<P>(printer: Option<P>, epoch: Epoch, colours: Colours) -> io::Result<Self>
    where
        P: ExternalPrinter + Send + 'static,
    {
        let (messages, incoming) = mpsc::channel(QUEUE);
        let drawing = Drawing::new(epoch, colours);
        std::thread::Builder::new().name("screen".to_owned()).spawn(move || run(incoming, printer, drawing))?;
        Ok(Self { messages })
    }

    /// Prints lines, in order.
    pub(super) fn print(&self, lines: Vec<Printed>) {
        if !lines.is_empty() {
            self.send(Message::Print(lines));
        }
    }

    /// Prints a line of the log.
    pub(super) fn log(&self, line: &str) {
        self.send(Message::Log(line.to_owned()));
    }

    /// A sink for one command; its progress goes when it ends.
    pub(super) fn sink(&self) -> ScreenSink {
        ScreenSink { screen: self.clone(), names: Vec::new() }
    }

    /// Waits until all is printed, but not long: a search in the history holds printing up, and must not hold up the
    /// prompt.
    pub(super) async fn flush(&self) {
        let (done, printed) = oneshot::channel();
        self.send(Message::Flush(done));
        let _too_long = tokio::time::timeout(FLUSH_DEADLINE, printed).await;
    }

    fn send(&self, message: Message) {
        let _full = self.messages.try_send(message);
    }
}

/// Prints what one command has to say.
#[derive(Debug)]
pub(super) struct ScreenSink {
    screen: Screen,
    names: Vec<String>,
}

impl Sink for ScreenSink {
    fn print(&mut self, lines: &[Printed]) -> io::Result<()> {
        self.screen.print(lines.to_vec());
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) {
        if !self.names.contains(&progress.name) {
            self.names.push(progress.name.clone());
        }
        self.screen.send(Message::Progress(progress.clone()));
    }

    fn end_progress(&mut self) {
        for name in self.names.drain(..) {
            self.screen.send(Message::EndProgress(name));
        }
    }
}

impl Drop for ScreenSink {
    fn drop(&mut self) {
        self.end_progress();
    }
}

fn run<P: ExternalPrinter>(mut incoming: mpsc::Receiver<Message>, mut printer: Option<P>, mut drawing: Drawing) {
    while let Some(message) = incoming.blocking_recv() {
        let text = match message {
            Message::Print(lines) => drawing.print(&lines, columns()),
            Message::Log(line) => drawing.compose(&[line.trim_end().to_owned()], Rows::AsTheyAre, columns()),
            // What cannot be overwritten is not drawn.
            Message::Progress(_) | Message::EndProgress(_) if printer.is_none() => None,
            Message::Progress(progress) => drawing.progress(progress, Instant::now(), columns()),
            Message::EndProgress(name) => drawing.end_progress(&name, columns()),
            Message::Flush(done) => {
                let _nobody_waits = done.send(());
                None
            }
        };
        let Some(text) = text.map(|text| drawing.epoch.above_hidden(text)) else { continue };
        let written = match &mut printer {
            Some(printer) => printer.print(text).is_ok(),
            None => io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()).is_ok(),
        };
        if !written {
            return;
        }
    }
}

fn columns() -> usize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => DEFAULT_COLUMNS,
    }
}

/// What is on the screen above the prompt.
#[derive(Debug)]
struct Drawing {
    epoch: Epoch,
    /// The last epoch that was looked at, and when it was first.
    seen: u64,
    seen_at: Option<Instant>,
    /// How many rows above the cursor are progress.
    rows: usize,
    drawn_at: Option<Instant>,
    shown: Vec<Progress>,
    colours: Colours,
}

impl Drawing {
    const fn new(epoch: Epoch, colours: Colours) -> Self {
        Self { epoch, seen: 0, seen_at: None, rows: 0, drawn_at: None, shown: Vec::new(), colours }
    }

    fn print(&mut self, lines: &[Printed], columns: usize) -> Option<String> {
        let lines: Vec<String> = lines.iter().map(|line| coloured(line, self.colours)).collect();
        self.compose(&lines, Rows::AsTheyAre, columns)
    }

    fn progress(&mut self, progress: Progress, now: Instant, columns: usize) -> Option<String> {
        match self.shown.iter_mut().find(|shown| shown.name == progress.name) {
            Some(shown) => *shown = progress,
            None => self.shown.push(progress),
        }
        let since = |at: Option<Instant>| at.map_or(Duration::MAX, |at| now.duration_since(at));
        if self.epoch.is_searching() {
            return None;
        }
        let epoch = self.look();
        let seen_for = since(Some(*self.seen_at.get_or_insert(now)));
        let too_early = !Epoch::has_prompt(epoch) && seen_for < SETTLE;
        if too_early || since(self.drawn_at) < REDRAW {
            return None;
        }
        self.drawn_at = Some(now);
        self.compose(&[], Rows::Drawn, columns)
    }

    /// The epoch. When it is a new one, the rows of the old one are part of what was.
    fn look(&mut self) -> u64 {
        let now = self.epoch.now();
        if self.seen != now {
            (self.seen, self.seen_at, self.rows) = (now, None, 0);
        }
        now
    }

    fn end_progress(&mut self, name: &str, columns: usize) -> Option<String> {
        self.shown.retain(|shown| shown.name != name);
        self.look();
        if self.rows == 0 { None } else { self.compose(&[], Rows::AsTheyAre, columns) }
    }

    /// What to write so that `lines` stand above the progress rows, and these are new.
    fn compose(&mut self, lines: &[String], rows: Rows, columns: usize) -> Option<String> {
        if self.epoch.is_searching() {
            self.epoch.scrolled();
        }
        let epoch = self.look();
        let mut text = String::new();
        if self.rows > 0 {
            let _infallible = write!(text, "\x1b[{}A\r\x1b[J", self.rows);
        }
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        if rows == Rows::Drawn || self.rows > 0 || Epoch::has_prompt(epoch) {
            // The last column stays free: a terminal that wraps early would add a row.
            let width = columns.saturating_sub(1);
            self.rows = self.shown.len().min(MAX_ROWS);
            for row in self.shown.iter().take(MAX_ROWS) {
                text.push_str(&progress_line(row, width));
                text.push('\n');
            }
        }
        // An empty message would still make the prompt move down a row.
        (!text.is_empty()).then(|| if text.ends_with('\n') { text } else { text + "\x1b[A\n" })
    }
}

/// Whether progress rows are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    Drawn,
    /// Only where there are some already, or a prompt.
    AsTheyAre,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Activity;

    fn progress(name: &str, bytes: u64) -> Progress {
        Progress {
            name: name.to_owned(),
            activity: Activity::Checking,
            chunks: 0,
            chunks_total: 0,
            bytes,
            bytes_total: 100,
            bytes_per_sec: 0,
            seeders: 0,
        }
    }

    /// With a prompt.
    fn drawing() -> Drawing {
        let drawing = Drawing::new(Epoch::default(), Colours::Never);
        drawing.epoch.advance();
        drawing
    }

    fn talk(text: &str) -> Vec<Printed> {
        vec![Printed::Talk(text.to_owned())]
    }

    #[test]
    fn lines_stand_above_what_is_typed_without_being_shown() {
        let epoch = Epoch::default();
        epoch.hide(Some("Password: "));
        assert_eq!(epoch.above_hidden("bob: hi\n".to_owned()), "\r\x1b[Kbob: hi\nPassword: ");
        epoch.hide(None);
        assert_eq!(epoch.above_hidden("bob: hi\n".to_owned()), "bob: hi\n");
    }

    #[test]
    fn lines_stand_above_progress_that_is_overwritten_in_place() {
        let mut drawing = drawing();
        let start = Instant::now();
        assert_eq!(drawing.print(&talk("hello"), 10).unwrap(), "hello\n");
        assert_eq!(drawing.progress(progress("a", 1), start, 4).unwrap(), "a …\n");
        assert_eq!(drawing.print(&talk("news"), 4).unwrap(), "\x1b[1A\r\x1b[Jnews\na …\n");
        assert_eq!(drawing.progress(progress("b", 1), start + REDRAW, 4).unwrap(), "\x1b[1A\r\x1b[Ja …\nb …\n");
        assert_eq!(drawing.end_progress("a", 4).unwrap(), "\x1b[2A\r\x1b[Jb …\n");
    }

    #[test]
    fn what_stands_above_an_earlier_prompt_is_left_alone() {
        let mut drawing = drawing();
        drawing.progress(progress("a", 1), Instant::now(), 4);
        drawing.epoch.advance();
        assert_eq!(drawing.print(&talk("news"), 4).unwrap(), "news\n");
        drawing.epoch.advance();
        assert_eq!(drawing.print(&talk("news"), 4).unwrap(), "news\na …\n");
    }

    #[test]
    fn without_a_prompt_only_what_takes_long_shows_progress() {
        let mut drawing = drawing();
        drawing.epoch.advance();
        let start = Instant::now();
        assert_eq!(drawing.progress(progress("a", 1), start, 80), None);
        assert_eq!(drawing.progress(progress("a", 2), start + SETTLE / 2, 80), None);
        assert!(drawing.progress(progress("a", 3), start + SETTLE, 80).is_some());
        assert_eq!(drawing.end_progress("a", 80).unwrap(), "\x1b[1A\r\x1b[J\x1b[A\n");
    }

    #[test]
    fn progress_is_not_drawn_more_often_than_eyes_see() {
        let mut drawing = drawing();
        let start = Instant::now();
        assert!(drawing.progress(progress("a", 1), start, 80).is_some());
        assert!(drawing.progress(progress("a", 2), start + REDRAW / 2, 80).is_none());
        assert!(drawing.progress(progress("a", 3), start + REDRAW, 80).unwrap().contains("  3 %"));
    }

    #[test]
    fn the_last_progress_goes_without_a_trace() {
        let mut drawing = drawing();
        drawing.progress(progress("a", 1), Instant::now(), 80);
        // Up one row, cleared; then down and up again, so that the prompt stays where it is.
        assert_eq!(drawing.end_progress("a", 80).unwrap(), "\x1b[1A\r\x1b[J\x1b[A\n");
        assert_eq!(drawing.end_progress("a", 80), None);
    }
}
