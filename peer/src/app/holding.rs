//! Holding: a supernode fetches what is shared in its network, so that everybody is one hop from it and who shared it may
//! leave. The smallest first: so it has as many files as fit.
//!
//! What lies in `seeding/` counts, however it came there, and so does what is in the making; nothing that is complete is ever
//! removed to make room. What users download, or have cancelled, is theirs. What was begun is finished, even where this node is
//! the supernode no more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use common::id::Content;
use common::wire::tracker::Entry;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, timeout};

use super::background::network;
use crate::command::{Command, Held, Holding, Listing, Outcome, Parts, hold, run};
use crate::library::Resumption;
use crate::notice::Notice;

/// How often it is looked what there is, when nobody says that there is something new.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What could not be fetched is tried again after this.
const AGAIN: Duration = Duration::from_secs(60);
/// So long it is waited for somebody who has what is missing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Fetches up to so many bytes in all, as long as this node runs and whenever it is the supernode.
pub(super) async fn keep_holding(parts: Arc<Parts>, limit: u64) {
    let mut notices = parts.notices.subscribe();
    let mut holder = Holder { parts, limit, sizes: BTreeMap::new(), failed: BTreeMap::new(), has_told: false };
    loop {
        while holder.leads().await && holder.fetch_next().await {}
        let shared = async {
            while !matches!(notices.recv().await, Ok(Notice::Shares { .. }) | Err(broadcast::error::RecvError::Closed))
            {
            }
        };
        // Time over, or something new: both are looked at in the same way.
        let _either = timeout(LOOK_EVERY, shared).await;
    }
}

struct Holder {
    parts: Arc<Parts>,
    limit: u64,
    /// Of what lies in `seeding/`, how much it is.
    sizes: BTreeMap<Content, u64>,
    /// What could not be fetched, and when it may be tried again; never, where its owner lied about its size.
    failed: BTreeMap<Content, Option<Instant>>,
    has_told: bool,
}

/// What there is here already.
struct Found {
    /// What is not to be fetched: it is here, or it is for users to say whether it comes.
    left_out: BTreeSet<Content>,
    /// Bytes that count.
    used: u64,
    /// How many of them are of something in the making, by the text of its content.
    in_the_making: BTreeMap<String, u64>,
}

impl Holder {
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
        let Some(Found { left_out, used, in_the_making }) = self.look(&entries).await else { return false };
        let now = Instant::now();
        self.failed.retain(|_, again| again.is_none_or(|again| now < again));
        let wanted = |entry: &&Entry| !left_out.contains(&entry.content) && !self.failed.contains_key(&entry.content);
        let mut missing: Vec<&Entry> = entries.iter().filter(wanted).collect();
        missing.sort_by_key(|entry| (entry.bytes(), entry.name.as_str()));
        let Some(next) = missing.first() else {
            self.has_told = false;
            return false;
        };
        // What came of it earlier is used once.
        let of_it = in_the_making.get(&next.content.to_string()).copied().unwrap_or_default();
        let room = self.limit.saturating_sub(used.saturating_sub(of_it));
        if next.bytes() > room {
            self.tell_full(next, missing.len());
            return false;
        }
        match hold(&self.parts, Holding { entry: next, room, patience: PATIENCE }).await {
            Held::Here => {}
            Held::NotNow => drop(self.failed.insert(next.content, Some(Instant::now() + AGAIN))),
            Held::TooMuch => drop(self.failed.insert(next.content, None)),
        }
        true
    }

    /// What there is here of this network, wherever it lies, and of what counts how much; `None` where the disk does not say.
    async fn look(&mut self, entries: &[Entry]) -> Option<Found> {
        let network = network(&self.parts).await;
        let (seeding, mut known): (PathBuf, _) = (self.parts.dir.seeding(), std::mem::take(&mut self.sizes));
        let (engine, listed) =
            (self.parts.engine.clone(), entries.iter().map(|entry| entry.content).collect::<Vec<_>>());
        let (mut left_out, sizes, in_the_making) = self
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
                let is_cancelled = |content: &Content| library.resumption(content) == Resumption::WhenAsked;
                let cancelled = listed.into_iter().filter(is_cancelled);
                let left_out: BTreeSet<_> = items.iter().map(|item| item.content).chain(cancelled).collect();
                (left_out, sizes, engine.bytes_in_the_making())
            })
            .await;
        self.sizes = sizes;
        let in_the_making =
            in_the_making.inspect_err(|error| tracing::warn!(%error, "it is not known what is in the making")).ok()?;
        let under_way = self.parts.downloads.all();
        left_out.extend(under_way.iter().map(|running| running.content()));
        let to_come: u64 = under_way.iter().map(|running| running.bytes_to_come()).sum();
        let used = self.sizes.values().chain(in_the_making.values()).sum::<u64>() + to_come;
        Some(Found { left_out, used, in_the_making })
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
