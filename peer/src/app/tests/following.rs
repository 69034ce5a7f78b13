//! Following, watching and pushing, with whole peers and a real tracker.

use super::*;
use crate::command::Synced;
use common::wire::tracker::{Answer, AudienceChange, OfferState, Sent};

fn wish_and_follow(entry: &str) -> Command {
    let (only, output, wait_secs) = (Vec::new(), None, None);
    Command::Download { entry: entry.to_owned(), only, follow: Follow::Yes, output, wait_secs }
}

async fn updated(notices: &mut broadcast::Receiver<Notice>, to: u32) -> (PathBuf, Option<PathBuf>) {
    let is_it = |notice: &Notice| matches!(notice, Notice::Updated { version, .. } if *version == to);
    match notice_that(notices, is_it).await {
        Notice::Updated { path, edited, .. } => (path, edited),
        other => panic!("{other:?}"),
    }
}

async fn synced(app: &App) -> Vec<Synced> {
    match run_it(app, Command::Synced).await {
        Ok(Outcome::Synced(synced)) => synced,
        other => panic!("{other:?}"),
    }
}

async fn offers(app: &App) -> (Vec<OfferState>, Vec<Sent>) {
    match run_it(app, Command::Offers).await {
        Ok(Outcome::Offers { received, sent }) => (received.iter().map(|offer| offer.state).collect(), sent),
        other => panic!("{other:?}"),
    }
}

async fn shared_paths(app: &App) -> Vec<PathBuf> {
    let Ok(Outcome::Status(status)) = run_it(app, Command::Status).await else { panic!() };
    status.sharing.into_iter().map(|item| item.path).collect()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_is_on_a_followers_disk_by_itself() {
    /// Asserted loosely: the machine may be busy. What is wished for is a second.
    const SOON: Duration = Duration::from_secs(5);
    const MIB: usize = 1 << 20;
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let path = net.write("files", "a.bin", &content(MIB, 1));
    register(&ann, &path).await;
    let got = download(&bob, wish_and_follow("a.bin")).await;
    let mut notices = bob.notices();
    for version in 2..5 {
        let bytes = content(MIB, u8::try_from(version).unwrap());
        std::fs::write(&path, &bytes).unwrap();
        let begin = Instant::now();
        register(&ann, &path).await;
        let registered = begin.elapsed();
        assert_eq!(updated(&mut notices, version).await, (got.path.clone(), None));
        println!("version {version}: registered in {registered:?}, on the follower's disk in {:?}", begin.elapsed());
        assert!(begin.elapsed() < SOON);
        assert_eq!(read(&got.path), bytes);
    }
    assert_eq!(seeders(&ann, "a.bin", 2).await, ["ann", "bob"], "it is served on");
    assert_eq!(shared_paths(&bob).await, std::slice::from_ref(&got.path), "what was replaced is shared no more");
    let entry = "ann/a.bin".to_owned();
    let expected = Synced { entry: entry.clone(), here: Some(4), there: Some(4), path: Some(got.path.clone()) };
    assert_eq!(synced(&bob).await, [expected]);

    run_it(&bob, Command::Unsubscribe { entry: "a.bin".to_owned() }).await.unwrap();
    assert!(synced(&bob).await.is_empty());
    std::fs::write(&path, "not for bob").unwrap();
    register(&ann, &path).await;
    // What the tracker tells comes in order: whoever hears this has heard of the version, if he was to hear of it.
    run_it(&ann, Command::Chat { text: "registered".to_owned() }).await.unwrap();
    notice_that(&mut notices, |notice| matches!(notice, Notice::Chat { .. })).await;
    assert!(bob.download_names().is_empty());
    assert_eq!(read(&got.path), content(MIB, 4));
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_edited_stays_and_one_that_was_only_touched_does_not() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let path = net.write("files", "a.txt", b"one");
    let next = |text: &'static str| {
        std::fs::write(&path, text).unwrap();
        let (ann, path) = (ann.clone(), path.clone());
        async move { register(&ann, &path).await }
    };
    register(&ann, &path).await;
    let home = download(&bob, wish_and_follow("a.txt")).await.path;
    let mut notices = bob.notices();
    // Written anew with the same bytes: it looks otherwise, but nobody edited it.
    std::fs::write(&home, "one").unwrap();
    next("two").await;
    assert_eq!(updated(&mut notices, 2).await, (home.clone(), None));

    std::fs::write(&home, "mine").unwrap();
    next("three").await;
    let third = home.with_file_name("a (v3).txt");
    assert_eq!(updated(&mut notices, 3).await, (third.clone(), Some(home.clone())));
    assert_eq!((read(&home), read(&third)), (b"mine".to_vec(), b"three".to_vec()));

    next("four").await;
    let fourth = home.with_file_name("a (v4).txt");
    assert_eq!(updated(&mut notices, 4).await, (fourth.clone(), None));
    assert!(!third.exists() && read(&home) == b"mine", "only what was not edited goes");

    std::fs::write(&fourth, "mine too").unwrap();
    next("five").await;
    let fifth = home.with_file_name("a (v5).txt");
    assert_eq!(updated(&mut notices, 5).await.0, fifth);
    assert_eq!((read(&home), read(&fourth)), (b"mine".to_vec(), b"mine too".to_vec()));

    std::fs::remove_file(&home).unwrap();
    next("six").await;
    assert_eq!(updated(&mut notices, 6).await.0, home, "where nothing is in the way it goes home");
    assert!(!fifth.exists());
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_catches_up_and_what_is_gone_stays_here() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let path = net.write("files", "a", b"one");
    register(&ann, &path).await;
    let followed = run_it(&bob, Command::Subscribe { entry: "a".to_owned() }).await.unwrap();
    let home = bob.dir().seeding().join("a");
    let (entry, version) = ("ann/a".to_owned(), 1);
    assert_eq!(followed, Outcome::Following { entry, version, path: Some(home.clone()) });
    bob.shutdown().await;
    for text in ["two", "three"] {
        std::fs::write(&path, text).unwrap();
        register(&ann, &path).await;
    }
    let bob = net.peer("bob").await;
    let mut notices = bob.notices();
    assert_eq!(updated(&mut notices, 3).await, (home.clone(), None));
    assert_eq!(read(&home), b"three");

    run_it(&ann, Command::Deregister { entry: "a".to_owned() }).await.unwrap();
    notice_that(&mut notices, |notice| matches!(notice, Notice::EntryGone { entry } if entry == "ann/a")).await;
    assert_eq!(read(&home), b"three");
    let [Synced { here, there, .. }] = &*synced(&bob).await else { panic!() };
    assert_eq!((*here, *there), (Some(3), None));

    std::fs::write(&path, "again").unwrap();
    register(&ann, &path).await;
    notice_that(&mut notices, |notice| matches!(notice, Notice::Updated { .. })).await;
    assert_eq!(read(&home), b"again");
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_had_by_its_number_while_somebody_has_it() {
    let net = Net::start().await;
    let (ann, bob, eve) = (net.peer("ann").await, net.peer("bob").await, net.peer("eve").await);
    let path = net.write("files", "a.txt", b"one");
    register(&ann, &path).await;
    download(&bob, wish("a.txt")).await;
    std::fs::write(&path, "two").unwrap();
    register(&ann, &path).await;
    let newest = download(&eve, wish_and_follow("a.txt")).await;
    assert_eq!((newest.version, read(&newest.path)), (2, b"two".to_vec()));
    let older = download(&eve, wish_and_follow("ann/a.txt@1")).await;
    assert_eq!((older.version, read(&older.path)), (1, b"one".to_vec()));
    assert_eq!(older.path, newest.path.with_file_name("a (v1).txt"));
    let [Synced { here, .. }] = &*synced(&eve).await else { panic!() };
    assert_eq!(*here, Some(2), "an older version is not followed");
    for app in [ann, bob, eve] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_is_registered_anew_also_after_a_restart() {
    let net = Net::start().await;
    let ann = net.peer("ann").await;
    let path = net.write("files", "a.txt", b"one");
    let watched = run_it(&ann, Command::Watch { path: Some(path.clone()) }).await.unwrap();
    assert_eq!(watched, Outcome::Watched { paths: vec![path.clone()] });
    assert_eq!(entries(&ann).await[0].version, 1, "it was registered as well");
    let mut notices = ann.notices();
    let mut version_is = async |ann: &App, wanted: u32| {
        let is_it = |notice: &Notice| matches!(notice, Notice::Reregistered { version, .. } if *version == wanted);
        notice_that(&mut notices, is_it).await;
        assert_eq!(entries(ann).await[0].version, wanted);
    };
    std::fs::write(&path, "two").unwrap();
    version_is(&ann, 2).await;
    // As editors do it.
    let beside = net.write("files", "a.txt~", b"three");
    std::fs::rename(beside, &path).unwrap();
    version_is(&ann, 3).await;
    ann.shutdown().await;
    std::fs::write(&path, "four").unwrap();
    let ann = net.peer("ann").await;
    let is_fourth = |notice: &Notice| matches!(notice, Notice::Reregistered { version: 4, .. });
    notice_that(&mut ann.notices(), is_fourth).await;
    let unwatched = run_it(&ann, Command::Unwatch { path: path.clone() }).await.unwrap();
    assert_eq!(unwatched, Outcome::Watched { paths: Vec::new() });
    assert!(run_it(&ann, Command::Unwatch { path }).await.is_err());
    ann.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_had_by_those_only_who_accept() {
    let net = Net::start().await;
    let (ann, bob, eve) = (net.peer("ann").await, net.peer("bob").await, net.peer("eve").await);
    let tom = joined(AppConfig { accept: AcceptRule::All, ..net.config("tom") }).await;
    let bytes = content(300_000, 7);
    let path = net.write("files", "gift.bin", &bytes);
    let mut told = [ann.notices(), bob.notices(), eve.notices(), tom.notices()];
    let sent = run_it(&ann, Command::Send { path: path.clone(), to: None }).await.unwrap();
    let Outcome::Sent { offer, name, bytes: size, to } = sent else { panic!("{sent:?}") };
    assert_eq!((name.as_str(), size), ("gift.bin", 300_000));
    assert_eq!(to, ["bob", "eve", "tom"]);
    let is_offer = |notice: &Notice| matches!(notice, Notice::Offered { .. });
    for (at, accepted_by_itself) in [(1, false), (2, false), (3, true)] {
        let Notice::Offered { from, accepted, .. } = notice_that(&mut told[at], is_offer).await else { panic!() };
        assert_eq!((from.as_str(), accepted), ("ann", accepted_by_itself));
    }
    assert!(entries(&bob).await.is_empty(), "it is in no list");
    let answer = |offer: Option<&str>, answer| Command::Answer { offer: offer.map(str::to_owned), answer };
    run_it(&eve, answer(Some("ann"), Answer::Refuse)).await.unwrap();
    run_it(&bob, answer(None, Answer::Accept)).await.unwrap();
    let is_here = |notice: &Notice| matches!(notice, Notice::Downloaded { .. });
    for (at, app) in [(1, &bob), (3, &tom)] {
        let Notice::Downloaded { path, .. } = notice_that(&mut told[at], is_here).await else { panic!() };
        assert_eq!(path, app.dir().seeding().join("gift.bin"));
        assert_eq!(read(&path), bytes);
    }
    // Their reports may come in either order.
    let mut missing = vec!["bob", "tom"];
    notice_that(&mut told[0], |notice| {
        if let Notice::OfferAnswered { receiver, .. } = notice
            && receiver.state == OfferState::Done
        {
            missing.retain(|user| *user != receiver.user);
        }
        missing.is_empty()
    })
    .await;
    let (_, sent) = offers(&ann).await;
    let states: Vec<_> = sent[0].to.iter().map(|receiver| (receiver.user.as_str(), receiver.state)).collect();
    let (done, refused) = (OfferState::Done, OfferState::Refused);
    assert_eq!((sent[0].offer.id, states), (offer, vec![("bob", done), ("eve", refused), ("tom", done)]));
    assert_eq!(offers(&bob).await.0, [done]);
    eventually("what is settled to be shared no more", async || shared_paths(&ann).await.is_empty()).await;
    for app in [ann, bob, eve, tom] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_offer_goes_on_after_a_restart_of_both() {
    let net = Net::start().await;
    let ann = net.peer("ann").await;
    let bob = net.slow_peer("bob").await;
    let bytes = content(6 << 20, 8);
    let path = net.write("files", "gift.bin", &bytes);
    run_it(&ann, Command::Send { path, to: Some(vec!["bob".to_owned()]) }).await.unwrap();
    run_it(&bob, Command::Answer { offer: None, answer: Answer::Accept }).await.unwrap();
    let is_chunk = |notice: &Notice| matches!(notice, Notice::ChunkReceived { .. });
    notice_that(&mut bob.notices(), is_chunk).await;
    bob.shutdown().await;
    ann.shutdown().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let is_here = |notice: &Notice| matches!(notice, Notice::Downloaded { .. });
    let Notice::Downloaded { path, .. } = notice_that(&mut bob.notices(), is_here).await else { panic!() };
    assert_eq!(read(&path), bytes);
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deregistered_is_watched_no_more() {
    let net = Net::start().await;
    let ann = net.peer("ann").await;
    let path = net.write("files", "a.txt", b"one");
    run_it(&ann, Command::Watch { path: Some(path.clone()) }).await.unwrap();
    run_it(&ann, Command::Deregister { entry: "a.txt".to_owned() }).await.unwrap();
    let watched = run_it(&ann, Command::Watch { path: None }).await.unwrap();
    assert_eq!(watched, Outcome::Watched { paths: Vec::new() });
    ann.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_anew_with_the_same_bytes_is_served_on() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let path = net.write("files", "a.txt", b"one");
    register(&ann, &path).await;
    net.write("files", "a.txt", b"one");
    assert!(register(&ann, &path).await.2);
    assert_eq!(read(&download(&bob, wish("a.txt")).await.path), b"one");
    assert_eq!(shared_paths(&ann).await, [path]);
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

/// A folder with these files, and nothing else.
fn folder(net: &Net, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let folder = net.root.path().join("files").join(name);
    drop(std::fs::remove_dir_all(&folder));
    for (path, text) in files {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_downloaded_and_copied() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let path = folder(&net, "site", &[("index.html", "one"), ("css/a.css", "two")]);
    register(&ann, &path).await;
    let got = download(&bob, wish_and_follow("site")).await;
    assert_eq!((got.bytes, read(&got.path.join("css/a.css"))), (6, b"two".to_vec()));
    let elsewhere = net.root.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let copy = download(&bob, wish_to("site", elsewhere.clone())).await;
    assert_eq!((copy.path, copy.fetched_bytes), (elsewhere.join("site"), 0));
    assert_eq!(read(&elsewhere.join("site/css/a.css")), b"two");
    let again = download(&bob, wish_to("site", elsewhere)).await;
    assert!(again.already);
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_folder_is_registered_anew_when_something_comes_into_it() {
    let net = Net::start().await;
    let ann = net.peer("ann").await;
    let path = folder(&net, "site", &[("css/a.css", "two")]);
    run_it(&ann, Command::Watch { path: Some(path.clone()) }).await.unwrap();
    let mut notices = ann.notices();
    std::fs::write(path.join("css/b.css"), "three").unwrap();
    notice_that(&mut notices, |notice| matches!(notice, Notice::Reregistered { version: 2, .. })).await;
    // It goes, and comes again, as some programs write.
    std::fs::remove_dir_all(&path).unwrap();
    folder(&net, "site", &[("css/a.css", "two"), ("deep/er", "four")]);
    notice_that(&mut notices, |notice| matches!(notice, Notice::Reregistered { version: 3, .. })).await;
    std::fs::write(path.join("deep/est"), "five").unwrap();
    notice_that(&mut notices, |notice| matches!(notice, Notice::Reregistered { version: 4, .. })).await;
    ann.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_folder_becomes_the_new_version_and_what_was_edited_in_it_stays() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let path = folder(&net, "site", &[("index.html", "one"), ("css/a.css", "two"), ("old.txt", "old")]);
    register(&ann, &path).await;
    let home = download(&bob, wish_and_follow("site")).await.path;
    let mut notices = bob.notices();
    folder(&net, "site", &[("index.html", "one"), ("css/a.css", "changed"), ("new.txt", "three")]);
    register(&ann, &path).await;
    assert_eq!(updated(&mut notices, 2).await, (home.clone(), None));
    assert_eq!((read(&home.join("css/a.css")), read(&home.join("new.txt"))), (b"changed".to_vec(), b"three".to_vec()));
    assert!(!home.join("old.txt").exists());

    std::fs::write(home.join("index.html"), "mine").unwrap();
    folder(&net, "site", &[("index.html", "four"), ("css/a.css", "four")]);
    register(&ann, &path).await;
    let (third, edited) = updated(&mut notices, 3).await;
    assert_eq!(read(&third.join("css/a.css")), b"four");
    assert!(edited.is_some_and(|edited| edited.starts_with(&home)));
    let mine = walk(&net.root.path().join("peers/bob/seeding")).into_iter().any(|path| read(&path) == b"mine");
    assert!(mine, "what was edited is there still");
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

/// All files below a folder.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let (mut files, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn two_entries_whose_bytes_lie_in_one_file_here_go_on_apart() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let (one, other) = (net.write("files", "a", b"the same"), net.write("files", "b", b"the same"));
    register(&ann, &one).await;
    register(&ann, &other).await;
    let home = download(&bob, wish_and_follow("a")).await.path;
    let followed = run_it(&bob, Command::Subscribe { entry: "b".to_owned() }).await.unwrap();
    let (entry, version) = ("ann/b".to_owned(), 1);
    assert_eq!(followed, Outcome::Following { entry, version, path: Some(home.clone()) });
    let mut notices = bob.notices();
    std::fs::write(&other, "not the same any more").unwrap();
    register(&ann, &other).await;
    let (path, _) = updated(&mut notices, 2).await;
    assert_eq!((read(&path), read(&home)), (b"not the same any more".to_vec(), b"the same".to_vec()));
    let of = |entry: &str, version, path: &Path| Synced {
        entry: entry.to_owned(),
        here: Some(version),
        there: Some(version),
        path: Some(path.to_owned()),
    };
    assert_eq!(synced(&bob).await, [of("ann/a", 1, &home), of("ann/b", 2, &path)]);
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_for_a_follower_again_is_followed_as_before() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let path = net.write("files", "a", b"one");
    register(&ann, &path).await;
    let home = download(&bob, wish_and_follow("a")).await.path;
    let mut notices = bob.notices();
    let share = |change| run_it(&ann, Command::Share { entry: "a".to_owned(), change });
    share(AudienceChange::Nobody).await.unwrap();
    notice_that(&mut notices, |notice| matches!(notice, Notice::EntryGone { entry } if entry == "ann/a")).await;
    std::fs::write(&path, "two").unwrap();
    register(&ann, &path).await;
    share(AudienceChange::Everyone).await.unwrap();
    assert_eq!(updated(&mut notices, 2).await, (home.clone(), None));
    assert_eq!(read(&home), b"two");
    let [Synced { here, there, .. }] = &*synced(&bob).await else { panic!() };
    assert_eq!((*here, *there), (Some(2), Some(2)));
    for app in [ann, bob] {
        app.shutdown().await;
    }
}
