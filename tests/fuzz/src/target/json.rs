//! Decoders of JSON: messages to and from the tracker.

use std::collections::BTreeSet;

use common::id::{Content, PeerId};
use common::index::Index;
use common::wire::FRAME_HEADER;
use common::wire::tracker::{FromPeer, FromTracker, Holder, Reply, Request, TooLarge};

use super::{Target, kind_of};

/// Its examples are the seeds.
const PAGE: &str = include_str!("../../../../common/src/wire/WIRE.md");

const WORDS: &[&str] = &[
    "{\"request\":{\"id\":1,\"op\":",
    "{\"reply\":{\"id\":1,\"result\":",
    "{\"event\":",
    "\"hello\"",
    "\"announce\"",
    "\"swarms\"",
    "\"plan\"",
    "\"have\":",
    "\"add\"",
    "\"map\"",
    "\"all\"",
    "\"none\"",
    "\"file\":",
    "\"length\":",
    "\"offset\":",
    "\"done\"",
    "\"users\"",
    "\"::\",",
    "\"[::1]:1\",",
    "\"127.0.0.1:65536\"",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
];

/// The body of a frame to the tracker; what is announced in it goes into an index.
pub(super) const FROM_PEER: Target = Target {
    name: "from_peer",
    run: from_peer,
    seeds: || examples("peer: "),
    words: WORDS,
    // What one peer may take up in the index, twice: a list grows by copying.
    memory_base: 2 * common::index::MAX_MAP_BYTES_PER_PEER + (256 << 10),
    memory_per_byte: MEMORY_PER_BYTE,
};

/// The body of a frame from the tracker.
pub(super) const FROM_TRACKER: Target = Target {
    name: "from_tracker",
    run: from_tracker,
    seeds: || examples("tracker: "),
    words: WORDS,
    // A map of the longest file, in bytes and in hex.
    memory_base: 256 << 10,
    memory_per_byte: MEMORY_PER_BYTE,
};

/// An address of 5 bytes of JSON is 32 in memory, in a list that doubles, beside its copy, and once more as text.
const MEMORY_PER_BYTE: usize = 40;

fn examples(speaker: &str) -> Vec<Vec<u8>> {
    PAGE.lines().filter_map(|line| line.strip_prefix(speaker)).map(|line| line.as_bytes().to_vec()).collect()
}

fn body(frame: Result<Vec<u8>, TooLarge>) -> Vec<u8> {
    frame.expect("inputs are far shorter than a frame may be").split_off(FRAME_HEADER)
}

fn from_peer(input: &[u8]) -> String {
    let message = match FromPeer::from_body(input) {
        Ok(message) => message,
        Err(undecoded) => {
            assert!(undecoded.refusal.text.len() < 2000, "a refusal as long as what it refuses");
            return format!("{:?} {}", undecoded.id.is_some(), undecoded.refusal);
        }
    };
    let again = FromPeer::from_body(&body(message.to_frame()));
    assert_eq!(again.as_ref(), Ok(&message));
    let mut answer = kind_of(&message);
    if let FromPeer::Request { op: Request::Announce { swarms }, .. } = &message {
        let (index, peer) = (Index::new(), PeerId([1; 32]));
        let answers = swarms.iter().map(|announced| match announced.enter(&index, peer) {
            Ok(changed) => format!("{:?}{:?}", changed.before, changed.after),
            Err(error) => kind_of(&error),
        });
        answer.extend(answers.collect::<BTreeSet<_>>());
        let files = index.remove_peer(&peer);
        assert_eq!(index.swarm_count(), 0, "{files:?} left something behind");
    }
    answer
}

fn from_tracker(input: &[u8]) -> String {
    let message = match FromTracker::from_body(input) {
        Ok(message) => message,
        Err(strange) => return strange.to_string(),
    };
    let again = FromTracker::from_body(&body(message.to_frame()));
    assert_eq!(again.as_ref(), Ok(&message));
    let mut answer = kind_of(&message);
    match &message {
        FromTracker::Reply { result: Reply::Locations { entry, holders, .. }, .. } => {
            answer += &maps(holders, &entry.content);
        }
        FromTracker::Reply { result: Reply::Plan(plan), .. } => answer += &maps(&plan.holders, &plan.entry.content),
        _ => {}
    }
    answer
}

/// What comes of the maps of these holders.
fn maps(holders: &[Holder], content: &Content) -> String {
    let answers = holders.iter().filter_map(|holder| holder.have.as_ref()).map(|have| match have.to_bitmap(content) {
        Ok(bitmap) if bitmap.is_full() => "full".to_owned(),
        Ok(_) => "part".to_owned(),
        Err(error) => kind_of(&error),
    });
    answers.collect::<BTreeSet<_>>().into_iter().collect()
}
