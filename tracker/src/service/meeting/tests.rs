use std::net::SocketAddr;
use std::time::Duration;

use common::mrt::StaticKey;
use common::nat::{StunProof, StunToken};
use common::relay::{ChannelId, RelayConfig, RelayHead};
use common::wire::tracker::Request;
use proptest::prelude::*;

use super::super::testing::{World, hello, identity};
use super::*;
use crate::relay::Relay;

/// Where the UDP socket of a peer is seen, beside its TCP at `192.0.2.N`.
fn seen(number: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number], 6000))
}

fn key(number: u8) -> StaticKey {
    StaticKey([number; 32])
}

/// A world whose tracker relays, with so many peers, from 1, who have said nothing of MRT.
fn world(peers: u8) -> (World, Vec<PeerId>) {
    let mut world = World::new();
    world.state.rendezvous = Rendezvous::Relayed(Relay::new(RelayConfig::DEFAULT_BYTES_PER_SEC));
    let peers = (1..=peers).map(|number| world.join(number, &format!("p{number}"))).collect();
    (world, peers)
}

fn token(world: &World, peer: PeerId) -> StunToken {
    let conn = world.state.roster.get(&peer).unwrap().conn;
    udp_offer(&world.state, conn).unwrap().token
}

/// What a peer says that its token was shown from `address`.
fn contact(world: &World, peer: PeerId, number: u8, address: SocketAddr, role: MrtRole) -> MrtContact {
    let proof = world.state.vouchers.prove(token(world, peer), address, world.now.uptime);
    MrtContact { static_key: key(number), port: 6000, seen: address, proof, role }
}

fn appears(world: &mut World, peer: PeerId, number: u8, role: MrtRole) {
    let contact = contact(world, peer, number, seen(number), role);
    assert_eq!(world.reply(peer, Request::Mrt(contact)), Reply::Done);
}

/// A world in which the first asks and the others serve.
fn ready(peers: u8) -> (World, Vec<PeerId>) {
    let (mut world, all) = world(peers);
    for (number, peer) in (1..).zip(&all) {
        let role = if number == 1 { MrtRole::Asks } else { MrtRole::Serves };
        appears(&mut world, *peer, number, role);
    }
    (world, all)
}

/// What the asker and the seeder are told.
fn meeting(world: &mut World, asker: PeerId, seeder: PeerId) -> (Meeting, Meeting) {
    let outcome = world.ask(asker, Request::Meet { peer: seeder });
    let Ok(Reply::Meeting(mine)) = outcome.reply else { panic!("{:?}", outcome.reply) };
    let [Effect::Tell { to, event: Event::Meet(theirs) }] = outcome.effects.as_slice() else { panic!() };
    assert_eq!(*to, seeder);
    (mine, theirs.clone())
}

/// Whether the relay passes what comes from there on this channel, and where to.
fn passes(world: &World, from: SocketAddr, channel: Option<ChannelId>) -> Option<SocketAddr> {
    let mut datagram = [RelayHead { channel: channel? }.encode().as_slice(), b"\x48sealed"].concat();
    let relay = world.state.rendezvous.relay()?;
    relay.forward(world.now.uptime, from, &mut datagram).map(|(to, _)| to)
}

#[test]
fn two_are_told_of_each_other_and_get_channels() {
    let (mut world, peers) = ready(2);
    let (mine, theirs) = meeting(&mut world, peers[0], peers[1]);
    assert_eq!((mine.peer, mine.user.as_str(), mine.static_key), (peers[1], "p2", key(2)));
    assert_eq!((theirs.peer, theirs.user.as_str(), theirs.static_key), (peers[0], "p1", key(1)));
    assert_eq!((mine.addresses, theirs.addresses), (vec![seen(2)], vec![seen(1)]));
    assert_eq!(passes(&world, seen(1), mine.channel), Some(seen(2)));
    assert_eq!(passes(&world, seen(2), theirs.channel), Some(seen(1)));
    assert_eq!(passes(&world, seen(2), mine.channel), None, "somebody else's channel");
    // There is one pair of the two, however often they meet.
    world.reply(peers[0], Request::Met { peer: peers[1], reached: true });
    let (again, back) = meeting(&mut world, peers[0], peers[1]);
    assert_eq!((again.channel, back.channel), (mine.channel, theirs.channel));
}

#[test]
fn who_asks_again_hears_the_same_and_troubles_nobody() {
    let (mut world, peers) = ready(3);
    appears(&mut world, peers[0], 1, MrtRole::Serves);
    let (mine, theirs) = meeting(&mut world, peers[0], peers[1]);
    for _ in 0..40 {
        let again = world.ask(peers[0], Request::Meet { peer: peers[1] });
        assert_eq!((again.reply, again.effects), (Ok(Reply::Meeting(mine.clone())), Vec::new()));
    }
    let back = world.ask(peers[1], Request::Meet { peer: peers[0] });
    assert_eq!((back.reply, back.effects), (Ok(Reply::Meeting(theirs)), Vec::new()), "both asked");
    meeting(&mut world, peers[2], peers[1]);
    // A new session was told nothing.
    world.try_join(2, &hello("p2")).unwrap();
    appears(&mut world, peers[1], 2, MrtRole::Serves);
    meeting(&mut world, peers[0], peers[1]);
    world.pass(Duration::from_secs(10));
    meeting(&mut world, peers[0], peers[1]);
}

#[test]
fn private_addresses_go_only_to_those_behind_the_same_router() {
    let (mut world, _) = world(0);
    let mut at_home = hello("p");
    at_home.interfaces = vec!["192.168.1.2".parse().unwrap()];
    for (number, at) in [(1, "203.0.113.1:1"), (2, "203.0.113.1:2"), (3, "203.0.113.3:3")] {
        at_home.name = format!("p{number}");
        world.join_from(number, &at_home, at).unwrap();
        let peer = identity(number).peer_id();
        let outside = SocketAddr::new(at.parse::<SocketAddr>().unwrap().ip(), 7000 + u16::from(number));
        let contact = contact(&world, peer, number, outside, MrtRole::Serves);
        assert_eq!(world.reply(peer, Request::Mrt(contact)), Reply::Done);
    }
    let [one, two, three] = [1, 2, 3].map(|number| identity(number).peer_id());
    let addresses = |meeting: Meeting| meeting.addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (mine, theirs) = meeting(&mut world, one, two);
    assert_eq!(addresses(mine), ["192.168.1.2:6000", "203.0.113.1:6000", "203.0.113.1:7002"]);
    assert_eq!(addresses(theirs), ["192.168.1.2:6000", "203.0.113.1:6000", "203.0.113.1:7001"]);
    let (mine, theirs) = meeting(&mut world, one, three);
    assert_eq!(addresses(mine), ["203.0.113.3:7003", "203.0.113.3:6000"]);
    assert_eq!(addresses(theirs), ["203.0.113.1:7001", "203.0.113.1:6000"]);
}

#[test]
fn who_is_on_the_trackers_host_is_where_others_found_the_tracker() {
    let (mut world, _) = world(0);
    for (number, at) in [(1, "127.0.0.1:1"), (2, "203.0.113.2:2")] {
        world.join_from(number, &hello(&format!("p{number}")), at).unwrap();
        let peer = identity(number).peer_id();
        let outside = SocketAddr::new(at.parse::<SocketAddr>().unwrap().ip(), 6000);
        let contact = contact(&world, peer, number, outside, MrtRole::Serves);
        assert_eq!(world.reply(peer, Request::Mrt(contact)), Reply::Done);
    }
    let (mine, _) = meeting(&mut world, identity(2).peer_id(), identity(1).peer_id());
    // The address that their connections arrived at.
    assert_eq!(mine.addresses, ["203.0.113.1:6000".parse().unwrap()]);
}

#[test]
fn nobody_meets_who_does_not_serve_is_gone_or_is_himself() {
    let (mut world, peers) = ready(3);
    let [asker, seeder, leaver] = [peers[0], peers[1], peers[2]];
    let refused = |world: &mut World, caller, peer| world.refused(caller, Request::Meet { peer });
    assert_eq!(refused(&mut world, seeder, asker), Code::NotFound);
    assert_eq!(refused(&mut world, asker, asker), Code::Malformed);
    world.leave(leaver);
    assert_eq!(refused(&mut world, asker, leaver), Code::Gone);
    let stranger = world.join(9, "stranger");
    assert_eq!(refused(&mut world, stranger, seeder), Code::Conflict, "nobody knows where it is itself");
    assert_eq!(refused(&mut world, asker, stranger), Code::NotFound);
}

#[test]
fn a_tracker_without_a_udp_port_helps_nobody() {
    let (mut world, peers) = ready(2);
    let contact = contact(&world, peers[0], 1, seen(1), MrtRole::Asks);
    world.state.rendezvous = Rendezvous::Off;
    assert_eq!(udp_offer(&world.state, ConnId(1)), None);
    assert_eq!(world.refused(peers[0], Request::Mrt(contact)), Code::Unavailable);
    assert_eq!(world.refused(peers[0], Request::Meet { peer: peers[1] }), Code::Unavailable);
}

#[test]
fn without_a_relay_they_meet_directly_or_not_at_all() {
    let (mut world, peers) = world(2);
    world.state.rendezvous = Rendezvous::Direct;
    assert!(!udp_offer(&world.state, ConnId(1)).unwrap().relays);
    appears(&mut world, peers[0], 1, MrtRole::Asks);
    appears(&mut world, peers[1], 2, MrtRole::Serves);
    let (mine, theirs) = meeting(&mut world, peers[0], peers[1]);
    assert_eq!((mine.channel, theirs.channel), (None, None));
}

#[test]
fn a_pair_rests_while_a_session_is_renewed_and_ends_with_a_meeting_that_failed() {
    let (mut world, peers) = ready(3);
    let (first, _) = meeting(&mut world, peers[0], peers[1]);
    let (second, _) = meeting(&mut world, peers[0], peers[2]);
    world.leave(peers[1]);
    assert_eq!(passes(&world, seen(1), first.channel), None);
    assert_eq!(passes(&world, seen(1), second.channel), Some(seen(3)));
    // Nobody ends what is others'.
    world.reply(peers[2], Request::Met { peer: peers[1], reached: false });
    assert_eq!(passes(&world, seen(1), second.channel), Some(seen(3)));
    world.reply(peers[0], Request::Met { peer: peers[2], reached: false });
    assert_eq!(passes(&world, seen(1), second.channel), None);
    let (third, _) = meeting(&mut world, peers[0], peers[2]);
    assert_eq!(world.try_join(1, &hello("p1")).unwrap(), "p1", "it begins anew");
    assert_eq!(passes(&world, seen(1), third.channel), None);
    assert_eq!(world.refused(peers[0], Request::Meet { peer: peers[2] }), Code::Conflict);
    appears(&mut world, peers[0], 1, MrtRole::Asks);
    assert_eq!(passes(&world, seen(1), third.channel), Some(seen(3)), "it is where it was");
    // Who left comes back elsewhere.
    world.try_join(2, &hello("p2")).unwrap();
    let elsewhere = contact(&world, peers[1], 2, seen(22), MrtRole::Serves);
    assert_eq!(world.reply(peers[1], Request::Mrt(elsewhere)), Reply::Done);
    assert_eq!(passes(&world, seen(1), first.channel), Some(seen(22)));
}

#[test]
fn an_asker_has_four_under_way() {
    let (mut world, peers) = ready(6);
    for seeder in &peers[1..5] {
        meeting(&mut world, peers[0], *seeder);
    }
    assert_eq!(world.refused(peers[0], Request::Meet { peer: peers[5] }), Code::Busy);
    world.reply(peers[0], Request::Met { peer: peers[1], reached: true });
    meeting(&mut world, peers[0], peers[5]);
}

#[test]
fn nobody_keeps_others_from_a_seeder() {
    let (mut world, peers) = ready(32);
    let (asker, seeder) = (peers[0], peers[1]);
    for _ in 0..4 {
        meeting(&mut world, asker, seeder);
        world.reply(asker, Request::Met { peer: seeder, reached: true });
    }
    assert_eq!(world.refused(asker, Request::Meet { peer: seeder }), Code::Busy, "its part of this minute");
    for other in &peers[2..28] {
        meeting(&mut world, *other, seeder);
    }
    assert_eq!(world.refused(peers[28], Request::Meet { peer: seeder }), Code::Busy, "thirty");
    meeting(&mut world, seeder, peers[28]);
    world.pass(Duration::from_secs(60));
    meeting(&mut world, asker, seeder);
}

#[test]
fn nobody_is_met_where_he_was_long_ago() {
    let (mut world, peers) = ready(2);
    world.pass(PROVEN_FOR);
    assert_eq!(world.refused(peers[0], Request::Meet { peer: peers[1] }), Code::Gone);
    appears(&mut world, peers[1], 2, MrtRole::Serves);
    assert_eq!(world.refused(peers[0], Request::Meet { peer: peers[1] }), Code::Conflict);
    appears(&mut world, peers[0], 1, MrtRole::Asks);
    meeting(&mut world, peers[0], peers[1]);
}

#[test]
fn only_who_was_there_can_say_so() {
    let (mut world, peers) = world(2);
    let good = contact(&world, peers[0], 1, seen(1), MrtRole::Serves);
    let refused = |world: &mut World, caller, contact| world.refused(caller, Request::Mrt(contact));
    let elsewhere = MrtContact { seen: seen(7), ..good };
    assert_eq!(refused(&mut world, peers[0], elsewhere), Code::Forbidden);
    assert_eq!(refused(&mut world, peers[1], good), Code::Forbidden, "somebody else's proof");
    let others_token = world.state.vouchers.prove(token(&world, peers[1]), seen(1), world.now.uptime);
    assert_eq!(refused(&mut world, peers[0], MrtContact { proof: others_token, ..good }), Code::Forbidden);
    world.pass(Duration::from_secs(120));
    assert_eq!(refused(&mut world, peers[0], good), Code::Forbidden, "an old one");
    for nowhere in ["0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "203.0.113.1:0"] {
        let nowhere = contact(&world, peers[0], 1, nowhere.parse().unwrap(), MrtRole::Serves);
        assert_eq!(refused(&mut world, peers[0], nowhere), Code::Forbidden);
    }
    assert!(peers.iter().all(|peer| world.state.roster.get(peer).unwrap().met_at.is_none()));
}

proptest! {
    #[test]
    fn no_proof_is_guessed(guess: [u8; 16]) {
        let (mut world, peers) = world(1);
        let good = contact(&world, peers[0], 1, seen(1), MrtRole::Serves);
        prop_assume!(guess != good.proof.0);
        let guessed = MrtContact { proof: StunProof(guess), ..good };
        prop_assert_eq!(world.refused(peers[0], Request::Mrt(guessed)), Code::Forbidden);
    }
}
