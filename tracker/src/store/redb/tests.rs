//! The store in a directory of its own, in crashes and damage, and against a map.

use std::collections::BTreeMap;

use common::audience::{Audience, OfferId};
use common::id::{FileId, Hash, PeerId};
use common::name::UserName;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::state::{
    Account, CodeHash, Device, EntryRecord, Invite, OfferRecord, PasswordHash, Response, VersionRecord,
};

const SEED: [u8; 32] = [3; 32];

fn store(directory: &TempDir) -> RedbStore {
    RedbStore::open(directory.path(), || SEED).unwrap()
}

fn account(name: &str) -> Write {
    let account = Account { password: None, created_ms: 1, seen_ms: 2, former: Vec::new() };
    Write::Account(name.parse().unwrap(), Some(account))
}

fn device(number: u8, account: &str) -> Write {
    let account = account.parse().unwrap();
    let device = Device { account, name: "x".to_owned(), since_ms: 3, seen_ms: u64::from(number) };
    Write::Device(PeerId([number; 32]), Some(device))
}

fn entry(owner: &str, name: &str, number: Option<u8>) -> Write {
    let entry = number.map(|number| {
        let content = FileId::new(u64::from(number), Hash([number; 32])).unwrap().into();
        let version = VersionRecord { number: 1, content, folder: None, at_ms: u64::from(number) };
        EntryRecord::new(version, None)
    });
    Write::Entry(owner.parse().unwrap(), name.parse().unwrap(), entry)
}

fn offer(number: u8, from: UserName) -> OfferRecord {
    OfferRecord {
        from,
        name: "x".parse().unwrap(),
        content: FileId::new(1, Hash([number; 32])).unwrap().into(),
        folder: None,
        at_ms: 5,
        receivers: [("b".parse().unwrap(), Response::Done(PeerId([number; 32])))].into(),
    }
}

#[test]
fn what_was_committed_is_there_again() {
    let directory = TempDir::new().unwrap();
    let mut first = store(&directory);
    assert_eq!(first.load().unwrap(), Stored { seed: SEED, contents: Vec::new() });
    first.commit(&[account("alice"), device(1, "alice"), device(2, "bob"), entry("alice", "x", Some(1))]).unwrap();
    first.commit(&[entry("alice", "y", Some(2)), entry("alice", "x", None)]).unwrap();
    first.commit(&[Write::Device(PeerId([2; 32]), None)]).unwrap();
    drop(first);
    let mut again = RedbStore::open(directory.path(), || panic!("the key is there")).unwrap();
    let contents = vec![account("alice"), device(1, "alice"), entry("alice", "y", Some(2))];
    assert_eq!(again.load().unwrap(), Stored { seed: SEED, contents });
}

#[test]
fn a_store_of_the_schema_before_is_brought_up() {
    let directory = TempDir::new().unwrap();
    migration::tests::make(&directory.path().join(FILE_NAME), SEED);
    for _again in 0..2 {
        let stored = RedbStore::open(directory.path(), || panic!("the key is there")).unwrap().load().unwrap();
        let [
            Write::Account(alice, Some(account)),
            Write::Account(..),
            Write::Device(peer, Some(device)),
            Write::Device(..),
            Write::Entry(owner, name, Some(_)),
        ] = stored.contents.as_slice()
        else {
            panic!("{stored:?}")
        };
        assert_eq!((stored.seed, alice.as_str(), account.has_password()), (SEED, "alice", false));
        assert_eq!((*peer, &device.account, device.seen_ms), (PeerId([1; 32]), alice, 5));
        assert_eq!((owner, name.as_str()), (alice, "x"));
    }
}

#[test]
fn a_row_that_makes_no_sense_is_said_to_be_damage() {
    let directory = TempDir::new().unwrap();
    let mut damaged = store(&directory);
    write(damaged.database().unwrap(), |transaction| {
        transaction.open_table(rows_of(Table::Devices))?.insert("x", "{}")?;
        Ok(())
    })
    .unwrap();
    let refused = damaged.load().unwrap_err();
    assert!(refused.to_string().contains("device") && matches!(refused, StoreError::Damaged { .. }), "{refused}");
}

/// What a machine that lost its power would find: the file as it is while the tracker still runs.
#[test]
fn a_crash_loses_nothing_that_was_committed() {
    let (directory, crashed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut running = store(&directory);
    for number in 1..50 {
        running.commit(&[entry("alice", &format!("e{number}"), Some(number))]).unwrap();
        if number % 10 == 1 {
            fs::copy(directory.path().join(FILE_NAME), crashed.path().join(FILE_NAME)).unwrap();
            let found = store(&crashed).load().unwrap();
            assert_eq!((found.seed, found.contents.len()), (SEED, usize::from(number)));
            found.contents.iter().for_each(|write| assert!(matches!(write, Write::Entry(_, _, Some(_)))));
        }
    }
}

#[test]
fn only_the_owner_can_read_it_and_only_one_tracker_has_it() {
    let parent = TempDir::new().unwrap();
    let directory = parent.path().join("new/data");
    let first = RedbStore::open(&directory, || SEED).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&directory), mode(&directory.join(FILE_NAME))), (0o700, 0o600));
    let second = RedbStore::open(&directory, || SEED);
    assert!(matches!(second, Err(StoreError::InUse { .. })), "{second:?}");
    drop(first);
    fs::set_permissions(directory.join(FILE_NAME), Permissions::from_mode(0o644)).unwrap();
    RedbStore::open(&directory, || SEED).unwrap();
    assert_eq!(mode(&directory.join(FILE_NAME)), 0o600);
}

#[test]
fn a_crash_while_it_was_made_leaves_nothing_in_the_way() {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join(NEW_FILE_NAME), b"half a database").unwrap();
    assert_eq!(store(&directory).load().unwrap().seed, SEED);
    assert!(!directory.path().join(NEW_FILE_NAME).exists());
}

#[test]
fn a_newer_schema_is_refused() {
    let directory = TempDir::new().unwrap();
    let mut newer = store(&directory);
    write(newer.database().unwrap(), |transaction| {
        transaction.open_table(META)?.insert(META_SCHEMA, 7u32.to_be_bytes().as_slice())?;
        Ok(())
    })
    .unwrap();
    drop(newer);
    let refused = RedbStore::open(directory.path(), || SEED).unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 7, known: SCHEMA, .. }), "{refused:?}");
    assert!(refused.to_string().contains("newer tracker"), "{refused}");
}

#[test]
fn what_is_no_database_is_said_to_be_damaged() {
    let directory = TempDir::new().unwrap();
    for bytes in [&b""[..], b"not a database", &[0; 100_000]] {
        fs::write(directory.path().join(FILE_NAME), bytes).unwrap();
        let refused = RedbStore::open(directory.path(), || SEED).unwrap_err();
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");
    }
}

#[test]
fn a_damaged_database_is_refused_or_as_it_was() {
    let directory = TempDir::new().unwrap();
    let mut whole = store(&directory);
    let writes: Vec<Write> = (1..=200).map(|number| entry("alice", &format!("e{number}"), Some(number))).collect();
    whole.commit(&writes).unwrap();
    let stored = whole.load().unwrap();
    drop(whole);
    let path = directory.path().join(FILE_NAME);
    let bytes = fs::read(&path).unwrap();
    let mut refused = 0;
    for number in 0..60 {
        let mut damaged = bytes.clone();
        for byte in damaged.iter_mut().skip(number * bytes.len() / 60).take(64) {
            *byte = !*byte;
        }
        if number % 6 == 5 {
            damaged.truncate(number * bytes.len() / 60);
        }
        fs::write(&path, damaged).unwrap();
        match RedbStore::open(directory.path(), || SEED).and_then(|mut store| store.load()) {
            Ok(found) => assert_eq!(found, stored, "{number}"),
            Err(StoreError::Damaged { .. } | StoreError::Newer { .. }) => refused += 1,
            Err(error) => panic!("{number}: {error:?}"),
        }
    }
    assert!(refused > 5, "{refused}");
}

#[test]
fn a_directory_that_cannot_be_made_is_said_to_be_so() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"").unwrap();
    for path in [file.clone(), file.join("below")] {
        let refused = RedbStore::open(&path, || SEED).unwrap_err();
        assert!(matches!(refused, StoreError::Directory { .. }), "{refused:?}");
    }
}

/// Any change of a few rows of each table.
fn any_write() -> impl Strategy<Value = Write> {
    let (which, number) = (0usize..3, proptest::option::of(1u8..9));
    (0..Table::ALL.len(), which.clone(), which, number).prop_map(|(table, one, other, number)| {
        let name = || ["a", "b", "c"][one].parse().unwrap();
        let key = [[1; 32], [2; 32], [3; 32]][one];
        let audience = [None, Some(Audience::Public), Some(Audience::Offer(OfferId(1)))][other].clone();
        match Table::ALL[table] {
            Table::Accounts => Write::Account(
                name(),
                number.map(|number| Account {
                    password: Some(PasswordHash(format!("$x${number}"))),
                    created_ms: 1,
                    seen_ms: 2,
                    former: vec![PeerId(key)],
                }),
            ),
            Table::Devices => match device(number.unwrap_or(0), ["a", "b", "c"][other]) {
                Write::Device(_, device) => Write::Device(PeerId(key), device.filter(|_| number.is_some())),
                _ => unreachable!(),
            },
            Table::Invites => {
                let invite = number.map(|number| Invite { uses_left: number.into(), expires_ms: 1 });
                Write::Invite(CodeHash(Hash(key)), invite)
            }
            Table::Revocations => Write::Revocation(PeerId(key), audience, number.map(u64::from)),
            Table::Entries => entry(["a", "b", "c"][one], ["x", "y", "z"][other], number),
            Table::Subscriptions => {
                let entry = ["a/x", "b/y z", "c/\"@2"][other].parse().unwrap();
                Write::Subscription(PeerId(key), entry, number.map(u64::from))
            }
            Table::Offers => Write::Offer(OfferId(one as u64), number.map(|number| offer(number, name()))),
            Table::Counters => Write::LastOffer(number.map(|number| OfferId(number.into()))),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn it_remembers_what_a_map_would(
        commits in proptest::collection::vec(proptest::collection::vec(any_write(), 0..12), 0..8),
    ) {
        let directory = TempDir::new().unwrap();
        let mut kept = store(&directory);
        let mut model = BTreeMap::new();
        for writes in commits {
            kept.commit(&writes).unwrap();
            for write in writes {
                let row = write.encode();
                let key = (row.table, row.key);
                match row.record {
                    Some(_) => model.insert(key, write),
                    None => model.remove(&key),
                };
            }
        }
        drop(kept);
        prop_assert_eq!(store(&directory).load().unwrap().contents, model.into_values().collect::<Vec<_>>());
    }
}
