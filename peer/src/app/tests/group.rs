use std::net::SocketAddr;

use super::*;
use crate::command::{Held, Holding, hold};

/// Long enough for any machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Group {
    root: tempfile::TempDir,
}

impl Group {
    async fn node(&self, name: &str) -> App {
        joined(self.config(name)).await
    }

    /// Slow enough that a test can do something meanwhile.
    async fn slow_node(&self, name: &str, hold: Option<u64>) -> App {
        let mut config = AppConfig { limit_down: NonZeroU64::new(2 << 20), ..self.config(name) };
        config.group.as_mut().unwrap().hold = hold;
        joined(config).await
    }

    fn config(&self, name: &str) -> AppConfig {
        AppConfig {
            tracker: None,
            name: NameChoice::Given(UserName::new(name).unwrap()),
            dir: Dir::new(&self.root.path().join("peers").join(name)).unwrap(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: Vec::new(),
            limit_up: None,
            limit_down: None,
            unfinished: Unfinished::Resume,
            accept: AcceptRule::Ask,
            mrt: MrtRole::Asks,
            group: Some(GroupConfig { psk: [5; 32], stun: Vec::new(), discovery: DiscoveryRule::Off, hold: None }),
        }
    }

    /// Has a node share so many bytes under this name.
    async fn share(&self, node: &App, name: &str, length: usize) {
        let path = self.root.path().join(name);
        std::fs::write(&path, content(length, 7)).unwrap();
        register(node, &path).await;
    }
}

/// Waits until a download of this is under way there, and something has come.
async fn downloads(node: &App, name: &str) {
    let has_begun = async {
        loop {
            let Ok(Outcome::Status(status)) = run_it(node, Command::Status).await else { panic!("no status") };
            if status.downloads.iter().any(|progress| progress.name == name && progress.bytes > 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, has_begun).await.unwrap();
}

/// The entry as a node sees it.
async fn entry_of(node: &App, name: &str) -> Entry {
    let listed = async {
        loop {
            if let Ok(Outcome::Entries(entries)) = run_it(node, Command::List(Listing::default())).await
                && let Some(entry) = entries.into_iter().find(|entry| entry.name == name)
            {
                return entry;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, listed).await.unwrap()
}

/// What is in the making there.
fn parts_of(node: &App) -> usize {
    std::fs::read_dir(node.dir().downloading()).unwrap().count()
}

async fn connect(from: &App, to: &App) {
    let node = from.inner.parts.node.as_ref().unwrap();
    timeout(PATIENCE, node.connect(to.local_addr())).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_share_a_file_without_a_tracker() {
    let group = Group { root: tempfile::tempdir().unwrap() };
    let (ann, bob, eve) = (group.node("ann").await, group.node("bob").await, group.node("eve").await);
    connect(&bob, &ann).await;
    connect(&eve, &bob).await;
    let bytes = content(3_000_000, 7);
    let path = group.root.path().join("doug.png");
    std::fs::write(&path, &bytes).unwrap();
    let (entry, ..) = register(&ann, &path).await;
    assert_eq!(entry, "ann/doug.png");
    for node in [&bob, &eve] {
        let done = download(node, wish("doug.png")).await;
        assert_eq!(std::fs::read(&done.path).unwrap(), bytes);
    }
    for node in [ann, bob, eve] {
        timeout(PATIENCE, node.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_more_connections_than_can_be_tried_is_told_so() {
    let group = Group { root: tempfile::tempdir().unwrap() };
    let ann = group.node("ann").await;
    let silent: Vec<_> = (0..5).map(|_| std::net::UdpSocket::bind(("127.0.0.1", 0)).unwrap()).collect();
    let mut connecting = tokio::task::JoinSet::new();
    for socket in &silent {
        let (ann, address) = (ann.clone(), socket.local_addr().unwrap());
        connecting.spawn(async move { run_it(&ann, Command::Connect { address }).await.unwrap_err() });
    }
    let first = connecting.join_next().await.unwrap().unwrap();
    assert!(first.text.ends_with("at most 4 connections can be asked for at once"), "{first:?}");
    assert!(first.hint.is_some_and(|hint| hint.contains("ask again")));
    connecting.abort_all();
    timeout(PATIENCE, ann.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_a_user_joins_goes_on_when_there_is_nobody_to_hold_for() {
    let group = Group { root: tempfile::tempdir().unwrap() };
    let (ann, bob) = (group.slow_node("ann", Some(100 << 20)).await, group.node("bob").await);
    connect(&bob, &ann).await;
    group.share(&bob, "film.mkv", 12 << 20).await;
    downloads(&ann, "film.mkv").await;
    let (updates, mut progress) = mpsc::channel(1);
    let asking = timeout(PATIENCE, ann.run(wish("film.mkv"), updates));
    let leaving = async {
        progress.recv().await.unwrap();
        // It is the supernode of nobody then.
        bob.shutdown().await;
        let bob = group.node("bob").await;
        connect(&bob, &ann).await;
        bob
    };
    let (asked, bob) = tokio::join!(asking, leaving);
    assert!(matches!(asked, Ok(Ok(Outcome::Downloaded(_)))), "{asked:?}");
    for node in [ann, bob] {
        timeout(PATIENCE, node.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_to_hold_leaves_nothing_unless_a_user_joins_it() {
    /// Longer than a download takes to begin on a busy machine: it is waited for whole.
    const STANDSTILL: Duration = Duration::from_secs(6);
    let group = Group { root: tempfile::tempdir().unwrap() };
    let (ann, bob) = (group.slow_node("ann", None).await, group.node("bob").await);
    connect(&bob, &ann).await;
    group.share(&bob, "film.mkv", 12 << 20).await;
    let (entry, parts) = (entry_of(&ann, "film.mkv").await, Arc::clone(&ann.inner.parts));
    let try_to_hold = |room, patience| hold(&parts, Holding { entry: &entry, room, patience });
    let held = timeout(PATIENCE, try_to_hold(1 << 20, PATIENCE)).await.unwrap();
    assert_eq!((held, parts_of(&ann)), (Held::TooMuch, 0));
    let leaving = async {
        downloads(&ann, "film.mkv").await;
        bob.shutdown().await;
    };
    let (held, ()) = tokio::join!(try_to_hold(100 << 20, STANDSTILL), leaving);
    assert_eq!((held, parts_of(&ann)), (Held::NotNow, 0));
    let bob = group.node("bob").await;
    connect(&bob, &ann).await;
    entry_of(&ann, "film.mkv").await;
    let joining = async {
        downloads(&ann, "film.mkv").await;
        let (updates, mut progress) = mpsc::channel(1);
        let asking = ann.run(wish_with("film.mkv", None, Some(1)), updates);
        let leaving = async {
            progress.recv().await.unwrap();
            bob.shutdown().await;
        };
        tokio::join!(asking, leaving).0
    };
    let (held, joined) = tokio::join!(try_to_hold(100 << 20, STANDSTILL), joining);
    assert_eq!((held, joined.unwrap_err().kind), (Held::NotNow, FailureKind::Incomplete));
    assert_eq!((ann.download_names(), parts_of(&ann)), (vec!["film.mkv".to_owned()], 1), "it waits for somebody");
    timeout(PATIENCE, ann.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_making_counts_for_the_limit_of_holding() {
    let group = Group { root: tempfile::tempdir().unwrap() };
    let left = group.config("ann").dir.downloading().join("left");
    std::fs::create_dir_all(&left).unwrap();
    std::fs::write(left.join("data"), content(1 << 20, 3)).unwrap();
    let (ann, bob) = (group.slow_node("ann", Some(3 << 19)).await, group.node("bob").await);
    let mut notices = ann.notices();
    connect(&bob, &ann).await;
    group.share(&bob, "doug.png", 1 << 20).await;
    let told = async {
        loop {
            match notices.recv().await.unwrap() {
                Notice::Warning { text } if text.starts_with("The limit of --hold") => return text,
                Notice::Downloaded { name, .. } => panic!("there is no room for {name}"),
                _ => {}
            }
        }
    };
    let text = timeout(PATIENCE, told).await.unwrap();
    assert!(text.contains("doug.png will not be fetched"), "{text}");
    for node in [ann, bob] {
        timeout(PATIENCE, node.shutdown()).await.unwrap();
    }
}
