//! Lists of what there is: entries, versions, what is followed.

use common::id::Content;
use common::wire::tracker::{Entry, FolderSize, Version};

use super::Printed;
use super::progress::{bytes, counted};
use super::text::{data, talk};
use super::when::date;
use crate::command::Synced;

/// Digits of a version's root that tell it from others.
const ID_PREFIX: usize = 12;

/// The catalogue, in the words of this family where it is files.
pub(super) fn entries(list: &[Entry]) -> Vec<Printed> {
    if list.is_empty() {
        return vec![talk("There is no such file here. `r PATH` shares one (`B PATH` in `peer mrt`).")];
    }
    list.iter().enumerate().map(|(number, one)| data(entry(number + 1, one))).collect()
}

fn entry(number: usize, entry: &Entry) -> String {
    let mut text = format!("({number}) Name: {}  ", shown_name(entry));
    match entry.folder {
        Some(_) => text.push_str(&size(entry.folder, &entry.content)),
        None => text.push_str(&format!("Size: {}", size(None, &entry.content))),
    }
    if entry.version > 1 {
        text.push_str(&format!("  Version: {}", entry.version));
    }
    let owners = if entry.owners.len() == 1 { "Owner" } else { "Owners" };
    text.push_str(&format!("  {owners}: {}  Seeders: {}", entry.owners.join(", "), entry.seeders));
    if entry.downloaders > 0 {
        text.push_str(&format!("  Downloaders: {}", entry.downloaders));
    }
    if !entry.users.is_empty() {
        text.push_str(&format!("  For: {}", entry.users.join(", ")));
    } else if entry.restricted {
        text.push_str("  Not for everyone");
    }
    text
}

/// The name of an entry; that of a folder ends in a slash.
pub(super) fn shown_name(entry: &Entry) -> String {
    match entry.content {
        Content::File(_) => entry.name.clone(),
        Content::Folder(_) => format!("{}/", entry.name),
    }
}

/// How much it is: `107330 bytes` of a file, `12 files  3.4 MiB` of a folder.
pub(super) fn size(folder: Option<FolderSize>, content: &Content) -> String {
    match (folder, content) {
        (Some(folder), _) => format!("{}  {}", counted(folder.files, "file"), bytes(folder.bytes)),
        (None, Content::File(file)) => format!("{} bytes", file.length()),
        (None, Content::Folder(_)) => "a folder".to_owned(),
    }
}

/// All versions of an entry.
pub(super) fn versions(entry: &Entry, versions: &[Version]) -> Vec<Printed> {
    let owner = entry.owners.first().map_or("?", String::as_str);
    let mut lines = vec![talk(format!("Versions of {owner}/{}, times in UTC:", shown_name(entry)))];
    let rows = versions.iter().map(|version| {
        let mut root = version.content.file_or_manifest().root().to_string();
        root.truncate(ID_PREFIX);
        let seeders = counted(version.seeders, "seeder");
        [version.number.to_string(), date(version.registered_ms), size(version.folder, &version.content), root, seeders]
    });
    lines.extend(table(&rows.collect::<Vec<_>>()));
    lines
}

/// What is followed: which version is here, and which there.
pub(super) fn synced(list: &[Synced]) -> Vec<Printed> {
    if list.is_empty() {
        return vec![talk("Nothing is followed. `sub NAME` follows an entry, and so does `d NAME`.")];
    }
    let version = |number: Option<u32>, none: &str| number.map_or_else(|| none.to_owned(), |number| number.to_string());
    let rows = list.iter().map(|one| {
        let path = one.path.as_ref().map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        [one.entry.clone(), version(one.here, "-"), version(one.there, "gone"), path]
    });
    let head = ["ENTRY", "HERE", "THERE", "PATH"].map(str::to_owned);
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// For whom an entry is now.
pub(super) fn shared(entry: &str, users: Option<&[String]>) -> String {
    match users {
        None => format!("{entry} is for everyone."),
        Some([]) => format!("{entry} is for nobody but you."),
        Some(users) => format!("{entry} is for {} and you.", users.join(", ")),
    }
}

/// Rows with their columns below each other.
pub(super) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> Vec<Printed> {
    use unicode_width::UnicodeWidthStr as _;
    let rows: Vec<[String; COLUMNS]> =
        rows.iter().map(|row| row.clone().map(|cell| super::visible(&cell).into_owned())).collect();
    let widths: Vec<usize> =
        (0..COLUMNS).map(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or(0)).collect();
    let line = |row: &[String; COLUMNS]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            format!("{cell}{padding}")
        });
        data(cells.collect::<Vec<_>>().join("  ").trim_end().to_owned())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fake;
    use common::id::{FileId, FolderId, Hash};

    fn plain(lines: &[Printed]) -> Vec<String> {
        lines.iter().map(Printed::plain).collect()
    }

    fn folder() -> (Content, Option<FolderSize>) {
        let manifest = FileId::new(999, Hash([0xcd; 32])).unwrap();
        let folder = FolderId::new(manifest, 12).unwrap();
        (folder.into(), Some(FolderSize { files: 12, bytes: 3_565_158 }))
    }

    #[test]
    fn folders_versions_and_audiences_show_in_a_list() {
        let (content, size) = folder();
        let docs = Entry { content, folder: size, version: 2, ..fake::entry("docs", 0) };
        let mine = Entry { restricted: true, users: vec!["bob".to_owned()], ..fake::entry("a", 5) };
        let other = Entry { restricted: true, ..fake::entry("b", 5) };
        assert_eq!(
            plain(&entries(&[docs, mine, other])),
            [
                "(1) Name: docs/  12 files  3.4 MiB  Version: 2  Owner: ann  Seeders: 3",
                "(2) Name: a  Size: 5 bytes  Owner: ann  Seeders: 3  For: bob",
                "(3) Name: b  Size: 5 bytes  Owner: ann  Seeders: 3  Not for everyone",
            ]
        );
    }

    #[test]
    fn versions_stand_below_each_other() {
        let (content, size) = folder();
        let version = |number, content, folder, seeders| Version {
            number,
            content,
            folder,
            registered_ms: 1_795_277_520_000,
            seeders,
            downloaders: 0,
        };
        let entry = fake::entry("docs", 107_330);
        let list = [version(10, entry.content, None, 1), version(9, content, size, 0)];
        assert_eq!(
            plain(&versions(&entry, &list)),
            [
                "Versions of ann/docs, times in UTC:",
                "10  2026-11-21 16:12  107330 bytes       abababababab  1 seeder",
                "9   2026-11-21 16:12  12 files  3.4 MiB  cdcdcdcdcdcd  0 seeders",
            ]
        );
    }

    #[test]
    fn what_is_followed_shows_here_and_there() {
        let one = |entry: &str, here, there, path: Option<&str>| Synced {
            entry: entry.to_owned(),
            here,
            there,
            path: path.map(Into::into),
        };
        let list = [
            one("ann/thesis", Some(2), Some(3), Some("/d/thesis")),
            one("bob/größe\x1b[2J", None, Some(1), None),
            one("eve/x", Some(1), None, Some("/d/x")),
        ];
        assert_eq!(
            plain(&synced(&list)),
            [
                "ENTRY               HERE  THERE  PATH",
                "ann/thesis          2     3      /d/thesis",
                "bob/größe\\u{1b}[2J  -     1      -",
                "eve/x               1     gone   /d/x",
            ]
        );
        assert!(synced(&[])[0].plain().contains("`sub NAME`"));
    }

    #[test]
    fn for_whom_an_entry_is_is_a_sentence() {
        let bob = ["bob".to_owned(), "eve".to_owned()];
        for (users, text) in [
            (None, "ann/x is for everyone."),
            (Some([].as_slice()), "ann/x is for nobody but you."),
            (Some(&bob), "ann/x is for bob, eve and you."),
        ] {
            assert_eq!(shared("ann/x", users), text);
        }
    }
}
