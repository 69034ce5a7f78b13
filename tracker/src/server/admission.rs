//! Admission: how many connections of one source may be on their way to joining. Who opens more loses the oldest.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::source::Source;

/// So many connections of one source may not have joined yet.
pub(super) const MAX_PENDING: usize = 64;
/// Counts connections that have not joined; clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Admission {
    sources: Arc<Mutex<HashMap<Source, Queue>>>,
}

/// The connections of one source, the oldest first: their numbers, and what ends them.
type Queue = VecDeque<(u64, CancellationToken)>;

/// Counts one connection until it is dropped.
#[derive(Debug)]
pub(super) struct Pending {
    admission: Admission,
    source: Source,
    number: u64,
    /// Cancelled when the connection must make place for a newer one.
    pub(super) crowded: CancellationToken,
}

impl Admission {
    /// Counts a connection from there; `number` is its own.
    pub(super) fn enter(&self, from: IpAddr, number: u64) -> Pending {
        let source = Source::of(from);
        let crowded = CancellationToken::new();
        let mut sources = self.lock();
        let pending = sources.entry(source).or_default();
        pending.push_back((number, crowded.clone()));
        if pending.len() > MAX_PENDING
            && let Some((_, oldest)) = pending.pop_front()
        {
            oldest.cancel();
        }
        drop(sources);
        Pending { admission: self.clone(), source, number, crowded }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Queue>> {
        // No step between lock and unlock leaves it half done.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut sources = self.admission.lock();
        if let Some(pending) = sources.get_mut(&self.source) {
            pending.retain(|(number, _)| *number != self.number);
            if pending.is_empty() {
                sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_oldest_of_one_source_goes_first() {
        let admission = Admission::default();
        let other = admission.enter(ip("192.0.2.2"), 1000);
        let mut pending: Vec<Pending> = (0..64).map(|number| admission.enter(ip("192.0.2.1"), number)).collect();
        assert!(pending.iter().all(|pending| !pending.crowded.is_cancelled()));
        pending.push(admission.enter(ip("::ffff:192.0.2.1"), 64));
        assert!(pending[0].crowded.is_cancelled() && !pending[1].crowded.is_cancelled());
        // One that joins makes room.
        drop(pending.remove(5));
        pending.push(admission.enter(ip("192.0.2.1"), 65));
        assert!(!pending[1].crowded.is_cancelled() && !other.crowded.is_cancelled());
    }

    #[test]
    fn a_site_of_ipv6_is_one_source() {
        let admission = Admission::default();
        let first = admission.enter(ip("2001:db8::1"), 0);
        let neighbour = admission.enter(ip("2001:db8:0:1::1"), 1);
        let _rest: Vec<Pending> =
            (2..66).map(|number| admission.enter(ip(&format!("2001:db8::{number:x}")), number)).collect();
        assert!(first.crowded.is_cancelled() && !neighbour.crowded.is_cancelled());
    }

    #[test]
    fn nothing_is_left_of_those_who_went() {
        let admission = Admission::default();
        let pending: Vec<Pending> = (0..200).map(|number| admission.enter(ip("192.0.2.1"), number)).collect();
        drop(pending);
        assert!(admission.lock().is_empty());
    }
}
