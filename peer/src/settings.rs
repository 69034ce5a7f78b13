//! Settings: what the user said once and need not say again.

use std::io;
use std::path::Path;

use common::name::UserName;
use serde::{Deserialize, Serialize};

use crate::dir::{StateError, load_state, save_state};
use crate::tracker_client::TrackerAddress;

/// The file's format; one that is newer is not touched.
const SCHEMA: u32 = 1;
/// No settings have more bytes; picked by hand.
const MAX_BYTES: u64 = 64 << 10;

/// What is remembered with a DIR.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The tracker that was reached last.
    #[serde(default)]
    pub(crate) tracker: Option<TrackerAddress>,
    /// The user name that was asked for last.
    #[serde(default)]
    pub(crate) name: Option<UserName>,
}

impl Settings {
    /// Reads the file; without one, nothing is remembered. Blocks.
    pub(crate) fn load(path: &Path) -> Result<Self, StateError> {
        Ok(load_state(path, SCHEMA, MAX_BYTES)?.unwrap_or_default())
    }

    /// Replaces the file. Blocks.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        save_state(path, SCHEMA, self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        assert_eq!(Settings::load(&path).unwrap(), Settings::default());
        let settings = Settings { tracker: Some("lab:81".parse().unwrap()), name: Some(UserName::new("ann").unwrap()) };
        settings.save(&path).unwrap();
        assert_eq!(Settings::load(&path).unwrap(), settings);
    }

    #[test]
    fn what_makes_no_sense_is_told_from_what_is_newer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.json");
        for damaged in ["", "{", "[]", r#"{"schema":1,"tracker":":"}"#] {
            std::fs::write(&path, damaged).unwrap();
            assert!(matches!(Settings::load(&path), Err(StateError::Damaged(_))), "{damaged}");
        }
        std::fs::write(&path, r#"{"schema":2,"tracker":{}}"#).unwrap();
        assert!(matches!(Settings::load(&path), Err(StateError::Newer(2))));
    }
}
