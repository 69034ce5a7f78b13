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

mod examples;

use self::examples::*;

const PAGE: &str = include_str!("../WIRE.md");

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
