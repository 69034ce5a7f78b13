//! Administration: what the operator does beside running the tracker. The program asks the running tracker through a
//! Unix socket in its data directory, one JSON line there and one back; only the user who runs the tracker, and root,
//! are heard.

mod client;
mod commands;
mod export;
mod place;
mod server;

use common::secret::Secret;
use serde::{Deserialize, Serialize};

pub use self::commands::{Action, Output, run};
pub(crate) use self::server::{AdminSocket, Desk};
use crate::service::UserLine;

/// What is asked, one a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    /// Makes an invite.
    Invite {
        /// So many may sign up with it.
        uses: u32,
        /// For so long, in milliseconds.
        lasts_ms: u64,
    },
    /// Lists the users.
    Users,
    /// Gives a user a new password, and throws all its devices out.
    Reset {
        /// Who.
        name: String,
    },
    /// Removes a user with all that it has.
    Remove {
        /// Who.
        name: String,
    },
    /// All that is to last.
    Export,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Response {
    /// Done, nothing to tell.
    Done,
    /// An invite is there, durably.
    Invited(Invited),
    /// The users, by name.
    Users(Vec<UserLine>),
    /// The password that a user has from now on, durably.
    Reset {
        /// It is told this once.
        password: Secret,
    },
    /// All that is to last.
    Export(export::Export),
    /// Refused, and nothing was changed: one sentence.
    Error(String),
}

/// An invite, and where to go with it.
#[derive(Debug, Serialize, Deserialize)]
struct Invited {
    /// What to sign up with; it is told this once.
    code: Secret,
    /// Until when, milliseconds since 1970 (UTC).
    expires_ms: u64,
    /// Where the tracker listens; it may be all addresses.
    listen: std::net::SocketAddr,
    /// The tracker's fingerprint.
    fingerprint: common::id::NetworkId,
}
