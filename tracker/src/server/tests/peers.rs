//! Peers as they should be.

use common::audience::Audience;
use common::wire::tracker::{Announced, AudienceChange, Code, Event, Have, Query, Reply, Request};
use tempfile::TempDir;

use super::{Running, file};

#[tokio::test]
async fn peers_register_list_plan_and_hear_of_each_other() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut alice = tracker.join("alice").await;
    let mut bob = tracker.join("bob").await;
    let joined = alice.event(|event| matches!(event, Event::Joined { name, .. } if name == "bob").then_some(())).await;
    assert_eq!(joined, ());
    alice.register("doug.png", file(1)).await.unwrap();
    alice.announce(file(1), Have::All).await.unwrap();
    let Ok(Reply::Entries { entries, total: 1 }) = bob.ask(Request::List(Query::default())).await else {
        panic!("one entry")
    };
    assert_eq!((entries[0].owners[0].as_str(), entries[0].seeders), ("alice", 1));
    let plan = Request::Plan { entry: "doug.png".to_owned(), content: None };
    let Ok(Reply::Plan(plan)) = bob.ask(plan).await else { panic!("a plan") };
    assert_eq!((plan.holders.len(), plan.holders[0].peer), (1, alice.peer()));
    assert_eq!(plan.holders[0].addresses, ["127.0.0.1:4000".parse().unwrap()]);
    let mut carol = tracker.join("carol").await;
    carol.announce(file(1), Have::All).await.unwrap();
    let holder = |event: &Event| match event {
        Event::Holder { holder, .. } => Some(holder.clone()),
        _ => None,
    };
    assert_eq!(bob.event(holder).await.user, "carol");
    drop((alice, bob, carol));
    tracker.stop().await.unwrap();
}

/// Announcements for everybody and for some go two ways inside.
#[tokio::test]
async fn what_is_for_some_is_had_by_them_and_by_nobody_else() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let [mut alice, mut bob, mut carol] =
        [tracker.join("alice").await, tracker.join("bob").await, tracker.join("carol").await];
    let users = Some(vec!["bob".to_owned(), "carol".to_owned()]);
    let register = Request::Register { name: "x".to_owned(), content: file(1), folder: None, users };
    let Ok(Reply::Registered { audience, .. }) = alice.ask(register).await else { panic!("registered") };
    alice.register("y", file(2)).await.unwrap();
    let both = |have: Have| Request::Announce {
        swarms: vec![
            Announced { content: file(1), audience: audience.clone(), have: have.clone() },
            Announced { content: file(2), audience: Audience::Public, have },
        ],
    };
    let plan = |entry: &str| Request::Plan { entry: entry.to_owned(), content: None };
    for client in [&mut alice, &mut carol] {
        assert_eq!(client.ask(both(Have::All)).await, Ok(Reply::Done));
    }
    for entry in ["x", "y"] {
        let Ok(Reply::Plan(plan)) = bob.ask(plan(entry)).await else { panic!("a plan of {entry}") };
        assert_eq!(plan.holders.len(), 2, "{entry}");
    }
    carol.ask(Request::Subscribe { entry: "x".to_owned() }).await.unwrap();
    let unshare = AudienceChange::Remove(vec!["carol".to_owned()]);
    alice.ask(Request::Share { entry: "x".to_owned(), change: unshare }).await.unwrap();
    carol.event(|event| matches!(event, Event::Gone { entry } if entry == "alice/x").then_some(())).await;
    let revoked = |event: &Event| match event {
        Event::Revoked { revocations } => Some(revocations[0].holder),
        _ => None,
    };
    assert_eq!(bob.event(revoked).await, carol.peer());
    assert_eq!(carol.ask(both(Have::All)).await, Ok(Reply::Done));
    assert_eq!(carol.refused(plan("alice/x")).await, Code::NotFound);
    let Ok(Reply::Plan(plan)) = bob.ask(plan("x")).await else { panic!("a plan") };
    assert_eq!(plan.holders.iter().map(|holder| holder.peer).collect::<Vec<_>>(), [alice.peer()]);
    drop((alice, bob, carol));
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn versions_subscriptions_and_offers_are_there_after_a_restart() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let (mut alice, mut bob) = (tracker.join("alice").await, tracker.join("bob").await);
    alice.register("x", file(1)).await.unwrap();
    bob.ask(Request::Subscribe { entry: "x".to_owned() }).await.unwrap();
    alice.register("x", file(2)).await.unwrap();
    let updated = |event: &Event| match event {
        Event::Updated { entry } => Some(entry.version),
        _ => None,
    };
    assert_eq!(bob.event(updated).await, 2);
    let offer = |number| Request::Offer { name: "z".to_owned(), content: file(number), folder: None, to: None };
    let Ok(Reply::Offered { offer: first, .. }) = alice.ask(offer(3)).await else { panic!("offered") };
    drop((alice, bob));
    tracker.stop().await.unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let (mut alice, mut bob) = (tracker.join("alice").await, tracker.join("bob").await);
    let Ok(Reply::Versions { versions, .. }) = alice.ask(Request::Versions { entry: "x".to_owned() }).await else {
        panic!("versions")
    };
    assert_eq!(versions.iter().map(|version| version.number).collect::<Vec<_>>(), [2, 1]);
    let Ok(Reply::Subscriptions { subscriptions }) = bob.ask(Request::Subscriptions).await else {
        panic!("subscriptions")
    };
    assert_eq!(subscriptions[0].newest.as_ref().map(|entry| entry.version), Some(2));
    let Ok(Reply::Offers { received, .. }) = bob.ask(Request::Offers).await else { panic!("offers") };
    assert_eq!(received.iter().map(|offer| offer.id).collect::<Vec<_>>(), [first]);
    let Ok(Reply::Offered { offer: second, .. }) = alice.ask(offer(4)).await else { panic!("offered") };
    assert!(second > first);
    drop((alice, bob));
    tracker.stop().await.unwrap();
}
