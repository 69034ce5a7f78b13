//! The operator's socket: invites, and users that are thrown out, with peers on real sockets.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use common::wire::tracker::{Code, Event, Query, Reply, Request};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::{Running, file};
use crate::Access;

const PASSWORD: &str = "correct horse";

/// Asks as the program does: one line there, one back.
async fn ask(data: &Path, request: Value) -> Value {
    let mut stream = UnixStream::connect(data.join("tracker.sock")).await.unwrap();
    stream.write_all(format!("{request}\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[tokio::test]
async fn with_the_code_of_an_invite_one_person_signs_up() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let tracker = Running::start(&directory, |config| config.access = Access::Invite).await;
    let mode = std::fs::metadata(data.join("tracker.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let invited = ask(&data, json!({ "invite": { "uses": 1, "lasts_ms": 60_000 } })).await;
    let code = invited["invited"]["code"].as_str().unwrap();
    let mut alice = tracker.connect("alice").await;
    assert_eq!(alice.sign_up("alice", PASSWORD).await.unwrap_err().code, Code::InviteRequired);
    assert_eq!(alice.sign_up_with("alice", PASSWORD, Some("guess")).await.unwrap_err().code, Code::InviteRequired);
    // It was read out aloud, and typed.
    let typed = format!(" {}\n", code.to_uppercase());
    alice.sign_up_with("alice", PASSWORD, Some(&typed)).await.unwrap();
    alice.hello("alice").await.unwrap();
    let mut bob = tracker.connect("bob").await;
    assert_eq!(bob.sign_up_with("bob", PASSWORD, Some(code)).await.unwrap_err().code, Code::InviteRequired);
    tracker.stop().await.unwrap();
    assert!(!data.join("tracker.sock").exists());
}

#[tokio::test]
async fn who_is_removed_or_reset_is_thrown_out_at_once() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let tracker = Running::start(&directory, |_| ()).await;
    let mut alice = tracker.connect("alice").await;
    alice.sign_up("alice", PASSWORD).await.unwrap();
    alice.hello("alice").await.unwrap();
    alice.register("x", file(1)).await.unwrap();
    let mut guest = tracker.join("guest").await;
    let users = ask(&data, json!("users")).await;
    let lines: Vec<(&str, bool, u64)> = users["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| {
            (user["name"].as_str().unwrap(), user["account"].as_bool().unwrap(), user["entries"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(lines, [("alice", true, 1), ("guest", false, 0)]);
    assert!(ask(&data, json!({ "reset": { "name": "guest" } })).await["error"].is_string());
    let reset = ask(&data, json!({ "reset": { "name": "alice" } })).await;
    assert!(alice.ends().await);
    let mut again = tracker.connect("alice").await;
    assert_eq!(again.log_in("alice", PASSWORD).await.unwrap_err().code, Code::WrongPassword);
    again.log_in("alice", reset["reset"]["password"].as_str().unwrap()).await.unwrap();
    again.hello("alice").await.unwrap();
    let peer = again.peer();
    assert_eq!(ask(&data, json!({ "remove": { "name": "alice" } })).await, json!("done"));
    assert!(again.ends().await);
    let revoked = move |event: &Event| match event {
        Event::Revoked { revocations } => Some(revocations.iter().any(|revoked| revoked.holder == peer)),
        _ => None,
    };
    assert!(guest.event(revoked).await);
    let Ok(Reply::Entries { entries, .. }) = guest.ask(Request::List(Query::default())).await else { panic!("list") };
    assert_eq!(entries, []);
    // The name is free again, for anybody.
    let mut other = tracker.connect("other").await;
    assert_eq!(other.log_in("alice", PASSWORD).await.unwrap_err().code, Code::WrongPassword);
    assert!(!other.hello("alice").await.unwrap().account);
    tracker.stop().await.unwrap();
}
