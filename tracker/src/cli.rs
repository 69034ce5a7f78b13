//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use bytesize::ByteSize;
use clap::{Args as Arguments, Parser, Subcommand, value_parser};
use etcetera::BaseStrategy as _;

use crate::admin::{Action, Output};
use crate::config::{
    Access, Config, DEFAULT_MAX_CONNECTIONS, DEFAULT_PING_INTERVAL, DEFAULT_PING_TIMEOUT, Relaying, Stun,
};

/// The directory below the user's data that is used unless another is given.
const DATA_DIRECTORY: &str = "shoal-tracker";
/// No ping comes more often, and none has less time to be answered.
const SHORTEST_SECS: f64 = 0.05;
/// No ping comes less often, and none has more time to be answered: a day.
const LONGEST_SECS: f64 = 86_400.0;
/// An invite is good for no longer: a year.
const LONGEST_INVITE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Most people for one invite.
const MOST_USES: i64 = 100_000;

/// Shoal's tracker: knows who is there, who has which chunks of what, and who may have them
///
/// Peers join it, register files, and ask it from whom to download; the files themselves never come here. When it
/// listens it prints one line with its address and its fingerprint: the name of its key, which peers can pin by giving
/// it after the address, as in `peer --tracker HOST:8000#FINGERPRINT`.
///
/// Without a command it runs until it is interrupted. The commands are for its operator: they reach the tracker that runs
/// with the same data, as the same user.
#[derive(Debug, Parser)]
#[command(version, name = "tracker", max_term_width = 100, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    run: RunArgs,
}

/// What the program is to do.
#[derive(Debug)]
pub enum Task {
    /// To be a tracker.
    Run(Config),
    /// To do something for the operator of one.
    Admin {
        /// What.
        action: Action,
        /// Where the tracker keeps its data.
        data: PathBuf,
        /// How to print what comes of it.
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a code with which somebody can sign up
    ///
    /// It prints the tracker's address with its fingerprint, and the code: give both to whoever is to sign up. Only with
    /// `--access invite` does signing up take a code. The tracker keeps a hash of it and cannot show it again.
    Invite {
        /// How many people may sign up with it
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=MOST_USES))]
        uses: u32,

        /// How long it is good for: a number and `s`, `m`, `h` or `d`, at most a year
        #[arg(long, value_name = "TIME", default_value = "7d", value_parser = lasting)]
        expires: Duration,

        /// The name or address under which people reach the tracker, for what is printed
        ///
        /// Default: the address that it listens on, or where that is all addresses, this machine's host name.
        #[arg(long, value_name = "NAME")]
        host: Option<String>,

        #[command(flatten)]
        output: OutputArgs,

        #[command(flatten)]
        data: DataArgs,
    },
    /// List, remove or reset users
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Write all that the tracker keeps into a file: users, entries, and its key
    ///
    /// It asks the running tracker, or reads the data where none runs. Only its owner can read the file: with the key in it
    /// anybody could be this tracker, and with the hashes of passwords guess at them.
    Export {
        /// The file; one that is there is replaced
        #[arg(value_name = "FILE.json")]
        file: PathBuf,

        #[command(flatten)]
        output: OutputArgs,

        #[command(flatten)]
        data: DataArgs,
    },
    /// Begin a data directory with what `tracker export` wrote
    ///
    /// All of the file is checked before anything is written. The tracker that is started with this data then is the same
    /// to its peers, so the other one must not run any more.
    Import {
        /// The file
        #[arg(value_name = "FILE.json")]
        file: PathBuf,

        #[command(flatten)]
        output: OutputArgs,

        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// List all users: accounts, and guests who have no password
    List {
        #[command(flatten)]
        output: OutputArgs,

        #[command(flatten)]
        data: DataArgs,
    },
    /// Remove a user with its devices, entries, and all else that it has
    ///
    /// It is thrown out at once, and its name is free.
    Remove {
        /// The user
        name: String,

        #[command(flatten)]
        output: OutputArgs,

        #[command(flatten)]
        data: DataArgs,
    },
    /// Give a user a new password and print it, once
    ///
    /// For whoever forgot the password, or whose password is known to others: all devices are logged out.
    Reset {
        /// The user
        name: String,

        #[command(flatten)]
        output: OutputArgs,

        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Arguments)]
struct OutputArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Arguments)]
struct DataArgs {
    /// The directory in which the tracker keeps its data; its default is that of `tracker`
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Arguments)]
struct RunArgs {
    /// Where to listen
    ///
    /// `[::]` means all addresses, of IPv6 and IPv4. Port 0 means a free port; the line that is printed says which.
    #[arg(long, value_name = "ADDR:PORT", default_value_t = Config::new(PathBuf::new()).listen)]
    listen: SocketAddr,

    /// The directory for what is to last: the tracker's key, names and entries
    ///
    /// It is made if it is not there. A tracker that is started with the same directory again is the same tracker to
    /// its peers. Default: `shoal-tracker` below `$XDG_DATA_HOME`, which is `~/.local/share` unless set.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,

    /// How often each peer is asked whether it is there
    ///
    /// A shorter time costs traffic, a longer one keeps peers that are gone in the lists. Fractions are allowed; at
    /// least 0.05, at most 86400.
    #[arg(long, value_name = "SECS", value_parser = seconds, default_value_t = Seconds(DEFAULT_PING_INTERVAL))]
    #[arg(help_heading = "Peers that are gone")]
    ping_interval: Seconds,

    /// How long a peer may take to answer
    ///
    /// A peer that has not answered by then is gone: nobody is sent to it any more, and the others are told. Fractions
    /// are allowed; at least 0.05, at most 86400.
    #[arg(long, value_name = "SECS", value_parser = seconds, default_value_t = Seconds(DEFAULT_PING_TIMEOUT))]
    #[arg(help_heading = "Peers that are gone")]
    ping_timeout: Seconds,

    /// How many connections there may be at once
    ///
    /// More are closed at once. Each takes some 50 KiB of memory, up to 1.2 MiB while its peer asks for much and reads
    /// slowly, and one of the files that the system lets a process open.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_MAX_CONNECTIONS as u64)]
    #[arg(value_parser = value_parser!(u64).range(1..=1_000_000))]
    #[arg(help_heading = "Limits")]
    max_connections: u64,

    /// Who may join
    ///
    /// Who is a guest on an open tracker signs up to go on once accounts are asked for, and keeps name and entries.
    #[arg(long, value_name = "WHO", value_enum, default_value_t = Access::Open)]
    #[arg(help_heading = "Limits")]
    access: Access,

    /// Whether peers may ask from which address they come (STUN)
    ///
    /// It helps those behind a NAT to be found by others, needs the UDP port of the same number as the one that peers
    /// connect to, and remembers nothing. Without it no two peers meet over MRT here.
    #[arg(long, value_name = "WHETHER", value_enum, default_value_t = Stun::On)]
    #[arg(help_heading = "Peers behind a NAT")]
    stun: Stun,

    /// How much to relay between peers who find no way to each other: bytes a second in all, or `off` [default: 10MiB]
    ///
    /// It is for those of whom neither can connect to the other, by TCP or over MRT (`peer --mrt`). What passes is sealed: the
    /// tracker cannot read it. The rate is shared fairly among pairs. It needs `--stun on`.
    #[arg(long, value_name = "RATE|off", value_parser = relaying)]
    #[arg(help_heading = "Peers behind a NAT")]
    relay: Option<Relaying>,
}

impl Args {
    /// Checks what was given and fills in what was not.
    pub fn into_task(self) -> anyhow::Result<Task> {
        match self.command {
            Some(command) => command.into_task(),
            None => self.run.into_config().map(Task::Run),
        }
    }
}

impl Command {
    fn into_task(self) -> anyhow::Result<Task> {
        let (action, data, output) = match self {
            Self::Invite { uses, expires, host, output, data } => {
                (Action::Invite { uses, lasts: expires, host }, data, output.chosen())
            }
            Self::User { command: UserCommand::List { output, data } } => (Action::ListUsers, data, output.chosen()),
            Self::User { command: UserCommand::Remove { name, output, data } } => {
                (Action::RemoveUser(name), data, output.chosen())
            }
            Self::User { command: UserCommand::Reset { name, output, data } } => {
                (Action::ResetUser(name), data, output.chosen())
            }
            Self::Export { file, output, data } => (Action::Export(file), data, output.chosen()),
            Self::Import { file, output, data } => (Action::Import(file), data, output.chosen()),
        };
        Ok(Task::Admin { action, data: data_or_default(data.data)?, output })
    }
}

impl OutputArgs {
    const fn chosen(&self) -> Output {
        if self.json { Output::Json } else { Output::Text }
    }
}

impl RunArgs {
    fn into_config(self) -> anyhow::Result<Config> {
        if let (Stun::Off, Some(Relaying::At(_))) = (self.stun, self.relay) {
            anyhow::bail!("--relay needs the UDP port, which --stun off does without: leave one of the two out");
        }
        Ok(Config {
            listen: self.listen,
            data: data_or_default(self.data)?,
            ping_interval: self.ping_interval.0,
            ping_timeout: self.ping_timeout.0,
            max_connections: usize::try_from(self.max_connections)?,
            access: self.access,
            stun: self.stun,
            relay: self.relay.unwrap_or_default(),
        })
    }
}

fn data_or_default(data: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(data) = data {
        return Ok(data);
    }
    let base = etcetera::choose_base_strategy();
    let base = base.context("no home directory is known: say with --data where the tracker keeps its data")?;
    Ok(base.data_dir().join(DATA_DIRECTORY))
}

#[derive(Debug, Clone, Copy)]
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.as_secs_f64())
    }
}

fn seconds(text: &str) -> Result<Seconds, String> {
    let seconds: f64 = text.parse().map_err(|_error| "not a number of seconds".to_owned())?;
    if (SHORTEST_SECS..=LONGEST_SECS).contains(&seconds) {
        Ok(Seconds(Duration::from_secs_f64(seconds)))
    } else {
        Err(format!("not between {SHORTEST_SECS} and {LONGEST_SECS} seconds"))
    }
}

fn relaying(text: &str) -> Result<Relaying, String> {
    if text == "off" {
        return Ok(Relaying::Off);
    }
    let rate = text.trim().strip_suffix("/s").unwrap_or(text).parse::<ByteSize>();
    match rate.map(|ByteSize(bytes)| NonZeroU64::new(bytes)) {
        Ok(Some(rate)) => Ok(Relaying::At(rate)),
        Ok(None) => Err("nothing would ever pass; `off` turns the relay off".to_owned()),
        Err(_) => Err("not a rate such as 10MiB (a second), nor `off`".to_owned()),
    }
}

fn lasting(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 24 * 3600)];
    let parsed = UNITS.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*seconds).map(Duration::from_secs)
    });
    match parsed {
        Some(lasts) if !lasts.is_zero() && lasts <= LONGEST_INVITE => Ok(lasts),
        Some(_) => Err("not between 1s and 365d".to_owned()),
        None => Err("not a time such as 30m, 12h or 7d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_in_order() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_is_not_given_has_its_default() {
        let task = Args::parse_from(["tracker", "--data", "/x"]).into_task().unwrap();
        let Task::Run(config) = task else { panic!("{task:?}") };
        assert_eq!(config.listen, "[::]:8000".parse().unwrap());
        assert_eq!((config.ping_interval, config.ping_timeout), (DEFAULT_PING_INTERVAL, DEFAULT_PING_TIMEOUT));
        assert_eq!((config.max_connections, config.data), (DEFAULT_MAX_CONNECTIONS, PathBuf::from("/x")));
    }

    #[test]
    fn stun_is_answered_unless_it_is_turned_off() {
        let stun = |more: &[&str]| {
            let args = Args::try_parse_from([&["tracker", "--data", "/x"], more].concat());
            args.ok().map(|args| args.run.stun)
        };
        assert_eq!(
            (stun(&[]), stun(&["--stun", "off"]), stun(&["--stun=no"])),
            (Some(Stun::On), Some(Stun::Off), None)
        );
    }

    #[test]
    fn the_relay_has_a_rate_or_is_off() {
        let relay = |more: &[&str]| {
            let args = Args::try_parse_from([&["tracker", "--data", "/x"], more].concat());
            let Task::Run(config) = args.ok()?.into_task().ok()? else { return None };
            Some(config.relay)
        };
        let at = |bytes| Some(Relaying::At(NonZeroU64::new(bytes).unwrap()));
        assert_eq!((relay(&[]), at(10 << 20)), (Some(Relaying::default()), Some(Relaying::default())));
        assert_eq!((relay(&["--relay", "off"]), relay(&["--relay=1.5MiB/s"])), (Some(Relaying::Off), at(3 << 19)));
        for rate in ["0", "on", "-1", "fast", ""] {
            assert_eq!(relay(&["--relay", rate]), None, "{rate}");
        }
        assert_eq!(relay(&["--relay", "1MiB", "--stun", "off"]), None, "it would have no effect");
    }

    #[test]
    fn times_may_have_fractions_but_not_be_absurd() {
        let interval = |text: &str| {
            let args = Args::try_parse_from(["tracker", "--data", "/x", &format!("--ping-interval={text}")]);
            args.ok().map(|args| args.run.ping_interval.0)
        };
        assert_eq!(interval("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(interval("86400"), Some(Duration::from_secs(86400)));
        for text in ["0", "-1", "nan", "inf", "1e9", "x", ""] {
            assert_eq!(interval(text), None, "{text}");
        }
    }

    #[test]
    fn an_invite_is_for_one_and_a_week_unless_more_is_said() {
        let invite = |more: &[&str]| {
            let args = Args::try_parse_from([&["tracker", "invite", "--data", "/x"], more].concat());
            match args.ok()?.into_task().unwrap() {
                Task::Admin { action: Action::Invite { uses, lasts, .. }, .. } => Some((uses, lasts.as_secs())),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(invite(&[]), Some((1, 7 * 86_400)));
        assert_eq!(invite(&["--uses=30", "--expires=12h"]), Some((30, 12 * 3600)));
        for more in ["--uses=0", "--expires=0s", "--expires=366d", "--expires=7", "--expires=d", "--expires=-1d"] {
            assert_eq!(invite(&[more]), None, "{more}");
        }
    }

    #[test]
    fn what_is_for_running_is_not_taken_with_a_command() {
        let parsed = Args::try_parse_from(["tracker", "--access", "invite", "user", "list"]);
        assert!(parsed.is_err(), "{parsed:?}");
    }
}
