use common::wire::tracker::Request;

use super::super::testing::{World, file};
use super::*;

fn plan(entry: &str, content: Option<Content>) -> Request {
    Request::Plan { entry: entry.to_owned(), content }
}

/// Which version of whose entry a plan is for.
fn planned(world: &mut World, peer: PeerId, entry: &str, content: Option<Content>) -> (String, u32, Content) {
    match world.reply(peer, plan(entry, content)) {
        Reply::Plan(plan) => (plan.entry.owners.join(" "), plan.entry.version, plan.entry.content),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bare_name_will_do_unless_owners_have_different_files_under_it() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    world.register(alice, "x", file(1));
    assert_eq!(world.plan(bob, "x").0.entry.content, file(1));
    world.register(bob, "x", file(2));
    let refusal = world.ask(bob, plan("x", None)).reply.unwrap_err();
    assert_eq!(refusal.code, Code::Ambiguous);
    let candidates: Vec<&str> = refusal.candidates.iter().map(|entry| entry.owners[0].as_str()).collect();
    assert_eq!(candidates, ["alice", "bob"]);
    assert_eq!(world.plan(bob, "alice/x").0.entry.content, file(1));
    assert_eq!(world.plan(bob, "bob/x").0.entry.content, file(2));
    assert!(world.ask(bob, plan("x", Some(file(2)))).reply.is_ok(), "the content says which");
}

#[test]
fn a_download_that_goes_on_gets_the_version_it_began_with_as_long_as_that_is_known() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    for number in 1..=3 {
        world.register(alice, "x", file(number));
    }
    let first = ("alice".to_owned(), 1, file(1));
    assert_eq!(planned(&mut world, bob, "alice/x", Some(file(1))), first);
    assert_eq!(planned(&mut world, bob, "x", Some(file(1))), first);
    assert_eq!(world.refused(bob, plan("alice/x", Some(file(4)))), Code::Changed);
    assert_eq!(world.refused(bob, plan("x", Some(file(4)))), Code::Changed);
    assert_eq!(world.refused(bob, plan("x@2", Some(file(1)))), Code::Changed);
    assert_eq!(world.refused(bob, plan("y", Some(file(1)))), Code::NotFound);
    assert_eq!(world.refused(bob, plan("bob/x", None)), Code::NotFound);
}

#[test]
fn a_version_is_named_behind_an_at_sign_unless_an_entry_has_that_very_name() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    for number in 1..=3 {
        world.register(alice, "x", file(number));
    }
    for text in ["x@2", "alice/x@2"] {
        assert_eq!(planned(&mut world, bob, text, None), ("alice".to_owned(), 2, file(2)));
        assert!(matches!(
            world.reply(bob, Request::Loc { entry: text.to_owned(), offset: 0 }),
            Reply::Locations { entry, .. } if entry.version == 2
        ));
    }
    for text in ["x@4", "x@0", "x@02", "x@", "x@+2", "x@two", "y@2", "bob/x@2", "x@99999999999"] {
        assert_eq!(world.refused(bob, plan(text, None)), Code::NotFound, "{text}");
    }
    world.register(bob, "x@2", file(9));
    assert_eq!(planned(&mut world, bob, "x@2", None), ("bob".to_owned(), 1, file(9)));
    assert_eq!(planned(&mut world, bob, "alice/x@2", None), ("alice".to_owned(), 2, file(2)));
    let long = "n".repeat(255);
    world.register(alice, &long, file(1));
    assert_eq!(planned(&mut world, bob, &format!("{long}@1"), None).1, 1);
}

#[test]
fn who_is_named_stands_first_with_its_version_and_the_others_of_the_same_behind() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    world.register(bob, "x", file(1));
    world.register(bob, "x", file(2));
    world.register(alice, "x", file(2));
    assert_eq!(planned(&mut world, alice, "x", None), ("alice bob".to_owned(), 1, file(2)));
    assert_eq!(planned(&mut world, alice, "bob/x", None), ("bob alice".to_owned(), 2, file(2)));
    assert_eq!(planned(&mut world, alice, "bob/x@1", None), ("bob".to_owned(), 1, file(1)));
}

/// Who downloads by a bare name follows that entry from then on.
#[test]
fn a_bare_name_means_the_entry_of_whoever_named_the_content_first() {
    let mut world = World::new();
    let (mallory, zoe, bob) = (world.join(1, "a-mallory"), world.join(2, "zoe"), world.join(3, "bob"));
    world.register(zoe, "x", file(1));
    world.pass(std::time::Duration::from_millis(1));
    world.register(mallory, "x", file(1));
    assert_eq!(planned(&mut world, bob, "x", None).0, "zoe a-mallory");
    let Reply::Entries { entries, .. } = world.reply(bob, Request::List(Default::default())) else { panic!("a list") };
    assert_eq!(entries[0].owners, ["zoe", "a-mallory"]);
    world.reply(bob, Request::Subscribe { entry: "x".to_owned() });
    assert!(world.state.subscriptions().follows(&bob, &"zoe/x".parse().unwrap()));
}

#[test]
fn the_same_for_everyone_and_for_some_is_not_ambiguous() {
    let mut world = World::new();
    let [alice, bob, carol] = [(1, "alice"), (2, "bob"), (3, "carol")].map(|(key, name)| world.join(key, name));
    world.register_for(alice, "x", file(1), &["carol"]);
    assert_eq!(planned(&mut world, carol, "x", None), ("alice".to_owned(), 1, file(1)));
    world.register(bob, "x", file(1));
    assert_eq!(planned(&mut world, carol, "x", None), ("bob".to_owned(), 1, file(1)));
    assert_eq!(planned(&mut world, carol, "alice/x", None).0, "alice");
    world.register(bob, "x", file(2));
    assert_eq!(world.refused(carol, plan("x", None)), Code::Ambiguous);
    assert_eq!(planned(&mut world, bob, "x", None).0, "bob", "of the other he does not hear");
}

#[test]
fn only_so_many_owners_and_candidates_are_named() {
    let mut world = World::new();
    let peers: Vec<PeerId> = (0..=150).map(|number| world.join(number, &format!("u{number:03}"))).collect();
    for (number, peer) in (0..).zip(&peers) {
        world.register(*peer, "same", file(1));
        world.register(*peer, "other", file(number));
    }
    assert_eq!(world.plan(peers[0], "same").0.entry.owners.len(), MAX_OWNERS_NAMED);
    let refusal = world.ask(peers[0], plan("other", None)).reply.unwrap_err();
    assert_eq!(refusal.candidates.len(), MAX_CANDIDATES);
}
