//! Meeting over MRT: two who cannot reach each other by TCP are told where the other is, at the same time, so that both open
//! their routers, and get channels of the relay for the case that this does not help.

use common::id::PeerId;
use common::wire::tracker::{Code, Event, Meeting, MrtContact, MrtRole, Refusal, Reply, UdpOffer};

use super::{Effect, Now, refusal};
use crate::relay::Place;
use crate::source::Source;
use crate::state::{ConnId, MetAt, Online, Rendezvous, State, is_unicast, plain};
use crate::vouchers::PROVEN_FOR;

/// What the tracker offers over UDP to whom it welcomes on this connection.
pub(crate) fn udp_offer(state: &State, conn: ConnId) -> Option<UdpOffer> {
    let relays = match &state.rendezvous {
        Rendezvous::Off => return None,
        Rendezvous::Direct => false,
        Rendezvous::Relayed(_) => true,
    };
    Some(UdpOffer { token: state.vouchers.token(conn.0), relays })
}

/// A peer says where it can be met. The proof is that its datagrams come from there, and that it gets what is sent there.
pub(super) fn appear(state: &mut State, caller: PeerId, contact: MrtContact, now: Now) -> Result<Reply, Refusal> {
    if matches!(state.rendezvous, Rendezvous::Off) {
        return Err(no_rendezvous());
    }
    let State { roster, vouchers, rendezvous, .. } = state;
    let Some(online) = roster.get_mut(&caller) else { return Err(refusal(Code::NotJoined, "join first")) };
    let seen = plain(contact.seen);
    let is_address = seen.port() != 0 && is_unicast(seen.ip());
    if !is_address || !vouchers.is_good(contact.proof, vouchers.token(online.conn.0), seen, now.uptime) {
        let text = "it is not proven that you are at that address, or not any more: ask over UDP again";
        return Err(refusal(Code::Forbidden, text));
    }
    let MrtContact { static_key, port, role, .. } = contact;
    let proven = now.uptime;
    online.met_at = Some(MetAt { static_key, port, seen, proven, role });
    if let Some(relay) = rendezvous.relay() {
        relay.place(caller, Place { address: seen, answered_from: online.contact.arrived_at, proven });
    }
    Ok(Reply::Done)
}

/// A peer wants to meet a seeder: both are told of the other.
pub(super) fn meet(
    state: &mut State,
    caller: PeerId,
    seeder: PeerId,
    now: Now,
) -> Result<(Reply, Vec<Effect>), Refusal> {
    if matches!(state.rendezvous, Rendezvous::Off) {
        return Err(no_rendezvous());
    }
    let gone = || refusal(Code::Gone, "that peer is not online any more");
    let (asker, other) = (state.roster.get(&caller).ok_or_else(gone)?, state.roster.get(&seeder).ok_or_else(gone)?);
    if caller == seeder {
        return Err(refusal(Code::Malformed, "a peer cannot meet itself"));
    }
    let Some(theirs) = other.met_at.filter(|at| at.role == MrtRole::Serves) else {
        return Err(refusal(Code::NotFound, "that peer does not serve over MRT: it was started without --mrt"));
    };
    let is_recent = |at: &MetAt| now.uptime.saturating_sub(at.proven) < PROVEN_FOR;
    if !is_recent(&theirs) {
        return Err(refusal(
            Code::Gone,
            "nobody knows any more where that peer's datagrams come from: try again later",
        ));
    }
    let Some(mine) = asker.met_at.filter(is_recent) else {
        return Err(refusal(Code::Conflict, "say first where you can be met yourself"));
    };
    let source = Source::of(asker.contact.seen.ip());
    let is_under_way = are_meeting(state, caller, seeder, now) || are_meeting(state, seeder, caller, now);
    if !is_under_way {
        take_room(state, caller, source, seeder, now)?;
    }
    let [my_channel, their_channel] = open_channels(state, [caller, seeder], now);
    let (asker, other) = (state.roster.get(&caller).ok_or_else(gone)?, state.roster.get(&seeder).ok_or_else(gone)?);
    let of = |peer: PeerId, whom: &Online, at: MetAt, addresses, channel| {
        let (user, static_key) = (whom.name.to_string(), at.static_key);
        Meeting { peer, user, static_key, addresses, channel }
    };
    let told = asker.contact.udp_addresses_told_to(&other.contact, theirs.seen, mine.seen, mine.port);
    let told = Event::Meet(of(caller, asker, mine, told, their_channel));
    let given = other.contact.udp_addresses_for(&asker.contact, mine.seen, theirs.seen, theirs.port);
    let reply = Reply::Meeting(of(seeder, other, theirs, given, my_channel));
    // Who asks again hears the same, and takes nobody's time but its own.
    let effects = if is_under_way { Vec::new() } else { vec![Effect::Tell { to: seeder, event: told }] };
    Ok((reply, effects))
}

/// How a meeting ended, by the word of one of the two; that of others counts for nothing.
pub(super) fn met(state: &mut State, caller: PeerId, other: PeerId, reached: bool, now: Now) -> Reply {
    let mut end = |asker: PeerId, seeder: PeerId| {
        state.roster.get_mut(&asker).is_some_and(|online| online.meetings.asked.end(&seeder, now.uptime))
    };
    let is_theirs = end(caller, other) | end(other, caller);
    if let Some(relay) = state.rendezvous.relay().filter(|_| is_theirs && !reached) {
        relay.close([caller, other]);
    }
    Reply::Done
}

/// A peer has no session any more, or a new one, on which it has said nothing yet. Its pairs wait for it: a session may end
/// for reasons of which those who talk through the relay know nothing.
pub(super) fn part(state: &State, peer: PeerId) {
    if let Some(relay) = state.rendezvous.relay() {
        relay.lose(peer);
    }
}

fn no_rendezvous() -> Refusal {
    refusal(Code::Unavailable, "this tracker helps nobody to meet over MRT: it has no UDP port (--stun off)")
}

/// Whether `asker` asked for `seeder` of late, and both were told and are still there.
fn are_meeting(state: &State, asker: PeerId, seeder: PeerId, now: Now) -> bool {
    let (asks, serves) = (state.roster.get(&asker), state.roster.get(&seeder));
    asks.is_some_and(|online| online.meetings.asked.is_under_way(&seeder, now.uptime))
        && serves.is_some_and(|online| online.meetings.is_expected(&asker, now.uptime))
}

/// Counts one more meeting of the two, where both have room for it.
fn take_room(state: &mut State, caller: PeerId, source: Source, seeder: PeerId, now: Now) -> Result<(), Refusal> {
    let busy = |whose: &str| {
        let text = format!("{whose} as many meetings under way or in this minute as are allowed: try again later");
        Err(refusal(Code::Busy, text))
    };
    if let Some(online) = state.roster.get_mut(&caller) {
        // It met that peer in a session that has ended.
        online.meetings.asked.end(&seeder, now.uptime);
        if !online.meetings.asked.has_room(now.uptime) {
            return busy("you have");
        }
    }
    if let Some(online) = state.roster.get_mut(&seeder) {
        if !online.meetings.has_room_for(&caller, source, now.uptime) {
            return busy("that peer has");
        }
        online.meetings.expect(caller, source, now.uptime);
    }
    if let Some(online) = state.roster.get_mut(&caller) {
        online.meetings.asked.begin(seeder, now.uptime);
    }
    Ok(())
}

/// A pair of channels of the relay for these two; none where there is no relay, or no room in it: they may do without.
fn open_channels(state: &mut State, members: [PeerId; 2], now: Now) -> [Option<common::relay::ChannelId>; 2] {
    let Some(relay) = state.rendezvous.relay() else { return [None; 2] };
    let fresh = [state.channels, state.channels + 1].map(|number| state.vouchers.channel(number));
    let opened = relay.open(now.uptime, members, fresh);
    state.channels += 2;
    match opened {
        Ok(channels) => channels.map(Some),
        Err(error) => {
            tracing::info!(%error, "nothing is relayed for two who meet");
            [None; 2]
        }
    }
}

#[cfg(test)]
mod tests;
