//! Verbs: the commands as a user writes them, the same words at the prompt, through a pipe and as arguments.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use common::name::UserName;

use super::units::{WaitTime, parse_wait};

/// Seconds that a one-shot `d` waits for chunks that nobody has.
pub(crate) const DEFAULT_WAIT_SECS: u64 = 30;

/// A command and its arguments, raw.
///
/// Capital words are those of earlier systems of this family; words that meant different things there are in
/// [`clashing_word`] instead.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Verb {
    /// Register files or folders, or new versions of them, and seed them
    ///
    /// Each is listed under its own name, served from where it lies, and not copied. What has changed since it was
    /// registered becomes the next version of the same entry. Without a peer running on this DIR, the command stays and
    /// seeds until Ctrl-C.
    #[command(
        name = "r",
        visible_alias = "register",
        alias = "OP_R",
        after_help = "Examples:\n  r photos/doug.png\n  r thesis/ --for bob,carol"
    )]
    Register {
        /// Files, each at most 8 TiB, and folders
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
        /// Only these users may see and have it [default: a new entry is for everyone, a new version for whom it was]
        #[arg(long = "for", value_name = "USER,USER", value_delimiter = ',')]
        users: Option<Vec<UserName>>,
    },

    /// Let others have an entry of yours
    ///
    /// With users: those too, of an entry that is not for everyone. With --all: everyone.
    #[command(name = "share", after_help = "Examples:\n  share thesis --with carol,dave\n  share thesis --all")]
    Share {
        /// An entry of yours, as `lst` shows it
        #[arg(value_name = "NAME")]
        entry: String,
        /// For these users too [default: --all is needed]
        #[arg(long, value_name = "USER,USER", value_delimiter = ',', required_unless_present = "all")]
        with: Vec<UserName>,
        /// For everyone [default: only for users who are named]
        #[arg(long, conflicts_with = "with")]
        all: bool,
    },

    /// Let others have an entry of yours no more
    ///
    /// Without users: nobody but you. What others have downloaded already, they keep.
    #[command(name = "unshare", after_help = "Examples:\n  unshare thesis --with carol\n  unshare thesis")]
    Unshare {
        /// An entry of yours, as `lst` shows it
        #[arg(value_name = "NAME")]
        entry: String,
        /// Not for these users any more [default: for nobody but you]
        #[arg(long, value_name = "USER,USER", value_delimiter = ',')]
        with: Vec<UserName>,
    },

    /// Download a file or a folder, from all who have it at once, and follow it
    ///
    /// Prints the absolute path of what came. What an earlier try left is gone on with. A file that is there already under
    /// that name stays, and the new one is called "name (1).ext". New versions come by themselves from then on, unless it
    /// is an older version or a part of a folder.
    #[command(
        name = "d",
        visible_aliases = ["download", "get"],
        aliases = ["OP_D", "P"],
        after_help = "Examples:\n  d doug.png\n  d ann/doug.png -o pictures/\n  d thesis@2\n  d photos --only '2024/*'"
    )]
    Download {
        /// An entry, as `lst` shows it: doug.png, or ann/doug.png where owners have different files of that name;
        /// doug.png@2 is its second version
        #[arg(value_name = "NAME")]
        entry: String,
        /// Of a folder, only the files whose paths match; may be given several times [default: all]
        #[arg(long, value_name = "GLOB")]
        only: Vec<String>,
        /// Do not follow it [default: new versions come by themselves]
        #[arg(long)]
        no_sync: bool,
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

    /// List the files and folders there are
    #[command(
        name = "lst",
        visible_aliases = ["list", "ls"],
        alias = "OP_LST",
        after_help = "Examples:\n  lst\n  lst --mine --by date\n  lst --by size --limit 10"
    )]
    List {
        /// Which.
        #[command(flatten)]
        listing: ListingArgs,
    },

    /// Show all versions of an entry, the newest first
    #[command(name = "versions", after_help = "Example:\n  versions doug.png")]
    Versions {
        /// An entry, as `lst` shows it
        #[arg(value_name = "NAME")]
        entry: String,
    },

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
        /// Which of them.
        #[command(flatten)]
        listing: ListingArgs,
    },

    /// Follow an entry: it comes now, and new versions by themselves
    ///
    /// What you edit is never overwritten: the new version then comes beside it, as "name (v3).ext".
    #[command(name = "sub", visible_aliases = ["subscribe", "follow"], after_help = "Example:\n  sub ann/thesis")]
    Subscribe {
        /// An entry, as `lst` shows it
        #[arg(value_name = "NAME")]
        entry: String,
    },

    /// Follow an entry no more; what is here stays
    #[command(name = "unsub", visible_aliases = ["unsubscribe", "unfollow"], after_help = "Example:\n  unsub ann/thesis")]
    Unsubscribe {
        /// An entry, as `synced` shows it
        #[arg(value_name = "NAME")]
        entry: String,
    },

    /// List what is followed, with the version here and the newest there is
    ///
    /// "gone" says that it is not there any more, or not for you; should it come back, it is followed as before.
    #[command(name = "synced")]
    Synced,

    /// Register a shared file or folder anew whenever it changes; without PATH, list what is watched
    ///
    /// A new version is made when nothing has changed for 2 s.
    #[command(name = "watch", after_help = "Examples:\n  watch thesis/\n  watch")]
    Watch {
        /// What is registered already, or is to be
        #[arg(value_name = "PATH")]
        path: Option<PathBuf>,
    },

    /// Watch a file or folder no more; it stays registered as it is
    #[command(name = "unwatch", after_help = "Example:\n  unwatch thesis/")]
    Unwatch {
        /// What is watched
        #[arg(value_name = "PATH")]
        path: PathBuf,
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

    /// Connect to a node, with all who are with you
    ///
    /// In a network without a tracker (`peer mrt`). Any node of a network will do: it leads on to its supernode.
    #[command(name = "connect", hide = true, after_help = "Examples:\n  C 192.0.2.7 4000\n  C 4000")]
    Connect {
        /// ADDR PORT, ADDR:PORT, or a port of this machine
        #[arg(value_name = "ADDR PORT", required = true, num_args = 1..=2)]
        place: Vec<String>,
    },

    /// Open the router here for a node that wants to connect
    ///
    /// In a network without a tracker (`peer mrt`). Lasts until it connects, or a minute.
    #[command(name = "invite", hide = true, after_help = "Example:\n  A 203.0.113.7 4000")]
    Invite {
        /// ADDR PORT, or ADDR:PORT
        #[arg(value_name = "ADDR PORT", required = true, num_args = 1..=2)]
        place: Vec<String>,
    },

    /// List the other nodes, and how each is reached
    ///
    /// In a network without a tracker (`peer mrt`).
    #[command(name = "peers", hide = true)]
    Neighbours,

    /// Show what this peer is doing
    #[command(name = "status")]
    Status,

    /// Print the file id and the SHA-256 of a file, or the id of a folder
    ///
    /// The file id is length and SHA-256 Merkle root, the `pieces root` of BitTorrent v2; SHA-256 is what sha256sum
    /// prints. Needs neither tracker nor peer.
    #[command(name = "hash", after_help = "Example:\n  hash doug.png")]
    Hash {
        /// Files and folders, each at most 8 TiB
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

    /// Make an account on the tracker and log in
    ///
    /// The password is asked for, twice, and so is the code of an invite where the tracker wants one. If nobody ever said
    /// that this is the right tracker, its fingerprint is shown first.
    #[command(
        name = "signup",
        after_help = "Examples:\n  signup ann\n  peer signup ann --password-stdin < password.txt"
    )]
    SignUp {
        /// The account's name: 1 to 32 of a-z, 0-9, '.', '_' and '-'
        #[arg(value_name = "NAME")]
        name: UserName,
        /// Read the password from the first line of the input, and an invite's code from the second [default: ask]
        #[arg(long)]
        password_stdin: bool,
        /// What nobody should write here: it is refused without being repeated.
        #[arg(value_name = "NOTHING", hide = true)]
        extra: Vec<String>,
    },

    /// Log in to an account, on this device
    ///
    /// The device stays logged in until `logout`, or until another device of the account throws it out.
    #[command(name = "login", after_help = "Examples:\n  login ann\n  peer login ann --password-stdin < password.txt")]
    LogIn {
        /// The account's name
        #[arg(value_name = "NAME")]
        name: UserName,
        /// Read the password from the first line of the input [default: ask]
        #[arg(long)]
        password_stdin: bool,
        /// What nobody should write here: it is refused without being repeated.
        #[arg(value_name = "NOTHING", hide = true)]
        extra: Vec<String>,
    },

    /// Log out of the account, on this device
    #[command(name = "logout")]
    LogOut,

    /// Change the password of your account
    #[command(name = "passwd", visible_alias = "password")]
    ChangePassword {
        /// Read the old password from the first line of the input, the new one from the second [default: ask]
        #[arg(long)]
        password_stdin: bool,
        /// What nobody should write here: it is refused without being repeated.
        #[arg(value_name = "NOTHING", hide = true)]
        extra: Vec<String>,
    },

    /// Show who you are on the tracker
    #[command(name = "whoami")]
    WhoAmI,

    /// List the devices of your account, or throw one out
    #[command(name = "devices", after_help = "Examples:\n  devices\n  devices revoke k5zq")]
    Devices {
        /// What to do with one.
        #[command(subcommand)]
        action: Option<DeviceAction>,
    },

    /// Say something to all who are online; without TEXT, show what was said of late
    #[command(
        name = "chat",
        visible_alias = "broadcast",
        aliases = ["CHAT", "T"],
        after_help = "Examples:\n  chat who has the slides?\n  chat"
    )]
    Chat {
        /// What to say; at the prompt it needs no quotes
        #[arg(value_name = "TEXT")]
        text: Vec<String>,
    },

    /// Show what was said to all of late
    #[command(name = "history")]
    History,

    /// Say something to one user
    #[command(name = "msg", visible_alias = "tell", after_help = "Example:\n  msg bob lunch at noon?")]
    Message {
        /// To whom
        #[arg(value_name = "USER")]
        to: UserName,
        /// What to say; at the prompt it needs no quotes
        #[arg(value_name = "TEXT", required = true)]
        text: Vec<String>,
    },

    /// Push a file or a folder to users, who accept or refuse it
    ///
    /// Without a peer running on this DIR, the command stays and seeds until Ctrl-C.
    #[command(name = "send", after_help = "Examples:\n  send doug.png bob carol\n  send doug.png --all")]
    Send {
        /// The file or folder
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// To whom
        #[arg(value_name = "USER", required_unless_present = "all")]
        to: Vec<UserName>,
        /// To all who are online [default: to users who are named]
        #[arg(long, conflicts_with = "to")]
        all: bool,
    },

    /// Push a file to users, or to all who are online where none are named
    #[command(name = "sendfile", hide = true)]
    SendFile {
        /// The file or folder
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// To whom
        #[arg(value_name = "USER")]
        to: Vec<UserName>,
        /// To all who are online [default: where no user is named]
        #[arg(long, conflicts_with = "to")]
        all: bool,
    },

    /// Accept what somebody sends you; it comes in the background
    #[command(name = "accept", after_help = "Examples:\n  accept\n  accept 3\n  accept ann")]
    Accept {
        /// The number or the sender of it [default: the only one there is]
        #[arg(value_name = "ID|USER")]
        offer: Option<String>,
    },

    /// Turn down what somebody sends you
    #[command(name = "refuse", visible_alias = "reject", after_help = "Examples:\n  refuse\n  refuse 3\n  refuse ann")]
    Refuse {
        /// The number or the sender of it [default: the only one there is]
        #[arg(value_name = "ID|USER")]
        offer: Option<String>,
    },

    /// List what others send you, and what you sent and who has it
    #[command(name = "offers", visible_alias = "sent")]
    Offers,

    /// End the peer that runs on this DIR
    #[command(name = "stop")]
    Stop,
}

/// Which entries are listed, raw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub(crate) struct ListingArgs {
    /// Only those of yours [default: everybody's]
    #[arg(long)]
    pub(crate) mine: bool,
    /// In which order: by name, the largest, the newest, or those with most seeders first
    #[arg(long, value_name = "ORDER", value_enum, default_value_t)]
    pub(crate) by: Order,
    /// At most so many [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,
}

/// Orders of lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// By name, then owner
    #[default]
    Name,
    /// The largest first
    Size,
    /// The newest first
    Date,
    /// Those with most seeders first
    Seeders,
}

/// What is done with a device.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum DeviceAction {
    /// Throw a device out of your account, at once
    #[command(name = "revoke", after_help = "Example:\n  devices revoke k5zq")]
    Revoke {
        /// The device's id, as `devices` shows it, or the beginning of it
        #[arg(value_name = "ID")]
        device: String,
    },
}

/// What to say to a word that meant one thing in one earlier system and another in the next.
pub(crate) fn clashing_word(word: &str) -> Option<&'static str> {
    Some(match word {
        "R" => "`r` registers a file, `d` downloads one",
        "D" => "`d` downloads a file, `dereg` takes one off the list",
        "G" => "`d` downloads a file, `lst` lists what there is",
        "L" => "`lst` lists the files, `users` the peers",
        "REGISTER" | "UNREGISTER" => {
            "joining and leaving go by themselves; `r` registers a file, `dereg` takes one off the list, `signup` makes an \
             account, `q` leaves"
        }
        "A" | "C" | "B" => "this is a word of the mode without a tracker; `help` lists what there is here",
        _ => return None,
    })
}
