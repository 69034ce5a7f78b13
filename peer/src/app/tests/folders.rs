//! Folders, with whole peers and a real tracker.

use super::*;
use common::audience::Sharing;
use common::id::FolderId;
use common::merkle::FileHasher;
use common::wire::tracker::Request;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

/// Everything in a folder: what is in each file, and nothing for a directory.
fn tree(root: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let (mut found, mut ahead) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = ahead.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                found.insert(name, None);
                ahead.push(path);
            } else {
                found.insert(name, Some(std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

fn sample(net: &Net) -> PathBuf {
    let root = net.root.path().join("files/proj");
    std::fs::create_dir_all(root.join("void/deep")).unwrap();
    net.write("files/proj", "large", &content(3 << 20, 1));
    net.write("files/proj", "empty", b"");
    net.write("files/proj/docs", "a.md", b"a");
    net.write("files/proj/docs/sub", "b.md", &content(40_000, 2));
    let run = net.write("files/proj/bin", "run", b"#!/bin/sh");
    std::fs::set_permissions(run, std::fs::Permissions::from_mode(0o754)).unwrap();
    root
}

fn wish_only(entry: &str, only: &[&str]) -> Command {
    let only = only.iter().map(|glob| (*glob).to_owned()).collect();
    Command::Download { entry: entry.to_owned(), only, follow: Follow::No, output: None, wait_secs: None }
}

fn wish_and_follow(entry: &str) -> Command {
    let (only, output, wait_secs) = (Vec::new(), None, None);
    Command::Download { entry: entry.to_owned(), only, follow: Follow::Yes, output, wait_secs }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_comes_as_it_is_and_is_served_on_also_after_a_restart() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let root = sample(&net);
    let (entry, folder, already) = register(&ann, &root).await;
    assert_eq!((entry.as_str(), already), ("ann/proj", false));
    assert!(folder.folder().is_some());
    assert_eq!(register(&ann, &root).await, (entry, folder, true), "the same again");
    let got = download(&bob, wish("proj")).await;
    assert_eq!(got.path, bob.dir().seeding().join("proj"));
    assert_eq!(tree(&got.path), tree(&root));
    let mode = std::fs::metadata(got.path.join("bin/run")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o754);
    assert_eq!(seeders(&ann, "proj", 2).await, ["ann", "bob"]);
    // It is there already.
    let again = download(&bob, wish("proj")).await;
    assert_eq!((again.already, again.path, again.fetched_bytes), (true, got.path.clone(), 0));
    ann.shutdown().await;
    bob.shutdown().await;
    let (bob, carl) = (net.peer("bob").await, net.peer("carl").await);
    let from_bob = download(&carl, wish("proj")).await;
    assert_eq!(tree(&from_bob.path), tree(&root));
    assert_eq!(from_bob.shares.iter().map(|share| share.user.as_str()).collect::<Vec<_>>(), ["bob"]);
    for app in [bob, carl] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_folder_is_a_folder() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let root = net.root.path().join("nothing");
    std::fs::create_dir(&root).unwrap();
    register(&ann, &root).await;
    let got = download(&bob, wish("nothing")).await;
    assert!(got.path.is_dir() && tree(&got.path).is_empty());
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_folder_is_fetched_alone_and_not_served() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    register(&ann, &sample(&net)).await;
    let refused = run_it(&bob, wish_only("proj", &["nothing/*"])).await.unwrap_err();
    assert!(refused.text.contains("matches nothing/*"), "{}", refused.text);
    let got = download(&bob, wish_only("proj", &["docs/*", "*.sh"])).await;
    let docs = net.root.path().join("files/proj/docs");
    assert_eq!(tree(&got.path.join("docs")), tree(&docs));
    assert_eq!(tree(&got.path).len(), 4, "and nothing else");
    assert!(got.fetched_bytes < 100_000, "{}", got.fetched_bytes);
    assert_eq!(seeders(&ann, "proj", 1).await, ["ann"]);
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_of_a_folder_moves_what_differs_and_leaves_what_was_edited() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let root = sample(&net);
    register(&ann, &root).await;
    let home = download(&bob, wish_and_follow("proj")).await.path;
    let before = bob.inner.parts.engine.counters().downloaded;
    // The large one has another name now, one is new, one is gone, one has changed.
    std::fs::rename(root.join("large"), root.join("renamed")).unwrap();
    std::fs::remove_file(root.join("docs/a.md")).unwrap();
    net.write("files/proj/more", "new", &content(20_000, 3));
    net.write("files/proj/docs/sub", "b.md", b"other");
    net.write("peers/bob/seeding/proj", "mine", b"mine");
    let mut notices = bob.notices();
    register(&ann, &root).await;
    let updated =
        |version| move |notice: &Notice| matches!(notice, Notice::Updated { version: to, .. } if *to == version);
    let notice = notice_that(&mut notices, updated(2)).await;
    assert!(matches!(&notice, Notice::Updated { path, edited: None, .. } if *path == home), "{notice:?}");
    let mut expected = tree(&root);
    expected.insert("mine".to_owned(), Some(b"mine".to_vec()));
    assert_eq!(tree(&home), expected);
    let moved = bob.inner.parts.engine.counters().downloaded - before;
    assert!(moved < 60_000, "{moved} bytes for some 20,000 that are new, and the manifest");
    assert_eq!(seeders(&ann, "proj", 2).await, ["ann", "bob"], "it is served on");

    net.write("peers/bob/seeding/proj/bin", "run", b"edited");
    net.write("files/proj/bin", "run", b"newer");
    register(&ann, &root).await;
    let notice = notice_that(&mut notices, updated(3)).await;
    assert!(matches!(&notice, Notice::Updated { edited: Some(edited), .. } if *edited == home.join("bin/run")));
    let now = tree(&home);
    assert_eq!(now["bin/run"].as_deref(), Some(b"edited".as_slice()));
    assert_eq!(now["bin/run (v3)"].as_deref(), Some(b"newer".as_slice()));
    assert_eq!(seeders(&ann, "proj", 1).await, ["ann"], "what was edited is nobody else's");
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_changed_is_withdrawn() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let root = sample(&net);
    register(&ann, &root).await;
    let mut notices = ann.notices();
    net.write("files/proj/docs", "a.md", b"changed");
    let notice = notice_that(&mut notices, |notice| matches!(notice, Notice::Withdrawn { .. })).await;
    assert!(matches!(&notice, Notice::Withdrawn { why, .. } if why.contains("docs/a.md")), "{notice:?}");
    assert!(seeders(&bob, "proj", 0).await.is_empty());
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

/// A manifest that nothing of this program would make.
fn evil_manifest(path: &str) -> Vec<u8> {
    let mut bytes = b"shoal-manifest-v1\0\0\0\x01".to_vec();
    bytes.extend(u16::try_from(path.len()).unwrap().to_be_bytes());
    bytes.extend(path.as_bytes());
    bytes.extend([0, 0o1, 0o244]);
    bytes.extend(5_u64.to_be_bytes());
    bytes.extend(common::merkle::sha256(b"pwned").0);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leads_out_of_a_folder_comes_nowhere() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.peer("bob").await);
    let outside = net.root.path().join("out");
    for (number, path) in
        [outside.to_str().unwrap(), "../../../out", "a/../../../../out", "a\\b", "NUL"].iter().enumerate()
    {
        let bytes = evil_manifest(path);
        // As a file it does no harm, and is served under the same id.
        let file = net.write("files", &format!("manifest-{number}"), &bytes);
        register(&ann, &file).await;
        let mut hasher = FileHasher::new(bytes.len() as u64).unwrap();
        hasher.update(&bytes);
        let folder = FolderId::new(hasher.finish().unwrap().file_id(), 1).unwrap().into();
        let name = format!("evil-{number}");
        let size = common::wire::tracker::FolderSize { files: 1, bytes: 5 };
        let request = Request::Register { name: name.clone(), content: folder, folder: Some(size), users: None };
        ann.inner.parts.tracker.request(request).await.unwrap();
        ann.inner.parts.tracker.announce(Sharing::public(folder), Have::All);
        seeders(&bob, &name, 1).await;
        let refused = run_it(&bob, wish(&name)).await.unwrap_err();
        assert!(refused.text.contains("the folder cannot be downloaded"), "{}", refused.text);
        assert!(refused.text.chars().all(|character| !character.is_control()));
        assert!(!outside.exists() && !bob.dir().seeding().join(&name).exists());
    }
    for app in [ann, bob] {
        app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_cut_off_is_gone_on_with() {
    let net = Net::start().await;
    let (ann, bob) = (net.peer("ann").await, net.slow_peer("bob").await);
    for number in 0..100 {
        net.write(&format!("files/many/{}", number % 7), &number.to_string(), &content(40_000 + number, 9));
    }
    let root = net.root.path().join("files/many");
    register(&ann, &root).await;
    begin(&bob, wish("many")).await;
    eventually("a part of it", async || bob.inner.parts.engine.counters().downloaded >= 1 << 20).await;
    bob.shutdown().await;
    let bob = net.peer("bob").await;
    let mut notices = bob.notices();
    notice_that(&mut notices, |notice| matches!(notice, Notice::Downloaded { name, .. } if name == "many")).await;
    assert_eq!(tree(&bob.dir().seeding().join("many")), tree(&root));
    let moved = bob.inner.parts.engine.counters().downloaded;
    assert!(moved < (4 << 20) - (1 << 20) + 100_000, "what had come was kept: {moved}");
    for app in [ann, bob] {
        app.shutdown().await;
    }
}
