//! Downloading: from an entry's name to a complete file or folder that this peer serves on; and cancelling that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::id::{Content, NetworkId};
use common::name::{EntryName, EntryRef};
use common::wire::tracker::{Plan, Reply, Request};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::copies;
use super::downloads::{Interest, Patience, Running};
use super::errand::{self, Errand, Purpose, Started, milliseconds};
use super::follow::{self, Arrived};
use super::local::{self, Here, Wanted};
use super::parts::{Parts, absolute, off_reactor};
use super::{Downloaded, Failure, FailureKind, Follow, Outcome, Update, failure};
use crate::engine::{DownloadSpec, PlanSource};
use crate::library::Resumption;
use crate::sync::{Followed, Newest, versioned};

/// How long cancelling waits for a download to end; what has come is on the disk or fetched again.
const CANCEL_DEADLINE: Duration = Duration::from_secs(10);

/// What a user wants to have, see [`super::Command::Download`].
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) entry: String,
    pub(super) only: Vec<String>,
    pub(super) follow: Follow,
    pub(super) output: Option<PathBuf>,
    pub(super) wait_secs: Option<u64>,
}

/// Downloads an entry, or goes on watching it where that is under way.
pub(super) async fn download(
    parts: &Arc<Parts>,
    wish: Wish,
    updates: &mpsc::Sender<Update>,
) -> Result<Outcome, Failure> {
    let begin = Instant::now();
    let asked = failure::entry_ref(&wish.entry)?;
    if let Some(output) = &wish.output {
        absolute(output)?;
    }
    let wait = wish.wait_secs.map(Duration::from_secs);
    let patience = wait.map_or(Patience::Endless, Patience::Of);
    // Before the tracker is told that it is wanted.
    local::target(&parts.dir.seeding(), &asked.name, wish.output.as_deref()).await?;
    let plan = match plan(parts, &asked).await {
        Ok(plan) => plan,
        // What is under way goes on without the tracker, and can be watched.
        Err(failure) if failure.kind == FailureKind::NoTracker => match parts.downloads.named(&asked).as_slice() {
            [running] => {
                running.claim();
                return Ok(Outcome::Downloaded(running.follow(updates, patience).await?));
            }
            _ => return Err(failure),
        },
        Err(failure) => return Err(failure),
    };
    let download = Download { parts, network: parts.network()?, wish, wait, patience, updates };
    let mut downloaded = download.bring(&asked, plan).await?;
    if downloaded.elapsed_ms == 0 {
        downloaded.elapsed_ms = milliseconds(begin.elapsed());
    }
    Ok(Outcome::Downloaded(downloaded))
}

/// One wish that the tracker has answered.
struct Download<'a> {
    parts: &'a Arc<Parts>,
    network: NetworkId,
    wish: Wish,
    wait: Option<Duration>,
    patience: Patience,
    updates: &'a mpsc::Sender<Update>,
}

impl Download<'_> {
    async fn bring(&self, asked: &EntryRef, plan: Plan) -> Result<Downloaded, Failure> {
        let (parts, network) = (self.parts, self.network);
        let (entry, which) = answer_to(asked, &plan)?;
        let errand = Errand {
            purpose: self.purpose(&entry, which),
            entry,
            version: plan.entry.version,
            content: plan.entry.content,
            audience: plan.audience.clone(),
            source: PlanSource::Entry,
        };
        let is_followed = parts.records.find(network, &errand.entry).is_some();
        if is_followed && which == Which::Newest && self.wish.output.is_none() && self.wish.only.is_empty() {
            return self.update(&errand).await;
        }
        // Under another name, or for others, it may be under way.
        while let Some(running) = parts.downloads.find(&errand.content) {
            running.claim();
            let ended = self.watch(&running, self.patience).await;
            if ended.is_err() && running.was_given_up() {
                // Nobody here wanted it until now: it begins anew.
                continue;
            }
            let downloaded = ended?;
            if running.errand.entry == errand.entry {
                self.follow_from_now_on(&errand, &downloaded).await;
                return Ok(downloaded);
            }
        }
        let target = self.target(&errand.entry.name, which, &plan).await?;
        if let Some(here) = local::find(parts, network, &errand.content, &target, self.wanted(), self.updates).await? {
            let already = !matches!(here, Here::Copied(_));
            let downloaded = Downloaded { already, ..errand::take(parts, network, &errand, here.into_shared()).await };
            self.follow_from_now_on(&errand, &downloaded).await;
            return Ok(downloaded);
        }
        if errand.purpose == Purpose::Follow {
            let (entry, home) = (errand.entry.clone(), target.clone());
            parts.records.follow(Followed { network, entry, home, copy: None, gone: false });
            parts.save_records().await;
        }
        let bases = copies::bases(parts, network, &errand.entry).await;
        let (only, wait) = (self.wish.only.clone(), self.wait);
        let spec = DownloadSpec { bases, only, wait, plan: Some(plan), ..errand.spec(target) };
        match errand::start(parts, network, errand, spec, Interest::User).await {
            // The engine itself gives up after the wait.
            Started::New(running) => self.watch(&running, Patience::Endless).await,
            Started::UnderWay(running) => self.watch(&running, self.patience).await,
        }
    }

    /// Watches a download to its end, or that of a newer version that comes instead.
    async fn watch(&self, running: &Running, patience: Patience) -> Result<Downloaded, Failure> {
        let ended = running.follow(self.updates, patience).await;
        match (ended, running.newer.get()) {
            (Err(failure), Some(newest)) if failure.kind == FailureKind::Cancelled => {
                self.bring_newest(&running.errand, newest).await
            }
            (ended, _) => ended,
        }
    }

    /// Own entries, older versions and parts are not followed.
    fn purpose(&self, entry: &EntryRef, which: Which) -> Purpose {
        let is_own = entry.owner.as_ref().is_some_and(|owner| owner.as_str() == self.parts.user_name());
        let is_whole = which == Which::Newest && self.wish.only.is_empty();
        if self.wish.follow == Follow::Yes && is_whole && !is_own { Purpose::Follow } else { Purpose::Once }
    }

    /// It is followed: its newest version goes where the copy is.
    async fn update(&self, errand: &Errand) -> Result<Downloaded, Failure> {
        let newest = Newest { version: errand.version, content: errand.content, audience: errand.audience.clone() };
        self.bring_newest(errand, &newest).await
    }

    async fn bring_newest(&self, errand: &Errand, newest: &Newest) -> Result<Downloaded, Failure> {
        let watching = (self.updates, self.patience);
        match follow::bring(self.parts, self.network, &errand.entry, newest, watching).await? {
            Some(Arrived { copy, downloaded }) => Ok(downloaded
                .filter(|downloaded| downloaded.path == copy.path && downloaded.version == copy.version)
                .unwrap_or_else(|| {
                    let errand = Errand { version: copy.version, content: copy.content, ..errand.clone() };
                    errand.lies_here(copy.path, &copy.looks)
                })),
            None => Err(Failure::new(FailureKind::Failed, "it was given up meanwhile; ask again")),
        }
    }

    const fn wanted(&self) -> Wanted {
        if self.wish.output.is_some() { Wanted::There } else { Wanted::Anywhere }
    }

    async fn follow_from_now_on(&self, errand: &Errand, downloaded: &Downloaded) {
        if errand.purpose == Purpose::Follow {
            follow::begin(self.parts, self.network, errand, (downloaded, self.wanted())).await;
        }
    }

    /// Where it is to go. A version that was asked for by its number goes beside another one that is there.
    async fn target(&self, name: &EntryName, which: Which, plan: &Plan) -> Result<PathBuf, Failure> {
        let target = local::target(&self.parts.dir.seeding(), name, self.wish.output.as_deref()).await?;
        let is_given = self.wish.output.as_deref() == Some(&*target);
        if which == Which::Newest || is_given || !is_there(&target).await {
            return Ok(target);
        }
        Ok(versioned(&target, plan.entry.version, &plan.entry.content))
    }
}

async fn is_there(path: &Path) -> bool {
    let path = path.to_owned();
    off_reactor(move || path.symlink_metadata().is_ok()).await
}

/// What the tracker knows of an entry.
pub(super) async fn plan(parts: &Parts, asked: &EntryRef) -> Result<Plan, Failure> {
    match parts.tracker.request(Request::Plan { entry: asked.to_string(), content: None }).await? {
        Reply::Plan(plan) => Ok(plan),
        _ => Err(failure::odd_answer()),
    }
}

/// Which version was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// That which is the newest.
    Newest,
    /// One by its number.
    Numbered,
}

/// `owner/name` of what the tracker took a question for; where no owner was named, any owner of the same will do.
pub(super) fn answer_to(asked: &EntryRef, plan: &Plan) -> Result<(EntryRef, Which), Failure> {
    let told = plan.entry.name.as_str();
    let which = if told == asked.name.as_str() {
        Which::Newest
    } else if format!("{told}@{}", plan.entry.version) == asked.name.as_str() {
        Which::Numbered
    } else {
        return Err(failure::odd_answer());
    };
    let name = EntryName::new(told).map_err(|_error| failure::odd_answer())?;
    let owner = match (&asked.owner, plan.entry.owners.first()) {
        (Some(owner), _) => owner.clone(),
        (None, Some(owner)) => failure::user_name(owner)?,
        (None, None) => return Err(failure::odd_answer()),
    };
    Ok((EntryRef { owner: Some(owner), name }, which))
}

/// Stops downloads; what has come is kept, and they do not go on by themselves at the next start.
pub(super) async fn cancel(parts: &Parts, entry: Option<&str>) -> Result<Outcome, Failure> {
    let meant = match entry {
        None => parts.downloads.all(),
        Some(text) => vec![only_one(&parts.downloads.named(&failure::entry_ref(text)?), text)?],
    };
    let contents: Vec<Content> = meant.iter().map(|running| running.errand.content).collect();
    parts
        .with_library(move |library| {
            contents.iter().for_each(|content| library.set_resumption(*content, Resumption::WhenAsked));
        })
        .await;
    for running in &meant {
        // What has come is kept, for whomever it was.
        running.claim();
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
            .with_hint("`status` shows those that are")),
        several => {
            let names: Vec<String> = several.iter().map(|running| running.errand.entry.to_string()).collect();
            Err(Failure::new(FailureKind::Failed, format!("several downloads are called {text}: {}", names.join(", ")))
                .with_hint("say which: OWNER/NAME, or --all"))
        }
    }
}
