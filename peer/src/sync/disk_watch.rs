//! Disk watch: hears from the system when something changes at watched paths.
//!
//! A file is watched through the directory that it lies in, because editors replace files by renaming; a folder with all that
//! is in it besides. Events may be lost, which is told, and then everything is to be looked at.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// Most directories that are watched, those inside of watched folders too. The system has a limit for each user, 8,192 where
/// memory is short.
const MOST_DIRECTORIES: usize = 8_000;

/// What the system told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DiskEvent {
    /// Something changed at this watched path, or below it.
    Changed(PathBuf),
    /// The directories on the way to this watched path changed, or it came: begin to watch anew.
    Moved(PathBuf),
}

/// Why something is not watched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    /// Over [`MOST_DIRECTORIES`].
    #[error("there are more than {MOST_DIRECTORIES} directories in what is watched")]
    TooMany,
    /// The system has no room for more.
    #[error(
        "the system's limit of watched directories is reached; raise fs.inotify.max_user_watches and max_user_instances"
    )]
    SystemLimit,
    /// Something else.
    #[error("the system cannot watch {path}: {source}")]
    System {
        /// Where.
        path: PathBuf,
        /// What it said.
        source: notify::Error,
    },
}

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct DiskWatch {
    _watcher: RecommendedWatcher,
    /// Watched paths whose directory is not there: nothing is heard of them.
    pub(crate) missing: Vec<PathBuf>,
    lost: Arc<AtomicBool>,
}

impl DiskWatch {
    /// Watches these paths. What finds the queue full is dropped, and [`Self::take_lost`] says so. Blocks.
    pub(crate) fn start(paths: &[PathBuf], events: mpsc::Sender<DiskEvent>) -> Result<Self, WatchError> {
        let plan = Plan::of(paths)?;
        let lost = Arc::new(AtomicBool::new(false));
        let (table, told) = (plan.table, Arc::clone(&lost));
        let handle = move |event: notify::Result<Event>| {
            let heard = event.map_or(Heard::Lost, |event| Heard::of(&event, &table));
            match heard {
                Heard::Lost => told.store(true, Ordering::Relaxed),
                Heard::These(heard) => {
                    for event in heard {
                        if events.try_send(event).is_err() {
                            told.store(true, Ordering::Relaxed);
                        }
                    }
                }
            }
        };
        let config = notify::Config::default().with_follow_symlinks(false);
        let mut watcher = RecommendedWatcher::new(handle, config).map_err(|source| error(Path::new("/"), source))?;
        // In this order: a directory that is named in both lists is to be watched with all that is in it.
        for path in &plan.single {
            watcher.watch(path, RecursiveMode::NonRecursive).map_err(|source| error(path, source))?;
        }
        for path in &plan.deep {
            watcher.watch(path, RecursiveMode::Recursive).map_err(|source| error(path, source))?;
        }
        Ok(Self { _watcher: watcher, missing: plan.missing, lost })
    }

    /// Whether events were lost since the last time.
    pub(crate) fn take_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }
}

fn error(path: &Path, source: notify::Error) -> WatchError {
    let at_limit = match &source.kind {
        notify::ErrorKind::MaxFilesWatch => true,
        // No room for another watch, or for another watcher.
        notify::ErrorKind::Io(error) => {
            matches!(error.kind(), io::ErrorKind::StorageFull) || error.raw_os_error() == Some(EMFILE)
        }
        _ => false,
    };
    if at_limit { WatchError::SystemLimit } else { WatchError::System { path: path.to_owned(), source } }
}

const EMFILE: i32 = rustix::io::Errno::MFILE.raw_os_error();

/// Which directories are to be watched for which paths.
#[derive(Debug, Default)]
struct Plan {
    single: BTreeSet<PathBuf>,
    deep: BTreeSet<PathBuf>,
    missing: Vec<PathBuf>,
    table: Vec<Place>,
}

/// Where something watched lies.
#[derive(Debug)]
struct Place {
    /// After links, perhaps.
    at: PathBuf,
    /// As it was named.
    path: PathBuf,
    kind: PlaceKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlaceKind {
    File,
    /// A folder, or nothing that is there yet.
    Other,
}

impl Plan {
    fn of(paths: &[PathBuf]) -> Result<Self, WatchError> {
        let mut plan = Self::default();
        let mut directories = 0;
        for path in paths {
            // A file may be shared under the name of a link to it; both may change.
            let real = path.canonicalize().ok().filter(|real| real != path);
            for place in std::iter::once(path.clone()).chain(real) {
                match place.parent() {
                    Some(parent) if parent.is_dir() => plan.single.insert(parent.to_owned()),
                    _ => {
                        plan.missing.push(path.clone());
                        continue;
                    }
                };
                let metadata = place.symlink_metadata().ok();
                if metadata.as_ref().is_some_and(std::fs::Metadata::is_dir) {
                    directories += count_directories(&place, MOST_DIRECTORIES);
                    plan.deep.insert(place.clone());
                }
                let is_file = metadata.is_some_and(|metadata| !metadata.is_dir());
                let kind = if is_file { PlaceKind::File } else { PlaceKind::Other };
                plan.table.push(Place { at: place, path: path.clone(), kind });
            }
        }
        if directories + plan.single.len() > MOST_DIRECTORIES { Err(WatchError::TooMany) } else { Ok(plan) }
    }
}

/// How many directories there are, this one included; more than `most` are not counted.
fn count_directories(root: &Path, most: usize) -> usize {
    let (mut count, mut open) = (0, vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        count += 1;
        if count > most {
            break;
        }
        // What cannot be read has nothing that counts.
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        let is_directory = |entry: &std::fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
        open.extend(entries.flatten().filter(is_directory).map(|entry| entry.path()));
    }
    count
}

/// What one event comes to.
enum Heard {
    Lost,
    These(BTreeSet<DiskEvent>),
}

impl Heard {
    fn of(event: &Event, table: &[Place]) -> Self {
        if event.need_rescan() {
            return Self::Lost;
        }
        let is_structure = match event.kind {
            // Whoever only reads changes nothing; this program reads a lot.
            EventKind::Access(kind) if !is_written(kind) => return Self::These(BTreeSet::new()),
            EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => true,
            EventKind::Access(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => false,
        };
        let mut heard = BTreeSet::new();
        for at in &event.paths {
            for Place { at: place, path, kind } in table {
                if at.starts_with(place) {
                    heard.insert(DiskEvent::Changed(path.clone()));
                }
                // A file is watched through its directory, whatever becomes of it.
                if is_structure && place.starts_with(at) && (at != place || *kind == PlaceKind::Other) {
                    heard.insert(DiskEvent::Moved(path.clone()));
                }
            }
        }
        Self::These(heard)
    }
}

const fn is_written(kind: notify::event::AccessKind) -> bool {
    use notify::event::{AccessKind, AccessMode};
    matches!(kind, AccessKind::Close(AccessMode::Write))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Duration;

    async fn heard(events: &mut mpsc::Receiver<DiskEvent>, path: &Path) {
        let wanted = async {
            loop {
                let (DiskEvent::Changed(at) | DiskEvent::Moved(at)) = events.recv().await.unwrap();
                if at == path {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wanted).await.unwrap();
        while events.try_recv().is_ok() {}
    }

    #[tokio::test]
    async fn writing_replacing_and_a_link_are_heard_and_reading_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let (file, link, folder) = (root.join("a/file"), root.join("b/link"), root.join("folder"));
        for path in [root.join("a"), root.join("b"), folder.join("deep/er")] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(&file, "1").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let (sender, mut events) = mpsc::channel(1000);
        let paths = [file.clone(), link.clone(), folder.clone(), root.join("none/file")];
        let watch = DiskWatch::start(&paths, sender).unwrap();
        assert_eq!(watch.missing, [root.join("none/file")]);
        fs::read(&file).unwrap();
        fs::write(root.join("a/other"), "2").unwrap();
        fs::write(folder.join("deep/er/new"), "3").unwrap();
        heard(&mut events, &folder).await;
        assert!(events.try_recv().is_err(), "nothing was heard of reading, nor of another file");
        for path in [&file, &link] {
            fs::write(&file, "4").unwrap();
            heard(&mut events, path).await;
            fs::write(root.join("a/beside"), "5").unwrap();
            fs::rename(root.join("a/beside"), &file).unwrap();
            heard(&mut events, path).await;
        }
        fs::rename(&folder, root.join("away")).unwrap();
        heard(&mut events, &folder).await;
        assert!(!watch.take_lost());
    }

    #[tokio::test]
    async fn what_finds_no_room_is_told_as_lost() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let file = root.join("file");
        let (sender, mut events) = mpsc::channel(1);
        let watch = DiskWatch::start(std::slice::from_ref(&file), sender).unwrap();
        fs::write(&file, "1").unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !watch.take_lost() {
            assert!(std::time::Instant::now() < deadline);
            fs::write(&file, "2").unwrap();
            tokio::task::yield_now().await;
        }
        assert!(events.recv().await.is_some());
    }
}
