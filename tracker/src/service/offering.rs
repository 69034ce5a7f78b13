//! Offering: a user pushes something to others, who take it or not.

use std::collections::{BTreeMap, BTreeSet};

use common::audience::{Audience, OfferId};
use common::id::{Content, PeerId};
use common::index::{Change as IndexChange, Chunks, SwarmKey};
use common::name::{EntryName, UserName};
use common::wire::tracker::{
    Answer, Code, Entry, Event, FolderSize, Offer, OfferState, Receiver, Refusal, Reply, Sent,
};
use common::wire::{MAX_OFFERS, MAX_USERS_NAMED};

use super::callers::{keys_of, known_users, user_of};
use super::entries::check_folder;
use super::resolving::bad_name;
use super::{Change, Effect, Now, REPLY_ROOM, refusal, revoking};
use crate::state::{OfferRecord, Response, State, Write};

/// Offers of one sender that one receiver has not answered: with more, others find no room. Picked by hand.
const MAX_UNANSWERED: usize = 20;
/// An offer that was made so long ago makes room for new ones, whatever came of it: 30 days.
const OFFER_KEPT_MS: u64 = 30 * 24 * 3600 * 1000;

/// What is pushed, and to whom.
#[derive(Debug)]
pub(super) struct Push {
    pub(super) name: String,
    pub(super) content: Content,
    pub(super) folder: Option<FolderSize>,
    pub(super) to: Option<Vec<String>>,
}

pub(super) fn offer(state: &State, caller: PeerId, push: Push, now: Now) -> Result<Change, Refusal> {
    let Push { name, content, folder, to } = push;
    let from = user_of(state, caller)?;
    let name = EntryName::new(name).map_err(|error| bad_name(&error))?;
    check_folder(&content, folder)?;
    let to = match to {
        Some(names) => {
            let users = known_users(state, &names, &from)?;
            if users.is_empty() {
                return Err(refusal(Code::Malformed, "say to whom: a user other than yourself, or all"));
            }
            users.iter().try_for_each(|user| check_receiver(state, &from, user, now))?;
            users
        }
        None => online_but(state, &from, now)?,
    };
    check_room(state, &from, "you have", now)?;
    let mut writes = make_room(state, to.iter().chain([&from]).cloned(), now);
    let id = state.offers().next_id();
    let receivers: BTreeMap<UserName, Response> = to.iter().map(|user| (user.clone(), Response::Offered)).collect();
    let record = OfferRecord { from, name, content, folder, at_ms: now.unix_ms, receivers };
    let event = Event::Offered(offered(id, &record, OfferState::Offered));
    let devices = to.iter().flat_map(|user| state.roster.named(user));
    let effects = devices.map(|to| Effect::Tell { to, event: event.clone() }).collect();
    writes.push(Write::LastOffer(Some(id)));
    writes.push(Write::Offer(id, Some(record)));
    let to = to.iter().map(UserName::to_string).collect();
    Ok((Reply::Offered { offer: id, to }, writes, effects))
}

pub(super) fn answer(state: &State, caller: PeerId, id: OfferId, answer: Answer, now: Now) -> Result<Change, Refusal> {
    let user = user_of(state, caller)?;
    let offer = known(state, &user, id)?;
    let before = *offer.receivers.get(&user).ok_or_else(|| refusal(Code::Forbidden, "this offer is your own"))?;
    let after = match (before, answer) {
        (Response::Done(_), Answer::Accept) => before,
        (Response::Done(_), Answer::Refuse) => {
            return Err(refusal(Code::Conflict, "you have that already: delete the file if you do not want it"));
        }
        (_, Answer::Accept) => Response::Accepted(caller),
        (_, Answer::Refuse) => Response::Refused,
    };
    if after == before {
        return Ok((Reply::Done, Vec::new(), Vec::new()));
    }
    let (mut writes, mut effects) = (Vec::new(), Vec::new());
    if matches!((before, after), (Response::Accepted(_), Response::Refused)) {
        (writes, effects) = taken_back(state, &user, id, offer, now);
    }
    let record = offer.with(&user, after);
    effects.extend(tell_sender(state, id, &record, &user));
    writes.push(Write::Offer(id, Some(record)));
    Ok((Reply::Done, writes, effects))
}

/// The offers to the caller's user and by it, as far as they fit a reply: the newest.
pub(super) fn offers(state: &State, caller: PeerId) -> Result<Reply, Refusal> {
    let user = user_of(state, caller)?;
    let mut room = REPLY_ROOM;
    let mut take = |bytes: usize| {
        let left = room.checked_sub(bytes);
        room = left.unwrap_or(room);
        left.is_some()
    };
    let (mut received, mut sent) = (Vec::new(), Vec::new());
    for (id, record) in state.offers().of(&user).rev() {
        match record.receivers.get(&user) {
            None | Some(Response::Refused) => {}
            Some(response) if take(most_bytes(record)) => {
                received.push(offered(id, record, state_of(state, id, record, *response)));
            }
            Some(_) => break,
        }
    }
    for (id, record) in state.offers().of(&user).rev().filter(|(_, record)| record.from == user) {
        if !take(most_bytes(record) + record.receivers.keys().map(most_bytes_of_receiver).sum::<usize>()) {
            break;
        }
        let to: Vec<Receiver> = record
            .receivers
            .iter()
            .map(|(user, response)| Receiver { user: user.to_string(), state: state_of(state, id, record, *response) })
            .collect();
        let furthest = to.iter().map(|receiver| receiver.state).min_by_key(progress).unwrap_or(OfferState::Offered);
        sent.push(Sent { offer: offered(id, record, furthest), to });
    }
    Ok(Reply::Offers { received, sent })
}

/// A device says that it has what was offered to its user.
pub(super) fn completed(
    state: &State,
    caller: PeerId,
    content: &Content,
    audience: &Audience,
) -> (Vec<Write>, Vec<Effect>) {
    let nothing = (Vec::new(), Vec::new());
    let Audience::Offer(id) = *audience else { return nothing };
    let Ok(user) = user_of(state, caller) else { return nothing };
    let Some(offer) = state.offers().get(id).filter(|offer| offer.content == *content) else { return nothing };
    if offer.receivers.get(&user) != Some(&Response::Accepted(caller)) {
        return nothing;
    }
    let record = offer.with(&user, Response::Done(caller));
    let effects = tell_sender(state, id, &record, &user);
    (vec![Write::Offer(id, Some(record))], effects)
}

/// The offer that the caller sent or accepted, as an entry for a plan.
pub(super) fn entry_of(state: &State, caller: PeerId, id: OfferId) -> Result<Entry, Refusal> {
    let user = user_of(state, caller)?;
    let offer = known(state, &user, id)?;
    if !offer.is_for(&user) {
        let text = format!("accept the offer first: `accept {}`", id.0);
        return Err(refusal(Code::Forbidden, text));
    }
    let counts = state.index.counts(&SwarmKey::new(&offer.content, &Audience::Offer(id)));
    Ok(Entry {
        owners: vec![offer.from.to_string()],
        name: offer.name.to_string(),
        version: 0,
        content: offer.content,
        folder: offer.folder,
        restricted: true,
        users: Vec::new(),
        seeders: counts.seeders,
        downloaders: counts.downloaders,
        registered_ms: offer.at_ms,
    })
}

/// An offer that a user made or was made: others are not told that there is one.
fn known<'a>(state: &'a State, user: &UserName, id: OfferId) -> Result<&'a OfferRecord, Refusal> {
    let offer = state.offers().get(id);
    let mine = offer.filter(|offer| offer.from == *user || offer.receivers.contains_key(user));
    mine.ok_or_else(|| {
        let text = format!("there is no offer {}: `offers` shows what you were offered", id.0);
        refusal(Code::NotFound, text)
    })
}

/// All who are online but the sender, as far as they have room for another offer.
fn online_but(state: &State, from: &UserName, now: Now) -> Result<BTreeSet<UserName>, Refusal> {
    let online: BTreeSet<&UserName> = state.roster.by_name().map(|(_, online)| &online.name).collect();
    let others: Vec<&UserName> = online.into_iter().filter(|name| *name != from).collect();
    if others.is_empty() {
        return Err(refusal(Code::Gone, "nobody else is online"));
    }
    let open = others.into_iter().filter(|user| check_receiver(state, from, user, now).is_ok());
    let users: BTreeSet<UserName> = open.cloned().collect();
    match users.len() {
        0 => Err(refusal(Code::Limit, "nobody who is online can be offered more now: wait until some have answered")),
        1..=MAX_USERS_NAMED => Ok(users),
        _ => Err(refusal(Code::Limit, format!("an offer goes to at most {MAX_USERS_NAMED} users: name them"))),
    }
}

/// Whether a user has room for another offer of this sender.
fn check_receiver(state: &State, from: &UserName, user: &UserName, now: Now) -> Result<(), Refusal> {
    let is_unanswered =
        |offer: &OfferRecord| offer.from == *from && offer.receivers.get(user) == Some(&Response::Offered);
    let recent = state.offers().of(user).filter(|(_, offer)| !is_old(offer, now));
    if recent.filter(|(_, offer)| is_unanswered(offer)).count() >= MAX_UNANSWERED {
        let text = format!("{user} has not answered {MAX_UNANSWERED} offers of yours: wait for that");
        return Err(refusal(Code::Limit, text));
    }
    check_room(state, user, &format!("{user} has"), now)
}

fn check_room(state: &State, user: &UserName, who_has: &str, now: Now) -> Result<(), Refusal> {
    let kept = state.offers().of(user).filter(|(_, offer)| !makes_room(offer, now)).count();
    if kept >= MAX_OFFERS {
        let text = format!("{who_has} {MAX_OFFERS} offers that are not settled: wait until some are answered");
        return Err(refusal(Code::Limit, text));
    }
    Ok(())
}

/// Lets the oldest offers go of users who have as many as there may be; each of them was checked for room.
fn make_room(state: &State, users: impl Iterator<Item = UserName>, now: Now) -> Vec<Write> {
    let mut gone = BTreeSet::new();
    for user in users {
        let left = state.offers().of(&user).filter(|(id, _)| !gone.contains(id)).count();
        let over = (left + 1).saturating_sub(MAX_OFFERS);
        let old = state.offers().of(&user).filter(|(id, offer)| !gone.contains(id) && makes_room(offer, now));
        let old: Vec<OfferId> = old.map(|(id, _)| id).take(over).collect();
        gone.extend(old);
    }
    gone.into_iter().map(|id| Write::Offer(id, None)).collect()
}

fn makes_room(offer: &OfferRecord, now: Now) -> bool {
    offer.is_settled() || is_old(offer, now)
}

const fn is_old(offer: &OfferRecord, now: Now) -> bool {
    now.unix_ms.saturating_sub(offer.at_ms) >= OFFER_KEPT_MS
}

/// A user does not want any more what it accepted: it leaves the swarm, and its tickets are worth nothing.
fn taken_back(state: &State, user: &UserName, id: OfferId, offer: &OfferRecord, now: Now) -> (Vec<Write>, Vec<Effect>) {
    let audience = Audience::Offer(id);
    let swarm = SwarmKey::new(&offer.content, &audience);
    let keys = keys_of(state, user);
    for key in &keys {
        // To withdraw is always allowed.
        let _was_there = state.index.announce(*key, swarm, IndexChange::None);
    }
    revoking::revoke(state, keys, Some(&audience), now)
}

fn tell_sender(state: &State, id: OfferId, record: &OfferRecord, user: &UserName) -> Vec<Effect> {
    let Some(response) = record.receivers.get(user) else { return Vec::new() };
    let receiver = Receiver { user: user.to_string(), state: state_of(state, id, record, *response) };
    let event = Event::Answered { offer: id, name: record.name.to_string(), receiver };
    state.roster.named(&record.from).map(|to| Effect::Tell { to, event: event.clone() }).collect()
}

fn offered(id: OfferId, record: &OfferRecord, state: OfferState) -> Offer {
    Offer {
        id,
        from: record.from.to_string(),
        name: record.name.to_string(),
        content: record.content,
        folder: record.folder,
        at_ms: record.at_ms,
        state,
    }
}

fn state_of(state: &State, id: OfferId, record: &OfferRecord, response: Response) -> OfferState {
    match response {
        Response::Offered => OfferState::Offered,
        Response::Accepted(device) => OfferState::Accepted { percent: percent(state, id, record, &device) },
        Response::Done(_) => OfferState::Done,
        Response::Refused => OfferState::Refused,
    }
}

/// How much of an offer a device has; `None` where it is offline.
fn percent(state: &State, id: OfferId, record: &OfferRecord, device: &PeerId) -> Option<u8> {
    const ALL: u64 = 100;
    state.roster.get(device)?;
    let swarm = SwarmKey::new(&record.content, &Audience::Offer(id));
    let percent = match state.index.chunks_of(device, &swarm) {
        None => 0,
        Some(Chunks::All) => ALL,
        Some(Chunks::Some(map)) => u64::from(map.count()) * ALL / u64::from(map.length().max(1)),
    };
    u8::try_from(percent).ok()
}

/// How near a receiver is to having it.
const fn progress(state: &OfferState) -> (u8, Option<u8>) {
    match state {
        OfferState::Refused => (0, None),
        OfferState::Offered => (1, None),
        OfferState::Accepted { percent } => (2, *percent),
        OfferState::Done => (3, None),
    }
}

/// Most bytes of an offer in JSON, a name of escapes included.
fn most_bytes(record: &OfferRecord) -> usize {
    const WITHOUT_NAMES: usize = 450;
    WITHOUT_NAMES + 2 * record.name.as_str().len() + record.from.as_str().len()
}

fn most_bytes_of_receiver(user: &UserName) -> usize {
    const WITHOUT_NAME: usize = 80;
    WITHOUT_NAME + user.as_str().len()
}

#[cfg(test)]
mod tests;
