//! Parsing: a line, or the arguments of the program, into commands.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use common::name::UserName;
use common::wire::tracker::{Answer, AudienceChange, SortBy};

use super::account::{AccountJob, PasswordFrom, Wish};
use super::dialect::{self, Dialect};
use crate::cli::{self, DeviceAction, ListingArgs, NotACommand, Order, Verb, WaitTime};
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
    /// A command that takes a password.
    Account(AccountJob),
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

/// What a verb stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Commands.
    Run(Job),
    /// A command that takes a password.
    Account(AccountJob),
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
    /// Which words there are.
    pub(crate) dialect: Dialect,
}

/// Reads one line.
pub(crate) fn parse_line(line: &str, surroundings: &Surroundings) -> Result<Asked, Failure> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(Asked::Nothing);
    }
    if surroundings.dialect == Dialect::Mrt {
        if let Some(plain) = dialect::translated(line) {
            let plainly = Surroundings { dialect: Dialect::Tracker, ..surroundings.clone() };
            return parse_line(&plain, &plainly).map_err(|failure| dialect::explained(line, failure));
        }
        if matches!(line, "help" | "?") {
            return Ok(Asked::Show(dialect::help()));
        }
    }
    if let Some(words) = talk(line) {
        return parse_words(&words, surroundings);
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
        Ok(line) => Ok(match todo(line.verb, line.json, surroundings)? {
            Todo::Run(job) => Asked::Run(job),
            Todo::Account(job) => Asked::Account(job),
        }),
        Err(NotACommand::Show(text)) => Ok(Asked::Show(text)),
        Err(NotACommand::Wrong(failure)) => Err(*failure),
    }
}

fn bare(word: &str) -> Option<Bare> {
    let name = cli::name_of(word)?;
    [Bare::Register, Bare::Download, Bare::Loc].into_iter().find(|bare| bare.word() == name)
}

/// The words of a line that says something, where it does: what is said is taken as it was typed, apostrophes and all,
/// unless the whole of it stands in quotes.
fn talk(line: &str) -> Option<Vec<String>> {
    let (first, rest) = line.split_once(char::is_whitespace)?;
    let (rest, is_option) = (rest.trim(), rest.trim_start().starts_with('-'));
    let as_typed = |text: &str| match shlex::split(text) {
        Some(words) if words.len() == 1 && text.starts_with(['"', '\'']) => words.into_iter().collect(),
        _ => text.to_owned(),
    };
    let mut words = vec![first.to_owned(), "--".to_owned()];
    match cli::name_of(first)?.as_str() {
        "chat" if !is_option => words.push(as_typed(rest)),
        "msg" if !is_option => {
            let (to, text) = rest.split_once(char::is_whitespace)?;
            words.extend([to.to_owned(), as_typed(text.trim())]);
        }
        _ => return None,
    }
    Some(words)
}

/// What a verb stands for.
pub(crate) fn todo(verb: Verb, json: bool, surroundings: &Surroundings) -> Result<Todo, Failure> {
    match verb {
        Verb::SignUp { name, password_stdin, extra } => account(Wish::SignUp(name), json, password_stdin, &extra),
        Verb::LogIn { name, password_stdin, extra } => account(Wish::LogIn(name), json, password_stdin, &extra),
        Verb::ChangePassword { password_stdin, extra } => account(Wish::ChangePassword, json, password_stdin, &extra),
        verb => {
            let stay = match &verb {
                Verb::Register { .. } | Verb::Send { .. } | Verb::SendFile { .. } => Stay::Seed,
                Verb::Download { seed: true, .. } | Verb::Watch { path: Some(_) } => Stay::Seed,
                _ => Stay::Leave,
            };
            Ok(Todo::Run(Job { commands: commands(verb, surroundings)?, json, stay }))
        }
    }
}

/// A word too many may well be a password: it is not repeated.
fn account(wish: Wish, json: bool, password_stdin: bool, extra: &[String]) -> Result<Todo, Failure> {
    if !extra.is_empty() {
        return Err(Failure::new(
            FailureKind::Usage,
            "there is a word too many; a password is never written in a command",
        )
        .with_hint("it is asked for, or read from the input with --password-stdin"));
    }
    let password = if password_stdin { PasswordFrom::Input } else { PasswordFrom::Terminal };
    Ok(Todo::Account(AccountJob { wish, json, password }))
}

/// The commands that a verb stands for.
fn commands(verb: Verb, surroundings: &Surroundings) -> Result<Vec<Command>, Failure> {
    let path = |path: &Path| absolute(path, surroundings.home.as_deref());
    let command = match verb {
        Verb::Register { paths, users } => {
            let users = users.map(|users| names(&users));
            let register = |given: &PathBuf| Ok(Command::Register { path: path(given)?, users: users.clone() });
            return paths.iter().map(register).collect();
        }
        Verb::Hash { paths } => return paths.iter().map(|given| Ok(Command::Hash { path: path(given)? })).collect(),
        Verb::Share { entry, with, all } => {
            let change = if all { AudienceChange::Everyone } else { AudienceChange::Add(names(&with)) };
            Command::Share { entry, change }
        }
        Verb::Unshare { entry, with } => {
            let change = if with.is_empty() { AudienceChange::Nobody } else { AudienceChange::Remove(names(&with)) };
            Command::Share { entry, change }
        }
        Verb::Download { entry, only, no_sync, output, wait, seed: _ } => {
            let wait_secs = match wait {
                Some(WaitTime::Secs(secs)) => Some(secs),
                Some(WaitTime::Forever) => None,
                None => surroundings.wait,
            };
            let output = output.as_deref().map(path).transpose()?;
            let follow = if no_sync { Follow::No } else { Follow::Yes };
            Command::Download { entry, only, follow, output, wait_secs }
        }
        Verb::List { listing: which } => Command::List(listing(which)),
        Verb::Search { text, listing: which } => Command::Search { text: text.join(" "), listing: listing(which) },
        Verb::Versions { entry } => Command::Versions { entry },
        Verb::Loc { entry } => Command::Loc { entry },
        Verb::Deregister { entry } => Command::Deregister { entry },
        Verb::Subscribe { entry } => Command::Subscribe { entry },
        Verb::Unsubscribe { entry } => Command::Unsubscribe { entry },
        Verb::Synced => Command::Synced,
        Verb::Watch { path: given } => Command::Watch { path: given.as_deref().map(path).transpose()? },
        Verb::Unwatch { path: given } => Command::Unwatch { path: path(&given)? },
        Verb::Connect { place } => Command::Connect { address: place_of(&place)? },
        Verb::Invite { place } => Command::Invite { address: place_of(&place)? },
        Verb::Neighbours => Command::Neighbours,
        Verb::Users => Command::Users,
        Verb::Ping { target } => Command::Ping { target: ping_target(&target) },
        Verb::Status => Command::Status,
        Verb::Cancel { entry, all: _ } => Command::Cancel { entry },
        Verb::Chat { text } if text.is_empty() => Command::History,
        Verb::Chat { text } => Command::Chat { text: text.join(" ") },
        Verb::History => Command::History,
        Verb::Message { to, text } => Command::Message { to: to.to_string(), text: text.join(" ") },
        Verb::Send { path: given, to, all: _ } | Verb::SendFile { path: given, to, all: _ } => {
            Command::Send { path: path(&given)?, to: (!to.is_empty()).then(|| names(&to)) }
        }
        Verb::Accept { offer } => Command::Answer { offer, answer: Answer::Accept },
        Verb::Refuse { offer } => Command::Answer { offer, answer: Answer::Refuse },
        Verb::Offers => Command::Offers,
        Verb::LogOut => Command::LogOut,
        Verb::WhoAmI => Command::WhoAmI,
        Verb::Devices { action: None } => Command::Devices,
        Verb::Devices { action: Some(DeviceAction::Revoke { device }) } => Command::Revoke { device },
        Verb::Stop => Command::Stop,
        Verb::SignUp { .. } | Verb::LogIn { .. } | Verb::ChangePassword { .. } => {
            unreachable!("what takes a password is not a command yet")
        }
    };
    Ok(vec![command])
}

fn listing(which: ListingArgs) -> Listing {
    let ListingArgs { mine, by, limit } = which;
    let by = match by {
        Order::Name => SortBy::Name,
        Order::Size => SortBy::Size,
        Order::Date => SortBy::Date,
        Order::Seeders => SortBy::Seeders,
    };
    Listing { mine, by, limit }
}

fn names(users: &[UserName]) -> Vec<String> {
    users.iter().map(ToString::to_string).collect()
}

/// `ADDR PORT` as `ADDR:PORT`; one word as it is.
fn ping_target(words: &[String]) -> String {
    match words {
        [address, port] if address.contains(':') && !address.starts_with('[') => format!("[{address}]:{port}"),
        _ => words.join(":"),
    }
}

/// `ADDR PORT`, `ADDR:PORT`, or `PORT` of this machine.
fn place_of(words: &[String]) -> Result<SocketAddr, Failure> {
    let place = match words {
        [port] if port.parse::<u16>().is_ok() => format!("127.0.0.1:{port}"),
        [host, port] if host == "localhost" => format!("127.0.0.1:{port}"),
        words => ping_target(words),
    };
    place.parse().ok().filter(|address: &SocketAddr| address.port() != 0).ok_or_else(|| {
        Failure::new(FailureKind::Usage, format!("`{}` is not ADDR PORT", words.join(" ")))
            .with_hint("an address and a port of a node, as it prints them: 192.0.2.7 4000; or a port of this machine")
    })
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
        parse_line(line, &Surroundings { wait: Some(30), home: Some("/home/ann".into()), dialect: Dialect::Tracker })
    }

    fn command(line: &str) -> Command {
        match parse(line) {
            Ok(Asked::Run(job)) if job.commands.len() == 1 => job.commands[0].clone(),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn download(entry: &str, output: Option<&str>, wait_secs: Option<u64>) -> Command {
        let output = output.map(PathBuf::from);
        Command::Download { entry: entry.to_owned(), only: Vec::new(), follow: Follow::Yes, output, wait_secs }
    }

    fn register(path: &str) -> Command {
        Command::Register { path: path.into(), users: None }
    }

    fn search(text: &str) -> Command {
        Command::Search { text: text.to_owned(), listing: Listing::default() }
    }

    fn share(change: AudienceChange) -> Command {
        Command::Share { entry: "a".to_owned(), change }
    }

    fn people(users: &[&str]) -> Vec<String> {
        users.iter().map(|&user| user.to_owned()).collect()
    }

    #[test]
    fn lines_become_commands() {
        for (line, expected) in [
            ("lst", Command::List(Listing::default())),
            ("list", Command::List(Listing::default())),
            ("OP_LST", Command::List(Listing::default())),
            ("r /a/b", register("/a/b")),
            ("OP_R '/a/my file'", register("/a/my file")),
            ("register ~/x", register("/home/ann/x")),
            ("d doug.png", download("doug.png", None, Some(30))),
            ("download ann/doug.png --wait 5", download("ann/doug.png", None, Some(5))),
            ("d -o /tmp/x \"my file\" --wait forever", download("my file", Some("/tmp/x"), None)),
            ("d my\\ file", download("my file", None, Some(30))),
            ("P doug.png", download("doug.png", None, Some(30))),
            ("loc a", Command::Loc { entry: "a".to_owned() }),
            ("OP_LOC a", Command::Loc { entry: "a".to_owned() }),
            ("search two words", search("two words")),
            ("S *.png", search("*.png")),
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
    fn lines_about_people_and_versions_become_commands() {
        let text = |text: &str| text.to_owned();
        let path = || PathBuf::from("/a/b");
        let listing = Listing { mine: true, by: SortBy::Size, limit: Some(3) };
        let answer = |offer: Option<&str>, answer| Command::Answer { offer: offer.map(text), answer };
        for (line, expected) in [
            ("r /a/b --for bob,eve", Command::Register { path: path(), users: Some(people(&["bob", "eve"])) }),
            ("lst --mine --by size --limit 3", Command::List(listing)),
            ("search x y --by size --mine --limit 3", Command::Search { text: text("x y"), listing }),
            ("versions a", Command::Versions { entry: text("a") }),
            ("share a --with bob,eve", share(AudienceChange::Add(people(&["bob", "eve"])))),
            ("share a --all", share(AudienceChange::Everyone)),
            ("unshare a --with bob", share(AudienceChange::Remove(people(&["bob"])))),
            ("unshare a", share(AudienceChange::Nobody)),
            (
                "d a@2 --no-sync --only 'x/*' --only y",
                Command::Download {
                    entry: text("a@2"),
                    only: people(&["x/*", "y"]),
                    follow: Follow::No,
                    output: None,
                    wait_secs: Some(30),
                },
            ),
            ("sub a", Command::Subscribe { entry: text("a") }),
            ("unsub a", Command::Unsubscribe { entry: text("a") }),
            ("synced", Command::Synced),
            ("watch", Command::Watch { path: None }),
            ("watch /a/b", Command::Watch { path: Some(path()) }),
            ("unwatch /a/b", Command::Unwatch { path: path() }),
            ("logout", Command::LogOut),
            ("whoami", Command::WhoAmI),
            ("devices", Command::Devices),
            ("devices revoke k5zq", Command::Revoke { device: text("k5zq") }),
            ("chat", Command::History),
            ("history", Command::History),
            ("get_online_users", Command::Users),
            ("send /a/b bob eve", Command::Send { path: path(), to: Some(people(&["bob", "eve"])) }),
            ("send /a/b --all", Command::Send { path: path(), to: None }),
            ("sendfile /a/b", Command::Send { path: path(), to: None }),
            ("sendfile /a/b bob", Command::Send { path: path(), to: Some(people(&["bob"])) }),
            ("accept", answer(None, Answer::Accept)),
            ("accept 3", answer(Some("3"), Answer::Accept)),
            ("refuse ann", answer(Some("ann"), Answer::Refuse)),
            ("offers", Command::Offers),
            ("sent", Command::Offers),
        ] {
            assert_eq!(command(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_said_is_taken_as_it_was_typed() {
        for (line, said) in [
            ("chat hello", "hello"),
            ("chat  it's  Bob's #3", "it's  Bob's #3"),
            ("broadcast \"hello  there\"", "hello  there"),
            ("CHAT \"a\" and \"b\"", "\"a\" and \"b\""),
            ("T a \\ b", "a \\ b"),
            ("chat -- -5 degrees", "-5 degrees"),
        ] {
            assert_eq!(command(line), Command::Chat { text: said.to_owned() }, "{line}");
        }
        for (line, said) in [("msg bob it's late", "it's late"), ("tell bob 'two  words'", "two  words")] {
            assert_eq!(command(line), Command::Message { to: "bob".to_owned(), text: said.to_owned() }, "{line}");
        }
        let Ok(Asked::Run(job)) = parse("chat --json hello") else { panic!() };
        assert!(job.json);
    }

    #[test]
    fn what_takes_a_password_says_where_it_comes_from() {
        let ann = || UserName::new("ann").unwrap();
        for (line, wish, password) in [
            ("signup ann", Wish::SignUp(ann()), PasswordFrom::Terminal),
            ("login ann", Wish::LogIn(ann()), PasswordFrom::Terminal),
            ("login ann --password-stdin", Wish::LogIn(ann()), PasswordFrom::Input),
            ("passwd", Wish::ChangePassword, PasswordFrom::Terminal),
        ] {
            assert_eq!(parse(line), Ok(Asked::Account(AccountJob { wish, json: false, password })), "{line}");
        }
        let failure = parse("login ann hunter2").unwrap_err();
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
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
            ("msg bob", "TEXT is missing", "usage: msg <USER> <TEXT>..."),
            ("send /a", "USER is missing", "usage: send <PATH> <USER>..."),
            ("share a", "--with <USER,USER> is missing", "usage: share --with <USER,USER> <NAME>"),
            ("share a --all --with bob", "`--all` and `--with <USER,USER>` do not go together", ""),
            (
                "lst --by colour",
                "`colour` will not do for --by <ORDER>",
                "one of these will: name, size, date, seeders",
            ),
            ("frob", "there is no command `frob`", "`help` lists the commands"),
            ("UNREGISTER x", "there is no command `UNREGISTER`", ""),
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
