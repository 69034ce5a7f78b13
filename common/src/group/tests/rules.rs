//! The rules, one by one.

use super::world::{Told, World, address, member, millis, peer_id, secs};
use crate::group::message::{Join, Message};
use crate::group::{Addresses, Closing, ConnectError, Event};

fn order(world: &World, node: usize) -> Vec<usize> {
    let members = world.group(node).roster().unwrap().members().iter();
    members.map(|member| (0..32).find(|at| peer_id(*at) == member.id()).unwrap()).collect()
}

fn term(world: &World, node: usize) -> u64 {
    world.group(node).roster().unwrap().point().term
}

#[test]
fn a_node_alone_leads_a_network_of_one() {
    let world = World::new(1, 1);
    assert_eq!(world.group(0).supernode(), Some(peer_id(0)));
    assert_eq!(order(&world, 0), [0]);
}

#[test]
fn who_connects_to_a_supernode_joins_it_and_is_told() {
    let mut world = World::new(2, 1);
    world.connect(1, 0);
    world.run(millis(500));
    world.assert_together(&[0, 1]);
    assert_eq!(order(&world, 1), [0, 1]);
    let events = &world.node(1).events;
    assert!(events.contains(&Event::Connected { address: address(0), peer: peer_id(0) }), "{events:?}");
    assert!(events.contains(&Event::SupernodeIs { peer: peer_id(0), term: 1 }));
    assert!(world.node(0).events.iter().any(|event| matches!(event, Event::Came(member) if member.id() == peer_id(1))));
}

#[test]
fn members_stand_in_order_of_joining_with_what_was_observed_of_them() {
    let world = World::joined(5);
    assert_eq!(order(&world, 3), [0, 1, 2, 3, 4]);
    assert_eq!(term(&world, 3), 1);
    let roster = world.group(2).roster().unwrap();
    assert_eq!(roster.member(&peer_id(4)).unwrap().addresses().as_slice(), [address(4)]);
    for node in 0..5 {
        assert_eq!(world.named(node), []);
    }
}

#[test]
fn a_plain_member_leads_on_to_its_supernode() {
    let mut world = World::new(4, 1);
    world.connect(1, 0);
    world.connect(2, 0);
    world.run(secs(1));
    world.connect(3, 2);
    world.run(secs(1));
    world.assert_together(&[0, 1, 2, 3]);
    assert!(world.node(3).events.contains(&Event::Connected { address: address(2), peer: peer_id(2) }));
}

#[test]
fn a_supernode_that_connects_brings_all_its_members() {
    let mut world = World::new(6, 1);
    for (node, to) in [(1, 0), (2, 0), (4, 3), (5, 3)] {
        world.connect(node, to);
    }
    world.run(secs(1));
    // To a plain member of the other network.
    world.connect(0, 4);
    world.run(secs(3));
    world.assert_together(&[0, 1, 2, 3, 4, 5]);
    assert_eq!(world.group(0).supernode(), Some(peer_id(3)));
    assert!(world.node(0).events.contains(&Event::Connected { address: address(4), peer: peer_id(4) }));
}

#[test]
fn two_who_connect_to_each_other_become_one_network() {
    for (one, two) in [(0, 1), (1, 0)] {
        let mut world = World::new(2, 1);
        world.connect(one, two);
        world.connect(two, one);
        world.run(secs(1));
        world.assert_together(&[0, 1]);
    }
}

#[test]
fn a_member_that_connects_elsewhere_goes_there_alone() {
    let mut world = World::new(5, 1);
    for (node, to) in [(1, 0), (2, 0), (4, 3)] {
        world.connect(node, to);
    }
    world.run(secs(1));
    world.connect(2, 3);
    world.run(secs(2));
    world.assert_together(&[0, 1]);
    world.assert_together(&[2, 3, 4]);
}

#[test]
fn nobody_there_is_said() {
    let mut world = World::new(2, 1);
    world.crash(1, Told::AtOnce);
    world.connect(0, 1);
    world.connect(0, 0);
    world.run(secs(11));
    let events = &world.node(0).events;
    assert!(events.contains(&Event::ConnectFailed { address: address(1), why: ConnectError::NoAnswer }));
    assert!(events.contains(&Event::ConnectFailed { address: address(0), why: ConnectError::Ourselves }));
}

#[test]
fn a_supernode_that_falls_silent_is_succeeded_by_the_next_within_five_seconds() {
    let mut world = World::joined(6);
    world.crash(0, Told::Never);
    world.run(millis(4900));
    world.assert_together(&[1, 2, 3, 4, 5]);
    assert_eq!(world.group(5).supernode(), Some(peer_id(1)));
    assert_eq!((order(&world, 5), term(&world, 5)), (vec![1, 2, 3, 4, 5], 2));
}

#[test]
fn a_supernode_whose_connections_close_is_succeeded_sooner() {
    let mut world = World::joined(6);
    world.crash(0, Told::AtOnce);
    world.run(millis(2500));
    world.assert_together(&[1, 2, 3, 4, 5]);
}

#[test]
fn when_the_first_three_fall_silent_the_fourth_takes_over() {
    let mut world = World::joined(6);
    for node in 0..3 {
        world.crash(node, Told::Never);
    }
    world.run(secs(8));
    world.assert_together(&[3, 4, 5]);
    assert_eq!((world.group(5).supernode(), term(&world, 4)), (Some(peer_id(3)), 2));
}

#[test]
fn a_supernode_that_leaves_hands_over_first() {
    let mut world = World::joined(5);
    world.leave(0);
    world.run(secs(2));
    assert!(world.nodes[0].is_none(), "it is gone before its time is over");
    world.assert_together(&[1, 2, 3, 4]);
    assert_eq!(term(&world, 4), 2);
    for node in 1..5 {
        assert_eq!(world.named(node), [], "by node {node}");
    }
}

#[test]
fn they_leave_one_by_one_to_the_last() {
    let mut world = World::joined(5);
    for node in [0, 3, 1, 2] {
        world.leave(node);
        world.run(secs(3));
    }
    world.assert_together(&[4]);
    world.leave(4);
    assert!(world.nodes[4].is_none());
}

#[test]
fn a_successor_that_dies_with_the_supernode_is_passed_over() {
    let mut world = World::joined(5);
    world.leave(0);
    world.crash(1, Told::Never);
    world.run(secs(12));
    world.assert_together(&[2, 3, 4]);
}

#[test]
fn a_broken_connection_changes_neither_supernode_nor_order() {
    let mut world = World::joined(5);
    world.cut(2, 0);
    world.run(secs(5));
    world.assert_together(&[0, 1, 2, 3, 4]);
    assert_eq!((order(&world, 4), term(&world, 4)), (vec![0, 1, 2, 3, 4], 1));
}

#[test]
fn a_supernode_that_restarts_at_once_is_found_again() {
    let mut world = World::joined(4);
    world.crash(0, Told::AtOnce);
    world.run(millis(100));
    world.begin(0);
    world.run(secs(8));
    world.assert_together(&[0, 1, 2, 3]);
}

#[test]
fn a_lost_member_that_restarts_is_brought_back_by_the_supernode() {
    let mut world = World::joined(4);
    world.crash(2, Told::Never);
    world.run(secs(10));
    world.assert_together(&[0, 1, 3]);
    world.begin(2);
    world.run(secs(4));
    world.assert_together(&[0, 1, 2, 3]);
}

#[test]
fn a_partition_that_heals_ends_in_one_network_led_by_the_earlier() {
    let mut world = World::joined(7);
    world.part(vec![0, 0, 0, 1, 1, 1, 2]);
    world.run(secs(30));
    world.assert_together(&[0, 1, 2]);
    world.assert_together(&[3, 4, 5]);
    world.assert_together(&[6]);
    world.heal();
    world.run(secs(10));
    world.assert_together(&[0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(world.group(6).supernode(), Some(peer_id(0)));
}

#[test]
fn one_who_cannot_reach_the_supernode_joins_through_a_member() {
    let mut world = World::new(3, 1);
    world.block(0, 2);
    world.connect(1, 0);
    world.run(secs(1));
    world.connect(2, 1);
    world.run(secs(2));
    world.assert_together(&[0, 1, 2]);
}

#[test]
fn one_who_loses_the_way_to_the_supernode_finds_another_and_nobody_else_changes() {
    let mut world = World::joined(5);
    world.block(0, 1);
    world.cut(0, 1);
    world.run(secs(9));
    world.assert_together(&[0, 1, 2, 3, 4]);
    assert_eq!(world.group(1).supernode(), Some(peer_id(0)));
    assert!(world.node(4).events.iter().all(|event| !matches!(event, Event::SupernodeLost { .. })));
}

#[test]
fn a_member_that_its_supernode_does_not_list_notices_and_comes_back() {
    let mut world = World::joined(4);
    world.inject(2, 0, &Message::Leave);
    world.run(secs(4));
    world.assert_together(&[0, 1, 2, 3]);
    assert_eq!(order(&world, 1), [0, 1, 3, 2]);
}

#[test]
fn several_that_leave_and_come_back_at_once_make_nobody_a_liar() {
    let mut world = World::joined(7);
    let now = world.now;
    let join = |node: usize| {
        let (name, addresses) = (member(node).name().clone(), Addresses::default());
        Message::Join(Join { name, addresses, after: None }).encode()
    };
    world.with(0, |group| {
        // A roster goes out, so that the next waits for more.
        group.message(now, peer_id(2), &Message::Leave.encode());
        for node in [3, 4, 5] {
            group.message(now, peer_id(node), &Message::Leave.encode());
            group.message(now, peer_id(node), &join(node));
        }
        group.message(now, peer_id(2), &join(2));
    });
    world.run(secs(10));
    world.assert_together(&[0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(order(&world, 1)[..3], [0, 1, 6]);
    // The others know nothing of what was said in their names.
    for node in [0, 1, 6] {
        assert_eq!(world.named(node), [], "by node {node}");
    }
}

#[test]
fn everybody_keeps_connections_to_the_next_two() {
    let world = World::joined(6);
    for node in 1..6 {
        for standby in [1, 2] {
            assert!(node == standby || world.is_linked(node, standby), "{node} and {standby}");
        }
        assert!(world.group(node).needs(&peer_id(0)));
    }
    assert!(!world.group(4).needs(&peer_id(5)));
}

#[test]
fn a_member_that_is_invited_opens_its_nat() {
    let mut world = World::joined(5);
    world.opened.clear();
    let now = world.now;
    world.with(3, |group| group.invite(now, peer_id(4)));
    world.run(secs(1));
    assert_eq!(world.opened, [(4, peer_id(3))]);
}

#[test]
fn codes_of_closing_are_the_programs() {
    assert_eq!(Closing::Leaving.code(), 256);
    assert_eq!(Closing::Unlisted.code(), 260);
}
