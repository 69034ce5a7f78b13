//! Parsing: a line, or the arguments of the program, into commands.

use std::path::{Path, PathBuf};

use crate::cli::{self, NotACommand, Verb, WaitTime};
use crate::command::{Command, Failure, FailureKind, Follow, Listing};

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nothing: a blank line or a comment.
    Nothing,
    /// To leave.
    Quit,
    /// Text that is there already: help.
    Show(String),
    /// A command without the one word it needs, to be asked for at a prompt.
    Incomplete(Bare),
    /// Commands.
    Run(Job),
}

/// A command that was given without its only word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bare {
    /// `r`
    Register,
    /// `d`
    Download,
    /// `loc`
    Loc,
}

impl Bare {
    /// The command's own word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Register => "r",
            Self::Download => "d",
            Self::Loc => "loc",
        }
    }
}

/// What is to be done, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// At least one.
    pub(crate) commands: Vec<Command>,
    /// Whether the results are wanted as JSON.
    pub(crate) json: bool,
    /// Whether a one-shot stays and seeds afterwards.
    pub(crate) stay: Stay,
}

/// What a one-shot does when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stay {
    /// It leaves.
    Leave,
    /// It seeds until Ctrl-C, unless another process runs on this DIR.
    Seed,
}

/// What words mean where they were written.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// How long `d` waits where it does not say.
    pub(crate) wait: Option<u64>,
    /// What `~` stands for, where the shell did not see to it.
    pub(crate) home: Option<PathBuf>,
}

/// Reads one line.
pub(crate) fn parse_line(line: &str, surroundings: &Surroundings) -> Result<Asked, Failure> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(Asked::Nothing);
    }
    let words = shlex::split(line).ok_or_else(|| {
        Failure::new(FailureKind::Usage, "a quote or a backslash at the end of the line has no end")
            .with_hint("words are split as in sh: \"my holiday.png\" or my\\ holiday.png")
    })?;
    let first = words.first().map(String::as_str).unwrap_or_default();
    match (first, &words[1.min(words.len())..]) {
        ("", []) => Ok(Asked::Nothing),
        ("q" | "Q" | "exit" | "quit" | "OP_Q", []) => Ok(Asked::Quit),
        ("q" | "Q" | "exit" | "quit" | "OP_Q", [word, ..]) => {
            Err(Failure::new(FailureKind::Usage, format!("`{word}` is one word too many: `{first}` leaves")))
        }
        ("help" | "?", []) => Ok(Asked::Show(help())),
        ("help" | "?", [word, ..]) => help_of(word).map(Asked::Show),
        ("serve" | "demo", _) => {
            Err(Failure::new(FailureKind::Usage, format!("`{first}` is for the command line: peer {first}"))
                .with_hint("`help` lists the commands of the prompt"))
        }
        (word, []) => match bare(word) {
            Some(bare) => Ok(Asked::Incomplete(bare)),
            None => parse_words(&words, surroundings),
        },
        _ => parse_words(&words, surroundings),
    }
}

fn parse_words(words: &[String], surroundings: &Surroundings) -> Result<Asked, Failure> {
    match cli::parse_words(words) {
        Ok(line) => Ok(Asked::Run(job(line.verb, line.json, surroundings)?)),
        Err(NotACommand::Show(text)) => Ok(Asked::Show(text)),
        Err(NotACommand::Wrong(failure)) => Err(*failure),
    }
}

fn bare(word: &str) -> Option<Bare> {
    let name = cli::name_of(word)?;
    [Bare::Register, Bare::Download, Bare::Loc].into_iter().find(|bare| bare.word() == name)
}

/// The commands that a verb stands for.
pub(crate) fn job(verb: Verb, json: bool, surroundings: &Surroundings) -> Result<Job, Failure> {
    let mut stay = Stay::Leave;
    let path = |path: &Path| absolute(path, surroundings.home.as_deref());
    let commands = match verb {
        Verb::Register { paths } => {
            stay = Stay::Seed;
            let register = |given: &PathBuf| Ok(Command::Register { path: path(given)?, users: None });
            paths.iter().map(register).collect::<Result<_, Failure>>()?
        }
        Verb::Hash { paths } => {
            let hash = |given: &PathBuf| Ok(Command::Hash { path: path(given)? });
            paths.iter().map(hash).collect::<Result<_, Failure>>()?
        }
        Verb::Download { entry, output, wait, seed } => {
            if seed {
                stay = Stay::Seed;
            }
            let wait_secs = match wait {
                Some(WaitTime::Secs(secs)) => Some(secs),
                Some(WaitTime::Forever) => None,
                None => surroundings.wait,
            };
            let output = output.as_deref().map(path).transpose()?;
            vec![Command::Download { entry, only: Vec::new(), follow: Follow::Yes, output, wait_secs }]
        }
        Verb::List => vec![Command::List(Listing::default())],
        Verb::Search { text } => vec![Command::Search { text: text.join(" "), listing: Listing::default() }],
        Verb::Loc { entry } => vec![Command::Loc { entry }],
        Verb::Deregister { entry } => vec![Command::Deregister { entry }],
        Verb::Users => vec![Command::Users],
        Verb::Ping { target } => vec![Command::Ping { target: ping_target(&target) }],
        Verb::Status => vec![Command::Status],
        Verb::Cancel { entry, all: _ } => vec![Command::Cancel { entry }],
        Verb::Stop => vec![Command::Stop],
    };
    Ok(Job { commands, json, stay })
}

/// `ADDR PORT` as `ADDR:PORT`; one word as it is.
fn ping_target(words: &[String]) -> String {
    match words {
        [address, port] if address.contains(':') && !address.starts_with('[') => format!("[{address}]:{port}"),
        _ => words.join(":"),
    }
}

/// The absolute path, with `~/` for home; it must be UTF-8, as it travels as JSON.
pub(super) fn absolute(path: &Path, home: Option<&Path>) -> Result<PathBuf, Failure> {
    let at_home = path.strip_prefix("~").ok().zip(home).map(|(rest, home)| home.join(rest));
    // A file that is really called `~` goes before.
    let path = at_home.filter(|_| !path.exists()).unwrap_or_else(|| path.to_path_buf());
    let absolute = std::path::absolute(&path)
        .map_err(|error| Failure::new(FailureKind::Usage, format!("`{}` is not a path: {error}", path.display())))?;
    if absolute.to_str().is_none() {
        let text = format!("the path {} is not valid UTF-8, which it must be here", absolute.display());
        return Err(Failure::new(FailureKind::Usage, text).with_hint("rename the file or its folder"));
    }
    Ok(absolute)
}

/// The commands of the prompt, a line each.
fn help() -> String {
    let mut lines = vec!["Commands:".to_owned()];
    let own = [("q, exit, quit", "Leave"), ("help [COMMAND]", "This list, or all about a command")];
    let commands = cli::commands().into_iter().map(|(words, about)| (words.join(", "), about));
    let all: Vec<(String, String)> =
        commands.chain(own.map(|(words, about)| (words.to_owned(), about.to_owned()))).collect();
    let width = all.iter().map(|(words, _about)| words.len()).max().unwrap_or(0);
    lines.extend(all.iter().map(|(words, about)| format!("  {words:width$}  {about}")));
    lines.push("Words are split as in sh: a name with spaces goes in quotes. `help d` says all about d.".to_owned());
    lines.join("\n")
}

fn help_of(word: &str) -> Result<String, Failure> {
    cli::help_of(word).map(|text| text.trim_end().to_owned()).ok_or_else(|| {
        Failure::new(FailureKind::Usage, format!("there is no command `{word}`")).with_hint("`help` lists the commands")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked, Failure> {
        parse_line(line, &Surroundings { wait: Some(30), home: Some("/home/ann".into()) })
    }

    fn command(line: &str) -> Command {
        match parse(line) {
            Ok(Asked::Run(job)) if job.commands.len() == 1 => job.commands[0].clone(),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn download(entry: &str, output: Option<&str>, wait_secs: Option<u64>) -> Command {
        let (only, follow, output) = (Vec::new(), Follow::Yes, output.map(PathBuf::from));
        Command::Download { entry: entry.to_owned(), only, follow, output, wait_secs }
    }

    #[test]
    fn lines_become_commands() {
        for (line, expected) in [
            ("lst", Command::List(Listing::default())),
            ("list", Command::List(Listing::default())),
            ("OP_LST", Command::List(Listing::default())),
            ("r /a/b", Command::Register { path: "/a/b".into(), users: None }),
            ("OP_R '/a/my file'", Command::Register { path: "/a/my file".into(), users: None }),
            ("register ~/x", Command::Register { path: "/home/ann/x".into(), users: None }),
            ("d doug.png", download("doug.png", None, Some(30))),
            ("download ann/doug.png --wait 5", download("ann/doug.png", None, Some(5))),
            ("d -o /tmp/x \"my file\" --wait forever", download("my file", Some("/tmp/x"), None)),
            ("d my\\ file", download("my file", None, Some(30))),
            ("P doug.png", download("doug.png", None, Some(30))),
            ("loc a", Command::Loc { entry: "a".to_owned() }),
            ("OP_LOC a", Command::Loc { entry: "a".to_owned() }),
            ("search two words", Command::Search { text: "two words".to_owned(), listing: Listing::default() }),
            ("S *.png", Command::Search { text: "*.png".to_owned(), listing: Listing::default() }),
            ("dereg a", Command::Deregister { entry: "a".to_owned() }),
            ("users", Command::Users),
            ("GETPEERS", Command::Users),
            ("ping ann", Command::Ping { target: "ann".to_owned() }),
            ("ping 10.0.0.7 4000", Command::Ping { target: "10.0.0.7:4000".to_owned() }),
            ("ping ::1 4000", Command::Ping { target: "[::1]:4000".to_owned() }),
            ("status", Command::Status),
            ("hash /a", Command::Hash { path: "/a".into() }),
            ("cancel a", Command::Cancel { entry: Some("a".to_owned()) }),
            ("cancel --all", Command::Cancel { entry: None }),
            ("stop", Command::Stop),
        ] {
            assert_eq!(command(line), expected, "{line}");
        }
    }

    #[test]
    fn some_lines_ask_for_something_else() {
        for line in ["", "   ", "# a comment", "\t"] {
            assert_eq!(parse(line), Ok(Asked::Nothing), "{line:?}");
        }
        for line in ["q", "Q", "exit", "quit", " q "] {
            assert_eq!(parse(line), Ok(Asked::Quit), "{line:?}");
        }
        for (line, bare) in [
            ("r", Bare::Register),
            ("register", Bare::Register),
            ("d", Bare::Download),
            ("OP_D", Bare::Download),
            ("loc", Bare::Loc),
        ] {
            assert_eq!(parse(line), Ok(Asked::Incomplete(bare)), "{line}");
        }
    }

    #[test]
    fn several_files_and_json_in_one_line() {
        let Ok(Asked::Run(job)) = parse("r --json /a /b") else { panic!() };
        assert_eq!((job.commands.len(), job.json, job.stay), (2, true, Stay::Seed));
        let Ok(Asked::Run(job)) = parse("lst --json") else { panic!() };
        assert_eq!((job.json, job.stay), (true, Stay::Leave));
    }

    #[test]
    fn wrong_lines_are_told_with_what_to_do() {
        for (line, text, hint) in [
            ("lits", "there is no command `lits`", "did you mean `lst`? `help` lists the commands"),
            ("LST", "there is no command `LST`", "did you mean `lst`? `help` lists the commands"),
            ("xyzzy", "there is no command `xyzzy`", "`help` lists the commands"),
            ("R a", "there is no command `R`", "`r` registers a file, `d` downloads one; `help` lists the commands"),
            (
                "d my file",
                "`file` is one word too many",
                "a name with spaces goes in quotes, such as \"my holiday.png\"",
            ),
            ("d --fast a", "there is no option `--fast` here", "usage: d [OPTIONS] <NAME>"),
            ("d a --wiat 3", "there is no option `--wiat` here", "did you mean `--wait`?"),
            ("dereg", "NAME is missing", "usage: dereg <NAME>"),
            ("d a --wait soon", "`soon` will not do for --wait <SECS>: not a number of seconds, nor \"forever\"", ""),
            ("d 'a", "a quote or a backslash at the end of the line has no end", ""),
            ("serve", "`serve` is for the command line: peer serve", "`help` lists the commands of the prompt"),
            ("help nothing", "there is no command `nothing`", "`help` lists the commands"),
            ("q now", "`now` is one word too many: `q` leaves", ""),
        ] {
            let failure = parse(line).unwrap_err();
            assert_eq!((failure.kind, failure.text.as_str()), (FailureKind::Usage, text), "{line}");
            if !hint.is_empty() {
                assert_eq!(failure.hint.as_deref(), Some(hint), "{line}");
            }
        }
    }

    #[test]
    fn help_is_there_for_every_command() {
        let Ok(Asked::Show(help)) = parse("help") else { panic!() };
        for (words, _about) in cli::commands() {
            assert!(help.contains(&words.join(", ")), "{words:?}");
            let Ok(Asked::Show(help)) = parse(&format!("help {}", words[0])) else { panic!() };
            assert!(help.contains("Usage:"), "{help}");
        }
        let Ok(Asked::Show(help)) = parse("d --help") else { panic!() };
        assert!(help.contains("--wait <SECS>"), "{help}");
    }

    #[test]
    fn relative_paths_are_made_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(command("r x.png"), Command::Register { path: here.join("x.png"), users: None });
        let not_text = std::os::unix::ffi::OsStrExt::from_bytes(b"/a/\xff");
        let failure = absolute(Path::new::<std::ffi::OsStr>(not_text), None).unwrap_err();
        assert!(failure.text.contains("not valid UTF-8"), "{failure}");
    }
}
