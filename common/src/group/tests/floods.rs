//! Nodes that do what everybody may do, but far too much of it: the others do not pay for it.

use std::net::SocketAddr;

use super::messages::{entry, file};
use super::strangers::{come_as, say_as};
use super::world::{MAX_NODES, Told, World, member, millis, peer_id, secs, static_key};
use crate::group::message::{Join, Message, Shares, Tidings};
use crate::group::{Addresses, DecodeError, Event, Refusal};
use crate::name::UserName;
use crate::wire::tracker::Have;

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
    world.run(secs(6));
    world.assert_together(&[0, 1, 2, 3, 4]);
}

#[test]
fn one_whose_router_shows_it_elsewhere_all_the_time_stays_and_is_known_where_it_was_last() {
    let mut world = World::joined(3);
    let number = |world: &World| world.group(0).roster().unwrap().point().number;
    let before = number(&world);
    for port in 1000..1600 {
        let (now, address) = (world.now, SocketAddr::from(([203, 0, 113, 1], port)));
        world.with(2, |group| group.set_addresses(now, Addresses::new([address])));
        world.run(millis(50));
    }
    assert!(number(&world) - before < 45, "{} rosters in half a minute", number(&world) - before);
    world.run(secs(2));
    world.assert_together(&[0, 1, 2]);
    for node in 0..2 {
        let known = world.group(node).roster().unwrap().member(&peer_id(2)).unwrap().addresses().as_slice();
        assert_eq!(known[0], SocketAddr::from(([203, 0, 113, 1], 1599)));
        assert_eq!(world.named(node), []);
    }
    assert!(!world.node(2).events.iter().any(|event| matches!(event, Event::SupernodeLost { .. })));
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

/// What a node was told that fits.
fn told(world: &World, node: usize, fits: impl Fn(&Event) -> bool) -> usize {
    world.node(node).events.iter().filter(|event| fits(event)).count()
}

#[test]
fn one_that_has_something_now_and_then_is_not_told_of_each_time() {
    let mut world = World::joined(4);
    let now = world.now;
    world.with(1, |group| group.request(now, file(1)).unwrap());
    world.run(secs(1));
    for _ in 0..100 {
        // It follows again, and what it had is forgotten.
        let point = world.group(0).roster().unwrap().point();
        world.inject(3, 0, &Message::Have(vec![(file(1), Have::Add(vec![1]))]));
        world.inject(3, 0, &Message::Here { point, heard: None });
        world.inject(3, 0, &Message::Have(vec![(file(1), Have::Add(vec![1]))]));
        world.inject(3, 0, &Message::Have(vec![(file(1), Have::None)]));
    }
    world.run(secs(2));
    let holders = |world: &World| told(world, 1, |event| matches!(event, Event::Holder { .. }));
    assert_eq!(holders(&world), 4);
    // Its program is started again, as may well be.
    world.inject(3, 0, &Message::Have(vec![(file(1), Have::All)]));
    world.run(secs(1));
    assert_eq!(holders(&world), 5);
    assert_eq!(world.named(0), []);
}

#[test]
fn who_has_something_and_has_it_not_in_one_breath_is_hung_up_on() {
    let mut world = World::joined(4);
    let entries = (0..200).map(|at| (file(1), if at % 2 == 0 { Have::All } else { Have::None })).collect();
    world.inject(3, 0, &Message::Have(entries));
    world.run(secs(1));
    assert_eq!(world.named(0), [(3, Refusal::Garbage(DecodeError::Form))]);
    world.run(secs(5));
    world.assert_together(&[0, 1, 2, 3]);
}

#[test]
fn nobody_has_another_open_its_nat_again_and_again() {
    let mut world = World::joined(5);
    world.opened.clear();
    for _ in 0..300 {
        world.inject(3, 0, &Message::Invite(peer_id(4)));
        world.run(millis(10));
    }
    world.run(secs(1));
    let opened = world.opened.iter().filter(|(at, _)| *at == 4).count();
    assert!(opened <= 4, "{opened} times in three seconds");
}

#[test]
fn news_of_nothing_and_too_many_of_something_do_not_go_to_all() {
    let mut world = World::joined(4);
    let shares = |number: u8, shared: usize| Shares {
        tidings: Tidings::New,
        shared: vec![(entry("one"), file(number).into()); shared],
        dropped: vec![entry("never there"); 1 - shared],
    };
    let flood = |world: &mut World, shared: usize| {
        for number in 0..200 {
            world.inject(3, 0, &Message::File(shares(number, shared)));
        }
        world.run(millis(200));
    };
    flood(&mut world, 0);
    assert_eq!(told(&world, 1, |event| matches!(event, Event::Unshared { .. })), 0);
    world.run(secs(60));
    flood(&mut world, 1);
    assert!(world.named(0).contains(&(3, Refusal::Flood)));
    let news = told(&world, 1, |event| matches!(event, Event::Shared(_)));
    assert!(news <= 175, "{news} of 200 in a blink");
}

#[test]
fn lines_that_waited_for_an_election_come_in_parts() {
    let mut world = World::joined(12);
    world.crash(0, Told::AtOnce);
    // One of them is awaited, so that the others' lines wait.
    world.crash(11, Told::Never);
    for node in 1..11 {
        for number in 0..60 {
            world.say(node, &format!("{number} of {node}"));
        }
    }
    let (mut before, mut most) = (0, 0);
    for _ in 0..800 {
        world.run(millis(10));
        let lines = world.node(5).lines.len();
        (before, most) = (lines, most.max(lines - before));
    }
    assert_eq!(before, 600);
    assert!(most < 130, "{most} at once");
    world.assert_chat();
}
