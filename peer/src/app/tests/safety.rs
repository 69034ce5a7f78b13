//! What must never happen to the files of a user, and what must not hold up a download for ever.

use super::*;

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

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_file_that_was_only_sent_is_not_replaced_by_what_is_followed() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let (own, theirs) = (net.write("bob", "a.txt", b"one"), net.write("ann", "a.txt", b"one"));
    run_it(&bob, Command::Send { path: own.clone(), to: Some(vec!["ann".to_owned()]) }).await.unwrap();
    register(&ann, &theirs).await;
    assert_eq!(download(&bob, wish_and_follow("ann/a.txt")).await.path, own, "it is here already");
    let mut notices = bob.notices();
    std::fs::write(&theirs, "two").unwrap();
    register(&ann, &theirs).await;
    let (path, _) = updated(&mut notices, 2).await;
    assert_eq!((read(&own), read(&path)), (b"one".to_vec(), b"two".to_vec()));
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_wanted_for_another_reason_too_is_not_replaced() {
    let net = Net::start().await;
    let (ann, eve, bob) = (net.peer("ann").await, net.peer("eve").await, net.peer("bob").await);
    let (anns, eves) = (net.write("ann", "a.txt", b"one"), net.write("eve", "e.txt", b"one"));
    register(&ann, &anns).await;
    register(&eve, &eves).await;
    let copy = download(&bob, wish_and_follow("ann/a.txt")).await.path;
    assert_eq!(download(&bob, wish("eve/e.txt")).await.path, copy);
    let mut notices = bob.notices();
    std::fs::write(&anns, "two").unwrap();
    register(&ann, &anns).await;
    let (path, _) = updated(&mut notices, 2).await;
    assert_eq!((read(&copy), read(&path)), (b"one".to_vec(), b"two".to_vec()));
    for app in [ann, eve, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_placed_but_not_noted_is_known_again() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let path = net.write("files", "a.txt", b"one");
    register(&ann, &path).await;
    let home = download(&bob, wish_and_follow("a.txt")).await.path;
    bob.shutdown().await;
    // As a kill leaves it between the last rename and the record.
    std::fs::write(&home, "two").unwrap();
    std::fs::write(&path, "two").unwrap();
    register(&ann, &path).await;
    let bob = net.peer("bob").await;
    let mut notices = bob.notices();
    assert_eq!(updated(&mut notices, 2).await, (home.clone(), None), "nobody edited it");
    std::fs::write(&path, "three").unwrap();
    register(&ann, &path).await;
    assert_eq!(updated(&mut notices, 3).await, (home.clone(), None));
    assert_eq!(read(&home), b"three");
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_download_goes_on_with_the_newer_version_when_nobody_has_the_older_any_more() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.slow_peer("bob").await);
    let mut bytes = content(6 << 20, 1);
    let path = net.write("files", "a.bin", &bytes);
    register(&ann, &path).await;
    let mut notices = bob.notices();
    let asking = {
        let bob = bob.clone();
        let (updates, _nobody) = mpsc::channel(1);
        async move { bob.run(wish_and_follow("a.bin"), updates).await }
    };
    let changing = async {
        for _ in 0..8 {
            notice_that(&mut notices, |notice| matches!(notice, Notice::ChunkReceived { .. })).await;
        }
        bytes[0] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        register(&ann, &path).await;
    };
    let (asked, ()) = timeout(DEADLINE, async { tokio::join!(asking, changing) }).await.unwrap();
    let Ok(Outcome::Downloaded(got)) = asked else { panic!("{asked:?}") };
    assert_eq!((got.version, got.path.file_name().unwrap()), (2, "a.bin".as_ref()));
    assert_eq!(read(&got.path), bytes);
    assert!(got.fetched_bytes < bytes.len() as u64, "what had come is used again: {}", got.fetched_bytes);
    let is_left = || std::fs::read_dir(bob.dir().downloading()).unwrap().count() > 0;
    eventually("nothing to be left of the older version", async || !is_left()).await;
    for app in [ann, bob] {
        app.shutdown().await;
    }
}
