//! The library over restarts, with real files.

use super::*;
use crate::dir::Dir;
use crate::storage::Stamp;
use common::id::FileId;
use common::merkle::{ChunkHashes, FileHasher};

struct Setup {
    _root: tempfile::TempDir,
    dir: Dir,
    files: PathBuf,
}

const HERE: NetworkId = NetworkId([1; 32]);
const ELSEWHERE: NetworkId = NetworkId([2; 32]);

fn setup() -> Setup {
    let root = tempfile::tempdir().unwrap();
    let dir = Dir::new(&root.path().join("dir")).unwrap();
    dir.create().unwrap();
    let files = root.path().join("files");
    std::fs::create_dir(&files).unwrap();
    Setup { _root: root, dir, files }
}

impl Setup {
    fn load(&self) -> Library {
        let (library, warning) = Library::load(&self.dir.library(), &self.dir.layers()).unwrap();
        assert_eq!(warning, None);
        library
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.files.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn entry(text: &str) -> EntryRef {
    text.parse().unwrap()
}

fn hashed(content: &[u8]) -> ChunkHashes {
    let mut hasher = FileHasher::new(content.len() as u64).unwrap();
    hasher.update(content);
    hasher.finish().unwrap()
}

fn item(network: NetworkId, path: &Path, name: &str) -> (Item, ChunkHashes) {
    let hashes = hashed(&std::fs::read(path).unwrap());
    let looks = Looks::File(Stamp::of(&std::fs::metadata(path).unwrap()));
    let entries = BTreeMap::from([(entry(name), EntryShare { version: 1, audience: Audience::Public })]);
    let content = hashes.file_id().into();
    (Item { network, content, path: path.to_owned(), entries, offers: BTreeSet::new(), looks }, hashes)
}

fn add(library: &Library, network: NetworkId, path: &Path, name: &str) -> Content {
    let (item, hashes) = item(network, path, name);
    let content = item.content;
    library.add(item, hashes.into());
    library.save().unwrap();
    content
}

fn names(item: &Item) -> Vec<String> {
    item.entries.keys().map(EntryRef::to_string).collect()
}

fn layer_files(setup: &Setup) -> usize {
    std::fs::read_dir(setup.dir.layers()).unwrap().count()
}

#[test]
fn what_has_not_changed_is_shared_again_with_its_hashes() {
    let setup = setup();
    let content = vec![7; 100_000];
    let (big, empty) = (setup.write("big", &content), setup.write("empty", b""));
    let (one, two) = {
        let library = setup.load();
        (add(&library, HERE, &big, "ann/big"), add(&library, HERE, &empty, "ann/empty"))
    };
    let library = setup.load();
    let (shared, dropped) = library.restore(HERE);
    assert_eq!(dropped, []);
    let found: Vec<_> = shared.iter().map(|shared| (shared.content, shared.path.clone())).collect();
    assert_eq!(found, [(one, big), (two, empty)]);
    assert_eq!(shared[0].insides.hashes().as_slice(), hashed(&content).as_slice());
    assert!(library.restore(ELSEWHERE).0.is_empty(), "shared in one network, not in another");
}

#[test]
fn what_changed_or_vanished_is_dropped_and_said() {
    let setup = setup();
    let library = setup.load();
    let names = ["rewritten", "grown", "gone", "folder", "fine"];
    let paths: Vec<PathBuf> = names.iter().map(|name| setup.write(name, name.as_bytes())).collect();
    for (path, name) in paths.iter().zip(names) {
        add(&library, HERE, path, &format!("ann/{name}"));
    }
    // The same length: only the times tell, and they are as fine as the file system's clock.
    wait_until(|| {
        std::fs::write(&paths[0], "REWRITTEN").unwrap();
        Looks::File(Stamp::of(&std::fs::metadata(&paths[0]).unwrap())) != library.items(HERE)[4].looks
    });
    std::fs::write(&paths[1], "grown more").unwrap();
    std::fs::remove_file(&paths[2]).unwrap();
    std::fs::remove_file(&paths[3]).unwrap();
    std::fs::create_dir(&paths[3]).unwrap();
    let library = setup.load();
    let (shared, dropped) = library.restore(HERE);
    assert_eq!(shared.len(), 1);
    let why: BTreeMap<_, _> = dropped.iter().map(|item| (item.path.clone(), item.why.as_str())).collect();
    assert_eq!(why[&paths[0]], "it has changed since it was read");
    assert_eq!(why[&paths[1]], "it has 10 bytes now, and had 5");
    assert_eq!(why[&paths[2]], "it is gone");
    assert_eq!(why[&paths[3]], "it is no regular file any more");
    library.save().unwrap();
    assert_eq!(layer_files(&setup), 1, "their hashes went with them");
    assert_eq!(setup.load().items(HERE).len(), 1);
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let begin = std::time::Instant::now();
    while !condition() {
        assert!(begin.elapsed().as_secs() < 10);
    }
}

#[test]
fn a_damaged_list_is_put_aside_and_said() {
    let setup = setup();
    let path = setup.write("a", b"a");
    add(&setup.load(), HERE, &path, "ann/a");
    std::fs::write(setup.dir.library(), "{\"schema\":1,\"items\":[").unwrap();
    let (library, warning) = Library::load(&setup.dir.library(), &setup.dir.layers()).unwrap();
    assert!(library.items(HERE).is_empty());
    let aside = setup.dir.state().join("library.json.damaged");
    assert!(warning.unwrap().contains(&aside.display().to_string()));
    assert_eq!(std::fs::read_to_string(aside).unwrap(), "{\"schema\":1,\"items\":[");
    assert_eq!(layer_files(&setup), 1, "for whoever mends the list");
}

#[test]
fn a_list_of_a_newer_program_is_left_alone() {
    let setup = setup();
    std::fs::write(setup.dir.library(), "{\"schema\":9}").unwrap();
    let error = Library::load(&setup.dir.library(), &setup.dir.layers()).unwrap_err();
    assert!(matches!(error, StateError::Newer(9)));
    assert_eq!(std::fs::read_to_string(setup.dir.library()).unwrap(), "{\"schema\":9}");
}

#[test]
fn damaged_or_lost_hashes_are_not_believed() {
    let setup = setup();
    let paths = [setup.write("a", b"a"), setup.write("b", b"b"), setup.write("c", b"c")];
    let library = setup.load();
    let files: Vec<Content> = paths.iter().map(|path| add(&library, HERE, path, "ann/x")).collect();
    let layer = |number: usize| setup.dir.layers().join(files[number].to_string());
    std::fs::write(layer(0), [0; 32]).unwrap();
    std::fs::write(layer(1), [0; 31]).unwrap();
    std::fs::remove_file(layer(2)).unwrap();
    let (shared, dropped) = setup.load().restore(HERE);
    assert!(shared.is_empty());
    assert!(dropped.iter().all(|item| item.why.starts_with("its chunk hashes are lost")), "{dropped:?}");
    assert_eq!(dropped.len(), 3);
}

#[test]
fn a_crash_while_saving_leaves_the_old_list() {
    let setup = setup();
    let path = setup.write("a", b"a");
    let file = add(&setup.load(), HERE, &path, "ann/a");
    std::fs::write(setup.dir.state().join("library.json.new"), "{\"sche").unwrap();
    std::fs::write(setup.dir.layers().join("half.new"), "x").unwrap();
    let library = setup.load();
    assert_eq!(library.restore(HERE).0[0].content, file);
    assert_eq!(layer_files(&setup), 1);
}

#[test]
fn unsaved_changes_are_written_once_by_all_who_wait() {
    let setup = setup();
    let path = setup.write("a", b"a");
    let library = setup.load();
    let (item, hashes) = item(HERE, &path, "ann/a");
    library.add(item, hashes.into());
    assert_eq!(library.restore(HERE).0.len(), 1, "in memory it is there at once");
    assert!(setup.load().items(HERE).is_empty());
    library.save().unwrap();
    assert_eq!(library.restore(HERE).0.len(), 1);
    let written = std::fs::metadata(setup.dir.library()).unwrap();
    library.save().unwrap();
    assert_eq!(Stamp::of(&std::fs::metadata(setup.dir.library()).unwrap()), Stamp::of(&written), "nothing new");
}

#[test]
fn a_file_is_shared_until_its_last_name_is_gone() {
    let setup = setup();
    let (one, two) = (setup.write("one", b"same"), setup.write("two", b"same"));
    let library = setup.load();
    let file = add(&library, HERE, &one, "ann/one");
    add(&library, HERE, &one, "bob/one");
    add(&library, HERE, &two, "ann/two");
    add(&library, ELSEWHERE, &two, "ann/two");
    assert_eq!(names(&library.items(HERE)[0]), ["ann/one", "bob/one"]);
    let forget = |name: &str| library.forget_entry(HERE, &entry(name));
    let still_public = Reshared::from([(file, BTreeSet::from([Audience::Public]))]);
    assert_eq!(forget("ann/one"), still_public);
    assert_eq!(forget("ann/two"), still_public, "bob's is the same file");
    assert_eq!(forget("ann/three"), Reshared::new());
    assert_eq!(forget("bob/one"), Reshared::from([(file, BTreeSet::new())]));
    assert_eq!(library.items(ELSEWHERE).len(), 1);
}

#[test]
fn a_new_file_at_an_old_path_replaces_the_old_one() {
    let setup = setup();
    let path = setup.write("a", b"old");
    let library = setup.load();
    let old = add(&library, HERE, &path, "ann/a");
    std::fs::write(&path, "newer").unwrap();
    let (item, hashes) = item(HERE, &path, "ann/b");
    assert_eq!(library.add(item, hashes.into()), Reshared::from([(old, BTreeSet::new())]));
    assert_eq!(library.items(HERE).len(), 1);
    assert_eq!(names(&library.items(HERE)[0]), ["ann/b"]);
}

#[test]
fn what_the_engine_withdraws_is_dropped_and_a_copy_takes_its_place() {
    let setup = setup();
    let (one, two) = (setup.write("one", b"same"), setup.write("two", b"same"));
    let library = setup.load();
    let file = add(&library, HERE, &one, "ann/one");
    add(&library, HERE, &two, "ann/two");
    std::fs::write(&one, "other").unwrap();
    let (instead, dropped) = library.on_withdrawn(HERE, file);
    assert_eq!(instead.unwrap().path, two);
    assert_eq!(dropped.len(), 1);
    // Now the file system says nothing, but the engine found wrong bytes.
    let (instead, dropped) = library.on_withdrawn(HERE, file);
    assert!(instead.is_none());
    assert_eq!(dropped[0].path, two);
    let (instead, dropped) = library.on_withdrawn(HERE, file);
    assert!(instead.is_none() && dropped.is_empty());
}

#[test]
fn hashes_are_found_again_by_path_also_for_another_network() {
    let setup = setup();
    let path = setup.write("a", b"a");
    let library = setup.load();
    let file = add(&library, ELSEWHERE, &path, "ann/a");
    let (item, shared) = library.at_path(HERE, &path).unwrap();
    assert_eq!((item.network, shared.content), (ELSEWHERE, file));
    add(&library, HERE, &path, "ann/a");
    assert_eq!(library.at_path(HERE, &path).unwrap().0.network, HERE);
    assert!(library.of_content(HERE, &file).is_some());
    std::fs::remove_file(&path).unwrap();
    assert!(library.at_path(HERE, &path).is_none() && library.of_content(HERE, &file).is_none());
}

#[test]
fn cancelled_downloads_are_remembered_until_they_are_asked_for() {
    let setup = setup();
    let file = FileId::new(1, common::id::Hash([1; 32])).unwrap().into();
    let library = setup.load();
    library.set_resumption(file, Resumption::WhenAsked);
    library.save().unwrap();
    let library = setup.load();
    assert_eq!(library.resumption(&file), Resumption::WhenAsked);
    library.set_resumption(file, Resumption::ByItself);
    assert_eq!(library.resumption(&file), Resumption::ByItself);
}

#[test]
fn any_path_can_be_kept() {
    use std::os::unix::ffi::OsStrExt as _;
    let setup = setup();
    let folder = setup.files.join(std::ffi::OsStr::from_bytes(b"\xff\"\n"));
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("a"), "a").unwrap();
    add(&setup.load(), HERE, &folder.join("a"), "ann/a");
    assert_eq!(setup.load().restore(HERE).0[0].path, folder.join("a"));
}

#[test]
fn the_list_of_a_program_without_audiences_is_read() {
    let setup = setup();
    let path = setup.write("a", b"a");
    let file = add(&setup.load(), HERE, &path, "ann/a");
    let now: serde_json::Value = serde_json::from_slice(&std::fs::read(setup.dir.library()).unwrap()).unwrap();
    let item = &now["items"][0];
    let old = serde_json::json!({
        "schema": 1,
        "items": [{
            "network": item["network"], "file": item["content"], "path": item["path"], "entries": ["ann/a", "bob/a"],
            "stamp": item["looks"]["file"],
        }],
        "cancelled": [file],
    });
    std::fs::write(setup.dir.library(), old.to_string()).unwrap();
    let library = setup.load();
    let [shared] = <[Shared; 1]>::try_from(library.restore(HERE).0).unwrap();
    assert_eq!((shared.content, shared.audiences), (file, BTreeSet::from([Audience::Public])));
    assert_eq!(names(&library.items(HERE)[0]), ["ann/a", "bob/a"]);
    assert!(library.items(HERE)[0].entries.values().all(|share| share.version == 1));
    assert_eq!(library.resumption(&file), Resumption::WhenAsked);
}

#[test]
fn something_is_for_all_for_whom_one_of_its_entries_or_offers_is() {
    let setup = setup();
    let (one, two) = (setup.write("one", b"same"), setup.write("two", b"same"));
    let library = setup.load();
    let file = add(&library, HERE, &one, "ann/one");
    let only_ann = Audience::Entry(entry("ann/two"));
    let (mut second, hashes) = item(HERE, &two, "ann/two");
    second.entries.get_mut(&entry("ann/two")).unwrap().audience = only_ann.clone();
    second.offers.insert(OfferId(7));
    library.add(second, hashes.into());
    let all = || library.audiences(HERE, &file);
    let offer = Audience::Offer(OfferId(7));
    assert_eq!(all(), BTreeSet::from([Audience::Public, only_ann.clone(), offer.clone()]));
    let only_one = Audience::Entry(entry("ann/one"));
    let changed = library.set_audience(HERE, &entry("ann/one"), &only_one);
    assert_eq!(changed, Reshared::from([(file, BTreeSet::from([only_one.clone(), only_ann, offer.clone()]))]));
    assert_eq!(library.set_audience(HERE, &entry("ann/one"), &only_one), Reshared::new(), "nothing new");
    library.forget_entry(HERE, &entry("ann/two"));
    assert_eq!(all(), BTreeSet::from([only_one.clone(), offer]), "an offer is a reason as well");
    // What is not what it was any more is no reason to share the other.
    std::fs::write(&two, "changed").unwrap();
    let (shared, dropped) = library.restore(HERE);
    assert_eq!(dropped.len(), 1);
    assert_eq!(shared[0].audiences, BTreeSet::from([only_one]));
    assert_eq!(library.forget_offer(HERE, OfferId(7)), Reshared::new());
}
