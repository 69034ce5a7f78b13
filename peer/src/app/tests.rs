//! Whole peers and a real tracker, over sockets, in one process.

mod accounts;
mod folders;
mod following;
mod group;
mod safety;

use super::*;
use crate::command::{Activity, Downloaded, FailureKind, Follow, Listing, Progress};
use common::id::Content;
use common::name::UserName;
use common::wire::tracker::{Entry, Have, Holder, MrtRole};
use std::path::{Path, PathBuf};
use tokio::task::JoinHandle;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(30);
/// Not noticed within this: not done.
const A_WHILE: Duration = Duration::from_millis(300);

struct Net {
    root: tempfile::TempDir,
    address: SocketAddr,
    tracker: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Net {
    async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    async fn start_at(address: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut net = Self { root, address: address.parse().unwrap(), tracker: None };
        net.start_tracker().await;
        net
    }

    #[expect(clippy::disallowed_methods, reason = "the tracker is no part of the peer's tasks")]
    async fn start_tracker(&mut self) {
        let mut config = tracker::Config::new(self.root.path().join("tracker"));
        config.listen = self.address;
        let server = tracker::Server::bind(config).await.unwrap();
        self.address = server.local_addr();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        self.tracker = Some((stop, tokio::spawn(async move { server.run(stopped).await.unwrap() })));
    }

    async fn stop_tracker(&mut self) {
        if let Some((stop, ended)) = self.tracker.take() {
            stop.cancel();
            ended.await.unwrap();
        }
    }

    fn config(&self, name: &str) -> AppConfig {
        AppConfig {
            tracker: Some(self.address.to_string().parse().unwrap()),
            name: NameChoice::Given(UserName::new(name).unwrap()),
            dir: Dir::new(&self.root.path().join("peers").join(name)).unwrap(),
            listen: SocketAddr::new(self.address.ip(), 0),
            advertise: Vec::new(),
            limit_up: None,
            limit_down: None,
            unfinished: Unfinished::Resume,
            accept: AcceptRule::Ask,
            mrt: MrtRole::Asks,
            group: None,
        }
    }

    async fn peer(&self, name: &str) -> App {
        joined(self.config(name)).await
    }

    /// Slow enough that a test can do something meanwhile.
    async fn slow_peer(&self, name: &str) -> App {
        joined(AppConfig { limit_down: NonZeroU64::new(2 << 20), ..self.config(name) }).await
    }

    fn write(&self, folder: &str, name: &str, content: &[u8]) -> PathBuf {
        let folder = self.root.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

async fn joined(config: AppConfig) -> App {
    let app = App::start(config).await.unwrap();
    app.wait_connected(DEADLINE).await.unwrap();
    app
}

fn content(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| u8::try_from((at / 7 + at * at) % 251).unwrap() ^ seed).collect()
}

async fn run_it(app: &App, command: Command) -> Result<Outcome, Failure> {
    let (updates, _nobody) = mpsc::channel(1);
    timeout(DEADLINE, app.run(command, updates)).await.unwrap()
}

async fn register(app: &App, path: &Path) -> (String, Content, bool) {
    match run_it(app, Command::Register { path: path.to_owned(), users: None }).await {
        Ok(Outcome::Registered { entry, file, already, .. }) => (entry, file, already),
        other => panic!("{other:?}"),
    }
}

fn wish_with(entry: &str, output: Option<PathBuf>, wait_secs: Option<u64>) -> Command {
    Command::Download { entry: entry.to_owned(), only: Vec::new(), follow: Follow::No, output, wait_secs }
}

fn wish(entry: &str) -> Command {
    wish_with(entry, None, None)
}

fn wish_to(entry: &str, output: PathBuf) -> Command {
    wish_with(entry, Some(output), None)
}

async fn download(app: &App, command: Command) -> Downloaded {
    match run_it(app, command).await {
        Ok(Outcome::Downloaded(downloaded)) => downloaded,
        other => panic!("{other:?}"),
    }
}

async fn entries(app: &App) -> Vec<Entry> {
    match run_it(app, Command::List(Listing::default())).await {
        Ok(Outcome::Entries(entries)) => entries,
        other => panic!("{other:?}"),
    }
}

async fn holders(app: &App, entry: &str) -> Vec<Holder> {
    match run_it(app, Command::Loc { entry: entry.to_owned() }).await {
        Ok(Outcome::Locations { holders, .. }) => holders,
        other => panic!("{other:?}"),
    }
}

/// Users with all chunks of an entry, in order, as soon as there are so many.
async fn seeders(app: &App, entry: &str, count: usize) -> Vec<String> {
    let mut users: Vec<String> = Vec::new();
    eventually("as many seeders", async || {
        let complete = holders(app, entry).await.into_iter().filter(|holder| holder.have == Some(Have::All));
        users = complete.map(|holder| holder.user).collect();
        users.len() == count
    })
    .await;
    users.sort();
    users
}

/// Waits until something holds that nobody tells of.
async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < DEADLINE, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn notice_that(notices: &mut broadcast::Receiver<Notice>, mut wanted: impl FnMut(&Notice) -> bool) -> Notice {
    timeout(DEADLINE, async {
        loop {
            let notice = notices.recv().await.unwrap();
            if wanted(&notice) {
                return notice;
            }
        }
    })
    .await
    .unwrap()
}

/// Begins a download and goes away as soon as chunks come.
async fn begin(app: &App, command: Command) -> Progress {
    let (sender, mut updates) = mpsc::channel(100);
    let first = async {
        while let Some(update) = updates.recv().await {
            if let Update::Progress(progress) = update
                && progress.activity == Activity::Downloading
                && progress.chunks > 0
            {
                return progress;
            }
        }
        panic!("no progress")
    };
    tokio::select! {
        end = app.run(command, sender) => panic!("{end:?}"),
        progress = timeout(DEADLINE, first) => progress.unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_registers_another_downloads_and_serves_on() {
    register_and_download(&Net::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_ipv6_it_is_the_same() {
    register_and_download(&Net::start_at("[::1]:0").await).await;
}

async fn register_and_download(net: &Net) {
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let bytes = content(300_000, 1);
    let path = net.write("files", "doug.png", &bytes);
    let (entry, file, already) = register(&ann, &path).await;
    assert_eq!((entry.as_str(), already), ("ann/doug.png", false));
    assert!(register(&ann, &path).await.2, "again changes nothing");

    let mut notices = bob.notices();
    let got = download(&bob, wish("doug.png")).await;
    assert_eq!((got.entry.as_str(), got.file, got.already), ("ann/doug.png", file, false));
    assert_eq!(got.path, bob.dir().seeding().join("doug.png"));
    assert_eq!(std::fs::read(&got.path).unwrap(), bytes);
    assert_eq!(got.shares.iter().map(|share| share.bytes).sum::<u64>(), 300_000);
    notice_that(&mut notices, |notice| matches!(notice, Notice::Downloaded { name, .. } if name == "doug.png")).await;
    assert_eq!(seeders(&ann, "doug.png", 2).await, ["ann", "bob"]);

    let again = download(&bob, wish("doug.png")).await;
    assert_eq!((again.already, again.fetched_bytes, again.path), (true, 0, got.path));
    let listed = entries(&bob).await;
    assert_eq!((listed.len(), listed[0].seeders), (1, 2));
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_all_is_shared_again_and_nothing_is_read() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let path = net.write("files", "a", &content(100_000, 1));
    register(&ann, &path).await;
    let got = download(&bob, wish("a")).await;
    ann.shutdown().await;
    bob.shutdown().await;

    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    assert_eq!(seeders(&ann, "a", 2).await, ["ann", "bob"]);
    let (updates, mut told) = mpsc::channel(100);
    ann.run(Command::Register { path: path.clone(), users: None }, updates).await.unwrap();
    assert!(told.recv().await.is_none(), "no progress: nothing was hashed");
    let eve = net.peer("eve").await;
    assert_eq!(std::fs::read(download(&eve, wish("a")).await.path).unwrap(), std::fs::read(&path).unwrap());

    bob.shutdown().await;
    std::fs::write(&got.path, "something else").unwrap();
    let bob = net.peer("bob").await;
    let withdrawn = notice_that(&mut bob.notices(), |notice| matches!(notice, Notice::Withdrawn { .. })).await;
    assert!(withdrawn.to_string().contains("it has 14 bytes now, and had 100000"), "{withdrawn}");
    assert_eq!(seeders(&ann, "a", 2).await, ["ann", "eve"]);
    for app in [ann, bob, eve] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_version_shares_with_an_older_one_here_is_not_moved_again() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let mut bytes = content(5_000_000, 1);
    let path = net.write("files", "a", &bytes);
    register(&ann, &path).await;
    let first = download(&bob, wish("a")).await;
    assert_eq!(first.fetched_bytes, 5_000_000);
    bytes[1_000_000..1_050_000].fill(7);
    bytes.extend(content(20_000, 2));
    net.write("files", "a", &bytes);
    register(&ann, &path).await;
    let second = download(&bob, wish("a")).await;
    assert_eq!((second.version, second.already), (2, false));
    assert_eq!(std::fs::read(&second.path).unwrap(), bytes);
    // 70,000 bytes are new; where they begin and end a chunk of 16 KiB each may come with them.
    let fetched = second.fetched_bytes;
    assert!((70_000..=70_000 + 4 * 16_384).contains(&fetched), "{fetched}");
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_files_of_one_name_are_told_apart_by_their_owners() {
    let net = Net::start().await;
    let (ann, bob, eve) = (net.peer("ann").await, net.peer("bob").await, net.peer("eve").await);
    register(&ann, &net.write("ann", "x", b"of ann")).await;
    register(&bob, &net.write("bob", "x", b"of bob")).await;
    let failure = run_it(&eve, wish("x")).await.unwrap_err();
    let owners: Vec<&str> = failure.candidates.iter().flat_map(|entry| &entry.owners).map(String::as_str).collect();
    assert_eq!(owners, ["ann", "bob"], "{failure:?}");
    assert!(failure.text.contains("OWNER/x"), "{failure}");
    let got = download(&eve, wish("bob/x")).await;
    assert_eq!(std::fs::read(got.path).unwrap(), b"of bob");
    let other = download(&eve, wish("ann/x")).await;
    assert_eq!(other.path, eve.dir().seeding().join("x (1)"), "what is there is never overwritten");
    for app in [ann, bob, eve] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deregistering_ends_sharing() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let path = net.write("files", "a", b"content");
    register(&ann, &path).await;
    let not_his = run_it(&bob, Command::Deregister { entry: "ann/a".to_owned() }).await.unwrap_err();
    assert_eq!(not_his.kind, FailureKind::Failed);
    run_it(&ann, Command::Deregister { entry: "a".to_owned() }).await.unwrap();
    assert!(run_it(&bob, Command::Loc { entry: "a".to_owned() }).await.is_err());
    let Ok(Outcome::Status(status)) = run_it(&ann, Command::Status).await else { panic!() };
    assert!(status.sharing.is_empty() && status.connected && status.name == "ann");
    ann.shutdown().await;
    assert!(register(&net.peer("ann").await, &path).await.0 == "ann/a");
    bob.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_in_a_sentence() {
    let net = Net::start().await;
    let ann = net.peer("ann").await;
    for entry in ["../x", "/etc/passwd", "a/b/c", "con", "a\nb", "", "x\u{202e}y", &"n".repeat(256)] {
        for command in [wish(entry), Command::Loc { entry: entry.into() }, Command::Deregister { entry: entry.into() }]
        {
            let failure = run_it(&ann, command).await.unwrap_err();
            assert_eq!(failure.kind, FailureKind::Usage, "{entry:?}: {failure}");
        }
    }
    let missing = net.root.path().join("none");
    for (path, part) in [(missing, "there is no file"), ("/dev/null".into(), "no regular file")] {
        let failure = run_it(&ann, Command::Register { path, users: None }).await.unwrap_err();
        assert!(failure.text.contains(part), "{failure}");
    }
    let odd = net.write("files", "a\nb", b"x");
    assert_eq!(run_it(&ann, Command::Register { path: odd, users: None }).await.unwrap_err().kind, FailureKind::Usage);
    let relative = run_it(&ann, Command::Register { path: "a".into(), users: None }).await.unwrap_err();
    assert_eq!(relative.kind, FailureKind::Usage);
    let unknown = run_it(&ann, wish("nothing")).await.unwrap_err();
    assert_eq!(unknown.kind, FailureKind::Failed);
    assert!(unknown.text.contains("`lst`"), "{unknown}");
    let long = run_it(&ann, Command::Search { text: "x".repeat(1025), listing: Listing::default() }).await.unwrap_err();
    assert_eq!(long.kind, FailureKind::Usage);
    let target = run_it(&ann, Command::Ping { target: "No Body".to_owned() }).await.unwrap_err();
    assert_eq!(target.kind, FailureKind::Usage);
    assert!(entries(&ann).await.is_empty(), "and it goes on");
    ann.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_tracker_it_says_so_and_when_one_comes_it_goes_on() {
    let mut net = Net::start().await;
    net.stop_tracker().await;
    let ann = App::start(net.config("ann")).await.unwrap();
    let mut notices = ann.notices();
    let failure = ann.wait_connected(Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NoTracker);
    let address = net.address;
    assert_eq!(failure.text, format!("no tracker answers at {address} (connection refused)"));
    assert!(failure.hint.unwrap().contains("--tracker"));
    let path = net.write("files", "a", b"x");
    let early = run_it(&ann, Command::Register { path: path.clone(), users: None }).await.unwrap_err();
    assert_eq!(early.kind, FailureKind::NoTracker);
    net.start_tracker().await;
    notice_that(&mut notices, |notice| *notice == Notice::TrackerBack).await;
    register(&ann, &path).await;

    let lost = Instant::now();
    net.stop_tracker().await;
    net.start_tracker().await;
    assert_eq!(seeders(&ann, "a", 1).await, ["ann"], "a restart is bridged");
    assert!(lost.elapsed() < Duration::from_secs(8));
    ann.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_name_is_final_and_a_default_one_gets_a_number() {
    let net = Net::start().await;
    let ann = net.peer("ann").await;
    let dir = Dir::new(&net.root.path().join("other")).unwrap();
    let other = App::start(AppConfig { dir: dir.clone(), ..net.config("ann") }).await.unwrap();
    let failure = other.wait_connected(DEADLINE).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Failed);
    assert!(failure.text.contains("--name"), "{failure}");
    other.shutdown().await;
    let name = NameChoice::Default(UserName::new("ann").unwrap());
    let other = joined(AppConfig { name, dir, ..net.config("ann") }).await;
    assert_eq!(other.name(), "ann-2");
    for app in [ann, other] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_gives_the_dir_back_and_may_be_called_by_all() {
    let net = Net::start().await;
    let ann = net.peer("ann").await;
    let taken = App::start(net.config("ann")).await.unwrap_err();
    assert!(matches!(taken, StartError::InUse { .. }), "{taken}");
    let (asked, ()) = tokio::join!(run_it(&ann, Command::Stop), ann.stop_requested());
    assert_eq!(asked, Ok(Outcome::Stopping));
    tokio::join!(ann.shutdown(), ann.shutdown());
    ann.shutdown().await;
    assert_eq!(run_it(&ann, Command::Status).await.unwrap_err().text, "this peer is ending");
    let again = net.peer("ann").await;
    assert_eq!(again.tracker().to_string(), ann.tracker().to_string());
    again.shutdown().await;
}

const LARGE: usize = 8 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_may_go_away_and_others_may_watch() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.slow_peer("bob").await);
    let bytes = content(LARGE, 2);
    register(&ann, &net.write("files", "big", &bytes)).await;
    begin(&bob, wish("big")).await;
    assert_eq!(bob.download_names(), ["big"]);
    let Ok(Outcome::Status(status)) = run_it(&bob, Command::Status).await else { panic!() };
    assert_eq!(status.downloads.len(), 1);
    let got = download(&bob, wish("ann/big")).await;
    assert!(!got.already && got.fetched_bytes >= LARGE as u64, "{got:?}");
    assert_eq!(std::fs::read(got.path).unwrap(), bytes);
    assert!(bob.download_names().is_empty());
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_downloads_go_on_by_themselves_and_cancelled_ones_do_not() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.slow_peer("bob").await);
    for (number, name) in [(3, "one"), (4, "two")] {
        register(&ann, &net.write("files", name, &content(LARGE, number))).await;
    }
    begin(&bob, wish("one")).await;
    begin(&bob, wish("two")).await;
    let none = run_it(&bob, Command::Cancel { entry: Some("three".to_owned()) }).await.unwrap_err();
    assert_eq!(none.text, "no download of three is under way");
    let (updates, mut heard) = mpsc::channel(100);
    // Who has heard something watches the download that is under way, and does not begin another after the cancel.
    let cancelling = async {
        heard.recv().await.unwrap();
        run_it(&bob, Command::Cancel { entry: Some("two".to_owned()) }).await
    };
    let (watched, cancelled) = tokio::join!(bob.run(wish("two"), updates), cancelling);
    assert_eq!(cancelled, Ok(Outcome::Cancelled { names: vec!["two".to_owned()] }));
    assert_eq!(watched.unwrap_err().kind, FailureKind::Cancelled);
    bob.shutdown().await;

    let bob = net.peer("bob").await;
    let mut notices = bob.notices();
    notice_that(&mut notices, |notice| matches!(notice, Notice::Downloaded { name, .. } if name == "one")).await;
    assert_eq!(std::fs::read(bob.dir().seeding().join("one")).unwrap(), content(LARGE, 3));
    assert!(bob.download_names().is_empty());
    let got = download(&bob, wish("two")).await;
    assert!(got.fetched_bytes < LARGE as u64, "what had come was kept: {}", got.fetched_bytes);
    assert_eq!(std::fs::read(got.path).unwrap(), content(LARGE, 4));
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_with_the_rest_is_waited_for_as_long_as_was_said() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    register(&ann, &net.write("files", "a", &content(100_000, 5))).await;
    ann.shutdown().await;
    let asked = Instant::now();
    let command = wish_with("a", None, Some(1));
    let failure = run_it(&bob, command).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Incomplete, "{failure:?}");
    assert!(asked.elapsed() > A_WHILE);
    let ann = net.peer("ann").await;
    download(&bob, wish("a")).await;
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_goes_where_it_is_wanted_and_nothing_is_moved_when_it_is_there() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let bytes = content(50_000, 6);
    register(&ann, &net.write("files", "a.txt", &bytes)).await;
    // The very file, which no library knows.
    let there = net.write("there", "a.txt", &bytes);
    let got = download(&bob, wish_to("a.txt", there.parent().unwrap().to_owned())).await;
    assert_eq!((got.already, got.fetched_bytes, got.path), (true, 0, there.clone()));
    assert_eq!(seeders(&ann, "a.txt", 2).await, ["ann", "bob"]);
    // Elsewhere: it is here already, and copied; what is in the way stays.
    let in_the_way = net.write("elsewhere", "b.txt", b"another");
    let got = download(&bob, wish_to("a.txt", in_the_way.clone())).await;
    assert_eq!((got.already, got.fetched_bytes), (false, 0));
    assert_eq!(got.path, in_the_way.with_file_name("b (1).txt"));
    assert_eq!(std::fs::read(got.path).unwrap(), bytes);
    assert_eq!(std::fs::read(in_the_way).unwrap(), b"another");
    assert_eq!(std::fs::read_dir(net.root.path().join("elsewhere")).unwrap().count(), 2);
    let nowhere = run_it(&bob, wish_to("a.txt", net.root.path().join("no/where"))).await.unwrap_err();
    assert!(nowhere.text.starts_with("there is no directory"), "{nowhere}");
    // A copy takes the place of the one that goes.
    std::fs::remove_file(there).unwrap();
    let mut notices = bob.notices();
    notice_that(&mut notices, |notice| matches!(notice, Notice::Withdrawn { .. })).await;
    ann.shutdown().await;
    let eve = net.peer("eve").await;
    assert_eq!(seeders(&eve, "a.txt", 1).await, ["bob"]);
    assert_eq!(std::fs::read(download(&eve, wish("a.txt")).await.path).unwrap(), bytes);
    for app in [bob, eve] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_listed_and_pinged_by_name_and_address() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let Ok(Outcome::Users(users)) = run_it(&ann, Command::Users).await else { panic!() };
    let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["ann", "bob"]);
    assert_eq!(ann.known_users(), ["ann", "bob"]);
    let ping = |target: String| {
        let ann = ann.clone();
        async move { run_it(&ann, Command::Ping { target }).await }
    };
    let bobs_id = users[1].peer.to_string();
    let by_name = format!("localhost:{}", bob.local_addr().port());
    for target in ["bob".to_owned(), bobs_id, bob.local_addr().to_string(), by_name] {
        let Ok(Outcome::Pong { peer, .. }) = ping(target.clone()).await else { panic!("{target}") };
        assert_eq!(Some(peer), users.iter().find(|user| user.name == "bob").map(|user| user.peer));
    }
    assert!(matches!(ping("ann".to_owned()).await, Ok(Outcome::Pong { round_trip_us: 0, .. })));
    assert!(ping("eve".to_owned()).await.is_err());
    bob.shutdown().await;
    let gone = ping(bob.local_addr().to_string()).await.unwrap_err();
    assert!(gone.text.starts_with("no peer answers at"), "{gone}");
    ann.shutdown().await;
}
