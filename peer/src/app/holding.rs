//! Holding: a supernode fetches what is shared in its network, so that everybody is one hop from it and who shared it may
//! leave. The smallest first: so it has as many files as fit.
//!
//! What lies in `seeding/` counts, however it came there; nothing is ever removed to make room.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use common::id::Content;
use common::wire::tracker::Entry;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, interval, timeout};

use super::background::network;
use crate::command::{Command, Follow, Listing, Outcome, Parts, Update, run};
use crate::notice::Notice;

/// How often it is looked what there is, when nobody says that there is something new.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether this node still is the supernode, while something is fetched.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// What could not be fetched is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);
/// So long a download waits for somebody who has what is missing.
const WAIT_SECS: u64 = 30;
/// Progress that waits to be looked at; more is dropped.
const UPDATES: usize = 16;

/// Fetches up to so many bytes in all, as long as this node runs and whenever it is the supernode.
pub(super) async fn hold(parts: Arc<Parts>, limit: u64) {
    let mut notices = parts.notices.subscribe();
    let mut holding = Holding { parts, limit, sizes: BTreeMap::new(), failed: BTreeMap::new(), has_told: false };
    loop {
        while holding.leads().await && holding.fetch_next().await {}
        let shared = async {
            while !matches!(notices.recv().await, Ok(Notice::Shares { .. }) | Err(broadcast::error::RecvError::Closed))
            {
            }
        };
        // Time over, or something new: both are looked at in the same way.
        let _either = timeout(LOOK_EVERY, shared).await;
    }
}

struct Holding {
    parts: Arc<Parts>,
    limit: u64,
    /// Of what lies here, how much it is.
    sizes: BTreeMap<Content, u64>,
    /// What could not be fetched, and when it may be tried again; never, where its owner lied about its size.
    failed: BTreeMap<Content, Option<Instant>>,
    has_told: bool,
}

/// How a download ended.
enum Fetched {
    All,
    /// It may do later.
    NotNow,
    /// It is more than was said.
    TooMuch,
}

impl Holding {
    /// Whether this node is the supernode of others.
    async fn leads(&self) -> bool {
        let Some(node) = &self.parts.node else { return false };
        node.peers().await.is_ok_and(|peers| peers.here.supernode && !peers.others.is_empty())
    }

    /// Fetches the smallest that is missing; false where there is nothing to do.
    async fn fetch_next(&mut self) -> bool {
        let (updates, _nobody_looks) = mpsc::channel(1);
        let Ok(Outcome::Entries(entries)) = run(&self.parts, Command::List(Listing::default()), &updates).await else {
            return false;
        };
        let held = self.look().await;
        let used: u64 = self.sizes.values().sum();
        let now = Instant::now();
        self.failed.retain(|_, again| again.is_none_or(|again| now < again));
        let wanted = |entry: &&Entry| !held.contains(&entry.content) && !self.failed.contains_key(&entry.content);
        let mut missing: Vec<&Entry> = entries.iter().filter(wanted).collect();
        missing.sort_by_key(|entry| (entry.bytes(), entry.name.as_str()));
        let room = self.limit.saturating_sub(used);
        match missing.first() {
            None => {
                self.has_told = false;
                false
            }
            Some(next) if next.bytes() > room => {
                self.tell_full(next, missing.len());
                false
            }
            Some(next) => {
                match self.fetch(next, room).await {
                    Fetched::All => {}
                    Fetched::NotNow => drop(self.failed.insert(next.content, Some(Instant::now() + AGAIN))),
                    Fetched::TooMuch => drop(self.failed.insert(next.content, None)),
                }
                true
            }
        }
    }

    /// What is here of this network, wherever it lies; notes how much of it lies in `seeding/`.
    async fn look(&mut self) -> BTreeSet<Content> {
        let network = network(&self.parts).await;
        let (seeding, mut known): (PathBuf, _) = (self.parts.dir.seeding(), std::mem::take(&mut self.sizes));
        let (held, sizes) = self
            .parts
            .with_library(move |library| {
                let items = library.items(network);
                let mut sizes = BTreeMap::new();
                for item in items.iter().filter(|item| item.path.starts_with(&seeding)) {
                    let bytes = known.remove(&item.content).or_else(|| match item.content {
                        Content::File(file) => Some(file.length()),
                        Content::Folder(_) => {
                            library.check(item).ok().map(|shared| shared.insides.outline().layout().length())
                        }
                    });
                    sizes.insert(item.content, bytes.unwrap_or(0));
                }
                (items.into_iter().map(|item| item.content).collect(), sizes)
            })
            .await;
        self.sizes = sizes;
        held
    }

    async fn fetch(&self, entry: &Entry, room: u64) -> Fetched {
        let name = format!("{}/{}", entry.owners.first().map_or("", String::as_str), entry.name);
        let command = Command::Download {
            entry: name.clone(),
            only: Vec::new(),
            follow: Follow::No,
            output: None,
            wait_secs: Some(WAIT_SECS),
        };
        let (updates, mut progress) = mpsc::channel(UPDATES);
        let mut downloading = Box::pin(run(&self.parts, command, &updates));
        let mut check = interval(CHECK_EVERY);
        let ended = loop {
            tokio::select! {
                done = &mut downloading => match done {
                    Ok(_) => return Fetched::All,
                    Err(failure) => {
                        tracing::info!(name, %failure, "not held");
                        return Fetched::NotNow;
                    }
                },
                Some(update) = progress.recv() => {
                    if matches!(update, Update::Progress(progress) if progress.bytes_total > room) {
                        break Fetched::TooMuch;
                    }
                }
                _ = check.tick() => {
                    if !self.leads().await {
                        break Fetched::NotNow;
                    }
                }
            }
        };
        let (updates, _nobody_looks) = mpsc::channel(1);
        if let Err(failure) = run(&self.parts, Command::Cancel { entry: Some(name) }, &updates).await {
            tracing::debug!(%failure, "a download that is not to go on");
        }
        ended
    }

    fn tell_full(&mut self, next: &Entry, missing: usize) {
        if std::mem::replace(&mut self.has_told, true) {
            return;
        }
        let limit = ByteSize::b(self.limit).display().iec();
        let others = match missing {
            0 | 1 => String::new(),
            missing => format!(" and {} more", missing - 1),
        };
        let text = format!(
            "The limit of --hold, {limit}, is reached: {}{others} will not be fetched. What was fetched stays.",
            next.name
        );
        self.parts.tell(Notice::Warning { text });
    }
}
