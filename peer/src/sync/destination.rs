//! Destination: where a new version of a followed entry goes. What somebody edited here is never overwritten.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use common::id::Content;

use super::records::{Followed, Origin};
use crate::storage::Placing;

/// Where a new version goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    /// As of a download.
    pub(crate) target: PathBuf,
    /// As of a download.
    pub(crate) placing: Placing,
}

/// What lies at home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum There {
    Nothing,
    Something,
}

/// Where a new version goes: in the place of the copy here; beside it, under its number, where that was edited or is not
/// ours to replace; and where nothing lies at home, there. `home` says what lies there now.
pub(crate) fn destination(followed: &Followed, version: u32, content: &Content, home: There) -> Destination {
    let beside = |target: PathBuf| Destination { target, placing: Placing::Beside };
    let Some(copy) = &followed.copy else { return beside(followed.home.clone()) };
    if home == There::Nothing {
        return beside(followed.home.clone());
    }
    let otherwise = versioned(&followed.home, version, content);
    if copy.path == followed.home && copy.origin == Origin::Brought {
        let placing = Placing::Over { looks: copy.looks.clone(), otherwise };
        Destination { target: followed.home.clone(), placing }
    } else {
        beside(otherwise)
    }
}

/// The path of a version that lies beside another: `name (v3).ext`, of a folder `name (v3)`.
pub(crate) fn versioned(home: &Path, version: u32, content: &Content) -> PathBuf {
    let number = format!(" (v{version})");
    let (stem, extension) = match content {
        Content::File(_) => (home.file_stem(), home.extension()),
        Content::Folder(_) => (home.file_name(), None),
    };
    let mut name: OsString = stem.unwrap_or_default().to_owned();
    name.push(number);
    if let Some(extension) = extension {
        name.push(".");
        name.push(extension);
    }
    home.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::super::records::LocalCopy;
    use super::*;
    use crate::storage::{Looks, Stamp};
    use common::id::{FileId, FolderId, Hash, NetworkId};

    fn file() -> Content {
        FileId::new(1, Hash([1; 32])).unwrap().into()
    }

    fn looks() -> Looks {
        Looks::File(Stamp { size: 1, mtime_ns: 2, ctime_ns: 3, inode: 4, device: 5 })
    }

    fn followed(copy: Option<(&str, Origin)>) -> Followed {
        let copy = copy.map(|(path, origin)| LocalCopy {
            version: 2,
            content: file(),
            path: path.into(),
            looks: looks(),
            origin,
        });
        let entry = "ann/doug.tar.gz".parse().unwrap();
        Followed { network: NetworkId([1; 32]), entry, home: "/h/doug.tar.gz".into(), copy, gone: false }
    }

    fn goes(followed: &Followed, home: There) -> (String, bool) {
        let Destination { target, placing } = destination(followed, 3, &file(), home);
        (target.display().to_string(), matches!(placing, Placing::Over { .. }))
    }

    #[test]
    fn a_copy_that_was_brought_is_replaced_if_nobody_edits_it() {
        let there = followed(Some(("/h/doug.tar.gz", Origin::Brought)));
        let got = destination(&there, 3, &file(), There::Something);
        let otherwise = "/h/doug.tar (v3).gz".into();
        let placing = Placing::Over { looks: looks(), otherwise };
        assert_eq!(got, Destination { target: "/h/doug.tar.gz".into(), placing });
    }

    #[test]
    fn nothing_else_is_replaced() {
        let home = || ("/h/doug.tar.gz".to_owned(), false);
        assert_eq!(goes(&followed(None), There::Something), home(), "the engine finds another name where it is taken");
        let numbered = ("/h/doug.tar (v3).gz".to_owned(), false);
        let beside = followed(Some(("/h/doug.tar (v2).gz", Origin::Brought)));
        assert_eq!(goes(&beside, There::Something), numbered, "what was edited lies at home");
        assert_eq!(goes(&beside, There::Nothing), home(), "and is gone now");
        let lent = followed(Some(("/h/doug.tar.gz", Origin::Lent)));
        assert_eq!(goes(&lent, There::Something), numbered);
    }

    #[test]
    fn a_folder_has_no_extension() {
        let manifest = FileId::new(1, Hash([1; 32])).unwrap();
        let folder = FolderId::new(manifest, 1).unwrap().into();
        assert_eq!(versioned(Path::new("/h/site.d"), 12, &folder), Path::new("/h/site.d (v12)"));
    }
}
