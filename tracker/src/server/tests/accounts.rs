//! Accounts over real sockets: who gets in, who is thrown out, and what guessing passwords comes to.

use std::time::{Duration, Instant};

use common::wire::tracker::{Access as WireAccess, Code, Event, Have, Reply, Request};
use tempfile::TempDir;

use super::client::secret;
use super::{Client, PATIENCE, Running, file};
use crate::Access;

const PASSWORD: &str = "correct horse";

/// Signs up on a connection of its own, and joins.
async fn signed_up(tracker: &Running, name: &str) -> Client {
    let mut before = tracker.connect(name).await;
    let reply = before.sign_up(name, PASSWORD).await;
    assert_eq!(reply, Ok(Reply::LoggedIn { name: name.to_owned() }));
    drop(before);
    tracker.join(name).await
}

#[tokio::test]
async fn people_sign_up_log_in_on_another_device_and_out_again() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |config| config.access = Access::Accounts).await;
    let mut laptop = tracker.connect("laptop").await;
    assert_eq!(laptop.hello("alice").await.unwrap_err().code, Code::LoginRequired);
    // The same connection may sign up, and join then.
    laptop.sign_up("alice", PASSWORD).await.unwrap();
    let welcome = laptop.hello("alice").await.unwrap();
    assert_eq!((welcome.name.as_str(), welcome.account, welcome.access), ("alice", true, WireAccess::Accounts));
    laptop.register("x", file(1)).await.unwrap();
    let mut phone = tracker.connect("phone").await;
    assert_eq!(phone.log_in("alice", "wrong password").await.unwrap_err().code, Code::WrongPassword);
    phone.log_in("alice", PASSWORD).await.unwrap();
    assert_eq!(phone.hello("phone").await.unwrap().name, "alice");
    let Ok(Reply::Devices { devices }) = phone.ask(Request::Devices).await else { panic!("devices") };
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    assert!(names.contains(&"alice's machine") && names.len() == 2, "{names:?}");
    let change = Request::ChangePassword { old: secret(PASSWORD), new: secret("battery staple") };
    assert_eq!(phone.ask(change.clone()).await, Ok(Reply::Done));
    assert_eq!(phone.refused(change).await, Code::WrongPassword);
    assert_eq!(phone.ask(Request::LogOut).await, Ok(Reply::Done));
    assert!(phone.ends().await);
    let mut phone = tracker.connect("phone").await;
    assert_eq!(phone.hello("alice").await.unwrap_err().code, Code::LoginRequired);
    assert_eq!(phone.log_in("alice", PASSWORD).await.unwrap_err().code, Code::WrongPassword);
    phone.log_in("alice", "battery staple").await.unwrap();
    // All of it is there after a start.
    tracker.stop().await.unwrap();
    let tracker = Running::start(&directory, |config| config.access = Access::Accounts).await;
    let mut phone = tracker.connect("phone").await;
    phone.hello("alice").await.unwrap();
    assert!(phone.ask(Request::Deregister { entry: "x".to_owned() }).await.is_ok());
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn who_signs_up_joins_anew_and_a_guest_keeps_its_entries() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut guest = tracker.join("guest").await;
    guest.register("x", file(1)).await.unwrap();
    let mut before = tracker.connect("guest").await;
    assert_eq!(before.sign_up("guest", "short").await.unwrap_err().code, Code::Malformed);
    before.sign_up("guest", PASSWORD).await.unwrap();
    assert!(guest.ends().await);
    let mut guest = tracker.connect("guest").await;
    assert!(guest.hello("guest").await.unwrap().account);
    assert!(guest.ask(Request::Deregister { entry: "x".to_owned() }).await.is_ok());
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn a_device_that_is_thrown_out_is_gone_at_once_and_everybody_hears_of_its_tickets() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut laptop = signed_up(&tracker, "alice").await;
    let mut phone = tracker.connect("phone").await;
    phone.log_in("alice", PASSWORD).await.unwrap();
    phone.hello("alice").await.unwrap();
    phone.announce(file(1), Have::All).await.unwrap();
    let mut seeder = tracker.join("seeder").await;
    assert_eq!(laptop.ask(Request::Revoke { device: phone.peer() }).await, Ok(Reply::Done));
    assert!(phone.ends().await);
    let thrown_out = phone.peer();
    let told = move |event: &Event| match event {
        Event::Revoked { revocations } => Some(revocations.iter().any(|revoked| revoked.holder == thrown_out)),
        _ => None,
    };
    assert!(seeder.event(told).await);
    // Who comes later hears of it too, right after it is welcomed.
    let mut late = tracker.join("late").await;
    assert!(late.event(told).await);
    let mut phone = tracker.connect("phone").await;
    assert_eq!(phone.hello("alice").await.unwrap_err().code, Code::NameTaken);
    tracker.stop().await.unwrap();
}

/// How often is looked whether somebody gets in.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_thousand_wrong_passwords_let_nobody_in_and_lock_nobody_out() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut alice = signed_up(&tracker, "alice").await;
    let mut bob = signed_up(&tracker, "bob").await;
    let (mut looked_at, mut slowest) = (0, Duration::ZERO);
    // All from one address, which is that of everybody else here.
    for number in 0..200 {
        let mut guesser = tracker.connect(&format!("guesser{number}")).await;
        for guess in 0..5 {
            let refused = guesser.log_in("alice", &format!("guess {number} {guess}")).await.unwrap_err();
            match refused.code {
                Code::WrongPassword => looked_at += 1,
                Code::Busy => assert!(refused.text.contains("too many wrong passwords"), "{refused}"),
                _ => panic!("{refused:?}"),
            }
        }
        let begun = Instant::now();
        assert!(bob.ask(Request::Users).await.is_ok() && alice.ask(Request::Users).await.is_ok());
        slowest = slowest.max(begun.elapsed());
    }
    assert!((5..20).contains(&looked_at), "{looked_at}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    // Others log in from there meanwhile, and so does alice on the device that she logged out.
    let mut phone = tracker.connect("phone").await;
    phone.log_in("bob", PASSWORD).await.unwrap();
    assert_eq!(alice.ask(Request::LogOut).await, Ok(Reply::Done));
    let mut again = tracker.connect("alice").await;
    again.log_in("alice", PASSWORD).await.unwrap();
    assert!(again.hello("alice").await.unwrap().account);
    // On a new one she waits as long as she is told.
    let mut new = tracker.connect("new").await;
    let begun = Instant::now();
    while new.log_in("alice", PASSWORD).await.is_err() {
        // A refused try costs nothing and puts nothing off, so it may be asked as often as one looks at a clock.
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(LOOK_EVERY).await;
        new = tracker.connect("new").await;
    }
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn no_answer_quotes_a_password() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut peer = tracker.connect("peer").await;
    for op in [r#"{"log_in":"PASSWORD"}"#, r#"{"sign_up":{"name":1,"password":"x","code":"PASSWORD"}}"#] {
        let body = format!(r#"{{"request":{{"id":9,"op":{op}}}}}"#).replace("PASSWORD", PASSWORD);
        let header = u32::try_from(body.len()).unwrap().to_be_bytes();
        peer.send_bytes(&[&header, body.as_bytes()].concat()).await;
        let refused = peer.answer(9).await.unwrap_err();
        assert!(refused.code == Code::Malformed && !refused.text.contains(PASSWORD), "{refused:?}");
    }
    tracker.stop().await.unwrap();
}

#[tokio::test]
async fn one_connection_tries_a_few_times_only() {
    let directory = TempDir::new().unwrap();
    let tracker = Running::start(&directory, |_| ()).await;
    let mut guesser = tracker.connect("guesser").await;
    for _ in 0..5 {
        assert_eq!(guesser.log_in("nobody", PASSWORD).await.unwrap_err().code, Code::WrongPassword);
    }
    assert_eq!(guesser.log_in("nobody", PASSWORD).await.unwrap_err().code, Code::Busy);
    assert!(guesser.ends().await);
    // Afterwards it is too late to log in.
    let mut joined = tracker.join("joined").await;
    assert_eq!(joined.log_in("joined", PASSWORD).await.unwrap_err().code, Code::Malformed);
    tracker.stop().await.unwrap();
}
