//! Callers: which user a peer is, and which users it names.

use std::collections::BTreeSet;

use common::id::PeerId;
use common::name::UserName;
use common::wire::MAX_USERS_NAMED;
use common::wire::tracker::{Code, Refusal};

use super::refusal;
use crate::state::State;

/// The user of a peer that is online.
pub(super) fn user_of(state: &State, caller: PeerId) -> Result<UserName, Refusal> {
    let online = state.roster.get(&caller);
    online.map(|online| online.name.clone()).ok_or_else(|| refusal(Code::NotJoined, "join first"))
}

/// The user of a key, online or not; `None` where it is nobody's.
pub(super) fn user_of_key<'a>(state: &'a State, peer: &PeerId) -> Option<&'a UserName> {
    let online = state.roster.get(peer).map(|online| &online.name);
    online.or_else(|| state.accounts().device(peer).map(|device| &device.account))
}

/// All keys of a user, online or not.
pub(super) fn keys_of(state: &State, user: &UserName) -> BTreeSet<PeerId> {
    state.accounts().devices_of(user).chain(state.roster.named(user)).collect()
}

/// Reads names of users, `but` left out.
pub(super) fn users_named(names: &[String], but: &UserName) -> Result<BTreeSet<UserName>, Refusal> {
    if names.len() > MAX_USERS_NAMED {
        return Err(refusal(Code::Limit, format!("at most {MAX_USERS_NAMED} users may be named at once")));
    }
    let mut users = BTreeSet::new();
    for name in names {
        let user = UserName::new(name.as_str()).map_err(|error| refusal(Code::BadName, error.to_string()))?;
        users.insert(user);
    }
    users.remove(but);
    Ok(users)
}

/// The same of users that there are: what is meant for somebody must not wait for whoever takes a mistyped name first.
pub(super) fn known_users(state: &State, names: &[String], but: &UserName) -> Result<BTreeSet<UserName>, Refusal> {
    let users = users_named(names, but)?;
    let unknown: Vec<&str> =
        users.iter().filter(|user| state.accounts().get(user).is_none()).map(UserName::as_str).collect();
    if unknown.is_empty() { Ok(users) } else { Err(no_user(&unknown.join(", "))) }
}

/// Nobody has this name, or these.
pub(super) fn no_user(names: &str) -> Refusal {
    refusal(Code::NotFound, format!("there is no user {names} here: `users` shows who is online"))
}
