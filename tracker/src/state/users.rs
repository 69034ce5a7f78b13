//! Users: which key a user name belongs to. A key has one name, a name one key.

use std::collections::HashMap;

use common::id::PeerId;
use common::name::UserName;

/// What is kept of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    /// Its name.
    pub(crate) name: UserName,
    /// When its peer was last seen online, to within an hour; milliseconds since 1970 (UTC).
    pub(crate) seen_ms: u64,
}

/// All users that are known, online or not.
#[derive(Debug, Default)]
pub(crate) struct Users {
    by_peer: HashMap<PeerId, User>,
    by_name: HashMap<UserName, PeerId>,
}

impl Users {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_peer.len()
    }

    /// The user of a key.
    pub(crate) fn of(&self, peer: &PeerId) -> Option<&User> {
        self.by_peer.get(peer)
    }

    /// Whose a name is.
    pub(crate) fn owner(&self, name: &UserName) -> Option<PeerId> {
        self.by_name.get(name).copied()
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PeerId, &User)> {
        self.by_peer.iter()
    }

    /// Puts a user in, or out with `None`, and gives what was there before.
    pub(super) fn set(&mut self, peer: PeerId, user: Option<User>) -> Option<User> {
        let before = match user {
            Some(user) => {
                self.by_name.insert(user.name.clone(), peer);
                self.by_peer.insert(peer, user)
            }
            None => self.by_peer.remove(&peer),
        };
        let now = self.by_peer.get(&peer).map(|user| &user.name);
        if let Some(before) = before.as_ref().filter(|before| now != Some(&before.name))
            && self.by_name.get(&before.name) == Some(&peer)
        {
            self.by_name.remove(&before.name);
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_key_and_a_key_one_name() {
        let user = |name: &str| Some(User { name: name.parse().unwrap(), seen_ms: 1 });
        let (a, b) = (PeerId([1; 32]), PeerId([2; 32]));
        let mut users = Users::default();
        assert_eq!(users.set(a, user("x")), None);
        assert_eq!(users.set(a, user("y")), user("x"));
        assert_eq!((users.owner(&"x".parse().unwrap()), users.owner(&"y".parse().unwrap())), (None, Some(a)));
        users.set(b, user("x"));
        assert_eq!(users.set(a, None), user("y"));
        assert_eq!((users.len(), users.owner(&"x".parse().unwrap())), (1, Some(b)));
    }
}
