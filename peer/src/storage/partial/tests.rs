use super::*;
use crate::storage::Looks;
use common::audience::{Audience, OfferId};
use common::id::{FileId, NetworkId};
use common::merkle::FileHasher;

struct Sample(SwarmHashes);

impl std::ops::Deref for Sample {
    type Target = SwarmHashes;

    fn deref(&self) -> &SwarmHashes {
        &self.0
    }
}

impl Sample {
    fn file_id(&self) -> FileId {
        self.0.layout().parts()[0].id()
    }
}

fn sample(length: usize) -> (Vec<u8>, Sample) {
    let bytes: Vec<u8> = (0..length).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let mut hasher = FileHasher::new(length as u64).unwrap();
    hasher.update(&bytes);
    (bytes, Sample(hasher.finish().unwrap().into()))
}

fn open(downloading: &Path, meta: PartialMeta) -> io::Result<Opened> {
    let outline = Outline::of_file(&meta.content.file_or_manifest());
    Partial::open(downloading, meta, outline)
}

fn write_raw(partial: &Partial, bytes: &[u8]) {
    partial.body.write_at(common::chunk::Place { file: 0, offset: 0 }, 0, bytes).unwrap();
}

fn meta(file: FileId, target: PathBuf) -> PartialMeta {
    PartialMeta {
        network: NetworkId([1; 32]),
        entry: "ann/x".into(),
        source: PlanSource::Offer(OfferId(7)),
        name: "x".into(),
        version: 3,
        content: file.into(),
        audience: Audience::Offer(OfferId(7)),
        target,
        placing: Placing::Beside,
        bases: vec!["/old".into()],
        only: Vec::new(),
    }
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, hashes) = sample(50_000);
    let meta = meta(hashes.file_id(), dir.path().join("out/x"));
    let opened = open(dir.path(), meta.clone()).unwrap();
    assert!(opened.synced.is_empty() && opened.written.is_empty() && opened.hashes.is_none());
    opened.partial.keep_hashes(&hashes).unwrap();
    write_raw(&opened.partial, &bytes[..16384]);
    opened.partial.mark_written(0).unwrap();
    opened.partial.sync().unwrap();
    opened.partial.mark_written(1).unwrap(); // a lie: nothing was written
    drop(opened);
    let listed = Partial::list(dir.path()).unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].meta, meta);
    let opened = open(dir.path(), meta).unwrap();
    assert_eq!(opened.synced.iter().collect::<Vec<_>>(), [0]);
    assert_eq!(opened.written.iter().collect::<Vec<_>>(), [1]);
    assert_eq!(opened.hashes.as_ref(), Some(&hashes.0));
    assert!(opened.partial.is_right(&hashes, 0).unwrap());
    assert!(!opened.partial.is_right(&hashes, 1).unwrap());
    assert!(!opened.partial.is_right(&hashes, 99).unwrap());
}

#[test]
fn what_a_program_without_audiences_left_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let (_, hashes) = sample(50_000);
    let file = hashes.file_id();
    let folder = dir.path().join(file.to_string());
    fs::create_dir_all(&folder).unwrap();
    let (network, target) = (NetworkId([1; 32]), dir.path().join("x"));
    let data = folder.join("data");
    let old = serde_json::json!({
        "schema": 1, "network": network, "entry": "ann/x", "name": "x", "file": file, "target": target, "data": data,
        "placed": null,
    });
    fs::write(folder.join("meta.json"), old.to_string()).unwrap();
    let [PartialRecord { meta }] = <[_; 1]>::try_from(Partial::list(dir.path()).unwrap()).unwrap();
    assert_eq!((meta.content, meta.audience, meta.version), (file.into(), Audience::Public, 1));
    assert_eq!((meta.target, meta.source, meta.placing), (target, PlanSource::Entry, Placing::Beside));
}

#[test]
fn a_placed_file_is_settled_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (downloading, target) = (dir.path().join("downloading"), dir.path().join("out/x"));
    let (bytes, hashes) = sample(50_000);
    let opened = open(&downloading, meta(hashes.file_id(), target.clone())).unwrap();
    write_raw(&opened.partial, &bytes);
    let placement = opened.partial.place().unwrap();
    assert_eq!(placement.path, target);
    let looks = opened.partial.looks(&placement).unwrap();
    assert_eq!(looks.check(&target), Ok(()));
    opened.partial.settle().unwrap();
    assert_eq!(fs::read(target).unwrap(), bytes);
    assert_eq!(fs::read_dir(&downloading).unwrap().count(), 0);
}

#[test]
fn an_edit_right_after_the_final_name_is_not_taken_for_what_was_downloaded() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("x");
    let (bytes, hashes) = sample(50_000);
    let opened = open(&dir.path().join("downloading"), meta(hashes.file_id(), target.clone())).unwrap();
    write_raw(&opened.partial, &bytes);
    let placement = opened.partial.place().unwrap();
    let later = fs::metadata(&target).unwrap().modified().unwrap() + std::time::Duration::from_millis(10);
    let file = OpenOptions::new().write(true).open(&target).unwrap();
    file.write_all_at(b"mine", 0).unwrap();
    file.set_modified(later).unwrap();
    assert!(opened.partial.looks(&placement).unwrap().check(&target).is_err());
}

#[test]
fn a_file_placed_before_a_crash_is_checked_and_taken_back_when_wrong() {
    for right in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let (downloading, target) = (dir.path().join("downloading"), dir.path().join("x"));
        let (bytes, hashes) = sample(50_000);
        let opened = open(&downloading, meta(hashes.file_id(), target.clone())).unwrap();
        opened.partial.keep_hashes(&hashes).unwrap();
        write_raw(&opened.partial, &bytes);
        for chunk in 0..4 {
            opened.partial.mark_written(chunk).unwrap();
        }
        opened.partial.place().unwrap();
        drop(opened);
        if !right {
            let file = OpenOptions::new().write(true).open(&target).unwrap();
            let written = file.metadata().unwrap().modified().unwrap();
            file.write_all_at(&[0; 9], 20_000).unwrap();
            // As a crash that lost a page would leave it.
            file.set_modified(written).unwrap();
        }
        let left = Partial::list(&downloading).unwrap();
        assert_eq!(left.is_empty(), right);
        assert_eq!(target.exists(), right);
    }
}

#[test]
fn a_replacing_that_a_crash_cut_off_is_finished_or_taken_back() {
    for edited in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (downloading, target) = (dir.path().join("downloading"), dir.path().join("x"));
        let (bytes, hashes) = sample(50_000);
        fs::write(&target, "old").unwrap();
        let looks = Looks::File(Stamp::of(&fs::metadata(&target).unwrap()));
        let placing = Placing::Over { looks, otherwise: dir.path().join("x (v2)") };
        let meta = PartialMeta { placing, ..meta(hashes.file_id(), target.clone()) };
        let partial = open(&downloading, meta.clone()).unwrap().partial;
        partial.keep_hashes(&hashes).unwrap();
        write_raw(&partial, &bytes);
        for chunk in 0..4 {
            partial.mark_written(chunk).unwrap();
        }
        if edited {
            fs::write(&target, "mine").unwrap();
        }
        {
            let mut stored = lock(&partial.stored);
            stored.placed = Some(Placed::of(&target, &partial.body.handle().unwrap().metadata().unwrap()));
            write_stored(&partial.folder, &stored).unwrap();
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            renameat_with(CWD, &stored.data, CWD, &target, RenameFlags::EXCHANGE).unwrap();
        }
        drop(partial);
        let left = Partial::list(&downloading).unwrap();
        assert_eq!(left.len(), usize::from(edited));
        if !edited {
            assert_eq!(fs::read(&target).unwrap(), bytes);
            assert_eq!(fs::read_dir(&downloading).unwrap().count(), 0);
            continue;
        }
        assert_eq!(fs::read(&target).unwrap(), b"mine");
        let opened = open(&downloading, meta).unwrap();
        assert_eq!(opened.written.count(), 4, "nothing of it is fetched again");
        let replaced = opened.partial.place().unwrap();
        assert_eq!((&replaced.path, &replaced.edited), (&dir.path().join("x (v2)"), &vec![target.clone()]));
        assert_eq!(fs::read(replaced.path).unwrap(), bytes);
        assert_eq!(fs::read(&target).unwrap(), b"mine");
    }
}

#[test]
fn a_lie_that_comes_beside_a_right_chunk_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let (bytes, hashes) = sample(3_000_000);
    let opened = open(dir.path(), meta(hashes.file_id(), dir.path().join("x"))).unwrap();
    let partial = opened.partial;
    let size = usize::try_from(hashes.layout().largest_chunk()).unwrap();
    let (half, right) = (size / 2, |chunk: usize| &bytes[chunk * size..(chunk + 1) * size]);
    let is_right = |chunk| partial.is_right(&hashes, chunk).unwrap();
    // The lie is there first, goes on, and comes late as well.
    let (lie, truth) = (partial.draft(3).unwrap(), partial.draft(3).unwrap());
    partial.write_draft(&lie, &vec![0; half], 0).unwrap();
    partial.write_draft(&truth, &right(3)[..half], 0).unwrap();
    partial.write_draft(&truth, &right(3)[half..], half as u64).unwrap();
    partial.accept(&truth).unwrap();
    partial.write_draft(&lie, &vec![0; half], half as u64).unwrap();
    assert!(is_right(3));
    let late = partial.draft(3).unwrap();
    partial.write_draft(&late, &vec![0; size], 0).unwrap();
    assert!(is_right(3));
    // The truth is there first.
    let (truth, lie) = (partial.draft(4).unwrap(), partial.draft(4).unwrap());
    partial.write_draft(&truth, right(4), 0).unwrap();
    partial.write_draft(&lie, &vec![0; size], 0).unwrap();
    partial.accept(&truth).unwrap();
    assert!(is_right(4));
    // One that was given up leaves its place to the next.
    drop(partial.draft(5).unwrap());
    let next = partial.draft(5).unwrap();
    assert!(matches!(next.to, To::Place(_)));
    partial.write_draft(&next, right(5), 0).unwrap();
    partial.end_writing();
    partial.write_draft(&next, &vec![0; size], 0).unwrap();
    partial.accept(&next).unwrap();
    partial.write_chunk(6, right(6)).unwrap();
    assert!(is_right(5) && !is_right(6));
    assert_eq!(lock(&partial.journal).records(), 2);
    let left = fs::read_dir(&partial.folder).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().starts_with("draft")));
}

#[test]
fn a_link_where_the_data_go_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (_, hashes) = sample(50_000);
    let meta = meta(hashes.file_id(), dir.path().join("x"));
    let (folder, theirs) = (dir.path().join(meta.content.to_string()), dir.path().join("theirs"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(&theirs, "mine").unwrap();
    std::os::unix::fs::symlink(&theirs, folder.join("data")).unwrap();
    assert!(open(dir.path(), meta).is_err());
    assert_eq!(fs::read(theirs).unwrap(), b"mine");
}

#[test]
fn data_of_another_length_are_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let (_, hashes) = sample(50_000);
    let meta = meta(hashes.file_id(), dir.path().join("x"));
    let opened = open(dir.path(), meta.clone()).unwrap();
    opened.partial.mark_written(2).unwrap();
    let data = opened.partial.data_path();
    drop(opened);
    File::options().write(true).open(data).unwrap().set_len(7).unwrap();
    let opened = open(dir.path(), meta).unwrap();
    assert!(opened.synced.is_empty() && opened.written.is_empty());
}

#[test]
fn a_folder_whose_swapping_was_cut_off_is_believed_and_swapped_to_the_end() {
    use common::manifest::EntryKind;
    use common::merkle::ChunkHashes;
    let dir = tempfile::tempdir().unwrap();
    let (downloading, target) = (dir.path().join("downloading"), dir.path().join("proj"));
    fs::create_dir_all(target.join("a")).unwrap();
    fs::write(target.join("a/x"), "old").unwrap();
    let looks = BTreeMap::from([("a/x".to_owned(), Stamp::of(&fs::metadata(target.join("a/x")).unwrap()))]);
    let files = [("a/x", "new"), ("b", "b"), ("none", "")];
    let hashed = |content: &str| -> ChunkHashes {
        let mut hasher = FileHasher::new(content.len() as u64).unwrap();
        hasher.update(content.as_bytes());
        hasher.finish().unwrap()
    };
    let entry = |(path, content): &(&str, &str)| Entry {
        path: (*path).to_owned(),
        mode: 0o640,
        kind: EntryKind::File(hashed(content).file_id()),
    };
    let manifest = Arc::new(Manifest::new(files.iter().map(entry).collect()).unwrap());
    let content = Content::Folder(manifest.folder_id());
    let placing = Placing::Over { looks: Looks::Folder(looks), otherwise: dir.path().join("proj (v2)") };
    let file = FileId::new(1, Hash([1; 32])).unwrap();
    let meta = PartialMeta { content, placing, ..meta(file, target.clone()) };
    fs::write(Partial::begin_folder(&downloading, meta.clone()).unwrap(), manifest.encode()).unwrap();
    let open = || Partial::open(&downloading, meta.clone(), Outline::of_folder(Arc::clone(&manifest))).unwrap();
    let partial = open().partial;
    partial.write_chunk(0, b"new").unwrap();
    partial.write_chunk(1, b"b").unwrap();
    // The first run ended after its first file.
    let placement = partial.place().unwrap();
    fs::rename(target.join("b"), partial.data_path().join("b")).unwrap();
    assert!(placement.edited.is_empty());
    drop(partial);
    assert_eq!(Partial::list(&downloading).unwrap().len(), 1);
    let opened = open();
    assert!(opened.synced.is_full(), "what has left for its place is not looked for");
    let placement = opened.partial.place().unwrap();
    assert!(placement.edited.is_empty() && placement.elsewhere.is_empty());
    for (path, content) in files {
        assert_eq!(fs::read_to_string(target.join(path)).unwrap(), content);
    }
    assert!(opened.partial.looks(&placement).unwrap().check(&target).is_ok());
    opened.partial.settle().unwrap();
    assert_eq!(fs::read_dir(&downloading).unwrap().count(), 0);
}
