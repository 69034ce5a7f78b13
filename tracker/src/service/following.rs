//! Following: keys that want to hear of new versions of an entry.

use std::collections::HashSet;

use common::id::PeerId;
use common::name::{EntryName, EntryRef, UserName};
use common::wire::MAX_SUBSCRIPTIONS;
use common::wire::tracker::{Code, Entry, Event, Refusal, Reply, Subscription};

use super::callers::{user_of, user_of_key};
use super::resolving::{not_found, parse, resolve_entry, view_alone};
use super::{Change, Effect, Now, REPLY_ROOM, refusal};
use crate::state::{EntryRecord, State, Write};

pub(super) fn subscribe(state: &State, caller: PeerId, text: &str, now: Now) -> Result<Change, Refusal> {
    let user = user_of(state, caller)?;
    let entry = resolve_entry(state, caller, text)?.entry_ref();
    let mut writes = Vec::new();
    if !state.subscriptions().follows(&caller, &entry) {
        let mut followed = state.subscriptions().of(&caller).collect::<Vec<_>>();
        followed.push(&entry);
        if followed.len() > MAX_SUBSCRIPTIONS
            || followed.iter().map(|entry| most_bytes(entry)).sum::<usize>() > REPLY_ROOM
        {
            let text =
                format!("this device follows {} entries, and cannot follow more: `unsub` some", followed.len() - 1);
            return Err(refusal(Code::Limit, text));
        }
        writes.push(Write::Subscription(caller, entry.clone(), Some(now.unix_ms)));
    }
    let subscriptions = vec![subscription(state, &user, &entry)];
    Ok((Reply::Subscriptions { subscriptions }, writes, Vec::new()))
}

/// Ends a subscription. One that is not there is ended already, but of a bare name somebody should hear that.
pub(super) fn unsubscribe(state: &State, caller: PeerId, text: &str) -> Result<Change, Refusal> {
    user_of(state, caller)?;
    let named = parse(text)?;
    let is_meant = |followed: &&EntryRef| match named.owner {
        Some(_) => **followed == named,
        None => followed.name == named.name,
    };
    let followed: Vec<&EntryRef> = state.subscriptions().of(&caller).filter(is_meant).collect();
    let writes = match (followed.as_slice(), &named.owner) {
        ([], None) => return Err(not_followed(text)),
        ([_, _, ..], None) => {
            let text = format!("this device follows several entries of the name {text}: say OWNER/{text}");
            return Err(refusal(Code::Ambiguous, text));
        }
        (followed, _) => followed.iter().map(|entry| Write::Subscription(caller, (*entry).clone(), None)).collect(),
    };
    Ok((Reply::Done, writes, Vec::new()))
}

/// What the caller's key follows, by name.
pub(super) fn subscriptions(state: &State, caller: PeerId) -> Result<Reply, Refusal> {
    let user = user_of(state, caller)?;
    let mut followed: Vec<&EntryRef> = state.subscriptions().of(&caller).collect();
    followed.sort_by(|one, other| (&one.name, &one.owner).cmp(&(&other.name, &other.owner)));
    let subscriptions = followed.into_iter().map(|entry| subscription(state, &user, entry)).collect();
    Ok(Reply::Subscriptions { subscriptions })
}

/// Tells the followers of an entry who may have it, and are online, of its newest version; not the caller, whose it is.
pub(super) fn tell_updated(
    state: &State,
    caller: PeerId,
    owner: &UserName,
    name: &EntryName,
    entry: &EntryRecord,
) -> Vec<Effect> {
    let followers = online_followers(state, owner, name, entry).filter(|(to, _)| *to != caller);
    let told = followers.map(|(to, user)| {
        let entry = view_alone(state, user, owner, name, entry, entry.newest());
        Effect::Tell { to, event: Event::Updated { entry } }
    });
    told.collect()
}

/// Tells them that it is there no more.
pub(super) fn tell_gone(state: &State, owner: &UserName, name: &EntryName, entry: &EntryRecord) -> Vec<Effect> {
    let event = Event::Gone { entry: format!("{owner}/{name}") };
    let followers = online_followers(state, owner, name, entry);
    followers.map(|(to, _)| Effect::Tell { to, event: event.clone() }).collect()
}

/// Tells them that all entries of a user are there no more.
pub(super) fn tell_all_gone(state: &State, owner: &UserName) -> Vec<Effect> {
    state.catalogue().entries_of(owner).flat_map(|(name, entry)| tell_gone(state, owner, name, entry)).collect()
}

/// Ends the subscriptions of keys that are no user's any more.
pub(super) fn forget_strangers(state: &State) -> Vec<Write> {
    let strangers: HashSet<&PeerId> =
        state.subscriptions().peers().filter(|peer| user_of_key(state, peer).is_none()).collect();
    let of = |peer: &PeerId| {
        let peer = *peer;
        state
            .subscriptions()
            .of(&peer)
            .map(move |entry| Write::Subscription(peer, entry.clone(), None))
            .collect::<Vec<_>>()
    };
    strangers.into_iter().flat_map(of).collect()
}

fn online_followers<'a>(
    state: &'a State,
    owner: &'a UserName,
    name: &EntryName,
    entry: &'a EntryRecord,
) -> impl Iterator<Item = (PeerId, &'a UserName)> {
    let followed = EntryRef { owner: Some(owner.clone()), name: name.clone() };
    let followers: Vec<PeerId> = state.subscriptions().followers(&followed).copied().collect();
    let online = followers.into_iter().filter_map(|peer| state.roster.get(&peer).map(|online| (peer, &online.name)));
    online.filter(|(_, user)| entry.is_for(owner, user))
}

fn subscription(state: &State, viewer: &UserName, entry: &EntryRef) -> Subscription {
    Subscription { entry: entry.to_string(), newest: newest(state, viewer, entry) }
}

fn newest(state: &State, viewer: &UserName, EntryRef { owner, name }: &EntryRef) -> Option<Entry> {
    let owner = owner.as_ref()?;
    let entry = state.catalogue().entry(owner, name).filter(|entry| entry.is_for(owner, viewer))?;
    // For whom it is takes much room, and is asked for where that is of interest.
    let users = Vec::new();
    Some(Entry { users, ..view_alone(state, viewer, owner, name, entry, entry.newest()) })
}

/// Most bytes of a subscription in JSON: the names twice, each with escapes.
fn most_bytes(entry: &EntryRef) -> usize {
    const WITHOUT_NAMES: usize = 500;
    let owner = entry.owner.as_ref().map_or(0, |owner| owner.as_str().len());
    WITHOUT_NAMES + 2 * owner + 4 * entry.name.as_str().len()
}

fn not_followed(text: &str) -> Refusal {
    Refusal { text: format!("this device follows no {text}: `synced` shows what it follows"), ..not_found(text) }
}

#[cfg(test)]
mod tests;
