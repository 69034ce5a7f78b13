//! Nodes that have the network key, belong to no network of ours, and claim to lead one. They are not played by a machine:
//! what comes from them is made here, and nothing is sent to them.

use super::hostile::facts;
use super::world::{Told, World, identity, member, millis, peer_id, secs};
use crate::group::machine::Role;
use crate::group::meeting::{Asked, Company, Meet};
use crate::group::message::Message;
use crate::group::{Point, Refusal, Roster};
use crate::mrt::StaticKey;

/// Who claims to lead.
const STRANGER: usize = 9;

/// What the stranger says comes to a node.
pub(super) fn say(world: &mut World, to: usize, message: &Message) {
    say_as(world, STRANGER, to, message);
}

/// The same of another one.
pub(super) fn say_as(world: &mut World, stranger: usize, to: usize, message: &Message) {
    let (now, bytes) = (world.now, message.encode());
    world.with(to, |group| group.message(now, peer_id(stranger), &bytes));
}

/// The stranger connects.
pub(super) fn come(world: &mut World, to: usize) {
    come_as(world, STRANGER, super::world::static_key(STRANGER), to);
}

/// Somebody connects, with this key.
pub(super) fn come_as(world: &mut World, stranger: usize, static_key: StaticKey, to: usize) {
    let (now, network) = (world.now, world.network);
    let facts = crate::group::Facts { static_key, ..facts(stranger) };
    world.with(to, |group| group.connected(now, &facts));
    say_as(world, stranger, to, &Message::Hello { protocol: 1, network });
}

fn claim(company: Company) -> Message {
    let (term, wish) = (1, Asked::No);
    Message::Meet(Meet { term, wish, company, sender_first: None, receiver_first: None })
}

/// The roster of the stranger, once it took somebody in.
fn taken_in(world: &World, node: usize) -> Message {
    let term = world.group(node).roster().unwrap().point().term + 1;
    let members = vec![member(STRANGER), member(node)];
    let point = Point { term, number: 1 };
    let roster = Roster { point, supernode: peer_id(STRANGER), members, absent: Vec::new() };
    Message::Peer { roster: roster.seal(&identity(STRANGER), &world.network), heard: None }
}

fn hands_over(world: &World, node: usize) -> bool {
    matches!(&world.group(node).role, Role::Leading(leading) if leading.yielding.is_some())
}

/// Up to the moment in which node 1 takes over from node 0, when all others are still to come.
fn at_the_election() -> World {
    let mut world = World::joined(5);
    world.crash(0, Told::AtOnce);
    while world.group(1).supernode() != Some(peer_id(1)) {
        world.run(millis(1));
    }
    world
}

#[test]
fn a_new_supernode_does_not_hand_over_to_a_stranger_while_its_members_are_on_their_way() {
    let mut world = at_the_election();
    come(&mut world, 1);
    say(&mut world, 1, &claim(Company::Members));
    assert!(!hands_over(&world, 1));
    let roster = taken_in(&world, 1);
    say(&mut world, 1, &roster);
    assert_eq!(world.group(1).supernode(), Some(peer_id(1)));
    assert_eq!(world.named(1), [(STRANGER, Refusal::Apart)]);
    world.run(secs(5));
    world.assert_together(&[1, 2, 3, 4]);
}

#[test]
fn a_supernode_whose_members_did_not_come_is_alone_and_says_so() {
    let mut world = at_the_election();
    for node in [2, 3, 4] {
        world.crash(node, Told::Never);
    }
    come(&mut world, 1);
    say(&mut world, 1, &claim(Company::Members));
    assert!(!hands_over(&world, 1));
    // They have four seconds.
    world.run(millis(4500));
    assert!(hands_over(&world, 1));
}

/// How often a node begins to dial these, while the stranger says something each tenth of a second.
fn dials(
    world: &mut World,
    at: usize,
    targets: &[usize],
    tenths: usize,
    says: impl Fn(&World, usize) -> Message,
) -> usize {
    let mut count = 0;
    let mut under_way = vec![false; targets.len()];
    for tenth in 0..tenths {
        let message = says(world, tenth);
        say(world, at, &message);
        world.run(millis(100));
        for (known, target) in under_way.iter_mut().zip(targets) {
            let is = world.group(at).dials.is_dialling(&peer_id(*target));
            count += usize::from(is && !*known);
            *known = is;
        }
    }
    count
}

#[test]
fn one_that_leads_on_to_nobody_does_not_have_us_dial_all_the_time() {
    let mut world = World::joined(3);
    come(&mut world, 0);
    let invented: Vec<usize> = (10..30).collect();
    let lead = |world: &World, tenth: usize| {
        let supernode = 10 + tenth / 5 % 20;
        let point = Point { term: 1, number: 1 };
        let members = vec![member(supernode), member(STRANGER)];
        let roster = Roster { point, supernode: peer_id(supernode), members, absent: Vec::new() };
        Message::Lead(roster.seal(&identity(supernode), &world.network))
    };
    let count = dials(&mut world, 0, &invented, 200, lead);
    assert!((1..=5).contains(&count), "{count} in 20 s");
}

#[test]
fn a_standby_that_is_not_where_it_says_is_dialled_ever_less_often() {
    const NOWHERE: usize = 8;
    let mut world = World::new(1, 1);
    come(&mut world, 0);
    say(&mut world, 0, &claim(Company::Members));
    let point = Point { term: 1, number: 1 };
    let members = vec![member(STRANGER), member(NOWHERE), member(0)];
    let roster = Roster { point, supernode: peer_id(STRANGER), members, absent: Vec::new() };
    let follow = Message::Peer { roster: roster.seal(&identity(STRANGER), &world.network), heard: None };
    say(&mut world, 0, &follow);
    assert_eq!(world.group(0).supernode(), Some(peer_id(STRANGER)));
    let count = dials(&mut world, 0, &[NOWHERE], 1200, |_, _| Message::Pong);
    assert!((3..=6).contains(&count), "{count} in two minutes");
}

#[test]
fn one_that_was_alone_and_found_members_does_not_hand_over_any_more() {
    let mut world = World::new(2, 1);
    come(&mut world, 0);
    say(&mut world, 0, &claim(Company::Members));
    assert!(hands_over(&world, 0));
    world.connect(1, 0);
    world.run(secs(1));
    let roster = taken_in(&world, 0);
    say(&mut world, 0, &roster);
    assert_eq!(world.group(0).supernode(), Some(peer_id(0)));
    world.assert_together(&[0, 1]);
}
