use super::*;
use crate::audience::OfferId;
use crate::id::{FileId, FolderId, Hash};
use proptest::prelude::*;

const CHUNK: u64 = 16 << 10;

fn file(number: u8, chunks: u64) -> SwarmKey {
    public(FileId::new(chunks * CHUNK, Hash([number; 32])).unwrap())
}

fn public(file: FileId) -> SwarmKey {
    SwarmKey::new(&Content::File(file), &Audience::Public)
}

fn numbered(number: u64) -> SwarmKey {
    let mut root = [0; 32];
    root[..8].copy_from_slice(&number.to_be_bytes());
    public(FileId::new(CHUNK, Hash(root)).unwrap())
}

const fn peer(number: u8) -> PeerId {
    PeerId([number; 32])
}

fn map(length: u32, chunks: &[u32]) -> Bitmap {
    let mut bitmap = Bitmap::empty(length);
    for chunk in chunks {
        bitmap.insert(*chunk);
    }
    bitmap
}

#[test]
fn a_download_goes_from_wanting_to_seeding_to_gone() {
    use Standing::*;
    let (index, file) = (Index::new(), file(1, 4));
    let mut steps = Vec::new();
    let bitmap = map(4, &[1, 2]);
    for change in [
        Change::Add(&[]),
        Change::Add(&[3, 1, 3]),
        Change::Map(&bitmap),
        Change::Add(&[0, 3]),
        Change::Add(&[2]),
        Change::All,
        Change::Map(&bitmap),
        Change::None,
        Change::None,
    ] {
        let changed = index.announce(peer(1), file, change).unwrap();
        steps.push((changed.before, changed.after, changed.gained));
    }
    assert_eq!(
        steps,
        [
            (Absent, Downloader, 0),
            (Downloader, Downloader, 2),
            (Downloader, Downloader, 1),
            (Downloader, Seeder, 2),
            (Seeder, Seeder, 0),
            (Seeder, Seeder, 0),
            (Seeder, Downloader, 0),
            (Downloader, Absent, 0),
            (Absent, Absent, 0),
        ]
    );
    assert!(index.swarms.is_empty() && index.peers.is_empty());
}

#[test]
fn an_empty_file_is_complete_at_once() {
    let index = Index::new();
    let empty = Bitmap::empty(0);
    for (number, change) in [(1, Change::Add(&[])), (2, Change::Map(&empty)), (3, Change::All)] {
        assert_eq!(index.announce(peer(number), file(0, 0), change).unwrap().after, Standing::Seeder);
    }
    assert_eq!(index.counts(&file(0, 0)), Counts { seeders: 3, downloaders: 0 });
}

#[test]
fn each_audience_and_each_kind_of_content_is_a_swarm_of_its_own() {
    let index = Index::new();
    let manifest = FileId::new(5, Hash([1; 32])).unwrap();
    let contents = [Content::File(manifest), FolderId::new(manifest, 1).unwrap().into()];
    let audiences = [
        Audience::Public,
        Audience::Entry("a/x".parse().unwrap()),
        Audience::Entry("b/x".parse().unwrap()),
        Audience::Offer(OfferId(1)),
    ];
    for content in &contents {
        for audience in &audiences {
            let key = SwarmKey::new(content, audience);
            assert_eq!(index.counts(&key), Counts::default(), "{content} {audience:?}");
            index.announce(peer(1), key, Change::All).unwrap();
        }
    }
    assert_eq!(index.swarms_of(&peer(1)), contents.len() * audiences.len());
}

#[test]
fn what_is_wrong_changes_nothing() {
    let (index, file) = (Index::new(), file(1, 4));
    let (short, long) = (Bitmap::full(3), Bitmap::full(5));
    for (change, error) in [
        (Change::Add(&[0, 4]), IndexError::Chunk { chunk: 4, count: 4 }),
        (Change::Add(&[u32::MAX]), IndexError::Chunk { chunk: u32::MAX, count: 4 }),
        (Change::Map(&short), IndexError::Length { want: 4, got: 3 }),
        (Change::Map(&long), IndexError::Length { want: 4, got: 5 }),
    ] {
        assert_eq!(index.announce(peer(1), file, change), Err(error));
    }
    assert!(index.swarms.is_empty() && index.peers.is_empty());
}

#[test]
fn a_peer_has_a_limited_number_of_swarms() {
    let index = Index::new();
    for number in 0..MAX_SWARMS_PER_PEER as u64 {
        index.announce(peer(1), numbered(number), Change::All).unwrap();
    }
    let one_more = numbered(u64::MAX);
    assert_eq!(index.announce(peer(1), one_more, Change::All), Err(IndexError::Swarms));
    assert_eq!(index.chunks_of(&peer(1), &one_more), None);
    // What it is in already it may change, others are not concerned, and what it leaves makes room.
    index.announce(peer(1), numbered(7), Change::Add(&[0])).unwrap();
    index.announce(peer(2), one_more, Change::All).unwrap();
    index.announce(peer(1), numbered(7), Change::None).unwrap();
    index.announce(peer(1), one_more, Change::All).unwrap();
    assert_eq!(index.remove_peer(&peer(1)).len(), MAX_SWARMS_PER_PEER);
    assert_eq!((index.swarm_count(), index.swarms_of(&peer(2))), (1, 1));
}

#[test]
fn a_peer_has_a_limited_number_of_map_bytes() {
    let index = Index::new();
    let longest = |number| public(FileId::new(crate::id::MAX_FILE_LENGTH, Hash([number; 32])).unwrap());
    let fitting = u8::try_from(MAX_MAP_BYTES_PER_PEER / map_bytes(&longest(0))).unwrap();
    for number in 0..fitting {
        index.announce(peer(1), longest(number), Change::Add(&[1])).unwrap();
    }
    let over = longest(fitting);
    assert_eq!(index.announce(peer(1), over, Change::Add(&[])), Err(IndexError::MapBytes));
    assert_eq!(index.announce(peer(1), longest(0), Change::Add(&[2])).map(|changed| changed.gained), Ok(1));
    // Complete files have no map, and the map of one that was completed makes room.
    index.announce(peer(1), over, Change::All).unwrap();
    index.announce(peer(1), longest(0), Change::All).unwrap();
    index.announce(peer(1), over, Change::Map(&Bitmap::empty(1 << 19))).unwrap();
    assert_eq!(index.announce(peer(1), longest(0), Change::Add(&[])), Err(IndexError::MapBytes));
    index.announce(peer(1), over, Change::None).unwrap();
    index.announce(peer(1), longest(200), Change::Add(&[])).unwrap();
}

#[test]
fn choices_prefer_those_who_have_more_and_are_spread() {
    let (index, file) = (Index::new(), file(1, 4));
    for number in 0..100 {
        index.announce(peer(number), file, Change::All).unwrap();
    }
    index.announce(peer(100), file, Change::Add(&[])).unwrap();
    index.announce(peer(101), file, Change::Add(&[2])).unwrap();
    let mut seen = BTreeSet::new();
    for random in 0..100 {
        let chosen = index.choose(&file, 50, random);
        let peers: BTreeSet<PeerId> = chosen.iter().map(|located| located.peer).collect();
        assert_eq!((chosen.len(), peers.len()), (50, 50));
        assert!(chosen.iter().all(|located| located.chunks == Chunks::All));
        seen.extend(peers);
    }
    assert_eq!(seen.len(), 100, "every seeder is chosen now and then");
    let all = index.choose(&file, 1000, 7);
    assert_eq!(all.len(), 102);
    assert_eq!((all[100].peer, all[101].peer), (peer(101), peer(100)));
    assert_eq!(index.choose(&file, 0, 7), []);
    assert_eq!(index.choose(&numbered(9), 50, 7), []);
}

/// Each thread works on the same few peers and files: what holds afterwards is that both sides agree.
#[test]
fn threads_leave_no_half_entries() {
    let index = Index::new();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let index = &index;
            scope.spawn(move || {
                let mut source = SplitMix(seed);
                for _ in 0..20_000 {
                    let who = peer(u8::try_from(source.below(3)).unwrap());
                    let what = file(u8::try_from(source.below(3)).unwrap(), 2);
                    match source.below(5) {
                        0 => drop(index.remove_peer(&who)),
                        1 => drop(index.announce(who, what, Change::None).unwrap()),
                        2 => drop(index.announce(who, what, Change::All).unwrap()),
                        3 => drop(index.announce(who, what, Change::Add(&[1])).unwrap()),
                        _ => drop(index.holders(&what, 0, 10)),
                    }
                }
            });
        }
    });
    assert_consistent(&index);
    for number in 0..3 {
        index.remove_peer(&peer(number));
    }
    assert!(index.swarms.is_empty() && index.peers.is_empty());
}

fn assert_consistent(index: &Index) {
    let mut from_swarms = BTreeSet::new();
    for swarm in &index.swarms {
        assert!(!swarm.is_empty());
        from_swarms.extend(swarm.located().map(|located| (located.peer, *swarm.key())));
    }
    let mut from_records = BTreeSet::new();
    for record in &index.peers {
        assert!(!record.swarms.is_empty());
        from_records.extend(record.swarms.iter().map(|file| (*record.key(), *file)));
        let bytes: usize = record
            .swarms
            .iter()
            .filter_map(|file| index.swarms.get(file).map(|swarm| swarm.map_bytes(record.key())))
            .sum();
        assert_eq!(record.map_bytes, bytes);
    }
    assert_eq!(from_swarms, from_records);
}

#[derive(Debug, Clone)]
enum Step {
    All,
    Map(BTreeSet<u32>),
    Add(Vec<u32>),
    None,
    Remove,
}

fn steps() -> impl Strategy<Value = Vec<(u8, u8, Step)>> {
    let step = prop_oneof![
        Just(Step::All),
        proptest::collection::btree_set(0u32..9, 0..9).prop_map(Step::Map),
        proptest::collection::vec(0u32..9, 0..5).prop_map(Step::Add),
        Just(Step::None),
        Just(Step::Remove),
    ];
    proptest::collection::vec((0u8..4, 0u8..3, step), 0..60)
}

proptest! {
    /// Against a map of (file, peer) to a set of chunks, which forgets all that is clever.
    #[test]
    fn it_does_what_a_plain_map_does(steps in steps()) {
        const CHUNKS: u32 = 9;
        let index = Index::new();
        let mut model: BTreeMap<(u8, u8), BTreeSet<u32>> = BTreeMap::new();
        for (what, who, step) in steps {
            let (id, key) = (file(what, CHUNKS.into()), (what, who));
            let before = model.get(&key).cloned();
            match &step {
                Step::All => { model.insert(key, (0..CHUNKS).collect()); }
                Step::Map(set) => { model.insert(key, set.clone()); }
                Step::Add(chunks) => model.entry(key).or_default().extend(chunks),
                Step::None => { model.remove(&key); }
                Step::Remove => model.retain(|(_, peer), _| *peer != who),
            }
            let bitmap = match &step {
                Step::Map(set) => map(CHUNKS, &set.iter().copied().collect::<Vec<_>>()),
                _ => Bitmap::empty(CHUNKS),
            };
            let changed = match &step {
                Step::All => index.announce(peer(who), id, Change::All),
                Step::Map(_) => index.announce(peer(who), id, Change::Map(&bitmap)),
                Step::Add(chunks) => index.announce(peer(who), id, Change::Add(chunks)),
                Step::None => index.announce(peer(who), id, Change::None),
                Step::Remove => { index.remove_peer(&peer(who)); continue; }
            }.unwrap();
            let standing = |set: Option<&BTreeSet<u32>>| match set {
                None => Standing::Absent,
                Some(set) if set.len() == CHUNKS as usize => Standing::Seeder,
                Some(_) => Standing::Downloader,
            };
            let after = model.get(&key);
            let gained = after.map_or(0, |set| set.difference(&before.clone().unwrap_or_default()).count());
            prop_assert_eq!(changed.before, standing(before.as_ref()));
            prop_assert_eq!(changed.after, standing(after));
            prop_assert_eq!(changed.gained as usize, gained);
        }
        assert_consistent(&index);
        for what in 0..4 {
            let id = file(what, CHUNKS.into());
            let held: BTreeMap<u8, BTreeSet<u32>> = index.holders(&id, 0, 100).into_iter().map(|located| {
                let chunks = match located.chunks {
                    Chunks::All => (0..CHUNKS).collect(),
                    Chunks::Some(bitmap) => bitmap.iter().collect(),
                };
                (located.peer.0[0], chunks)
            }).collect();
            let expected: BTreeMap<u8, BTreeSet<u32>> = model.iter()
                .filter(|((file, _), _)| *file == what)
                .map(|((_, peer), chunks)| (*peer, chunks.clone()))
                .collect();
            let counts = index.counts(&id);
            let complete = expected.values().filter(|set| set.len() == CHUNKS as usize).count();
            prop_assert_eq!((counts.seeders as usize, counts.downloaders as usize), (complete, expected.len() - complete));
            prop_assert_eq!(index.downloaders(&id).len(), expected.len() - complete);
            let mut pages = index.holders(&id, 0, 2);
            pages.extend(index.holders(&id, 2, 100));
            prop_assert_eq!(pages, index.holders(&id, 0, 100));
            prop_assert_eq!(held, expected);
        }
    }
}
