//! The tally of one download: who sent how much, and how fast it goes.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use common::id::PeerId;
use tokio::time::Instant;

use crate::command::Share;

/// The speed shown is that of so much time.
const SPEED_WINDOW: Duration = Duration::from_secs(3);

/// Who sent how much, and how fast.
#[derive(Debug, Default)]
pub(super) struct Tally {
    shares: BTreeMap<PeerId, Share>,
    /// Verified bytes at moments of the last seconds.
    marks: VecDeque<(Instant, u64)>,
}

impl Tally {
    /// A chunk of so many bytes came from this peer.
    pub(super) fn on_chunk(&mut self, peer: PeerId, user: &str, address: SocketAddr, bytes: u32) {
        let new = || Share { user: user.to_owned(), peer, address, chunks: 0, bytes: 0 };
        let share = self.shares.entry(peer).or_insert_with(new);
        share.chunks += 1;
        share.bytes += u64::from(bytes);
    }

    /// The most first.
    pub(super) fn shares(&self) -> Vec<Share> {
        let mut shares: Vec<Share> = self.shares.values().cloned().collect();
        shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
        shares
    }

    /// Notes how many bytes are here now; gives the speed over the last seconds, bytes a second.
    pub(super) fn speed(&mut self, bytes: u64, now: Instant) -> u64 {
        self.marks.push_back((now, bytes));
        while let Some((at, _)) = self.marks.get(1)
            && now.duration_since(*at) >= SPEED_WINDOW
        {
            self.marks.pop_front();
        }
        let Some((since, before)) = self.marks.front() else { return 0 };
        let millis = now.duration_since(*since).as_millis();
        let came = u128::from(bytes.saturating_sub(*before));
        (came * 1000).checked_div(millis).and_then(|speed| u64::try_from(speed).ok()).unwrap_or(0)
    }
}
