//! Trackers over real sockets, and peers good and bad.

mod accounts;
mod admin;
mod client;
mod hostile;
mod lifetimes;
mod peers;
mod udp;

use self::client::{Client, PATIENCE, Running, dial, file};
