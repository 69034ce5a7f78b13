//! The key file: the seed of this peer's key, 64 hex digits, for the owner only. It is made once and never replaced.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use common::id::Hash;
use common::identity::Identity;

use super::replace::{read_limited, replace_file};

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file is not a key, and is left as it is.
    #[error("the key file should hold 64 hex digits")]
    Damaged,
    /// The file cannot be read or made.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The key in this file; a new one where there is no file. Blocks.
pub(crate) fn load_or_make_key(path: &Path) -> Result<Identity, KeyError> {
    /// 64 digits, a newline, and room to see that there is more.
    const LONGEST: u64 = 128;
    const OTHERS: u32 = 0o077;
    let Some(bytes) = read_limited(path, LONGEST)? else {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_error| io::Error::other("the system gives no randomness"))?;
        replace_file(path, format!("{}\n", Hash(seed)).as_bytes())?;
        return Ok(Identity::from_seed(&seed));
    };
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & OTHERS != 0 {
        tracing::warn!(path = %path.display(), "others could read the key; it is the owner's again");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o700))?;
    }
    let text = str::from_utf8(&bytes).map_err(|_error| KeyError::Damaged)?;
    match text.trim_end().parse::<Hash>() {
        Ok(Hash(seed)) => Ok(Identity::from_seed(&seed)),
        Err(_) => Err(KeyError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let first = load_or_make_key(&path).unwrap().peer_id();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(load_or_make_key(&path).unwrap().peer_id(), first);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(load_or_make_key(&dir.path().join("other")).unwrap().peer_id(), first);
    }

    #[test]
    fn a_damaged_key_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        for damaged in ["", "abc\n", &"g".repeat(64), "\u{e9}"] {
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(load_or_make_key(&path), Err(KeyError::Damaged)), "{damaged:?}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), damaged);
        }
    }
}
