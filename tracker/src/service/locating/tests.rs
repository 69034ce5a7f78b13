use std::collections::BTreeSet;

use common::id::{FileId, Hash};
use common::wire::MAX_TRACKER_FRAME;
use common::wire::tracker::{FromTracker, Request};

use super::super::testing::{World, file, hello, identity, told};
use super::*;

fn map(text: &str) -> Have {
    Have::Map(text.to_owned())
}

fn loc(world: &mut World, peer: PeerId, entry: &str, offset: u32) -> (Vec<Holder>, Option<u32>) {
    match world.reply(peer, Request::Loc { entry: entry.to_owned(), offset }) {
        Reply::Locations { holders, next, .. } => (holders, next),
        other => panic!("{other:?}"),
    }
}

fn announced(content: Content, have: Have) -> Announced {
    Announced { content, audience: Audience::Public, have }
}

/// Announces for a peer, and tells nobody.
fn have(world: &World, peer: PeerId, content: Content, have: Have) {
    assert_eq!(announce(&world.state.index, peer, &[announced(content, have)]).refusal, None);
}

#[test]
fn loc_shows_who_has_which_chunks_the_complete_first() {
    let mut world = World::new();
    let [a, b, c] = [1, 2, 3].map(|number| world.join(number, &format!("p{number}")));
    world.register(a, "x", file(1));
    world.announce(a, file(1), map("0001"));
    world.announce(b, file(1), Have::All);
    world.announce(c, file(1), Have::Add(vec![0, 15]));
    let (holders, next) = loc(&mut world, a, "x", 0);
    assert_eq!((holders[0].peer, holders[0].have.clone()), (b, Some(Have::All)));
    let rest: BTreeSet<_> = holders[1..].iter().map(|h| (h.user.clone(), format!("{:?}", h.have))).collect();
    let want = [("p1", r#"Some(Map("0001"))"#), ("p3", r#"Some(Map("8001"))"#)];
    assert_eq!(rest, want.map(|(user, have)| (user.to_owned(), have.to_owned())).into());
    assert_eq!(next, None);
    world.announce(c, file(1), Have::Add(vec![1]));
    world.announce(b, file(1), Have::None);
    let (holders, _) = loc(&mut world, a, "x", 0);
    assert!(holders.iter().any(|h| h.peer == c && h.have == Some(map("c001"))), "{holders:?}");
    assert_eq!(holders.len(), 2);
    world.leave(c);
    assert_eq!(loc(&mut world, a, "x", 0).0.len(), 1);
}

#[test]
fn loc_comes_in_parts_that_fit_a_frame() {
    let mut world = World::new();
    // 2^19 chunks: a map has 131,072 hex digits.
    let huge = FileId::new(8 << 40, Hash([1; 32])).unwrap().into();
    let peers: Vec<PeerId> = (0..10).map(|number| world.join(number, &format!("p{number}"))).collect();
    world.register(peers[0], "x", huge);
    for peer in &peers {
        have(&world, *peer, huge, Have::Add(vec![7]));
    }
    let (mut offset, mut seen, mut parts) = (Some(0), BTreeSet::new(), 0);
    while let Some(from) = offset {
        let result = world.reply(peers[0], Request::Loc { entry: "x".to_owned(), offset: from });
        let Reply::Locations { holders, next, .. } = &result else { panic!("{result:?}") };
        seen.extend(holders.iter().map(|holder| holder.peer));
        assert!(holders.iter().all(|holder| holder.have.is_some()));
        (offset, parts) = (*next, parts + 1);
        assert!(FromTracker::Reply { id: 1, result }.to_frame().unwrap().len() <= MAX_TRACKER_FRAME);
    }
    assert_eq!((seen.len(), parts), (10, 3));
    assert_eq!(loc(&mut world, peers[0], "x", u32::MAX), (Vec::new(), None));
}

#[test]
fn a_plan_has_entry_ticket_and_the_holders_but_not_the_caller() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    world.register(alice, "x", file(1));
    world.announce(alice, file(1), Have::All);
    let (plan, _) = world.plan(bob, "x");
    assert_eq!((plan.entry.seeders, plan.entry.downloaders), (1, 1), "the caller is in it now");
    assert_eq!(plan.holders.iter().map(|holder| holder.peer).collect::<Vec<_>>(), [alice]);
    assert_eq!(plan.holders[0].addresses, ["192.0.2.1:4000".parse().unwrap()]);
    let bytes = HEXLOWER.decode(plan.ticket.as_bytes()).unwrap();
    let ticket = Ticket::verify(&bytes, &world.state.identity.public_key()).unwrap();
    assert_eq!(
        ticket,
        Ticket {
            network: NetworkId(world.state.identity.peer_id().0),
            audience: Audience::Public,
            swarm: file(1),
            holder: identity(2).public_key(),
            not_before_ms: world.now.unix_ms - 60_000,
            expires_ms: world.now.unix_ms + 3_600_000,
        }
    );
}

#[test]
fn tickets_are_for_what_is_in_the_catalogue() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    world.register(alice, "x", file(1));
    world.announce(alice, file(2), Have::All);
    let plan = |entry: &str, content| Request::Plan { entry: entry.to_owned(), content: Some(content) };
    for entry in ["x", "alice/x"] {
        assert!(matches!(world.reply(bob, plan(entry, file(1))), Reply::Plan(_)));
        assert_eq!(world.refused(bob, plan(entry, file(2))), Code::Changed);
    }
    world.reply(alice, Request::Deregister { entry: "x".to_owned() });
    assert_eq!(world.refused(bob, plan("x", file(1))), Code::NotFound);
}

#[test]
fn a_plan_does_not_take_away_what_its_caller_has() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    world.register(alice, "x", file(1));
    world.announce(bob, file(1), map("8000"));
    let (_, effects) = world.plan(bob, "x");
    assert_eq!(effects, []);
    assert_eq!(loc(&mut world, alice, "x", 0).0[0].have, Some(map("8000")));
    world.announce(bob, file(1), Have::All);
    world.plan(bob, "x");
    assert_eq!(loc(&mut world, alice, "x", 0).0[0].have, Some(Have::All));
}

#[test]
fn nobody_waits_for_an_empty_file() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    let empty = FileId::new(0, Hash([1; 32])).unwrap().into();
    world.register(alice, "x", empty);
    let (plan, effects) = world.plan(bob, "x");
    assert_eq!((plan.holders, effects, world.state.index.swarm_count()), (vec![], vec![], 0));
    world.announce(alice, empty, Have::of(&Bitmap::empty(0)));
    assert_eq!(world.plan(bob, "x").0.holders.len(), 1);
}

#[test]
fn downloaders_hear_of_new_holders_once() {
    let mut world = World::new();
    let [a, b, c, d] = [1, 2, 3, 4].map(|number| world.join(number, &format!("p{number}")));
    world.register(a, "x", file(1));
    assert_eq!(world.announce(a, file(1), Have::All), [], "nobody wants it yet");
    assert_eq!(told(&world.plan(b, "x").1), []);
    // They find each other, before either has anything.
    assert_eq!(told(&world.plan(c, "x").1), [(b, c)]);
    assert_eq!(world.plan(c, "x").1, []);
    let mut both = [(b, d), (c, d)];
    both.sort_unstable();
    assert_eq!(told(&world.announce(d, file(1), Have::All)), both);
    assert_eq!(world.announce(d, file(1), Have::All), []);
    // What a downloader gets it tells the others itself.
    assert_eq!(world.announce(b, file(1), map("8000")), []);
    assert_eq!(world.announce(b, file(1), Have::Add(vec![3])), []);
    assert_eq!(told(&world.announce(b, file(1), Have::All)), [(c, b)]);
    // One that wants no more hears no more.
    world.announce(c, file(1), Have::None);
    world.announce(a, file(1), Have::None);
    assert_eq!(world.announce(a, file(1), Have::All), []);
}

#[test]
fn an_event_says_what_the_holder_has_and_where_it_is_for_that_downloader() {
    let mut world = World::new();
    let near = world.join_from(1, &hello("near"), "198.51.100.1:1").map(|_| identity(1).peer_id()).unwrap();
    let far = world.join_from(2, &hello("far"), "198.51.100.2:1").map(|_| identity(2).peer_id()).unwrap();
    for peer in [near, far] {
        world.announce(peer, file(1), map("0000"));
    }
    let mut seeder = hello("seeder");
    seeder.interfaces.push("10.0.0.3".parse().unwrap());
    world.join_from(3, &seeder, "198.51.100.1:2").unwrap();
    let effects = world.announce(identity(3).peer_id(), file(1), map("c000"));
    for (peer, addresses) in [(near, &["10.0.0.3:4000", "198.51.100.1:4000"][..]), (far, &["198.51.100.1:4000"])] {
        let holder = Holder {
            peer: identity(3).peer_id(),
            user: "seeder".to_owned(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            have: Some(map("c000")),
        };
        assert!(effects.contains(&Effect::Tell {
            to: peer,
            event: Event::Holder { content: file(1), audience: Audience::Public, holder }
        }));
    }
}

#[test]
fn a_long_map_is_left_to_the_holder() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    let huge = FileId::new(8 << 40, Hash([1; 32])).unwrap().into();
    have(&world, alice, huge, Have::Add(vec![]));
    let effects = world.announce(bob, huge, Have::Add(vec![1]));
    let [Effect::Tell { event: Event::Holder { holder, .. }, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(holder.have, None);
}

#[test]
fn a_plan_has_the_complete_first_and_50_at_most() {
    let mut world = World::new();
    let peers: Vec<PeerId> = (0..=99).map(|number| world.join(number, &format!("p{number}"))).collect();
    world.register(peers[0], "x", file(1));
    for (number, peer) in peers.iter().enumerate().skip(1) {
        let chunks = match number {
            1..=10 => Have::All,
            11..=30 => map("8000"),
            _ => map("0000"),
        };
        have(&world, *peer, file(1), chunks);
    }
    let (plan, _) = world.plan(peers[0], "x");
    let stock = |holder: &Holder| match &holder.have {
        Some(Have::All) => 2,
        Some(Have::Map(hex)) if hex != "0000" => 1,
        _ => 0,
    };
    let stocks: Vec<u8> = plan.holders.iter().map(stock).collect();
    assert_eq!(stocks, [vec![2; 10], vec![1; 20], vec![0; 20]].concat());
    assert!(plan.holders.iter().all(|holder| holder.peer != peers[0]));
}

#[test]
fn plans_share_the_work_among_seeders() {
    let mut world = World::new();
    let peers: Vec<PeerId> = (0..=160).map(|number| world.join(number, &format!("p{number}"))).collect();
    world.register(peers[0], "x", file(1));
    for peer in &peers[1..] {
        have(&world, *peer, file(1), Have::All);
    }
    // 3 plans of 50 of the 160 are 150 different ones.
    let mut given = BTreeSet::new();
    for _ in 0..3 {
        given.extend(world.plan(peers[0], "x").0.holders.iter().map(|holder| holder.peer));
    }
    assert_eq!(given.len(), 150);
    // As time goes by who was given is forgotten, and chance decides.
    world.pass(Duration::from_secs(3600));
    let (first, second) = (world.plan(peers[0], "x").0, World::plan(&mut world, peers[0], "x").0);
    assert_ne!(first.holders, second.holders);
}

#[test]
fn maps_of_a_plan_fit_a_frame_and_the_rest_is_left_out() {
    let mut world = World::new();
    let huge = FileId::new(8 << 40, Hash([1; 32])).unwrap().into();
    let peers: Vec<PeerId> = (0..20).map(|number| world.join(number, &format!("p{number}"))).collect();
    world.register(peers[0], "x", huge);
    for peer in &peers[1..] {
        have(&world, *peer, huge, Have::Add(vec![0]));
    }
    let (plan, _) = world.plan(peers[0], "x");
    assert_eq!(plan.holders.len(), 19);
    assert_eq!(plan.holders.iter().filter(|holder| holder.have.is_some()).count(), 4);
    let frame = FromTracker::Reply { id: 1, result: Reply::Plan(plan) }.to_frame().unwrap();
    assert!(frame.len() <= MAX_TRACKER_FRAME);
}

#[test]
fn an_announcement_that_makes_no_sense_changes_nothing() {
    let mut world = World::new();
    let alice = world.join(1, "alice");
    for have in [map("00"), map("zzzz"), map("000g"), Have::Add(vec![0, 16])] {
        let swarms = vec![announced(file(2), Have::All), announced(file(1), have)];
        assert_eq!(world.refused(alice, Request::Announce { swarms }), Code::Malformed);
        assert_eq!(world.state.index.swarm_count(), 0);
    }
    let swarms = vec![announced(file(1), Have::All); MAX_ANNOUNCED + 1];
    assert_eq!(world.refused(alice, Request::Announce { swarms }), Code::Limit);
}

#[test]
fn a_peer_takes_up_only_so_much() {
    let mut world = World::new();
    let alice = world.join(1, "alice");
    let numbered = |number: u32| {
        let mut root = [0; 32];
        root[..4].copy_from_slice(&number.to_be_bytes());
        Content::File(FileId::new(1, Hash(root)).unwrap())
    };
    for part in 0..100 {
        let swarms = (0..1000).map(|n| announced(numbered(part * 1000 + n), Have::All)).collect();
        assert_eq!(world.reply(alice, Request::Announce { swarms }), Reply::Done);
    }
    let swarms = vec![announced(numbered(u32::MAX), Have::All)];
    assert_eq!(world.refused(alice, Request::Announce { swarms }), Code::Limit);
    world.leave(alice);
    assert_eq!(world.state.index.swarm_count(), 0);
}

#[test]
fn what_is_for_some_is_a_swarm_of_theirs() {
    let mut world = World::new();
    let [alice, bob, carol] = [(1, "alice"), (2, "bob"), (3, "carol")].map(|(key, name)| world.join(key, name));
    let audience = Audience::Entry("alice/x".parse().unwrap());
    world.register_for(alice, "x", file(1), &["bob"]);
    for peer in [alice, bob, carol] {
        world.announce_for(peer, file(1), audience.clone(), Have::All);
        world.announce_for(peer, file(2), audience.clone(), Have::All);
    }
    let (plan, _) = world.plan(bob, "x");
    assert_eq!((plan.entry.seeders, &plan.audience, plan.entry.restricted), (2, &audience, true));
    assert_eq!(plan.holders.iter().map(|holder| holder.peer).collect::<Vec<_>>(), [alice]);
    let bytes = HEXLOWER.decode(plan.ticket.as_bytes()).unwrap();
    let ticket = Ticket::verify(&bytes, &world.state.identity.public_key()).unwrap();
    assert_eq!((ticket.audience, ticket.swarm), (audience.clone(), file(1)));
    assert_eq!(world.state.index.swarm_count(), 1, "no version names the other content");
    // The same content under a name of her own does not help carol to those who have it.
    world.register(carol, "mine", file(1));
    let (plan, _) = world.plan(carol, "mine");
    assert_eq!((plan.holders, plan.audience), (vec![], Audience::Public));
    assert_eq!(loc(&mut world, bob, "alice/x", 0).0.len(), 2);
    // Who withdraws is always heard, also when the entry is gone.
    world.reply(alice, Request::Deregister { entry: "x".to_owned() });
    for peer in [alice, bob] {
        world.announce_for(peer, file(1), audience.clone(), Have::None);
    }
    assert_eq!(world.state.index.counts(&SwarmKey::new(&file(1), &audience)).seeders, 0);
}

#[test]
fn who_was_in_a_swarm_before_it_was_for_others_is_not_told_of_them() {
    let mut world = World::new();
    let (alice, bob) = (world.join(1, "alice"), world.join(2, "bob"));
    let audience = Audience::Entry("alice/x".parse().unwrap());
    world.register_for(alice, "x", file(1), &["bob"]);
    world.announce_for(bob, file(1), audience, Have::Add(vec![1]));
    world.reply(alice, Request::Deregister { entry: "x".to_owned() });
    world.register_for(alice, "x", file(1), &[]);
    let (plan, effects) = world.plan(alice, "x");
    assert_eq!((plan.holders, effects), (vec![], vec![]), "nor is he told of her");
    assert_eq!(loc(&mut world, alice, "x", 0).0.len(), 1, "alice, who planned it");
}
