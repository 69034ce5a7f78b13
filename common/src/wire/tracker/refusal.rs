//! Why a request was refused.

use serde::{Deserialize, Serialize};

use super::Entry;

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: one sentence that says what to do.
    pub text: String,
    /// With [`Code::Ambiguous`]: the entries that it could be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Entry>,
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The message made no sense.
    Malformed,
    /// No such operation here.
    Unknown,
    /// Not before `hello`.
    NotJoined,
    /// The name is not one.
    BadName,
    /// The user name belongs to another key.
    NameTaken,
    /// No such entry, user or peer.
    NotFound,
    /// Owners have different files under this name.
    Ambiguous,
    /// Not as things are: it is the other way round, or something else comes first.
    Conflict,
    /// No version of the entry names that content (any more).
    Changed,
    /// Not the caller's to do.
    Forbidden,
    /// Too much at once; later.
    Busy,
    /// The peer asked about is offline.
    Gone,
    /// A limit is reached.
    Limit,
    /// The tracker cannot do it now (its disk is full, say).
    Unavailable,
    /// Only for accounts here: sign up or log in first.
    LoginRequired,
    /// No account has this name and this password.
    WrongPassword,
    /// To sign up here takes the code of an invite, and a good one.
    InviteRequired,
    /// A code of a newer tracker.
    #[serde(other)]
    Newer,
}
