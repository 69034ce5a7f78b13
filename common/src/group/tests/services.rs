//! What members do for each other: chat and files.

use super::messages::{entry, file};
use super::world::{Told, World, millis, peer_id, secs};
use crate::bitmap::Bitmap;
use crate::group::{ChatError, Event, Listing, MAX_PENDING_LINES, MAX_REQUESTS, RequestId, TextError};
use crate::wire::tracker::{Have, Holder};

fn texts(world: &World, node: usize) -> Vec<&str> {
    world.node(node).lines.iter().map(|line| line.2.as_str()).collect()
}

fn holders(world: &World, node: usize, request: RequestId) -> Vec<Holder> {
    let mut answers = world.node(node).events.iter().filter_map(|event| match event {
        Event::Holders { request: answered, holders, .. } if *answered == request => Some(holders.clone()),
        _ => None,
    });
    answers.next_back().unwrap()
}

fn listed(world: &World, node: usize, request: RequestId) -> (u32, Vec<Listing>) {
    let mut answers = world.node(node).events.iter().filter_map(|event| match event {
        Event::Files { request: answered, total, files } if *answered == request => Some((*total, files.clone())),
        _ => None,
    });
    answers.next_back().unwrap()
}

#[test]
fn what_is_said_at_once_has_one_order_for_all() {
    let mut world = World::joined(5);
    for round in 0..5 {
        for node in 0..5 {
            world.say(node, &format!("{round} from {node}"));
        }
    }
    world.run(secs(1));
    assert_eq!(texts(&world, 0).len(), 25);
    for node in 1..5 {
        assert_eq!(world.node(node).lines, world.node(0).lines);
    }
    world.assert_chat();
}

#[test]
fn one_who_comes_later_hears_what_is_said_from_then_on() {
    let mut world = World::new(3, 1);
    world.connect(1, 0);
    world.run(secs(1));
    world.say(1, "before");
    world.run(secs(1));
    world.connect(2, 0);
    world.run(secs(1));
    world.say(1, "after");
    world.run(secs(1));
    assert_eq!(texts(&world, 2), ["after"]);
    assert_eq!(texts(&world, 0), ["before", "after"]);
}

#[test]
fn a_line_is_said_once_whenever_the_supernode_dies() {
    for after in (0..160).step_by(4) {
        let mut world = World::joined(5);
        world.say(2, "first");
        world.say(3, "second");
        world.say(2, "third");
        world.run(millis(after));
        world.crash(0, if after % 8 == 0 { Told::AtOnce } else { Told::Never });
        world.say(4, "fourth");
        world.run(secs(8));
        for node in 1..5 {
            assert_eq!(texts(&world, node).len(), 4, "node {node}, {after} ms: {:?}", texts(&world, node));
        }
        world.assert_chat();
        world.assert_one_order();
    }
}

#[test]
fn lines_missed_while_a_connection_was_broken_are_made_up_for() {
    let mut world = World::joined(4);
    world.say(1, "one");
    world.run(secs(1));
    world.cut(3, 0);
    world.say(1, "two");
    world.say(3, "three");
    world.run(secs(3));
    assert_eq!(texts(&world, 3), ["one", "two", "three"]);
    assert_eq!(texts(&world, 0), ["one", "two", "three"]);
}

#[test]
fn a_line_is_bounded_and_has_no_control_characters() {
    let mut world = World::new(1, 1);
    let now = world.now;
    let said = |world: &mut World, text: &str| world.with(0, |group| group.chat(now, text)).unwrap();
    assert_eq!(said(&mut world, ""), Err(ChatError::Text(TextError::Empty)));
    assert_eq!(said(&mut world, "a\u{1b}[2Jb"), Err(ChatError::Text(TextError::Control)));
    assert_eq!(said(&mut world, &"x".repeat(4097)), Err(ChatError::Text(TextError::TooLong)));
    assert_eq!(said(&mut world, &"x".repeat(4096)), Ok(()));
    let accepted = (0..1000).take_while(|_| said(&mut world, "x").is_ok()).count();
    assert!(accepted <= MAX_PENDING_LINES, "{accepted}");
}

#[test]
fn a_file_is_announced_listed_and_located() {
    let mut world = World::joined(5);
    let now = world.now;
    world.with(2, |group| group.share(now, entry("doug.png"), file(1)).unwrap());
    world.with(2, |group| group.announce(now, file(1), &Have::All).unwrap());
    world.with(0, |group| group.share(now, entry("other"), file(2)).unwrap());
    world.run(secs(1));
    let shared = Listing { owner: peer_id(2), entry: entry("doug.png"), shared: file(1).into() };
    for node in [0, 1, 3, 4] {
        assert!(world.node(node).events.contains(&Event::Shared(shared.clone())), "node {node}");
    }
    let now = world.now;
    let all = world.with(4, |group| group.list(now, None, 0).unwrap()).unwrap();
    let one = world.with(0, |group| group.list(now, Some(entry("doug.png")), 0).unwrap()).unwrap();
    let none = world.with(1, |group| group.list(now, None, 2).unwrap()).unwrap();
    let wanted = world.with(3, |group| group.request(now, file(1)).unwrap()).unwrap();
    world.run(secs(1));
    assert_eq!(listed(&world, 4, all).0, 2);
    assert_eq!(listed(&world, 0, one), (1, vec![shared]));
    assert_eq!(listed(&world, 1, none), (2, Vec::new()));
    let found = holders(&world, 3, wanted);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].peer, found[0].have.as_ref()), (peer_id(2), Some(&Have::All)));
    assert_eq!(
        found[0].addresses,
        world.group(0).roster().unwrap().member(&peer_id(2)).unwrap().addresses().as_slice()
    );
}

#[test]
fn thousands_of_files_are_told_of_without_haste() {
    let mut world = World::joined(3);
    let now = world.now;
    world.with(1, |group| {
        for number in 0..3000 {
            group.share(now, entry(&format!("file {number}")), file(1)).unwrap();
        }
        group.share(now, entry("file 7"), file(2)).unwrap();
        group.unshare(now, &entry("file 8"));
        for number in 0..200 {
            group.announce(now, file(number), &Have::All).unwrap();
            group.announce(now, file(number), &Have::Add(vec![0])).unwrap();
        }
    });
    world.run(secs(30));
    world.assert_together(&[0, 1, 2]);
    let now = world.now;
    let list = world.with(2, |group| group.list(now, None, 0).unwrap()).unwrap();
    let found = world.with(2, |group| group.request(now, file(199)).unwrap()).unwrap();
    world.run(secs(1));
    assert_eq!(listed(&world, 2, list).0, 2999);
    assert_eq!(holders(&world, 2, found)[0].have, Some(Have::All));
    assert!((0..3).all(|node| world.named(node).is_empty()));
}

#[test]
fn who_wants_a_file_is_told_of_new_holders() {
    let mut world = World::joined(4);
    let now = world.now;
    world.with(1, |group| group.request(now, file(1)).unwrap());
    world.with(0, |group| group.request(now, file(1)).unwrap());
    world.run(secs(1));
    let mut some = Bitmap::empty(file(1).chunks());
    some.insert(3);
    let now = world.now;
    world.with(3, |group| group.announce(now, file(1), &Have::of(&some)).unwrap());
    world.run(secs(1));
    for node in [0, 1] {
        let told = world.node(node).events.iter().any(|event| {
            matches!(event, Event::Holder { holder, .. } if holder.peer == peer_id(3) && holder.have == Some(Have::of(&some)))
        });
        assert!(told, "node {node}");
    }
    assert!(!world.node(2).events.iter().any(|event| matches!(event, Event::Holder { .. })));
}

#[test]
fn a_new_supernode_knows_the_files_again_and_nobody_is_told_twice() {
    let mut world = World::joined(4);
    let now = world.now;
    world.with(2, |group| group.share(now, entry("a"), file(1)).unwrap());
    world.with(2, |group| group.announce(now, file(1), &Have::All).unwrap());
    world.with(0, |group| group.share(now, entry("gone with its owner"), file(2)).unwrap());
    world.run(secs(1));
    world.crash(0, Told::Never);
    world.run(secs(1));
    // Nobody noticed yet.
    let now = world.now;
    let asked = world.with(3, |group| group.request(now, file(1)).unwrap()).unwrap();
    let list = world.with(1, |group| group.list(now, None, 0).unwrap()).unwrap();
    world.run(secs(6));
    assert_eq!(holders(&world, 3, asked).len(), 1);
    let now = world.now;
    let again = world.with(1, |group| group.list(now, None, 0).unwrap()).unwrap();
    world.run(secs(1));
    assert_eq!(listed(&world, 1, again).0, 1);
    let _ = list;
    let told =
        world.node(3).events.iter().filter(|event| matches!(event, Event::Shared(one) if one.owner == peer_id(2)));
    assert_eq!(told.count(), 1);
}

#[test]
fn a_file_that_is_not_shared_any_more_is_gone_and_one_of_who_left_too() {
    let mut world = World::joined(4);
    let now = world.now;
    world.with(1, |group| group.share(now, entry("a"), file(1)).unwrap());
    world.with(2, |group| group.share(now, entry("b"), file(2)).unwrap());
    world.run(secs(1));
    let now = world.now;
    world.with(1, |group| group.unshare(now, &entry("a")));
    world.leave(2);
    world.run(secs(1));
    let now = world.now;
    let list = world.with(3, |group| group.list(now, None, 0).unwrap()).unwrap();
    world.run(secs(1));
    assert_eq!(listed(&world, 3, list), (0, Vec::new()));
    assert!(world.node(3).events.contains(&Event::Unshared { owner: peer_id(1), entry: entry("a") }));
}

#[test]
fn questions_are_bounded_and_given_up() {
    let mut world = World::joined(3);
    world.crash(0, Told::Never);
    world.crash(2, Told::Never);
    let now = world.now;
    let asked = (0..1000).take_while(|_| world.with(1, |group| group.list(now, None, 0)).unwrap().is_ok()).count();
    assert_eq!(asked, MAX_REQUESTS);
    world.run(secs(40));
    let over = world.node(1).events.iter().filter(|event| matches!(event, Event::Unanswered(_) | Event::Files { .. }));
    assert_eq!(over.count(), MAX_REQUESTS);
}
