//! Nodes that do what everybody may do, but far too much of it: the others do not pay for it.

use super::strangers::{come_as, say_as};
use super::world::{MAX_NODES, Told, World, member, millis, peer_id, secs, static_key};
use crate::group::message::{Join, Message};
use crate::group::{Addresses, Refusal};
use crate::name::UserName;

/// Takes in one who is never heard of again.
fn ghost(world: &mut World, node: usize) {
    come_as(world, node, static_key(node), 0);
    say_as(
        world,
        node,
        0,
        &Message::Join(Join {
            name: member(node).name().clone(),
            addresses: Addresses::new(["192.0.2.1:9".parse().unwrap()]),
            after: None,
        }),
    );
    let now = world.now;
    world.with(0, |group| group.lost(now, peer_id(node)));
}

#[test]
fn many_that_are_lost_do_not_end_the_search_for_the_others() {
    let mut world = World::joined(2);
    // Those are dialled in the order in which they came, and a dial takes longer than until the next round.
    for node in 2..MAX_NODES {
        ghost(&mut world, node);
    }
    world.run(secs(10));
    world.crash(1, Told::AtOnce);
    world.run(secs(20));
    world.begin(1);
    world.run(secs(8));
    world.assert_together(&[0, 1]);
}

#[test]
fn a_member_that_changes_all_the_time_does_not_keep_everybody_reading_rosters() {
    let mut world = World::joined(5);
    let number = |world: &World| world.group(0).roster().unwrap().point().number;
    let before = number(&world);
    for round in 0..400 {
        let name = UserName::new(format!("name{}", round % 2)).unwrap();
        world.inject(3, 0, &Message::Join(Join { name, addresses: Addresses::default(), after: None }));
        world.run(millis(25));
    }
    let rosters = number(&world) - before;
    assert!(rosters < 60, "{rosters} in ten seconds");
    assert!(world.named(0).contains(&(3, Refusal::Flood)));
    world.run(secs(6));
    world.assert_together(&[0, 1, 2, 3, 4]);
}

#[test]
fn a_class_that_joins_at_once_is_there_at_once() {
    let mut world = World::new(40, 1);
    for node in 1..40 {
        world.connect(node, 0);
    }
    world.run(millis(1500));
    world.assert_together(&(0..40).collect::<Vec<_>>());
}
