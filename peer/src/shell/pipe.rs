//! Pipe mode: commands from a stream, a line each, without a prompt.

use std::collections::{BTreeSet, VecDeque};
use std::io;

use common::id::NetworkId;
use common::secret::Secret;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

use super::account::{self, Asking, Keeper, PasswordFrom, Wish};
use super::execute::{News, Printing, Sink, execute};
use super::parse::{Asked, Surroundings, parse_line};
use super::render::{self, Format, Printed};
use crate::backend::{Backend, Notices};
use crate::command::{Failure, FailureKind, Outcome};

/// Most bytes of a line.
const MAX_LINE: usize = 64 << 10;
/// The exit code when commands failed in different ways.
const MIXED: u8 = 1;

/// Runs the commands that `input` brings until it ends or one says to leave. Gives the exit code: 0 where all went well,
/// that of the failures where they were all of one kind, else 1. The notices are those of a peer that runs for this
/// alone. An error means that input cannot be read, or that nobody reads what is printed.
pub(crate) async fn run<B: Backend>(
    input: impl AsyncBufRead + Unpin,
    backend: &B,
    notices: Option<&mut Notices>,
    surroundings: &Surroundings,
    printing: Printing,
    sink: &mut impl Sink,
) -> io::Result<u8> {
    let (mut input, mut notices) = (input, notices);
    let mut codes = BTreeSet::new();
    loop {
        let read = read_line(&mut input).await;
        let asked =
            match read.map_err(|error| io::Error::new(error.kind(), format!("could not read commands: {error}")))? {
                None => break,
                Some(Ok(line)) => parse_line(&line, surroundings),
                Some(Err(failure)) => Err(failure),
            };
        match asked {
            Ok(Asked::Nothing) => {}
            Ok(Asked::Quit) => break,
            Ok(Asked::Show(text)) => {
                let lines: Vec<Printed> = text.lines().map(|line| Printed::Data(line.to_owned())).collect();
                sink.print(&lines)?;
            }
            Ok(Asked::Incomplete(bare)) => {
                let word = bare.word();
                let failure = Failure::new(FailureKind::Usage, format!("`{word}` needs a word after it"))
                    .with_hint(format!("`help {word}` says which"));
                codes.insert(report(&failure, printing.format, sink)?);
            }
            Ok(Asked::Account(job)) => {
                let format = if job.json { Format::Json } else { printing.format };
                let ended = match job.password {
                    PasswordFrom::Input => {
                        let mut keeper = FromInput::new(&mut input).having_read(job.wish.passwords()).await;
                        account::run(backend, &job.wish, None, &mut keeper).await
                    }
                    PasswordFrom::Terminal => Err(account::nobody_to_ask()),
                };
                match ended {
                    Ok(outcome) => sink.print(&render::outcome(&outcome, format, printing.detail))?,
                    Err(failure) => {
                        codes.insert(report(&failure, format, sink)?);
                        if job.password == PasswordFrom::Terminal || matches!(job.wish, Wish::SignUp(_)) {
                            let text = "The rest of the input is not read: a password or a code may be next in it.";
                            sink.print(&[Printed::Talk(text.to_owned())])?;
                            break;
                        }
                    }
                }
            }
            Ok(Asked::Run(job)) => {
                let format = if job.json { Format::Json } else { printing.format };
                for command in job.commands {
                    let news = match &mut notices {
                        Some(notices) => News::All(notices),
                        None => News::of(backend, &command).await,
                    };
                    match execute(backend, command, news, sink, Printing { format, ..printing }).await? {
                        Ok(Outcome::Stopping) => return Ok(exit_code(&codes)),
                        Ok(_) => {}
                        Err(failure) => drop(codes.insert(failure.kind.exit_code())),
                    }
                }
            }
            Err(failure) => drop(codes.insert(report(&failure, printing.format, sink)?)),
        }
    }
    Ok(exit_code(&codes))
}

/// Passwords from the lines that follow the command.
pub(crate) struct FromInput<'a, R> {
    input: &'a mut R,
    /// Lines that were read before they were asked for.
    read: VecDeque<Result<Option<Secret>, Failure>>,
}

impl<'a, R: AsyncBufRead + Unpin> FromInput<'a, R> {
    /// Reads from the input as it is asked.
    pub(crate) fn new(input: &'a mut R) -> Self {
        Self { input, read: VecDeque::new() }
    }

    /// Reads so many passwords at once: whatever becomes of the command, they are not the next commands.
    async fn having_read(mut self, passwords: usize) -> Self {
        for _ in 0..passwords {
            let read = self.next().await;
            self.read.push_back(read);
        }
        self
    }

    async fn next(&mut self) -> Result<Option<Secret>, Failure> {
        let read = read_line(self.input).await;
        let line = read.map_err(|error| {
            Failure::new(FailureKind::Failed, format!("the password could not be read from the input: {error}"))
        })?;
        line.map(|line| account::secret_of(line?)).transpose()
    }
}

impl<R: AsyncBufRead + Unpin> Keeper for FromInput<'_, R> {
    fn is_person(&self) -> bool {
        false
    }

    async fn secret(&mut self, _asking: Asking) -> Result<Option<Secret>, Failure> {
        match self.read.pop_front() {
            Some(read) => read,
            None => self.next().await,
        }
    }

    async fn is_right(&mut self, _tracker: &str, _fingerprint: NetworkId) -> Result<bool, Failure> {
        Ok(false)
    }
}

fn report(failure: &Failure, format: Format, sink: &mut impl Sink) -> io::Result<u8> {
    sink.print(&render::failure(failure, format))?;
    Ok(failure.kind.exit_code())
}

fn exit_code(codes: &BTreeSet<u8>) -> u8 {
    match codes.first() {
        None => 0,
        Some(only) if codes.len() == 1 => *only,
        Some(_) => MIXED,
    }
}

/// The next line without its end; `None` at the end of input. What is too long is read to its end and forgotten.
async fn read_line(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Result<String, Failure>>> {
    let mut line = Vec::new();
    let mut length = 0;
    loop {
        let available = input.fill_buf().await?;
        if available.is_empty() {
            if length == 0 {
                return Ok(None);
            }
            break;
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let piece = &available[..end.unwrap_or(available.len())];
        length += piece.len() + usize::from(end.is_some());
        if length <= MAX_LINE {
            line.extend_from_slice(piece);
        }
        let consumed = piece.len() + usize::from(end.is_some());
        input.consume(consumed);
        if end.is_some() {
            break;
        }
    }
    if length > MAX_LINE {
        let text = format!("a line has at most {} KiB, this one has {length} bytes", MAX_LINE >> 10);
        return Ok(Some(Err(Failure::new(FailureKind::Usage, text))));
    }
    Ok(Some(String::from_utf8(line).map_err(|error| {
        let at = error.utf8_error().valid_up_to() + 1;
        Failure::new(FailureKind::Usage, format!("a line is not valid UTF-8, from byte {at} on"))
            .with_hint("names and paths are UTF-8 here")
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake::Fake;
    use crate::command::{Command, Listing};
    use crate::shell::Streams;
    use crate::shell::render::Detail;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Ran {
        code: u8,
        data: String,
        talk: String,
        seen: Vec<Command>,
    }

    async fn pipe(input: impl AsRef<[u8]>) -> Ran {
        let (data, talk, fake) = (Kept::default(), Kept::default(), Fake::new());
        let mut streams = Streams::plain(data.clone(), talk.clone());
        let surroundings = Surroundings { wait: Some(30), home: None, dialect: crate::shell::Dialect::Tracker };
        let printing = Printing { format: Format::Text, detail: Detail::Chunks };
        let code = run(input.as_ref(), &fake, None, &surroundings, printing, &mut streams).await.unwrap();
        Ran { code, data: data.text(), talk: talk.text(), seen: fake.seen() }
    }

    #[tokio::test]
    async fn commands_run_one_after_the_other_without_a_prompt() {
        let ran = pipe("# files\n\nr /x/doug.png\nlst\n  d doug.png").await;
        assert_eq!(ran.code, 0);
        assert_eq!(
            ran.data,
            "Registration of doug.png of size 107330 bytes successful.\n\
             (1) Name: doug.png  Size: 107330 bytes  Owner: ann  Seeders: 3\n\
             /dir/seeding/doug.png\n"
        );
        assert!(ran.talk.starts_with("Received chunk 1 from 127.0.0.1:42490"), "{}", ran.talk);
        assert!(ran.talk.contains("doug.png has completed downloading.\n"), "{}", ran.talk);
        assert_eq!(ran.seen.len(), 3);
    }

    #[tokio::test]
    async fn what_fails_does_not_stop_the_rest_and_makes_the_exit_code() {
        for (lines, code) in [
            ("lst\n", 0),
            ("d missing\nlst\n", 1),
            ("d lonely\nlst\n", 3),
            ("d no-tracker\nd no-tracker\n", 4),
            ("lits\n", 2),
            ("lits\nd lonely\n", 1),
            ("r\n", 2),
        ] {
            assert_eq!(pipe(lines).await.code, code, "{lines}");
        }
        let ran = pipe("d missing\nlst\n").await;
        assert_eq!(ran.talk, "error: there is no missing\nhint: look at `lst`\n");
        assert_eq!(ran.seen.len(), 2);
    }

    #[tokio::test]
    async fn leaving_ends_it_before_the_end_of_input() {
        for lines in ["q\nlst\n", "stop\nlst\n"] {
            let ran = pipe(lines).await;
            assert_eq!((ran.code, ran.seen.contains(&Command::List(Listing::default()))), (0, false), "{lines}");
        }
    }

    #[tokio::test]
    async fn results_are_json_where_a_line_says_so() {
        let ran = pipe("lst --json\nlst\n").await;
        let lines: Vec<&str> = ran.data.lines().collect();
        assert!(lines[0].starts_with("{\"entries\":[{"), "{}", lines[0]);
        assert!(lines[1].starts_with("(1) Name:"), "{}", lines[1]);
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_are_refused_and_the_rest_goes_on() {
        let ran = pipe(b"lst\n\xff\xfe\nlst\n").await;
        assert_eq!((ran.code, ran.seen.len()), (2, 2));
        assert!(ran.talk.starts_with("error: a line is not valid UTF-8, from byte 1 on\n"), "{}", ran.talk);
    }

    #[tokio::test]
    async fn a_line_too_long_is_refused_and_the_rest_goes_on() {
        let fits = format!("d '{}'\n", "x".repeat(MAX_LINE - 5));
        let ran = pipe(&fits).await;
        assert_eq!((ran.code, ran.seen.len()), (0, 1));
        let ran = pipe(format!("x{fits}lst\n")).await;
        assert_eq!((ran.code, ran.seen), (2, vec![Command::List(Listing::default())]));
        assert_eq!(ran.talk, "error: a line has at most 64 KiB, this one has 65537 bytes\n");
    }

    #[tokio::test]
    async fn passwords_in_a_pipe_are_never_taken_for_commands() {
        // The tracker is not confirmed: nothing is sent, and the password is not the next command.
        let ran = pipe("login ann --password-stdin\nhunter2\nlst\n").await;
        assert_eq!(ran.seen, vec![Command::Tracker, Command::List(Listing::default())]);
        assert!(!ran.talk.contains("hunter2"), "{}", ran.talk);
        let ran = pipe("passwd --password-stdin\r\nhunter2\r\nhunter3\r\n").await;
        let secret = |text: &str| Secret::new(text.to_owned()).unwrap();
        let expected = Command::ChangePassword { old: secret("hunter2"), new: secret("hunter3") };
        assert_eq!((ran.code, ran.seen), (0, vec![expected]));
        for lines in ["login ann\nhunter2\n", "signup ann --password-stdin\nhunter2\nc0de\n"] {
            let ran = pipe(lines).await;
            assert!(!ran.talk.contains("hunter2") && !ran.talk.contains("c0de"), "{}", ran.talk);
            assert!(ran.code != 0 && ran.talk.contains("not read"), "{}", ran.talk);
        }
    }

    #[tokio::test]
    async fn help_is_data() {
        let ran = pipe("help\nhelp d\n").await;
        assert!(ran.data.starts_with("Commands:\n"), "{}", ran.data);
        assert!(ran.data.contains("--wait <SECS>"), "{}", ran.data);
    }
}
