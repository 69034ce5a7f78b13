//! Locating: who has which chunks, what a download needs, and who is told when somebody new has chunks.

use std::time::Duration;

use common::audience::{Audience, OfferId, Sharing};
use common::bitmap::Bitmap;
use common::id::{Content, NetworkId, PeerId};
use common::index::{Change, Chunks, Index, IndexError, Located, Standing, SwarmKey};
use common::ticket::Ticket;
use common::wire::tracker::{Announced, Code, Entry, Event, Have, Holder, Plan, Refusal, Reply};
use common::wire::{MAX_ANNOUNCED, MAX_MAP_BYTES, MAX_PLAN_SEEDERS};
use data_encoding::HEXLOWER;

use super::callers::{user_of, user_of_key};
use super::resolving::{entry_bytes, resolve, view};
use super::{Effect, Now, REPLY_ROOM, offering, refusal, revoking};
use crate::state::State;

/// How long a ticket is good for.
pub(super) const TICKET_LIFE: Duration = Duration::from_secs(3600);
/// A ticket is good from a little before it was made, for seeders whose idea of the tracker's time is late.
pub(super) const TICKET_EARLIER: Duration = Duration::from_secs(60);
/// Of a large swarm so many are looked at for the least busy ones of a plan.
const PLAN_SAMPLE: usize = 4 * MAX_PLAN_SEEDERS;
/// So many holders are looked at for one part of a list of them. Their maps take up to 13 MiB meanwhile.
const HOLDERS_LISTED: usize = 200;
/// So many downloaders are told of one new holder; of a larger swarm a random part, who tell each other the rest.
const MAX_TOLD: usize = 1_000;
/// Most hex digits of a map in an event: that of a file of 32,768 chunks. The holder tells longer ones itself.
const MAX_EVENT_MAP: usize = 8 << 10;

/// What came of an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entered {
    /// Of these the peer has more than it had, or wants them now: their downloaders are to be told ([`tell_of`]).
    pub(crate) news: Vec<Sharing>,
    /// Why not all of it was entered.
    pub(crate) refusal: Option<Refusal>,
}

/// Takes in what a peer says it has. Where a limit is reached on the way, what stood before it is entered; where
/// anything else is wrong, nothing is.
pub(crate) fn announce(index: &Index, caller: PeerId, swarms: &[Announced]) -> Entered {
    let mut news = Vec::new();
    let refusal = enter(index, caller, swarms, &mut news).err();
    Entered { news, refusal }
}

/// Takes in what a peer says it has that is not for everybody: as far as its user may have that, or takes it back. What
/// it may not have, or not any more, is passed over: a peer may hear of that later than it announces.
pub(super) fn announce_private(
    state: &mut State,
    caller: PeerId,
    swarms: Vec<Announced>,
) -> (Option<Refusal>, Vec<Effect>) {
    if let Err(refusal) = check_number(&swarms) {
        return (Some(refusal), Vec::new());
    }
    let may = |announced: &Announced| announced.have == Have::None || may_announce(state, caller, &announced.sharing());
    let counted: Vec<Announced> = swarms.into_iter().filter(may).collect();
    let Entered { news, refusal } = announce(&state.index, caller, &counted);
    (refusal, tell_of(state, caller, &news))
}

/// Whether a key may be in a swarm: anybody in one for everybody, in others those who may have what they are about.
pub(super) fn may_announce(state: &State, key: PeerId, sharing: &Sharing) -> bool {
    let Some(user) = user_of_key(state, &key) else { return false };
    match &sharing.audience {
        Audience::Public => true,
        Audience::Entry(entry) => entry.owner.as_ref().is_some_and(|owner| {
            let restricted = state.catalogue().entry(owner, &entry.name).filter(|entry| entry.users.is_some());
            restricted.is_some_and(|entry| entry.is_for(owner, user) && entry.naming(&sharing.content).is_some())
        }),
        Audience::Offer(id) => {
            let offer = state.offers().get(*id).filter(|offer| offer.content == sharing.content);
            offer.is_some_and(|offer| offer.is_for(user))
        }
    }
}

fn check_number(swarms: &[Announced]) -> Result<(), Refusal> {
    if swarms.len() > MAX_ANNOUNCED {
        let text = format!("an announcement has at most {MAX_ANNOUNCED} files");
        return Err(refusal(Code::Limit, text));
    }
    Ok(())
}

fn enter(index: &Index, caller: PeerId, swarms: &[Announced], news: &mut Vec<Sharing>) -> Result<(), Refusal> {
    check_number(swarms)?;
    let maps = swarms.iter().map(checked_map).collect::<Result<Vec<_>, _>>()?;
    for (announced, map) in swarms.iter().zip(&maps) {
        let change = match (&announced.have, map) {
            (Have::All, _) => Change::All,
            (Have::Map(_), Some(map)) => Change::Map(map),
            (Have::Add(chunks), _) => Change::Add(chunks),
            (Have::None | Have::Map(_), _) => Change::None,
        };
        let key = announced.key();
        let changed = index.announce(caller, key, change).map_err(|error| not_indexed(&error))?;
        // Who wants the file a moment later finds this peer in its plan.
        if changed.before < changed.after && has_other_downloaders(index, &key, changed.after) {
            news.push(announced.sharing());
        }
    }
    Ok(())
}

fn has_other_downloaders(index: &Index, key: &SwarmKey, caller: Standing) -> bool {
    index.counts(key).downloaders > u32::from(caller == Standing::Downloader)
}

/// Tells the downloaders of these files that a peer has some of it now, or wants it like them.
pub(crate) fn tell_of(state: &mut State, peer: PeerId, swarms: &[Sharing]) -> Vec<Effect> {
    let mut effects = Vec::new();
    for sharing in swarms {
        let key = SwarmKey::from(sharing);
        let (Some(online), Some(chunks)) = (state.roster.get(&peer), state.index.chunks_of(&peer, &key)) else {
            continue;
        };
        let have = Some(Have::from(chunks)).filter(|have| map_length(have) <= MAX_EVENT_MAP);
        let mut told = state.index.downloaders(&key);
        let may_know = |other: PeerId| sharing.audience.is_public() || may_announce(state, other, sharing);
        told.retain(|other| *other != peer && may_know(*other));
        // A random stretch of a ring.
        let skipped = state.random.below(told.len());
        told.rotate_left(skipped);
        for to in told.into_iter().take(MAX_TOLD) {
            let Some(asker) = state.roster.get(&to) else { continue };
            let addresses = online.contact.addresses_for(&asker.contact);
            let holder = Holder { peer, user: online.name.to_string(), addresses, have: have.clone() };
            effects.push(Effect::Tell {
                to,
                event: Event::Holder { content: sharing.content, audience: sharing.audience.clone(), holder },
            });
        }
    }
    effects
}

pub(super) fn locate(state: &State, caller: PeerId, text: &str, offset: u32) -> Result<Reply, Refusal> {
    let meant = resolve(state, caller, text, None)?;
    let entry = view(state, &user_of(state, caller)?, &meant);
    let sharing = Sharing { content: meant.version.content, audience: meant.audience };
    let mut room = Room::beside(entry_bytes(&entry));
    let from = usize::try_from(offset).unwrap_or(usize::MAX);
    let located = state.index.holders(&SwarmKey::from(&sharing), from, HOLDERS_LISTED);
    let (mut holders, mut passed, all) = (Vec::new(), offset, located.len());
    let mut next = None;
    for located in located {
        // One who left since is passed over, and counts all the same: that is where the next part begins.
        if let Some(holder) = holder(state, caller, &sharing, located) {
            if !room.take(&holder) && !holders.is_empty() {
                next = Some(passed);
                break;
            }
            holders.push(holder);
        }
        passed = passed.saturating_add(1);
    }
    if next.is_none() && all == HOLDERS_LISTED {
        next = Some(passed);
    }
    Ok(Reply::Locations { entry, holders, next })
}

/// What a download of an entry needs.
pub(super) fn plan(
    state: &mut State,
    caller: PeerId,
    text: &str,
    content: Option<&Content>,
    now: Now,
) -> Result<(Reply, Vec<Effect>), Refusal> {
    let meant = resolve(state, caller, text, content)?;
    let entry = view(state, &user_of(state, caller)?, &meant);
    let sharing = Sharing { content: meant.version.content, audience: meant.audience };
    plan_of(state, caller, entry, sharing, now)
}

/// What a download of an offer needs.
pub(super) fn plan_offer(
    state: &mut State,
    caller: PeerId,
    offer: OfferId,
    now: Now,
) -> Result<(Reply, Vec<Effect>), Refusal> {
    let entry = offering::entry_of(state, caller, offer)?;
    let sharing = Sharing { content: entry.content, audience: Audience::Offer(offer) };
    plan_of(state, caller, entry, sharing, now)
}

fn plan_of(
    state: &mut State,
    caller: PeerId,
    mut entry: Entry,
    sharing: Sharing,
    now: Now,
) -> Result<(Reply, Vec<Effect>), Refusal> {
    let key = SwarmKey::from(&sharing);
    let mut effects = Vec::new();
    // Nobody downloads an empty file.
    if key.chunks() > 0 {
        let wanted = state.index.announce(caller, key, Change::Add(&[])).map_err(|error| not_indexed(&error))?;
        if wanted.before < wanted.after {
            effects = tell_of(state, caller, std::slice::from_ref(&sharing));
        }
        let counts = state.index.counts(&key);
        (entry.seeders, entry.downloaders) = (counts.seeders, counts.downloaders);
    }
    let ticket = signed_ticket(state, caller, &sharing, now)?;
    revoking::note_issued(state, caller, &sharing.audience, now);
    let mut room = Room::beside(entry_bytes(&entry) + ticket.len());
    let mut holders = Vec::new();
    for located in chosen(state, caller, &key, now) {
        let Some(mut holder) = holder(state, caller, &sharing, located) else { continue };
        if !room.take(&holder) {
            holder.have = None;
        }
        if let Some(online) = state.roster.get_mut(&holder.peer) {
            online.load.add(now.uptime);
        }
        holders.push(holder);
    }
    Ok((Reply::Plan(Plan { entry, audience: sharing.audience, ticket, holders }), effects))
}

fn signed_ticket(state: &State, caller: PeerId, sharing: &Sharing, now: Now) -> Result<String, Refusal> {
    let holder = state.roster.get(&caller).ok_or_else(|| refusal(Code::NotJoined, "join first"))?.key;
    let ticket = Ticket {
        network: NetworkId(state.identity.peer_id().0),
        audience: sharing.audience.clone(),
        swarm: sharing.content,
        holder,
        not_before_ms: now.unix_ms.saturating_sub(millis(TICKET_EARLIER)),
        expires_ms: now.unix_ms.saturating_add(millis(TICKET_LIFE)),
    };
    Ok(HEXLOWER.encode(&ticket.sign(&state.identity)))
}

/// The holders of a plan: the complete ones first, then those with something, then those with nothing; the least busy
/// first among them, and random ones first among equals.
fn chosen(state: &mut State, caller: PeerId, key: &SwarmKey, now: Now) -> Vec<Located> {
    let sample = state.index.choose(key, PLAN_SAMPLE + 1, state.random.next());
    let mut ranked: Vec<_> = sample
        .into_iter()
        .filter(|located| located.peer != caller)
        .map(|located| {
            let stock = match &located.chunks {
                Chunks::All => 0,
                Chunks::Some(map) if !map.is_empty() => 1,
                Chunks::Some(_) => 2,
            };
            let load = state.roster.get(&located.peer).map_or(u32::MAX, |online| online.load.at(now.uptime));
            ((stock, load, state.random.next()), located)
        })
        .collect();
    ranked.sort_unstable_by_key(|(rank, _)| *rank);
    ranked.into_iter().take(MAX_PLAN_SEEDERS).map(|(_, located)| located).collect()
}

/// A holder as `asker` may know it; `None` where it is not online, or has no right to what it holds any more.
fn holder(state: &State, asker: PeerId, sharing: &Sharing, located: Located) -> Option<Holder> {
    let online = state.roster.get(&located.peer)?;
    if !sharing.audience.is_public() && !may_announce(state, located.peer, sharing) {
        return None;
    }
    let asker = state.roster.get(&asker)?;
    let addresses = online.contact.addresses_for(&asker.contact);
    Some(Holder {
        peer: located.peer,
        user: online.name.to_string(),
        addresses,
        have: Some(Have::from(located.chunks)),
    })
}

/// How much more fits a reply.
struct Room {
    bytes: usize,
    map_bytes: usize,
}

impl Room {
    const fn beside(taken: usize) -> Self {
        Self { bytes: REPLY_ROOM.saturating_sub(taken), map_bytes: MAX_MAP_BYTES }
    }

    /// Makes room for a holder; says whether it fits, its map too. Without its map one always fits a plan: 50 of them
    /// take at most 110 KiB.
    fn take(&mut self, holder: &Holder) -> bool {
        /// Most bytes of a holder in JSON without addresses and map.
        const HOLDER_BYTES: usize = 200;
        /// Most bytes of an address in JSON.
        const ADDRESS_BYTES: usize = 64;
        let map = holder.have.as_ref().map_or(0, map_length);
        let bytes = HOLDER_BYTES + holder.addresses.len() * ADDRESS_BYTES;
        match (self.bytes.checked_sub(bytes + map), self.map_bytes.checked_sub(map)) {
            (Some(bytes), Some(map_bytes)) => {
                *self = Self { bytes, map_bytes };
                true
            }
            _ => false,
        }
    }
}

fn map_length(have: &Have) -> usize {
    match have {
        Have::Map(hex) => hex.len(),
        Have::All | Have::Add(_) | Have::None => 0,
    }
}

/// The map of a [`Have::Map`]; what it and a [`Have::Add`] say is about chunks that there are.
fn checked_map(announced: &Announced) -> Result<Option<Bitmap>, Refusal> {
    match &announced.have {
        Have::Map(_) => match announced.have.to_bitmap(&announced.content) {
            Ok(map) => Ok(Some(map)),
            Err(error) => Err(refusal(Code::Malformed, error.to_string())),
        },
        Have::Add(chunks) => {
            let count = announced.content.chunks();
            match chunks.iter().find(|chunk| **chunk >= count) {
                Some(&chunk) => Err(not_indexed(&IndexError::Chunk { chunk, count })),
                None => Ok(None),
            }
        }
        Have::All | Have::None => Ok(None),
    }
}

fn not_indexed(error: &IndexError) -> Refusal {
    let code = match error {
        IndexError::Length { .. } | IndexError::Chunk { .. } => Code::Malformed,
        IndexError::Swarms | IndexError::MapBytes => Code::Limit,
    };
    refusal(code, error.to_string())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
