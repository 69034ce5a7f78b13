//! Exports: all that is to last, as one JSON file that people can read and another tracker can begin with.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use common::id::Hash;
use common::name::UserName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::state::{Row, Table, Write};
use crate::store::Stored;

/// What the file says it is.
const FORMAT: &str = "shoal-tracker-export";
/// The form of what is in it: that of the store's rows.
const VERSION: u32 = 2;
/// It holds the key and the hashes of passwords.
const FILE_MODE: u32 = 0o600;

/// All that is to last.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Export {
    format: String,
    version: u32,
    /// The seed of the tracker's key: whoever has it can be this tracker.
    key: Key,
    /// Kind of record -> key -> record.
    tables: BTreeMap<String, BTreeMap<String, Value>>,
}

/// 64 hex digits; `Debug` shows nothing of them.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Key(Hash);

/// Why a file is no export that can be taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExportError {
    /// It could not be read or written.
    #[error("cannot use {path} ({source})")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is something else.
    #[error("{path} is not an export of a tracker ({what})")]
    Foreign {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It was made by a later version.
    #[error("{0} was written by a newer tracker: use that version")]
    Newer(PathBuf),
    /// It contradicts itself.
    #[error("{path} is damaged ({what}): nothing was imported")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl Export {
    pub(super) fn of(stored: &Stored) -> Self {
        let mut tables: BTreeMap<String, BTreeMap<String, Value>> = BTreeMap::new();
        for write in &stored.contents {
            let Row { table, key, record } = write.encode();
            let record = record.and_then(|json| serde_json::from_str(&json).ok()).unwrap_or_default();
            tables.entry(table.name().to_owned()).or_default().insert(key, record);
        }
        Self { format: FORMAT.to_owned(), version: VERSION, key: Key(Hash(stored.seed)), tables }
    }

    /// Writes it to `path`, whole or not at all, readable by its owner only.
    pub(super) fn write(&self, path: &Path) -> Result<(), ExportError> {
        let on_path = |source| ExportError::Io { path: path.to_owned(), source };
        let mut new = path.as_os_str().to_owned();
        new.push(".new");
        let new = PathBuf::from(new);
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(on_path(error)),
            _ => {}
        }
        let written = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
        };
        written().map_err(|error| {
            let _not_there = fs::remove_file(&new);
            on_path(error)
        })
    }

    /// Reads what [`Self::write`] wrote, and checks all of it.
    pub(super) fn read(path: &Path) -> Result<Stored, ExportError> {
        let bytes = fs::read(path).map_err(|source| ExportError::Io { path: path.to_owned(), source })?;
        /// What every version has.
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let foreign = |what: String| ExportError::Foreign { path: path.to_owned(), what };
        let head: Head = serde_json::from_slice(&bytes).map_err(|error| foreign(error.to_string()))?;
        if head.format != FORMAT {
            return Err(foreign("its format has another name".to_owned()));
        }
        if head.version > VERSION {
            return Err(ExportError::Newer(path.to_owned()));
        }
        let damaged = |what: String| ExportError::Damaged { path: path.to_owned(), what };
        let export: Self = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        let contents = export.contents().map_err(damaged)?;
        Ok(Stored { seed: export.key.0.0, contents })
    }

    fn contents(&self) -> Result<Vec<Write>, String> {
        if let Some(unknown) = self.tables.keys().find(|name| Table::ALL.iter().all(|table| table.name() != *name)) {
            return Err(format!("it has records of a kind that is not known, {unknown:?}"));
        }
        let mut contents = Vec::new();
        for table in Table::ALL {
            for (key, record) in self.tables.get(table.name()).into_iter().flatten() {
                let row = Row { table, key: key.clone(), record: Some(record.to_string()) };
                contents.push(Write::decode(&row).map_err(|error| error.to_string())?);
            }
        }
        check(&contents)?;
        Ok(contents)
    }
}

/// Whether records that name others do so rightly.
fn check(contents: &[Write]) -> Result<(), String> {
    let accounts: std::collections::BTreeSet<&UserName> = contents
        .iter()
        .filter_map(|write| match write {
            Write::Account(name, Some(_)) => Some(name),
            _ => None,
        })
        .collect();
    for write in contents {
        let named = match write {
            Write::Account(name, Some(account)) => {
                if account.password.as_ref().is_some_and(|password| !password.is_hash()) {
                    return Err(format!("the password of {name} is not a hash"));
                }
                continue;
            }
            Write::Device(_, Some(device)) => &device.account,
            Write::Entry(owner, _, Some(_)) => owner,
            _ => continue,
        };
        if !accounts.contains(named) {
            return Err(format!("something belongs to {named}, and there is no such account"));
        }
    }
    Ok(())
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}
