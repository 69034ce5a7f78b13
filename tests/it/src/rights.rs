//! Rights: every operation against every role, at the tracker and straight at a seeder.

use std::net::SocketAddr;
use std::time::Duration;

use common::audience::{Audience, OfferId};
use common::id::{Content as Id, FileId, Hash, NetworkId};
use common::identity::Identity;
use common::secret::Secret;
use common::ticket::Ticket;
use common::wire::peer::{Message, Reason};
use common::wire::tracker::{Announced, Answer, AudienceChange, Code, Have, Plan, Query, Refusal, Reply, Request};
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use harness::cluster::{Cluster, ClusterConfig};
use harness::content::Content;
use harness::hostile::{RawPeer, RawTracker, identity};
use harness::peer::{Peer, Ran};
use harness::process::Launch;
use harness::programs::programs;
use harness::scenario::MIB;
use harness::wait::wait_until;

const SECRET: &str = "alice/secret.bin";
const OPEN: &str = "alice/open.bin";
const SOON: Duration = Duration::from_secs(20);
const DAY_MS: u64 = 86_400_000;

/// Alice, who shares one file with bob alone, one with all, and offers one to bob; and a tracker where only accounts are
/// let in.
struct Scene {
    cluster: Cluster,
    alice: Peer,
    secret: Id,
    open: Id,
    offered: Id,
    offer: OfferId,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Alice, on another device.
    Owner,
    /// Bob, for whom the file is.
    Invited,
    /// Mallory, who has an account.
    Other,
}

const ROLES: [Role; 3] = [Role::Owner, Role::Invited, Role::Other];

impl Role {
    const fn user(self) -> &'static str {
        match self {
            Self::Owner => "alice",
            Self::Invited => "bob",
            Self::Other => "mallory",
        }
    }
}

fn password(user: &str) -> Secret {
    Secret::new(format!("the password of {user}")).unwrap()
}

impl Scene {
    fn new() -> Self {
        let cluster = ClusterConfig::default().tracker_args(&["--access", "accounts"]).start();
        let alice = cluster.peer("alice").serve_anyhow();
        let signed_up = alice.spec().run_with_input(["signup", "alice", "--password-stdin"], "the password of alice\n");
        signed_up.succeeded();
        alice.wait_online();
        let scene = |alice: &Peer| {
            let secret = cluster.file("secret.bin", Content::random(1, MIB));
            let open = cluster.file("open.bin", Content::random(2, MIB));
            let offered = cluster.file("offered.bin", Content::random(3, MIB));
            for user in ["bob", "mallory"] {
                sign_up(cluster.address(), user, user);
            }
            alice.run(["r".as_ref(), secret.as_os_str(), "--for".as_ref(), "bob".as_ref()]).succeeded();
            alice.run(["r".as_ref(), open.as_os_str()]).succeeded();
            alice.run(["send".as_ref(), offered.as_os_str(), "bob".as_ref()]).succeeded();
        };
        scene(&alice);
        let [secret, open, offered] = [1, 2, 3].map(|seed| Id::File(Content::random(seed, MIB).hashes().file_id()));
        let mut bob = join(cluster.address(), "bob", "bob");
        let Ok(Reply::Offers { received, .. }) = bob.request(Request::Offers).unwrap() else { panic!("no offers") };
        let offer = received[0].id;
        Self { cluster, alice, secret, open, offered, offer }
    }

    fn joined(&self, role: Role) -> RawTracker {
        let user = role.user();
        let key = format!("{user} at {role:?}");
        log_in(self.cluster.address(), &key, user);
        join(self.cluster.address(), &key, user)
    }

    fn seeder(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.alice.status().listen.port()))
    }

    fn network(&self) -> NetworkId {
        self.cluster.fingerprint()
    }

    /// What alice says to somebody with this key who shows this ticket for this content.
    fn shows(&self, key: &Identity, content: Id, ticket: &[u8]) -> Message {
        self.opened(key, content, ticket).1
    }

    fn opened(&self, key: &Identity, content: Id, ticket: &[u8]) -> (RawPeer, Message) {
        let mut peer = RawPeer::dial(self.seeder(), key).unwrap();
        peer.greet(self.network(), 1).unwrap();
        peer.send(&Message::Open { conversation: 1, content, ticket: ticket.to_vec() }).unwrap();
        let answer = peer.receive().unwrap();
        (peer, answer)
    }
}

fn sign_up(tracker: SocketAddr, key: &str, user: &str) {
    let mut tracker = RawTracker::dial(tracker, &identity(key)).unwrap();
    let request = Request::SignUp { name: user.to_owned(), password: password(user), code: None };
    let answer = tracker.request(request).unwrap();
    assert!(matches!(answer, Ok(Reply::LoggedIn { .. })), "{answer:?}");
}

fn log_in(tracker: SocketAddr, key: &str, user: &str) {
    let mut tracker = RawTracker::dial(tracker, &identity(key)).unwrap();
    let answer = tracker.request(Request::LogIn { name: user.to_owned(), password: password(user) }).unwrap();
    assert!(matches!(answer, Ok(Reply::LoggedIn { .. })), "{answer:?}");
}

fn join(tracker: SocketAddr, key: &str, user: &str) -> RawTracker {
    RawTracker::join(tracker, &identity(key), user, 1).unwrap()
}

fn plan(tracker: &mut RawTracker, entry: &str) -> Plan {
    match tracker.request(Request::Plan { entry: entry.to_owned(), content: None }).unwrap() {
        Ok(Reply::Plan(plan)) => plan,
        other => panic!("no plan of {entry}: {other:?}"),
    }
}

fn ticket(plan: &Plan) -> Vec<u8> {
    HEXLOWER.decode(plan.ticket.as_bytes()).unwrap()
}

/// An operation on the file that is for bob alone, and what each role gets: `None` is a yes.
type Row = (&'static str, Request, [Option<Code>; 3]);

fn on_the_secret(scene: &Scene) -> Vec<Row> {
    let entry = || SECRET.to_owned();
    let readers = [None, None, Some(Code::NotFound)];
    let owners = [None, Some(Code::Forbidden), Some(Code::NotFound)];
    let bob = || vec!["bob".to_owned()];
    vec![
        ("loc", Request::Loc { entry: entry(), offset: 0 }, readers),
        ("loc of a version", Request::Loc { entry: format!("{SECRET}@1"), offset: 0 }, readers),
        ("versions", Request::Versions { entry: entry() }, readers),
        ("plan", Request::Plan { entry: entry(), content: None }, readers),
        ("plan of a content", Request::Plan { entry: entry(), content: Some(scene.secret) }, readers),
        ("plan by the bare name", Request::Plan { entry: "secret.bin".to_owned(), content: None }, readers),
        ("subscribe", Request::Subscribe { entry: entry() }, readers),
        ("share", Request::Share { entry: entry(), change: AudienceChange::Add(bob()) }, owners),
        ("unshare", Request::Share { entry: entry(), change: AudienceChange::Remove(Vec::new()) }, owners),
        // What follows changes something where it is granted, so it is not granted to anybody in this table.
        ("share with all", Request::Share { entry: entry(), change: AudienceChange::Everyone }, owners),
        ("share with nobody", Request::Share { entry: entry(), change: AudienceChange::Nobody }, owners),
        ("deregister", Request::Deregister { entry: entry() }, owners),
    ]
}

#[test]
fn each_operation_is_for_those_who_may_alone() {
    let scene = Scene::new();
    // The owner last: some of what is granted to it changes for whom the file is.
    for role in [Role::Other, Role::Invited, Role::Owner] {
        let mut tracker = scene.joined(role);
        let at = ROLES.iter().position(|other| *other == role).unwrap();
        for (what, request, want) in on_the_secret(&scene) {
            let code = tracker.request(request).unwrap().err().map(|refusal| refusal.code);
            assert_eq!(code, want[at], "{what} by {role:?}");
        }
    }
}

#[test]
fn lists_and_searches_show_what_one_may_have() {
    let scene = Scene::new();
    for (role, want) in [(Role::Owner, 2), (Role::Invited, 2), (Role::Other, 1)] {
        let mut tracker = scene.joined(role);
        let everything = Query::default();
        for request in [
            Request::List(everything),
            Request::Search { text: "alice".to_owned(), query: everything },
            Request::Search { text: "*.bin".to_owned(), query: everything },
        ] {
            let Ok(Reply::Entries { entries, total }) = tracker.request(request).unwrap() else { panic!("no list") };
            assert_eq!((entries.len(), total), (want, u32::try_from(want).unwrap()), "{role:?}");
            let users: Vec<_> = entries.iter().filter(|entry| entry.restricted).map(|entry| &entry.users).collect();
            match role {
                Role::Owner => assert_eq!(users, [&["bob".to_owned()]]),
                Role::Invited => assert_eq!(users, [&Vec::<String>::new()], "for whom else it is, only its owner sees"),
                Role::Other => assert!(users.is_empty()),
            }
        }
    }
}

#[test]
fn an_offer_is_for_its_receivers_alone() {
    let scene = Scene::new();
    let offer = scene.offer;
    let mut mallory = scene.joined(Role::Other);
    let mut bob = scene.joined(Role::Invited);
    for request in [Request::PlanOffer { offer }, Request::Answer { offer, answer: Answer::Accept }] {
        let refused = mallory.request(request).unwrap().unwrap_err();
        assert!(matches!(refused.code, Code::NotFound | Code::Forbidden), "{refused:?}");
    }
    let early = bob.request(Request::PlanOffer { offer }).unwrap().unwrap_err();
    assert!(matches!(early.code, Code::NotFound | Code::Forbidden), "not accepted yet: {early:?}");
    assert_eq!(bob.request(Request::Answer { offer, answer: Answer::Accept }).unwrap(), Ok(Reply::Done));
    let Ok(Reply::Plan(plan)) = bob.request(Request::PlanOffer { offer }).unwrap() else { panic!("no plan") };
    assert_eq!(plan.audience, Audience::Offer(offer));
    let key = identity("bob at Invited");
    assert_eq!(scene.shows(&key, scene.offered, &ticket(&plan)), opened());
    // Its ticket is good for nothing else, and for nobody else.
    refused_for_its_ticket(&scene.shows(&key, scene.secret, &ticket(&plan)));
    refused_for_its_ticket(&scene.shows(&identity("mallory at Other"), scene.offered, &ticket(&plan)));
}

#[test]
fn whoever_is_not_logged_in_gets_nothing() {
    let scene = Scene::new();
    let address = scene.cluster.address();
    // Never had an account; logged out; thrown out.
    log_in(address, "bob's old phone", "bob");
    let mut phone = join(address, "bob's old phone", "bob");
    assert_eq!(phone.request(Request::LogOut).unwrap(), Ok(Reply::Done));
    log_in(address, "bob's lost phone", "bob");
    let mut lost = join(address, "bob's lost phone", "bob");
    let revoke = Request::Revoke { device: identity("bob's lost phone").peer_id() };
    let not_his = scene.joined(Role::Other).request(revoke.clone()).unwrap().unwrap_err();
    assert!(matches!(not_his.code, Code::NotFound | Code::Forbidden), "{not_his:?}");
    assert_eq!(scene.joined(Role::Invited).request(revoke).unwrap(), Ok(Reply::Done));
    // At once: its connection ends.
    wait_until(SOON, "the lost phone to be thrown out", || lost.request(Request::Users).is_err());
    for key in ["a stranger", "bob's old phone", "bob's lost phone"] {
        for name in ["bob", "somebody"] {
            let mut tracker = RawTracker::dial(address, &identity(key)).unwrap();
            let hello = tracker.request(RawTracker::hello(name, 1)).unwrap().unwrap_err();
            assert_eq!(hello.code, Code::LoginRequired, "{key} as {name}");
            for (what, request, _) in on_the_secret(&scene) {
                let refused = tracker.request(request);
                let code = refused.map(|answer| answer.map_err(|refusal: Refusal| refusal.code));
                assert!(matches!(code, Ok(Err(Code::NotJoined)) | Err(_)), "{what} by {key}: {code:?}");
            }
        }
    }
}

/// A holder is told to who may have the entry only, and only who may have it becomes one.
#[test]
fn who_has_a_restricted_entry_is_not_told_to_others() {
    let scene = Scene::new();
    let mut mallory = scene.joined(Role::Other);
    // She knows what it is, somehow: she registers it for everyone, and says that she has it for those of alice, too.
    let register = Request::Register { name: "mine.bin".to_owned(), content: scene.secret, folder: None, users: None };
    assert!(mallory.request(register).unwrap().is_ok());
    let audience = Audience::Entry(SECRET.parse().unwrap());
    let announced = Announced { content: scene.secret, audience, have: Have::All };
    drop(mallory.request(Request::Announce { swarms: vec![announced] }).unwrap());
    let Ok(Reply::Locations { holders, .. }) =
        mallory.request(Request::Loc { entry: "mallory/mine.bin".to_owned(), offset: 0 }).unwrap()
    else {
        panic!("no loc")
    };
    assert!(holders.iter().all(|holder| holder.user != "alice"), "{holders:?}");
    let mut bob = scene.joined(Role::Invited);
    wait_until(SOON, "alice to be the only one who has it for bob", || {
        let plan = plan(&mut bob, SECRET);
        plan.holders.iter().map(|holder| holder.user.as_str()).collect::<Vec<_>>() == ["alice"]
    });
    // The ticket that she gets for her own entry does not open alice's door.
    let mine = plan(&mut mallory, "mallory/mine.bin");
    refused_for_its_ticket(&scene.shows(&identity("mallory at Other"), scene.secret, &ticket(&mine)));
}

#[test]
fn a_seeder_serves_the_right_tickets_only() {
    let scene = Scene::new();
    let mut bob = scene.joined(Role::Invited);
    let (key, good) = (identity("bob at Invited"), plan(&mut bob, SECRET));
    assert_eq!(scene.shows(&key, scene.secret, &ticket(&good)), opened());
    // Another user's ticket.
    refused_for_its_ticket(&scene.shows(&identity("mallory at Other"), scene.secret, &ticket(&good)));
    // A ticket for another swarm, both ways.
    let open = plan(&mut bob, OPEN);
    assert_eq!(scene.shows(&key, scene.open, &ticket(&open)), opened());
    refused_for_its_ticket(&scene.shows(&key, scene.secret, &ticket(&open)));
    refused_for_its_ticket(&scene.shows(&key, scene.open, &ticket(&good)));
    // What the tracker's own key signs, but out of time, place, or audience.
    let tracker = tracker_key(&scene.cluster);
    let right = Ticket::verify(&ticket(&good), &tracker.public_key()).expect("it is the tracker's key");
    let now = right.not_before_ms;
    let other_entry = Audience::Entry("mallory/secret.bin".parse().unwrap());
    let elsewhere = Id::File(FileId::new(1, Hash([7; 32])).unwrap());
    for (what, wrong) in [
        ("expired", Ticket { not_before_ms: now - 2 * DAY_MS, expires_ms: now - DAY_MS, ..right.clone() }),
        ("not valid yet", Ticket { not_before_ms: now + DAY_MS, expires_ms: now + 2 * DAY_MS, ..right.clone() }),
        ("for the public", Ticket { audience: Audience::Public, ..right.clone() }),
        ("for another entry", Ticket { audience: Audience::Entry(OPEN.parse().unwrap()), ..right.clone() }),
        ("for another entry of that name", Ticket { audience: other_entry, ..right.clone() }),
        ("for an offer", Ticket { audience: Audience::Offer(scene.offer), ..right.clone() }),
        ("for other content", Ticket { swarm: elsewhere, ..right.clone() }),
        ("of another network", Ticket { network: NetworkId([7; 32]), ..right.clone() }),
    ] {
        let answer = scene.shows(&key, scene.secret, &wrong.sign(&tracker));
        assert!(matches!(answer, Message::Refused { reason: Reason::Ticket, .. }), "{what}: {answer:?}");
    }
    refused_for_its_ticket(&scene.shows(&key, scene.secret, &right.sign(&identity("another tracker"))));
    refused_for_its_ticket(&scene.shows(&key, scene.secret, b""));
    // The same with everything right.
    assert_eq!(scene.shows(&key, scene.secret, &right.sign(&tracker)), opened());
}

#[test]
fn whoever_is_thrown_out_is_hung_up_on_by_the_seeders() {
    let scene = Scene::new();
    let address = scene.cluster.address();
    log_in(address, "bob's lost phone", "bob");
    let mut lost = join(address, "bob's lost phone", "bob");
    let (key, held) = (identity("bob's lost phone"), plan(&mut lost, SECRET));
    let (mut talking, answer) = scene.opened(&key, scene.secret, &ticket(&held));
    assert_eq!(answer, opened());
    assert_eq!(
        scene.joined(Role::Invited).request(Request::Revoke { device: key.peer_id() }).unwrap(),
        Ok(Reply::Done)
    );
    ended(&mut talking);
    refused_for_its_ticket(&scene.shows(&key, scene.secret, &ticket(&held)));
}

#[test]
fn an_entry_that_is_not_for_bob_any_more_is_not_served_to_him() {
    let scene = Scene::new();
    let mut bob = scene.joined(Role::Invited);
    let (key, held) = (identity("bob at Invited"), plan(&mut bob, SECRET));
    assert!(bob.request(Request::Subscribe { entry: SECRET.to_owned() }).unwrap().is_ok());
    let (mut talking, answer) = scene.opened(&key, scene.secret, &ticket(&held));
    assert_eq!(answer, opened());
    scene.alice.run(["unshare", "secret.bin", "--with", "bob"]).succeeded();
    ended(&mut talking);
    refused_for_its_ticket(&scene.shows(&key, scene.secret, &ticket(&held)));
    let gone = bob.request(Request::Plan { entry: SECRET.to_owned(), content: None }).unwrap().unwrap_err();
    assert_eq!(gone.code, Code::NotFound);
    // And back again: a new ticket is good, though the old one is not.
    scene.alice.run(["share", "secret.bin", "--with", "bob"]).succeeded();
    let again = plan(&mut bob, SECRET);
    assert_eq!(scene.shows(&key, scene.secret, &ticket(&again)), opened());
}

/// A seeder that was away when somebody was thrown out hears of it when it comes back.
#[test]
fn a_seeder_that_was_away_knows_who_was_thrown_out() {
    let mut scene = Scene::new();
    let address = scene.cluster.address();
    log_in(address, "bob's lost phone", "bob");
    let mut lost = join(address, "bob's lost phone", "bob");
    let (key, held) = (identity("bob's lost phone"), plan(&mut lost, SECRET));
    scene.alice.kill();
    assert_eq!(
        scene.joined(Role::Invited).request(Request::Revoke { device: key.peer_id() }).unwrap(),
        Ok(Reply::Done)
    );
    scene.cluster.kill_tracker();
    scene.cluster.restart_tracker();
    scene.alice = scene.alice.spec().clone().serve();
    wait_until(SOON, "the seeder to have heard of it", || {
        matches!(scene.shows(&key, scene.secret, &ticket(&held)), Message::Refused { reason: Reason::Ticket, .. })
    });
}

fn opened() -> Message {
    Message::Opened { conversation: 1, complete: true }
}

#[track_caller]
fn refused_for_its_ticket(answer: &Message) {
    assert!(matches!(answer, Message::Refused { reason: Reason::Ticket, .. }), "{answer:?}");
}

/// The conversation, or the whole connection, ends.
fn ended(peer: &mut RawPeer) {
    loop {
        match peer.receive() {
            Ok(Message::Refused { conversation: 1, .. } | Message::Bye { .. }) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// The tracker's own key, as an operator can have it.
fn tracker_key(cluster: &Cluster) -> Identity {
    let (exported, data) = (cluster.out("tracker.json"), cluster.dir().join("tracker"));
    let launch = Launch::new(&programs().tracker).args([
        "export".as_ref(),
        exported.as_os_str(),
        "--data".as_ref(),
        data.as_os_str(),
    ]);
    Ran::of(launch.start(&cluster.dir().join("logs").join("export")), SOON).succeeded();
    let exported: serde_json::Value = serde_json::from_slice(&std::fs::read(exported).unwrap()).unwrap();
    let seed = exported["key"].as_str().expect("an export has the tracker's key");
    let seed = HEXLOWER_PERMISSIVE.decode(seed.as_bytes()).unwrap();
    Identity::from_seed(&seed.try_into().expect("a seed has 32 bytes"))
}
