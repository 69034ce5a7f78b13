//! The command line: raw arguments and the environment, which nobody else reads, for
//! [`Config`](crate::config::Config), and what to do.

mod environment;
mod explain;
mod units;
mod verb;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use common::name::UserName;
use common::secret::Secret;

pub(crate) use self::environment::Environment;
pub(crate) use self::explain::{NotACommand, Source, explain};
pub(crate) use self::units::{WaitTime, parse_size};
use self::units::{parse_advertise, parse_listen, parse_rate};
pub(crate) use self::verb::{DEFAULT_WAIT_SECS, DeviceAction, ListingArgs, Order, Verb};
use crate::app::TrackerAddress;
use crate::node::StunServer;

/// Smallest and largest number of seeders in the demo.
const DEMO_SEEDERS: std::ops::RangeInclusive<i64> = 1..=16;

/// Share files with the others on a tracker
///
/// Without COMMAND: a prompt, or, with input from a pipe, commands a line each. `peer demo` shows the whole thing on this
/// machine alone.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "peer",
    version,
    args_override_self = true,
    subcommand_value_name = "COMMAND",
    subcommand_help_heading = "Commands",
    disable_help_subcommand = false,
    max_term_width = 120,
    after_long_help = AFTER_HELP
)]
pub(crate) struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub(crate) options: Options,
    /// What to do.
    #[command(subcommand)]
    pub(crate) action: Option<CliVerb>,
}

const AFTER_HELP: &str = "\
Examples:
  peer demo                            see it work, on this machine alone
  peer --tracker lab.example.org       a prompt: `r doug.png` registers, `d doug.png` downloads
  peer r doug.png                      register a file and seed it until Ctrl-C
  peer d doug.png -o pictures/         download it
  peer lst --json | jq '.entries'      what there is, for programs
  printf 'r a.csv\\nr b.csv\\n' | peer   commands from a pipe

Exit codes:
  0 done, 1 failed, 2 not a command, 3 nobody has what is missing, 4 no tracker, 5 log in first, 130 cancelled";

/// What holds for every command.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// The tracker [default: the one last used with this DIR, else localhost:8000]
    ///
    /// With a fingerprint, only the tracker with that key will do; without one, the key of the first use is remembered.
    #[arg(long, global = true, value_name = "HOST[:PORT][#FINGERPRINT]", help_heading = "Network")]
    pub(crate) tracker: Option<TrackerAddress>,

    /// The name others see: 1 to 32 of a-z, 0-9, '.', '_' and '-' [default: the login name]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Network")]
    pub(crate) name: Option<UserName>,

    /// Where this peer keeps its key, its settings and what it downloads [default: $XDG_DATA_HOME/shoal/NAME]
    ///
    /// One peer runs on a DIR at a time; further commands on the same DIR act through it.
    #[arg(long, global = true, value_name = "DIR", help_heading = "Network")]
    pub(crate) dir: Option<PathBuf>,

    /// Where to accept other peers; a port alone means all addresses [default: all addresses, a free port]
    #[arg(long, global = true, value_name = "ADDR:PORT", value_parser = parse_listen, help_heading = "Network")]
    pub(crate) listen: Option<SocketAddr>,

    /// Where others reach this peer from anywhere, a forwarded port for instance; may be given several times [default:
    /// where the tracker sees it]
    #[arg(long, global = true, value_name = "ADDR:PORT", value_parser = parse_advertise, help_heading = "Network")]
    pub(crate) advertise: Vec<SocketAddr>,

    /// Serve over MRT (UDP) too, to those who cannot reach this peer by TCP [default: serve over TCP alone]
    ///
    /// For a peer behind a router: the tracker tells both where the other is, and relays between them if it must. To
    /// download that way needs no option.
    #[arg(long, global = true, help_heading = "Network")]
    pub(crate) mrt: bool,

    /// Send at most so many bytes of files a second, in all: 25MiB [default: no limit]
    #[arg(long, global = true, value_name = "RATE", value_parser = parse_rate, help_heading = "Network")]
    pub(crate) limit_up: Option<NonZeroU64>,

    /// Receive at most so many bytes of files a second, in all: 25MiB [default: no limit]
    #[arg(long, global = true, value_name = "RATE", value_parser = parse_rate, help_heading = "Network")]
    pub(crate) limit_down: Option<NonZeroU64>,

    /// Accept whatever these users send, without asking; may be given several times [default: ask]
    #[arg(long, global = true, value_name = "USER,USER", value_delimiter = ',', help_heading = "Network")]
    pub(crate) accept_from: Vec<UserName>,

    /// Accept whatever anybody sends, without asking, until the disk is full [default: ask]
    #[arg(long, global = true, conflicts_with = "accept_from", help_heading = "Network")]
    pub(crate) accept_all: bool,

    /// Print lists and results as JSON, one line each [default: text]
    ///
    /// Chunks count from 0 there, from 1 in text. A failure is an object with `failure` in it.
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) json: bool,

    /// Say more: each chunk as it comes; twice: what the program decides, too [default: results and news]
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
}

/// What the program can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum CliVerb {
    /// A command that the prompt knows too.
    #[command(flatten)]
    Verb(Verb),

    /// Seed and answer the other commands of this DIR, without a prompt, until SIGTERM or Ctrl-C
    #[command(name = "serve")]
    Serve,

    /// Show the whole thing on this machine: a tracker, seeders, a download from all of them at once
    ///
    /// Everything happens in a temporary directory, over real sockets, and is cleaned up.
    #[command(name = "demo", after_help = "Examples:\n  peer demo\n  peer demo --size 1GiB --seeders 5")]
    Demo(DemoArgs),

    /// Share without a tracker: a node of a network that finds its own ways, through routers too
    ///
    /// Nodes that are connected are one network; one of them, the supernode, knows the others, and when it goes another
    /// takes its place. At the prompt: `C ADDR PORT` connects, `A ADDR PORT` opens the router here for somebody, `T TEXT`
    /// talks to all, `B PATH` shares, `G` lists what there is, `R NAME` downloads, `L` lists who is there, `Q` leaves.
    #[command(
        name = "mrt",
        after_help = "Examples:\n  peer mrt --listen 4000\n  peer mrt --name ann --network-key 'correct horse battery'"
    )]
    Mrt(MrtArgs),
}

/// What a node is started with.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct MrtArgs {
    /// Only nodes with the same key are in the network [default: anybody who knows an address]
    ///
    /// Other users of this machine can see it in the list of processes; --network-key-file keeps it from them.
    #[arg(long, value_name = "TEXT", value_parser = parse_network_key)]
    pub(crate) network_key: Option<Secret>,
    /// The same, from the first line of a file [default: --network-key]
    #[arg(long, value_name = "PATH", conflicts_with = "network_key")]
    pub(crate) network_key_file: Option<PathBuf>,
    /// Print a new key that nobody can guess, and end [default: start a node]
    #[arg(long)]
    pub(crate) new_network_key: bool,
    /// Ask this STUN server where this node is seen from outside; given twice, what the router here does can be told
    /// [default: the supernode says it]
    ///
    /// Any that the other nodes can reach too will do; a tracker answers at its port as well.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) stun: Vec<StunServer>,
    /// Neither look for nodes of this network on the LAN, nor be found by them [default: they find each other by mDNS]
    ///
    /// Who listens on this machine only (--listen 127.0.0.1:PORT) does neither anyway.
    #[arg(long)]
    pub(crate) no_discovery: bool,
    /// As the supernode fetch what the others share, the smallest first, until so many bytes lie in DIR: 10GiB [default:
    /// nothing is fetched]
    ///
    /// Then everybody is one hop from it, and who shared it may leave. What is in the making counts, and goes again where it
    /// cannot be finished; your own downloads are left alone.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub(crate) hold: Option<u64>,
}

fn parse_network_key(text: &str) -> Result<Secret, String> {
    Secret::new(text.to_owned()).map_err(|error| error.to_string())
}

/// How large the demo is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(crate) struct DemoArgs {
    /// Size of the file: bytes, or a number with KiB, MiB or GiB
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = parse_size)]
    pub(crate) size: u64,
    /// How many seeders, from 1 to 16
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u8).range(DEMO_SEEDERS))]
    pub(crate) seeders: u8,
}

/// A line at the prompt or from a pipe.
#[derive(Debug, Clone, PartialEq, Eq, Parser)]
#[command(
    name = "",
    no_binary_name = true,
    disable_help_subcommand = true,
    disable_help_flag = true,
    args_override_self = true
)]
pub(crate) struct Line {
    /// Print the result as JSON, one line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print help
    #[arg(short, long, global = true, action = clap::ArgAction::HelpShort)]
    help: Option<bool>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Reads the arguments of the program.
pub(crate) fn parse_arguments(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, NotACommand> {
    let parsed = Cli::command().try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| explain(&error, Source::Arguments))
}

/// Reads the words of a line.
pub(crate) fn parse_words(words: &[String]) -> Result<Line, NotACommand> {
    Line::try_parse_from(words).map_err(|error| explain(&error, Source::Line))
}

/// The long help of a command of the prompt, where there is such a command.
pub(crate) fn help_of(word: &str) -> Option<String> {
    let mut line = Line::command();
    line.build();
    let command = line.find_subcommand_mut(word)?;
    Some(without_gap(&command.render_long_help().to_string()))
}

/// Help of the prompt, where no name of a program stands before the command.
fn without_gap(help: &str) -> String {
    help.replacen("Usage:  ", "Usage: ", 1)
}

/// The commands of the prompt: their words, the first is the name, and the first line of their help.
pub(crate) fn commands() -> Vec<(Vec<String>, String)> {
    let line = Line::command();
    let words = |command: &clap::Command| {
        let visible = command.get_visible_aliases().map(str::to_owned);
        std::iter::once(command.get_name().to_owned()).chain(visible).collect()
    };
    let about = |command: &clap::Command| command.get_about().map(ToString::to_string).unwrap_or_default();
    let shown = line.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| (words(command), about(command))).collect()
}

/// The command's own name where the prompt knows this word, or this other word, for a command.
pub(crate) fn name_of(word: &str) -> Option<String> {
    Line::command().find_subcommand(word).map(|command| command.get_name().to_owned())
}

/// The long options of a command of the prompt.
pub(crate) fn options_of(word: &str) -> Vec<String> {
    let mut line = Line::command();
    line.build();
    let Some(command) = line.find_subcommand(word) else { return Vec::new() };
    command.get_opts().filter_map(clap::Arg::get_long).map(|o| format!("--{o}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::FailureKind;
    use std::collections::BTreeSet;

    fn parse(arguments: &[&str]) -> Result<Cli, NotACommand> {
        parse_arguments(std::iter::once(&"peer").chain(arguments).map(OsString::from))
    }

    fn wrong(arguments: &[&str]) -> (String, String) {
        match parse(arguments) {
            Err(NotACommand::Wrong(failure)) => {
                assert_eq!(failure.kind, FailureKind::Usage);
                (failure.text, failure.hint.unwrap_or_default())
            }
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
        Line::command().debug_assert();
    }

    #[test]
    fn no_word_means_two_commands() {
        let mut seen = BTreeSet::new();
        for command in Cli::command().get_subcommands() {
            for word in std::iter::once(command.get_name()).chain(command.get_all_aliases()) {
                assert!(seen.insert(word.to_owned()), "{word}");
            }
        }
    }

    #[test]
    fn every_option_documents_its_default_and_every_command_its_purpose() {
        for command in Cli::command().get_subcommands().chain([&Cli::command()]) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(!about.is_empty() && !about.ends_with('.'), "{}: {about}", command.get_name());
            for option in command.get_opts().filter(|option| !option.is_hide_set()) {
                let help = option.get_help().map(ToString::to_string).unwrap_or_default();
                let documented = help.contains("[default: ") || !option.get_default_values().is_empty();
                assert!(documented, "{} {:?}: {help}", command.get_name(), option.get_long());
            }
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_a_sentence_with_what_to_do() {
        for (arguments, text, hint) in [
            (&["lits"][..], "there is no command `lits`", "did you mean `lst`? `peer --help` lists the commands"),
            (&["d"], "NAME is missing", "usage: peer d <NAME>"),
            (
                &["--limit-up", "0", "serve"],
                "`0` will not do for --limit-up <RATE>: nothing would ever move; leave the option out for no limit",
                "",
            ),
            (
                &["--name", "Ann Smith"],
                "`Ann Smith` will not do for --name <NAME>: a user name is 1 to 32 characters of a-z, 0-9, '.', '_' \
                 and '-', but not '.' or '..'",
                "",
            ),
            (&["--tracker", "lab:99999"], "`lab:99999` will not do for --tracker <HOST[:PORT][#FINGERPRINT]>", ""),
            (&["demo", "--seeders", "17"], "`17` will not do for --seeders <N>: 17 is not in 1..=16", ""),
            (&["demo", "--size", "big"], "`big` will not do for --size <BYTES>: not a size", ""),
            (&["cancel"], "NAME is missing", ""),
            (&["--tracker"], "`--tracker <HOST[:PORT][#FINGERPRINT]>` needs a value", ""),
            (&["lst", "--jsno"], "there is no option `--jsno` here", "did you mean `--json`?"),
        ] {
            let (said, hinted) = wrong(arguments);
            assert!(said.starts_with(text), "{arguments:?}: {said}");
            if !hint.is_empty() {
                assert_eq!(hinted, hint, "{arguments:?}");
            }
        }
    }

    #[test]
    fn the_demo_has_its_defaults() {
        let Some(CliVerb::Demo(demo)) = parse(&["demo"]).unwrap().action else { panic!() };
        assert_eq!(demo, DemoArgs { size: 256 << 20, seeders: 3 });
        let Some(CliVerb::Demo(demo)) = parse(&["demo", "--size", "0", "--seeders", "16"]).unwrap().action else {
            panic!()
        };
        assert_eq!(demo, DemoArgs { size: 0, seeders: 16 });
    }

    #[test]
    fn help_has_examples_and_exit_codes() {
        let Err(NotACommand::Show(help)) = parse(&["--help"]) else { panic!() };
        for part in ["Examples:", "Exit codes:", "peer demo", "--tracker <HOST[:PORT][#FINGERPRINT]>"] {
            assert!(help.contains(part), "{part} in {help}");
        }
        assert!(matches!(parse(&["--version"]), Err(NotACommand::Show(_))));
    }
}
