//! The wire: what goes over a connection, message by message. `WIRE.md` beside this file has it byte for byte; this
//! module has the limits, the submodules the messages.

pub mod peer;
pub mod tracker;

/// ALPN of a connection to a tracker.
pub const TRACKER_ALPN: &[u8] = b"shoal-tracker/1";
/// ALPN of a connection between peers.
pub const PEER_ALPN: &[u8] = b"shoal-peer/1";

/// Bytes of the length before each frame: a big-endian u32.
pub const FRAME_HEADER: usize = 4;
/// The longest frame body to or from a tracker: 1 MiB of JSON.
pub const MAX_TRACKER_FRAME: usize = 1 << 20;
/// The longest frame body between peers: 64 KiB.
pub const MAX_PEER_FRAME: usize = 64 << 10;

/// The port a tracker listens on by default.
pub const DEFAULT_TRACKER_PORT: u16 = 8000;
/// Most bytes of a search text.
pub const MAX_SEARCH_TEXT: usize = 1024;
/// Most entries in one page of a list.
pub const MAX_PAGE: u32 = 1000;
/// Most swarms in one announcement.
pub const MAX_ANNOUNCED: usize = 1000;
/// Most addresses a peer may declare.
pub const MAX_ADDRESSES: usize = 16;
/// Most seeders in a download plan.
pub const MAX_PLAN_SEEDERS: usize = 50;
/// Bytes of location maps that one reply carries; the rest is told by the holders themselves.
pub const MAX_MAP_BYTES: usize = 512 << 10;
/// Bytes of a machine's name that are kept.
pub const MAX_DEVICE_NAME: usize = 64;
/// Most bytes of what is said at once.
pub const MAX_CHAT_TEXT: usize = 2000;
/// So many lines that were said are kept for those who come later.
pub const MAX_HISTORY: usize = 100;
/// So many versions of an entry are known; the oldest go first.
pub const MAX_VERSIONS: usize = 100;
/// Most users that an entry is for, or that one offer goes to.
pub const MAX_USERS_NAMED: usize = 500;
/// Most entries that one key follows.
pub const MAX_SUBSCRIPTIONS: usize = 1000;
/// Most offers that one user is the sender or a receiver of; the oldest that are settled go first.
pub const MAX_OFFERS: usize = 200;
