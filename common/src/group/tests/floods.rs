//! Nodes that do what everybody may do, but far too much of it: the others do not pay for it.

use super::strangers::{come_as, say_as};
use super::world::{MAX_NODES, Told, World, member, peer_id, secs, static_key};
use crate::group::Addresses;
use crate::group::message::{Join, Message};

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
