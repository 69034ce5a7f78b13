use super::*;
use crate::id::MAX_FOLDER_CHUNKS;
use proptest::prelude::*;

fn id(length: u64) -> FileId {
    let root = if length == 0 { sha256(&[]) } else { Hash([7; 32]) };
    FileId::new(length, root).unwrap()
}

fn file(path: &str, length: u64) -> Entry {
    Entry { path: path.to_owned(), mode: 0o644, kind: EntryKind::File(id(length)) }
}

fn directory(path: &str) -> Entry {
    Entry { path: path.to_owned(), mode: 0o755, kind: EntryKind::EmptyDirectory }
}

fn new(paths: &[&str]) -> Result<Manifest, ManifestError> {
    Manifest::new(paths.iter().map(|path| file(path, 1)).collect())
}

/// The bytes of entries as they are, right or wrong.
fn raw(entries: &[Entry]) -> Vec<u8> {
    let layout = SwarmLayout::of_files(std::iter::empty()).unwrap();
    Manifest { entries: entries.to_vec(), layout }.encode()
}

#[test]
fn its_bytes_are_those_of_the_page() {
    let manifest = Manifest::new(vec![file("b/c", 5), directory("a")]).unwrap();
    let bytes = manifest.encode();
    let want = format!(
        "{}00000002{}0101ed{}0001a40000000000000005{}",
        data_encoding::HEXLOWER.encode(b"shoal-manifest-v1"),
        "000161",
        "0003622f63",
        "07".repeat(32)
    );
    assert_eq!(data_encoding::HEXLOWER.encode(&bytes), want);
    assert_eq!(Manifest::decode(&bytes).as_ref(), Ok(&manifest));
    let folder = manifest.folder_id();
    assert_eq!((folder.chunks(), folder.manifest().length()), (1, bytes.len() as u64));
    assert_eq!(Manifest::decode_as(&bytes, &folder).as_ref(), Ok(&manifest));
    let other = FolderId::new(folder.manifest(), 2).unwrap();
    assert_eq!(Manifest::decode_as(&bytes, &other), Err(ManifestError::NotThisFolder));
}

#[test]
fn an_empty_folder_is_one() {
    let manifest = Manifest::new(Vec::new()).unwrap();
    assert_eq!(manifest.folder_id().chunks(), 0);
    assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
}

#[test]
fn paths_that_would_harm_are_refused() {
    for path in [
        "",
        "/",
        "/etc/passwd",
        "a/",
        "a//b",
        "..",
        "../x",
        "a/../b",
        "./a",
        "a/.",
        r"a\b",
        "a/b\n",
        "a\u{202e}b",
        "NUL",
        "a/con.txt",
        "a/ b",
        "a.",
        "x/COM1",
        "\u{1b}[2J",
    ] {
        let refused = Manifest::decode(&raw(&[file(path, 1)]));
        assert!(matches!(refused, Err(ManifestError::Name { .. })), "{path:?}: {refused:?}");
        let sentence = refused.unwrap_err().to_string();
        assert!(sentence.chars().all(|character| !character.is_control()), "{sentence}");
        assert!(Manifest::decode(&raw(&[directory(path)])).is_err(), "{path:?}");
    }
    let mut bytes = raw(&[file("ab", 1)]);
    bytes[MAGIC.len() + 4 + 2] = 0xff;
    assert_eq!(Manifest::decode(&bytes), Err(ManifestError::Malformed), "not UTF-8");
}

#[test]
fn paths_that_get_in_each_others_way_are_refused() {
    for paths in [
        &["a", "a"][..],
        &["a", "A"],
        &["a/b", "A/c"],
        &["a/x/b", "a/X/c"],
        &["a", "a/b"],
        &["a", "a-b", "a/b"],
        &["A", "a/b"],
        &["ß", "SS"],
        &["É", "é"],
        &["d/a", "d/b/c", "d/A"],
        &["A/x", "B/y", "a/x"],
    ] {
        assert!(matches!(new(paths), Err(ManifestError::Clash(_))), "{paths:?}");
    }
    assert!(Manifest::new(vec![directory("a"), file("a/b", 1)]).is_err(), "a directory that is not empty");
    assert!(new(&["a", "a-b/c", "a.b", "a0/c", "ab/c", "b/a", "b/b/a", "c/A", "d/a"]).is_ok());
}

#[test]
fn there_is_one_form_only() {
    let (a, b) = (file("a", 1), file("b", 1));
    assert!(matches!(Manifest::decode(&raw(&[b, a.clone()])), Err(ManifestError::Order(_))));
    for mode in [0o1000, 0o2755, 0o4755, u16::MAX] {
        let refused = Manifest::decode(&raw(&[Entry { mode, ..a.clone() }]));
        assert!(matches!(refused, Err(ManifestError::Mode(_))), "{mode:o}");
    }
    let odd = Entry { kind: EntryKind::File(FileId::new(0, Hash([1; 32])).unwrap()), ..a.clone() };
    assert!(matches!(Manifest::decode(&raw(&[odd])), Err(ManifestError::Empty(_))));
    let good = raw(&[a]);
    let mut long = good.clone();
    long.push(0);
    assert_eq!(Manifest::decode(&long), Err(ManifestError::Malformed));
    for end in 0..good.len() {
        assert!(Manifest::decode(&good[..end]).is_err(), "{end}");
    }
}

#[test]
fn everything_is_bounded() {
    let deep = |names: usize| vec!["a"; names].join("/");
    assert!(new(&[&deep(MAX_MANIFEST_DEPTH)]).is_ok());
    assert!(matches!(new(&[&deep(MAX_MANIFEST_DEPTH + 1)]), Err(ManifestError::TooDeep(_))));
    let long = vec!["a".repeat(255); 16].join("/");
    assert!(new(&[&long]).is_ok());
    assert!(matches!(new(&[&format!("{long}/a")]), Err(ManifestError::TooDeep(_))));
    let many = |count: usize, length| Manifest::new((0..count).map(|n| file(&n.to_string(), length)).collect());
    assert_eq!(many(MAX_MANIFEST_FILES + 1, 1), Err(ManifestError::TooMany));
    assert_eq!(many(2, 8 << 40), Err(ManifestError::TooLarge(IdError::TooLong)));
    // 2000 files of 1024 chunks each.
    assert!(u32::try_from(2000 * 1024).unwrap() > MAX_FOLDER_CHUNKS);
    assert_eq!(many(2000, 16 << 20), Err(ManifestError::TooLarge(IdError::TooManyChunks)));
    let wide = (0..9000).map(|n| file(&format!("{}/{n}", vec!["a".repeat(255); 15].join("/")), 1)).collect();
    assert_eq!(Manifest::new(wide), Err(ManifestError::TooLong));
    let mut count = raw(&[]);
    count.splice(MAGIC.len().., u32::MAX.to_be_bytes());
    assert_eq!(Manifest::decode(&count), Err(ManifestError::TooMany));
}

fn component() -> impl Strategy<Value = String> {
    "[a-cA-C]{1,2}|[a-z.~é]{1,9}|..|NUL"
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let path = proptest::collection::vec(component(), 1..4).prop_map(|names| names.join("/"));
    let entry = (path, 0u16..0o1001, proptest::option::of(0u64..100_000)).prop_map(|(path, mode, length)| Entry {
        path,
        mode,
        kind: length.map_or(EntryKind::EmptyDirectory, |length| EntryKind::File(id(length))),
    });
    proptest::collection::vec(entry, 0..12)
}

proptest! {
    #[test]
    fn whatever_is_a_manifest_can_be_created_and_reads_as_it_was_written(entries in entries()) {
        let Ok(manifest) = Manifest::new(entries) else { return Ok(()) };
        let bytes = manifest.encode();
        prop_assert_eq!(bytes.len(), manifest.encoded_length());
        let read = Manifest::decode(&bytes);
        prop_assert_eq!(read.as_ref(), Ok(&manifest));
        // Every directory and every file, on a system that does not tell cases apart.
        let mut there: std::collections::BTreeMap<String, (String, bool)> = std::collections::BTreeMap::new();
        for entry in manifest.entries() {
            let ends = entry.path.match_indices('/').map(|(at, _)| at).chain([entry.path.len()]);
            for end in ends {
                let (front, leaf) = (&entry.path[..end], end == entry.path.len());
                let before = there.insert(fold(front), (front.to_owned(), leaf));
                prop_assert!(before.is_none_or(|before| !leaf && before == (front.to_owned(), false)), "{front}");
            }
        }
        for (number, entry, _) in manifest.files() {
            prop_assert_eq!(manifest.find(&entry.path), manifest.entry(number));
        }
    }

    #[test]
    fn damage_never_panics_and_never_gives_the_same_manifest(
        entries in entries(), at in any::<prop::sample::Index>(), change in 1u8..=255, cut in any::<bool>(),
    ) {
        let Ok(manifest) = Manifest::new(entries) else { return Ok(()) };
        let mut bytes = manifest.encode();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at); } else { bytes[at] ^= change; }
        if let Ok(other) = Manifest::decode(&bytes) {
            prop_assert_ne!(&other, &manifest);
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_a_manifest_in_its_one_form_or_none(rest in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = [MAGIC, &rest].concat();
        if let Ok(manifest) = Manifest::decode(&bytes) {
            prop_assert_eq!(manifest.encode(), bytes);
        }
    }
}
