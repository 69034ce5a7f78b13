//! Acknowledged writes: while users sign up, register and update, the tracker is killed at random moments. What it said
//! yes to is there afterwards, what it did not answer is there or not, but never half.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::id::{Content, FileId};
use common::identity::Identity;
use common::merkle::sha256;
use common::secret::Secret;
use common::wire::tracker::{Code, Reply, Request};

use super::{Findings, Scale};
use crate::cluster::{Cluster, ClusterConfig};
use crate::content::Dice;
use crate::hostile::{RawTracker, identity};
use crate::wait::holds_for;

/// How many users write at once.
const WORKERS: u64 = 4;
/// The tracker lives at least so long, and at most so much longer.
const LIVES: Duration = Duration::from_millis(100);
const LIVES_LONGER_MS: u64 = 900;
/// Entries of one user; the next ones are updates.
const ENTRIES: u64 = 20;
/// Operations of one user before the next one signs up.
const OPERATIONS: u32 = 40;

/// What is known to be on the tracker.
#[derive(Debug, Default)]
struct Known {
    users: BTreeMap<String, Entries>,
    acknowledged: u64,
}

/// The contents of an entry's versions, the oldest first, by its name.
type Entries = BTreeMap<String, Vec<Content>>;

/// What was asked for last, and not answered.
#[derive(Debug)]
enum Open {
    SignUp { user: String },
    Register { user: String, entry: String, content: Content },
}

/// Kills the tracker `rounds` times.
pub(super) fn acknowledged(scale: Scale) -> Findings {
    let cluster = ClusterConfig::default().tracker_args(&["--access", "accounts"]).start();
    let mut known: Vec<Known> = (0..WORKERS).map(|_| Known::default()).collect();
    let mut dice = Dice::new(0x00ac_2026);
    let mut per_round = Vec::new();
    for round in 0..u64::from(scale.rounds) {
        let before: u64 = known.iter().map(|known| known.acknowledged).sum();
        let ended = AtomicBool::new(false);
        let open: Vec<Option<Open>> = thread::scope(|scope| {
            let workers: Vec<_> = known
                .iter_mut()
                .zip(0..)
                .map(|(known, worker)| {
                    let (cluster, ended) = (&cluster, &ended);
                    let dice = Dice::new(round * WORKERS + worker);
                    scope.spawn(move || work(cluster, known, &format!("w{worker}-r{round}"), dice, ended))
                })
                .collect();
            holds_for(LIVES + Duration::from_millis(dice.below(LIVES_LONGER_MS)), || true);
            cluster.kill_tracker();
            ended.store(true, Ordering::Release);
            workers.into_iter().map(|worker| worker.join().expect("no worker panics")).collect()
        });
        cluster.restart_tracker();
        for (known, open) in known.iter_mut().zip(open) {
            settle(&cluster, known, open);
            check(&cluster, known, &mut dice);
        }
        let after: u64 = known.iter().map(|known| known.acknowledged).sum();
        per_round.push((after - before) as f64);
    }
    for known in &known {
        for (user, entries) in &known.users {
            check_user(&cluster, user, entries);
        }
    }
    assert!(per_round.iter().sum::<f64>() > 0.0, "something was acknowledged");
    Findings::default().with("acknowledged before each kill", "", per_round)
}

/// Signs up and registers until the tracker is gone; gives what it did not answer.
fn work(cluster: &Cluster, known: &mut Known, prefix: &str, mut dice: Dice, ended: &AtomicBool) -> Option<Open> {
    for number in 0.. {
        if ended.load(Ordering::Acquire) {
            return None;
        }
        let user = format!("{prefix}-{number}");
        if sign_up(cluster, &user).is_err() {
            return Some(Open::SignUp { user });
        }
        known.acknowledged += 1;
        known.users.insert(user.clone(), Entries::new());
        let Ok(mut tracker) = RawTracker::join(cluster.address(), &identity(&user), &user, 1) else { return None };
        for operation in 0..OPERATIONS {
            let entry = format!("{}.txt", dice.below(ENTRIES));
            let content = content(&user, operation);
            match tracker.request(register(&entry, content)) {
                Ok(Ok(Reply::Registered { already: false, .. })) => {
                    known.acknowledged += 1;
                    known.users.entry(user.clone()).or_default().entry(entry).or_default().push(content);
                }
                Ok(other) => panic!("{user} registers {entry}: {other:?}"),
                Err(_gone) => return Some(Open::Register { user, entry, content }),
            }
        }
    }
    None
}

fn password() -> Secret {
    Secret::new("correct horse battery".to_owned()).expect("it is short")
}

fn sign_up(cluster: &Cluster, user: &str) -> std::io::Result<()> {
    let request = Request::SignUp { name: user.to_owned(), password: password(), code: None };
    let mut tracker = RawTracker::dial(cluster.address(), &identity(user))?;
    match tracker.request(request)? {
        Ok(Reply::LoggedIn { name }) if name == user => Ok(()),
        other => panic!("{user} signs up: {other:?}"),
    }
}

fn register(entry: &str, content: Content) -> Request {
    Request::Register { name: entry.to_owned(), content, folder: None, users: None }
}

/// A file that no other operation names.
fn content(user: &str, operation: u32) -> Content {
    let root = sha256(format!("{user} {operation}").as_bytes());
    Content::File(FileId::new(u64::from(operation) + 1, root).expect("it is short"))
}

/// Looks whether what was not answered was done.
fn settle(cluster: &Cluster, known: &mut Known, open: Option<Open>) {
    match open {
        None => {}
        Some(Open::SignUp { user }) if is_account(cluster, &identity(&user), &user) => {
            known.users.insert(user, Entries::new());
        }
        Some(Open::SignUp { .. }) => {}
        Some(Open::Register { user, entry, content }) => {
            let entries = known.users.get_mut(&user).expect("its sign-up was acknowledged");
            let found = versions(cluster, &user, &entry);
            if found.last() == Some(&content) {
                entries.entry(entry).or_default().push(content);
            }
        }
    }
}

fn is_account(cluster: &Cluster, key: &Identity, user: &str) -> bool {
    let mut tracker = RawTracker::dial(cluster.address(), key).expect("the tracker is there");
    match tracker.request(RawTracker::hello(user, 1)).expect("the tracker answers") {
        Ok(Reply::Welcome(welcome)) => {
            assert!(welcome.account && welcome.name == user, "{welcome:?}");
            true
        }
        Err(refusal) if refusal.code == Code::LoginRequired => false,
        other => panic!("{user} joins: {other:?}"),
    }
}

/// One user of the last round in each worker and a random one of before.
fn check(cluster: &Cluster, known: &Known, dice: &mut Dice) {
    let last = known.users.len().saturating_sub(1);
    let random = usize::try_from(dice.below(known.users.len().max(1) as u64)).unwrap_or(0);
    for at in [last, random] {
        if let Some((user, entries)) = known.users.iter().nth(at) {
            check_user(cluster, user, entries);
        }
    }
}

/// The user is there with its password, and with these entries and no others.
fn check_user(cluster: &Cluster, user: &str, entries: &Entries) {
    assert!(is_account(cluster, &identity(user), user), "the account of {user} is gone");
    let mut tracker = RawTracker::dial(cluster.address(), &identity(user)).expect("the tracker is there");
    let login = Request::LogIn { name: user.to_owned(), password: password() };
    let login = tracker.request(login).expect("the tracker answers");
    assert!(matches!(login, Ok(Reply::LoggedIn { .. })), "{user} logs in: {login:?}");
    for (entry, contents) in entries {
        assert_eq!(&versions(cluster, user, entry), contents, "{user}/{entry}");
    }
    let mut tracker = RawTracker::join(cluster.address(), &identity(user), user, 1).expect("the tracker is there");
    let query = common::wire::tracker::Query { mine: true, ..Default::default() };
    let Ok(Reply::Entries { total, .. }) = tracker.request(Request::List(query)).expect("the tracker answers") else {
        panic!("{user} has no list")
    };
    assert_eq!(total as usize, entries.len(), "{user} has as many entries as were acknowledged");
}

/// The contents of an entry's versions, the oldest first; their numbers have no gap.
fn versions(cluster: &Cluster, user: &str, entry: &str) -> Vec<Content> {
    let mut tracker = RawTracker::join(cluster.address(), &identity(user), user, 1).expect("the tracker is there");
    let request = Request::Versions { entry: format!("{user}/{entry}") };
    match tracker.request(request).expect("the tracker answers") {
        Ok(Reply::Versions { versions, .. }) => {
            let numbers: Vec<u32> = versions.iter().rev().map(|version| version.number).collect();
            assert!(numbers.iter().zip(1..).all(|(number, want)| *number == want), "{user}/{entry}: {numbers:?}");
            versions.iter().rev().map(|version| version.content).collect()
        }
        Err(refusal) if refusal.code == Code::NotFound => Vec::new(),
        other => panic!("the versions of {user}/{entry}: {other:?}"),
    }
}
