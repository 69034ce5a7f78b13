use common::audience::Audience;
use common::id::{FileId, FolderId, Hash};
use common::wire::MAX_USERS_NAMED;
use common::wire::tracker::{Entry, Event, Have, Query, Request, Version};

use super::super::testing::{World, file};
use super::super::{Effect, When};
use super::*;

fn register(name: &str, content: Content) -> Request {
    Request::Register { name: name.to_owned(), content, folder: None, users: None }
}

fn register_for(name: &str, content: Content, users: &[&str]) -> Request {
    let users = Some(users.iter().map(|user| (*user).to_owned()).collect());
    Request::Register { name: name.to_owned(), content, folder: None, users }
}

fn deregister(entry: &str) -> Request {
    Request::Deregister { entry: entry.to_owned() }
}

fn registered(entry: &str, version: u32, already: bool) -> Reply {
    Reply::Registered { entry: entry.to_owned(), version, already, audience: Audience::Public }
}

fn entries(world: &mut World, peer: PeerId) -> Vec<Entry> {
    match world.reply(peer, Request::List(Query::default())) {
        Reply::Entries { entries, .. } => entries,
        other => panic!("{other:?}"),
    }
}

fn versions(world: &mut World, peer: PeerId, entry: &str) -> Vec<Version> {
    match world.reply(peer, Request::Versions { entry: entry.to_owned() }) {
        Reply::Versions { versions, .. } => versions,
        other => panic!("{other:?}"),
    }
}

#[test]
fn registering_again_changes_nothing_and_another_content_is_a_new_version() {
    let mut world = World::new();
    let alice = world.join(1, "alice");
    let outcome = world.ask(alice, register("x", file(1)));
    assert_eq!((outcome.when, outcome.reply), (When::Committed, Ok(registered("alice/x", 1, false))));
    let outcome = world.ask(alice, register("x", file(1)));
    // What it says rests on the write before, which may not be committed yet.
    assert_eq!((outcome.when, outcome.reply), (When::Committed, Ok(registered("alice/x", 1, true))));
    world.pass(std::time::Duration::from_secs(1));
    assert_eq!(world.reply(alice, register("x", file(2))), registered("alice/x", 2, false));
    // What was there before is a new version all the same: it is what the name stands for now.
    assert_eq!(world.reply(alice, register("x", file(1))), registered("alice/x", 3, false));
    let numbers: Vec<(u32, Content)> =
        versions(&mut world, alice, "x").iter().map(|version| (version.number, version.content)).collect();
    assert_eq!(numbers, [(3, file(1)), (2, file(2)), (1, file(1))]);
    let entries = entries(&mut world, alice);
    assert_eq!((entries.len(), entries[0].version, entries[0].registered_ms), (1, 3, world.now.unix_ms));
}

#[test]
fn of_many_versions_the_newest_are_kept_and_the_numbers_go_on() {
    let mut world = World::new();
    let alice = world.join(1, "alice");
    for number in 1..=u8::try_from(MAX_VERSIONS).unwrap() + 5 {
        world.register(alice, "x", file(number));
    }
    let kept = versions(&mut world, alice, "x");
    assert_eq!((kept.len(), kept[0].number, kept.last().unwrap().number), (MAX_VERSIONS, 105, 6));
}

#[test]
fn a_folder_says_how_much_is_in_it_and_a_file_does_not() {
    let mut world = World::new();
    let alice = world.join(1, "alice");
    let size = FolderSize { files: 3, bytes: 1_000_000 };
    let folder = FolderId::new(FileId::new(9, Hash([1; 32])).unwrap(), 4).unwrap().into();
    let request = |content| Request::Register { name: "x".to_owned(), content, folder: Some(size), users: None };
    assert_eq!(world.refused(alice, request(file(1))), Code::Malformed);
    world.reply(alice, request(folder));
    let entries = entries(&mut world, alice);
    assert_eq!((entries[0].folder, entries[0].bytes()), (Some(size), 1_000_000));
    assert_eq!(versions(&mut world, alice, "x")[0].folder, Some(size));
}

#[test]
fn names_that_would_harm_are_refused() {
    let mut world = World::new();
    let alice = world.join(1, "alice");
    let long = "a".repeat(256);
    for name in ["../x", "/etc/passwd", "a/b", "CON", "nul.txt", "", ".", "..", "a\nb", "a\u{202e}b", &long] {
        assert_eq!(world.refused(alice, register(name, file(1))), Code::BadName, "{name:?}");
    }
    for entry in ["../x", "/etc/passwd", "a/b/c", "", "Alice/x"] {
        assert_eq!(world.refused(alice, Request::Plan { entry: entry.to_owned(), content: None }), Code::BadName);
        assert_eq!(world.refused(alice, deregister(entry)), Code::BadName, "{entry:?}");
    }
    assert_eq!(entries(&mut world, alice), []);
}

#[test]
fn the_same_name_and_content_is_one_line_of_all_its_owners() {
    let mut world = World::new();
    let [alice, bob, carol] = [(1, "alice"), (2, "bob"), (3, "carol")].map(|(key, name)| world.join(key, name));
    for peer in [carol, alice, bob] {
        world.register(peer, "x", file(1));
        world.announce(peer, file(1), Have::All);
    }
    let seen = entries(&mut world, bob);
    assert_eq!((seen.len(), seen[0].owners.join(" "), seen[0].seeders), (1, "alice bob carol".to_owned(), 3));
    world.register(bob, "x", file(2));
    let owners: Vec<String> = entries(&mut world, bob).iter().map(|entry| entry.owners.join(" ")).collect();
    assert_eq!(owners, ["alice carol", "bob"]);
}

#[test]
fn only_the_owner_deregisters() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    world.register(alice, "x", file(1));
    assert_eq!(world.refused(bob, deregister("x")), Code::Forbidden);
    assert_eq!(world.refused(bob, deregister("alice/x")), Code::Forbidden);
    assert_eq!(world.refused(bob, deregister("y")), Code::NotFound);
    assert_eq!(world.refused(bob, deregister("bob/x")), Code::NotFound);
    let outcome = world.ask(alice, deregister("alice/x"));
    assert_eq!((outcome.reply, outcome.when), (Ok(Reply::Done), When::Committed));
    assert_eq!(world.refused(alice, deregister("x")), Code::NotFound);
    assert_eq!(entries(&mut world, bob), []);
}

#[test]
fn one_owner_less_leaves_the_line_of_the_others() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    world.register(alice, "x", file(1));
    world.pass(std::time::Duration::from_secs(1));
    world.register(bob, "x", file(1));
    let first = entries(&mut world, bob)[0].registered_ms;
    world.ask(alice, deregister("x")).reply.unwrap();
    let entries = entries(&mut world, bob);
    assert_eq!((entries[0].owners.as_slice(), entries[0].registered_ms), (&["bob".to_owned()][..], first + 1000));
}

#[test]
fn a_mistyped_user_does_not_lock_an_entry_away() {
    let mut world = World::new();
    let (alice, _bob) = (world.join(1, "alice"), world.join(2, "bob"));
    let refusal = world.ask(alice, register_for("x", file(1), &["bob", "carlo"])).reply.unwrap_err();
    assert_eq!(refusal.code, Code::NotFound);
    assert!(refusal.text.contains("carlo") && !refusal.text.contains("bob"), "{refusal}");
    assert_eq!(world.refused(alice, register_for("x", file(1), &["Bob"])), Code::BadName);
    assert_eq!(world.refused(alice, register_for("x", file(1), &["u"; MAX_USERS_NAMED + 1])), Code::Limit);
    assert_eq!(entries(&mut world, alice), []);
}

#[test]
fn registering_may_say_for_whom_and_else_leaves_that_as_it_is() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    let audience = Audience::Entry("alice/x".parse().unwrap());
    let reply = |version, already, audience: &Audience| Reply::Registered {
        entry: "alice/x".to_owned(),
        version,
        already,
        audience: audience.clone(),
    };
    assert_eq!(world.reply(alice, register_for("x", file(1), &["bob", "alice"])), reply(1, false, &audience));
    assert_eq!(world.reply(alice, register("x", file(2))), reply(2, false, &audience));
    let seen = entries(&mut world, alice);
    assert_eq!((seen[0].restricted, seen[0].users.as_slice()), (true, &["bob".to_owned()][..]));
    let seen = entries(&mut world, bob);
    assert_eq!((seen[0].restricted, seen[0].users.len()), (true, 0), "for whom else is the owner's business");
    let outcome = world.ask(alice, register_for("x", file(2), &[]));
    assert_eq!(outcome.reply, Ok(reply(2, true, &audience)));
    assert_eq!(entries(&mut world, bob), []);
}

#[test]
fn entries_of_one_user_take_up_only_so_much() {
    let mut world = World::new();
    let alice = world.join(1, "alice");
    let users: BTreeSet<UserName> =
        (0..MAX_WEIGHT_OF_USER - 2).map(|number| format!("u{number}").parse().unwrap()).collect();
    let version = VersionRecord { number: 1, content: file(1), folder: None, at_ms: 1 };
    let (owner, name): (UserName, EntryName) = ("alice".parse().unwrap(), "large".parse().unwrap());
    let large = EntryRecord::new(version, Some(users));
    world.apply(vec![Write::Entry(owner, name, Some(large))]);
    assert_eq!(world.reply(alice, register("x", file(1))), registered("alice/x", 1, false));
    assert_eq!(world.reply(alice, register("x", file(2))), registered("alice/x", 2, false), "in place of the first");
    assert_eq!(versions(&mut world, alice, "x").len(), 1);
    assert_eq!(world.refused(alice, register("y", file(1))), Code::Limit);
}

#[test]
fn what_could_not_be_written_down_is_told_to_nobody() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    world.register(alice, "x", file(1));
    world.reply(bob, Request::Subscribe { entry: "x".to_owned() });
    let outcome = world.ask(alice, register("x", file(2)));
    assert_eq!(outcome.when, When::Committed, "effects go out with the answer, after the commit");
    assert!(matches!(outcome.effects.as_slice(), [Effect::Tell { to, event: Event::Updated { .. } }] if *to == bob));
}
