//! How a job takes what lies here already before it asks anybody.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use common::wire::tracker::Have;
use tokio::time::Instant;

use super::super::JobEvent;
use super::super::reuse::{Place, Reuse, WORKERS};
use super::Job;

impl Job {
    /// The chunk hashes are known: looks in the bases for what is missing. Until that is done nobody is asked for chunks.
    pub(super) fn look_here(&mut self) {
        let Some(hashes) = self.hashes.clone() else { return };
        if self.spec.bases.is_empty() || self.picker.is_done() {
            return;
        }
        let wanted = |chunk: &u32| !self.goal.skipped.contains(*chunk);
        let reuse = Arc::new(Reuse {
            bases: self.places(),
            partial: Arc::clone(&self.partial),
            hashes,
            missing: self.picker.done().missing().filter(wanted).collect(),
            next: AtomicUsize::new(0),
            cancel: self.tools.cancel.clone(),
            events: self.events.clone(),
        });
        self.looking = true;
        let events = self.events.clone();
        self.context().tasks.spawn("look for chunks here", async move {
            let work = || {
                let reuse = Arc::clone(&reuse);
                tokio::task::spawn_blocking(move || reuse.work())
            };
            let workers: Vec<_> = std::iter::repeat_with(work).take(WORKERS).collect();
            let mut end = JobEvent::Looked;
            for worker in workers {
                if let Err(error) = worker.await.unwrap_or_else(|panicked| Err(io::Error::other(panicked))) {
                    end = JobEvent::Disk(error);
                }
            }
            let _ = events.send(end).await;
        });
    }

    /// Where to look, and what is known to be there.
    fn places(&self) -> Vec<Place> {
        let served = self.context().swarms.all();
        let manifest_at = |path: &Path| {
            let there = served.iter().filter(|swarm| swarm.path().is_some_and(|served| served == path));
            there.filter_map(|swarm| swarm.manifest().cloned()).next()
        };
        let bases = self.spec.bases.iter();
        bases.map(|path| Place::new(path.clone(), manifest_at(path).as_deref())).collect()
    }

    /// A chunk lay here.
    pub(super) fn on_found(&mut self, chunk: u32) {
        if self.picker.done().contains(chunk) {
            return;
        }
        self.picker.on_found(chunk);
        self.take_in(chunk);
    }

    /// All was looked at: what is still missing is asked for now.
    pub(super) fn on_looked(&mut self) {
        self.looking = false;
        self.fed = Instant::now();
    }

    /// A chunk is here that was not: tells all who want to know.
    pub(super) fn take_in(&mut self, chunk: u32) {
        let size = self.swarm.layout().chunk(chunk).map_or(0, |index| self.swarm.layout().size(index));
        self.done_bytes += u64::from(size);
        self.unsynced += 1;
        self.swarm.add(chunk);
        self.context().announce(&self.swarm, &Have::Add(vec![chunk]));
    }
}
