//! Commands of the operator: what is asked, and how the answer is printed.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use common::name::UserName;
use serde_json::json;

use super::client::{AskError, ask};
use super::export::Export;
use super::{Invited, Request, Response};
use crate::service::UserLine;
use crate::store::{RedbStore, Store as _};

/// What the operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Makes an invite and prints it.
    Invite {
        /// So many may sign up with it.
        uses: u32,
        /// For so long.
        lasts: Duration,
        /// Under which name or address people reach the tracker, where it is not to be guessed.
        host: Option<String>,
    },
    /// Prints the users.
    ListUsers,
    /// Removes a user with all that it has.
    RemoveUser(String),
    /// Gives a user a new password and prints it.
    ResetUser(String),
    /// Writes all that is to last into a file.
    Export(PathBuf),
    /// Begins a data directory with what is in a file.
    Import(PathBuf),
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Does `action` with the tracker whose data is in `data`. Errors are sentences that say what to do.
pub fn run(action: Action, data: &Path, output: Output) -> anyhow::Result<()> {
    match action {
        Action::Invite { uses, lasts, host } => {
            let lasts_ms = u64::try_from(lasts.as_millis())?;
            match ask(data, &Request::Invite { uses, lasts_ms })? {
                Response::Invited(invited) => print_invite(&invited, uses, lasts, host, output),
                _ => bail!(strange()),
            }
        }
        Action::ListUsers => match ask(data, &Request::Users)? {
            Response::Users(users) => print_users(&users, output),
            _ => bail!(strange()),
        },
        Action::RemoveUser(name) => {
            UserName::new(name.as_str())?;
            ask(data, &Request::Remove { name: name.clone() })?;
            print_json(output, &json!({ "removed": name }))?;
            say(&format!("removed {name} with its devices and entries"))
        }
        Action::ResetUser(name) => {
            UserName::new(name.as_str())?;
            match ask(data, &Request::Reset { name: name.clone() })? {
                Response::Reset { password } => {
                    match output {
                        Output::Text => print(password.reveal())?,
                        Output::Json => print(&json!({ "name": name, "password": password.reveal() }).to_string())?,
                    }
                    say(&format!("this is the new password of {name}, shown this once; all its devices are logged out"))
                }
                _ => bail!(strange()),
            }
        }
        Action::Export(file) => export(data, &file, output),
        Action::Import(file) => import(data, &file, output),
    }
}

fn export(data: &Path, file: &Path, output: Output) -> anyhow::Result<()> {
    let export = match ask(data, &Request::Export) {
        Ok(Response::Export(export)) => export,
        Ok(_) => bail!(strange()),
        Err(AskError::NotRunning(_)) => Export::of(&RedbStore::open_there(data)?.load()?),
        Err(error) => return Err(error.into()),
    };
    export.write(file)?;
    print_json(output, &json!({ "exported": file }))?;
    let text = "the file holds the tracker's key and the hashes of passwords: whoever reads it can be this tracker";
    say(&format!("exported to {}; {text}", file.display()))
}

fn import(data: &Path, file: &Path, output: Output) -> anyhow::Result<()> {
    let stored = Export::read(file)?;
    RedbStore::begin(data, &stored)?;
    print_json(output, &json!({ "imported": stored.contents.len(), "data": data }))?;
    say(&format!("imported {} records into {}; it is that tracker now", stored.contents.len(), data.display()))?;
    say("run only one of the two: peers cannot tell them apart")
}

/// For programs; people are told in words.
fn print_json(output: Output, result: &serde_json::Value) -> anyhow::Result<()> {
    match output {
        Output::Text => Ok(()),
        Output::Json => print(&result.to_string()),
    }
}

fn print_invite(
    invited: &Invited,
    uses: u32,
    lasts: Duration,
    host: Option<String>,
    output: Output,
) -> anyhow::Result<()> {
    let tracker = format!("{}#{}", address(invited.listen, host), invited.fingerprint);
    let code = invited.code.reveal();
    if output == Output::Json {
        let expires_ms = invited.expires_ms;
        return print(&json!({ "tracker": tracker, "code": code, "uses": uses, "expires_ms": expires_ms }).to_string());
    }
    print(&format!("tracker  {tracker}\ncode     {code}"))?;
    let people = if uses == 1 { "one person".to_owned() } else { format!("{uses} people") };
    let long = approximately(lasts);
    say(&format!("good for {people}, for {long}; to use it: peer --tracker {tracker} signup NAME"))
}

/// Where people reach a tracker that listens there.
fn address(listen: SocketAddr, host: Option<String>) -> String {
    let host = match host {
        Some(host) => host,
        None if listen.ip().is_unspecified() => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        None => return listen.to_string(),
    };
    let is_ipv6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    let port = listen.port();
    if is_ipv6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn print_users(users: &[UserLine], output: Output) -> anyhow::Result<()> {
    if output == Output::Json {
        return print(&serde_json::to_string(users)?);
    }
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_millis();
    let now_ms = u64::try_from(now_ms)?;
    let seen = |user: &UserLine| match user.online {
        0 => format!("{} ago", approximately(Duration::from_millis(now_ms.saturating_sub(user.seen_ms)))),
        1 => "online".to_owned(),
        devices => format!("online on {devices}"),
    };
    let mut rows = vec![["NAME", "KIND", "DEVICES", "ENTRIES", "SEEN"].map(str::to_owned)];
    rows.extend(users.iter().map(|user| {
        let kind = if user.account { "account" } else { "guest" }.to_owned();
        [user.name.clone(), kind, user.devices.to_string(), user.entries.to_string(), seen(user)]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    for [name, kind, devices, entries, seen] in &rows {
        let [a, b, c, d] = widths;
        print(&format!("{name:a$}  {kind:b$}  {devices:>c$}  {entries:>d$}  {seen}"))?;
    }
    Ok(())
}

/// In its largest unit.
fn approximately(time: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(24 * 3600, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let seconds = time.as_secs();
    let (unit, name) = UNITS.into_iter().find(|(unit, _)| seconds >= *unit).unwrap_or((1, "second"));
    match seconds / unit {
        1 => format!("1 {name}"),
        count => format!("{count} {name}s"),
    }
}

fn strange() -> &'static str {
    "the running tracker gave an answer that this program does not understand: it is another version"
}

/// What a program may read.
fn print(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{text}")?)
}

/// What people may read.
fn say(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stderr(), "{text}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_sent_where_the_tracker_is_to_be_reached() {
        let at = |listen: &str, host: Option<&str>| address(listen.parse().unwrap(), host.map(str::to_owned));
        assert_eq!(at("127.0.0.1:8000", None), "127.0.0.1:8000");
        assert_eq!(at("[::1]:8000", None), "[::1]:8000");
        assert_eq!(at("[::]:8000", Some("tracker.example")), "tracker.example:8000");
        assert_eq!(at("[::]:8000", Some("2001:db8::1")), "[2001:db8::1]:8000");
        let own = at("0.0.0.0:7", None);
        assert!(own.ends_with(":7") && own.len() > 2 && !own.starts_with("0.0.0.0"), "{own}");
    }

    #[test]
    fn times_are_said_in_their_largest_unit() {
        let said = |seconds| approximately(Duration::from_secs(seconds));
        let want = ["0 seconds", "1 second", "59 seconds", "1 minute", "23 hours", "7 days"];
        assert_eq!([0, 1, 59, 119, 86_399, 7 * 86_400].map(said), want);
    }
}
