//! Audiences: for whom an entry is, and what follows when that changes.
//!
//! Who may not have an entry any more loses at once what he had of it here: his place in its swarms and his tickets. His
//! subscription sleeps: it says nothing, and is good again when the entry is for him again.

use std::collections::BTreeSet;

use common::audience::Audience;
use common::id::PeerId;
use common::index::{Change as IndexChange, SwarmKey};
use common::name::{EntryName, EntryRef, UserName};
use common::wire::MAX_USERS_NAMED;
use common::wire::tracker::{AudienceChange, Code, Event, Refusal, Reply};

use super::callers::{keys_of, known_users, user_of_key, users_named};
use super::entries::room_for_versions;
use super::resolving::{resolve_own, view_alone};
use super::{Change, Effect, Now, refusal, revoking};
use crate::state::{EntryRecord, State, Write, restricted};

/// Changes for whom an entry is.
pub(super) fn share(
    state: &State,
    caller: PeerId,
    text: &str,
    change: AudienceChange,
    now: Now,
) -> Result<Change, Refusal> {
    let (owner, name, before) = resolve_own(state, caller, text, "say for whom it is")?;
    let users = changed_users(state, &owner, text, before, change)?;
    let after = before.with_users(users);
    let entry = EntryRef { owner: Some(owner.clone()), name: name.clone() };
    let named = after.users.as_ref().map(|users| users.iter().map(UserName::to_string).collect());
    let reply = Reply::Shared { entry: entry.to_string(), audience: after.audience(&owner, &name), users: named };
    if after == *before {
        return Ok((reply, Vec::new(), Vec::new()));
    }
    let (mut writes, effects) = on_changed(state, &entry, before, &after, now);
    writes.push(Write::Entry(owner, name, Some(after)));
    Ok((reply, writes, effects))
}

fn changed_users(
    state: &State,
    owner: &UserName,
    text: &str,
    before: &EntryRecord,
    change: AudienceChange,
) -> Result<Option<BTreeSet<UserName>>, Refusal> {
    let for_everyone = || {
        let text = format!("{text} is for everyone: `unshare {text}` makes it yours alone, then say for whom it is");
        refusal(Code::Conflict, text)
    };
    let users = match change {
        AudienceChange::Everyone => return Ok(None),
        AudienceChange::Nobody => return Ok(Some(BTreeSet::new())),
        AudienceChange::Add(names) => {
            let users = before.users.as_ref().ok_or_else(for_everyone)?;
            users.union(&known_users(state, &names, owner)?).cloned().collect::<BTreeSet<_>>()
        }
        AudienceChange::Remove(names) => {
            let users = before.users.as_ref().ok_or_else(for_everyone)?;
            let gone = users_named(&names, owner)?;
            let strangers: Vec<&str> = gone.difference(users).map(UserName::as_str).collect();
            if !strangers.is_empty() {
                let text = format!("{text} is not for {} anyway: is the name right?", strangers.join(", "));
                return Err(refusal(Code::NotFound, text));
            }
            users.difference(&gone).cloned().collect()
        }
    };
    if users.len() > MAX_USERS_NAMED {
        return Err(refusal(Code::Limit, format!("an entry may be for at most {MAX_USERS_NAMED} users by name")));
    }
    let users = Some(users);
    room_for_versions(state, owner, Some(before), &users)?;
    Ok(users)
}

/// What follows when an entry is for others than before: writes beside that of the entry itself, and effects.
pub(super) fn on_changed(
    state: &State,
    entry: &EntryRef,
    before: &EntryRecord,
    after: &EntryRecord,
    now: Now,
) -> (Vec<Write>, Vec<Effect>) {
    let (Some(owner), false) = (&entry.owner, before.users == after.users) else { return Default::default() };
    let (mut writes, mut effects) = Default::default();
    if let Some(named) = &before.users {
        let (audience, lost) = (restricted(owner, &entry.name), after.users.as_ref());
        // Tickets for some are worth nothing once it is for everyone: should it be for some again, it is for others.
        let lost = named.iter().filter(|user| lost.is_none_or(|users| !users.contains(user)));
        let keys: BTreeSet<PeerId> = lost.flat_map(|user| keys_of(state, user)).collect();
        take_out(state, &keys, before, &audience);
        if !keys.is_empty() {
            (writes, effects) = revoking::revoke(state, keys, Some(&audience), now);
        }
    }
    if before.users.is_none() {
        effects.extend(on_restricted(state, owner, entry, after));
    }
    let (mut told, mut lost, mut won) = (BTreeSet::new(), Vec::new(), Vec::new());
    for follower in state.subscriptions().followers(entry) {
        let Some(user) = user_of_key(state, follower) else { continue };
        match (before.is_for(owner, user), after.is_for(owner, user)) {
            (true, false) => lost.push(*follower),
            (false, false) => {}
            (was, true) => {
                told.insert(*follower);
                won.extend((!was).then_some((*follower, user)));
            }
        }
    }
    if before.users.is_some() != after.users.is_some() {
        told.extend(state.roster.named(owner));
        let event = Event::Shared { entry: entry.to_string(), audience: after.audience(owner, &entry.name) };
        effects.extend(told.into_iter().map(|to| Effect::Tell { to, event: event.clone() }));
    }
    let gone = Event::Gone { entry: entry.to_string() };
    effects.extend(lost.into_iter().map(|to| Effect::Tell { to, event: gone.clone() }));
    // Of a new version all followers are told anyway.
    if before.newest() == after.newest() {
        effects.extend(won.into_iter().map(|(to, user)| {
            let entry = view_alone(state, user, owner, &entry.name, after, after.newest());
            Effect::Tell { to, event: Event::Updated { entry } }
        }));
    }
    (writes, effects)
}

/// What follows when there is an entry for some users where there was none, or one for everyone. There may have been one
/// for others within the hour, whose tickets are for the same audience.
pub(super) fn on_restricted(state: &State, owner: &UserName, entry: &EntryRef, after: &EntryRecord) -> Vec<Effect> {
    if after.users.is_none() {
        return Vec::new();
    }
    let may_have = |key: &PeerId| user_of_key(state, key).is_some_and(|user| after.is_for(owner, user));
    revoking::tell_of_former(state, &restricted(owner, &entry.name), may_have)
}

/// What follows when an entry goes: its tickets are worth nothing for what is under its name next.
pub(super) fn on_gone(
    state: &State,
    owner: &UserName,
    name: &EntryName,
    entry: &EntryRecord,
    now: Now,
) -> (Vec<Write>, Vec<Effect>) {
    let Some(named) = &entry.users else { return Default::default() };
    let keys = named.iter().flat_map(|user| keys_of(state, user));
    revoking::revoke_later(state, keys, &restricted(owner, name), now)
}

/// The keys of all whom entries of a user are for, but its own.
pub(super) fn named_by(state: &State, owner: &UserName) -> BTreeSet<PeerId> {
    let entries = state.catalogue().entries_of(owner).filter_map(|(_, entry)| entry.users.as_ref());
    let users: BTreeSet<&UserName> = entries.flatten().filter(|user| *user != owner).collect();
    users.into_iter().flat_map(|user| keys_of(state, user)).collect()
}

/// Takes keys out of the swarms of an entry that is for some users.
fn take_out(state: &State, keys: &BTreeSet<PeerId>, entry: &EntryRecord, audience: &Audience) {
    for version in entry.versions() {
        let swarm = SwarmKey::new(&version.content, audience);
        for key in keys {
            // To withdraw is always allowed.
            let _was_there = state.index.announce(*key, swarm, IndexChange::None);
        }
    }
}

/// Forgets users whose names may be others' next: their entries, what is for them, and what they offered or were offered.
pub(super) fn forget(state: &State, gone: &BTreeSet<UserName>) -> Vec<Write> {
    let mut writes = Vec::new();
    if gone.is_empty() {
        return writes;
    }
    for owner in gone {
        let entries = state.catalogue().entries_of(owner);
        writes.extend(entries.map(|(name, _)| Write::Entry(owner.clone(), name.clone(), None)));
    }
    // Lines are many, and most users are named nowhere.
    let any_named = gone.iter().any(|user| state.catalogue().is_named(user));
    let lines = any_named.then(|| state.catalogue().lines()).into_iter().flatten();
    for (key, line) in lines.filter(|(_, line)| line.is_restricted()) {
        let owner = &key.first_owner;
        let is_concerned = !gone.contains(owner) && gone.iter().any(|user| line.is_for(user));
        let entry = state.catalogue().entry(owner, &key.name).filter(|_entry| is_concerned);
        if let Some(entry) = entry
            && let Some(users) = &entry.users
        {
            let left = users.difference(gone).cloned().collect();
            writes.push(Write::Entry(owner.clone(), key.name.clone(), Some(entry.with_users(Some(left)))));
        }
    }
    let offers: BTreeSet<_> = gone.iter().flat_map(|user| state.offers().of(user)).map(|(id, _)| id).collect();
    for id in offers {
        let Some(offer) = state.offers().get(id) else { continue };
        let mut left = offer.clone();
        left.receivers.retain(|user, _| !gone.contains(user));
        let keep = !left.receivers.is_empty() && !gone.contains(&left.from);
        writes.push(Write::Offer(id, keep.then_some(left)));
    }
    writes
}

#[cfg(test)]
mod tests;
