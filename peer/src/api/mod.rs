//! The local API: how one-shot commands and further shells reach the peer that runs on a DIR. HTTP and JSON over a Unix
//! socket that only its owner can open.
//!
//! - `POST /command`, a [`Command`](crate::command::Command) as JSON: answered with lines of JSON
//!   (`application/x-ndjson`): `{"update": ..}` any number of times, then `{"outcome": ..}` or `{"failure": ..}`. Whoever
//!   hangs up ends the command as far as that makes sense; a download goes on.
//! - `GET /notices`: lines of JSON, a [`Notice`](crate::notice::Notice) each, until the client hangs up.
//! - `GET /status`: its [`Status`](crate::command::Status) as JSON.
//! - `GET /names`: the [`Names`](crate::backend::Names) there are.

mod client;
mod lines;
mod place;
mod server;

pub(crate) use self::client::ApiClient;
pub(crate) use self::place::Places;
pub(crate) use self::server::ApiServer;

/// Most bytes of a request's body: a command with two of the longest paths is far below.
const MAX_REQUEST: usize = 256 << 10;
/// Most bytes of one line of an answer: a list of some 200,000 entries.
const MAX_LINE: usize = 64 << 20;
/// Most connections at once; further ones wait in the socket's backlog.
const MAX_CONNECTIONS: usize = 64;
/// Lines under way to one client; updates that find no room are dropped, the end of a command waits for room.
const QUEUE: usize = 256;

#[cfg(test)]
mod tests;
