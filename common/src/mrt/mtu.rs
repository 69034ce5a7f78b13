//! How large datagrams may be on a path: packets larger than known to pass are sent as probes, and what arrives is the new
//! size (RFC 8899). The loss of a probe is no sign of congestion.

use std::time::{Duration, Instant};

use super::packet::MIN_MTU;

/// The search for the packet size of one path.
#[derive(Debug)]
pub(super) struct Mtu {
    /// Known to pass, in bytes of UDP payload.
    current: u16,
    /// Nothing larger is tried.
    limit: u16,
    candidates: [Candidate; SIZES.len() + 1],
    /// When sizes that failed are tried again; `None` while a search is under way.
    next_search: Option<Instant>,
    batch: Batch,
    /// Batches in a row in which large packets were lost and none arrived.
    black_batches: u32,
}

/// What happened to packets larger than the least size since the last look.
#[derive(Debug, Clone, Copy, Default)]
struct Batch {
    acked: bool,
    lost: bool,
}

/// In so many batches in a row large packets were lost, while small ones arrived: large ones do not pass any more.
const BLACK_BATCHES: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Candidate {
    size: u16,
    tries: u8,
    under_way: bool,
}

/// Sizes worth trying: they are what is left of common link sizes behind the heads of IP and UDP. 1280: every IPv6
/// link less tunnels; 1400 and 1452: PPPoE and tunnels, IPv6 on Ethernet; 1472: IPv4 on Ethernet; 8952 and 8972: jumbo
/// frames; the others: loopback and virtual links.
const SIZES: [u16; 9] = [1232, 1280, 1400, 1452, 1472, 4096, 8952, 8972, 16384];

/// A size that was lost so often is not tried again in this search. With 20 % random loss a size that passes fails once
/// in 125 searches.
const MAX_TRIES: u8 = 3;

/// Probes of a search under way at once: a path is searched in one round trip mostly.
const PAUSE: Duration = Duration::from_secs(600);

impl Mtu {
    /// Starts from the size that every path has, up to `limit`.
    pub(super) fn new(limit: u16) -> Self {
        let mut candidates = [Candidate { size: limit, tries: 0, under_way: false }; SIZES.len() + 1];
        for (candidate, size) in candidates.iter_mut().zip(SIZES) {
            candidate.size = size.min(limit);
        }
        let current = u16::try_from(MIN_MTU).expect("1,200 is a u16");
        Self {
            current,
            limit: limit.max(current),
            candidates,
            next_search: None,
            batch: Batch::default(),
            black_batches: 0,
        }
    }

    /// Bytes of a full datagram.
    pub(super) const fn current(&self) -> u16 {
        self.current
    }

    /// The size of a probe that should be sent now.
    pub(super) fn probe(&mut self, now: Instant) -> Option<u16> {
        if self.next_search.is_some_and(|at| at <= now) {
            self.restart();
        }
        let (current, limit) = (self.current, self.limit);
        let open = |candidate: &&mut Candidate| {
            candidate.size > current && candidate.size <= limit && !candidate.under_way && candidate.tries < MAX_TRIES
        };
        let candidate = self.candidates.iter_mut().filter(open).min_by_key(|candidate| candidate.size)?;
        candidate.under_way = true;
        candidate.tries += 1;
        Some(candidate.size)
    }

    /// When [`Self::probe`] should be asked although nothing happened.
    pub(super) const fn next_search(&self) -> Option<Instant> {
        self.next_search
    }

    /// A probe arrived; says whether the size of full datagrams changed.
    pub(super) fn on_probe_acked(&mut self, now: Instant, size: u16) -> bool {
        let larger = size > self.current;
        self.current = self.current.max(size);
        self.settle(now, size);
        larger
    }

    /// A probe was lost, or could not be sent.
    pub(super) fn on_probe_lost(&mut self, now: Instant, size: u16) {
        self.settle(now, size);
    }

    /// A packet of `size` bytes, not a probe, arrived.
    pub(super) fn on_acked(&mut self, size: u16) {
        self.batch.acked |= usize::from(size) > MIN_MTU;
    }

    /// A packet of `size` bytes, not a probe, was held for lost.
    pub(super) fn on_lost(&mut self, size: u16) {
        self.batch.lost |= usize::from(size) > MIN_MTU;
    }

    /// All was told that one acknowledgement or timeout brought; says whether large packets seem not to pass any more.
    pub(super) fn is_black_hole(&mut self) -> bool {
        let batch = std::mem::take(&mut self.batch);
        if batch.acked {
            self.black_batches = 0;
        } else if batch.lost {
            self.black_batches += 1;
        }
        let black = self.black_batches >= BLACK_BATCHES;
        if black {
            self.black_batches = 0;
        }
        black
    }

    /// Nothing larger than the least size seems to pass any more: back to that, and search again after `pause`. Says whether
    /// that changed anything.
    pub(super) fn on_black_hole(&mut self, now: Instant, pause: Duration) -> bool {
        let least = u16::try_from(MIN_MTU).expect("1,200 is a u16");
        let changed = self.current > least;
        self.current = least;
        if changed {
            // None is open until the pause is over.
            for candidate in &mut self.candidates {
                (candidate.tries, candidate.under_way) = (MAX_TRIES, false);
            }
            self.next_search = Some(now + pause);
        }
        changed
    }

    fn restart(&mut self) {
        self.next_search = None;
        for candidate in &mut self.candidates {
            (candidate.tries, candidate.under_way) = (0, false);
        }
    }

    fn settle(&mut self, now: Instant, size: u16) {
        for candidate in &mut self.candidates {
            if candidate.size == size {
                candidate.under_way = false;
            }
        }
        let (current, limit) = (self.current, self.limit);
        let over = |candidate: &Candidate| {
            candidate.size <= current
                || candidate.size > limit
                || (!candidate.under_way && candidate.tries >= MAX_TRIES)
        };
        if current < limit && self.next_search.is_none() && self.candidates.iter().all(over) {
            self.next_search = Some(now + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mrt::tests::clock::start;

    fn search(mtu: &mut Mtu, now: Instant, passes: u16) -> u32 {
        let mut probes = 0;
        while let Some(size) = mtu.probe(now) {
            probes += 1;
            if size <= passes {
                mtu.on_probe_acked(now, size);
            } else {
                mtu.on_probe_lost(now, size);
            }
        }
        probes
    }

    #[test]
    fn a_search_ends_at_what_the_path_carries() {
        let now = start();
        for (passes, found) in [(1200, 1200), (1300, 1280), (1472, 1472), (9000, 8972), (65_535, 16_384)] {
            let mut mtu = Mtu::new(16_384);
            assert!(search(&mut mtu, now, passes) <= 30);
            assert_eq!(mtu.current(), found);
            assert_eq!(mtu.next_search().is_some(), found < 16_384);
        }
    }

    #[test]
    fn sizes_that_failed_are_tried_again_later() {
        let (now, mut mtu) = (start(), Mtu::new(1472));
        search(&mut mtu, now, 1300);
        assert_eq!(mtu.probe(now + Duration::from_secs(1)), None);
        let later = mtu.next_search().unwrap();
        search(&mut mtu, later, 1472);
        assert_eq!(mtu.current(), 1472);
    }

    #[test]
    fn behind_a_black_hole_it_begins_again() {
        let (now, mut mtu) = (start(), Mtu::new(1472));
        search(&mut mtu, now, 1472);
        assert!(mtu.on_black_hole(now, Duration::from_secs(1)));
        assert_eq!((mtu.current(), mtu.probe(now)), (1200, None));
        search(&mut mtu, now + Duration::from_secs(1), 1400);
        assert_eq!(mtu.current(), 1400);
    }

    #[test]
    fn nothing_above_the_limit_is_tried() {
        let (now, mut mtu) = (start(), Mtu::new(1452));
        search(&mut mtu, now, 65_535);
        assert_eq!((mtu.current(), mtu.next_search()), (1452, None));
        assert_eq!(Mtu::new(1200).probe(now), None);
    }
}
