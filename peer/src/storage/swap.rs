//! Swapping: a new version of a folder takes the place of the one that came before, file by file. What somebody edited
//! stays, and the new one comes beside it under its version; what somebody added is not touched.
//!
//! Each step can be done again: a run that was cut off is gone on with by the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use common::id::FileId;
use common::manifest::{Entry, EntryKind, Manifest};
use common::merkle::FileHasher;
use rustix::fs::{RenameFlags, renameat, renameat_with};
use rustix::io::Errno;

use super::beneath::{Links, Root};
use super::{SEGMENT, Stamp};

/// So many `name (v2) (N).ext` are tried before giving up.
const MOST_TRIES: u32 = 1000;

/// What is to be swapped.
pub(super) struct Swap<'a> {
    /// The new version, complete.
    pub(super) from: &'a Root,
    /// What is in it.
    pub(super) manifest: &'a Manifest,
    /// Which version it is; 0 for none.
    pub(super) version: u32,
    /// The folder where it goes.
    pub(super) target: &'a Path,
    /// How its files looked when they came.
    pub(super) looks: &'a BTreeMap<String, Stamp>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Swapped {
    /// What was edited and stayed.
    pub(super) edited: Vec<PathBuf>,
    /// Files of the new version that do not lie at their paths.
    pub(super) elsewhere: BTreeSet<String>,
}

/// What lies at a path of the target.
enum There {
    Nothing,
    /// As it came.
    Untouched,
    /// Somebody's.
    Edited,
}

impl Swap<'_> {
    /// Swaps. What it replaces is gone for good, so the new version must be on the disk.
    pub(super) fn run(&self) -> io::Result<Swapped> {
        let to = Root::open(self.target)?;
        let mut swapped = Swapped::default();
        self.remove_old(&to, &mut swapped)?;
        for entry in self.manifest.entries() {
            match entry.kind {
                // Where a file that somebody made has the name, the directory is not worth a word.
                EntryKind::EmptyDirectory => drop(to.make_directory(&entry.path)),
                EntryKind::File(id) => self.swap(&to, entry, id, &mut swapped)?,
            }
        }
        Ok(swapped)
    }

    /// Removes what the new version does not have any more, unless it was edited, and directories that are empty then.
    fn remove_old(&self, to: &Root, swapped: &mut Swapped) -> io::Result<()> {
        let is_file =
            |path: &str| self.manifest.find(path).is_some_and(|entry| matches!(entry.kind, EntryKind::File(_)));
        for path in self.looks.keys().filter(|path| !is_file(path)) {
            match self.look(to, path)? {
                There::Nothing => {}
                There::Edited => swapped.edited.push(self.target.join(path)),
                There::Untouched => {
                    to.remove_file(path)?;
                    let mut above = path.as_str();
                    while let Some((directory, _)) = above.rsplit_once('/') {
                        // Not where there is something in it.
                        if to.remove_directory(directory).is_err() {
                            break;
                        }
                        above = directory;
                    }
                }
            }
        }
        Ok(())
    }

    fn look(&self, to: &Root, path: &str) -> io::Result<There> {
        let metadata = match to.read(path, Links::Refused) {
            Ok(file) => file.metadata()?,
            Err(error) => return Ok(if is_missing(&error) { There::Nothing } else { There::Edited }),
        };
        let untouched = metadata.is_file() && self.looks.get(path) == Some(&Stamp::of(&metadata));
        Ok(if untouched { There::Untouched } else { There::Edited })
    }

    fn swap(&self, to: &Root, entry: &Entry, id: FileId, swapped: &mut Swapped) -> io::Result<()> {
        let path = entry.path.as_str();
        let new = match self.from.read(path, Links::Refused) {
            Ok(new) => Some(new),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let there = self.look(to, path)?;
        if !matches!(there, There::Nothing) && self.is_same(to, path, id, entry.mode) {
            // It did not change, or an earlier run put it there.
            return if new.is_some() { self.from.remove_file(path) } else { Ok(()) };
        }
        if matches!(there, There::Edited) {
            swapped.edited.push(self.target.join(path));
        }
        if new.is_none() {
            swapped.elsewhere.insert(path.to_owned());
            return Ok(());
        }
        if !matches!(there, There::Edited) && self.put(to, path)? {
            return Ok(());
        }
        swapped.elsewhere.insert(path.to_owned());
        self.put_beside(to, path)
    }

    /// Moves a file to its path, over what lies there; `false` where a directory of it is something else.
    fn put(&self, to: &Root, path: &str) -> io::Result<bool> {
        let (holder, name) = self.from.holder_of(path)?;
        let Ok(parent) = to.make_parent(path) else { return Ok(false) };
        match renameat(&holder, name, &parent, name) {
            Ok(()) => Ok(true),
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Moves a file to `name (v2).ext` beside its path, or where one of its directories is something else, to
    /// `directory (v2)/...`.
    fn put_beside(&self, to: &Root, path: &str) -> io::Result<()> {
        let (holder, name) = self.from.holder_of(path)?;
        let blocked =
            path.match_indices('/').map(|(at, _)| &path[..at]).find(|above| to.make_directory(above).is_err());
        for number in 0..MOST_TRIES {
            let beside = match blocked {
                None => self.versioned(path, number),
                Some(above) => format!("{}{}", self.versioned(above, number), &path[above.len()..]),
            };
            let Ok(parent) = to.make_parent(&beside) else { continue };
            let new_name = beside.rsplit_once('/').map_or(beside.as_str(), |(_, name)| name);
            match renameat_with(&holder, name, &parent, new_name, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => {}
                // The file system cannot rename without replacing.
                Err(Errno::INVAL) if to.read(&beside, Links::Refused).is_err() => {
                    return Ok(renameat(&holder, name, &parent, new_name)?);
                }
                Err(Errno::INVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "there are too many files of this name"))
    }

    /// `a/name (v2).ext`, then `a/name (v2) (1).ext` ...
    fn versioned(&self, path: &str, number: u32) -> String {
        let (above, name) =
            path.rsplit_once('/').map_or(("", path), |_| path.split_at(path.rfind('/').unwrap_or(0) + 1));
        let (stem, extension) = match name.rfind('.').filter(|at| *at > 0) {
            Some(at) => name.split_at(at),
            None => (name, ""),
        };
        let number = if number == 0 { String::new() } else { format!(" ({number})") };
        format!("{above}{stem} (v{}){number}{extension}", self.version)
    }

    /// Whether what lies at a path has the bytes of the new version; if so it gets its permissions.
    fn is_same(&self, to: &Root, path: &str, id: FileId, mode: u16) -> bool {
        let same = || {
            let mut file = to.read(path, Links::Refused)?;
            let metadata = file.metadata()?;
            let same = metadata.is_file() && metadata.len() == id.length() && hash(&mut file, id.length())? == Some(id);
            if same && metadata.permissions().mode() & 0o777 != u32::from(mode) && self.looks.contains_key(path) {
                file.set_permissions(Permissions::from_mode(u32::from(mode | super::body::OWNER_READS)))?;
            }
            io::Result::Ok(same)
        };
        same().unwrap_or(false)
    }
}

fn hash(file: &mut File, length: u64) -> io::Result<Option<FileId>> {
    use io::Read as _;
    let mut hasher = FileHasher::new(length).map_err(io::Error::other)?;
    let mut buffer = vec![0; SEGMENT];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish().map(|hashes| hashes.file_id())),
            taken => hasher.update(&buffer[..taken]),
        }
    }
}

/// Whether nothing lies at a path: a directory of it that is a file counts as something in the way only when it is used.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Scene {
        dir: tempfile::TempDir,
        looks: BTreeMap<String, Stamp>,
    }

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, content) in files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    fn manifest(files: &[(&str, &str)]) -> Manifest {
        let entry = |(path, content): &(&str, &str)| {
            let mut hasher = FileHasher::new(content.len() as u64).unwrap();
            hasher.update(content.as_bytes());
            let id = hasher.finish().unwrap().file_id();
            Entry { path: (*path).to_owned(), mode: 0o644, kind: EntryKind::File(id) }
        };
        Manifest::new(files.iter().map(entry).collect()).unwrap()
    }

    impl Scene {
        /// A folder that came here.
        fn new(old: &[(&str, &str)]) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let target = dir.path().join("target");
            fs::create_dir(&target).unwrap();
            write(&target, old);
            let stamp = |path: &str| Stamp::of(&fs::metadata(target.join(path)).unwrap());
            let looks = old.iter().map(|(path, _)| ((*path).to_owned(), stamp(path))).collect();
            Self { dir, looks }
        }

        fn target(&self) -> PathBuf {
            self.dir.path().join("target")
        }

        /// A new version of it comes.
        fn swap(&self, new: &[(&str, &str)]) -> Swapped {
            let from = self.dir.path().join("from");
            fs::create_dir_all(&from).unwrap();
            write(&from, new);
            self.run(new)
        }

        fn run(&self, new: &[(&str, &str)]) -> Swapped {
            let root = Root::open(&self.dir.path().join("from")).unwrap();
            let (manifest, target) = (manifest(new), self.target());
            Swap { from: &root, manifest: &manifest, version: 2, target: &target, looks: &self.looks }.run().unwrap()
        }

        /// All files of the target, with what is in them.
        fn files(&self) -> Vec<(String, String)> {
            let (mut files, mut ahead) = (Vec::new(), vec![self.target()]);
            while let Some(directory) = ahead.pop() {
                for entry in fs::read_dir(directory).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        ahead.push(path);
                    } else {
                        let name = path.strip_prefix(self.target()).unwrap().to_str().unwrap().to_owned();
                        files.push((name, fs::read_to_string(path).unwrap()));
                    }
                }
            }
            files.sort();
            files
        }
    }

    fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect()
    }

    #[test]
    fn what_nobody_touched_becomes_the_new_version() {
        let scene = Scene::new(&[("a", "1"), ("b/c", "same"), ("gone/x", "x"), ("was-file", "f")]);
        let kept = fs::metadata(scene.target().join("b/c")).unwrap();
        let new = [("a", "2"), ("b/c", "same"), ("n/e/w", "new"), ("was-file/in", "i")];
        let swapped = scene.swap(&new);
        assert!(swapped.edited.is_empty() && swapped.elsewhere.is_empty());
        assert_eq!(scene.files(), owned(&new));
        assert!(!scene.target().join("gone").exists(), "nor is the directory");
        let now = fs::metadata(scene.target().join("b/c")).unwrap();
        assert_eq!(Stamp::of(&now), Stamp::of(&kept), "what did not change was not touched");
    }

    #[test]
    fn what_was_edited_or_added_stays_and_the_new_one_comes_beside() {
        let scene = Scene::new(&[("d/a.txt", "1"), ("removed", "r"), ("touched", "t")]);
        write(&scene.target(), &[("d/a.txt", "mine"), ("removed", "mine"), ("added", "added"), ("new", "mine too")]);
        let new = [("d/a.txt", "2"), ("new", "theirs"), ("touched", "t2")];
        let swapped = scene.swap(&new);
        let at = |path: &str| scene.target().join(path);
        assert_eq!(swapped.edited, [at("removed"), at("d/a.txt"), at("new")]);
        assert_eq!(swapped.elsewhere, BTreeSet::from(["d/a.txt".to_owned(), "new".to_owned()]));
        let expected = [
            ("added", "added"),
            ("d/a (v2).txt", "2"),
            ("d/a.txt", "mine"),
            ("new", "mine too"),
            ("new (v2)", "theirs"),
            ("removed", "mine"),
            ("touched", "t2"),
        ];
        assert_eq!(scene.files(), owned(&expected));
    }

    #[test]
    fn what_is_in_the_way_of_a_directory_stays() {
        let scene = Scene::new(&[("a", "1")]);
        write(&scene.target(), &[("a", "edited"), ("b/x", "x")]);
        let swapped = scene.swap(&[("a/in", "new"), ("b", "file")]);
        assert_eq!(swapped.elsewhere.len(), 2);
        let expected = [("a", "edited"), ("a (v2)/in", "new"), ("b (v2)", "file"), ("b/x", "x")];
        assert_eq!(scene.files(), owned(&expected));
    }

    #[test]
    fn a_run_that_was_cut_off_is_gone_on_with() {
        let old = [("a", "1"), ("b", "1"), ("c", "1"), ("old", "o")];
        let new = [("a", "2"), ("b", "2"), ("c", "2"), ("d/e", "2")];
        for done in 0..=new.len() {
            let scene = Scene::new(&old);
            let from = scene.dir.path().join("from");
            fs::create_dir(&from).unwrap();
            write(&from, &new);
            // So far it came.
            for (path, _) in &new[..done] {
                fs::create_dir_all(scene.target().join(path).parent().unwrap()).unwrap();
                fs::rename(from.join(path), scene.target().join(path)).unwrap();
            }
            let swapped = scene.run(&new);
            assert!(swapped.edited.is_empty() && swapped.elsewhere.is_empty(), "{swapped:?}");
            assert_eq!(scene.files(), owned(&new));
            assert!(scene.run(&new).edited.is_empty(), "and again");
        }
    }

    #[test]
    fn links_in_the_folder_lead_nowhere() {
        let scene = Scene::new(&[("a/b", "1")]);
        let outside = scene.dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("b"), "theirs").unwrap();
        fs::remove_dir_all(scene.target().join("a")).unwrap();
        std::os::unix::fs::symlink(&outside, scene.target().join("a")).unwrap();
        scene.swap(&[("a/b", "2"), ("a/c", "2")]);
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(outside.join("b")).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(scene.target().join("a (v2)/c")).unwrap(), "2");
    }
}
