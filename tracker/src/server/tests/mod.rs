//! Trackers over real sockets, and peers good and bad.

mod client;
mod peers;

use self::client::{Running, file};
