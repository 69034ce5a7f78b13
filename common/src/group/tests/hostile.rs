//! Nodes that have the network key and lie. Whatever they say, the others stay as they are, and say who it was.

use proptest::prelude::*;

use super::messages::{entry, file};
use super::strangers::{come_as, say_as};
use super::world::{Told, World, address, identity, member, millis, mix, peer_id, secs};
use crate::group::following::admits;
use crate::group::limits::MAX_TERM;
use crate::group::line::{Line, Ordered};
use crate::group::meeting::{Asked, Company, Meet};
use crate::group::message::{Join, Message, Origin, Shares, Tidings};
use crate::group::roster::Farewell;
use crate::group::{Addresses, DecodeError, Event, Facts, Group, Point, Refusal, Roster, network_id};
use crate::id::NetworkId;
use crate::mrt::StaticKey;

const ALL: [usize; 5] = [0, 1, 2, 3, 4];

/// The roster that all have, as somebody would like it to be.
fn like(world: &World, change: impl FnOnce(&mut Roster)) -> Roster {
    let mut roster = world.group(0).roster().unwrap().clone();
    change(&mut roster);
    roster
}

fn peer(world: &World, signer: usize, roster: &Roster) -> Message {
    Message::Peer { roster: roster.seal(&identity(signer), &world.network), heard: None }
}

/// Sends something from one to all that it is connected to; nothing changes, and these name it for this.
fn nothing_changes(message: &Message, world: &mut World, from: usize, named_by: &[usize], why: Refusal) {
    let before = world.group(0).roster().unwrap().clone();
    for to in ALL.into_iter().filter(|to| *to != from) {
        world.inject(from, to, message);
    }
    world.run(secs(3));
    world.assert_together(&ALL);
    assert_eq!(world.group(0).roster(), Some(&before));
    for node in named_by {
        assert!(world.named(*node).contains(&(from, why)), "node {node}: {:?}", world.named(*node));
    }
}

/// The same with a lie about the members that only these can tell.
fn nothing_changes_for(message: &Message, world: &mut World, from: usize, to: &[usize]) {
    let before = world.group(0).roster().unwrap().clone();
    for node in to {
        world.inject(from, *node, message);
    }
    world.run(secs(1));
    for node in to {
        assert_eq!(world.group(*node).roster(), Some(&before));
        assert!(world.named(*node).contains(&(from, Refusal::Lie)), "node {node}: {:?}", world.named(*node));
    }
}

#[test]
fn a_member_that_claims_the_place_of_the_supernode_is_named() {
    let mut world = World::joined(5);
    let roster = like(&world, |roster| {
        roster.supernode = peer_id(1);
        roster.point = Point { term: roster.point.term + 1, number: 1 };
    });
    let message = peer(&world, 1, &roster);
    nothing_changes(&message, &mut world, 1, &[0, 2, 3, 4], Refusal::NotSupernode);
}

#[test]
fn a_roster_in_the_name_of_the_supernode_is_refused() {
    let mut world = World::joined(5);
    let roster = like(&world, |roster| roster.point.number += 1);
    let forged = peer(&world, 1, &roster);
    nothing_changes(&forged, &mut world, 1, &[0, 2, 3, 4], Refusal::Signature);
    // A true one, but not from whom it is.
    let next = peer(&world, 0, &roster);
    nothing_changes(&next, &mut world, 2, &[1, 3, 4], Refusal::Lie);
}

#[test]
fn a_supernode_with_a_term_far_ahead_is_refused() {
    for term in [1 + (1 << 17), MAX_TERM] {
        let mut world = World::joined(5);
        let roster = like(&world, |roster| roster.point = Point { term, number: 1 });
        let message = peer(&world, 0, &roster);
        nothing_changes(&message, &mut world, 0, &[1, 2, 3, 4], Refusal::Term);
    }
}

#[test]
fn a_supernode_that_drops_the_receiver_changes_keys_or_goes_back_is_refused() {
    let mut world = World::joined(5);
    let dropped = like(&world, |roster| {
        roster.point.number += 1;
        roster.members.truncate(1);
    });
    let message = peer(&world, 0, &dropped);
    nothing_changes(&message, &mut world, 0, &[1, 2, 3, 4], Refusal::Lie);

    let other_key = like(&world, |roster| {
        roster.point.number += 1;
        let known = member(4);
        let changed =
            crate::group::Member::new(known.identity(), StaticKey([3; 32]), known.name().clone(), Addresses::default());
        *roster.members.last_mut().unwrap() = changed;
    });
    let message = peer(&world, 0, &other_key);
    nothing_changes(&message, &mut world, 0, &[1, 2, 3], Refusal::Lie);

    let older = like(&world, |roster| roster.point.number -= 1);
    let message = peer(&world, 0, &older);
    nothing_changes(&message, &mut world, 0, &[1, 2, 3], Refusal::Lie);
}

#[test]
fn a_member_that_comes_back_with_another_key_makes_nobody_a_liar() {
    let mut world = World::joined(5);
    let now = world.now;
    world.with(0, |group| group.lost(now, peer_id(3)));
    for _ in 0..20 {
        come_as(&mut world, 3, StaticKey([3; 32]), 0);
        say_as(&mut world, 3, 0, &from_elsewhere(1, 3));
        world.run(millis(100));
    }
    assert!(!world.named(0).is_empty());
    assert!(world.named(0).iter().all(|named| *named == (3, Refusal::Lie)));
    world.cut(3, 0);
    world.run(secs(5));
    world.assert_together(&ALL);
    for node in 1..5 {
        assert_eq!(world.named(node), [], "by node {node}");
    }
}

#[test]
fn one_that_shows_two_keys_in_two_parts_does_not_keep_them_apart() {
    let (ours, me) = (Roster { absent: vec![member(3)], ..like(&World::joined(3), |_| ()) }, member(1));
    let known = member(3);
    let other =
        crate::group::Member::new(known.identity(), StaticKey([3; 32]), known.name().clone(), Addresses::default());
    let mut next = ours.clone();
    next.point.term += 1;
    next.absent = vec![other];
    assert_eq!(admits(&ours, &next, &me), Ok(()));
    next.members.truncate(1);
    assert_eq!(admits(&ours, &next, &me), Err(Refusal::Lie));
}

#[test]
fn a_supernode_that_changes_the_order_of_joining_is_refused() {
    let mut world = World::joined(5);
    let point = world.group(0).roster().unwrap().point();
    let next = Point { number: point.number + 1, ..point };
    // An accomplice comes to be the next supernode.
    let order = |order: &[usize]| Roster {
        point: next,
        supernode: peer_id(0),
        members: order.iter().map(|node| member(*node)).collect(),
        absent: Vec::new(),
    };
    for lie in [&[0, 4, 1, 2, 3][..], &[0, 4, 3, 2, 1], &[0, 1, 7, 2, 3, 4]] {
        let message = peer(&world, 0, &order(lie));
        let named_by: Vec<usize> = (1..5).filter(|node| lie[1] != 4 || *node != 4).collect();
        nothing_changes_for(&message, &mut world, 0, &named_by);
    }
    // Who was away for a moment stands at the end.
    let message = peer(&world, 0, &order(&[0, 1, 3, 4, 2]));
    world.inject(0, 1, &message);
    world.run(millis(500));
    assert_eq!(world.group(1).roster().unwrap().point(), next);
}

#[test]
fn a_farewell_that_the_supernode_did_not_sign_is_refused() {
    let mut world = World::joined(5);
    let farewell = Farewell { term: 1, next_term: 2, successor: member(1) };
    let message = Message::Farewell(farewell.seal(&identity(1), &world.network));
    nothing_changes(&message, &mut world, 1, &[2, 3, 4], Refusal::Signature);
    // Nor does a true one count in another term.
    let farewell = Farewell { term: 7, next_term: 8, successor: member(1) };
    let message = Message::Farewell(farewell.seal(&identity(0), &world.network));
    nothing_changes(&message, &mut world, 0, &[1, 2, 3, 4], Refusal::Term);
}

fn claims() -> Vec<Meet> {
    let at = |term: u64| Point { term, number: 1 };
    let points = [(Some(9), None), (Some(MAX_TERM), None), (Some(1), Some(1)), (Some(1), None), (None, None)];
    let claims = points.into_iter().flat_map(|(sender_first, receiver_first)| {
        [Asked::Yes, Asked::No].map(|wish| Meet {
            term: 1,
            wish,
            company: Company::Members,
            sender_first: sender_first.map(at),
            receiver_first: receiver_first.map(at),
        })
    });
    claims.collect()
}

#[test]
fn a_member_that_claims_to_be_a_supernode_is_named() {
    for liar in [1, 3] {
        for meet in claims() {
            let mut world = World::joined(5);
            nothing_changes(&Message::Meet(meet), &mut world, liar, &[0], Refusal::Lie);
        }
    }
}

#[test]
fn lies_about_the_past_do_not_make_a_supernode_yield() {
    for liar in [1, 3] {
        for meet in claims() {
            let mut world = World::joined(5);
            let now = world.now;
            // It hangs up, and comes back as somebody who leads.
            world.with(0, |group| {
                group.lost(now, peer_id(liar));
                group.connected(now, &facts(liar));
                let hello = Message::Hello { protocol: 1, network: network_id(&[1; 32]) };
                group.message(now, peer_id(liar), &hello.encode());
                group.message(now, peer_id(liar), &Message::Meet(meet).encode());
            });
            assert_eq!(world.group(0).supernode(), Some(peer_id(0)));
            world.run(secs(15));
            assert_eq!(world.group(0).supernode(), Some(peer_id(0)), "{meet:?}");
            let claimed_less = liar == 3 && meet.sender_first.is_some_and(|at| at.term == 1);
            assert!(!claimed_less || world.named(0).contains(&(liar, Refusal::Lie)), "{:?}", world.named(0));
        }
    }
}

#[test]
fn in_an_election_only_the_first_that_answers_is_followed() {
    let mut world = World::joined(5);
    let claim = |world: &World, by: usize, term: u64| {
        let roster = Roster {
            point: Point { term, number: 1 },
            supernode: peer_id(by),
            members: ALL.into_iter().map(member).collect(),
            absent: Vec::new(),
        };
        peer(world, by, &roster)
    };
    let (next, far) = (claim(&world, 2, 2), claim(&world, 1, 77));
    world.crash(0, Told::AtOnce);
    world.run(millis(100));
    // All look for a supernode, and the first of them still dials the old one.
    for to in [1, 3, 4] {
        world.inject(2, to, &next);
    }
    for to in [2, 3, 4] {
        world.inject(1, to, &far);
    }
    world.run(secs(8));
    world.assert_together(&[1, 2, 3, 4]);
    assert_eq!(world.group(4).supernode(), Some(peer_id(1)));
    assert_eq!(world.named(1), [(2, Refusal::NotSupernode)]);
    for node in [2, 3, 4] {
        assert_eq!(world.named(node), [(1, Refusal::Term)]);
    }
}

#[test]
fn a_newcomer_with_a_term_far_ahead_is_not_taken_in() {
    let mut world = World::joined(5);
    let after = Some(Origin { point: Point { term: 1 << 40, number: 1 }, supernode: peer_id(9) });
    let join = Join { name: member(3).name().clone(), addresses: Addresses::default(), after };
    nothing_changes(&Message::Join(join), &mut world, 3, &[0], Refusal::Term);
}

/// JOIN of somebody who says that it was in a network of this term.
fn from_elsewhere(term: u64, node: usize) -> Message {
    let after = Some(Origin { point: Point { term, number: 1 }, supernode: peer_id(9) });
    Message::Join(Join { name: member(node).name().clone(), addresses: Addresses::new([address(node)]), after })
}

fn term(world: &World, node: usize) -> u64 {
    world.group(node).roster().unwrap().point().term
}

#[test]
fn newcomers_do_not_raise_the_term_out_of_the_reach_of_members() {
    let mut world = World::joined(5);
    // As far as members follow, and as far again before they could hear of it.
    for ahead in [(1 << 16) - 1, (1 << 17) - 2] {
        world.inject(3, 0, &from_elsewhere(1 + ahead, 3));
    }
    world.run(secs(1));
    for round in 0..200 {
        if round == 100 {
            // Somebody is away for a moment.
            world.cut(2, 0);
        }
        let next = term(&world, 0) + (1 << 16) - 1;
        world.inject(3, 0, &from_elsewhere(next, 3));
        world.run(millis(50));
    }
    world.run(secs(5));
    world.assert_together(&ALL);
    assert_eq!(world.group(0).supernode(), Some(peer_id(0)));
    assert!(term(&world, 0) < 1 + (1 << 14) + 20, "{}", term(&world, 0));
    for node in ALL {
        assert!(world.named(node).iter().all(|(whom, _)| *whom == 3), "{:?}", world.named(node));
    }
    assert_eq!(world.named(0), [(3, Refusal::Term)]);
}

#[test]
fn a_part_whose_term_was_raised_comes_back_all_the_same() {
    let mut world = World::joined(6);
    world.part(vec![0, 0, 0, 1, 1, 1]);
    world.run(secs(20));
    world.inject(4, 3, &from_elsewhere(1 << 15, 4));
    world.run(secs(1));
    assert!(term(&world, 3) > 1 << 14);
    world.heal();
    world.run(secs(10));
    world.assert_together(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(world.group(0).supernode(), Some(peer_id(0)));
}

#[test]
fn nobody_speaks_for_another() {
    let mut world = World::joined(5);
    let forged = Line::say(&identity(3), &world.network, member(2).name().clone(), 1, 1, "I owe node 3 a beer");
    let not_mine = Line::say(&identity(2), &world.network, member(2).name().clone(), 1, 1, "said elsewhere");
    let elsewhere =
        Line::say(&identity(3), &network_id(&[9; 32]), member(3).name().clone(), 1, 1, "of another network");
    world.inject(3, 0, &Message::Chat(not_mine));
    world.inject(3, 0, &Message::Chat(elsewhere));
    // A plain member cannot give places, and a supernode cannot invent lines.
    let position = Point { term: 1, number: 5 };
    world.inject(3, 4, &Message::Line(Ordered::new(&identity(3), &world.network, position, forged)));
    let invented = Line::say(&identity(0), &network_id(&[9; 32]), member(0).name().clone(), 1, 1, "invented");
    world.inject(0, 1, &Message::Line(Ordered::new(&identity(0), &world.network, position, invented)));
    world.run(secs(1));
    for node in ALL {
        assert!(world.node(node).lines.is_empty(), "{:?}", world.node(node).lines);
    }
    assert_eq!(world.named(0), [(3, Refusal::Forgery), (3, Refusal::Forgery)]);
    assert_eq!(world.named(1), [(0, Refusal::Forgery)]);
}

#[test]
fn a_supernode_that_orders_a_line_in_a_term_to_come_does_not_end_the_chat() {
    let mut world = World::joined(5);
    let far = Point { term: MAX_TERM, number: MAX_TERM };
    let line = Line::say(&identity(0), &world.network, member(0).name().clone(), 7, 1, "the last word");
    let line = Message::Line(Ordered::new(&identity(0), &world.network, far, line));
    let roster = like(&world, |roster| roster.point.number += 1);
    let roster = Message::Peer { roster: roster.seal(&identity(0), &world.network), heard: Some(far) };
    for node in 1..5 {
        world.inject(0, node, &line);
        world.inject(0, node, &roster);
    }
    world.run(secs(1));
    world.say(2, "one more");
    world.run(secs(1));
    world.crash(0, Told::Never);
    world.run(secs(8));
    world.say(3, "and one");
    world.run(secs(1));
    for node in 1..5 {
        let texts: Vec<&str> = world.node(node).lines.iter().map(|line| line.2.as_str()).collect();
        assert_eq!(texts, ["one more", "and one"], "at node {node}");
        let named = world.named(node);
        assert_eq!(named.iter().filter(|named| **named == (0, Refusal::Term)).count(), 2, "by node {node}: {named:?}");
    }
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let mut world = World::joined(5);
    world.inject_bytes(3, 0, vec![0xff; 100]);
    world.inject_bytes(3, 1, Vec::new());
    world.run(secs(6));
    world.assert_together(&ALL);
    assert!(matches!(world.named(0)[..], [(3, Refusal::Garbage(DecodeError::Kind(0xff)))]));
}

#[test]
fn a_flood_ends_the_connection_and_nothing_else() {
    let mut world = World::joined(5);
    for number in 0..2000 {
        let line = Line::say(&identity(3), &world.network, member(3).name().clone(), 7, number, "spam");
        world.inject(3, 0, &Message::Chat(line));
    }
    world.run(secs(1));
    assert!(world.named(0).contains(&(3, Refusal::Flood)));
    assert!(world.node(4).lines.len() < 600, "{}", world.node(4).lines.len());
    world.run(secs(6));
    world.assert_together(&ALL);
}

#[test]
fn sharing_is_bounded() {
    let mut world = World::joined(5);
    for number in 0..40 {
        let shared = (0..128).map(|at| (entry(&format!("{number} {at}")), file(1).into())).collect();
        let shares = Shares { tidings: Tidings::Known, shared, dropped: Vec::new() };
        world.inject(3, 0, &Message::File(shares));
    }
    world.run(secs(1));
    assert!(world.named(0).contains(&(3, Refusal::Flood)));
}

#[test]
fn one_of_another_network_or_protocol_is_hung_up_on() {
    for hello in [
        Message::Hello { protocol: 1, network: NetworkId([8; 32]) },
        Message::Hello { protocol: 2, network: network_id(&[1; 32]) },
        Message::Ping,
    ] {
        let mut world = World::new(1, 1);
        let (now, facts) = (world.now, facts(1));
        world.with(0, |group| {
            group.connected(now, &facts);
            group.message(now, peer_id(1), &hello.encode());
        });
        assert_eq!(world.named(0), [(1, Refusal::Stranger)]);
    }
}

pub(super) fn facts(node: usize) -> Facts {
    Facts { identity: identity(node).public_key(), static_key: super::world::static_key(node), observed: None }
}

/// Some of what a liar may say, from a seed.
pub(super) fn mischief(world: &World, liar: usize, seed: u64) -> Vec<u8> {
    let term = world.group(liar).roster().map_or(1, |roster| roster.point().term);
    let jump = [0, 1, 2, 1 << 20, MAX_TERM / 2][usize::try_from(mix(seed) % 5).unwrap()];
    let point = Point { term: term + jump, number: mix(seed ^ 1) % 30 };
    let nodes = world.nodes.len();
    let somebody = usize::try_from(mix(seed ^ 2)).unwrap_or(0) % nodes;
    let signer = identity(liar);
    let roster = Roster {
        point,
        supernode: peer_id(if seed & 64 == 0 { liar } else { somebody }),
        members: (0..nodes).filter(|node| mix(seed ^ 77 ^ *node as u64) & 3 != 0).map(member).collect(),
        absent: Vec::new(),
    };
    let name = member(liar).name().clone();
    let line = Line::say(&signer, &world.network, name.clone(), mix(seed) & 3, mix(seed ^ 5) & 7, "lie");
    let firsts = [None, Some(point), Some(Point { term: 1, number: 1 })];
    let message = match mix(seed ^ 3) % 13 {
        0 => Message::Peer { roster: roster.seal(&signer, &world.network), heard: Some(point) },
        1 => Message::Lead(roster.seal(&signer, &world.network)),
        2 => {
            let farewell = Farewell { term, next_term: term + jump, successor: member(somebody) };
            Message::Farewell(farewell.seal(&signer, &world.network))
        }
        3 => Message::Meet(Meet {
            term: point.term,
            wish: if seed & 1 == 0 { Asked::Yes } else { Asked::No },
            company: if seed & 2 == 0 { Company::Alone } else { Company::Members },
            sender_first: firsts[usize::try_from(mix(seed ^ 6) % 3).unwrap()],
            receiver_first: firsts[usize::try_from(mix(seed ^ 7) % 3).unwrap()],
        }),
        4 => {
            let after = Some(Origin { point, supernode: peer_id(somebody) });
            Message::Join(Join { name, addresses: Addresses::default(), after })
        }
        5 => Message::Here { point, heard: Some(Point { term: 0, number: 0 }) },
        6 => Message::Line(Ordered::new(&signer, &world.network, point, line)),
        7 => Message::Chat(Line::say(&identity(somebody), &network_id(&[3; 32]), name, 1, 1, "lie")),
        8 => Message::Seek,
        9 => Message::Hello { protocol: 1, network: world.network },
        10 => Message::Open(member(somebody)),
        11 => Message::Invite(peer_id(somebody)),
        _ => return (0..mix(seed ^ 9) % 50).map(|at| mix(seed ^ at).to_le_bytes()[0]).collect(),
    };
    message.encode()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 0, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plain_member_that_lies_all_the_time_changes_nothing_for_the_others(seed in any::<u64>()) {
        let mut world = World::joined(5);
        let liar = 1 + usize::try_from(mix(seed) % 4).unwrap();
        let others: Vec<usize> = ALL.into_iter().filter(|node| *node != liar).collect();
        let mut random = seed;
        for round in 0..60 {
            random = mix(random);
            let to = others[usize::try_from(random >> 40).unwrap() % others.len()];
            let bytes = mischief(&world, liar, random);
            world.inject_bytes(liar, to, bytes);
            world.run(millis(random % 300));
            if round % 10 == 0 {
                world.say(others[round / 10 % others.len()], &format!("word {round}"));
            }
        }
        for node in &others {
            prop_assert_eq!(world.group(*node).supernode(), Some(peer_id(0)), "supernode of {}", node);
            let lost = world.node(*node).events.iter().any(|event| matches!(event, Event::SupernodeLost { .. }));
            prop_assert!(!lost, "node {} lost its supernode", node);
            let texts = world.node(*node).lines.iter().filter(|line| line.2 != "lie").count();
            prop_assert_eq!(texts, 6, "lines at {}", node);
        }
        world.run(secs(10));
        world.assert_together(&ALL);
        world.assert_chat();
    }

    #[test]
    fn whatever_bytes_come_the_machine_goes_on(
        messages in prop::collection::vec((0usize..3, any::<u64>(), prop::collection::vec(any::<u8>(), 0..60)), 1..40)
    ) {
        let mut world = World::joined(3);
        for (to, seed, noise) in messages {
            for from in 0..3 {
                world.inject_bytes(from, to, noise.clone());
                let bytes = mischief(&world, from, seed);
                world.inject_bytes(from, to, bytes);
            }
            world.run(millis(seed % 700));
        }
        let still: Vec<Option<&Group>> = world.nodes.iter().map(|node| node.as_ref().map(|node| &node.group)).collect();
        prop_assert!(still.iter().all(Option::is_some));
    }
}
