//! Downloads under way: they belong to the app, not to who asked for them, so that a client that goes away ends nothing.
//! At most one for each
//! content.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use common::id::Content;
use common::name::EntryRef;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::errand::Errand;
use super::{Activity, Downloaded, Failure, FailureKind, Progress, Update, failure};
use crate::sync::Newest;

/// Progress is passed on at most so often.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// How a download ended; nothing while it has not.
pub(super) type End = Option<Result<Downloaded, Failure>>;

/// All downloads under way.
#[derive(Debug, Default)]
pub(crate) struct Downloads {
    running: Mutex<BTreeMap<Content, Arc<Running>>>,
    /// Goes up whenever one begins or ends.
    changes: watch::Sender<u64>,
}

/// A download under way.
#[derive(Debug)]
pub(crate) struct Running {
    pub(super) errand: Errand,
    pub(super) cancel: CancellationToken,
    pub(super) progress: watch::Receiver<Option<Progress>>,
    pub(super) end: watch::Receiver<End>,
    /// It ends because there is this newer version, which comes instead.
    pub(super) newer: OnceLock<Newest>,
    stake: Mutex<Stake>,
}

/// For whom a download is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interest {
    /// Somebody here has asked for it, or follows it.
    User,
    /// It is held for others; nobody here has asked for it.
    Holding(Remains),
}

/// What becomes of what has come of a download that is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remains {
    Discarded,
    /// Some of it came for somebody here, earlier.
    Kept,
}

/// For whom a download goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stake {
    Wanted(Interest),
    /// It was held for others, and is not any more. It ends.
    GivenUp(Remains),
}

/// What became of the wish to begin a download.
#[derive(Debug)]
pub(super) enum Begun {
    /// It is in the list now; whoever has this carries it out.
    New(Arc<Running>, Carrier),
    /// It was under way already.
    UnderWay(Arc<Running>),
}

/// The other side of a [`Running`].
#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) progress: watch::Sender<Option<Progress>>,
    pub(super) end: watch::Sender<End>,
}

/// For how long a download may be without anybody who has what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// For ever, or the download has a limit of its own.
    Endless,
    /// For so long; then the one who watches gives up, and the download goes on.
    Of(Duration),
}

impl Downloads {
    /// Puts a download in the list, unless its content is being downloaded: then that one is for a user, too, where this
    /// one is.
    pub(super) fn begin(&self, errand: Errand, interest: Interest) -> Begun {
        let content = errand.content;
        let (progress, progress_seen) = watch::channel(None);
        let (end, end_seen) = watch::channel(None);
        let begun = {
            let mut list = self.list();
            if let Some(running) = list.get(&content) {
                if interest == Interest::User {
                    running.claim();
                }
                return Begun::UnderWay(Arc::clone(running));
            }
            let cancel = CancellationToken::new();
            let running = Arc::new(Running {
                errand,
                cancel,
                progress: progress_seen,
                end: end_seen,
                newer: OnceLock::new(),
                stake: Mutex::new(Stake::Wanted(interest)),
            });
            list.insert(content, Arc::clone(&running));
            Begun::New(running, Carrier { progress, end })
        };
        self.changes.send_modify(|changes| *changes += 1);
        begun
    }

    /// A download has ended.
    pub(super) fn end(&self, content: &Content, carrier: &Carrier, end: Result<Downloaded, Failure>) {
        self.list().remove(content);
        carrier.end.send_replace(Some(end));
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The download of this content.
    pub(super) fn find(&self, content: &Content) -> Option<Arc<Running>> {
        self.list().get(content).cloned()
    }

    /// The downloads that a user may mean by this: of this name, and of this owner where one is named.
    pub(super) fn named(&self, entry: &EntryRef) -> Vec<Arc<Running>> {
        let meant = |running: &&Arc<Running>| {
            let of = &running.errand.entry;
            of.name == entry.name && (entry.owner.is_none() || of.owner == entry.owner)
        };
        self.list().values().filter(meant).cloned().collect()
    }

    /// All, in the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Running>> {
        let mut all: Vec<_> = self.list().values().cloned().collect();
        all.sort_by(|one, other| one.errand.entry.name.cmp(&other.errand.entry.name));
        all
    }

    /// Cancels all and waits until they have ended.
    pub(crate) async fn shutdown(&self) {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            let all = self.all();
            if all.is_empty() {
                return;
            }
            all.iter().for_each(|running| running.cancel.cancel());
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until none is under way.
    pub(crate) async fn idle(&self) {
        let mut changes = self.changes.subscribe();
        while !self.all().is_empty() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn list(&self) -> MutexGuard<'_, BTreeMap<Content, Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// The bare name.
    pub(crate) fn name(&self) -> &str {
        self.errand.entry.name.as_str()
    }

    /// What is being downloaded.
    pub(crate) const fn content(&self) -> Content {
        self.errand.content
    }

    /// Bytes that are still to come, as far as that is known.
    pub(crate) fn bytes_to_come(&self) -> u64 {
        match &*self.progress.borrow() {
            Some(progress) => progress.bytes_total.saturating_sub(progress.bytes),
            None => self.errand.content.file_or_manifest().length(),
        }
    }

    /// Somebody here wants it, whoever it was begun for: nobody but users ends it any more.
    pub(super) fn claim(&self) {
        let mut stake = self.stake();
        if matches!(*stake, Stake::Wanted(_)) {
            *stake = Stake::Wanted(Interest::User);
        }
    }

    /// Ends it if it is held for others only. Says whether it does that now.
    pub(super) fn give_up(&self) -> bool {
        let mut stake = self.stake();
        let Stake::Wanted(Interest::Holding(remains)) = *stake else { return false };
        *stake = Stake::GivenUp(remains);
        self.cancel.cancel();
        true
    }

    /// Whether it was held for others, and is not any more.
    pub(super) fn was_given_up(&self) -> bool {
        matches!(*self.stake(), Stake::GivenUp(_))
    }

    /// Whether it was given up, and all that has come of it goes with it.
    pub(super) fn leaves_nothing(&self) -> bool {
        *self.stake() == Stake::GivenUp(Remains::Discarded)
    }

    fn stake(&self) -> MutexGuard<'_, Stake> {
        self.stake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes progress on until the download ends, and says how it did. Dropped before, the download goes on.
    pub(super) async fn follow(
        &self,
        updates: &mpsc::Sender<Update>,
        patience: Patience,
    ) -> Result<Downloaded, Failure> {
        let (mut end, mut progress) = (self.end.clone(), self.progress.clone());
        let mut waiting_since: Option<Instant> = None;
        let mut told: Option<Progress> = None;
        loop {
            let now = progress.borrow_and_update().clone();
            let waits = now.as_ref().is_some_and(|progress| progress.activity == Activity::Waiting);
            waiting_since = if waits { waiting_since.or_else(|| Some(Instant::now())) } else { None };
            if now != told {
                pass_on(updates, now.clone());
                told = now;
            }
            let give_up = match patience {
                Patience::Of(patience) => waiting_since.map(|since| since + patience),
                Patience::Endless => None,
            };
            tokio::select! {
                biased;
                ended = end.wait_for(Option::is_some) => {
                    let result = ended.ok().and_then(|ended| (*ended).clone());
                    let last = progress.borrow_and_update().clone();
                    if last != told {
                        pass_on(updates, last);
                    }
                    return result.unwrap_or_else(|| Err(failure::ending()));
                }
                () = at(give_up) => return Err(self.nobody_has_it(told.as_ref())),
                () = async {
                    sleep(PROGRESS_INTERVAL).await;
                    // Without a sender it has ended, and the other branch says how.
                    if progress.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                } => {}
            }
        }
    }

    fn nobody_has_it(&self, progress: Option<&Progress>) -> Failure {
        let (name, missing) = (self.name(), progress.map_or(0, |progress| progress.chunks_total - progress.chunks));
        let text = format!("{name}: nobody has its {missing} missing chunks; the download goes on when somebody does");
        Failure::new(FailureKind::Incomplete, text)
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn pass_on(updates: &mpsc::Sender<Update>, progress: Option<Progress>) {
    if let Some(progress) = progress {
        // Who does not take it in time gets the next one.
        drop(updates.try_send(Update::Progress(progress)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::errand::Purpose;
    use super::*;
    use crate::engine::PlanSource;
    use common::audience::Audience;
    use common::id::{FileId, Hash};

    fn file(number: u8) -> Content {
        FileId::new(1, Hash([number; 32])).unwrap().into()
    }

    fn entry(text: &str) -> EntryRef {
        text.parse().unwrap()
    }

    fn errand(text: &str, number: u8) -> Errand {
        Errand {
            entry: entry(text),
            version: 1,
            content: file(number),
            audience: Audience::Public,
            source: PlanSource::Entry,
            purpose: Purpose::Once,
        }
    }

    fn progress(bytes: u64, activity: Activity) -> Progress {
        Progress {
            name: "x".to_owned(),
            activity,
            chunks: 0,
            chunks_total: 1,
            bytes,
            bytes_total: 100,
            bytes_per_sec: 0,
            seeders: 0,
        }
    }

    fn new(downloads: &Downloads, text: &str, number: u8) -> (Arc<Running>, Carrier) {
        match downloads.begin(errand(text, number), Interest::User) {
            Begun::New(running, carrier) => (running, carrier),
            Begun::UnderWay(running) => panic!("{running:?}"),
        }
    }

    fn cancelled() -> Result<Downloaded, Failure> {
        Err(Failure::new(FailureKind::Cancelled, "cancelled"))
    }

    #[test]
    fn a_file_is_downloaded_once_and_found_by_its_names() {
        let downloads = Downloads::default();
        let (one, carrier) = new(&downloads, "ann/x", 1);
        new(&downloads, "bob/x", 2);
        let again = downloads.begin(errand("bob/y", 1), Interest::User);
        assert!(matches!(again, Begun::UnderWay(same) if Arc::ptr_eq(&same, &one)));
        assert_eq!(downloads.named(&entry("x")).len(), 2);
        assert_eq!(downloads.named(&entry("ann/x")).len(), 1);
        assert_eq!(downloads.named(&entry("ann/y")).len(), 0);
        downloads.end(&file(1), &carrier, cancelled());
        assert!(downloads.find(&file(1)).is_none());
        assert_eq!(downloads.all().len(), 1);
    }

    #[test]
    fn what_somebody_wants_is_not_given_up_and_what_is_given_up_not_wanted() {
        let downloads = Downloads::default();
        let held = |number| match downloads.begin(errand("ann/x", number), Interest::Holding(Remains::Discarded)) {
            Begun::New(running, _) => running,
            Begun::UnderWay(running) => panic!("{running:?}"),
        };
        let (wanted, given_up) = (held(1), held(2));
        assert!(matches!(downloads.begin(errand("bob/y", 1), Interest::User), Begun::UnderWay(_)));
        assert!(!wanted.give_up() && !wanted.cancel.is_cancelled() && !wanted.was_given_up());
        assert!(given_up.give_up() && given_up.cancel.is_cancelled());
        assert!(matches!(downloads.begin(errand("bob/y", 2), Interest::User), Begun::UnderWay(_)));
        assert!(given_up.was_given_up() && given_up.leaves_nothing() && !given_up.give_up());
        let (of_user, _carrier) = new(&downloads, "ann/z", 3);
        let again = downloads.begin(errand("ann/z", 3), Interest::Holding(Remains::Discarded));
        assert!(matches!(again, Begun::UnderWay(_)) && !of_user.give_up());
    }

    #[tokio::test(start_paused = true)]
    async fn who_follows_sees_progress_now_and_then_and_the_end() {
        let downloads = Downloads::default();
        let (running, carrier) = new(&downloads, "ann/x", 1);
        let (sender, mut updates) = mpsc::channel(100);
        let carrying = async {
            for bytes in 1..=100 {
                carrier.progress.send_replace(Some(progress(bytes, Activity::Downloading)));
                sleep(Duration::from_millis(10)).await;
            }
            downloads.end(&file(1), &carrier, cancelled());
        };
        let (result, ()) = tokio::join!(running.follow(&sender, Patience::Endless), carrying);
        assert_eq!(result.unwrap_err().kind, FailureKind::Cancelled);
        let mut seen = Vec::new();
        while let Ok(Update::Progress(progress)) = updates.try_recv() {
            seen.push(progress.bytes);
        }
        assert!((9..=11).contains(&seen.len()), "{seen:?}");
        assert_eq!(seen.last(), Some(&100), "the last is never missing");
        assert_eq!(running.follow(&sender, Patience::Endless).await, cancelled(), "also for who comes late");
    }

    #[tokio::test(start_paused = true)]
    async fn who_watches_gives_up_alone() {
        let downloads = Downloads::default();
        let (running, carrier) = new(&downloads, "ann/x", 1);
        let (sender, _updates) = mpsc::channel(1);
        let begin = Instant::now();
        let carrying = async {
            for (at, activity) in [(0, Activity::Waiting), (20, Activity::Downloading), (40, Activity::Waiting)] {
                sleep_until(begin + Duration::from_secs(at)).await;
                carrier.progress.send_replace(Some(progress(at, activity)));
            }
        };
        let patience = Patience::Of(Duration::from_secs(30));
        let (result, ()) = tokio::join!(running.follow(&sender, patience), carrying);
        assert_eq!(result.unwrap_err().kind, FailureKind::Incomplete);
        assert_eq!(begin.elapsed().as_secs(), 70, "it begins anew whenever something came");
        assert!(!running.cancel.is_cancelled() && downloads.find(&file(1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_waits_for_all_to_end() {
        let downloads = Downloads::default();
        let (one, carrier) = new(&downloads, "ann/x", 1);
        let begin = Instant::now();
        let carrying = async {
            one.cancel.cancelled().await;
            sleep(Duration::from_secs(1)).await;
            downloads.end(&file(1), &carrier, cancelled());
        };
        tokio::join!(downloads.shutdown(), carrying);
        assert_eq!(begin.elapsed().as_secs(), 1);
        downloads.shutdown().await;
    }
}
