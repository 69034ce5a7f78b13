//! Drafts: chunks that come in parts, and whose bytes cannot be judged before all are there.
//!
//! Several links may bring the same chunk at the same time, and one of them may lie. So only the first draft of a chunk
//! is written in the chunk's place; another one goes beside it, and is copied there when it turns out right. Once a chunk
//! is right nothing is written in its place any more.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// Who may write in the places of chunks.
///
/// Locks: first that of the places, then that of one chunk's pass.
#[derive(Debug, Default)]
pub(super) struct Places {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    by_chunk: HashMap<u32, Place>,
    /// Nobody may write any more.
    ended: bool,
    files_made: u64,
}

#[derive(Debug)]
enum Place {
    /// A draft is written there, as long as it lives.
    Taken(Weak<Pass>),
    /// The chunk is there and right.
    Right,
}

/// Whether a draft may still be written in the chunk's place; locked while it is.
type Pass = Mutex<bool>;

/// A chunk that comes in parts.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(super) chunk: u32,
    pub(super) to: To,
}

/// Where a draft is written.
#[derive(Debug)]
pub(super) enum To {
    Place(Arc<Pass>),
    /// A file without a name, for this chunk alone.
    Beside(File),
    /// The chunk is right already.
    Nowhere,
}

impl Places {
    /// Begins a draft of a chunk; `folder` is for what goes beside.
    pub(super) fn draft(&self, chunk: u32, folder: &Path) -> io::Result<Draft> {
        let mut state = self.lock();
        let to = match state.by_chunk.get(&chunk) {
            _ if state.ended => To::Nowhere,
            Some(Place::Right) => To::Nowhere,
            Some(Place::Taken(pass)) if pass.strong_count() > 0 => To::Beside(state.nameless(folder)?),
            _ => {
                let pass = Arc::new(Mutex::new(true));
                state.by_chunk.insert(chunk, Place::Taken(Arc::downgrade(&pass)));
                To::Place(pass)
            }
        };
        Ok(Draft { chunk, to })
    }

    /// Runs `write`, which puts what is right in the chunk's place, unless that is done or too late; whoever else writes
    /// there has stopped by then.
    pub(super) fn settle(&self, chunk: u32, write: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.lock();
        if state.ended || matches!(state.by_chunk.get(&chunk), Some(Place::Right)) {
            return Ok(());
        }
        state.take_pass(chunk);
        write()?;
        state.by_chunk.insert(chunk, Place::Right);
        Ok(())
    }

    /// From now on nothing is written.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        let chunks: Vec<u32> = state.by_chunk.keys().copied().collect();
        chunks.into_iter().for_each(|chunk| state.take_pass(chunk));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Whoever writes in the place of this chunk does so no more.
    fn take_pass(&self, chunk: u32) {
        if let Some(Place::Taken(pass)) = self.by_chunk.get(&chunk)
            && let Some(pass) = pass.upgrade()
        {
            *lock(&pass) = false;
        }
    }

    fn nameless(&mut self, folder: &Path) -> io::Result<File> {
        loop {
            let path = folder.join(format!("draft-{}", self.files_made));
            self.files_made += 1;
            match OpenOptions::new().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => {
                    std::fs::remove_file(&path)?;
                    return Ok(file);
                }
                // A crash left it.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
