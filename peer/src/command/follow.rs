//! Following: entries of others whose newest version is always here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::audience::Audience;
use common::id::{Content, NetworkId};
use common::name::EntryRef;
use common::wire::tracker::{self as wire, Code, Refusal, Reply, Request, Subscription};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::copies;
use super::downloads::{Interest, Patience, Running};
use super::errand::{self, Errand, Purpose};
use super::local::{self, Here, Wanted};
use super::newer;
use super::parts::{Parts, off_reactor};
use super::{Downloaded, Failure, FailureKind, Outcome, Synced, Update, failure};
use crate::engine::DownloadSpec;
use crate::library::Resumption;
use crate::notice::Notice;
use crate::storage::{Looks, PlanSource};
use crate::sync::{Destination, Followed, LocalCopy, Newest, Origin, There, destination};
use crate::tracker_client::TrackerError;

/// A try to bring a new version here ends when nobody has what is missing for so long; others have their turn then.
const TRY: Duration = Duration::from_secs(10);
/// `sub` ends when nobody has what is missing for so long; it comes later then.
const SUBSCRIBE_PATIENCE: Duration = Duration::from_secs(3);

/// Follows an entry, and brings its newest version here if somebody has it now.
pub(super) async fn subscribe(
    parts: &Arc<Parts>,
    entry: &str,
    updates: &mpsc::Sender<Update>,
) -> Result<Outcome, Failure> {
    let asked = failure::entry_ref(entry)?;
    parts.tracker.connected().await?;
    let network = parts.network()?;
    let alone = parts.syncing.subscribing.lock().await;
    let (entry, newest) = subscribe_at_tracker(parts, &asked).await?;
    let Some(newest) = newest else {
        return Err(Failure::new(FailureKind::Failed, format!("{entry} is not there any more")));
    };
    if parts.records.find(network, &entry).is_none() {
        let home = parts.dir.seeding().join(entry.name.as_str());
        parts.records.follow(Followed { network, entry: entry.clone(), home, copy: None, gone: false });
    }
    parts.records.change(network, &entry, |followed| followed.gone = false);
    drop(alone);
    parts.save_records().await;
    let path = match bring(parts, network, &entry, &newest, (updates, Patience::Of(SUBSCRIBE_PATIENCE))).await {
        Ok(arrived) => arrived.map(|arrived| arrived.copy.path),
        Err(failure) if failure.kind == FailureKind::Incomplete => {
            want(parts, entry.clone(), newest.clone());
            None
        }
        Err(failure) => return Err(failure),
    };
    Ok(Outcome::Following { entry: entry.to_string(), version: newest.version, path })
}

/// Brings the newest version of a followed entry here, and watches that. Gives nothing where it is not followed any more.
pub(super) async fn bring(
    parts: &Arc<Parts>,
    network: NetworkId,
    entry: &EntryRef,
    newest: &Newest,
    (updates, patience): (&mpsc::Sender<Update>, Patience),
) -> Result<Option<Arrived>, Failure> {
    let (mut newest, mut downloaded) = (newest.clone(), None);
    loop {
        let running = match fetch(parts, network, entry, &newest).await? {
            Fetch::Here(copy) => return Ok(Some(Arrived { copy, downloaded })),
            Fetch::NotFollowed => return Ok(None),
            Fetch::UnderWay(running) => running,
        };
        match running.follow(updates, patience).await {
            // For another purpose, perhaps: then it is not yet where it is to be.
            Ok(ended) => downloaded = Some(ended),
            Err(failure) => {
                let newer = parts.syncing.queue().newest(entry).filter(|newer| newer.content != newest.content);
                match newer.filter(|_| failure.kind == FailureKind::Cancelled) {
                    Some(newer) => newest = newer,
                    None => return Err(failure),
                }
            }
        }
    }
}

/// The newest version of a followed entry, which is here.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) copy: LocalCopy,
    /// The download that was waited for.
    pub(super) downloaded: Option<Downloaded>,
}

/// Has the tracker tell of new versions, and hears which is the newest.
pub(super) async fn subscribe_at_tracker(
    parts: &Parts,
    entry: &EntryRef,
) -> Result<(EntryRef, Option<Newest>), Failure> {
    let reply = parts.tracker.request(Request::Subscribe { entry: entry.to_string() }).await?;
    one_subscription(reply, entry)
}

fn one_subscription(reply: Reply, asked: &EntryRef) -> Result<(EntryRef, Option<Newest>), Failure> {
    let Reply::Subscriptions { subscriptions } = reply else { return Err(failure::odd_answer()) };
    let [subscription] = <[Subscription; 1]>::try_from(subscriptions).map_err(|_others| failure::odd_answer())?;
    let entry: EntryRef = subscription.entry.parse().map_err(|_error| failure::odd_answer())?;
    if entry.owner.is_none() || entry.name != asked.name {
        return Err(failure::odd_answer());
    }
    let newest = subscription.newest.map(|newest| newest_of(&entry, &newest));
    Ok((entry, newest))
}

/// What the tracker says of the newest version of an entry.
pub(super) fn newest_of(entry: &EntryRef, told: &wire::Entry) -> Newest {
    let audience = if told.restricted { Audience::Entry(entry.clone()) } else { Audience::Public };
    Newest { version: told.version, content: told.content, audience }
}

/// Follows an entry no more. What the tracker does not hear now it hears when it is there again.
pub(super) async fn unsubscribe(parts: &Arc<Parts>, entry: &str) -> Result<Outcome, Failure> {
    let asked = failure::entry_ref(entry)?;
    let network = parts.network()?;
    let followed = match <[Followed; 1]>::try_from(parts.records.named(network, &asked)) {
        Ok([followed]) => followed,
        Err(none) if none.is_empty() => {
            return Err(Failure::new(FailureKind::Failed, format!("{asked} is not followed"))
                .with_hint("`synced` shows what is"));
        }
        Err(several) => {
            let names: Vec<String> = several.iter().map(|one| one.entry.to_string()).collect();
            let text = format!("several that are followed are called {asked}: {}", names.join(", "));
            return Err(Failure::new(FailureKind::Failed, text).with_hint("say which: OWNER/NAME"));
        }
    };
    let entry = followed.entry;
    let _alone = parts.syncing.subscribing.lock().await;
    parts.records.unfollow(network, &entry);
    give_up(parts, parts.syncing.with_queue(|queue| queue.forget(&entry)));
    parts.save_records().await;
    newer::discard_overtaken(parts, &entry).await;
    if let Err(error) = parts.tracker.request(Request::Unsubscribe { entry: entry.to_string() }).await {
        tracing::debug!(%entry, %error, "the tracker does not know yet that an entry is followed no more");
    }
    Ok(Outcome::Unfollowed { entry: entry.to_string() })
}

/// What is followed, with the version here and the newest.
pub(super) async fn synced(parts: &Parts) -> Result<Outcome, Failure> {
    let there = subscriptions(parts).await?;
    let followed = parts.records.followed(parts.network()?);
    let synced = followed.into_iter().map(|Followed { entry, copy, .. }| {
        let entry = entry.to_string();
        let newest = there.iter().find(|one| one.entry == entry).and_then(|one| one.newest.as_ref());
        let (here, path) = copy.map(|copy| (copy.version, copy.path)).unzip();
        Synced { entry, here, there: newest.map(|newest| newest.version), path }
    });
    Ok(Outcome::Synced(synced.collect()))
}

/// What the tracker knows of what this peer follows.
pub(super) async fn subscriptions(parts: &Parts) -> Result<Vec<Subscription>, Failure> {
    match parts.tracker.request(Request::Subscriptions).await? {
        Reply::Subscriptions { subscriptions } => Ok(subscriptions),
        _ => Err(failure::odd_answer()),
    }
}

/// Where the newest version of a followed entry is.
#[derive(Debug)]
pub(super) enum Fetch {
    /// On the disk.
    Here(LocalCopy),
    /// On its way.
    UnderWay(Arc<Running>),
    /// It is not followed any more.
    NotFollowed,
}

/// Begins to bring the newest version of a followed entry here, unless it is here or under way.
pub(super) async fn fetch(
    parts: &Arc<Parts>,
    network: NetworkId,
    entry: &EntryRef,
    newest: &Newest,
) -> Result<Fetch, Failure> {
    newer::overtake(parts, entry, newest).await;
    let Some(followed) = parts.records.find(network, entry) else { return Ok(Fetch::NotFollowed) };
    if let Some(copy) = followed.copy.clone().filter(|copy| copy.content == newest.content) {
        if copy.version != newest.version {
            let change = |followed: &mut Followed| {
                if let Some(copy) = &mut followed.copy {
                    copy.version = newest.version;
                }
            };
            parts.records.change(network, entry, change);
            parts.save_records().await;
        }
        return Ok(Fetch::Here(copy));
    }
    if let Some(running) = parts.downloads.find(&newest.content) {
        running.claim();
        return Ok(Fetch::UnderWay(running));
    }
    let followed = copies::look_again(parts, followed).await;
    let followed = copies::lend_what_others_want(parts, network, followed);
    let errand = Errand {
        entry: entry.clone(),
        version: newest.version,
        content: newest.content,
        audience: newest.audience.clone(),
        source: PlanSource::Entry,
        purpose: Purpose::Update,
    };
    let home = followed.home.clone();
    let there = off_reactor(move || home.symlink_metadata().is_ok()).await;
    let there = if there { There::Something } else { There::Nothing };
    let destination = destination(&followed, newest.version, &newest.content, there);
    let content = newest.content;
    if let Some(shared) = copies::lies_there(parts, &content, &destination).await {
        let (path, looks) = (shared.path.clone(), shared.looks.clone());
        let edited = if path == destination.target { Vec::new() } else { vec![destination.target] };
        errand::take(parts, network, &errand, shared).await;
        brought(parts, network, &errand, Brought { path, looks, origin: Origin::Brought, edited }).await;
        return Ok(here_now(parts, network, entry));
    }
    let Destination { target, placing } = destination;
    let listed = parts.with_library(move |library| library.of_content(network, &content)).await;
    if let Some((item, shared)) = listed {
        let here = match &followed.copy {
            // Nothing is here yet under this name, so it may as well lie where it lies.
            None => Here::Listed(shared),
            Some(_) => local::copy(parts, &shared, &target, &placing, &mpsc::channel(1).0).await?,
        };
        let origin = match &here {
            Here::Copied(_) => Origin::Brought,
            Here::Listed(_) | Here::Unlisted(_) => copies::origin_of(parts, &item, entry, Wanted::Anywhere),
        };
        let (path, looks) = (here.shared().path.clone(), here.shared().looks.clone());
        errand::take(parts, network, &errand, here.into_shared()).await;
        brought(parts, network, &errand, Brought { path, looks, origin, edited: Vec::new() }).await;
        return Ok(here_now(parts, network, entry));
    }
    let bases = copies::bases(parts, network, entry).await;
    let spec = DownloadSpec { placing, bases, wait: Some(TRY), ..errand.spec(target) };
    Ok(Fetch::UnderWay(errand::start(parts, network, errand, spec, Interest::User).await.into_running()))
}

/// What was just noted of an entry.
fn here_now(parts: &Parts, network: NetworkId, entry: &EntryRef) -> Fetch {
    let copy = parts.records.find(network, entry).and_then(|followed| followed.copy);
    copy.map_or(Fetch::NotFollowed, Fetch::Here)
}

/// A version of a followed entry that is on the disk now.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) path: PathBuf,
    pub(super) looks: Looks,
    pub(super) origin: Origin,
    /// Copies that were edited here and stayed.
    pub(super) edited: Vec<PathBuf>,
}

/// Notes that a version of a followed entry is here, tells of it, and removes the copy before where it lies beside what was
/// edited.
pub(super) async fn brought(parts: &Arc<Parts>, network: NetworkId, errand: &Errand, brought: Brought) {
    let Errand { entry, version, content, .. } = errand;
    let Brought { path, looks, origin, edited } = brought;
    let mut before = None;
    let copy = LocalCopy { version: *version, content: *content, path: path.clone(), looks, origin };
    let now = parts.records.change(network, entry, |followed| {
        before = Some(followed.clone());
        if followed.copy.is_none() && origin == Origin::Brought {
            followed.home.clone_from(&path);
        }
        followed.copy = Some(copy);
        followed.gone = false;
    });
    let (Some(before), Some(now)) = (before, now) else {
        // It is not followed any more; that it has come does no harm.
        parts.tell(Notice::Downloaded { name: entry.name.to_string(), path });
        return;
    };
    // Others that had other bytes where this copy lies now have none any more.
    let was_replaced = |copy: &LocalCopy| copy.path == path && copy.content != *content;
    for other in parts.records.followed(network) {
        if other.entry != *entry && other.copy.as_ref().is_some_and(was_replaced) {
            parts.records.change(network, &other.entry, |other| other.copy = None);
        }
    }
    parts.save_records().await;
    newer::discard_overtaken(parts, entry).await;
    let Some(old) = before.copy else {
        parts.tell(Notice::Downloaded { name: entry.name.to_string(), path });
        return;
    };
    let mut edited = edited.into_iter().next();
    if old.origin == Origin::Brought && old.path != path {
        let is_at_home = old.path == now.home;
        let old_path = old.path.clone();
        let is_gone = if is_at_home { false } else { remove_unedited(parts, network, old).await };
        let is_there = off_reactor({
            let old_path = old_path.clone();
            move || old_path.symlink_metadata().is_ok()
        });
        if !is_gone && is_there.await {
            edited = edited.or(Some(old_path));
        }
    }
    parts.tell(Notice::Updated { entry: entry.to_string(), version: *version, path, edited });
}

/// Removes a copy that lay beside an edited one, unless it was edited as well; says whether it did.
async fn remove_unedited(parts: &Parts, network: NetworkId, old: LocalCopy) -> bool {
    let path = old.path.clone();
    let removed =
        off_reactor(move || old.looks.check(&old.path).is_ok() && copies::remove(&old.path, &old.looks)).await;
    if removed {
        let reshared = parts.with_library(move |library| library.forget_path(network, &path)).await;
        parts.reshare(reshared).await;
        parts.save_library().await;
    }
    removed
}

/// From now on an entry that was just downloaded is followed.
pub(super) async fn begin(
    parts: &Arc<Parts>,
    network: NetworkId,
    errand: &Errand,
    (downloaded, wanted): (&Downloaded, Wanted),
) {
    let entry = &errand.entry;
    match parts.records.find(network, entry) {
        Some(followed) if followed.copy.is_some() => {}
        _ => {
            let path = downloaded.path.clone();
            let at = path.clone();
            let found = parts.with_library(move |library| library.at_path(network, &at)).await;
            let Some((item, shared)) = found else { return };
            let origin = copies::origin_of(parts, &item, entry, wanted);
            let home = match origin {
                Origin::Brought => path.clone(),
                Origin::Lent => parts.dir.seeding().join(entry.name.as_str()),
            };
            let copy =
                LocalCopy { version: errand.version, content: errand.content, path, looks: shared.looks, origin };
            parts.records.follow(Followed { network, entry: entry.clone(), home, copy: Some(copy), gone: false });
            parts.save_records().await;
        }
    }
    tell_tracker(parts, network, entry).await;
}

/// Has the tracker tell of new versions of what is here; it may know of one already.
pub(super) async fn tell_tracker(parts: &Arc<Parts>, network: NetworkId, entry: &EntryRef) {
    match subscribe_at_tracker(parts, entry).await {
        Ok((entry, Some(newest))) => on_newest(parts, network, &entry, newest).await,
        Ok((_, None)) => {}
        // It is told when this peer is on the network the next time.
        Err(failure) => tracing::debug!(%entry, %failure, "the tracker does not know yet that an entry is followed"),
    }
}

/// The tracker says which version of a followed entry is the newest.
pub(super) async fn on_newest(parts: &Arc<Parts>, network: NetworkId, entry: &EntryRef, newest: Newest) {
    let Some(followed) = parts.records.find(network, entry) else { return };
    if followed.gone {
        parts.records.change(network, entry, |followed| followed.gone = false);
    }
    parts.set_audience(entry.clone(), newest.audience.clone()).await;
    let known = followed.copy.as_ref().map(|copy| (copy.content, copy.version));
    let is_cancelled = parts.library.resumption(&newest.content) == Resumption::WhenAsked;
    if known != Some((newest.content, newest.version)) && !is_cancelled {
        want(parts, entry.clone(), newest);
    }
}

/// A new version that an earlier run began with is gone on with if it is still the newest; if not, nobody has it any more,
/// and what has come of it is removed.
pub(super) async fn resume(parts: &Arc<Parts>, entry: &EntryRef, content: Content) {
    let Ok(there) = subscriptions(parts).await else { return };
    let text = entry.to_string();
    let newest = there.into_iter().find(|one| one.entry == text).and_then(|one| one.newest);
    // The newest is wanted by itself, and finds what has come.
    if newest.is_some_and(|newest| newest.content != content) {
        let engine = parts.engine.clone();
        off_reactor(move || engine.discard(&content)).await;
    }
}

/// A followed entry is not there any more, or not for this user.
pub(super) async fn on_gone(parts: &Arc<Parts>, network: NetworkId, entry: &EntryRef) {
    let Some(followed) = parts.records.find(network, entry) else { return };
    give_up(parts, parts.syncing.with_queue(|queue| queue.forget(entry)));
    if followed.gone {
        return;
    }
    parts.records.change(network, entry, |followed| followed.gone = true);
    parts.save_records().await;
    let of = entry.clone();
    let reshared = parts.with_library(move |library| library.forget_restricted(network, &of)).await;
    if !reshared.is_empty() {
        parts.reshare(reshared).await;
        parts.save_library().await;
    }
    parts.tell(Notice::EntryGone { entry: entry.to_string() });
}

/// Looks with the tracker what of all that is followed has a newer version, and puts right what it does not know.
pub(super) async fn catch_up(parts: &Arc<Parts>, network: NetworkId) -> Result<(), Failure> {
    // Whoever begins or ends to follow meanwhile is not to be taken for a mistake of the tracker.
    let _alone = parts.syncing.subscribing.lock().await;
    let mut there = subscriptions(parts).await?;
    for Followed { entry, .. } in parts.records.followed(network) {
        let text = entry.to_string();
        let newest = match there.iter().position(|one| one.entry == text) {
            Some(known) => there.swap_remove(known).newest.map(|newest| newest_of(&entry, &newest)),
            None => match parts.tracker.request(Request::Subscribe { entry: text }).await {
                Ok(reply) => one_subscription(reply, &entry)?.1,
                Err(TrackerError::Refused(Refusal { code: Code::NotFound | Code::Forbidden, .. })) => None,
                Err(TrackerError::Refused(refusal)) => {
                    tracing::warn!(%entry, %refusal, "the tracker does not tell of new versions");
                    continue;
                }
                Err(error) => return Err(error.into()),
            },
        };
        match newest {
            Some(newest) => on_newest(parts, network, &entry, newest).await,
            None => on_gone(parts, network, &entry).await,
        }
    }
    for extra in there {
        parts.tracker.request(Request::Unsubscribe { entry: extra.entry }).await?;
    }
    Ok(())
}

/// The newest version of an entry is to be brought here.
pub(super) fn want(parts: &Arc<Parts>, entry: EntryRef, newest: Newest) {
    let replaced = parts.syncing.with_queue(|queue| queue.want(entry, newest, Instant::now()));
    give_up(parts, replaced);
}

/// A version that is under way is not wanted any more, unless a user asked for it.
fn give_up(parts: &Arc<Parts>, content: Option<Content>) {
    let Some(running) = content.and_then(|content| parts.downloads.find(&content)) else { return };
    if running.errand.purpose != Purpose::Update {
        return;
    }
    running.cancel.cancel();
    let all = Arc::clone(parts);
    parts.tasks.spawn("discard a download", async move {
        // However it ends.
        drop(running.end.clone().wait_for(Option::is_some).await);
        let engine = all.engine.clone();
        off_reactor(move || engine.discard(&running.errand.content)).await;
    });
}
