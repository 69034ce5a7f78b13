//! The store in one redb file: `tracker.redb` in the data directory, readable by its owner only.
//!
//! Commits are in two phases with an fsync each. redb 4.2 to 4.4 mended several ways to lose or damage a commit, none
//! of which touched databases that committed in two phases and left savepoints, renames and deleted tables alone; this
//! store does so. A file that a crash left behind is repaired when it is opened, at once, for the price of slower
//! commits.

mod migration;

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{
    Database, DatabaseError, Durability, ReadableDatabase as _, ReadableTable as _, StorageError, TableDefinition,
    TableError,
};
use rustix::fs::FlockOperation;

use super::{Store, StoreError, Stored};
use crate::state::{Row, Table, Write};

/// The number of the tables' form; a store with a higher one is refused, one with a lower one is brought up to it.
const SCHEMA: u32 = 2;
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
/// The rows of one kind: key -> record in JSON.
const fn rows_of(table: Table) -> TableDefinition<'static, &'static str, &'static str> {
    TableDefinition::new(table.name())
}

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
        let (path, lock, there) = lock(directory)?;
        if !there {
            create(directory, &path, &Stored { seed: new_seed(), contents: Vec::new() })?;
        }
        let database = open(&path)?;
        let mut store = Self { path, database: Some(database), _lock: lock };
        store.bring_up_to_schema()?;
        Ok(store)
    }

    /// Opens the store in `directory` where there is one.
    pub(crate) fn open_there(directory: &Path) -> Result<Self, StoreError> {
        if !directory.join(FILE_NAME).exists() {
            return Err(StoreError::Missing { directory: directory.to_owned() });
        }
        Self::open(directory, || [0; 32])
    }

    /// Makes a store with this in it in `directory`, all at once, where there is none.
    pub(crate) fn begin(directory: &Path, stored: &Stored) -> Result<(), StoreError> {
        let (path, _lock, there) = lock(directory)?;
        if there { Err(StoreError::Exists { path }) } else { create(directory, &path, stored) }
    }

    fn bring_up_to_schema(&mut self) -> Result<(), StoreError> {
        let meta = self.read(|transaction| {
            let meta = transaction.open_table(META)?;
            Ok(meta.get(META_SCHEMA)?.map(|value| value.value().to_vec()))
        })?;
        let found = meta.and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        match found {
            Some(SCHEMA) => Ok(()),
            Some(migration::FROM) => self.migrate(),
            Some(found) if found > SCHEMA => Err(StoreError::Newer { path: self.path.clone(), found, known: SCHEMA }),
            _ => Err(self.damaged("it has no schema number")),
        }
    }

    /// Brings a store of the schema before to this one, in one transaction: a crash on the way leaves it as it was.
    fn migrate(&mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        let contents = self.read(migration::read)?.map_err(|what| self.damaged(what))?;
        tracing::info!(
            "bringing {} from schema {} to {SCHEMA}: {} rows",
            path.display(),
            migration::FROM,
            contents.len()
        );
        let database = self.database()?;
        let written = unless_it_panics(&path, || {
            write(database, |transaction| {
                migration::empty(transaction)?;
                put(transaction, &contents)?;
                transaction.open_table(META)?.insert(META_SCHEMA, SCHEMA.to_be_bytes().as_slice())?;
                Ok(())
            })
        })?;
        written.map_err(|error| StoreError::Write { path, what: error.to_string() })
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
        let (seed, rows) = self.read(|transaction| {
            let seed = transaction.open_table(META)?.get(META_KEY)?.map(|value| value.value().to_vec());
            let mut rows = Vec::new();
            for table in Table::ALL {
                let stored = match transaction.open_table(rows_of(table)) {
                    Ok(stored) => stored,
                    // Nothing of this kind was ever written.
                    Err(TableError::TableDoesNotExist(_)) => continue,
                    Err(error) => return Err(error.into()),
                };
                for row in stored.iter()? {
                    let (key, record) = row?;
                    let (key, record) = (key.value().to_owned(), Some(record.value().to_owned()));
                    rows.push(Row { table, key, record });
                }
            }
            Ok((seed, rows))
        })?;
        let seed = seed.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| self.damaged("it has no key"))?;
        let contents = rows.iter().map(Write::decode).collect::<Result<Vec<_>, _>>();
        Ok(Stored { seed, contents: contents.map_err(|error| self.damaged(error.to_string()))? })
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let result = write(self.database()?, |transaction| put(transaction, writes));
        result.map_err(|error| {
            self.database = None;
            StoreError::Write { path: self.path.clone(), what: error.to_string() }
        })
    }
}

/// Writes rows in their order.
fn put(transaction: &redb::WriteTransaction, writes: &[Write]) -> Result<(), redb::Error> {
    for of_one_table in writes.chunk_by(|one, next| one.table() == next.table()) {
        let Some(first) = of_one_table.first() else { continue };
        let mut stored = transaction.open_table(rows_of(first.table()))?;
        for write in of_one_table {
            let Row { key, record, .. } = write.encode();
            match record {
                Some(record) => stored.insert(key.as_str(), record.as_str())?,
                None => stored.remove(key.as_str())?,
            };
        }
    }
    Ok(())
}

/// Makes and locks the directory, and says where its database is, and whether it is there.
fn lock(directory: &Path) -> Result<(PathBuf, File, bool), StoreError> {
    let on_directory = |source| StoreError::Directory { path: directory.to_owned(), source };
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(on_directory)?;
    let lock = File::open(directory).map_err(on_directory)?;
    let path = directory.join(FILE_NAME);
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Err(StoreError::InUse { path }),
        Err(errno) => return Err(on_directory(errno.into())),
    }
    let there = path.try_exists().map_err(on_directory)?;
    Ok((path, lock, there))
}

/// Makes a whole store under another name and renames it: a crash on the way leaves none.
fn create(directory: &Path, path: &Path, stored: &Stored) -> Result<(), StoreError> {
    let on_directory = |source| StoreError::Directory { path: directory.to_owned(), source };
    let new = directory.join(NEW_FILE_NAME);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(on_directory(error)),
        _ => {}
    }
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(FILE_MODE).open(&new);
    let database = database(&new, file.map_err(on_directory)?)?;
    let written = write(&database, |transaction| {
        for table in Table::ALL {
            transaction.open_table(rows_of(table))?;
        }
        let mut meta = transaction.open_table(META)?;
        meta.insert(META_SCHEMA, SCHEMA.to_be_bytes().as_slice())?;
        meta.insert(META_KEY, stored.seed.as_slice())?;
        put(transaction, &stored.contents)
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
mod tests;
