//! The interactive shell: a prompt, with downloads going on in the background and news above it.

mod account;
mod complete;
mod prompt;
mod screen;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::wire::tracker::Entry;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::complete::LineKind;
use self::prompt::{Answer, Prompt, Question};
use self::screen::Screen;
use super::dialect::Dialect;
use super::execute::{Ended, News, Printing, bare_name, execute};
use super::parse::{Asked, Bare, Surroundings, absolute, parse_line};
use super::render::{self, Detail, Format, Printed};
use crate::backend::{Backend, Notices};
use crate::command::{Command, Failure, FailureKind, Follow, Listing, Outcome};
use crate::config::Colours;
use crate::logging::Log;
use crate::notice::Notice;
use crate::signals::{Signal, Signals};
use crate::tasks::Tasks;

/// Downloads of one shell at once.
const MAX_DOWNLOADS: usize = 256;
/// So much of what was said to all is shown at the start.
const GREETING_LINES: usize = 10;
/// How long the prompt waits for a download: most small files are there before.
const GRACE: Duration = Duration::from_millis(300);

/// Downloads of an earlier run begin when the tracker has answered: how often, and how many times, to look for them.
const RESUME_LOOK: Duration = Duration::from_millis(250);
const RESUME_LOOKS: u32 = 40;

/// What a shell is made from.
#[derive(Debug)]
pub(crate) struct Setup {
    /// What the first lines say.
    pub(crate) greeting: Vec<Printed>,
    /// What stands before each line.
    pub(crate) prompt: String,
    /// Where lines are remembered.
    pub(crate) history: PathBuf,
    /// What words mean.
    pub(crate) surroundings: Surroundings,
    /// How results are printed.
    pub(crate) printing: Printing,
    /// Whether lines are coloured.
    pub(crate) colours: Colours,
    /// What happens to downloads when the shell ends.
    pub(crate) afterwards: Afterwards,
}

/// What happens to downloads when the shell ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Afterwards {
    /// They stop with it, and go on when the peer starts again.
    Kept,
    /// They go on in the peer that runs on this DIR.
    GoOn,
}

/// Why the shell ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// The user wished it.
    Quit,
    /// A signal came, or the terminal went.
    Signal,
    /// The peer has ended.
    PeerEnded,
}

/// A shell that can run.
#[derive(Debug)]
pub(crate) struct Shell<B> {
    /// What it acts through.
    pub(crate) backend: B,
    /// What that tells by itself.
    pub(crate) notices: Notices,
    /// The rest.
    pub(crate) setup: Setup,
}

/// Reads and runs commands at the terminal until the user leaves, a signal comes or the peer ends.
pub(crate) async fn run<B: Backend>(
    shell: Shell<B>,
    signals: &mut Signals,
    log: &Log,
    tasks: &Tasks,
) -> io::Result<Left> {
    let Shell { backend, notices, setup } = shell;
    let (prompt, screen) = Prompt::start(&setup.history, setup.colours)?;
    let for_log = screen.clone();
    log.send_to(move |line| for_log.log(line));
    let tasks = tasks.child();
    let mut shell = Running {
        prompt,
        screen,
        setup,
        backend,
        tasks: tasks.clone(),
        downloads: Arc::new(Semaphore::new(MAX_DOWNLOADS)),
        own: Own::default(),
        last_list: Vec::new(),
    };
    let left = shell.run(notices, signals).await;
    shell.say_what_goes_on().await;
    shell.screen.flush().await;
    log.send_to_stderr();
    tasks.shutdown().await;
    shell.prompt.restore_terminal();
    Ok(left)
}

/// What stands before each line.
pub(crate) fn prompt_of(name: &str) -> String {
    format!("{}> ", render::visible(name))
}

struct Running<B> {
    prompt: Prompt,
    screen: Screen,
    setup: Setup,
    backend: B,
    tasks: Tasks,
    downloads: Arc<Semaphore>,
    own: Own,
    /// What was listed last, for numbers instead of names.
    last_list: Vec<Entry>,
}

/// What a command led to.
enum Next {
    Prompt,
    Leave(Left),
}

impl<B: Backend> Running<B> {
    async fn run(&mut self, notices: Notices, signals: &mut Signals) -> Left {
        self.screen.print(self.setup.greeting.clone());
        let peer_ended = self.watch(notices);
        self.learn_names();
        self.show_history();
        if self.setup.afterwards == Afterwards::Kept {
            self.follow_resumed();
        }
        let mut interrupted = false;
        loop {
            let prompt = self.setup.prompt.clone();
            let answer = tokio::select! {
                answer = self.ask(prompt, LineKind::Command) => answer,
                signal = signals.next() => match signal {
                    Signal::Interrupt => continue,
                    Signal::Terminate => return Left::Signal,
                },
                () = peer_ended.cancelled() => return self.peer_ended(),
            };
            match answer {
                Answer::Line(line) => {
                    interrupted = false;
                    tokio::select! {
                        next = self.line(&line) => if let Next::Leave(left) = next {
                            return left;
                        },
                        signal = signals.next() => match signal {
                            Signal::Interrupt => self.screen.print(vec![Printed::Talk("Cancelled.".to_owned())]),
                            Signal::Terminate => return Left::Signal,
                        },
                        () = peer_ended.cancelled() => return self.peer_ended(),
                    }
                }
                Answer::Interrupt { line_was_empty: true } if interrupted => return Left::Quit,
                Answer::Interrupt { line_was_empty } => {
                    interrupted = true;
                    if line_was_empty {
                        self.screen.print(vec![Printed::Talk("Ctrl-C again, Ctrl-D or `q` leaves.".to_owned())]);
                    }
                }
                // Not asked for here.
                Answer::Secret(_) => {}
                Answer::End => return Left::Quit,
                Answer::Broken(why) => {
                    tracing::debug!(%why, "the terminal is gone");
                    return Left::Signal;
                }
            }
        }
    }

    /// Reads one line. When this is dropped, the prompt stays on the screen until the terminal is restored.
    async fn ask(&mut self, prompt: String, kind: LineKind) -> Answer {
        let names = self.backend.names().await;
        self.screen.flush().await;
        self.prompt.ask(Question { prompt, kind, names });
        self.prompt.answer().await
    }

    async fn line(&mut self, line: &str) -> Next {
        let mut asked = parse_line(line, &self.setup.surroundings);
        if let Ok(Asked::Incomplete(bare)) = asked {
            asked = match self.complete(bare).await {
                Some(command) => {
                    Ok(Asked::Run(super::Job { commands: vec![command], json: false, stay: super::Stay::Leave }))
                }
                None => Ok(Asked::Nothing),
            };
        }
        match asked {
            Ok(Asked::Nothing | Asked::Incomplete(_)) => {}
            Ok(Asked::Account(job)) => self.account(&job).await,
            Ok(Asked::Quit) => return Next::Leave(Left::Quit),
            Ok(Asked::Show(text)) => {
                self.screen.print(text.lines().map(|line| Printed::Data(line.to_owned())).collect());
            }
            Ok(Asked::Run(job)) => {
                let format = if job.json { Format::Json } else { self.setup.printing.format };
                for command in job.commands {
                    if matches!(command, Command::Download { .. }) {
                        self.download(command, format).await;
                    } else if let Ok(Outcome::Stopping) = self.foreground(command, format).await {
                        return Next::Leave(Left::PeerEnded);
                    }
                }
            }
            Err(failure) => self.screen.print(render::failure(&failure, self.setup.printing.format)),
        }
        Next::Prompt
    }

    /// Asks for what a bare command needs; `None` where the user thinks better of it.
    async fn complete(&mut self, bare: Bare) -> Option<Command> {
        match bare {
            Bare::Register => {
                let path = self.ask_word("Path of the file: ", LineKind::Path).await?;
                match absolute(&PathBuf::from(path), self.setup.surroundings.home.as_deref()) {
                    Ok(path) => Some(Command::Register { path, users: None }),
                    Err(failure) => {
                        self.screen.print(render::failure(&failure, Format::Text));
                        None
                    }
                }
            }
            Bare::Loc => {
                let entry = self.ask_word("Name of the file: ", LineKind::Entry).await?;
                Some(Command::Loc { entry: self.by_number(entry) })
            }
            Bare::Download => {
                match self.foreground(Command::List(Listing::default()), Format::Text).await {
                    Ok(Outcome::Entries(entries)) if !entries.is_empty() => {}
                    _ => return None,
                }
                let entry = self.ask_word("Name or number: ", LineKind::Entry).await?;
                let wait_secs = self.setup.surroundings.wait;
                Some(Command::Download {
                    entry: self.by_number(entry),
                    only: Vec::new(),
                    follow: match self.setup.surroundings.dialect {
                        Dialect::Tracker => Follow::Yes,
                        Dialect::Mrt => Follow::No,
                    },
                    output: None,
                    wait_secs,
                })
            }
        }
    }

    /// One word, as it is or quoted; `None` for an empty line, Ctrl-C and Ctrl-D.
    async fn ask_word(&mut self, prompt: &str, kind: LineKind) -> Option<String> {
        let Answer::Line(line) = self.ask(prompt.to_owned(), kind).await else { return None };
        let line = line.trim();
        let word = match shlex::split(line) {
            Some(words) if words.len() == 1 => words.into_iter().next()?,
            // Here nothing else can follow: spaces belong to the name.
            _ => line.to_owned(),
        };
        (!word.is_empty()).then_some(word)
    }

    /// The entry of this number in the last list, unless one has the number for a name.
    fn by_number(&self, word: String) -> String {
        let number = word.parse::<usize>().ok().filter(|_| self.last_list.iter().all(|entry| entry.name != word));
        let Some(entry) = number.and_then(|number| self.last_list.get(number.checked_sub(1)?)) else { return word };
        let same_name = self.last_list.iter().filter(|other| other.name == entry.name).count();
        match entry.owners.first() {
            Some(owner) if same_name > 1 => format!("{owner}/{}", entry.name),
            _ => entry.name.clone(),
        }
    }

    /// Runs a command while the prompt waits.
    async fn foreground(&mut self, command: Command, format: Format) -> Ended {
        let printing = Printing { format, ..self.setup.printing };
        let ended = to_screen(&self.backend, command, &self.screen, printing).await;
        match &ended {
            Ok(Outcome::Entries(entries)) => self.last_list.clone_from(entries),
            Ok(outcome) => self.follow_name(outcome),
            Err(_) => {}
        }
        ended
    }

    async fn download(&mut self, command: Command, format: Format) {
        let Command::Download { entry, .. } = &command else { return };
        let Ok(slot) = Arc::clone(&self.downloads).try_acquire_owned() else {
            let text = format!("{MAX_DOWNLOADS} downloads are under way already");
            let failure = Failure::new(FailureKind::Failed, text).with_hint("wait for one, or `cancel` one");
            return self.screen.print(render::failure(&failure, format));
        };
        let Some(own) = self.own.begin(entry) else {
            let text = format!("{} is under way already.", render::visible(entry));
            return self.screen.print(vec![Printed::Talk(text)]);
        };
        let (backend, screen) = (self.backend.clone(), self.screen.clone());
        let printing = Printing { format, ..self.setup.printing };
        let (done, ended) = oneshot::channel();
        self.tasks.spawn("download", async move {
            let _held = (slot, own);
            // How it ended stands on the screen.
            let _printed = to_screen(&backend, command, &screen, printing).await;
            let _nobody_waits = done.send(());
        });
        let _goes_on = tokio::time::timeout(GRACE, ended).await;
    }

    /// Prints notices as they come. What is given ends when the peer has.
    fn watch(&self, notices: Notices) -> CancellationToken {
        let (token, mut notices) = (CancellationToken::new(), notices);
        let (screen, own, detail) = (self.screen.clone(), self.own.clone(), self.setup.printing.detail);
        let (backend, ended) = (self.backend.clone(), token.clone());
        self.tasks.spawn("shell notices", async move {
            loop {
                tokio::select! {
                    () = backend.ended() => break,
                    notice = notices.next() => match notice {
                        Some(notice) if own.is_told_already(&notice) => {}
                        // Whoever sits at a prompt likes to know who is there.
                        Some(notice @ (Notice::Joined { .. } | Notice::Left { .. })) => {
                            screen.print(render::notice(&notice, Detail::Full));
                        }
                        Some(notice) => screen.print(render::notice(&notice, detail)),
                        None => break,
                    },
                }
            }
            ended.cancel();
        });
        token
    }

    /// Lists once in the background, so that there is something to complete.
    fn learn_names(&self) {
        let backend = self.backend.clone();
        self.tasks.spawn("learn names", async move {
            let (updates, _nobody) = mpsc::channel(1);
            if let Err(failure) = backend.run(Command::List(Listing::default()), updates).await {
                tracing::debug!(%failure, "no names to complete yet");
            }
        });
    }

    /// Shows what was said last to all, where anything was.
    fn show_history(&self) {
        let (backend, screen, detail) = (self.backend.clone(), self.screen.clone(), self.setup.printing.detail);
        self.tasks.spawn("history", async move {
            let (updates, _nobody) = mpsc::channel(1);
            match backend.run(Command::History, updates).await {
                Ok(Outcome::History(lines)) if !lines.is_empty() => {
                    let last = lines[lines.len().saturating_sub(GREETING_LINES)..].to_vec();
                    screen.print(render::outcome(&Outcome::History(last), Format::Text, detail));
                }
                Ok(_) => {}
                Err(failure) => tracing::debug!(%failure, "no history to show"),
            }
        });
    }

    /// Shows the progress and the end of what goes on from an earlier run.
    fn follow_resumed(&self) {
        let (backend, screen, own, tasks) =
            (self.backend.clone(), self.screen.clone(), self.own.clone(), self.tasks.clone());
        let printing = self.setup.printing;
        self.tasks.spawn("follow resumed downloads", async move {
            let mut followed = BTreeSet::new();
            for _ in 0..RESUME_LOOKS {
                for name in backend.names().await.downloads {
                    if !followed.insert(name.clone()) {
                        continue;
                    }
                    let Some(own) = own.begin(&name) else { continue };
                    screen.print(vec![Printed::Talk(format!("Going on with {}.", render::visible(&name)))]);
                    // A download that is under way is watched, not begun again.
                    let command = Command::Download {
                        entry: name,
                        only: Vec::new(),
                        follow: Follow::Yes,
                        output: None,
                        wait_secs: None,
                    };
                    let (backend, screen) = (backend.clone(), screen.clone());
                    tasks.spawn("resumed download", async move {
                        let _own = own;
                        let _printed = to_screen(&backend, command, &screen, printing).await;
                    });
                }
                tokio::time::sleep(RESUME_LOOK).await;
            }
        });
    }

    fn peer_ended(&self) -> Left {
        self.screen.print(vec![Printed::Talk("The peer that ran on this DIR has ended.".to_owned())]);
        Left::PeerEnded
    }

    async fn say_what_goes_on(&self) {
        let mut names = self.backend.names().await.downloads;
        names.dedup();
        let what = match names.as_slice() {
            [] => return,
            [name] => format!("{} is still under way", render::visible(name)),
            _ => format!("{} downloads are still under way ({})", names.len(), render::visible(&names.join(", "))),
        };
        let then = match self.setup.afterwards {
            Afterwards::Kept => "what has come is kept, and they go on next time",
            Afterwards::GoOn => "they go on in the running peer",
        };
        let then = if names.len() == 1 { then.replace("they go", "it goes") } else { then.to_owned() };
        self.screen.print(vec![Printed::Talk(format!("{what}: {then}."))]);
    }
}

/// Runs a command and prints how it ended.
async fn to_screen<B: Backend>(backend: &B, command: Command, screen: &Screen, printing: Printing) -> Ended {
    let ended = execute(backend, command, News::Elsewhere, &mut screen.sink(), printing).await;
    ended.expect("the screen takes whatever is printed")
}

/// Downloads of this shell, whose ends it prints itself: the notices of these would say it twice.
#[derive(Debug, Clone, Default)]
struct Own(Arc<Mutex<OwnState>>);

#[derive(Debug, Default)]
struct OwnState {
    /// As they were asked for.
    active: BTreeSet<String>,
    /// Bare names, and how many notices of their ends are to come (or, where there is none for a failure, are not).
    expected: HashMap<String, u32>,
}

/// A download of this shell, as long as it is under way.
#[derive(Debug)]
struct OwnDownload {
    own: Own,
    entry: String,
}

impl Own {
    /// Says that this one is under way now; `None` where it was before.
    fn begin(&self, entry: &str) -> Option<OwnDownload> {
        let mut state = self.state();
        let same = |other: &String| {
            let one_is_bare = !other.contains('/') || !entry.contains('/');
            other == entry || one_is_bare && bare_name(other) == bare_name(entry)
        };
        if state.active.iter().any(same) {
            return None;
        }
        state.active.insert(entry.to_owned());
        *state.expected.entry(bare_name(entry).to_owned()).or_default() += 1;
        Some(OwnDownload { own: self.clone(), entry: entry.to_owned() })
    }

    /// Whether this is the notice of the end of a download that was begun here; each counts once.
    fn is_told_already(&self, notice: &Notice) -> bool {
        let (Notice::Downloaded { name, .. } | Notice::DownloadFailed { name, .. }) = notice else { return false };
        match self.state().expected.get_mut(bare_name(name)) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        }
    }

    fn state(&self) -> MutexGuard<'_, OwnState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OwnDownload {
    fn drop(&mut self) {
        self.own.state().active.remove(&self.entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_begun_once_and_its_end_is_told_once() {
        let own = Own::default();
        let ended = |name: &str| Notice::Downloaded { name: name.to_owned(), path: "/x".into() };
        let one = own.begin("ann/x").unwrap();
        assert!(own.begin("ann/x").is_none() && own.begin("x").is_none());
        let other = own.begin("bob/x").unwrap();
        assert!(!own.is_told_already(&ended("y")));
        assert!(!own.is_told_already(&Notice::TrackerBack));
        drop((one, other));
        // The notice may come after the end.
        assert!(own.is_told_already(&ended("x")) && own.is_told_already(&ended("x")));
        assert!(!own.is_told_already(&ended("x")));
        assert!(own.begin("x").is_some());
    }
}
