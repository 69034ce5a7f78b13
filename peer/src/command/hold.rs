//! Holding: something is brought here that nobody here has asked for, so that others find it here.

use std::sync::Arc;
use std::time::Duration;

use common::name::EntryRef;
use common::wire::tracker::Entry;
use tokio::sync::mpsc;

use super::download::{answer_to, plan};
use super::downloads::{Interest, Patience, Remains};
use super::errand::{self, Errand, Purpose, Started};
use super::local::{self, Wanted};
use super::parts::{Parts, off_reactor};
use super::{Failure, Update, copies, failure};
use crate::engine::{DownloadSpec, PlanSource};

/// Progress that waits to be looked at; more is dropped.
const UPDATES: usize = 16;

/// How a try to hold something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    /// It is here.
    Here,
    /// It may be later: nobody has it, say, or somebody here wants it himself.
    NotNow,
    /// It is more than there is room for: its owner lied about it.
    TooMuch,
}

/// What is to be held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holding<'a> {
    pub(crate) entry: &'a Entry,
    /// Bytes that it may have.
    pub(crate) room: u64,
    /// So long it is waited for somebody who has what is missing.
    pub(crate) patience: Duration,
}

/// Tries to bring something here. What has come of it does not stay where that fails, unless it came for somebody here. A
/// download for which somebody here has asked is left alone, before and from then on.
pub(crate) async fn hold(parts: &Arc<Parts>, holding: Holding<'_>) -> Held {
    let held = tokio::select! {
        biased;
        () = parts.ending.cancelled() => Ok(Held::NotNow),
        held = try_to_hold(parts, holding) => held,
    };
    held.unwrap_or_else(|failure| {
        tracing::info!(name = holding.entry.name, %failure, "not held");
        Held::NotNow
    })
}

async fn try_to_hold(parts: &Arc<Parts>, Holding { entry, room, patience }: Holding<'_>) -> Result<Held, Failure> {
    let network = parts.network()?;
    let owner = entry.owners.first().ok_or_else(failure::odd_answer)?;
    let asked: EntryRef = failure::entry_ref(&format!("{owner}/{}", entry.name))?;
    let plan = plan(parts, &asked).await?;
    let (named, _) = answer_to(&asked, &plan)?;
    let content = plan.entry.content;
    let is_wanted_here = parts.records.find(network, &named).is_some() || parts.downloads.find(&content).is_some();
    if content != entry.content || is_wanted_here {
        return Ok(Held::NotNow);
    }
    let errand = Errand {
        entry: named,
        version: plan.entry.version,
        content,
        audience: plan.audience.clone(),
        source: PlanSource::Entry,
        purpose: Purpose::Once,
    };
    let target = local::target(&parts.dir.seeding(), &errand.entry.name, None).await?;
    let (updates, mut progress) = mpsc::channel(UPDATES);
    if let Some(here) = local::find(parts, network, &content, &target, Wanted::Anywhere, &updates).await? {
        errand::take(parts, network, &errand, here.into_shared()).await;
        return Ok(Held::Here);
    }
    let engine = parts.engine.clone();
    let has_come = off_reactor(move || engine.in_the_making(&content).is_some()).await;
    let interest = Interest::Holding(if has_come { Remains::Kept } else { Remains::Discarded });
    let bases = copies::bases(parts, network, &errand.entry).await;
    let spec = DownloadSpec { bases, plan: Some(plan), ..errand.spec(target) };
    let Started::New(running) = errand::start(parts, network, errand, spec, interest).await else {
        return Ok(Held::NotNow);
    };
    let mut watching = Box::pin(running.follow(&updates, Patience::Of(patience)));
    let ended = loop {
        tokio::select! {
            ended = &mut watching => break ended.map(|_downloaded| Held::Here),
            Some(update) = progress.recv() => {
                if matches!(update, Update::Progress(progress) if progress.bytes_total > room) {
                    break Ok(Held::TooMuch);
                }
            }
        }
    };
    if ended != Ok(Held::Here) && running.give_up() {
        // It takes what has come of it along.
        drop(running.end.clone().wait_for(Option::is_some).await);
    }
    ended
}
