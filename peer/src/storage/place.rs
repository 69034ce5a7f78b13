//! Placing: how a complete file gets its final name. Nothing that exists is ever overwritten, but for a file that is to be
//! replaced and is still what it was when it came here.

use std::ffi::OsString;
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{Looks, Stamp};

/// So many `name (N).ext` are tried before giving up.
const MOST_TRIES: u32 = 10_000;

/// How something complete gets its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placing {
    /// Under the target's name, or `name (1).ext` and so on where that is taken.
    #[default]
    Beside,
    /// In the place of what lies at the target, in one rename, if that still looks as it did. If somebody edited it, at
    /// `otherwise`, or beside that; if it is gone, at the target.
    Over {
        /// How what is to be replaced looked when it was put there.
        looks: Looks,
        /// Where it goes if it may not replace that.
        otherwise: PathBuf,
    },
}

/// Moves `from` to `target`, or to `name (1).ext` and so on where that exists; says where it is now. `before` hears of
/// each name before it is tried.
///
/// Both are on one file system, see [`super::Partial`].
pub(crate) fn place(
    from: &Path,
    target: &Path,
    mut before: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    for number in 0..MOST_TRIES {
        let candidate = numbered(target, number);
        if candidate.symlink_metadata().is_ok() {
            continue;
        }
        before(&candidate)?;
        match renameat_with(CWD, from, CWD, &candidate, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EXIST) => {}
            // The file system cannot rename without replacing: a link fails where the name exists.
            Err(Errno::INVAL) => match std::fs::hard_link(from, &candidate) {
                Ok(()) => {
                    std::fs::remove_file(from)?;
                    return Ok(candidate);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            },
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "there are too many files of this name"))
}

/// Where a file is that was to replace another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) path: PathBuf,
    /// What was to be replaced, was edited, and stays.
    pub(crate) edited: Option<PathBuf>,
}

/// What an exchange of names brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exchange {
    /// It is as it was wished.
    Done,
    /// What was there is not what it should be, and is there again.
    Edited,
    /// Nothing was there.
    Gone,
}

/// Moves `from` into the place of the file at `target` if that still looks as it did, and removes that file; otherwise to
/// `otherwise`, or beside that. Where nothing lies at `target`, it goes there. `before` hears of each name before it is
/// tried.
///
/// Both are on one file system, see [`super::Partial`]. At every moment there is one of the two files at `target`. An edit that
/// comes between the look and the rename is noticed where the file system can exchange two names.
pub(crate) fn place_over(
    from: &Path,
    target: &Path,
    looks: &Looks,
    otherwise: &Path,
    mut before: impl FnMut(&Path) -> io::Result<()>,
) -> io::Result<Replaced> {
    // A folder is another matter.
    let exchanged = match (looks.file(), target.symlink_metadata()) {
        (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => Exchange::Gone,
        (Some(stamp), Ok(now)) if now.is_file() && Stamp::of(&now) == *stamp => {
            std::fs::set_permissions(from, Permissions::from_mode(now.mode() & PERMISSIONS))?;
            before(target)?;
            exchange(from, target, stamp)?
        }
        _ => Exchange::Edited,
    };
    match exchanged {
        Exchange::Done => Ok(Replaced { path: target.to_owned(), edited: None }),
        Exchange::Gone => Ok(Replaced { path: place(from, target, before)?, edited: None }),
        Exchange::Edited => Ok(Replaced { path: place(from, otherwise, before)?, edited: Some(target.to_owned()) }),
    }
}

/// The bits of a mode that say who may read, write and run a file.
const PERMISSIONS: u32 = 0o777;

/// Exchanges the names of two files, and looks at what had the second one.
fn exchange(from: &Path, target: &Path, stamp: &Stamp) -> io::Result<Exchange> {
    match renameat_with(CWD, from, CWD, target, RenameFlags::EXCHANGE) {
        Ok(()) => finish_exchange(from, target, stamp),
        Err(Errno::NOENT) => Ok(Exchange::Gone),
        // The file system cannot: what is edited from here on until the rename is lost.
        Err(Errno::INVAL | Errno::NOSYS) => match target.symlink_metadata() {
            Ok(now) if Stamp::of(&now) == *stamp => std::fs::rename(from, target).map(|()| Exchange::Done),
            Ok(_) => Ok(Exchange::Edited),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Exchange::Gone),
            Err(error) => Err(error),
        },
        Err(error) => Err(error.into()),
    }
}

/// The names are exchanged: removes what is at `from` now if it is what it should be; takes the exchange back if not.
fn finish_exchange(from: &Path, target: &Path, stamp: &Stamp) -> io::Result<Exchange> {
    let swapped_out = from.symlink_metadata()?;
    if swapped_out.is_file() && Stamp::of(&swapped_out).is_renamed(stamp) {
        std::fs::remove_file(from)?;
        return Ok(Exchange::Done);
    }
    renameat_with(CWD, from, CWD, target, RenameFlags::EXCHANGE)?;
    Ok(Exchange::Edited)
}

/// Finishes what a crash left of [`place_over`], or takes it back: `data` is the name of what was to be placed, and `is_ours`
/// knows it whatever its name. Afterwards what is at `data`, if anything, is ours.
pub(super) fn mend(
    data: &Path,
    target: &Path,
    placing: &Placing,
    is_ours: impl Fn(&Metadata) -> bool,
) -> io::Result<()> {
    let Placing::Over { looks: Looks::File(stamp), .. } = placing else { return Ok(()) };
    let swapped_out = match data.symlink_metadata() {
        Ok(metadata) if !is_ours(&metadata) => metadata,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => return Ok(()),
    };
    if target.symlink_metadata().is_ok_and(|metadata| is_ours(&metadata)) {
        return finish_exchange(data, target, stamp).map(drop);
    }
    // Its owner was faster. What was edited before that is kept too.
    if Stamp::of(&swapped_out).is_renamed(stamp) {
        std::fs::remove_file(data)
    } else {
        place(data, target, |_| Ok(())).map(drop)
    }
}

/// `name.ext`, then `name (1).ext`, `name (2).ext` ...
fn numbered(target: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return target.to_owned();
    }
    let mut name = target.file_stem().unwrap_or_default().to_owned();
    name.push(format!(" ({number})"));
    if let Some(extension) = target.extension() {
        name.push(OsString::from("."));
        name.push(extension);
    }
    target.with_file_name(name)
}

/// Puts the folder's entry for `path` on the disk.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A file that came here, what is to take its place, and where that goes otherwise.
    struct Scene {
        _dir: tempfile::TempDir,
        from: PathBuf,
        target: PathBuf,
        otherwise: PathBuf,
        looks: Looks,
    }

    fn scene() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (from, target, otherwise) = (path("data"), path("x.txt"), path("x (v2).txt"));
        fs::write(&from, "new").unwrap();
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, Permissions::from_mode(0o750)).unwrap();
        let looks = Looks::File(Stamp::of(&fs::metadata(&target).unwrap()));
        Scene { _dir: dir, from, target, otherwise, looks }
    }

    impl Scene {
        fn place(&self, before: impl FnMut(&Path) -> io::Result<()>) -> Replaced {
            place_over(&self.from, &self.target, &self.looks, &self.otherwise, before).unwrap()
        }

        /// The new one is there under this name, the edited one is untouched, and nothing else is left.
        fn kept_the_edited(&self, replaced: &Replaced, edited: &str) {
            assert_eq!(replaced, &Replaced { path: self.otherwise.clone(), edited: Some(self.target.clone()) });
            assert_eq!(fs::read_to_string(&self.target).unwrap(), edited);
            assert_eq!(fs::read_to_string(&self.otherwise).unwrap(), "new");
            assert!(!self.from.exists());
        }
    }

    #[test]
    fn what_is_as_it_was_is_replaced_and_its_mode_stays() {
        let scene = scene();
        let mut heard = Vec::new();
        let replaced = scene.place(|path| {
            heard.push(path.to_owned());
            Ok(())
        });
        assert_eq!(replaced, Replaced { path: scene.target.clone(), edited: None });
        assert_eq!(heard, std::slice::from_ref(&scene.target));
        assert_eq!(fs::read_to_string(&scene.target).unwrap(), "new");
        assert_eq!(fs::metadata(&scene.target).unwrap().mode() & 0o7777, 0o750);
        assert!(!scene.from.exists() && !scene.otherwise.exists());
    }

    #[test]
    fn what_was_edited_stays_and_so_does_what_is_no_file() {
        let edited = scene();
        fs::write(&edited.target, "mine").unwrap();
        edited.kept_the_edited(&edited.place(|_| Ok(())), "mine");
        let linked = scene();
        fs::rename(&linked.target, linked.target.with_extension("elsewhere")).unwrap();
        std::os::unix::fs::symlink("x.elsewhere", &linked.target).unwrap();
        linked.kept_the_edited(&linked.place(|_| Ok(())), "old");
    }

    #[test]
    fn an_edit_that_comes_between_the_look_and_the_rename_is_noticed() {
        let written = scene();
        let replaced = written.place(|path| if path == written.target { fs::write(path, "mine") } else { Ok(()) });
        written.kept_the_edited(&replaced, "mine");
        // As editors do it.
        let replaced_by_owner = scene();
        let replaced = replaced_by_owner.place(|path| {
            if path == replaced_by_owner.target {
                fs::write(path.with_extension("swp"), "mine")?;
                fs::rename(path.with_extension("swp"), path)?;
            }
            Ok(())
        });
        replaced_by_owner.kept_the_edited(&replaced, "mine");
    }

    #[test]
    fn where_nothing_is_to_be_replaced_any_more_it_goes_there() {
        for early in [true, false] {
            let scene = scene();
            if early {
                fs::remove_file(&scene.target).unwrap();
            }
            let replaced = scene.place(|path| if path.exists() { fs::remove_file(path) } else { Ok(()) });
            assert_eq!(replaced, Replaced { path: scene.target.clone(), edited: None });
            assert_eq!(fs::read_to_string(&scene.target).unwrap(), "new");
        }
    }

    #[test]
    fn a_crash_in_the_middle_loses_neither_file() {
        let is_ours_in = |scene: &Scene| {
            let ours = fs::metadata(&scene.from).unwrap().ino();
            move |metadata: &Metadata| metadata.ino() == ours
        };
        let exchange = |scene: &Scene| {
            renameat_with(CWD, &scene.from, CWD, &scene.target, RenameFlags::EXCHANGE).unwrap();
        };
        let placing = |scene: &Scene| Placing::Over { looks: scene.looks.clone(), otherwise: scene.otherwise.clone() };
        let mend = |scene: &Scene, is_ours: &dyn Fn(&Metadata) -> bool| {
            mend(&scene.from, &scene.target, &placing(scene), is_ours).unwrap();
        };
        let read = |path: &Path| fs::read_to_string(path).ok();
        // Before the exchange: nothing has happened.
        let before = scene();
        mend(&before, &is_ours_in(&before));
        assert_eq!((read(&before.from).as_deref(), read(&before.target).as_deref()), (Some("new"), Some("old")));
        // After it: the old one goes.
        let after = scene();
        let is_ours = is_ours_in(&after);
        exchange(&after);
        mend(&after, &is_ours);
        assert_eq!((read(&after.from), read(&after.target).as_deref()), (None, Some("new")));
        // After it, and what was swapped out is not what it should be.
        let edited = scene();
        let is_ours = is_ours_in(&edited);
        fs::write(&edited.target, "mine").unwrap();
        exchange(&edited);
        mend(&edited, &is_ours);
        assert_eq!((read(&edited.from).as_deref(), read(&edited.target).as_deref()), (Some("new"), Some("mine")));
        // The same, and the new one was replaced by its owner since.
        let both = scene();
        let is_ours = is_ours_in(&both);
        fs::write(&both.target, "mine").unwrap();
        exchange(&both);
        fs::write(both.target.with_extension("swp"), "mine too").unwrap();
        fs::rename(both.target.with_extension("swp"), &both.target).unwrap();
        mend(&both, &is_ours);
        assert_eq!((read(&both.from), read(&both.target).as_deref()), (None, Some("mine too")));
        assert_eq!(read(&both.target.with_file_name("x (1).txt")).as_deref(), Some("mine"));
    }

    #[test]
    fn what_exists_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a.tar.gz");
        for (round, name) in ["a.tar.gz", "a.tar (1).gz", "a.tar (2).gz"].into_iter().enumerate() {
            let from = dir.path().join("from");
            fs::write(&from, round.to_string()).unwrap();
            let mut heard = Vec::new();
            let before = |candidate: &Path| {
                heard.push(candidate.to_owned());
                Ok(())
            };
            assert_eq!(place(&from, &target, before).unwrap(), dir.path().join(name));
            assert_eq!(heard, [dir.path().join(name)]);
            assert!(!from.exists());
        }
        assert_eq!(fs::read(target).unwrap(), b"0");
    }
}
