//! Results as lines for people; chunks count from 1. The wording of several is that of earlier systems of this family,
//! and programs look for it.

use common::audience::Audience;
use common::id::Content;
use common::wire::tracker::{Entry, FolderSize, Have, Holder};

use super::progress::{bytes, counted, progress_details};
use super::{Detail, Printed, lists, nodes, people};
use crate::command::{Downloaded, Failure, Outcome, OverMrt, Share, Status};

/// Most runs of chunks in one line of `loc`: a peer in the middle of a download may have hundreds.
const MAX_RUNS: usize = 24;
/// Digits of a file's root that tell candidates apart.
const ID_PREFIX: usize = 8;

pub(super) fn outcome(outcome: &Outcome, detail: Detail, now_ms: u64) -> Vec<Printed> {
    match outcome {
        Outcome::Registered { name, file, folder, version, already, audience, .. } => {
            registered(name, file, *folder, *version, *already, audience)
        }
        Outcome::Shared { entry, users } => vec![data(lists::shared(entry, users.as_deref()))],
        Outcome::Versions { entry, versions } => lists::versions(entry, versions),
        Outcome::Deregistered { entry } => vec![data(format!("Deregistration of {entry} successful."))],
        Outcome::Entries(list) => lists::entries(list),
        Outcome::Locations { entry, holders } => locations(entry, holders, detail),
        Outcome::Downloaded(download) => downloaded(download, detail),
        Outcome::Cancelled { names } if names.is_empty() => vec![talk("No download is under way.")],
        Outcome::Cancelled { names } => {
            vec![data(format!("Cancelled {}; what has come is kept, and `d` goes on with it.", names.join(", ")))]
        }
        Outcome::Users(list) => people::users(list, now_ms),
        Outcome::Following { .. } | Outcome::Unfollowed { .. } | Outcome::Synced(_) | Outcome::Watched { .. } => {
            follow(outcome)
        }
        Outcome::Tracker { .. }
        | Outcome::LoggedIn { .. }
        | Outcome::LoggedOut { .. }
        | Outcome::PasswordChanged
        | Outcome::WhoAmI { .. }
        | Outcome::Devices { .. }
        | Outcome::Revoked { .. } => people::account(outcome, detail, now_ms),
        Outcome::Said => Vec::new(),
        Outcome::Connected { .. } | Outcome::Invited { .. } | Outcome::Neighbours(_) => nodes::nodes(outcome),
        Outcome::History(lines) => people::history(lines, now_ms),
        Outcome::Sent { .. } | Outcome::Answered { .. } => people::offer(outcome),
        Outcome::Offers { received, sent } => people::offers(received, sent),
        Outcome::Pong { peer, address, round_trip_us } => {
            let (whole, fraction) = (round_trip_us / 1000, round_trip_us % 1000);
            let mut lines = vec![data(format!("{address} answered after {whole}.{fraction:03} ms."))];
            if detail == Detail::Full {
                lines.push(talk(format!("It is peer {peer}.")));
            }
            lines
        }
        Outcome::Status(now) => status(now),
        Outcome::Hashed { path, file, sha256 } => vec![
            data(format!("{}", path.display())),
            data(format!("  file id  {file}")),
            data(format!("  sha256   {sha256}")),
        ],
        Outcome::HashedFolder { path, folder, size } => vec![
            data(format!("{}", path.display())),
            data(format!("  folder id  {folder}")),
            data(format!("  files      {}, of {} bytes together", size.files, size.bytes)),
        ],
        Outcome::Stopping => vec![talk("The peer that ran on this DIR is ending.")],
    }
}

pub(super) fn failure(failure: &Failure) -> Vec<Printed> {
    let mut lines = vec![Printed::Error(failure.text.clone())];
    for entry in &failure.candidates {
        let mut root = entry.content.file_or_manifest().root().to_string();
        root.truncate(ID_PREFIX);
        let owner = entry.owners.first().map_or("?", String::as_str);
        lines.push(talk(format!(
            "  {owner}/{}  {}  {root}",
            lists::shown_name(entry),
            lists::size(entry.folder, &entry.content)
        )));
    }
    // A refusal of the tracker often says itself what to do.
    let words = |text: &str| text.replace(['`', '"'], "");
    let is_new = |hint: &&String| !words(&failure.text).contains(&words(hint));
    lines.extend(failure.hint.as_ref().filter(is_new).cloned().map(Printed::Hint));
    lines
}

fn registered(
    name: &str,
    file: &Content,
    folder: Option<FolderSize>,
    version: u32,
    already: bool,
    audience: &Audience,
) -> Vec<Printed> {
    let what = match folder {
        Some(FolderSize { files, bytes }) => format!("{name}/ of {} with {bytes} bytes", counted(files, "file")),
        None => format!("{name} of size {} bytes", file.file_or_manifest().length()),
    };
    let mut lines = vec![data(format!("Registration of {what} successful."))];
    if already {
        lines.push(talk("It was registered before."));
    } else if version > 1 {
        lines.push(talk(format!("It is version {version}.")));
    }
    if !audience.is_public() {
        lines.push(talk("It is not for everyone: `share` and `unshare` change for whom it is."));
    }
    lines
}

fn follow(outcome: &Outcome) -> Vec<Printed> {
    match outcome {
        Outcome::Following { entry, version, path: Some(path) } => {
            vec![talk(format!("Following {entry}; version {version} is here.")), data(path.display().to_string())]
        }
        Outcome::Following { entry, version, path: None } => {
            vec![data(format!("Following {entry}; version {version} comes as soon as somebody has it."))]
        }
        Outcome::Unfollowed { entry } => vec![data(format!("No longer following {entry}; what is here stays."))],
        Outcome::Synced(list) => lists::synced(list),
        Outcome::Watched { paths } if paths.is_empty() => vec![talk("Nothing is watched. `watch PATH` begins it.")],
        Outcome::Watched { paths } => paths.iter().map(|path| data(path.display().to_string())).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn data(text: impl Into<String>) -> Printed {
    Printed::Data(text.into())
}

pub(super) fn talk(text: impl Into<String>) -> Printed {
    Printed::Talk(text.into())
}

fn locations(entry: &Entry, holders: &[Holder], detail: Detail) -> Vec<Printed> {
    let count = match holders.len() {
        1 => "There is 1 endpoint seeding this file.".to_owned(),
        count => format!("There are {count} endpoints seeding this file."),
    };
    let mut lines = vec![data(count)];
    for holder in holders {
        let at = holder.addresses.first().map_or_else(|| holder.peer.to_string(), ToString::to_string);
        lines.push(data(format!("Peer {at} currently has {}.", chunks(holder, &entry.content))));
        if detail == Detail::Full {
            let others: Vec<String> = holder.addresses.iter().skip(1).map(ToString::to_string).collect();
            let also = if others.is_empty() { String::new() } else { format!(", also at {}", others.join(", ")) };
            lines.push(talk(format!("  It is {}'s, {}{also}.", holder.user, holder.peer)));
        }
    }
    lines
}

fn chunks(holder: &Holder, file: &Content) -> String {
    let Some(bitmap) = holder.have.as_ref().and_then(|have: &Have| have.to_bitmap(file).ok()) else {
        return "chunks that it tells itself when asked".to_owned();
    };
    if bitmap.is_empty() && !bitmap.is_full() {
        return "no chunks yet".to_owned();
    }
    let runs = bitmap.runs();
    let shown: Vec<String> = runs
        .iter()
        .take(MAX_RUNS)
        .map(
            |(first, last)| {
                if first == last { format!("{}", first + 1) } else { format!("{}-{}", first + 1, last + 1) }
            },
        )
        .collect();
    let list = shown.join(", ");
    if runs.len() > MAX_RUNS {
        format!("chunks [{list}, ...], {} of {}", bitmap.count(), bitmap.length())
    } else {
        format!("chunks [{list}]")
    }
}

fn downloaded(download: &Downloaded, detail: Detail) -> Vec<Printed> {
    let name = download.entry.rsplit_once('/').map_or(download.entry.as_str(), |(_owner, name)| name);
    let mut lines = Vec::new();
    if download.already {
        lines.push(talk(format!("{name} is here already.")));
    } else {
        lines.push(talk(format!("{name} has completed downloading.")));
        let whole: u64 = download.shares.iter().map(|share| share.bytes).sum();
        let rate = u128::from(whole) * 1000 / u128::from(download.elapsed_ms.max(1));
        let secs = download.elapsed_ms / 1000;
        let tenths = download.elapsed_ms % 1000 / 100;
        if whole > 0 {
            let from: Vec<String> = download.shares.iter().take(MAX_RUNS).map(|share| part(share, whole)).collect();
            lines.push(talk(format!(
                "{} in {secs}.{tenths} s ({}/s), from {}.",
                bytes(whole),
                bytes(u64::try_from(rate).unwrap_or(u64::MAX)),
                from.join(", ")
            )));
        }
    }
    lines.push(data(download.path.display().to_string()));
    if detail == Detail::Full {
        lines.push(talk(format!("File id {}, {} fetched.", download.file, bytes(download.fetched_bytes))));
    }
    lines
}

fn part(share: &Share, whole: u64) -> String {
    let who = if share.user.is_empty() { share.address.to_string() } else { share.user.clone() };
    let percent = (u128::from(share.bytes) * 100 + u128::from(whole / 2)) / u128::from(whole.max(1));
    format!("{who} {percent} %")
}

fn over_mrt(line: &OverMrt) -> Printed {
    let OverMrt { user, peer, way } = line;
    let who = if user.is_empty() { peer.to_string() } else { user.clone() };
    let how = way.address.map_or_else(|| "relayed by the tracker".to_owned(), |address| format!("direct, {address}"));
    let (whole, tenth) = (way.round_trip_us / 1000, way.round_trip_us % 1000 / 100);
    data(format!("Over MRT:   {who}, {how}, {whole}.{tenth} ms"))
}

fn status(now: &Status) -> Vec<Printed> {
    let connected = if now.connected { "" } else { " (not there at the moment)" };
    let mut lines = vec![
        data(format!("Name:       {}", now.name)),
        data(format!("Directory:  {}", now.dir.display())),
        data(format!("Listening:  {}", now.listen)),
        data(format!("Tracker:    {}{connected}", now.tracker)),
    ];
    lines.extend(now.network.map(|network| data(format!("Network:    {network}"))));
    lines.push(data(format!("Peer id:    {}", now.peer)));
    let (up, down) = (bytes(now.uploaded_bytes), bytes(now.downloaded_bytes));
    lines.push(data(format!("Moved:      {up} sent, {down} received")));
    lines.extend(now.over_mrt.iter().map(over_mrt));
    let count = u32::try_from(now.sharing.len()).unwrap_or(u32::MAX);
    lines.push(data(format!("Sharing:    {}", counted(count, "file"))));
    lines.extend(now.sharing.iter().map(|item| {
        let what = match item.file {
            Content::File(file) => format!("{} bytes", file.length()),
            Content::Folder(_) => "a folder".to_owned(),
        };
        data(format!("  {}  {what}  {}", item.name, item.path.display()))
    }));
    if !now.downloads.is_empty() {
        lines.push(data("Downloading:"));
        lines.extend(now.downloads.iter().map(|p| data(format!("  {}  {}", p.name, progress_details(p)))));
    }
    lines
}
