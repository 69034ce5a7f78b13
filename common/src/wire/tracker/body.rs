//! Bodies: messages as the JSON in a frame, and what to make of a frame that holds no message.

use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{Code, FromPeer, FromTracker, Refusal};
use crate::wire::{FRAME_HEADER, MAX_TRACKER_FRAME};

/// The operations of [`super::Request`] as they are called on the wire; a test holds them to it.
pub(super) const OPERATIONS: &[&str] = &[
    "hello",
    "leave",
    "sign_up",
    "log_in",
    "log_out",
    "change_password",
    "devices",
    "revoke",
    "register",
    "deregister",
    "share",
    "list",
    "search",
    "versions",
    "loc",
    "plan",
    "plan_offer",
    "announce",
    "completed",
    "dial_me",
    "dialled",
    "mrt",
    "meet",
    "met",
    "users",
    "where",
    "subscribe",
    "unsubscribe",
    "subscriptions",
    "chat",
    "message",
    "history",
    "offer",
    "answer",
    "offers",
];

/// A message that does not fit a frame: it should have been said in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message of {length} bytes is longer than a frame may be ({MAX_TRACKER_FRAME})")]
pub struct TooLarge {
    /// Bytes of its JSON.
    pub length: usize,
}

/// A body from a peer that is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct Undecoded {
    /// The request to refuse; `None` where not even that can be read, and the connection is to be closed.
    pub id: Option<u64>,
    /// [`Code::Unknown`] where only the operation is not known here, else [`Code::Malformed`].
    pub refusal: Refusal,
}

/// A body from a tracker that is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Strange {
    /// The answer to the request of this number, which has thereby failed.
    #[error("the tracker's answer makes no sense to this version")]
    Answer(u64),
    /// JSON that a newer tracker may send: to be passed over.
    #[error("the tracker sent something that this version does not know")]
    Newer,
    /// No JSON: the connection is to be closed.
    #[error("the tracker sent something that is not a message")]
    Malformed,
}

impl FromPeer {
    /// The frame of this message: its length and its JSON.
    pub fn to_frame(&self) -> Result<Vec<u8>, TooLarge> {
        to_frame(self)
    }

    /// Reads a frame's body.
    pub fn from_body(body: &[u8]) -> Result<Self, Undecoded> {
        serde_json::from_slice(body).map_err(|error| undecoded(body, &error))
    }
}

impl FromTracker {
    /// The frame of this message: its length and its JSON.
    pub fn to_frame(&self) -> Result<Vec<u8>, TooLarge> {
        to_frame(self)
    }

    /// Reads a frame's body.
    pub fn from_body(body: &[u8]) -> Result<Self, Strange> {
        serde_json::from_slice(body).map_err(|_error| match Peek::at(body).id {
            Some(id) => Strange::Answer(id),
            None if serde_json::from_slice::<IgnoredAny>(body).is_ok() => Strange::Newer,
            None => Strange::Malformed,
        })
    }
}

fn to_frame(message: &impl Serialize) -> Result<Vec<u8>, TooLarge> {
    let mut frame = vec![0; FRAME_HEADER];
    serde_json::to_writer(&mut frame, message).expect("these messages have no maps and no failing types");
    let length = frame.len() - FRAME_HEADER;
    let header = u32::try_from(length).ok().filter(|_| length <= MAX_TRACKER_FRAME).ok_or(TooLarge { length })?;
    for (place, byte) in frame.iter_mut().zip(header.to_be_bytes()) {
        *place = byte;
    }
    Ok(frame)
}

/// Operations that carry passwords, of which nothing is quoted.
const SECRETIVE: [&str; 3] = ["sign_up", "log_in", "change_password"];

fn undecoded(body: &[u8], error: &serde_json::Error) -> Undecoded {
    /// serde's reasons may quote what came, and so be as long as that.
    const LONGEST_REASON: usize = 200;
    let peek = Peek::at(body);
    let (code, text) = match peek.op {
        Some(Operation(name)) if SECRETIVE.contains(&name.as_str()) => {
            (Code::Malformed, "the message makes no sense".to_owned())
        }
        Some(Operation(name)) if !OPERATIONS.contains(&name.as_str()) => {
            (Code::Unknown, "this tracker does not know that operation; it may be older than the peer".to_owned())
        }
        _ => {
            let reason: String = error.to_string().chars().take(LONGEST_REASON).collect();
            (Code::Malformed, format!("the message makes no sense: {reason}"))
        }
    };
    Undecoded { id: peek.id, refusal: Refusal { code, text, candidates: Vec::new() } }
}

/// What can be read of a message that cannot be.
#[derive(Default, Deserialize)]
struct Peek {
    id: Option<u64>,
    op: Option<Operation>,
}

impl Peek {
    fn at(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Outer {
            #[serde(alias = "reply", alias = "refusal")]
            request: Peek,
        }
        serde_json::from_slice(body).map_or_else(|_| Self::default(), |outer: Outer| outer.request)
    }
}

/// The name of an operation: `"name"` or `{"name":..}`, of which the rest is passed over without memory for it.
struct Operation(String);

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OperationVisitor)
    }
}

struct OperationVisitor;

impl<'de> Visitor<'de> for OperationVisitor {
    type Value = Operation;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an operation, or an object with it as the key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Operation, E> {
        Ok(Operation(name.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Operation, A::Error> {
        let (name, IgnoredAny) = map.next_entry()?.ok_or_else(|| A::Error::custom("an operation without a name"))?;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Operation(name))
    }
}
