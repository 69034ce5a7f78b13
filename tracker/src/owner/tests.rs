//! The owner with a store that a test holds up, and lets fail.

use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex};

use common::id::{FileId, Hash};
use common::identity::Identity;
use common::wire::tracker::Query;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::*;
use crate::outbox::{Closing, Outgoing};
use crate::state::{Contact, Gate, PasswordHash};
use crate::store::{StoreError, Stored};
use crate::tasks::Tasks;

const PATIENCE: Duration = Duration::from_secs(20);

/// What a test says about commits, and what became of them.
#[derive(Debug, Default)]
struct Fate {
    /// How many commits may begin; more wait.
    allowed: usize,
    failing: bool,
    commits: Vec<Vec<Write>>,
}

#[derive(Debug, Clone, Default)]
struct FakeStore(Arc<(Mutex<Fate>, Condvar)>);

impl FakeStore {
    fn change(&self, change: impl FnOnce(&mut Fate)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn commits(&self) -> Vec<usize> {
        self.0.0.lock().unwrap().commits.iter().map(Vec::len).collect()
    }
}

impl Store for FakeStore {
    fn load(&mut self) -> Result<Stored, StoreError> {
        Ok(Stored::default())
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let (fate, changed) = &*self.0;
        let mut fate = changed.wait_while(fate.lock().unwrap(), |fate| fate.allowed == 0).unwrap();
        fate.allowed -= 1;
        if fate.failing {
            return Err(StoreError::Write { path: "x".into(), what: "no space left".to_owned() });
        }
        fate.commits.push(writes.to_vec());
        Ok(())
    }
}

struct Desk {
    store: FakeStore,
    inputs: mpsc::Sender<Input>,
    tasks: Tasks,
    ended: oneshot::Receiver<Result<(), StoreLost>>,
}

struct Peer {
    peer: PeerId,
    conn: ConnId,
    outbox: mpsc::Receiver<Outgoing>,
    closing: Closing,
    gate: Arc<Gate>,
    permits: Arc<Semaphore>,
    next_id: u64,
}

impl Desk {
    fn open() -> Self {
        let store = FakeStore::default();
        store.change(|fate| fate.allowed = usize::MAX);
        let state = State::new(Identity::from_seed(&[0; 32]), 1);
        let owner = Owner::new(state, Box::new(store.clone()), Clock::start(), Duration::from_secs(30));
        let (inputs, queue) = mpsc::channel(100);
        let (end, ended) = oneshot::channel();
        let tasks = Tasks::new();
        tasks.spawn("owner", async move {
            let _nobody_waits = end.send(owner.run(queue).await);
        });
        Self { store, inputs, tasks, ended }
    }

    async fn join(&self, number: u8, conn: u64) -> Peer {
        let (peer, answer) = self.start_joining(number, conn).await;
        timeout(PATIENCE, answer).await.unwrap().unwrap().unwrap();
        peer
    }

    async fn start_joining(&self, number: u8, conn: u64) -> (Peer, oneshot::Receiver<Result<(), Refusal>>) {
        let key = Identity::from_seed(&[number; 32]).public_key();
        let conn = ConnId(conn);
        let closing = Closing::default();
        let (sender, outbox) = Outbox::new(closing.clone());
        let contact = Contact {
            seen: (Ipv4Addr::LOCALHOST, 1).into(),
            arrived_at: Ipv4Addr::LOCALHOST.into(),
            port: 4000,
            interfaces: Vec::new(),
            advertised: Vec::new(),
        };
        let hello = Hello {
            name: format!("p{number}"),
            name_is_default: false,
            port: 4000,
            interfaces: Vec::new(),
            advertised: Vec::new(),
            agent: String::new(),
            device: String::new(),
        };
        let gate = Arc::new(Gate::default());
        let newcomer = Newcomer { conn, gate: Arc::clone(&gate), key, contact };
        let (answer, answered) = oneshot::channel();
        self.send(Input::Join(Box::new(Join { newcomer, hello, id: 0, outbox: sender, answer }))).await;
        let permits = Arc::new(Semaphore::new(10));
        (Peer { peer: key.peer_id(), conn, outbox, closing, gate, permits, next_id: 1 }, answered)
    }

    async fn account(&self, peer: PeerId, request: AccountRequest) -> Result<AccountReply, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.send(Input::Account { peer, request, answer }).await;
        timeout(PATIENCE, answered).await.unwrap().unwrap()
    }

    async fn send(&self, input: Input) {
        self.inputs.send(input).await.unwrap();
    }

    async fn ask(&self, peer: &mut Peer, request: Request) -> u64 {
        let id = peer.next_id;
        peer.next_id += 1;
        let permit = Arc::clone(&peer.permits).acquire_owned().await.unwrap();
        let request = Box::new(request);
        self.send(Input::Ask { peer: peer.peer, conn: peer.conn, id, request, permit }).await;
        id
    }

    async fn register(&self, peer: &mut Peer, name: &str) -> u64 {
        let content = FileId::new(1, Hash([1; 32])).unwrap().into();
        let register = Request::Register { name: name.to_owned(), content, folder: None, users: None };
        self.ask(peer, register).await
    }

    async fn names(&self, peer: &mut Peer) -> Vec<String> {
        let id = self.ask(peer, Request::List(Query::default())).await;
        match peer.answer().await {
            (got, Ok(Reply::Entries { entries, .. })) if got == id => {
                entries.into_iter().map(|entry| entry.name).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    async fn close(self) -> Vec<usize> {
        drop(self.inputs);
        timeout(PATIENCE, self.ended).await.unwrap().unwrap().unwrap();
        self.tasks.finish().await;
        self.store.commits()
    }
}

impl Peer {
    async fn welcomed(&mut self) -> Welcome {
        match self.answer().await {
            (0, Ok(Reply::Welcome(welcome))) => welcome,
            other => panic!("{other:?}"),
        }
    }

    /// The next answer, whatever else comes before.
    async fn answer(&mut self) -> (u64, Result<Reply, Refusal>) {
        loop {
            match timeout(PATIENCE, self.outbox.recv()).await.unwrap().expect("an answer") {
                Outgoing::Message(message, _) => match *message {
                    FromTracker::Reply { id, result } => return (id, Ok(result)),
                    FromTracker::Refusal { id, error } => return (id, Err(error)),
                    FromTracker::Ping(_) | FromTracker::Event(_) => {}
                },
                Outgoing::Frame(_) => {}
            }
        }
    }
}

#[tokio::test]
async fn nobody_is_answered_before_the_commit_and_many_share_one() {
    let desk = Desk::open();
    let (mut a, mut b) = (desk.join(1, 1).await, desk.join(2, 2).await);
    assert_eq!([a.welcomed().await.peers, b.welcomed().await.peers], [1, 2]);
    desk.store.change(|fate| fate.allowed = 0);
    desk.register(&mut a, "first").await;
    for name in ["x", "y", "z"] {
        desk.register(&mut a, name).await;
    }
    desk.register(&mut b, "x").await;
    // Reads do not wait; what they see may be lost yet, but nobody was promised it.
    assert_eq!(desk.names(&mut b).await, ["first", "x", "y", "z"]);
    // Whoever registers what is there already rests on a write that is not committed.
    desk.register(&mut b, "x").await;
    assert_eq!(desk.names(&mut b).await.len(), 4);
    desk.store.change(|fate| fate.allowed = 1);
    assert!(matches!(a.answer().await, (1, Ok(Reply::Registered { already: false, .. }))));
    assert!(a.outbox.try_recv().is_err() && b.outbox.try_recv().is_err());
    desk.store.change(|fate| fate.allowed = usize::MAX);
    for id in 2..=4 {
        assert_eq!(a.answer().await.0, id);
    }
    assert!(matches!(b.answer().await, (1, Ok(Reply::Registered { already: false, .. }))));
    assert!(matches!(b.answer().await, (3, Ok(Reply::Registered { already: true, .. }))));
    assert_eq!(desk.close().await, [2, 2, 1, 4], "two joined, one was first, four shared the next");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_is_taken_back_and_made_good() {
    let desk = Desk::open();
    let mut a = desk.join(1, 1).await;
    a.welcomed().await;
    desk.register(&mut a, "kept").await;
    assert!(a.answer().await.1.is_ok());
    desk.store.change(|fate| (fate.failing, fate.allowed) = (true, 0));
    desk.register(&mut a, "lost").await;
    desk.register(&mut a, "lost-too").await;
    desk.ask(&mut a, Request::Deregister { entry: "kept".to_owned() }).await;
    assert_eq!(desk.names(&mut a).await, ["lost", "lost-too"]);
    desk.store.change(|fate| fate.allowed = usize::MAX);
    for _ in 0..3 {
        assert_eq!(a.answer().await.1.unwrap_err().code, Code::Unavailable);
    }
    assert_eq!(desk.names(&mut a).await, ["kept"]);
    desk.register(&mut a, "not-now").await;
    assert_eq!(a.answer().await.1.unwrap_err().code, Code::Unavailable);
    // Somebody who is known need not wait for the disk; somebody new does.
    let mut a = desk.join(1, 2).await;
    a.welcomed().await;
    let (_, refused) = desk.start_joining(2, 3).await;
    assert_eq!(refused.await.unwrap().unwrap_err().code, Code::Unavailable);
    desk.store.change(|fate| fate.failing = false);
    loop {
        tokio::time::advance(TICK).await;
        desk.register(&mut a, "again").await;
        if a.answer().await.1.is_ok() {
            break;
        }
    }
    assert_eq!(desk.names(&mut a).await, ["again", "kept"]);
    let last = desk.store.0.0.lock().unwrap().commits.clone();
    let [.., debt, again] = last.as_slice() else { panic!("{last:?}") };
    let name = "lost".parse().unwrap();
    assert_eq!(*debt, [Write::Entry("p1".parse().unwrap(), name, None)], "what may be on the disk is taken back there");
    assert_eq!(again.len(), 1);
    desk.close().await;
}

#[tokio::test]
async fn a_connection_that_ended_while_it_joined_is_not_online() {
    let desk = Desk::open();
    let mut b = desk.join(2, 2).await;
    b.welcomed().await;
    desk.store.change(|fate| fate.allowed = 0);
    let (gone, answer) = desk.start_joining(1, 1).await;
    // What a session's end does: close the gate, then say so.
    gone.gate.close();
    desk.send(Input::Leave { peer: gone.peer, conn: gone.conn, why: Why::Disconnected }).await;
    // When this is answered the owner has seen all that before the commit.
    assert!(desk.names(&mut b).await.is_empty());
    desk.store.change(|fate| fate.allowed = usize::MAX);
    assert!(timeout(PATIENCE, answer).await.unwrap().is_err(), "nobody is told that it is in");
    desk.ask(&mut b, Request::Users).await;
    let (_, Ok(Reply::Users { users })) = b.answer().await else { panic!("users") };
    assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["p2"]);
    desk.close().await;
}

#[tokio::test]
async fn the_newer_connection_replaces_the_older_which_is_closed() {
    let desk = Desk::open();
    let mut older = desk.join(1, 1).await;
    older.welcomed().await;
    let mut newer = desk.join(1, 2).await;
    newer.welcomed().await;
    timeout(PATIENCE, older.closing.closed()).await.unwrap();
    desk.send(Input::Leave { peer: older.peer, conn: older.conn, why: Why::Disconnected }).await;
    desk.register(&mut newer, "x").await;
    assert!(newer.answer().await.1.is_ok());
    // What the older one still asks is not heard.
    desk.register(&mut older, "y").await;
    assert_eq!(desk.names(&mut newer).await, ["x"]);
    desk.close().await;
}

#[tokio::test]
async fn at_the_end_everybody_is_told_and_what_was_accepted_is_committed() {
    let desk = Desk::open();
    let mut a = desk.join(1, 1).await;
    a.welcomed().await;
    desk.store.change(|fate| fate.allowed = 0);
    desk.register(&mut a, "first").await;
    desk.register(&mut a, "second").await;
    desk.send(Input::Shutdown).await;
    let Some(Outgoing::Message(message, _)) = timeout(PATIENCE, a.outbox.recv()).await.unwrap() else {
        panic!("event")
    };
    assert_eq!(*message, FromTracker::Event(Event::Shutdown));
    assert!(timeout(PATIENCE, a.outbox.recv()).await.unwrap().is_none(), "the outbox ends");
    let store = desk.store.clone();
    store.change(|fate| fate.allowed = usize::MAX);
    assert_eq!(desk.close().await, [2, 1, 1]);
}

#[tokio::test]
async fn who_is_logged_out_is_hung_up_on_even_where_that_cannot_be_written() {
    let desk = Desk::open();
    let mut a = desk.join(1, 1).await;
    a.welcomed().await;
    desk.account(a.peer, AccountRequest::SignUp("p1".parse().unwrap(), None, PasswordHash(String::new())))
        .await
        .unwrap();
    timeout(PATIENCE, a.closing.finishing()).await.unwrap();
    let mut a = desk.join(1, 2).await;
    assert!(a.welcomed().await.account);
    let mut b = desk.join(2, 3).await;
    b.welcomed().await;
    desk.store.change(|fate| fate.failing = true);
    desk.ask(&mut a, Request::LogOut).await;
    assert_eq!(a.answer().await.1.unwrap_err().code, Code::Unavailable);
    timeout(PATIENCE, a.closing.finishing()).await.unwrap();
    desk.ask(&mut b, Request::Users).await;
    let (_, Ok(Reply::Users { users })) = b.answer().await else { panic!("users") };
    assert_eq!(users.len(), 1, "it is not online");
    let mut a = desk.join(1, 4).await;
    assert!(a.welcomed().await.account, "but still logged in");
    desk.store.change(|fate| fate.failing = false);
    drop((a, b));
    desk.close().await;
}

#[tokio::test]
async fn who_logs_in_while_it_joins_joins_anew() {
    let desk = Desk::open();
    let mut b = desk.join(2, 2).await;
    b.welcomed().await;
    desk.store.change(|fate| fate.allowed = 0);
    let (a, answer) = desk.start_joining(1, 1).await;
    let (signed_up, done) = oneshot::channel();
    let request = AccountRequest::SignUp("alice".parse().unwrap(), None, PasswordHash(String::new()));
    desk.send(Input::Account { peer: a.peer, request, answer: signed_up }).await;
    // When this is answered the owner has seen all that before the commit.
    assert!(desk.names(&mut b).await.is_empty());
    desk.store.change(|fate| fate.allowed = usize::MAX);
    assert_eq!(timeout(PATIENCE, answer).await.unwrap().unwrap().unwrap_err().code, Code::Busy);
    assert_eq!(done.await.unwrap(), Ok(AccountReply::LoggedIn("alice".parse().unwrap())));
    assert_eq!(desk.join(1, 3).await.welcomed().await.name, "alice");
    desk.close().await;
}

#[tokio::test]
async fn an_export_waits_for_what_is_being_committed() {
    let desk = Desk::open();
    desk.store.change(|fate| fate.allowed = 0);
    let (_a, joined) = desk.start_joining(1, 1).await;
    let (export, exported) = oneshot::channel();
    desk.send(Input::Export(export)).await;
    let (_b, joined_too) = desk.start_joining(2, 2).await;
    desk.store.change(|fate| fate.allowed = usize::MAX);
    assert_eq!(timeout(PATIENCE, exported).await.unwrap().unwrap().unwrap(), Stored::default());
    joined.await.unwrap().unwrap();
    joined_too.await.unwrap().unwrap();
    desk.close().await;
}

/// Followers go and fetch a version when they hear of it: what may be lost yet is no news.
#[tokio::test]
async fn followers_hear_of_a_version_when_it_is_committed_and_of_a_lost_one_never() {
    let desk = Desk::open();
    let (mut a, mut b) = (desk.join(1, 1).await, desk.join(2, 2).await);
    let version = |number: u8| Request::Register {
        name: "x".to_owned(),
        content: FileId::new(1, Hash([number; 32])).unwrap().into(),
        folder: None,
        users: None,
    };
    desk.ask(&mut a, version(1)).await;
    desk.ask(&mut b, Request::Subscribe { entry: "p1/x".to_owned() }).await;
    b.welcomed().await;
    assert!(b.answer().await.1.is_ok());
    desk.store.change(|fate| (fate.failing, fate.allowed) = (true, 0));
    desk.ask(&mut a, version(2)).await;
    assert_eq!(desk.names(&mut b).await, ["x"]);
    assert!(b.outbox.is_empty(), "it is not committed");
    desk.store.change(|fate| fate.allowed = 1);
    a.welcomed().await;
    assert!(a.answer().await.1.is_ok());
    assert_eq!(a.answer().await.1.unwrap_err().code, Code::Unavailable);
    desk.ask(&mut a, version(3)).await;
    assert_eq!(a.answer().await.1.unwrap_err().code, Code::Unavailable, "the disk is still full");
    assert_eq!(desk.names(&mut b).await, ["x"]);
    assert!(b.outbox.is_empty(), "nothing came of it");
    desk.store.change(|fate| (fate.failing, fate.allowed) = (false, usize::MAX));
    tokio::time::pause();
    loop {
        tokio::time::advance(TICK).await;
        desk.ask(&mut a, version(4)).await;
        if a.answer().await.1.is_ok() {
            break;
        }
    }
    tokio::time::resume();
    match timeout(PATIENCE, b.outbox.recv()).await.unwrap().expect("news") {
        Outgoing::Message(message, _) => assert!(
            matches!(&*message, FromTracker::Event(Event::Updated { entry }) if entry.version == 2),
            "{message:?}"
        ),
        other @ Outgoing::Frame(_) => panic!("{other:?}"),
    }
    desk.close().await;
}
