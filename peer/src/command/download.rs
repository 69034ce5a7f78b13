//! Downloading: from an entry's name to a complete file that this peer serves on; and cancelling that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::{Content, NetworkId};
use common::name::EntryRef;
use common::wire::tracker::{Plan, Reply, Request};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::downloads::{Begun, Carrier, Patience, Running};
use super::local::{self, Here, Wanted};
use super::parts::{Parts, absolute};
use super::{Downloaded, Failure, FailureKind, Outcome, Update, failure};
use crate::engine::{Done, DownloadError, DownloadSpec, Placing, PlanSource};
use crate::library::{EntryShare, Item, Resumption};
use crate::notice::Notice;

/// How long cancelling waits for a download to end; what has come is on the disk or fetched again.
const CANCEL_DEADLINE: Duration = Duration::from_secs(10);

/// Downloads an entry, or goes on watching it where that is under way.
pub(super) async fn download(
    parts: &Arc<Parts>,
    entry: &str,
    output: Option<PathBuf>,
    wait_secs: Option<u64>,
    updates: &mpsc::Sender<Update>,
) -> Result<Outcome, Failure> {
    let begin = Instant::now();
    let asked = failure::entry_ref(entry)?;
    if let Some(output) = &output {
        absolute(output)?;
    }
    let wait = wait_secs.map(Duration::from_secs);
    let patience = wait.map_or(Patience::Endless, Patience::Of);
    // Before the tracker is told that the file is wanted.
    let target = local::target(&parts.dir.seeding(), &asked.name, output.as_deref()).await?;
    let plan = match plan(parts, &asked).await {
        Ok(plan) => plan,
        // What is under way goes on without the tracker, and can be watched.
        Err(failure) if failure.kind == FailureKind::NoTracker => match parts.downloads.named(&asked).as_slice() {
            [running] => return Ok(Outcome::Downloaded(running.follow(updates, patience).await?)),
            _ => return Err(failure),
        },
        Err(failure) => return Err(failure),
    };
    let (network, file) = (parts.network()?, plan.entry.content);
    let full = full_name(&asked, &plan)?;
    if let Some(running) = parts.downloads.find(&file) {
        return Ok(Outcome::Downloaded(running.follow(updates, patience).await?));
    }
    let wanted = if output.is_some() { Wanted::There } else { Wanted::Anywhere };
    let here = local::find(parts, network, &file, &target, wanted, updates).await?;
    if let Some(here) = here {
        let share = EntryShare { version: plan.entry.version, audience: plan.audience };
        return Ok(Outcome::Downloaded(take_what_is_here(parts, network, (full, share), here, begin).await));
    }
    let (entry, name) = (full.to_string(), full.name.to_string());
    let spec = DownloadSpec {
        entry,
        source: PlanSource::Entry,
        name,
        version: plan.entry.version,
        content: file,
        audience: plan.audience.clone(),
        target,
        placing: Placing::Beside,
        bases: Vec::new(),
        only: Vec::new(),
        wait,
        plan: Some(plan),
    };
    let running = match start(parts, network, full, spec).await {
        // The engine itself gives up after the wait.
        Started::New(running) => running.follow(updates, Patience::Endless).await?,
        Started::UnderWay(running) => running.follow(updates, patience).await?,
    };
    Ok(Outcome::Downloaded(running))
}

/// What the tracker knows of an entry.
async fn plan(parts: &Parts, asked: &EntryRef) -> Result<Plan, Failure> {
    match parts.tracker.request(Request::Plan { entry: asked.to_string(), content: None }).await? {
        Reply::Plan(plan) if plan.entry.name == asked.name.as_str() => Ok(plan),
        _ => Err(failure::odd_answer()),
    }
}

/// `owner/name`, where any owner of the file will do.
fn full_name(asked: &EntryRef, plan: &Plan) -> Result<EntryRef, Failure> {
    let owner = match (&asked.owner, plan.entry.owners.first()) {
        (Some(owner), _) => owner.clone(),
        (None, Some(owner)) => failure::user_name(owner)?,
        (None, None) => return Err(failure::odd_answer()),
    };
    Ok(EntryRef { owner: Some(owner), name: asked.name.clone() })
}

/// The file is here already: it is shared where it lies.
async fn take_what_is_here(
    parts: &Parts,
    network: NetworkId,
    (entry, share): (EntryRef, EntryShare),
    here: Here,
    begin: Instant,
) -> Downloaded {
    let (shared, already) = match here {
        Here::Listed(shared) => (shared, true),
        Here::Unlisted(shared) => (shared, true),
        Here::Copied(shared) => (shared, false),
    };
    let (content, path, version) = (shared.content, shared.path.clone(), share.version);
    let (entries, offers) = (BTreeMap::from([(entry.clone(), share)]), BTreeSet::new());
    let item = Item { network, content, path: path.clone(), entries, offers, looks: shared.looks.clone() };
    parts.share(item, shared).await;
    parts.save_library().await;
    let elapsed_ms = milliseconds(begin.elapsed());
    let (entry, bytes) = (entry.to_string(), content.file_or_manifest().length());
    let (fetched_bytes, shares) = (0, Vec::new());
    Downloaded { entry, version, file: content, bytes, path, already, fetched_bytes, elapsed_ms, shares }
}

/// What became of the wish to begin a download.
enum Started {
    New(Arc<Running>),
    UnderWay(Arc<Running>),
}

/// Begins a download that goes on whoever watches, unless there is one of this file.
async fn start(parts: &Arc<Parts>, network: NetworkId, entry: EntryRef, spec: DownloadSpec) -> Started {
    let file = spec.content;
    let (running, carrier) = match parts.downloads.begin(entry, file) {
        Begun::UnderWay(running) => return Started::UnderWay(running),
        Begun::New(running, carrier) => (running, carrier),
    };
    let (all, carried) = (Arc::clone(parts), Arc::clone(&running));
    parts.tasks.spawn("download", async move { carry_out(&all, network, &carried, spec, carrier).await });
    if parts.library.resumption(&file) == Resumption::WhenAsked {
        parts.with_library(move |library| library.set_resumption(file, Resumption::ByItself)).await;
        parts.save_library().await;
    }
    Started::New(running)
}

async fn carry_out(parts: &Arc<Parts>, network: NetworkId, running: &Running, spec: DownloadSpec, carrier: Carrier) {
    let (name, file) = (running.entry.name.clone(), running.file);
    let progress = carrier.progress.clone();
    let (source, version) = (spec.source, spec.version);
    let result = parts.engine.download(spec, progress, running.cancel.clone()).await;
    let end = match result {
        Ok(done) => {
            let downloaded = complete(parts, network, running, (source, version), done).await;
            parts.tell(Notice::Downloaded { name: name.to_string(), path: downloaded.path.clone() });
            Ok(downloaded)
        }
        Err(error) => {
            if !matches!(error, DownloadError::Cancelled) {
                parts.tell(Notice::DownloadFailed { name: name.to_string(), why: error.to_string() });
            }
            Err(failure::of_download(&name, error))
        }
    };
    parts.downloads.end(&file, &carrier, end);
    // After a large file the disk takes its time, for which nobody needs to wait.
    parts.save_library().await;
}

/// The file is complete and served: the library takes it, and the tracker is told.
async fn complete(
    parts: &Arc<Parts>,
    network: NetworkId,
    running: &Running,
    (source, version): (PlanSource, u32),
    done: Done,
) -> Downloaded {
    let Done { shared, fetched_bytes, elapsed, shares, edited: _ } = done;
    let (content, path, entry) = (shared.content, shared.path.clone(), running.entry.to_string());
    let audience = shared.audiences.first().cloned().unwrap_or_default();
    let mut item = Item {
        network,
        content,
        path: path.clone(),
        entries: BTreeMap::new(),
        offers: BTreeSet::new(),
        looks: shared.looks.clone(),
    };
    match source {
        PlanSource::Entry => {
            item.entries.insert(running.entry.clone(), EntryShare { version, audience: audience.clone() });
        }
        PlanSource::Offer(offer) => {
            item.offers.insert(offer);
        }
    }
    parts.share(item, shared).await;
    let (all, request) = (Arc::clone(parts), Request::Completed { entry: entry.clone(), content, audience });
    parts.tasks.spawn("tell of a completed download", async move {
        if let Err(error) = all.tracker.request(request).await {
            tracing::debug!(%error, "the tracker does not know of a completed download");
        }
    });
    let (bytes, elapsed_ms) = (content.file_or_manifest().length(), milliseconds(elapsed));
    Downloaded { entry, version, file: content, bytes, path, already: false, fetched_bytes, elapsed_ms, shares }
}

/// Goes on with what an earlier run left unfinished in this network, but for what the user cancelled.
pub(crate) async fn resume(parts: &Arc<Parts>, network: NetworkId, unfinished: Vec<DownloadSpec>) {
    for spec in unfinished {
        if parts.library.resumption(&spec.content) == Resumption::WhenAsked {
            continue;
        }
        match spec.entry.parse::<EntryRef>() {
            Ok(entry) => {
                tracing::info!(entry = spec.entry, "going on with a download");
                start(parts, network, entry, spec).await;
            }
            Err(error) => tracing::warn!(entry = spec.entry, %error, "an unfinished download without a name"),
        }
    }
}

/// Stops downloads; what has come is kept, and they do not go on by themselves at the next start.
pub(super) async fn cancel(parts: &Parts, entry: Option<&str>) -> Result<Outcome, Failure> {
    let meant = match entry {
        None => parts.downloads.all(),
        Some(text) => vec![only_one(&parts.downloads.named(&failure::entry_ref(text)?), text)?],
    };
    let files: Vec<Content> = meant.iter().map(|running| running.file).collect();
    parts
        .with_library(move |library| files.iter().for_each(|file| library.set_resumption(*file, Resumption::WhenAsked)))
        .await;
    for running in &meant {
        running.cancel.cancel();
    }
    parts.save_library().await;
    for running in &meant {
        let mut end = running.end.clone();
        // One that hangs on its disk ends when the disk lets it.
        drop(timeout(CANCEL_DEADLINE, end.wait_for(Option::is_some)).await);
    }
    Ok(Outcome::Cancelled { names: meant.iter().map(|running| running.name().to_owned()).collect() })
}

fn only_one(meant: &[Arc<Running>], text: &str) -> Result<Arc<Running>, Failure> {
    match meant {
        [one] => Ok(Arc::clone(one)),
        [] => Err(Failure::new(FailureKind::Failed, format!("no download of {text} is under way"))
            .with_hint("\"status\" shows those that are")),
        several => {
            let names: Vec<String> = several.iter().map(|running| running.entry.to_string()).collect();
            Err(Failure::new(FailureKind::Failed, format!("several downloads are called {text}: {}", names.join(", ")))
                .with_hint("say which: OWNER/NAME, or --all"))
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
