//! Server and client, over a real socket.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{ApiClient, ApiServer, MAX_CONNECTIONS, MAX_REQUEST, Places};
use crate::backend::fake::{self, Fake};
use crate::backend::{Backend as _, Names};
use crate::command::{Command, FailureKind, Follow, Listing, Outcome, Update};
use crate::dir::Dir;
use crate::notice::Notice;
use crate::tasks::Tasks;

const DEADLINE: Duration = Duration::from_secs(10);

struct Both {
    fake: Fake,
    server: ApiServer,
    client: ApiClient,
    tasks: Tasks,
    socket: PathBuf,
    _folder: TempDir,
}

fn places(folder: &Path) -> Places {
    fs::create_dir_all(folder.join("state")).unwrap();
    Places::of(&Dir::new(folder).unwrap(), None)
}

async fn both() -> Both {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let (places, fake, tasks) = (places(folder.path()), Fake::new(), Tasks::new());
    let socket = places.to_listen().unwrap().to_path_buf();
    let server = ApiServer::bind(&socket, fake.clone()).unwrap();
    let client = ApiClient::find(&places, &tasks).await.unwrap();
    Both { fake, server, client, tasks, socket, _folder: folder }
}

impl Both {
    async fn end(self) {
        self.server.shutdown().await;
        self.tasks.shutdown().await;
        assert!(!self.socket.exists());
    }
}

fn download(entry: &str) -> Command {
    let (only, follow) = (Vec::new(), Follow::Yes);
    Command::Download { entry: entry.to_owned(), only, follow, output: None, wait_secs: Some(3) }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

#[tokio::test]
async fn commands_go_there_and_updates_and_outcomes_come_back() {
    let both = both().await;
    let (updates, mut incoming) = mpsc::channel(16);
    let outcome = in_time(both.client.run(download("doug.png"), updates)).await;
    assert_eq!(outcome, Ok(Outcome::Downloaded(fake::downloaded("doug.png"))));
    assert_eq!(both.fake.seen(), [download("doug.png")]);
    let mut progress = 0;
    while let Ok(update) = incoming.try_recv() {
        progress += u32::from(matches!(update, Update::Progress(_)));
    }
    assert_eq!(progress, 2);
    both.end().await;
}

#[tokio::test]
async fn failures_come_back_as_they_are() {
    let both = both().await;
    let (updates, _nobody) = mpsc::channel(1);
    let failure = in_time(both.client.run(download("missing"), updates)).await.unwrap_err();
    assert_eq!((failure.kind, failure.hint.as_deref()), (FailureKind::Failed, Some("look at `lst`")));
    both.end().await;
}

#[tokio::test]
async fn who_hangs_up_lets_the_command_go() {
    let both = both().await;
    let (updates, mut incoming) = mpsc::channel(16);
    let running = {
        let client = both.client.clone();
        async move { client.run(download("stuck"), updates).await }
    };
    tokio::select! {
        _ = running => panic!("it is stuck"),
        update = incoming.recv() => assert!(update.is_some()),
    }
    in_time(both.fake.dropped.cancelled()).await;
    both.end().await;
}

#[tokio::test]
async fn it_is_idle_when_no_command_is_under_way() {
    let both = both().await;
    in_time(both.server.idle()).await;
    let (updates, mut incoming) = mpsc::channel(16);
    let client = both.client.clone();
    let mut running = Box::pin(async move { client.run(download("stuck"), updates).await });
    tokio::select! {
        _ = &mut running => panic!("it is stuck"),
        update = incoming.recv() => assert!(update.is_some()),
    }
    assert!(tokio::time::timeout(Duration::from_millis(20), both.server.idle()).await.is_err());
    drop(running);
    in_time(both.server.idle()).await;
    both.end().await;
}

#[tokio::test]
async fn notices_status_and_names_can_be_had() {
    let both = both().await;
    let mut notices = in_time(both.client.notices()).await.unwrap();
    both.fake.notices.send(Notice::TrackerBack).unwrap();
    assert_eq!(in_time(notices.next()).await, Some(Notice::TrackerBack));
    assert_eq!(in_time(both.client.status()).await, Ok(fake::status()));
    let names = Names { entries: vec!["doug.png".to_owned()], users: vec!["ann".to_owned()], downloads: vec![] };
    assert_eq!(in_time(both.client.names()).await, names);
    both.server.shutdown().await;
    assert_eq!(in_time(notices.next()).await, None);
    both.end().await;
}

#[tokio::test]
async fn a_peer_that_has_ended_is_told_in_a_sentence() {
    let both = both().await;
    let client = both.client.clone();
    both.server.shutdown().await;
    let (updates, _nobody) = mpsc::channel(1);
    let failure = in_time(client.run(Command::List(Listing::default()), updates)).await.unwrap_err();
    assert!(failure.text.contains("has ended"), "{failure}");
    both.end().await;
}

#[tokio::test]
async fn the_socket_is_the_owners_and_replaces_an_old_one() {
    let both = both().await;
    assert_eq!(fs::metadata(&both.socket).unwrap().permissions().mode() & 0o777, 0o600);
    // A peer that was killed leaves its socket behind.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let places = places(folder.path());
    let socket = places.to_listen().unwrap();
    drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
    assert!(ApiClient::find(&places, &both.tasks).await.is_none());
    let server = ApiServer::bind(socket, Fake::new()).unwrap();
    assert!(ApiClient::find(&places, &both.tasks).await.is_some());
    server.shutdown().await;
    both.end().await;
}

/// What the server says to these bytes before it closes.
async fn raw(socket: &Path, bytes: Vec<u8>) -> String {
    let socket = socket.to_path_buf();
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // The server may close before it has read all.
        let _refused = stream.write_all(&bytes);
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    });
    asked.await.unwrap()
}

fn post(body: &str) -> Vec<u8> {
    let head = "POST /command HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length:";
    format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes()
}

#[tokio::test]
async fn strange_requests_are_refused_and_others_served_on() {
    let both = both().await;
    for (request, answer) in [
        (b"garbage\r\n\r\n".to_vec(), "400"),
        (b"GET /nothing HTTP/1.0\r\n\r\n".to_vec(), "404"),
        (b"GET /command HTTP/1.0\r\n\r\n".to_vec(), "405"),
        (post("{}"), "400"),
        (post("{\"download\":{}}"), "422"),
        (post("not json"), "400"),
        (post(&format!("\"{}\"", "x".repeat(MAX_REQUEST))), "413"),
    ] {
        let said = raw(&both.socket, request.clone()).await;
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        assert_eq!(said.split(' ').nth(1), Some(answer), "{shown}: {said}");
    }
    let said = raw(&both.socket, post("\"status\"")).await;
    assert!(said.contains("application/x-ndjson") && said.contains("{\"outcome\":{\"status\":"), "{said}");
    both.end().await;
}

#[tokio::test]
async fn idle_connections_are_bounded_and_the_next_waits_its_turn() {
    let both = both().await;
    let mut idle = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        idle.push(tokio::net::UnixStream::connect(&both.socket).await.unwrap());
    }
    let client = both.client.clone();
    let mut asking = std::pin::pin!(client.status());
    // Each of the idle ones is accepted before this one, so its turn comes only when one of them goes.
    let early = tokio::time::timeout(Duration::from_millis(200), &mut asking).await;
    assert!(early.is_err(), "there was room");
    idle.pop();
    assert!(in_time(asking).await.is_ok());
    drop(idle);
    both.end().await;
}
