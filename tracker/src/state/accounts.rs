//! Accounts: whose a user name is, and which devices (keys) speak for it.
//!
//! An account with a password has any number of devices, which log in and out. One without is a guest's: it belongs to
//! the one key that used the name first. A key is bound to at most one account.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use common::id::PeerId;
use common::name::UserName;
use serde::{Deserialize, Serialize};

/// What is kept of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// What its password is checked against; a guest has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<PasswordHash>,
    /// When it was made, milliseconds since 1970 (UTC).
    pub(crate) created_ms: u64,
    /// When devices were last seen that are bound to it no more; [`Accounts::seen_ms`] has those that are too.
    pub(crate) seen_ms: u64,
    /// Devices that logged out and may try passwords apart from strangers, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) former: Vec<PeerId>,
}

/// A hash of a password in the PHC string format. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct PasswordHash(pub(crate) String);

/// A key that is bound to an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Device {
    /// Whose.
    pub(crate) account: UserName,
    /// What its user calls the machine; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    /// Since when it is bound, milliseconds since 1970 (UTC).
    pub(crate) since_ms: u64,
    /// When it was last seen online, to within an hour; milliseconds since 1970 (UTC).
    pub(crate) seen_ms: u64,
}

/// All accounts and devices, online or not.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    accounts: BTreeMap<UserName, Account>,
    devices: HashMap<PeerId, Device>,
    by_account: HashMap<UserName, BTreeSet<PeerId>>,
}

impl Account {
    /// Whether it has a password: it is somebody's who can prove it from any device.
    pub(crate) const fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

impl PasswordHash {
    /// Whether it is in the form in which passwords are checked.
    pub(crate) fn is_hash(&self) -> bool {
        argon2::PasswordHash::new(&self.0).is_ok_and(|hash| hash.hash.is_some() && hash.salt.is_some())
    }
}

impl Accounts {
    /// How many accounts there are.
    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
    }

    /// The account of this name.
    pub(crate) fn get(&self, name: &UserName) -> Option<&Account> {
        self.accounts.get(name)
    }

    /// All accounts, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&UserName, &Account)> {
        self.accounts.iter()
    }

    /// A key, where it is bound to an account.
    pub(crate) fn device(&self, peer: &PeerId) -> Option<&Device> {
        self.devices.get(peer)
    }

    /// The keys of an account, in the order of their ids; none where there is no such account.
    pub(crate) fn devices_of(&self, name: &UserName) -> impl Iterator<Item = PeerId> {
        self.by_account.get(name).into_iter().flatten().copied()
    }

    /// When a user was last seen on any device, to within an hour; milliseconds since 1970 (UTC).
    pub(crate) fn seen_ms(&self, name: &UserName) -> u64 {
        let account = self.accounts.get(name).map_or(0, |account| account.seen_ms);
        let devices = self.devices_of(name).filter_map(|peer| self.devices.get(&peer));
        devices.map(|device| device.seen_ms).fold(account, u64::max)
    }

    /// Puts an account in, or out with `None`, and gives what was there before. Its devices are not touched.
    pub(super) fn set_account(&mut self, name: &UserName, account: Option<Account>) -> Option<Account> {
        match account {
            Some(account) => self.accounts.insert(name.clone(), account),
            None => self.accounts.remove(name),
        }
    }

    /// Binds a key, or unbinds it with `None`, and gives what was there before.
    pub(super) fn set_device(&mut self, peer: PeerId, device: Option<Device>) -> Option<Device> {
        let before = self.devices.remove(&peer);
        if let Some(before) = &before
            && let Some(peers) = self.by_account.get_mut(&before.account)
        {
            peers.remove(&peer);
            if peers.is_empty() {
                self.by_account.remove(&before.account);
            }
        }
        if let Some(device) = device {
            self.by_account.entry(device.account.clone()).or_default().insert(peer);
            self.devices.insert(peer, device);
        }
        before
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_bound_to_one_account_and_an_account_has_many_keys() {
        let device = |name: &str, seen_ms| {
            Some(Device { account: name.parse().unwrap(), name: String::new(), since_ms: 1, seen_ms })
        };
        let (x, y) = ("x".parse().unwrap(), "y".parse().unwrap());
        let (a, b) = (PeerId([1; 32]), PeerId([2; 32]));
        let mut accounts = Accounts::default();
        accounts.set_device(a, device("x", 5));
        accounts.set_device(b, device("x", 9));
        assert_eq!(accounts.devices_of(&x).collect::<Vec<_>>(), [a, b]);
        assert_eq!(accounts.seen_ms(&x), 9);
        assert_eq!(accounts.set_device(a, device("y", 7)), device("x", 5));
        assert_eq!(accounts.devices_of(&x).collect::<Vec<_>>(), [b]);
        assert_eq!(accounts.devices_of(&y).collect::<Vec<_>>(), [a]);
        accounts.set_device(a, None);
        assert_eq!((accounts.devices_of(&y).count(), accounts.by_account.len()), (0, 1));
    }

    #[test]
    fn what_a_password_is_checked_against_is_not_shown() {
        let account =
            Account { password: Some(PasswordHash("$argon2".to_owned())), created_ms: 1, seen_ms: 1, former: vec![] };
        assert!(!format!("{account:?}").contains("argon2"));
    }
}
