//! Tests of the messages to and from the tracker. The fixed examples are those of `WIRE.md`, one a line.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::body::OPERATIONS;
use super::*;
use crate::bitmap::Bitmap;
use crate::id::{FileId, FolderId, Hash};
use crate::index::{Chunks, Counts, Index, Standing, SwarmKey};
use crate::mrt::StaticKey;
use crate::nat::{StunProof, StunToken};
use crate::relay::ChannelId;
use crate::wire::{FRAME_HEADER, MAX_TRACKER_FRAME};

const PAGE: &str = include_str!("../WIRE.md");

fn file() -> Content {
    FileId::new(107_330, Hash([0xcd; 32])).unwrap().into()
}

fn folder() -> Content {
    FolderId::new(FileId::new(9_000, Hash([0xef; 32])).unwrap(), 7).unwrap().into()
}

fn folder_size() -> FolderSize {
    FolderSize { files: 3, bytes: 110_000 }
}

fn peer() -> PeerId {
    PeerId([0xa7; 32])
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned()).unwrap()
}

fn restricted() -> Audience {
    Audience::Entry("jane/doug.png".parse().unwrap())
}

fn offered() -> Audience {
    Audience::Offer(OfferId(7))
}

const NOW_MS: u64 = 1_700_000_000_000;

fn entry() -> Entry {
    Entry {
        owners: vec![text("jane")],
        name: text("doug.png"),
        version: 3,
        content: file(),
        folder: None,
        restricted: false,
        users: Vec::new(),
        seeders: 1,
        downloaders: 1,
        registered_ms: NOW_MS,
    }
}

fn folder_entry() -> Entry {
    Entry {
        name: text("photos"),
        content: folder(),
        folder: Some(folder_size()),
        restricted: true,
        users: vec![text("bob"), text("carol")],
        ..entry()
    }
}

fn holder(have: Option<Have>) -> Holder {
    let addresses = vec!["192.0.2.7:40001".parse().unwrap(), "[2001:db8::7]:40001".parse().unwrap()];
    Holder { peer: peer(), user: text("jane"), addresses, have }
}

fn meeting(channel: Option<ChannelId>) -> Meeting {
    let addresses = vec!["203.0.113.9:51235".parse().unwrap(), "[2001:db8::7]:40001".parse().unwrap()];
    Meeting { peer: peer(), user: text("jane"), static_key: StaticKey([0x5a; 32]), addresses, channel }
}

fn line() -> HistoryLine {
    HistoryLine { from: text("jane"), text: text("hello"), at_ms: NOW_MS }
}

fn offer(state: OfferState) -> Offer {
    Offer {
        id: OfferId(7),
        from: text("jane"),
        name: text("doug.png"),
        content: file(),
        folder: None,
        at_ms: NOW_MS,
        state,
    }
}

fn receiver(user: &str, state: OfferState) -> Receiver {
    Receiver { user: text(user), state }
}

fn requests() -> Vec<Request> {
    [joining_requests(), catalogue_requests(), swarm_requests(), social_requests()].concat()
}

fn joining_requests() -> Vec<Request> {
    vec![
        Request::Hello(Hello {
            name: text("jane"),
            name_is_default: true,
            port: 40001,
            interfaces: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            advertised: vec!["203.0.113.9:40001".parse().unwrap()],
            agent: text("shoal-peer/0.1.0"),
            device: text("laptop"),
        }),
        Request::Leave,
        Request::SignUp { name: text("jane"), password: secret("open sesame"), code: None },
        Request::SignUp { name: text("jane"), password: secret("open sesame"), code: Some(secret("k7qm")) },
        Request::LogIn { name: text("jane"), password: secret("open sesame") },
        Request::LogOut,
        Request::ChangePassword { old: secret("open sesame"), new: secret("open barley") },
        Request::Devices,
        Request::Revoke { device: peer() },
    ]
}

fn catalogue_requests() -> Vec<Request> {
    vec![
        Request::Register { name: text("doug.png"), content: file(), folder: None, users: None },
        Request::Register {
            name: text("photos"),
            content: folder(),
            folder: Some(folder_size()),
            users: Some(vec![text("bob"), text("carol")]),
        },
        Request::Deregister { entry: text("doug.png") },
        Request::Share { entry: text("doug.png"), change: AudienceChange::Add(vec![text("bob")]) },
        Request::Share { entry: text("doug.png"), change: AudienceChange::Remove(vec![text("bob")]) },
        Request::Share { entry: text("doug.png"), change: AudienceChange::Everyone },
        Request::Share { entry: text("doug.png"), change: AudienceChange::Nobody },
        Request::List(Query { offset: 0, limit: 1000, mine: true, by: SortBy::Seeders }),
        Request::Search { text: text("*.png"), query: Query { offset: 1000, ..Query::default() } },
        Request::Versions { entry: text("doug.png") },
        Request::Loc { entry: text("jane/doug.png@2"), offset: 0 },
        Request::Plan { entry: text("doug.png"), content: None },
        Request::Plan { entry: text("jane/doug.png"), content: Some(file()) },
        Request::PlanOffer { offer: OfferId(7) },
    ]
}

fn swarm_requests() -> Vec<Request> {
    vec![
        Request::Announce {
            swarms: vec![
                Announced { content: file(), audience: Audience::Public, have: Have::Add(vec![0, 6]) },
                Announced { content: file(), audience: restricted(), have: Have::Map(text("82")) },
                Announced { content: folder(), audience: offered(), have: Have::All },
                Announced { content: file(), audience: Audience::Public, have: Have::None },
            ],
        },
        Request::Completed { entry: text("jane/doug.png"), content: file(), audience: restricted() },
        Request::DialMe { peer: peer() },
        Request::Dialled { peer: peer(), reached: true },
        Request::Mrt(MrtContact {
            static_key: StaticKey([0x5a; 32]),
            port: 40001,
            seen: "203.0.113.9:51235".parse().unwrap(),
            proof: StunProof([0x3c; 16]),
            role: MrtRole::Serves,
        }),
        Request::Meet { peer: peer() },
        Request::Met { peer: peer(), reached: true },
        Request::Users,
        Request::Where { user: text("jane") },
    ]
}

fn social_requests() -> Vec<Request> {
    vec![
        Request::Subscribe { entry: text("jane/doug.png") },
        Request::Unsubscribe { entry: text("jane/doug.png") },
        Request::Subscriptions,
        Request::Chat { text: text("hello") },
        Request::Message { to: text("bob"), text: text("hello") },
        Request::History,
        Request::Offer { name: text("doug.png"), content: file(), folder: None, to: Some(vec![text("bob")]) },
        Request::Offer { name: text("photos"), content: folder(), folder: Some(folder_size()), to: None },
        Request::Answer { offer: OfferId(7), answer: Answer::Accept },
        Request::Answer { offer: OfferId(7), answer: Answer::Refuse },
        Request::Offers,
    ]
}

fn replies() -> Vec<Reply> {
    let version =
        |number, content| Version { number, content, folder: None, registered_ms: NOW_MS, seeders: 1, downloaders: 0 };
    let device = Device { peer: peer(), name: text("laptop"), since_ms: NOW_MS, seen_ms: NOW_MS, online: true };
    let user = User { name: text("jane"), peer: peer(), since_ms: NOW_MS, files: 1, reachable: Some(true) };
    let sent = vec![
        receiver("bob", OfferState::Accepted { percent: Some(40) }),
        receiver("carol", OfferState::Done),
        receiver("dave", OfferState::Refused),
    ];
    vec![
        Reply::Done,
        Reply::Welcome(Welcome {
            name: text("jane-2"),
            seen_as: "203.0.113.9:51234".parse().unwrap(),
            time_ms: NOW_MS,
            silence_ms: 30_000,
            peers: 2,
            account: true,
            access: Access::Invite,
            udp: Some(UdpOffer { token: StunToken([0xa5; 16]), relays: true }),
        }),
        Reply::LoggedIn { name: text("jane") },
        Reply::Devices { devices: vec![device] },
        Reply::Registered { entry: text("jane/doug.png"), version: 3, already: false, audience: Audience::Public },
        Reply::Shared { entry: text("jane/doug.png"), audience: restricted(), users: Some(vec![text("bob")]) },
        Reply::Shared { entry: text("jane/doug.png"), audience: Audience::Public, users: None },
        Reply::Entries { entries: vec![entry(), folder_entry()], total: 2 },
        Reply::Versions { entry: entry(), versions: vec![version(3, file()), version(2, folder())] },
        Reply::Locations {
            entry: entry(),
            holders: vec![holder(Some(Have::All)), holder(Some(Have::Map(text("82")))), holder(None)],
            next: Some(3),
        },
        Reply::Plan(Plan {
            entry: folder_entry(),
            audience: restricted(),
            ticket: text("73686f"),
            holders: vec![holder(Some(Have::All))],
        }),
        Reply::Meeting(meeting(Some(ChannelId(0x0102_0304_0506_0708)))),
        Reply::Users { users: vec![user] },
        Reply::Whereabouts { holders: vec![holder(None)] },
        Reply::Subscriptions {
            subscriptions: vec![
                Subscription { entry: text("jane/doug.png"), newest: Some(entry()) },
                Subscription { entry: text("jane/gone.png"), newest: None },
            ],
        },
        Reply::History { lines: vec![line()] },
        Reply::Offered { offer: OfferId(7), to: vec![text("bob"), text("carol"), text("dave")] },
        Reply::Offers {
            received: vec![offer(OfferState::Accepted { percent: None })],
            sent: vec![Sent { offer: offer(OfferState::Offered), to: sent }],
        },
    ]
}

fn events() -> Vec<Event> {
    let revocations = vec![
        Revocation { holder: peer(), audience: Some(restricted()), before_ms: NOW_MS },
        Revocation { holder: peer(), audience: None, before_ms: NOW_MS },
    ];
    vec![
        Event::Holder { content: file(), audience: Audience::Public, holder: holder(Some(Have::All)) },
        Event::Holder { content: folder(), audience: offered(), holder: holder(None) },
        Event::Dial { peer: peer(), addresses: vec!["192.0.2.7:40001".parse().unwrap()] },
        Event::NotReached { peer: peer() },
        Event::Meet(meeting(None)),
        Event::Joined { name: text("jane"), peer: peer() },
        Event::Left { name: text("jane"), peer: peer() },
        Event::Updated { entry: entry() },
        Event::Gone { entry: text("jane/doug.png") },
        Event::Shared { entry: text("jane/doug.png"), audience: restricted() },
        Event::Revoked { revocations },
        Event::Chat(line()),
        Event::Message(line()),
        Event::Offered(offer(OfferState::Offered)),
        Event::Answered { offer: OfferId(7), name: text("doug.png"), receiver: receiver("bob", OfferState::Refused) },
        Event::Shutdown,
    ]
}

/// One of each and more, in the order of `WIRE.md`.
fn from_peer() -> Vec<FromPeer> {
    let requests = requests().into_iter().zip(1..).map(|(op, id)| FromPeer::Request { id, op });
    requests.chain([FromPeer::Pong(7)]).collect()
}

fn from_tracker() -> Vec<FromTracker> {
    let replies = replies().into_iter().zip(1..).map(|(result, id)| FromTracker::Reply { id, result });
    let refusals = [
        Refusal { code: Code::NotFound, text: text("there is no entry doug.png"), candidates: Vec::new() },
        Refusal { code: Code::Ambiguous, text: "say whose".to_owned(), candidates: vec![entry()] },
    ];
    let refusals = refusals.into_iter().zip(20..).map(|(error, id)| FromTracker::Refusal { id, error });
    let events = events().into_iter().map(FromTracker::Event);
    replies.chain(refusals).chain([FromTracker::Ping(7)]).chain(events).collect()
}

/// What follows `speaker` on the lines of examples in `WIRE.md`.
fn on_the_page(speaker: &str) -> Vec<&'static str> {
    PAGE.lines().filter_map(|line| line.strip_prefix(speaker)).collect()
}

fn body(frame: Result<Vec<u8>, TooLarge>) -> Vec<u8> {
    frame.unwrap().split_off(FRAME_HEADER)
}

#[test]
fn json_is_that_of_the_page() {
    let written = from_peer().into_iter().map(|message| String::from_utf8(body(message.to_frame())).unwrap());
    assert_eq!(written.collect::<Vec<_>>(), on_the_page("peer: "));
    let written = from_tracker().into_iter().map(|message| String::from_utf8(body(message.to_frame())).unwrap());
    assert_eq!(written.collect::<Vec<_>>(), on_the_page("tracker: "));
}

#[test]
fn the_page_is_read_as_it_is_written() {
    for (line, message) in on_the_page("peer: ").into_iter().zip(from_peer()) {
        assert_eq!(FromPeer::from_body(line.as_bytes()), Ok(message));
    }
    for (line, message) in on_the_page("tracker: ").into_iter().zip(from_tracker()) {
        assert_eq!(FromTracker::from_body(line.as_bytes()), Ok(message));
    }
}

#[test]
fn a_frame_has_its_length_before_it() {
    let frame = FromPeer::Pong(7).to_frame().unwrap();
    assert_eq!(frame, b"\0\0\0\x0a{\"pong\":7}");
}

#[test]
fn what_does_not_fit_a_frame_is_not_sent() {
    let search = |length| {
        let op = Request::Search { text: "a".repeat(length), query: Query::default() };
        FromPeer::Request { id: 0, op }.to_frame()
    };
    let overhead = body(search(0)).len();
    assert_eq!(search(MAX_TRACKER_FRAME - overhead).map(|frame| frame.len()), Ok(FRAME_HEADER + MAX_TRACKER_FRAME));
    let length = MAX_TRACKER_FRAME + 1;
    assert_eq!(search(length - overhead), Err(TooLarge { length }));
}

/// The name of an enum's variant: the key of an object, or a string by itself.
fn name_in(value: &Value) -> String {
    match value {
        Value::String(name) => name.clone(),
        other => other.as_object().unwrap().keys().next().unwrap().clone(),
    }
}

fn names<T: Serialize>(values: &[T]) -> BTreeSet<String> {
    values.iter().map(|value| name_in(&serde_json::to_value(value).unwrap())).collect()
}

#[test]
fn the_examples_reach_every_variant() {
    let operations: BTreeSet<String> = OPERATIONS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names(&requests()), operations);
    assert_eq!(variants::<Request>(), operations);
    assert_eq!(names(&replies()), variants::<Reply>());
    assert_eq!(names(&events()), variants::<Event>());
    assert_eq!(names(&from_peer()), variants::<FromPeer>());
    assert_eq!(names(&from_tracker()), variants::<FromTracker>());
}

/// The names of all variants, as serde tells them when it finds none of them.
fn variants<T: serde::de::DeserializeOwned + std::fmt::Debug>() -> BTreeSet<String> {
    let error = serde_json::from_value::<T>(json!({"no such variant": 0})).unwrap_err().to_string();
    let (_, listed) = error.split_once("expected ").unwrap();
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Adds a field to the object at the end of this path.
fn with_a_newer_field(message: &Value, path: &str) -> Vec<u8> {
    let mut changed = message.clone();
    let object = changed.pointer_mut(path).unwrap().as_object_mut().unwrap();
    object.insert("newer".to_owned(), json!({"a": [1, null, {"b": "c"}]}));
    serde_json::to_vec(&changed).unwrap()
}

/// Whether a message has an enum at this path: its objects have a variant's name as their only key.
fn is_enum(path: &str) -> bool {
    let field = path.rsplit('/').next().unwrap_or_default();
    matches!(path, "" | "/request/op" | "/reply/result" | "/event")
        || matches!(field, "have" | "audience" | "change" | "state")
}

/// Paths to all objects in a message that are structs.
fn structs(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            if !is_enum(path) {
                found.push(path.to_owned());
            }
            for (key, field) in fields {
                structs(field, &format!("{path}/{key}"), found);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                structs(item, &format!("{path}/{at}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn unknown_fields_are_passed_over_in_every_struct() {
    let mut tried = 0;
    for message in from_peer() {
        let (value, mut paths) = (serde_json::to_value(&message).unwrap(), Vec::new());
        structs(&value, "", &mut paths);
        for path in &paths {
            let changed = with_a_newer_field(&value, path);
            assert_eq!(FromPeer::from_body(&changed), Ok(message.clone()), "{path} of {value}");
        }
        tried += paths.len();
    }
    for message in from_tracker() {
        let (value, mut paths) = (serde_json::to_value(&message).unwrap(), Vec::new());
        structs(&value, "", &mut paths);
        for path in &paths {
            let changed = with_a_newer_field(&value, path);
            assert_eq!(FromTracker::from_body(&changed), Ok(message.clone()), "{path} of {value}");
        }
        tried += paths.len();
    }
    assert!(tried > 150, "only {tried} structs were found");
}

#[test]
fn fields_with_defaults_may_be_missing() {
    let hello = br#"{"request":{"id":1,"op":{"hello":{"name":"jane","port":40001}}}}"#;
    let Ok(FromPeer::Request { id: 1, op: Request::Hello(hello) }) = FromPeer::from_body(hello) else {
        panic!("a short hello is one");
    };
    assert!(!hello.name_is_default && hello.interfaces.is_empty() && hello.advertised.is_empty());
    assert!(hello.agent.is_empty() && hello.device.is_empty());
    // What a tracker says that does nothing over UDP.
    let welcome = br#"{"name":"jane","seen_as":"203.0.113.9:1","time_ms":1,"silence_ms":1,"peers":1}"#;
    assert_eq!(serde_json::from_slice::<Welcome>(welcome).unwrap().udp, None);
    let list = br#"{"request":{"id":2,"op":{"list":{}}}}"#;
    assert_eq!(FromPeer::from_body(list), Ok(FromPeer::Request { id: 2, op: Request::List(Query::default()) }));
}

#[test]
fn a_request_that_makes_no_sense_is_refused_under_its_number_where_that_can_be_read() {
    let long = format!(r#"{{"request":{{"id":5,"op":{{"where":{{"user":{{"{}":1}}}}}}}}}}"#, "x".repeat(100_000));
    for (text, id, code) in [
        (r#"{"request":{"id":5,"op":"dance"}}"#, Some(5), Code::Unknown),
        (r#"{"request":{"op":{"dance":{"with":["jane"]}},"id":5}}"#, Some(5), Code::Unknown),
        (r#"{"request":{"id":5,"op":{"loc":{}}}}"#, Some(5), Code::Malformed),
        (r#"{"request":{"id":5,"op":{"loc":{"entry":7}}}}"#, Some(5), Code::Malformed),
        (r#"{"request":{"id":5,"op":{}}}"#, None, Code::Malformed),
        (r#"{"request":{"id":5}}"#, Some(5), Code::Malformed),
        (r#"{"request":{"id":-5,"op":"users"}}"#, None, Code::Malformed),
        (r#"{"request":{"op":"users"}}"#, None, Code::Malformed),
        (r#"{"request":7}"#, None, Code::Malformed),
        (r#"{"sing":{"id":5}}"#, None, Code::Malformed),
        (r#"{"request":{"id":5,"op":"users"}"#, None, Code::Malformed),
        (r#"{"request":{"id":5,"op":"users"}} x"#, None, Code::Malformed),
        (long.as_str(), Some(5), Code::Malformed),
        ("[]", None, Code::Malformed),
        ("", None, Code::Malformed),
        ("\u{0}", None, Code::Malformed),
    ] {
        let undecoded = FromPeer::from_body(text.as_bytes()).unwrap_err();
        assert_eq!((undecoded.id, undecoded.refusal.code), (id, code), "{text}");
        assert!(undecoded.refusal.text.len() < 1000);
    }
}

#[test]
fn what_a_newer_tracker_says_is_passed_over() {
    for (text, strange) in [
        (r#"{"reply":{"id":3,"result":{"poem":{"lines":4}}}}"#, Strange::Answer(3)),
        (r#"{"reply":{"id":3,"result":"maybe"}}"#, Strange::Answer(3)),
        (r#"{"refusal":{"id":3,"error":{}}}"#, Strange::Answer(3)),
        (r#"{"event":{"eclipse":{"when":1}}}"#, Strange::Newer),
        (r#"{"event":"eclipse"}"#, Strange::Newer),
        (r#"{"gift":1}"#, Strange::Newer),
        (r#""silence""#, Strange::Newer),
        (r#"{"event":"shutdown""#, Strange::Malformed),
        ("", Strange::Malformed),
    ] {
        assert_eq!(FromTracker::from_body(text.as_bytes()), Err(strange), "{text}");
    }
    let newer = br#"{"refusal":{"id":3,"error":{"code":"too_late","text":"x"}}}"#;
    let Ok(FromTracker::Refusal { id: 3, error }) = FromTracker::from_body(newer) else {
        panic!("a refusal with a newer code is one");
    };
    assert_eq!(error.code, Code::Newer);
}

/// serde_json stops at 128 levels; without that, this overflows the stack.
#[test]
fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), (r#"{"request":"#, "}"), (r#"{"event":"#, "}")] {
        let levels = MAX_TRACKER_FRAME / (open.len() + close.len());
        let text = open.repeat(levels) + &close.repeat(levels);
        assert!(FromPeer::from_body(text.as_bytes()).is_err());
        assert!(FromTracker::from_body(text.as_bytes()).is_err());
        assert!(FromPeer::from_body(open.repeat(levels).as_bytes()).is_err());
    }
}

#[test]
fn have_says_what_bitmaps_say() {
    let file: Content = FileId::new(10 * (16 << 10), Hash([0; 32])).unwrap().into();
    let mut bitmap = Bitmap::empty(10);
    bitmap.insert(0);
    bitmap.insert(9);
    assert_eq!(Have::of(&bitmap), Have::Map("8040".to_owned()));
    assert_eq!(Have::Map("8040".to_owned()).to_bitmap(&file), Ok(bitmap.clone()));
    assert_eq!(Have::Add(vec![9, 0, 10, u32::MAX]).to_bitmap(&file), Ok(bitmap.clone()));
    assert_eq!(Have::of(&Bitmap::full(10)), Have::All);
    assert_eq!(Have::All.to_bitmap(&file), Ok(Bitmap::full(10)));
    assert_eq!(Have::None.to_bitmap(&file), Ok(Bitmap::empty(10)));
    assert_eq!(Have::from(Chunks::Some(bitmap)), Have::Map("8040".to_owned()));
    assert_eq!(Have::from(Chunks::All), Have::All);
    for hex in ["80", "80400", "804040", "8020", "804G", "éé"] {
        assert!(Have::Map(hex.to_owned()).to_bitmap(&file).is_err(), "{hex}");
    }
}

#[test]
fn announcements_enter_the_index() {
    let index = Index::new();
    let content: Content = FileId::new(10 * (16 << 10), Hash([0; 32])).unwrap().into();
    let audience = restricted();
    let key = SwarmKey::new(&content, &audience);
    let announce = |have| Announced { content, audience: audience.clone(), have }.enter(&index, peer());
    assert_eq!(announce(Have::Map("0000".to_owned())).unwrap().after, Standing::Downloader);
    assert_eq!(announce(Have::Add(vec![3])).unwrap().gained, 1);
    assert_eq!(announce(Have::All).unwrap().after, Standing::Seeder);
    assert_eq!(index.counts(&key), Counts { seeders: 1, downloaders: 0 });
    assert!(matches!(announce(Have::Map("00".to_owned())), Err(AnnouncedError::Bitmap(_))));
    assert!(matches!(announce(Have::Add(vec![10])), Err(AnnouncedError::Index(_))));
    assert_eq!(index.counts(&key), Counts { seeders: 1, downloaders: 0 });
    // For another audience it is another swarm.
    assert_eq!(index.counts(&SwarmKey::new(&content, &Audience::Public)), Counts::default());
    assert_eq!(announce(Have::None).unwrap().after, Standing::Absent);
    assert_eq!(index.swarm_count(), 0);
}

/// Damages to a text: each cuts, changes, inserts or repeats a part.
#[derive(Debug, Clone)]
enum Damage {
    Cut(usize),
    Change(usize, u8),
    Insert(usize, u8),
    Repeat(usize, usize),
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let damage = prop_oneof![
        any::<usize>().prop_map(Damage::Cut),
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Damage::Change(at, byte)),
        (any::<usize>(), prop::sample::select(b"{}[]\",:0-9e.\\u\0\xff".as_slice()))
            .prop_map(|(at, byte)| Damage::Insert(at, byte)),
        (any::<usize>(), 0usize..40).prop_map(|(at, length)| Damage::Repeat(at, length)),
    ];
    proptest::collection::vec(damage, 0..4)
}

fn damage(body: &mut Vec<u8>, damages: Vec<Damage>) {
    for damage in damages {
        let length = body.len().max(1);
        match damage {
            Damage::Cut(at) => body.truncate(at % length),
            Damage::Change(at, byte) => {
                if let Some(place) = body.get_mut(at % length) {
                    *place = byte;
                }
            }
            Damage::Insert(at, byte) => body.insert((at % length).min(body.len()), byte),
            Damage::Repeat(at, count) => {
                let from = (at % length).min(body.len());
                let part = body[from..(from + count).min(body.len())].to_vec();
                body.splice(from..from, part);
            }
        }
    }
}

proptest! {
    #[test]
    fn damaged_messages_from_peers_are_read_or_refused(which in any::<prop::sample::Index>(), damages in damages()) {
        let mut bytes = body(which.get(&from_peer()).to_frame());
        damage(&mut bytes, damages);
        if let Ok(message) = FromPeer::from_body(&bytes) {
            prop_assert_eq!(FromPeer::from_body(&body(message.to_frame())), Ok(message));
        }
    }

    #[test]
    fn damaged_messages_from_trackers_are_read_or_refused(which in any::<prop::sample::Index>(), damages in damages()) {
        let mut bytes = body(which.get(&from_tracker()).to_frame());
        damage(&mut bytes, damages);
        if let Ok(message) = FromTracker::from_body(&bytes) {
            prop_assert_eq!(FromTracker::from_body(&body(message.to_frame())), Ok(message));
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(FromPeer::from_body(&bytes).is_err());
        prop_assert!(FromTracker::from_body(&bytes).is_err());
    }
}
