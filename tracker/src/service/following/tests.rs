use common::wire::MAX_TRACKER_FRAME;
use common::wire::tracker::{AudienceChange, FromTracker, Request};

use super::super::testing::{World, file};
use super::*;

fn subscribe(entry: &str) -> Request {
    Request::Subscribe { entry: entry.to_owned() }
}

fn unsubscribe(entry: &str) -> Request {
    Request::Unsubscribe { entry: entry.to_owned() }
}

/// What is followed, and its newest version.
fn followed(reply: Reply) -> Vec<(String, Option<u32>)> {
    match reply {
        Reply::Subscriptions { subscriptions } => {
            subscriptions.into_iter().map(|one| (one.entry, one.newest.map(|entry| entry.version))).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn updated(effects: &[Effect]) -> Vec<(PeerId, u32)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Tell { to, event: Event::Updated { entry } } => Some((*to, entry.version)),
        _ => None,
    });
    told.collect()
}

#[test]
fn followers_hear_of_new_versions_and_catch_up_after_being_away() {
    let mut world = World::new();
    let [alice, bob, carol] = [(1, "alice"), (2, "bob"), (3, "carol")].map(|(key, name)| world.join(key, name));
    world.register(alice, "x", file(1));
    for peer in [bob, carol] {
        assert_eq!(followed(world.reply(peer, subscribe("x"))), [("alice/x".to_owned(), Some(1))]);
    }
    world.reply(alice, subscribe("alice/x"));
    world.leave(carol);
    let update = Request::Register { name: "x".to_owned(), content: file(2), folder: None, users: None };
    let outcome = world.ask(alice, update);
    assert_eq!(updated(&outcome.effects), [(bob, 2)], "carol is away, and alice has it");
    world.join(3, "carol");
    assert_eq!(followed(world.reply(carol, Request::Subscriptions)), [("alice/x".to_owned(), Some(2))]);
}

#[test]
fn it_is_the_device_that_follows() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    let phone = world.another_device(3, "bob");
    world.register(alice, "x", file(1));
    world.reply(bob, subscribe("x"));
    assert_eq!(followed(world.reply(phone, Request::Subscriptions)), []);
    world.reply(phone, unsubscribe("alice/x"));
    assert_eq!(followed(world.reply(bob, Request::Subscriptions)).len(), 1);
}

#[test]
fn an_entry_that_goes_and_comes_back_is_still_followed() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    world.register(alice, "x", file(1));
    world.reply(bob, subscribe("x"));
    let outcome = world.ask(alice, Request::Deregister { entry: "x".to_owned() });
    let gone = Effect::Tell { to: bob, event: Event::Gone { entry: "alice/x".to_owned() } };
    assert_eq!(outcome.effects, [gone]);
    assert_eq!(followed(world.reply(bob, Request::Subscriptions)), [("alice/x".to_owned(), None)]);
    let again = Request::Register { name: "x".to_owned(), content: file(2), folder: None, users: None };
    assert_eq!(updated(&world.ask(alice, again).effects), [(bob, 1)]);
}

#[test]
fn whoever_stops_hears_no_more() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    for name in ["x", "y"] {
        world.register(alice, name, file(1));
        world.reply(bob, subscribe(name));
    }
    world.register(bob, "x", file(1));
    world.reply(bob, subscribe("bob/x"));
    assert_eq!(world.refused(bob, unsubscribe("x")), Code::Ambiguous);
    assert_eq!(world.refused(bob, unsubscribe("z")), Code::NotFound);
    for entry in ["alice/x", "alice/x", "x", "y", "alice/never"] {
        assert_eq!(world.reply(bob, unsubscribe(entry)), Reply::Done, "{entry}");
    }
    assert_eq!(followed(world.reply(bob, Request::Subscriptions)), []);
    let update = Request::Register { name: "x".to_owned(), content: file(2), folder: None, users: None };
    assert_eq!(world.ask(alice, update).effects, []);
}

#[test]
fn one_device_follows_only_so_much_and_hears_of_all_of_it_at_once() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    let (mut following, mut names) = (0, Vec::new());
    for number in 0..MAX_SUBSCRIPTIONS {
        let name = format!("{number:03}{}", "\"".repeat(252));
        world.register(alice, &name, file(1));
        names.push(name);
    }
    let limit = names.iter().find_map(|name| {
        let reply = world.ask(bob, subscribe(name)).reply;
        following += usize::from(reply.is_ok());
        reply.err()
    });
    assert_eq!(limit.unwrap().code, Code::Limit);
    let result = world.reply(bob, Request::Subscriptions);
    let frame = FromTracker::Reply { id: u64::MAX, result }.to_frame().unwrap();
    assert!(frame.len() <= MAX_TRACKER_FRAME && following > 500, "{following} {}", frame.len());
    for number in 0..=MAX_SUBSCRIPTIONS {
        let name = format!("{number}");
        world.register(alice, &name, file(1));
        let answer = world.ask(alice, subscribe(&name)).reply;
        assert_eq!(answer.is_ok(), number < MAX_SUBSCRIPTIONS, "{number}");
    }
}

#[test]
fn keys_of_nobody_follow_nothing() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    world.register(alice, "x", file(1));
    world.reply(bob, subscribe("x"));
    assert_eq!(forget_strangers(&world.state), []);
    world.leave(bob);
    assert_eq!(forget_strangers(&world.state), [], "it comes back");
    world.apply(vec![Write::Device(bob, None)]);
    let forgotten = forget_strangers(&world.state);
    assert_eq!(forgotten, [Write::Subscription(bob, "alice/x".parse().unwrap(), None)]);
}

#[test]
fn what_is_not_for_a_user_is_not_to_be_followed() {
    let mut world = World::new();
    let [alice, bob, carol] = [(1, "alice"), (2, "bob"), (3, "carol")].map(|(key, name)| world.join(key, name));
    world.register_for(alice, "x", file(1), &["bob"]);
    assert_eq!(world.refused(carol, subscribe("alice/x")), Code::NotFound);
    world.reply(bob, subscribe("alice/x"));
    let Reply::Subscriptions { subscriptions } = world.reply(alice, subscribe("x")) else { panic!("subscriptions") };
    assert!(subscriptions[0].newest.as_ref().unwrap().restricted);
    world.reply(alice, Request::Share { entry: "x".to_owned(), change: AudienceChange::Nobody });
    assert_eq!(followed(world.reply(bob, Request::Subscriptions)), [("alice/x".to_owned(), None)]);
    assert_eq!(world.refused(bob, subscribe("alice/x")), Code::NotFound);
}
