//! The store in one redb file: `tracker.redb` in the data directory, readable by its owner only.
//!
//! Commits are in two phases with an fsync each. redb 4.2 to 4.4 mended several ways to lose or damage a commit, none
//! of which touched databases that committed in two phases and left savepoints, renames and deleted tables alone; this
//! store does so. A file that a crash left behind is repaired when it is opened, at once, for the price of slower
//! commits.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use common::id::{Content, FileId, Hash, PeerId};
use common::name::{EntryName, UserName};
use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition,
};
use rustix::fs::FlockOperation;

use super::{Store, StoreError, Stored};
use crate::state::{Registered, User, Write};

/// The number of the tables' form; a store with a higher one is refused.
const SCHEMA: u32 = 1;
const FILE_NAME: &str = "tracker.redb";
/// A database in the making; it gets its name when it is whole.
const NEW_FILE_NAME: &str = "tracker.redb.new";
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Bytes of pages that redb keeps in memory. All is read once, at the start, so little is enough.
const CACHE_BYTES: usize = 16 << 20;

/// `schema` is a big-endian u32, `key` the 32 bytes of the seed.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
const META_SCHEMA: &str = "schema";
const META_KEY: &str = "key";
/// Peer id -> user name, last seen in milliseconds since 1970 (UTC).
const USERS: TableDefinition<'_, [u8; 32], (&str, u64)> = TableDefinition::new("users");
/// Owner, name -> length, root, registered in milliseconds since 1970 (UTC).
const ENTRIES: TableDefinition<'_, (&str, &str), (u64, [u8; 32], u64)> = TableDefinition::new("entries");

/// A [`Store`] in a directory of its own.
#[derive(Debug)]
pub(crate) struct RedbStore {
    path: PathBuf,
    /// `None` after an error: redb refuses to go on then, and opening anew repairs.
    database: Option<Database>,
    /// Holds the lock on the directory for as long as the store is there.
    _lock: File,
}

impl RedbStore {
    /// Opens the store in `directory`, making both where they are not there; `new_seed` becomes the key of a new one.
    pub(crate) fn open(directory: &Path, new_seed: impl FnOnce() -> [u8; 32]) -> Result<Self, StoreError> {
        let on_directory = |source| StoreError::Directory { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(on_directory)?;
        let lock = File::open(directory).map_err(on_directory)?;
        let path = directory.join(FILE_NAME);
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(StoreError::InUse { path }),
            Err(errno) => return Err(on_directory(errno.into())),
        }
        if !path.try_exists().map_err(on_directory)? {
            create(directory, &path, new_seed())?;
        }
        let database = open(&path)?;
        let mut store = Self { path, database: Some(database), _lock: lock };
        store.check_schema()?;
        Ok(store)
    }

    fn check_schema(&mut self) -> Result<(), StoreError> {
        let meta = self.read(|transaction| {
            let meta = transaction.open_table(META)?;
            Ok(meta.get(META_SCHEMA)?.map(|value| value.value().to_vec()))
        })?;
        let found = meta.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        match found {
            Some(SCHEMA) => Ok(()),
            Some(found) if found > SCHEMA => Err(StoreError::Newer { path: self.path.clone(), found, known: SCHEMA }),
            _ => Err(self.damaged("it has no schema number")),
        }
    }

    fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what: what.into() }
    }

    fn database(&mut self) -> Result<&Database, StoreError> {
        if self.database.is_none() {
            self.database = Some(open(&self.path)?);
        }
        Ok(self.database.as_ref().expect("it was opened in the lines above"))
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let path = self.path.clone();
        let database = self.database()?;
        let result = unless_it_panics(&path, || read(&database.begin_read()?))?;
        result.map_err(|error| self.damaged(error.to_string()))
    }
}

impl Store for RedbStore {
    fn load(&mut self) -> Result<Stored, StoreError> {
        let (seed, users, entries) = self.read(|transaction| {
            let seed = transaction.open_table(META)?.get(META_KEY)?.map(|value| value.value().to_vec());
            let mut users = Vec::new();
            for row in transaction.open_table(USERS)?.iter()? {
                let (peer, user) = row?;
                let (name, seen_ms) = user.value();
                users.push((PeerId(peer.value()), UserName::new(name), seen_ms));
            }
            let mut entries = Vec::new();
            for row in transaction.open_table(ENTRIES)?.iter()? {
                let (key, value) = row?;
                let ((owner, name), (length, root, at_ms)) = (key.value(), value.value());
                entries.push((UserName::new(owner), EntryName::new(name), FileId::new(length, Hash(root)), at_ms));
            }
            Ok((seed, users, entries))
        })?;
        let seed = seed.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| self.damaged("it has no key"))?;
        let mut contents = Vec::with_capacity(users.len() + entries.len());
        for (peer, name, seen_ms) in users {
            let name = name.map_err(|error| self.damaged(error.to_string()))?;
            contents.push(Write::User(peer, Some(User { name, seen_ms })));
        }
        for entry in entries {
            let (Ok(owner), Ok(name), Ok(file), at_ms) = entry else {
                return Err(self.damaged("an entry has an illegal name or length"));
            };
            contents.push(Write::Entry(owner, name, Some(Registered { content: Content::File(file), at_ms })));
        }
        Ok(Stored { seed, contents })
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let result = write(self.database()?, |transaction| {
            let mut users = transaction.open_table(USERS)?;
            let mut entries = transaction.open_table(ENTRIES)?;
            for write in writes {
                match write {
                    Write::User(peer, Some(user)) => {
                        users.insert(peer.0, (user.name.as_str(), user.seen_ms))?;
                    }
                    Write::User(peer, None) => {
                        users.remove(peer.0)?;
                    }
                    Write::Entry(owner, name, Some(entry)) => {
                        let file = entry.content.file_or_manifest();
                        let value = (file.length(), file.root().0, entry.at_ms);
                        entries.insert((owner.as_str(), name.as_str()), value)?;
                    }
                    Write::Entry(owner, name, None) => {
                        entries.remove((owner.as_str(), name.as_str()))?;
                    }
                }
            }
            Ok(())
        });
        result.map_err(|error| {
            self.database = None;
            StoreError::Write { path: self.path.clone(), what: error.to_string() }
        })
    }
}

/// Makes a whole, empty store under another name and renames it: a crash on the way leaves none.
fn create(directory: &Path, path: &Path, seed: [u8; 32]) -> Result<(), StoreError> {
    let on_directory = |source| StoreError::Directory { path: directory.to_owned(), source };
    let new = directory.join(NEW_FILE_NAME);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(on_directory(error)),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(&new);
    let database = database(&new, file.map_err(on_directory)?)?;
    let written = write(&database, |transaction| {
        transaction.open_table(USERS)?;
        transaction.open_table(ENTRIES)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_SCHEMA, SCHEMA.to_be_bytes().as_slice())?;
        meta.insert(META_KEY, seed.as_slice())?;
        Ok(())
    });
    written.map_err(|error| StoreError::Write { path: new.clone(), what: error.to_string() })?;
    database.close().map_err(|error| StoreError::Write { path: new.clone(), what: error.to_string() })?;
    fs::rename(&new, path).map_err(on_directory)?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(on_directory)
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let on_file = |source| StoreError::Directory { path: path.to_owned(), source };
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(on_file)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE)).map_err(on_file)?;
    database(path, file)
}

/// Opens a database and checks every page of it.
fn database(path: &Path, file: File) -> Result<Database, StoreError> {
    let backend = FileBackend::new(file);
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    let opened = unless_it_panics(path, || backend.and_then(|backend| builder.create_with_backend(backend)))?;
    let path = path.to_owned();
    opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StoreError::InUse { path },
        DatabaseError::Storage(StorageError::Io(source)) if source.kind() != io::ErrorKind::InvalidData => {
            StoreError::Directory { path, source }
        }
        error => StoreError::Damaged { path, what: error.to_string() },
    })
}

/// redb says itself that what somebody else wrote into its file may make it panic, for all that it checks.
fn unless_it_panics<T>(path: &Path, what: impl FnOnce() -> T) -> Result<T, StoreError> {
    // What was half done in there is dropped with the database, or never touched again.
    panic::catch_unwind(AssertUnwindSafe(what))
        .map_err(|_panic| StoreError::Damaged { path: path.to_owned(), what: "it contradicts itself".to_owned() })
}

fn write(
    database: &Database,
    write: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    write(&transaction)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const SEED: [u8; 32] = [3; 32];

    fn store(directory: &TempDir) -> RedbStore {
        RedbStore::open(directory.path(), || SEED).unwrap()
    }

    fn user(number: u8, name: &str) -> Write {
        Write::User(PeerId([number; 32]), Some(User { name: name.parse().unwrap(), seen_ms: u64::from(number) }))
    }

    fn entry(owner: &str, name: &str, number: Option<u8>) -> Write {
        let registered = number.map(|number| Registered {
            file: FileId::new(u64::from(number), Hash([number; 32])).unwrap(),
            at_ms: u64::from(number),
        });
        Write::Entry(owner.parse().unwrap(), name.parse().unwrap(), registered)
    }

    #[test]
    fn what_was_committed_is_there_again() {
        let directory = TempDir::new().unwrap();
        let mut first = store(&directory);
        assert_eq!(first.load().unwrap(), Stored { seed: SEED, contents: Vec::new() });
        first.commit(&[user(1, "alice"), user(2, "bob"), entry("alice", "x", Some(1))]).unwrap();
        first.commit(&[entry("alice", "y", Some(2)), entry("alice", "x", None)]).unwrap();
        first.commit(&[Write::User(PeerId([2; 32]), None)]).unwrap();
        drop(first);
        let mut again = RedbStore::open(directory.path(), || panic!("the key is there")).unwrap();
        let contents = vec![user(1, "alice"), entry("alice", "y", Some(2))];
        assert_eq!(again.load().unwrap(), Stored { seed: SEED, contents });
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn it_remembers_what_a_map_would(
            commits in proptest::collection::vec(
                proptest::collection::vec((0usize..3, 0usize..3, proptest::option::of(1u8..9)), 0..6), 0..8),
        ) {
            let directory = TempDir::new().unwrap();
            let mut kept = store(&directory);
            let mut model = BTreeMap::new();
            for commit in commits {
                let writes: Vec<Write> = commit
                    .into_iter()
                    .map(|(owner, name, number)| entry(["a", "b", "c"][owner], ["x", "y", "z"][name], number))
                    .collect();
                kept.commit(&writes).unwrap();
                for write in writes {
                    let Write::Entry(owner, name, registered) = &write else { unreachable!() };
                    model.remove(&(owner.clone(), name.clone()));
                    if registered.is_some() {
                        model.insert((owner.clone(), name.clone()), write);
                    }
                }
            }
            drop(kept);
            prop_assert_eq!(store(&directory).load().unwrap().contents, model.into_values().collect::<Vec<_>>());
        }
    }
}
