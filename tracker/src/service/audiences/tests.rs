use common::audience::OfferId;
use common::id::Content;
use common::wire::tracker::{Answer, Have, Query, SortBy};
use common::wire::tracker::{Reply, Request, Subscription};

use super::super::testing::{World, file};
use super::*;

fn share(entry: &str, change: AudienceChange) -> Request {
    Request::Share { entry: entry.to_owned(), change }
}

fn add(entry: &str, users: &[&str]) -> Request {
    share(entry, AudienceChange::Add(users.iter().map(|user| (*user).to_owned()).collect()))
}

fn remove(entry: &str, users: &[&str]) -> Request {
    share(entry, AudienceChange::Remove(users.iter().map(|user| (*user).to_owned()).collect()))
}

fn of_x() -> Audience {
    Audience::Entry("alice/x".parse().unwrap())
}

fn shared(audience: Audience, users: Option<&[&str]>) -> Reply {
    let users = users.map(|users| users.iter().map(|user| (*user).to_owned()).collect());
    Reply::Shared { entry: "alice/x".to_owned(), audience, users }
}

fn three(world: &mut World) -> [PeerId; 3] {
    [(1, "alice"), (2, "bob"), (3, "carol")].map(|(key, name)| world.join(key, name))
}

/// Whom events of this kind go to.
fn told(effects: &[Effect], is_it: impl Fn(&Event) -> bool) -> BTreeSet<PeerId> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Tell { to, event } if is_it(event) => Some(*to),
        _ => None,
    });
    told.collect()
}

#[test]
fn an_owner_says_for_whom_an_entry_is() {
    let mut world = World::new();
    let [alice, bob, carol] = three(&mut world);
    world.register(alice, "x", file(1));
    assert_eq!(world.refused(alice, add("x", &["bob"])), Code::Conflict);
    assert_eq!(world.refused(alice, remove("x", &["bob"])), Code::Conflict);
    assert_eq!(world.reply(alice, share("x", AudienceChange::Nobody)), shared(of_x(), Some(&[])));
    assert_eq!(world.refused(bob, add("alice/x", &["bob"])), Code::NotFound);
    assert_eq!(world.reply(alice, add("alice/x", &["carol", "bob"])), shared(of_x(), Some(&["bob", "carol"])));
    assert_eq!(world.refused(bob, add("x", &["bob"])), Code::Forbidden);
    assert_eq!(world.refused(alice, add("x", &["nobody"])), Code::NotFound);
    assert_eq!(world.refused(alice, remove("x", &["bobb"])), Code::NotFound);
    assert_eq!(world.reply(alice, remove("x", &["bob"])), shared(of_x(), Some(&["carol"])));
    assert_eq!(world.plan(carol, "x").0.audience, of_x());
    assert_eq!(world.reply(alice, share("x", AudienceChange::Everyone)), shared(Audience::Public, None));
    assert_eq!(world.plan(bob, "x").0.audience, Audience::Public);
    let outcome = world.ask(alice, share("x", AudienceChange::Everyone));
    assert_eq!((outcome.reply, outcome.effects), (Ok(shared(Audience::Public, None)), vec![]));
}

#[test]
fn who_loses_an_entry_loses_place_and_tickets_and_hears_when_it_is_back() {
    let mut world = World::new();
    let [alice, bob, carol] = three(&mut world);
    let phone = world.another_device(9, "bob");
    world.register_for(alice, "x", file(1), &["bob", "carol"]);
    world.register(alice, "x", file(2));
    for peer in [bob, carol] {
        world.reply(peer, Request::Subscribe { entry: "alice/x".to_owned() });
    }
    for peer in [alice, bob, carol, phone] {
        world.announce_for(peer, file(1), of_x(), Have::All);
        world.announce_for(peer, file(2), of_x(), Have::Map("8000".to_owned()));
    }
    world.leave(phone);
    let outcome = world.ask(alice, remove("x", &["bob"]));
    assert_eq!(told(&outcome.effects, |event| matches!(event, Event::Gone { .. })), [bob].into());
    assert_eq!(told(&outcome.effects, |event| matches!(event, Event::Shared { .. })), [].into());
    let revoked = |key| world.state.revocations().before_ms(key, Some(&of_x())).is_some();
    assert_eq!([bob, phone, carol, alice].map(revoked), [true, true, false, false], "the device that is offline too");
    let everybody = outcome.effects.iter().filter(|effect| matches!(effect, Effect::TellAll(Event::Revoked { .. })));
    assert_eq!(everybody.count(), 1);
    for content in [file(1), file(2)] {
        assert_eq!(world.state.index.chunks_of(&bob, &SwarmKey::new(&content, &of_x())), None);
        assert!(world.state.index.chunks_of(&carol, &SwarmKey::new(&content, &of_x())).is_some());
        // A peer that has not heard of it yet goes on announcing.
        world.announce_for(bob, content, of_x(), Have::All);
        assert_eq!(world.state.index.chunks_of(&bob, &SwarmKey::new(&content, &of_x())), None);
    }
    let asleep = Subscription { entry: "alice/x".to_owned(), newest: None };
    assert_eq!(world.reply(bob, Request::Subscriptions), Reply::Subscriptions { subscriptions: vec![asleep] });
    world.join(4, "dave");
    assert_eq!(world.ask(alice, add("x", &["dave"])).effects, [], "whoever lost it before hears of nothing");
    world.register(alice, "x", file(3));
    let outcome = world.ask(alice, add("x", &["bob"]));
    let is_newest =
        |event: &Event| matches!(event, Event::Updated { entry } if entry.version == 3 && entry.users.is_empty());
    assert_eq!(told(&outcome.effects, is_newest), [bob].into());
    assert_eq!(outcome.effects.len(), 1, "carol had it all the time");
}

#[test]
fn those_who_share_it_hear_for_whom_it_is_now() {
    let mut world = World::new();
    let [alice, bob, carol] = three(&mut world);
    let phone = world.another_device(9, "alice");
    world.register(alice, "x", file(1));
    for peer in [bob, carol] {
        world.reply(peer, Request::Subscribe { entry: "x".to_owned() });
    }
    let shared_for = |audience: Audience| move |event: &Event| matches!(event, Event::Shared { audience: now, .. } if *now == audience);
    let is_gone = |event: &Event| matches!(event, Event::Gone { .. });
    let register = |users: &[&str]| Request::Register {
        name: "x".to_owned(),
        content: file(1),
        folder: None,
        users: Some(users.iter().map(|user| (*user).to_owned()).collect()),
    };
    let effects = world.ask(alice, register(&["bob"])).effects;
    assert_eq!(told(&effects, shared_for(of_x())), [alice, phone, bob].into());
    assert_eq!(told(&effects, is_gone), [carol].into());
    let effects = world.ask(alice, register(&["bob", "carol"])).effects;
    assert_eq!(told(&effects, |event| matches!(event, Event::Updated { .. })), [carol].into());
    assert_eq!(effects.len(), 1, "to the others it is shared as it was");
    let effects = world.ask(alice, share("x", AudienceChange::Everyone)).effects;
    assert_eq!(told(&effects, shared_for(Audience::Public)), [alice, phone, bob, carol].into());
    assert_eq!(told(&effects, is_gone), [].into());
    // A ticket of the time before would be one for those for whom it is next.
    assert!(world.state.revocations().before_ms(bob, Some(&of_x())).is_some());
}

/// Whose tickets for `alice/x` the others are told to refuse.
fn told_revoked(effects: &[Effect]) -> BTreeSet<PeerId> {
    let revocations = effects.iter().filter_map(|effect| match effect {
        Effect::Tell { event: Event::Revoked { revocations }, .. }
        | Effect::TellAll(Event::Revoked { revocations }) => Some(revocations),
        _ => None,
    });
    revocations.flatten().filter(|one| one.audience == Some(of_x())).map(|one| one.holder).collect()
}

#[test]
fn tickets_of_an_entry_that_is_gone_are_worth_nothing_for_the_next_of_its_name() {
    let register = |users: Option<&[&str]>| Request::Register {
        name: "x".to_owned(),
        content: file(1),
        folder: None,
        users: users.map(|users| users.iter().map(|user| (*user).to_owned()).collect()),
    };
    let world = || {
        let mut world = World::new();
        let keys = three(&mut world);
        world.register_for(keys[0], "x", file(1), &["bob", "carol"]);
        let gone = world.ask(keys[0], Request::Deregister { entry: "x".to_owned() });
        assert_eq!(told_revoked(&gone.effects), [].into(), "what is under way ends in good order");
        (world, keys)
    };
    let (mut restricted_again, [alice, bob, _]) = world();
    let effects = restricted_again.ask(alice, register(Some(&["carol"]))).effects;
    assert_eq!(told_revoked(&effects), [bob].into());
    // By way of an entry for everyone it is the same.
    let (mut public_between, [alice, bob, carol]) = world();
    assert_eq!(told_revoked(&public_between.ask(alice, register(None)).effects), [].into());
    let effects = public_between.ask(alice, share("x", AudienceChange::Nobody)).effects;
    assert_eq!(told_revoked(&effects), [bob, carol].into());
    // Who joins meanwhile is told at once.
    let (mut joined_between, [_, bob, carol]) = world();
    let hello = super::super::testing::hello("dave");
    let (_, effects) = joined_between.join_from(4, &hello, "192.0.2.4:1").unwrap();
    assert_eq!(told_revoked(&effects), [bob, carol].into());
}

#[test]
fn tickets_of_the_entries_of_a_user_who_is_removed_are_worth_nothing_for_the_next_of_its_name() {
    let mut world = World::new();
    let [alice, bob, carol] = three(&mut world);
    world.register_for(alice, "x", file(1), &["bob"]);
    let remove = super::super::AdminRequest::Remove("alice".parse().unwrap());
    let outcome = super::super::admin(&mut world.state, remove, world.now).unwrap();
    world.apply(outcome.writes);
    let revoked = [alice, bob, carol].map(|key| world.state.revocations().before_ms(key, None).is_some());
    assert_eq!(revoked, [true, true, false]);
}

#[test]
fn a_name_that_somebody_else_may_have_next_brings_nothing_along() {
    let mut world = World::new();
    let [alice, bob, carol] = three(&mut world);
    world.register_for(alice, "x", file(1), &["bob", "carol"]);
    world.register_for(bob, "y", file(1), &["carol"]);
    let offer = |to: &[&str]| Request::Offer {
        name: "z".to_owned(),
        content: file(1),
        folder: None,
        to: Some(to.iter().map(|user| (*user).to_owned()).collect()),
    };
    world.reply(alice, offer(&["bob", "carol"]));
    world.reply(alice, offer(&["bob"]));
    world.reply(bob, offer(&["carol"]));
    world.leave(bob);
    let writes = super::super::joining::vacate(&world.state, &["bob".parse().unwrap()].into());
    world.apply(writes);
    let other_bob = world.join(77, "bob");
    let Reply::Entries { entries, .. } = world.reply(other_bob, Request::List(Query::default())) else {
        panic!("entries")
    };
    assert_eq!(entries, []);
    assert_eq!(world.reply(other_bob, Request::Offers), Reply::Offers { received: vec![], sent: vec![] });
    let Reply::Entries { entries, .. } = world.reply(carol, Request::List(Query::default())) else { panic!("entries") };
    assert_eq!(entries.len(), 1);
    let Reply::Offers { received, .. } = world.reply(carol, Request::Offers) else { panic!("offers") };
    assert_eq!(received.iter().map(|offer| offer.id).collect::<Vec<_>>(), [OfferId(1)]);
}

/// What comes of a request: granted, or why not.
fn verdict(world: &mut World, peer: PeerId, request: &Request) -> Result<(), Code> {
    world.ask(peer, request.clone()).reply.map(|_reply| ()).map_err(|refusal| refusal.code)
}

/// Every operation on an entry that is for some users, by each who might try it.
#[test]
fn every_operation_against_every_role() {
    const SECRET: &str = "secret plan";
    let entry = || format!("alice/{SECRET}");
    let content: Content = file(1);
    // Each on a network of its own: some of them change it.
    let roles = || {
        let mut world = World::new();
        let [owner, named, other] = three(&mut world);
        let logged_out = world.join(4, "dave");
        world.register_for(owner, SECRET, content, &["bob"]);
        let offer = Request::Offer { name: "z".to_owned(), content, folder: None, to: Some(vec!["bob".to_owned()]) };
        world.reply(owner, offer);
        world.reply(named, Request::Answer { offer: OfferId(1), answer: Answer::Accept });
        world.leave(logged_out);
        world.apply(vec![Write::Device(logged_out, None)]);
        (world, [owner, named, other, logged_out])
    };
    let (granted, not_found, not_joined) = (Ok(()), Err(Code::NotFound), Err(Code::NotJoined));
    let forbidden = Err(Code::Forbidden);
    let reading = [granted, granted, not_found, not_joined];
    let owning = [granted, forbidden, not_found, not_joined];
    let own_only = [granted, granted, granted, not_joined];
    let cases = [
        (Request::Versions { entry: entry() }, reading),
        (Request::Versions { entry: SECRET.to_owned() }, reading),
        (Request::Loc { entry: entry(), offset: 0 }, reading),
        (Request::Loc { entry: format!("{}@1", entry()), offset: 0 }, reading),
        (Request::Plan { entry: entry(), content: None }, reading),
        (Request::Plan { entry: SECRET.to_owned(), content: Some(content) }, reading),
        (Request::Plan { entry: format!("{SECRET}@1"), content: None }, reading),
        (Request::Subscribe { entry: entry() }, reading),
        (Request::Deregister { entry: entry() }, owning),
        (Request::Deregister { entry: SECRET.to_owned() }, owning),
        (share(&entry(), AudienceChange::Everyone), owning),
        (share(&entry(), AudienceChange::Nobody), owning),
        (add(&entry(), &["carol"]), owning),
        (remove(&entry(), &["bob"]), owning),
        (Request::PlanOffer { offer: OfferId(1) }, reading),
        (Request::Answer { offer: OfferId(1), answer: Answer::Accept }, [forbidden, granted, not_found, not_joined]),
        (Request::List(Query::default()), own_only),
        (Request::Search { text: SECRET.to_owned(), query: Query::default() }, own_only),
        (Request::Subscriptions, own_only),
        (Request::Offers, own_only),
        (Request::History, own_only),
        (Request::Chat { text: "x".to_owned() }, own_only),
        (Request::Unsubscribe { entry: entry() }, own_only),
        (Request::Users, own_only),
    ];
    for (request, wanted) in &cases {
        for (role, wanted) in wanted.iter().enumerate() {
            let (mut world, peers) = roles();
            assert_eq!(verdict(&mut world, peers[role], request), *wanted, "{request:?} by role {role}");
        }
    }
    let (mut world, [_, named, other, _]) = roles();
    for by in [SortBy::Name, SortBy::Size, SortBy::Date, SortBy::Seeders] {
        for (peer, wanted) in [(named, 1), (other, 0)] {
            let query = Query { by, ..Query::default() };
            for request in [
                Request::List(query),
                Request::Search { text: "secret".to_owned(), query },
                Request::Search { text: "alice".to_owned(), query },
                Request::Search { text: "*".to_owned(), query },
            ] {
                let Reply::Entries { entries, total } = world.reply(peer, request) else { panic!("entries") };
                assert_eq!((entries.len(), total), (wanted, u32::try_from(wanted).unwrap()));
            }
        }
    }
}
