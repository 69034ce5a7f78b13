//! Invites: codes that let somebody sign up. What is kept is the hash of a code, so that who reads the database cannot
//! use it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use common::id::Hash;
use common::secret::Secret;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// SHA-256 of a code. A code is too long to be guessed, so this needs no salt and no stretching.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CodeHash(pub(crate) Hash);

/// What a code is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Invite {
    /// So many may sign up with it yet.
    pub(crate) uses_left: u32,
    /// Until then, milliseconds since 1970 (UTC).
    pub(crate) expires_ms: u64,
}

/// All invites.
#[derive(Debug, Default)]
pub(crate) struct Invites {
    by_code: BTreeMap<CodeHash, Invite>,
}

impl CodeHash {
    /// That of a code; spaces around it do not count, nor does case.
    pub(crate) fn of(code: &Secret) -> Self {
        let code = Zeroizing::new(code.reveal().trim().to_lowercase());
        Self(Hash(Sha256::digest(code.as_bytes()).into()))
    }
}

impl Invites {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_code.len()
    }

    /// The invite with this code.
    pub(crate) fn get(&self, code: &CodeHash) -> Option<Invite> {
        self.by_code.get(code).copied()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (CodeHash, Invite)> {
        self.by_code.iter().map(|(code, invite)| (*code, *invite))
    }

    /// Puts one in, or out with `None`, and gives what was there before.
    pub(super) fn set(&mut self, code: CodeHash, invite: Option<Invite>) -> Option<Invite> {
        match invite {
            Some(invite) => self.by_code.insert(code, invite),
            None => self.by_code.remove(&code),
        }
    }
}

impl fmt::Display for CodeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CodeHash {
    type Err = <Hash as FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}
