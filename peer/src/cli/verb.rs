//! Verbs: the commands as a user writes them, the same words at the prompt, through a pipe and as arguments.

use std::path::PathBuf;

use clap::Subcommand;

use super::units::{WaitTime, parse_wait};

/// Seconds that a one-shot `d` waits for chunks that nobody has.
pub(crate) const DEFAULT_WAIT_SECS: u64 = 30;

/// A command and its arguments, raw.
///
/// Capital words are those of earlier systems of this family; words that meant different things there are in
/// [`clashing_word`] instead.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Verb {
    /// Register files and seed them
    ///
    /// A file is listed under its own name, served from where it lies, and not copied. Without a peer running on this
    /// DIR, the command stays and seeds until Ctrl-C.
    #[command(name = "r", visible_alias = "register", alias = "OP_R", after_help = "Example:\n  r photos/doug.png")]
    Register {
        /// Files, each at most 8 TiB
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },

    /// Download a file, from all who have it at once
    ///
    /// Prints the absolute path of the file. What an earlier try left is gone on with. A file that is there already under
    /// that name stays, and the new one is called "name (1).ext".
    #[command(
        name = "d",
        visible_aliases = ["download", "get"],
        aliases = ["OP_D", "P"],
        after_help = "Examples:\n  d doug.png\n  d ann/doug.png -o pictures/"
    )]
    Download {
        /// An entry, as `lst` shows it: doug.png, or ann/doug.png where owners have different files of that name
        #[arg(value_name = "NAME")]
        entry: String,
        /// Where to put it: a file, or an existing directory [default: DIR/seeding]
        #[arg(short, long, value_name = "PATH")]
        output: Option<PathBuf>,
        /// Give up after so long without anybody who has what is missing, or "forever"; what has come is kept [default:
        /// 30; at the prompt: forever]
        #[arg(long, value_name = "SECS", value_parser = parse_wait)]
        wait: Option<WaitTime>,
        /// Stay and seed until Ctrl-C [default: leave when it is done, unless a peer runs on this DIR]
        #[arg(long)]
        seed: bool,
    },

    /// List the files there are
    #[command(name = "lst", visible_aliases = ["list", "ls"], alias = "OP_LST")]
    List,

    /// Show which peers have which chunks of a file
    #[command(name = "loc", visible_alias = "locate", alias = "OP_LOC", after_help = "Example:\n  loc doug.png")]
    Loc {
        /// An entry, as `lst` shows it
        #[arg(value_name = "NAME")]
        entry: String,
    },

    /// List the files with a text in their name or owner
    #[command(
        name = "search",
        visible_alias = "find",
        alias = "S",
        after_help = "Examples:\n  search doug\n  search '*.png'"
    )]
    Search {
        /// A part of a name or an owner, or a pattern with * and ?
        #[arg(value_name = "TEXT", required = true)]
        text: Vec<String>,
    },

    /// Take an entry of yours off the list and stop sharing it
    ///
    /// The file itself stays where it is.
    #[command(name = "dereg", visible_alias = "deregister", after_help = "Example:\n  dereg doug.png")]
    Deregister {
        /// An entry, as `lst` shows it
        #[arg(value_name = "NAME")]
        entry: String,
    },

    /// List who is online
    #[command(name = "users", visible_alias = "who", aliases = ["GETPEERS", "get_online_users"])]
    Users,

    /// Ask whether a peer is there, and how far away
    #[command(name = "ping", alias = "PING", after_help = "Examples:\n  ping ann\n  ping 10.0.0.7 42490")]
    Ping {
        /// A user name, ADDR:PORT, or ADDR PORT
        #[arg(value_name = "TARGET", required = true, num_args = 1..=2)]
        target: Vec<String>,
    },

    /// Show what this peer is doing
    #[command(name = "status")]
    Status,

    /// Print the file id and the SHA-256 of a file
    ///
    /// The file id is length and SHA-256 Merkle root, the `pieces root` of BitTorrent v2; SHA-256 is what sha256sum
    /// prints. Needs neither tracker nor peer.
    #[command(name = "hash", after_help = "Example:\n  hash doug.png")]
    Hash {
        /// Files, each at most 8 TiB
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },

    /// Stop a download; what has come is kept
    #[command(name = "cancel", after_help = "Examples:\n  cancel doug.png\n  cancel --all")]
    Cancel {
        /// Which download
        #[arg(value_name = "NAME", required_unless_present = "all")]
        entry: Option<String>,
        /// All of them [default: only NAME]
        #[arg(long, conflicts_with = "entry")]
        all: bool,
    },

    /// End the peer that runs on this DIR
    #[command(name = "stop")]
    Stop,
}

/// What to say to a word that meant one thing in one earlier system and another in the next.
pub(crate) fn clashing_word(word: &str) -> Option<&'static str> {
    Some(match word {
        "R" => "`r` registers a file, `d` downloads one",
        "D" => "`d` downloads a file, `dereg` takes one off the list",
        "G" => "`d` downloads a file, `lst` lists what there is",
        "L" => "`lst` lists the files, `users` the peers",
        "REGISTER" | "UNREGISTER" => {
            "joining and leaving go by themselves; `r` registers a file, `dereg` takes one off the list, `q` leaves"
        }
        "A" | "C" | "T" | "B" => "this is a word of the mode without a tracker; `help` lists what there is here",
        _ => return None,
    })
}
