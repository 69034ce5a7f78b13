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

/// `caller` dialled `asker`, or tried to; who waits in vain is told. What nobody asked for teaches nothing.
pub(super) fn dialled(
    state: &mut State,
    caller: PeerId,
    asker: PeerId,
    reached: bool,
    now: Now,
) -> (Reply, Vec<Effect>) {
    let asked = state.roster.get_mut(&caller).is_some_and(|online| online.dials.end(&asker, now.uptime));
    if !asked {
        return (Reply::Done, Vec::new());
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
    let told = Effect::Tell { to: asker, event: Event::NotReached { peer: caller } };
    (Reply::Done, if reached { Vec::new() } else { vec![told] })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use common::wire::tracker::Request;

    use super::super::testing::{World, hello};
    use super::*;

    fn reachable(world: &World, peer: PeerId) -> Option<bool> {
        world.state.roster.get(&peer).unwrap().reachable
    }

    #[test]
    fn a_seeder_is_asked_to_dial_where_the_asker_is_seen() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        let outcome = world.ask(alice, Request::DialMe { peer: bob });
        let event = Event::Dial { peer: alice, addresses: vec!["192.0.2.1:4000".parse().unwrap()] };
        assert_eq!((outcome.reply, outcome.effects), (Ok(Reply::Done), vec![Effect::Tell { to: bob, event }]));
        // Once is enough while it is under way.
        assert_eq!(world.ask(alice, Request::DialMe { peer: bob }).effects, []);
        world.pass(Duration::from_secs(10));
        assert_eq!(world.ask(alice, Request::DialMe { peer: bob }).effects.len(), 1);
    }

    #[test]
    fn nobody_is_asked_to_dial_low_ports_or_those_who_are_gone() {
        let mut world = World::new();
        let bob = world.join(2, "bob");
        let mut low = hello("low");
        low.port = 1023;
        world.try_join(1, &low).unwrap();
        let asker = super::super::testing::identity(1).peer_id();
        assert_eq!(world.refused(asker, Request::DialMe { peer: bob }), Code::Forbidden);
        assert_eq!(world.refused(bob, Request::DialMe { peer: PeerId([3; 32]) }), Code::Gone);
        assert_eq!(world.refused(bob, Request::DialMe { peer: bob }), Code::Malformed);
        world.leave(asker);
        assert_eq!(world.refused(bob, Request::DialMe { peer: asker }), Code::Gone);
    }

    #[test]
    fn who_waits_to_be_dialled_hears_that_it_was_in_vain() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        let dialled = |reached| Request::Dialled { peer: alice, reached };
        assert_eq!(world.ask(bob, dialled(false)).effects, [], "nobody asked for that dial");
        world.reply(alice, Request::DialMe { peer: bob });
        let told = Effect::Tell { to: alice, event: Event::NotReached { peer: bob } };
        assert_eq!(world.ask(bob, dialled(false)).effects, [told]);
        world.reply(alice, Request::DialMe { peer: bob });
        assert_eq!(world.ask(bob, dialled(true)).effects, []);
    }

    #[test]
    fn four_under_way_per_asker_and_per_seeder() {
        let mut world = World::new();
        let peers: Vec<PeerId> = (1..=11).map(|number| world.join(number, &format!("p{number}"))).collect();
        for seeder in &peers[1..5] {
            assert_eq!(world.reply(peers[0], Request::DialMe { peer: *seeder }), Reply::Done);
        }
        assert_eq!(world.refused(peers[0], Request::DialMe { peer: peers[5] }), Code::Busy, "the asker has four");
        for asker in &peers[6..9] {
            assert_eq!(world.reply(*asker, Request::DialMe { peer: peers[1] }), Reply::Done);
        }
        assert_eq!(world.refused(peers[9], Request::DialMe { peer: peers[1] }), Code::Busy, "the seeder has four");
        world.reply(peers[1], Request::Dialled { peer: peers[0], reached: false });
        assert_eq!(world.reply(peers[9], Request::DialMe { peer: peers[1] }), Reply::Done);
        assert_eq!(world.reply(peers[0], Request::DialMe { peer: peers[5] }), Reply::Done);
    }

    #[test]
    fn thirty_a_minute_per_asker() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        for _ in 0..30 {
            assert_eq!(world.reply(alice, Request::DialMe { peer: bob }), Reply::Done);
            world.reply(bob, Request::Dialled { peer: alice, reached: true });
        }
        assert_eq!(world.refused(alice, Request::DialMe { peer: bob }), Code::Busy);
        world.pass(Duration::from_secs(60));
        assert_eq!(world.reply(alice, Request::DialMe { peer: bob }), Reply::Done);
    }

    #[test]
    fn who_is_reachable_is_learnt_from_dials_that_were_asked_for() {
        let mut world = World::new();
        let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
        world.reply(bob, Request::Dialled { peer: alice, reached: true });
        assert_eq!(reachable(&world, alice), None, "nobody asked for that dial");
        world.reply(alice, Request::DialMe { peer: bob });
        world.reply(bob, Request::Dialled { peer: alice, reached: true });
        assert_eq!((reachable(&world, alice), reachable(&world, bob)), (Some(true), Some(false)));
        world.reply(alice, Request::DialMe { peer: bob });
        world.reply(bob, Request::Dialled { peer: alice, reached: false });
        assert_eq!(reachable(&world, alice), Some(true), "it was reached before");
        world.reply(bob, Request::DialMe { peer: alice });
        world.reply(alice, Request::Dialled { peer: bob, reached: true });
        assert_eq!(reachable(&world, bob), Some(true));
    }
}
