//! Files beneath a directory: opened and made so that neither `..` nor a link leads out of it, whatever lies there.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, unlinkat};
use rustix::io::Errno;

/// Whether links within the directory count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// Those that stay in it do.
    WithinAreFollowed,
    /// None does.
    Refused,
}

/// A directory beneath which files are opened and made.
#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
}

impl Root {
    /// Opens a directory; a link to one will do.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { directory: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Opens a directory that this program made; a link that lies there is somebody else's.
    pub(crate) fn open_own(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { directory: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// The directory itself.
    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Opens a file that is there for reading. A pipe or a device does not block.
    pub(crate) fn read(&self, path: &str, links: Links) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(self.at(path, flags, Mode::empty(), links)?.into())
    }

    /// Opens a file for writing (and reading), and makes it and the directories above it where they are not there.
    pub(crate) fn write(&self, path: &str) -> io::Result<File> {
        let open = || self.at(path, OFlags::RDWR | OFlags::CREATE, Mode::from_raw_mode(NEW_FILE), Links::Refused);
        match open() {
            Err(Errno::NOENT) => {
                self.make_parent(path)?;
                Ok(open()?.into())
            }
            opened => Ok(opened?.into()),
        }
    }

    /// Makes a directory and those above it, where they are not there.
    pub(crate) fn make_directory(&self, path: &str) -> io::Result<()> {
        let mut end = 0;
        for name in path.split('/') {
            let above = &path[..end];
            end += usize::from(end > 0) + name.len();
            if self.parent(&path[..end]).is_ok() {
                continue;
            }
            let parent = self.parent(above)?;
            match mkdirat(&parent, name, Mode::from_raw_mode(NEW_DIRECTORY)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // What lies there may be something else.
        self.parent(path).map(drop)
    }

    /// The directory above a path.
    pub(crate) fn make_parent(&self, path: &str) -> io::Result<OwnedFd> {
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        if !above.is_empty() {
            self.make_directory(above)?;
        }
        self.parent(above)
    }

    /// The directory that holds what is at a path, and its name there.
    pub(crate) fn holder_of<'a>(&self, path: &'a str) -> io::Result<(OwnedFd, &'a str)> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.parent(above)?, name))
    }

    /// Removes a file, or a link.
    pub(crate) fn remove_file(&self, path: &str) -> io::Result<()> {
        let (holder, name) = self.holder_of(path)?;
        Ok(unlinkat(holder, name, rustix::fs::AtFlags::empty())?)
    }

    /// Removes a directory with nothing in it.
    pub(crate) fn remove_directory(&self, path: &str) -> io::Result<()> {
        let (holder, name) = self.holder_of(path)?;
        Ok(unlinkat(holder, name, rustix::fs::AtFlags::REMOVEDIR)?)
    }

    /// A directory beneath; the root itself for an empty path.
    fn parent(&self, path: &str) -> io::Result<OwnedFd> {
        if path.is_empty() {
            return self.directory.try_clone();
        }
        Ok(self.at(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty(), Links::Refused)?)
    }

    fn at(&self, path: &str, flags: OFlags, mode: Mode, links: Links) -> rustix::io::Result<OwnedFd> {
        let within = match links {
            Links::WithinAreFollowed => ResolveFlags::NO_MAGICLINKS,
            Links::Refused => ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
        };
        let flags = flags | OFlags::CLOEXEC;
        loop {
            match openat2(&self.directory, path, flags, mode, ResolveFlags::BENEATH | within) {
                // Something was renamed meanwhile, and the kernel could not tell whether the path leads out.
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOSYS) => return self.step_by_step(path, flags, mode),
                opened => return opened,
            }
        }
    }

    /// For kernels without openat2: one name after the other, and no link at all.
    fn step_by_step(&self, path: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut directory = self.directory.try_clone().map_err(|_error| Errno::MFILE)?;
        let steps = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for step in above.split('/').filter(|step| !step.is_empty()) {
            if step == ".." {
                return Err(Errno::XDEV);
            }
            directory = openat(&directory, step, steps, Mode::empty())?;
        }
        openat(&directory, name, flags | OFlags::NOFOLLOW, mode)
    }
}

/// Permission bits of what is made, before the process's mask is taken from them.
const NEW_FILE: u32 = 0o666;
const NEW_DIRECTORY: u32 = 0o777;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Read as _, Write as _};

    #[test]
    fn nothing_leads_out() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        fs::create_dir_all(inside.join("real")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "s").unwrap();
        fs::write(inside.join("real/file"), "f").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("away")).unwrap();
        std::os::unix::fs::symlink("../out/secret", inside.join("leak")).unwrap();
        std::os::unix::fs::symlink("real/file", inside.join("near")).unwrap();
        let root = Root::open(&inside).unwrap();
        for links in [Links::WithinAreFollowed, Links::Refused] {
            for path in ["away/secret", "leak", "../out/secret", "/etc/passwd", "real/../../out/secret"] {
                assert!(root.read(path, links).is_err(), "{path}");
            }
        }
        for path in ["away/new", "leak", "near", "../new"] {
            assert!(root.write(path).is_err(), "{path}");
        }
        assert!(root.make_directory("away/new").is_err());
        assert!(root.make_directory("real/file").is_err());
        let mut text = String::new();
        root.read("near", Links::WithinAreFollowed).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "f");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"s");
    }

    #[test]
    fn what_is_missing_above_a_file_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.write("a/b/c").unwrap().write_all(b"c").unwrap();
        root.write("a/b/d").unwrap();
        root.make_directory("a/e").unwrap();
        root.make_directory("a/e").unwrap();
        assert_eq!(fs::read(dir.path().join("a/b/c")).unwrap(), b"c");
        root.remove_directory("a/e").unwrap();
        root.remove_file("a/b/d").unwrap();
        assert!(root.remove_directory("a").is_err());
    }
}
