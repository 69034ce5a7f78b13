//! Tests of the machine: rule by rule with a few nodes, then many nodes in virtual time.
//!
//! Both run in [`world::World`], where a second costs nothing. The random runs are repeated for as many seeds as
//! `PROPTEST_CASES` says.

mod floods;
mod hostile;
mod messages;
mod random;
mod rules;
mod services;
mod strangers;
mod world;

use std::time::Instant;

/// Some time; from there on it passes as a test wants.
#[expect(clippy::disallowed_methods, reason = "an instant cannot be made otherwise; read once, it is as good as any")]
pub(in crate::group) fn start() -> Instant {
    Instant::now()
}
