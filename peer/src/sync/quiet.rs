//! Quiet: which paths have not changed for a while, and so are worth a look. Pure: the time comes from the caller.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

/// What changed is looked at when nothing has changed there for so long: whoever wrote it is done, most likely.
pub(crate) const QUIET: Duration = Duration::from_secs(2);

/// Paths that changed of late.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    due: BTreeMap<PathBuf, Instant>,
}

impl Quiet {
    /// Something changed there, or is to be looked at again: not before it was quiet for [`QUIET`].
    pub(crate) fn on_change(&mut self, path: &Path, now: Instant) {
        self.due.insert(path.to_owned(), now + QUIET);
    }

    /// It is to be looked at now, unless it changed a moment ago.
    pub(crate) fn look_now(&mut self, path: &Path, now: Instant) {
        self.due.entry(path.to_owned()).or_insert(now);
    }

    /// A path that has been quiet for long enough; given once.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<PathBuf> {
        let path = self.due.iter().find(|(_, due)| **due <= now).map(|(path, _)| path.clone())?;
        self.due.remove(&path);
        Some(path)
    }

    /// When [`Self::poll`] has something if nothing changes before; `None`: it will not.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.due.values().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_changing_is_left_alone_until_it_is_quiet() {
        let (mut quiet, mut now) = (Quiet::default(), Instant::now());
        let path = Path::new("/a");
        for _ in 0..10 {
            quiet.on_change(path, now);
            now += QUIET / 2;
            quiet.look_now(path, now);
            assert_eq!(quiet.poll(now), None);
        }
        assert_eq!(quiet.poll_timeout(), Some(now + QUIET / 2));
        now += QUIET / 2;
        assert_eq!(quiet.poll(now).as_deref(), Some(path));
        assert_eq!((quiet.poll(now), quiet.poll_timeout()), (None, None), "once");
        quiet.look_now(path, now);
        assert_eq!(quiet.poll(now).as_deref(), Some(path), "without a change there is nothing to wait for");
    }
}
