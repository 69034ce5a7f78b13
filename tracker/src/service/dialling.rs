//! Dialling: a peer that cannot reach a seeder has the seeder dial it. Who is reachable is learnt from that.

use common::id::PeerId;
use common::wire::tracker::{Code, Event, Refusal, Reply};

use super::{Effect, Now, refusal};
use crate::state::State;

pub(super) fn dial_me(
    state: &mut State,
    caller: PeerId,
    seeder: PeerId,
    now: Now,
) -> Result<(Reply, Vec<Effect>), Refusal> {
    let gone = || refusal(Code::Gone, "that peer is not online any more");
    let Some(asker) = state.roster.get(&caller) else { return Err(gone()) };
    let other = state.roster.get(&seeder).ok_or_else(gone)?;
    if caller == seeder {
        return Err(refusal(Code::Malformed, "a peer cannot dial itself"));
    }
    let Some(address) = asker.contact.dial_back_for(&other.contact) else {
        let text = "nobody is asked to dial a port below 1024: listen on a higher one with --listen";
        return Err(refusal(Code::Forbidden, text));
    };
    if asker.dials.is_under_way(&seeder, now.uptime) {
        return Ok((Reply::Done, Vec::new()));
    }
    for (whose, peer) in [("you have", caller), ("that peer has", seeder)] {
        if state.roster.get_mut(&peer).is_some_and(|online| !online.dials.has_room(now.uptime)) {
            let text = format!("{whose} as many dials under way or in this minute as are allowed: try again later");
            return Err(refusal(Code::Busy, text));
        }
    }
    for (peer, with) in [(caller, seeder), (seeder, caller)] {
        if let Some(online) = state.roster.get_mut(&peer) {
            online.dials.begin(with, now.uptime);
        }
    }
    let event = Event::Dial { peer: caller, addresses: vec![address] };
    Ok((Reply::Done, vec![Effect::Tell { to: seeder, event }]))
}

/// `caller` dialled `asker`, or tried to. What nobody asked for teaches nothing.
pub(super) fn dialled(state: &mut State, caller: PeerId, asker: PeerId, reached: bool, now: Now) -> Reply {
    let asked = state.roster.get_mut(&caller).is_some_and(|online| online.dials.end(&asker, now.uptime));
    if !asked {
        return Reply::Done;
    }
    if let Some(online) = state.roster.get_mut(&asker) {
        online.dials.end(&caller, now.uptime);
        // One that was reached once is reachable, though not by everybody at any time.
        online.reachable = Some(reached || online.reachable == Some(true));
    }
    if let Some(online) = state.roster.get_mut(&caller)
        && reached
    {
        // The asker is there and could not reach it.
        online.reachable.get_or_insert(false);
    }
    Reply::Done
}
