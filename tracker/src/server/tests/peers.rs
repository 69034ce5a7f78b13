//! Peers as they should be.

use common::wire::tracker::{Event, Have, Query, Reply, Request};
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
