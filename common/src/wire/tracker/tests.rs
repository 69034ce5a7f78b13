//! Tests of the messages to and from the tracker. The fixed examples are those of `WIRE.md`, one a line.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::body::OPERATIONS;
use super::*;
use crate::id::Hash;
use crate::index::{Counts, Standing};
use crate::wire::{FRAME_HEADER, MAX_TRACKER_FRAME};

const PAGE: &str = include_str!("../WIRE.md");

fn file() -> FileId {
    FileId::new(107_330, Hash([0xcd; 32])).unwrap()
}

fn peer() -> PeerId {
    PeerId([0xa7; 32])
}

fn entry() -> Entry {
    Entry {
        owners: vec!["jane".to_owned()],
        name: "doug.png".to_owned(),
        file: file(),
        seeders: 1,
        downloaders: 1,
        registered_ms: 1_700_000_000_000,
    }
}

fn holder(have: Option<Have>) -> Holder {
    let addresses = vec!["192.0.2.7:40001".parse().unwrap(), "[2001:db8::7]:40001".parse().unwrap()];
    Holder { peer: peer(), user: "jane".to_owned(), addresses, have }
}

fn requests() -> Vec<Request> {
    vec![
        Request::Hello(Hello {
            name: "jane".to_owned(),
            name_is_default: true,
            port: 40001,
            interfaces: vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
            advertised: vec!["203.0.113.9:40001".parse().unwrap()],
            agent: "shoal-peer/0.1.0".to_owned(),
        }),
        Request::Leave,
        Request::Register { name: "doug.png".to_owned(), file: file() },
        Request::Deregister { entry: "doug.png".to_owned() },
        Request::List(Page { offset: 0, limit: 1000 }),
        Request::Search { text: "*.png".to_owned(), page: Page { offset: 1000, limit: 0 } },
        Request::Loc { entry: "jane/doug.png".to_owned(), offset: 0 },
        Request::Plan { entry: "doug.png".to_owned(), file: None },
        Request::Plan { entry: "jane/doug.png".to_owned(), file: Some(file()) },
        Request::Ticket { entry: "jane/doug.png".to_owned(), file: file() },
        Request::Announce {
            swarms: vec![
                Announced { file: file(), have: Have::Add(vec![0, 6]) },
                Announced { file: file(), have: Have::Map("82".to_owned()) },
                Announced { file: file(), have: Have::All },
                Announced { file: file(), have: Have::None },
            ],
        },
        Request::Completed { entry: "jane/doug.png".to_owned(), file: file() },
        Request::DialMe { peer: peer() },
        Request::Dialled { peer: peer(), reached: true },
        Request::Users,
        Request::Where { user: "jane".to_owned() },
    ]
}

fn replies() -> Vec<Reply> {
    vec![
        Reply::Done,
        Reply::Welcome(Welcome {
            name: "jane-2".to_owned(),
            seen_as: "203.0.113.9:51234".parse().unwrap(),
            time_ms: 1_700_000_000_000,
            silence_ms: 30_000,
            peers: 2,
        }),
        Reply::Registered { entry: "jane/doug.png".to_owned(), already: false },
        Reply::Entries { entries: vec![entry()], total: 1 },
        Reply::Locations {
            entry: entry(),
            holders: vec![holder(Some(Have::All)), holder(Some(Have::Map("82".to_owned()))), holder(None)],
            next: Some(3),
        },
        Reply::Plan(Plan { entry: entry(), ticket: "73686f".to_owned(), holders: vec![holder(Some(Have::All))] }),
        Reply::Ticket { ticket: "73686f".to_owned() },
        Reply::Users {
            users: vec![User {
                name: "jane".to_owned(),
                peer: peer(),
                since_ms: 1_700_000_000_000,
                files: 1,
                reachable: Some(true),
            }],
        },
        Reply::Whereabouts { holders: vec![holder(None)] },
    ]
}

fn events() -> Vec<Event> {
    vec![
        Event::Holder { file: file(), holder: holder(Some(Have::All)) },
        Event::Dial { peer: peer(), addresses: vec!["192.0.2.7:40001".parse().unwrap()] },
        Event::Joined { name: "jane".to_owned(), peer: peer() },
        Event::Left { name: "jane".to_owned(), peer: peer() },
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
        Refusal { code: Code::NotFound, text: "there is no entry doug.png".to_owned(), candidates: Vec::new() },
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
        let op = Request::Search { text: "a".repeat(length), page: Page::default() };
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

/// Paths to all objects in a message that are structs: those with a variant's name as their only key are enums.
fn structs(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            let wrappers = [
                variants::<FromPeer>(),
                variants::<FromTracker>(),
                variants::<Request>(),
                variants::<Reply>(),
                variants::<Event>(),
                variants::<Have>(),
            ];
            // The reply `ticket` is a struct with the one field `ticket`, a text.
            let is_enum = fields.len() == 1
                && !fields.get("ticket").is_some_and(Value::is_string)
                && fields.keys().all(|key| wrappers.iter().any(|names| names.contains(key)));
            if !is_enum {
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
    assert!(tried > 60, "only {tried} structs were found");
}

#[test]
fn fields_with_defaults_may_be_missing() {
    let hello = br#"{"request":{"id":1,"op":{"hello":{"name":"jane","port":40001}}}}"#;
    let Ok(FromPeer::Request { id: 1, op: Request::Hello(hello) }) = FromPeer::from_body(hello) else {
        panic!("a short hello is one");
    };
    assert!(!hello.name_is_default && hello.interfaces.is_empty() && hello.advertised.is_empty());
    let list = br#"{"request":{"id":2,"op":{"list":{}}}}"#;
    assert_eq!(FromPeer::from_body(list), Ok(FromPeer::Request { id: 2, op: Request::List(Page::default()) }));
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
    let file = FileId::new(10 * (16 << 10), Hash([0; 32])).unwrap();
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
    let file = FileId::new(10 * (16 << 10), Hash([0; 32])).unwrap();
    let announce = |have| Announced { file, have }.enter(&index, peer());
    assert_eq!(announce(Have::Map("0000".to_owned())).unwrap().after, Standing::Downloader);
    assert_eq!(announce(Have::Add(vec![3])).unwrap().gained, 1);
    assert_eq!(announce(Have::All).unwrap().after, Standing::Seeder);
    assert_eq!(index.counts(&file), Counts { seeders: 1, downloaders: 0 });
    assert!(matches!(announce(Have::Map("00".to_owned())), Err(AnnouncedError::Bitmap(_))));
    assert!(matches!(announce(Have::Add(vec![10])), Err(AnnouncedError::Index(_))));
    assert_eq!(index.counts(&file), Counts { seeders: 1, downloaders: 0 });
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
