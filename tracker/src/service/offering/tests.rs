use common::wire::MAX_TRACKER_FRAME;
use common::wire::tracker::{FromTracker, Have, Plan, Request};

use super::super::testing::{World, file};
use super::*;

fn request(name: &str, number: u8, to: Option<&[&str]>) -> Request {
    let to = to.map(|users| users.iter().map(|user| (*user).to_owned()).collect());
    Request::Offer { name: name.to_owned(), content: file(number), folder: None, to }
}

fn offer(world: &mut World, peer: PeerId, to: Option<&[&str]>) -> (OfferId, Vec<String>) {
    match world.reply(peer, request("doug.png", 1, to)) {
        Reply::Offered { offer, to } => (offer, to),
        other => panic!("{other:?}"),
    }
}

fn answer(offer: OfferId, answer: Answer) -> Request {
    Request::Answer { offer, answer }
}

fn completed(offer: OfferId, number: u8) -> Request {
    Request::Completed { entry: "alice/doug.png".to_owned(), content: file(number), audience: Audience::Offer(offer) }
}

/// What a user was offered, and what it sent with what the receivers made of that.
type Seen = (Vec<(OfferId, OfferState)>, Vec<(OfferId, OfferState, Vec<(String, OfferState)>)>);

fn seen(world: &mut World, peer: PeerId) -> Seen {
    let Reply::Offers { received, sent } = world.reply(peer, Request::Offers) else { panic!("offers") };
    let sent = sent.into_iter().map(|sent| {
        let to = sent.to.into_iter().map(|receiver| (receiver.user, receiver.state)).collect();
        (sent.offer.id, sent.offer.state, to)
    });
    (received.into_iter().map(|offer| (offer.id, offer.state)).collect(), sent.collect())
}

/// Who is told what of the answers.
fn answered(effects: &[Effect]) -> Vec<(PeerId, String, OfferState)> {
    let told = effects.iter().filter_map(|effect| match effect {
        Effect::Tell { to, event: Event::Answered { receiver, .. } } => {
            Some((*to, receiver.user.clone(), receiver.state))
        }
        _ => None,
    });
    told.collect()
}

fn four(world: &mut World) -> [PeerId; 4] {
    [(1, "alice"), (2, "bob"), (3, "carol"), (4, "dave")].map(|(key, name)| world.join(key, name))
}

#[test]
fn one_accepts_and_one_refuses_and_the_sender_sees_it() {
    let mut world = World::new();
    let [alice, bob, carol, dave] = four(&mut world);
    let outcome = world.ask(alice, request("doug.png", 1, Some(&["bob", "carol", "alice"])));
    let told: BTreeSet<PeerId> = outcome
        .effects
        .iter()
        .map(|effect| match effect {
            Effect::Tell { to, event: Event::Offered(offer) } if offer.from == "alice" => *to,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [bob, carol].into());
    let Ok(Reply::Offered { offer: id, to }) = outcome.reply else { panic!("offered") };
    assert_eq!((id, to), (OfferId(1), vec!["bob".to_owned(), "carol".to_owned()]));
    assert_eq!(seen(&mut world, bob).0, [(id, OfferState::Offered)]);
    assert_eq!(seen(&mut world, dave), (vec![], vec![]));

    let nothing_yet = OfferState::Accepted { percent: Some(0) };
    let effects = world.ask(bob, answer(id, Answer::Accept)).effects;
    assert_eq!(answered(&effects), [(alice, "bob".to_owned(), nothing_yet)]);
    let effects = world.ask(carol, answer(id, Answer::Refuse)).effects;
    assert_eq!(answered(&effects), [(alice, "carol".to_owned(), OfferState::Refused)]);
    assert_eq!(seen(&mut world, carol), (vec![], vec![]));

    world.announce_for(bob, file(1), Audience::Offer(id), Have::Map("f000".to_owned()));
    let half = OfferState::Accepted { percent: Some(25) };
    let to = |bob| vec![("bob".to_owned(), bob), ("carol".to_owned(), OfferState::Refused)];
    assert_eq!(seen(&mut world, alice).1, [(id, OfferState::Refused, to(half))]);
    world.leave(bob);
    assert_eq!(seen(&mut world, alice).1[0].2, to(OfferState::Accepted { percent: None }));
    world.join(2, "bob");
    let outcome = world.ask(bob, completed(id, 1));
    assert_eq!(answered(&outcome.effects), [(alice, "bob".to_owned(), OfferState::Done)]);
    assert_eq!(outcome.when, super::super::When::Committed);
    assert_eq!(seen(&mut world, alice).1[0].2, to(OfferState::Done));
}

#[test]
fn sender_and_those_who_accepted_find_each_other_and_nobody_else_does() {
    let mut world = World::new();
    let [alice, bob, carol, dave] = four(&mut world);
    let (id, to) = offer(&mut world, alice, Some(&["bob", "carol"]));
    assert_eq!(to, ["bob", "carol"]);
    world.reply(bob, answer(id, Answer::Accept));
    for peer in [alice, bob, carol, dave] {
        world.announce_for(peer, file(1), Audience::Offer(id), Have::All);
    }
    let holders = |world: &mut World, peer| match world.reply(peer, Request::PlanOffer { offer: id }) {
        Reply::Plan(Plan { holders, audience, entry, .. }) => {
            assert_eq!((audience, entry.owners, entry.version), (Audience::Offer(id), vec!["alice".to_owned()], 0));
            holders.into_iter().map(|holder| holder.peer).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(holders(&mut world, bob), [alice]);
    assert_eq!(holders(&mut world, alice), [bob]);
    assert_eq!(world.refused(carol, Request::PlanOffer { offer: id }), Code::Forbidden);
    assert_eq!(world.refused(dave, Request::PlanOffer { offer: id }), Code::NotFound);
    assert_eq!(world.refused(dave, answer(id, Answer::Accept)), Code::NotFound);
    assert_eq!(world.refused(alice, answer(id, Answer::Accept)), Code::Forbidden);
    assert_eq!(world.refused(bob, answer(OfferId(99), Answer::Accept)), Code::NotFound);
    // Who changes his mind is out at once, and may come back.
    let effects = world.ask(bob, answer(id, Answer::Refuse)).effects;
    assert!(effects.iter().any(|effect| matches!(effect, Effect::TellAll(Event::Revoked { .. }))));
    assert_eq!(world.refused(bob, Request::PlanOffer { offer: id }), Code::Forbidden);
    assert_eq!(holders(&mut world, alice), []);
    world.reply(bob, answer(id, Answer::Accept));
    assert_eq!(holders(&mut world, bob), [alice]);
}

#[test]
fn it_is_the_device_that_accepted_that_has_it_in_the_end() {
    let mut world = World::new();
    let [alice, bob, ..] = four(&mut world);
    let phone = world.another_device(9, "bob");
    let (id, _) = offer(&mut world, alice, Some(&["bob"]));
    world.reply(bob, answer(id, Answer::Accept));
    for (peer, number) in [(phone, 1), (bob, 2), (alice, 1)] {
        world.reply(peer, completed(id, number));
    }
    assert!(matches!(seen(&mut world, bob).0[0].1, OfferState::Accepted { .. }));
    world.reply(phone, answer(id, Answer::Accept));
    world.reply(phone, completed(id, 1));
    assert_eq!(seen(&mut world, bob).0[0].1, OfferState::Done);
    assert_eq!(world.refused(bob, answer(id, Answer::Refuse)), Code::Conflict);
    assert_eq!(world.reply(bob, answer(id, Answer::Accept)), Reply::Done);
}

#[test]
fn an_offer_to_all_goes_to_the_users_who_are_online() {
    let mut world = World::new();
    let alice = world.join(1, "alice");
    world.another_device(9, "alice");
    assert_eq!(world.refused(alice, request("x", 1, None)), Code::Gone);
    let bob = world.join(2, "bob");
    world.join(3, "carol");
    world.leave(bob);
    assert_eq!(offer(&mut world, alice, None).1, ["carol"]);
    assert_eq!(offer(&mut world, alice, Some(&["bob"])).1, ["bob"], "he sees it when he is back");
    world.join(2, "bob");
    assert_eq!(seen(&mut world, bob).0.len(), 1);
}

#[test]
fn an_offer_names_what_there_can_be_and_users_who_are() {
    let mut world = World::new();
    let [alice, ..] = four(&mut world);
    assert_eq!(world.refused(alice, request("../x", 1, Some(&["bob"]))), Code::BadName);
    assert_eq!(world.refused(alice, request("x", 1, Some(&["Bob"]))), Code::BadName);
    assert_eq!(world.refused(alice, request("x", 1, Some(&["bobb"]))), Code::NotFound);
    assert_eq!(world.refused(alice, request("x", 1, Some(&["alice"]))), Code::Malformed);
    assert_eq!(world.refused(alice, request("x", 1, Some(&[]))), Code::Malformed);
    assert_eq!(world.refused(alice, request("x", 1, Some(&["bob"; MAX_USERS_NAMED + 1]))), Code::Limit);
}

#[test]
fn settled_offers_make_room_and_no_number_comes_twice() {
    let mut world = World::new();
    let [alice, bob, ..] = four(&mut world);
    let mut last = OfferId(0);
    for _ in 0..MAX_OFFERS + 50 {
        let (id, _) = offer(&mut world, alice, Some(&["bob"]));
        assert!(id > last);
        last = id;
        world.reply(bob, answer(id, Answer::Refuse));
    }
    assert_eq!(seen(&mut world, alice).1.len(), MAX_OFFERS);
    for _ in 0..MAX_UNANSWERED {
        offer(&mut world, alice, Some(&["bob"]));
    }
    assert_eq!(world.refused(alice, request("x", 1, Some(&["bob"]))), Code::Limit);
    assert_eq!(offer(&mut world, alice, Some(&["carol"])).1, ["carol"], "others may answer sooner");
    assert_eq!(offer(&mut world, alice, None).1, ["carol", "dave"], "nor do they wait for him");
    world.pass(std::time::Duration::from_millis(OFFER_KEPT_MS));
    assert_eq!(offer(&mut world, alice, None).1, ["bob", "carol", "dave"]);
    // All of them at once are gone, and the numbers go on.
    let all: Vec<OfferId> = world.state.offers().of(&"alice".parse().unwrap()).map(|(id, _)| id).collect();
    let newest = *all.last().unwrap();
    world.apply(all.into_iter().map(|id| Write::Offer(id, None)).collect());
    assert!(offer(&mut world, alice, Some(&["bob"])).0 > newest);
}

#[test]
fn a_user_whose_offers_nobody_answers_finds_no_room_for_more() {
    let mut world = World::new();
    let alice = world.join(200, "alice");
    let receivers: Vec<String> = (0..11).map(|number| format!("u{number}")).collect();
    for (number, name) in (1..).zip(&receivers) {
        world.join(number, name);
    }
    for number in 0..MAX_OFFERS {
        offer(&mut world, alice, Some(&[receivers[number / MAX_UNANSWERED].as_str()]));
    }
    assert_eq!(world.refused(alice, request("x", 1, Some(&["u10"]))), Code::Limit);
    world.pass(std::time::Duration::from_millis(OFFER_KEPT_MS));
    offer(&mut world, alice, Some(&["u10"]));
}

#[test]
fn the_longest_list_of_offers_fits_a_frame() {
    let mut world = World::new();
    let alice = world.join(1, "alice");
    let receivers: BTreeMap<UserName, Response> =
        (0..500).map(|number| (format!("{number:0>32}").parse().unwrap(), Response::Refused)).collect();
    for number in 0..200 {
        let record = OfferRecord {
            from: "alice".parse().unwrap(),
            name: "\"".repeat(255).parse().unwrap(),
            content: file(1),
            folder: None,
            at_ms: 1,
            receivers: receivers.clone(),
        };
        world.apply(vec![Write::Offer(OfferId(number), Some(record))]);
    }
    let result = world.reply(alice, Request::Offers);
    assert!(matches!(&result, Reply::Offers { sent, .. } if sent[0].offer.id == OfferId(199)));
    let frame = FromTracker::Reply { id: u64::MAX, result }.to_frame().unwrap();
    assert!((MAX_TRACKER_FRAME / 2..=MAX_TRACKER_FRAME).contains(&frame.len()), "{}", frame.len());
}
