//! Storage: files on disk, complete and in the making. Everything here blocks and belongs on the blocking pool.
//!
//! - [`Partial`]: a file in the making, with its [`journal`], in a folder of its own under `downloading/`
//! - `body`: its bytes
//! - `beneath`: files of a folder, and nothing that is not in it
//! - `drafts`: chunks that come in parts, perhaps several of the same
//! - [`place()`]: how a complete file gets its final name
//! - `swap`: how a new version of a folder takes the place of the one before
//! - [`Stamp`], [`Looks`]: how a change of what is complete is noticed

mod beneath;
mod body;
mod drafts;
mod journal;
mod looks;
mod partial;
mod place;
mod stamp;
mod swap;

pub(crate) use beneath::{Links, Root};
pub(crate) use drafts::Draft;
pub(crate) use looks::Different;
pub use looks::Looks;
pub use partial::PlanSource;
pub(crate) use partial::{
    Opened, Partial, PartialMeta, PartialRecord, Placement, bytes_on_disk, join_segments, verify_chunk,
};
pub use place::Placing;
pub(crate) use place::{place, place_over, sync_parent};
pub use stamp::Stamp;

/// How the names begin of what is in the making beside its target.
pub(crate) const PARTIAL_PREFIX: &str = ".shoal-";

/// Bytes that are read or written at once.
pub(crate) const SEGMENT: usize = 1 << 20;
